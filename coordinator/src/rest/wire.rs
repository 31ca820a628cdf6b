//! Bodies of requests and answers, as the protocol names their fields.
//!
//! Schemas, partition specs, table and view metadata, updates and requirements are the `iceberg`
//! crate's, whose JSON is the protocol's. It has no requirement of views; ours is here.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{Schema, SortOrder, UnboundPartitionSpec, ViewMetadata, ViewVersion};
use iceberg::{TableIdent, TableRequirement, TableUpdate, ViewUpdate};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::{RestError, Result};

/// `TableIdentifier`, also of views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identifier {
    pub(super) namespace: Vec<String>,
    pub(super) name: String,
}

impl Identifier {
    /// The identifier of an object.
    pub(super) fn of(schema: &str, name: String) -> Self {
        Self {
            namespace: vec![schema.to_string()],
            name,
        }
    }
}

/// `CatalogConfig`
#[derive(Debug, Serialize)]
pub(super) struct CatalogConfig {
    pub(super) defaults: BTreeMap<String, String>,
    pub(super) overrides: BTreeMap<String, String>,
    pub(super) endpoints: &'static [&'static str],
}

/// `ListNamespacesResponse`
#[derive(Debug, Serialize)]
pub(super) struct NamespaceList {
    pub(super) namespaces: Vec<Vec<String>>,
    #[serde(rename = "next-page-token")]
    pub(super) next_page_token: Option<String>,
}

/// `ListTablesResponse`, also of views.
#[derive(Debug, Serialize)]
pub(super) struct IdentifierList {
    pub(super) identifiers: Vec<Identifier>,
    #[serde(rename = "next-page-token")]
    pub(super) next_page_token: Option<String>,
}

/// `CreateNamespaceRequest`
#[derive(Debug, Deserialize)]
pub(super) struct CreateNamespace {
    pub(super) namespace: Vec<String>,
    #[serde(default)]
    pub(super) properties: Option<HashMap<String, String>>,
}

/// `CreateNamespaceResponse` and `GetNamespaceResponse`
#[derive(Debug, Serialize)]
pub(super) struct Namespace {
    pub(super) namespace: Vec<String>,
    pub(super) properties: HashMap<String, String>,
}

/// `UpdateNamespacePropertiesRequest`
#[derive(Debug, Deserialize)]
pub(super) struct ChangeProperties {
    #[serde(default)]
    pub(super) removals: Option<Vec<String>>,
    #[serde(default)]
    pub(super) updates: Option<HashMap<String, String>>,
}

/// `UpdateNamespacePropertiesResponse`
#[derive(Debug, Serialize)]
pub(super) struct ChangedProperties {
    pub(super) updated: Vec<String>,
    pub(super) removed: Vec<String>,
    pub(super) missing: Vec<String>,
}

/// `CreateTableRequest`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CreateTable {
    pub(super) name: String,
    #[serde(default)]
    pub(super) location: Option<String>,
    pub(super) schema: Schema,
    #[serde(default)]
    pub(super) partition_spec: Option<UnboundPartitionSpec>,
    #[serde(default)]
    pub(super) write_order: Option<SortOrder>,
    #[serde(default)]
    pub(super) stage_create: Option<bool>,
    #[serde(default)]
    pub(super) properties: Option<HashMap<String, String>>,
}

/// `CommitTableRequest`
#[derive(Debug, Deserialize)]
pub(super) struct CommitTable {
    #[serde(default)]
    pub(super) identifier: Option<Identifier>,
    pub(super) requirements: Vec<TableRequirement>,
    pub(super) updates: Vec<TableUpdate>,
}

/// `CommitTransactionRequest`
#[derive(Debug, Deserialize)]
pub(super) struct CommitTransaction {
    #[serde(rename = "table-changes")]
    pub(super) table_changes: Vec<CommitTable>,
}

/// `RegisterTableRequest`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RegisterTable {
    pub(super) name: String,
    pub(super) metadata_location: String,
    #[serde(default)]
    pub(super) overwrite: Option<bool>,
}

/// `RenameTableRequest`, also of views.
#[derive(Debug, Deserialize)]
pub(super) struct Rename {
    pub(super) source: Identifier,
    pub(super) destination: Identifier,
}

/// `CreateViewRequest`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CreateView {
    pub(super) name: String,
    #[serde(default)]
    pub(super) location: Option<String>,
    pub(super) schema: Schema,
    pub(super) view_version: ViewVersion,
    #[serde(default)]
    pub(super) properties: Option<HashMap<String, String>>,
}

/// `CommitViewRequest`
#[derive(Debug, Deserialize)]
pub(super) struct CommitView {
    #[serde(default)]
    pub(super) identifier: Option<Identifier>,
    #[serde(default)]
    pub(super) requirements: Option<Vec<ViewRequirement>>,
    pub(super) updates: Vec<ViewUpdate>,
}

/// `ViewRequirement`
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(super) enum ViewRequirement {
    #[serde(rename = "assert-view-uuid")]
    UuidMatch { uuid: Uuid },
}

/// `LoadViewResult`
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ViewResult<'a> {
    pub(super) metadata_location: &'a str,
    pub(super) metadata: &'a ViewMetadata,
    pub(super) config: BTreeMap<String, String>,
}

/// The body's identifier, when there is one, must be that of the path.
pub(super) fn check_identifier(identifier: Option<&Identifier>, ident: &TableIdent) -> Result<()> {
    let is_other = identifier.is_some_and(|given| {
        given.namespace != *ident.namespace().as_ref() || given.name != ident.name()
    });
    match is_other {
        true => Err(RestError::bad_request(
            "the identifier of the body is not that of the path",
        )),
        false => Ok(()),
    }
}
