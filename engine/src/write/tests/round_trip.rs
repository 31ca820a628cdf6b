//! What was written is what is read, whatever the partitioning, and failures leave nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema};
use iceberg::spec::{DataFile, PartitionSpec, Schema, SortOrder, Transform};

use super::support::{Fixture, Random, options, wide_batch, wide_schema};
use crate::write::partition::single_value_bytes;
use crate::write::transform::transform_array;
use crate::write::{PartitionColumn, delete_statement_files, partition_spec_of};

fn spec(schema: &Schema, fields: &[(&str, Transform)]) -> PartitionSpec {
    let columns: Vec<PartitionColumn> = fields
        .iter()
        .map(|(column, transform)| PartitionColumn {
            column: column.to_string(),
            transform: *transform,
        })
        .collect();
    partition_spec_of(&columns, schema).unwrap()
}

fn by_id(batches: &[RecordBatch]) -> RecordBatch {
    let batch = concat_batches(&batches[0].schema(), batches).unwrap();
    let order = sort_to_indices(batch.column(0), None, None).unwrap();
    take_record_batch(&batch, &order).unwrap()
}

/// Equal values column by column, whatever the metadata of the fields.
fn assert_same_rows(found: &[RecordBatch], expected: &[RecordBatch], context: &str) {
    let (found, expected) = (by_id(found), by_id(expected));
    assert_eq!(found.num_rows(), expected.num_rows(), "{context}");
    for (index, field) in expected.schema().fields().iter().enumerate() {
        let (left, right) = (found.column(index), expected.column(index));
        let left = arrow::compute::cast(left, right.data_type()).unwrap();
        assert_eq!(&left, right, "{context}: column {}", field.name());
    }
}

async fn assert_partitions_hold(fixture: &Fixture, files: &[DataFile], context: &str) {
    let metadata = &fixture.table.metadata;
    let spec = metadata.default_partition_spec();
    for file in files {
        let batch = fixture.read_file(file).await;
        for (index, field) in spec.fields().iter().enumerate() {
            let name = metadata
                .current_schema()
                .name_by_field_id(field.source_id)
                .unwrap();
            let column = batch.column_by_name(name).unwrap();
            let values = transform_array(field.transform, column).unwrap();
            let expected = file.partition()[index].as_ref();
            for row in 0..batch.num_rows() {
                let bytes = single_value_bytes(&values, row).unwrap();
                let literal = bytes.map(|bytes| {
                    let partition_type = spec.partition_type(metadata.current_schema()).unwrap();
                    let field_type = &partition_type.fields()[index].field_type;
                    let primitive = field_type.as_primitive_type().unwrap().clone();
                    let datum = iceberg::spec::Datum::try_from_bytes(&bytes, primitive).unwrap();
                    iceberg::spec::Literal::Primitive(datum.literal().clone())
                });
                assert_eq!(
                    literal.as_ref(),
                    expected,
                    "{context}: {} row {row}",
                    file.file_path()
                );
            }
        }
    }
}

#[tokio::test]
async fn rows_come_back_from_every_partitioning() {
    let schema = wide_schema();
    let specs: Vec<Vec<(&str, Transform)>> = vec![
        vec![],
        vec![("at", Transform::Year)],
        vec![("at_utc", Transform::Month), ("flag", Transform::Identity)],
        vec![("day", Transform::Year), ("number", Transform::Bucket(3))],
        vec![("name", Transform::Truncate(1))],
        vec![
            ("huge", Transform::Bucket(5)),
            ("key", Transform::Bucket(2)),
        ],
        vec![("blob", Transform::Truncate(1)), ("flag", Transform::Void)],
        vec![
            ("clock", Transform::Bucket(4)),
            ("code", Transform::Bucket(2)),
        ],
    ];
    for (seed, fields) in specs.into_iter().enumerate() {
        let context = format!("seed {seed}, partitioned by {fields:?}");
        let mut random = Random::new(seed as u64);
        let inputs: Vec<Vec<RecordBatch>> = (0..2)
            .map(|partition| {
                (0..3)
                    .map(|batch| wide_batch(&mut random, partition * 1000 + batch * 100, 25))
                    .collect()
            })
            .collect();
        let spec = spec(&schema, &fields);
        let fixture = Fixture::new(schema.clone(), spec, SortOrder::unsorted_order(), &[]);
        let files = fixture.write(&inputs, &options()).await.unwrap();
        let expected: Vec<RecordBatch> = inputs.into_iter().flatten().collect();
        assert_same_rows(&fixture.read(&files).await, &expected, &context);
        assert_partitions_hold(&fixture, &files, &context).await;
        let paths: HashSet<&str> = files.iter().map(DataFile::file_path).collect();
        assert_eq!(paths.len(), files.len(), "{context}: names are unique");
        let on_disk: HashSet<String> = fixture.files().await.into_iter().collect();
        assert_eq!(
            on_disk.len(),
            files.len(),
            "{context}: nothing else was written"
        );
    }
}

#[tokio::test]
async fn files_have_field_ids_and_no_arrow_schema() {
    let fixture = Fixture::new(
        wide_schema(),
        PartitionSpec::unpartition_spec(),
        SortOrder::unsorted_order(),
        &[],
    );
    let batch = wide_batch(&mut Random::new(1), 0, 10);
    let files = fixture.write(&[vec![batch]], &options()).await.unwrap();
    let bytes = fixture.storage.read(files[0].file_path()).await.unwrap();
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let metadata = reader.metadata().file_metadata();
    let keys: Vec<&str> = metadata
        .key_value_metadata()
        .unwrap()
        .iter()
        .map(|entry| entry.key.as_str())
        .collect();
    assert_eq!(keys, ["iceberg.schema"]);
    let schema = fixture.table.metadata.current_schema();
    let mut leaf_ids = Vec::new();
    for column in metadata.schema_descr().columns() {
        leaf_ids.push(column.self_type().get_basic_info().id());
    }
    let names: Vec<&str> = leaf_ids
        .iter()
        .map(|id| schema.name_by_field_id(*id).unwrap())
        .collect();
    assert_eq!(&names[..2], ["id", "flag"]);
    assert_eq!(
        &names[17..],
        [
            "point.x",
            "point.y",
            "items.element",
            "tags.key",
            "tags.value"
        ]
    );
    let list_type = metadata.schema_descr().column(19).path().string();
    assert_eq!(list_type, "items.list.element");
}

#[tokio::test]
async fn files_roll_at_the_target_size() {
    let properties = [
        ("write.target-file-size-bytes", "50000"),
        ("write.parquet.compression-codec", "uncompressed"),
    ];
    let fixture = Fixture::new(
        wide_schema(),
        PartitionSpec::unpartition_spec(),
        SortOrder::unsorted_order(),
        &properties,
    );
    let mut random = Random::new(3);
    // Batches larger than what is collected before splitting are written one by one.
    let batches: Vec<RecordBatch> = (0..8)
        .map(|index| wide_batch(&mut random, index * 1000, 300))
        .collect();
    let files = fixture
        .write(std::slice::from_ref(&batches), &options())
        .await
        .unwrap();
    assert!(files.len() >= 3, "{} files", files.len());
    assert_same_rows(&fixture.read(&files).await, &batches, "rolling");
}

#[tokio::test]
async fn bounds_on_open_files_and_memory_lose_nothing() {
    let schema = wide_schema();
    let spec = spec(&schema, &[("id", Transform::Bucket(20))]);
    let mut random = Random::new(4);
    let batches: Vec<RecordBatch> = (0..3)
        .map(|index| wide_batch(&mut random, index * 1000, 200))
        .collect();
    for (max_open_files, memory_limit_bytes) in [(3, usize::MAX), (100, 1), (1, 1)] {
        let fixture = Fixture::new(
            schema.clone(),
            spec.clone(),
            SortOrder::unsorted_order(),
            &[],
        );
        let mut options = options();
        options.max_open_files = max_open_files;
        options.memory_limit_bytes = memory_limit_bytes;
        let files = fixture
            .write(std::slice::from_ref(&batches), &options)
            .await
            .unwrap();
        assert!(files.len() >= 20);
        assert_same_rows(&fixture.read(&files).await, &batches, "bounded");
        assert_partitions_hold(&fixture, &files, "bounded").await;
    }
}

fn small_schema() -> Schema {
    use iceberg::spec::{NestedField, PrimitiveType, Type};
    let field = |id, name: &str, primitive, required| {
        Arc::new(NestedField::new(
            id,
            name,
            Type::Primitive(primitive),
            required,
        ))
    };
    Schema::builder()
        .with_fields([
            field(1, "id", PrimitiveType::Long, true),
            field(2, "small", PrimitiveType::Int, false),
            field(3, "name", PrimitiveType::String, true),
        ])
        .build()
        .unwrap()
}

fn small_batch(ids: Vec<i64>, small: Vec<i64>, names: Vec<Option<&str>>) -> RecordBatch {
    let schema = ArrowSchema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Int64, true),
        Field::new("c", DataType::Utf8, true),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(Int64Array::from(ids)),
            Arc::new(Int64Array::from(small)),
            Arc::new(StringArray::from(names)),
        ],
    )
    .unwrap()
}

#[tokio::test]
async fn values_are_cast_to_the_table_by_position() {
    let schema = small_schema();
    let spec = spec(&schema, &[("name", Transform::Identity)]);
    let fixture = Fixture::new(schema, spec, SortOrder::unsorted_order(), &[]);
    let batch = small_batch(vec![1, 2], vec![10, -10], vec![Some("x/y"), Some("")]);
    let files = fixture.write(&[vec![batch]], &options()).await.unwrap();
    let mut values = HashMap::new();
    for batch in fixture.read(&files).await {
        let id = batch.column(0).as_primitive::<Int64Type>().value(0);
        let small: &Int32Array = batch.column(1).as_primitive();
        values.insert(id, small.value(0));
    }
    assert_eq!(values, HashMap::from([(1, 10), (2, -10)]));
    assert!(
        files
            .iter()
            .any(|file| file.file_path().contains("/data/name=x%2Fy/"))
    );
    assert!(
        files
            .iter()
            .any(|file| file.file_path().contains("/data/name=/"))
    );
}

#[tokio::test]
async fn a_failed_write_names_the_column_and_leaves_no_file() {
    let schema = small_schema();
    let spec = spec(&schema, &[("id", Transform::Bucket(4))]);
    // Long enough for a writer, and a file, per partition before the error.
    let name = "x".repeat(100);
    let good = || {
        small_batch(
            (0..70_000).collect(),
            vec![1; 70_000],
            vec![Some(name.as_str()); 70_000],
        )
    };
    let cases = [
        (
            small_batch(vec![1], vec![1], vec![None]),
            "null value in column name of table s.t, which is not null",
        ),
        (
            small_batch(vec![1], vec![i64::MAX], vec![Some("x")]),
            "column small of table s.t: ",
        ),
    ];
    for (bad, message) in cases {
        let properties = [("write.target-file-size-bytes", "1000")];
        let fixture = Fixture::new(
            schema.clone(),
            spec.clone(),
            SortOrder::unsorted_order(),
            &properties,
        );
        let result = fixture.write(&[vec![good(), bad]], &options()).await;
        let error = result.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!(fixture.files().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_dropped_write_leaves_no_file() {
    let fixture = Fixture::new(
        small_schema(),
        PartitionSpec::unpartition_spec(),
        SortOrder::unsorted_order(),
        &[("write.target-file-size-bytes", "1000")],
    );
    let name = "x".repeat(20);
    let batch = small_batch(
        (0..70_000).collect(),
        vec![1; 70_000],
        vec![Some(&name); 70_000],
    );
    let input = batch.schema();
    let target = crate::write::WriteTarget::of(&fixture.table);
    let mut writer =
        crate::write::writer::TaskWriter::new(&target, &options(), &input, 0, fixture.context())
            .unwrap();
    writer.write(&batch).await.unwrap();
    assert_eq!(fixture.files().await.len(), 1);
    drop(writer);
    for _ in 0..1000 {
        if fixture.files().await.is_empty() {
            return;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("the file is still there");
}

#[tokio::test]
async fn files_in_folders_of_any_name_are_kept_or_deleted_as_told() {
    let schema = small_schema();
    let fixture = Fixture::new(
        schema.clone(),
        spec(&schema, &[("name", Transform::Identity)]),
        SortOrder::unsorted_order(),
        &[],
    );
    let long = "ü/".repeat(400);
    let names = [
        long.as_str(),
        "x/y",
        "a b",
        "é%2F",
        "#?*",
        "..",
        "",
        "c:\\d",
        "100%",
    ];
    let count = names.len();
    let batch = small_batch(
        (0..count as i64).collect(),
        vec![1; count],
        names.iter().map(|name| Some(*name)).collect(),
    );
    let options = options();
    let files = fixture.write(&[vec![batch]], &options).await.unwrap();
    assert_eq!(files.len(), count);
    let keep: HashSet<String> = files
        .iter()
        .map(|file| file.file_path().to_string())
        .collect();
    let delete = |keep: HashSet<String>| {
        let (storage, table) = (fixture.storage.clone(), fixture.table.clone());
        async move {
            delete_statement_files(&storage, &table, options.statement_id, &keep)
                .await
                .unwrap()
        }
    };
    assert_eq!(delete(keep).await, 0);
    assert_eq!(fixture.read(&files).await.len(), count);
    assert_eq!(delete(HashSet::new()).await, count);
    assert_eq!(fixture.files().await, Vec::<String>::new());
}

#[tokio::test]
async fn left_over_files_of_a_statement_are_found_by_name() {
    let schema = small_schema();
    let fixture = Fixture::new(
        schema.clone(),
        spec(&schema, &[("name", Transform::Identity)]),
        SortOrder::unsorted_order(),
        &[],
    );
    let batch = || {
        vec![small_batch(
            vec![1, 2],
            vec![1, 2],
            vec![Some("x"), Some("y")],
        )]
    };
    let (first, second) = (options(), options());
    let kept = fixture.write(&[batch()], &first).await.unwrap();
    let lost = fixture.write(&[batch(), batch()], &second).await.unwrap();
    let keep: HashSet<String> = HashSet::from([lost[0].file_path().to_string()]);
    let deleted =
        delete_statement_files(&fixture.storage, &fixture.table, second.statement_id, &keep)
            .await
            .unwrap();
    assert_eq!(deleted, 3);
    let mut expected: Vec<String> = kept
        .iter()
        .map(|file| file.file_path().to_string())
        .collect();
    expected.extend(keep);
    expected.sort();
    let mut found = fixture.files().await;
    for location in &mut found {
        *location = format!("file://{}", location.trim_start_matches("file://"));
    }
    found.sort();
    assert_eq!(found, expected);
}
