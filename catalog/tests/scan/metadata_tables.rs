//! The rows of metadata tables.

use iceberg::spec::{FormatVersion, Literal, ManifestContentType, PrimitiveLiteral, Type};
use ingot_catalog::TableVersion;
use ingot_catalog::scan::ManifestCache;
use ingot_catalog::scan::metadata_tables::{MetadataRows, MetadataTableKind, metadata_table_rows};

use crate::plans::{day_file, day_table};
use crate::table::TestTable;

async fn two_snapshots() -> (TestTable, [i64; 2]) {
    let mut table = day_table(FormatVersion::V2);
    let file = day_file(table.path("a.parquet"), 1, 1..=5);
    table
        .add_manifest(ManifestContentType::Data, 0, [file])
        .await;
    let first = table.commit().await;
    let file = day_file(table.path("b.parquet"), 1, -3..=2);
    table
        .add_manifest(ManifestContentType::Data, 0, [file])
        .await;
    let second = table.commit().await;
    (table, [first, second])
}

async fn rows(table: &TestTable, kind: MetadataTableKind, version: TableVersion) -> MetadataRows {
    let cache = ManifestCache::new(1 << 20);
    metadata_table_rows(&table.storage, &cache, &table.table(), kind, &version)
        .await
        .unwrap()
}

fn value<'a>(rows: &'a MetadataRows, row: usize, column: &str) -> Option<&'a Literal> {
    let fields = rows.schema.as_struct().fields();
    let index = fields
        .iter()
        .position(|field| field.name == column)
        .unwrap();
    rows.rows[row][index].as_ref()
}

/// Whether a value is of a type, nested ones included.
fn fits(value: &Literal, value_type: &Type) -> bool {
    let optional_fits = |value: &Option<Literal>, value_type: &Type| {
        value.as_ref().is_none_or(|value| fits(value, value_type))
    };
    match (value, value_type) {
        (Literal::Primitive(value), Type::Primitive(value_type)) => value_type.compatible(value),
        (Literal::Struct(value), Type::Struct(value_type)) => {
            value.fields().len() == value_type.fields().len()
                && value
                    .fields()
                    .iter()
                    .zip(value_type.fields())
                    .all(|(value, field)| optional_fits(value, &field.field_type))
        }
        (Literal::List(values), Type::List(list)) => values
            .iter()
            .all(|value| optional_fits(value, &list.element_field.field_type)),
        (Literal::Map(map), Type::Map(map_type)) => map.clone().into_iter().all(|(key, value)| {
            fits(&key, &map_type.key_field.field_type)
                && optional_fits(&value, &map_type.value_field.field_type)
        }),
        _ => false,
    }
}

#[tokio::test]
async fn rows_fit_their_schemas() {
    let (table, _) = two_snapshots().await;
    let empty = day_table(FormatVersion::V2);
    for kind in MetadataTableKind::ALL {
        assert_eq!(MetadataTableKind::from_name(kind.name()), Some(kind));
        let rows_of = rows(&table, kind, TableVersion::Current).await;
        let fields = rows_of.schema.as_struct().fields();
        assert_eq!(
            rows_of.rows.is_empty(),
            kind == MetadataTableKind::Properties
        );
        for row in &rows_of.rows {
            assert_eq!(row.len(), fields.len(), "{kind:?}");
            for (value, field) in row.iter().zip(fields) {
                match value {
                    None => assert!(!field.required, "{kind:?}: {}", field.name),
                    Some(value) => {
                        assert!(fits(value, &field.field_type), "{kind:?}: {}", field.name);
                    }
                }
            }
        }
        let of_empty = rows(&empty, kind, TableVersion::Current).await;
        let expected = usize::from(kind == MetadataTableKind::MetadataLogEntries);
        assert_eq!(of_empty.rows.len(), expected, "{kind:?}");
    }
}

#[tokio::test]
async fn snapshots_history_and_refs_tell_what_was_current() {
    let (table, [first, second]) = two_snapshots().await;
    let snapshots = rows(&table, MetadataTableKind::Snapshots, TableVersion::Current).await;
    assert_eq!(
        value(&snapshots, 0, "snapshot_id"),
        Some(&Literal::long(first))
    );
    assert_eq!(
        value(&snapshots, 1, "parent_id"),
        Some(&Literal::long(first))
    );
    assert_eq!(
        value(&snapshots, 1, "operation"),
        Some(&Literal::string("append"))
    );
    let history = rows(&table, MetadataTableKind::History, TableVersion::Current).await;
    assert_eq!(
        value(&history, 1, "snapshot_id"),
        Some(&Literal::long(second))
    );
    assert_eq!(
        value(&history, 0, "is_current_ancestor"),
        Some(&Literal::bool(true))
    );
    let refs = rows(&table, MetadataTableKind::Refs, TableVersion::Current).await;
    assert_eq!(value(&refs, 0, "name"), Some(&Literal::string("main")));
    assert_eq!(value(&refs, 0, "snapshot_id"), Some(&Literal::long(second)));
}

#[tokio::test]
async fn files_and_partitions_follow_the_version() {
    let (table, [first, _]) = two_snapshots().await;
    let files = rows(&table, MetadataTableKind::Files, TableVersion::Current).await;
    assert_eq!(files.rows.len(), 2);
    let path = Literal::string(table.path("a.parquet"));
    assert_eq!(value(&files, 0, "file_path"), Some(&path));
    let version = TableVersion::SnapshotId(first);
    let earlier = rows(&table, MetadataTableKind::Files, version.clone()).await;
    assert_eq!(earlier.rows.len(), 1);

    let partitions = rows(&table, MetadataTableKind::Partitions, TableVersion::Current).await;
    assert_eq!(partitions.rows.len(), 1);
    assert_eq!(value(&partitions, 0, "file_count"), Some(&Literal::long(2)));
    assert_eq!(
        value(&partitions, 0, "record_count"),
        Some(&Literal::long(20))
    );
    let Some(Literal::Struct(data)) = value(&partitions, 0, "data") else {
        panic!("no data");
    };
    let Some(Literal::Struct(id)) = &data.fields()[0] else {
        panic!("no column");
    };
    let bounds = [PrimitiveLiteral::Int(-3), PrimitiveLiteral::Int(5)];
    assert_eq!(
        id.fields()[..2],
        bounds.map(|bound| Some(Literal::Primitive(bound)))
    );

    // Tables that describe all versions take none.
    let cache = ManifestCache::new(0);
    let loaded = table.table();
    let kind = MetadataTableKind::Snapshots;
    let error = metadata_table_rows(&table.storage, &cache, &loaded, kind, &version).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "time travel on test.t$snapshots, which describes all versions of the table, is not supported"
    );
}
