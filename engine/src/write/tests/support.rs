//! Tables, random rows and plans for the tests of this module.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int32Array, Int32Builder, Int64Array, Int64Builder, ListBuilder,
    MapBuilder, RecordBatch, StringArray, StringBuilder, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef as ArrowSchemaRef;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use iceberg::spec::{
    DataFile, FormatVersion, ListType, MapType, NestedField, PartitionSpec, PrimitiveType, Schema,
    SortOrder, StructType, TableMetadataBuilder, Type,
};
use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::{Storage, StorageConfig, Table};
use tempfile::TempDir;
use uuid::Uuid;

use crate::error::Result;
use crate::runtime::{RuntimeOptions, build_runtime};
use crate::schema::query_schema_of;
use crate::write::{WriteOptions, decode_written_files, plan_write};

/// A small reproducible generator (xorshift).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn text(&mut self) -> String {
        const ALPHABET: [&str; 10] = [
            "a",
            "b",
            "é",
            "z",
            "\u{10FFFF}",
            " ",
            "/",
            "%",
            "ß",
            "\u{D7FF}",
        ];
        let length = self.below(40);
        (0..length)
            .map(|_| ALPHABET[self.below(10) as usize])
            .collect()
    }
}

/// One column of every kind, all nullable; the first, `id`, is required and unique.
pub(super) fn wide_schema() -> Schema {
    let primitives = [
        ("flag", PrimitiveType::Boolean),
        ("number", PrimitiveType::Int),
        ("large", PrimitiveType::Long),
        ("single", PrimitiveType::Float),
        ("real", PrimitiveType::Double),
        (
            "price",
            PrimitiveType::Decimal {
                precision: 9,
                scale: 2,
            },
        ),
        (
            "total",
            PrimitiveType::Decimal {
                precision: 18,
                scale: 4,
            },
        ),
        (
            "huge",
            PrimitiveType::Decimal {
                precision: 38,
                scale: 10,
            },
        ),
        ("day", PrimitiveType::Date),
        ("clock", PrimitiveType::Time),
        ("at", PrimitiveType::Timestamp),
        ("at_utc", PrimitiveType::Timestamptz),
        ("name", PrimitiveType::String),
        ("key", PrimitiveType::Uuid),
        ("code", PrimitiveType::Fixed(5)),
        ("blob", PrimitiveType::Binary),
    ];
    let mut fields = vec![Arc::new(NestedField::required(
        1,
        "id",
        Type::Primitive(PrimitiveType::Long),
    ))];
    for (index, (name, primitive)) in primitives.into_iter().enumerate() {
        let field = NestedField::optional(index as i32 + 2, name, Type::Primitive(primitive));
        fields.push(Arc::new(field));
    }
    let optional = |id, name: &str, primitive| {
        Arc::new(NestedField::optional(id, name, Type::Primitive(primitive)))
    };
    let inner = StructType::new(vec![
        optional(101, "x", PrimitiveType::Double),
        optional(102, "y", PrimitiveType::String),
    ]);
    let list = ListType::new(Arc::new(NestedField::list_element(
        111,
        Type::Primitive(PrimitiveType::Int),
        false,
    )));
    let map = MapType::new(
        Arc::new(NestedField::map_key_element(
            121,
            Type::Primitive(PrimitiveType::String),
        )),
        Arc::new(NestedField::map_value_element(
            122,
            Type::Primitive(PrimitiveType::Long),
            false,
        )),
    );
    fields.push(Arc::new(NestedField::optional(
        100,
        "point",
        Type::Struct(inner),
    )));
    fields.push(Arc::new(NestedField::optional(
        110,
        "items",
        Type::List(list),
    )));
    fields.push(Arc::new(NestedField::optional(120, "tags", Type::Map(map))));
    Schema::builder().with_fields(fields).build().unwrap()
}

/// Random rows of [`wide_schema`]; ids count from `first_id`.
pub(super) fn wide_batch(random: &mut Random, first_id: i64, rows: usize) -> RecordBatch {
    fn optional<T>(
        random: &mut Random,
        rows: usize,
        mut value: impl FnMut(&mut Random) -> T,
    ) -> Vec<Option<T>> {
        (0..rows)
            .map(|_| (random.below(8) > 0).then(|| value(random)))
            .collect()
    }
    let random = &mut *random;
    let single = optional(random, rows, |random| match random.below(6) {
        0 => f32::NAN,
        1 => -0.0,
        2 => f32::INFINITY,
        _ => random.next() as i16 as f32 / 8.0,
    });
    let real = optional(random, rows, |random| match random.below(9) {
        0 => f64::NAN,
        1 => -0.0,
        _ => random.next() as i32 as f64 / 128.0,
    });
    let decimal = |values: Vec<Option<i128>>, precision, scale| -> ArrayRef {
        let array = Decimal128Array::from(values);
        Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
    };
    let price = optional(random, rows, |random| {
        i128::from(random.below(2_000_000_000)) - 999_999_999
    })
    .into_iter()
    .map(|value| value.map(|value| value.min(999_999_999)))
    .collect();
    let total = optional(random, rows, |random| {
        i128::from(random.next() as i64 % 1_000_000_000_000_000)
    });
    let huge = optional(random, rows, |random| {
        (i128::from(random.next() as i64) * i128::from(random.next() as i64)) % 10_i128.pow(38)
    });
    let micros = |random: &mut Random| {
        (random.below(4_000_000_000) as i64 - 1_000_000_000) * 1_000_000
            + random.below(1_000_000) as i64
    };
    let fixed = |values: Vec<Option<Vec<u8>>>, length| -> ArrayRef {
        let array =
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter(), length);
        Arc::new(array.unwrap())
    };
    let bytes = |random: &mut Random, length: u64| -> Vec<u8> {
        (0..length)
            .map(|_| {
                if random.below(4) == 0 {
                    255
                } else {
                    random.next() as u8
                }
            })
            .collect()
    };
    let mut blob = BinaryBuilder::new();
    for value in optional(random, rows, |random| {
        let length = random.below(30);
        bytes(random, length)
    }) {
        blob.append_option(value);
    }
    let points: Vec<Option<(Option<f64>, Option<String>)>> = optional(random, rows, |random| {
        let x = (random.below(5) > 0).then(|| {
            if random.below(9) == 0 {
                f64::NAN
            } else {
                random.below(100) as f64
            }
        });
        (x, (random.below(5) > 0).then(|| random.text()))
    });
    let xs = Float64Array::from_iter(
        points
            .iter()
            .map(|point| point.as_ref().and_then(|point| point.0)),
    );
    let ys = StringArray::from_iter(
        points
            .iter()
            .map(|point| point.as_ref().and_then(|point| point.1.clone())),
    );
    let is_present = points.iter().map(Option::is_some).collect::<Vec<_>>();
    let schema = query_schema_of(&wide_schema()).unwrap();
    let point_fields = match schema.field_with_name("point").unwrap().data_type() {
        arrow::datatypes::DataType::Struct(fields) => fields.clone(),
        other => panic!("{other}"),
    };
    let point = StructArray::new(
        point_fields,
        vec![Arc::new(xs), Arc::new(ys)],
        Some(is_present.into()),
    );
    let mut items = ListBuilder::new(Int32Builder::new());
    let mut tags = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for _ in 0..rows {
        for _ in 0..random.below(4) {
            items
                .values()
                .append_option((random.below(4) > 0).then(|| random.next() as i32));
        }
        items.append(random.below(6) > 0);
        let entries = random.below(3);
        for entry in 0..entries {
            tags.keys().append_value(format!("k{entry}"));
            tags.values().append_value(random.next() as i64);
        }
        tags.append(entries > 0 || random.below(2) == 0).unwrap();
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(
            (0..rows as i64).map(|row| first_id + row),
        )),
        Arc::new(BooleanArray::from(optional(random, rows, |random| {
            random.below(2) == 0
        }))),
        Arc::new(Int32Array::from(optional(random, rows, |random| {
            random.next() as i32
        }))),
        Arc::new(Int64Array::from(optional(random, rows, |random| {
            random.next() as i64
        }))),
        Arc::new(Float32Array::from(single)),
        Arc::new(Float64Array::from(real)),
        decimal(price, 9, 2),
        decimal(total, 18, 4),
        decimal(huge, 38, 10),
        Arc::new(Date32Array::from(optional(random, rows, |random| {
            random.below(30_000) as i32 - 8_000
        }))),
        Arc::new(Time64MicrosecondArray::from(optional(
            random,
            rows,
            |random| random.below(86_400_000_000) as i64,
        ))),
        Arc::new(TimestampMicrosecondArray::from(optional(
            random, rows, micros,
        ))),
        Arc::new(
            TimestampMicrosecondArray::from(optional(random, rows, micros)).with_timezone("UTC"),
        ),
        Arc::new(StringArray::from(optional(random, rows, |random| {
            random.text()
        }))),
        fixed(optional(random, rows, |random| bytes(random, 16)), 16),
        fixed(optional(random, rows, |random| bytes(random, 5)), 5),
        Arc::new(blob.finish()),
        Arc::new(point),
        Arc::new(items.finish()),
        Arc::new(tags.finish()),
    ];
    let columns = columns
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            let options = CastOptions::default();
            cast_with_options(column, field.data_type(), &options).unwrap()
        })
        .collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

/// A table in a folder of its own, not in any catalog, and what runs plans for it.
pub(super) struct Fixture {
    pub(super) folder: TempDir,
    pub(super) storage: Arc<Storage>,
    pub(super) table: Table,
    pub(super) session: SessionContext,
}

impl Fixture {
    pub(super) fn new(
        schema: Schema,
        spec: PartitionSpec,
        order: SortOrder,
        properties: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(StorageConfig::default());
        let properties: HashMap<String, String> = properties
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        let location = format!("file://{}/t", folder.path().display());
        let metadata =
            TableMetadataBuilder::new(schema, spec, order, location, FormatVersion::V2, properties)
                .unwrap()
                .build()
                .unwrap()
                .metadata;
        let ident = TableIdent::new(NamespaceIdent::new("s".to_string()), "t".to_string());
        let table = Table {
            ident,
            metadata: Arc::new(metadata),
            metadata_location: None,
        };
        let options = RuntimeOptions::default();
        let runtime = build_runtime(Arc::clone(&storage), &options).unwrap();
        let config = SessionConfig::new().with_target_partitions(4);
        Self {
            folder,
            storage,
            table,
            session: SessionContext::new_with_config_rt(config, runtime),
        }
    }

    pub(super) fn context(&self) -> Arc<TaskContext> {
        self.session.task_ctx()
    }

    /// Writes batches, one list per input partition, without the optimizer.
    pub(super) async fn write(
        &self,
        partitions: &[Vec<RecordBatch>],
        options: &WriteOptions,
    ) -> Result<Vec<DataFile>> {
        let plan = plan_write(&self.table, memory_plan(partitions), options)?;
        let batches = collect(plan, self.context()).await?;
        decode_written_files(&batches, &self.table)
    }

    /// The rows of data files, read without Iceberg, in the order of the files.
    pub(super) async fn read(&self, files: &[DataFile]) -> Vec<RecordBatch> {
        let mut batches = Vec::new();
        for file in files {
            batches.push(self.read_file(file).await);
        }
        batches
    }

    pub(super) async fn read_file(&self, file: &DataFile) -> RecordBatch {
        let bytes = self.storage.read(file.file_path()).await.unwrap();
        assert_eq!(
            bytes.len() as u64,
            file.file_size_in_bytes(),
            "recorded size"
        );
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let schema = reader.schema().clone();
        let batches: Vec<RecordBatch> = reader
            .build()
            .unwrap()
            .map(|batch| batch.unwrap())
            .collect();
        let batch = arrow::compute::concat_batches(&schema, &batches).unwrap();
        assert_eq!(
            batch.num_rows() as u64,
            file.record_count(),
            "recorded rows"
        );
        batch
    }

    /// Every file below the table's folder.
    pub(super) async fn files(&self) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        let files = self.storage.list(&folder).await.unwrap();
        files.into_iter().map(|file| file.location).collect()
    }
}

pub(super) fn memory_plan(partitions: &[Vec<RecordBatch>]) -> Arc<dyn ExecutionPlan> {
    let schema: ArrowSchemaRef = partitions
        .iter()
        .flatten()
        .next()
        .map(RecordBatch::schema)
        .unwrap();
    MemorySourceConfig::try_new_exec(partitions, schema, None).unwrap()
}

pub(super) fn options() -> WriteOptions {
    WriteOptions::new(Uuid::new_v4())
}
