//! Random tables, random predicates: no file with a matching row may be left out.

use std::collections::{BTreeMap, HashMap};

use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, FormatVersion, Literal,
    ManifestContentType, NestedField, PrimitiveLiteral, PrimitiveType, Schema, Struct, Transform,
    Type, UnboundPartitionSpec,
};
use iceberg::transform::create_transform_function;
use ingot_catalog::TableVersion;
use ingot_catalog::scan::{ManifestCache, plan_scan};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::oracle::{FloatOrder, compare, evaluate, promote};
use crate::table::{TestTable, schema_of};

type Row = Vec<Option<Datum>>;

const TABLES: u64 = 120;
const PREDICATES_PER_TABLE: usize = 25;

fn decimal(precision: u32) -> PrimitiveType {
    PrimitiveType::Decimal {
        precision,
        scale: 2,
    }
}

/// Columns before evolution; ids are positions plus one.
fn first_columns() -> Vec<(&'static str, PrimitiveType)> {
    vec![
        ("flag", PrimitiveType::Boolean),
        ("small", PrimitiveType::Int),
        ("big", PrimitiveType::Long),
        ("single", PrimitiveType::Float),
        ("double", PrimitiveType::Double),
        ("amount", decimal(9)),
        ("day", PrimitiveType::Date),
        ("at", PrimitiveType::Timestamp),
        ("at_utc", PrimitiveType::Timestamptz),
        ("name", PrimitiveType::String),
        ("bytes", PrimitiveType::Binary),
        ("key", PrimitiveType::Uuid),
    ]
}

/// Columns after evolution: three promoted, one added.
fn second_columns() -> Vec<(&'static str, PrimitiveType)> {
    let mut columns = first_columns();
    columns[1].1 = PrimitiveType::Long;
    columns[3].1 = PrimitiveType::Double;
    columns[5].1 = decimal(18);
    columns.push(("added", PrimitiveType::Int));
    columns
}

fn schema(columns: &[(&'static str, PrimitiveType)]) -> Schema {
    let fields: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(index, (name, field_type))| {
            (i32::try_from(index).unwrap() + 1, *name, field_type.clone())
        })
        .collect();
    schema_of(&fields)
}

fn random_value(random: &mut StdRng, value_type: &PrimitiveType) -> Datum {
    const HOUR: i64 = 3_600_000_000;
    let small = random.random_range(-25..=25_i32);
    let micros = random.random_range(-60..=60_i64) * HOUR + random.random_range(-1..=1_i64);
    let months = i64::from(random.random_range(-30..=30_i32)) * 30 * 24 * HOUR;
    match value_type {
        PrimitiveType::Boolean => Datum::bool(random.random::<bool>()),
        PrimitiveType::Int => Datum::int(
            *[small, small, small, i32::MAX - 50, i32::MIN + 50]
                .choose(random)
                .unwrap(),
        ),
        PrimitiveType::Long => {
            let small = i64::from(small);
            Datum::long(
                *[small, small, small, i64::MAX - 50, i64::MIN + 50]
                    .choose(random)
                    .unwrap(),
            )
        }
        PrimitiveType::Float => {
            let values = [
                -1.5,
                -0.0,
                0.0,
                1.5,
                7.0,
                f32::INFINITY,
                f32::NEG_INFINITY,
                f32::NAN,
                -f32::NAN,
            ];
            Datum::float(*values.choose(random).unwrap())
        }
        PrimitiveType::Double => {
            let values = [
                -1.5,
                -0.0,
                0.0,
                1.5,
                7.0,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NAN,
                -f64::NAN,
            ];
            Datum::double(*values.choose(random).unwrap())
        }
        PrimitiveType::Decimal { .. } => {
            let unscaled = i128::from(random.random_range(-300..=300_i32));
            Datum::try_from_bytes(&unscaled.to_be_bytes(), value_type.clone()).unwrap()
        }
        PrimitiveType::Date => Datum::date(small * random.random_range(1..40)),
        PrimitiveType::Timestamp => Datum::timestamp_micros(micros + months),
        PrimitiveType::Timestamptz => Datum::timestamptz_micros(micros + months),
        PrimitiveType::String => {
            let length = random.random_range(0..5);
            let letters = (0..length).map(|_| *['a', 'b', 'ñ', '😀'].choose(random).unwrap());
            Datum::string(letters.collect::<String>())
        }
        PrimitiveType::Binary => {
            let length = random.random_range(0..4);
            let bytes = (0..length).map(|_| *[0_u8, 1, 254, 255].choose(random).unwrap());
            Datum::binary(bytes.collect::<Vec<_>>())
        }
        PrimitiveType::Uuid => {
            let values = [0, 1, u128::MAX, 1 << 127, (1 << 127) - 1];
            Datum::uuid(uuid::Uuid::from_u128(*values.choose(random).unwrap()))
        }
        other => panic!("{other}"),
    }
}

/// Up to three partition fields with transforms that fit their columns.
fn random_spec(
    random: &mut StdRng,
    columns: &[(&'static str, PrimitiveType)],
    round: usize,
) -> UnboundPartitionSpec {
    let mut builder = UnboundPartitionSpec::builder();
    let mut used = Vec::new();
    for number in 0..random.random_range(0..=3) {
        // `added` is not in the first schema.
        let index = random.random_range(0..columns.len().min(12));
        let (name, column_type) = &columns[index];
        let transforms = [
            Transform::Identity,
            Transform::Bucket(3),
            Transform::Truncate(2),
            Transform::Truncate(10),
            Transform::Year,
            Transform::Month,
            Transform::Day,
            Transform::Hour,
            Transform::Void,
        ];
        let input = Type::Primitive(column_type.clone());
        let fitting: Vec<_> = transforms
            .into_iter()
            // The `iceberg` crate cannot write UUIDs into partition tuples.
            .filter(|transform| {
                *column_type != PrimitiveType::Uuid || *transform != Transform::Identity
            })
            .filter(|transform| transform.result_type(&input).is_ok())
            .collect();
        let transform = *fitting.choose(random).unwrap();
        // At most one transform of a kind per column.
        if used.contains(&(index, transform.dedup_name())) {
            continue;
        }
        used.push((index, transform.dedup_name()));
        let source_id = i32::try_from(index).unwrap() + 1;
        builder = builder
            .add_partition_field(source_id, format!("p{round}_{number}_{name}"), transform)
            .unwrap();
    }
    builder.build()
}

fn partition_value(transform: Transform, value: Option<&Datum>) -> Option<Literal> {
    match transform {
        Transform::Void => None,
        Transform::Identity => value.map(|value| Literal::from(value.clone())),
        // The `iceberg` crate does not truncate binaries.
        Transform::Truncate(width) if value?.data_type() == &PrimitiveType::Binary => {
            match value?.literal() {
                PrimitiveLiteral::Binary(bytes) => {
                    let width = usize::try_from(width).unwrap();
                    Some(Literal::binary(bytes.iter().copied().take(width)))
                }
                other => panic!("{other:?}"),
            }
        }
        _ => {
            let function = create_transform_function(&transform).unwrap();
            let transformed = function.transform_literal(value?).unwrap();
            transformed.map(Literal::from)
        }
    }
}

/// A data file with the rows that it would hold.
struct TestFile {
    path: String,
    rows: Vec<Row>,
}

/// Metrics that a writer could record for these rows: some missing, bounds truncated or widened.
fn data_file(
    random: &mut StdRng,
    path: String,
    rows: &[Row],
    columns: &[(&'static str, PrimitiveType)],
    partition: Struct,
    spec_id: i32,
) -> DataFile {
    let mut value_counts = HashMap::new();
    let mut null_counts = HashMap::new();
    let mut nan_counts = HashMap::new();
    let mut lower_bounds = HashMap::new();
    let mut upper_bounds = HashMap::new();
    for (index, (_, column_type)) in columns.iter().enumerate() {
        if random.random_bool(0.1) {
            continue;
        }
        let id = i32::try_from(index).unwrap() + 1;
        let values: Vec<_> = rows.iter().map(|row| row[index].as_ref()).collect();
        let count = |found: usize| u64::try_from(found).unwrap();
        if random.random_bool(0.9) {
            value_counts.insert(id, count(values.len()));
        }
        if random.random_bool(0.9) {
            let nulls = values.iter().filter(|value| value.is_none()).count();
            null_counts.insert(id, count(nulls));
        }
        let is_float = matches!(column_type, PrimitiveType::Float | PrimitiveType::Double);
        if is_float && random.random_bool(0.8) {
            let nans = values.iter().flatten().filter(|value| value.is_nan());
            nan_counts.insert(id, count(nans.count()));
        }
        let ordinary = || values.iter().flatten().filter(|value| !value.is_nan());
        // Writers differ on the order of zeros.
        let order = if random.random::<bool>() {
            FloatOrder::Total
        } else {
            FloatOrder::Ieee
        };
        let lowest = ordinary().min_by(|left, right| compare(left, right, order).unwrap());
        let highest = ordinary().max_by(|left, right| compare(left, right, order).unwrap());
        if let Some(bound) = lowest.and_then(|lowest| lower_bound(random, lowest)) {
            lower_bounds.insert(id, bound);
        }
        if let Some(bound) = highest.and_then(|highest| upper_bound(random, highest)) {
            upper_bounds.insert(id, bound);
        }
    }
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .partition_spec_id(spec_id)
        .record_count(u64::try_from(rows.len()).unwrap())
        .file_size_in_bytes(1000)
        .value_counts(value_counts)
        .null_value_counts(null_counts)
        .nan_value_counts(nan_counts)
        .lower_bounds(lower_bounds)
        .upper_bounds(upper_bounds)
        .build()
        .unwrap()
}

/// A bound that a writer could record for the lowest value: itself, less, or none.
fn lower_bound(random: &mut StdRng, lowest: &Datum) -> Option<Datum> {
    if random.random_bool(0.1) {
        return None;
    }
    let slack = random.random_range(0..3_u8);
    Some(match (lowest.data_type(), lowest.literal()) {
        (PrimitiveType::Int, PrimitiveLiteral::Int(value)) => Datum::int(value - i32::from(slack)),
        (PrimitiveType::Long, PrimitiveLiteral::Long(value)) => {
            Datum::long(value - i64::from(slack))
        }
        (PrimitiveType::String, PrimitiveLiteral::String(text)) if slack > 0 => {
            Datum::string(text.chars().take(usize::from(slack)).collect::<String>())
        }
        (PrimitiveType::Binary, PrimitiveLiteral::Binary(bytes)) if slack > 0 => {
            Datum::binary(bytes.iter().copied().take(usize::from(slack)))
        }
        _ => lowest.clone(),
    })
}

/// The same for the highest value; truncated texts are incremented.
fn upper_bound(random: &mut StdRng, highest: &Datum) -> Option<Datum> {
    if random.random_bool(0.1) {
        return None;
    }
    let slack = random.random_range(0..3_u8);
    let length = usize::from(slack);
    Some(match (highest.data_type(), highest.literal()) {
        (PrimitiveType::Int, PrimitiveLiteral::Int(value)) => Datum::int(value + i32::from(slack)),
        (PrimitiveType::Long, PrimitiveLiteral::Long(value)) => {
            Datum::long(value + i64::from(slack))
        }
        (PrimitiveType::String, PrimitiveLiteral::String(text))
            if slack > 0 && text.chars().count() > length =>
        {
            let mut letters: Vec<char> = text.chars().take(length).collect();
            let last = letters.last_mut()?;
            *last = char::from_u32(u32::from(*last) + 1)?;
            Datum::string(letters.into_iter().collect::<String>())
        }
        (PrimitiveType::Binary, PrimitiveLiteral::Binary(bytes))
            if slack > 0 && bytes.len() > length =>
        {
            let mut bytes = bytes[..length].to_vec();
            let last = bytes.last_mut()?;
            *last = last.checked_add(1)?;
            Datum::binary(bytes)
        }
        _ => highest.clone(),
    })
}

fn random_predicate(
    random: &mut StdRng,
    columns: &[(&'static str, PrimitiveType)],
    depth: u32,
) -> Predicate {
    if depth > 0 && random.random_bool(0.5) {
        let left = random_predicate(random, columns, depth - 1);
        return match random.random_range(0..3) {
            0 => left.and(random_predicate(random, columns, depth - 1)),
            1 => left.or(random_predicate(random, columns, depth - 1)),
            _ => !left,
        };
    }
    let (name, column_type) = columns.choose(random).unwrap();
    let column = Reference::new(*name);
    // Literals come in the column's type or one that is promoted to it.
    let literal_type = match column_type {
        PrimitiveType::Long if random.random_bool(0.3) => PrimitiveType::Int,
        PrimitiveType::Double if random.random_bool(0.3) => PrimitiveType::Float,
        other => other.clone(),
    };
    let value = random_value(random, &literal_type);
    let is_float = matches!(column_type, PrimitiveType::Float | PrimitiveType::Double);
    let is_text = *column_type == PrimitiveType::String;
    match random.random_range(0..14) {
        0 => column.is_null(),
        1 => column.is_not_null(),
        2 if is_float => column.is_nan(),
        3 if is_float => column.is_not_nan(),
        2 if is_text => column.starts_with(value),
        3 if is_text => column.not_starts_with(value),
        4 | 5 => column.less_than(value),
        6 => column.less_than_or_equal_to(value),
        7 | 8 => column.greater_than(value),
        9 => column.greater_than_or_equal_to(value),
        10 => column.not_equal_to(value),
        11 | 12 => {
            let count = random.random_range(0..4);
            let values: Vec<_> = (0..count)
                .map(|_| random_value(random, &literal_type))
                .collect();
            if random.random::<bool>() {
                column.is_in(values)
            } else {
                column.is_not_in(values)
            }
        }
        _ => column.equal_to(value),
    }
}

/// Adds files with random rows, one per partition that the rows fall into.
async fn add_files(
    random: &mut StdRng,
    table: &mut TestTable,
    spec_id: i32,
    columns: &[(&'static str, PrimitiveType)],
    files: &mut Vec<TestFile>,
) {
    let metadata = table.table().metadata;
    let spec = metadata.partition_spec_by_id(spec_id).unwrap().clone();
    let mut partitions: BTreeMap<String, (Struct, Vec<Row>)> = BTreeMap::new();
    let null_share = [0.0, 0.2, 0.9].choose(random).copied().unwrap();
    // Rows that share values fall into few partitions, which makes bounds tight.
    let base: Row = columns
        .iter()
        .map(|(_, column_type)| Some(random_value(random, column_type)))
        .collect();
    for _ in 0..random.random_range(1..12) {
        let row: Row = columns
            .iter()
            .zip(&base)
            .map(|((_, column_type), shared)| match () {
                () if random.random_bool(null_share) => None,
                () if random.random_bool(0.6) => shared.clone(),
                () => Some(random_value(random, column_type)),
            })
            .collect();
        let values = spec.fields().iter().map(|field| {
            let index = usize::try_from(field.source_id - 1).unwrap();
            partition_value(field.transform, row[index].as_ref())
        });
        let partition = Struct::from_iter(values);
        let key = format!("{partition:?}");
        let (_, rows) = partitions.entry(key).or_insert((partition, Vec::new()));
        rows.push(row);
    }
    let mut data_files = Vec::new();
    for (partition, rows) in partitions.into_values() {
        let path = table.path(&format!("{}.parquet", files.len()));
        data_files.push(data_file(
            random,
            path.clone(),
            &rows,
            columns,
            partition,
            spec_id,
        ));
        files.push(TestFile { path, rows });
    }
    table
        .add_manifest(ManifestContentType::Data, spec_id, data_files)
        .await;
}

#[tokio::test]
async fn pruned_files_have_no_matching_row() {
    let first_seed = match std::env::var("INGOT_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 20_261_121_u64,
    };
    let (mut planned, mut skipped, mut manifests_skipped, mut needed) = (0, 0, 0, 0);
    for seed in first_seed..first_seed + TABLES {
        let context = format!("INGOT_TEST_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let first = first_columns();
        let version = *[FormatVersion::V1, FormatVersion::V2, FormatVersion::V2]
            .choose(&mut random)
            .unwrap();
        let spec = random_spec(&mut random, &first, 0);
        let mut table = TestTable::new(schema(&first), spec, version);
        let first_spec = table.table().metadata.default_partition_spec_id();
        let mut files = Vec::new();
        for _ in 0..random.random_range(1..4) {
            add_files(&mut random, &mut table, first_spec, &first, &mut files).await;
        }
        let mut columns = first.clone();
        if random.random_bool(0.6) {
            columns = second_columns();
            let evolved = schema(&columns);
            table.change(|builder| builder.add_current_schema(evolved));
            add_files(&mut random, &mut table, first_spec, &columns, &mut files).await;
        }
        // Version 1 cannot number the fields of a second spec freely.
        if version != FormatVersion::V1 && random.random_bool(0.6) {
            let spec = random_spec(&mut random, &columns, 1);
            table.change(|builder| builder.add_default_partition_spec(spec));
            let second_spec = table.table().metadata.default_partition_spec_id();
            add_files(&mut random, &mut table, second_spec, &columns, &mut files).await;
        }
        table.commit().await;

        let loaded = table.table();
        let cache = ManifestCache::new(1 << 20);
        for _ in 0..PREDICATES_PER_TABLE {
            let predicate = random_predicate(&mut random, &columns, 3);
            let plan = plan_scan(
                &table.storage,
                &cache,
                &loaded,
                &TableVersion::Current,
                &predicate,
            )
            .await
            .unwrap_or_else(|error| panic!("{context}: {error}"));
            let paths: Vec<_> = plan.tasks.iter().map(|task| task.path.as_str()).collect();
            for file in &files {
                let matches = file.rows.iter().any(|row| {
                    let promoted: Row = columns
                        .iter()
                        .enumerate()
                        .map(|(index, (_, column_type))| {
                            let value = row.get(index)?.as_ref()?;
                            Some(promote(value, column_type))
                        })
                        .collect();
                    let value_of = |name: &str| {
                        let index = columns.iter().position(|column| column.0 == name).unwrap();
                        promoted[index].as_ref()
                    };
                    [FloatOrder::Total, FloatOrder::Ieee]
                        .into_iter()
                        .any(|order| evaluate(&predicate, &value_of, order) == Some(true))
                });
                needed += usize::from(matches);
                assert!(
                    !matches || paths.contains(&file.path.as_str()),
                    "{context}: {predicate:?} must read {} with rows {:?}",
                    file.path,
                    file.rows
                );
            }
            planned += paths.len();
            skipped += files.len() - paths.len();
            manifests_skipped += plan.metrics.manifests_skipped;
        }
    }
    println!(
        "needed {needed}, planned {planned}, skipped {skipped}, manifests skipped {manifests_skipped}"
    );
    // It must be of use, too: of the files that need not be read, a good part is not.
    assert!(
        skipped * 3 > planned - needed,
        "planned {planned}, skipped {skipped}"
    );
    assert!(manifests_skipped > 0);
}

/// Types with a partition tuple keep their values through manifest, plan and JSON.
#[tokio::test]
async fn partition_values_survive_the_manifest_and_json() {
    for seed in 0..40 {
        let mut random = StdRng::seed_from_u64(seed);
        let columns = first_columns();
        let spec = random_spec(&mut random, &columns, 0);
        let mut table = TestTable::new(schema(&columns), spec, FormatVersion::V2);
        let mut files = Vec::new();
        add_files(&mut random, &mut table, 0, &columns, &mut files).await;
        table.commit().await;
        let loaded = table.table();
        let spec = loaded.metadata.default_partition_spec();
        let cache = ManifestCache::new(1 << 20);
        let version = TableVersion::Current;
        let plan = plan_scan(
            &table.storage,
            &cache,
            &loaded,
            &version,
            &Predicate::AlwaysTrue,
        )
        .await
        .unwrap();
        assert_eq!(plan.tasks.len(), files.len());
        for (task, file) in plan.tasks.iter().zip(&files) {
            let json = serde_json::to_string(task).unwrap();
            let decoded: ingot_catalog::scan::FileTask = serde_json::from_str(&json).unwrap();
            assert_eq!(&decoded, task, "seed {seed}");
            assert_eq!(task.partition.len(), spec.fields().len());
            for (value, field) in task.partition.iter().zip(spec.fields()) {
                let index = usize::try_from(field.source_id - 1).unwrap();
                let source = file.rows[0][index].as_ref();
                let expected = partition_value(field.transform, source);
                let actual = value.value.clone().map(Literal::from);
                assert_eq!(actual, expected, "seed {seed}, {}", field.name);
                if field.transform == Transform::Identity {
                    let constant = task.constant(field.source_id);
                    assert_eq!(constant, Some(source), "seed {seed}, {}", field.name);
                }
            }
        }
    }
}

/// A nested field is found by its dotted name; its null counts are not trusted.
#[tokio::test]
async fn nested_fields_prune_by_bounds_only() {
    let inner = NestedField::optional(2, "x", Type::Primitive(PrimitiveType::Int));
    let outer = iceberg::spec::StructType::new(vec![inner.into()]);
    let field = NestedField::optional(1, "s", Type::Struct(outer));
    let schema = Schema::builder()
        .with_fields(vec![field.into()])
        .build()
        .unwrap();
    let spec = UnboundPartitionSpec::builder().build();
    let mut table = TestTable::new(schema, spec, FormatVersion::V2);
    let file = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(table.path("a.parquet"))
        .file_format(DataFileFormat::Parquet)
        .record_count(3)
        .file_size_in_bytes(10)
        .value_counts(HashMap::from([(2, 3)]))
        .null_value_counts(HashMap::from([(2, 0)]))
        .lower_bounds(HashMap::from([(2, Datum::int(1))]))
        .upper_bounds(HashMap::from([(2, Datum::int(5))]))
        .build()
        .unwrap();
    table
        .add_manifest(ManifestContentType::Data, 0, [file])
        .await;
    table.commit().await;
    let loaded = table.table();
    let cache = ManifestCache::new(0);
    let column = || Reference::new("s.x");
    for (predicate, expected) in [
        (column().equal_to(Datum::int(3)), 1),
        (column().greater_than(Datum::int(5)), 0),
        (column().is_null(), 1),
        (Reference::new("s").is_null(), 1),
    ] {
        let version = TableVersion::Current;
        let plan = plan_scan(&table.storage, &cache, &loaded, &version, &predicate)
            .await
            .unwrap();
        assert_eq!(plan.tasks.len(), expected, "{predicate}");
    }
    let unknown = Reference::new("nope").is_null();
    let error = plan_scan(
        &table.storage,
        &cache,
        &loaded,
        &TableVersion::Current,
        &unknown,
    )
    .await
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot filter on nope: there is no such column"
    );
}
