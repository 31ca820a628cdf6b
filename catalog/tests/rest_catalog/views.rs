//! Views.

use ingot_catalog::{Catalog, CatalogError, ViewDefinition};

use crate::common::*;
use crate::server::Fault;
use crate::started;

fn definition(sql: &str) -> ViewDefinition {
    ViewDefinition {
        sql: sql.to_string(),
        default_catalog: None,
        default_schema: "s".to_string(),
        schema: schema(),
        query_columns: vec!["id".to_string(), "d".to_string(), "name".to_string()],
        comment: Some("what it shows".to_string()),
        materialization: None,
    }
}

#[tokio::test]
async fn views_are_created_replaced_renamed_and_dropped() {
    let (_folder, server, client) = started().await;
    let name = ident("s", "v");
    let view = client.put_view(&name, definition("SELECT 1"), false);
    assert_eq!(view.await.unwrap().definition().unwrap().sql, "SELECT 1");
    let error = client.put_view(&name, definition("SELECT 2"), false);
    let error = error.await.unwrap_err();
    assert!(matches!(error, CatalogError::ViewExists { .. }), "{error}");

    let mut next = definition("SELECT 2");
    next.comment = None;
    server.plan("POST", "views/v", Fault::After(500, ""));
    client.put_view(&name, next.clone(), true).await.unwrap();
    let there = server.catalog.load_view(&name).await.unwrap();
    let found = there.definition().unwrap();
    assert_eq!((found.sql.as_str(), found.comment), ("SELECT 2", None));
    assert_eq!(found.query_columns, next.query_columns);
    assert_eq!(there.metadata.versions().len(), 2);
    // The same again is no new version.
    client.put_view(&name, next, true).await.unwrap();
    let there = server.catalog.load_view(&name).await.unwrap();
    assert_eq!(there.metadata.versions().len(), 2);
    // What it was before, again.
    client
        .put_view(&name, definition("SELECT 1"), true)
        .await
        .unwrap();
    let loaded = client.load_view(&name).await.unwrap();
    let found = loaded.definition().unwrap();
    assert_eq!(found.sql, "SELECT 1");
    assert_eq!(found.comment.as_deref(), Some("what it shows"));

    // A comment says nothing of the query.
    let said = Some("said later".to_string());
    let view = client.comment_view(&name, said.clone()).await.unwrap();
    assert_eq!(view.definition().unwrap().comment, said);
    let view = client.comment_view(&name, None).await.unwrap();
    let found = view.definition().unwrap();
    assert_eq!((found.sql.as_str(), found.comment), ("SELECT 1", None));
    let versions = view.metadata.versions().len();
    assert_eq!(versions, loaded.metadata.versions().len());

    assert_eq!(client.list_views("s").await.unwrap(), ["v"]);
    let error = client.load_table(&name).await.unwrap_err();
    assert!(matches!(error, CatalogError::IsView { .. }), "{error}");
    create_table(&*client, &ident("s", "t"), &[]).await;
    let error = client.load_view(&ident("s", "t")).await.unwrap_err();
    assert!(matches!(error, CatalogError::IsTable { .. }), "{error}");
    let table = ident("s", "t");
    let error = client.put_view(&table, definition("SELECT 1"), true);
    let error = error.await.unwrap_err();
    assert!(matches!(error, CatalogError::TableExists { .. }), "{error}");

    let renamed = ident("s", "w");
    client.rename_view(&name, &renamed).await.unwrap();
    let dropped = client.drop_view(&renamed).await.unwrap();
    assert!(dropped.storage_table.is_none());
    let error = client.load_view(&renamed).await.unwrap_err();
    assert!(
        matches!(error, CatalogError::ViewNotFound { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn servers_without_views_have_none() {
    let (_folder, server, _) = started().await;
    server.set_rules(|rules| {
        rules.withheld = vec!["GET /v1/{prefix}/namespaces/{namespace}/views"];
    });
    let client = server.open(local_storage()).await;
    assert_eq!(client.list_views("s").await.unwrap(), [""; 0]);
    let name = ident("s", "v");
    let error = client.put_view(&name, definition("SELECT 1"), true);
    let error = error.await.unwrap_err();
    assert!(matches!(error, CatalogError::Unsupported(_)), "{error}");
    let error = client.load_table(&ident("s", "v")).await.unwrap_err();
    assert!(
        matches!(error, CatalogError::TableNotFound { .. }),
        "{error}"
    );
}
