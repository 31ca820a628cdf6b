//! Branches, tags and the log of a whole catalog.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use ingot_catalog::versioned::MAIN;
use ingot_catalog::{CatalogError, CatalogLogEntry, CatalogReference, CatalogReferenceKind};
use ingot_sql::{
    CatalogSource, CreateCatalogReference, DropCatalogReference, LikePattern, ReferenceKind,
};

use super::context::StatementContext;
use super::ddl::done;
use super::rows::{batch_rows, is_like};
use super::transactions::refuse_inside;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;

/// How many commits `SHOW CATALOG LOG` shows without a `LIMIT`.
const DEFAULT_LOG_LIMIT: u64 = 100;

/// `CREATE BRANCH | TAG name …`
pub(super) async fn create(
    context: &StatementContext,
    create: &CreateCatalogReference,
) -> Result<StatementOutcome> {
    let kind = kind_of(create.kind);
    let what = kind.to_string();
    let catalog = context.catalogs.catalog(create.catalog.as_deref())?;
    let from = create.from.as_ref().map(|source| match source {
        CatalogSource::Reference(name) => CatalogReference::Named(name.clone()),
        CatalogSource::Version(version) => CatalogReference::Version(*version),
    });
    let versioned = catalog.versioned()?;
    let created = versioned.create_reference(kind, &create.name, from.as_ref());
    match created.await {
        Ok(created) => {
            let version = created.forked_at.unwrap_or(created.version);
            let made = match created.parent {
                Some(parent) => format!("created from {parent} at version {version}"),
                None => format!("created at version {version}"),
            };
            done(&what, &create.name, made)
        }
        Err(CatalogError::ReferenceExists { what: existing })
            if create.if_not_exists && existing == format!("{kind} {}", create.name) =>
        {
            done(&what, &create.name, "already exists: nothing was created")
        }
        Err(error) => Err(error.into()),
    }
}

/// `DROP BRANCH | TAG [IF EXISTS] name`
pub(super) async fn drop_reference(
    context: &StatementContext,
    drop: &DropCatalogReference,
) -> Result<StatementOutcome> {
    let kind = kind_of(drop.kind);
    let what = kind.to_string();
    let catalog = context.catalogs.catalog(drop.catalog.as_deref())?;
    let own = context.session.branches.get(catalog.name());
    if drop.kind == ReferenceKind::Branch && own == Some(&drop.name) {
        return Err(CoordinatorError::InvalidInput(format!(
            "branch {} cannot be dropped by a session that is on it: write USE BRANCH main first",
            drop.name
        )));
    }
    match catalog.versioned()?.drop_reference(kind, &drop.name).await {
        Ok(()) => done(&what, &drop.name, "dropped"),
        Err(CatalogError::ReferenceNotFound { .. }) if drop.if_exists => {
            done(&what, &drop.name, "does not exist: nothing was dropped")
        }
        Err(error) => Err(error.into()),
    }
}

/// `MERGE BRANCH branch INTO target`
pub(super) async fn merge(
    context: &StatementContext,
    branch: &str,
    target: &str,
    catalog: Option<&str>,
) -> Result<StatementOutcome> {
    let catalog = context.catalogs.catalog(catalog)?;
    let merged = catalog.versioned()?.merge_branch(branch, target).await?;
    match merged.version {
        None => done(
            "branch",
            branch,
            format!("has nothing to merge into {target}"),
        ),
        Some(version) => {
            let changed = merged.changed.join(", ");
            let merged = format!("merged into {target} as version {version}: {changed}");
            done("branch", branch, merged)
        }
    }
}

/// `USE BRANCH name`: what the session's next statements read and change.
pub(super) async fn use_branch(
    context: &StatementContext,
    branch: &str,
    catalog: Option<&str>,
) -> Result<StatementOutcome> {
    refuse_inside(context, "USE BRANCH")?;
    let catalog = context.catalogs.catalog(catalog)?;
    let reference = CatalogReference::Branch(branch.to_owned());
    catalog.versioned()?.at(&reference).await?;
    let name = catalog.name().to_owned();
    let sessions = &context.core.sessions;
    sessions.update(&context.session_id, |session| match branch {
        MAIN => drop(session.branches.remove(&name)),
        _ => drop(session.branches.insert(name.clone(), branch.to_owned())),
    })?;
    Ok(StatementOutcome::Done {
        message: format!("using branch {branch} of catalog {name}"),
    })
}

/// The columns of `SHOW BRANCHES`.
pub(super) fn references_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("Name", DataType::Utf8, false),
        Field::new("Kind", DataType::Utf8, false),
        Field::new("Version", DataType::Int64, false),
        Field::new("Parent", DataType::Utf8, true),
        Field::new("Forked At", DataType::Int64, true),
        Field::new("Created", time_type(), false),
    ]))
}

/// `SHOW BRANCHES [FROM catalog] [LIKE pattern]`
pub(super) async fn show(
    context: &StatementContext,
    schema: SchemaRef,
    catalog: Option<&str>,
    like: &Option<LikePattern>,
) -> Result<StatementOutcome> {
    let catalog = context.catalogs.catalog(catalog)?;
    let mut found = catalog.versioned()?.references().await?;
    found.retain(|reference| is_like(&reference.name, like));
    let columns: Vec<ArrayRef> = vec![
        texts(found.iter().map(|reference| Some(reference.name.clone()))),
        texts(
            found
                .iter()
                .map(|reference| Some(reference.kind.to_string())),
        ),
        numbers(found.iter().map(|reference| Some(reference.version))),
        texts(found.iter().map(|reference| reference.parent.clone())),
        numbers(found.iter().map(|reference| reference.forked_at)),
        times(found.iter().map(|reference| reference.created_at_ms)),
    ];
    batch_rows(RecordBatch::try_new(schema, columns)?)
}

/// The columns of `SHOW CATALOG LOG`.
pub(super) fn log_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("Version", DataType::Int64, false),
        Field::new("Branch", DataType::Utf8, true),
        Field::new("Parent", DataType::Int64, true),
        Field::new("Time", time_type(), false),
        Field::new("Author", DataType::Utf8, false),
        Field::new("Message", DataType::Utf8, false),
        Field::new("Changed", DataType::Utf8, false),
    ]))
}

/// `SHOW CATALOG LOG [FROM catalog] [LIKE pattern] [LIMIT count]`
pub(super) async fn show_log(
    context: &StatementContext,
    schema: SchemaRef,
    catalog: Option<&str>,
    like: &Option<LikePattern>,
    limit: Option<u64>,
) -> Result<StatementOutcome> {
    let catalog = context.catalogs.catalog(catalog)?;
    let limit = usize::try_from(limit.unwrap_or(DEFAULT_LOG_LIMIT)).unwrap_or(usize::MAX);
    // With a pattern, the limit counts the commits that match.
    let read = match like {
        Some(_) => usize::MAX,
        None => limit,
    };
    let mut log = catalog.versioned()?.log(read).await?;
    log.retain(|entry| changes_like(entry, like));
    log.truncate(limit);
    let columns: Vec<ArrayRef> = vec![
        numbers(log.iter().map(|entry| Some(entry.version))),
        texts(log.iter().map(|entry| entry.branch.clone())),
        numbers(log.iter().map(|entry| entry.parent)),
        times(log.iter().map(|entry| entry.committed_at_ms)),
        texts(log.iter().map(|entry| Some(entry.author.clone()))),
        texts(log.iter().map(|entry| Some(entry.message.clone()))),
        texts(log.iter().map(|entry| Some(entry.changed.join(", ")))),
    ];
    batch_rows(RecordBatch::try_new(schema, columns)?)
}

fn changes_like(entry: &CatalogLogEntry, like: &Option<LikePattern>) -> bool {
    like.is_none() || entry.changed.iter().any(|name| is_like(name, like))
}

fn kind_of(kind: ReferenceKind) -> CatalogReferenceKind {
    match kind {
        ReferenceKind::Branch => CatalogReferenceKind::Branch,
        ReferenceKind::Tag => CatalogReferenceKind::Tag,
    }
}

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn texts(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn numbers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn times(milliseconds: impl Iterator<Item = i64>) -> ArrayRef {
    let micros = milliseconds.map(|time| time.saturating_mul(1_000));
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}
