//! The catalogs as one statement sees them: on its session's branches, or in its transaction.

use std::sync::Arc;

use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::{Catalog, CatalogReference};
use ingot_engine::catalog_list::CatalogList;
use ingot_sql::ObjectName;

use crate::core::Core;
use crate::error::{CoordinatorError, Result};
use crate::sessions::Session;

/// A table named in a statement, with the catalog it belongs to.
#[derive(Debug, Clone)]
pub struct ResolvedTable {
    pub catalog: Arc<dyn Catalog>,
    pub ident: TableIdent,
}

/// Handles of all catalogs for one statement.
#[derive(Debug, Clone)]
pub struct StatementCatalogs {
    catalogs: Vec<Arc<dyn Catalog>>,
    list: Arc<CatalogList>,
    default_catalog: String,
    default_schema: String,
    /// The catalog that the session's transaction is of.
    in_transaction: Option<String>,
}

impl StatementCatalogs {
    /// The catalogs for the next statement of a session.
    ///
    /// # Errors
    /// When the session's branch was dropped.
    pub async fn of(core: &Core, session: &Session) -> Result<Self> {
        let mut catalogs = Vec::with_capacity(core.catalogs.len());
        for catalog in &core.catalogs {
            catalogs.push(bind(catalog, session).await?);
        }
        let transaction = session.transaction.as_ref();
        Ok(Self {
            list: core.catalog_list.with_catalogs(catalogs.clone()),
            catalogs,
            default_catalog: session.catalog.clone(),
            default_schema: session.schema.clone(),
            in_transaction: transaction.map(|open| open.catalog_name().to_owned()),
        })
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<dyn Catalog>] {
        &self.catalogs
    }

    /// The same for DataFusion's planner.
    pub fn list(&self) -> &Arc<CatalogList> {
        &self.list
    }

    /// The catalog of this name, or the session's without one.
    pub fn catalog(&self, name: Option<&str>) -> Result<Arc<dyn Catalog>> {
        let name = name.unwrap_or(&self.default_catalog);
        let known = self.catalogs.iter();
        let found = known.clone().find(|catalog| catalog.name() == name);
        let Some(found) = found else {
            let known: Vec<&str> = known.map(|catalog| catalog.name()).collect();
            return Err(CoordinatorError::NotFound(format!(
                "catalog {name} does not exist; there is {}",
                known.join(", ")
            )));
        };
        match &self.in_transaction {
            Some(other) if other != name => Err(CoordinatorError::Unsupported(format!(
                "catalog {name} in a transaction of catalog {other}"
            ))),
            _ => Ok(found.clone()),
        }
    }

    /// The catalog and table that a name means in the session.
    pub fn resolve_table(&self, name: &ObjectName) -> Result<ResolvedTable> {
        if name.parts.len() > 3 {
            return Err(too_many_parts(name, "catalog.schema.table"));
        }
        let (catalog, schema, table) = name.resolve(&self.default_catalog, &self.default_schema);
        Ok(ResolvedTable {
            catalog: self.catalog(Some(&catalog))?,
            ident: TableIdent::new(NamespaceIdent::new(schema), table),
        })
    }

    /// The catalog and schema that a name of one or two parts means in the session.
    pub fn resolve_schema(&self, name: &ObjectName) -> Result<(Arc<dyn Catalog>, String)> {
        match &name.parts[..] {
            [schema] => Ok((self.catalog(None)?, schema.clone())),
            [catalog, schema] => Ok((self.catalog(Some(catalog))?, schema.clone())),
            _ => Err(too_many_parts(name, "catalog.schema")),
        }
    }
}

/// A catalog at the place where a session is, for commits in its user's name.
async fn bind(catalog: &Arc<dyn Catalog>, session: &Session) -> Result<Arc<dyn Catalog>> {
    if let Some(open) = &session.transaction
        && open.catalog_name() == catalog.name()
    {
        return Ok(open.catalog());
    }
    let branch = session.branches.get(catalog.name());
    let there = match branch {
        None => catalog.clone(),
        Some(branch) => {
            let reference = CatalogReference::Branch(branch.clone());
            catalog.versioned()?.at(&reference).await?
        }
    };
    // Catalogs without versions have no log to put a name into.
    let versioned = there.versioned().ok();
    let by_author = versioned.map(|versioned| versioned.by_author(&session.user));
    Ok(by_author.unwrap_or(there))
}

fn too_many_parts(name: &ObjectName, form: &str) -> CoordinatorError {
    CoordinatorError::InvalidInput(format!(
        "name {} has too many parts: give {form}",
        name.parts.join(".")
    ))
}
