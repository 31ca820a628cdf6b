//! Commits, above all those whose answer is lost.

use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::SortOrder;
use iceberg::{TableRequirement, TableUpdate};
use ingot_catalog::commit::{append_files, commit_metadata, commit_staged, stage_create};
use ingot_catalog::{Catalog, CatalogError, RestCatalog, Table, TableCommit, TableVersion};

use crate::common::*;
use crate::server::{Fault, Server};
use crate::started;

async fn append(
    client: &Arc<RestCatalog>,
    table: &Table,
    name: &str,
) -> Result<Table, CatalogError> {
    let file = data_file(table, name, 1);
    append_files(&**client, table, vec![file], no_summary()).await
}

/// The files that a table has and that nothing else was left behind.
async fn assert_has(server: &Server, name: &str, wanted: &[&str]) {
    let catalog = &server.catalog;
    let table = catalog.load_table(&ident("s", name)).await.unwrap();
    let files = live_files(catalog.storage(), &table, &TableVersion::Current).await;
    assert_eq!(names(&files), wanted);
    let tables = [table];
    let left = orphans(catalog.storage(), catalog.warehouse(), &tables).await;
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn writers_on_both_sides_keep_each_others_files() {
    let (_folder, server, first) = started().await;
    let table = create_table(&*first, &ident("s", "t"), &[]).await;
    // Processes of their own, which do not take turns.
    let second = server.open(local_storage()).await;
    let mut tasks = Vec::new();
    for number in 0..12 {
        let table = table.clone();
        let catalog: Arc<dyn Catalog> = match number % 3 {
            0 => first.clone(),
            1 => second.clone(),
            _ => server.catalog.clone(),
        };
        tasks.push(tokio::spawn(async move {
            let file = data_file(&table, &format!("f{number:02}"), number);
            append_files(&*catalog, &table, vec![file], no_summary()).await
        }));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let wanted: Vec<String> = (0..12).map(|number| format!("f{number:02}")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    assert_has(&server, "t", &wanted).await;
}

#[tokio::test]
async fn a_commit_that_happened_is_found_whatever_was_answered() {
    let (_folder, server, _) = started().await;
    let mut options = server.options();
    options.request_timeout = Duration::from_secs(2);
    let client = RestCatalog::open("lake", local_storage(), options)
        .await
        .unwrap();
    let mut table = create_table(&*client, &ident("s", "t"), &[]).await;
    let faults = [
        Fault::After(500, "{}"),
        Fault::After(503, "<html>unavailable</html>"),
        Fault::After(504, ""),
        Fault::After(200, "{\"metadata\": 1"),
        Fault::AfterSilence,
    ];
    let commits_before = server.count("POST", "tables/t");
    let mut wanted = Vec::new();
    for (number, fault) in faults.into_iter().enumerate() {
        server.plan("POST", "tables/t", fault);
        let name = format!("f{number}");
        table = append(&client, &table, &name).await.unwrap();
        wanted.push(name);
    }
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    assert_has(&server, "t", &wanted).await;
    // None was sent twice.
    assert_eq!(server.count("POST", "tables/t") - commits_before, 5);
}

#[tokio::test]
async fn a_commit_that_did_not_happen_is_sent_again() {
    let (_folder, server, client) = started().await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    let before = server.count("POST", "tables/t");
    server.plan("POST", "tables/t", Fault::Instead(502, ""));
    append(&client, &table, "f").await.unwrap();
    assert_eq!(server.count("POST", "tables/t") - before, 2);
    assert_has(&server, "t", &["f"]).await;
}

#[tokio::test]
async fn a_commit_whose_outcome_stays_unknown_keeps_its_files() {
    let (_folder, server, client) = started().await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    server.plan("POST", "tables/t", Fault::After(500, ""));
    let file = data_file(&table, "f", 1);
    let appending = append_files(&*client, &table, vec![file], no_summary());
    let failing = async {
        while server.count("POST", "tables/t") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.plan_always("GET", "tables/t", Fault::Instead(503, ""));
    };
    let (appended, ()) = tokio::join!(appending, failing);
    let error = appended.unwrap_err();
    assert!(
        matches!(error, CatalogError::CommitStateUnknown { .. }),
        "{error}"
    );
    server.heal();
    // It did happen, and everything is there.
    assert_has(&server, "t", &["f"]).await;
}

#[tokio::test]
async fn a_server_that_always_fails_leaves_the_outcome_unknown() {
    let (_folder, server, client) = started().await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    server.plan_always("POST", "tables/t", Fault::Instead(500, ""));
    let error = append(&client, &table, "f").await.unwrap_err();
    assert!(
        matches!(error, CatalogError::CommitStateUnknown { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("s.t"), "{error}");
}

#[tokio::test]
async fn somebody_elses_commit_ends_an_open_one() {
    let (_folder, server, client) = started().await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    server.plan("POST", "tables/t", Fault::Instead(500, ""));
    let appending = append(&client, &table, "mine");
    let others = async {
        while server.count("POST", "tables/t") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let file = data_file(&table, "theirs", 1);
        append_files(&*server.catalog, &table, vec![file], no_summary()).await
    };
    let (mine, theirs) = tokio::join!(appending, others);
    theirs.unwrap();
    // It was refused for certain, made anew on top, and sent again.
    mine.unwrap();
    assert_has(&server, "t", &["mine", "theirs"]).await;
}

#[tokio::test]
async fn creations_and_changes_without_data_are_found_too() {
    let (_folder, server, client) = started().await;
    server.plan("POST", "tables/t", Fault::After(500, ""));
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    assert!(table.metadata_location.is_some());

    let other = ident("s", "u");
    let staged = stage_create(
        &*client,
        &other,
        schema(),
        by_day(),
        SortOrder::unsorted_order(),
        properties(&[]),
    );
    let staged = staged.await.unwrap();
    let file = data_file(staged.table(), "f", 1);
    server.plan("POST", "tables/u", Fault::After(504, ""));
    let created = commit_staged(&*client, staged, vec![file]).await.unwrap();
    assert_eq!(created.metadata.snapshots().len(), 1);

    server.plan("POST", "tables/t", Fault::After(500, ""));
    let before = server.count("POST", "tables/t");
    let changed = commit_metadata(&*client, &table.ident, |_| {
        Ok(vec![TableUpdate::SetProperties {
            updates: properties(&[("owner", "ann")]),
        }])
    });
    let changed = changed.await.unwrap();
    assert_eq!(changed.metadata.properties()["owner"], "ann");
    assert_eq!(server.count("POST", "tables/t") - before, 1);
}

#[tokio::test]
async fn only_one_of_two_creations_wins() {
    let (_folder, server, client) = started().await;
    let name = ident("s", "t");
    let stage = || {
        stage_create(
            &*client,
            &name,
            schema(),
            by_day(),
            SortOrder::unsorted_order(),
            properties(&[]),
        )
    };
    let (first, second) = (stage().await.unwrap(), stage().await.unwrap());
    commit_staged(&*client, first, Vec::new()).await.unwrap();
    let file = data_file(second.table(), "f", 1);
    let error = commit_staged(&*client, second, vec![file])
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "table s.t already exists");
    assert_has(&server, "t", &[]).await;
}

fn property_of(table: &Table, value: &str) -> TableCommit {
    TableCommit {
        ident: table.ident.clone(),
        requirements: vec![TableRequirement::UuidMatch {
            uuid: table.metadata.uuid(),
        }],
        based_on: table.metadata_location.clone(),
        created_from: None,
        updates: vec![TableUpdate::SetProperties {
            updates: properties(&[("p", value)]),
        }],
    }
}

#[tokio::test]
async fn several_tables_change_together_where_that_is_offered() {
    let (_folder, server, client) = started().await;
    let first = create_table(&*client, &ident("s", "t"), &[]).await;
    let second = create_table(&*client, &ident("s", "u"), &[]).await;
    server.plan("POST", "transactions/commit", Fault::After(500, ""));
    let commits = vec![property_of(&first, "1"), property_of(&second, "1")];
    let tables = client.commit(commits.clone()).await.unwrap();
    let values = tables.iter().map(|table| &table.metadata.properties()["p"]);
    assert_eq!(values.collect::<Vec<_>>(), ["1", "1"]);
    // What they were based on is no longer there.
    let error = client.commit(commits).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");

    server.set_rules(|rules| {
        rules.withheld = vec!["POST /v1/{prefix}/transactions/commit"];
    });
    let other = server.open(local_storage()).await;
    let commits = tables.iter().map(|table| property_of(table, "2"));
    let error = other.commit(commits.collect()).await.unwrap_err();
    assert!(matches!(error, CatalogError::Unsupported(_)), "{error}");
    assert!(error.to_string().contains("s.t and s.u"), "{error}");
}
