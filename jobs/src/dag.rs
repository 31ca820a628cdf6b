//! The order of jobs: who reads what another one writes.

use std::collections::{BTreeMap, BTreeSet};

use ingot_sql::ObjectName;
use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::checks::reading_query;
use crate::definition::{JobDefinition, Pipeline};
use crate::error::{JobsError, Result};
use crate::folder::nearest;
use crate::statements::{JobStatement, job_statements};
use crate::variables;

/// The jobs of a pipeline with their statements and the jobs that they wait for.
#[derive(Debug, Clone)]
pub struct Dag {
    nodes: Vec<DagNode>,
    /// Every job after those that it waits for; in the order of the files where that
    /// leaves a choice.
    order: Vec<usize>,
}

/// One job.
#[derive(Debug, Clone)]
pub struct DagNode {
    /// The job's name.
    pub job: String,
    /// Its statements, variables replaced.
    pub statements: Vec<JobStatement>,
    /// Tables that it reads before it writes them, as `catalog.schema.table`; and those
    /// that its checks read and it does not write.
    pub reads: BTreeSet<String>,
    /// Tables that it writes.
    pub writes: BTreeSet<String>,
    /// Indexes of the jobs that it waits for.
    pub waits_for: BTreeSet<usize>,
}

impl Dag {
    /// The order of a pipeline's jobs with its own variables.
    ///
    /// # Errors
    /// As for `with_variables`.
    pub fn of(pipeline: &Pipeline) -> Result<Self> {
        Self::with_variables(pipeline, &pipeline.variables)
    }

    /// The order of a pipeline's jobs.
    ///
    /// A job waits for those that write what it or one of its checks reads. Where several jobs write one
    /// table, they do so in the order of their files, and readers wait for all of them. A table that
    /// no job writes is a source.
    ///
    /// # Errors
    /// `InvalidPipeline` for statements that do not parse, unknown variables and unknown
    /// names in `depends_on`; `Cycle` naming the jobs of the circle.
    pub fn with_variables(
        pipeline: &Pipeline,
        variables: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut nodes = pipeline
            .jobs
            .iter()
            .map(|job| node_of(pipeline, job, variables))
            .collect::<Result<Vec<_>>>()?;
        let mut writers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            for table in &node.writes {
                writers.entry(table.clone()).or_default().push(index);
            }
        }
        for (index, job) in pipeline.jobs.iter().enumerate() {
            let mut waits_for = explicit(pipeline, job)?;
            // A job that changes what it reads has its place among the writers.
            for table in nodes[index].reads.difference(&nodes[index].writes) {
                waits_for.extend(writers.get(table).into_iter().flatten());
            }
            for table in &nodes[index].writes {
                let before = writers.get(table).into_iter().flatten();
                waits_for.extend(before.filter(|writer| **writer < index));
            }
            waits_for.remove(&index);
            nodes[index].waits_for = waits_for;
        }
        let order = order(pipeline, &nodes)?;
        Ok(Self { nodes, order })
    }

    /// The jobs, by their index in the pipeline.
    pub fn nodes(&self) -> &[DagNode] {
        &self.nodes
    }

    /// Indexes of the jobs, every one after those that it waits for.
    pub fn order(&self) -> &[usize] {
        &self.order
    }
}

fn node_of(
    pipeline: &Pipeline,
    job: &JobDefinition,
    variables: &BTreeMap<String, String>,
) -> Result<DagNode> {
    let invalid = |line: u64, message: String| JobsError::InvalidPipeline {
        pipeline: pipeline.name.clone(),
        message: format!(
            "{} line {}: {message}",
            job.file,
            job.first_line + line.saturating_sub(1)
        ),
    };
    let sql = variables::replace(&job.sql, variables)
        .map_err(|error| invalid(error.line, error.message))?;
    let statements = job_statements(&sql).map_err(|error| {
        let line = error.position().map_or(1, |(line, _)| line);
        invalid(line, error.to_string())
    })?;
    let full = |name: &ObjectName| full_name(pipeline, name).map_err(|message| invalid(1, message));
    let mut reads = BTreeSet::new();
    let mut writes = BTreeSet::new();
    for statement in &statements {
        for table in &statement.references.reads {
            let table = full(table)?;
            // What an earlier statement of the job wrote is its own business.
            if !writes.contains(&table) {
                reads.insert(table);
            }
        }
        for table in &statement.references.writes {
            writes.insert(full(table)?);
        }
    }
    for table in check_reads(job, variables).map_err(|message| invalid(1, message))? {
        let table = full(&table)?;
        if !writes.contains(&table) {
            reads.insert(table);
        }
    }
    Ok(DagNode {
        job: job.name.clone(),
        statements,
        reads,
        writes,
        waits_for: BTreeSet::new(),
    })
}

/// The tables that a job's checks query. A relationship needs its other table as much as
/// a join does.
fn check_reads(
    job: &JobDefinition,
    variables: &BTreeMap<String, String>,
) -> std::result::Result<Vec<ObjectName>, String> {
    let mut tables = Vec::new();
    for check in &job.checks {
        let in_check = |message: String| format!("check {}: {message}", check.name);
        let mut check = check.clone();
        check
            .replace_variables(variables)
            .map_err(|error| in_check(error.to_string()))?;
        let statements =
            job_statements(&reading_query(&check)).map_err(|error| in_check(error.to_string()))?;
        for statement in statements {
            tables.extend(statement.references.reads);
        }
    }
    Ok(tables)
}

/// A name with all of its three parts.
fn full_name(pipeline: &Pipeline, name: &ObjectName) -> std::result::Result<String, String> {
    let catalog = name.catalog().unwrap_or(&pipeline.catalog);
    let schema = name
        .schema()
        .or(pipeline.schema.as_deref())
        .ok_or_else(|| {
            format!(
                "table {name} has no schema: write schema.{name}, or set schema in pipeline.yaml"
            )
        })?;
    Ok(ObjectName::new([catalog, schema, name.object()]).to_string())
}

/// Jobs that a header names, by job or by table.
fn explicit(pipeline: &Pipeline, job: &JobDefinition) -> Result<BTreeSet<usize>> {
    job.depends_on
        .iter()
        .map(|wanted| {
            let found = pipeline.jobs.iter().position(|other| other.name == *wanted);
            found.ok_or_else(|| {
                let names = pipeline.jobs.iter().map(|other| other.name.as_str());
                let hint = nearest(wanted, names)
                    .map(|name| format!("; did you mean {name}?"))
                    .unwrap_or_default();
                JobsError::InvalidPipeline {
                    pipeline: pipeline.name.clone(),
                    message: format!("{} depends on {wanted}, which is no job{hint}", job.file),
                }
            })
        })
        .collect()
}

fn order(pipeline: &Pipeline, nodes: &[DagNode]) -> Result<Vec<usize>> {
    let mut graph: DiGraph<usize, ()> = DiGraph::new();
    let indexes: Vec<NodeIndex> = (0..nodes.len())
        .map(|index| graph.add_node(index))
        .collect();
    for (index, node) in nodes.iter().enumerate() {
        for before in &node.waits_for {
            graph.add_edge(indexes[*before], indexes[index], ());
        }
    }
    if toposort(&graph, None).is_err() {
        let cycle = tarjan_scc(&graph)
            .into_iter()
            .find(|component| component.len() > 1)
            .unwrap_or_default();
        let members: BTreeSet<usize> = cycle.iter().map(|node| graph[*node]).collect();
        return Err(JobsError::Cycle {
            pipeline: pipeline.name.clone(),
            cycle: describe_cycle(nodes, &members),
        });
    }
    // Not petgraph's order, which is arbitrary where there is a choice.
    let mut done = BTreeSet::new();
    let mut order = Vec::with_capacity(nodes.len());
    while order.len() < nodes.len() {
        for (index, node) in nodes.iter().enumerate() {
            if !done.contains(&index) && node.waits_for.is_subset(&done) {
                done.insert(index);
                order.push(index);
            }
        }
    }
    Ok(order)
}

/// Walks once around a circle within some jobs: `a waits for b, b waits for a`.
fn describe_cycle(nodes: &[DagNode], members: &BTreeSet<usize>) -> String {
    let Some(start) = members.first().copied() else {
        return String::new();
    };
    let mut path = vec![start];
    let mut current = start;
    // Every member waits for another one, so that this comes back to a job seen before.
    while let Some(next) = nodes[current]
        .waits_for
        .intersection(members)
        .next()
        .copied()
    {
        if let Some(position) = path.iter().position(|seen| *seen == next) {
            path.drain(..position);
            path.push(next);
            break;
        }
        path.push(next);
        current = next;
    }
    let names: Vec<&str> = path
        .iter()
        .map(|index| nodes[*index].job.as_str())
        .collect();
    let steps: Vec<String> = names
        .windows(2)
        .map(|pair| pair.join(" waits for "))
        .collect();
    steps.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{CheckDefinition, CheckKind, CheckLimit, Severity};
    use crate::test_support::{job, pipeline};

    fn names(dag: &Dag) -> Vec<&str> {
        dag.order()
            .iter()
            .map(|index| dag.nodes()[*index].job.as_str())
            .collect()
    }

    #[test]
    fn jobs_wait_for_the_tables_they_read() {
        let pipeline = pipeline(vec![
            job(
                "a_gold",
                "CREATE TABLE gold.g AS SELECT * FROM silver.s JOIN silver.t ON true",
            ),
            job(
                "b_silver",
                "CREATE TABLE silver.s AS WITH t AS (SELECT 1 AS x) SELECT x FROM t",
            ),
            job(
                "c_silver",
                "INSERT INTO Silver.T SELECT * FROM iceberg.bronze.b, other.x.y",
            ),
            job("d_bronze", "CREATE TABLE bronze.b AS SELECT 1 AS x"),
            job("e_alone", "CREATE TABLE silver.z AS SELECT 1 AS x"),
        ]);
        let dag = Dag::of(&pipeline).unwrap();
        assert_eq!(
            names(&dag),
            ["b_silver", "d_bronze", "e_alone", "c_silver", "a_gold"]
        );
        assert_eq!(dag.nodes()[0].waits_for, [1, 2].into());
        assert_eq!(
            dag.nodes()[2].reads,
            ["iceberg.bronze.b".to_string(), "other.x.y".to_string()].into()
        );
    }

    #[test]
    fn jobs_wait_for_the_tables_that_their_checks_read() {
        let relationship = CheckKind::Relationship {
            columns: vec!["id".to_string()],
            references: "silver.parent".to_string(),
            referenced_columns: vec!["id".to_string()],
        };
        let query = CheckKind::Query {
            sql: "SELECT * FROM silver.child WHERE x NOT IN (SELECT x FROM {{ other }})"
                .to_string(),
        };
        let expression = CheckKind::Expression {
            condition: "id <= (SELECT max(id) FROM silver.limits) -- all".to_string(),
        };
        let mut child = job("a_child", "CREATE TABLE silver.child AS SELECT 1 AS id");
        child.checks = [relationship, query, expression]
            .into_iter()
            .map(|kind| CheckDefinition {
                name: kind.name().to_string(),
                table: "silver.child".to_string(),
                kind,
                severity: Severity::Warn,
                limit: CheckLimit::default(),
            })
            .collect();
        let mut pipeline = pipeline(vec![
            child,
            job("b", "CREATE TABLE silver.parent AS SELECT 1 AS id"),
            job("c", "CREATE TABLE silver.other AS SELECT 1 AS x"),
            job("d", "CREATE TABLE silver.limits AS SELECT 1 AS id"),
        ]);
        pipeline
            .variables
            .insert("other".to_string(), "silver.other".to_string());
        let dag = Dag::of(&pipeline).unwrap();
        assert_eq!(dag.nodes()[0].waits_for, [1, 2, 3].into());

        pipeline.jobs[1].sql =
            "CREATE TABLE silver.parent AS SELECT * FROM silver.child".to_string();
        let error = Dag::of(&pipeline).unwrap_err().to_string();
        assert!(error.contains("a_child waits for b"), "{error}");

        pipeline.jobs[0].checks[1].kind = CheckKind::Query {
            sql: "SELECT FROM WHERE".to_string(),
        };
        let error = Dag::of(&pipeline).unwrap_err().to_string();
        assert!(error.contains("check query: "), "{error}");
    }

    #[test]
    fn reading_ones_own_table_is_no_circle() {
        let pipeline = pipeline(vec![
            job("a", "INSERT INTO s.t SELECT * FROM s.t"),
            job(
                "b",
                "CREATE TABLE s.u AS SELECT 1 AS x; CREATE TABLE s.v AS SELECT * FROM s.u",
            ),
            job("c", "INSERT INTO s.t SELECT 1"),
        ]);
        let dag = Dag::of(&pipeline).unwrap();
        assert_eq!(names(&dag), ["a", "b", "c"]);
        assert_eq!(dag.nodes()[2].waits_for, [0].into());
    }

    #[test]
    fn circles_are_named() {
        let pipeline = pipeline(vec![
            job("x", "CREATE TABLE s.x AS SELECT * FROM s.source"),
            job("a", "CREATE TABLE s.a AS SELECT * FROM s.c, s.x"),
            job("b", "CREATE TABLE s.b AS SELECT * FROM s.a"),
            job("c", "CREATE TABLE s.c AS SELECT * FROM s.b"),
        ]);
        let error = Dag::of(&pipeline).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pipeline shop: jobs depend on each other in a circle: \
             a waits for c, c waits for b, b waits for a"
        );
    }

    #[test]
    fn wrong_names_are_errors() {
        let mut wrong = job("b", "CREATE TABLE s.b AS SELECT 1 AS x");
        wrong.depends_on = vec!["load_al".to_string()];
        let jobs = vec![job("load_all", "CREATE TABLE s.a AS SELECT 1 AS x"), wrong];
        let error = Dag::of(&pipeline(jobs)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pipeline shop: b.sql depends on load_al, which is no job; did you mean load_all?"
        );
        let jobs = vec![job("a", "CREATE TABLE a AS SELECT 1 AS x")];
        let error = Dag::of(&pipeline(jobs)).unwrap_err();
        assert!(
            error.to_string().contains("table a has no schema"),
            "{error}"
        );
    }
}
