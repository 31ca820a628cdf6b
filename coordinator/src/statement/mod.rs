//! Executing statements: one file for each kind.

mod alter;
mod columns;
mod context;
mod ddl;
mod describe;
mod explain;
mod procedures;
mod query;
mod row_change;
mod rows;
mod session_commands;
mod show;
mod show_create;
mod snapshot_procedures;
mod views;
mod write;

use std::collections::BTreeMap;

use ingot_sql::Statement;

pub use context::StatementContext;
pub use describe::describe;
pub(crate) use query::{WatchedStream, ended_by};

use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;

/// Executes one statement.
pub async fn execute(context: StatementContext, statement: Statement) -> Result<StatementOutcome> {
    // What `SHOW …` returns is known before it is executed, and is the same then.
    if let Some(schema) = show::schema_of(&statement) {
        return execute_show(&context, schema, &statement).await;
    }
    match &statement {
        Statement::Query(query) => query::execute(context, query).await,
        Statement::Explain(explain) => explain::execute(&context, explain).await,
        Statement::CreateSchema(create) => ddl::create_schema(&context, create).await,
        Statement::DropSchema(drop) => ddl::drop_schema(&context, drop).await,
        Statement::CreateTable(create) => ddl::create_table(&context, create).await,
        Statement::CreateTableAs(create) => write::create_table_as(&context, create).await,
        Statement::DropTable(drop) => ddl::drop_table(&context, drop).await,
        Statement::CreateView(create) => views::create_view(&context, create).await,
        Statement::DropView(drop) => views::drop_view(&context, drop).await,
        Statement::AlterTable(alter) => alter::alter_table(&context, alter).await,
        Statement::Insert(insert) => write::insert(&context, insert).await,
        Statement::CopyInto(copy) => write::copy_into(&context, copy).await,
        Statement::Delete(change) => row_change::delete(&context, change).await,
        Statement::Update(change) => row_change::update(&context, change).await,
        Statement::Merge(change) => row_change::merge(&context, change).await,
        Statement::Truncate { table } => row_change::truncate(&context, table).await,
        Statement::Use { catalog, schema } => {
            session_commands::use_schema(&context, catalog.as_deref(), schema).await
        }
        Statement::SetSession { name, value } => {
            session_commands::set(&context, name, &value.as_text())
        }
        Statement::ResetSession { name } => session_commands::reset(&context, name.as_deref()),
        Statement::Prepare { name, statement } => {
            session_commands::prepare(&context, name, statement)
        }
        Statement::Execute { name, parameters } => {
            session_commands::execute_prepared(context, name, parameters).await
        }
        Statement::Deallocate { name } => session_commands::deallocate(&context, name),
        Statement::RunJob { name } => {
            let jobs = context.core.jobs()?;
            let run_id = jobs
                .start_run(
                    &name.parts.join("."),
                    &context.session.user,
                    BTreeMap::new(),
                )
                .await?;
            Ok(StatementOutcome::Done {
                message: format!("run {run_id} started"),
            })
        }
        Statement::Call {
            procedure,
            arguments,
        } => procedures::call(&context, procedure, arguments).await,
        other => Err(CoordinatorError::Unsupported(
            unsupported_name(other).to_owned(),
        )),
    }
}

async fn execute_show(
    context: &StatementContext,
    schema: arrow::datatypes::SchemaRef,
    statement: &Statement,
) -> Result<StatementOutcome> {
    match statement {
        Statement::ShowCatalogs { like } => show::catalogs(context, schema, like).await,
        Statement::ShowSchemas { catalog, like } => {
            show::schemas(context, schema, catalog, like).await
        }
        Statement::ShowTables { schema: from, like } => {
            show::tables(context, schema, from, like).await
        }
        Statement::ShowColumns { table, like } => show::columns(context, schema, table, like).await,
        Statement::ShowCreateTable { table } => show::create_table(context, schema, table).await,
        Statement::ShowCreateView { view } => views::show_create_view(context, schema, view).await,
        Statement::ShowCreateSchema { schema: name } => {
            show::create_schema(context, schema, name).await
        }
        Statement::ShowSession { like } => show::session(context, schema, like),
        Statement::ShowFunctions { like } => show::functions(context, schema, like),
        Statement::ShowJobs { like } => show::jobs(context, schema, like).await,
        other => Err(CoordinatorError::Unsupported(
            unsupported_name(other).to_owned(),
        )),
    }
}

/// What to call a statement that Ingot parses and does not execute.
fn unsupported_name(statement: &Statement) -> &'static str {
    match statement {
        Statement::Analyze { .. } => "ANALYZE",
        Statement::ShowStats { .. } => "SHOW STATS",
        _ => "this statement",
    }
}
