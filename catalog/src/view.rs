//! Views: queries with a name, in Iceberg's view format.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::spec::{
    Schema, ViewFormatVersion, ViewMetadata, ViewMetadataBuilder, ViewRepresentation,
    ViewRepresentations, ViewVersion,
};
use iceberg::{NamespaceIdent, TableIdent};
use uuid::Uuid;

use crate::error::{CatalogError, Result};
use crate::materialized_view::Materialization;
use crate::table::{Table, ident_name};

/// The dialect of the queries that Ingot writes and reads.
const DIALECT: &str = "ingot";
/// Entry of a version's summary: the names of the query's own columns, as a JSON array.
const QUERY_COLUMNS: &str = "ingot.query-columns";
/// Entry of a version's summary: the name of the storage table as JSON. `iceberg` 0.10.1 knows no
/// such field of a version; [`view_metadata_json`] makes one of it.
const STORAGE_TABLE: &str = "ingot.storage-table";
/// The field of a version that names the storage table (see [`crate::materialized_view`]).
const STORAGE_TABLE_FIELD: &str = "storage-table";
/// The property that has a view's comment.
const COMMENT: &str = "comment";
/// The property that has a materialized view's grace period.
const GRACE_PERIOD: &str = "ingot.grace-period-ms";

/// A view as the catalog knew it at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// Schema and name within its catalog.
    pub ident: TableIdent,
    /// The view metadata, immutable.
    pub metadata: Arc<ViewMetadata>,
    /// Where that metadata is stored.
    pub metadata_location: String,
}

/// A view that was removed from the catalog.
#[derive(Debug, Clone)]
pub struct DroppedView {
    /// Its last state.
    pub view: View,
    /// The table with its rows, which was removed with it; only of materialized views, and only if
    /// nothing reads its files any more.
    pub storage_table: Option<Table>,
    /// The metadata files of its states, which nothing reads any more; none as long as a branch, a
    /// tag or a catalog version that is kept may read one. They are the caller's to delete.
    pub unread_files: Vec<String>,
}

/// The next state of a view: published only if the view is still in the state that it was made
/// from.
#[derive(Debug, Clone)]
pub struct ViewCommit {
    /// The view to change or create.
    pub ident: TableIdent,
    /// The state that `metadata` was made from; `None` for a creation.
    pub base: Option<View>,
    /// The state to be.
    pub metadata: ViewMetadata,
}

/// What a view is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewDefinition {
    /// The query, in Ingot's dialect.
    pub sql: String,
    /// The catalog of names without one in the query.
    pub default_catalog: Option<String>,
    /// The schema of names without one in the query.
    pub default_schema: String,
    /// The view's columns, with field ids of any kind.
    pub schema: Schema,
    /// What the query itself calls its columns, in the same order. When they change, the view's
    /// columns no longer are what they were.
    pub query_columns: Vec<String>,
    /// The comment.
    pub comment: Option<String>,
    /// Where its rows are stored, if it is a materialized view.
    pub materialization: Option<Materialization>,
}

impl View {
    /// `schema.view`, as error messages write it.
    pub fn name(&self) -> String {
        ident_name(&self.ident)
    }

    /// Where its rows are stored; `None` for a view that is not materialized.
    ///
    /// # Errors
    /// `Metadata` when what its metadata says about that cannot be read.
    pub fn materialization(&self) -> Result<Option<Materialization>> {
        let Some(json) = self.metadata.current_version().summary().get(STORAGE_TABLE) else {
            return Ok(None);
        };
        let unreadable = |message: String| {
            let source = iceberg::Error::new(iceberg::ErrorKind::DataInvalid, message);
            CatalogError::metadata(&self.metadata_location, source)
        };
        let grace_period = self.metadata.properties().get(GRACE_PERIOD);
        let grace_period_ms = grace_period
            .map(|text| text.parse::<i64>())
            .transpose()
            .map_err(|error| unreadable(format!("property {GRACE_PERIOD}: {error}")))?;
        let storage_table = serde_json::from_str(json)
            .map_err(|error| unreadable(format!("storage table: {error}")))?;
        Ok(Some(Materialization {
            storage_table,
            grace_period_ms,
        }))
    }

    /// Whether a version of the view, by its id, has the query and the columns that it has now: a
    /// rename of a materialized view makes another version of the same query. False for a version
    /// that the view no longer knows.
    pub fn has_query_of(&self, version_id: i32) -> bool {
        let current = self.metadata.current_version();
        let Some(version) = self.metadata.version_by_id(version_id) else {
            return false;
        };
        version.version_id() == current.version_id()
            || (version.representations() == current.representations()
                && version.default_catalog() == current.default_catalog()
                && version.default_namespace() == current.default_namespace()
                && version.schema_id() == current.schema_id()
                && version.summary().get(QUERY_COLUMNS) == current.summary().get(QUERY_COLUMNS))
    }

    /// What the view is now.
    ///
    /// # Errors
    /// `Unsupported` when no query of it is in Ingot's dialect; `Metadata` when it cannot be right.
    pub fn definition(&self) -> Result<ViewDefinition> {
        let version = self.metadata.current_version();
        let mut representations = version.representations().iter();
        let found = representations.find_map(|representation| match representation {
            ViewRepresentation::Sql(sql) if sql.dialect.eq_ignore_ascii_case(DIALECT) => {
                Some(sql.sql.clone())
            }
            _ => None,
        });
        let Some(sql) = found else {
            return Err(CatalogError::Unsupported(format!(
                "view {}, which another engine wrote in its own dialect,",
                self.name()
            )));
        };
        let schema = self.metadata.current_schema().as_ref().clone();
        let query_columns = match version.summary().get(QUERY_COLUMNS) {
            Some(json) => serde_json::from_str(json)
                .map_err(|error| CatalogError::metadata(&self.metadata_location, error.into()))?,
            None => {
                let fields = schema.as_struct().fields().iter();
                fields.map(|field| field.name.clone()).collect()
            }
        };
        Ok(ViewDefinition {
            sql,
            default_catalog: version.default_catalog().cloned(),
            default_schema: version.default_namespace().as_ref().join("."),
            schema,
            query_columns,
            comment: self.metadata.properties().get(COMMENT).cloned(),
            materialization: self.materialization()?,
        })
    }
}

/// Whether any version of a view is that of a materialized one.
pub(crate) fn names_storage_table(metadata: &ViewMetadata) -> bool {
    let mut versions = metadata.versions();
    versions.any(|version| version.summary().contains_key(STORAGE_TABLE))
}

/// The metadata of a new view at this location, or the next one of a view that is replaced.
pub(crate) fn next_view_metadata(
    ident: &TableIdent,
    location: String,
    previous: Option<&View>,
    definition: ViewDefinition,
) -> Result<ViewMetadata> {
    let invalid = |error: iceberg::Error| {
        CatalogError::InvalidInput(format!("view {}: {}", ident_name(ident), error.message()))
    };
    let representations = serde_json::json!([
        {"type": "sql", "sql": definition.sql, "dialect": DIALECT}
    ]);
    let representations: ViewRepresentations =
        serde_json::from_value(representations).map_err(|error| invalid(error.into()))?;
    let query_columns =
        serde_json::to_string(&definition.query_columns).map_err(|error| invalid(error.into()))?;
    let mut summary = HashMap::from([
        ("engine-name".to_string(), "ingot".to_string()),
        (
            "engine-version".to_string(),
            env!("CARGO_PKG_VERSION").to_string(),
        ),
        (QUERY_COLUMNS.to_string(), query_columns),
    ]);
    let comment = definition.comment.map(|text| (COMMENT.to_string(), text));
    let mut properties: HashMap<String, String> = comment.into_iter().collect();
    if let Some(materialization) = &definition.materialization {
        let storage_table = serde_json::to_string(&materialization.storage_table)
            .map_err(|error| invalid(error.into()))?;
        summary.insert(STORAGE_TABLE.to_string(), storage_table);
        if let Some(grace_period_ms) = materialization.grace_period_ms {
            properties.insert(GRACE_PERIOD.to_string(), grace_period_ms.to_string());
        }
    }
    let version = ViewVersion::builder()
        .with_default_catalog(definition.default_catalog)
        .with_default_namespace(NamespaceIdent::new(definition.default_schema))
        .with_representations(representations)
        .with_schema_id(definition.schema.schema_id())
        .with_summary(summary)
        .with_timestamp_ms(chrono::Utc::now().timestamp_millis())
        .build();
    let built = match previous {
        None => ViewMetadataBuilder::new(
            location,
            definition.schema,
            version,
            ViewFormatVersion::V1,
            properties,
        )
        .and_then(ViewMetadataBuilder::build),
        Some(previous) => {
            ViewMetadataBuilder::new_from_metadata(previous.metadata.as_ref().clone())
                .set_current_version(version, definition.schema)
                .map(|builder| {
                    builder.remove_properties(&[COMMENT, GRACE_PERIOD].map(str::to_string))
                })
                .and_then(|builder| builder.set_properties(properties))
                .and_then(ViewMetadataBuilder::build)
        }
    };
    Ok(built.map_err(invalid)?.metadata)
}

/// The metadata of a materialized view whose rows are in a storage table of another name. Its
/// version is another one, of the same query.
pub(crate) fn moved_view_metadata(
    previous: &View,
    ident: &TableIdent,
    storage_table: TableIdent,
) -> Result<ViewMetadata> {
    let mut definition = previous.definition()?;
    if let Some(materialization) = &mut definition.materialization {
        materialization.storage_table = storage_table;
    }
    let location = previous.metadata.location().to_string();
    next_view_metadata(ident, location, Some(previous), definition)
}

/// The metadata of a view with another comment, or with none. Its query is not looked at.
pub(crate) fn commented_view_metadata(
    previous: &View,
    comment: Option<String>,
) -> Result<ViewMetadata> {
    let comment = comment.map(|text| (COMMENT.to_string(), text));
    ViewMetadataBuilder::new_from_metadata(previous.metadata.as_ref().clone())
        .remove_properties(&[COMMENT.to_string()])
        .set_properties(comment.into_iter().collect())
        .and_then(ViewMetadataBuilder::build)
        .map(|built| built.metadata)
        .map_err(|error| {
            CatalogError::InvalidInput(format!("view {}: {}", previous.name(), error.message()))
        })
}

/// A name for the next metadata file of a view, which nothing else has.
pub(crate) fn new_metadata_location(metadata: &ViewMetadata) -> String {
    format!(
        "{}/metadata/{:0>5}-{}.metadata.json",
        metadata.location().trim_end_matches('/'),
        metadata.current_version_id(),
        Uuid::new_v4()
    )
}

/// View metadata as its file has it: versions of materialized views name their storage table.
pub(crate) fn view_metadata_json(metadata: &ViewMetadata) -> serde_json::Result<Vec<u8>> {
    let mut json = serde_json::to_value(metadata)?;
    let versions = json
        .get_mut("versions")
        .and_then(|list| list.as_array_mut());
    for version in versions.into_iter().flatten() {
        let storage_table = version
            .pointer(&format!("/summary/{STORAGE_TABLE}"))
            .and_then(|text| text.as_str())
            .map(serde_json::from_str::<serde_json::Value>)
            .transpose()?;
        if let (Some(storage_table), Some(fields)) = (storage_table, version.as_object_mut()) {
            fields.insert(STORAGE_TABLE_FIELD.to_string(), storage_table);
        }
    }
    serde_json::to_vec(&json)
}
