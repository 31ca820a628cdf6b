//! Random sequences of forks, changes, merges, tags and transactions against maps in memory:
//! at every moment each branch, tag, version and transaction has what its map has, a merge is
//! refused when the maps say so, and a rollback leaves exactly the files that were there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use common::*;
use iceberg::TableUpdate;
use ingot_catalog::commit::{append_files, commit_metadata};
use ingot_catalog::{
    Catalog, CatalogError, CatalogReference, CatalogReferenceKind, CatalogTransaction, Database,
    MergeReport, SqlCatalog, VersionId, VersionedCatalog, ViewDefinition,
};
use ingot_test_support::Postgres;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};

/// Schema and name; the name of a schema itself is empty.
type Name = (String, String);

/// What a name stands for: `schema`, or `table` or `view` with its metadata location.
type Content = (&'static str, String);

type State = BTreeMap<Name, Content>;

#[derive(Clone, Default)]
struct ModelBranch {
    state: State,
    /// The branch that it was made from, and what that one had then.
    parent: Option<usize>,
    at_fork: State,
    /// What was changed on it at any time.
    touched: BTreeSet<Name>,
    /// What its merges published last.
    published: BTreeMap<Name, Option<Content>>,
    is_tag: bool,
}

impl ModelBranch {
    fn set(&mut self, name: &Name, content: Option<Content>) {
        self.touched.insert(name.clone());
        match content {
            Some(content) => self.state.insert(name.clone(), content),
            None => self.state.remove(name),
        };
    }

    fn has_objects(&self, schema: &str) -> bool {
        self.state
            .keys()
            .any(|(of_schema, name)| of_schema == schema && !name.is_empty())
    }
}

struct OpenTransaction {
    handle: Arc<dyn CatalogTransaction>,
    /// Its place among the branches.
    branch: usize,
    /// Files that only its statements wrote.
    files: BTreeSet<String>,
}

struct Run {
    catalog: Arc<SqlCatalog>,
    random: StdRng,
    /// Those that were dropped stay, because others were made from them.
    branches: Vec<ModelBranch>,
    names: BTreeMap<String, usize>,
    transactions: Vec<OpenTransaction>,
    /// What was committed, by version.
    versions: Vec<(VersionId, State)>,
    files: BTreeSet<String>,
    /// The metadata files of views among them.
    view_files: BTreeSet<String>,
    next: usize,
    merges: usize,
    conflicts: usize,
}

const SCHEMAS: [&str; 2] = ["s", "t"];
const OBJECTS: [&str; 3] = ["a", "b", "c"];

fn view(text: &str) -> ViewDefinition {
    ViewDefinition {
        sql: text.to_string(),
        default_catalog: None,
        default_schema: "s".to_string(),
        schema: schema(),
        query_columns: vec!["id".to_string(), "day".to_string(), "name".to_string()],
        comment: None,
        materialization: None,
    }
}

impl Run {
    fn main(catalog: Arc<SqlCatalog>, seed: u64) -> Self {
        Self {
            catalog,
            random: StdRng::seed_from_u64(seed),
            branches: vec![ModelBranch::default()],
            names: BTreeMap::from([("main".to_string(), 0)]),
            transactions: Vec::new(),
            versions: Vec::new(),
            files: BTreeSet::new(),
            view_files: BTreeSet::new(),
            next: 0,
            merges: 0,
            conflicts: 0,
        }
    }

    /// A handle of a branch, and of a transaction if it is that of one.
    async fn handle(&self, branch: usize) -> Arc<dyn Catalog> {
        let open = self.transactions.iter();
        if let Some(open) = open.clone().find(|open| open.branch == branch) {
            return open.handle.catalog();
        }
        let name = self.names.iter().find(|(_, index)| **index == branch);
        let name = name.unwrap().0.clone();
        let reference = match self.branches[branch].is_tag {
            true => CatalogReference::Tag(name),
            false => CatalogReference::Branch(name),
        };
        self.catalog.at(&reference).await.unwrap()
    }

    /// Branches and transactions that can be changed.
    fn writable(&self) -> Vec<usize> {
        let named = self.names.values().copied();
        let named = named.filter(|index| !self.branches[*index].is_tag);
        let open = self.transactions.iter().map(|open| open.branch);
        named.chain(open).collect()
    }

    async fn disk(&self) -> BTreeSet<String> {
        let storage = self.catalog.storage();
        let listed = storage.list(self.catalog.warehouse()).await.unwrap();
        listed.into_iter().map(|file| file.location).collect()
    }

    async fn step(&mut self) -> String {
        match self.random.random_range(0..20) {
            0..=1 => self.fork().await,
            2 => self.tag_or_drop().await,
            3..=5 => self.merge().await,
            6 => self.begin().await,
            7..=8 => self.end_transaction().await,
            _ => self.change().await,
        }
    }

    async fn fork(&mut self) -> String {
        if self.names.len() > 6 {
            return "too many branches".to_string();
        }
        self.next += 1;
        let name = format!("branch {}", self.next);
        let from_version = self.random.random_range(0..4) == 0;
        let picked = self.versions.choose(&mut self.random).cloned();
        if let (true, Some((version, state))) = (from_version, picked) {
            let reference = CatalogReference::Version(version.clone());
            let from = Some(&reference);
            let kind = CatalogReferenceKind::Branch;
            let info = self.catalog.create_reference(kind, &name, from).await;
            // Whose version it was, the catalog knows; the model never merges it.
            info.unwrap();
            self.names.insert(name.clone(), self.branches.len());
            self.branches.push(ModelBranch {
                at_fork: state.clone(),
                state,
                ..ModelBranch::default()
            });
            return format!("make {name} from version {version}");
        }
        let (from_name, from) = self.names.iter().choose(&mut self.random).unwrap();
        let (from_name, from) = (from_name.clone(), *from);
        let reference = CatalogReference::Named(from_name.clone());
        let kind = CatalogReferenceKind::Branch;
        let created = self.catalog.create_reference(kind, &name, Some(&reference));
        created.await.unwrap();
        let state = self.branches[from].state.clone();
        let is_tag = self.branches[from].is_tag;
        self.names.insert(name.clone(), self.branches.len());
        self.branches.push(ModelBranch {
            at_fork: state.clone(),
            state,
            // One made from a tag belongs to the branch that the tag is of; not merged here.
            parent: (!is_tag).then_some(from),
            ..ModelBranch::default()
        });
        format!("make {name} from {from_name}")
    }

    async fn tag_or_drop(&mut self) -> String {
        if self.names.len() > 3 {
            let others = self.names.iter().filter(|(name, _)| *name != "main");
            let (name, index) = others.choose(&mut self.random).unwrap();
            let (name, index) = (name.clone(), *index);
            // A transaction on a branch that is dropped cannot be committed.
            let is_used = |open: &OpenTransaction| self.branches[open.branch].parent == Some(index);
            if self.transactions.iter().any(is_used) {
                return "drop nothing".to_string();
            }
            let kind = match self.branches[index].is_tag {
                true => CatalogReferenceKind::Tag,
                false => CatalogReferenceKind::Branch,
            };
            self.catalog.drop_reference(kind, &name).await.unwrap();
            self.names.remove(&name);
            return format!("drop {name}");
        }
        self.next += 1;
        let name = format!("tag {}", self.next);
        let from = self.writable().into_iter();
        let from = from.filter(|index| self.transactions.iter().all(|open| open.branch != *index));
        let from = from.choose(&mut self.random).unwrap();
        let handle = self.handle(from).await;
        let versioned = handle.versioned().unwrap();
        let kind = CatalogReferenceKind::Tag;
        versioned.create_reference(kind, &name, None).await.unwrap();
        self.names.insert(name.clone(), self.branches.len());
        self.branches.push(ModelBranch {
            state: self.branches[from].state.clone(),
            is_tag: true,
            ..ModelBranch::default()
        });
        format!("make {name}")
    }

    async fn merge(&mut self) -> String {
        let merges: Vec<_> = self
            .names
            .iter()
            .filter_map(|(name, index)| {
                let parent = self.branches[*index].parent?;
                let parent_name = self.names.iter().find(|(_, other)| **other == parent)?.0;
                Some((name.clone(), *index, parent_name.clone(), parent))
            })
            .collect();
        let Some((name, index, target_name, target)) = merges.choose(&mut self.random).cloned()
        else {
            return "merge nothing".to_string();
        };
        let expected = self.model_merge(index, target);
        let merged = self.catalog.merge_branch(&name, &target_name).await;
        let what = format!("merge {name} into {target_name}");
        self.compare_merge(&what, (index, target), expected, merged.as_ref());
        what
    }

    /// The changes that a merge would publish, or the names that are in conflict.
    fn model_merge(
        &self,
        source: usize,
        target: usize,
    ) -> Result<BTreeMap<Name, Option<Content>>, BTreeSet<Name>> {
        let (source, target) = (&self.branches[source], &self.branches[target]);
        let (mut changes, mut conflicts) = (BTreeMap::new(), BTreeSet::new());
        let mut outcome = target.clone();
        for name in &source.touched {
            let (theirs, ours) = (source.state.get(name), target.state.get(name));
            let agreed = match source.published.get(name) {
                Some(published) => published.as_ref(),
                None => source.at_fork.get(name),
            };
            if theirs == agreed {
                continue;
            }
            if ours != agreed {
                conflicts.insert(name.clone());
                continue;
            }
            changes.insert(name.clone(), theirs.cloned());
            outcome.set(name, theirs.cloned());
        }
        for ((schema, name), content) in &changes {
            let schema_row = (schema.clone(), String::new());
            let is_broken = match (name.is_empty(), content.is_some()) {
                (true, false) => outcome.has_objects(schema),
                (false, true) => !outcome.state.contains_key(&schema_row),
                _ => false,
            };
            if is_broken {
                conflicts.insert(schema_row);
            }
        }
        match conflicts.is_empty() {
            true => Ok(changes),
            false => Err(conflicts),
        }
    }

    /// Checks the outcome of a merge and applies it to the model.
    fn compare_merge(
        &mut self,
        what: &str,
        (source, target): (usize, usize),
        expected: Result<BTreeMap<Name, Option<Content>>, BTreeSet<Name>>,
        merged: Result<&MergeReport, &CatalogError>,
    ) {
        match (expected, merged) {
            (Ok(changes), Ok(report)) => {
                let changed = report.changed.iter();
                let changed: BTreeSet<_> = changed.map(|text| name_of(text)).collect();
                let names: BTreeSet<_> = changes.keys().cloned().collect();
                assert_eq!(changed, names, "{what}");
                assert_eq!(report.version.is_none(), changes.is_empty(), "{what}");
                for (name, content) in &changes {
                    self.branches[target].set(name, content.clone());
                    let published = &mut self.branches[source].published;
                    published.insert(name.clone(), content.clone());
                }
                if let Some(version) = &report.version {
                    let state = self.branches[target].state.clone();
                    self.versions.push((version.clone(), state));
                    self.merges += 1;
                }
            }
            (
                Err(names),
                Err(
                    CatalogError::MergeConflict { objects, .. }
                    | CatalogError::TransactionConflict { objects, .. },
                ),
            ) => {
                let objects: BTreeSet<_> = objects.iter().map(|text| name_of(text)).collect();
                assert_eq!(objects, names, "{what}");
                self.conflicts += 1;
            }
            (expected, merged) => panic!("{what}: expected {expected:?}, found {merged:?}"),
        }
    }

    async fn begin(&mut self) -> String {
        if self.transactions.len() >= 2 {
            return "too many transactions".to_string();
        }
        let writable = self.writable().into_iter();
        let named = writable.filter(|index| self.names.values().any(|other| other == index));
        let on = named.choose(&mut self.random).unwrap();
        let handle = self.handle(on).await;
        let begun = handle.versioned().unwrap().begin_transaction();
        self.transactions.push(OpenTransaction {
            handle: begun.await.unwrap(),
            branch: self.branches.len(),
            files: BTreeSet::new(),
        });
        let state = self.branches[on].state.clone();
        self.branches.push(ModelBranch {
            at_fork: state.clone(),
            state,
            parent: Some(on),
            ..ModelBranch::default()
        });
        format!("begin a transaction on branch {on}")
    }

    async fn end_transaction(&mut self) -> String {
        if self.transactions.is_empty() {
            return "end nothing".to_string();
        }
        let index = self.random.random_range(0..self.transactions.len());
        let open = self.transactions.swap_remove(index);
        let target = self.branches[open.branch].parent.unwrap();
        let mut is_published = false;
        if self.random.random_range(0..3) > 0 {
            let expected = self.model_merge(open.branch, target);
            let merged = open.handle.commit().await;
            self.compare_merge("commit", (open.branch, target), expected, merged.as_ref());
            is_published = merged.is_ok();
        }
        let mut gone = open.files;
        if is_published {
            // What it wrote of views and replaced or dropped again goes with it.
            let state = &self.branches[open.branch].state;
            let is_left = |file: &String| state.values().any(|(_, content)| content == file);
            gone.retain(|file| self.view_files.contains(file) && !is_left(file));
        } else {
            open.handle.roll_back().await.unwrap();
        }
        self.files = self.files.difference(&gone).cloned().collect();
        format!("end a transaction on branch {target}: published {is_published}")
    }

    async fn change(&mut self) -> String {
        let index = self.writable().choose(&mut self.random).copied().unwrap();
        let handle = self.handle(index).await;
        let schema = SCHEMAS.choose(&mut self.random).unwrap().to_string();
        let object = OBJECTS.choose(&mut self.random).unwrap().to_string();
        let before = self.branches[index].clone();
        let name = (schema.clone(), object.clone());
        let schema_row = (schema.clone(), String::new());
        let what = self
            .change_object(&*handle, index, &name, &schema_row)
            .await;

        if let Some(("view", location)) = self.branches[index].state.get(&name) {
            self.view_files.insert(location.clone());
        }
        let disk = self.disk().await;
        let new_files = disk.difference(&self.files).cloned();
        let new_files: BTreeSet<String> = new_files.collect();
        self.files.extend(new_files.iter().cloned());
        let mut open = self.transactions.iter_mut();
        if let Some(open) = open.find(|open| open.branch == index) {
            open.files.extend(new_files);
        } else if before.state != self.branches[index].state {
            let log = self.catalog.log(1).await.unwrap();
            let state = self.branches[index].state.clone();
            self.versions.push((log[0].version.clone(), state));
        }
        format!("{what} on branch {index}")
    }

    async fn change_object(
        &mut self,
        handle: &dyn Catalog,
        index: usize,
        name: &Name,
        schema_row: &Name,
    ) -> String {
        let (schema, object) = name;
        let ident = ident(schema, object);
        let branch = &mut self.branches[index];
        if !branch.state.contains_key(schema_row) {
            handle.create_schema(schema, HashMap::new()).await.unwrap();
            branch.set(schema_row, Some(("schema", "{}".to_string())));
            return format!("create schema {schema}");
        }
        let choice = self.random.random_range(0..8);
        if choice == 0 {
            let dropped = handle.drop_schema(schema).await;
            match branch.has_objects(schema) {
                true => drop(dropped.unwrap_err()),
                false => {
                    dropped.unwrap();
                    branch.set(schema_row, None);
                }
            }
            return format!("drop schema {schema}");
        }
        match branch.state.get(name).cloned() {
            None if choice < 6 => {
                let table = create_table(handle, &ident, &[]).await;
                let location = table.metadata_location.unwrap();
                branch.set(name, Some(("table", location)));
                format!("create table {schema}.{object}")
            }
            None => {
                let created = handle.put_view(&ident, view("SELECT 1"), false).await;
                let location = created.unwrap().metadata_location;
                branch.set(name, Some(("view", location)));
                format!("create view {schema}.{object}")
            }
            Some(("view", _)) if choice < 4 => {
                let replaced = handle.put_view(&ident, view("SELECT 2"), true).await;
                let location = replaced.unwrap().metadata_location;
                branch.set(name, Some(("view", location)));
                format!("replace view {schema}.{object}")
            }
            Some(("view", _)) => {
                handle.drop_view(&ident).await.unwrap();
                branch.set(name, None);
                format!("drop view {schema}.{object}")
            }
            Some(_) if choice == 1 => {
                handle.drop_table(&ident).await.unwrap();
                branch.set(name, None);
                format!("drop table {schema}.{object}")
            }
            Some(content) if choice == 2 => {
                let to = *OBJECTS.choose(&mut self.random).unwrap();
                let new_name = (schema.clone(), to.to_string());
                let new_ident = common::ident(schema, to);
                let renamed = handle.rename_table(&ident, &new_ident).await;
                match branch.state.contains_key(&new_name) {
                    true => drop(renamed.unwrap_err()),
                    false => {
                        renamed.unwrap();
                        branch.set(name, None);
                        branch.set(&new_name, Some(content));
                    }
                }
                format!("rename table {schema}.{object} to {to}")
            }
            Some(_) if choice == 3 => {
                self.next += 1;
                let value = self.next.to_string();
                let table = commit_metadata(handle, &ident, |_| {
                    Ok(vec![TableUpdate::SetProperties {
                        updates: properties(&[("p", &value)]),
                    }])
                });
                let location = table.await.unwrap().metadata_location.unwrap();
                branch.set(name, Some(("table", location)));
                format!("change table {schema}.{object}")
            }
            Some(_) => {
                let table = handle.load_table(&ident).await.unwrap();
                self.next += 1;
                let files = vec![data_file(&table, &format!("f{}", self.next), 1)];
                let table = append_files(handle, &table, files, no_summary()).await;
                let location = table.unwrap().metadata_location.unwrap();
                branch.set(name, Some(("table", location)));
                format!("append to table {schema}.{object}")
            }
        }
    }

    async fn check(&self, what: &str) {
        let named = self.names.values().copied();
        let open = self.transactions.iter().map(|open| open.branch);
        for index in named.chain(open) {
            let state = state_of(&*self.handle(index).await).await;
            assert_eq!(state, self.branches[index].state, "{what}: branch {index}");
        }
        let mut listed: Vec<_> = self.catalog.references().await.unwrap();
        listed.sort_by(|left, right| left.name.cmp(&right.name));
        let listed: Vec<_> = listed.into_iter().map(|info| info.name).collect();
        let expected: Vec<_> = self.names.keys().cloned().collect();
        assert_eq!(listed, expected, "{what}");
        assert_eq!(self.disk().await, self.files, "{what}");
    }

    /// Every version that was ever committed can still be read.
    async fn check_versions(&self, what: &str) {
        for (version, expected) in &self.versions {
            let reference = CatalogReference::Version(version.clone());
            let state = self.catalog.at(&reference).await.unwrap();
            assert_eq!(state_of(&*state).await, *expected, "{what}: {version}");
        }
    }
}

/// `table s.a` and `schema s` as names of the model.
fn name_of(text: &str) -> Name {
    let (kind, name) = text.split_once(' ').unwrap();
    match kind {
        "schema" => (name.to_string(), String::new()),
        _ => {
            let (schema, object) = name.split_once('.').unwrap();
            (schema.to_string(), object.to_string())
        }
    }
}

/// Everything that a handle sees, through the calls that SQL uses.
async fn state_of(handle: &dyn Catalog) -> State {
    let mut state = State::new();
    for schema in handle.list_schemas().await.unwrap() {
        state.insert(
            (schema.clone(), String::new()),
            ("schema", "{}".to_string()),
        );
        for table in handle.list_tables(&schema).await.unwrap() {
            let loaded = handle.load_table(&ident(&schema, &table)).await.unwrap();
            let location = loaded.metadata_location.unwrap();
            state.insert((schema.clone(), table), ("table", location));
        }
        for view in handle.list_views(&schema).await.unwrap() {
            let loaded = handle.load_view(&ident(&schema, &view)).await.unwrap();
            state.insert((schema.clone(), view), ("view", loaded.metadata_location));
        }
    }
    state
}

async fn open(url: &str, folder: &Path) -> Arc<SqlCatalog> {
    let database = Database::connect(url).await.unwrap();
    let warehouse = folder.join("warehouse").display().to_string();
    SqlCatalog::open("iceberg", database, local_storage(), &warehouse)
        .await
        .unwrap()
}

async fn run(url: &str, steps: usize) {
    let seed = match std::env::var("INGOT_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::rng().random::<u64>(),
    };
    println!("INGOT_TEST_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let catalog = open(url, folder.path()).await;
    let mut run = Run::main(catalog, seed);
    for number in 0..steps {
        let what = run.step().await;
        println!("step {number}: {what}");
        run.check(&format!("seed {seed}, step {number}: {what}"))
            .await;
    }
    run.check_versions(&format!("seed {seed}")).await;
    println!("{} merges, {} conflicts", run.merges, run.conflicts);
    // The same for a process that starts now, which ends what nobody else will.
    for transaction in std::mem::take(&mut run.transactions) {
        run.files = run.files.difference(&transaction.files).cloned().collect();
    }
    run.catalog = open(url, folder.path()).await;
    let none = std::time::Duration::ZERO;
    run.catalog.roll_back_abandoned(none).await.unwrap();
    run.check(&format!("seed {seed}, opened again")).await;
    run.check_versions(&format!("seed {seed}, opened again"))
        .await;
}

#[tokio::test]
async fn random_branches_agree_with_maps_on_sqlite() {
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("catalog.db").display());
        run(&url, 150).await;
    }
}

#[tokio::test]
async fn random_branches_agree_with_maps_on_postgresql() {
    let Some(server) = Postgres::start() else {
        return;
    };
    run(&server.url(), 150).await;
}

/// Transactions that all add to one of two counters (tables), as many as there are tasks: each
/// one that was committed is in the history, and none overwrote another.
async fn concurrent_transactions(catalogs: &[Arc<SqlCatalog>]) {
    let first = &catalogs[0];
    first.create_schema("s", HashMap::new()).await.unwrap();
    for name in ["x", "y"] {
        create_table(&**first, &ident("s", name), &[]).await;
    }
    let tasks = (0..8).map(|task| {
        let catalog = Arc::clone(&catalogs[task % catalogs.len()]);
        tokio::spawn(async move {
            let mut committed = Vec::new();
            for round in 0..4 {
                let transaction = catalog.begin_transaction().await.unwrap();
                let inside = transaction.catalog();
                let file = format!("t{task}-r{round}");
                // Both tables get the file, or none.
                for name in ["x", "y"] {
                    let table = inside.load_table(&ident("s", name)).await.unwrap();
                    let files = vec![data_file(&table, &file, 1)];
                    append_files(&*inside, &table, files, no_summary())
                        .await
                        .unwrap();
                }
                match transaction.commit().await {
                    Ok(_) => committed.push(file),
                    Err(CatalogError::TransactionConflict { .. }) => {
                        transaction.roll_back().await.unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            committed
        })
    });
    let mut committed = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        committed.extend(task.await.unwrap());
    }
    committed.sort();
    assert!(!committed.is_empty());
    println!("{} of 32 transactions were committed", committed.len());
    let mut tables = Vec::new();
    for name in ["x", "y"] {
        let table = first.load_table(&ident("s", name)).await.unwrap();
        let version = ingot_catalog::TableVersion::Current;
        let files = live_files(first.storage(), &table, &version).await;
        assert_eq!(names(&files), committed);
        tables.push(table);
    }
    let left = orphans(first.storage(), first.warehouse(), &tables).await;
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transactions_race_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("catalog.db").display());
    let catalog = open(&url, folder.path()).await;
    concurrent_transactions(&[catalog]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transactions_race_on_postgresql() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut catalogs = Vec::new();
    for _ in 0..3 {
        catalogs.push(open(&server.url(), folder.path()).await);
    }
    concurrent_transactions(&catalogs).await;
}
