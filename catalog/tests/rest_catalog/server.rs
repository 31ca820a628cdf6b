//! An Iceberg REST catalog over the SQL catalog, whose answers go wrong when a test wants it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use iceberg::spec::{Schema, SortOrder, UnboundPartitionSpec, ViewVersion};
use iceberg::{TableIdent, TableRequirement, TableUpdate, ViewUpdate};
use ingot_catalog::commit::{
    CommitRequest, NewView, commit_requested, create_requested_view, purge_table,
    replace_requested_view, stage_create,
};
use ingot_catalog::{
    Catalog, CatalogError, RestCatalog, RestCatalogOptions, SqlCatalog, Storage, Table, View,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::common::ident;

/// The prefix that the server gives its paths, escaped.
const PREFIX: &str = "the%20lake";
const PAGE_SIZE: usize = 2;
/// Below this, requests are answered.
const BASE: &str = "/base";

/// What goes wrong.
#[derive(Clone)]
pub enum Fault {
    /// Answers this and does nothing.
    Instead(u16, &'static str),
    /// Does it, and answers this.
    After(u16, &'static str),
    /// Does it, and never answers.
    AfterSilence,
    /// Answers this, and does it so much later.
    Before(u16, Duration),
    /// Sends the client on to this address.
    Redirect(u16, String),
    /// Takes it for a `GET`, as clients make it of what is redirected.
    AsGet,
}

struct PlannedFault {
    /// What the request's method and path begin with and end with.
    method: &'static str,
    path_end: String,
    fault: Fault,
    is_permanent: bool,
}

/// Who gets in, and what they get.
#[derive(Default)]
pub struct Rules {
    /// The tokens that are good; `None` lets everybody in.
    pub tokens: Option<Vec<String>>,
    /// How long new ones are, in seconds.
    pub token_lifetime: Option<u64>,
    /// What answers with a table say about storage, to those who ask.
    pub config: Value,
    /// Credentials that come with them, each for a prefix of its own.
    pub credentials: Value,
    /// Whether answers leave out where the metadata is.
    pub hides_metadata_location: bool,
    /// Namespaces within others.
    pub nested: Vec<Vec<&'static str>>,
    /// What the server does not offer, of what it lists.
    pub withheld: Vec<&'static str>,
}

pub struct Server {
    pub catalog: Arc<SqlCatalog>,
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    tables: Tables,
    faults: Mutex<Vec<PlannedFault>>,
    log: Mutex<Vec<String>>,
    issued: Mutex<usize>,
}

/// What the server has below its prefix.
pub struct Tables {
    catalog: Arc<dyn Catalog>,
    rules: Mutex<Rules>,
}

impl Server {
    pub async fn start(catalog: Arc<SqlCatalog>) -> Self {
        let shared = Arc::new(Shared {
            tables: Tables::new(catalog.clone()),
            faults: Mutex::default(),
            log: Mutex::default(),
            issued: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{BASE}", listener.local_addr().unwrap());
        let routes = Router::new()
            .fallback(handle)
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self {
            catalog,
            url,
            shared,
        }
    }

    pub fn options(&self) -> RestCatalogOptions {
        let mut options = RestCatalogOptions::new(&self.url);
        options.warehouse = Some("lake".to_string());
        options.request_timeout = Duration::from_secs(20);
        options
    }

    /// Opens the catalog as another process would.
    pub async fn open(&self, storage: Arc<Storage>) -> Arc<RestCatalog> {
        RestCatalog::open("lake", storage, self.options())
            .await
            .unwrap()
    }

    /// The next request like this goes wrong.
    pub fn plan(&self, method: &'static str, path_end: &str, fault: Fault) {
        self.add(method, path_end, fault, false);
    }

    /// All requests like this go wrong.
    pub fn plan_always(&self, method: &'static str, path_end: &str, fault: Fault) {
        self.add(method, path_end, fault, true);
    }

    fn add(&self, method: &'static str, path_end: &str, fault: Fault, is_permanent: bool) {
        self.shared.faults.lock().unwrap().push(PlannedFault {
            method,
            path_end: path_end.to_string(),
            fault,
            is_permanent,
        });
    }

    pub fn heal(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    pub fn set_rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.shared.tables.rules.lock().unwrap());
    }

    /// How many requests there were like this.
    pub fn count(&self, method: &str, path_end: &str) -> usize {
        let log = self.shared.log.lock().unwrap();
        let wanted = format!("{method} ");
        log.iter()
            .filter(|line| line.starts_with(&wanted) && line.ends_with(path_end))
            .count()
    }
}

/// An error of the protocol.
pub struct Refusal(pub u16, pub &'static str, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"error": {"message": self.2, "type": self.1, "code": self.0}});
        answer(self.0, body.to_string())
    }
}

impl From<CatalogError> for Refusal {
    fn from(error: CatalogError) -> Self {
        let (status, exception) = match &error {
            CatalogError::SchemaNotFound { .. } => (404, "NoSuchNamespaceException"),
            CatalogError::TableNotFound { .. } | CatalogError::IsView { .. } => {
                (404, "NoSuchTableException")
            }
            CatalogError::ViewNotFound { .. } | CatalogError::IsTable { .. } => {
                (404, "NoSuchViewException")
            }
            CatalogError::TableExists { .. }
            | CatalogError::ViewExists { .. }
            | CatalogError::SchemaExists { .. } => (409, "AlreadyExistsException"),
            CatalogError::SchemaNotEmpty { .. } => (409, "NamespaceNotEmptyException"),
            CatalogError::CommitConflict { .. } => (409, "CommitFailedException"),
            CatalogError::Unsupported(_) => (406, "UnsupportedOperationException"),
            _ => (400, "BadRequestException"),
        };
        Self(status, exception, error.to_string())
    }
}

pub type Outcome = Result<Value, Refusal>;

pub fn answer(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let method = parts.method.as_str().to_string();
    let path = parts.uri.path().to_string();
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let path = path
        .strip_prefix(&format!("{BASE}/v1/"))
        .unwrap_or_else(|| panic!("{path} is not below {BASE}/v1"))
        .to_string();
    shared.log.lock().unwrap().push(format!("{method} {path}"));
    let fault = shared.take_fault(&method, &path);
    if let Some(Fault::Instead(status, body)) = fault {
        return answer(status, body.to_string());
    }
    if let Some(Fault::Redirect(status, address)) = fault {
        let status = StatusCode::from_u16(status).unwrap();
        return (status, [(header::LOCATION, address)], "").into_response();
    }
    if let Some(Fault::Before(status, delay)) = fault {
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let late = shared.respond(&method, &path, &query, &parts.headers, &body);
            if let Err(refusal) = late.await {
                panic!("{}", refusal.2);
            }
        });
        return answer(status, String::new());
    }
    let done_as = match fault {
        Some(Fault::AsGet) => "GET",
        _ => method.as_str(),
    };
    let outcome = shared
        .respond(done_as, &path, &query, &parts.headers, &body)
        .await;
    match fault {
        Some(Fault::After(status, body)) => answer(status, body.to_string()),
        Some(Fault::AfterSilence) => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            answer(200, String::new())
        }
        _ => match outcome {
            Ok(Value::Null) => StatusCode::NO_CONTENT.into_response(),
            Ok(body) => answer(200, body.to_string()),
            Err(refusal) => refusal.into_response(),
        },
    }
}

impl Shared {
    fn take_fault(&self, method: &str, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let index = faults
            .iter()
            .position(|planned| planned.method == method && path.ends_with(&planned.path_end))?;
        match faults[index].is_permanent {
            true => Some(faults[index].fault.clone()),
            false => Some(faults.remove(index).fault),
        }
    }

    async fn respond(
        &self,
        method: &str,
        path: &str,
        query: &HashMap<String, String>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Outcome {
        if path == "oauth/tokens" {
            return self.issue(body);
        }
        self.check_token(headers)?;
        if path == "config" {
            assert_eq!(query.get("warehouse").map(String::as_str), Some("lake"));
            return Ok(self.config());
        }
        let path = path.strip_prefix(PREFIX).unwrap().trim_start_matches('/');
        self.tables
            .respond(method, path, query, headers, body)
            .await
    }

    fn issue(&self, body: &[u8]) -> Outcome {
        let form: HashMap<String, String> =
            url::form_urlencoded::parse(body).into_owned().collect();
        let get = |name: &str| form.get(name).map(String::as_str);
        if get("client_id") != Some("ann") || get("client_secret") != Some("hush") {
            return Err(Refusal(
                401,
                "NotAuthorizedException",
                "unknown client".to_string(),
            ));
        }
        assert_eq!(get("grant_type"), Some("client_credentials"));
        let mut issued = self.issued.lock().unwrap();
        *issued += 1;
        let token = format!("token-{issued}");
        let mut rules = self.tables.rules.lock().unwrap();
        rules.tokens = Some(vec![token.clone()]);
        Ok(json!({
            "access_token": token,
            "token_type": "bearer",
            "expires_in": rules.token_lifetime,
        }))
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let rules = self.tables.rules.lock().unwrap();
        let Some(tokens) = &rules.tokens else {
            return Ok(());
        };
        let given = headers.get(header::AUTHORIZATION);
        let given = given.map_or("", |value| value.to_str().unwrap());
        if tokens
            .iter()
            .any(|token| given == format!("Bearer {token}"))
        {
            return Ok(());
        }
        Err(Refusal(
            401,
            "NotAuthorizedException",
            "who are you".to_string(),
        ))
    }

    fn config(&self) -> Value {
        let rules = self.tables.rules.lock().unwrap();
        let endpoints = [
            "POST /v1/{prefix}/transactions/commit",
            "GET /v1/{prefix}/namespaces/{namespace}/views",
            "GET /v1/{prefix}/namespaces/{namespace}/views/{view}",
        ];
        let offered: Vec<&str> = endpoints
            .into_iter()
            .filter(|endpoint| !rules.withheld.contains(endpoint))
            .collect();
        json!({
            "defaults": {"prefix": "not-this"},
            "overrides": {"prefix": PREFIX},
            "endpoints": offered,
        })
    }
}

impl Tables {
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self {
            catalog,
            rules: Mutex::default(),
        }
    }

    /// The answer to a request below the prefix.
    pub async fn respond(
        &self,
        method: &str,
        path: &str,
        query: &HashMap<String, String>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Outcome {
        let segments: Vec<String> = path
            .split('/')
            .map(|segment| {
                let decoded = percent_encoding::percent_decode_str(segment);
                decoded.decode_utf8().unwrap().into_owned()
            })
            .collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let body: Value = match body {
            [] => Value::Null,
            body => serde_json::from_slice(body).unwrap(),
        };
        let wants_access = headers
            .get("x-iceberg-access-delegation")
            .is_some_and(|value| value == "vended-credentials");
        match (method, segments.as_slice()) {
            (_, ["namespaces"] | ["namespaces", _] | ["namespaces", _, "properties"]) => {
                self.namespaces(method, &segments[1..], query, body).await
            }
            (_, ["namespaces", schema, "tables", rest @ ..]) => {
                self.tables(method, schema, rest, query, body, wants_access)
                    .await
            }
            ("POST", ["namespaces", schema, "register"]) => {
                let name = ident(schema, body["name"].as_str().unwrap());
                let location = body["metadata-location"].as_str().unwrap();
                let table = self.catalog.register_table(&name, location).await?;
                Ok(self.table(&table, wants_access))
            }
            (_, ["namespaces", schema, "views", rest @ ..]) => {
                self.views(method, schema, rest, query, body).await
            }
            ("POST", ["tables", "rename"]) => {
                let (from, to) = (named(&body["source"]), named(&body["destination"]));
                self.catalog.rename_table(&from, &to).await?;
                Ok(Value::Null)
            }
            ("POST", ["views", "rename"]) => {
                let (from, to) = (named(&body["source"]), named(&body["destination"]));
                self.catalog.rename_view(&from, &to).await?;
                Ok(Value::Null)
            }
            ("POST", ["transactions", "commit"]) => {
                let changes = body["table-changes"].as_array().unwrap();
                let requests = changes.iter().map(|change| {
                    let name = named(&change["identifier"]);
                    commit_request(name, change)
                });
                commit_requested(&*self.catalog, requests.collect()).await?;
                Ok(Value::Null)
            }
            _ => panic!("unexpected request {method} {path}"),
        }
    }

    async fn namespaces(
        &self,
        method: &str,
        segments: &[&str],
        query: &HashMap<String, String>,
        body: Value,
    ) -> Outcome {
        match (method, segments) {
            ("GET", []) if query.contains_key("parent") => {
                let parent: Vec<&str> = query["parent"].split('\u{1f}').collect();
                let rules = self.rules.lock().unwrap();
                let children = rules.nested.iter().filter(|levels| {
                    let (_, above) = levels.split_last().unwrap();
                    above == parent.as_slice()
                });
                Ok(json!({"namespaces": children.collect::<Vec<_>>()}))
            }
            ("GET", []) => {
                let (page, next) = page(self.catalog.list_schemas().await?, query);
                let names: Vec<Value> = page.into_iter().map(|name| json!([name])).collect();
                Ok(json!({"namespaces": names, "next-page-token": next}))
            }
            ("POST", []) => {
                let properties = read(&body["properties"]);
                let schema = body["namespace"][0].as_str().unwrap();
                self.catalog.create_schema(schema, properties).await?;
                Ok(body)
            }
            ("GET", [schema]) => {
                let properties = self.catalog.load_schema(schema).await?;
                Ok(json!({"namespace": [schema], "properties": properties}))
            }
            ("DELETE", [schema]) => {
                self.catalog.drop_schema(schema).await?;
                Ok(Value::Null)
            }
            ("POST", [schema, "properties"]) => {
                let removals: Vec<String> = read(&body["removals"]);
                let set = read(&body["updates"]);
                self.catalog
                    .change_schema_properties(schema, set, &removals)
                    .await?;
                Ok(json!({"updated": [], "removed": [], "missing": []}))
            }
            _ => panic!("unexpected request {method} {segments:?}"),
        }
    }

    async fn tables(
        &self,
        method: &str,
        schema: &str,
        segments: &[&str],
        query: &HashMap<String, String>,
        body: Value,
        wants_access: bool,
    ) -> Outcome {
        let catalog = &*self.catalog;
        match (method, segments) {
            ("GET", []) => Ok(identifiers(
                schema,
                catalog.list_tables(schema).await?,
                query,
            )),
            ("POST", []) => {
                assert_eq!(body["stage-create"], true);
                let name = ident(schema, body["name"].as_str().unwrap());
                let mut properties: HashMap<String, String> = read(&body["properties"]);
                if let Some(location) = body["location"].as_str() {
                    properties.insert("location".to_string(), location.to_string());
                }
                let staged = stage_create(
                    catalog,
                    &name,
                    read::<Schema>(&body["schema"]),
                    read::<UnboundPartitionSpec>(&body["partition-spec"]),
                    read::<SortOrder>(&body["write-order"]),
                    properties,
                )
                .await?;
                Ok(self.table(staged.table(), wants_access))
            }
            ("GET", [name]) => {
                let table = catalog.load_table(&ident(schema, name)).await?;
                Ok(self.table(&table, wants_access))
            }
            ("POST", [name]) => {
                let name = ident(schema, name);
                assert_eq!(named(&body["identifier"]), name);
                let request = commit_request(name, &body);
                let tables = commit_requested(catalog, vec![request]).await?;
                Ok(self.table(&tables[0], wants_access))
            }
            ("DELETE", [name]) => {
                let name = ident(schema, name);
                if query["purgeRequested"] == "true" {
                    let table = catalog.drop_table_for_purge(&name).await?;
                    purge_table(catalog, &table).await?;
                } else {
                    catalog.drop_table(&name).await?;
                }
                Ok(Value::Null)
            }
            _ => panic!("unexpected request {method} {segments:?}"),
        }
    }

    async fn views(
        &self,
        method: &str,
        schema: &str,
        segments: &[&str],
        query: &HashMap<String, String>,
        body: Value,
    ) -> Outcome {
        let catalog = &*self.catalog;
        match (method, segments) {
            ("GET", []) => Ok(identifiers(
                schema,
                catalog.list_views(schema).await?,
                query,
            )),
            ("POST", []) => {
                let name = ident(schema, body["name"].as_str().unwrap());
                let new = NewView {
                    location: None,
                    schema: read(&body["schema"]),
                    version: read::<ViewVersion>(&body["view-version"]),
                    properties: read(&body["properties"]),
                };
                Ok(view(&create_requested_view(catalog, &name, new).await?))
            }
            ("GET", [name]) => Ok(view(&catalog.load_view(&ident(schema, name)).await?)),
            ("POST", [name]) => {
                let uuids = [read(&body["requirements"][0]["uuid"])];
                let updates: Vec<ViewUpdate> = read(&body["updates"]);
                let name = ident(schema, name);
                let replaced = replace_requested_view(catalog, &name, &uuids, &updates);
                Ok(view(&replaced.await?))
            }
            ("DELETE", [name]) => {
                catalog.drop_view(&ident(schema, name)).await?;
                Ok(Value::Null)
            }
            _ => panic!("unexpected request {method} {segments:?}"),
        }
    }

    fn table(&self, table: &Table, wants_access: bool) -> Value {
        let rules = self.rules.lock().unwrap();
        let (config, credentials) = match wants_access {
            true => (rules.config.clone(), rules.credentials.clone()),
            false => (Value::Null, Value::Null),
        };
        let location = match rules.hides_metadata_location {
            true => None,
            false => table.metadata_location.as_ref(),
        };
        json!({
            "metadata-location": location,
            "metadata": *table.metadata,
            "config": config,
            "storage-credentials": credentials,
        })
    }
}

fn view(view: &View) -> Value {
    json!({
        "metadata-location": view.metadata_location,
        "metadata": *view.metadata,
    })
}

fn read<T: DeserializeOwned>(json: &Value) -> T {
    serde_json::from_value(json.clone()).unwrap()
}

fn named(json: &Value) -> TableIdent {
    let namespace: Vec<String> = read(&json["namespace"]);
    ident(&namespace[0], json["name"].as_str().unwrap())
}

fn commit_request(ident: TableIdent, body: &Value) -> CommitRequest {
    CommitRequest {
        ident,
        requirements: read::<Vec<TableRequirement>>(&body["requirements"]),
        updates: read::<Vec<TableUpdate>>(&body["updates"]),
    }
}

fn identifiers(schema: &str, names: Vec<String>, query: &HashMap<String, String>) -> Value {
    let (page, next) = page(names, query);
    let page = page
        .into_iter()
        .map(|name| json!({"namespace": [schema], "name": name}));
    json!({"identifiers": page.collect::<Vec<_>>(), "next-page-token": next})
}

/// A page, whose token is the number of the first name on it.
fn page(names: Vec<String>, query: &HashMap<String, String>) -> (Vec<String>, Option<String>) {
    let start = query["pageToken"].parse().unwrap_or(0);
    let end = start + PAGE_SIZE;
    let next = (end < names.len()).then(|| end.to_string());
    let page = names.into_iter().skip(start).take(PAGE_SIZE);
    (page.collect(), next)
}
