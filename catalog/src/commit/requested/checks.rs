//! What is checked of the updates that a client asks for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, Snapshot, TableMetadata};

use super::CommitRequest;
use crate::catalog::{Catalog, TableCommit};
use crate::commit::CONTENT_PROPERTY_PREFIX;
use crate::error::{CatalogError, Result};
use crate::storage::Location;
use crate::table::Table;

/// Properties that say where files go, with which writers follow them.
const LOCATION_PROPERTIES: [&str; 4] = [
    "write.data.path",
    "write.metadata.path",
    "write.object-storage.path",
    "write.folder-storage.path",
];

/// How far a client's clock may be ahead of this one, in milliseconds. Snapshots must follow each
/// other in time, so one from the future would keep everybody else from committing.
const MAX_CLOCK_SKEW_MS: i64 = 10 * 60 * 1_000;

/// How many sequence numbers a snapshot may leave out. They need not be without gaps, and must not
/// run out.
const MAX_SEQUENCE_GAP: i64 = 1 << 20;

/// Field ids from here on are those of metadata columns (Iceberg spec, reserved field ids).
const FIRST_RESERVED_FIELD_ID: i32 = i32::MAX - 200;

/// A table keeps its id: everything that is kept about it elsewhere goes by that.
pub(super) fn check_identity(request: &CommitRequest, current: Option<&Table>) -> Result<()> {
    let Some(table) = current else {
        return Ok(());
    };
    for update in &request.updates {
        if let TableUpdate::AssignUuid { uuid } = update
            && *uuid != table.metadata.uuid()
        {
            return Err(request.invalid(format!(
                "its uuid is {} and cannot become {uuid}",
                table.metadata.uuid()
            )));
        }
    }
    Ok(())
}

/// Refuses files and folders that are neither below the table's location nor where the catalog
/// allows tables.
pub(super) async fn check_locations(
    catalog: &dyn Catalog,
    request: &CommitRequest,
    base: &TableMetadata,
) -> Result<()> {
    let own = Location::parse(base.location())?;
    for location in named_locations(&request.updates) {
        if Location::parse(location)?.is_within(&own) {
            continue;
        }
        catalog
            .check_table_location(&request.ident, location)
            .await?;
    }
    Ok(())
}

/// All locations that the updates name.
fn named_locations(updates: &[TableUpdate]) -> Vec<&str> {
    let mut locations = Vec::new();
    for update in updates {
        match update {
            TableUpdate::SetLocation { location } => locations.push(location.as_str()),
            TableUpdate::AddSnapshot { snapshot } => locations.push(snapshot.manifest_list()),
            TableUpdate::SetStatistics { statistics } => {
                locations.push(&statistics.statistics_path);
            }
            TableUpdate::SetPartitionStatistics {
                partition_statistics,
            } => locations.push(&partition_statistics.statistics_path),
            TableUpdate::SetProperties { updates } => {
                let paths = LOCATION_PROPERTIES.iter();
                locations.extend(
                    paths
                        .filter_map(|name| updates.get(*name))
                        .map(String::as_str),
                );
            }
            _ => {}
        }
    }
    for location in &mut locations {
        // A trailing slash is allowed for a folder and is no empty segment.
        *location = location.trim_end_matches('/');
    }
    locations
}

/// Refuses changes of properties that say what is in the table, which only writes may change.
pub(super) fn check_properties(request: &CommitRequest, base: &TableMetadata) -> Result<()> {
    let mut changed: Vec<&String> = Vec::new();
    for update in &request.updates {
        match update {
            TableUpdate::SetProperties { updates } => {
                let current = base.properties();
                let entries = updates.iter();
                changed.extend(
                    entries
                        .filter(|(name, value)| current.get(*name) != Some(value))
                        .map(|(name, _)| name),
                );
            }
            TableUpdate::RemoveProperties { removals } => changed.extend(removals),
            _ => {}
        }
    }
    let kept = changed
        .into_iter()
        .find(|name| name.starts_with(CONTENT_PROPERTY_PREFIX));
    match kept {
        None => Ok(()),
        Some(name) => Err(request.invalid(format!(
            "property {name} is kept by its writers and cannot be set"
        ))),
    }
}

/// Refuses snapshots that were made from an older state than the newest, which no requirement need
/// have said: their files would seem to be older than they are.
pub(super) fn check_snapshots(request: &CommitRequest, base: &TableMetadata) -> Result<()> {
    let mut last_sequence_number = base.last_sequence_number();
    let mut version = base.format_version();
    for update in &request.updates {
        match update {
            TableUpdate::UpgradeFormatVersion { format_version } => {
                version = version.max(*format_version);
            }
            TableUpdate::AddSnapshot { snapshot } => {
                check_time(request, snapshot)?;
                if version >= FormatVersion::V2 {
                    check_sequence_number(request, snapshot, last_sequence_number)?;
                    last_sequence_number = snapshot.sequence_number();
                }
                if version >= FormatVersion::V3 {
                    check_row_ids(request, snapshot, base.next_row_id())?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_time(request: &CommitRequest, snapshot: &Snapshot) -> Result<()> {
    let latest = chrono::Utc::now().timestamp_millis() + MAX_CLOCK_SKEW_MS;
    if snapshot.timestamp_ms() <= latest {
        return Ok(());
    }
    Err(request.invalid(format!(
        "snapshot {} is from the future, at {} ms since the epoch: set the client's clock",
        snapshot.snapshot_id(),
        snapshot.timestamp_ms()
    )))
}

fn check_sequence_number(request: &CommitRequest, snapshot: &Snapshot, last: i64) -> Result<()> {
    let (id, number) = (snapshot.snapshot_id(), snapshot.sequence_number());
    if number <= last {
        return Err(request.conflict(format!(
            "snapshot {id} has sequence number {number}, and {last} is taken"
        )));
    }
    if number > last.saturating_add(MAX_SEQUENCE_GAP) {
        return Err(request.invalid(format!(
            "snapshot {id} has sequence number {number}, far beyond the table's {last}"
        )));
    }
    Ok(())
}

fn check_row_ids(request: &CommitRequest, snapshot: &Snapshot, next_row_id: u64) -> Result<()> {
    match snapshot.first_row_id() {
        Some(first_row_id) if first_row_id < next_row_id => Err(request.conflict(format!(
            "snapshot {} has rows from id {first_row_id}, and ids below {next_row_id} are taken",
            snapshot.snapshot_id()
        ))),
        _ => Ok(()),
    }
}

/// Refuses columns with ids that no table column can have.
pub(super) fn check_field_ids(request: &CommitRequest) -> Result<()> {
    for update in &request.updates {
        let TableUpdate::AddSchema { schema } = update else {
            continue;
        };
        let mut ids = schema.field_id_to_name_map().iter();
        if let Some((id, name)) = ids.find(|(id, _)| !(0..FIRST_RESERVED_FIELD_ID).contains(*id)) {
            return Err(request.invalid(format!("column {name} cannot have the reserved id {id}")));
        }
    }
    Ok(())
}

/// Applies the updates to see that they fit and give metadata that can be read again.
pub(super) fn check_outcome(
    request: &CommitRequest,
    commit: &TableCommit,
    current: Option<&Table>,
) -> Result<()> {
    // Numbers at the edge of their range make the library panic.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let metadata = commit.apply(current)?.metadata;
        check_schemas_of_snapshots(request, &metadata)?;
        check_readable(&metadata)
    }));
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(CatalogError::Metadata { source, .. })) => Err(request.invalid(source.message())),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(request.invalid("the updates have values that are out of range")),
    }
}

/// Refuses new snapshots of a schema that there is not.
fn check_schemas_of_snapshots(request: &CommitRequest, metadata: &TableMetadata) -> Result<()> {
    for update in &request.updates {
        let TableUpdate::AddSnapshot { snapshot } = update else {
            continue;
        };
        if let Some(schema_id) = snapshot.schema_id()
            && metadata.schema_by_id(schema_id).is_none()
        {
            return Err(request.invalid(format!(
                "snapshot {} has schema {schema_id}, which does not exist",
                snapshot.snapshot_id()
            )));
        }
    }
    Ok(())
}

/// Refuses metadata that could be written but not be read again.
///
/// # Errors
/// `Metadata` with the table's location.
pub fn check_readable(metadata: &TableMetadata) -> Result<()> {
    let unreadable =
        |error: serde_json::Error| CatalogError::metadata(metadata.location(), error.into());
    let json = serde_json::to_vec(metadata).map_err(unreadable)?;
    let read: Result<TableMetadata, _> = serde_json::from_slice(&json);
    read.map(drop).map_err(unreadable)
}
