//! Which rows of which branches are a state of the catalog.
//!
//! A branch has rows only for what was changed on it. Everything else is what its parent
//! had when the branch was made, and so on: the first level with a row for a name decides,
//! and a row without content says that the object was dropped there.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::{Any, Executor, Row};

use super::schema::{MAIN_REF, SCHEMA_ROW};
use crate::error::{CatalogError, Result};
use crate::versioned::MAIN;

/// The rows of one branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Level {
    pub ref_id: i64,
    /// Those that held at this version; without it, those that hold now.
    pub at: Option<i64>,
}

/// Where the commits of a handle go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Branch {
        ref_id: i64,
        name: Arc<str>,
    },
    Transaction {
        ref_id: i64,
    },
    /// Nowhere: it is a tag or an old version, named as here.
    None {
        what: Arc<str>,
    },
}

/// What a handle of the catalog reads, and where it commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// Nearest first; at least one.
    levels: Vec<Level>,
    target: Target,
}

impl Position {
    pub(super) fn main() -> Self {
        let level = Level {
            ref_id: MAIN_REF,
            at: None,
        };
        Self::branch(vec![level], MAIN)
    }

    /// A branch, whose own rows are the first level.
    pub(super) fn branch(levels: Vec<Level>, name: &str) -> Self {
        let ref_id = levels.first().map_or(MAIN_REF, |level| level.ref_id);
        let name = name.into();
        Self {
            levels,
            target: Target::Branch { ref_id, name },
        }
    }

    /// A transaction, whose hidden branch is the first level.
    pub(super) fn transaction(levels: Vec<Level>) -> Self {
        let ref_id = levels.first().map_or(MAIN_REF, |level| level.ref_id);
        Self {
            levels,
            target: Target::Transaction { ref_id },
        }
    }

    /// A state that cannot be changed.
    pub(super) fn read_only(levels: Vec<Level>, what: &str) -> Self {
        let what = what.into();
        Self {
            levels,
            target: Target::None { what },
        }
    }

    pub(super) fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// What it is called in messages.
    pub(super) fn what(&self) -> String {
        match &self.target {
            Target::Branch { name, .. } => format!("branch {name}"),
            Target::Transaction { .. } => "the transaction".to_string(),
            Target::None { what } => what.to_string(),
        }
    }

    /// The branch that commits go to.
    pub(super) fn commit_ref(&self) -> Result<i64> {
        match &self.target {
            Target::Branch { ref_id, .. } | Target::Transaction { ref_id } => Ok(*ref_id),
            Target::None { what } => Err(CatalogError::InvalidInput(format!(
                "{what} cannot be changed: make a branch from it"
            ))),
        }
    }

    pub(super) fn is_transaction(&self) -> bool {
        matches!(self.target, Target::Transaction { .. })
    }

    /// Refuses what cannot be part of a transaction.
    pub(super) fn refuse_in_transaction(&self, what: &str) -> Result<()> {
        match self.is_transaction() {
            true => Err(CatalogError::Unsupported(format!(
                "{what} inside a transaction (commit or roll back first)"
            ))),
            false => Ok(()),
        }
    }
}

/// An object as it is on a branch or was at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LiveObject {
    /// See [`kind`](super::schema::kind).
    pub kind: String,
    /// Metadata location of a table or view, JSON properties of a schema.
    pub content: String,
}

/// An object with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedObject {
    pub schema: String,
    /// [`SCHEMA_ROW`] for the schema itself.
    pub name: String,
    pub object: LiveObject,
}

/// Which objects to list.
#[derive(Debug, Clone, Copy)]
pub(super) enum Listing<'a> {
    Schemas,
    /// Tables and views of a schema.
    In(&'a str),
    /// Tables and views.
    Everything,
}

/// The object of this name, if there is one.
pub(super) async fn find_object<'c>(
    executor: impl Executor<'c, Database = Any>,
    catalog_id: i64,
    levels: &[Level],
    schema: &str,
    name: &str,
) -> Result<Option<LiveObject>, sqlx::Error> {
    let mut sql = union_of(
        levels,
        "kind, content",
        "schema_name = $2 AND object_name = $3",
    );
    if levels.len() > 1 {
        sql.push_str(" ORDER BY nearness LIMIT 1");
    }
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(catalog_id)
        .bind(schema)
        .bind(name);
    for parameter in parameters_of(levels) {
        query = query.bind(parameter);
    }
    match query.fetch_optional(executor).await? {
        Some(row) => object_of(&row, 1),
        None => Ok(None),
    }
}

/// The objects that a listing asks for, sorted by schema and name.
pub(super) async fn list_objects<'c>(
    executor: impl Executor<'c, Database = Any>,
    catalog_id: i64,
    levels: &[Level],
    listing: Listing<'_>,
) -> Result<Vec<NamedObject>, sqlx::Error> {
    let (condition, schema) = match listing {
        Listing::Schemas => ("$2 = '' AND object_name = $3", ""),
        Listing::In(schema) => ("schema_name = $2 AND object_name <> $3", schema),
        Listing::Everything => ("$2 = '' AND object_name <> $3", ""),
    };
    let mut sql = union_of(levels, "schema_name, object_name, kind, content", condition);
    sql.push_str(" ORDER BY nearness");
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(catalog_id)
        .bind(schema)
        .bind(SCHEMA_ROW);
    for parameter in parameters_of(levels) {
        query = query.bind(parameter);
    }
    let mut seen: HashSet<(String, String)> = HashSet::new();
    let mut objects = Vec::new();
    for row in query.fetch_all(executor).await? {
        let (schema, name): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        if seen.insert((schema.clone(), name.clone()))
            && let Some(object) = object_of(&row, 3)?
        {
            objects.push(NamedObject {
                schema,
                name,
                object,
            });
        }
    }
    // Databases sort by their own collations.
    objects.sort_by(|left, right| (&left.schema, &left.name).cmp(&(&right.schema, &right.name)));
    Ok(objects)
}

/// The parameter of the first level; those before are the same for every level.
const FIRST_LEVEL_PARAMETER: usize = 4;

/// The rows of all levels that fulfil `condition`, each with the number of its level.
fn union_of(levels: &[Level], columns: &str, condition: &str) -> String {
    let mut next = FIRST_LEVEL_PARAMETER;
    let mut selects = Vec::with_capacity(levels.len());
    for (nearness, level) in levels.iter().enumerate() {
        let mut select = format!(
            "SELECT {nearness} AS nearness, {columns} FROM catalog_objects
             WHERE catalog_id = $1 AND ref_id = ${next} AND {condition}"
        );
        next += 1;
        if level.at.is_some() {
            select.push_str(&format!(
                " AND from_version <= ${next} AND (to_version IS NULL OR to_version > ${next})"
            ));
            next += 1;
        } else {
            select.push_str(" AND to_version IS NULL");
        }
        selects.push(select);
    }
    selects.join(" UNION ALL ")
}

fn parameters_of(levels: &[Level]) -> impl Iterator<Item = i64> {
    levels
        .iter()
        .flat_map(|level| std::iter::once(level.ref_id).chain(level.at))
}

/// `kind` and `content` from the column `first` on; `None` for an object that was dropped.
fn object_of(row: &AnyRow, first: usize) -> Result<Option<LiveObject>, sqlx::Error> {
    let content: Option<String> = row.try_get(first + 1)?;
    let kind = row.try_get(first)?;
    Ok(content.map(|content| LiveObject { kind, content }))
}
