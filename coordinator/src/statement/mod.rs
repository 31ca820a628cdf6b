//! Executing statements: one file for each kind.

mod alter;
mod branches;
mod columns;
mod context;
mod ddl;
mod describe;
mod explain;
mod headings;
mod insert_query;
mod maintenance;
mod materialized_views;
mod procedures;
mod query;
mod refresh;
mod register_table;
mod row_change;
mod row_values;
mod rows;
mod session_commands;
mod show;
mod show_create;
mod snapshot_procedures;
mod statistics;
mod transactions;
mod views;
mod write;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use ingot_sql::Statement;

pub use context::StatementContext;
pub use describe::{describe, no_rows};
pub(crate) use materialized_views::delete_files_of_dropped;
pub(crate) use query::{WatchedStream, ended_by};

use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;

/// Executes one statement.
pub async fn execute(context: StatementContext, statement: Statement) -> Result<StatementOutcome> {
    // What `SHOW …` returns is known before it is executed, and is the same then.
    if let Some(schema) = show::schema_of(&context.catalogs, &statement) {
        return execute_show(&context, schema, &statement).await;
    }
    match &statement {
        Statement::Query(query) => boxed(query::execute, context, query).await,
        Statement::Explain(explain) => boxed(explain::execute, &context, explain).await,
        Statement::CreateSchema(create) => boxed(ddl::create_schema, &context, create).await,
        Statement::DropSchema(drop) => boxed(ddl::drop_schema, &context, drop).await,
        Statement::CreateTable(create) => boxed(ddl::create_table, &context, create).await,
        Statement::CreateTableAs(create) => boxed(write::create_table_as, &context, create).await,
        Statement::DropTable(drop) => boxed(ddl::drop_table, &context, drop).await,
        Statement::CreateView(create) => boxed(views::create_view, &context, create).await,
        Statement::DropView(drop) => boxed(views::drop_view, &context, drop).await,
        Statement::AlterView(alter) => boxed(views::alter, &context, alter).await,
        Statement::RefreshMaterializedView { view } => {
            boxed(refresh::refresh, &context, view).await
        }
        Statement::AlterMaterializedView(alter) => {
            boxed(materialized_views::alter, &context, alter).await
        }
        Statement::AlterTable(alter) => boxed(alter::alter_table, &context, alter).await,
        Statement::Insert(insert) => boxed(write::insert, &context, insert).await,
        Statement::CopyInto(copy) => boxed(write::copy_into, &context, copy).await,
        Statement::Delete(change) => boxed(row_change::delete, &context, change).await,
        Statement::Update(change) => boxed(row_change::update, &context, change).await,
        Statement::Merge(change) => boxed(row_change::merge, &context, change).await,
        Statement::Truncate { table } => boxed(row_change::truncate, &context, table).await,
        Statement::Analyze { table, columns } => {
            Box::pin(statistics::analyze(&context, table, columns.as_deref())).await
        }
        Statement::Use { catalog, schema } => {
            session_commands::use_schema(&context, catalog.as_deref(), schema).await
        }
        Statement::UseBranch { branch, catalog } => {
            branches::use_branch(&context, branch, catalog.as_deref()).await
        }
        Statement::CreateCatalogReference(create) => {
            boxed(branches::create, &context, create).await
        }
        Statement::DropCatalogReference(drop) => {
            boxed(branches::drop_reference, &context, drop).await
        }
        Statement::MergeBranch {
            branch,
            target,
            catalog,
        } => branches::merge(&context, branch, target, catalog.as_deref()).await,
        Statement::StartTransaction => transactions::start(&context).await,
        Statement::Commit => transactions::commit(&context).await,
        Statement::Rollback => transactions::roll_back(&context).await,
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
            transactions::refuse_inside(&context, "RUN JOB")?;
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
        _ => Err(not_executed()),
    }
}

/// The statement's work on the heap, made in a frame of its own: together, the futures of all kinds of
/// statements would take half a megabyte of a thread's stack where nothing is optimised.
#[inline(never)]
fn boxed<'work, C, S, W>(
    work: impl FnOnce(C, S) -> W,
    context: C,
    statement: S,
) -> BoxFuture<'work, W::Output>
where
    W: Future + Send + 'work,
{
    Box::pin(work(context, statement))
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
        Statement::ShowCreateMaterializedView { view } => {
            materialized_views::show_create(context, schema, view).await
        }
        Statement::ShowCreateSchema { schema: name } => {
            show::create_schema(context, schema, name).await
        }
        Statement::ShowSession { like } => show::session(context, schema, like),
        Statement::ShowFunctions { like } => show::functions(context, schema, like),
        Statement::ShowJobs { like } => show::jobs(context, schema, like).await,
        Statement::ShowBranches { catalog, like } => {
            branches::show(context, schema, catalog.as_deref(), like).await
        }
        Statement::ShowCatalogLog {
            catalog,
            like,
            limit,
        } => branches::show_log(context, schema, catalog.as_deref(), like, *limit).await,
        Statement::ShowStats { relation } => statistics::show(context, relation).await,
        _ => Err(not_executed()),
    }
}

/// For a statement that Ingot parses and does not execute.
fn not_executed() -> CoordinatorError {
    CoordinatorError::Unsupported("this statement".to_owned())
}
