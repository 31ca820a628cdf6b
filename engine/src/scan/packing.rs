//! Dividing data files that are written again into the partitions of a scan.
//!
//! Each scan partition becomes a task that writes files of its own, so the files of one table
//! partition stay together as far as that leaves work for every task.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use ingot_catalog::scan::{FilePartition, FileTask};

use super::partitioning::Piece;

/// How files are kept together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packing {
    /// A task should have at least so many bytes of a table partition that it shares with other
    /// tasks; `None`: a table partition is never shared.
    pub least_bytes: Option<u64>,
    /// Whether the files of a table partition stay together; else they all do.
    pub by_table_partition: bool,
}

/// Divides whole files into at most `target_partitions` scan partitions of about the same number
/// of bytes. Within one, the files of a table partition follow each other, in their order: a task
/// that writes them again has one file open at a time.
pub(super) fn packed_partitions_of(
    tasks: &[FileTask],
    target_partitions: usize,
    packing: Packing,
) -> Vec<Vec<Piece>> {
    let target_partitions = target_partitions.max(1);
    let mut by_table_partition: BTreeMap<Option<FilePartition>, Vec<usize>> = BTreeMap::new();
    for (index, task) in tasks.iter().enumerate() {
        let key = packing.by_table_partition.then(|| task.partition_key());
        by_table_partition.entry(key).or_default().push(index);
    }
    let size = |indices: &[usize]| -> u64 {
        let sizes = indices.iter().map(|index| tasks[*index].file_size_in_bytes);
        sizes.sum()
    };
    let all: Vec<usize> = (0..tasks.len()).collect();
    let fair_bytes = size(&all).div_ceil(target_partitions as u64);
    let mut units: Vec<(u64, Vec<usize>)> = Vec::new();
    for indices in by_table_partition.into_values() {
        let bytes = size(&indices);
        let parts = match packing.least_bytes {
            Some(least) => bytes.div_ceil(fair_bytes.max(least).max(1)).max(1),
            None => 1,
        };
        let part_bytes = bytes.div_ceil(parts).max(1);
        let mut unit: (u64, Vec<usize>) = (0, Vec::new());
        let last = units.len() + (parts - 1) as usize;
        for index in indices {
            unit.0 += tasks[index].file_size_in_bytes;
            unit.1.push(index);
            if unit.0 >= part_bytes && units.len() < last {
                units.push(std::mem::take(&mut unit));
            }
        }
        if !unit.1.is_empty() {
            units.push(unit);
        }
    }

    // The largest units first, each to the emptiest partition.
    let count = target_partitions.min(units.len());
    units.sort_by_key(|(bytes, indices)| (Reverse(*bytes), indices.first().copied()));
    let mut emptiest: BinaryHeap<Reverse<(u64, usize)>> =
        (0..count).map(|number| Reverse((0, number))).collect();
    let mut assigned: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (bytes, indices) in units {
        let Some(Reverse((before, number))) = emptiest.pop() else {
            break;
        };
        assigned[number].extend(indices);
        emptiest.push(Reverse((before + bytes.max(1), number)));
    }
    let pieces = assigned.into_iter().map(|indices| {
        let pieces = indices.into_iter();
        pieces
            .map(|index| Piece::whole(index, tasks[index].file_size_in_bytes))
            .collect()
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use iceberg::spec::{Datum, Transform};
    use ingot_catalog::scan::{FileFormat, PartitionValue};
    use proptest::prelude::*;

    fn task(size: u64, partition: i32) -> FileTask {
        FileTask {
            path: "/a.parquet".to_string(),
            file_size_in_bytes: size,
            record_count: 1,
            format: FileFormat::Parquet,
            split_offsets: Vec::new(),
            spec_id: 0,
            partition: vec![PartitionValue {
                field_id: 1000,
                name: "p".to_string(),
                source_id: 1,
                transform: Transform::Identity,
                value: Some(Datum::int(partition)),
            }]
            .into(),
            data_sequence_number: 1,
            first_row_id: None,
            sort_order_id: None,
            columns: Default::default(),
            deletes: Vec::new(),
        }
    }

    fn files_of(partitions: &[Vec<Piece>]) -> Vec<Vec<usize>> {
        let files = |pieces: &Vec<Piece>| pieces.iter().map(|piece| piece.task).collect();
        partitions.iter().map(files).collect()
    }

    proptest! {
        #[test]
        fn every_file_is_in_exactly_one_partition(
            files in prop::collection::vec((0_u64..300, 0_i32..4), 0..40),
            target in 0_usize..6,
            least in prop::option::of(0_u64..500),
        ) {
            let tasks: Vec<_> = files.iter().map(|(size, p)| task(*size, *p)).collect();
            let packing = Packing { least_bytes: least, by_table_partition: true };
            let partitions = packed_partitions_of(&tasks, target, packing);
            prop_assert!(partitions.len() <= target.max(1));
            let mut found: Vec<usize> = files_of(&partitions).into_iter().flatten().collect();
            found.sort_unstable();
            prop_assert_eq!(found, (0..tasks.len()).collect::<Vec<_>>());
            if least.is_none() {
                for p in 0..4 {
                    let having = partitions.iter().filter(|pieces| {
                        pieces.iter().any(|piece| files[piece.task].1 == p)
                    });
                    prop_assert!(having.count() <= 1);
                }
            }
        }
    }

    #[test]
    fn small_files_of_a_partition_stay_together() {
        let tasks: Vec<_> = (0..12).map(|n| task(10, n % 3)).collect();
        let packing = Packing {
            least_bytes: Some(1_000),
            by_table_partition: true,
        };
        let partitions = files_of(&packed_partitions_of(&tasks, 8, packing));
        assert_eq!(partitions.len(), 3);
        for files in partitions {
            assert_eq!(files.len(), 4);
            assert!(files.iter().all(|file| file % 3 == files[0] % 3));
        }
        let all = Packing {
            by_table_partition: false,
            ..packing
        };
        assert_eq!(packed_partitions_of(&tasks, 8, all).len(), 1);
    }

    #[test]
    fn a_large_partition_is_shared() {
        let tasks: Vec<_> = (0..16).map(|_| task(100, 0)).collect();
        let packing = Packing {
            least_bytes: Some(200),
            by_table_partition: true,
        };
        let partitions = files_of(&packed_partitions_of(&tasks, 4, packing));
        let sizes: Vec<usize> = partitions.iter().map(Vec::len).collect();
        assert_eq!(sizes, [4, 4, 4, 4]);
    }
}
