//! Random sequences of changes against a model in memory: at every moment the catalog
//! has the model's tables, every snapshot the model's files, and the disk nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, HashMap};

use common::*;
use iceberg::TableUpdate;
use iceberg::spec::SortOrder;
use ingot_catalog::commit::{
    append_files, commit_staged, delete_table_files, stage_create, stage_create_or_replace,
};
use ingot_catalog::{Catalog, SqlCatalog, Table, TableCommit, TableVersion};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// What a table should be.
#[derive(Clone)]
struct ModelTable {
    table: Table,
    /// The files now, sorted.
    files: Vec<String>,
    /// The files of each snapshot.
    history: Vec<(i64, Vec<String>)>,
}

impl ModelTable {
    fn committed(&mut self, table: Table, files: Vec<String>) {
        let before = self.history.last().map(|(snapshot, _)| *snapshot);
        let snapshot = table.metadata.current_snapshot_id();
        if snapshot != before {
            self.history.push((snapshot.unwrap(), files.clone()));
        }
        self.files = files;
        self.table = table;
    }
}

struct Run {
    catalog: std::sync::Arc<SqlCatalog>,
    model: BTreeMap<String, ModelTable>,
    random: StdRng,
    next_file: usize,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Run {
    fn new_files(&mut self, table: &Table) -> (Vec<String>, Vec<iceberg::spec::DataFile>) {
        let count = self.random.random_range(0..4);
        let names: Vec<_> = (0..count)
            .map(|_| {
                self.next_file += 1;
                format!("f{:05}", self.next_file)
            })
            .collect();
        let files = names
            .iter()
            .map(|name| data_file(table, name, self.random.random_range(0..3)))
            .collect();
        (names, files)
    }

    fn properties(&mut self) -> HashMap<String, String> {
        let format_version = *["1", "2", "2", "3"].choose(&mut self.random).unwrap();
        properties(&[
            ("format-version", format_version),
            ("commit.manifest.min-count-to-merge", "3"),
            (
                "commit.manifest-merge.enabled",
                if self.random.random() {
                    "true"
                } else {
                    "false"
                },
            ),
            ("write.metadata.previous-versions-max", "4"),
            ("write.metadata.delete-after-commit.enabled", "true"),
        ])
    }

    async fn step(&mut self) -> String {
        let name = *NAMES.choose(&mut self.random).unwrap();
        let known = self.model.get(name).cloned();
        match (self.random.random_range(0..10), known) {
            (_, None) => {
                let properties = self.properties();
                let staged = stage_create(
                    &*self.catalog,
                    &ident("s", name),
                    schema(),
                    by_day(),
                    SortOrder::unsorted_order(),
                    properties,
                )
                .await
                .unwrap();
                let (names, files) = self.new_files(staged.table());
                let mut known = ModelTable {
                    table: staged.table().clone(),
                    files: Vec::new(),
                    history: Vec::new(),
                };
                let table = commit_staged(&*self.catalog, staged, files).await.unwrap();
                known.committed(table, names);
                self.model.insert(name.to_string(), known);
                format!("create {name}")
            }
            (0, Some(known)) => {
                let dropped = self.catalog.drop_table(&known.table.ident).await.unwrap();
                let report = delete_table_files(self.catalog.storage(), &dropped)
                    .await
                    .unwrap();
                let mut files: Vec<_> = known
                    .history
                    .into_iter()
                    .flat_map(|(_, files)| files)
                    .collect();
                files.sort();
                files.dedup();
                assert_eq!(report.data_files, files.len());
                self.model.remove(name);
                format!("drop {name}")
            }
            (1, Some(mut known)) => {
                let to = *NAMES.choose(&mut self.random).unwrap();
                let renamed = self
                    .catalog
                    .rename_table(&known.table.ident, &ident("s", to))
                    .await;
                if self.model.contains_key(to) {
                    renamed.unwrap_err();
                } else {
                    renamed.unwrap();
                    self.model.remove(name);
                    known.table.ident = ident("s", to);
                    self.model.insert(to.to_string(), known);
                }
                format!("rename {name} to {to}")
            }
            (2, Some(mut known)) => {
                let staged = stage_create_or_replace(
                    &*self.catalog,
                    &known.table.ident,
                    schema(),
                    by_day(),
                    SortOrder::unsorted_order(),
                    HashMap::new(),
                )
                .await
                .unwrap();
                let (names, files) = self.new_files(staged.table());
                let table = commit_staged(&*self.catalog, staged, files).await.unwrap();
                known.committed(table, names);
                self.model.insert(name.to_string(), known);
                format!("replace {name}")
            }
            (3, Some(mut known)) => {
                let value = self.random.random_range(0..3).to_string();
                let commit = TableCommit {
                    ident: known.table.ident.clone(),
                    requirements: Vec::new(),
                    based_on: None,
                    created_from: None,
                    updates: vec![TableUpdate::SetProperties {
                        updates: properties(&[("p", &value)]),
                    }],
                };
                let tables = self.catalog.commit(vec![commit]).await.unwrap();
                known.table = tables.into_iter().next().unwrap();
                self.model.insert(name.to_string(), known);
                format!("set a property of {name}")
            }
            (_, Some(mut known)) => {
                let (mut names, files) = self.new_files(&known.table);
                let table = append_files(&*self.catalog, &known.table, files, no_summary())
                    .await
                    .unwrap();
                names.extend(known.files.clone());
                names.sort();
                known.committed(table, names);
                self.model.insert(name.to_string(), known);
                format!("append to {name}")
            }
        }
    }

    async fn check(&self, what: &str) {
        let listed = self.catalog.list_tables("s").await.unwrap();
        let expected: Vec<_> = self.model.keys().cloned().collect();
        assert_eq!(listed, expected, "{what}");
        let storage = self.catalog.storage();
        let mut tables = Vec::new();
        for (name, known) in &self.model {
            let table = self.catalog.load_table(&ident("s", name)).await.unwrap();
            assert_eq!(table.metadata, known.table.metadata, "{what}: {name}");
            let current = live_files(storage, &table, &TableVersion::Current).await;
            assert_eq!(names(&current), known.files, "{what}: {name}");
            assert_eq!(
                table.metadata.snapshots().len(),
                known.history.len(),
                "{what}: {name}"
            );
            tables.push(table);
        }
        let left = orphans(storage, self.catalog.warehouse(), &tables).await;
        assert_eq!(left, Vec::<String>::new(), "{what}");
    }

    /// Every snapshot still has its files, and its totals add up.
    async fn check_history(&self) {
        for known in self.model.values() {
            for (snapshot_id, expected) in &known.history {
                let version = TableVersion::SnapshotId(*snapshot_id);
                let files = live_files(self.catalog.storage(), &known.table, &version).await;
                assert_eq!(names(&files), *expected);
                let snapshot = known.table.snapshot_at(&version).unwrap().unwrap();
                let totals = &snapshot.summary().additional_properties;
                assert_eq!(totals["total-data-files"], expected.len().to_string());
                assert_eq!(totals["total-records"], (expected.len() * 10).to_string());
            }
        }
    }
}

#[tokio::test]
async fn random_changes_agree_with_a_model() {
    for round in 0..2 {
        let seed = match std::env::var("INGOT_TEST_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => rand::rng().random::<u64>(),
        };
        println!("round {round}: INGOT_TEST_SEED={seed}");
        let (folder, catalog) = local_catalog().await;
        let mut run = Run {
            catalog,
            model: BTreeMap::new(),
            random: StdRng::seed_from_u64(seed),
            next_file: 0,
        };
        for number in 0..40 {
            let what = run.step().await;
            run.check(&format!("seed {seed}, step {number}: {what}"))
                .await;
        }
        run.check_history().await;
        // The same for a process that starts now.
        run.catalog = open_local(folder.path()).await;
        run.check(&format!("seed {seed}, opened again")).await;
        run.check_history().await;
    }
}
