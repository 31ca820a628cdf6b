//! What the tests of this crate share: tables, made-up data files, and reading back
//! which files a snapshot has.
#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Literal, ManifestList, NestedField,
    PrimitiveType, Schema, SortOrder, Struct, Transform, Type, UnboundPartitionSpec,
};
use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::commit::{commit_staged, stage_create};
use ingot_catalog::{
    Catalog, Database, S3Config, SqlCatalog, SqlCatalogOptions, Storage, StorageConfig, Table,
    TableVersion,
};
use ingot_test_support::S3Server;

pub fn ident(schema: &str, table: &str) -> TableIdent {
    TableIdent::new(NamespaceIdent::new(schema.to_string()), table.to_string())
}

pub fn local_storage() -> Arc<Storage> {
    Storage::new(StorageConfig::default())
}

pub fn s3_storage(server: &S3Server) -> Arc<Storage> {
    Storage::new(StorageConfig {
        s3: S3Config {
            endpoint: Some(server.endpoint()),
            region: Some("us-east-1".to_string()),
            access_key_id: Some(S3Server::ACCESS_KEY.to_string()),
            secret_access_key: Some(S3Server::SECRET_KEY.to_string()),
            session_token: None,
            path_style: true,
        },
        ..StorageConfig::default()
    })
}

/// A catalog on SQLite with a local warehouse, both in one temporary folder.
pub async fn local_catalog() -> (tempfile::TempDir, Arc<SqlCatalog>) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = open_local(folder.path()).await;
    catalog.create_schema("s", HashMap::new()).await.unwrap();
    (folder, catalog)
}

/// Opens the catalog in a folder (again).
pub async fn open_local(folder: &std::path::Path) -> Arc<SqlCatalog> {
    let database = database_in(folder).await;
    let warehouse = folder.join("warehouse").display().to_string();
    SqlCatalog::open("iceberg", database, local_storage(), &warehouse)
        .await
        .unwrap()
}

/// The SQLite database of the catalog in a folder.
pub async fn database_in(folder: &std::path::Path) -> Database {
    Database::connect_sqlite(&folder.join("catalog.db"))
        .await
        .unwrap()
}

/// Opens the catalog in a folder (again), with versions kept for so many seconds.
pub async fn open_keeping(
    folder: &std::path::Path,
    database: &Database,
    seconds: u64,
) -> Arc<SqlCatalog> {
    let warehouse = folder.join("warehouse").display().to_string();
    let options = SqlCatalogOptions {
        version_retention: Duration::from_secs(seconds),
        ..SqlCatalogOptions::default()
    };
    let database = database.clone();
    SqlCatalog::open_with("iceberg", database, local_storage(), &warehouse, options)
        .await
        .unwrap()
}

/// `id long, day date, name string`.
pub fn schema() -> Schema {
    Schema::builder()
        .with_fields(vec![
            NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into(),
            NestedField::optional(2, "day", Type::Primitive(PrimitiveType::Date)).into(),
            NestedField::optional(3, "name", Type::Primitive(PrimitiveType::String)).into(),
        ])
        .build()
        .unwrap()
}

/// Partitioned by the column `day`.
pub fn by_day() -> UnboundPartitionSpec {
    UnboundPartitionSpec::builder()
        .add_partition_field(2, "day", Transform::Identity)
        .unwrap()
        .build()
}

pub fn properties(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

pub async fn create_table(
    catalog: &dyn Catalog,
    name: &TableIdent,
    table_properties: &[(&str, &str)],
) -> Table {
    let staged = stage_create(
        catalog,
        name,
        schema(),
        by_day(),
        SortOrder::unsorted_order(),
        properties(table_properties),
    )
    .await
    .unwrap();
    commit_staged(catalog, staged, Vec::new()).await.unwrap()
}

/// Where the data file called `name` of a table would be.
pub fn data_path(table: &Table, name: &str) -> String {
    format!("{}/data/{name}.parquet", table.metadata.location())
}

/// A data file of 10 records for a table made by [`create_table`]. There is no such
/// file: commits do not look.
pub fn data_file(table: &Table, name: &str, day: i32) -> DataFile {
    data_file_with(table, data_path(table, name), day)
}

/// Like [`data_file`], anywhere.
pub fn data_file_at(table: &Table, path: &str) -> DataFile {
    data_file_with(table, path.to_string(), 1)
}

fn data_file_with(table: &Table, path: String, day: i32) -> DataFile {
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::date(day))]))
        .partition_spec_id(table.metadata.default_partition_spec_id())
        .record_count(10)
        .file_size_in_bytes(1_000)
        .column_sizes(HashMap::from([(1, 80), (2, 40)]))
        .value_counts(HashMap::from([(1, 10), (2, 10), (3, 10)]))
        .null_value_counts(HashMap::from([(1, 0), (2, 0), (3, 1)]))
        .lower_bounds(HashMap::from([(1, iceberg::spec::Datum::long(1))]))
        .upper_bounds(HashMap::from([(1, iceberg::spec::Datum::long(10))]))
        .build()
        .unwrap()
}

pub fn no_summary() -> BTreeMap<String, String> {
    BTreeMap::new()
}

/// A live data file: its name (of [`data_file`]), the snapshot and the sequence number
/// that it was added with.
pub type LiveFile = (String, i64, i64);

/// The live data files of a version of a table, sorted.
pub async fn live_files(
    storage: &Arc<Storage>,
    table: &Table,
    version: &TableVersion,
) -> Vec<LiveFile> {
    let Some(snapshot) = table.snapshot_at(version).unwrap() else {
        return Vec::new();
    };
    let content = storage.read(snapshot.manifest_list()).await.unwrap();
    let list = ManifestList::parse_with_version(&content, table.metadata.format_version()).unwrap();
    let mut files = Vec::new();
    for manifest in list.entries() {
        let manifest = manifest.load_manifest(&storage.file_io()).await.unwrap();
        for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
            let name = entry.file_path().rsplit('/').next().unwrap();
            let name = name.strip_suffix(".parquet").unwrap();
            files.push((
                name.to_string(),
                entry.snapshot_id().unwrap(),
                entry.sequence_number().unwrap(),
            ));
        }
    }
    files.sort();
    files
}

pub fn names(files: &[LiveFile]) -> Vec<&str> {
    files.iter().map(|(name, _, _)| name.as_str()).collect()
}

/// The names of the files below a folder that the newest metadata of no table refers
/// to: there should be none.
pub async fn orphans(storage: &Arc<Storage>, folder: &str, tables: &[Table]) -> Vec<String> {
    let mut referenced = std::collections::HashSet::new();
    for table in tables {
        referenced.extend(table.metadata_location.clone());
        for entry in table.metadata.metadata_log() {
            referenced.insert(entry.metadata_file.clone());
        }
        for snapshot in table.metadata.snapshots() {
            referenced.insert(snapshot.manifest_list().to_string());
            let content = storage.read(snapshot.manifest_list()).await.unwrap();
            let list = ManifestList::parse_with_version(&content, table.metadata.format_version())
                .unwrap();
            for manifest in list.entries() {
                referenced.insert(manifest.manifest_path.clone());
            }
        }
    }
    let mut orphans: Vec<_> = storage
        .list(folder)
        .await
        .unwrap()
        .into_iter()
        .map(|file| file.location)
        .filter(|location| !referenced.contains(location))
        .collect();
    orphans.sort();
    orphans
}
