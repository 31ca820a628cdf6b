//! Views, in the dialects of others.

use std::collections::HashMap;

use iceberg::spec::{Schema, SortOrder, UnboundPartitionSpec};
use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::commit::{commit_materialized_view, stage_create};
use ingot_catalog::materialized_view::{Materialization, storage_table_of};
use ingot_catalog::{Catalog, CatalogError, ViewDefinition};
use serde_json::{Value, json};

use crate::server::{Server, error, schema};

fn version(sql: &str) -> Value {
    json!({
        "version-id": 1,
        "timestamp-ms": 1_700_000_000_000_i64,
        "schema-id": 0,
        "summary": {"engine-name": "spark"},
        "default-namespace": ["s"],
        "representations": [{"type": "sql", "sql": sql, "dialect": "spark"}],
    })
}

async fn create(server: &Server, name: &str) -> Value {
    let request = json!({
        "name": name,
        "schema": schema(),
        "view-version": version("SELECT 1"),
        "properties": {"owner": "ann"},
    });
    let (status, body) = server.post("namespaces/s/views", request).await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn views_live_from_creation_to_drop() {
    let server = Server::start().await;
    let created = create(&server, "v").await;
    assert_eq!(created["metadata"]["current-version-id"], 1);
    assert_eq!(created["metadata"]["properties"]["owner"], "ann");
    let (_, loaded) = server.get("namespaces/s/views/v").await;
    assert_eq!(loaded["metadata-location"], created["metadata-location"]);
    let (_, listed) = server.get("namespaces/s/views").await;
    assert_eq!(
        listed["identifiers"],
        json!([{"namespace": ["s"], "name": "v"}])
    );
    assert_eq!(
        server.call("HEAD", "namespaces/s/views/v", None).await.0,
        204
    );
    assert_eq!(
        server.call("HEAD", "namespaces/s/views/w", None).await.0,
        404
    );

    // Ingot sees it, and says why it does not run it.
    let ident = TableIdent::new(NamespaceIdent::new("s".to_string()), "v".to_string());
    let view = server.catalog.load_view(&ident).await.unwrap();
    let refused = view.definition().unwrap_err();
    assert!(matches!(refused, CatalogError::Unsupported(_)), "{refused}");

    let uuid = &created["metadata"]["view-uuid"];
    let mut next = version("SELECT 2");
    next["schema-id"] = (-1).into();
    next["timestamp-ms"] = (created["metadata"]["version-log"][0]["timestamp-ms"]
        .as_i64()
        .unwrap()
        + 1)
    .into();
    let updates = json!([
        {"action": "add-schema", "schema": schema(), "last-column-id": 3},
        {"action": "add-view-version", "view-version": next},
        {"action": "set-current-view-version", "view-version-id": -1},
        {"action": "set-properties", "updates": {"comment": "two"}},
        {"action": "remove-properties", "removals": ["owner"]},
    ]);
    let replace = json!({
        "requirements": [{"type": "assert-view-uuid", "uuid": uuid}],
        "updates": updates,
    });
    let (status, replaced) = server.post("namespaces/s/views/v", replace).await;
    assert_eq!(status, 200, "{replaced}");
    assert_eq!(replaced["metadata"]["view-uuid"], *uuid);
    assert_eq!(replaced["metadata"]["current-version-id"], 2);
    assert_eq!(
        replaced["metadata"]["properties"],
        json!({"comment": "two"})
    );
    assert_eq!(
        replaced["metadata"]["versions"].as_array().unwrap().len(),
        2
    );

    assert_eq!(
        server.call("DELETE", "namespaces/s/views/v", None).await.0,
        204
    );
    let gone = server.call("DELETE", "namespaces/s/views/v", None).await;
    error(gone, 404, "NoSuchViewException");
    error(
        server.get("namespaces/s/views/v").await,
        404,
        "NoSuchViewException",
    );
    error(
        server.get("namespaces/none/views/v").await,
        404,
        "NoSuchViewException",
    );
    error(
        server.get("namespaces/none/views").await,
        404,
        "NoSuchNamespaceException",
    );
}

#[tokio::test]
async fn tables_and_views_share_their_names() {
    let server = Server::start().await;
    create(&server, "v").await;
    server.create_table("t").await;
    error(
        server.get("namespaces/s/tables/v").await,
        404,
        "NoSuchTableException",
    );
    error(
        server.get("namespaces/s/views/t").await,
        404,
        "NoSuchViewException",
    );
    let table = json!({"name": "v", "schema": schema()});
    let taken = server.post("namespaces/s/tables", table).await;
    error(taken, 409, "AlreadyExistsException");
    for name in ["t", "v"] {
        let view = json!({
            "name": name, "schema": schema(), "view-version": version("SELECT 1"), "properties": {}
        });
        let taken = server.post("namespaces/s/views", view).await;
        error(taken, 409, "AlreadyExistsException");
    }
    let creation = json!({"requirements": [{"type": "assert-create"}], "updates": [
        {"action": "add-schema", "schema": schema()}]});
    let taken = server.post("namespaces/s/tables/v", creation).await;
    error(taken, 409, "AlreadyExistsException");
    // One metadata file of each: what was refused left none.
    assert_eq!(server.files().await.len(), 2);
}

#[tokio::test]
async fn views_are_renamed() {
    let server = Server::start().await;
    let created = create(&server, "v").await;
    server.create_table("t").await;
    let rename = |from: &str, to: Value| json!({"source": {"namespace": ["s"], "name": from}, "destination": to});
    let to = |schema: &str, name: &str| json!({"namespace": [schema], "name": name});
    let (status, _) = server.post("views/rename", rename("v", to("s", "w"))).await;
    assert_eq!(status, 204);
    let (_, moved) = server.get("namespaces/s/views/w").await;
    assert_eq!(moved["metadata-location"], created["metadata-location"]);
    for (request, status, exception) in [
        (rename("v", to("s", "x")), 404, "NoSuchViewException"),
        (rename("t", to("s", "x")), 404, "NoSuchViewException"),
        (
            rename("w", to("none", "x")),
            404,
            "NoSuchNamespaceException",
        ),
        (rename("w", to("s", "t")), 409, "AlreadyExistsException"),
        (rename("w", to("s", "a/b")), 400, "BadRequestException"),
    ] {
        error(
            server.post("views/rename", request).await,
            status,
            exception,
        );
    }
    let table = server
        .post("tables/rename", rename("w", to("s", "x")))
        .await;
    error(table, 404, "NoSuchTableException");
}

#[tokio::test]
async fn views_that_cannot_be_right_are_refused() {
    let server = Server::start().await;
    let created = create(&server, "v").await;
    let uuid = &created["metadata"]["view-uuid"];
    let outside = json!({
        "name": "w", "location": "file:///etc/w", "schema": schema(),
        "view-version": version("SELECT 1"), "properties": {},
    });
    error(
        server.post("namespaces/s/views", outside).await,
        400,
        "BadRequestException",
    );
    let replace = |requirements: Value, updates: Value| json!({"requirements": requirements, "updates": updates});
    for (body, status, exception) in [
        (
            replace(
                json!([{"type": "assert-view-uuid", "uuid": "00000000-0000-0000-0000-000000000000"}]),
                json!([]),
            ),
            409,
            "CommitFailedException",
        ),
        (
            replace(
                json!([]),
                json!([{"action": "set-location", "location": "file:///etc"}]),
            ),
            400,
            "BadRequestException",
        ),
        (
            replace(
                json!([]),
                json!([{"action": "set-current-view-version", "view-version-id": 9}]),
            ),
            400,
            "BadRequestException",
        ),
        (
            replace(
                json!([]),
                json!([{"action": "assign-uuid", "uuid": "00000000-0000-0000-0000-000000000000"}]),
            ),
            400,
            "BadRequestException",
        ),
    ] {
        error(
            server.post("namespaces/s/views/v", body).await,
            status,
            exception,
        );
    }
    let same = replace(json!([]), json!([{"action": "assign-uuid", "uuid": uuid}]));
    assert_eq!(server.post("namespaces/s/views/v", same).await.0, 200);
    assert!(!server.folder.path().join("etc").exists());
}

/// The materialized view `s.m`, without rows.
async fn create_materialized(server: &Server) -> TableIdent {
    let view = TableIdent::new(NamespaceIdent::new("s".to_string()), "m".to_string());
    let table = storage_table_of(&view);
    let columns: Schema = serde_json::from_value(schema()).unwrap();
    let spec = UnboundPartitionSpec::builder().build();
    let order = SortOrder::unsorted_order();
    let catalog = server.catalog.as_ref();
    let staged = stage_create(
        catalog,
        &table,
        columns.clone(),
        spec,
        order,
        HashMap::new(),
    )
    .await
    .unwrap();
    let names = columns.as_struct().fields().iter();
    let definition = ViewDefinition {
        sql: "SELECT * FROM t".to_string(),
        default_catalog: None,
        default_schema: "s".to_string(),
        query_columns: names.map(|field| field.name.clone()).collect(),
        schema: columns,
        comment: None,
        materialization: Some(Materialization {
            storage_table: table.clone(),
            grace_period_ms: None,
        }),
    };
    commit_materialized_view(catalog, staged, &view, definition, false)
        .await
        .unwrap();
    table
}

#[tokio::test]
async fn materialized_views_are_kept_whole() {
    let server = Server::start().await;
    server.create_table("t").await;
    let files_before = server.files().await;
    let storage_table = create_materialized(&server).await;
    let rows = storage_table.name();
    let (_, listed) = server.get("namespaces/s/tables").await;
    assert_eq!(
        listed["identifiers"],
        json!([{"namespace": ["s"], "name": "t"}])
    );
    let (status, view) = server.get("namespaces/s/views/m").await;
    assert_eq!(status, 200, "{view}");
    let path = format!("namespaces/s/tables/{rows}");
    let (status, table) = server.get(&path).await;
    assert_eq!(status, 200, "{table}");

    let rename = |from: &str, to: &str| {
        json!({"source": {"namespace": ["s"], "name": from},
               "destination": {"namespace": ["s"], "name": to}})
    };
    let properties = json!([{"action": "set-properties", "updates": {"a": "b"}}]);
    let change = json!({"requirements": [], "updates": properties});
    let mut of_transaction = change.clone();
    of_transaction["identifier"] = json!({"namespace": ["s"], "name": rows});
    let mut naming_a_table = version("SELECT 1");
    naming_a_table["summary"]["ingot.storage-table"] = r#"{"namespace":["s"],"name":"t"}"#.into();
    let named_storage = format!("x{}", &rows[1..]);
    for (path, body) in [
        ("namespaces/s/views/m", change.clone()),
        ("views/rename", rename("m", "n")),
        ("tables/rename", rename(rows, "n")),
        ("tables/rename", rename("t", &named_storage)),
        (path.as_str(), change),
        (
            "transactions/commit",
            json!({"table-changes": [of_transaction]}),
        ),
        (
            "namespaces/s/tables",
            json!({"name": named_storage, "schema": schema()}),
        ),
        (
            "namespaces/s/views",
            json!({"name": "w", "schema": schema(), "view-version": naming_a_table,
                   "properties": {}}),
        ),
    ] {
        let answer = server.post(path, body).await;
        error(answer, 406, "UnsupportedOperationException");
    }
    let drop = server.call("DELETE", &path, None).await;
    error(drop, 406, "UnsupportedOperationException");
    assert_eq!(server.get("namespaces/s/views/m").await.1, view);
    assert_eq!(server.get(&path).await.1, table);

    let (status, _) = server.call("DELETE", "namespaces/s/views/m", None).await;
    assert_eq!(status, 204);
    error(server.get(&path).await, 404, "NoSuchTableException");
    // The view's own metadata file goes with it.
    let left = server.files().await;
    assert_eq!(left.len(), files_before.len(), "{left:?}");
}
