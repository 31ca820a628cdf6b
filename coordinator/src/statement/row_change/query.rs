//! The query of a change: its table, its columns, and the plan that writes its outcome.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use iceberg::spec::FormatVersion;
use ingot_catalog::{Catalog, Table};
use ingot_engine::row_change::{CHANGED_TABLE_NAME, ChangedTable};
use ingot_engine::scan::row_ids::{FILE_COLUMN, POSITION_COLUMN};
use ingot_engine::schema::query_schema_of;
use ingot_engine::write::NEW_ROW_COLUMN;
use ingot_sql::ObjectName;
use ingot_sql::sqlparser::ast::{self, Ident};
use ingot_sql::sqlparser::dialect::GenericDialect;
use ingot_sql::sqlparser::parser::Parser;

use super::super::context::StatementContext;
use crate::error::{CoordinatorError, Result};

/// The table of a statement that changes rows, loaded once for all of the statement.
pub(super) struct Target {
    pub catalog: Arc<dyn Catalog>,
    pub table: Table,
    pub changed: Arc<ChangedTable>,
    /// The planner's state in which the query can name the table.
    pub state: SessionState,
    /// The name that the statement's expressions know the table by.
    pub alias: Ident,
    /// Its own columns.
    pub schema: SchemaRef,
}

impl Target {
    /// Loads the table `name`, which the statement gives `alias`.
    pub(super) async fn load(
        context: &StatementContext,
        name: &ObjectName,
        alias: Option<&ast::TableAlias>,
    ) -> Result<Self> {
        let resolved = context.resolve_table(name)?;
        let table = resolved.catalog.load_table(&resolved.ident).await?;
        let services = context.core.catalog_list.services().clone();
        let changed = ChangedTable::new(table.clone(), services)?;
        let alias = match alias {
            Some(alias) if !alias.columns.is_empty() => {
                return Err(CoordinatorError::Unsupported(format!(
                    "column names for table {} in a statement that changes it",
                    table.name()
                )));
            }
            Some(alias) => alias.name.clone(),
            None => Ident::with_quote('"', resolved.ident.name()),
        };
        Ok(Self {
            catalog: resolved.catalog,
            state: changed.session(&context.state),
            schema: query_schema_of(table.metadata.current_schema())?,
            changed,
            table,
            alias,
        })
    }

    /// Whether deleted rows are noted in deletion vectors.
    pub(super) fn has_deletion_vectors(&self) -> bool {
        self.table.metadata.format_version() == FormatVersion::V3
    }

    /// The table in a `FROM` clause.
    pub(super) fn factor(&self) -> Result<ast::TableFactor> {
        let [catalog, schema, table] = CHANGED_TABLE_NAME;
        let select = template(&format!(
            "SELECT 1 FROM \"{catalog}\".\"{schema}\".\"{table}\" AS t"
        ))?;
        let factor = select.from.into_iter().next().map(|from| from.relation);
        let mut factor = factor.ok_or_else(|| broken_template("a table"))?;
        if let ast::TableFactor::Table {
            alias: Some(alias), ..
        } = &mut factor
        {
            alias.name = self.alias.clone();
        }
        Ok(factor)
    }

    /// One of its columns, qualified.
    pub(super) fn column(&self, name: &str) -> ast::Expr {
        ast::Expr::CompoundIdentifier(vec![self.alias.clone(), quoted(name)])
    }

    /// Where a row is: the columns `$file` and `$pos`.
    pub(super) fn row_id(&self) -> [ast::SelectItem; 2] {
        [FILE_COLUMN, POSITION_COLUMN].map(|name| named(self.column(name), name))
    }

    /// The index of a column that a statement assigns.
    pub(super) fn column_index(&self, name: &ast::ObjectName) -> Result<usize> {
        let last = name.0.last().and_then(|part| part.as_ident());
        let last = last.ok_or_else(|| self.unknown_column(&name.to_string()))?;
        let folded = match last.quote_style {
            Some(_) => last.value.clone(),
            None => last.value.to_lowercase(),
        };
        let mut fields = self.schema.fields().iter();
        fields
            .position(|field| *field.name() == folded)
            .ok_or_else(|| self.unknown_column(&folded))
    }

    fn unknown_column(&self, name: &str) -> CoordinatorError {
        CoordinatorError::InvalidInput(format!("table {} has no column {name}", self.table.name()))
    }

    /// Plans a query of the statement and puts the parameters in.
    pub(super) async fn plan(
        &self,
        context: &StatementContext,
        select: ast::Select,
    ) -> Result<LogicalPlan> {
        context.plan_in(&self.state, statement_of(select)?).await
    }

    /// The plan with the new rows' columns cast to the table's types, as an insert casts them.
    /// In a `CASE` each branch is cast by itself: the branches must not decide on a type of
    /// their own.
    pub(super) fn cast_columns(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let LogicalPlan::Projection(projection) = &plan else {
            return Err(CoordinatorError::Internal(
                "the query of a change is no projection".to_owned(),
            ));
        };
        let input = &projection.input;
        let mut expressions = projection.expr.clone();
        for (expression, field) in expressions.iter_mut().zip(self.schema.fields()) {
            let to_type = |value: Expr| value.cast_to(field.data_type(), input.schema());
            let cast = match expression.clone().unalias() {
                Expr::Case(Case {
                    expr: None,
                    when_then_expr,
                    else_expr,
                }) => {
                    let mut branches = Vec::with_capacity(when_then_expr.len());
                    for (when, then) in when_then_expr {
                        branches.push((when, Box::new(to_type(*then)?)));
                    }
                    let otherwise = else_expr.map(|value| to_type(*value)).transpose()?;
                    Expr::Case(Case::new(None, branches, otherwise.map(Box::new)))
                }
                other => to_type(other)?,
            };
            *expression = cast.alias(field.name());
        }
        let cast = LogicalPlanBuilder::from(input.as_ref().clone()).project(expressions)?;
        Ok(cast.build()?)
    }

    /// The plan that carries out a query of changes.
    pub(super) fn write_plan(&self, changes: LogicalPlan) -> Result<LogicalPlan> {
        let provider = Arc::clone(&self.changed) as Arc<dyn TableProvider>;
        let name = TableReference::bare(self.table.ident.name().to_owned());
        let source = provider_as_source(provider);
        let plan = LogicalPlanBuilder::insert_into(changes, name, source, InsertOp::Append)?;
        Ok(plan.build()?)
    }
}

/// Whether a change has a new row, as the last column of its query.
pub(super) fn new_row(condition: ast::Expr) -> ast::SelectItem {
    named(condition, NEW_ROW_COLUMN)
}

pub(super) fn named(expr: ast::Expr, name: &str) -> ast::SelectItem {
    ast::SelectItem::ExprWithAlias {
        expr,
        alias: quoted(name),
    }
}

pub(super) fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// The query of a `SELECT` written here; its clauses are then replaced.
pub(super) fn template(text: &str) -> Result<ast::Select> {
    let mut statements =
        Parser::parse_sql(&GenericDialect {}, text).map_err(|_| broken_template(text))?;
    match statements.pop() {
        Some(ast::Statement::Query(query)) => match *query.body {
            ast::SetExpr::Select(select) => Ok(*select),
            _ => Err(broken_template(text)),
        },
        _ => Err(broken_template(text)),
    }
}

/// An expression written here.
pub(super) fn expression(text: &str) -> Result<ast::Expr> {
    let select = template(&format!("SELECT {text}"))?;
    match select.projection.into_iter().next() {
        Some(ast::SelectItem::UnnamedExpr(expr)) => Ok(expr),
        _ => Err(broken_template(text)),
    }
}

fn broken_template(text: &str) -> CoordinatorError {
    CoordinatorError::Internal(format!("cannot parse {text:?}"))
}

/// A `SELECT` as a statement.
pub(super) fn statement_of(select: ast::Select) -> Result<ast::Statement> {
    let text = "SELECT 1";
    let mut statements =
        Parser::parse_sql(&GenericDialect {}, text).map_err(|_| broken_template(text))?;
    match statements.pop() {
        Some(ast::Statement::Query(mut query)) => {
            *query.body = ast::SetExpr::Select(Box::new(select));
            Ok(ast::Statement::Query(query))
        }
        _ => Err(broken_template(text)),
    }
}

/// The same `SELECT` as a derived table of this name.
pub(super) fn derived(select: ast::Select, alias: Ident) -> Result<ast::TableFactor> {
    let outer = template("SELECT 1 FROM (SELECT 1) AS t")?;
    let factor = outer.from.into_iter().next().map(|from| from.relation);
    let mut factor = factor.ok_or_else(|| broken_template("a subquery"))?;
    if let ast::TableFactor::Derived {
        subquery,
        alias: Some(table_alias),
        ..
    } = &mut factor
    {
        *subquery.body = ast::SetExpr::Select(Box::new(select));
        table_alias.name = alias;
    }
    Ok(factor)
}
