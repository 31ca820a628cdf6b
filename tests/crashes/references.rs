//! Which files the tables and views of a catalog refer to, found without the maintenance that is
//! tested by it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use iceberg::spec::ManifestList;
use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::materialized_view::storage_table_of;
use ingot_catalog::{Catalog, CatalogReference, CatalogReferenceKind, Table};

/// The files below the warehouse's folder that no branch and no tag of the catalog refers to.
/// Whatever they refer to must be there.
pub async fn unreferenced_files(catalog: &dyn Catalog, warehouse: &Path) -> BTreeSet<PathBuf> {
    let mut referenced = BTreeSet::new();
    let versioned = catalog.versioned().unwrap();
    for reference in versioned.references().await.unwrap() {
        let reference = match reference.kind {
            CatalogReferenceKind::Branch => CatalogReference::Branch(reference.name),
            CatalogReferenceKind::Tag => CatalogReference::Tag(reference.name),
        };
        let state = versioned.at(&reference).await.unwrap();
        add_state(state.as_ref(), &mut referenced).await;
    }
    let mut found = BTreeSet::new();
    add_files_below(warehouse, &mut found);
    let missing: Vec<&PathBuf> = referenced.difference(&found).collect();
    assert!(missing.is_empty(), "files are missing: {missing:?}");
    found.difference(&referenced).cloned().collect()
}

async fn add_state(catalog: &dyn Catalog, referenced: &mut BTreeSet<PathBuf>) {
    for schema in catalog.list_schemas().await.unwrap() {
        let namespace = NamespaceIdent::new(schema.clone());
        let mut tables: Vec<TableIdent> = Vec::new();
        for name in catalog.list_tables(&schema).await.unwrap() {
            tables.push(TableIdent::new(namespace.clone(), name));
        }
        for name in catalog.list_views(&schema).await.unwrap() {
            let ident = TableIdent::new(namespace.clone(), name);
            let view = catalog.load_view(&ident).await.unwrap();
            referenced.insert(path_of(&view.metadata_location));
            tables.push(storage_table_of(&ident));
        }
        for ident in tables {
            let table = catalog.load_table(&ident).await.unwrap();
            add_table(catalog, &table, referenced).await;
        }
    }
}

async fn add_table(catalog: &dyn Catalog, table: &Table, referenced: &mut BTreeSet<PathBuf>) {
    let storage = catalog.storage();
    let metadata = &table.metadata;
    referenced.insert(path_of(table.metadata_location.as_ref().unwrap()));
    for entry in metadata.metadata_log() {
        referenced.insert(path_of(&entry.metadata_file));
    }
    for snapshot in metadata.snapshots() {
        let list = snapshot.manifest_list();
        referenced.insert(path_of(list));
        let content = storage.read(list).await.unwrap();
        let list = ManifestList::parse_with_version(&content, metadata.format_version()).unwrap();
        for manifest in list.entries() {
            referenced.insert(path_of(&manifest.manifest_path));
            let manifest = manifest.load_manifest(&storage.file_io()).await.unwrap();
            for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
                referenced.insert(path_of(entry.file_path()));
            }
        }
    }
}

fn path_of(location: &str) -> PathBuf {
    PathBuf::from(location.strip_prefix("file://").unwrap())
}

fn add_files_below(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => add_files_below(&path, found),
            false => {
                found.insert(path);
            }
        }
    }
}
