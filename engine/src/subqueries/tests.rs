use arrow::util::display::array_value_to_string;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

use super::*;

/// Values of `na.id`, each with `'x'` or `'b'` for `na.p`.
const VALUES: [(Option<i64>, &str); 4] =
    [(None, "x"), (Some(1), "x"), (Some(2), "x"), (Some(3), "b")];

/// What `nb.id` is.
const MEMBERS: [&[Option<i64>]; 6] = [
    &[],
    &[None],
    &[Some(1)],
    &[Some(1), None],
    &[Some(1), Some(1), Some(3)],
    &[Some(7), None, None],
];

fn literal(value: Option<i64>) -> String {
    value.map_or_else(|| "CAST(NULL AS bigint)".to_string(), |v| v.to_string())
}

async fn context(members: &[Option<i64>]) -> SessionContext {
    let mut builder = SessionStateBuilder::new().with_default_features();
    install(&mut builder);
    let context = SessionContext::new_with_state(builder.build());
    let values = VALUES.map(|(id, p)| format!("({}, '{p}')", literal(id)));
    let members: Vec<String> = members
        .iter()
        .map(|member| format!("({}, 'x')", literal(*member)))
        .collect();
    // A row that is filtered out, as `VALUES` is never empty.
    let members = [members, vec!["(-1, 'x')".to_string()]].concat().join(", ");
    for sql in [
        format!(
            "CREATE TABLE na AS SELECT * FROM (VALUES {}) AS t(id, p)",
            values.join(", ")
        ),
        format!(
            "CREATE TABLE nb AS SELECT * FROM (VALUES {members}) AS t(id, p) \
             WHERE id IS DISTINCT FROM -1"
        ),
    ] {
        context.sql(&sql).await.unwrap().collect().await.unwrap();
    }
    context
}

async fn try_rows(context: &SessionContext, sql: &str) -> Result<Vec<String>, DataFusionError> {
    let mut rows = Vec::new();
    for batch in context.sql(sql).await?.collect().await? {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter();
            let cells = cells.map(|cells| array_value_to_string(cells, row).unwrap());
            rows.push(cells.collect::<Vec<_>>().join(","));
        }
    }
    rows.sort();
    Ok(rows)
}

async fn rows(context: &SessionContext, sql: &str) -> Vec<String> {
    match try_rows(context, sql).await {
        Ok(rows) => rows,
        Err(error) => panic!("{sql}: {error}"),
    }
}

/// SQL's `IN`.
fn is_in(value: Option<i64>, members: &[Option<i64>]) -> Option<bool> {
    if members.is_empty() {
        return Some(false);
    }
    let value = value?;
    if members.contains(&Some(value)) {
        return Some(true);
    }
    (!members.contains(&None)).then_some(false)
}

fn and(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn not(value: Option<bool>) -> Option<bool> {
    value.map(|value| !value)
}

fn or(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    not(and(not(left), not(right)))
}

/// A condition on `na`, and what it is: from `id IN (q)` and whether `p = 'x'`.
type Condition = (&'static str, fn(Option<bool>, bool) -> Option<bool>);

const CONDITIONS: [Condition; 10] = [
    ("id IN (q)", |is_in, _| is_in),
    ("id NOT IN (q)", |is_in, _| not(is_in)),
    ("NOT id NOT IN (q)", |is_in, _| is_in),
    ("p = 'b' OR id NOT IN (q)", |is_in, x| {
        or(Some(!x), not(is_in))
    }),
    ("p = 'b' OR id IN (q)", |is_in, x| or(Some(!x), is_in)),
    ("NOT (p = 'x' AND id IN (q))", |is_in, x| {
        not(and(Some(x), is_in))
    }),
    ("NOT (p = 'b' OR id NOT IN (q))", |is_in, x| {
        not(or(Some(!x), not(is_in)))
    }),
    ("(id IN (q)) IS NULL", |is_in, _| Some(is_in.is_none())),
    (
        "CASE WHEN id IN (q) THEN p = 'b' ELSE p = 'x' END",
        |is_in, x| Some((is_in == Some(true)) != x),
    ),
    ("(id NOT IN (q)) = (p = 'x')", |is_in, x| {
        not(is_in).map(|out| out == x)
    }),
];

#[tokio::test]
async fn conditions_and_lists_know_nulls() {
    for members in MEMBERS {
        let context = context(members).await;
        for subquery in [
            "SELECT id FROM nb",
            "SELECT nb.id FROM nb WHERE nb.p = 'x'",
            "SELECT id FROM nb UNION ALL SELECT id FROM nb",
        ] {
            for (condition, meaning) in CONDITIONS {
                let condition = condition.replace("(q)", &format!("({subquery})"));
                let found = VALUES.map(|(id, p)| (id, meaning(is_in(id, members), p == "x")));
                let shown = |id: Option<i64>| id.map_or_else(String::new, |id| id.to_string());
                let mut expected: Vec<String> = found
                    .iter()
                    .filter(|(_, holds)| *holds == Some(true))
                    .map(|(id, _)| shown(*id))
                    .collect();
                expected.sort();
                let sql = format!("SELECT id FROM na WHERE {condition}");
                assert_eq!(rows(&context, &sql).await, expected, "{members:?}: {sql}");

                let mut expected = found.map(|(id, holds)| {
                    let holds = holds.map_or_else(String::new, |holds| holds.to_string());
                    format!("{},{holds}", shown(id))
                });
                expected.sort();
                let sql = format!("SELECT id, {condition} AS c FROM na");
                assert_eq!(rows(&context, &sql).await, expected, "{members:?}: {sql}");
            }
        }
    }
}

#[tokio::test]
async fn subqueries_refer_to_the_outer_query() {
    let context = context(&[Some(1), None]).await;
    for (sql, expected) in [
        // No row of `nb` has another `p` than `x`.
        (
            "SELECT id, id IN (SELECT nb.id FROM nb WHERE nb.p = na.p) FROM na",
            ",;1,true;2,;3,false",
        ),
        (
            "SELECT id FROM na WHERE id NOT IN (SELECT nb.id FROM nb WHERE nb.p = na.p)",
            "3",
        ),
        (
            "SELECT id FROM na WHERE p = 'q' OR id NOT IN (SELECT nb.id FROM nb WHERE nb.p = na.p)",
            "3",
        ),
        (
            "SELECT id FROM na WHERE (id IN (SELECT nb.id FROM nb WHERE nb.id <= na.id)) IS NULL",
            "",
        ),
        (
            "SELECT id, EXISTS (SELECT 1 FROM nb WHERE nb.id = na.id) FROM na",
            ",false;1,true;2,false;3,false",
        ),
        (
            "SELECT id, NOT EXISTS (SELECT 1 FROM nb WHERE nb.id = na.id LIMIT 1) FROM na",
            ",true;1,false;2,true;3,true",
        ),
        // Both sides have columns of the same names.
        (
            "SELECT id, id IN (SELECT id FROM na) FROM na",
            ",;1,true;2,true;3,true",
        ),
        (
            "SELECT id, id + 1 IN (SELECT id FROM na WHERE id IS NOT NULL) FROM na",
            ",;1,true;2,true;3,false",
        ),
    ] {
        assert_eq!(rows(&context, sql).await.join(";"), expected, "{sql}");
    }
}

#[tokio::test]
async fn constants_and_other_clauses() {
    let context = context(&[Some(1), None]).await;
    for (sql, expected) in [
        (
            "SELECT 'wrong' WHERE NOT (1 = 1 AND NULL IN (SELECT 1))",
            "",
        ),
        ("SELECT 'wrong' WHERE NULL NOT IN (SELECT 1)", ""),
        (
            "SELECT 'right' WHERE NULL NOT IN (SELECT 1 WHERE false)",
            "right",
        ),
        (
            "SELECT 1 IN (SELECT id FROM nb) AS a, 2 IN (SELECT id FROM nb) AS b",
            "true,",
        ),
        ("SELECT EXISTS (SELECT 1 FROM nb WHERE id > 1)", "false"),
        (
            "SELECT p FROM na GROUP BY p HAVING NOT (max(id) IN (SELECT 3))",
            "x",
        ),
        (
            "SELECT p FROM na GROUP BY p HAVING max(id) NOT IN (SELECT 3) OR p = 'b'",
            "b;x",
        ),
        (
            "SELECT count(*) FILTER (WHERE id IN (SELECT id FROM nb)) FROM na",
            "1",
        ),
        (
            "SELECT sum(CASE WHEN EXISTS (SELECT 1 FROM nb WHERE nb.id = na.id) THEN 1 ELSE 10 END) FROM na",
            "31",
        ),
        (
            "SELECT na.id FROM na JOIN nb ON na.p = nb.p AND NOT (na.id IN (SELECT 2 UNION ALL SELECT NULL))",
            "",
        ),
        (
            "SELECT DISTINCT na.id FROM na JOIN nb ON na.p = nb.p AND NOT (na.id IN (SELECT 2))",
            "1",
        ),
        (
            "SELECT na.id, nb.id FROM na LEFT JOIN nb ON na.id = nb.id AND na.id NOT IN (SELECT 2)",
            ",;1,1;2,;3,",
        ),
        (
            "SELECT na.id, nb.id FROM na LEFT JOIN nb ON na.id = nb.id AND nb.id NOT IN (SELECT 1)",
            ",;1,;2,;3,",
        ),
    ] {
        assert_eq!(rows(&context, sql).await.join(";"), expected, "{sql}");
    }
}

#[tokio::test]
async fn columns_keep_their_names() {
    let context = context(&[None]).await;
    let sql = "SELECT id IN (SELECT id FROM nb), count(*) FILTER (WHERE id IN (SELECT 1)) \
        FROM na GROUP BY id";
    let frame = context.sql(sql).await.unwrap();
    let before = frame.schema().field_names();
    let after = frame.into_optimized_plan().unwrap().schema().field_names();
    assert_eq!(before, after);
}

#[tokio::test]
async fn what_cannot_be_planned_is_an_error() {
    let context = context(&[Some(1)]).await;
    let sql = "SELECT EXISTS (SELECT 1 FROM nb WHERE nb.id < na.id) FROM na";
    let error = try_rows(&context, sql).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("does not support logical expression")
    );
}
