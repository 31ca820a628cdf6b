//! Views of the versioned catalog: Iceberg view metadata beside the tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::*;
use ingot_catalog::{Catalog, CatalogError, ViewDefinition};

fn definition(sql: &str) -> ViewDefinition {
    ViewDefinition {
        sql: sql.to_string(),
        default_catalog: Some("iceberg".to_string()),
        default_schema: "s".to_string(),
        schema: schema(),
        query_columns: vec!["id".to_string(), "d".to_string(), "name".to_string()],
        comment: Some("what it shows".to_string()),
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
    assert!(matches!(error, CatalogError::TableExists { .. }), "{error}");
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
