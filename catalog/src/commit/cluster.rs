//! Writing all manifests of a snapshot again, files of one partition next to each other: scans of
//! few partitions then read few manifests (`optimize_manifests`).

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use iceberg::TableIdent;
use iceberg::spec::{
    Literal, MAIN_BRANCH, ManifestContentType, ManifestFile, Operation, PartitionSpecRef, Struct,
    TableMetadata,
};

use super::entries::{EntryGroup, LiveEntry, read_groups};
use super::manifests::{ManifestContext, ManifestOptions};
use super::produce::{ManifestLayout, SnapshotProducer, read_manifest_list};
use super::row_delta::commit_snapshot;
use super::summary::ParentFiles;
use crate::catalog::Catalog;
use crate::error::Result;
use crate::table::Table;

/// Entries of a snapshot's summary, as Iceberg names them.
const CREATED: &str = "manifests-created";
const KEPT: &str = "manifests-kept";
const REPLACED: &str = "manifests-replaced";
const ENTRIES: &str = "entries-processed";

/// What [`optimize_manifests`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ManifestReport {
    /// Manifests that were written again.
    pub replaced: usize,
    /// Manifests that took their place.
    pub created: usize,
}

/// Writes the manifests of a table's current snapshot again, ordered by partition and of the
/// size `commit.manifest.target-size-bytes`. No data file is read or written. A table whose
/// manifests are in order already gets no snapshot.
///
/// # Errors
/// As [`commit_row_delta`](super::commit_row_delta), but for validation: whatever others commit
/// meanwhile is rewritten, too.
pub async fn optimize_manifests(
    catalog: &dyn Catalog,
    ident: &TableIdent,
) -> Result<(Table, ManifestReport)> {
    let table = catalog.load_table(ident).await?;
    if !may_gain(catalog, &table).await? {
        return Ok((table, ManifestReport::default()));
    }
    let metadata = &table.metadata;
    let producer = SnapshotProducer::new(
        catalog.storage(),
        Operation::Replace,
        ParentFiles::Keep,
        Vec::new(),
        (
            metadata.current_schema().clone(),
            metadata.default_partition_spec().clone(),
        ),
        BTreeMap::new(),
    )
    .with_manifest_layout(ManifestLayout::Clustered);
    let committed = commit_snapshot(catalog, &table, MAIN_BRANCH, producer, None).await?;
    let summary = committed
        .metadata
        .current_snapshot()
        .map(|snapshot| snapshot.summary().additional_properties.clone())
        .unwrap_or_default();
    let number = |key: &str| summary.get(key).and_then(|value| value.parse().ok());
    let report = ManifestReport {
        replaced: number(REPLACED).unwrap_or(0),
        created: number(CREATED).unwrap_or(0),
    };
    Ok((committed, report))
}

/// Whether there is more than one manifest of a kind, or one that names removed files, and they
/// were not put in order by the last commit.
async fn may_gain(catalog: &dyn Catalog, table: &Table) -> Result<bool> {
    let metadata = &table.metadata;
    let Some(snapshot) = metadata.current_snapshot() else {
        return Ok(false);
    };
    let summary = &snapshot.summary().additional_properties;
    if summary.contains_key(CREATED) {
        return Ok(false);
    }
    let manifests = read_manifest_list(catalog.storage(), metadata, snapshot).await?;
    let target_bytes = ManifestOptions::new(metadata.properties())?.target_bytes;
    let is_in_order = |manifests: &[ManifestFile]| match manifests {
        [only] => {
            let bytes = u64::try_from(only.manifest_length).unwrap_or(0);
            bytes <= target_bytes && !only.has_deleted_files()
        }
        _ => false,
    };
    let by_kind = by_kind(manifests);
    Ok(!by_kind.values().all(|manifests| is_in_order(manifests)))
}

/// Manifests by content and partition spec.
fn by_kind(manifests: Vec<ManifestFile>) -> BTreeMap<(bool, i32), Vec<ManifestFile>> {
    let mut kinds: BTreeMap<(bool, i32), Vec<ManifestFile>> = BTreeMap::new();
    for manifest in manifests {
        let is_data = manifest.content == ManifestContentType::Data;
        let kind = kinds.entry((is_data, manifest.partition_spec_id));
        kind.or_default().push(manifest);
    }
    kinds
}

/// Manifests in order, and what the snapshot's summary says of them.
pub(super) struct Clustered {
    pub manifests: Vec<ManifestFile>,
    pub summary: HashMap<String, String>,
}

impl ManifestContext {
    /// Writes manifests again, ordered by partition. Those of a partition spec on a column that
    /// was dropped since stay: it cannot be written any more. New ones are added to `written`.
    pub(super) async fn cluster(
        &self,
        manifests: Vec<ManifestFile>,
        base: &TableMetadata,
        written: &mut Vec<String>,
    ) -> Result<Clustered> {
        let mut kept = Vec::new();
        let mut created = Vec::new();
        let mut replaced = 0;
        let mut entries = 0;
        for ((_, spec_id), manifests) in by_kind(manifests) {
            let spec = base
                .partition_spec_by_id(spec_id)
                .filter(|spec| spec.partition_type(base.current_schema()).is_ok());
            let Some(spec) = spec else {
                kept.extend(manifests);
                continue;
            };
            for group in read_groups(self, base, spec, manifests).await? {
                if let ([(only, _)], false) = (group.members.as_slice(), group.has_deletions)
                    && u64::try_from(only.manifest_length)
                        .is_ok_and(|bytes| bytes <= self.options.target_bytes)
                {
                    kept.push(only.clone());
                    continue;
                }
                replaced += group.members.len();
                let all = group.members.iter();
                entries += all.map(|(_, entries)| entries.len()).sum::<usize>();
                created.extend(self.write_clustered(group, spec, written).await?);
            }
        }
        let summary = [
            (CREATED, created.len()),
            (KEPT, kept.len()),
            (REPLACED, replaced),
            (ENTRIES, entries),
        ];
        let summary = summary.map(|(key, count)| (key.to_string(), count.to_string()));
        created.extend(kept);
        Ok(Clustered {
            manifests: created,
            summary: HashMap::from(summary),
        })
    }

    async fn write_clustered(
        &self,
        group: EntryGroup,
        spec: &PartitionSpecRef,
        written: &mut Vec<String>,
    ) -> Result<Vec<ManifestFile>> {
        let lengths = group.members.iter().map(|(file, _)| file.manifest_length);
        let bytes: i64 = lengths.sum();
        let bytes = u64::try_from(bytes).unwrap_or(0);
        let count = bytes.div_ceil(self.options.target_bytes).max(1);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let Some((first, _)) = group.members.first() else {
            return Ok(Vec::new());
        };
        let content = first.content;
        let members = group.members.into_iter();
        let mut entries: Vec<LiveEntry> = members.flat_map(|(_, entries)| entries).collect();
        entries.sort_by(|left, right| {
            compare_partitions(left.file.partition(), right.file.partition())
                .then(left.sequence_number.cmp(&right.sequence_number))
        });
        let per_manifest = entries.len().div_ceil(count).max(1);
        let mut manifests = Vec::with_capacity(count);
        for chunk in entries.chunks(per_manifest) {
            let chunk = chunk.iter().cloned();
            let manifest = self.write_existing(content, &group.schema, spec, chunk, written);
            manifests.push(manifest.await?);
        }
        Ok(manifests)
    }
}

/// Nulls first, then by value, field by field.
fn compare_partitions(left: &Struct, right: &Struct) -> Ordering {
    let primitive =
        |value: &Option<Literal>| value.as_ref().and_then(Literal::as_primitive_literal);
    let pairs = left.fields().iter().zip(right.fields());
    let mut orders = pairs.map(|(left, right)| {
        let order = primitive(left).partial_cmp(&primitive(right));
        order.unwrap_or(Ordering::Equal)
    });
    orders
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}
