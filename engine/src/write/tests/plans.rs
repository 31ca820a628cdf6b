//! What the optimizer puts below a write, the codec, and new tables' schemas.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use iceberg::spec::{PartitionSpec, SortOrder, Transform, Type};

use super::support::{Fixture, Random, memory_plan, options, wide_batch, wide_schema};
use crate::write::{
    IcebergWriteExec, PartitionColumn, SortColumn, decode, decode_written_files, encode,
    partition_spec_of, plan_write, sort_order_of, table_schema_of, transform_from_text,
};

fn partitioned(column: &str, transform: Transform) -> PartitionSpec {
    let column = PartitionColumn {
        column: column.to_string(),
        transform,
    };
    partition_spec_of(&[column], &wide_schema()).unwrap()
}

fn input() -> Vec<Vec<RecordBatch>> {
    let mut random = Random::new(9);
    (0..2)
        .map(|partition| vec![wide_batch(&mut random, partition * 100, 100)])
        .collect()
}

fn optimized(fixture: &Fixture, plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let state = fixture.session.state();
    let options = state.config_options();
    let rules = state.physical_optimizers().iter();
    rules.fold(plan, |plan, rule| rule.optimize(plan, options).unwrap())
}

fn shape(plan: &Arc<dyn ExecutionPlan>) -> String {
    let text = displayable(plan.as_ref()).indent(false).to_string();
    let lines = text.lines().filter(|line| !line.contains("DataSourceExec"));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn partitioned_tables_get_an_exchange_and_sorted_ones_a_sort() {
    let sorted = sort_order_of(
        &[SortColumn {
            column: "large".to_string(),
            descending: true,
            nulls_first: false,
        }],
        &wide_schema(),
    )
    .unwrap();
    let unsorted = SortOrder::unsorted_order();
    let none = ("write.distribution-mode", "none");
    type Case<'a> = (PartitionSpec, SortOrder, Vec<(&'a str, &'a str)>, &'a str);
    let cases: Vec<Case<'_>> = vec![
        (
            PartitionSpec::unpartition_spec(),
            unsorted.clone(),
            vec![],
            "IcebergWriteExec: table=s.t",
        ),
        (
            partitioned("at", Transform::Day),
            unsorted.clone(),
            vec![],
            "IcebergWriteExec: table=s.t, partitioned_by=[at_day]\n  \
             RepartitionExec: partitioning=Hash([iceberg_transform(day, at@11)], 4), input_partitions=2",
        ),
        (
            partitioned("at", Transform::Day),
            unsorted.clone(),
            vec![none],
            "IcebergWriteExec: table=s.t, partitioned_by=[at_day]",
        ),
        (
            partitioned("number", Transform::Bucket(1)),
            unsorted,
            vec![],
            "IcebergWriteExec: table=s.t, partitioned_by=[number_bucket]",
        ),
        (
            partitioned("name", Transform::Identity),
            sorted,
            vec![none],
            "IcebergWriteExec: table=s.t, partitioned_by=[name]\n  \
             SortExec: expr=[name@13 ASC, large@3 DESC NULLS LAST], preserve_partitioning=[true]",
        ),
    ];
    for (spec, order, properties, expected) in cases {
        let fixture = Fixture::new(wide_schema(), spec, order, &properties);
        let plan = plan_write(&fixture.table, memory_plan(&input()), &options()).unwrap();
        let plan = optimized(&fixture, plan);
        assert_eq!(shape(&plan), expected);
        let batches = collect(plan, fixture.context()).await.unwrap();
        let files = decode_written_files(&batches, &fixture.table).unwrap();
        let rows: u64 = files.iter().map(|file| file.record_count()).sum();
        assert_eq!(rows, 200);
        let order_id = fixture.table.metadata.default_sort_order().order_id;
        assert!(
            files
                .iter()
                .all(|file| file.sort_order_id() == Some(order_id as i32))
        );
    }
}

#[tokio::test]
async fn sorted_tables_have_sorted_files() {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    let order = sort_order_of(
        &[SortColumn {
            column: "large".to_string(),
            descending: false,
            nulls_first: true,
        }],
        &wide_schema(),
    )
    .unwrap();
    let fixture = Fixture::new(
        wide_schema(),
        partitioned("flag", Transform::Identity),
        order,
        &[],
    );
    let plan = plan_write(&fixture.table, memory_plan(&input()), &options()).unwrap();
    let batches = collect(optimized(&fixture, plan), fixture.context())
        .await
        .unwrap();
    let files = decode_written_files(&batches, &fixture.table).unwrap();
    assert_eq!(files.len(), 3, "null, false and true");
    for batch in fixture.read(&files).await {
        let column = batch.column_by_name("large").unwrap();
        let values = column.as_primitive::<Int64Type>();
        let values: Vec<Option<i64>> = values.iter().collect();
        assert!(values.is_sorted(), "{values:?}");
        assert!(column.len() > 10);
    }
}

#[tokio::test]
async fn the_operator_survives_encoding() {
    let fixture = Fixture::new(
        wide_schema(),
        partitioned("name", Transform::Truncate(2)),
        SortOrder::unsorted_order(),
        &[
            ("write.parquet.compression-codec", "gzip"),
            ("comment", "x"),
        ],
    );
    let options = options();
    let input = memory_plan(&input());
    let plan = plan_write(&fixture.table, Arc::clone(&input), &options).unwrap();
    let node = plan.downcast_ref::<IcebergWriteExec>().unwrap();
    let decoded = decode(&encode(node).unwrap(), &[input]).unwrap();
    let decoded_node = decoded.downcast_ref::<IcebergWriteExec>().unwrap();
    assert_eq!(decoded_node.target(), node.target());
    assert_eq!(decoded_node.options(), &options);
    assert!(!node.target().properties.contains_key("comment"));
    let batches = collect(decoded, fixture.context()).await.unwrap();
    let files = decode_written_files(&batches, &fixture.table).unwrap();
    let rows: u64 = files.iter().map(|file| file.record_count()).sum();
    assert_eq!(rows, 200);
    assert!(files.iter().all(|file| {
        let name = file.file_path().rsplit('/').next().unwrap();
        name.starts_with(&options.statement_id.to_string())
    }));
}

#[test]
fn queries_that_do_not_fit_are_refused_when_planned() {
    let fixture = Fixture::new(
        wide_schema(),
        PartitionSpec::unpartition_spec(),
        SortOrder::unsorted_order(),
        &[],
    );
    let batch = wide_batch(&mut Random::new(1), 0, 1);
    let narrow = batch.project(&[0, 1]).unwrap();
    let error = plan_write(&fixture.table, memory_plan(&[vec![narrow]]), &options()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "table s.t has 20 columns, the query returns 2"
    );
}

#[test]
fn schemas_of_queries_become_table_schemas() {
    let schema = |fields: Vec<Field>| DFSchema::try_from(ArrowSchema::new(fields)).unwrap();
    let table = table_schema_of(&schema(vec![
        Field::new("a", DataType::UInt32, false),
        Field::new("b", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
        Field::new("c", DataType::Utf8View, true),
        Field::new_list("d", Field::new("item", DataType::Int64, false), false),
    ]))
    .unwrap();
    let types: Vec<String> = table
        .as_struct()
        .fields()
        .iter()
        .map(|field| format!("{} {} {}", field.name, field.field_type, field.required))
        .collect();
    assert_eq!(
        types,
        [
            "a long false",
            "b timestamp false",
            "c string false",
            "d list false"
        ]
    );
    let Type::List(list) = table.as_struct().fields()[3].field_type.as_ref() else {
        panic!("a list became {}", table.as_struct().fields()[3].field_type);
    };
    assert!(!list.element_field.required);
    let null = table_schema_of(&schema(vec![Field::new("n", DataType::Null, true)]));
    let error = null.unwrap_err().to_string();
    assert!(error.starts_with("column n has type Null"), "{error}");
}

#[test]
fn partitionings_and_sort_orders_name_what_is_wrong() {
    let schema = wide_schema();
    let partition = |column: &str, transform| {
        let columns = [PartitionColumn {
            column: column.to_string(),
            transform,
        }];
        partition_spec_of(&columns, &schema)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        partition("nmae", Transform::Identity),
        "partition column nmae does not exist in the table; did you mean name?"
    );
    assert_eq!(
        partition("name", Transform::Day),
        "column name of type string cannot be partitioned by day"
    );
    assert_eq!(
        partition("real", Transform::Identity),
        "column real of type double cannot be partitioned by identity"
    );
    let error = transform_from_text("bucket", None).unwrap_err().to_string();
    assert!(error.contains("needs a positive number"), "{error}");
    assert_eq!(
        transform_from_text("bucket", Some(16)).unwrap(),
        Transform::Bucket(16)
    );
    let sort = SortColumn {
        column: "items".to_string(),
        descending: false,
        nulls_first: true,
    };
    let error = sort_order_of(&[sort], &schema).unwrap_err().to_string();
    assert!(
        error.starts_with("table cannot be sorted by column items"),
        "{error}"
    );
}
