//! Configuration and namespaces.

use serde_json::json;

use crate::server::{Server, answer, error};

#[tokio::test]
async fn the_configuration_names_the_catalog_and_the_endpoints() {
    let server = Server::start().await;
    for query in ["", "?warehouse=", "?warehouse=iceberg"] {
        let (status, body) = answer(server.request("GET", &format!("/v1/config{query}"))).await;
        assert_eq!(status, 200);
        assert_eq!(body["overrides"], json!({"prefix": "iceberg"}));
        assert_eq!(body["defaults"], json!({}));
    }
    let other = answer(server.request("GET", "/v1/config?warehouse=other")).await;
    let message = error(other, 404, "NoSuchWarehouseException");
    assert!(message.contains("iceberg"), "{message}");
    let other = answer(server.request("GET", "/v1/other/namespaces")).await;
    error(other, 404, "NoSuchWarehouseException");
}

#[tokio::test]
async fn every_endpoint_that_is_announced_is_there() {
    let server = Server::start().await;
    let (_, body) = answer(server.request("GET", "/v1/config")).await;
    let endpoints = body["endpoints"].as_array().unwrap();
    assert!(endpoints.len() > 20);
    for endpoint in endpoints {
        let (method, path) = endpoint.as_str().unwrap().split_once(' ').unwrap();
        let path = path
            .replace("{prefix}", "iceberg")
            .replace("{namespace}", "none")
            .replace("{table}", "none")
            .replace("{view}", "none");
        let response = server.request(method, &path).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert!(
            status != 406 && status < 500 && !text.contains("NoSuchEndpoint"),
            "{endpoint}: {status} {text}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_the_form_of_the_protocol() {
    let server = Server::start().await;
    for path in [
        "/v1",
        "/v1/iceberg",
        "/v2/config",
        "/v1/iceberg/namespaces/s/nothing",
    ] {
        let (status, body) = answer(server.request("GET", path)).await;
        assert_eq!(status, 404, "{path}: {body}");
        assert_eq!(body["error"]["type"], "NoSuchEndpointException", "{path}");
    }
    let put = server.call("PUT", "namespaces", None).await;
    error(put, 406, "UnsupportedOperationException");
    let plan = server.post("namespaces/s/tables/t/plan", json!({})).await;
    error(plan, 404, "NoSuchEndpointException");
}

#[tokio::test]
async fn namespaces_live_from_creation_to_drop() {
    let server = Server::start().await;
    let create = json!({"namespace": ["sales"], "properties": {"owner": "ann"}});
    let (status, body) = server.post("namespaces", create.clone()).await;
    assert_eq!(status, 200);
    assert_eq!(body["namespace"], json!(["sales"]));
    assert_eq!(body["properties"]["owner"], "ann");
    error(
        server.post("namespaces", create).await,
        409,
        "AlreadyExistsException",
    );

    let (_, body) = server.get("namespaces").await;
    assert_eq!(body["namespaces"], json!([["s"], ["sales"]]));
    assert!(body["next-page-token"].is_null());
    let (_, body) = server.get("namespaces/sales").await;
    assert_eq!(body["properties"]["owner"], "ann");
    let location = body["properties"]["location"].as_str().unwrap();
    assert!(location.ends_with("/warehouse/sales"), "{location}");
    assert_eq!(server.call("HEAD", "namespaces/sales", None).await.0, 204);
    assert_eq!(server.call("HEAD", "namespaces/sale", None).await.0, 404);

    server.create_table("t").await;
    let full = server.call("DELETE", "namespaces/s", None).await;
    error(full, 409, "NamespaceNotEmptyException");
    assert_eq!(server.call("DELETE", "namespaces/sales", None).await.0, 204);
    let gone = server.call("DELETE", "namespaces/sales", None).await;
    error(gone, 404, "NoSuchNamespaceException");
    error(
        server.get("namespaces/sales").await,
        404,
        "NoSuchNamespaceException",
    );
    let tables = server.get("namespaces/sales/tables").await;
    error(tables, 404, "NoSuchNamespaceException");
}

#[tokio::test]
async fn properties_are_set_and_removed_together() {
    let server = Server::start().await;
    let path = "namespaces/s/properties";
    let (status, body) = server
        .post(
            path,
            json!({"updates": {"b": "2", "a": "1"}, "removals": ["x"]}),
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({"updated": ["a", "b"], "removed": [], "missing": ["x"]})
    );
    let (_, body) = server.post(path, json!({"removals": ["a"]})).await;
    assert_eq!(
        body,
        json!({"updated": [], "removed": ["a"], "missing": []})
    );
    let (_, body) = server.get("namespaces/s").await;
    assert_eq!(body["properties"]["b"], "2");
    assert!(body["properties"]["a"].is_null());

    let both = server
        .post(path, json!({"updates": {"b": "3"}, "removals": ["b"]}))
        .await;
    error(both, 422, "UnprocessableEntityException");
    let outside = server
        .post(path, json!({"updates": {"location": "file:///etc"}}))
        .await;
    error(outside, 400, "BadRequestException");
    let missing = server
        .post("namespaces/none/properties", json!({"updates": {"a": "1"}}))
        .await;
    error(missing, 404, "NoSuchNamespaceException");
}

#[tokio::test]
async fn namespaces_have_one_level() {
    let server = Server::start().await;
    for namespace in [json!(["a", "b"]), json!([])] {
        let nested = server
            .post("namespaces", json!({"namespace": namespace}))
            .await;
        let message = error(nested, 406, "UnsupportedOperationException");
        assert!(message.contains("one level"), "{message}");
    }
    for path in ["namespaces/s%1Fx", "namespaces/s%1Fx/tables"] {
        error(server.get(path).await, 404, "NoSuchNamespaceException");
    }
    // Spark looks for a metadata table in this way, and must be told that there is no table.
    let table = server.get("namespaces/s%1Ft/tables/snapshots").await;
    error(table, 404, "NoSuchTableException");
    let view = server.get("namespaces/s%1Ft/views/v").await;
    error(view, 404, "NoSuchViewException");

    let (status, body) = server.get("namespaces?parent=s").await;
    assert_eq!((status, &body["namespaces"]), (200, &json!([])));
    let (_, body) = server.get("namespaces?parent=").await;
    assert_eq!(body["namespaces"], json!([["s"]]));
    for parent in ["none", "s%1Fx"] {
        let missing = server.get(&format!("namespaces?parent={parent}")).await;
        error(missing, 404, "NoSuchNamespaceException");
    }
}

#[tokio::test]
async fn listings_have_pages() {
    let server = Server::start().await;
    let mut expected = vec!["s".to_string()];
    for number in 0..7 {
        let name = format!("n{number}");
        let (status, _) = server
            .post("namespaces", json!({"namespace": [name]}))
            .await;
        assert_eq!(status, 200);
        expected.push(name);
    }
    expected.sort();
    for size in [1, 2, 3, 7, 8, 100] {
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let path = format!("namespaces?pageToken={token}&pageSize={size}");
            let (status, body) = server.get(&path).await;
            assert_eq!(status, 200, "{body}");
            let page = body["namespaces"].as_array().unwrap();
            assert!(page.len() <= size);
            found.extend(
                page.iter()
                    .map(|name| name[0].as_str().unwrap().to_string()),
            );
            match body["next-page-token"].as_str() {
                Some(next) => token = next.to_string(),
                None => break,
            }
        }
        assert_eq!(found, expected, "pages of {size}");
    }
    for query in [
        "pageToken=%21",
        "pageToken=&pageSize=0",
        "pageToken=&pageSize=x",
    ] {
        let bad = server.get(&format!("namespaces?{query}")).await;
        error(bad, 400, "BadRequestException");
    }
}
