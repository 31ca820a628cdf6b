//! Schemas and tables of the SQL catalog, and its history.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;

use common::*;
use iceberg::{TableRequirement, TableUpdate};
use ingot_catalog::commit::{append_files, stage_create};
use ingot_catalog::{
    Catalog, CatalogError, Database, SqlCatalog, SqlCatalogOptions, TableCommit, TableVersion,
};

#[tokio::test]
async fn schemas_come_and_go() {
    let (_folder, catalog) = local_catalog().await;
    let comment = properties(&[("comment", "it's gold")]);
    catalog.create_schema("gold", comment).await.unwrap();
    assert_eq!(catalog.list_schemas().await.unwrap(), ["gold", "s"]);
    let loaded = catalog.load_schema("gold").await.unwrap();
    assert_eq!(loaded["comment"], "it's gold");
    assert_eq!(loaded["location"], format!("{}/gold", catalog.warehouse()));

    let error = catalog
        .create_schema("gold", HashMap::new())
        .await
        .unwrap_err();
    assert!(
        matches!(error, CatalogError::SchemaExists { .. }),
        "{error}"
    );
    let error = catalog.load_schema("golt").await.unwrap_err().to_string();
    assert_eq!(error, "schema golt does not exist; did you mean gold?");
    let error = catalog.list_tables("golt").await.unwrap_err().to_string();
    assert_eq!(error, "schema golt does not exist; did you mean gold?");

    create_table(&*catalog, &ident("gold", "t"), &[]).await;
    let error = catalog.drop_schema("gold").await.unwrap_err();
    assert!(
        matches!(error, CatalogError::SchemaNotEmpty { tables: 1, .. }),
        "{error}"
    );
    catalog.drop_table(&ident("gold", "t")).await.unwrap();
    catalog.drop_schema("gold").await.unwrap();
    assert_eq!(catalog.list_schemas().await.unwrap(), ["s"]);
    let error = catalog.drop_schema("gold").await.unwrap_err();
    assert!(
        matches!(error, CatalogError::SchemaNotFound { .. }),
        "{error}"
    );
    // The name is free again.
    catalog.create_schema("gold", HashMap::new()).await.unwrap();
    assert_eq!(
        catalog.list_tables("gold").await.unwrap(),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn tables_are_listed_renamed_dropped_and_suggested() {
    let (folder, catalog) = local_catalog().await;
    catalog
        .create_schema("other", HashMap::new())
        .await
        .unwrap();
    let orders = create_table(&*catalog, &ident("s", "orders"), &[]).await;
    create_table(&*catalog, &ident("s", "customers"), &[]).await;
    assert_eq!(
        catalog.list_tables("s").await.unwrap(),
        ["customers", "orders"]
    );

    let error = catalog
        .load_table(&ident("s", "order"))
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "table s.order does not exist; did you mean s.orders?"
    );
    let error = catalog
        .load_table(&ident("othr", "t"))
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(error, "schema othr does not exist; did you mean other?");
    let error = catalog
        .load_table(&ident("s", "x"))
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(error, "table s.x does not exist");

    let (from, to) = (ident("s", "orders"), ident("other", "sales"));
    let error = catalog
        .rename_table(&from, &ident("s", "customers"))
        .await
        .unwrap_err();
    assert!(matches!(error, CatalogError::TableExists { .. }), "{error}");
    let error = catalog
        .rename_table(&from, &ident("nope", "t"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, CatalogError::SchemaNotFound { .. }),
        "{error}"
    );
    catalog.rename_table(&from, &to).await.unwrap();
    let renamed = catalog.load_table(&to).await.unwrap();
    assert_eq!(renamed.metadata_location, orders.metadata_location);
    let error = catalog.load_table(&from).await.unwrap_err();
    assert!(
        matches!(error, CatalogError::TableNotFound { .. }),
        "{error}"
    );
    // A statement that began before the rename fails and cleans up.
    let files = vec![data_file(&orders, "a", 1)];
    append_files(&*catalog, &orders, files, no_summary())
        .await
        .unwrap_err();

    let dropped = catalog.drop_table(&to).await.unwrap();
    assert_eq!(dropped.metadata_location, orders.metadata_location);
    let error = catalog.drop_table(&to).await.unwrap_err();
    assert!(
        matches!(error, CatalogError::TableNotFound { .. }),
        "{error}"
    );
    // Files stay; a table of the same name has another location.
    let again = create_table(&*catalog, &to, &[]).await;
    assert_ne!(again.metadata.location(), orders.metadata.location());

    // Everything is still there for the next process.
    let reopened = open_local(folder.path()).await;
    assert_eq!(reopened.list_tables("s").await.unwrap(), ["customers"]);
    let loaded = reopened.load_table(&to).await.unwrap();
    assert_eq!(loaded.metadata, again.metadata);
}

#[tokio::test]
async fn nothing_escapes_the_warehouse() {
    let (folder, catalog) = local_catalog().await;
    for name in ["", "..", "../x", "a/b", "a\\b", "a\u{0}b", &"x".repeat(200)] {
        let error = catalog
            .create_schema(name, HashMap::new())
            .await
            .unwrap_err();
        assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
        let error = catalog
            .new_table_location(&ident("s", name))
            .await
            .unwrap_err();
        assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
    }
    let outside = folder.path().join("outside").display().to_string();
    for location in [
        outside.clone(),
        format!("{}/../outside", catalog.warehouse()),
        format!("{}2/t", catalog.warehouse()),
        "s3://other/t".to_string(),
        "relative".to_string(),
    ] {
        let with_location = properties(&[("location", &location)]);
        let error = catalog
            .create_schema("x", with_location.clone())
            .await
            .unwrap_err();
        assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
        // Before anything is written: a query would otherwise write its files there.
        let name = ident("s", "t");
        let staging = stage_create(
            &*catalog,
            &name,
            schema(),
            by_day(),
            iceberg::spec::SortOrder::unsorted_order(),
            with_location,
        );
        let error = staging.await.unwrap_err();
        assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
        // And where it counts: a table cannot move there either.
        let table = create_table(&*catalog, &ident("s", "moving"), &[]).await;
        let move_there = TableCommit {
            ident: table.ident.clone(),
            requirements: Vec::new(),
            based_on: None,
            created_from: None,
            updates: vec![TableUpdate::SetLocation { location }],
        };
        let error = catalog.commit(vec![move_there]).await.unwrap_err();
        assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
        catalog.drop_table(&table.ident).await.unwrap();
    }
    assert!(!folder.path().join("outside").exists());
    assert_eq!(
        catalog.list_tables("s").await.unwrap(),
        Vec::<String>::new()
    );

    // Inside, or where the configuration allows it.
    let inside = format!("{}/chosen/here", catalog.warehouse());
    let table = create_table(&*catalog, &ident("s", "t"), &[("location", &inside)]).await;
    assert_eq!(table.metadata.location(), inside);
    assert!(!table.metadata.properties().contains_key("location"));
    let options = SqlCatalogOptions {
        allow_external_locations: true,
        ..SqlCatalogOptions::default()
    };
    let open = SqlCatalog::open_with(
        "iceberg",
        catalog.database().clone(),
        local_storage(),
        catalog.warehouse(),
        options,
    );
    let allowing = open.await.unwrap();
    create_table(&*allowing, &ident("s", "u"), &[("location", &outside)]).await;
    assert!(folder.path().join("outside/metadata").is_dir());
}

#[tokio::test]
async fn no_table_gets_the_folder_of_all() {
    let (folder, catalog) = local_catalog().await;
    catalog
        .create_schema("other", HashMap::new())
        .await
        .unwrap();
    let options = SqlCatalogOptions {
        allow_external_locations: true,
        ..SqlCatalogOptions::default()
    };
    let open = SqlCatalog::open_with(
        "iceberg",
        catalog.database().clone(),
        local_storage(),
        catalog.warehouse(),
        options,
    );
    let allowing = open.await.unwrap();
    let warehouse = catalog.warehouse();
    for location in [
        warehouse.to_string(),
        format!("{warehouse}/"),
        warehouse.strip_prefix("file://").unwrap().to_string(),
        format!("{warehouse}/s"),
        format!("{warehouse}/other/"),
        folder.path().display().to_string(),
    ] {
        for catalog in [&catalog, &allowing] {
            let staged = ident("s", "t");
            let staging = stage_create(
                &**catalog,
                &staged,
                schema(),
                by_day(),
                iceberg::spec::SortOrder::unsorted_order(),
                properties(&[("location", &location)]),
            );
            let error = staging.await.unwrap_err();
            assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");

            let table = create_table(&**catalog, &ident("s", "moving"), &[]).await;
            let move_there = TableCommit {
                ident: table.ident.clone(),
                requirements: Vec::new(),
                based_on: None,
                created_from: None,
                updates: vec![TableUpdate::SetLocation {
                    location: location.clone(),
                }],
            };
            let error = catalog.commit(vec![move_there]).await.unwrap_err();
            assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
            catalog.drop_table(&table.ident).await.unwrap();

            let metadata_location = table.metadata_location.unwrap();
            let storage = catalog.storage();
            let content = storage.read(&metadata_location).await.unwrap();
            let content = String::from_utf8(content.to_vec()).unwrap();
            let moved = content.replace(table.metadata.location(), &location);
            let planted = format!("{}/metadata/v9.metadata.json", table.metadata.location());
            storage.write(&planted, moved.into()).await.unwrap();
            let name = ident("s", "registered");
            let error = catalog.register_table(&name, &planted).await.unwrap_err();
            assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
        }
    }
}

#[tokio::test]
async fn names_become_safe_locations() {
    let (_folder, catalog) = local_catalog().await;
    catalog
        .create_schema("mein schema", HashMap::new())
        .await
        .unwrap();
    for name in ["ünï cödé", "100%", "a.b", "x#y?z"] {
        let table = create_table(&*catalog, &ident("mein schema", name), &[]).await;
        let location = table.metadata.location();
        let tail = location.strip_prefix(catalog.warehouse()).unwrap();
        let is_safe = |c: char| c.is_ascii_alphanumeric() || "/_-".contains(c);
        assert!(tail.chars().all(is_safe), "{location}");
        let loaded = catalog
            .load_table(&ident("mein schema", name))
            .await
            .unwrap();
        assert_eq!(loaded.metadata, table.metadata);
    }
    assert_eq!(catalog.list_tables("mein schema").await.unwrap().len(), 4);
}

fn set_property(table: &ingot_catalog::Table, value: &str) -> TableCommit {
    TableCommit {
        ident: table.ident.clone(),
        requirements: vec![TableRequirement::RefSnapshotIdMatch {
            r#ref: "main".to_string(),
            snapshot_id: table.metadata.current_snapshot_id(),
        }],
        based_on: None,
        created_from: None,
        updates: vec![TableUpdate::SetProperties {
            updates: properties(&[("p", value)]),
        }],
    }
}

#[tokio::test]
async fn several_tables_change_together_or_not_at_all() {
    let (_folder, catalog) = local_catalog().await;
    let first = create_table(&*catalog, &ident("s", "first"), &[]).await;
    let second = create_table(&*catalog, &ident("s", "second"), &[]).await;
    let commits = vec![set_property(&first, "1"), set_property(&second, "1")];
    let tables = catalog.commit(commits).await.unwrap();
    assert_eq!(tables.len(), 2);
    assert!(
        tables
            .iter()
            .all(|table| table.metadata.properties()["p"] == "1")
    );

    // `second` moves on: the next commit of both is refused, for both.
    let files = vec![data_file(&second, "a", 1)];
    let moved = append_files(&*catalog, &second, files, no_summary())
        .await
        .unwrap();
    let commits = vec![set_property(&first, "2"), set_property(&second, "2")];
    let error = catalog.commit(commits).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert!(error.to_string().contains("s.second"), "{error}");
    let loaded = catalog.load_table(&first.ident).await.unwrap();
    assert_eq!(loaded.metadata.properties()["p"], "1");
    let left = orphans(catalog.storage(), catalog.warehouse(), &[loaded, moved]).await;
    assert_eq!(left, Vec::<String>::new());

    let commits = vec![set_property(&first, "3"), set_property(&first, "3")];
    let error = catalog.commit(commits).await.unwrap_err();
    assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
    let error = catalog
        .commit(vec![TableCommit {
            ident: ident("s", "firsd"),
            ..set_property(&first, "3")
        }])
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("did you mean s.first?"),
        "{error}"
    );
}

#[tokio::test]
async fn a_commit_that_changes_nothing_writes_nothing() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let commit = TableCommit {
        ident: table.ident.clone(),
        requirements: Vec::new(),
        based_on: None,
        created_from: None,
        updates: Vec::new(),
    };
    let tables = catalog.commit(vec![commit]).await.unwrap();
    assert_eq!(tables[0].metadata_location, table.metadata_location);
}

#[tokio::test]
async fn old_metadata_files_are_logged_and_deleted_as_the_table_says() {
    let (_folder, catalog) = local_catalog().await;
    let limits = [
        ("write.metadata.previous-versions-max", "3"),
        ("write.metadata.delete-after-commit.enabled", "true"),
    ];
    let mut table = create_table(&*catalog, &ident("s", "t"), &limits).await;
    for number in 0..8 {
        let file = data_file(&table, &format!("f{number}"), 1);
        table = append_files(&*catalog, &table, vec![file], no_summary())
            .await
            .unwrap();
    }
    assert!(
        table
            .metadata_location
            .as_deref()
            .unwrap()
            .contains("/metadata/00008-")
    );
    assert_eq!(table.metadata.metadata_log().len(), 3);
    let folder = format!("{}/metadata", table.metadata.location());
    let files = catalog.storage().list(&folder).await.unwrap();
    let metadata_files = files.iter().filter(|file| file.location.ends_with(".json"));
    assert_eq!(metadata_files.count(), 4);
    assert_eq!(
        orphans(catalog.storage(), &folder, &[table]).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn every_change_is_a_catalog_version() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let files = vec![data_file(&table, "a", 1)];
    let changed = append_files(&*catalog, &table, files, no_summary())
        .await
        .unwrap();
    catalog
        .rename_table(&table.ident, &ident("s", "u"))
        .await
        .unwrap();
    catalog.drop_table(&ident("s", "u")).await.unwrap();

    let pool = catalog.database().pool();
    let versions: Vec<(i64, Option<i64>, String, String)> = sqlx::query_as(
        "SELECT version_id, parent_version, author, message FROM catalog_versions
         ORDER BY version_id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let messages: Vec<_> = versions.iter().map(|version| version.3.as_str()).collect();
    assert_eq!(
        messages,
        [
            "create schema s",
            "create table s.t",
            "change table s.t",
            "rename table s.t to s.u",
            "drop table s.u",
        ]
    );
    for pair in versions.windows(2) {
        assert_eq!(pair[1].1, Some(pair[0].0));
        assert_eq!(pair[1].2, "ingot");
    }
    let append_version = versions[2].0;
    let change: (Option<String>, Option<String>) = sqlx::query_as(
        "SELECT old_content, new_content FROM catalog_changes WHERE version_id = $1",
    )
    .bind(append_version)
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(
        change,
        (table.metadata_location, changed.metadata_location.clone())
    );
    // The catalog as it was at that version.
    let at_version: Vec<(String, Option<String>)> = sqlx::query_as(
        "SELECT object_name, content FROM catalog_objects
         WHERE kind = 'table' AND from_version <= $1 AND (to_version IS NULL OR to_version > $1)",
    )
    .bind(append_version)
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(at_version, [("t".to_string(), changed.metadata_location)]);
}

#[tokio::test]
async fn catalogs_of_one_database_do_not_see_each_other() {
    let (folder, first) = local_catalog().await;
    let warehouse = folder.path().join("second").display().to_string();
    let second = SqlCatalog::open(
        "second",
        first.database().clone(),
        local_storage(),
        &warehouse,
    )
    .await
    .unwrap();
    assert_eq!(second.name(), "second");
    assert_eq!(second.list_schemas().await.unwrap(), Vec::<String>::new());
    second.create_schema("s", HashMap::new()).await.unwrap();
    create_table(&*second, &ident("s", "t"), &[]).await;
    assert_eq!(first.list_tables("s").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn an_unusable_database_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not-a-database.db");
    std::fs::write(&path, vec![b'x'; 5_000]).unwrap();
    let error = match Database::connect_sqlite(&path).await {
        Err(error) => error.to_string(),
        Ok(_) => panic!("opened"),
    };
    assert!(error.contains("not-a-database.db"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[tokio::test]
async fn branches_and_tags_of_a_table_are_versions() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let files = vec![data_file(&table, "a", 1)];
    let first = append_files(&*catalog, &table, files, no_summary())
        .await
        .unwrap();
    let first_id = first.metadata.current_snapshot_id().unwrap();
    use iceberg::spec::{NestedField, PrimitiveType, Schema, SnapshotReference, SnapshotRetention};
    let mut fields = schema().as_struct().fields().to_vec();
    let extra = iceberg::spec::Type::Primitive(PrimitiveType::Int);
    fields.push(NestedField::optional(4, "extra", extra).into());
    let wider = Schema::builder().with_fields(fields).build().unwrap();
    let set_ref = |name: &str, retention| TableUpdate::SetSnapshotRef {
        ref_name: name.to_string(),
        reference: SnapshotReference::new(first_id, retention),
    };
    let commit = TableCommit {
        ident: table.ident.clone(),
        requirements: Vec::new(),
        based_on: None,
        created_from: None,
        updates: vec![
            TableUpdate::AddSchema { schema: wider },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
            set_ref(
                "tag1",
                SnapshotRetention::Tag {
                    max_ref_age_ms: None,
                },
            ),
            set_ref("branch1", SnapshotRetention::branch(None, None, None)),
        ],
    };
    catalog.commit(vec![commit]).await.unwrap();
    let files = vec![data_file(&first, "b", 1)];
    // An append that was planned before the column came still counts.
    let last = append_files(&*catalog, &first, files, no_summary())
        .await
        .unwrap();

    let references: Vec<_> = last.references().unwrap().into_keys().collect();
    assert_eq!(references, ["branch1", "main", "tag1"]);
    let reference = |name: &str| TableVersion::Reference(name.to_string());
    let columns =
        |version: &TableVersion| last.schema_at(version).unwrap().as_struct().fields().len();
    let snapshot =
        |version: &TableVersion| last.snapshot_at(version).unwrap().unwrap().snapshot_id();
    assert_eq!(snapshot(&reference("tag1")), first_id);
    assert_eq!(columns(&reference("tag1")), 3);
    assert_eq!(columns(&TableVersion::SnapshotId(first_id)), 3);
    assert_eq!(snapshot(&reference("branch1")), first_id);
    assert_eq!(columns(&reference("branch1")), 4);
    assert_eq!(columns(&TableVersion::Current), 4);
    assert_eq!(columns(&reference("main")), 4);
}

#[tokio::test]
async fn a_table_of_another_engine_is_registered_and_written() {
    let (folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let location = catalog
        .drop_table(&table.ident)
        .await
        .unwrap()
        .metadata_location;
    // As file-system tables are named.
    let versioned = format!("{}/metadata/v7.metadata.json", table.metadata.location());
    let content = catalog.storage().read(&location.unwrap()).await.unwrap();
    catalog.storage().write(&versioned, content).await.unwrap();

    let name = ident("s", "adopted");
    let registered = catalog.register_table(&name, &versioned).await.unwrap();
    let error = catalog.register_table(&name, &versioned).await.unwrap_err();
    assert!(matches!(error, CatalogError::TableExists { .. }), "{error}");
    let files = vec![data_file(&registered, "a", 1)];
    let written = append_files(&*catalog, &registered, files, no_summary())
        .await
        .unwrap();
    let newest = written.metadata_location.as_deref().unwrap();
    assert!(newest.contains("/metadata/00008-"), "{newest}");
    assert_eq!(written.metadata.metadata_log()[0].metadata_file, versioned);

    let missing = format!("{}/nothing.metadata.json", catalog.warehouse());
    let error = catalog
        .register_table(&ident("s", "x"), &missing)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!("iceberg metadata {missing}: cannot read {missing}: no such file")
    );
    let broken = folder.path().join("warehouse/broken.metadata.json");
    std::fs::write(&broken, "{\n}").unwrap();
    let broken = broken.display().to_string();
    let error = catalog
        .register_table(&ident("s", "x"), &broken)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("broken.metadata.json"), "{error}");
}
