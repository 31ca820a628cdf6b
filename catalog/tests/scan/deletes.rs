//! Which delete files apply to which data files.

use std::collections::HashMap;

use iceberg::expr::Predicate;
use iceberg::metadata_columns::RESERVED_FIELD_ID_DELETE_FILE_PATH;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, FormatVersion, Literal,
    ManifestContentType, Struct, UnboundPartitionSpec,
};
use ingot_catalog::TableVersion;
use ingot_catalog::scan::{DeleteKind, FileFormat, ManifestCache, plan_scan};

use crate::plans::{day_file, day_table, plan};
use crate::table::{Entry, TestTable};

fn at(sequence_number: i64, file: DataFile) -> Entry {
    Entry {
        file,
        sequence_number: Some(sequence_number),
    }
}

struct Delete<'a> {
    name: &'a str,
    day: Option<i32>,
    content: DataContentType,
    referenced: Option<String>,
    path_bounds: Option<(String, String)>,
    vector: Option<(i64, i64)>,
}

impl<'a> Delete<'a> {
    fn positions(name: &'a str, day: i32) -> Self {
        Self {
            name,
            day: Some(day),
            content: DataContentType::PositionDeletes,
            referenced: None,
            path_bounds: None,
            vector: None,
        }
    }

    fn equality(name: &'a str, day: Option<i32>) -> Self {
        Self {
            content: DataContentType::EqualityDeletes,
            day,
            ..Self::positions(name, 0)
        }
    }

    fn build(self, table: &TestTable) -> DataFile {
        let mut builder = DataFileBuilder::default();
        let format = if self.vector.is_some() {
            DataFileFormat::Puffin
        } else {
            DataFileFormat::Parquet
        };
        builder
            .content(self.content)
            .file_path(table.path(self.name))
            .file_format(format)
            .record_count(1)
            .file_size_in_bytes(10)
            .referenced_data_file(self.referenced);
        if let Some(day) = self.day {
            builder.partition(Struct::from_iter([Some(Literal::date(day))]));
        }
        if self.content == DataContentType::EqualityDeletes {
            builder.equality_ids(Some(vec![1]));
        }
        if let Some((lowest, highest)) = self.path_bounds {
            let id = RESERVED_FIELD_ID_DELETE_FILE_PATH;
            builder.lower_bounds(HashMap::from([(id, Datum::string(lowest))]));
            builder.upper_bounds(HashMap::from([(id, Datum::string(highest))]));
        }
        if let Some((offset, length)) = self.vector {
            builder.content_offset(Some(offset));
            builder.content_size_in_bytes(Some(length));
        }
        builder.build().unwrap()
    }
}

/// Names of the delete files per data file, by the data file's name.
async fn deletes_by_file(table: &TestTable) -> HashMap<String, Vec<String>> {
    let plan = plan(table, &Predicate::AlwaysTrue).await;
    let name = |path: &str| path.rsplit('/').next().unwrap().to_string();
    let of_task = |task: &ingot_catalog::scan::FileTask| {
        let deletes = task.deletes.iter().map(|delete| name(&delete.path));
        (name(&task.path), deletes.collect())
    };
    plan.tasks.iter().map(of_task).collect()
}

#[tokio::test]
async fn position_deletes_follow_partition_sequence_and_path() {
    let mut table = day_table(FormatVersion::V2);
    table.sequence_number = 10;
    let data = |table: &TestTable, name: &str, day: i32, number: i64| {
        at(number, day_file(table.path(name), day, 1..=9))
    };
    let files = [
        data(&table, "a1", 1, 3),
        data(&table, "b1", 1, 5),
        data(&table, "c1", 1, 6),
        data(&table, "a2", 2, 3),
    ];
    table
        .add_manifest(ManifestContentType::Data, 0, files)
        .await;
    let (a1, b1) = (table.path("a1"), table.path("b1"));
    let deletes = [
        at(5, Delete::positions("partition1", 1).build(&table)),
        at(
            8,
            Delete {
                referenced: Some(b1.clone()),
                ..Delete::positions("referenced", 1)
            }
            .build(&table),
        ),
        at(
            8,
            Delete {
                path_bounds: Some((a1.clone(), a1.clone())),
                ..Delete::positions("one_path", 1)
            }
            .build(&table),
        ),
        at(
            8,
            Delete {
                path_bounds: Some((a1, b1)),
                ..Delete::positions("range", 1)
            }
            .build(&table),
        ),
        at(2, Delete::positions("too_old", 1).build(&table)),
    ];
    table
        .add_manifest(ManifestContentType::Deletes, 0, deletes)
        .await;
    table.commit().await;
    let deletes = deletes_by_file(&table).await;
    assert_eq!(deletes["a1"], ["one_path", "partition1", "range"]);
    assert_eq!(deletes["b1"], ["referenced", "partition1", "range"]);
    assert!(deletes["c1"].is_empty(), "written after the deletes");
    assert!(deletes["a2"].is_empty(), "another partition");
    let plan = plan(&table, &Predicate::AlwaysTrue).await;
    assert_eq!(plan.exact_row_count(), None);
    assert_eq!(plan.metrics.files_with_deletes, 2);
}

#[tokio::test]
async fn equality_deletes_spare_their_own_commit_and_are_global_without_partition() {
    let mut table = day_table(FormatVersion::V2);
    table.change(|builder| builder.add_partition_spec(UnboundPartitionSpec::builder().build()));
    table.sequence_number = 10;
    let files = [
        at(4, day_file(table.path("a1"), 1, 1..=9)),
        at(5, day_file(table.path("b1"), 1, 1..=9)),
        at(4, day_file(table.path("a2"), 2, 1..=9)),
    ];
    table
        .add_manifest(ManifestContentType::Data, 0, files)
        .await;
    let of_day = at(5, Delete::equality("of_day", Some(1)).build(&table));
    table
        .add_manifest(ManifestContentType::Deletes, 0, [of_day])
        .await;
    let global = at(6, Delete::equality("global", None).build(&table));
    table
        .add_manifest(ManifestContentType::Deletes, 1, [global])
        .await;
    table.commit().await;
    let deletes = deletes_by_file(&table).await;
    assert_eq!(deletes["a1"], ["of_day", "global"]);
    assert_eq!(deletes["b1"], ["global"]);
    assert_eq!(deletes["a2"], ["global"]);
    let plan = plan(&table, &Predicate::AlwaysTrue).await;
    let kind = &plan.tasks[0].deletes[0].kind;
    assert_eq!(*kind, DeleteKind::Equality { field_ids: vec![1] });
}

#[tokio::test]
async fn a_deletion_vector_stands_for_all_position_deletes() {
    let mut table = day_table(FormatVersion::V3);
    table.sequence_number = 10;
    let files = [
        at(4, day_file(table.path("a1"), 1, 1..=9)),
        at(4, day_file(table.path("b1"), 1, 1..=9)),
    ];
    table
        .add_manifest(ManifestContentType::Data, 0, files)
        .await;
    let vector = |table: &TestTable| {
        Delete {
            referenced: Some(table.path("a1")),
            vector: Some((4, 40)),
            ..Delete::positions("vectors.puffin", 1)
        }
        .build(table)
    };
    let deletes = [
        at(7, vector(&table)),
        at(6, Delete::positions("positions", 1).build(&table)),
        at(8, Delete::equality("equality", Some(1)).build(&table)),
    ];
    table
        .add_manifest(ManifestContentType::Deletes, 0, deletes)
        .await;
    table.commit().await;
    let deletes = deletes_by_file(&table).await;
    assert_eq!(deletes["a1"], ["vectors.puffin", "equality"]);
    assert_eq!(deletes["b1"], ["positions", "equality"]);
    let first_plan = plan(&table, &Predicate::AlwaysTrue).await;
    let first = &first_plan.tasks[0].deletes[0];
    let kind = DeleteKind::DeletionVector {
        offset: 4,
        length: 40,
    };
    assert_eq!((&first.kind, first.format), (&kind, FileFormat::Puffin));

    // A second vector of the same file cannot be right.
    let second = at(7, vector(&table));
    table
        .add_manifest(ManifestContentType::Deletes, 0, [second])
        .await;
    table.commit().await;
    let cache = ManifestCache::new(0);
    let loaded = table.table();
    let version = TableVersion::Current;
    let predicate = Predicate::AlwaysTrue;
    let error = plan_scan(&table.storage, &cache, &loaded, &version, &predicate).await;
    let message = error.unwrap_err().to_string();
    assert!(message.contains("is a second deletion vector"), "{message}");
}

/// Deletes written before a type promotion find data written after it, and the reverse.
#[tokio::test]
async fn promoted_partition_values_stay_equal() {
    use crate::table::schema_of;
    use iceberg::spec::{PrimitiveType, Transform};
    let spec = UnboundPartitionSpec::builder()
        .add_partition_field(1, "id", Transform::Identity)
        .unwrap()
        .build();
    let schema = schema_of(&[(1, "id", PrimitiveType::Int)]);
    let mut table = TestTable::new(schema, spec, FormatVersion::V2);
    table.sequence_number = 10;
    let file = |table: &TestTable, name: &str, partition: Literal, content: DataContentType| {
        DataFileBuilder::default()
            .content(content)
            .file_path(table.path(name))
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::from_iter([Some(partition)]))
            .record_count(1)
            .file_size_in_bytes(10)
            .build()
            .unwrap()
    };
    let data = at(
        3,
        file(&table, "data", Literal::int(7), DataContentType::Data),
    );
    table
        .add_manifest(ManifestContentType::Data, 0, [data])
        .await;
    let evolved = schema_of(&[(1, "id", PrimitiveType::Long)]);
    table.change(|builder| builder.add_current_schema(evolved));
    let positions = DataContentType::PositionDeletes;
    let deletes = at(5, file(&table, "deletes", Literal::long(7_i64), positions));
    table
        .add_manifest(ManifestContentType::Deletes, 0, [deletes])
        .await;
    table.commit().await;
    assert_eq!(deletes_by_file(&table).await["data"], ["deletes"]);
}
