//! `expire_snapshots` and `remove_orphan_files`: what deletes files, and how old they must be.

use std::fmt::Display;
use std::time::Duration;

use ingot_catalog::Catalog;
use ingot_catalog::maintenance::{self, ExpireOptions, OrphanOptions};
use ingot_catalog::table::ident_name;

use super::arguments::Arguments;
use super::{CLEAN_EXPIRED_METADATA, RETAIN_LAST, RETENTION_THRESHOLD};
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;
use crate::session_properties::{
    EXPIRE_SNAPSHOTS_MIN_RETENTION, REMOVE_ORPHAN_FILES_MIN_RETENTION, minimum_retention,
};
use crate::statement::context::StatementContext;
use crate::statement::ddl::done;
use crate::statement_catalogs::ResolvedTable;
use crate::units::{format_duration, format_size};

/// As in Trino.
const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(super) async fn expire_snapshots(
    context: &StatementContext,
    target: &ResolvedTable,
    arguments: &Arguments<'_>,
) -> Result<StatementOutcome> {
    let minimum = minimum_retention(
        EXPIRE_SNAPSHOTS_MIN_RETENTION,
        &context.session.properties,
        &context.core.maintenance,
    );
    let retention = arguments.duration(RETENTION_THRESHOLD)?;
    if let Some(retention) = retention {
        check_retention(EXPIRE_SNAPSHOTS_MIN_RETENTION, retention, minimum)?;
    }
    let options = ExpireOptions {
        now_ms: chrono::Utc::now().timestamp_millis(),
        max_age_ms: retention.map(millis),
        default_max_age_ms: millis(DEFAULT_RETENTION),
        retain_last: arguments.count(RETAIN_LAST)?,
        clean_expired_metadata: arguments.flag(CLEAN_EXPIRED_METADATA)?,
    };
    let (_, report) =
        maintenance::expire_snapshots(target.catalog.as_ref(), &target.ident, options).await?;
    let mut what = format!(
        "{} expired; deleted {}, {} and {}",
        count(report.snapshots, "snapshot"),
        count(report.data_files, "data file"),
        count(report.delete_files, "delete file"),
        count(report.metadata_files, "metadata file"),
    );
    if !report.references.is_empty() {
        what.push_str(&format!(
            "; branches and tags that were too old: {}",
            report.references.join(", ")
        ));
    }
    if report.definitions > 0 {
        let definitions = count(report.definitions, "partition spec or schema");
        what.push_str(&format!("; removed {definitions}"));
    }
    push_failed(&mut what, report.failed);
    done("table", &format!("{}:", ident_name(&target.ident)), what)
}

pub(super) async fn remove_orphan_files(
    context: &StatementContext,
    target: &ResolvedTable,
    arguments: &Arguments<'_>,
) -> Result<StatementOutcome> {
    let minimum = minimum_retention(
        REMOVE_ORPHAN_FILES_MIN_RETENTION,
        &context.session.properties,
        &context.core.maintenance,
    );
    let retention = arguments.duration(RETENTION_THRESHOLD)?;
    let retention = retention.unwrap_or(DEFAULT_RETENTION);
    check_retention(REMOVE_ORPHAN_FILES_MIN_RETENTION, retention, minimum)?;
    let table = target.catalog.load_table(&target.ident).await?;
    let location = table.metadata.location().trim_end_matches('/');
    let now_ms = chrono::Utc::now().timestamp_millis();
    let options = OrphanOptions {
        older_than_ms: now_ms.saturating_sub(millis(retention)),
        running: context.core.queries.running_ids(),
        // Where `COPY INTO` sets records aside that it cannot read.
        kept_folders: vec![format!("{location}/rejects")],
    };
    let catalog = target.catalog.as_ref();
    let report = maintenance::remove_orphan_files(catalog, &target.ident, &options).await?;
    let mut what = format!(
        "deleted {} ({}) of {} that are there",
        count(report.deleted, "orphan file"),
        format_size(report.deleted_bytes),
        report.listed,
    );
    push_failed(&mut what, report.failed);
    done("table", &format!("{}:", ident_name(&target.ident)), what)
}

/// `CALL system.remove_orphan_files`: the folders of tables that never came to be, and the metadata
/// files of views that nothing reads any more.
pub(in crate::statement) async fn remove_abandoned_folders(
    context: &StatementContext,
    catalog: &dyn Catalog,
    schema: &str,
    retention: Option<Duration>,
) -> Result<StatementOutcome> {
    let minimum = minimum_retention(
        REMOVE_ORPHAN_FILES_MIN_RETENTION,
        &context.session.properties,
        &context.core.maintenance,
    );
    let retention = retention.unwrap_or(DEFAULT_RETENTION);
    check_retention(REMOVE_ORPHAN_FILES_MIN_RETENTION, retention, minimum)?;
    let now_ms = chrono::Utc::now().timestamp_millis();
    let options = OrphanOptions {
        older_than_ms: now_ms.saturating_sub(millis(retention)),
        running: context.core.queries.running_ids(),
        kept_folders: Vec::new(),
    };
    let report = maintenance::remove_abandoned_folders(catalog, schema, &options).await?;
    let mut what = format!(
        "deleted {} with {} ({})",
        count(report.folders, "abandoned folder"),
        count(report.files.deleted, "file"),
        format_size(report.files.deleted_bytes),
    );
    if report.view_files > 0 {
        let files = count(report.view_files, "metadata file");
        what.push_str(&format!(
            ", {files} of dropped or replaced views among them"
        ));
    }
    push_failed(&mut what, report.files.failed);
    done("schema", &format!("{schema}:"), what)
}

/// Refuses what could delete files that running statements need.
fn check_retention(property: &str, retention: Duration, minimum: Duration) -> Result<()> {
    if retention >= minimum {
        return Ok(());
    }
    Err(CoordinatorError::InvalidInput(format!(
        "retention of {} is shorter than the minimum of {}; the setting maintenance.{property} or \
         the session property {property} changes it",
        format_duration(retention),
        format_duration(minimum)
    )))
}

fn push_failed(what: &mut String, failed: usize) {
    if failed > 0 {
        let failed = count(failed, "file");
        what.push_str(&format!(
            "; {failed} could not be deleted, remove_orphan_files will try again"
        ));
    }
}

pub(super) fn count<N>(number: N, what: &str) -> String
where
    N: Display + PartialEq + From<u8>,
{
    match number == N::from(1) {
        true => format!("1 {what}"),
        false => format!("{number} {what}s"),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
