//! Commits to one table.

use std::collections::BTreeMap;
use std::sync::Arc;

use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat};
use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::Catalog;
use ingot_catalog::commit::append_files;
use serde_json::{Value, json};

use crate::server::{Answer, Server, error, schema, snapshot};

async fn commit(server: &Server, requirements: Value, updates: Value) -> Answer {
    let body = json!({"requirements": requirements, "updates": updates});
    server.post("namespaces/s/tables/t", body).await
}

fn set_property(name: &str, value: &str) -> Value {
    json!([{"action": "set-properties", "updates": {name: value}}])
}

#[tokio::test]
async fn a_commit_is_visible_at_once() {
    let server = Server::start().await;
    let created = server.create_table("t").await;
    let uuid = &created["metadata"]["table-uuid"];
    let requirements = json!([{"type": "assert-table-uuid", "uuid": uuid}]);
    let updates = json!([
        {"action": "set-properties", "updates": {"a": "1", "b": "2"}},
        {"action": "remove-properties", "removals": ["b"]},
    ]);
    let (status, body) = commit(&server, requirements, updates).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["metadata"]["properties"], json!({"a": "1"}));
    assert_ne!(body["metadata-location"], created["metadata-location"]);
    let (_, loaded) = server.get("namespaces/s/tables/t").await;
    assert_eq!(loaded["metadata-location"], body["metadata-location"]);
    let ident = TableIdent::new(NamespaceIdent::new("s".to_string()), "t".to_string());
    let table = server.catalog.load_table(&ident).await.unwrap();
    assert_eq!(table.metadata.properties()["a"], "1");
}

#[tokio::test]
async fn each_requirement_is_checked() {
    let server = Server::start().await;
    server.create_table("t").await;
    for requirement in [
        json!({"type": "assert-table-uuid", "uuid": "00000000-0000-0000-0000-000000000000"}),
        json!({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 7}),
        json!({"type": "assert-last-assigned-field-id", "last-assigned-field-id": 9}),
        json!({"type": "assert-current-schema-id", "current-schema-id": 9}),
        json!({"type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 9}),
        json!({"type": "assert-default-spec-id", "default-spec-id": 9}),
        json!({"type": "assert-default-sort-order-id", "default-sort-order-id": 9}),
    ] {
        let refused = commit(&server, json!([requirement]), set_property("a", "1")).await;
        error(refused, 409, "CommitFailedException");
    }
    let create = json!([{"type": "assert-create"}]);
    let refused = commit(&server, create, set_property("a", "1")).await;
    error(refused, 409, "AlreadyExistsException");
    let metadata = server.metadata("t").await;
    assert!(metadata["properties"].get("a").is_none());
    assert_eq!(server.files().await.len(), 1);
    let holds = json!([
        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": null},
        {"type": "assert-current-schema-id", "current-schema-id": 0},
        {"type": "assert-last-assigned-field-id", "last-assigned-field-id": 3},
    ]);
    assert_eq!(commit(&server, holds, set_property("a", "1")).await.0, 200);
}

#[tokio::test]
async fn what_is_unknown_is_refused() {
    let server = Server::start().await;
    server.create_table("t").await;
    let unknown = commit(&server, json!([{"type": "assert-magic"}]), json!([])).await;
    error(unknown, 400, "BadRequestException");
    let unknown = commit(&server, json!([]), json!([{"action": "do-magic"}])).await;
    error(unknown, 400, "BadRequestException");
    let missing = server
        .post(
            "namespaces/s/tables/u",
            json!({"requirements": [], "updates": []}),
        )
        .await;
    error(missing, 404, "NoSuchTableException");
    let missing = server
        .post(
            "namespaces/none/tables/u",
            json!({"requirements": [], "updates": []}),
        )
        .await;
    error(missing, 404, "NoSuchTableException");
    let other = json!({
        "identifier": {"namespace": ["s"], "name": "other"}, "requirements": [], "updates": []
    });
    error(
        server.post("namespaces/s/tables/t", other).await,
        400,
        "BadRequestException",
    );
}

#[tokio::test]
async fn updates_that_do_not_fit_are_refused_and_change_nothing() {
    let server = Server::start().await;
    let created = server.create_table("t").await;
    let mut too_old = snapshot(&created["metadata"], 5, None);
    too_old["timestamp-ms"] = 1.into();
    for (what, updates) in [
        (
            "unknown schema",
            json!([{"action": "set-current-schema", "schema-id": 7}]),
        ),
        (
            "unknown snapshot",
            json!([{"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 7}]),
        ),
        (
            "lower version",
            json!([{"action": "upgrade-format-version", "format-version": 1}]),
        ),
        (
            "another uuid",
            json!([{"action": "assign-uuid", "uuid": "00000000-0000-0000-0000-000000000000"}]),
        ),
        (
            "old snapshot",
            json!([{"action": "add-snapshot", "snapshot": too_old}]),
        ),
        ("reserved property", set_property("format-version", "2")),
        (
            "property of the content",
            set_property("ingot.content.loaded", "x"),
        ),
        (
            "current schema",
            json!([{"action": "remove-schemas", "schema-ids": [0]}]),
        ),
        (
            "codec",
            set_property("write.metadata.compression-codec", "magic"),
        ),
    ] {
        let refused = commit(&server, json!([]), updates).await;
        let message = error(refused, 400, "BadRequestException");
        assert!(!message.is_empty(), "{what}");
    }
    let (_, loaded) = server.get("namespaces/s/tables/t").await;
    assert_eq!(loaded["metadata-location"], created["metadata-location"]);
    assert_eq!(server.files().await.len(), 1);
}

#[tokio::test]
async fn a_snapshot_made_from_an_older_state_is_a_conflict() {
    let server = Server::start().await;
    server.create_table("t").await;
    let metadata = server.metadata("t").await;
    let add = |id: i64| {
        json!([
            {"action": "add-snapshot", "snapshot": snapshot(&metadata, id, None)},
            {"action": "set-snapshot-ref", "ref-name": format!("b{id}"), "type": "branch", "snapshot-id": id},
        ])
    };
    assert_eq!(commit(&server, json!([]), add(1)).await.0, 200);
    // Another branch, so the client need not have asserted anything about the first.
    let late = commit(&server, json!([]), add(2)).await;
    let message = error(late, 409, "CommitFailedException");
    assert!(message.contains("sequence number"), "{message}");
}

#[tokio::test]
async fn columns_are_added_and_specs_replaced() {
    let server = Server::start().await;
    server.create_table("t").await;
    let mut wider = schema();
    wider["fields"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": 4, "name": "more", "type": "double", "required": false}));
    let requirements = json!([
        {"type": "assert-current-schema-id", "current-schema-id": 0},
        {"type": "assert-last-assigned-field-id", "last-assigned-field-id": 3},
    ]);
    let updates = json!([
        {"action": "add-schema", "schema": wider, "last-column-id": 4},
        {"action": "set-current-schema", "schema-id": -1},
        {"action": "add-spec", "spec": {"spec-id": 1, "fields": [
            {"source-id": 2, "field-id": 1000, "name": "day_month", "transform": "month"}]}},
        {"action": "set-default-spec", "spec-id": -1},
    ]);
    let (status, body) = commit(&server, requirements.clone(), updates.clone()).await;
    assert_eq!(status, 200, "{body}");
    let metadata = &body["metadata"];
    assert_eq!(metadata["current-schema-id"], 1);
    assert_eq!(metadata["last-column-id"], 4);
    assert_eq!(metadata["default-spec-id"], 1);
    let again = commit(&server, requirements, updates).await;
    error(again, 409, "CommitFailedException");
}

#[tokio::test]
async fn a_staged_table_is_committed_with_the_ids_that_it_was_staged_with() {
    let server = Server::start().await;
    // Field ids of the client that are not those of the table.
    let request = json!({
        "name": "t",
        "stage-create": true,
        "schema": {"type": "struct", "schema-id": 0, "fields": [
            {"id": 70, "name": "day", "type": "date", "required": false},
            {"id": 60, "name": "place", "required": false, "type": {"type": "struct", "fields": [
                {"id": 50, "name": "x", "type": "int", "required": false}]}},
        ]},
        "partition-spec": {"fields": [
            {"source-id": 70, "field-id": 1007, "name": "day_month", "transform": "month"}]},
        "write-order": {"order-id": 4, "fields": [
            {"source-id": 50, "transform": "identity", "direction": "desc", "null-order": "nulls-first"}]},
        "properties": {"a": "1"},
    });
    let (status, staged) = server.post("namespaces/s/tables", request).await;
    assert_eq!(status, 200, "{staged}");
    let staged = &staged["metadata"];
    let requirements = json!([{"type": "assert-create"}]);
    let updates = creation_updates(staged);
    let (status, body) = commit(&server, requirements.clone(), updates.clone()).await;
    assert_eq!(status, 200, "{body}");
    let created = &body["metadata"];
    for field in [
        "table-uuid",
        "location",
        "schemas",
        "current-schema-id",
        "partition-specs",
        "default-spec-id",
        "last-partition-id",
        "last-column-id",
        "default-sort-order-id",
        "format-version",
    ] {
        assert_eq!(created[field], staged[field], "{field}");
    }
    assert_eq!(created["current-snapshot-id"], 77);
    assert_eq!(created["properties"], json!({"a": "1"}));
    assert_eq!(server.files().await.len(), 1);
    let again = commit(&server, requirements, updates).await;
    error(again, 409, "AlreadyExistsException");
}

/// What clients commit for a staged table: all that makes it, and a snapshot which they may have
/// made long before.
fn creation_updates(staged: &Value) -> Value {
    let mut first = snapshot(staged, 77, None);
    let long_ago = staged["last-updated-ms"].as_i64().unwrap() - 3_600_000;
    first["timestamp-ms"] = long_ago.into();
    let orders = staged["sort-orders"].as_array().unwrap();
    let order = orders
        .iter()
        .find(|order| order["order-id"] == staged["default-sort-order-id"])
        .unwrap();
    json!([
        {"action": "assign-uuid", "uuid": staged["table-uuid"]},
        {"action": "upgrade-format-version", "format-version": 2},
        {"action": "add-schema", "schema": staged["schemas"][0]},
        {"action": "set-current-schema", "schema-id": -1},
        {"action": "add-spec", "spec": staged["partition-specs"][0]},
        {"action": "set-default-spec", "spec-id": -1},
        {"action": "add-sort-order", "sort-order": order},
        {"action": "set-default-sort-order", "sort-order-id": -1},
        {"action": "set-location", "location": staged["location"]},
        {"action": "set-properties", "updates": {"a": "1"}},
        {"action": "add-snapshot", "snapshot": first},
        {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 77},
    ])
}

#[tokio::test]
async fn a_creation_must_say_what_it_creates() {
    let server = Server::start().await;
    let create = json!([{"type": "assert-create"}]);
    let empty = commit(&server, create.clone(), json!([])).await;
    let message = error(empty, 400, "BadRequestException");
    assert!(message.contains("schema"), "{message}");
    // Files with other ids than the table's would be read as other columns.
    let mut odd = schema();
    odd["fields"][0]["id"] = 30.into();
    let updates = json!([
        {"action": "add-schema", "schema": odd},
        {"action": "set-current-schema", "schema-id": -1},
    ]);
    let refused = commit(&server, create.clone(), updates).await;
    let message = error(refused, 400, "BadRequestException");
    assert!(message.contains("stage-create"), "{message}");
    let updates = json!([
        {"action": "add-schema", "schema": schema()},
        {"action": "set-current-schema", "schema-id": -1},
    ]);
    let body = json!({"requirements": create, "updates": updates});
    let nowhere = server.post("namespaces/none/tables/t", body.clone()).await;
    error(nowhere, 404, "NoSuchNamespaceException");
    // Location, spec and sort order may be left to the server.
    let (status, body) = server.post("namespaces/s/tables/t", body).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn commits_of_clients_and_of_this_server_lose_nothing() {
    let server = Arc::new(Server::start().await);
    server.create_table("t").await;
    let ident = TableIdent::new(NamespaceIdent::new("s".to_string()), "t".to_string());
    let of_clients = (0..8).map(|number| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            for part in 0..3 {
                let updates = set_property(&format!("p{number}-{part}"), "x");
                let (status, body) = commit(&server, json!([]), updates).await;
                assert_eq!(status, 200, "{body}");
            }
        })
    });
    let own = (0..4).map(|number| {
        let (server, ident) = (Arc::clone(&server), ident.clone());
        tokio::spawn(async move {
            let table = server.catalog.load_table(&ident).await.unwrap();
            let file = DataFileBuilder::default()
                .content(DataContentType::Data)
                .file_path(format!(
                    "{}/data/{number}.parquet",
                    table.metadata.location()
                ))
                .file_format(DataFileFormat::Parquet)
                .partition_spec_id(0)
                .record_count(1)
                .file_size_in_bytes(10)
                .build()
                .unwrap();
            append_files(&*server.catalog, &table, vec![file], BTreeMap::new())
                .await
                .unwrap();
        })
    });
    let tasks: Vec<_> = of_clients.chain(own).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let metadata = server.metadata("t").await;
    assert_eq!(metadata["properties"].as_object().unwrap().len(), 24);
    assert_eq!(metadata["snapshots"].as_array().unwrap().len(), 4);
}
