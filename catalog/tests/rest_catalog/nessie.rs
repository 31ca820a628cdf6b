//! Branches, tags and versions of the whole catalog, where the server is Nessie.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ingot_catalog::commit::append_files;
use ingot_catalog::maintenance::{
    ExpireOptions, OrphanOptions, expire_snapshots, remove_orphan_files,
};
use ingot_catalog::{
    Catalog, CatalogError, CatalogReference, CatalogReferenceKind, RestAuthentication, RestCatalog,
    Table, TableVersion, VersionId, VersionedCatalog,
};

use crate::common::*;
use crate::nessie_server::NessieServer;

const BRANCH: CatalogReferenceKind = CatalogReferenceKind::Branch;
const TAG: CatalogReferenceKind = CatalogReferenceKind::Tag;

/// A server with the schema `s`, and a client.
async fn started() -> (tempfile::TempDir, NessieServer, Arc<RestCatalog>) {
    let (folder, catalog) = local_catalog().await;
    let server = NessieServer::start(catalog).await;
    let client = server.open().await;
    (folder, server, client)
}

async fn branch(catalog: &dyn VersionedCatalog, name: &str) -> Arc<dyn Catalog> {
    let created = catalog.create_reference(BRANCH, name, None).await;
    created.unwrap();
    at(catalog, CatalogReference::Branch(name.to_string())).await
}

async fn at(catalog: &dyn VersionedCatalog, reference: CatalogReference) -> Arc<dyn Catalog> {
    catalog.at(&reference).await.unwrap()
}

async fn append(catalog: &dyn Catalog, table: &Table, file: &str) -> Table {
    let files = vec![data_file(table, file, 1)];
    let appended = append_files(catalog, table, files, no_summary()).await;
    appended.unwrap()
}

async fn location(catalog: &dyn Catalog, table: &str) -> Option<String> {
    let loaded = catalog.load_table(&ident("s", table)).await;
    loaded.unwrap().metadata_location
}

#[tokio::test]
async fn branches_and_tags_are_made_listed_and_dropped() {
    let (_folder, server, client) = started().await;
    assert_eq!(client.default_branch(), "main");
    assert!(!client.has_numbered_versions());
    for (kind, name) in [(BRANCH, "dev"), (TAG, "v1"), (BRANCH, "a-b.c_1")] {
        let made = client.create_reference(kind, name, None).await.unwrap();
        assert_eq!((made.kind, made.name.as_str()), (kind, name));
        assert_eq!(made.parent.as_deref(), Some("main"));
        assert_eq!(made.forked_at, Some(made.version));
    }
    let listed = client.references().await.unwrap();
    let names: Vec<_> = listed.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["main", "a-b.c_1", "dev", "v1"]);
    // Two on a page.
    assert_eq!(server.count("GET", "/trees"), 2);
    assert_eq!((listed[2].kind, listed[3].kind), (BRANCH, TAG));
    assert_eq!(listed[0].version, listed[2].version);
    assert!(matches!(&listed[0].version, VersionId::Hash(hash) if hash.len() == 64));

    for (kind, name, expected) in [
        (BRANCH, "dev", "branch dev already exists"),
        (BRANCH, "v1", "tag v1 already exists"),
    ] {
        let error = client.create_reference(kind, name, None).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    for name in ["", "1a", "main@0a1b2c3d", "a|b", "deadbeef", "HEAD", "-"] {
        let error = client.create_reference(BRANCH, name, None).await;
        let error = error.unwrap_err();
        assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
    }
    let error = client.drop_reference(TAG, "dev").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "dev is a branch of catalog lake, not a tag"
    );
    client.drop_reference(BRANCH, "dev").await.unwrap();
    client.drop_reference(TAG, "v1").await.unwrap();
    assert_eq!(client.references().await.unwrap().len(), 2);
    let error = client.drop_reference(BRANCH, "main").await.unwrap_err();
    assert!(error.to_string().contains("cannot be dropped"), "{error}");
}

#[tokio::test]
async fn names_that_are_not_there_have_a_nearest_one() {
    let (_folder, _server, client) = started().await;
    client.create_reference(BRANCH, "dev", None).await.unwrap();
    client.create_reference(TAG, "dve_1", None).await.unwrap();
    let unknown = "0a1b2c3d0a1b2c3d";
    for (reference, expected) in [
        (
            CatalogReference::Branch("dve".to_string()),
            "catalog lake has no branch dve; did you mean dev?",
        ),
        (
            CatalogReference::Named("dv".to_string()),
            "catalog lake has no branch or tag dv; did you mean dev?",
        ),
        (
            CatalogReference::Tag("dev".to_string()),
            "dev is a branch of catalog lake, not a tag",
        ),
        (
            // It would name something else in a path.
            CatalogReference::Branch("dev@0a1b2c3d".to_string()),
            "catalog lake has no branch dev@0a1b2c3d",
        ),
        (
            CatalogReference::Version(VersionId::Hash(unknown.to_string())),
            "catalog lake has no version 0a1b2c3d0a1b2c3d",
        ),
        (
            CatalogReference::Version(VersionId::Number(7)),
            "catalog lake has no version 7: its versions are hashes",
        ),
        (
            CatalogReference::TimestampMillis(0),
            "catalog lake has no version at 1970-01-01 00:00:00.000 UTC: it is before its first \
             commit",
        ),
    ] {
        let error = client.at(&reference).await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let dropped = client.drop_reference(BRANCH, "dve").await;
    let error = dropped.unwrap_err().to_string();
    assert!(error.ends_with("did you mean dev?"), "{error}");
    let merged = client.merge_branch("dev", "mian").await;
    let error = merged.unwrap_err().to_string();
    assert!(error.ends_with("did you mean main?"), "{error}");
}

#[tokio::test]
async fn a_branch_is_changed_by_itself_and_merged() {
    let (_folder, server, client) = started().await;
    let one = create_table(&*client, &ident("s", "one"), &[]).await;
    let two = create_table(&*client, &ident("s", "two"), &[]).await;
    let fork = branch(&*client, "dev").await;
    let on_fork = append(&*fork, &one, "a").await;
    fork.create_schema("t", HashMap::new()).await.unwrap();
    create_table(&*fork, &ident("t", "three"), &[]).await;
    assert_eq!(location(&*client, "one").await, one.metadata_location);
    assert_eq!(client.list_schemas().await.unwrap(), ["s"]);
    // Others may change what the branch did not.
    append(&*client, &two, "b").await;

    let report = client.merge_branch("dev", "main").await.unwrap();
    assert_eq!(report.changed, ["s.one", "t", "t.three"]);
    assert_eq!(location(&*client, "one").await, on_fork.metadata_location);
    assert_eq!(client.list_tables("t").await.unwrap(), ["three"]);
    let newest = client.log(1).await.unwrap().remove(0);
    assert_eq!(Some(newest.version), report.version);
    assert_eq!(newest.branch.as_deref(), Some("main"));
    let head_of_dev = client.references().await.unwrap()[1].version.clone();
    assert_eq!(newest.merged, Some(head_of_dev));

    let again = client.merge_branch("dev", "main").await.unwrap();
    assert_eq!((again.version, again.changed.len()), (None, 0));
    let error = client.merge_branch("dev", "dev").await.unwrap_err();
    assert!(error.to_string().contains("it is the same"), "{error}");
    let there = at(
        &*server.catalog,
        CatalogReference::Branch("dev".to_string()),
    )
    .await;
    assert_eq!(location(&*there, "one").await, on_fork.metadata_location);
}

#[tokio::test]
async fn a_conflict_names_all_that_both_branches_changed() {
    let (_folder, _server, client) = started().await;
    let one = create_table(&*client, &ident("s", "one"), &[]).await;
    let two = create_table(&*client, &ident("s", "two"), &[]).await;
    let fork = branch(&*client, "dev").await;
    for table in [&two, &one] {
        append(&*fork, table, "a").await;
        append(&*client, table, "b").await;
    }
    create_table(&*fork, &ident("s", "three"), &[]).await;
    let error = client.merge_branch("dev", "main").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "branch dev cannot be merged into main: both changed s.one, s.two, and nothing was \
         merged; make the changes of dev again on a new branch of main"
    );
    assert_eq!(client.list_tables("s").await.unwrap(), ["one", "two"]);
}

#[tokio::test]
async fn tags_and_versions_stay_where_they_are() {
    let (_folder, _server, client) = started().await;
    let first = create_table(&*client, &ident("s", "t"), &[]).await;
    let tag = client.create_reference(TAG, "v1", None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let before = chrono::Utc::now().timestamp_millis();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let second = append(&*client, &first, "a").await;
    for reference in [
        CatalogReference::Tag("v1".to_string()),
        CatalogReference::Named("v1".to_string()),
        CatalogReference::Version(tag.version.clone()),
        CatalogReference::TimestampMillis(before),
    ] {
        let state = at(&*client, reference).await;
        assert_eq!(location(&*state, "t").await, first.metadata_location);
        let refused = [
            state.drop_table(&first.ident).await.err(),
            state.create_schema("x", HashMap::new()).await.err(),
            state.drop_schema("s").await.err(),
            state
                .rename_table(&first.ident, &ident("s", "u"))
                .await
                .err(),
            state.commit(Vec::new()).await.err(),
        ];
        for error in refused {
            let error = error.unwrap().to_string();
            assert!(error.ends_with("make a branch from it"), "{error}");
        }
        // A state of a state, and a branch of it.
        let versioned = state.versioned().unwrap();
        let same = at(versioned, CatalogReference::TimestampMillis(before)).await;
        assert_eq!(location(&*same, "t").await, first.metadata_location);
        let made = versioned.create_reference(BRANCH, "rescue", None).await;
        assert_eq!(made.unwrap().version, tag.version);
        let rescue = at(&*client, CatalogReference::Branch("rescue".to_string())).await;
        append(&*rescue, &first, "b").await;
        client.drop_reference(BRANCH, "rescue").await.unwrap();
    }
    assert_eq!(location(&*client, "t").await, second.metadata_location);
    let from = CatalogReference::Version(tag.version.clone());
    let made = client.create_reference(BRANCH, "old", Some(&from)).await;
    let made = made.unwrap();
    assert_eq!((made.parent, made.forked_at), (None, Some(tag.version)));
}

#[tokio::test]
async fn the_state_that_a_repository_begins_with_is_a_version() {
    let folder = tempfile::tempdir().unwrap();
    let server = NessieServer::start(open_local(folder.path()).await).await;
    let client = server.open().await;
    let root = client.references().await.unwrap()[0].version.clone();
    let version = CatalogReference::Version(root.clone());
    let state = at(&*client, version.clone()).await;
    let made = client.create_reference(BRANCH, "dev", Some(&version)).await;
    assert_eq!(made.unwrap().version, root);
    client.create_reference(TAG, "empty", None).await.unwrap();
    let tag = at(&*client, CatalogReference::Tag("empty".to_string())).await;
    for (handle, name) in [(state, "of_version"), (tag, "of_tag")] {
        let versioned = handle.versioned().unwrap();
        let made = versioned.create_reference(BRANCH, name, None).await;
        assert_eq!(made.unwrap().version, root);
    }
}

#[tokio::test]
async fn the_log_has_the_commits_of_all_branches_and_their_authors() {
    let (_folder, _server, client) = started().await;
    let ann = client.by_author("ann, who is here");
    let table = create_table(&*ann, &ident("s", "t"), &[]).await;
    // So that times tell the order.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let fork = branch(&*client, "dev").await;
    let bob = fork.versioned().unwrap().by_author("bob");
    append(&*bob, &table, "a").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let merged = bob.versioned().unwrap().merge_branch("dev", "main").await;
    let merged = merged.unwrap();

    let log = client.log(100).await.unwrap();
    let lines: Vec<_> = log
        .iter()
        .map(|entry| (entry.branch.as_deref().unwrap(), entry.author.as_str()))
        .collect();
    // The schema was made on the server.
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0], ("main", "bob"));
    assert_eq!(lines[1], ("dev", "bob"));
    assert_eq!(lines[2].0, "main");
    assert!(lines[2].1.starts_with("ann") && lines[2].1.ends_with("who is here"));
    assert_eq!(Some(log[0].version.clone()), merged.version);
    assert_eq!(log[0].merged, Some(log[1].version.clone()));
    assert_eq!(log[1].parent, Some(log[2].version.clone()));
    assert_eq!(log[0].changed, ["s.t"]);
    assert_eq!(log[3].changed, ["s"]);
    assert!(log[0].message.contains("dev"), "{}", log[0].message);
    assert_eq!(client.log(2).await.unwrap(), log[..2].to_vec());
}

#[tokio::test]
async fn no_file_is_deleted_that_another_branch_may_read() {
    let (_folder, _server, client) = started().await;
    let name = ident("s", "t");
    let table = create_table(&*client, &name, &[("gc.enabled", "true")]).await;
    let table = append(&*client, &table, "a").await;
    let fork = branch(&*client, "dev").await;
    let table = append(&*client, &table, "b").await;
    let options = ExpireOptions {
        now_ms: chrono::Utc::now().timestamp_millis() + 1_000_000,
        max_age_ms: Some(0),
        default_max_age_ms: 0,
        retain_last: None,
        clean_expired_metadata: false,
    };
    let expired = expire_snapshots(&*client, &name, options).await;
    let orphans = OrphanOptions {
        older_than_ms: i64::MAX,
        ..OrphanOptions::default()
    };
    let removed = remove_orphan_files(&*client, &name, &orphans).await;
    for error in [expired.map(drop).err(), removed.map(drop).err()] {
        let error = error.unwrap();
        assert!(matches!(error, CatalogError::Unsupported(_)), "{error}");
        let error = error.to_string();
        assert!(error.contains("own garbage collection"), "{error}");
    }
    assert_eq!(location(&*client, "t").await, table.metadata_location);
    let there = fork.load_table(&name).await.unwrap();
    let files = live_files(client.storage(), &there, &TableVersion::Current).await;
    assert_eq!(names(&files), ["a"]);
}

#[tokio::test]
async fn transactions_are_refused_with_what_to_do_instead() {
    let (_folder, _server, client) = started().await;
    let begun = client.begin_transaction().await;
    let error = begun.err().unwrap().to_string();
    assert!(error.contains("make a branch"), "{error}");
    assert_eq!(client.roll_back_abandoned(Duration::ZERO).await.unwrap(), 0);
}

#[tokio::test]
async fn requests_prove_the_user_and_are_repeated_as_others_are() {
    let (_folder, server, _client) = started().await;
    server.demand_token("hush");
    let mut options = server.options(&server.url);
    options.authentication = RestAuthentication::Token("hush".to_string());
    let opened = RestCatalog::open("lake", local_storage(), options).await;
    let client = opened.unwrap();
    server.plan("GET", "/trees", 503, false);
    assert_eq!(client.references().await.unwrap().len(), 1);
    // A change that may have happened is not made again.
    server.plan("POST", "/trees", 500, false);
    let error = client.create_reference(BRANCH, "dev", None).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, CatalogError::CommitStateUnknown { .. }),
        "{error}"
    );
    assert_eq!(server.count("POST", "/trees"), 1);
}

#[tokio::test]
async fn a_merge_whose_answer_is_lost_is_looked_for() {
    let (_folder, server, client) = started().await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    let fork = branch(&*client, "dev").await;
    append(&*fork, &table, "a").await;
    server.plan("POST", "/history/merge", 502, false);
    let error = client.merge_branch("dev", "main").await.unwrap_err();
    assert!(
        matches!(error, CatalogError::CommitStateUnknown { .. }),
        "{error}"
    );
    assert_eq!(location(&*client, "t").await, table.metadata_location);
    server.plan("POST", "/history/merge", 502, true);
    let report = client.merge_branch("dev", "main").await.unwrap();
    assert_eq!(report.changed, ["s.t"]);
    let newest = client.log(1).await.unwrap().remove(0);
    assert_eq!(Some(newest.version), report.version);
    assert_ne!(location(&*client, "t").await, table.metadata_location);
}

#[tokio::test]
async fn a_merge_that_comes_too_late_can_be_repeated() {
    let (_folder, server, client) = started().await;
    let table = create_table(&*client, &ident("s", "t"), &[]).await;
    let fork = branch(&*client, "dev").await;
    append(&*fork, &table, "a").await;
    server.plan("POST", "/history/merge", 409, false);
    let error = client.merge_branch("dev", "main").await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    let message = error.to_string();
    assert!(message.starts_with("commit to branch main"), "{message}");
    // Both branches are there, so that it is something else that is not.
    server.plan("POST", "/history/merge", 404, false);
    let error = client.merge_branch("dev", "main").await.unwrap_err();
    assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
    assert_eq!(
        error.to_string(),
        "branch dev cannot be merged into main, and nothing was merged: No common ancestor"
    );
    let report = client.merge_branch("dev", "main").await.unwrap();
    assert_eq!(report.changed, ["s.t"]);
}

#[tokio::test]
async fn an_address_may_name_the_branch_to_begin_on() {
    let (_folder, server, client) = started().await;
    let fork = branch(&*client, "dev").await;
    create_table(&*fork, &ident("s", "t"), &[]).await;
    let options = server.options(&format!("{}/dev", server.url));
    let opened = RestCatalog::open("lake", local_storage(), options).await;
    let on_dev = opened.unwrap();
    assert_eq!(on_dev.default_branch(), "dev");
    assert_eq!(on_dev.list_tables("s").await.unwrap(), ["t"]);
    assert_eq!(on_dev.references().await.unwrap()[0].name, "dev");
    let main = at(&*on_dev, CatalogReference::Branch("main".to_string())).await;
    assert!(main.list_tables("s").await.unwrap().is_empty());
    on_dev.merge_branch("dev", "main").await.unwrap();
    assert_eq!(main.list_tables("s").await.unwrap(), ["t"]);
}
