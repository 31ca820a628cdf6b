//! Metadata tables that come from the manifests of one snapshot.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use iceberg::spec::{
    DataContentType, DataFile, Datum, FieldSummary, Literal, ManifestEntryRef, ManifestFile,
    PrimitiveLiteral, PrimitiveType, Schema, Transform,
};
use serde_json::{Map as JsonMap, Value as Json, json};

use super::columns::{
    BIGINT, BOOLEAN, Column, ColumnType, INTEGER, VARBINARY, VARCHAR, bigint, map, optional,
    required, row, text,
};
use super::text::value_text;
use crate::error::Result;
use crate::scan::ManifestCache;
use crate::scan::files::{ResolvedSpec, Specs};
use crate::scan::plan::{load_list, load_manifests};
use crate::scan::values::{Comparable, datum_of};
use crate::storage::Storage;
use crate::table::{Table, TableVersion};

type Row = Vec<Option<Literal>>;

/// Partition fields of all specs of a table, with the types of their values: a file's
/// partition values under any spec fit into one row of these.
struct PartitionColumns {
    /// Field id, column name and type, in the order of the columns.
    fields: Vec<(i32, String, PrimitiveType)>,
}

impl PartitionColumns {
    fn of(table: &Table) -> Self {
        let specs = Specs::new(&table.metadata, table.metadata.current_schema());
        let mut by_id: BTreeMap<i32, (String, PrimitiveType)> = BTreeMap::new();
        let mut all_specs: Vec<_> = table.metadata.partition_specs_iter().collect();
        all_specs.sort_by_key(|spec| spec.spec_id());
        for spec in all_specs {
            let resolved = specs.resolve(spec);
            for (field, value_type) in spec.fields().iter().zip(&resolved.types) {
                if let (Some(value_type), false) = (value_type, field.transform == Transform::Void)
                {
                    by_id.insert(field.field_id, (field.name.clone(), value_type.clone()));
                }
            }
        }
        let mut names: HashMap<String, usize> = HashMap::new();
        for (name, _) in by_id.values() {
            *names.entry(name.clone()).or_default() += 1;
        }
        let fields = by_id.into_iter().map(|(field_id, (name, value_type))| {
            let is_unique = names.get(&name) == Some(&1);
            let name = if is_unique {
                name
            } else {
                format!("{name}_{field_id}")
            };
            (field_id, name, value_type)
        });
        Self {
            fields: fields.collect(),
        }
    }

    /// The `partition` column; none for a table that was never partitioned.
    fn column(&self) -> Option<Column> {
        let fields = self
            .fields
            .iter()
            .map(|(_, name, value_type)| optional(name, ColumnType::Primitive(value_type.clone())));
        let fields: Vec<_> = fields.collect();
        (!fields.is_empty()).then(|| required("partition", ColumnType::Row(fields)))
    }

    /// The partition values of a file, for [`Self::column`].
    fn values(&self, resolved: &ResolvedSpec, file: &DataFile) -> Row {
        let spec_fields = resolved.spec.fields();
        let value_of = |(field_id, _, value_type): &(i32, String, PrimitiveType)| {
            let index = spec_fields
                .iter()
                .position(|field| field.field_id == *field_id)?;
            let literal = file.partition().fields().get(index)?.as_ref()?;
            let datum = datum_of(&literal.as_primitive_literal()?, value_type)?;
            Some(Literal::Primitive(datum.literal().clone()))
        };
        self.fields.iter().map(value_of).collect()
    }
}

/// The manifests of a version with their live and deleted entries.
struct Manifests<'a> {
    specs: Specs<'a>,
    entries: Vec<(ManifestFile, Arc<ResolvedSpec>, Vec<ManifestEntryRef>)>,
}

async fn load<'a>(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &'a Table,
    version: &TableVersion,
) -> Result<Manifests<'a>> {
    let mut files = Vec::new();
    let snapshot = table.snapshot_at(version)?;
    if let Some(snapshot) = &snapshot {
        let (list, _) = load_list(storage, cache, snapshot, table).await?;
        files.extend(list.entries().iter().cloned());
    }
    let snapshot_id = snapshot.map(|snapshot| snapshot.snapshot_id());
    load_entries(storage, cache, (table, snapshot_id), &files).await
}

async fn load_entries<'a>(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    (table, snapshot_id): (&'a Table, Option<i64>),
    files: &[ManifestFile],
) -> Result<Manifests<'a>> {
    let specs = Specs::new(&table.metadata, table.metadata.current_schema());
    let wanted = files.iter().collect();
    let loaded = load_manifests(storage, cache, (table, snapshot_id), wanted).await?;
    let mut entries = Vec::with_capacity(files.len());
    for (file, manifest) in loaded.manifests {
        let resolved = specs.of_manifest(file)?;
        entries.push((file.clone(), resolved, manifest.entries().to_vec()));
    }
    Ok(Manifests { specs, entries })
}

/// Snapshot ids with the manifests that each snapshot has, oldest first.
async fn manifests_of_all_snapshots(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &Table,
) -> Result<Vec<(i64, Vec<ManifestFile>)>> {
    let mut snapshots: Vec<_> = table.metadata.snapshots().cloned().collect();
    snapshots.sort_by_key(|snapshot| (snapshot.sequence_number(), snapshot.timestamp_ms()));
    let mut manifests = Vec::with_capacity(snapshots.len());
    for snapshot in snapshots {
        let (list, _) = load_list(storage, cache, &snapshot, table).await?;
        manifests.push((snapshot.snapshot_id(), list.entries().to_vec()));
    }
    Ok(manifests)
}

pub(super) fn manifests_columns() -> Vec<Column> {
    let summary = vec![
        optional("contains_null", BOOLEAN),
        optional("contains_nan", BOOLEAN),
        optional("lower_bound", VARCHAR),
        optional("upper_bound", VARCHAR),
    ];
    let summaries = ColumnType::List(Box::new(ColumnType::Row(summary)));
    vec![
        required("path", VARCHAR),
        required("length", BIGINT),
        required("partition_spec_id", INTEGER),
        optional("added_snapshot_id", BIGINT),
        optional("added_data_files_count", INTEGER),
        optional("added_rows_count", BIGINT),
        optional("existing_data_files_count", INTEGER),
        optional("existing_rows_count", BIGINT),
        optional("deleted_data_files_count", INTEGER),
        optional("deleted_rows_count", BIGINT),
        optional("partition_summaries", summaries),
        required("content", INTEGER),
    ]
}

/// Manifests in the order of the manifest list. Those of delete files are included;
/// `content` is 0 for data and 1 for deletes.
pub(super) async fn manifests(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &Table,
    version: &TableVersion,
) -> Result<Vec<Row>> {
    let Some(snapshot) = table.snapshot_at(version)? else {
        return Ok(Vec::new());
    };
    let specs = Specs::new(&table.metadata, table.metadata.current_schema());
    let (list, _) = load_list(storage, cache, &snapshot, table).await?;
    let files = list.entries().iter();
    files.map(|file| manifest_row(&specs, file)).collect()
}

pub(super) fn all_manifests_columns() -> Vec<Column> {
    let mut columns = manifests_columns();
    columns.push(required("reference_snapshot_id", BIGINT));
    columns
}

/// Manifests of all snapshots, once for each snapshot that has them.
pub(super) async fn all_manifests(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &Table,
) -> Result<Vec<Row>> {
    let specs = Specs::new(&table.metadata, table.metadata.current_schema());
    let mut rows = Vec::new();
    for (snapshot_id, files) in manifests_of_all_snapshots(storage, cache, table).await? {
        for file in &files {
            let mut row = manifest_row(&specs, file)?;
            row.push(Some(Literal::long(snapshot_id)));
            rows.push(row);
        }
    }
    Ok(rows)
}

fn manifest_row(specs: &Specs<'_>, file: &ManifestFile) -> Result<Row> {
    let count = |count: Option<u32>| {
        count.map(|count| Literal::int(i32::try_from(count).unwrap_or(i32::MAX)))
    };
    let resolved = specs.of_manifest(file)?;
    let summaries = file.partitions.as_deref().unwrap_or_default();
    let summaries = summaries
        .iter()
        .zip(&resolved.types)
        .map(|(summary, value_type)| summary_row(summary, value_type.as_ref()));
    Ok(vec![
        text(&file.manifest_path),
        Some(Literal::long(file.manifest_length)),
        Some(Literal::int(file.partition_spec_id)),
        Some(Literal::long(file.added_snapshot_id)),
        count(file.added_files_count),
        file.added_rows_count.and_then(bigint),
        count(file.existing_files_count),
        file.existing_rows_count.and_then(bigint),
        count(file.deleted_files_count),
        file.deleted_rows_count.and_then(bigint),
        Some(Literal::List(summaries.collect())),
        Some(Literal::int(file.content as i32)),
    ])
}

fn summary_row(summary: &FieldSummary, value_type: Option<&PrimitiveType>) -> Option<Literal> {
    let bound = |bytes: Option<&[u8]>| {
        let datum = Datum::try_from_bytes(bytes?, value_type?.clone()).ok()?;
        text(value_text(datum.literal(), datum.data_type()))
    };
    row(vec![
        Some(Literal::bool(summary.contains_null)),
        summary.contains_nan.map(Literal::bool),
        bound(summary.lower_bound.as_ref().map(|bytes| bytes.as_ref())),
        bound(summary.upper_bound.as_ref().map(|bytes| bytes.as_ref())),
    ])
}

pub(super) fn files_columns(table: &Table) -> Vec<Column> {
    let map_of = |value| ColumnType::Map(PrimitiveType::Int, Box::new(value));
    let mut columns = vec![
        required("content", INTEGER),
        required("file_path", VARCHAR),
        required("file_format", VARCHAR),
        required("spec_id", INTEGER),
    ];
    columns.extend(PartitionColumns::of(table).column());
    columns.extend([
        required("record_count", BIGINT),
        required("file_size_in_bytes", BIGINT),
        optional("column_sizes", map_of(BIGINT)),
        optional("value_counts", map_of(BIGINT)),
        optional("null_value_counts", map_of(BIGINT)),
        optional("nan_value_counts", map_of(BIGINT)),
        optional("lower_bounds", map_of(VARCHAR)),
        optional("upper_bounds", map_of(VARCHAR)),
        optional("key_metadata", VARBINARY),
        optional("split_offsets", ColumnType::List(Box::new(BIGINT))),
        optional("equality_ids", ColumnType::List(Box::new(INTEGER))),
        optional("sort_order_id", INTEGER),
        optional("readable_metrics", VARCHAR),
    ]);
    columns
}

fn file_row(
    file: &DataFile,
    resolved: &ResolvedSpec,
    partition_columns: &PartitionColumns,
    schema: &Schema,
) -> Row {
    let counts = |counts: &HashMap<i32, u64>| {
        let sorted: BTreeMap<_, _> = counts.iter().collect();
        let pairs = sorted.into_iter().filter_map(|(id, count)| {
            let count = i64::try_from(*count).ok()?;
            Some((Literal::int(*id), Literal::long(count)))
        });
        map(pairs)
    };
    let bounds = |bounds: &HashMap<i32, Datum>| {
        let sorted: BTreeMap<_, _> = bounds.iter().collect();
        let pairs = sorted.into_iter().map(|(id, bound)| {
            let bound = value_text(bound.literal(), bound.data_type());
            (Literal::int(*id), Literal::string(bound))
        });
        map(pairs)
    };
    let content = match file.content_type() {
        DataContentType::Data => 0,
        DataContentType::PositionDeletes => 1,
        DataContentType::EqualityDeletes => 2,
    };
    let mut values = vec![
        Some(Literal::int(content)),
        text(file.file_path()),
        text(file.file_format().to_string().to_ascii_uppercase()),
        Some(Literal::int(resolved.spec.spec_id())),
    ];
    if !partition_columns.fields.is_empty() {
        values.push(row(partition_columns.values(resolved, file)));
    }
    let split_offsets = file.split_offsets().map(|offsets| {
        let offsets = offsets.iter().map(|offset| Some(Literal::long(*offset)));
        Literal::List(offsets.collect())
    });
    let equality_ids = file.equality_ids().map(|ids| {
        let ids = ids.into_iter().map(|id| Some(Literal::int(id)));
        Literal::List(ids.collect())
    });
    values.extend([
        bigint(file.record_count()),
        bigint(file.file_size_in_bytes()),
        counts(file.column_sizes()),
        counts(file.value_counts()),
        counts(file.null_value_counts()),
        counts(file.nan_value_counts()),
        bounds(file.lower_bounds()),
        bounds(file.upper_bounds()),
        file.key_metadata()
            .map(|key| Literal::binary(key.iter().copied())),
        split_offsets,
        equality_ids,
        file.sort_order_id().map(Literal::int),
        text(readable_metrics(file, schema)),
    ]);
    values
}

/// Metrics by column name, as JSON.
fn readable_metrics(file: &DataFile, schema: &Schema) -> Json {
    let mut columns = JsonMap::new();
    let known_ids = file
        .value_counts()
        .keys()
        .chain(file.column_sizes().keys())
        .chain(file.lower_bounds().keys());
    let ids: BTreeSet<i32> = known_ids.copied().collect();
    for id in ids {
        let Some(name) = schema.name_by_field_id(id) else {
            continue;
        };
        let bound = |bounds: &HashMap<i32, Datum>| bounds.get(&id).map(bound_as_json);
        let metrics = json!({
            "column_size": file.column_sizes().get(&id),
            "value_count": file.value_counts().get(&id),
            "null_value_count": file.null_value_counts().get(&id),
            "nan_value_count": file.nan_value_counts().get(&id),
            "lower_bound": bound(file.lower_bounds()),
            "upper_bound": bound(file.upper_bounds()),
        });
        columns.insert(name.to_string(), metrics);
    }
    Json::Object(columns)
}

/// A bound as Trino spells it: booleans and numbers as they are, all else as text.
fn bound_as_json(bound: &Datum) -> Json {
    match bound.literal() {
        PrimitiveLiteral::Boolean(value) => json!(value),
        PrimitiveLiteral::Int(value) if bound.data_type() == &PrimitiveType::Int => json!(value),
        PrimitiveLiteral::Long(value) if bound.data_type() == &PrimitiveType::Long => json!(value),
        PrimitiveLiteral::Float(value) if value.is_finite() => json!(value.0),
        PrimitiveLiteral::Double(value) if value.is_finite() => json!(value.0),
        literal => json!(value_text(literal, bound.data_type())),
    }
}

/// Live data and delete files.
pub(super) async fn files(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &Table,
    version: &TableVersion,
) -> Result<Vec<Row>> {
    let manifests = load(storage, cache, table, version).await?;
    let partition_columns = PartitionColumns::of(table);
    let schema = manifests.specs.schema();
    let mut rows = Vec::new();
    for (_, resolved, entries) in &manifests.entries {
        for entry in entries.iter().filter(|entry| entry.is_alive()) {
            let file = &entry.data_file;
            rows.push(file_row(file, resolved, &partition_columns, schema));
        }
    }
    Ok(rows)
}

pub(super) fn entries_columns(table: &Table) -> Vec<Column> {
    let mut file_columns = files_columns(table);
    // It stands beside the file there.
    let readable_metrics = file_columns.pop();
    let mut columns = vec![
        required("status", INTEGER),
        optional("snapshot_id", BIGINT),
        optional("sequence_number", BIGINT),
        optional("file_sequence_number", BIGINT),
        required("data_file", ColumnType::Row(file_columns)),
    ];
    columns.extend(readable_metrics);
    columns
}

/// All manifest entries; `status` is 0 for existing, 1 for added and 2 for deleted files.
pub(super) async fn entries(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &Table,
    version: &TableVersion,
) -> Result<Vec<Row>> {
    let manifests = load(storage, cache, table, version).await?;
    Ok(entry_rows(table, &manifests))
}

/// Entries of the manifests of all snapshots, each manifest once.
pub(super) async fn all_entries(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &Table,
) -> Result<Vec<Row>> {
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    for (_, manifests) in manifests_of_all_snapshots(storage, cache, table).await? {
        let new = manifests
            .into_iter()
            .filter(|file| seen.insert(file.manifest_path.clone()));
        files.extend(new);
    }
    let manifests = load_entries(storage, cache, (table, None), &files).await?;
    Ok(entry_rows(table, &manifests))
}

fn entry_rows(table: &Table, manifests: &Manifests<'_>) -> Vec<Row> {
    let partition_columns = PartitionColumns::of(table);
    let schema = manifests.specs.schema();
    let mut rows = Vec::new();
    for (_, resolved, entries) in &manifests.entries {
        for entry in entries {
            let mut file = file_row(&entry.data_file, resolved, &partition_columns, schema);
            let readable_metrics = file.pop().flatten();
            rows.push(vec![
                Some(Literal::int(entry.status as i32)),
                entry.snapshot_id.map(Literal::long),
                entry.sequence_number.map(Literal::long),
                entry.file_sequence_number.map(Literal::long),
                row(file),
                readable_metrics,
            ]);
        }
    }
    rows
}

pub(super) fn partitions_columns(table: &Table) -> Vec<Column> {
    let mut columns: Vec<Column> = PartitionColumns::of(table).column().into_iter().collect();
    columns.extend([
        required("record_count", BIGINT),
        required("file_count", BIGINT),
        required("total_size", BIGINT),
    ]);
    let data = data_fields(table.metadata.current_schema());
    let data = data.into_iter().map(|(_, name, field_type)| {
        let fields = vec![
            optional("min", ColumnType::Primitive(field_type.clone())),
            optional("max", ColumnType::Primitive(field_type)),
            optional("null_count", BIGINT),
            optional("nan_count", BIGINT),
        ];
        optional(&name, ColumnType::Row(fields))
    });
    let data: Vec<_> = data.collect();
    if !data.is_empty() {
        columns.push(required("data", ColumnType::Row(data)));
    }
    columns
}

/// Top-level columns that have bounds: id, name, type.
fn data_fields(schema: &Schema) -> Vec<(i32, String, PrimitiveType)> {
    let fields = schema.as_struct().fields().iter();
    let primitive = fields.filter_map(|field| {
        let field_type = field.field_type.as_primitive_type()?;
        Some((field.id, field.name.clone(), field_type.clone()))
    });
    primitive.collect()
}

/// Totals of one partition.
#[derive(Default)]
struct PartitionTotals {
    record_count: u64,
    file_count: u64,
    total_size: u64,
    columns: HashMap<i32, ColumnTotals>,
}

/// Bounds and counts of a column over the files of a partition; `None` once a file does
/// not know them.
#[derive(Clone)]
struct ColumnTotals {
    lower: Option<Datum>,
    upper: Option<Datum>,
    null_count: Option<u64>,
    nan_count: Option<u64>,
    /// No file had anything but nulls, which leaves the bounds to the next one.
    is_all_null: bool,
}

impl PartitionTotals {
    fn add(&mut self, file: &DataFile, fields: &[(i32, String, PrimitiveType)]) {
        self.record_count += file.record_count();
        self.file_count += 1;
        self.total_size += file.file_size_in_bytes();
        for (id, _, field_type) in fields {
            let bound = |bounds: &HashMap<i32, Datum>| {
                let bound = bounds.get(id)?;
                datum_of(bound.literal(), field_type)
            };
            let null_count = file.null_value_counts().get(id).copied();
            let value_count = file.value_counts().get(id).copied();
            let of_file = ColumnTotals {
                lower: bound(file.lower_bounds()),
                upper: bound(file.upper_bounds()),
                null_count,
                nan_count: file.nan_value_counts().get(id).copied(),
                is_all_null: null_count.is_some() && null_count == value_count,
            };
            match self.columns.get_mut(id) {
                None => {
                    self.columns.insert(*id, of_file);
                }
                Some(totals) => totals.merge(of_file),
            }
        }
    }
}

impl ColumnTotals {
    fn merge(&mut self, other: Self) {
        let sum = |left: Option<u64>, right: Option<u64>| left?.checked_add(right?);
        self.null_count = sum(self.null_count, other.null_count);
        self.nan_count = sum(self.nan_count, other.nan_count);
        if other.is_all_null {
            return;
        }
        if self.is_all_null {
            self.is_all_null = false;
            self.lower = other.lower;
            self.upper = other.upper;
        } else {
            self.lower = extreme(self.lower.take(), other.lower, Ordering::Less);
            self.upper = extreme(self.upper.take(), other.upper, Ordering::Greater);
        }
    }
}

fn extreme(left: Option<Datum>, right: Option<Datum>, wanted: std::cmp::Ordering) -> Option<Datum> {
    let (left, right) = (left?, right?);
    let comparable =
        |datum: &Datum| Comparable::new(datum.literal(), datum.data_type(), datum.data_type());
    let order = comparable(&left)?.compare(&comparable(&right)?)?;
    Some(if order == wanted { left } else { right })
}

/// Partitions of the live data files, in the order in which they appear.
pub(super) async fn partitions(
    storage: &Arc<Storage>,
    cache: &ManifestCache,
    table: &Table,
    version: &TableVersion,
) -> Result<Vec<Row>> {
    let manifests = load(storage, cache, table, version).await?;
    let partition_columns = PartitionColumns::of(table);
    let fields = data_fields(manifests.specs.schema());
    let mut order: Vec<Row> = Vec::new();
    let mut totals: HashMap<Row, PartitionTotals> = HashMap::new();
    for (_, resolved, entries) in &manifests.entries {
        for entry in entries.iter().filter(|entry| entry.is_alive()) {
            let file = &entry.data_file;
            if file.content_type() != DataContentType::Data {
                continue;
            }
            let key = partition_columns.values(resolved, file);
            let partition = totals.entry(key.clone()).or_insert_with(|| {
                order.push(key);
                PartitionTotals::default()
            });
            partition.add(file, &fields);
        }
    }
    let row_of = |key: Row| {
        let partition = totals.remove(&key).unwrap_or_default();
        let mut values = Vec::new();
        if !partition_columns.fields.is_empty() {
            values.push(row(key));
        }
        values.extend([
            bigint(partition.record_count),
            bigint(partition.file_count),
            bigint(partition.total_size),
        ]);
        let primitive = |datum: Option<Datum>| {
            datum.map(|datum| Literal::Primitive(PrimitiveLiteral::from(datum)))
        };
        let columns = fields.iter().map(|(id, _, _)| {
            let column = partition.columns.get(id)?.clone();
            row(vec![
                primitive(column.lower),
                primitive(column.upper),
                column.null_count.and_then(bigint),
                column.nan_count.and_then(bigint),
            ])
        });
        if !fields.is_empty() {
            values.push(row(columns.collect()));
        }
        values
    };
    Ok(order.into_iter().map(row_of).collect())
}
