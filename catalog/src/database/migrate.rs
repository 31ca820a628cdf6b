//! Schema migrations, versioned per component.

use sqlx::Row;

use super::{Database, Dialect};
use crate::error::{CatalogError, Result};

/// One step of a component's schema. Never change one that was released: add another.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Steps are applied in ascending order; begins at 1.
    pub version: i64,
    /// What it does, for the migrations table.
    pub name: &'static str,
    /// Its statements, valid on SQLite and PostgreSQL alike.
    pub statements: &'static [&'static str],
}

/// Any number, as long as every Ingot takes the same one.
const POSTGRES_MIGRATION_LOCK: i64 = 0x1060_7000;

impl Database {
    /// Brings a component's tables to the newest version, in one transaction: all of
    /// the missing steps or none. Safe when several coordinators start at once.
    ///
    /// # Errors
    /// `Unsupported` when the database was migrated by a newer Ingot than this one.
    pub async fn migrate(&self, component: &str, migrations: &[Migration]) -> Result<()> {
        let mut transaction = self.begin_immediate().await?;
        if self.dialect() == Dialect::Postgres {
            sqlx::query("SELECT pg_advisory_xact_lock($1)::TEXT")
                .bind(POSTGRES_MIGRATION_LOCK)
                .execute(&mut *transaction)
                .await
                .map_err(|source| self.error(source))?;
        }
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS ingot_migrations (
                component TEXT NOT NULL,
                version BIGINT NOT NULL,
                name TEXT NOT NULL,
                applied_at_ms BIGINT NOT NULL,
                PRIMARY KEY (component, version)
            )",
        )
        .execute(&mut *transaction)
        .await
        .map_err(|source| self.error(source))?;
        let applied: i64 = sqlx::query(
            "SELECT COALESCE(MAX(version), 0) FROM ingot_migrations WHERE component = $1",
        )
        .bind(component)
        .fetch_one(&mut *transaction)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(|source| self.error(source))?;
        let newest = migrations.iter().map(|step| step.version).max();
        if applied > newest.unwrap_or(0) {
            return Err(CatalogError::Unsupported(format!(
                "catalog database {}: version {applied} of its {component} tables, made by a newer \
                 ingot (this one knows version {}),",
                self.name(),
                newest.unwrap_or(0)
            )));
        }
        for step in migrations.iter().filter(|step| step.version > applied) {
            for statement in step.statements {
                sqlx::query(*statement)
                    .execute(&mut *transaction)
                    .await
                    .map_err(|source| self.error(source))?;
            }
            sqlx::query(
                "INSERT INTO ingot_migrations (component, version, name, applied_at_ms)
                 VALUES ($1, $2, $3, $4)",
            )
            .bind(component)
            .bind(step.version)
            .bind(step.name)
            .bind(chrono::Utc::now().timestamp_millis())
            .execute(&mut *transaction)
            .await
            .map_err(|source| self.error(source))?;
        }
        transaction
            .commit()
            .await
            .map_err(|source| self.error(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Migration = Migration {
        version: 1,
        name: "first",
        statements: &[
            "CREATE TABLE one (a BIGINT)",
            "INSERT INTO one (a) VALUES (1)",
        ],
    };
    const SECOND: Migration = Migration {
        version: 2,
        name: "second",
        statements: &["INSERT INTO one (a) VALUES (2)"],
    };
    const BROKEN: Migration = Migration {
        version: 3,
        name: "broken",
        statements: &["INSERT INTO one (a) VALUES (3)", "NO SUCH STATEMENT"],
    };

    async fn sum(database: &Database) -> i64 {
        sqlx::query_scalar("SELECT CAST(SUM(a) AS BIGINT) FROM one")
            .fetch_one(database.pool())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn steps_are_applied_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.db");
        let database = Database::connect_sqlite(&path).await.unwrap();
        database.migrate("test", &[FIRST]).await.unwrap();
        database.migrate("test", &[FIRST]).await.unwrap();
        assert_eq!(sum(&database).await, 1);
        let error = database
            .migrate("test", &[FIRST, SECOND, BROKEN])
            .await
            .unwrap_err();
        assert!(matches!(error, CatalogError::Database { .. }), "{error}");
        assert_eq!(sum(&database).await, 1);
        database.migrate("test", &[FIRST, SECOND]).await.unwrap();
        assert_eq!(sum(&database).await, 3);
        let error = database.migrate("test", &[FIRST]).await.unwrap_err();
        assert!(error.to_string().contains("newer ingot"), "{error}");
    }
}
