//! `UPDATE table SET column = expression, … [WHERE condition]`

use ingot_engine::write::RowDeltaInput;
use ingot_sql::RowChange;
use ingot_sql::sqlparser::ast;

use super::super::context::StatementContext;
use super::super::insert_query::refuse_default;
use super::super::row_values::name_fields;
use super::query::{PlannedChange, Target, expression, named, new_row, template};
use super::settings::{Command, Settings};
use super::{refuse, refuse_internal_columns, unexpected};
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;

/// Updates rows; returns their number.
pub(in super::super) async fn update(
    context: &StatementContext,
    change: &RowChange,
) -> Result<StatementOutcome> {
    let planned = plan_update(context, change).await?;
    let changes = planned.plan.clone();
    planned
        .change(context)
        .run(changes, RowDeltaInput::Changes)
        .await
}

pub(super) async fn plan_update(
    context: &StatementContext,
    change: &RowChange,
) -> Result<PlannedChange> {
    let ast::Statement::Update(update) = change.statement.as_ref() else {
        return Err(unexpected(&change.statement));
    };
    refuse(
        "UPDATE",
        &[
            (update.from.is_some(), "FROM (use MERGE)"),
            (update.returning.is_some(), "RETURNING"),
            (update.output.is_some(), "OUTPUT"),
            (update.or.is_some(), "OR"),
            (!update.order_by.is_empty(), "ORDER BY"),
            (update.limit.is_some(), "LIMIT"),
        ],
    )?;
    refuse_internal_columns(&change.statement)?;
    let target = Target::load(context, change, alias_of(&update.table)).await?;
    let settings = Settings::of(&target.table, Command::Update)?;

    let mut select = template("SELECT 1 FROM t")?;
    select.from = vec![ast::TableWithJoins {
        relation: target.factor()?,
        joins: Vec::new(),
    }];
    select.selection = update.selection.clone();
    select.projection = new_columns(&target, &update.assignments)?;
    select.projection.extend(target.row_id());
    select.projection.push(new_row(expression("true")?));
    let plan = target.plan(context, select).await?;
    Ok(PlannedChange {
        plan: target.cast_columns(plan)?,
        target,
        settings,
    })
}

/// The alias that a statement gives its table.
pub(super) fn alias_of(table: &ast::TableWithJoins) -> Option<&ast::TableAlias> {
    match &table.relation {
        ast::TableFactor::Table { alias, .. } => alias.as_ref(),
        _ => None,
    }
}

/// All columns of the new row: what is assigned, and the old values of the others.
fn new_columns(target: &Target, assignments: &[ast::Assignment]) -> Result<Vec<ast::SelectItem>> {
    let values = assigned_values(target, assignments)?;
    let fields = target.schema.fields().iter().zip(values);
    let columns = fields.map(|(field, value)| {
        let value = value.unwrap_or_else(|| target.column(field.name()));
        named(value, field.name())
    });
    Ok(columns.collect())
}

/// What is assigned to each column of the table, if anything is.
pub(super) fn assigned_values(
    target: &Target,
    assignments: &[ast::Assignment],
) -> Result<Vec<Option<ast::Expr>>> {
    let mut values: Vec<Option<ast::Expr>> = vec![None; target.schema.fields().len()];
    for assignment in assignments {
        let ast::AssignmentTarget::ColumnName(column) = &assignment.target else {
            return Err(CoordinatorError::Unsupported(
                "assigning several columns at once".to_owned(),
            ));
        };
        let index = target.column_index(column)?;
        refuse_default(&assignment.value, target.schema.field(index).name())?;
        let mut value = assignment.value.clone();
        name_fields(&mut value, target.schema.field(index).data_type());
        if values[index].replace(value).is_some() {
            return Err(CoordinatorError::InvalidInput(format!(
                "column {column} is assigned twice"
            )));
        }
    }
    Ok(values)
}
