//! A table, a plain model of it, and random statements for both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use ingot_coordinator::cluster::QueryEngineOptions;
use ingot_coordinator::error::CoordinatorError;
use ingot_coordinator::server::{Lakehouse, LakehouseOptions};
use ingot_coordinator::service::{SessionId, SqlService, StatementOutcome};
use ingot_engine::catalog_list::DEFAULT_MANIFEST_CACHE_BYTES;
use ingot_engine::runtime::RuntimeOptions;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use uuid::Uuid;

const KINDS: [Option<&str>; 5] = [Some("a"), Some("b"), Some("c"), Some("d"), None];

/// Kind and number.
pub type Values = (Option<String>, Option<i32>);
/// Rows by id.
pub type Rows = BTreeMap<i64, Values>;

pub struct Table {
    pub lakehouse: Lakehouse,
    pub session: SessionId,
    pub folder: tempfile::TempDir,
}

impl Table {
    pub async fn create(properties: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = LakehouseOptions {
            data_dir: folder.path().to_owned(),
            catalog_name: "iceberg".to_owned(),
            catalog_url: None,
            rest_catalog: None,
            warehouse: None,
            manifest_cache_bytes: DEFAULT_MANIFEST_CACHE_BYTES,
            storage: Default::default(),
            runtime: RuntimeOptions::default(),
            engine: QueryEngineOptions::default(),
            time_zone: "UTC".to_owned(),
            maintenance: Default::default(),
            holder: "row changes".to_owned(),
        };
        let lakehouse = Lakehouse::open(options, None).await.unwrap();
        let session = lakehouse.coordinator.open_session("test").await.unwrap();
        let table = Self {
            lakehouse,
            session,
            folder,
        };
        let create = format!(
            "CREATE TABLE t (id bigint NOT NULL, kind varchar, n integer) WITH ({properties})"
        );
        table.execute(&create).await;
        table
    }

    pub async fn try_execute(&self, sql: &str) -> Result<StatementOutcome, CoordinatorError> {
        let coordinator = &self.lakehouse.coordinator;
        coordinator
            .execute(&self.session, sql, None, Uuid::now_v7())
            .await
    }

    async fn outcome(&self, sql: &str) -> StatementOutcome {
        let outcome = self.try_execute(sql).await;
        outcome.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub async fn execute(&self, sql: &str) -> i64 {
        match self.outcome(sql).await {
            StatementOutcome::UpdateCount(count) => count,
            _ => 0,
        }
    }

    pub async fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let StatementOutcome::Rows { stream, .. } = self.outcome(sql).await else {
            panic!("{sql} returns no rows");
        };
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        let options = FormatOptions::default();
        let mut rows = Vec::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|column| {
                    let formatter = ArrayFormatter::try_new(column, &options).unwrap();
                    column
                        .is_valid(row)
                        .then(|| formatter.value(row).to_string())
                });
                rows.push(cells.collect());
            }
        }
        rows
    }

    pub async fn rows(&self, version: &str) -> Rows {
        let found = self
            .query(&format!("SELECT id, kind, n FROM t {version}"))
            .await;
        let count = found.len();
        let rows: Rows = found
            .into_iter()
            .map(|row| {
                let id = row[0].as_ref().unwrap().parse().unwrap();
                let n = row[2].as_ref().map(|n| n.parse().unwrap());
                (id, (row[1].clone(), n))
            })
            .collect();
        assert_eq!(rows.len(), count, "{version}: a row is there twice");
        rows
    }

    /// Changes between two snapshots: ordinal, whether it is an insert, and the row.
    pub async fn changes(&self, from: &str, to: &str) -> Vec<(i32, bool, i64, Values)> {
        let sql = format!(
            "SELECT _change_ordinal, _change_type, id, kind, n \
             FROM table_changes('default.t', {from}, {to})"
        );
        let found = self.query(&sql).await.into_iter().map(|row| {
            let is_insert = match row[1].as_deref() {
                Some("insert") => true,
                Some("delete") => false,
                other => panic!("{other:?}"),
            };
            let ordinal = row[0].as_ref().unwrap().parse().unwrap();
            let id = row[2].as_ref().unwrap().parse().unwrap();
            let n = row[4].as_ref().map(|n| n.parse().unwrap());
            (ordinal, is_insert, id, (row[3].clone(), n))
        });
        let mut found: Vec<_> = found.collect();
        found.sort();
        found
    }

    pub async fn snapshot(&self) -> Option<String> {
        let sql = "SELECT snapshot_id FROM \"t$snapshots\" ORDER BY committed_at DESC LIMIT 1";
        let rows = self.query(sql).await;
        rows.into_iter().next().and_then(|row| row[0].clone())
    }
}

/// Whether a condition holds for a row.
type Holds = Box<dyn Fn(i64, &Values) -> bool>;

/// A condition in SQL and what it says of a row; unknown is no.
struct Condition {
    sql: String,
    holds: Holds,
}

fn condition(random: &mut StdRng, rows: &Rows) -> Condition {
    let x = random.random_range(-5..25);
    let kind = KINDS[random.random_range(0..4)].unwrap();
    let modulus = random.random_range(2..6_i64);
    match random.random_range(0..9) {
        0 => Condition {
            sql: format!("n < {x}"),
            holds: Box::new(move |_, (_, n)| n.is_some_and(|n| n < x)),
        },
        1 => Condition {
            sql: format!("kind = '{kind}'"),
            holds: Box::new(move |_, (k, _)| k.as_deref() == Some(kind)),
        },
        2 => Condition {
            sql: format!("NOT (kind = '{kind}' OR n >= {x})"),
            holds: Box::new(move |_, (k, n)| {
                k.as_deref().is_some_and(|k| k != kind) && n.is_some_and(|n| n < x)
            }),
        },
        3 => Condition {
            sql: "kind IS NULL".to_owned(),
            holds: Box::new(|_, (k, _)| k.is_none()),
        },
        4 => Condition {
            sql: format!("id % {modulus} = 1"),
            holds: Box::new(move |id, _| id % modulus == 1),
        },
        5 => {
            let chosen: BTreeSet<i64> = rows
                .iter()
                .filter(|(_, (_, n))| n.is_some_and(|n| n > x))
                .map(|(id, _)| *id)
                .collect();
            Condition {
                sql: format!("id IN (SELECT id FROM t WHERE n > {x})"),
                holds: Box::new(move |id, _| chosen.contains(&id)),
            }
        }
        6 => {
            let highest = rows.values().filter_map(|(_, n)| *n).max();
            Condition {
                sql: "n = (SELECT max(n) FROM t)".to_owned(),
                holds: Box::new(move |_, (_, n)| n.is_some() && *n == highest),
            }
        }
        7 => {
            let low = rows.keys().next().copied().unwrap_or(0) + random.random_range(0..40);
            Condition {
                sql: format!("id BETWEEN {low} AND {} AND n IS NOT NULL", low + 10),
                holds: Box::new(move |id, (_, n)| (low..=low + 10).contains(&id) && n.is_some()),
            }
        }
        _ => Condition {
            sql: format!("(n > {x}) IS NOT TRUE AND kind <> '{kind}'"),
            holds: Box::new(move |_, (k, n)| {
                !n.is_some_and(|n| n > x) && k.as_deref().is_some_and(|k| k != kind)
            }),
        },
    }
}

fn literal<T: std::fmt::Display>(value: &Option<T>, quote: &str) -> String {
    match value {
        Some(value) => format!("{quote}{value}{quote}"),
        None => "NULL".to_owned(),
    }
}

fn random_value(random: &mut StdRng) -> Values {
    let kind = KINDS.choose(random).unwrap().map(str::to_owned);
    let n = random.random_bool(0.85).then(|| random.random_range(0..20));
    (kind, n)
}

/// One random statement, and the rows after it with the number of changes.
pub fn statement(random: &mut StdRng, rows: &Rows, next_id: &mut i64) -> (String, Rows, usize) {
    let mut after = rows.clone();
    match random.random_range(0..10) {
        0..=2 => {
            let count = random.random_range(1..40);
            let mut values = Vec::new();
            for _ in 0..count {
                let (kind, n) = random_value(random);
                values.push(format!(
                    "({next_id}, {}, {})",
                    literal(&kind, "'"),
                    literal(&n, "")
                ));
                after.insert(*next_id, (kind, n));
                *next_id += 1;
            }
            (
                format!("INSERT INTO t VALUES {}", values.join(", ")),
                after,
                count,
            )
        }
        3..=5 => {
            let Condition { sql, holds } = condition(random, rows);
            after.retain(|id, value| !holds(*id, value));
            let count = rows.len() - after.len();
            (format!("DELETE FROM t WHERE {sql}"), after, count)
        }
        6..=7 => {
            let Condition { sql, holds } = condition(random, rows);
            let (kind, _) = random_value(random);
            let changes_kind = random.random_bool(0.5);
            let mut count = 0;
            for (_, value) in after.iter_mut().filter(|(id, value)| holds(**id, value)) {
                value.1 = value.1.map(|n| n + 1);
                if changes_kind {
                    value.0 = kind.clone();
                }
                count += 1;
            }
            let set = match changes_kind {
                true => format!("n = n + 1, kind = {}", literal(&kind, "'")),
                false => "n = n + 1".to_owned(),
            };
            (format!("UPDATE t SET {set} WHERE {sql}"), after, count)
        }
        _ => {
            let mut source: Rows = Rows::new();
            for _ in 0..random.random_range(1..30) {
                let id = match *next_id > 0 && random.random_bool(0.6) {
                    true => random.random_range(0..*next_id),
                    false => {
                        *next_id += 1;
                        *next_id - 1
                    }
                };
                source.insert(id, random_value(random));
            }
            let by_source = random.random_bool(0.3);
            let mut count = 0;
            for (id, (kind, n)) in &source {
                match (after.get_mut(id), n) {
                    (Some(_), Some(n)) if *n < 5 => {
                        after.remove(id);
                    }
                    (Some(value), _) => {
                        *value = (kind.clone(), value.1.zip(*n).map(|(old, new)| old + new));
                    }
                    (None, _) if kind.as_deref() != Some("d") => {
                        after.insert(*id, (kind.clone(), *n));
                    }
                    (None, _) => continue,
                }
                count += 1;
            }
            if by_source {
                let before = after.len();
                after.retain(|id, (_, n)| source.contains_key(id) || *n != Some(7));
                count += before - after.len();
            }
            let values: Vec<String> = source
                .iter()
                .map(|(id, (kind, n))| {
                    format!(
                        "({id}, CAST({} AS varchar), CAST({} AS integer))",
                        literal(kind, "'"),
                        literal(n, "")
                    )
                })
                .collect();
            let mut sql = format!(
                "MERGE INTO t USING (VALUES {}) AS s(id, kind, n) ON t.id = s.id \
                 WHEN MATCHED AND s.n < 5 THEN DELETE \
                 WHEN MATCHED THEN UPDATE SET kind = s.kind, n = t.n + s.n \
                 WHEN NOT MATCHED AND s.kind IS DISTINCT FROM 'd' THEN INSERT VALUES (s.id, s.kind, s.n)",
                values.join(", ")
            );
            if by_source {
                sql.push_str(" WHEN NOT MATCHED BY SOURCE AND t.n = 7 THEN DELETE");
            }
            (sql, after, count)
        }
    }
}

pub fn files_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files_below(&path, found),
            false => {
                found.insert(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
}

pub fn seed() -> u64 {
    match std::env::var("INGOT_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::random_range(0..1_000_000),
    }
}

pub const MERGE_ON_READ: &str = "\"write.delete.mode\" = 'merge-on-read', \
    \"write.update.mode\" = 'merge-on-read', \"write.merge.mode\" = 'merge-on-read'";
pub const SMALL_GROUPS: &str = "\"write.parquet.row-group-limit\" = 7";
pub const PARTITIONED: &str = "partitioning = ARRAY['kind', 'bucket(id, 2)']";

/// Properties of tables whose deleted rows are kept as deletion vectors: files of several row groups,
/// and partitions.
pub fn with_deletion_vectors() -> [String; 2] {
    [SMALL_GROUPS, PARTITIONED]
        .map(|layout| format!("format_version = 3, {layout}, {MERGE_ON_READ}"))
}
