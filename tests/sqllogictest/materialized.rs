//! Random changes of a table between refreshes of materialized views over it: whatever the order,
//! and whether a refresh reads all rows or the new ones only, the views return what their queries
//! return.
//!
//! `INGOT_REFRESH_SEED=5` runs one seed, `INGOT_REFRESH_STEPS=200` takes more steps.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use sqllogictest::{AsyncDB, DBOutput};

use crate::harness::{Placement, TestEngine, TestSession};

/// Views by name, and their queries. Each but the last ones reads the table `t`.
const VIEWS: [(&str, &str); 9] = [
    ("chosen", "SELECT k, v, n FROM t WHERE v > 0 OR k IS NULL"),
    ("computed", "SELECT upper(k) AS k, v * 2 AS v, d FROM t"),
    (
        "grouped",
        "SELECT k, count(*) AS c, count(v) AS cv, sum(v) AS s, min(v) AS lo, max(v) AS hi, \
         sum(n) AS sn, min(k) AS lk, max(d) AS ld FROM t GROUP BY k",
    ),
    (
        "by_two",
        "SELECT max(n) AS hn, d, k || '!' AS kk, count(*) FILTER (WHERE v > 0) AS c FROM t \
         WHERE n IS NOT NULL GROUP BY d, k || '!'",
    ),
    (
        "of_all",
        "SELECT count(*) AS c, sum(v) AS s, min(d) AS d FROM t",
    ),
    ("averages", "SELECT k, avg(v) AS a FROM t GROUP BY k"),
    (
        "of_floats",
        "SELECT k, sum(f) AS s, max(f) AS hi FROM t GROUP BY k",
    ),
    (
        "nested",
        "SELECT k, count(*) AS c, sum(v) AS s FROM chosen GROUP BY k",
    ),
    (
        "joined",
        "SELECT a.k, b.c FROM chosen a JOIN grouped b ON a.k = b.k",
    ),
];
/// Views that are never refreshed by new rows only.
const ALWAYS_FULL: [&str; 3] = ["averages", "of_floats", "joined"];

struct Test {
    session: TestSession,
    random: StdRng,
    next_id: u32,
    log: Vec<String>,
    incremental: usize,
    full: usize,
}

impl Test {
    async fn message(&mut self, sql: String) -> String {
        self.log.push(sql.clone());
        match self.session.message(&sql).await {
            Ok(message) => message,
            Err(error) => panic!("{error}\n{}", self.log.join(";\n")),
        }
    }

    /// Rows in no order.
    async fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        match self.session.run(sql).await {
            Ok(DBOutput::Rows { mut rows, .. }) => {
                rows.sort();
                rows
            }
            Ok(_) => panic!("{sql}: no rows"),
            Err(error) => panic!("{sql}: {error}\n{}", self.log.join(";\n")),
        }
    }

    async fn step(&mut self) {
        match self.random.random_range(0..30) {
            0 => {
                let id = self.random.random_range(0..self.next_id.max(1));
                self.message(format!("DELETE FROM t WHERE id = {id}")).await;
            }
            1 => {
                let id = self.random.random_range(0..self.next_id.max(1));
                self.message(format!("UPDATE t SET v = v + 1 WHERE id = {id}"))
                    .await;
            }
            2 => {
                // Another column under the old name: old rows have no value in it.
                let (column, data_type) = *[("v", "integer"), ("d", "date")]
                    .choose(&mut self.random)
                    .unwrap();
                self.message(format!("ALTER TABLE t DROP COLUMN {column}"))
                    .await;
                self.message(format!("ALTER TABLE t ADD COLUMN {column} {data_type}"))
                    .await;
            }
            3 => {
                let column = format!("extra{}", self.next_id);
                self.message(format!(
                    "ALTER TABLE t ADD COLUMN IF NOT EXISTS {column} integer"
                ))
                .await;
            }
            4..=15 => self.insert().await,
            _ => self.refresh().await,
        }
    }

    async fn insert(&mut self) {
        let mut rows = Vec::new();
        for _ in 0..self.random.random_range(1..5) {
            let random = &mut self.random;
            let mut choose = |values: &[&str]| values.choose(random).unwrap().to_string();
            let k = choose(&["NULL", "'a'", "'b'", "''", "'A'"]);
            let v = choose(&["NULL", "0", "1", "-7", "2000000000"]);
            let n = choose(&["NULL", "0.01", "-1.10", "99999999.99"]);
            let f = choose(&["NULL", "0.5", "1e300", "0.25"]);
            let d = choose(&["NULL", "DATE '2026-01-01'", "DATE '1969-12-31'"]);
            let id = self.next_id;
            self.next_id += 1;
            rows.push(format!("({id}, {k}, {v}, {n}, {f}, {d})"));
        }
        let rows = rows.join(", ");
        self.message(format!("INSERT INTO t (id, k, v, n, f, d) VALUES {rows}"))
            .await;
    }

    async fn refresh(&mut self) {
        let (view, query) = *VIEWS.choose(&mut self.random).unwrap();
        self.refresh_view(view, query).await;
    }

    /// Refreshes all views, adds rows, and refreshes them again: the second time by the new rows.
    async fn refresh_by_new_rows(&mut self) {
        for (view, query) in VIEWS {
            self.refresh_view(view, query).await;
        }
        self.insert().await;
        for (view, query) in VIEWS {
            let message = self.refresh_view(view, query).await;
            let is_incremental = message.contains("incrementally");
            assert_eq!(is_incremental, !ALWAYS_FULL.contains(&view), "{message}");
        }
    }

    async fn refresh_view(&mut self, view: &str, query: &str) -> String {
        let message = self
            .message(format!("REFRESH MATERIALIZED VIEW {view}"))
            .await;
        self.log.push(format!("-- {message}"));
        if message.contains("incrementally") {
            self.incremental += 1;
            assert!(!ALWAYS_FULL.contains(&view), "{message}");
        } else if message.contains("in full") {
            self.full += 1;
        } else {
            assert!(message.contains("nothing to refresh"), "{message}");
        }
        let stored = format!("SELECT * FROM {view}$materialized_view_storage");
        let stored = self.rows(&stored).await;
        let expected = self.rows(query).await;
        assert_eq!(stored, expected, "{view}\n{}", self.log.join(";\n"));
        let freshness = format!(
            "SELECT freshness FROM system.metadata.materialized_views WHERE name = '{view}'"
        );
        assert_eq!(self.rows(&freshness).await, [["FRESH"]], "{view}");
        message
    }

    /// Without a grace period a view always returns what its query returns.
    async fn check(&mut self) {
        let (view, query) = *VIEWS.choose(&mut self.random).unwrap();
        let found = self.rows(&format!("SELECT * FROM {view}")).await;
        let expected = self.rows(query).await;
        assert_eq!(found, expected, "{view}\n{}", self.log.join(";\n"));
    }
}

/// One table and its views from their creation on, per seed.
pub async fn run(placement: Placement, seeds: std::ops::Range<u64>, steps: usize) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("INGOT_REFRESH_SEED") {
        Some(seed) => seed..seed + 1,
        None => seeds,
    };
    let steps = number("INGOT_REFRESH_STEPS").map_or(steps, |steps| steps as usize);
    let (mut incremental, mut full) = (0, 0);
    for seed in seeds {
        println!("INGOT_REFRESH_SEED={seed}");
        let engine = TestEngine::start(placement).await;
        let session = TestSession::open(engine.lakehouse.clone(), placement)
            .await
            .unwrap();
        let mut test = Test {
            session,
            random: StdRng::seed_from_u64(seed),
            next_id: 0,
            log: vec![],
            incremental: 0,
            full: 0,
        };
        let mode = ["merge-on-read", "copy-on-write"][seed as usize % 2];
        test.message(format!(
            "CREATE TABLE t (id integer, k varchar, v integer, n decimal(12, 2), f double, d date) \
             WITH (\"commit.manifest.min-count-to-merge\" = 3, \"write.delete.mode\" = '{mode}', \
             \"write.update.mode\" = '{mode}')"
        ))
        .await;
        for (view, query) in VIEWS {
            test.message(format!(
                "CREATE MATERIALIZED VIEW {view} GRACE PERIOD INTERVAL '0' SECOND AS {query}"
            ))
            .await;
        }
        for _ in 0..steps {
            test.step().await;
            test.check().await;
        }
        test.refresh_by_new_rows().await;
        incremental += test.incremental;
        full += test.full;
        test.session.shutdown().await;
        drop(test);
        engine.stop().await;
    }
    println!("{incremental} incremental and {full} full refreshes");
}
