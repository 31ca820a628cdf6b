use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::definition::{CheckKind, CheckLimit, MissedFires, Severity};

fn folder(files: &[(&str, &str)]) -> PipelineFolder {
    let files = files
        .iter()
        .map(|(path, text)| PipelineFile {
            path: path.to_string(),
            text: text.to_string(),
        })
        .collect();
    PipelineFolder::from_files("shop", files)
}

fn error(files: &[(&str, &str)]) -> String {
    folder(files).pipeline().unwrap_err().to_string()
}

const SETTINGS: &str = "
name: nightly
description: All of it
schedule: { cron: '30 2 * * *', time_zone: Europe/Berlin, missed: skip }
variables:
  source: /data
setup:
  - CREATE SCHEMA IF NOT EXISTS s
max_concurrent_jobs: 4
retry: { attempts: 5, delay: 10s }
";

const JOB: &str = "/*---
description: One table
depends_on: other
timeout: 10m
tags: [bronze, daily]
retry: { max_delay: 1m }
checks:
  - not_null: [a, b]
  - unique: a
    severity: warn
    max_failures: 0.5%
  - row_count: { min: 1, max: 10 }
  - accepted_values: { column: a, values: [x, y] }
  - expression: a > 0
    name: positive
    max_failures: 3
  - relationship: { columns: [a], references: s.other, referenced_columns: [id] }
  - freshness: { column: at, max_age: 2h }
  - schema: { a: varchar, b: 'decimal(12,2)' }
    table: s.other
  - query: SELECT * FROM s.t WHERE a < 0
    name: none_negative
---*/
CREATE TABLE s.t AS
SELECT * FROM read_csv('{{ source }}/t.csv')
";

#[test]
fn everything_in_a_folder_is_read() {
    let pipeline = folder(&[
        ("pipeline.yaml", SETTINGS),
        ("bronze/t.sql", JOB),
        (
            "other.sql",
            "\n-- no header\nCREATE TABLE s.other AS SELECT 1 AS id;\n",
        ),
    ])
    .pipeline()
    .unwrap();
    assert_eq!(pipeline.name, "nightly");
    assert_eq!(pipeline.max_concurrent_jobs, 4);
    assert_eq!(pipeline.catalog, "iceberg");
    let schedule = pipeline.schedule.as_ref().unwrap();
    assert_eq!(schedule.missed, MissedFires::Skip);
    assert_eq!(
        pipeline.variables,
        BTreeMap::from([("source".to_string(), "/data".to_string())])
    );
    let [job, other] = pipeline.jobs.as_slice() else {
        panic!("{:?}", pipeline.jobs);
    };
    assert_eq!(job.name, "bronze.t");
    assert_eq!(job.first_line, 24);
    assert!(job.sql.starts_with("CREATE TABLE s.t AS"), "{}", job.sql);
    assert_eq!(job.depends_on, ["other"]);
    assert_eq!(job.timeout, Some(Duration::from_secs(600)));
    assert_eq!(job.retry.attempts, 5);
    assert_eq!(job.retry.delay, Duration::from_secs(10));
    assert_eq!(job.retry.max_delay, Duration::from_secs(60));
    assert_eq!(other.name, "other");
    assert_eq!(other.retry, pipeline.retry);

    let checks = &job.checks;
    let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "not_null(a, b)",
            "unique(a)",
            "row_count",
            "accepted_values(a)",
            "positive",
            "relationship(a -> s.other)",
            "freshness(at)",
            "schema",
            "none_negative",
        ]
    );
    assert_eq!(checks[0].table, "s.t");
    assert_eq!(checks[0].severity, Severity::Error);
    assert_eq!(checks[0].limit, CheckLimit::Rows(0));
    assert_eq!(checks[1].severity, Severity::Warn);
    assert_eq!(checks[1].limit, CheckLimit::Share(0.005));
    assert_eq!(checks[4].limit, CheckLimit::Rows(3));
    assert_eq!(checks[7].table, "s.other");
    assert_eq!(
        checks[5].kind,
        CheckKind::Relationship {
            columns: vec!["a".to_string()],
            references: "s.other".to_string(),
            referenced_columns: vec!["id".to_string()],
        }
    );

    // What is stored is what was read.
    let stored = serde_json::to_string(&pipeline).unwrap();
    let again: Pipeline = serde_json::from_str(&stored).unwrap();
    assert_eq!(again, pipeline);
}

#[test]
fn mistakes_name_file_line_and_remedy() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "pipeline shop: there is no .sql file in its folder"),
        (
            &[("pipeline.yaml", "name: x\nshedule: {}\n")],
            "shop/pipeline.yaml:2:1: unknown key shedule; did you mean schedule? (valid keys: \
             name, description, schedule, catalog, schema, variables, setup, \
             max_concurrent_jobs, retry)",
        ),
        (
            &[("pipeline.yaml", "schedule:\n  cron: '61 * * * *'\n")],
            "shop/pipeline.yaml:2:3: cron pattern \"61 * * * *\" is not valid",
        ),
        (
            &[("pipeline.yaml", "name: a b\n")],
            "the pipeline name \"a b\" is not valid",
        ),
        (
            &[("a.sql", "/*---\nchecks:\n  - not_nul: [a]\n---*/\nSELECT 1")],
            "shop/a.sql:3:5: unknown key not_nul; did you mean not_null?",
        ),
        (
            &[(
                "a.sql",
                "/*---\nchecks:\n  - severity: warn\n---*/\nSELECT 1",
            )],
            "shop/a.sql:3:5: a check needs a kind",
        ),
        (
            &[(
                "a.sql",
                "/*---\nchecks:\n  - unique: [a]\n    not_null: [a]\n---*/\nCREATE TABLE s.a AS SELECT 1 AS a",
            )],
            "shop/a.sql:3:5: a check has one kind: write not_null(a) and unique(a) as two entries",
        ),
        (
            &[(
                "a.sql",
                "/*---\nchecks:\n  - unique: [a]\n  - unique: a\n---*/\nCREATE TABLE s.a AS SELECT 1 AS a",
            )],
            "shop/a.sql:4:5: two checks are called unique(a): give one of them a name",
        ),
        (
            &[(
                "a.sql",
                "/*---\nchecks:\n  - unique: [a]\n---*/\nSELECT 1 AS a",
            )],
            "shop/a.sql:3:5: the job writes no table: say which table to check",
        ),
        (
            &[(
                "a.sql",
                "/*---\nchecks:\n  - query: DROP TABLE s.a\n    name: x\n---*/\nSELECT 1",
            )],
            "shop/a.sql:3:5: query: this is not a SELECT",
        ),
        (
            &[("a.sql", "/*---\ntimeout: soon\n---*/\nSELECT 1")],
            "\"soon\" is not a duration",
        ),
        (
            &[("a.sql", "\n/*---\ntags: a\nSELECT 1")],
            "shop/a.sql:2:1: the header does not end: write a line ---*/ after it",
        ),
        (
            &[(
                "a.sql",
                "/*---\ntags: a\n---*/\n\nCREATE TABLE s.a AS\nSELEC 1",
            )],
            "shop/a.sql:6:1: syntax error",
        ),
        (
            &[("a.sql", "/*---\ntags: a\n---*/\nSELECT 1,\n  {{ sourc }}")],
            "shop/a.sql:5:3: unknown variable sourc",
        ),
        (
            &[("a.sql", "-- nothing")],
            "shop/a.sql:1:1: there is no statement in the file",
        ),
        (
            &[
                ("a.sql", "/*---\nname: x\n---*/\nSELECT 1"),
                ("b.sql", "/*---\nname: x\n---*/\nSELECT 1"),
            ],
            "pipeline shop: a.sql and b.sql are both called x: give one of them another name",
        ),
    ];
    for (files, expected) in cases {
        let found = error(files);
        assert!(
            found.contains(expected),
            "\nfound:    {found}\nexpected: {expected}"
        );
        assert_eq!(found.lines().count(), 1, "{found}");
    }
}

#[test]
fn folders_are_read_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop");
    std::fs::create_dir_all(path.join("silver/.drafts")).unwrap();
    std::fs::write(path.join("pipeline.yaml"), "# nothing yet\n").unwrap();
    std::fs::write(
        path.join("silver/a.sql"),
        "CREATE TABLE s.a AS SELECT 1 AS x",
    )
    .unwrap();
    std::fs::write(path.join("silver/.drafts/b.sql"), "nonsense").unwrap();
    std::fs::write(path.join("silver/README.md"), "nonsense").unwrap();
    let pipeline = PipelineFolder::load(&path).unwrap();
    assert_eq!(pipeline.name, "shop");
    assert_eq!(pipeline.jobs.len(), 1);
    assert_eq!(pipeline.jobs[0].name, "silver.a");
    let missing = path.join("nothing");
    let error = PipelineFolder::load(&missing).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot read {}: ", missing.display())),
        "{error}"
    );
}
