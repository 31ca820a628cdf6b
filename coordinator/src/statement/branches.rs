//! Branches, tags and the log of a whole catalog.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use ingot_catalog::{
    CatalogError, CatalogLogEntry, CatalogReference, CatalogReferenceKind, VersionId,
};
use ingot_engine::catalog_list::version_id_of;
use ingot_sql::{
    CatalogSource, CreateCatalogReference, DropCatalogReference, LikePattern, ReferenceKind,
};

use super::context::StatementContext;
use super::ddl::done;
use super::rows::{batch_rows, is_like};
use super::transactions::refuse_inside;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;
use crate::statement_catalogs::StatementCatalogs;

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
        CatalogSource::Version(version) => {
            CatalogReference::Version(version_id_of(version.clone()))
        }
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
    let versioned = catalog.versioned()?;
    let own = context.session.branches.get(catalog.name());
    if drop.kind == ReferenceKind::Branch && own == Some(&drop.name) {
        return Err(CoordinatorError::InvalidInput(format!(
            "branch {} cannot be dropped by a session that is on it: write USE BRANCH {} first",
            drop.name,
            versioned.default_branch()
        )));
    }
    match versioned.drop_reference(kind, &drop.name).await {
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
    let versioned = catalog.versioned()?;
    versioned.at(&reference).await?;
    let is_default = branch == versioned.default_branch();
    let name = catalog.name().to_owned();
    let sessions = &context.core.sessions;
    sessions.update(&context.session_id, |session| match is_default {
        true => drop(session.branches.remove(&name)),
        false => drop(session.branches.insert(name.clone(), branch.to_owned())),
    })?;
    Ok(StatementOutcome::Done {
        message: format!("using branch {branch} of catalog {name}"),
    })
}

/// The columns of `SHOW BRANCHES`.
pub(super) fn references_schema(catalogs: &StatementCatalogs, catalog: Option<&str>) -> SchemaRef {
    let version_type = version_type(catalogs, catalog);
    Arc::new(Schema::new(vec![
        Field::new("Name", DataType::Utf8, false),
        Field::new("Kind", DataType::Utf8, false),
        Field::new("Version", version_type.clone(), false),
        Field::new("Parent", DataType::Utf8, true),
        Field::new("Forked At", version_type, true),
        Field::new("Created", time_type(), true),
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
        versions(
            &schema,
            found.iter().map(|reference| Some(&reference.version)),
        ),
        texts(found.iter().map(|reference| reference.parent.clone())),
        versions(
            &schema,
            found.iter().map(|reference| reference.forked_at.as_ref()),
        ),
        times(found.iter().map(|reference| reference.created_at_ms)),
    ];
    batch_rows(RecordBatch::try_new(schema, columns)?)
}

/// The columns of `SHOW CATALOG LOG`.
pub(super) fn log_schema(catalogs: &StatementCatalogs, catalog: Option<&str>) -> SchemaRef {
    let version_type = version_type(catalogs, catalog);
    Arc::new(Schema::new(vec![
        Field::new("Version", version_type.clone(), false),
        Field::new("Branch", DataType::Utf8, true),
        Field::new("Parent", version_type, true),
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
        versions(&schema, log.iter().map(|entry| Some(&entry.version))),
        texts(log.iter().map(|entry| entry.branch.clone())),
        versions(&schema, log.iter().map(|entry| entry.parent.as_ref())),
        times(log.iter().map(|entry| Some(entry.committed_at_ms))),
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

/// The type of a catalog's versions. A statement with a catalog that is not there, or has no
/// versions, fails later.
fn version_type(catalogs: &StatementCatalogs, catalog: Option<&str>) -> DataType {
    let catalog = catalogs.catalog(catalog).ok();
    let versioned = catalog
        .as_ref()
        .and_then(|catalog| catalog.versioned().ok());
    match versioned.is_none_or(|versioned| versioned.has_numbered_versions()) {
        true => DataType::Int64,
        false => DataType::Utf8,
    }
}

/// Versions, of the type that the schema's column `Version` has.
fn versions<'a>(schema: &Schema, values: impl Iterator<Item = Option<&'a VersionId>>) -> ArrayRef {
    let column = schema.field_with_name("Version");
    match column.is_ok_and(|column| *column.data_type() == DataType::Int64) {
        true => Arc::new(
            values
                .map(|version| match version {
                    Some(VersionId::Number(number)) => Some(*number),
                    Some(VersionId::Hash(_)) | None => None,
                })
                .collect::<Int64Array>(),
        ),
        false => texts(values.map(|version| version.map(ToString::to_string))),
    }
}

fn times(milliseconds: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let micros = milliseconds.map(|time| time.map(|time| time.saturating_mul(1_000)));
    Arc::new(
        micros
            .collect::<TimestampMicrosecondArray>()
            .with_timezone("UTC"),
    )
}
