//! Which data files to write again (`optimize`).

use std::collections::BTreeMap;

use crate::scan::{FilePartition, FileTask};

/// What makes a file worth writing again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionChoice {
    /// Partition spec that every file should have.
    pub spec_id: i32,
    /// Files below this size, in bytes, are small.
    pub small_bytes: u64,
    /// About the size of new files, in bytes.
    pub target_bytes: u64,
    /// Every file is: its rows get another order.
    pub all: bool,
}

/// The files of a table to write again: those with deletes, those of older partition specs, and
/// small ones of a partition that become fewer.
pub fn files_to_compact(tasks: Vec<FileTask>, choice: CompactionChoice) -> Vec<FileTask> {
    if choice.all {
        return tasks;
    }
    let mut small: BTreeMap<FilePartition, Vec<FileTask>> = BTreeMap::new();
    let mut chosen = Vec::new();
    for task in tasks {
        if task.spec_id != choice.spec_id {
            chosen.push(task);
        } else if !task.deletes.is_empty() || task.file_size_in_bytes < choice.small_bytes {
            small.entry(task.partition_key()).or_default().push(task);
        }
    }
    for files in small.into_values() {
        let is_dirty = files.iter().any(|file| !file.deletes.is_empty());
        let bytes: u64 = files.iter().map(|file| file.file_size_in_bytes).sum();
        let count = bytes.div_ceil(choice.target_bytes.max(1)).max(1);
        if is_dirty || count < files.len() as u64 {
            chosen.extend(files);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{DeleteFileRef, DeleteKind, FileFormat, PartitionValue};
    use iceberg::spec::{Datum, Transform};

    const CHOICE: CompactionChoice = CompactionChoice {
        spec_id: 1,
        small_bytes: 100,
        target_bytes: 500,
        all: false,
    };

    fn file(name: &str, spec_id: i32, partition: i32, size: u64, is_dirty: bool) -> FileTask {
        let delete = DeleteFileRef {
            path: "/d.parquet".to_string(),
            kind: DeleteKind::Positions,
            format: FileFormat::Parquet,
            file_size_in_bytes: 1,
            record_count: 1,
            data_sequence_number: 1,
            spec_id,
        };
        FileTask {
            path: name.to_string(),
            file_size_in_bytes: size,
            record_count: 1,
            format: FileFormat::Parquet,
            split_offsets: Vec::new(),
            spec_id,
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
            deletes: is_dirty.then_some(delete).into_iter().collect(),
        }
    }

    fn chosen(files: Vec<FileTask>, choice: CompactionChoice) -> Vec<String> {
        let mut names: Vec<_> = files_to_compact(files, choice)
            .into_iter()
            .map(|file| file.path)
            .collect();
        names.sort();
        names
    }

    #[test]
    fn small_dirty_and_old_files_are_chosen() {
        let files = vec![
            file("small a", 1, 1, 10, false),
            file("small b", 1, 1, 99, false),
            file("large", 1, 1, 100, false),
            file("alone", 1, 2, 10, false),
            file("large of 2", 1, 2, 400, false),
            file("dirty", 1, 3, 400, true),
            file("small beside dirty", 1, 3, 10, false),
            file("old spec", 0, 1, 400, false),
        ];
        let expected = [
            "dirty",
            "old spec",
            "small a",
            "small b",
            "small beside dirty",
        ];
        assert_eq!(chosen(files.clone(), CHOICE), expected);
        let all = CompactionChoice {
            all: true,
            ..CHOICE
        };
        assert_eq!(chosen(files.clone(), all).len(), files.len());
    }

    #[test]
    fn files_that_would_not_become_fewer_stay() {
        let tight = CompactionChoice {
            target_bytes: 60,
            ..CHOICE
        };
        let files = vec![
            file("a", 1, 1, 60, false),
            file("b", 1, 1, 60, false),
            file("c", 1, 1, 60, false),
        ];
        assert_eq!(chosen(files, tight), Vec::<String>::new());
    }
}
