//! Dividing data files into the partitions of a scan.
//!
//! Large files are split where row groups begin, and the pieces are spread so that every
//! partition has about the same number of bytes. Every row group is in exactly one piece:
//! DataFusion assigns a row group to the range in which its first page begins.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use ingot_catalog::scan::FileTask;

/// A scan may get a partition for every so many rows even if they are fewer bytes than a
/// partition is worth: narrow columns compress far, and still cost time.
const MIN_ROWS_PER_PARTITION: u64 = 128 << 10;

/// A file, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Index of the task.
    pub task: usize,
    /// Byte range, or `None` for the whole file.
    pub range: Option<Range<u64>>,
    bytes: u64,
}

impl Piece {
    /// A whole file.
    pub(super) fn whole(task: usize, bytes: u64) -> Self {
        Self {
            task,
            range: None,
            bytes,
        }
    }
}

/// Divides files into at most `target_partitions` partitions; at least one, if there is a
/// file, and no more than the data is worth at `min_bytes` each. Within a partition, pieces
/// keep the order of the tasks.
pub(super) fn partitions_of(
    tasks: &[FileTask],
    target_partitions: usize,
    min_bytes: u64,
) -> Vec<Vec<Piece>> {
    let total_bytes: u64 = tasks.iter().map(|task| task.file_size_in_bytes).sum();
    let total_rows: u64 = tasks.iter().map(|task| task.record_count).sum();
    let by_bytes = total_bytes.div_ceil(min_bytes.max(1));
    let by_rows = total_rows.div_ceil(MIN_ROWS_PER_PARTITION);
    let wanted = by_bytes
        .max(by_rows)
        .max(1)
        .min(target_partitions.max(1) as u64);
    let piece_bytes = (total_bytes / wanted).max(1);

    let mut pieces = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        if wanted > 1 && task.file_size_in_bytes > piece_bytes {
            split(index, task, piece_bytes, &mut pieces);
        } else {
            pieces.push(Piece::whole(index, task.file_size_in_bytes));
        }
    }

    // The largest pieces first, each to the emptiest partition.
    let count = (wanted as usize).min(pieces.len());
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by_key(|index| (Reverse(pieces[*index].bytes), *index));
    let mut emptiest: BinaryHeap<Reverse<(u64, usize)>> = (0..count)
        .map(|partition| Reverse((0, partition)))
        .collect();
    let mut assigned: Vec<Vec<usize>> = vec![Vec::new(); count];
    for index in order {
        let Some(Reverse((bytes, partition))) = emptiest.pop() else {
            break;
        };
        assigned[partition].push(index);
        emptiest.push(Reverse((bytes + pieces[index].bytes.max(1), partition)));
    }
    assigned
        .into_iter()
        .map(|mut indices| {
            indices.sort_unstable();
            indices
                .into_iter()
                .map(|index| pieces[index].clone())
                .collect()
        })
        .collect()
}

/// Splits a file where row groups begin, or evenly when that is not known (a range without
/// the beginning of a row group reads nothing).
fn split(index: usize, task: &FileTask, piece_bytes: u64, pieces: &mut Vec<Piece>) {
    let size = task.file_size_in_bytes;
    let offsets_are_usable = task.split_offsets.windows(2).all(|pair| pair[0] < pair[1])
        && task.split_offsets.last().is_some_and(|last| *last < size);
    let boundaries: Vec<u64> = if offsets_are_usable {
        task.split_offsets.iter().skip(1).copied().collect()
    } else {
        let count = size.div_ceil(piece_bytes);
        (1..count).map(|n| n * piece_bytes).collect()
    };
    let mut start = 0;
    for (position, boundary) in boundaries.iter().enumerate() {
        // Neighbouring row groups stay together up to the size wanted.
        let next = boundaries.get(position + 1).copied().unwrap_or(size);
        if next - start > piece_bytes {
            pieces.push(piece(index, start..*boundary));
            start = *boundary;
        }
    }
    pieces.push(piece(index, start..size));
}

fn piece(task: usize, range: Range<u64>) -> Piece {
    Piece {
        task,
        bytes: range.end - range.start,
        range: Some(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingot_catalog::scan::FileFormat;
    use proptest::prelude::*;

    fn task(size: u64, rows: u64, split_offsets: Vec<u64>) -> FileTask {
        FileTask {
            path: "/a.parquet".to_string(),
            file_size_in_bytes: size,
            record_count: rows,
            format: FileFormat::Parquet,
            split_offsets,
            spec_id: 0,
            partition: Vec::new().into(),
            data_sequence_number: 1,
            first_row_id: None,
            sort_order_id: None,
            columns: Default::default(),
            deletes: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn every_byte_of_every_file_is_in_exactly_one_piece(
            files in prop::collection::vec((1_u64..50 << 20, prop::collection::btree_set(4_u64..60 << 20, 0..6)), 0..12),
            target in 0_usize..9,
        ) {
            let tasks: Vec<_> = files
                .iter()
                .map(|(size, offsets)| task(*size, 1000, offsets.iter().copied().collect()))
                .collect();
            let partitions = partitions_of(&tasks, target, 1 << 20);
            prop_assert!(partitions.len() <= target.max(1));
            prop_assert!(partitions.iter().all(|partition| !partition.is_empty()));
            for (index, task) in tasks.iter().enumerate() {
                let mut ranges: Vec<_> = partitions
                    .iter()
                    .flatten()
                    .filter(|piece| piece.task == index)
                    .map(|piece| piece.range.clone().unwrap_or(0..task.file_size_in_bytes))
                    .collect();
                ranges.sort_by_key(|range| range.start);
                let mut position = 0;
                for range in ranges {
                    prop_assert_eq!(range.start, position);
                    prop_assert!(range.end > range.start);
                    position = range.end;
                }
                prop_assert_eq!(position, task.file_size_in_bytes);
            }
        }
    }

    #[test]
    fn one_large_file_feeds_all_partitions_evenly() {
        let offsets = (0..16).map(|n| 4 + n * (4 << 20)).collect();
        let partitions = partitions_of(&[task(64 << 20, 1 << 20, offsets)], 4, 1 << 20);
        let sizes: Vec<u64> = partitions
            .iter()
            .map(|pieces| pieces.iter().map(|piece| piece.bytes >> 20).sum())
            .collect();
        assert_eq!(sizes.len(), 4);
        assert!(
            sizes.iter().all(|size| (12..=20).contains(size)),
            "{sizes:?}"
        );
    }

    #[test]
    fn small_scans_have_one_partition() {
        let tasks = vec![task(1000, 10, vec![4]); 5];
        assert_eq!(partitions_of(&tasks, 8, 1 << 20).len(), 1);
        assert_eq!(partitions_of(&[], 8, 1 << 20).len(), 0);
    }
}
