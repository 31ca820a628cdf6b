//! Data files written under older schemas of one table, with deletes, and what they hold.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray, MapArray,
    RecordBatch, StringArray, StringViewArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use iceberg::spec::{
    ListType, MapType, NestedField, PrimitiveType, Schema as IcebergSchema, StructType, Type,
};
use ingot_catalog::scan::{DeleteFileRef, DeleteKind, FileFormat, FileTask};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use roaring::RoaringTreemap;

use crate::schema::FIELD_ID_KEY;

/// How the deleted rows of a file are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeleteStyle {
    None,
    Positions,
    Vector,
    Equality,
}

/// One row as the table's current schema has it.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    bb: Option<String>,
    a: Option<i64>,
    /// `new_x`; `z` was added later and is null in all files here.
    s: Option<Option<i64>>,
    l: Option<Vec<Option<i32>>>,
    c: Option<f64>,
    m: Option<Vec<(String, Option<i32>)>>,
    /// Unscaled, of scale 1.
    d: Option<i128>,
}

/// A file: its rows under one of the older schemas, and what is deleted.
#[derive(Debug, Clone)]
pub(super) struct FileContent {
    variant: u32,
    rows: Vec<Row>,
    style: DeleteStyle,
    deleted: Vec<usize>,
}

impl FileContent {
    /// Variants: 0 has all old columns, 1 lacks `d` and nested ones, 2 has the current
    /// types and `c`, 3 is as 0 with string views and another order of columns.
    pub(super) fn new(variant: u32, rows: usize, style: DeleteStyle, deleted: &[usize]) -> Self {
        let variant = variant % 4;
        let rows = (0..rows)
            .map(|n| Row {
                bb: (n % 11 != 5).then(|| format!("b{}", n % 37)),
                // Unique, so that equality deletes hit exactly one row.
                a: Some(n as i64),
                s: (variant != 1 && n % 5 != 0).then(|| (n % 3 != 0).then_some(n as i64)),
                l: (variant != 1 && n % 4 != 0)
                    .then(|| (0..n % 4).map(|k| (k != 1).then_some(k as i32)).collect()),
                c: (variant == 2 && n % 2 == 0).then_some(n as f64),
                m: (variant != 1 && n % 6 != 0).then(|| {
                    (0..n % 3)
                        .map(|k| (format!("k{k}"), (k != 0).then_some(k as i32)))
                        .collect()
                }),
                d: (variant != 1 && n % 9 != 0).then_some(n as i128 * 10 + 3),
            })
            .collect();
        Self {
            variant,
            rows,
            style,
            deleted: if style == DeleteStyle::None {
                Vec::new()
            } else {
                deleted.to_vec()
            },
        }
    }

    pub(super) fn rows_left(&self) -> Vec<Row> {
        let rows = self.rows.iter().enumerate();
        rows.filter(|(index, _)| !self.deleted.contains(index))
            .map(|(_, row)| row.clone())
            .collect()
    }
}

/// The table's current schema: `b` became `bb`, `a` a long, `s.x` is `s.new_x` and a long,
/// `s.y` was dropped, `s.z` and `c` were added, `d` has more digits, the order changed.
pub(super) fn read_schema() -> Arc<IcebergSchema> {
    let primitive = |p: PrimitiveType| Type::Primitive(p);
    let inner = StructType::new(vec![
        NestedField::optional(9, "z", primitive(PrimitiveType::String)).into(),
        NestedField::optional(4, "new_x", primitive(PrimitiveType::Long)).into(),
    ]);
    let list =
        ListType::new(NestedField::list_element(7, primitive(PrimitiveType::Int), false).into());
    let map = MapType::new(
        NestedField::map_key_element(11, primitive(PrimitiveType::String)).into(),
        NestedField::map_value_element(12, primitive(PrimitiveType::Int), false).into(),
    );
    let decimal = PrimitiveType::Decimal {
        precision: 20,
        scale: 1,
    };
    let schema = IcebergSchema::builder()
        .with_fields(vec![
            NestedField::optional(2, "bb", primitive(PrimitiveType::String)).into(),
            NestedField::optional(1, "a", primitive(PrimitiveType::Long)).into(),
            NestedField::optional(3, "s", Type::Struct(inner)).into(),
            NestedField::optional(6, "l", Type::List(list)).into(),
            NestedField::optional(8, "c", primitive(PrimitiveType::Double)).into(),
            NestedField::optional(10, "m", Type::Map(map)).into(),
            NestedField::optional(13, "d", primitive(decimal)).into(),
        ])
        .build()
        .unwrap();
    Arc::new(schema)
}

fn field(id: i32, name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
        .with_metadata(HashMap::from([(FIELD_ID_KEY.to_string(), id.to_string())]))
}

/// The rows in memory, in the schema of queries.
pub(super) fn rows_as_batch(rows: &[Row], schema: &SchemaRef) -> RecordBatch {
    let child = |name: &str| match schema.field_with_name(name).unwrap().data_type() {
        DataType::List(element) => Arc::clone(element),
        DataType::Map(entries, _) => Arc::clone(entries),
        other => panic!("{other}"),
    };
    let DataType::Struct(s_fields) = schema.field_with_name("s").unwrap().data_type().clone()
    else {
        panic!("s is a struct");
    };
    let x: Int64Array = rows.iter().map(|row| row.s.flatten()).collect();
    let z: StringArray = rows.iter().map(|_| None::<String>).collect();
    let s = StructArray::new(s_fields, vec![Arc::new(z), Arc::new(x)], s_nulls(rows));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(
            rows.iter()
                .map(|row| row.bb.clone())
                .collect::<StringArray>(),
        ),
        Arc::new(rows.iter().map(|row| row.a).collect::<Int64Array>()),
        Arc::new(s),
        Arc::new(lists(rows, child("l"))),
        Arc::new(rows.iter().map(|row| row.c).collect::<Float64Array>()),
        Arc::new(maps(rows, child("m"))),
        Arc::new(decimals(rows, 20)),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

fn s_nulls(rows: &[Row]) -> Option<NullBuffer> {
    Some(rows.iter().map(|row| row.s.is_some()).collect())
}

fn decimals(rows: &[Row], precision: u8) -> Decimal128Array {
    let values: Decimal128Array = rows.iter().map(|row| row.d).collect();
    values.with_precision_and_scale(precision, 1).unwrap()
}

fn lists(rows: &[Row], element: Arc<Field>) -> ListArray {
    let lengths = rows.iter().map(|row| row.l.as_ref().map_or(0, Vec::len));
    let values: Int32Array = rows
        .iter()
        .filter_map(|row| row.l.as_ref())
        .flatten()
        .copied()
        .collect();
    let nulls: NullBuffer = rows.iter().map(|row| row.l.is_some()).collect();
    let offsets = OffsetBuffer::from_lengths(lengths);
    ListArray::new(element, offsets, Arc::new(values), Some(nulls))
}

fn maps(rows: &[Row], entries: Arc<Field>) -> MapArray {
    let DataType::Struct(fields) = entries.data_type().clone() else {
        panic!("entries are structs");
    };
    let pairs: Vec<_> = rows
        .iter()
        .filter_map(|row| row.m.as_ref())
        .flatten()
        .collect();
    let keys: StringArray = pairs.iter().map(|(key, _)| Some(key)).collect();
    let values: Int32Array = pairs.iter().map(|(_, value)| *value).collect();
    let pairs = StructArray::new(fields, vec![Arc::new(keys), Arc::new(values)], None);
    let lengths = rows.iter().map(|row| row.m.as_ref().map_or(0, Vec::len));
    let nulls: NullBuffer = rows.iter().map(|row| row.m.is_some()).collect();
    MapArray::new(
        entries,
        OffsetBuffer::from_lengths(lengths),
        pairs,
        Some(nulls),
        false,
    )
}

/// The rows as the file's own schema has them.
fn file_batch(content: &FileContent) -> RecordBatch {
    let rows = &content.rows;
    let current = content.variant == 2;
    let a: ArrayRef = if current {
        Arc::new(rows.iter().map(|row| row.a).collect::<Int64Array>())
    } else {
        Arc::new(
            rows.iter()
                .map(|row| row.a.map(|a| a as i32))
                .collect::<Int32Array>(),
        )
    };
    let b: ArrayRef = if content.variant == 3 {
        Arc::new(
            rows.iter()
                .map(|row| row.bb.clone())
                .collect::<StringViewArray>(),
        )
    } else {
        Arc::new(
            rows.iter()
                .map(|row| row.bb.clone())
                .collect::<StringArray>(),
        )
    };
    let x: ArrayRef = if current {
        Arc::new(
            rows.iter()
                .map(|row| row.s.flatten())
                .collect::<Int64Array>(),
        )
    } else {
        let values = rows.iter().map(|row| row.s.flatten().map(|x| x as i32));
        Arc::new(values.collect::<Int32Array>())
    };
    // Old names are swapped on purpose: only the ids tell the columns apart.
    let y: ArrayRef = Arc::new(rows.iter().map(|_| Some("old")).collect::<StringArray>());
    let s_fields = Fields::from(vec![
        field(4, "z", x.data_type().clone()),
        field(5, "new_x", DataType::Utf8),
    ]);
    let s: ArrayRef = Arc::new(StructArray::new(s_fields, vec![x, y], s_nulls(rows)));
    let element = Arc::new(field(7, "item", DataType::Int32));
    let l: ArrayRef = Arc::new(lists(rows, element));
    let entry_fields = Fields::from(vec![
        field(11, "key", DataType::Utf8).with_nullable(false),
        field(12, "value", DataType::Int32),
    ]);
    let entries = Field::new("entries", DataType::Struct(entry_fields), false);
    let m: ArrayRef = Arc::new(maps(rows, Arc::new(entries)));
    let d: ArrayRef = Arc::new(decimals(rows, if current { 20 } else { 9 }));
    let dropped: ArrayRef = Arc::new(rows.iter().map(|_| Some(7)).collect::<Int32Array>());

    // A dropped column has the name of a new one.
    let mut columns = vec![
        (field(1, "bb", a.data_type().clone()), a),
        (field(2, "a", b.data_type().clone()), b),
        (
            field(99, if current { "dropped" } else { "c" }, DataType::Int32),
            dropped,
        ),
    ];
    if content.variant != 1 {
        columns.push((field(3, "old_s", s.data_type().clone()), s));
        columns.push((field(6, "l", l.data_type().clone()), l));
        columns.push((field(10, "m", m.data_type().clone()), m));
        columns.push((field(13, "d", d.data_type().clone()), d));
    }
    if current {
        let c: ArrayRef = Arc::new(rows.iter().map(|row| row.c).collect::<Float64Array>());
        columns.push((field(8, "c", DataType::Float64), c));
    }
    if content.variant == 3 {
        columns.reverse();
    }
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn write_parquet(path: &Path, batch: &RecordBatch) -> (u64, Vec<u64>) {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(40))
        .set_data_page_row_count_limit(10)
        .set_write_batch_size(10)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_bloom_filter_enabled(true)
        .build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    let metadata = writer.close().unwrap();
    let offsets = metadata
        .row_groups()
        .iter()
        .map(|group| group.column(0).byte_range().0)
        .collect();
    (std::fs::metadata(path).unwrap().len(), offsets)
}

/// Writes a data file and its deletes; the task is what planning would give.
pub(super) fn write_file(folder: &Path, index: usize, content: &FileContent) -> FileTask {
    let path = folder.join(format!("data {index}.parquet"));
    let (size, split_offsets) = write_parquet(&path, &file_batch(content));
    let location = format!("file://{}", path.display());
    let deletes = delete_file(folder, index, content, &location);
    FileTask {
        path: location,
        file_size_in_bytes: size,
        record_count: content.rows.len() as u64,
        format: FileFormat::Parquet,
        split_offsets,
        spec_id: 0,
        partition: Vec::new().into(),
        data_sequence_number: 1,
        first_row_id: None,
        sort_order_id: None,
        columns: Default::default(),
        deletes: deletes.into_iter().collect(),
    }
}

fn delete_file(
    folder: &Path,
    index: usize,
    content: &FileContent,
    location: &str,
) -> Option<DeleteFileRef> {
    let path = folder.join(format!("deletes {index}"));
    let mut deleted = content.deleted.clone();
    deleted.sort_unstable();
    deleted.dedup();
    let reference = |kind: DeleteKind, format: FileFormat, size: u64| DeleteFileRef {
        path: format!("file://{}", path.display()),
        kind,
        format,
        file_size_in_bytes: size,
        record_count: deleted.len() as u64,
        data_sequence_number: 2,
        spec_id: 0,
    };
    match content.style {
        DeleteStyle::None => None,
        DeleteStyle::Positions => {
            let mut paths = vec!["file:///another.parquet".to_string()];
            let mut positions = vec![0_i64];
            for position in &deleted {
                paths.push(location.to_string());
                positions.push(*position as i64);
            }
            let schema = Schema::new(vec![
                field(2_147_483_546, "file_path", DataType::Utf8),
                field(2_147_483_545, "pos", DataType::Int64),
            ]);
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from(paths)),
                Arc::new(Int64Array::from(positions)),
            ];
            let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
            let (size, _) = write_parquet(&path, &batch);
            Some(reference(DeleteKind::Positions, FileFormat::Parquet, size))
        }
        DeleteStyle::Vector => {
            let positions: RoaringTreemap = deleted.iter().map(|row| *row as u64).collect();
            let blob = crate::scan::deletes::vector_blob(&positions).unwrap();
            let mut puffin = b"PFA1".to_vec();
            puffin.extend_from_slice(&blob);
            puffin.extend_from_slice(b"footer");
            std::fs::write(&path, &puffin).unwrap();
            let kind = DeleteKind::DeletionVector {
                offset: 4,
                length: blob.len() as u64,
            };
            Some(reference(kind, FileFormat::Puffin, puffin.len() as u64))
        }
        DeleteStyle::Equality => {
            let values: Int32Array = deleted.iter().map(|row| Some(*row as i32)).collect();
            // Two columns, in another order than the data file's.
            let names: StringArray = deleted
                .iter()
                .map(|row| content.rows[*row].bb.clone())
                .collect();
            let schema = Schema::new(vec![
                field(2, "whatever", DataType::Utf8),
                field(1, "a", DataType::Int32),
            ]);
            let columns: Vec<ArrayRef> = vec![Arc::new(names), Arc::new(values)];
            let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
            let (size, _) = write_parquet(&path, &batch);
            let kind = DeleteKind::Equality {
                field_ids: vec![1, 2],
            };
            Some(reference(kind, FileFormat::Parquet, size))
        }
    }
}
