//! Branches, tags, versions and transactions of a whole catalog, one behaviour at a time.
//! Random sequences of them are in `branch_model.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use iceberg::TableUpdate;
use ingot_catalog::commit::{append_files, commit_metadata};
use ingot_catalog::{
    Catalog, CatalogError, CatalogReference, CatalogReferenceKind, SqlCatalog, Table, VersionId,
    VersionedCatalog,
};

const BRANCH: CatalogReferenceKind = CatalogReferenceKind::Branch;
const TAG: CatalogReferenceKind = CatalogReferenceKind::Tag;

async fn branch(catalog: &dyn Catalog, name: &str) -> Arc<dyn Catalog> {
    let versioned = catalog.versioned().unwrap();
    versioned
        .create_reference(BRANCH, name, None)
        .await
        .unwrap();
    at_branch(catalog, name).await
}

async fn at_branch(catalog: &dyn Catalog, name: &str) -> Arc<dyn Catalog> {
    let reference = CatalogReference::Branch(name.to_string());
    catalog.versioned().unwrap().at(&reference).await.unwrap()
}

async fn append(catalog: &dyn Catalog, table: &Table, file: &str) -> Table {
    let files = vec![data_file(table, file, 1)];
    append_files(catalog, table, files, no_summary())
        .await
        .unwrap()
}

fn number_of(version: &VersionId) -> i64 {
    match version {
        VersionId::Number(number) => *number,
        VersionId::Hash(hash) => panic!("{hash} is no number"),
    }
}

async fn location(catalog: &dyn Catalog, table: &str) -> Option<String> {
    match catalog.load_table(&ident("s", table)).await {
        Ok(table) => table.metadata_location,
        Err(CatalogError::TableNotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// All files in the warehouse, sorted.
async fn all_files(catalog: &SqlCatalog) -> Vec<String> {
    let listed = catalog.storage().list(catalog.warehouse()).await.unwrap();
    let mut files: Vec<_> = listed.into_iter().map(|file| file.location).collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_branch_sees_its_parent_as_it_was_and_its_own_changes() {
    let (_folder, catalog) = local_catalog().await;
    let kept = create_table(&*catalog, &ident("s", "kept"), &[]).await;
    let moved = create_table(&*catalog, &ident("s", "moved"), &[]).await;
    let gone = create_table(&*catalog, &ident("s", "gone"), &[]).await;
    let kept = append(&*catalog, &kept, "a").await;
    let fork = branch(&*catalog, "b").await;
    for table in [&kept, &moved, &gone] {
        let seen = location(&*fork, table.ident.name()).await;
        assert_eq!(seen, table.metadata_location);
    }

    // `main` goes on; the branch does not see it.
    let newer = append(&*catalog, &moved, "b").await;
    catalog.drop_table(&kept.ident).await.unwrap();
    catalog
        .create_schema("of_main", HashMap::new())
        .await
        .unwrap();
    assert_eq!(location(&*fork, "moved").await, moved.metadata_location);
    assert_eq!(location(&*fork, "kept").await, kept.metadata_location);
    assert_eq!(fork.list_schemas().await.unwrap(), ["s"]);

    // The branch goes on; `main` does not see it.
    let on_branch = append(&*fork, &moved, "c").await;
    fork.drop_table(&gone.ident).await.unwrap();
    fork.rename_table(&kept.ident, &ident("s", "renamed"))
        .await
        .unwrap();
    create_table(&*fork, &ident("s", "new"), &[]).await;
    assert_eq!(location(&*fork, "moved").await, on_branch.metadata_location);
    assert_eq!(location(&*fork, "gone").await, None);
    assert_eq!(
        fork.list_tables("s").await.unwrap(),
        ["moved", "new", "renamed"]
    );
    assert_eq!(location(&*catalog, "moved").await, newer.metadata_location);
    assert_eq!(catalog.list_tables("s").await.unwrap(), ["gone", "moved"]);

    // A name that was dropped can be used again, and dropped again.
    create_table(&*fork, &gone.ident, &[]).await;
    assert_ne!(location(&*fork, "gone").await, gone.metadata_location);
    fork.drop_table(&gone.ident).await.unwrap();
    assert_eq!(location(&*fork, "gone").await, None);

    // Both changed `moved`: nothing is merged.
    let error = catalog.merge_branch("b", "main").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "branch b cannot be merged into main: both changed table s.kept, table s.moved, and \
         nothing was merged; make the changes of b again on a new branch of main"
    );
    assert_eq!(catalog.list_tables("s").await.unwrap(), ["gone", "moved"]);
}

#[tokio::test]
async fn a_merge_publishes_everything_at_once_and_can_be_repeated() {
    let (_folder, catalog) = local_catalog().await;
    let one = create_table(&*catalog, &ident("s", "one"), &[]).await;
    let two = create_table(&*catalog, &ident("s", "two"), &[]).await;
    let fork = branch(&*catalog, "b").await;
    let one_on_fork = append(&*fork, &one, "a").await;
    fork.create_schema("t", HashMap::new()).await.unwrap();
    create_table(&*fork, &ident("t", "three"), &[]).await;
    // Others may change what the branch did not.
    append(&*catalog, &two, "b").await;

    let report = catalog.merge_branch("b", "main").await.unwrap();
    assert_eq!(report.changed, ["schema t", "table s.one", "table t.three"]);
    assert_eq!(
        location(&*catalog, "one").await,
        one_on_fork.metadata_location
    );
    assert_eq!(catalog.list_tables("t").await.unwrap(), ["three"]);
    // One commit.
    let log = catalog.log(1).await.unwrap();
    assert_eq!(Some(log[0].version.clone()), report.version);
    assert_eq!(log[0].branch.as_deref(), Some("main"));
    assert_eq!(log[0].changed, ["s.one", "t", "t.three"]);
    assert!(log[0].merged.is_some());

    let again = catalog.merge_branch("b", "main").await.unwrap();
    assert_eq!((again.version, again.changed.len()), (None, 0));
    // What is done to it later can be merged later.
    let one_later = append(&*fork, &one_on_fork, "c").await;
    assert_eq!(
        catalog.merge_branch("b", "main").await.unwrap().changed,
        ["table s.one"]
    );
    assert_eq!(
        location(&*catalog, "one").await,
        one_later.metadata_location
    );

    // The branch still has `two` as it was: a change of it there would undo that of `main`.
    append(&*fork, &two, "d").await;
    let error = catalog.merge_branch("b", "main").await.unwrap_err();
    assert!(error.to_string().contains("table s.two"), "{error}");
}

#[tokio::test]
async fn schemas_and_what_is_in_them_are_merged_consistently() {
    let (_folder, catalog) = local_catalog().await;
    catalog
        .create_schema("empty", HashMap::new())
        .await
        .unwrap();
    let creates = branch(&*catalog, "creates").await;
    let drops = branch(&*catalog, "drops").await;
    create_table(&*creates, &ident("empty", "t"), &[]).await;
    drops.drop_schema("empty").await.unwrap();
    catalog.merge_branch("creates", "main").await.unwrap();
    // The schema has a table by now.
    let error = catalog.merge_branch("drops", "main").await.unwrap_err();
    assert!(error.to_string().contains("schema empty"), "{error}");
    assert_eq!(catalog.list_tables("empty").await.unwrap(), ["t"]);

    // And the other way round: the schema of a new table is gone.
    let creates = branch(&*catalog, "creates_2").await;
    create_table(&*creates, &ident("empty", "u"), &[]).await;
    catalog.drop_table(&ident("empty", "t")).await.unwrap();
    catalog.drop_schema("empty").await.unwrap();
    let error = catalog.merge_branch("creates_2", "main").await.unwrap_err();
    assert!(error.to_string().contains("schema empty"), "{error}");
    assert_eq!(catalog.list_schemas().await.unwrap(), ["s"]);
}

#[tokio::test]
async fn branches_of_branches_merge_into_their_parent_only() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let outer = branch(&*catalog, "outer").await;
    let on_outer = append(&*outer, &table, "a").await;
    let inner = branch(&*outer, "inner").await;
    assert_eq!(location(&*inner, "t").await, on_outer.metadata_location);
    append(&*outer, &on_outer, "b").await;
    assert_eq!(location(&*inner, "t").await, on_outer.metadata_location);
    let other = create_table(&*inner, &ident("s", "u"), &[]).await;

    let error = catalog.merge_branch("inner", "main").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "branch inner cannot be merged into main: it was made from outer, and can only be merged \
         into that"
    );
    let error = catalog.merge_branch("main", "outer").await.unwrap_err();
    assert!(error.to_string().contains("was not made from"), "{error}");
    let error = catalog.merge_branch("outer", "outer").await.unwrap_err();
    assert!(error.to_string().contains("it is the same"), "{error}");
    catalog.merge_branch("inner", "outer").await.unwrap();
    assert_eq!(location(&*outer, "u").await, other.metadata_location);

    // The inner branch goes on when the outer one is dropped.
    catalog.drop_reference(BRANCH, "outer").await.unwrap();
    assert_eq!(location(&*inner, "t").await, on_outer.metadata_location);
    append(&*inner, &on_outer, "c").await;
    let infos = catalog.references().await.unwrap();
    let names: Vec<_> = infos.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["main", "inner"]);
    assert_eq!(infos[1].parent, None);
    let error = outer.create_schema("x", HashMap::new()).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "branch outer has ended: nothing can be changed in it any more"
    );
}

#[tokio::test]
async fn tags_and_versions_stay_where_they_are() {
    let (_folder, catalog) = local_catalog().await;
    let first = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let tag = catalog.create_reference(TAG, "v1", None).await.unwrap();
    let before = chrono::Utc::now().timestamp_millis();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let second = append(&*catalog, &first, "a").await;
    catalog.drop_table(&first.ident).await.unwrap();
    let infos = catalog.references().await.unwrap();
    let main_version = number_of(&infos[0].version);

    for reference in [
        CatalogReference::Tag("v1".to_string()),
        CatalogReference::Named("v1".to_string()),
        CatalogReference::Version(tag.version),
        CatalogReference::TimestampMillis(before),
    ] {
        let state = catalog.at(&reference).await.unwrap();
        assert_eq!(location(&*state, "t").await, first.metadata_location);
        let error = state.drop_table(&first.ident).await.unwrap_err();
        assert!(
            error.to_string().ends_with("make a branch from it"),
            "{error}"
        );
    }
    let from = CatalogReference::Version(VersionId::Number(main_version - 1));
    let state = catalog.at(&from).await.unwrap();
    assert_eq!(location(&*state, "t").await, second.metadata_location);

    // A branch of an old version brings it back.
    catalog
        .create_reference(BRANCH, "rescue", Some(&from))
        .await
        .unwrap();
    let rescue = at_branch(&*catalog, "rescue").await;
    let third = append(&*rescue, &second, "b").await;
    // `main` dropped it since.
    catalog.merge_branch("rescue", "main").await.unwrap_err();
    assert_eq!(location(&*rescue, "t").await, third.metadata_location);

    for (reference, expected) in [
        (
            CatalogReference::Branch("rescu".to_string()),
            "catalog iceberg has no branch rescu; did you mean rescue?",
        ),
        (
            CatalogReference::Branch("v1".to_string()),
            "v1 is a tag of catalog iceberg, not a branch",
        ),
        (
            CatalogReference::Version(VersionId::Number(4711)),
            "catalog iceberg has no version 4711",
        ),
        (
            CatalogReference::Version(VersionId::Hash("0a1b2c3d".to_string())),
            "catalog iceberg has no version '0a1b2c3d': its versions are numbers, without quotes",
        ),
        (
            CatalogReference::TimestampMillis(0),
            "catalog iceberg has no version at 1970-01-01 00:00:00.000 UTC: it is before its \
             first commit",
        ),
    ] {
        let error = catalog.at(&reference).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn names_of_branches_are_checked() {
    let (_folder, catalog) = local_catalog().await;
    for name in ["", "a/b", "$transaction-1", "a\nb"] {
        let error = catalog.create_reference(BRANCH, name, None).await;
        let error = error.unwrap_err();
        assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
    }
    catalog.create_reference(TAG, "x", None).await.unwrap();
    for (kind, name, expected) in [
        (BRANCH, "x", "tag x already exists"),
        (TAG, "main", "branch main already exists"),
    ] {
        let error = catalog.create_reference(kind, name, None).await;
        assert_eq!(error.unwrap_err().to_string(), expected);
    }
    let error = catalog.drop_reference(BRANCH, "main").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "branch main of catalog iceberg cannot be dropped"
    );
    let error = catalog.drop_reference(BRANCH, "x").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "x is a tag of catalog iceberg, not a branch"
    );
    catalog.drop_reference(TAG, "x").await.unwrap();
    catalog.create_reference(BRANCH, "x", None).await.unwrap();
}

#[tokio::test]
async fn files_that_another_branch_reads_are_kept() {
    let (_folder, catalog) = local_catalog().await;
    let settings = [
        ("write.metadata.previous-versions-max", "1"),
        ("write.metadata.delete-after-commit.enabled", "true"),
    ];
    let table = create_table(&*catalog, &ident("s", "t"), &settings).await;
    let table = append(&*catalog, &table, "0").await;
    let fork = branch(&*catalog, "b").await;
    let mut newest = table.clone();
    for file in ["a", "b", "c"] {
        newest = append(&*catalog, &newest, file).await;
    }
    // What `main` has now, the one before, and what the branch has.
    let metadata_files: Vec<_> = all_files(&catalog).await;
    let metadata_files = metadata_files.iter();
    let metadata_files = metadata_files.filter(|file| file.ends_with(".metadata.json"));
    assert_eq!(metadata_files.count(), 3);
    assert_eq!(location(&*fork, "t").await, table.metadata_location);

    for (dropping, reader) in [
        (&*catalog as &dyn Catalog, "branch b"),
        (&*fork, "branch main"),
    ] {
        let error = dropping.drop_table_for_purge(&table.ident).await;
        assert_eq!(
            error.unwrap_err().to_string(),
            format!(
                "the files of table s.t cannot be deleted: {reader} needs them; drop the table \
                 without purge, or drop that first"
            )
        );
    }
    assert_eq!(location(&*catalog, "t").await, newest.metadata_location);
    catalog.drop_reference(BRANCH, "b").await.unwrap();
    catalog.drop_table_for_purge(&table.ident).await.unwrap();
}

#[tokio::test]
async fn files_that_another_table_of_the_branch_has_are_kept() {
    let (_folder, catalog) = local_catalog().await;
    let fork = branch(&*catalog, "b").await;
    let table = create_table(&*fork, &ident("s", "t"), &[]).await;
    let table = append(&*fork, &table, "a").await;
    // `main` does not have the table, and gets it under two names.
    let metadata_location = table.metadata_location.clone().unwrap();
    let copy = ident("s", "copy");
    catalog
        .register_table(&copy, &metadata_location)
        .await
        .unwrap();
    catalog.merge_branch("b", "main").await.unwrap();
    catalog.drop_reference(BRANCH, "b").await.unwrap();
    assert_eq!(catalog.list_tables("s").await.unwrap(), ["copy", "t"]);

    let error = catalog.drop_table_for_purge(&copy).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the files of table s.copy cannot be deleted: table s.t needs them; drop the table \
         without purge, or drop that first"
    );
    // Without purge it goes, and then the other one has the files alone.
    catalog.drop_table(&copy).await.unwrap();
    let dropped = catalog.drop_table_for_purge(&table.ident).await.unwrap();
    assert_eq!(dropped.metadata_location, table.metadata_location);
}

#[tokio::test]
async fn a_transaction_is_seen_by_nobody_until_it_is_committed() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let transaction = catalog.begin_transaction().await.unwrap();
    let inside = transaction.catalog();
    let changed = append(&*inside, &table, "a").await;
    let changed = append(&*inside, &changed, "b").await;
    let created = create_table(&*inside, &ident("s", "u"), &[]).await;
    // Others go on with other tables, which it does not see.
    create_table(&*catalog, &ident("s", "v"), &[]).await;
    assert_eq!(inside.list_tables("s").await.unwrap(), ["t", "u"]);
    assert_eq!(catalog.list_tables("s").await.unwrap(), ["t", "v"]);
    assert_eq!(location(&*catalog, "t").await, table.metadata_location);
    // Nobody can look into it by the number of its versions.
    let newest = number_of(&catalog.log(1).await.unwrap()[0].version);
    for version in newest.saturating_sub(5)..newest + 5 {
        if let Ok(state) = catalog.at(&CatalogReference::Version(version.into())).await {
            assert_ne!(location(&*state, "t").await, changed.metadata_location);
        }
    }
    assert_eq!(catalog.references().await.unwrap().len(), 1);

    let report = transaction.commit().await.unwrap();
    assert_eq!(report.changed, ["table s.t", "table s.u"]);
    assert_eq!(catalog.list_tables("s").await.unwrap(), ["t", "u", "v"]);
    assert_eq!(location(&*catalog, "t").await, changed.metadata_location);
    assert_eq!(location(&*catalog, "u").await, created.metadata_location);
    let log = catalog.log(10).await.unwrap();
    assert_eq!(
        log[0].message,
        "transaction: change table s.t, create table s.u"
    );
    assert_eq!(log[0].changed, ["s.t", "s.u"]);
    assert!(
        log.iter()
            .all(|entry| entry.branch.as_deref() == Some("main"))
    );

    // It is over.
    let error = append_files(
        &*inside,
        &changed,
        vec![data_file(&changed, "c", 1)],
        no_summary(),
    )
    .await
    .unwrap_err();
    assert!(
        !matches!(error, CatalogError::CommitStateUnknown { .. }),
        "{error}"
    );
    transaction.commit().await.unwrap_err();
    transaction.roll_back().await.unwrap();
    assert_eq!(location(&*catalog, "t").await, changed.metadata_location);
    let files = all_files(&catalog).await;
    assert!(files.contains(&changed.metadata_location.unwrap()));
}

#[tokio::test]
async fn a_rollback_leaves_nothing_and_touches_nothing_else() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let table = append(&*catalog, &table, "a").await;
    let renamed = create_table(&*catalog, &ident("s", "old_name"), &[]).await;
    let before = all_files(&catalog).await;

    let transaction = catalog.begin_transaction().await.unwrap();
    let inside = transaction.catalog();
    let changed = append(&*inside, &table, "b").await;
    commit_metadata(&*inside, &table.ident, |_| {
        Ok(vec![TableUpdate::SetProperties {
            updates: properties(&[("p", "1")]),
        }])
    })
    .await
    .unwrap();
    append(&*inside, &changed, "c").await;
    let created = create_table(&*inside, &ident("s", "u"), &[]).await;
    append(&*inside, &created, "d").await;
    inside.drop_table(&created.ident).await.unwrap();
    inside
        .rename_table(&renamed.ident, &ident("s", "new_name"))
        .await
        .unwrap();
    inside.drop_table(&ident("s", "new_name")).await.unwrap();
    assert!(all_files(&catalog).await.len() > before.len());

    transaction.roll_back().await.unwrap();
    assert_eq!(all_files(&catalog).await, before);
    assert_eq!(catalog.list_tables("s").await.unwrap(), ["old_name", "t"]);
    let files = live_files(
        catalog.storage(),
        &catalog.load_table(&table.ident).await.unwrap(),
        &ingot_catalog::TableVersion::Current,
    )
    .await;
    assert_eq!(names(&files), ["a"]);
    transaction.commit().await.unwrap_err();
}

#[tokio::test]
async fn transactions_that_changed_the_same_table_conflict() {
    let (_folder, catalog) = local_catalog().await;
    let one = create_table(&*catalog, &ident("s", "one"), &[]).await;
    let two = create_table(&*catalog, &ident("s", "two"), &[]).await;
    let loses = catalog.begin_transaction().await.unwrap();
    let wins = catalog.begin_transaction().await.unwrap();
    append(&*loses.catalog(), &one, "a").await;
    append(&*loses.catalog(), &two, "b").await;
    let won = append(&*wins.catalog(), &one, "c").await;
    wins.commit().await.unwrap();
    let before = all_files(&catalog).await;
    let error = loses.commit().await.unwrap_err();
    assert!(!error.is_conflict(), "the same commit cannot succeed later");
    assert_eq!(
        error.to_string(),
        "the transaction cannot be committed: table s.one changed on branch main since it began, \
         and nothing was published; run the transaction again"
    );
    loses.roll_back().await.unwrap();
    assert!(all_files(&catalog).await.len() < before.len());
    assert_eq!(location(&*catalog, "one").await, won.metadata_location);
    assert_eq!(location(&*catalog, "two").await, two.metadata_location);
}

#[tokio::test]
async fn what_cannot_be_undone_is_refused_in_a_transaction() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let transaction = catalog.begin_transaction().await.unwrap();
    let inside = transaction.catalog();
    let versioned = inside.versioned().unwrap();
    let errors = [
        inside.drop_table_for_purge(&table.ident).await.unwrap_err(),
        inside
            .register_table(&ident("s", "u"), &table.metadata_location.clone().unwrap())
            .await
            .unwrap_err(),
        versioned.begin_transaction().await.unwrap_err(),
        versioned.merge_branch("a", "main").await.unwrap_err(),
        versioned
            .create_reference(BRANCH, "b", None)
            .await
            .unwrap_err(),
        versioned.drop_reference(BRANCH, "b").await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, CatalogError::Unsupported(_)), "{error}");
        assert!(
            error.to_string().contains("inside a transaction"),
            "{error}"
        );
    }
}

/// A process that is killed in a transaction: its rows stay, and nobody ends it.
#[tokio::test]
async fn transactions_of_dead_processes_are_rolled_back() {
    let (folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let before = all_files(&catalog).await;
    {
        let transaction = catalog.begin_transaction().await.unwrap();
        append(&*transaction.catalog(), &table, "a").await;
        create_table(&*transaction.catalog(), &ident("s", "u"), &[]).await;
        // Never committed, never rolled back.
    }
    catalog.database().close().await;
    let again = open_local(folder.path()).await;
    assert_eq!(location(&*again, "t").await, table.metadata_location);
    assert_eq!(again.list_tables("s").await.unwrap(), ["t"]);
    assert!(all_files(&again).await.len() > before.len());

    // It may be that of a coordinator that lives.
    let lease = Duration::from_secs(3600);
    assert_eq!(again.roll_back_abandoned(lease).await.unwrap(), 0);
    assert_eq!(again.roll_back_abandoned(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(all_files(&again).await, before);
    assert_eq!(again.roll_back_abandoned(Duration::ZERO).await.unwrap(), 0);
    let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM catalog_refs")
        .fetch_one(again.database().pool())
        .await
        .unwrap();
    assert_eq!(rows, 1);

    // One that lives and was thought dead cannot be committed any more.
    let transaction = again.begin_transaction().await.unwrap();
    append(&*transaction.catalog(), &table, "b").await;
    assert_eq!(again.roll_back_abandoned(Duration::ZERO).await.unwrap(), 1);
    let error = transaction.commit().await.unwrap_err();
    assert!(
        matches!(error, CatalogError::ReferenceEnded { .. }),
        "{error}"
    );
    assert_eq!(location(&*again, "t").await, table.metadata_location);
}

#[tokio::test]
async fn a_transaction_on_a_branch_is_merged_into_that_branch() {
    let (_folder, catalog) = local_catalog().await;
    let table = create_table(&*catalog, &ident("s", "t"), &[]).await;
    let fork = branch(&*catalog, "b").await;
    let transaction = fork.versioned().unwrap().begin_transaction().await.unwrap();
    let changed = append(&*transaction.catalog(), &table, "a").await;
    transaction.commit().await.unwrap();
    assert_eq!(location(&*fork, "t").await, changed.metadata_location);
    assert_eq!(location(&*catalog, "t").await, table.metadata_location);
    catalog.merge_branch("b", "main").await.unwrap();
    assert_eq!(location(&*catalog, "t").await, changed.metadata_location);
}

#[tokio::test]
async fn commits_name_their_author() {
    let (_folder, catalog) = local_catalog().await;
    let anna = catalog.by_author("anna");
    anna.create_schema("t", HashMap::new()).await.unwrap();
    let transaction = anna.versioned().unwrap().begin_transaction().await.unwrap();
    create_table(&*transaction.catalog(), &ident("t", "u"), &[]).await;
    transaction.commit().await.unwrap();
    let log = catalog.log(10).await.unwrap();
    let authors: Vec<_> = log.iter().map(|entry| entry.author.as_str()).collect();
    assert_eq!(authors, ["anna", "anna", "ingot"]);
    assert_eq!(log[1].message, "create schema t");
    assert_eq!(log[0].parent, Some(log[1].version.clone()));
}
