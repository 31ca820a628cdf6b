//! The catalog database: SQLite or PostgreSQL, one schema.
//!
//! Everything that Ingot must remember beyond the tables themselves is here: which
//! metadata file each table has, catalog versions, and the jobs crate's own tables.
//! All SQL is written once, for both databases: `TEXT` and `BIGINT` columns only,
//! `$1` placeholders, upserts by `ON CONFLICT`.

mod lock;
mod migrate;

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyConnection, AnyPool, Connection, Executor, Transaction};
use url::Url;

use crate::error::{CatalogError, Result};

pub use lock::DatabaseLock;
pub use migrate::Migration;

/// Which SQL database holds the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// One file, one coordinator.
    Sqlite,
    /// A server, any number of coordinators.
    Postgres,
}

/// How long to wait for a database that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a writer waits for another one of the same SQLite file.
const SQLITE_BUSY_TIMEOUT_MS: u32 = 30_000;

const POSTGRES_CONNECTIONS: u32 = 16;

/// SQLite lets one writer in at a time; the rest are for readers.
const SQLITE_CONNECTIONS: u32 = 8;

/// A connected catalog database. Cheap to clone: clones share the connections.
#[derive(Clone)]
pub struct Database {
    pool: AnyPool,
    dialect: Dialect,
    /// For messages: the file, or the URL without password.
    name: String,
    /// The file of a SQLite database.
    path: Option<PathBuf>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("name", &self.name)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Connects to `sqlite:///absolute/path/catalog.db` (the file and its folder are
    /// created when missing) or `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// `InvalidInput` for another kind of URL; `Database`, naming the database without
    /// its password, when it cannot be reached or refuses the credentials.
    pub async fn connect(url: &str) -> Result<Self> {
        let parsed = Url::parse(url).map_err(|error| {
            // Not the URL itself: it may have a password in it.
            CatalogError::InvalidInput(format!(
                "the catalog database url is not valid ({error}): write \
                 sqlite:///absolute/path/catalog.db or postgres://user@host:5432/database"
            ))
        })?;
        match parsed.scheme() {
            "sqlite" => Self::connect_sqlite(&sqlite_path(url)?).await,
            "postgres" | "postgresql" => Self::connect_postgres(parsed).await,
            scheme => Err(CatalogError::InvalidInput(format!(
                "catalog database scheme {scheme:?} is not supported: use sqlite:// or postgres://"
            ))),
        }
    }

    /// Opens a SQLite database, creating the file and its folder when missing.
    pub async fn connect_sqlite(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let absolute = std::path::absolute(path).map_err(|error| Self::io_error(&name, error))?;
        if let Some(folder) = absolute.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Self::io_error(&name, error))?;
        }
        let mut options: AnyConnectOptions = "sqlite://x"
            .parse()
            .map_err(|source| Self::error_of(&name, source))?;
        let encoded = percent_encoding::percent_encode(
            absolute.as_os_str().as_encoded_bytes(),
            &SQLITE_PATH_ENCODED,
        );
        options.database_url = Url::parse(&format!("sqlite://{encoded}?mode=rwc"))
            .map_err(|error| CatalogError::InvalidInput(format!("{name}: {error}")))?;
        Self::open(
            options,
            Dialect::Sqlite,
            name,
            Some(absolute),
            SQLITE_CONNECTIONS,
        )
        .await
    }

    async fn connect_postgres(url: Url) -> Result<Self> {
        let name = without_password(&url);
        let mut options: AnyConnectOptions = "postgres://x"
            .parse()
            .map_err(|source| Self::error_of(&name, source))?;
        options.database_url = url;
        Self::open(options, Dialect::Postgres, name, None, POSTGRES_CONNECTIONS).await
    }

    async fn open(
        options: AnyConnectOptions,
        dialect: Dialect,
        name: String,
        path: Option<PathBuf>,
        connections: u32,
    ) -> Result<Self> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);

        // A pool keeps trying until its timeout and then only says that it timed out;
        // one plain connection says what is wrong.
        let first = tokio::time::timeout(CONNECT_TIMEOUT, AnyConnection::connect_with(&options));
        let mut first = match first.await {
            Ok(connected) => connected.map_err(|source| Self::error_of(&name, source))?,
            Err(_) => {
                let message = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
                let error = std::io::Error::new(std::io::ErrorKind::TimedOut, message);
                return Err(Self::io_error(&name, error));
            }
        };
        if dialect == Dialect::Sqlite {
            // Readers go on while a writer commits. Stays set in the file.
            sqlx::query("PRAGMA journal_mode = WAL")
                .execute(&mut first)
                .await
                .map_err(|source| Self::error_of(&name, source))?;
        }
        first
            .close()
            .await
            .map_err(|source| Self::error_of(&name, source))?;

        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(match dialect {
                Dialect::Sqlite => Duration::from_millis(SQLITE_BUSY_TIMEOUT_MS.into()),
                Dialect::Postgres => CONNECT_TIMEOUT,
            })
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if dialect == Dialect::Sqlite {
                        connection
                            .execute(sqlx::AssertSqlSafe(format!(
                                "PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}"
                            )))
                            .await?;
                        connection.execute("PRAGMA foreign_keys = ON").await?;
                        // A commit that was acknowledged survives a power failure.
                        connection.execute("PRAGMA synchronous = FULL").await?;
                    }
                    Ok(())
                })
            })
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            dialect,
            name,
            path,
        })
    }

    /// The connections. Reads go straight to it.
    pub fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The file, or the URL without its password: for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Begins a transaction that will write. On SQLite it takes the write lock at once
    /// (`BEGIN IMMEDIATE`): a transaction that reads first and writes later could
    /// otherwise fail at its first write, however long it waits.
    ///
    /// Dropping the transaction rolls it back.
    pub async fn begin_immediate(&self) -> Result<Transaction<'static, Any>> {
        let begun = match self.dialect {
            Dialect::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await,
            Dialect::Postgres => self.pool.begin().await,
        };
        begun.map_err(|source| self.error(source))
    }

    /// Begins a transaction that only reads, and whose reads all see one state of the database:
    /// that of the first of them.
    ///
    /// Dropping the transaction ends it.
    pub async fn begin_snapshot(&self) -> Result<Transaction<'static, Any>> {
        let begun = match self.dialect {
            // A deferred transaction keeps to the state of the file (WAL) that it read first.
            Dialect::Sqlite => self.pool.begin().await,
            Dialect::Postgres => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                self.pool.begin_with(begin).await
            }
        };
        begun.map_err(|source| self.error(source))
    }

    /// Wraps an error of this database, for callers that run their own SQL.
    pub fn error(&self, source: sqlx::Error) -> CatalogError {
        Self::error_of(&self.name, source)
    }

    fn error_of(name: &str, source: sqlx::Error) -> CatalogError {
        CatalogError::Database {
            database: name.to_string(),
            source,
        }
    }

    fn io_error(name: &str, error: std::io::Error) -> CatalogError {
        Self::error_of(name, sqlx::Error::Io(error))
    }

    /// Closes the connections. Later use fails.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// What must be escaped in the path of a SQLite URL: everything that would end the
/// path, and `%` itself.
const SQLITE_PATH_ENCODED: percent_encoding::AsciiSet = percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// The file of a `sqlite:` URL.
fn sqlite_path(url: &str) -> Result<PathBuf> {
    let rest = url.strip_prefix("sqlite:").unwrap_or(url);
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (encoded, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    // `mode=rwc` is what we do anyway; other parameters would silently be ignored.
    if !parameters.is_empty() && parameters != "mode=rwc" {
        return Err(CatalogError::InvalidInput(format!(
            "catalog database url parameters {parameters:?} are not supported for sqlite: remove them"
        )));
    }
    let path = percent_encoding::percent_decode_str(encoded).decode_utf8_lossy();
    if path.is_empty() || path == ":memory:" {
        return Err(CatalogError::InvalidInput(
            "the catalog database needs a file: write sqlite:///absolute/path/catalog.db"
                .to_string(),
        ));
    }
    Ok(PathBuf::from(path.as_ref()))
}

/// A database URL fit for messages and logs.
fn without_password(url: &Url) -> String {
    let mut shown = url.clone();
    // Fails for URLs that cannot have one.
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sqlite_creates_its_folder_and_keeps_odd_paths() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b/ü%20?#/catalog.db");
        let database = Database::connect_sqlite(&path).await.unwrap();
        let one: i64 = sqlx::query_scalar("SELECT 1")
            .fetch_one(database.pool())
            .await
            .unwrap();
        assert_eq!(one, 1);
        assert!(path.is_file());
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(database.pool())
            .await
            .unwrap();
        assert_eq!(mode, "wal");
    }

    #[tokio::test]
    async fn a_snapshot_does_not_see_what_is_committed_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::connect_sqlite(&folder.path().join("catalog.db"))
            .await
            .unwrap();
        let execute = |sql: &'static str| {
            let database = database.clone();
            async move { sqlx::query(sql).execute(database.pool()).await.unwrap() }
        };
        execute("CREATE TABLE t (a BIGINT NOT NULL)").await;
        let mut snapshot = database.begin_snapshot().await.unwrap();
        for _ in 0..2 {
            let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM t")
                .fetch_one(&mut *snapshot)
                .await
                .unwrap();
            assert_eq!(count, 0);
            execute("INSERT INTO t VALUES (1)").await;
        }
    }

    #[tokio::test]
    async fn urls_are_understood_or_refused() {
        assert_eq!(
            sqlite_path("sqlite:///a/b%20c.db").unwrap(),
            Path::new("/a/b c.db")
        );
        assert_eq!(sqlite_path("sqlite:x.db").unwrap(), Path::new("x.db"));
        for url in [
            "sqlite::memory:",
            "sqlite://",
            "sqlite:///a?mode=ro",
            "mysql://h/d",
            "no url",
        ] {
            let error = Database::connect(url).await.unwrap_err();
            assert!(matches!(error, CatalogError::InvalidInput(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn an_unreachable_server_is_named_without_its_password() {
        // Port 1 of loopback: nothing listens there.
        let url = "postgres://ingot:s3cr3t@127.0.0.1:1/catalog?password=s3cr3t";
        let error = Database::connect(url).await.unwrap_err().to_string();
        assert!(error.contains("ingot@127.0.0.1:1/catalog"), "{error}");
        assert!(!error.contains("s3cr3t"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
