use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, TimestampMicrosecondArray};
use parking_lot::Mutex;

use super::*;
use crate::definition::Severity;
use crate::test_support::{counts as count_batch, failure};

type Answers = Vec<(&'static str, Result<Vec<RecordBatch>, StatementError>)>;

/// Answers by the first text that a query contains.
struct Fake {
    answers: Answers,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl CheckQueries for Fake {
    async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, StatementError> {
        self.asked.lock().push(sql.to_string());
        let found = self.answers.iter().find(|(text, _)| sql.contains(text));
        match found {
            Some((_, answer)) => answer.clone(),
            None => Err(failure(&format!("unexpected: {sql}"), false)),
        }
    }
}

fn fake(answers: Answers) -> Fake {
    Fake {
        answers,
        asked: Mutex::default(),
    }
}

fn check(kind: CheckKind) -> CheckDefinition {
    CheckDefinition {
        name: kind.name().to_string(),
        table: "s.t".to_string(),
        kind,
        severity: Severity::Error,
        limit: CheckLimit::Rows(0),
    }
}

fn not_null(column: &str) -> CheckDefinition {
    check(CheckKind::NotNull {
        columns: vec![column.to_string()],
    })
}

fn expression(condition: &str) -> CheckDefinition {
    check(CheckKind::Expression {
        condition: condition.to_string(),
    })
}

async fn run(fake: &Fake, checks: &[CheckDefinition]) -> Vec<CheckReport> {
    let now = "2026-01-01T01:00:00Z".parse().unwrap();
    run_checks(fake, checks, now, |_| {}).await.unwrap()
}

fn one_row(column: ArrayRef) -> Vec<RecordBatch> {
    vec![RecordBatch::try_from_iter([("a", column)]).unwrap()]
}

#[tokio::test]
async fn row_checks_share_one_scan() {
    let sample = one_row(Arc::new(Int32Array::from(vec![-1])));
    let fake = fake(vec![
        (
            "SELECT COUNT(*) AS row_count",
            Ok(count_batch(&[100, 0, 2, 3])),
        ),
        ("SELECT * FROM s.t WHERE", Ok(sample)),
    ]);
    let mut lenient = expression("b > 0 -- positive");
    lenient.limit = CheckLimit::Share(0.03);
    let values = check(CheckKind::AcceptedValues {
        column: "c".to_string(),
        values: vec!["x".to_string(), "it's".to_string()],
    });
    let rows = check(CheckKind::RowCount {
        min: Some(101),
        max: None,
    });
    let reports = run(&fake, &[not_null("a"), values, lenient, rows]).await;
    let outcomes: Vec<CheckOutcome> = reports.iter().map(|report| report.outcome).collect();
    assert_eq!(
        outcomes,
        [
            CheckOutcome::Passed,
            CheckOutcome::Failed,
            CheckOutcome::Passed,
            CheckOutcome::Failed,
        ]
    );
    assert_eq!(reports[0].message, "0 of 100 rows fail");
    assert_eq!(reports[1].message, "2 of 100 rows fail, at most 0 allowed");
    assert_eq!(reports[1].sample, [serde_json::json!({"a": -1})]);
    assert_eq!(
        reports[2].message,
        "3 of 100 rows fail, at most 3 % allowed"
    );
    assert_eq!(reports[3].message, "100 rows, at least 101 expected");
    let asked = fake.asked.lock();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(
        asked[0],
        "SELECT COUNT(*) AS row_count, \
         COUNT(CASE WHEN (a IS NOT NULL) THEN NULL ELSE 1 END) AS failures_0, \
         COUNT(CASE WHEN (c IS NULL OR CAST(c AS VARCHAR) IN ('x', 'it''s')) THEN NULL ELSE 1 END) \
         AS failures_1, \
         COUNT(CASE WHEN (b > 0 -- positive\n) THEN NULL ELSE 1 END) AS failures_2 FROM s.t"
    );
}

#[tokio::test]
async fn a_wrong_condition_fails_only_its_own_check() {
    let fake = fake(vec![
        ("(nothing > 0)", Err(failure("no column nothing", false))),
        ("failures_0", Ok(count_batch(&[5, 0]))),
        ("SELECT COUNT(*) AS row_count", Ok(count_batch(&[5]))),
    ]);
    let reports = run(&fake, &[not_null("a"), expression("nothing > 0")]).await;
    assert_eq!(reports[0].outcome, CheckOutcome::Passed);
    assert_eq!(reports[1].outcome, CheckOutcome::Error);
    assert_eq!(reports[1].message, "no column nothing");
    assert!(reports[1].is_blocking_failure());
}

#[tokio::test]
async fn keys_are_compared_in_sql() {
    let unique = check(CheckKind::Unique {
        columns: vec!["a".to_string(), "b".to_string()],
    });
    let relationship = check(CheckKind::Relationship {
        columns: vec!["a".to_string(), "b".to_string()],
        references: "s.parents".to_string(),
        referenced_columns: vec!["x".to_string(), "y".to_string()],
    });
    let query = check(CheckKind::Query {
        sql: "SELECT 1 -- one".to_string(),
    });
    let fake = fake(vec![
        ("SELECT COUNT(*) AS row_count", Ok(count_batch(&[9]))),
        ("", Ok(count_batch(&[0]))),
    ]);
    let reports = run(&fake, &[unique, relationship, query]).await;
    assert!(
        reports
            .iter()
            .all(|report| report.outcome == CheckOutcome::Passed)
    );
    assert_eq!(
        fake.asked.lock()[1..],
        [
            "SELECT COALESCE(SUM(copies - 1), 0) AS failures FROM (SELECT a, b, COUNT(*) AS copies \
             FROM s.t WHERE a IS NOT NULL AND b IS NOT NULL GROUP BY a, b HAVING COUNT(*) > 1) \
             AS duplicate_keys",
            "SELECT COUNT(*) AS failures FROM s.t AS child LEFT JOIN (SELECT DISTINCT x AS \
             parent_key_0, y AS parent_key_1 FROM s.parents) AS parent ON child.a = \
             parent.parent_key_0 AND child.b = parent.parent_key_1 WHERE parent.parent_key_0 IS \
             NULL AND child.a IS NOT NULL AND child.b IS NOT NULL",
            "SELECT COUNT(*) AS failures FROM (SELECT 1 -- one\n) AS failing_rows",
        ]
    );
}

#[tokio::test]
async fn freshness_compares_with_the_clock() {
    let at = |micros: Option<i64>| -> Answers {
        let times = TimestampMicrosecondArray::from(vec![micros]);
        vec![
            ("SELECT COUNT(*) AS row_count", Ok(count_batch(&[9]))),
            ("SELECT MAX(at)", Ok(one_row(Arc::new(times)))),
        ]
    };
    let freshness = check(CheckKind::Freshness {
        column: "at".to_string(),
        max_age: Duration::from_secs(600),
    });
    let now: DateTime<Utc> = "2026-01-01T01:00:00Z".parse().unwrap();
    for (age, outcome, message) in [
        (
            Some(600),
            CheckOutcome::Passed,
            "the newest at is 600 s old",
        ),
        (
            Some(601),
            CheckOutcome::Failed,
            "the newest at is 601 s old, at most 600 s allowed",
        ),
        (Some(-60), CheckOutcome::Passed, "the newest at is 0 s old"),
        (None, CheckOutcome::Failed, "there is no at"),
    ] {
        let micros = age.map(|age| now.timestamp_micros() - age * 1_000_000);
        let reports = run(&fake(at(micros)), std::slice::from_ref(&freshness)).await;
        assert_eq!(reports[0].outcome, outcome, "{age:?}");
        assert_eq!(reports[0].message, message);
    }
}

#[tokio::test]
async fn schemas_are_compared() {
    let expected = |kind: &str| {
        check(CheckKind::Schema {
            columns: [("a".to_string(), kind.to_string())].into(),
        })
    };
    let batch = one_row(Arc::new(Int32Array::from(Vec::<i32>::new())));
    let fake = fake(vec![
        ("SELECT COUNT(*) AS row_count", Ok(count_batch(&[0]))),
        ("SELECT * FROM s.t LIMIT 0", Ok(batch)),
    ]);
    let reports = run(&fake, &[expected("integer"), expected("date")]).await;
    assert_eq!(reports[0].outcome, CheckOutcome::Passed);
    assert_eq!(reports[1].outcome, CheckOutcome::Failed);
    assert_eq!(reports[1].message, "column a is integer, not date");
}

#[tokio::test]
async fn cancelling_ends_the_checks() {
    let cancelled = StatementError {
        message: "cancelled".to_string(),
        retryable: false,
        cancelled: true,
    };
    let fake = fake(vec![("", Err(cancelled))]);
    let error = run_checks(&fake, &[not_null("a")], Utc::now(), |_| {})
        .await
        .unwrap_err();
    assert!(error.cancelled);
}
