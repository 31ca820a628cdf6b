//! `REFRESH MATERIALIZED VIEW`.
//!
//! The rows are written into the view's storage table, in one snapshot that says what they were
//! made from. Until its commit, the rows of the last refresh answer; a refresh that fails leaves
//! nothing. When rows were only added to the one table that the view reads, and its query allows
//! it, only those are read.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::logical_expr::LogicalPlan;
use iceberg::spec::DataFile;
use ingot_catalog::commit::{Removal, RowDelta, commit_row_delta};
use ingot_catalog::materialized_view::{
    Refresh, RefreshKind, RefreshState, SourceState, SourceTable,
};
use ingot_catalog::table::ident_name;
use ingot_catalog::{Catalog, Table, TableVersion, View};
use ingot_engine::catalog_list::{RefreshQuery, plan_refresh};
use ingot_engine::materialized_view::{
    Assessment, Freshness, Increment, IncrementalQuery, assess, sources_of,
};
use ingot_engine::scan::FilesTable;
use ingot_engine::table::IcebergTable;
use ingot_sql::ObjectName;

use super::context::StatementContext;
use super::ddl::done;
use super::materialized_views::{MATERIALIZED_VIEW, load};
use super::write;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;

/// Brings the stored rows of a materialized view up to date.
pub(super) async fn refresh(
    context: &StatementContext,
    name: &ObjectName,
) -> Result<StatementOutcome> {
    let target = context.resolve_table(name)?;
    let (view, materialization) = load(&target).await?;
    let catalog = target.catalog;
    let storage = catalog.load_table(&materialization.storage_table).await?;
    let list = context.catalogs.list();
    let assessment = assess(list, catalog.name(), &view, &storage).await?;
    let refreshing = Refreshing {
        context,
        catalog,
        view,
        storage,
        assessment,
    };
    refreshing.run().await
}

/// A refresh, with the state of the view when it began.
struct Refreshing<'a> {
    context: &'a StatementContext,
    catalog: Arc<dyn Catalog>,
    view: View,
    storage: Table,
    assessment: Assessment,
}

/// What a refresh writes.
struct Work {
    plan: LogicalPlan,
    kind: RefreshKind,
    /// Whether the rows are added to those that are there.
    adds: bool,
    /// Why it is a full one, if it might not have been.
    reason: Option<String>,
}

impl Refreshing<'_> {
    async fn run(self) -> Result<StatementOutcome> {
        let name = ident_name(&self.view.ident);
        let time_zone = self.context.time_zone();
        let fits_session = match self.assessment.time_zone() {
            Some(made_in) => made_in == time_zone,
            None => true,
        };
        if self.assessment.freshness == Freshness::Fresh && fits_session {
            return done(
                MATERIALIZED_VIEW,
                &name,
                "is up to date: nothing to refresh",
            );
        }
        // Before any source is looked at: what changes from here on is not in the rows.
        let started_ms = chrono::Utc::now().timestamp_millis();
        let core = &self.context.core;
        let list = self.context.catalogs.list();
        let catalog = self.catalog.name();
        let query = plan_refresh(list, catalog, &self.view, &time_zone, &core.runtime).await?;
        let refresh = self.refresh_of(&query, started_ms)?;
        let work = self.plan_work(&query, &refresh).await?;
        let files = self.write(&work.plan).await?;
        let rows = self.commit(&work, &refresh, files).await?;
        done(MATERIALIZED_VIEW, &name, message(&work, rows))
    }

    /// What the storage table will know about this refresh.
    fn refresh_of(&self, query: &RefreshQuery, started_ms: i64) -> Result<Refresh> {
        let time_zone = self.context.time_zone();
        let sources = sources_of(&query.plan, self.context.catalogs.list())?;
        let storage_uuid = self.storage.metadata.uuid();
        if sources
            .tables
            .iter()
            .any(|table| table.uuid == storage_uuid)
        {
            return Err(CoordinatorError::InvalidInput(format!(
                "materialized view {} reads its own stored rows",
                self.view.name()
            )));
        }
        let tables = sources.tables.into_iter().map(SourceState::Table);
        let views = query.views.iter().cloned().map(SourceState::View);
        Ok(Refresh {
            state: RefreshState {
                view_version_id: self.view.metadata.current_version_id(),
                source_states: tables.chain(views).collect(),
                refresh_start_timestamp_ms: started_ms,
            },
            untracked: sources.untracked,
            time_zone: sources.depends_on_time_zone.then_some(time_zone),
        })
    }

    /// What has to be run and written: as little as is surely right.
    async fn plan_work(&self, query: &RefreshQuery, refresh: &Refresh) -> Result<Work> {
        let full = |reason: Option<String>| Work {
            plan: query.plan.clone(),
            kind: RefreshKind::Full,
            adds: false,
            reason,
        };
        let Some(previous) = &self.assessment.refresh else {
            return Ok(full(None));
        };
        match self.increment(query, previous, refresh).await? {
            Ok(Increment::Append(plan)) => Ok(Work {
                plan,
                kind: RefreshKind::Incremental,
                adds: true,
                reason: None,
            }),
            Ok(Increment::Replace(plan)) => Ok(Work {
                plan,
                kind: RefreshKind::Incremental,
                adds: false,
                reason: None,
            }),
            Err(reason) => Ok(full(Some(reason))),
        }
    }

    /// The refresh by new rows alone; why there is none otherwise.
    async fn increment(
        &self,
        query: &RefreshQuery,
        previous: &Refresh,
        refresh: &Refresh,
    ) -> Result<Result<Increment, String>> {
        let stored = self.provider(self.storage.clone())?;
        let incremental = match IncrementalQuery::of(&query.plan, &stored) {
            Ok(incremental) => incremental,
            Err(reason) => return Ok(Err(format!("its query {reason}"))),
        };
        let source = match same_source(previous, refresh) {
            Ok(source) => source,
            Err(reason) => return Ok(Err(reason)),
        };
        let services = self.context.core.catalog_list.services();
        let files = match incremental.files_since(source, services).await? {
            Ok(files) => files,
            Err(reason) => return Ok(Err(reason)),
        };
        let table = incremental.source().clone();
        let snapshot_id = table.metadata.current_snapshot_id();
        let new_rows = FilesTable::new(table, snapshot_id, files, Arc::clone(&services.scans))?;
        let new_rows: Arc<dyn TableProvider> = Arc::new(new_rows);
        let increment = incremental.increment(new_rows, Arc::new(stored))?;
        Ok(Ok(increment))
    }

    fn provider(&self, table: Table) -> Result<IcebergTable> {
        Ok(IcebergTable::new(
            Arc::clone(&self.catalog),
            table,
            TableVersion::Current,
            self.context.core.catalog_list.services().clone(),
        )?)
    }

    async fn write(&self, plan: &LogicalPlan) -> Result<Vec<DataFile>> {
        write::write_files(self.context, &self.catalog, &self.storage, plan.clone()).await
    }

    /// Publishes the rows; returns how many were written.
    async fn commit(&self, work: &Work, refresh: &Refresh, files: Vec<DataFile>) -> Result<u64> {
        let written = write::summarize(&files);
        let removal = match work.adds {
            true => Removal::Nothing,
            false => Removal::All,
        };
        let delta = RowDelta {
            data_files: files,
            removal,
            replaces_snapshot: true,
            summary: refresh.to_summary(work.kind)?,
            ..RowDelta::default()
        };
        let committed = commit_row_delta(self.catalog.as_ref(), &self.storage, delta).await;
        write::finish(
            self.context,
            &self.catalog,
            &self.storage,
            committed,
            written,
        )
        .await?;
        Ok(written.rows)
    }
}

/// The one table that both refreshes read, as the earlier one found it; why the two cannot be
/// compared otherwise.
fn same_source<'a>(previous: &'a Refresh, refresh: &Refresh) -> Result<&'a SourceTable, String> {
    if let Some(untracked) = refresh.untracked.iter().chain(&previous.untracked).next() {
        return Err(format!("its query depends on {untracked}"));
    }
    if previous.time_zone != refresh.time_zone {
        return Err("it was refreshed in another time zone".to_owned());
    }
    let views = |refresh: &Refresh| {
        let sources = refresh.state.source_states.iter();
        let views = sources.filter(|source| matches!(source, SourceState::View(_)));
        views.cloned().collect::<Vec<_>>()
    };
    if views(previous) != views(refresh) {
        return Err("the views that it reads are not what they were".to_owned());
    }
    match (tables(previous).as_slice(), tables(refresh).as_slice()) {
        ([before], [now]) if before.uuid == now.uuid => Ok(*before),
        _ => Err("it does not read the table that it was made from".to_owned()),
    }
}

fn tables(refresh: &Refresh) -> Vec<&SourceTable> {
    let sources = refresh.state.source_states.iter();
    let tables = sources.filter_map(|source| match source {
        SourceState::Table(table) => Some(table),
        SourceState::View(_) => None,
    });
    tables.collect()
}

fn message(work: &Work, rows: u64) -> String {
    match (work.kind, work.adds) {
        (RefreshKind::Full, _) => {
            let reason = work.reason.as_ref();
            let reason = reason.map_or_else(String::new, |reason| format!(", because {reason}"));
            format!("refreshed in full{reason}: {rows} rows")
        }
        (RefreshKind::Incremental, true) => format!("refreshed incrementally: {rows} rows added"),
        (RefreshKind::Incremental, false) => {
            format!("refreshed incrementally: {rows} rows after merging")
        }
    }
}
