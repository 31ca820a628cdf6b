//! Renaming tables and views.

use iceberg::TableIdent;

use super::schema::kind;
use super::version::NewVersion;
use super::{Inner, names, schema_of};
use crate::error::{CatalogError, Result};
use crate::table::ident_name;

impl Inner {
    /// Renames a table or a view, as `kind` says. Its files stay where they are.
    pub(super) async fn rename(
        &self,
        kind: &str,
        from: &TableIdent,
        to: &TableIdent,
    ) -> Result<()> {
        let (from_schema, to_schema) = (schema_of(from)?, schema_of(to)?);
        names::validate_name(kind, to.name())?;
        let mut version = NewVersion::begin(self).await?;
        let live = version.live(from_schema, from.name()).await?;
        let Some(object) = live.filter(|object| object.kind == kind) else {
            drop(version);
            return Err(match kind {
                kind::VIEW => self.view_not_found(from).await,
                _ => self.table_not_found(from).await,
            });
        };
        if kind == kind::VIEW {
            let view = self.read_view(from, object.content.clone()).await?;
            if view.materialization()?.is_some() {
                return Err(CatalogError::Unsupported(format!(
                    "renaming materialized view {}",
                    view.name()
                )));
            }
        }
        if !version.has_schema(to_schema).await? {
            drop(version);
            return Err(self.schema_not_found(to_schema).await);
        }
        if let Some(taken) = version.live(to_schema, to.name()).await? {
            let name = ident_name(to);
            return Err(match taken.kind.as_str() {
                kind::VIEW => CatalogError::ViewExists { name },
                _ => CatalogError::TableExists { name },
            });
        }
        let content = object.content.as_str();
        version
            .set(kind, (from_schema, from.name()), Some(content), None)
            .await?;
        version
            .set(kind, (to_schema, to.name()), None, Some(content))
            .await?;
        let message = format!("rename {kind} {} to {}", ident_name(from), ident_name(to));
        version.finish(&self.options.author, &message).await
    }
}
