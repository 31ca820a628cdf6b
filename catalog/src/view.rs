//! Views: queries with a name, in Iceberg's view format.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::spec::{
    Schema, ViewFormatVersion, ViewMetadata, ViewMetadataBuilder, ViewRepresentation,
    ViewRepresentations, ViewVersion,
};
use iceberg::{NamespaceIdent, TableIdent};

use crate::error::{CatalogError, Result};
use crate::table::ident_name;

/// The dialect of the queries that Ingot writes and reads.
const DIALECT: &str = "ingot";
/// Entry of a version's summary: the names of the query's own columns, as a JSON array.
const QUERY_COLUMNS: &str = "ingot.query-columns";
/// The property that has a view's comment.
const COMMENT: &str = "comment";

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
}

impl View {
    /// `schema.view`, as error messages write it.
    pub fn name(&self) -> String {
        ident_name(&self.ident)
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
        })
    }
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
    let summary = HashMap::from([
        ("engine-name".to_string(), "ingot".to_string()),
        (
            "engine-version".to_string(),
            env!("CARGO_PKG_VERSION").to_string(),
        ),
        (QUERY_COLUMNS.to_string(), query_columns),
    ]);
    let version = ViewVersion::builder()
        .with_default_catalog(definition.default_catalog)
        .with_default_namespace(NamespaceIdent::new(definition.default_schema))
        .with_representations(representations)
        .with_schema_id(definition.schema.schema_id())
        .with_summary(summary)
        .with_timestamp_ms(chrono::Utc::now().timestamp_millis())
        .build();
    let comment: HashMap<String, String> = definition
        .comment
        .into_iter()
        .map(|comment| (COMMENT.to_string(), comment))
        .collect();
    let built = match previous {
        None => ViewMetadataBuilder::new(
            location,
            definition.schema,
            version,
            ViewFormatVersion::V1,
            comment,
        )
        .and_then(ViewMetadataBuilder::build),
        Some(previous) => {
            ViewMetadataBuilder::new_from_metadata(previous.metadata.as_ref().clone())
                .set_current_version(version, definition.schema)
                .map(|builder| builder.remove_properties(&[COMMENT.to_string()]))
                .and_then(|builder| builder.set_properties(comment))
                .and_then(ViewMetadataBuilder::build)
        }
    };
    Ok(built.map_err(invalid)?.metadata)
}
