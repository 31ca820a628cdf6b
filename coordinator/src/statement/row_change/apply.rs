//! Carrying out a query of changes: from the rows that it returns to one commit.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use futures::{StreamExt, TryStreamExt};
use iceberg::expr::Predicate;
use iceberg::spec::DataFile;
use ingot_catalog::commit::{Removal, RowDelta, Validation, commit_row_delta};
use ingot_catalog::scan::FileTask;
use ingot_engine::scan::{FilesTable, deleted_by_position};
use ingot_engine::write::{
    DeletedPositions, PositionDeleteFile, RowDeltaInput, WriteOptions, WrittenDelta,
    decode_row_delta, write_deletion_vectors,
};
use roaring::RoaringTreemap;

use super::super::context::StatementContext;
use super::super::write;
use super::query::Target;
use super::settings::{Settings, WriteMode};
use crate::cluster::UsedPlacement;
use crate::error::{CoordinatorError, Result};
use crate::queries::WrittenSummary;
use crate::service::StatementOutcome;

/// Position delete files that are written at the same time.
const CONCURRENT_DELETE_FILES: usize = 8;

/// A statement that changes rows.
pub(super) struct Change<'a> {
    pub context: &'a StatementContext,
    pub target: &'a Target,
    pub settings: Settings,
}

/// A data file with rows that go.
struct ChangedFile {
    task: FileTask,
    positions: RoaringTreemap,
}

impl ChangedFile {
    /// Whether surely all of its rows go.
    fn loses_all_rows(&self) -> bool {
        self.task.deletes.is_empty() && self.positions.len() == self.task.record_count
    }
}

/// What a statement is to commit.
struct Prepared {
    delta: RowDelta,
    /// Changes: rows deleted, updated and inserted.
    rows: u64,
    /// A file that is of no use after the commit.
    unused_file: Option<String>,
    /// Whether workers wrote some of it.
    is_distributed: bool,
}

/// Files written again.
#[derive(Default)]
struct Rewritten {
    files: Vec<DataFile>,
    /// Where the positions were that were left out.
    positions_file: Option<String>,
}

impl Change<'_> {
    /// Runs `changes`, which returns one row per change, and commits its outcome. Returns the
    /// number of changes. A statement that fails leaves no file.
    pub(super) async fn run(
        &self,
        changes: LogicalPlan,
        input: RowDeltaInput,
    ) -> Result<StatementOutcome> {
        let Target { catalog, table, .. } = self.target;
        self.settings.check_mode(table)?;
        let prepared = match self.prepare(changes, input).await {
            Ok(prepared) => prepared,
            Err(error) => {
                write::delete_files(self.context, catalog, table, &HashSet::new()).await;
                return Err(error);
            }
        };
        let Some(prepared) = prepared else {
            return Ok(StatementOutcome::UpdateCount(0));
        };
        let Prepared {
            delta,
            rows,
            unused_file,
            is_distributed,
        } = prepared;
        let written = WrittenSummary {
            rows,
            ..write::summarize(&delta.data_files)
        };
        let delete_files = delta.delete_files.iter().map(|(_, file)| file);
        let committed_files: HashSet<String> = delta
            .data_files
            .iter()
            .chain(delete_files)
            .map(|file| file.file_path().to_owned())
            .collect();
        let committed = commit_row_delta(catalog.as_ref(), table, delta).await;
        let snapshot_id = committed.as_ref().ok();
        let snapshot_id = snapshot_id.and_then(|table| self.target.newest_snapshot(table));
        write::finish(self.context, catalog, table, committed, written).await?;
        let written = WrittenSummary {
            snapshot_id,
            ..written
        };
        self.context.query.set_written(written);
        if is_distributed {
            // Also what tasks wrote that were tried twice.
            write::delete_files(self.context, catalog, table, &committed_files).await;
        } else if let Some(file) = unused_file
            && let Err(error) = catalog.storage().delete(&file).await
        {
            tracing::warn!(table = %table.name(), file, %error, "cannot delete an unused file");
        }
        Ok(StatementOutcome::UpdateCount(rows as i64))
    }

    /// What is to be committed; `None` when nothing changes.
    async fn prepare(
        &self,
        changes: LogicalPlan,
        input: RowDeltaInput,
    ) -> Result<Option<Prepared>> {
        let reads_other_rows = self.target.changed.is_read_elsewhere(&changes)?;
        let plan = self.target.write_plan(changes)?;
        let options = WriteOptions::new(self.context.query.id()).with_row_delta(input);
        let batches = self.context.collect_written_with(plan, options).await?;
        let mut is_distributed = self.is_distributed();
        let delta = decode_row_delta(&batches, &self.target.table)?;
        if delta.changes == 0 {
            return Ok(None);
        }
        let filter = match reads_other_rows {
            // Any new row could change what the second read returns.
            true => Predicate::AlwaysTrue,
            false => self.target.changed.scanned().predicate(),
        };
        let rows = delta.changes;
        let files = self.changed_files(&delta)?;
        let mut change = RowDelta {
            branch: self.target.branch.clone(),
            data_files: delta.files,
            validation: Some(Validation {
                isolation: self.settings.isolation,
                filter,
                reads_other_rows,
            }),
            ..RowDelta::default()
        };
        if self.target.has_deletion_vectors() {
            self.add_deletion_vectors(&mut change, files).await?;
            return Ok(Some(Prepared {
                delta: change,
                rows,
                unused_file: None,
                is_distributed,
            }));
        }
        let (whole, partial): (Vec<_>, Vec<_>) =
            files.into_iter().partition(ChangedFile::loses_all_rows);
        let mut removed: HashSet<String> = whole.into_iter().map(|file| file.task.path).collect();
        let mut unused_file = None;
        match self.settings.mode {
            WriteMode::CopyOnWrite => {
                let rewritten = self.rewrite(&partial).await?;
                is_distributed |= self.is_distributed();
                change.data_files.extend(rewritten.files);
                unused_file = rewritten.positions_file;
                removed.extend(partial.into_iter().map(|file| file.task.path));
            }
            WriteMode::MergeOnRead => {
                change.delete_files = self.write_deletes(&partial).await?;
                change.deleted_from = partial.into_iter().map(|file| file.task.path).collect();
            }
        }
        change.removal = Removal::Files(removed);
        Ok(Some(Prepared {
            delta: change,
            rows,
            unused_file,
            is_distributed,
        }))
    }

    /// Writes the deletion vectors of `files`, which take the place of what they have.
    async fn add_deletion_vectors(
        &self,
        change: &mut RowDelta,
        files: Vec<ChangedFile>,
    ) -> Result<()> {
        let Target { catalog, table, .. } = self.target;
        let scans = &self.context.core.catalog_list.services().scans;
        let snapshot_id = self.target.newest_snapshot(table);
        let mut vectors = Vec::with_capacity(files.len());
        for ChangedFile { task, positions } in files {
            let before = deleted_by_position(scans, &task).await;
            let before = before.map_err(|error| error.in_snapshot(&table.name(), snapshot_id))?;
            change.deleted_from.insert(task.path.clone());
            vectors.push((task, before | positions));
        }
        if !vectors.is_empty() {
            let statement_id = self.context.query.id();
            let storage = catalog.storage();
            change.delete_files =
                write_deletion_vectors(storage, table, statement_id, &vectors).await?;
        }
        change.removal = Removal::DeletesOf(change.deleted_from.clone());
        Ok(())
    }

    /// Whether the last query ran on the workers.
    fn is_distributed(&self) -> bool {
        self.context.query.progress.placement() == Some(UsedPlacement::Distributed)
    }

    fn changed_files(&self, delta: &WrittenDelta) -> Result<Vec<ChangedFile>> {
        let files = delta.positions.iter().map(|(number, positions)| {
            let task = self.target.changed.scanned().file(*number);
            let task = task.filter(|task| {
                let is_within = |last: u64| last < task.record_count;
                positions.max().is_some_and(is_within)
            });
            let task = task.ok_or_else(|| {
                CoordinatorError::Internal(format!(
                    "table {}: a changed row is in none of the files read",
                    self.target.table.name()
                ))
            })?;
            Ok(ChangedFile {
                task,
                positions: positions.clone(),
            })
        });
        files.collect()
    }

    /// Writes the rows of `files` that stay into new files.
    async fn rewrite(&self, files: &[ChangedFile]) -> Result<Rewritten> {
        if files.is_empty() {
            return Ok(Rewritten::default());
        }
        let Target { catalog, table, .. } = self.target;
        // The rows that go travel to the workers as deletes do that are committed.
        let positions: DeletedPositions<'_> = files
            .iter()
            .map(|file| (file.task.path.as_str(), &file.positions))
            .collect();
        let statement_id = self.context.query.id();
        let storage = catalog.storage();
        let deletes = PositionDeleteFile::write(storage, table, statement_id, positions).await?;
        let tasks = files.iter().map(|file| {
            let mut task = file.task.clone();
            task.deletes.push(deletes.reference(task.spec_id));
            task
        });
        let services = Arc::clone(&self.context.core.catalog_list.services().scans);
        let snapshot_id = self.target.newest_snapshot(table);
        let remaining = FilesTable::new(table.clone(), snapshot_id, tasks.collect(), services)?;
        let remaining = Arc::new(remaining) as Arc<dyn TableProvider>;
        let name = TableReference::bare(table.ident.name().to_owned());
        let query = LogicalPlanBuilder::scan(name, provider_as_source(remaining), None)?.build()?;
        let written = write::run_write(self.context, catalog, table, query).await?;
        self.check_remaining_rows(files, &written)?;
        Ok(Rewritten {
            files: written,
            positions_file: Some(deletes.location().to_owned()),
        })
    }

    /// Rows are counted once more where that costs nothing: a lost row is worse than an error.
    fn check_remaining_rows(&self, files: &[ChangedFile], written: &[DataFile]) -> Result<()> {
        if files.iter().any(|file| !file.task.deletes.is_empty()) {
            return Ok(());
        }
        let expected: u64 = files
            .iter()
            .map(|file| file.task.record_count - file.positions.len())
            .sum();
        let found: u64 = written.iter().map(DataFile::record_count).sum();
        if expected == found {
            return Ok(());
        }
        Err(CoordinatorError::Internal(format!(
            "table {}: {found} rows were written again instead of {expected}",
            self.target.table.name()
        )))
    }

    /// Writes a position delete file for each of `files`.
    async fn write_deletes(&self, files: &[ChangedFile]) -> Result<Vec<(i32, DataFile)>> {
        let Target { catalog, table, .. } = self.target;
        let statement_id = self.context.query.id();
        let writes = files.iter().map(|file| async move {
            let ChangedFile { task, positions } = file;
            let all = BTreeMap::from([(task.path.as_str(), positions)]);
            let storage = catalog.storage();
            let written = PositionDeleteFile::write(storage, table, statement_id, all).await?;
            let delete_file = written.into_delete_file(table, task, positions)?;
            Ok::<_, CoordinatorError>((task.spec_id, delete_file))
        });
        futures::stream::iter(writes.collect::<Vec<_>>())
            .buffered(CONCURRENT_DELETE_FILES)
            .try_collect()
            .await
    }
}
