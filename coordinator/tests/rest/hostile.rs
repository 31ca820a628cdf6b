//! Requests that are wrong on purpose: the server stays up and changes nothing.

use serde_json::{Value, json};

use crate::server::{Server, answer, error, schema, snapshot};

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let server = Server::start().await;
    server.create_table("t").await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for path in [
        "namespaces",
        "namespaces/s/properties",
        "namespaces/s/tables",
        "namespaces/s/tables/t",
        "namespaces/s/tables/t/metrics",
        "namespaces/s/register",
        "namespaces/s/views",
        "tables/rename",
        "views/rename",
        "transactions/commit",
    ] {
        for body in [
            "",
            "{",
            "[]",
            "null",
            "\"x\"",
            "{\"name\": 1, \"updates\": 1}",
            "\u{0}",
            &deep,
        ] {
            let request = server
                .request("POST", &format!("/v1/iceberg/{path}"))
                .body(body.to_string());
            let (status, answer) = answer(request).await;
            assert_eq!(status, 400, "{path} {body:.20}: {answer}");
        }
    }
    let huge = vec![b' '; 33 << 20];
    let request = server.request("POST", "/v1/iceberg/namespaces").body(huge);
    // The server may close the connection before it has read all of it.
    if let Ok(response) = request.send().await {
        assert_eq!(response.status().as_u16(), 400);
    }
    assert_eq!(server.get("namespaces").await.0, 200);
}

#[tokio::test]
async fn names_cannot_leave_the_warehouse() {
    let server = Server::start().await;
    for name in [
        "..",
        "../x",
        "a/../../b",
        "/etc/passwd",
        "a\\b",
        "",
        "a\u{0}b",
        "x\ny",
    ] {
        let namespace = server
            .post("namespaces", json!({"namespace": [name]}))
            .await;
        error(namespace, 400, "BadRequestException");
        let table = json!({"name": name, "schema": schema()});
        let table = server.post("namespaces/s/tables", table).await;
        error(table, 400, "BadRequestException");
    }
    for path in [
        "namespaces/%2E%2E/tables",
        "namespaces/s/tables/%2E%2E%2Fx",
        "namespaces/%2Fetc",
    ] {
        let (status, body) = server.get(path).await;
        assert_eq!(status, 404, "{path}: {body}");
    }
    let (status, body) = server.get("namespaces/%FF").await;
    assert_eq!(status, 400, "{body}");
    assert_eq!(server.files().await, Vec::<String>::new());
}

#[tokio::test]
async fn locations_cannot_leave_the_warehouse() {
    let server = Server::start().await;
    let created = server.create_table("t").await;
    let inside = created["metadata"]["location"].as_str().unwrap();
    let secret = server.folder.path().join("secret.metadata.json");
    std::fs::write(&secret, "{}").unwrap();
    for location in [
        "file:///etc",
        "/etc/passwd",
        "s3://other-bucket/x",
        "relative/x",
        "gopher://x/y",
        "",
        &format!("{inside}/../../../x"),
        &format!("{}x", server.catalog.warehouse()),
        &secret.display().to_string(),
    ] {
        let properties = json!({"write.data.path": location});
        let mut bad_snapshot = snapshot(&created["metadata"], 9, None);
        bad_snapshot["manifest-list"] = location.into();
        let statistics = json!({
            "snapshot-id": 1, "statistics-path": location, "file-size-in-bytes": 1,
            "file-footer-size-in-bytes": 1, "blob-metadata": [],
        });
        for updates in [
            json!([{"action": "set-location", "location": location}]),
            json!([{"action": "set-properties", "updates": properties}]),
            json!([{"action": "add-snapshot", "snapshot": bad_snapshot}]),
            json!([{"action": "set-statistics", "snapshot-id": 1, "statistics": statistics}]),
        ] {
            let commit = json!({"requirements": [], "updates": updates});
            let refused = server.post("namespaces/s/tables/t", commit).await;
            error(refused, 400, "BadRequestException");
        }
        let create = json!({"name": "u", "schema": schema(), "location": location});
        let refused = server.post("namespaces/s/tables", create).await;
        error(refused, 400, "BadRequestException");
        let commit = json!({"requirements": [{"type": "assert-create"}], "updates": [
            {"action": "add-schema", "schema": schema()},
            {"action": "set-location", "location": location}]});
        let refused = server.post("namespaces/s/tables/u", commit).await;
        error(refused, 400, "BadRequestException");
        let namespace = json!({"namespace": ["u"], "properties": {"location": location}});
        error(
            server.post("namespaces", namespace).await,
            400,
            "BadRequestException",
        );
        let register = json!({"name": "u", "metadata-location": location});
        let refused = server.post("namespaces/s/register", register).await;
        error(refused, 400, "BadRequestException");
    }
    assert_eq!(server.files().await.len(), 1);
}

#[tokio::test]
async fn whether_a_file_outside_exists_is_not_told() {
    let server = Server::start().await;
    let mut messages = Vec::new();
    for name in ["there.metadata.json", "missing.metadata.json"] {
        let path = server.folder.path().join(name);
        if name.starts_with("there") {
            std::fs::write(&path, "{}").unwrap();
        }
        let location = path.display().to_string();
        let register = json!({"name": "u", "metadata-location": location});
        let refused = server.post("namespaces/s/register", register).await;
        let message = error(refused, 400, "BadRequestException");
        messages.push(message.replace(name, "FILE"));
    }
    assert_eq!(messages[0], messages[1]);
}

#[tokio::test]
async fn values_out_of_range_do_not_take_the_server_down() {
    let server = Server::start().await;
    let created = server.create_table("t").await;
    let first = snapshot(&created["metadata"], 1, None);
    let commit = json!({"requirements": [], "updates": [
        {"action": "add-snapshot", "snapshot": first},
        {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 1}]});
    assert_eq!(server.post("namespaces/s/tables/t", commit).await.0, 200);
    let metadata = server.metadata("t").await;
    let mut updates = Vec::new();
    for (field, value) in [
        ("timestamp-ms", json!(i64::MIN)),
        ("timestamp-ms", json!(i64::MAX)),
        ("sequence-number", json!(i64::MIN)),
        ("sequence-number", json!(i64::MAX)),
        ("snapshot-id", json!(i64::MIN)),
        ("schema-id", json!(i32::MIN)),
    ] {
        let mut edge = snapshot(&metadata, 2, Some(1));
        edge[field] = value;
        updates.push(json!([{"action": "add-snapshot", "snapshot": edge}]));
    }
    let mut odd = schema();
    odd["fields"][0]["id"] = i32::MAX.into();
    updates.push(json!([{"action": "add-schema", "schema": odd}]));
    let mut odd = schema();
    odd["fields"][0]["id"] = i32::MIN.into();
    updates.push(json!([{"action": "add-schema", "schema": odd}]));
    let mut twice = schema();
    twice["fields"][1]["id"] = 1.into();
    updates.push(json!([{"action": "add-schema", "schema": twice}]));
    updates.push(
        json!([{"action": "add-spec", "spec": {"spec-id": i32::MAX, "fields": [
        {"source-id": 1, "field-id": i32::MAX, "name": "p", "transform": "identity"}]}},
        {"action": "add-spec", "spec": {"fields": [
        {"source-id": 2, "name": "q", "transform": "month"}]}}]),
    );
    updates.push(json!([{"action": "add-spec", "spec": {"fields": [
        {"source-id": 1, "name": "p", "transform": "bucket[0]"}]}}]));
    updates.push(json!([{"action": "add-sort-order", "sort-order": {"order-id": i64::MAX, "fields": [
        {"source-id": 99, "transform": "identity", "direction": "asc", "null-order": "nulls-first"}]}}]));
    updates.push(json!([{"action": "remove-snapshots", "snapshot-ids": [1]}]));
    updates.push(json!([{"action": "remove-snapshot-ref", "ref-name": "main"}]));
    for updates in updates {
        let commit = json!({"requirements": [], "updates": updates});
        let (status, body) = server.post("namespaces/s/tables/t", commit).await;
        assert!(status < 500, "{updates}: {body}");
        // Whatever was accepted can be read again.
        assert!(is_readable(&server).await, "{updates}");
    }
}

/// Whether a server that has nothing in memory reads the table.
async fn is_readable(server: &Server) -> bool {
    let metadata = server.metadata("t").await;
    let text = metadata.to_string();
    let parsed: Result<iceberg::spec::TableMetadata, _> = serde_json::from_str(&text);
    parsed.is_ok()
}

#[tokio::test]
async fn strange_schemas_do_not_take_the_server_down() {
    let server = Server::start().await;
    let mut deep = json!("int");
    for level in 0..60 {
        deep = json!({"type": "list", "element-id": 100 + level, "element": deep, "element-required": false});
    }
    for (name, field_type) in [
        ("deep", deep),
        ("decimal", json!("decimal(9999, 9999)")),
        ("fixed", json!("fixed[18446744073709551615]")),
        ("unknown", json!("magic")),
        ("number", json!(7)),
    ] {
        let schema = json!({"type": "struct", "schema-id": 0, "fields": [
            {"id": 1, "name": "c", "type": field_type, "required": false}]});
        let request = json!({"name": name, "schema": schema});
        let (status, body) = server.post("namespaces/s/tables", request).await;
        assert!(status == 200 || status == 400, "{name}: {status} {body}");
        if status == 200 {
            let (status, body) = server.get(&format!("namespaces/s/tables/{name}")).await;
            assert_eq!(status, 200, "{name}: {body}");
        }
    }
    let (status, body) = server.get("namespaces").await;
    assert_eq!((status, body["namespaces"].clone()), (200, json!([["s"]])));
    let _: Value = body;
}
