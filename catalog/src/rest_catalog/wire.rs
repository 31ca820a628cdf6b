//! Bodies of requests and answers, as the protocol names their fields.
//!
//! Schemas, partition specs, table and view metadata, updates and requirements are the `iceberg`
//! crate's, whose JSON is the protocol's.

use std::collections::HashMap;

use iceberg::spec::{Schema, SortOrder, TableMetadata, UnboundPartitionSpec, ViewMetadata};
use iceberg::{TableRequirement, TableUpdate};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `TableIdentifier`, also of views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identifier {
    pub(super) namespace: Vec<String>,
    pub(super) name: String,
}

/// `CatalogConfig`
#[derive(Debug, Default, Deserialize)]
pub(super) struct CatalogConfig {
    #[serde(default)]
    pub(super) defaults: HashMap<String, Option<String>>,
    #[serde(default)]
    pub(super) overrides: HashMap<String, Option<String>>,
    #[serde(default)]
    pub(super) endpoints: Option<Vec<String>>,
}

/// A page of a listing.
pub(super) trait Page: serde::de::DeserializeOwned {
    type Item;
    /// What is on it, and the token of the next one.
    fn into_parts(self) -> (Vec<Self::Item>, Option<String>);
}

/// `ListNamespacesResponse`
#[derive(Debug, Deserialize)]
pub(super) struct NamespaceList {
    pub(super) namespaces: Vec<Vec<String>>,
    #[serde(default, rename = "next-page-token")]
    pub(super) next_page_token: Option<String>,
}

impl Page for NamespaceList {
    type Item = Vec<String>;

    fn into_parts(self) -> (Vec<Self::Item>, Option<String>) {
        let next = self.next_page_token.filter(|token| !token.is_empty());
        (self.namespaces, next)
    }
}

/// `ListTablesResponse`, also of views.
#[derive(Debug, Deserialize)]
pub(super) struct IdentifierList {
    pub(super) identifiers: Vec<Identifier>,
    #[serde(default, rename = "next-page-token")]
    pub(super) next_page_token: Option<String>,
}

impl Page for IdentifierList {
    type Item = Identifier;

    fn into_parts(self) -> (Vec<Self::Item>, Option<String>) {
        let next = self.next_page_token.filter(|token| !token.is_empty());
        (self.identifiers, next)
    }
}

/// `CreateNamespaceRequest`
#[derive(Debug, Serialize)]
pub(super) struct CreateNamespace {
    pub(super) namespace: Vec<String>,
    pub(super) properties: HashMap<String, String>,
}

/// `GetNamespaceResponse`
#[derive(Debug, Deserialize)]
pub(super) struct Namespace {
    #[serde(default)]
    pub(super) properties: Option<HashMap<String, String>>,
}

/// `UpdateNamespacePropertiesRequest`
#[derive(Debug, Serialize)]
pub(super) struct ChangeProperties {
    pub(super) removals: Vec<String>,
    pub(super) updates: HashMap<String, String>,
}

/// `CreateTableRequest`
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CreateTable {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<String>,
    pub(super) schema: Schema,
    pub(super) partition_spec: UnboundPartitionSpec,
    pub(super) write_order: SortOrder,
    pub(super) stage_create: bool,
    pub(super) properties: HashMap<String, String>,
}

/// `LoadTableResult`; `CommitTableResponse` is a part of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct TableResult {
    #[serde(default)]
    pub(super) metadata_location: Option<String>,
    pub(super) metadata: TableMetadata,
    #[serde(flatten)]
    pub(super) access: TableAccess,
}

/// The part of `LoadTableResult` that says how to reach the table's files, and
/// `LoadCredentialsResponse`. It may have keys in it, so nothing shows it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct TableAccess {
    #[serde(default)]
    pub(super) config: Option<HashMap<String, String>>,
    #[serde(default)]
    pub(super) storage_credentials: Option<Vec<StorageCredential>>,
}

/// `StorageCredential`
#[derive(Deserialize)]
pub(super) struct StorageCredential {
    pub(super) prefix: String,
    pub(super) config: HashMap<String, String>,
}

impl std::fmt::Debug for TableAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableAccess").finish_non_exhaustive()
    }
}

/// `CommitTableRequest`
#[derive(Debug, Serialize)]
pub(super) struct CommitTable<'a> {
    pub(super) identifier: Identifier,
    pub(super) requirements: &'a [TableRequirement],
    pub(super) updates: Vec<TableUpdate>,
}

/// `CommitTransactionRequest`
#[derive(Debug, Serialize)]
pub(super) struct CommitTransaction<'a> {
    #[serde(rename = "table-changes")]
    pub(super) table_changes: Vec<CommitTable<'a>>,
}

/// `RegisterTableRequest`
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RegisterTable<'a> {
    pub(super) name: &'a str,
    pub(super) metadata_location: &'a str,
}

/// `RenameTableRequest`, also of views.
#[derive(Debug, Serialize)]
pub(super) struct Rename {
    pub(super) source: Identifier,
    pub(super) destination: Identifier,
}

/// `CreateViewRequest`
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CreateView<'a> {
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<&'a str>,
    pub(super) schema: &'a Schema,
    pub(super) view_version: Value,
    pub(super) properties: &'a HashMap<String, String>,
}

/// `CommitViewRequest`
#[derive(Debug, Serialize)]
pub(super) struct CommitView {
    pub(super) identifier: Identifier,
    pub(super) requirements: Vec<Value>,
    pub(super) updates: Vec<Value>,
}

/// `LoadViewResult`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ViewResult {
    pub(super) metadata_location: String,
    pub(super) metadata: ViewMetadata,
}
