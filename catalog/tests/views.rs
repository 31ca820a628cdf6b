//! Views of the versioned catalog: Iceberg view metadata beside the tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use std::collections::{BTreeMap, HashMap};

use common::*;
use iceberg::TableIdent;
use iceberg::spec::SortOrder;
use ingot_catalog::commit::{
    Removal, RowDelta, StagedTable, append_files, commit_materialized_view, commit_row_delta,
    stage_create, stage_create_or_replace,
};
use ingot_catalog::materialized_view::storage_table_of;
use ingot_catalog::{
    Catalog, CatalogError, CatalogReference, Materialization, SqlCatalog, VersionedCatalog,
    ViewCommit, ViewDefinition,
};

fn definition(sql: &str) -> ViewDefinition {
    ViewDefinition {
        sql: sql.to_string(),
        default_catalog: Some("iceberg".to_string()),
        default_schema: "s".to_string(),
        schema: schema(),
        query_columns: vec!["id".to_string(), "d".to_string(), "name".to_string()],
        comment: Some("what it shows".to_string()),
        materialization: None,
    }
}

#[tokio::test]
async fn views_are_created_replaced_and_dropped() {
    let (_folder, catalog) = local_catalog().await;
    let name = ident("s", "v");
    let view = catalog
        .put_view(&name, definition("SELECT 1"), false)
        .await
        .unwrap();
    assert_eq!(view.metadata.current_version_id(), 1);
    let loaded = catalog.load_view(&name).await.unwrap();
    assert_eq!(loaded.metadata_location, view.metadata_location);
    let found = loaded.definition().unwrap();
    assert_eq!(found.sql, "SELECT 1");
    assert_eq!(found.query_columns, ["id", "d", "name"]);
    assert_eq!(found.default_schema, "s");
    assert_eq!(found.comment.as_deref(), Some("what it shows"));
    assert_eq!(found.schema.as_struct(), schema().as_struct());
    assert_eq!(catalog.list_views("s").await.unwrap(), ["v"]);
    assert_eq!(
        catalog.list_tables("s").await.unwrap(),
        Vec::<String>::new()
    );

    let error = catalog
        .put_view(&name, definition("SELECT 2"), false)
        .await
        .unwrap_err();
    assert!(matches!(error, CatalogError::ViewExists { .. }), "{error}");
    let without_comment = ViewDefinition {
        comment: None,
        ..definition("SELECT 2")
    };
    let replaced = catalog
        .put_view(&name, without_comment, true)
        .await
        .unwrap();
    // The same view, with its history.
    assert_eq!(replaced.metadata.uuid(), view.metadata.uuid());
    assert_eq!(replaced.metadata.location(), view.metadata.location());
    assert_eq!(replaced.metadata.versions().len(), 2);
    let found = catalog
        .load_view(&name)
        .await
        .unwrap()
        .definition()
        .unwrap();
    assert_eq!(found.sql, "SELECT 2");
    assert_eq!(found.comment, None);

    let error = catalog.drop_schema("s").await.unwrap_err();
    assert!(
        matches!(error, CatalogError::SchemaNotEmpty { .. }),
        "{error}"
    );
    catalog.drop_view(&name).await.unwrap();
    let error = catalog.load_view(&name).await.unwrap_err();
    assert!(
        matches!(error, CatalogError::ViewNotFound { .. }),
        "{error}"
    );
    catalog.drop_schema("s").await.unwrap();
}

#[tokio::test]
async fn tables_and_views_share_their_names() {
    let (_folder, catalog) = local_catalog().await;
    let (table, view) = (ident("s", "t"), ident("s", "v"));
    create_table(&*catalog, &table, &[]).await;
    catalog
        .put_view(&view, definition("SELECT 1"), false)
        .await
        .unwrap();
    for or_replace in [false, true] {
        let error = catalog
            .put_view(&table, definition("SELECT 1"), or_replace)
            .await
            .unwrap_err();
        assert!(matches!(error, CatalogError::TableExists { .. }), "{error}");
    }
    for error in [
        catalog.load_table(&view).await.unwrap_err(),
        catalog.drop_table(&view).await.unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "s.v is a view, not a table");
    }
    let error = catalog.rename_table(&table, &view).await.unwrap_err();
    assert!(matches!(error, CatalogError::ViewExists { .. }), "{error}");
    let error = catalog.load_view(&table).await.unwrap_err();
    assert_eq!(error.to_string(), "s.t is a table, not a view");
    let error = catalog.load_view(&ident("s", "vv")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "view s.vv does not exist; did you mean s.v?"
    );
    let error = catalog.load_view(&ident("nosuch", "v")).await.unwrap_err();
    assert!(
        matches!(error, CatalogError::SchemaNotFound { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn one_of_many_creators_wins_and_the_others_leave_nothing() {
    let (folder, catalog) = local_catalog().await;
    let name = ident("s", "v");
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let (catalog, name) = (Arc::clone(&catalog), name.clone());
            let sql = format!("SELECT {number}");
            tokio::spawn(async move { catalog.put_view(&name, definition(&sql), false).await })
        })
        .collect();
    let mut created = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(view) => created.push(view),
            Err(CatalogError::ViewExists { .. } | CatalogError::CommitConflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(created.len(), 1);
    let warehouse = folder.path().join("warehouse").display().to_string();
    let files = catalog.storage().list(&warehouse).await.unwrap();
    let files: Vec<String> = files.into_iter().map(|file| file.location).collect();
    let view = catalog.load_view(&name).await.unwrap();
    assert_eq!(
        view.definition().unwrap().sql,
        created[0].definition().unwrap().sql
    );
    assert_eq!(files.len(), 1, "{files:?}");
}

fn materialized(view: &TableIdent, sql: &str) -> ViewDefinition {
    ViewDefinition {
        materialization: Some(Materialization {
            storage_table: storage_table_of(view),
            grace_period_ms: Some(60_000),
        }),
        ..definition(sql)
    }
}

async fn stage_storage(catalog: &SqlCatalog, view: &TableIdent, or_replace: bool) -> StagedTable {
    let table = storage_table_of(view);
    let (spec, order) = (by_day(), SortOrder::unsorted_order());
    let staged = match or_replace {
        true => {
            stage_create_or_replace(catalog, &table, schema(), spec, order, HashMap::new()).await
        }
        false => stage_create(catalog, &table, schema(), spec, order, HashMap::new()).await,
    };
    staged.unwrap()
}

#[tokio::test]
async fn a_materialized_view_and_its_storage_table_come_change_and_go_together() {
    let (folder, catalog) = local_catalog().await;
    let name = ident("s", "v");
    let staged = stage_storage(&catalog, &name, false).await;
    let made = materialized(&name, "SELECT 1");
    let table = commit_materialized_view(&*catalog, staged, &name, made.clone(), false)
        .await
        .unwrap();
    assert_eq!(table.ident, storage_table_of(&name));
    assert_eq!(table.metadata.current_snapshot_id(), None);

    let view = catalog.load_view(&name).await.unwrap();
    assert_eq!(
        view.definition().unwrap().materialization,
        made.materialization
    );
    // What readers of Iceberg's proposal look for.
    let file = catalog
        .storage()
        .read(&view.metadata_location)
        .await
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(
        json["versions"][0]["storage-table"],
        serde_json::json!({"namespace": ["s"], "name": "v$materialized_view_storage"})
    );
    // The table can be loaded by whoever knows its name, and is not listed.
    catalog.load_table(&storage_table_of(&name)).await.unwrap();
    assert_eq!(
        catalog.list_tables("s").await.unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(catalog.list_views("s").await.unwrap(), ["v"]);
    let error = catalog.load_table(&name).await.unwrap_err();
    assert_eq!(error.to_string(), "s.v is a materialized view, not a table");
    let error = catalog.drop_schema("s").await.unwrap_err();
    assert!(
        matches!(error, CatalogError::SchemaNotEmpty { tables: 1, .. }),
        "{error}"
    );

    // Replacing it empties the table, and keeps its history.
    let files = vec![data_file(&table, "a", 1)];
    append_files(&*catalog, &table, files, no_summary())
        .await
        .unwrap();
    let staged = stage_storage(&catalog, &name, true).await;
    let replacement = materialized(&name, "SELECT 2");
    let table = commit_materialized_view(&*catalog, staged, &name, replacement, true)
        .await
        .unwrap();
    assert_eq!(table.metadata.snapshots().count(), 2);
    let live = live_files(
        catalog.storage(),
        &table,
        &ingot_catalog::TableVersion::Current,
    )
    .await;
    assert_eq!(live, []);
    let view = catalog.load_view(&name).await.unwrap();
    assert_eq!(view.metadata.current_version_id(), 2);

    // A view stays of its kind.
    let error = catalog.put_view(&name, definition("SELECT 3"), true).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "s.v is a materialized view, not a view: drop it first"
    );
    let plain = ident("s", "plain");
    catalog
        .put_view(&plain, definition("SELECT 1"), false)
        .await
        .unwrap();
    let files_before = file_names(&folder, &catalog).await;
    let staged = stage_storage(&catalog, &plain, true).await;
    let made = materialized(&plain, "SELECT 1");
    let error = commit_materialized_view(&*catalog, staged, &plain, made, true).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "s.plain is a view, not a materialized view: drop it first"
    );
    assert_eq!(file_names(&folder, &catalog).await, files_before);

    refuses_changes_by_others(&catalog, &name, &plain).await;
    assert_eq!(file_names(&folder, &catalog).await, files_before);

    let dropped = catalog.drop_view(&name).await.unwrap();
    assert_eq!(
        dropped.storage_table.unwrap().metadata.uuid(),
        table.metadata.uuid()
    );
    let error = catalog
        .load_table(&storage_table_of(&name))
        .await
        .unwrap_err();
    assert!(
        matches!(error, CatalogError::TableNotFound { .. }),
        "{error}"
    );
    let dropped = catalog.drop_view(&plain).await.unwrap();
    assert!(dropped.storage_table.is_none());
    catalog.drop_schema("s").await.unwrap();
}

async fn file_names(folder: &tempfile::TempDir, catalog: &SqlCatalog) -> Vec<String> {
    let warehouse = folder.path().join("warehouse").display().to_string();
    let files = catalog.storage().list(&warehouse).await.unwrap();
    let mut names: Vec<String> = files.into_iter().map(|file| file.location).collect();
    names.sort();
    names
}

#[tokio::test]
async fn rows_made_from_all_others_refuse_a_snapshot_in_between() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let delta = |name: &str| RowDelta {
        data_files: vec![data_file(&table, name, 1)],
        removal: Removal::All,
        replaces_snapshot: true,
        summary: BTreeMap::from([("k".to_string(), "v".to_string())]),
        ..RowDelta::default()
    };
    let newer = commit_row_delta(&*catalog, &table, delta("a"))
        .await
        .unwrap();
    let error = commit_row_delta(&*catalog, &table, delta("b"))
        .await
        .unwrap_err();
    assert!(error.is_conflict(), "{error}");
    // A change of nothing is kept when it has something to tell.
    let told = RowDelta {
        data_files: Vec::new(),
        removal: Removal::Nothing,
        ..delta("c")
    };
    let told = commit_row_delta(&*catalog, &newer, told).await.unwrap();
    assert_ne!(
        told.metadata.current_snapshot_id(),
        newer.metadata.current_snapshot_id()
    );
    let live = live_files(
        catalog.storage(),
        &told,
        &ingot_catalog::TableVersion::Current,
    )
    .await;
    assert_eq!(names(&live), ["a"]);
}

/// Other programs can neither change a materialized view nor make one, whose drop would take the
/// table with it that they name.
async fn refuses_changes_by_others(
    catalog: &SqlCatalog,
    materialized: &TableIdent,
    plain: &TableIdent,
) {
    let view = catalog.load_view(materialized).await.unwrap();
    let metadata = view.metadata.as_ref().clone();
    let changed = ViewCommit {
        ident: materialized.clone(),
        base: Some(view),
        metadata: metadata.clone(),
    };
    let made = ViewCommit {
        ident: ident("s", "other"),
        base: None,
        metadata,
    };
    for commit in [changed, made] {
        let error = catalog.commit_view(commit).await.unwrap_err();
        assert!(matches!(error, CatalogError::Unsupported(_)), "{error}");
    }
    let to = ident("s", "elsewhere");
    catalog.rename_view(plain, &to).await.unwrap();
    catalog.rename_view(&to, plain).await.unwrap();
}

#[tokio::test]
async fn a_dropped_view_names_its_files_unless_somebody_reads_them() {
    let (_folder, catalog) = local_catalog().await;
    let (read, unread) = (ident("s", "read"), ident("s", "unread"));
    catalog
        .put_view(&read, definition("SELECT 1"), false)
        .await
        .unwrap();
    let versioned = catalog.versioned().unwrap();
    let tag = ingot_catalog::CatalogReferenceKind::Tag;
    versioned
        .create_reference(tag, "before", None)
        .await
        .unwrap();
    let mut files = Vec::new();
    for sql in ["SELECT 1", "SELECT 2"] {
        let put = catalog.put_view(&unread, definition(sql), true).await;
        files.push(put.unwrap().metadata_location);
    }
    files.sort();
    let mut dropped = catalog.drop_view(&unread).await.unwrap();
    dropped.unread_files.sort();
    assert_eq!(dropped.unread_files, files);
    let dropped = catalog.drop_view(&read).await.unwrap();
    assert_eq!(dropped.unread_files, Vec::<String>::new());
}

/// A comment never brings back the query that the view had when it began.
#[tokio::test]
async fn comments_undo_no_replacement() {
    let (_folder, catalog) = local_catalog().await;
    let name = ident("s", "v");
    let created = catalog.put_view(&name, definition("SELECT 0"), false);
    created.await.unwrap();
    for number in 1..20 {
        let sql = format!("SELECT {number}");
        let comment = Some(format!("of {number}"));
        let (commented, replaced) = tokio::join!(
            catalog.comment_view(&name, comment.clone()),
            catalog.put_view(&name, definition(&sql), true)
        );
        let (is_commented, is_replaced) = (commented.is_ok(), replaced.is_ok());
        for error in [commented.err(), replaced.err()].into_iter().flatten() {
            assert!(error.is_conflict(), "{error}");
        }
        assert!(is_commented || is_replaced);
        let found = catalog.load_view(&name).await.unwrap();
        let found = found.definition().unwrap();
        assert_eq!(is_replaced, found.sql == sql);
        if !is_replaced {
            assert_eq!(found.comment, comment);
        }
    }
    let view = catalog.comment_view(&name, None).await.unwrap();
    assert_eq!(view.definition().unwrap().comment, None);
    let missing = catalog.comment_view(&ident("s", "nosuch"), None).await;
    let error = missing.unwrap_err();
    assert!(
        matches!(error, CatalogError::ViewNotFound { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn rows_that_a_kept_version_reads_are_not_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_in(folder.path()).await;
    let catalog = open_keeping(folder.path(), &database, 3600).await;
    catalog.create_schema("s", HashMap::new()).await.unwrap();
    let name = ident("s", "v");
    let staged = stage_storage(&catalog, &name, false).await;
    let made = materialized(&name, "SELECT 1");
    let table = commit_materialized_view(&*catalog, staged, &name, made, false)
        .await
        .unwrap();
    let before = catalog.references().await.unwrap()[0].version.clone();
    let dropped = catalog.drop_view(&name).await.unwrap();
    assert!(dropped.storage_table.is_none());
    assert_eq!(dropped.unread_files, Vec::<String>::new());
    let kept = catalog
        .at(&CatalogReference::Version(before))
        .await
        .unwrap();
    kept.load_view(&name).await.unwrap();
    let stored = kept.load_table(&table.ident).await.unwrap();
    assert_eq!(stored.metadata_location, table.metadata_location);
}

#[tokio::test]
async fn a_materialized_view_is_renamed_with_its_storage_table() {
    let (folder, catalog) = local_catalog().await;
    let (old, new) = (ident("s", "v"), ident("t", "w"));
    catalog.create_schema("t", HashMap::new()).await.unwrap();
    let staged = stage_storage(&catalog, &old, false).await;
    let made = materialized(&old, "SELECT 1");
    let table = commit_materialized_view(&*catalog, staged, &old, made, false)
        .await
        .unwrap();
    let first = catalog.load_view(&old).await.unwrap();

    // Nothing is left of a rename that is refused.
    let taken = ident("t", "taken");
    create_table(&*catalog, &storage_table_of(&taken), &[]).await;
    let files_with_taken = file_names(&folder, &catalog).await;
    let error = catalog.rename_view(&old, &taken).await.unwrap_err();
    assert!(matches!(error, CatalogError::TableExists { .. }), "{error}");
    assert_eq!(file_names(&folder, &catalog).await, files_with_taken);
    catalog.load_table(&storage_table_of(&old)).await.unwrap();

    catalog.rename_view(&old, &new).await.unwrap();
    let view = catalog.load_view(&new).await.unwrap();
    let materialization = view.materialization().unwrap().unwrap();
    assert_eq!(materialization.storage_table, storage_table_of(&new));
    assert_eq!(materialization.grace_period_ms, Some(60_000));
    // Another version of the same query.
    assert_eq!(view.metadata.current_version_id(), 2);
    assert!(view.has_query_of(1) && view.has_query_of(2) && !view.has_query_of(3));
    let moved = catalog.load_table(&storage_table_of(&new)).await.unwrap();
    assert_eq!(moved.metadata_location, table.metadata_location);
    for gone in [&old, &storage_table_of(&old)] {
        catalog.load_table(gone).await.unwrap_err();
        catalog.load_view(gone).await.unwrap_err();
    }
    let error = catalog.load_table(&new).await.unwrap_err();
    assert_eq!(error.to_string(), "t.w is a materialized view, not a table");

    // A comment leaves the storage table as it is, without which nothing else can be changed.
    let said = Some("said later".to_string());
    let view = catalog.comment_view(&new, said.clone()).await.unwrap();
    let found = view.definition().unwrap();
    assert_eq!(found.comment, said);
    assert_eq!(found.materialization, Some(materialization));
    assert_eq!(view.metadata.current_version_id(), 2);
    let alone = catalog.put_view(&new, materialized(&new, "SELECT 1"), true);
    assert_eq!(
        alone.await.unwrap_err().to_string(),
        "materialized view t.w is to be made together with its storage table"
    );

    let dropped = catalog.drop_view(&new).await.unwrap();
    assert_eq!(
        dropped.storage_table.unwrap().metadata.uuid(),
        table.metadata.uuid()
    );
    // The metadata of all three states, whatever the view was called.
    assert_eq!(dropped.unread_files.len(), 3);
    assert!(dropped.unread_files.contains(&first.metadata_location));
}
