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

/// How many files there are that the newest state of the table does not know.
async fn kept_files(server: &Server, name: &str) -> usize {
    let catalog = &server.catalog;
    let table = catalog.load_table(&ident("s", name)).await.unwrap();
    let kept = orphans(catalog.storage(), catalog.warehouse(), &[table]).await;
    kept.len()
}

#[tokio::test]
async fn a_commit_is_not_sent_to_another_place() {
    let (_folder, server, client) = started().await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    let host = server.url.strip_prefix("http://").unwrap();
    let address = format!("http://ann:hush@{host}/v1/the%20lake/namespaces/s/tables/t?token=hush");
    let reads = server.count("GET", "tables/t");
    for status in [301, 302, 307, 308] {
        server.plan("POST", "tables/t", Fault::Redirect(status, address.clone()));
        let error = append(&client, &table, "f").await.unwrap_err();
        assert!(matches!(error, CatalogError::Remote { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("catalog.rest.uri"), "{error}");
        let port = host.split('/').next().unwrap();
        assert!(error.contains(&format!("http://{port}")), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
    // One for the state that each goes on top of, and no other.
    assert_eq!(server.count("GET", "tables/t") - reads, 4);
    assert_has(&server, "t", &[]).await;

    server.plan("GET", "config", Fault::Redirect(302, address));
    let opened = RestCatalog::open("lake", local_storage(), server.options()).await;
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("catalog.rest.uri"), "{error}");
    assert!(!error.contains("hush"), "{error}");
}

#[tokio::test]
async fn a_good_answer_without_the_commit_in_it_is_none() {
    let (_folder, server, client) = started().await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    let before = server.count("POST", "tables/t");
    server.plan("POST", "tables/t", Fault::AsGet);
    append(&client, &table, "f").await.unwrap();
    assert_eq!(server.count("POST", "tables/t") - before, 2);
    assert_has(&server, "t", &["f"]).await;
}

#[tokio::test]
async fn a_refused_repetition_does_not_undo_the_first_sending() {
    let (_folder, server, client) = started().await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    // It takes effect while its repetitions are refused.
    let late = Fault::Before(504, Duration::from_millis(900));
    server.plan("POST", "tables/t", late);
    server.plan_always("POST", "tables/t", Fault::Instead(403, ""));
    append(&client, &table, "f").await.unwrap();
    assert_has(&server, "t", &["f"]).await;
}

#[tokio::test]
async fn refused_repetitions_leave_the_outcome_unknown() {
    let (_folder, server, client) = started().await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    server.plan("POST", "tables/t", Fault::Instead(520, ""));
    server.plan_always("POST", "tables/t", Fault::Instead(401, ""));
    let error = append(&client, &table, "f").await.unwrap_err();
    assert!(
        matches!(error, CatalogError::CommitStateUnknown { .. }),
        "{error}"
    );
    // A manifest and a manifest list.
    assert_eq!(kept_files(&server, "t").await, 2);
    server.heal();

    // The first answer is certain.
    server.plan("POST", "tables/t", Fault::Instead(403, ""));
    let error = append(&client, &table, "g").await.unwrap_err();
    assert!(
        matches!(error, CatalogError::RemoteAccess { .. }),
        "{error}"
    );
    assert_eq!(kept_files(&server, "t").await, 2);
}

#[tokio::test]
async fn a_commit_that_collides_with_itself_has_happened() {
    let (_folder, server, client) = started().await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    let before = server.count("POST", "tables/t");
    let conflict = r#"{"error": {"message": "m", "type": "CommitFailedException", "code": 409}}"#;
    server.plan("POST", "tables/t", Fault::After(409, conflict));
    append(&client, &table, "f").await.unwrap();
    assert_eq!(server.count("POST", "tables/t") - before, 1);
    assert_has(&server, "t", &["f"]).await;

    server.plan("POST", "tables/u", Fault::After(409, conflict));
    create_table(&*client, &ident("s", "u"), &[]).await;
    assert_eq!(server.count("POST", "tables/u"), 1);
}

#[tokio::test]
async fn a_table_that_is_renamed_meanwhile_keeps_what_was_committed() {
    let (_folder, server, client) = started().await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    server.plan("POST", "tables/t", Fault::After(500, ""));
    let appending = append(&client, &table, "f");
    let renaming = async {
        let (old, new) = (ident("s", "t"), ident("s", "u"));
        loop {
            let current = server.catalog.load_table(&old).await.unwrap();
            if current.metadata.current_snapshot().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.catalog.rename_table(&old, &new).await.unwrap();
    };
    let (appended, ()) = tokio::join!(appending, renaming);
    // On a slow machine, the client looked before the rename.
    if let Err(error) = appended {
        assert!(
            matches!(error, CatalogError::CommitStateUnknown { .. }),
            "{error}"
        );
    }
    assert_has(&server, "u", &["f"]).await;
}
