//! Random changes of a table's columns and partitioning between inserts: whatever the order, every
//! query gives what a plain list of rows gives, now and by time travel.
//!
//! `INGOT_EVOLUTION_SEED=5` runs one seed, `INGOT_EVOLUTION_STEPS=200` takes more steps.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use sqllogictest::{AsyncDB, DBOutput};

use crate::harness::{Placement, TestEngine, TestSession};

/// What a column holds. Integers and decimals are compared as numbers, the others as text, which
/// for the dates made here is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Bigint,
    Real,
    Double,
    /// Digits in all, two of them after the point.
    Decimal(u8),
    Varchar,
    Date,
}

impl Kind {
    const NEW: [Self; 6] = [
        Self::Integer,
        Self::Bigint,
        Self::Real,
        Self::Decimal(6),
        Self::Varchar,
        Self::Date,
    ];

    fn sql(self) -> String {
        match self {
            Self::Integer => "integer".to_string(),
            Self::Bigint => "bigint".to_string(),
            Self::Real => "real".to_string(),
            Self::Double => "double".to_string(),
            Self::Decimal(precision) => format!("decimal({precision}, 2)"),
            Self::Varchar => "varchar".to_string(),
            Self::Date => "date".to_string(),
        }
    }

    fn widened(self) -> Option<Self> {
        match self {
            Self::Integer => Some(Self::Bigint),
            Self::Real => Some(Self::Double),
            Self::Decimal(precision) if precision < 30 => Some(Self::Decimal(precision + 6)),
            _ => None,
        }
    }

    /// A value as results show it: few different ones, so that filters find some.
    fn value(self, random: &mut StdRng) -> Option<String> {
        if random.random_bool(0.2) {
            return None;
        }
        let small: i64 = random.random_range(-3..4);
        let is_large = random.random_bool(0.2);
        Some(match self {
            Self::Integer => match is_large {
                true => (small + 2_000_000_000).to_string(),
                false => small.to_string(),
            },
            Self::Bigint => match is_large {
                true => (small + 5_000_000_000).to_string(),
                false => small.to_string(),
            },
            // Exact in 32 bits, and never shown without a point.
            Self::Real | Self::Double => format!("{small}.5"),
            Self::Decimal(precision) => {
                let whole = match is_large && precision > 6 {
                    true => small + 10_000_000,
                    false => small,
                };
                format!("{whole}.25")
            }
            Self::Varchar => ["", "a", "ab", "abc", "b", "Ärger", "zz"]
                .choose(random)
                .unwrap()
                .to_string(),
            Self::Date => {
                let (month, day) = (random.random_range(1..4), random.random_range(1..3));
                format!("2026-0{month}-0{day}")
            }
        })
    }

    fn literal(self, value: &Option<String>) -> String {
        let Some(value) = value else {
            return "NULL".to_string();
        };
        match self {
            Self::Varchar => format!("'{value}'"),
            Self::Date => format!("DATE '{value}'"),
            Self::Real => format!("CAST({value} AS real)"),
            Self::Double => format!("CAST({value} AS double)"),
            _ => value.clone(),
        }
    }

    fn compare(self, left: &str, right: &str) -> Ordering {
        match self {
            Self::Varchar | Self::Date => left.cmp(right),
            _ => {
                let number = |text: &str| text.parse::<f64>().unwrap();
                number(left).total_cmp(&number(right))
            }
        }
    }

    /// Ways to partition by such a column, `COLUMN` standing for its name.
    fn transforms(self) -> &'static [&'static str] {
        match self {
            Self::Integer | Self::Bigint => &["COLUMN", "bucket(COLUMN, 3)", "truncate(COLUMN, 2)"],
            Self::Decimal(_) => &["COLUMN", "bucket(COLUMN, 3)"],
            Self::Varchar => &["COLUMN", "bucket(COLUMN, 2)", "truncate(COLUMN, 1)"],
            Self::Date => &["COLUMN", "month(COLUMN)", "day(COLUMN)", "year(COLUMN)"],
            Self::Real | Self::Double => &[],
        }
    }
}

#[derive(Debug, Clone)]
struct Column {
    /// Never used again, as an Iceberg field id.
    id: usize,
    name: String,
    kind: Kind,
}

/// A row: its values by column id; absent is null.
type Row = BTreeMap<usize, String>;

/// The table as a list of rows.
#[derive(Debug, Clone)]
struct Model {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

impl Model {
    /// Rows as results show them, sorted.
    fn shown(&self, keep: impl Fn(&Row) -> bool) -> Vec<Vec<String>> {
        let cell = |row: &Row, column: &Column| match row.get(&column.id) {
            None => "NULL".to_string(),
            Some(text) if text.is_empty() => "(empty)".to_string(),
            Some(text) => text.clone(),
        };
        let mut shown: Vec<Vec<String>> = self
            .rows
            .iter()
            .filter(|row| keep(row))
            .map(|row| {
                self.columns
                    .iter()
                    .map(|column| cell(row, column))
                    .collect()
            })
            .collect();
        shown.sort();
        shown
    }
}

struct Test {
    session: TestSession,
    random: StdRng,
    model: Model,
    next_id: usize,
    /// Snapshots with the table as it was then.
    snapshots: Vec<(String, Model)>,
    log: Vec<String>,
}

impl Test {
    async fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        match self.session.run(sql).await {
            Ok(DBOutput::Rows { rows, .. }) => rows,
            Ok(_) => panic!("{sql}: no rows"),
            Err(error) => panic!("{sql}: {error}\n{}", self.log.join(";\n")),
        }
    }

    /// Whether a change was made. One that partitioning does not allow may be refused.
    async fn change(&mut self, sql: String) -> bool {
        let refusals = [
            "partitioned by it",
            "is the only one",
            "partitioning: choose another",
        ];
        self.log.push(sql.clone());
        match self.session.run(&sql).await {
            Ok(_) => true,
            Err(error) if refusals.iter().any(|text| error.to_string().contains(text)) => {
                self.log.pop();
                false
            }
            Err(error) => panic!("{error}\n{}", self.log.join(";\n")),
        }
    }

    /// A name that is free; often one that was used before.
    fn free_name(&mut self) -> Option<String> {
        let name = format!("c{}", self.random.random_range(0..8));
        let is_free = self.model.columns.iter().all(|column| column.name != name);
        is_free.then_some(name)
    }

    fn any_column(&mut self) -> (usize, Column) {
        let index = self.random.random_range(0..self.model.columns.len());
        (index, self.model.columns[index].clone())
    }

    async fn step(&mut self) {
        match self.random.random_range(0..12) {
            0 | 1 => self.add_column().await,
            2 => {
                let (index, column) = self.any_column();
                let sql = format!("ALTER TABLE t DROP COLUMN {}", column.name);
                if self.change(sql).await {
                    self.model.columns.remove(index);
                }
            }
            3 => {
                let (index, column) = self.any_column();
                if let Some(name) = self.free_name() {
                    let sql = format!("ALTER TABLE t RENAME COLUMN {} TO {name}", column.name);
                    if self.change(sql).await {
                        self.model.columns[index].name = name;
                    }
                }
            }
            4 | 5 => {
                let (index, column) = self.any_column();
                if let Some(kind) = column.kind.widened() {
                    let (name, wide) = (&column.name, kind.sql());
                    let sql = format!("ALTER TABLE t ALTER COLUMN {name} SET DATA TYPE {wide}");
                    assert!(self.change(sql).await);
                    self.model.columns[index].kind = kind;
                }
            }
            6 => {
                let (index, column) = self.any_column();
                let sql = format!("ALTER TABLE t ALTER COLUMN {} FIRST", column.name);
                assert!(self.change(sql).await);
                let moved = self.model.columns.remove(index);
                self.model.columns.insert(0, moved);
            }
            7 => self.partition().await,
            _ => self.insert().await,
        }
    }

    async fn add_column(&mut self) {
        let Some(name) = self.free_name() else {
            return;
        };
        let kind = *Kind::NEW.choose(&mut self.random).unwrap();
        let sql = format!("ALTER TABLE t ADD COLUMN {name} {}", kind.sql());
        if self.change(sql).await {
            let id = self.next_id;
            self.next_id += 1;
            self.model.columns.push(Column { id, name, kind });
        }
    }

    async fn partition(&mut self) {
        let mut fields: Vec<String> = Vec::new();
        for column in self.model.columns.clone() {
            let transform = column.kind.transforms().choose(&mut self.random);
            if let Some(transform) = transform
                && self.random.random_bool(0.4)
            {
                fields.push(format!("'{}'", transform.replace("COLUMN", &column.name)));
            }
        }
        let fields = fields.join(", ");
        let sql = format!("ALTER TABLE t SET PROPERTIES partitioning = ARRAY[{fields}]");
        self.change(sql).await;
    }

    async fn insert(&mut self) {
        let mut literals = Vec::new();
        for _ in 0..self.random.random_range(1..5) {
            let mut row = Row::new();
            let mut values = Vec::new();
            for column in &self.model.columns {
                let value = column.kind.value(&mut self.random);
                values.push(column.kind.literal(&value));
                if let Some(value) = value {
                    row.insert(column.id, value);
                }
            }
            literals.push(format!("({})", values.join(", ")));
            self.model.rows.push(row);
        }
        let names: Vec<&str> = self
            .model
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        let sql = format!(
            "INSERT INTO t ({}) VALUES {}",
            names.join(", "),
            literals.join(", ")
        );
        assert!(self.change(sql).await);
        let current = "SELECT snapshot_id FROM \"t$refs\" WHERE name = 'main'";
        let snapshot_id = self.rows(current).await[0][0].clone();
        self.snapshots.push((snapshot_id, self.model.clone()));
    }

    /// Compares all rows, and those that a random filter keeps.
    async fn check(&mut self) {
        let mut found = self.rows("SELECT * FROM t").await;
        found.sort();
        assert_eq!(
            found,
            self.model.shown(|_| true),
            "{}",
            self.log.join(";\n")
        );

        let (_, column) = self.any_column();
        let value = column.kind.value(&mut self.random);
        let name = &column.name;
        let literal = column.kind.literal(&value);
        let (condition, wanted): (String, fn(Ordering) -> bool) =
            match self.random.random_range(0..5) {
                0 => (format!("{name} = {literal}"), Ordering::is_eq),
                1 => (format!("{name} > {literal}"), Ordering::is_gt),
                2 => (format!("{name} <= {literal}"), Ordering::is_le),
                3 => (format!("{name} <> {literal}"), Ordering::is_ne),
                _ => (format!("{name} IN ({literal}, {literal})"), Ordering::is_eq),
            };
        let (condition, keeps_null) = match &value {
            Some(_) => (condition, false),
            None => (format!("{name} IS NULL"), true),
        };
        let mut found = self
            .rows(&format!("SELECT * FROM t WHERE {condition}"))
            .await;
        found.sort();
        let expected = self.model.shown(|row| match (row.get(&column.id), &value) {
            (None, _) => keeps_null,
            (Some(_), None) => false,
            (Some(cell), Some(value)) => wanted(column.kind.compare(cell, value)),
        });
        assert_eq!(found, expected, "{condition}\n{}", self.log.join(";\n"));

        let counted = self
            .rows(&format!("SELECT count({name}), count(*) FROM t"))
            .await;
        let rows = &self.model.rows;
        let present = rows
            .iter()
            .filter(|row| row.contains_key(&column.id))
            .count();
        let expected = vec![present.to_string(), rows.len().to_string()];
        assert_eq!(counted, [expected], "{}", self.log.join(";\n"));
    }

    async fn check_history(&mut self) {
        for (snapshot_id, model) in self.snapshots.clone() {
            let sql = format!("SELECT * FROM t FOR VERSION AS OF {snapshot_id}");
            let mut found = self.rows(&sql).await;
            found.sort();
            assert_eq!(found, model.shown(|_| true), "{}", self.log.join(";\n"));
        }
    }
}

/// One table from its creation on, per seed.
pub async fn run(placement: Placement, seeds: std::ops::Range<u64>, steps: usize) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("INGOT_EVOLUTION_SEED") {
        Some(seed) => seed..seed + 1,
        None => seeds,
    };
    let steps = number("INGOT_EVOLUTION_STEPS").map_or(steps, |steps| steps as usize);
    for seed in seeds {
        println!("INGOT_EVOLUTION_SEED={seed}");
        let engine = TestEngine::start(placement).await;
        let session = TestSession::open(engine.lakehouse.clone(), placement)
            .await
            .unwrap();
        let first = Column {
            id: 0,
            name: "c0".to_string(),
            kind: Kind::Integer,
        };
        let mut test = Test {
            session,
            random: StdRng::seed_from_u64(seed),
            model: Model {
                columns: vec![first],
                rows: vec![],
            },
            next_id: 1,
            snapshots: vec![],
            log: vec![],
        };
        let create =
            "CREATE TABLE t (c0 integer) WITH (\"commit.manifest.min-count-to-merge\" = 3)";
        assert!(test.change(create.to_string()).await);
        for _ in 0..steps {
            test.step().await;
            test.check().await;
        }
        test.check_history().await;
        test.session.shutdown().await;
        drop(test);
        engine.stop().await;
    }
}
