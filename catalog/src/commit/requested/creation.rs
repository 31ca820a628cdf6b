//! What a creation begins with.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use iceberg::TableUpdate;
use iceberg::spec::{
    FormatVersion, Schema, SortOrder, TableMetadata, TableMetadataBuilder, UnboundPartitionSpec,
};

use super::CommitRequest;
use crate::catalog::Catalog;
use crate::error::Result;

/// The metadata that a creation begins with: what its first updates say, with all ids as the
/// client has them, because it may have written files with them.
pub(super) async fn first_metadata(
    catalog: &dyn Catalog,
    request: &CommitRequest,
) -> Result<TableMetadata> {
    let parts = CreationParts::of(request)?;
    // Also validates the name and finds the schema.
    let fresh_location = catalog.new_table_location(&request.ident).await?;
    let location = match parts.location {
        Some(location) => {
            catalog
                .check_table_location(&request.ident, location.trim_end_matches('/'))
                .await?;
            location.to_string()
        }
        None => fresh_location,
    };
    let built = catch_unwind(AssertUnwindSafe(|| {
        TableMetadataBuilder::new(
            parts.schema.clone(),
            parts.spec.clone(),
            parts.sort_order.clone(),
            location,
            parts.format_version,
            HashMap::new(),
        )
        .and_then(TableMetadataBuilder::build)
    }));
    let metadata = match built {
        Ok(Ok(built)) => built.metadata,
        Ok(Err(error)) => return Err(request.invalid(error.message())),
        Err(_) => return Err(request.invalid("its schema has values that are out of range")),
    };
    if !parts.have_ids_of(&metadata) {
        return Err(request.invalid(
            "column or partition field ids are not those of a new table: create it with stage-create and use the ids of the answer",
        ));
    }
    backdated(request, metadata)
}

/// What a table is made of.
struct CreationParts<'a> {
    schema: &'a Schema,
    spec: UnboundPartitionSpec,
    sort_order: SortOrder,
    location: Option<&'a str>,
    format_version: FormatVersion,
}

impl<'a> CreationParts<'a> {
    fn of(request: &'a CommitRequest) -> Result<Self> {
        let mut schema = None;
        let mut spec = None;
        let mut sort_order = None;
        let mut location = None;
        let mut format_version = None;
        for update in &request.updates {
            match update {
                TableUpdate::AddSchema { schema: added } => {
                    schema.get_or_insert(added);
                }
                TableUpdate::AddSpec { spec: added } => {
                    spec.get_or_insert(added);
                }
                TableUpdate::AddSortOrder { sort_order: added } => {
                    sort_order.get_or_insert(added);
                }
                TableUpdate::SetLocation { location: set } => location = Some(set.as_str()),
                TableUpdate::UpgradeFormatVersion { format_version: to } => {
                    format_version.get_or_insert(*to);
                }
                _ => {}
            }
        }
        let schema = schema.ok_or_else(|| request.invalid("a new table needs a schema"))?;
        let unpartitioned = || UnboundPartitionSpec::builder().build();
        Ok(Self {
            schema,
            spec: spec.cloned().unwrap_or_else(unpartitioned),
            sort_order: sort_order
                .cloned()
                .unwrap_or_else(SortOrder::unsorted_order),
            location,
            format_version: format_version.unwrap_or(FormatVersion::V2),
        })
    }

    /// Whether the metadata, which got ids of its own, has the ids of these parts.
    fn have_ids_of(&self, metadata: &TableMetadata) -> bool {
        let spec = metadata.default_partition_spec();
        let same_fields = self.spec.fields().len() == spec.fields().len()
            && self
                .spec
                .fields()
                .iter()
                .zip(spec.fields())
                .all(|(given, field)| {
                    given.source_id == field.source_id
                        && given.field_id.is_none_or(|id| id == field.field_id)
                });
        let same_id = self.spec.spec_id().is_none_or(|id| id == spec.spec_id());
        self.schema.as_struct() == metadata.current_schema().as_struct() && same_fields && same_id
    }
}

/// The metadata as it was before the first snapshot of the request, which must not be older than
/// the table.
fn backdated(request: &CommitRequest, metadata: TableMetadata) -> Result<TableMetadata> {
    let snapshots = request.updates.iter().filter_map(|update| match update {
        TableUpdate::AddSnapshot { snapshot } => Some(snapshot.timestamp_ms()),
        _ => None,
    });
    let Some(first) = snapshots.min() else {
        return Ok(metadata);
    };
    let last_updated = first.min(metadata.last_updated_ms());
    let patched = serde_json::to_value(&metadata).and_then(|mut json| {
        json["last-updated-ms"] = last_updated.into();
        serde_json::from_value(json)
    });
    patched.map_err(|error| request.invalid(error))
}
