//! Commits to several tables at once.

use serde_json::{Value, json};

use crate::server::{Server, error, schema};

fn change(name: &str, requirements: Value, updates: Value) -> Value {
    json!({
        "identifier": {"namespace": ["s"], "name": name},
        "requirements": requirements,
        "updates": updates,
    })
}

fn set(value: &str) -> Value {
    json!([{"action": "set-properties", "updates": {"a": value}}])
}

#[tokio::test]
async fn all_tables_change_or_none() {
    let server = Server::start().await;
    server.create_table("one").await;
    server.create_table("two").await;
    let changes = json!({"table-changes": [
        change("one", json!([]), set("1")),
        change("two", json!([]), set("2")),
    ]});
    let (status, body) = server.post("transactions/commit", changes).await;
    assert_eq!(status, 204, "{body}");
    assert_eq!(server.metadata("one").await["properties"]["a"], "1");
    assert_eq!(server.metadata("two").await["properties"]["a"], "2");
    let files = server.files().await;

    let stale = json!([{"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 1}]);
    for (second, status, exception) in [
        (change("two", stale, set("4")), 409, "CommitFailedException"),
        (
            change("three", json!([]), set("4")),
            404,
            "NoSuchTableException",
        ),
        (
            change(
                "two",
                json!([]),
                json!([{"action": "set-current-schema", "schema-id": 9}]),
            ),
            400,
            "BadRequestException",
        ),
        (
            change("one", json!([]), set("4")),
            400,
            "BadRequestException",
        ),
    ] {
        let changes = json!({"table-changes": [change("one", json!([]), set("3")), second]});
        let refused = server.post("transactions/commit", changes).await;
        error(refused, status, exception);
        assert_eq!(server.metadata("one").await["properties"]["a"], "1");
        assert_eq!(server.files().await, files);
    }
}

#[tokio::test]
async fn a_table_is_created_together_with_a_change() {
    let server = Server::start().await;
    server.create_table("one").await;
    let create = json!([
        {"action": "add-schema", "schema": schema()},
        {"action": "set-current-schema", "schema-id": -1},
    ]);
    let changes = json!({"table-changes": [
        change("one", json!([]), set("1")),
        change("new", json!([{"type": "assert-create"}]), create),
    ]});
    let (status, body) = server.post("transactions/commit", changes.clone()).await;
    assert_eq!(status, 204, "{body}");
    assert_eq!(server.metadata("one").await["properties"]["a"], "1");
    assert_eq!(server.metadata("new").await["last-column-id"], 3);
    let again = server.post("transactions/commit", changes).await;
    error(again, 409, "AlreadyExistsException");
}

#[tokio::test]
async fn a_transaction_must_name_its_tables() {
    let server = Server::start().await;
    for body in [
        json!({}),
        json!({"table-changes": []}),
        json!({"table-changes": [{"requirements": [], "updates": []}]}),
    ] {
        let refused = server.post("transactions/commit", body).await;
        error(refused, 400, "BadRequestException");
    }
}
