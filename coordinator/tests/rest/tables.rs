//! Tables: creating, loading, renaming, registering and dropping them.

use ingot_catalog::Catalog;
use serde_json::{Value, json};

use crate::server::{Server, answer, error, schema, snapshot};

#[tokio::test]
async fn a_table_is_created_and_loaded() {
    let server = Server::start().await;
    let (status, created) = server
        .post(
            "namespaces/s/tables",
            json!({
                "name": "t",
                "schema": schema(),
                "partition-spec": {"spec-id": 0, "fields": [
                    {"source-id": 2, "field-id": 1000, "name": "day", "transform": "identity"}]},
                "write-order": {"order-id": 1, "fields": [
                    {"source-id": 1, "transform": "identity", "direction": "asc", "null-order": "nulls-last"}]},
                "properties": {"owner": "ann", "format-version": "3", "uuid": "x"},
            }),
        )
        .await;
    assert_eq!(status, 200, "{created}");
    let metadata = &created["metadata"];
    assert_eq!(metadata["format-version"], 3);
    assert_eq!(metadata["properties"], json!({"owner": "ann"}));
    assert_eq!(metadata["schemas"][0]["fields"][2]["name"], "name");
    assert_eq!(
        metadata["partition-specs"][0]["fields"][0]["field-id"],
        1000
    );
    assert_eq!(metadata["default-sort-order-id"], 1);
    let location = created["metadata-location"].as_str().unwrap();
    assert_eq!(server.files().await, [location]);

    let (status, loaded) = server.get("namespaces/s/tables/t").await;
    assert_eq!(status, 200);
    assert_eq!(loaded["metadata-location"], created["metadata-location"]);
    assert_eq!(loaded["metadata"]["table-uuid"], metadata["table-uuid"]);
    assert_eq!(loaded["config"], json!({}));
    let (_, listed) = server.get("namespaces/s/tables").await;
    assert_eq!(
        listed["identifiers"],
        json!([{"namespace": ["s"], "name": "t"}])
    );
    assert_eq!(
        server.call("HEAD", "namespaces/s/tables/t", None).await.0,
        204
    );
    assert_eq!(
        server.call("HEAD", "namespaces/s/tables/u", None).await.0,
        404
    );

    let again = json!({"name": "t", "schema": schema()});
    let exists = server.post("namespaces/s/tables", again.clone()).await;
    error(exists, 409, "AlreadyExistsException");
    let nowhere = server.post("namespaces/none/tables", again).await;
    error(nowhere, 404, "NoSuchNamespaceException");
    let message = error(
        server.get("namespaces/s/tables/tt").await,
        404,
        "NoSuchTableException",
    );
    assert!(message.contains("did you mean s.t?"), "{message}");
    error(
        server.get("namespaces/none/tables/t").await,
        404,
        "NoSuchTableException",
    );
}

#[tokio::test]
async fn a_name_may_have_any_letters() {
    let server = Server::start().await;
    server.create_table("Größe & 100 %").await;
    let path = "namespaces/s/tables/Gr%C3%B6%C3%9Fe%20%26%20100%20%25";
    let (status, body) = server.get(path).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn a_staged_table_is_not_there() {
    let server = Server::start().await;
    let request = json!({"name": "t", "schema": schema(), "stage-create": true});
    let (status, staged) = server.post("namespaces/s/tables", request).await;
    assert_eq!(status, 200);
    assert!(staged.get("metadata-location").is_none());
    assert!(staged["metadata"]["location"].is_string());
    error(
        server.get("namespaces/s/tables/t").await,
        404,
        "NoSuchTableException",
    );
    assert_eq!(server.files().await, Vec::<String>::new());
}

/// A table with snapshots 1 and 2 on main and 3 on no branch.
async fn table_with_snapshots(server: &Server) -> Value {
    server.create_table("t").await;
    for (id, parent, branch) in [(1, None, true), (2, Some(1), true), (3, Some(2), false)] {
        let metadata = server.metadata("t").await;
        let mut updates =
            vec![json!({"action": "add-snapshot", "snapshot": snapshot(&metadata, id, parent)})];
        if branch {
            updates.push(json!({"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": id}));
        }
        let commit = json!({"requirements": [], "updates": updates});
        let (status, body) = server.post("namespaces/s/tables/t", commit).await;
        assert_eq!(status, 200, "{body}");
    }
    server.metadata("t").await
}

fn snapshot_ids(metadata: &Value) -> Vec<i64> {
    let snapshots = metadata["snapshots"].as_array().unwrap().iter();
    let mut ids: Vec<i64> = snapshots
        .map(|snapshot| snapshot["snapshot-id"].as_i64().unwrap())
        .collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn only_snapshots_with_a_reference_are_listed_on_demand() {
    let server = Server::start().await;
    let metadata = table_with_snapshots(&server).await;
    assert_eq!(snapshot_ids(&metadata), [1, 2, 3]);
    let (_, body) = server.get("namespaces/s/tables/t?snapshots=refs").await;
    assert_eq!(snapshot_ids(&body["metadata"]), [2]);
    assert_eq!(body["metadata"]["current-snapshot-id"], 2);
    let (_, body) = server.get("namespaces/s/tables/t?snapshots=all").await;
    assert_eq!(snapshot_ids(&body["metadata"]), [1, 2, 3]);
    let bad = server.get("namespaces/s/tables/t?snapshots=some").await;
    error(bad, 400, "BadRequestException");
}

#[tokio::test]
async fn a_state_that_the_client_has_is_not_sent_again() {
    let server = Server::start().await;
    table_with_snapshots(&server).await;
    let path = "/v1/iceberg/namespaces/s/tables/t";
    let tag_of = async |path: &str| {
        let response = server.request("GET", path).send().await.unwrap();
        response.headers()["etag"].clone()
    };
    let tag = tag_of(path).await;
    let with_tag = |path: &str| {
        server
            .request("GET", path)
            .header("If-None-Match", tag.clone())
    };
    let (status, body) = answer(with_tag(path)).await;
    assert_eq!((status, body), (304, Value::Null));
    // The same state with fewer snapshots is another answer.
    assert_eq!(
        answer(with_tag(&format!("{path}?snapshots=refs"))).await.0,
        200
    );
    let commit = json!({"requirements": [], "updates": [{"action": "set-properties", "updates": {"a": "1"}}]});
    server.post("namespaces/s/tables/t", commit).await;
    assert_eq!(answer(with_tag(path)).await.0, 200);
    assert_ne!(tag_of(path).await, tag);
}

#[tokio::test]
async fn tables_are_renamed() {
    let server = Server::start().await;
    server
        .post("namespaces", json!({"namespace": ["other"]}))
        .await;
    let created = server.create_table("t").await;
    let rename = |from: Value, to: Value| json!({"source": from, "destination": to});
    let table = |schema: &str, name: &str| json!({"namespace": [schema], "name": name});
    let (status, body) = server
        .post(
            "tables/rename",
            rename(table("s", "t"), table("other", "u")),
        )
        .await;
    assert_eq!(status, 204, "{body}");
    let (_, moved) = server.get("namespaces/other/tables/u").await;
    assert_eq!(moved["metadata-location"], created["metadata-location"]);

    server.create_table("t").await;
    for (from, to, status, exception) in [
        (
            table("s", "x"),
            table("s", "y"),
            404,
            "NoSuchTableException",
        ),
        (
            table("none", "x"),
            table("s", "y"),
            404,
            "NoSuchTableException",
        ),
        (
            table("s", "t"),
            table("none", "y"),
            404,
            "NoSuchNamespaceException",
        ),
        (
            table("s", "t"),
            table("other", "u"),
            409,
            "AlreadyExistsException",
        ),
        (
            table("s", "t"),
            table("s", "../x"),
            400,
            "BadRequestException",
        ),
        (
            json!({"namespace": ["s", "t"], "name": "a"}),
            table("s", "y"),
            404,
            "NoSuchTableException",
        ),
        (
            table("s", "t"),
            json!({"namespace": ["s", "t"], "name": "a"}),
            404,
            "NoSuchNamespaceException",
        ),
    ] {
        let refused = server.post("tables/rename", rename(from, to)).await;
        error(refused, status, exception);
    }
}

#[tokio::test]
async fn a_table_leaves_the_catalog_and_comes_back() {
    let server = Server::start().await;
    let created = server.create_table("t").await;
    let (status, body) = server
        .post("namespaces/s/tables/t/unregister", json!({}))
        .await;
    assert_eq!(status, 200);
    assert_eq!(body["metadata-location"], created["metadata-location"]);
    error(
        server.get("namespaces/s/tables/t").await,
        404,
        "NoSuchTableException",
    );

    let location = &created["metadata-location"];
    let register = |name: &str| json!({"name": name, "metadata-location": location});
    let (status, body) = server.post("namespaces/s/register", register("back")).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        body["metadata"]["table-uuid"],
        created["metadata"]["table-uuid"]
    );
    let exists = server.post("namespaces/s/register", register("back")).await;
    error(exists, 409, "AlreadyExistsException");
    let over = json!({"name": "back", "metadata-location": location, "overwrite": true});
    let over = server.post("namespaces/s/register", over).await;
    error(over, 406, "UnsupportedOperationException");
    let nowhere = server.post("namespaces/none/register", register("x")).await;
    error(nowhere, 404, "NoSuchNamespaceException");
    let missing = format!("{}/none.metadata.json", server.catalog.warehouse());
    let missing = server
        .post(
            "namespaces/s/register",
            json!({"name": "x", "metadata-location": missing}),
        )
        .await;
    error(missing, 400, "BadRequestException");
}

#[tokio::test]
async fn files_stay_unless_a_purge_is_asked_for() {
    let server = Server::start().await;
    server.create_table("kept").await;
    let (status, body) = server
        .call("DELETE", "namespaces/s/tables/kept", None)
        .await;
    assert_eq!((status, body), (204, Value::Null));
    assert_eq!(server.files().await.len(), 1);

    server.create_table("purged").await;
    assert_eq!(server.files().await.len(), 2);
    let path = "namespaces/s/tables/purged?purgeRequested";
    let odd = server
        .call("DELETE", &format!("{path}=perhaps"), None)
        .await;
    error(odd, 400, "BadRequestException");
    assert_eq!(
        server.call("DELETE", &format!("{path}=true"), None).await.0,
        204
    );
    assert_eq!(server.files().await.len(), 1);
    let gone = server.call("DELETE", &format!("{path}=true"), None).await;
    error(gone, 404, "NoSuchTableException");
}

#[tokio::test]
async fn a_table_that_must_keep_its_files_is_not_purged() {
    let server = Server::start().await;
    let request = json!({"name": "t", "schema": schema(), "properties": {"gc.enabled": "false"}});
    server.post("namespaces/s/tables", request).await;
    let path = "namespaces/s/tables/t?purgeRequested=true";
    let message = error(
        server.call("DELETE", path, None).await,
        400,
        "BadRequestException",
    );
    assert!(message.contains("gc.enabled"), "{message}");
    assert!(
        server
            .catalog
            .list_tables("s")
            .await
            .unwrap()
            .contains(&"t".to_string())
    );
}

#[tokio::test]
async fn reports_of_metrics_are_accepted() {
    let server = Server::start().await;
    let path = "namespaces/s/tables/t/metrics";
    let report = json!({"report-type": "scan-report", "table-name": "t", "metrics": {}});
    assert_eq!(server.post(path, report).await.0, 204);
    error(
        server.post(path, json!({})).await,
        400,
        "BadRequestException",
    );
}
