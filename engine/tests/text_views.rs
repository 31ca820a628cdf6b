//! Queries that read text as views, against the same queries that read strings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lakehouse;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, collect};
use ingot_engine::results::{plain_text_schema, result_batch, result_schema};
use ingot_engine::text_views::with_text_views;

use lakehouse::Lakehouse;

/// People with short and long texts, empty and absent ones.
const PEOPLE: &str =
    "SELECT column1 AS id, column2 AS name, column3 AS city, column4 AS tag FROM (VALUES
    (1, 'ann', 'a city whose name is longer than twelve bytes', 'x'),
    (2, 'bob', 'oslo', 'x'), (3, NULL, 'oslo', ''), (4, 'ann', NULL, 'y'),
    (5, 'a person whose name is long too', 'rome', 'y'), (6, '', 'rome', NULL),
    (7, 'Ann', 'a city whose name is longer than twelve tons', 'x'), (8, 'bøb', 'oslo', 'ß')) AS t";

const CITIES: &str = "SELECT column1 AS city, column2 AS country, column3 AS founded FROM (VALUES
    ('oslo', 'norway', 1040), ('rome', 'italy', -753),
    ('a city whose name is longer than twelve bytes', 'nowhere', 2000), ('paris', NULL, 300)) AS t";

/// Every way that text takes through a plan; each query has one order of rows.
const QUERIES: &[&str] = &[
    "SELECT * FROM people ORDER BY id",
    "SELECT name, id FROM people WHERE city = 'oslo' ORDER BY id",
    "SELECT id FROM people WHERE city LIKE 'a city%bytes' OR name IN ('bob', 'ann') ORDER BY id",
    "SELECT id FROM people WHERE name > 'ann' AND city <> 'rome' AND tag IS NOT NULL ORDER BY id",
    "SELECT id FROM people WHERE name BETWEEN 'a' AND 'b' ORDER BY id",
    "SELECT city, count(*), count(DISTINCT name), min(name), max(tag) FROM people GROUP BY city ORDER BY city NULLS FIRST",
    "SELECT DISTINCT name, tag FROM people ORDER BY name, tag",
    "SELECT DISTINCT ON (city) city, name FROM people ORDER BY city, id",
    "SELECT p.id, c.country FROM people p JOIN cities c ON p.city = c.city ORDER BY p.id",
    "SELECT p.id, c.country, c.city FROM people p FULL JOIN cities c USING (city) ORDER BY p.id, c.city",
    "SELECT id, upper(name), substr(city, 2, 3), name || '-' || tag, length(city) FROM people ORDER BY id",
    "SELECT id, concat(name, city), replace(city, 'o', '0'), trim(tag), split_part(city, ' ', 2) FROM people ORDER BY id",
    "SELECT id, regexp_replace(city, 'o', 'u'), starts_with(name, 'a'), strpos(city, 'name') FROM people ORDER BY id",
    "SELECT id, CASE WHEN tag = 'x' THEN name WHEN tag = 'y' THEN 'why' ELSE city END FROM people ORDER BY id",
    "SELECT id, coalesce(name, city, 'none'), nullif(tag, 'x') FROM people ORDER BY id",
    "SELECT id, CAST(name AS VARCHAR), CAST(id AS VARCHAR) || tag FROM people ORDER BY id",
    "SELECT name FROM people UNION SELECT city FROM cities ORDER BY 1",
    "SELECT name AS n, id FROM people UNION ALL SELECT 'fixed', 9 UNION ALL SELECT country, 10 FROM cities ORDER BY id, n",
    "SELECT city FROM people INTERSECT SELECT city FROM cities ORDER BY 1",
    "SELECT city FROM people EXCEPT SELECT city FROM cities ORDER BY 1",
    "SELECT id FROM people p WHERE EXISTS (SELECT 1 FROM cities c WHERE c.city = p.city AND c.country <> p.name) ORDER BY id",
    "SELECT id FROM people p WHERE NOT EXISTS (SELECT 1 FROM cities c WHERE c.city = p.city) ORDER BY id",
    "SELECT id FROM people WHERE city IN (SELECT city FROM cities WHERE country IS NOT NULL) ORDER BY id",
    "SELECT id FROM people p WHERE name = (SELECT max(o.name) FROM people o WHERE o.city = p.city) ORDER BY id",
    "SELECT id, (SELECT max(c.country) FROM cities c WHERE c.city = p.city) FROM people p ORDER BY id",
    "SELECT id FROM people p WHERE name IN (SELECT name FROM people o WHERE o.city IN
        (SELECT c.city FROM cities c WHERE c.city = o.city)) ORDER BY id",
    "WITH named AS (SELECT name AS n, city AS c FROM people WHERE name IS NOT NULL),
        counted AS (SELECT c, count(*) AS k FROM named GROUP BY c)
     SELECT a.n, b.k, b.c FROM named a JOIN counted b ON a.c = b.c ORDER BY a.n, b.c",
    "SELECT id, row_number() OVER (PARTITION BY city ORDER BY name, id), lag(name, 1, 'first') OVER (ORDER BY id),
        first_value(name) OVER (PARTITION BY tag ORDER BY id) FROM people ORDER BY id",
    "SELECT city, array_agg(name ORDER BY id), string_agg(name, ',' ORDER BY id) FROM people GROUP BY city ORDER BY city",
    "SELECT id, named_struct('n', name, 'inner', named_struct('c', city)) AS both, make_array(name, tag) FROM people ORDER BY id",
    "SELECT p.id, v.label FROM people p JOIN (VALUES ('x', 'crossed'), ('', 'empty')) AS v(tag, label) ON p.tag = v.tag ORDER BY p.id",
    "SELECT city, tag, count(*) FROM people GROUP BY GROUPING SETS ((city), (tag), ()) ORDER BY 1, 2, 3",
    "SELECT city, count(*) FROM people GROUP BY city HAVING min(name) < 'b' ORDER BY city LIMIT 3",
    "SELECT count(*) FROM people WHERE name = city OR tag = ''",
    "SELECT \"name\", count(*) FILTER (WHERE tag = 'x') FROM people GROUP BY \"name\" ORDER BY 1",
    "SELECT id FROM people ORDER BY city DESC NULLS LAST, name, id",
    "SELECT name FROM people WHERE id = 1 UNION ALL SELECT arrow_cast(city, 'LargeUtf8') FROM people WHERE id = 2 ORDER BY 1",
];

async fn lakehouse() -> Lakehouse {
    let lakehouse = Lakehouse::new().await;
    lakehouse.create("people", PEOPLE).await;
    lakehouse.create("cities", CITIES).await;
    lakehouse
}

async fn logical_plan(lakehouse: &Lakehouse, sql: &str) -> LogicalPlan {
    let frame = lakehouse.context().sql(sql).await.unwrap();
    frame.logical_plan().clone()
}

async fn run(
    lakehouse: &Lakehouse,
    plan: &LogicalPlan,
) -> (Arc<dyn ExecutionPlan>, Vec<RecordBatch>) {
    let context = lakehouse.context();
    let physical = context.state().create_physical_plan(plan).await.unwrap();
    let batches = collect(Arc::clone(&physical), context.task_ctx())
        .await
        .unwrap();
    let schema = plain_text_schema(&physical.schema());
    let plain = batches
        .iter()
        .map(|batch| result_batch(batch, &schema).unwrap());
    (physical, plain.collect())
}

/// The types of the columns of every table of files that the plan reads.
fn read_types(plan: &Arc<dyn ExecutionPlan>, found: &mut Vec<DataType>) {
    let source = plan.downcast_ref::<DataSourceExec>();
    let files = source.and_then(|source| source.data_source().downcast_ref::<FileScanConfig>());
    if let Some(files) = files {
        let schema = files.file_source.table_schema().table_schema();
        found.extend(
            schema
                .fields()
                .iter()
                .map(|field| field.data_type().clone()),
        );
    }
    for child in plan.children() {
        read_types(child, found);
    }
}

#[tokio::test]
async fn queries_return_the_same_with_views_of_text() {
    let lakehouse = lakehouse().await;
    let mut read = Vec::new();
    for sql in QUERIES {
        let plan = logical_plan(&lakehouse, sql).await;
        let viewed = with_text_views(&plan).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let viewed = viewed.unwrap_or_else(|| panic!("not rewritten: {sql}"));
        let (plain_physical, expected) = run(&lakehouse, &plan).await;
        let (viewed_physical, found) = run(&lakehouse, &viewed).await;

        let expected_rows = pretty_format_batches(&expected).unwrap().to_string();
        let found_rows = pretty_format_batches(&found).unwrap().to_string();
        assert_eq!(found_rows, expected_rows, "{sql}");
        let types = |plan: &Arc<dyn ExecutionPlan>| -> Vec<DataType> {
            let schema = result_schema(&plan.schema());
            let fields = schema.fields().iter();
            fields.map(|field| field.data_type().clone()).collect()
        };
        assert_eq!(types(&viewed_physical), types(&plain_physical), "{sql}");
        read_types(&viewed_physical, &mut read);
    }
    assert!(read.contains(&DataType::Utf8View));
    assert!(
        !read.contains(&DataType::Utf8),
        "some text is read as strings"
    );
}

/// Every level would take stack.
#[tokio::test]
async fn plans_of_many_levels_stay_as_they_are() {
    let lakehouse = lakehouse().await;
    let mut plan = logical_plan(&lakehouse, "SELECT name FROM people").await;
    for _ in 0..3000 {
        let builder = datafusion::logical_expr::LogicalPlanBuilder::from(plan);
        plan = builder.limit(0, Some(10)).unwrap().build().unwrap();
    }
    assert!(with_text_views(&plan).unwrap().is_none());
    // Dropping it takes stack, too.
    std::mem::forget(plan);
}

#[tokio::test]
async fn plans_whose_types_are_fixed_stay_as_they_are() {
    let lakehouse = lakehouse().await;
    for sql in [
        "SELECT 1",
        "SELECT arrow_typeof(name) FROM people",
        "SELECT arrow_field(name) FROM people",
        "WITH RECURSIVE up AS (SELECT min(name) AS n FROM people UNION ALL
            SELECT n || 'x' FROM up WHERE length(n) < 5) SELECT * FROM up",
        "SELECT p.id, c.country FROM people p, LATERAL (SELECT country FROM cities c WHERE c.city = p.city) AS c",
    ] {
        let plan = logical_plan(&lakehouse, sql).await;
        assert!(with_text_views(&plan).unwrap().is_none(), "{sql}");
    }
}
