//! Which folders tables and views are in, or ever were.

use super::Inner;
use crate::error::Result;

impl Inner {
    /// The folder that the folders of a schema's new tables and views are made in.
    pub(super) async fn table_folder(&self, schema: &str) -> Result<String> {
        let properties = self.schema_properties(schema).await?;
        Ok(self.schema_location(schema, &properties))
    }

    /// Whether a table or view of any catalog of the database has, or ever had, its metadata in a
    /// folder of this name, wherever it is and however its location is spelled. Rows of dropped
    /// objects and of replaced states stay; those of transactions that were rolled back do not.
    pub(super) async fn is_known_folder(&self, name: &str) -> Result<bool> {
        // What else `_` stands for only makes more folders known.
        let pattern = format!("%/{name}/%");
        for sql in [
            "SELECT COUNT(*) FROM catalog_objects WHERE content LIKE $1",
            "SELECT COUNT(*) FROM catalog_changes WHERE new_content LIKE $1",
        ] {
            let count: i64 = sqlx::query_scalar(sql)
                .bind(pattern.as_str())
                .fetch_one(self.database.pool())
                .await
                .map_err(|source| self.error(source))?;
            if count > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
