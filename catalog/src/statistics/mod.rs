//! Statistics of a table's columns: how many distinct values they have, about.
//!
//! They are in Puffin files that the table's metadata names, one for a snapshot at most; what
//! planning needs, the numbers, is in the metadata too. Rules: Iceberg specification, "Table
//! Statistics"; Puffin specification, "apache-datasketches-theta-v1" blob type.

mod puffin;

pub(crate) use puffin::{read_sketches, write_statistics};

use std::collections::{HashMap, HashSet};

use iceberg::TableUpdate;
use iceberg::puffin::APACHE_DATASKETCHES_THETA_V1;
use iceberg::spec::{StatisticsFile, TableMetadata};

use crate::evolve::ancestors;
use crate::table::Table;

/// Property of a blob: the distinct values that its sketch stands for.
const NDV: &str = "ndv";

/// The sketch of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSketch {
    /// The column's field id.
    pub field_id: i32,
    /// How many distinct values it stands for, about; nulls are none.
    pub distinct_values: u64,
    /// The compact theta sketch, serialised.
    pub sketch: Vec<u8>,
}

/// About how many distinct values columns have in a snapshot, by field id: of each column, what was
/// gathered last in the snapshot's history, by whatever engine. Rows may have come and gone since.
pub fn distinct_values(metadata: &TableMetadata, snapshot_id: i64) -> HashMap<i32, u64> {
    let mut counts = HashMap::new();
    for file in files_in_history(metadata, snapshot_id) {
        for (field_id, count) in sketches_in(file) {
            if let Some(count) = count {
                counts.entry(field_id).or_insert(count);
            }
        }
    }
    counts
}

/// The updates that make a table forget its statistics, of all snapshots. Their files stay until
/// `remove_orphan_files` finds them.
pub fn drop_statistics(table: &Table) -> Vec<TableUpdate> {
    let files = table.metadata.statistics_iter();
    let mut snapshot_ids: Vec<i64> = files.map(|file| file.snapshot_id).collect();
    snapshot_ids.sort_unstable();
    let removals = snapshot_ids.into_iter();
    removals
        .map(|snapshot_id| TableUpdate::RemoveStatistics { snapshot_id })
        .collect()
}

/// The files that have the newest sketches of columns in a snapshot's history, with the field ids
/// of those: columns of `wanted` that have any.
pub(crate) fn newest_sketches<'a>(
    metadata: &'a TableMetadata,
    snapshot_id: i64,
    wanted: &HashSet<i32>,
) -> Vec<(&'a StatisticsFile, HashSet<i32>)> {
    let mut missing = wanted.clone();
    let mut found = Vec::new();
    for file in files_in_history(metadata, snapshot_id) {
        let columns = sketches_in(file).map(|(field_id, _)| field_id);
        let columns: HashSet<i32> = columns.filter(|id| missing.remove(id)).collect();
        if !columns.is_empty() {
            found.push((file, columns));
        }
    }
    found
}

/// The statistics files of a snapshot and of those before it, newest first.
fn files_in_history(
    metadata: &TableMetadata,
    snapshot_id: i64,
) -> impl Iterator<Item = &StatisticsFile> {
    // Most tables have none, and histories are long.
    let newest = match metadata.statistics_iter().len() {
        0 => None,
        _ => metadata.snapshot_by_id(snapshot_id).cloned(),
    };
    ancestors(metadata, newest)
        .filter_map(move |snapshot| metadata.statistics_for_snapshot(snapshot.snapshot_id()))
}

/// The columns that a file has sketches of, with the distinct values where they are told.
fn sketches_in(file: &StatisticsFile) -> impl Iterator<Item = (i32, Option<u64>)> {
    file.blob_metadata.iter().filter_map(|blob| {
        let [field_id] = blob.fields.as_slice() else {
            return None;
        };
        if blob.r#type != APACHE_DATASKETCHES_THETA_V1 {
            return None;
        }
        let count = blob.properties.get(NDV);
        let count = count.and_then(|count| count.parse::<u64>().ok());
        Some((*field_id, count))
    })
}
