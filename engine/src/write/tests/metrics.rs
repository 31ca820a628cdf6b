//! Column metrics against brute force over the rows.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Float64Type};
use iceberg::spec::{
    DataFile, Datum, PartitionSpec, PrimitiveLiteral, PrimitiveType, SortOrder, Type,
};

use super::support::{Fixture, Random, options, wide_batch, wide_schema};
use crate::write::metrics::nested_column;
use crate::write::partition::single_value_bytes;

fn is_nan(column: &arrow::array::ArrayRef, row: usize) -> bool {
    match column.data_type() {
        arrow::datatypes::DataType::Float32 => {
            column.as_primitive::<Float32Type>().value(row).is_nan()
        }
        arrow::datatypes::DataType::Float64 => {
            column.as_primitive::<Float64Type>().value(row).is_nan()
        }
        _ => false,
    }
}

/// Order of the specification, on single values.
fn is_at_most(left: &Datum, right: &Datum) -> bool {
    match (left.literal(), right.literal()) {
        (PrimitiveLiteral::Float(left), PrimitiveLiteral::Float(right)) => left.0 <= right.0,
        (PrimitiveLiteral::Double(left), PrimitiveLiteral::Double(right)) => left.0 <= right.0,
        (PrimitiveLiteral::String(left), PrimitiveLiteral::String(right)) => {
            left.as_bytes() <= right.as_bytes()
        }
        (PrimitiveLiteral::Binary(left), PrimitiveLiteral::Binary(right)) => left <= right,
        _ => left.partial_cmp(right).unwrap().is_le(),
    }
}

fn check_field(
    file: &DataFile,
    field_id: i32,
    primitive: &PrimitiveType,
    column: &arrow::array::ArrayRef,
    nulls: &dyn Fn(usize) -> bool,
    truncate: usize,
    context: &str,
) {
    let rows = column.len();
    let null_count = (0..rows).filter(|row| nulls(*row)).count() as u64;
    let nan_count = (0..rows)
        .filter(|row| !nulls(*row) && is_nan(column, *row))
        .count() as u64;
    assert_eq!(file.value_counts()[&field_id], rows as u64, "{context}");
    assert_eq!(file.null_value_counts()[&field_id], null_count, "{context}");
    let is_float = matches!(primitive, PrimitiveType::Float | PrimitiveType::Double);
    let expected_nan = is_float.then_some(&nan_count);
    assert_eq!(
        file.nan_value_counts().get(&field_id),
        expected_nan,
        "{context}"
    );
    assert!(file.column_sizes()[&field_id] > 0, "{context}");
    let (lower, upper) = (
        file.lower_bounds().get(&field_id),
        file.upper_bounds().get(&field_id),
    );
    let values: Vec<Datum> = (0..rows)
        .filter(|row| !nulls(*row) && !is_nan(column, *row))
        .map(|row| {
            let bytes = single_value_bytes(column, row).unwrap().unwrap();
            Datum::try_from_bytes(&bytes, primitive.clone()).unwrap()
        })
        .collect();
    if values.is_empty() || *primitive == PrimitiveType::Uuid {
        assert!(lower.is_none() && upper.is_none(), "{context}");
        return;
    }
    let lower = lower.unwrap_or_else(|| panic!("{context}: no lower bound"));
    for value in &values {
        assert!(is_at_most(lower, value), "{context}: {lower} > {value}");
        if let Some(upper) = upper {
            assert!(is_at_most(value, upper), "{context}: {value} > {upper}");
        }
    }
    let is_cut = matches!(
        primitive,
        PrimitiveType::String | PrimitiveType::Binary | PrimitiveType::Fixed(_)
    );
    if is_cut {
        let length = |datum: &Datum| match datum.literal() {
            PrimitiveLiteral::String(text) => text.chars().count(),
            PrimitiveLiteral::Binary(bytes) => bytes.len(),
            other => panic!("{other:?}"),
        };
        assert!(length(lower) <= truncate, "{context}: {lower}");
        assert!(
            upper.is_none_or(|upper| length(upper) <= truncate),
            "{context}: {upper:?}"
        );
    } else {
        // Bounds of numbers are tight.
        let upper = upper.unwrap_or_else(|| panic!("{context}: no upper bound"));
        assert!(
            values.iter().any(|value| is_at_most(value, lower)),
            "{context}: {lower} is too low"
        );
        assert!(
            values.iter().any(|value| is_at_most(upper, value)),
            "{context}: {upper} is too high"
        );
    }
}

async fn check_file(fixture: &Fixture, file: &DataFile, truncate: usize, context: &str) {
    let batch: RecordBatch = fixture.read_file(file).await;
    let schema = fixture.table.metadata.current_schema();
    for (index, field) in schema.as_struct().fields().iter().enumerate() {
        match field.field_type.as_ref() {
            Type::Primitive(primitive) => {
                let column = batch.column(index);
                let context = format!("{context}, column {}", field.name);
                let nulls = |row: usize| column.is_null(row);
                check_field(
                    file, field.id, primitive, column, &nulls, truncate, &context,
                );
            }
            Type::Struct(nested) => {
                for (child_index, child) in nested.fields().iter().enumerate() {
                    let (column, nulls) = nested_column(batch.column(index), &[child_index]);
                    let context = format!("{context}, column {}.{}", field.name, child.name);
                    let is_null =
                        |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
                    let primitive = child.field_type.as_primitive_type().unwrap();
                    check_field(
                        file, child.id, primitive, &column, &is_null, truncate, &context,
                    );
                }
            }
            Type::List(list) => {
                let element = list.element_field.id;
                assert!(file.column_sizes().contains_key(&element));
                assert!(!file.lower_bounds().contains_key(&element));
            }
            Type::Map(_) => {}
        }
    }
}

fn fixture(properties: &[(&str, &str)]) -> Fixture {
    Fixture::new(
        wide_schema(),
        PartitionSpec::unpartition_spec(),
        SortOrder::unsorted_order(),
        properties,
    )
}

#[tokio::test]
async fn metrics_hold_over_several_row_groups() {
    for seed in 0..12 {
        let rows = [1, 3, 40, 400][seed as usize % 4];
        let row_group = format!("{}", rows / 4 + 1);
        for (mode, truncate) in [
            ("truncate(16)", 16),
            ("truncate(3)", 3),
            ("full", usize::MAX),
        ] {
            let fixture = fixture(&[
                ("write.parquet.row-group-limit", &row_group),
                ("write.metadata.metrics.default", mode),
            ]);
            let batch = wide_batch(&mut Random::new(seed), 0, rows);
            let files = fixture.write(&[vec![batch]], &options()).await.unwrap();
            let context = format!("seed {seed}, {rows} rows, {mode}");
            assert_eq!(files.len(), 1);
            let groups = rows.div_ceil(rows / 4 + 1);
            let offsets = files[0].split_offsets().unwrap();
            assert_eq!(offsets.len(), groups, "{context}");
            assert_eq!(offsets[0], 4, "{context}");
            assert!(offsets.is_sorted(), "{context}");
            check_file(&fixture, &files[0], truncate, &context).await;
        }
    }
}

#[tokio::test]
async fn metrics_modes_are_honoured() {
    let fixture = fixture(&[
        ("write.metadata.metrics.default", "counts"),
        ("write.metadata.metrics.column.id", "full"),
        ("write.metadata.metrics.column.number", "none"),
    ]);
    let batch = wide_batch(&mut Random::new(5), 0, 50);
    let file = &fixture.write(&[vec![batch]], &options()).await.unwrap()[0];
    let schema = fixture.table.metadata.current_schema();
    let id = |name: &str| schema.field_id_by_name(name).unwrap();
    assert_eq!(file.lower_bounds()[&id("id")], Datum::long(0));
    assert_eq!(file.upper_bounds()[&id("id")], Datum::long(49));
    assert_eq!(file.lower_bounds().len(), 1);
    assert!(file.value_counts().contains_key(&id("large")));
    assert!(!file.value_counts().contains_key(&id("number")));
    assert!(!file.column_sizes().contains_key(&id("number")));
}

#[tokio::test]
async fn wrong_properties_are_refused() {
    let cases = [
        ("write.parquet.compression-codec", "rar", "it must be zstd"),
        (
            "write.target-file-size-bytes",
            "-1",
            "it must be a positive whole number",
        ),
        (
            "write.distribution-mode",
            "random",
            "it must be none or hash",
        ),
        (
            "write.format.default",
            "orc",
            "writing orc files (table s.t) is not supported",
        ),
        (
            "write.metadata.metrics.default",
            "truncate(0)",
            "it must be none, counts",
        ),
        (
            "write.parquet.bloom-filter-enabled.column.nix",
            "true",
            "there is no column nix",
        ),
    ];
    for (name, value, message) in cases {
        let fixture = fixture(&[(name, value)]);
        let batch = wide_batch(&mut Random::new(6), 0, 1);
        let error = fixture.write(&[vec![batch]], &options()).await.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}
