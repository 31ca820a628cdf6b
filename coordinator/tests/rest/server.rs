//! A server of the REST catalog, and calls to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Router;
use ingot_catalog::{Catalog, Database, SqlCatalog, Storage, StorageConfig};
use ingot_coordinator::authentication::Authentication;
use ingot_coordinator::rest::{BASE_PATH, RestCatalog, router};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

pub struct Server {
    pub folder: tempfile::TempDir,
    pub catalog: Arc<SqlCatalog>,
    url: String,
    client: Client,
}

/// Status and JSON of an answer; `Null` for an empty body.
pub type Answer = (u16, Value);

impl Server {
    /// Open to everybody, with the namespace `s`.
    pub async fn start() -> Self {
        Self::start_with(Authentication::None).await
    }

    pub async fn start_with(authentication: Authentication) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::connect_sqlite(&folder.path().join("catalog.db"))
            .await
            .unwrap();
        let warehouse = folder.path().join("warehouse").display().to_string();
        let storage = Storage::new(StorageConfig::default());
        let catalog = SqlCatalog::open("iceberg", database, storage, &warehouse)
            .await
            .unwrap();
        catalog.create_schema("s", HashMap::new()).await.unwrap();
        let rest = RestCatalog {
            catalogs: vec![catalog.clone()],
            authentication,
            gives_credentials: false,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{BASE_PATH}", listener.local_addr().unwrap());
        let routes = Router::new().nest(BASE_PATH, router(rest));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self {
            folder,
            catalog,
            url,
            client: Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// A request to a path below the base path.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method: Method = method.parse().unwrap();
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Calls `v1/iceberg/…`.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method, &format!("/v1/iceberg/{path}"));
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        answer(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(body)).await
    }

    /// Creates a table of [`schema`]; returns the answer's body.
    pub async fn create_table(&self, name: &str) -> Value {
        let (status, body) = self
            .post(
                "namespaces/s/tables",
                json!({"name": name, "schema": schema()}),
            )
            .await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The metadata of a table, by the protocol.
    pub async fn metadata(&self, name: &str) -> Value {
        let (status, body) = self.get(&format!("namespaces/s/tables/{name}")).await;
        assert_eq!(status, 200, "{body}");
        body["metadata"].clone()
    }

    /// All files below the warehouse.
    pub async fn files(&self) -> Vec<String> {
        let listed = self.catalog.storage().list(self.catalog.warehouse()).await;
        let mut files: Vec<String> = listed
            .unwrap()
            .into_iter()
            .map(|file| file.location)
            .collect();
        files.sort();
        files
    }
}

pub async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body = match text.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}")),
    };
    if status >= 400 && !body.is_null() && body.get("error_description").is_none() {
        let error = &body["error"];
        assert_eq!(error["code"], status, "{body}");
        let message = error["message"].as_str().unwrap();
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    (status, body)
}

/// Asserts an error's status and exception; returns its message.
#[track_caller]
pub fn error(answer: Answer, status: u16, exception: &str) -> String {
    let (actual, body) = answer;
    assert_eq!(
        (actual, body["error"]["type"].as_str().unwrap_or_default()),
        (status, exception),
        "{body}"
    );
    body["error"]["message"].as_str().unwrap().to_string()
}

/// `id long not null, day date, name string`
pub fn schema() -> Value {
    json!({
        "type": "struct",
        "schema-id": 0,
        "fields": [
            {"id": 1, "name": "id", "type": "long", "required": true},
            {"id": 2, "name": "day", "type": "date", "required": false},
            {"id": 3, "name": "name", "type": "string", "required": false},
        ],
    })
}

/// A snapshot of a table that nobody looks into.
pub fn snapshot(metadata: &Value, id: i64, parent: Option<i64>) -> Value {
    let sequence_number = metadata["last-sequence-number"].as_i64().unwrap() + 1;
    let timestamp = metadata["last-updated-ms"].as_i64().unwrap() + 1;
    let location = metadata["location"].as_str().unwrap();
    let mut snapshot = json!({
        "snapshot-id": id,
        "sequence-number": sequence_number,
        "timestamp-ms": timestamp,
        "manifest-list": format!("{location}/metadata/snap-{id}.avro"),
        "summary": {"operation": "append"},
        "schema-id": metadata["current-schema-id"],
    });
    if let Some(parent) = parent {
        snapshot["parent-snapshot-id"] = parent.into();
    }
    snapshot
}

/// Users of the tests of authentication.
pub fn users() -> Authentication {
    Authentication::Passwords(BTreeMap::from([("ann".to_string(), "se:cret".to_string())]))
}
