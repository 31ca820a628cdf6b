//! `MERGE INTO table USING source ON condition WHEN … THEN …`
//!
//! The table and the source are joined, and one `CASE` per column has a branch for each clause,
//! in their order: the first one that holds decides.

use std::ops::ControlFlow;

use datafusion::logical_expr::LogicalPlan;
use ingot_engine::scan::row_ids::FILE_COLUMN;
use ingot_engine::write::RowDeltaInput;
use ingot_sql::hidden_columns::HIDDEN_COLUMNS;
use ingot_sql::sqlparser::ast::{
    self, BinaryOperator, CaseWhen, Expr, Ident, JoinConstraint, JoinOperator, MergeAction,
    MergeClauseKind, MergeInsertKind,
};
use ingot_sql::{RowChange, fold_identifier};

use super::super::context::{StatementContext, plan_unbound};
use super::super::insert_query::refuse_default;
use super::super::row_values::name_fields;
use super::query::{
    PlannedChange, Target, derived, expression, named, new_row, quoted, statement_of, template,
};
use super::settings::{Command, Settings};
use super::update::assigned_values;
use super::{refuse, refuse_internal_columns, unexpected};
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;

/// Column of the source that is not null where it has a row.
const PRESENT_COLUMN: &str = "$row_in_source";

/// Merges a source into a table; returns the number of rows inserted, updated and deleted.
pub(in super::super) async fn merge(
    context: &StatementContext,
    change: &RowChange,
) -> Result<StatementOutcome> {
    let planned = plan_merge(context, change).await?;
    let changes = planned.plan.clone();
    planned
        .change(context)
        .run(changes, RowDeltaInput::Changes)
        .await
}

pub(super) async fn plan_merge(
    context: &StatementContext,
    change: &RowChange,
) -> Result<PlannedChange> {
    let ast::Statement::Merge(merge) = change.statement.as_ref() else {
        return Err(unexpected(&change.statement));
    };
    refuse("MERGE", &[(merge.output.is_some(), "OUTPUT")])?;
    refuse_internal_columns(&change.statement)?;
    if merge.clauses.is_empty() {
        return Err(CoordinatorError::InvalidInput(
            "a MERGE needs a WHEN clause: say what happens to the rows".to_owned(),
        ));
    }
    let alias = match &merge.table {
        ast::TableFactor::Table { alias, .. } => alias.as_ref(),
        _ => None,
    };
    let target = Target::load(context, change, alias).await?;
    let settings = Settings::of(&target.table, Command::Merge)?;
    check_names(&target, merge)?;
    let clauses = clauses_of(&target, merge)?;
    check_visible_columns(&target, merge, &clauses).await?;
    let joined = join(&target, merge, &clauses)?;
    check_conditions(&target, &joined, &clauses).await?;

    let mut select = template("SELECT 1 FROM t")?;
    select.from = vec![joined];
    let no = expression("false")?;
    select.selection = Some(case_of(&clauses, |_| expression("true"), Some(no.clone()))?);
    select.projection = merged_columns(&target, &clauses)?;
    select.projection.extend(target.row_id());
    let has_new_row = case_of(
        &clauses,
        |clause| match clause.new_values {
            Some(_) => expression("true"),
            None => expression("false"),
        },
        Some(no),
    )?;
    select.projection.push(new_row(has_new_row));
    let plan = target.plan(context, select).await?;
    Ok(PlannedChange {
        plan: target.cast_columns(plan)?,
        target,
        settings,
    })
}

/// One `WHEN` clause.
struct Clause {
    kind: MergeClauseKind,
    /// When it applies: its kind of row, and its own condition.
    condition: Expr,
    /// The new row's columns; `None` deletes the row.
    new_values: Option<Vec<Expr>>,
    /// What the statement says in the clause: its own condition, and its values.
    written: Vec<Expr>,
}

/// Gives columns without a table's name the one that they can mean: where no row of the table
/// matches, a name is the source's, and the other way round.
struct Qualifier<'a> {
    target: &'a Target,
    table: Ident,
    subqueries: usize,
}

impl ast::VisitorMut for Qualifier<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut ast::Query) -> ControlFlow<()> {
        self.subqueries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut ast::Query) -> ControlFlow<()> {
        self.subqueries -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if self.subqueries == 0
            && let Expr::Identifier(name) = expression
            && self
                .target
                .column_index(&ast::ObjectName::from(vec![name.clone()]))
                .is_ok()
        {
            *expression = Expr::CompoundIdentifier(vec![self.table.clone(), name.clone()]);
        }
        ControlFlow::Continue(())
    }
}

fn clauses_of(target: &Target, merge: &ast::Merge) -> Result<Vec<Clause>> {
    let target_file = target.column(FILE_COLUMN);
    let source_present = Expr::Identifier(quoted(PRESENT_COLUMN));
    let is_null = |expr: &Expr| Expr::IsNull(Box::new(expr.clone()));
    let is_not_null = |expr: &Expr| Expr::IsNotNull(Box::new(expr.clone()));
    let mut clauses = Vec::with_capacity(merge.clauses.len());
    for clause in &merge.clauses {
        let mut clause = clause.clone();
        let only_table = match clause.clause_kind {
            MergeClauseKind::Matched => None,
            MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => {
                Some(source_alias(&merge.source))
            }
            MergeClauseKind::NotMatchedBySource => Some(target.alias.clone()),
        };
        if let Some(table) = only_table {
            let mut qualifier = Qualifier {
                target,
                table,
                subqueries: 0,
            };
            let _ = ast::VisitMut::visit(&mut clause, &mut qualifier);
        }
        let (kind, row_kind) = match clause.clause_kind {
            MergeClauseKind::Matched => (
                MergeClauseKind::Matched,
                and(is_not_null(&target_file), is_not_null(&source_present)),
            ),
            MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => {
                (MergeClauseKind::NotMatched, is_null(&target_file))
            }
            MergeClauseKind::NotMatchedBySource => (
                MergeClauseKind::NotMatchedBySource,
                is_null(&source_present),
            ),
        };
        let condition = match &clause.predicate {
            Some(predicate) => and(row_kind, Expr::Nested(Box::new(predicate.clone()))),
            None => row_kind,
        };
        let is_insert = matches!(clause.action, MergeAction::Insert(_));
        if is_insert != (kind == MergeClauseKind::NotMatched) {
            return Err(CoordinatorError::InvalidInput(format!(
                "a WHEN {} clause cannot {}",
                clause.clause_kind,
                if is_insert {
                    "insert"
                } else {
                    "update or delete"
                }
            )));
        }
        let mut written: Vec<Expr> = clause.predicate.iter().cloned().collect();
        written.extend(written_values(&clause.action));
        if written.iter().any(tests_subquery) {
            return Err(CoordinatorError::Unsupported(format!(
                "a subquery with IN, EXISTS, ANY or ALL in WHEN {} of a MERGE (let the source of \
                 the MERGE be a query that has its outcome as a column)",
                clause.clause_kind
            )));
        }
        clauses.push(Clause {
            kind,
            condition,
            new_values: new_values(target, &clause.action)?,
            written,
        });
    }
    Ok(clauses)
}

/// The values that an action writes.
fn written_values(action: &MergeAction) -> Vec<Expr> {
    match action {
        MergeAction::Insert(insert) => match &insert.kind {
            MergeInsertKind::Values(values) => {
                let rows = values.rows.iter();
                rows.flat_map(|row| row.iter().cloned()).collect()
            }
            MergeInsertKind::Row => Vec::new(),
        },
        MergeAction::Update(update) => {
            let values = update.assignments.iter();
            values.map(|assignment| assignment.value.clone()).collect()
        }
        MergeAction::Delete { .. } => Vec::new(),
    }
}

/// Whether an expression compares something with the rows of a subquery: the planner makes joins
/// of such conditions, which a `CASE` cannot have.
fn tests_subquery(expression: &Expr) -> bool {
    let found = ast::visit_expressions(expression, |part| match part {
        Expr::InSubquery { .. } | Expr::Exists { .. } => ControlFlow::Break(()),
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. }
            if matches!(right.as_ref(), Expr::Subquery(_)) =>
        {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// The table and the source must be told apart by their names.
fn check_names(target: &Target, merge: &ast::Merge) -> Result<()> {
    let source = source_alias(&merge.source);
    if fold_identifier(&target.alias) != fold_identifier(&source) {
        return Ok(());
    }
    Err(CoordinatorError::InvalidInput(format!(
        "the table and the source of a MERGE are both called {source}: give them aliases"
    )))
}

/// A clause about rows that are on one side only must not name columns of the other, which would
/// all be null: each is planned over its side alone.
async fn check_visible_columns(
    target: &Target,
    merge: &ast::Merge,
    clauses: &[Clause],
) -> Result<()> {
    for clause in clauses {
        let relation = match clause.kind {
            MergeClauseKind::Matched => continue,
            MergeClauseKind::NotMatchedBySource => target.factor()?,
            MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => {
                merge.source.clone()
            }
        };
        let mut select = template("SELECT 1 FROM t")?;
        select.from = vec![ast::TableWithJoins {
            relation,
            joins: Vec::new(),
        }];
        let written = clause.written.iter().cloned().enumerate();
        select.projection = written
            .map(|(index, expression)| named(expression, &format!("expression {index}")))
            .collect();
        if !select.projection.is_empty() {
            plan_unbound(&target.state, statement_of(select)?).await?;
        }
    }
    Ok(())
}

/// The new row's columns, all of them, as an action makes them.
fn new_values(target: &Target, action: &MergeAction) -> Result<Option<Vec<Expr>>> {
    match action {
        MergeAction::Delete { .. } => Ok(None),
        MergeAction::Update(update) => {
            refuse(
                "MERGE",
                &[
                    (
                        update.update_predicate.is_some(),
                        "WHERE (put it after WHEN)",
                    ),
                    (update.delete_predicate.is_some(), "DELETE WHERE"),
                ],
            )?;
            let values = assigned_values(target, &update.assignments)?;
            let fields = target.schema.fields().iter().zip(values);
            let values =
                fields.map(|(field, value)| value.unwrap_or_else(|| target.column(field.name())));
            Ok(Some(values.collect()))
        }
        MergeAction::Insert(insert) => {
            let has_condition = insert.insert_predicate.is_some();
            refuse("MERGE", &[(has_condition, "WHERE (put it after WHEN)")])?;
            let MergeInsertKind::Values(values) = &insert.kind else {
                return Err(CoordinatorError::Unsupported("INSERT ROW".to_owned()));
            };
            let [row] = values.rows.as_slice() else {
                return Err(CoordinatorError::InvalidInput(
                    "an insert of MERGE takes one row of values".to_owned(),
                ));
            };
            inserted_values(target, &insert.columns, row).map(Some)
        }
    }
}

fn inserted_values(
    target: &Target,
    columns: &[ast::ObjectName],
    row: &[Expr],
) -> Result<Vec<Expr>> {
    let count = target.schema.fields().len();
    let indices: Vec<usize> = match columns {
        [] => (0..count).collect(),
        columns => columns
            .iter()
            .map(|column| target.column_index(column))
            .collect::<Result<_>>()?,
    };
    if indices.len() != row.len() {
        return Err(CoordinatorError::InvalidInput(format!(
            "{} columns and {} values in an insert of MERGE",
            indices.len(),
            row.len()
        )));
    }
    let mut values: Vec<Option<Expr>> = vec![None; count];
    for (index, value) in indices.into_iter().zip(row) {
        refuse_default(value, target.schema.field(index).name())?;
        let mut value = value.clone();
        name_fields(&mut value, target.schema.field(index).data_type());
        if values[index].replace(value).is_some() {
            return Err(CoordinatorError::InvalidInput(format!(
                "column {} is inserted twice",
                target.schema.field(index).name()
            )));
        }
    }
    let values = values.into_iter().enumerate();
    values
        .map(|(index, value)| value.map_or_else(|| target.default_of(index), Ok))
        .collect()
}

fn merged_columns(target: &Target, clauses: &[Clause]) -> Result<Vec<ast::SelectItem>> {
    let fields = target.schema.fields().iter().enumerate();
    fields
        .map(|(index, field)| {
            let null = expression("NULL")?;
            let value = case_of(
                clauses,
                |clause| {
                    let values = clause.new_values.as_ref();
                    Ok(values.map_or_else(|| null.clone(), |values| values[index].clone()))
                },
                None,
            )?;
            Ok(named(value, field.name()))
        })
        .collect()
}

/// A `CASE` with a branch for each clause.
fn case_of(
    clauses: &[Clause],
    result: impl Fn(&Clause) -> Result<Expr>,
    otherwise: Option<Expr>,
) -> Result<Expr> {
    let mut case = expression("CASE WHEN true THEN 1 END")?;
    if let Expr::Case {
        conditions,
        else_result,
        ..
    } = &mut case
    {
        *conditions = clauses
            .iter()
            .map(|clause| {
                Ok(CaseWhen {
                    condition: clause.condition.clone(),
                    result: result(clause)?,
                })
            })
            .collect::<Result<_>>()?;
        *else_result = otherwise.map(Box::new);
    }
    Ok(case)
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    }
}

/// The table joined with the source: with what does not match on either side only where a
/// clause is about it.
fn join(target: &Target, merge: &ast::Merge, clauses: &[Clause]) -> Result<ast::TableWithJoins> {
    let has = |kind: MergeClauseKind| clauses.iter().any(|clause| clause.kind == kind);
    let constraint = JoinConstraint::On(merge.on.as_ref().clone());
    let keeps_source = has(MergeClauseKind::NotMatched);
    let keeps_target = has(MergeClauseKind::NotMatchedBySource);
    let operator = match (keeps_source, keeps_target) {
        (false, false) => JoinOperator::Inner(constraint),
        (true, false) => JoinOperator::RightOuter(constraint),
        (false, true) => JoinOperator::LeftOuter(constraint),
        (true, true) => JoinOperator::FullOuter(constraint),
    };
    let join = ast::Join {
        relation: source_of(merge)?,
        global: false,
        join_operator: operator,
    };
    Ok(ast::TableWithJoins {
        relation: target.factor()?,
        joins: vec![join],
    })
}

/// The name that the statement's expressions know the source by.
fn source_alias(source: &ast::TableFactor) -> Ident {
    match source {
        ast::TableFactor::Table {
            alias: Some(alias), ..
        }
        | ast::TableFactor::Derived {
            alias: Some(alias), ..
        } => alias.name.clone(),
        ast::TableFactor::Table { name, .. } => {
            match name.0.last().and_then(|part| part.as_ident()) {
                Some(name) => name.clone(),
                None => quoted(PRESENT_COLUMN),
            }
        }
        _ => quoted(PRESENT_COLUMN),
    }
}

/// The source with a column that is never null in it.
fn source_of(merge: &ast::Merge) -> Result<ast::TableFactor> {
    let source = &merge.source;
    let mut select = template(&format!("SELECT *, true AS \"{PRESENT_COLUMN}\" FROM t"))?;
    select.from = vec![ast::TableWithJoins {
        relation: source.clone(),
        joins: Vec::new(),
    }];
    if matches!(source, ast::TableFactor::Table { args: None, .. }) {
        let hidden = hidden_columns_of_source(merge)
            .into_iter()
            .map(|column| ast::SelectItem::UnnamedExpr(Expr::Identifier(quoted(column))));
        select.projection.extend(hidden);
    }
    derived(select, source_alias(source))
}

/// The hidden columns of the source that the statement names: they are no part of `*`.
fn hidden_columns_of_source(merge: &ast::Merge) -> Vec<&'static str> {
    let alias = source_alias(&merge.source);
    let is_named = |column: &str, parts: &[Ident]| match parts {
        [table, name] => {
            name.value == column && table.value.to_lowercase() == alias.value.to_lowercase()
        }
        _ => false,
    };
    let mut named = Vec::new();
    let _ = ast::visit_expressions(merge, |expression| {
        if let Expr::CompoundIdentifier(parts) = expression {
            let mut columns = HIDDEN_COLUMNS.into_iter();
            let column = columns.find(|column| is_named(column, parts));
            named.extend(column.filter(|column| !named.contains(column)));
        }
        ControlFlow::<()>::Continue(())
    });
    named
}

/// Refuses conditions that have another value each time they are looked at: each column's
/// `CASE` looks at them, and all must agree.
async fn check_conditions(
    target: &Target,
    joined: &ast::TableWithJoins,
    clauses: &[Clause],
) -> Result<()> {
    let mut select = template("SELECT 1 FROM t")?;
    select.from = vec![joined.clone()];
    let predicates = clauses.iter().map(|clause| clause.condition.clone());
    let named_predicates = predicates
        .enumerate()
        .map(|(index, predicate)| named(predicate, &format!("condition {index}")));
    select.projection = named_predicates.collect();
    let plan = plan_unbound(&target.state, statement_of(select)?).await?;
    let LogicalPlan::Projection(projection) = &plan else {
        return Ok(());
    };
    match projection.expr.iter().find(|expr| expr.is_volatile()) {
        None => Ok(()),
        Some(_) => Err(CoordinatorError::Unsupported(
            "a WHEN condition of MERGE with a function such as random()".to_owned(),
        )),
    }
}
