//! Which delete files apply to no data file after a rewrite (Iceberg specification, "Scan
//! Planning": the rules by which deletes apply).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use iceberg::spec::{
    DataContentType, Manifest, ManifestContentType, ManifestEntry, ManifestFile, TableMetadata,
};

use crate::scan::{PartitionKey, only_data_file, partition_key};

/// The data files that stay or come, as delete files see them.
#[derive(Debug, Default)]
pub(super) struct RemainingData {
    /// Of the files that stay.
    paths: HashSet<String>,
    /// Lowest data sequence number of the files that stay, by partition.
    staying: HashMap<PartitionKey, i64>,
    /// The same of all files.
    all: HashMap<PartitionKey, i64>,
    lowest_of_all: Option<i64>,
    unpartitioned_specs: HashSet<i32>,
}

impl RemainingData {
    /// What is left of `manifests` without the data files `removed`, and with data files in the
    /// partitions `added`, which come with their lowest sequence numbers.
    pub(super) fn after<'a>(
        manifests: impl Iterator<Item = (&'a ManifestFile, &'a Arc<Manifest>)> + Clone,
        removed: &HashSet<String>,
        added: HashMap<PartitionKey, i64>,
        base: &TableMetadata,
    ) -> Self {
        let is_deletes = |file: &ManifestFile| file.content == ManifestContentType::Deletes;
        if !manifests.clone().any(|(file, _)| is_deletes(file)) {
            return Self::default();
        }
        let specs = base.partition_specs_iter();
        let unpartitioned = specs.filter(|spec| spec.is_unpartitioned());
        let mut remaining = Self {
            unpartitioned_specs: unpartitioned.map(|spec| spec.spec_id()).collect(),
            ..Self::default()
        };
        for (file, manifest) in manifests.filter(|(file, _)| !is_deletes(file)) {
            for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
                let data_file = entry.data_file();
                if removed.contains(data_file.file_path()) {
                    continue;
                }
                remaining.paths.insert(data_file.file_path().to_string());
                let key = partition_key(file.partition_spec_id, data_file.partition());
                let sequence_number = entry.sequence_number().unwrap_or(file.sequence_number);
                lower(&mut remaining.staying, key, sequence_number);
            }
        }
        remaining.all = remaining.staying.clone();
        for (key, sequence_number) in added {
            lower(&mut remaining.all, key, sequence_number);
        }
        remaining.lowest_of_all = remaining.all.values().copied().min();
        remaining
    }

    /// Whether a delete file that `manifest` lists applies to no data file.
    pub(super) fn is_dangling(&self, manifest: &ManifestFile, entry: &ManifestEntry) -> bool {
        let file = entry.data_file();
        let spec_id = manifest.partition_spec_id;
        let key = partition_key(spec_id, file.partition());
        let sequence_number = entry.sequence_number().unwrap_or(manifest.sequence_number);
        match file.content_type() {
            DataContentType::Data => false,
            // Files that come are named by no delete file that is there already.
            DataContentType::PositionDeletes => match only_data_file(file) {
                Some(path) => !self.paths.contains(&path),
                None => {
                    let lowest = self.staying.get(&key);
                    lowest.is_none_or(|lowest| *lowest > sequence_number)
                }
            },
            DataContentType::EqualityDeletes => {
                let lowest = match self.unpartitioned_specs.contains(&spec_id) {
                    true => self.lowest_of_all,
                    false => self.all.get(&key).copied(),
                };
                lowest.is_none_or(|lowest| lowest >= sequence_number)
            }
        }
    }
}

fn lower(lowest: &mut HashMap<PartitionKey, i64>, key: PartitionKey, sequence_number: i64) {
    let known = lowest.entry(key).or_insert(sequence_number);
    *known = (*known).min(sequence_number);
}
