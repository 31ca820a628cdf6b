//! Joining small manifests when a snapshot is added, so that planning a scan of a table with many
//! commits reads few files (`commit.manifest-merge.enabled`).

use std::collections::BTreeMap;

use iceberg::spec::{ManifestContentType, ManifestFile, PartitionSpecRef, TableMetadata};

use super::entries::read_groups;
use super::manifests::ManifestContext;
use crate::error::Result;

impl ManifestContext {
    /// Joins small manifests of the parent snapshot when there are many of one kind. Manifests
    /// that stay come back unchanged. New ones are added to `written`.
    pub(super) async fn merge(
        &self,
        manifests: Vec<ManifestFile>,
        base: &TableMetadata,
        written: &mut Vec<String>,
    ) -> Result<Vec<ManifestFile>> {
        if !self.options.merge || manifests.len() < self.options.min_count_to_merge {
            return Ok(manifests);
        }
        let mut kept = Vec::new();
        let mut small: BTreeMap<(bool, i32), Vec<ManifestFile>> = BTreeMap::new();
        for manifest in manifests {
            let is_small = u64::try_from(manifest.manifest_length)
                .is_ok_and(|length| length < self.options.target_bytes / 2);
            if is_small {
                let is_data = manifest.content == ManifestContentType::Data;
                let group = small.entry((is_data, manifest.partition_spec_id));
                group.or_default().push(manifest);
            } else {
                kept.push(manifest);
            }
        }
        for ((_, spec_id), group) in small {
            // A spec on a column that was dropped since cannot be written again.
            let spec = base
                .partition_spec_by_id(spec_id)
                .filter(|spec| spec.partition_type(base.current_schema()).is_ok());
            let (Some(spec), true) = (spec, group.len() >= self.options.min_count_to_merge) else {
                kept.extend(group);
                continue;
            };
            for bin in self.bins(group) {
                kept.extend(self.merge_bin(bin, base, spec, written).await?);
            }
        }
        Ok(kept)
    }

    /// Manifests by what fits into one of the target size, in order.
    fn bins(&self, manifests: Vec<ManifestFile>) -> Vec<Vec<ManifestFile>> {
        let mut bins: Vec<Vec<ManifestFile>> = Vec::new();
        let mut bin_bytes = u64::MAX;
        for manifest in manifests {
            let bytes = u64::try_from(manifest.manifest_length).unwrap_or(0);
            bin_bytes = bin_bytes.saturating_add(bytes);
            match bins.last_mut() {
                Some(bin) if bin_bytes <= self.options.target_bytes => bin.push(manifest),
                _ => {
                    bin_bytes = bytes;
                    bins.push(vec![manifest]);
                }
            }
        }
        bins
    }

    /// Writes one manifest with the live entries of several; one for each form that the
    /// partition values of their spec have had.
    async fn merge_bin(
        &self,
        bin: Vec<ManifestFile>,
        base: &TableMetadata,
        spec: &PartitionSpecRef,
        written: &mut Vec<String>,
    ) -> Result<Vec<ManifestFile>> {
        if bin.len() < 2 {
            return Ok(bin);
        }
        let mut merged = Vec::new();
        for group in read_groups(self, base, spec, bin).await? {
            if let [(only, _)] = group.members.as_slice() {
                merged.push(only.clone());
                continue;
            }
            let content = group.members[0].0.content;
            let entries = group.members.into_iter().flat_map(|(_, entries)| entries);
            let manifest = self.write_existing(content, &group.schema, spec, entries, written);
            merged.push(manifest.await?);
        }
        Ok(merged)
    }
}
