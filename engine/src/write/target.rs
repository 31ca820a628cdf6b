//! What a writer must know of a table: small, and the same on every worker.

use std::collections::BTreeMap;

use iceberg::spec::{PartitionSpec, Schema, SchemaRef, SortOrder, StructType};
use ingot_catalog::Table;
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};

const DATA_PATH_PROPERTY: &str = "write.data.path";
/// Only these properties concern a writer; the others stay with the coordinator.
const WRITE_PROPERTY_PREFIX: &str = "write.";

/// The table that rows are written to, as it was when the statement was planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteTarget {
    /// `schema.table`, for messages.
    pub table_name: String,
    /// Folder of the data files, without a slash at its end.
    pub data_location: String,
    /// The current schema.
    pub schema: SchemaRef,
    /// The default partition spec.
    pub partition_spec: PartitionSpec,
    /// The default sort order.
    pub sort_order: SortOrder,
    /// Columns, by field id, along whose Z-order curve the rows of a file are put; empty when
    /// there is none.
    #[serde(default)]
    pub z_order: Vec<i32>,
    /// The table's `write.*` properties.
    pub properties: BTreeMap<String, String>,
}

impl WriteTarget {
    /// The target that a table, committed or staged, is for new rows.
    pub fn of(table: &Table) -> Self {
        let metadata = &table.metadata;
        let properties = metadata
            .properties()
            .iter()
            .filter(|(name, _)| name.starts_with(WRITE_PROPERTY_PREFIX))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Self {
            table_name: table.name(),
            data_location: data_location(table),
            schema: SchemaRef::clone(metadata.current_schema()),
            partition_spec: metadata.default_partition_spec().as_ref().clone(),
            sort_order: metadata.default_sort_order().as_ref().clone(),
            z_order: Vec::new(),
            properties,
        }
    }

    /// The types of the partition values.
    ///
    /// # Errors
    /// `Iceberg` when the spec does not fit the schema.
    pub fn partition_type(&self) -> Result<StructType> {
        partition_type(&self.table_name, &self.partition_spec, &self.schema)
    }
}

/// Folder of a table's data files: `write.data.path`, or `data` in the table's own folder.
pub(super) fn data_location(table: &Table) -> String {
    match table.metadata.properties().get(DATA_PATH_PROPERTY) {
        Some(path) => path.trim_end_matches('/').to_string(),
        None => format!("{}/data", table.metadata.location().trim_end_matches('/')),
    }
}

pub(super) fn partition_type(
    table_name: &str,
    spec: &PartitionSpec,
    schema: &Schema,
) -> Result<StructType> {
    spec.partition_type(schema)
        .map_err(|source| EngineError::iceberg(format!("partition spec of {table_name}"), source))
}
