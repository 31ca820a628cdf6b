//! Random queries: what the workers return is what the coordinator returns alone.
//!
//! Every relation has the columns `a bigint`, `b bigint` and `s varchar`, all with nulls, so that any
//! two can be joined, compared and united. Orders are over all columns: rows that tie are equal.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqllogictest::{AsyncDB, DBOutput};

use crate::harness::{Placement, TestEngine, TestSession};

/// Tables `t0` to `t3`, their rows, and the files that these are spread over.
const TABLES: [(usize, usize); 4] = [(3, 1), (40, 2), (1500, 3), (5000, 4)];

/// A query that takes so long never ends.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs so many queries for each seed, here and on two workers that are given stages planned once.
pub async fn run(seeds: Range<u64>, queries: usize) {
    let engine = TestEngine::start(Placement::Distributed).await;
    let mut here = TestSession::open(engine.lakehouse.clone(), Placement::Local)
        .await
        .unwrap();
    let mut workers = TestSession::open(engine.lakehouse.clone(), Placement::Distributed)
        .await
        .unwrap();
    create_tables(&mut here).await;
    for seed in seeds {
        let mut generator = Generator {
            random: StdRng::seed_from_u64(seed),
            aliases: 0,
        };
        for number in 0..queries {
            let query = generator.query();
            let place = format!("seed {seed}, query {number}: {query}");
            let is_written = generator.random.random_ratio(1, 10);
            let expected = rows(&mut here, &query, is_written, &place).await;
            let found = rows(&mut workers, &query, is_written, &place).await;
            assert_eq!(found, expected, "{place}");
        }
    }
    here.shutdown().await;
    workers.shutdown().await;
    engine.stop().await;
}

async fn create_tables(session: &mut TestSession) {
    for (table, (rows, files)) in TABLES.into_iter().enumerate() {
        run_statement(
            session,
            &format!("CREATE TABLE t{table} (id bigint, k bigint, s varchar)"),
        )
        .await;
        for file in 0..files {
            let from = file * rows / files + 1;
            let to = (file + 1) * rows / files;
            run_statement(
                session,
                &format!(
                    "INSERT INTO t{table} SELECT \
                     CASE WHEN i % 11 = 5 THEN NULL ELSE i END, \
                     CASE WHEN i % 7 = 3 THEN NULL ELSE i * 31 % 17 END, \
                     CASE WHEN i % 5 = 1 THEN NULL \
                          WHEN i % 4 = 3 THEN 'longer than a view of text holds ' || (i % 23) \
                          ELSE 's' || (i % 23) END \
                     FROM generate_series({from}, {to}) AS series(i)"
                ),
            )
            .await;
        }
    }
}

async fn run_statement(session: &mut TestSession, sql: &str) {
    session
        .run(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The sorted rows of a query, or of the sorted table that it is written to first.
async fn rows(
    session: &mut TestSession,
    query: &str,
    is_written: bool,
    place: &str,
) -> Vec<Vec<String>> {
    let read = match is_written {
        true => {
            let write =
                format!("CREATE OR REPLACE TABLE written WITH (sorted_by = ARRAY['a']) AS {query}");
            answer(session, &write, place).await;
            "SELECT * FROM written"
        }
        false => query,
    };
    let DBOutput::Rows { mut rows, .. } = answer(session, read, place).await else {
        panic!("no rows, {place}");
    };
    rows.sort();
    rows
}

async fn answer(
    session: &mut TestSession,
    sql: &str,
    place: &str,
) -> DBOutput<<TestSession as AsyncDB>::ColumnType> {
    tokio::time::timeout(PATIENCE, session.run(sql))
        .await
        .unwrap_or_else(|_| panic!("no end, {place}"))
        .unwrap_or_else(|error| panic!("{error}, {place}"))
}

struct Generator {
    random: StdRng,
    aliases: usize,
}

impl Generator {
    fn query(&mut self) -> String {
        let depth = self.random.random_range(1..=3);
        let input = self.relation(depth);
        match self.random.random_range(0..6) {
            0 => format!(
                "SELECT count(*) AS a, sum(b) AS b, max(s) AS s, count(a) AS n, \
                 count(DISTINCT b) AS d FROM ({input}) q"
            ),
            1 => format!(
                "SELECT b AS a, count(*) AS b, min(s) AS s, sum(a) AS n, \
                 count(DISTINCT s) AS d FROM ({input}) q GROUP BY b"
            ),
            2 => format!(
                "SELECT a, rank() OVER (ORDER BY b, s) AS b, s, \
                 count(*) OVER (PARTITION BY b) AS n FROM ({input}) q"
            ),
            3 => format!("SELECT DISTINCT a, b, s FROM ({input}) q"),
            4 => self.first_rows(&input),
            _ => input,
        }
    }

    /// A query with the columns `a`, `b` and `s`, of at most some ten thousand rows.
    fn relation(&mut self, depth: usize) -> String {
        if depth == 0 {
            let table = self.random.random_range(0..TABLES.len());
            return self.table(table);
        }
        let input = self.relation(depth - 1);
        match self.random.random_range(0..9) {
            0 | 1 => self.join(&input, depth),
            2 => self.exists(&input, depth),
            3 => self.contained(&input, depth),
            4 => self.combined(&input, depth),
            5 => format!(
                "SELECT b AS a, count(*) AS b, max(s) AS s FROM ({input}) {} GROUP BY b",
                self.alias()
            ),
            6 => format!(
                "SELECT a, row_number() OVER (PARTITION BY b ORDER BY a, s) AS b, s FROM ({input}) {}",
                self.alias()
            ),
            7 => self.compared(&input, depth),
            _ => self.first_rows(&input),
        }
    }

    fn table(&mut self, table: usize) -> String {
        let condition = match self.random.random_range(0..5) {
            0 => " WHERE k > 8",
            1 => " WHERE s LIKE 's1%' OR id IS NULL",
            2 => " WHERE id % 3 = 1",
            // Nothing is left, which the planner cannot know.
            3 if self.random.random_ratio(1, 4) => " WHERE id % 2 = 3",
            _ => "",
        };
        format!("SELECT id AS a, k AS b, s FROM t{table}{condition}")
    }

    /// A join by a column that rarely repeats, or with a table of few rows by one that does.
    fn join(&mut self, input: &str, depth: usize) -> String {
        let (left, right) = (self.alias(), self.alias());
        let kind = self.pick(&["INNER", "LEFT", "RIGHT", "FULL"]);
        let (other, key) = match self.random.random_bool(0.5) {
            true => (self.relation(depth - 1), "a"),
            false => {
                let small = self.random.random_range(0..2);
                (self.table(small), "b")
            }
        };
        let other = match key {
            // After a grouping or a window, `a` repeats, too.
            "a" => format!(
                "SELECT a, max(b) AS b, min(s) AS s FROM ({other}) {} GROUP BY a",
                self.alias()
            ),
            _ => other,
        };
        let condition = match self.random.random_range(0..4) {
            0 => format!(" AND {left}.a <> {right}.b"),
            1 => format!(" AND {left}.s <= {right}.s"),
            _ => String::new(),
        };
        let columns = self.pick(&[("l", "r", "l"), ("r", "l", "r"), ("l", "l", "r")]);
        let side = |of: &str| if of == "l" { &left } else { &right };
        format!(
            "SELECT {}.a, {}.b, {}.s FROM ({input}) {left} {kind} JOIN ({other}) {right} \
             ON {left}.{key} = {right}.{key}{condition}",
            side(columns.0),
            side(columns.1),
            side(columns.2)
        )
    }

    fn exists(&mut self, input: &str, depth: usize) -> String {
        let (outer, inner) = (self.alias(), self.alias());
        let other = self.relation(depth - 1);
        let not = self.pick(&["", "NOT "]);
        let condition = self.pick(&["a = {o}.a", "b = {o}.b", "a = {o}.b", "b = {o}.a"]);
        let condition = condition.replace("{o}", &outer);
        format!(
            "SELECT a, b, s FROM ({input}) {outer} WHERE {not}EXISTS \
             (SELECT 1 FROM ({other}) {inner} WHERE {inner}.{condition})"
        )
    }

    fn contained(&mut self, input: &str, depth: usize) -> String {
        let not = self.pick(&["", "NOT "]);
        let column = self.pick(&["a", "b"]);
        let other = self.relation(depth - 1);
        // Without nulls, `NOT IN` is not always empty.
        let condition = self.pick(&["", " WHERE b IS NOT NULL AND b < 9"]);
        let contained = format!(
            "{column} {not}IN (SELECT b FROM ({other}) {}{condition})",
            self.alias()
        );
        // Only the first is a join that the planner makes by itself.
        let condition = match self.random.random_range(0..6) {
            0..3 => contained,
            3 => format!("s > 's15' OR {contained}"),
            4 => format!("NOT (s > 's15' AND {contained})"),
            _ => format!("({contained}) IS NULL"),
        };
        format!(
            "SELECT a, b, s FROM ({input}) {} WHERE {condition}",
            self.alias()
        )
    }

    fn combined(&mut self, input: &str, depth: usize) -> String {
        let operator = self.pick(&["UNION ALL", "UNION", "EXCEPT", "INTERSECT"]);
        let other = self.relation(depth - 1);
        format!(
            "SELECT a, b, s FROM ({input}) {} {operator} SELECT a, b, s FROM ({other}) {}",
            self.alias(),
            self.alias()
        )
    }

    fn compared(&mut self, input: &str, depth: usize) -> String {
        let other = self.relation(depth - 1);
        let value = self.pick(&["avg(a)", "min(b) + 3", "count(*)", "max(a) - 20"]);
        let operator = self.pick(&["<", ">=", "IS DISTINCT FROM"]);
        format!(
            "SELECT a, b, s FROM ({input}) {} WHERE a {operator} (SELECT {value} FROM ({other}) {})",
            self.alias(),
            self.alias()
        )
    }

    fn first_rows(&mut self, input: &str) -> String {
        let order = self.pick(&[
            "a, b, s",
            "b DESC, a, s",
            "s NULLS FIRST, b, a DESC NULLS LAST",
        ]);
        let limit = self.pick(&[1, 10, 300]);
        format!(
            "SELECT a, b, s FROM ({input}) {} ORDER BY {order} LIMIT {limit}",
            self.alias()
        )
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("q{}", self.aliases)
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.random_range(0..choices.len())]
    }
}
