//! Nessie, as its API's sources describe it, over the branches of the SQL catalog: `HttpTreeApi` with
//! its parameters and `openapi.yaml` (`api/model`), what `TreeApiImpl` demands of hashes
//! (`servers/services`), and the prefixes of `IcebergApiV1ResourceBase` (`catalog/service/rest`).
//! A commit's hash is made of its version's number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat};
use ingot_catalog::{
    CatalogError, CatalogLogEntry, CatalogReference, CatalogReferenceInfo, CatalogReferenceKind,
    RestCatalog, RestCatalogOptions, SqlCatalog, VersionId, VersionedCatalog,
};
use serde_json::{Value, json};

use crate::common::local_storage;
use crate::server::{Outcome, Refusal, Tables, answer};

const WAREHOUSE: &str = "sales";
/// Small, so that there are pages.
const PAGE_SIZE: usize = 2;

/// What goes wrong once.
struct Fault {
    method: &'static str,
    path_end: String,
    status: u16,
    /// Whether the request is done all the same.
    is_done: bool,
}

impl Fault {
    fn answer(&self) -> Response {
        match self.status {
            404 => not_found("No common ancestor".to_string()).into_response(),
            status => answer(status, String::new()),
        }
    }
}

pub struct NessieServer {
    pub catalog: Arc<SqlCatalog>,
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    catalog: Arc<SqlCatalog>,
    /// `http://host:port`
    origin: String,
    token: Mutex<Option<String>>,
    faults: Mutex<Vec<Fault>>,
    log: Mutex<Vec<String>>,
}

impl NessieServer {
    pub async fn start(catalog: Arc<SqlCatalog>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            catalog: Arc::clone(&catalog),
            origin: origin.clone(),
            token: Mutex::default(),
            faults: Mutex::default(),
            log: Mutex::default(),
        });
        let routes = Router::new()
            .fallback(handle)
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self {
            catalog,
            url: format!("{origin}/iceberg"),
            shared,
        }
    }

    pub fn options(&self, uri: &str) -> RestCatalogOptions {
        let mut options = RestCatalogOptions::new(uri);
        options.warehouse = Some(WAREHOUSE.to_string());
        options.request_timeout = Duration::from_secs(20);
        options
    }

    pub async fn open(&self) -> Arc<RestCatalog> {
        let options = self.options(&self.url);
        let opened = RestCatalog::open("lake", local_storage(), options).await;
        opened.unwrap()
    }

    /// From now on everybody has to have it.
    pub fn demand_token(&self, token: &str) {
        *self.shared.token.lock().unwrap() = Some(token.to_string());
    }

    /// The next request like this is answered so, and done or not.
    pub fn plan(&self, method: &'static str, path_end: &str, status: u16, is_done: bool) {
        self.shared.faults.lock().unwrap().push(Fault {
            method,
            path_end: path_end.to_string(),
            status,
            is_done,
        });
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

/// The hash of the version with this number.
pub fn hash_of(version: &VersionId) -> String {
    let mixed = number_of(version)
        .unsigned_abs()
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{mixed:016x}").repeat(4)
}

fn number_of(version: &VersionId) -> i64 {
    match version {
        VersionId::Number(number) => *number,
        VersionId::Hash(hash) => panic!("{hash} is not of the sql catalog"),
    }
}

/// `NessieError`: status, code, message.
struct CoreRefusal(u16, &'static str, String);

impl IntoResponse for CoreRefusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0).unwrap();
        let body = json!({
            "status": self.0,
            "reason": status.canonical_reason(),
            "message": self.2,
            "errorCode": self.1,
            "errorDetails": null,
            "serverStackTrace": null,
        });
        answer(self.0, body.to_string())
    }
}

fn not_found(message: String) -> CoreRefusal {
    CoreRefusal(404, "REFERENCE_NOT_FOUND", message)
}

fn bad_request(message: &str) -> CoreRefusal {
    CoreRefusal(400, "BAD_REQUEST", message.to_string())
}

type CoreOutcome = Result<Value, CoreRefusal>;

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let method = parts.method.as_str().to_string();
    let path = parts.uri.path().to_string();
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    shared.log.lock().unwrap().push(format!("{method} {path}"));
    let headers = &parts.headers;
    assert_eq!(text_of(headers, "accept"), Some("application/json"));
    let has_body = method == "POST";
    assert_eq!(body.is_empty(), !has_body, "{method} {path}");
    assert_eq!(
        text_of(headers, "content-type").is_some(),
        has_body,
        "{path}"
    );
    let token = shared.token.lock().unwrap().clone();
    if let Some(token) = token
        && text_of(headers, "authorization") != Some(format!("Bearer {token}").as_str())
    {
        return answer(401, String::new());
    }
    let fault = shared.take_fault(&method, &path);
    if let Some(fault) = &fault
        && !fault.is_done
    {
        return fault.answer();
    }
    let response = match path.strip_prefix("/api/v2/") {
        Some(path) => {
            let done = shared.core(&method, path, &query, headers, &body).await;
            match done {
                Ok(body) => answer(200, body.to_string()),
                Err(refusal) => refusal.into_response(),
            }
        }
        None => {
            let path = path.strip_prefix("/iceberg/").unwrap();
            let done = shared.iceberg(&method, path, &query, headers, &body).await;
            match done {
                Ok(Value::Null) => StatusCode::NO_CONTENT.into_response(),
                Ok(body) => answer(200, body.to_string()),
                Err(refusal) => refusal.into_response(),
            }
        }
    };
    match fault {
        Some(fault) => fault.answer(),
        None => response,
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

fn decoded(segment: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(segment);
    decoded.decode_utf8().unwrap().into_owned()
}

/// `name@hash*milliseconds`, each part of which may be left out.
#[derive(Debug)]
struct Spec {
    name: Option<String>,
    hash: Option<String>,
    time_ms: Option<i64>,
}

impl Spec {
    fn parse(text: &str) -> Self {
        let (rest, time) = match text.split_once('*') {
            Some((rest, time)) => (rest, Some(time)),
            None => (text, None),
        };
        let (name, hash) = match rest.split_once('@') {
            Some((name, hash)) => (name, hash),
            None => (rest, ""),
        };
        assert!(name.is_empty() || is_name(name), "{text}");
        assert!(hash.is_empty() || is_hash(hash), "{text}");
        assert!(!rest.is_empty(), "{text}");
        Self {
            name: Some(name.to_string()).filter(|name| !name.is_empty()),
            hash: Some(hash.to_string()).filter(|hash| !hash.is_empty()),
            time_ms: time.map(|time| time.parse().unwrap()),
        }
    }
}

/// `REF_NAME_REGEX`
fn is_name(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && !name.contains("..")
        && !name.ends_with(['.', '/'])
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "./_-".contains(letter))
}

/// `HASH_REGEX`
fn is_hash(hash: &str) -> bool {
    (8..=64).contains(&hash.len()) && hash.chars().all(|digit| digit.is_ascii_hexdigit())
}

fn check_parameters(query: &HashMap<String, String>, allowed: &[&str]) {
    for name in query.keys() {
        assert!(allowed.contains(&name.as_str()), "parameter {name}");
    }
}

fn check_fields(body: &Value, allowed: &[&str]) {
    for name in body.as_object().unwrap().keys() {
        assert!(allowed.contains(&name.as_str()), "field {name}");
    }
}

/// `BRANCH`, `TAG`
fn type_of(kind: CatalogReferenceKind) -> &'static str {
    match kind {
        CatalogReferenceKind::Branch => "BRANCH",
        CatalogReferenceKind::Tag => "TAG",
    }
}

fn reference_json(reference: &CatalogReferenceInfo) -> Value {
    json!({
        "type": type_of(reference.kind),
        "name": reference.name,
        "hash": hash_of(&reference.version),
    })
}

/// `schema.table` as a `ContentKey`.
fn key_json(name: &str) -> Value {
    json!({"elements": name.split('.').collect::<Vec<_>>()})
}

/// `table schema.table` as a `ContentKey`.
fn key_of_object(object: &str) -> Value {
    key_json(object.split_once(' ').unwrap().1)
}

fn log_entry_json(entry: &CatalogLogEntry, with_operations: bool) -> Value {
    let time = DateTime::from_timestamp_millis(entry.committed_at_ms).unwrap();
    let time = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let parents = entry.parent.iter().chain(&entry.merged);
    let mut json = json!({
        "commitMeta": {
            "hash": hash_of(&entry.version),
            "committer": "",
            "authors": [entry.author],
            "allSignedOffBy": [],
            "message": entry.message,
            "commitTime": time,
            "authorTime": time,
            "allProperties": {},
            "parentCommitHashes": parents.map(hash_of).collect::<Vec<_>>(),
        },
        "parentCommitHash": entry.parent.as_ref().map(hash_of),
    });
    if with_operations {
        let operations = entry.changed.iter().map(|name| {
            json!({"type": "PUT", "key": key_json(name), "content": {"type": "ICEBERG_TABLE"}})
        });
        json["operations"] = operations.collect();
    }
    json
}

impl Shared {
    fn take_fault(&self, method: &str, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let index = faults
            .iter()
            .position(|fault| fault.method == method && path.ends_with(&fault.path_end))?;
        Some(faults.remove(index))
    }

    /// All commits, by hash.
    async fn commits(&self) -> HashMap<String, CatalogLogEntry> {
        let log = self.catalog.log(usize::MAX).await.unwrap();
        log.into_iter()
            .map(|entry| (hash_of(&entry.version), entry))
            .collect()
    }

    async fn reference(&self, name: &str) -> Result<CatalogReferenceInfo, CoreRefusal> {
        let references = self.catalog.references().await.unwrap();
        let found = references
            .into_iter()
            .find(|reference| reference.name == name);
        found.ok_or_else(|| not_found(format!("Named reference '{name}' not found")))
    }

    /// The commits that a state has, newest first.
    async fn history_of(&self, spec: &Spec) -> Result<Vec<CatalogLogEntry>, CoreRefusal> {
        let commits = self.commits().await;
        let head = match (&spec.name, &spec.hash) {
            (Some(name), _) => hash_of(&self.reference(name).await?.version),
            (None, Some(hash)) => hash.clone(),
            (None, None) => panic!("{spec:?} names nothing"),
        };
        let mut history = Vec::new();
        let mut next = commits.get(&head);
        while let Some(entry) = next {
            history.push(entry.clone());
            let parent = entry.parent.as_ref();
            next = parent.and_then(|parent| commits.get(&hash_of(parent)));
        }
        if let Some(hash) = &spec.hash {
            // Nothing was committed to the state that a repository begins with.
            if *hash == hash_of(&VersionId::Number(0)) {
                return Ok(Vec::new());
            }
            let start = history
                .iter()
                .position(|entry| hash_of(&entry.version) == *hash);
            let Some(start) = start else {
                return Err(not_found(format!("Could not find commit '{hash}'")));
            };
            history.drain(..start);
        }
        if let Some(time_ms) = spec.time_ms {
            let start = history
                .iter()
                .position(|entry| entry.committed_at_ms <= time_ms);
            history.drain(..start.unwrap_or(history.len()));
        }
        Ok(history)
    }

    async fn core(
        &self,
        method: &str,
        path: &str,
        query: &HashMap<String, String>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> CoreOutcome {
        let segments: Vec<String> = path.split('/').map(decoded).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let body: Value = match body {
            [] => Value::Null,
            body => serde_json::from_slice(body).unwrap(),
        };
        match (method, segments.as_slice()) {
            ("GET", ["trees"]) => {
                check_parameters(query, &["fetch", "filter", "max-records", "page-token"]);
                let mut references = self.catalog.references().await.unwrap();
                references.sort_by(|left, right| left.name.cmp(&right.name));
                let start = query.get("page-token").map_or(0, |token| {
                    let found = references.iter().position(|other| other.name == *token);
                    found.unwrap()
                });
                let next = references.get(start + PAGE_SIZE);
                let page = references.iter().skip(start).take(PAGE_SIZE);
                Ok(json!({
                    "references": page.map(reference_json).collect::<Vec<_>>(),
                    "hasMore": next.is_some(),
                    "token": next.map(|next| next.name.as_str()),
                }))
            }
            ("POST", ["trees"]) => self.create(query, &body).await,
            ("GET", ["trees", reference]) => {
                check_parameters(query, &["fetch"]);
                let spec = Spec::parse(reference);
                if spec.hash.is_some() || spec.time_ms.is_some() {
                    return Err(bad_request("Hashes are not allowed"));
                }
                let found = self.reference(&spec.name.unwrap()).await?;
                Ok(json!({"reference": reference_json(&found)}))
            }
            ("DELETE", ["trees", reference]) => self.delete(reference, query).await,
            ("GET", ["trees", reference, "history"]) => self.history(reference, query).await,
            ("POST", ["trees", branch, "history", "merge"]) => {
                check_parameters(query, &[]);
                self.merge(branch, headers, &body).await
            }
            _ => panic!("unexpected request {method} {path}"),
        }
    }

    async fn create(&self, query: &HashMap<String, String>, body: &Value) -> CoreOutcome {
        check_parameters(query, &["name", "type"]);
        let (name, kind) = (&query["name"], query["type"].to_uppercase());
        let kind = match kind.as_str() {
            "BRANCH" => CatalogReferenceKind::Branch,
            "TAG" => CatalogReferenceKind::Tag,
            other => panic!("type {other}"),
        };
        if !is_name(name) || is_hash(name) {
            return Err(bad_request("Reference name must start with a letter"));
        }
        let hash = body["hash"].as_str();
        let hash = hash.ok_or_else(|| bad_request("Target hash must be provided."))?;
        let source = match body["type"].as_str().unwrap() {
            "BRANCH" | "TAG" => {
                check_fields(body, &["type", "name", "hash"]);
                body["name"].as_str().unwrap().to_string()
            }
            "DETACHED" => {
                check_fields(body, &["type", "hash"]);
                String::new()
            }
            other => panic!("type {other}"),
        };
        let spec = Spec::parse(&format!("{source}@{hash}"));
        let history = self.history_of(&spec).await?;
        let newest = history.first();
        let from = newest.map(|entry| CatalogReference::Version(entry.version.clone()));
        assert!(from.is_some() || self.commits().await.is_empty());
        match self
            .catalog
            .create_reference(kind, name, from.as_ref())
            .await
        {
            Ok(created) => Ok(json!({"reference": reference_json(&created)})),
            Err(CatalogError::ReferenceExists { what }) => {
                Err(CoreRefusal(409, "REFERENCE_ALREADY_EXISTS", what))
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn delete(&self, reference: &str, query: &HashMap<String, String>) -> CoreOutcome {
        check_parameters(query, &["type"]);
        let spec = Spec::parse(reference);
        let found = self.reference(&spec.name.unwrap()).await?;
        let expected = spec.hash;
        let expected = expected.ok_or_else(|| bad_request("Expected hash must be provided."))?;
        if query
            .get("type")
            .is_some_and(|wanted| wanted != type_of(found.kind))
        {
            return Err(bad_request("Expected reference type does not match"));
        }
        if found.name == "main" {
            return Err(bad_request("Default branch 'main' cannot be deleted."));
        }
        if expected != hash_of(&found.version) {
            let message = "expected hash does not match".to_string();
            return Err(CoreRefusal(409, "REFERENCE_CONFLICT", message));
        }
        let dropped = self.catalog.drop_reference(found.kind, &found.name).await;
        dropped.unwrap();
        Ok(json!({"reference": reference_json(&found)}))
    }

    async fn history(&self, reference: &str, query: &HashMap<String, String>) -> CoreOutcome {
        let allowed = ["fetch", "filter", "limit-hash", "max-records", "page-token"];
        check_parameters(query, &allowed);
        let with_operations = match query.get("fetch").map(String::as_str) {
            Some("ALL") => true,
            Some("MINIMAL") | None => false,
            Some(other) => panic!("fetch {other}"),
        };
        let limit = query
            .get("max-records")
            .map_or(usize::MAX, |limit| limit.parse().unwrap());
        let history = self.history_of(&Spec::parse(reference)).await?;
        let start = query.get("page-token").map_or(0, |token| {
            let found = history
                .iter()
                .position(|entry| hash_of(&entry.version) == *token);
            found.unwrap()
        });
        let size = limit.min(PAGE_SIZE);
        let next = history.get(start + size);
        let page = history.iter().skip(start).take(size);
        let page = page.map(|entry| log_entry_json(entry, with_operations));
        Ok(json!({
            "logEntries": page.collect::<Vec<_>>(),
            "hasMore": next.is_some(),
            "token": next.map(|next| hash_of(&next.version)),
        }))
    }

    async fn merge(&self, branch: &str, headers: &HeaderMap, body: &Value) -> CoreOutcome {
        check_fields(
            body,
            &[
                "commitMeta",
                "defaultKeyMergeMode",
                "dryRun",
                "fetchAdditionalInfo",
                "fromHash",
                "fromRefName",
                "keyMergeModes",
                "message",
                "returnConflictAsResult",
            ],
        );
        let spec = Spec::parse(branch);
        if spec.hash.is_none() {
            return Err(bad_request("Expected hash must be provided."));
        }
        self.history_of(&spec).await?;
        let target = self.reference(&spec.name.unwrap()).await?;
        if target.kind != CatalogReferenceKind::Branch {
            return Err(bad_request("Reference to merge into must be a branch."));
        }
        let source = self
            .reference(body["fromRefName"].as_str().unwrap())
            .await?;
        let from = body["fromHash"].as_str();
        let from = from.ok_or_else(|| bad_request("Source hash must be provided."))?;
        // All that the branches below can do.
        assert_eq!(from, hash_of(&source.version));
        assert!(!body["dryRun"].as_bool().unwrap_or_default());
        let catalog = self.catalog.by_author(author_of(headers));
        let merged = catalog.versioned().unwrap();
        let merged = merged.merge_branch(&source.name, &target.name).await;
        let answer = |version: Option<&VersionId>, is_successful: bool, details: Vec<Value>| {
            json!({
                "wasApplied": version.is_some(),
                "wasSuccessful": is_successful,
                "resultantTargetHash": hash_of(version.unwrap_or(&target.version)),
                "commonAncestor": null,
                "targetBranch": target.name,
                "effectiveTargetHash": hash_of(&target.version),
                "expectedHash": spec.hash,
                "details": details,
            })
        };
        match merged {
            Ok(report) => {
                let keys = report.changed.iter().map(|object| key_of_object(object));
                let details = keys.map(|key| json!({"key": key, "mergeBehavior": "NORMAL"}));
                Ok(answer(report.version.as_ref(), true, details.collect()))
            }
            Err(CatalogError::MergeConflict { objects, .. }) => {
                assert_eq!(body["returnConflictAsResult"], true);
                let details = objects.iter().map(|object| {
                    let key = key_of_object(object);
                    json!({"key": key, "mergeBehavior": "NORMAL", "conflict": {
                        "conflictType": "VALUE_DIFFERS", "key": key, "message": "values differ"}})
                });
                Ok(answer(None, false, details.collect()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn iceberg(
        &self,
        method: &str,
        path: &str,
        query: &HashMap<String, String>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Outcome {
        if let Some(reference) = path.strip_suffix("v1/config") {
            assert_eq!(query.get("warehouse").map(String::as_str), Some(WAREHOUSE));
            return Ok(self.config(reference.trim_end_matches('/')));
        }
        let (prefix, path) = path.strip_prefix("v1/").unwrap().split_once('/').unwrap();
        let prefix = decoded(prefix).replace('\u{1f}', "/");
        let (reference, warehouse) = prefix.split_once('|').unwrap();
        assert_eq!(warehouse, WAREHOUSE);
        let spec = Spec::parse(reference);
        let missing = |refusal: CoreRefusal| Refusal(400, "NoSuchReferenceException", refusal.2);
        let history = self.history_of(&spec).await.map_err(missing)?;
        let position = match (&spec.name, &spec.hash) {
            (Some(name), None) => CatalogReference::Named(name.clone()),
            _ => {
                // Nessie would commit to the branch all the same.
                assert_eq!(method, "GET", "a change below {prefix}");
                CatalogReference::Version(history[0].version.clone())
            }
        };
        let there = self.catalog.at(&position).await?;
        let there = there.versioned()?.by_author(author_of(headers));
        let tables = Tables::new(there);
        tables.respond(method, path, query, headers, body).await
    }

    fn config(&self, reference: &str) -> Value {
        let branch = match reference {
            "" => "main",
            reference => reference,
        };
        let origin = &self.origin;
        json!({
            "defaults": {
                "prefix": format!("{branch}%7C{WAREHOUSE}"),
                "warehouse": "file:///nowhere",
                "rest-page-size": "200",
            },
            "overrides": {
                "uri": format!("{origin}/iceberg/"),
                "nessie.core-base-uri": format!("{origin}/api/"),
                "nessie.catalog-base-uri": format!("{origin}/catalog/v1/"),
                "nessie.iceberg-base-uri": format!("{origin}/iceberg/"),
                "nessie.is-nessie-catalog": "true",
                "nessie.prefix-pattern": "{ref}|{warehouse}",
                "nessie.default-branch.name": branch,
            },
            "endpoints": [
                "POST /v1/{prefix}/transactions/commit",
                "GET /v1/{prefix}/namespaces/{namespace}/views",
                "GET /v1/{prefix}/namespaces/{namespace}/views/{view}",
            ],
        })
    }
}

/// Who a request says makes the commit.
fn author_of(headers: &HeaderMap) -> &str {
    text_of(headers, "nessie-commit-authors").unwrap_or_default()
}
