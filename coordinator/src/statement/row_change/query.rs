//! The query of a change: its table, its columns, and the plan that writes its outcome.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::scalar::ScalarValue;
use iceberg::spec::{FormatVersion, MAIN_BRANCH};
use ingot_catalog::commit::check_branch;
use ingot_catalog::{Catalog, Table, TableVersion};
use ingot_engine::assignment::check_assignments;
use ingot_engine::row_change::{CHANGED_TABLE_NAME, ChangedTable};
use ingot_engine::scan::row_ids::{FILE_COLUMN, POSITION_COLUMN};
use ingot_engine::schema::query_schema_of;
use ingot_engine::table::write_defaults;
use ingot_engine::write::NEW_ROW_COLUMN;
use ingot_sql::sqlparser::ast::{self, Ident};
use ingot_sql::sqlparser::dialect::GenericDialect;
use ingot_sql::sqlparser::parser::Parser;
use ingot_sql::{RowChange, fold_identifier};

use super::super::context::StatementContext;
use super::apply::Change;
use super::settings::Settings;
use crate::error::{CoordinatorError, Result};
use crate::statement_catalogs::ResolvedTable;

/// The table of a statement that changes rows, loaded once for all of the statement.
pub(super) struct Target {
    pub catalog: Arc<dyn Catalog>,
    pub table: Table,
    /// The branch whose rows change; none for `main`.
    pub branch: Option<String>,
    pub changed: Arc<ChangedTable>,
    /// The planner's state in which the query can name the table.
    pub state: SessionState,
    /// The name that the statement's expressions know the table by.
    pub alias: Ident,
    /// What may stand before the name of a column that is assigned: the last of these parts.
    qualifier: Vec<String>,
    /// Its own columns.
    pub schema: SchemaRef,
}

/// A statement that changes rows, planned: a query with one row per change.
pub(super) struct PlannedChange {
    pub target: Target,
    pub settings: Settings,
    pub plan: LogicalPlan,
}

impl PlannedChange {
    pub(super) fn change<'a>(&'a self, context: &'a StatementContext) -> Change<'a> {
        Change {
            context,
            target: &self.target,
            settings: self.settings,
        }
    }
}

impl Target {
    /// Loads the table of a statement, which gives it `alias`.
    pub(super) async fn load(
        context: &StatementContext,
        change: &RowChange,
        alias: Option<&ast::TableAlias>,
    ) -> Result<Self> {
        let resolved = context.resolve_changed_table(&change.table)?;
        let table = resolved.catalog.load_table(&resolved.ident).await?;
        Self::of_table(context, &resolved, table, change.branch.as_deref(), alias)
    }

    /// The target that a loaded table is, or one of its branches.
    pub(super) fn of_table(
        context: &StatementContext,
        resolved: &ResolvedTable,
        table: Table,
        branch: Option<&str>,
        alias: Option<&ast::TableAlias>,
    ) -> Result<Self> {
        let services = context.core.catalog_list.services().clone();
        let version = match branch {
            Some(branch) if branch != MAIN_BRANCH => {
                check_branch(&table, branch)?;
                TableVersion::Reference(branch.to_owned())
            }
            _ => TableVersion::Current,
        };
        let changed = ChangedTable::new(table.clone(), version, services)?;
        let (alias, qualifier) = match alias {
            Some(alias) if !alias.columns.is_empty() => {
                return Err(CoordinatorError::Unsupported(format!(
                    "column names for table {} in a statement that changes it",
                    table.name()
                )));
            }
            Some(alias) => (alias.name.clone(), vec![fold_identifier(&alias.name)]),
            None => {
                let mut parts = vec![resolved.catalog.name().to_owned()];
                parts.extend(resolved.ident.namespace().clone().inner());
                parts.push(resolved.ident.name().to_owned());
                (Ident::with_quote('"', resolved.ident.name()), parts)
            }
        };
        Ok(Self {
            catalog: Arc::clone(&resolved.catalog),
            state: changed.session(&context.state),
            schema: query_schema_of(table.metadata.current_schema())?,
            changed,
            table,
            branch: branch.map(str::to_owned),
            alias,
            qualifier,
        })
    }

    /// Id of the newest snapshot of the branch that the statement changes.
    pub(super) fn newest_snapshot(&self, table: &Table) -> Option<i64> {
        let branch = self.branch.as_deref().unwrap_or(MAIN_BRANCH);
        match branch {
            MAIN_BRANCH => table.metadata.current_snapshot_id(),
            branch => {
                let snapshot = table.metadata.snapshot_for_ref(branch)?;
                Some(snapshot.snapshot_id())
            }
        }
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

    /// Where a row is: the columns `$row_file` and `$row_pos`.
    pub(super) fn row_id(&self) -> [ast::SelectItem; 2] {
        [FILE_COLUMN, POSITION_COLUMN].map(|name| named(self.column(name), name))
    }

    /// The index of a column that a statement assigns.
    ///
    /// # Errors
    /// `InvalidInput` when the table has no such column, or the name belongs to another table or
    /// to a field of a row.
    pub(super) fn column_index(&self, name: &ast::ObjectName) -> Result<usize> {
        let parts = name.0.iter();
        let parts: Option<Vec<String>> = parts
            .map(|part| part.as_ident().map(fold_identifier))
            .collect();
        let unknown = || self.unknown_column(&name.to_string());
        let parts = parts.ok_or_else(unknown)?;
        let (column, table) = parts.split_last().ok_or_else(unknown)?;
        if let Some(first) = table.first()
            && !self.qualifier.ends_with(table)
        {
            return Err(CoordinatorError::InvalidInput(match self.index_of(first) {
                Some(_) => {
                    format!("column {name} is a field of a row: assign the whole column {first}")
                }
                None => format!(
                    "column {name} does not exist: the table is called {} here",
                    self.qualifier.last().unwrap_or(column)
                ),
            }));
        }
        self.index_of(column)
            .ok_or_else(|| self.unknown_column(column))
    }

    /// The index of the column of this name.
    pub(super) fn index_of(&self, column: &str) -> Option<usize> {
        let mut fields = self.schema.fields().iter();
        fields.position(|field| field.name() == column)
    }

    /// What a new row has in a column that an insert does not name: its default, or null.
    pub(super) fn default_of(&self, index: usize) -> Result<ast::Expr> {
        let name = self.schema.field(index).name();
        let defaults = write_defaults(self.table.metadata.current_schema())?;
        let Some(Expr::Literal(value, _)) = defaults.get(name) else {
            return expression("NULL");
        };
        let text = match value.cast_to(&DataType::Utf8) {
            // Bytes are no text.
            Ok(ScalarValue::Utf8(Some(text))) if !is_binary(&value.data_type()) => text,
            _ => {
                return Err(CoordinatorError::Unsupported(format!(
                    "an insert of MERGE that does not name column {name}, which has a default value of \
                     type {},",
                    value.data_type()
                )));
            }
        };
        Ok(ast::Expr::value(ast::Value::SingleQuotedString(text)))
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

    /// The plan with the new rows' columns cast to the table's types, as an insert casts them, and
    /// like there only where nothing is lost ([`check_assignments`]).
    /// In a `CASE` each branch is cast by itself: the branches must not decide on a type of
    /// their own.
    pub(super) fn cast_columns(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let LogicalPlan::Projection(projection) = &plan else {
            return Err(CoordinatorError::Internal(
                "the query of a change is no projection".to_owned(),
            ));
        };
        let input = &projection.input;
        let columns = self.schema.fields().iter().map(AsRef::as_ref);
        let assignments = projection.expr.iter().zip(columns);
        check_assignments(&self.state, &self.table.name(), input, assignments)?;
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

fn is_binary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::FixedSizeBinary(_))
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
