//! Schemas and tables: all but commits.

use std::collections::HashMap;

use iceberg::spec::SortOrder;
use ingot_catalog::commit::{append_files, stage_create};
use ingot_catalog::maintenance::{ExpireOptions, expire_snapshots};
use ingot_catalog::{Catalog, CatalogError, RestCatalog, RestCatalogOptions};

use crate::common::*;
use crate::server::Fault;
use crate::started;

#[tokio::test]
async fn schemas_are_listed_page_by_page() {
    let (_folder, server, client) = started().await;
    for name in ["a", "b", "with space ü", "z"] {
        let made = client.create_schema(name, properties(&[("comment", name)]));
        made.await.unwrap();
    }
    let listed = client.list_schemas().await.unwrap();
    assert_eq!(listed, ["a", "b", "s", "with space ü", "z"]);
    // Two on a page.
    assert_eq!(server.count("GET", "namespaces"), 3);
    let loaded = client.load_schema("with space ü").await.unwrap();
    assert_eq!(loaded["comment"], "with space ü");

    let set = properties(&[("comment", "new"), ("owner", "ann")]);
    let removed = ["comment".to_string(), "gone".to_string()];
    client
        .change_schema_properties("a", set, &removed)
        .await
        .unwrap();
    let loaded = client.load_schema("a").await.unwrap();
    assert_eq!((&*loaded["comment"], &*loaded["owner"]), ("new", "ann"));

    let error = client.create_schema("a", HashMap::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "schema a already exists");
    create_table(&*client, &ident("a", "t"), &[]).await;
    let error = client.drop_schema("a").await.unwrap_err();
    assert!(
        matches!(error, CatalogError::SchemaNotEmpty { tables: 1, .. }),
        "{error}"
    );
    client.drop_schema("b").await.unwrap();
    let error = client.load_schema("b").await.unwrap_err();
    assert!(
        matches!(error, CatalogError::SchemaNotFound { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn nested_namespaces_are_listed_where_they_are_wanted() {
    let (_folder, server, client) = started().await;
    server.set_rules(|rules| {
        rules.nested = vec![
            vec!["s", "inner"],
            vec!["s", "with.dot"],
            vec!["s", "inner", "most"],
        ];
    });
    assert_eq!(client.list_schemas().await.unwrap(), ["s"]);
    let mut options = server.options();
    options.nested_namespaces = true;
    let client = RestCatalog::open("lake", local_storage(), options)
        .await
        .unwrap();
    let listed = client.list_schemas().await.unwrap();
    assert_eq!(listed, ["s", "s.inner", "s.inner.most"]);
}

#[tokio::test]
async fn tables_are_created_listed_renamed_and_dropped() {
    let (_folder, server, client) = started().await;
    let name = ident("s", "orders");
    let table = create_table(
        &*client,
        &name,
        &[("owner", "ann"), ("format-version", "3")],
    )
    .await;
    assert_eq!(table.metadata.properties()["owner"], "ann");
    assert_eq!(table.metadata.format_version() as u8, 3);
    let there = server.catalog.load_table(&name).await.unwrap();
    assert_eq!(there.metadata, table.metadata);
    assert_eq!(there.metadata_location, table.metadata_location);
    for other in ["a", "b"] {
        create_table(&*client, &ident("s", other), &[]).await;
    }
    let listed = client.list_tables("s").await.unwrap();
    assert_eq!(listed, ["a", "b", "orders"]);

    let staged = stage_create(
        &*client,
        &name,
        schema(),
        by_day(),
        SortOrder::unsorted_order(),
        HashMap::new(),
    );
    let error = staged.await.unwrap_err();
    assert_eq!(error.to_string(), "table s.orders already exists");
    let error = client.load_table(&ident("s", "ordres")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "table s.ordres does not exist; did you mean s.orders?"
    );
    let error = client.load_table(&ident("t", "orders")).await.unwrap_err();
    assert!(
        matches!(error, CatalogError::SchemaNotFound { .. }),
        "{error}"
    );
    let error = client.load_table(&ident("s", "..")).await.unwrap_err();
    assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");

    let renamed = ident("s", "orders 2");
    client.rename_table(&name, &renamed).await.unwrap();
    client.load_table(&renamed).await.unwrap();
    let error = client
        .rename_table(&renamed, &ident("s", "a"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "table s.a already exists");
    let error = client.rename_table(&name, &renamed).await.unwrap_err();
    assert!(
        matches!(error, CatalogError::TableNotFound { .. }),
        "{error}"
    );

    let dropped = client.drop_table(&renamed).await.unwrap();
    let location = dropped.metadata_location.unwrap();
    assert!(client.storage().exists(&location).await.unwrap());
    let registered = client.register_table(&name, &location).await.unwrap();
    assert_eq!(registered.metadata.uuid(), table.metadata.uuid());
    assert!(client.deletes_files_of_dropped_tables());
    client.drop_table_for_purge(&name).await.unwrap();
    assert!(!client.storage().exists(&location).await.unwrap());
}

#[tokio::test]
async fn a_table_goes_where_it_is_asked_to_or_not_at_all() {
    let (_folder, server, client) = started().await;
    let wanted = format!("{}/s/mine", server.catalog.warehouse());
    let table = create_table(&*client, &ident("s", "mine"), &[("location", &wanted)]).await;
    assert_eq!(table.metadata.location(), wanted);
    let other = ident("s", "other");
    let staged = stage_create(
        &*client,
        &other,
        schema(),
        by_day(),
        SortOrder::unsorted_order(),
        properties(&[("location", "file:///elsewhere")]),
    );
    let error = staged.await.unwrap_err().to_string();
    assert!(error.starts_with("catalog lake refuses this"), "{error}");
    assert!(error.contains("file:///elsewhere"), "{error}");
}

#[tokio::test]
async fn snapshots_expire() {
    let (_folder, server, client) = started().await;
    let name = ident("s", "t");
    let mut table = create_table(&*client, &name, &[]).await;
    for number in 0..3 {
        let file = data_file(&table, &format!("f{number}"), number);
        let appended = append_files(&*client, &table, vec![file], no_summary());
        table = appended.await.unwrap();
    }
    let now_ms = chrono::Utc::now().timestamp_millis() + 1_000;
    let options = ExpireOptions {
        now_ms,
        max_age_ms: Some(0),
        default_max_age_ms: 0,
        retain_last: None,
        clean_expired_metadata: false,
    };
    let (after, report) = expire_snapshots(&*client, &name, options).await.unwrap();
    assert_eq!(report.snapshots, 2);
    let there = server.catalog.load_table(&name).await.unwrap();
    assert_eq!(there.metadata.snapshots().len(), 1);
    assert_eq!(there.metadata, after.metadata);
}

#[tokio::test]
async fn a_request_that_fails_for_a_moment_is_repeated() {
    let (_folder, server, client) = started().await;
    create_table(&*client, &ident("s", "t"), &[]).await;
    for status in [500, 502, 503, 429] {
        server.plan("GET", "tables/t", Fault::Instead(status, "<html>"));
    }
    client.load_table(&ident("s", "t")).await.unwrap();
    server.plan("GET", "tables/t", Fault::Instead(200, "{\"metadata\":"));
    let error = client.load_table(&ident("s", "t")).await.unwrap_err();
    assert!(matches!(error, CatalogError::Remote { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("catalog lake: its answer cannot be read"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_named() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/x", unused.local_addr().unwrap());
    drop(unused);
    let options = RestCatalogOptions::new(&uri);
    let opened = RestCatalog::open("lake", local_storage(), options).await;
    let error = opened.unwrap_err().to_string();
    assert!(
        error.starts_with("catalog lake: it does not answer"),
        "{error}"
    );
    assert!(
        error.contains(&uri) && error.contains("catalog.rest.uri"),
        "{error}"
    );
}

#[tokio::test]
async fn catalog_branches_are_refused() {
    let (_folder, _server, client) = started().await;
    let error = client.versioned().err().unwrap().to_string();
    assert!(error.contains("catalog lake"), "{error}");
    assert!(error.contains("need the sql catalog"), "{error}");
}
