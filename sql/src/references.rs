//! Which tables a statement reads and writes.

use std::ops::ControlFlow;

use sqlparser::ast::{Query, TableFactor, Visit, Visitor};

use crate::name::{ObjectName, fold_identifier};
use crate::relation::RelationName;
use crate::statement::{AlterTable, Statement, StatsRelation};
use crate::table_changes::TableChanges;

/// The tables of a statement, each once, in order of appearance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableReferences {
    /// Tables and views that are read, without versions and metadata suffixes. Names of common
    /// table expressions and table functions are not among them.
    pub reads: Vec<ObjectName>,
    /// Tables that are created, changed or dropped.
    pub writes: Vec<ObjectName>,
}

/// The tables that a statement reads and writes. `EXPLAIN` and `PREPARE` count as what they hold.
pub fn table_references(statement: &Statement) -> TableReferences {
    let mut references = TableReferences::default();
    collect(statement, &mut references);
    references
}

fn collect(statement: &Statement, references: &mut TableReferences) {
    match statement {
        Statement::Query(query) => collect_reads(query.as_ref(), references),
        Statement::Explain(explain) => collect(&explain.statement, references),
        Statement::Prepare { statement, .. } => collect(statement, references),
        Statement::CreateTable(create) => add(&mut references.writes, create.name.clone()),
        Statement::CreateTableAs(create) => {
            collect_reads(create.query.as_ref(), references);
            add(&mut references.writes, create.name.clone());
        }
        Statement::CreateView(create) => {
            collect_reads(create.query.as_ref(), references);
            add(&mut references.writes, create.name.clone());
        }
        Statement::DropTable(drop) => add(&mut references.writes, drop.name.clone()),
        Statement::DropView(drop) => add(&mut references.writes, drop.name.clone()),
        // What a refresh reads is in the view, not in the statement.
        Statement::RefreshMaterializedView { view } => add(&mut references.writes, view.clone()),
        Statement::AlterView(alter) => add(&mut references.writes, alter.name.clone()),
        Statement::AlterMaterializedView(alter) => {
            add(&mut references.writes, alter.name.clone());
        }
        Statement::AlterTable(AlterTable { name, .. }) => {
            add(&mut references.writes, name.clone());
        }
        Statement::Insert(insert) => {
            collect_reads(insert.query.as_ref(), references);
            add(&mut references.writes, insert.table.clone());
        }
        Statement::CopyInto(copy) => add(&mut references.writes, copy.table.clone()),
        Statement::Delete(change) | Statement::Update(change) | Statement::Merge(change) => {
            // The target is the first table of the statement; read again elsewhere, it counts.
            let mut reads = ReadCollector::default();
            let _ = change.statement.visit(&mut reads);
            if let Some(target) = reads.found.iter().position(|name| *name == change.table) {
                reads.found.remove(target);
            }
            for name in reads.found {
                add(&mut references.reads, name);
            }
            add(&mut references.writes, change.table.clone());
        }
        Statement::Truncate { table } | Statement::Analyze { table, .. } => {
            add(&mut references.writes, table.clone());
        }
        Statement::ShowColumns { table, .. }
        | Statement::ShowCreateTable { table }
        | Statement::ShowCreateView { view: table }
        | Statement::ShowCreateMaterializedView { view: table }
        | Statement::ShowStats {
            relation: StatsRelation::Table(table),
        } => add(&mut references.reads, without_suffix(table)),
        Statement::ShowStats {
            relation: StatsRelation::Query(query),
        } => collect_reads(query, references),
        Statement::CreateSchema(_)
        | Statement::DropSchema(_)
        | Statement::ShowCatalogs { .. }
        | Statement::ShowSchemas { .. }
        | Statement::ShowTables { .. }
        | Statement::ShowCreateSchema { .. }
        | Statement::ShowSession { .. }
        | Statement::ShowFunctions { .. }
        | Statement::ShowJobs { .. }
        | Statement::ShowBranches { .. }
        | Statement::ShowCatalogLog { .. }
        | Statement::CreateCatalogReference(_)
        | Statement::DropCatalogReference(_)
        | Statement::MergeBranch { .. }
        | Statement::UseBranch { .. }
        | Statement::StartTransaction
        | Statement::Commit
        | Statement::Rollback
        | Statement::Use { .. }
        | Statement::SetSession { .. }
        | Statement::ResetSession { .. }
        | Statement::Execute { .. }
        | Statement::Deallocate { .. }
        | Statement::Call { .. }
        | Statement::RunJob { .. } => {}
    }
}

fn collect_reads(query: &Query, references: &mut TableReferences) {
    let mut reads = ReadCollector::default();
    let _ = query.visit(&mut reads);
    for name in reads.found {
        add(&mut references.reads, name);
    }
}

fn add(names: &mut Vec<ObjectName>, name: ObjectName) {
    if !names.contains(&name) {
        names.push(name);
    }
}

/// `DESCRIBE "t$snapshots"` reads `t`.
fn without_suffix(name: &ObjectName) -> ObjectName {
    let mut name = name.clone();
    if let Some(last) = name.parts.last_mut() {
        *last = RelationName::from_identifier(last).table;
    }
    name
}

#[derive(Default)]
struct ReadCollector {
    found: Vec<ObjectName>,
    scopes: CteScopes,
}

impl Visitor for ReadCollector {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.scopes.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.scopes.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let Ok(Some(call)) = TableChanges::of(factor) {
            self.found.push(call.table);
        }
        let TableFactor::Table {
            name, args: None, ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        if let Some(mut name) = ObjectName::from_ast(name)
            && !(name.parts.len() == 1 && self.scopes.contains(name.object()))
        {
            if let Some(last) = name.parts.last_mut()
                && let Ok(relation) = RelationName::parse(last)
            {
                *last = relation.table;
            }
            self.found.push(name);
        }
        ControlFlow::Continue(())
    }
}

/// Which names are common table expressions at a place in a query, as the planner sees them: a
/// `WITH` item is visible in the items after it and in the body, in its own query only when
/// `RECURSIVE`.
#[derive(Debug, Default)]
pub(crate) struct CteScopes {
    scopes: Vec<Scope>,
}

#[derive(Debug)]
struct Scope {
    visible: Vec<String>,
    /// Names of the `WITH` items whose queries have not been left yet, in order.
    pending: std::collections::VecDeque<String>,
}

impl CteScopes {
    /// To be called before the parts of a query are visited, in the order of its text.
    pub(crate) fn enter(&mut self, query: &Query) {
        let mut names = vec![];
        let mut recursive = false;
        if let Some(with) = &query.with {
            recursive = with.recursive;
            names = with
                .cte_tables
                .iter()
                .map(|cte| fold_identifier(&cte.alias.name))
                .collect();
        }
        self.scopes.push(Scope {
            visible: if recursive { names.clone() } else { vec![] },
            pending: names.into(),
        });
    }

    /// To be called after the parts of a query were visited.
    pub(crate) fn leave(&mut self) {
        self.scopes.pop();
        // The first queries that end inside a query are those of its WITH items.
        if let Some(outer) = self.scopes.last_mut()
            && let Some(name) = outer.pending.pop_front()
        {
            outer.visible.push(name);
        }
    }

    /// Whether an unqualified name means a common table expression here.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.scopes
            .iter()
            .any(|scope| scope.visible.iter().any(|visible| visible == name))
    }
}
