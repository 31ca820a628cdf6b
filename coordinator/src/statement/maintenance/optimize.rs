//! `optimize`: writes small files, files with deletes and files of older partitionings again.

use std::collections::HashSet;
use std::sync::Arc;

use iceberg::expr::Predicate;
use iceberg::spec::DataFile;
use ingot_catalog::commit::{Rewrite, RewriteReport, commit_rewrite};
use ingot_catalog::maintenance::{CompactionChoice, files_to_compact};
use ingot_catalog::scan::{FileTask, plan_scan};
use ingot_catalog::{Table, TableVersion};
use ingot_engine::scan::{RewriteOrder, RewrittenFiles};
use ingot_engine::write::{decode_written_files, sort_order_of, target_file_size};
use ingot_sql::SortField;
use ingot_sql::sqlparser::ast::Expr;

use super::arguments::Arguments;
use super::retention::count;
use super::{FILE_SIZE_THRESHOLD, SORTED_BY, ZORDER_BY};
use crate::cluster::UsedPlacement;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;
use crate::statement::context::StatementContext;
use crate::statement::ddl::{done, sort_columns};
use crate::statement::{row_change, write};
use crate::statement_catalogs::ResolvedTable;
use crate::units::format_size;

/// Trino's default.
const DEFAULT_FILE_SIZE_THRESHOLD: u64 = 100 << 20;

pub(super) async fn optimize(
    context: &StatementContext,
    target: &ResolvedTable,
    arguments: &Arguments<'_>,
    condition: Option<&Expr>,
) -> Result<StatementOutcome> {
    let table = target.catalog.load_table(&target.ident).await?;
    let order = order_of(&table, arguments)?;
    let target_bytes = target_file_size(&table)?;
    let threshold = arguments.size(FILE_SIZE_THRESHOLD)?;
    let choice = CompactionChoice {
        spec_id: table.metadata.default_partition_spec_id(),
        small_bytes: threshold.unwrap_or(DEFAULT_FILE_SIZE_THRESHOLD),
        target_bytes,
        all: order != RewriteOrder::OfTable,
    };
    let files = match condition {
        Some(condition) => {
            row_change::files_of_partitions(context, target, &table, condition).await?
        }
        None => all_files(context, &table).await?,
    };
    let files = files_to_compact(files, choice);
    if files.is_empty() {
        return done("table", &table.name(), "has nothing to optimize");
    }
    let rewriting = Rewriting {
        context,
        target,
        table: &table,
        order,
        target_bytes,
    };
    let report = rewriting.run(files).await?;
    let what = format!(
        "optimized: {} and {} ({}) became {} ({})",
        count(report.removed_data_files, "data file"),
        count(report.removed_delete_files, "delete file"),
        format_size(report.removed_bytes),
        count(report.added_data_files, "data file"),
        format_size(report.added_bytes)
    );
    done("table", &table.name(), what)
}

async fn all_files(context: &StatementContext, table: &Table) -> Result<Vec<FileTask>> {
    let services = context.core.catalog_list.services();
    let plan = plan_scan(
        services.scans.storage(),
        &services.manifests,
        table,
        &TableVersion::Current,
        &Predicate::AlwaysTrue,
    );
    Ok(plan.await?.tasks)
}

/// The order of rows that the arguments ask for.
fn order_of(table: &Table, arguments: &Arguments<'_>) -> Result<RewriteOrder> {
    let (sorted_by, zorder_by) = (arguments.texts(SORTED_BY)?, arguments.texts(ZORDER_BY)?);
    let field = |parameter: &str, text: &String| {
        text.parse::<SortField>().map_err(|reason| {
            CoordinatorError::InvalidInput(format!("parameter {parameter}: {text:?}: {reason}"))
        })
    };
    let schema = table.metadata.current_schema();
    match (sorted_by, zorder_by) {
        (None, None) => Ok(RewriteOrder::OfTable),
        (Some(_), Some(_)) => Err(CoordinatorError::InvalidInput(format!(
            "optimize takes {SORTED_BY} or {ZORDER_BY}, not both"
        ))),
        (Some(texts), None) => {
            let fields = texts.iter().map(|text| field(SORTED_BY, text));
            let fields: Vec<SortField> = fields.collect::<Result<_>>()?;
            let mut order = sort_order_of(&sort_columns(&fields), schema)?;
            let of_table = table.metadata.default_sort_order();
            order.order_id = match of_table.fields == order.fields {
                true => of_table.order_id,
                // The table does not know the order: its files count as unsorted.
                false => 0,
            };
            Ok(RewriteOrder::Sorted(order))
        }
        (None, Some(texts)) => {
            let fields = texts.iter().map(|text| field(ZORDER_BY, text));
            let fields: Vec<SortField> = fields.collect::<Result<_>>()?;
            let mut names = texts.iter().zip(&fields);
            if let Some((text, _)) = names.find(|(text, field)| !is_name(text, field)) {
                return Err(CoordinatorError::InvalidInput(format!(
                    "parameter {ZORDER_BY}: {text:?}: write column names only"
                )));
            }
            // Also finds out whether the columns exist and can be ordered.
            let order = sort_order_of(&sort_columns(&fields), schema)?;
            let ids = order.fields.iter().map(|field| field.source_id);
            Ok(RewriteOrder::ZOrder(ids.collect()))
        }
    }
}

/// Whether an element of an array is the name of its column and nothing else.
fn is_name(text: &str, field: &SortField) -> bool {
    let quoted = format!("\"{}\"", field.column.replace('"', "\"\""));
    text.trim() == quoted || text.trim().to_lowercase() == field.column
}

/// A rewrite of files of one state of a table.
struct Rewriting<'a> {
    context: &'a StatementContext,
    target: &'a ResolvedTable,
    table: &'a Table,
    order: RewriteOrder,
    target_bytes: u64,
}

impl Rewriting<'_> {
    /// Writes the rows of `files` into new files and commits. A statement that fails leaves no
    /// file.
    async fn run(&self, files: Vec<FileTask>) -> Result<RewriteReport> {
        let Self { context, table, .. } = *self;
        let catalog = &self.target.catalog;
        let removed: HashSet<String> = files.iter().map(|file| file.path.clone()).collect();
        let (added, is_distributed) = match self.write(files).await {
            Ok(written) => written,
            Err(error) => {
                write::delete_files(context, catalog, table, &HashSet::new()).await;
                return Err(error);
            }
        };
        let written = write::summarize(&added);
        let kept = added.iter().map(|file| file.file_path().to_owned());
        let kept: HashSet<String> = kept.collect();
        let committed = commit_rewrite(catalog.as_ref(), table, Rewrite { removed, added }).await;
        let (committed, report) = match committed {
            Ok((table, report)) => (Ok(table), report),
            Err(error) => (Err(error), RewriteReport::default()),
        };
        write::finish(context, catalog, table, committed, written).await?;
        if is_distributed {
            // What tasks wrote that were tried twice.
            write::delete_files(context, catalog, table, &kept).await;
        }
        Ok(report)
    }

    /// The new files, and whether workers wrote them.
    async fn write(&self, files: Vec<FileTask>) -> Result<(Vec<DataFile>, bool)> {
        let services = Arc::clone(&self.context.core.catalog_list.services().scans);
        let rows = RewrittenFiles::new(
            self.table.clone(),
            files.clone(),
            self.order.clone(),
            self.target_bytes,
            services,
        )?;
        let batches = self.context.collect_written(rows.plan()?).await?;
        let written = decode_written_files(&batches, self.table)?;
        self.check_rows(&files, &written)?;
        let placement = self.context.query.progress.placement();
        Ok((written, placement == Some(UsedPlacement::Distributed)))
    }

    /// Rows are counted once more where that costs nothing: a lost row is worse than an error.
    fn check_rows(&self, files: &[FileTask], written: &[DataFile]) -> Result<()> {
        let before: u64 = files.iter().map(|file| file.record_count).sum();
        let after: u64 = written.iter().map(DataFile::record_count).sum();
        let has_deletes = files.iter().any(|file| !file.deletes.is_empty());
        if after == before || (has_deletes && after < before) {
            return Ok(());
        }
        Err(CoordinatorError::Internal(format!(
            "table {}: {after} rows were written again of {before}",
            self.table.name()
        )))
    }
}
