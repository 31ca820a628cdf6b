//! What can go wrong between a catalog, its metadata files and its storage.

/// Result of every catalog operation.
pub type Result<T, E = CatalogError> = std::result::Result<T, E>;

/// What to do about a file that is not there, and why it may not be.
pub const LOST_FILE_REMEDY: &str = "the version that is read lost its files when snapshots expired, \
                                    or the file was removed by hand; read a newer version";

/// Errors of the catalog crate: each message is one lower-case line that names
/// the table, file or setting concerned and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// No such table; `suggestion` is the nearest existing name.
    #[error("table {name} does not exist{}", did_you_mean(.suggestion))]
    TableNotFound {
        name: String,
        suggestion: Option<String>,
    },

    /// No such schema (Iceberg namespace).
    #[error("schema {name} does not exist{}", did_you_mean(.suggestion))]
    SchemaNotFound {
        name: String,
        suggestion: Option<String>,
    },

    /// A table or view of this name exists already.
    #[error("table {name} already exists")]
    TableExists { name: String },

    /// No such view; `suggestion` is the nearest existing name.
    #[error("view {name} does not exist{}", did_you_mean(.suggestion))]
    ViewNotFound {
        name: String,
        suggestion: Option<String>,
    },

    /// A view of this name exists already.
    #[error("view {name} already exists")]
    ViewExists { name: String },

    /// A table was wanted, and the name is that of a view.
    #[error("{name} is a {}view, not a table", if *.is_materialized { "materialized " } else { "" })]
    IsView {
        /// `schema.view`.
        name: String,
        /// Whether its rows are stored.
        is_materialized: bool,
    },

    /// A view was wanted, and the name is that of a table.
    #[error("{name} is a table, not a view")]
    IsTable { name: String },

    /// A schema of this name exists already.
    #[error("schema {name} already exists")]
    SchemaExists { name: String },

    /// `DROP SCHEMA` of a schema that still has tables.
    #[error(
        "schema {name} is not empty: drop its {tables} {} first, or use cascade",
        if *.tables == 1 { "table or view" } else { "tables and views" }
    )]
    SchemaNotEmpty { name: String, tables: usize },

    /// Another writer changed the table first: reload, revalidate and retry.
    #[error("commit to {table} conflicts with a concurrent change: {reason}")]
    CommitConflict { table: String, reason: String },

    /// The snapshot, branch, tag or time asked for is not in the table's history.
    #[error("table {table} has no {what}")]
    VersionNotFound { table: String, what: String },

    /// The catalog has no such branch, tag or version; `suggestion` is the nearest name.
    #[error("catalog {catalog} has no {what}{}", did_you_mean(.suggestion))]
    ReferenceNotFound {
        catalog: String,
        what: String,
        suggestion: Option<String>,
    },

    /// The files of a version of the catalog are not kept any more: it may not be readable.
    #[error("{what} of catalog {catalog} has expired: {reason}; {available}")]
    VersionExpired {
        catalog: String,
        what: String,
        reason: String,
        available: String,
    },

    /// A branch or tag of this name exists already; `what` has its kind and name.
    #[error("{what} already exists")]
    ReferenceExists { what: String },

    /// A branch cannot be merged: both branches changed `objects`.
    #[error(
        "branch {branch} cannot be merged into {target}: both changed {}, and nothing was \
         merged; make the changes of {branch} again on a new branch of {target}",
        .objects.join(", ")
    )]
    MergeConflict {
        branch: String,
        target: String,
        objects: Vec<String>,
    },

    /// A transaction cannot be committed: others changed `objects` since it began.
    #[error(
        "the transaction cannot be committed: {} changed on {target} since it began, and \
         nothing was published; run the transaction again",
        .objects.join(", ")
    )]
    TransactionConflict {
        target: String,
        objects: Vec<String>,
    },

    /// The branch or transaction that a commit goes to is not there any more.
    #[error("{what} has ended: nothing can be changed in it any more")]
    ReferenceEnded { what: String },

    /// Files cannot be deleted: a branch or tag reads them.
    #[error(
        "the files of table {table} cannot be deleted: {} {} first",
        .readers.join(" and "),
        if .readers.len() == 1 {
            "needs them; drop the table without purge, or drop that"
        } else {
            "need them; drop the table without purge, or drop those"
        }
    )]
    FilesInUse { table: String, readers: Vec<String> },

    /// The request itself cannot be right: bad name, bad property, bad type.
    #[error("{0}")]
    InvalidInput(String),

    /// Valid Iceberg or SQL that Ingot does not do.
    #[error("{0} is not supported")]
    Unsupported(String),

    /// Another coordinator holds this catalog database.
    #[error(
        "catalog {database} is in use by another coordinator ({holder}): stop it first, or use a postgresql catalog"
    )]
    Locked { database: String, holder: String },

    /// The object store failed on one path.
    #[error("cannot {action} {path}: {}", describe_store_error(.source))]
    Storage {
        action: &'static str,
        path: String,
        source: object_store::Error,
    },

    /// A statement names a local file that it may not use.
    #[error(
        "{path} is outside of the folders that statements may name: move it there, or add its folder to the setting storage.allowed_folders"
    )]
    NotAllowed { path: String },

    /// A metadata, manifest-list or manifest file is missing, corrupt or unsupported.
    #[error("iceberg metadata {path}: {}", describe_iceberg_error(.source))]
    Metadata {
        path: String,
        source: Box<iceberg::Error>,
    },

    /// A file that a snapshot of a table needs is missing, corrupt or cannot be read now. `table` is
    /// the table's location where its name is not known.
    #[error("table {table}, snapshot {snapshot_id}: {source}{}", remedy_of(.source))]
    InSnapshot {
        table: String,
        snapshot_id: i64,
        source: Box<CatalogError>,
    },

    /// The catalog database failed. `database` has no password in it.
    #[error("catalog database {database}: {}", one_line(&.source.to_string()))]
    Database {
        database: String,
        source: sqlx::Error,
    },

    /// A REST catalog does not answer, failed, or answered what cannot be read.
    #[error("catalog {catalog}: {}", one_line(.problem))]
    Remote { catalog: String, problem: String },

    /// A REST catalog does not let Ingot in, or not do this.
    #[error("catalog {catalog} refuses access: {}", one_line(.problem))]
    RemoteAccess { catalog: String, problem: String },

    /// The connection broke while a commit was being decided: it may or may not be
    /// visible. Nothing was deleted. Reload the table to see; never delete its data files.
    #[error(
        "commit to {table} has an unknown outcome: {reason}; reload the table before trying again"
    )]
    CommitStateUnknown { table: String, reason: String },
}

impl CatalogError {
    /// An error of the `iceberg` crate about one file (or one table, before it has a file).
    pub fn metadata(path: impl Into<String>, source: iceberg::Error) -> Self {
        Self::Metadata {
            path: path.into(),
            source: Box::new(source),
        }
    }

    /// Names the table and the snapshot that were read when a file failed. Errors that are about no
    /// file stay as they are, and so do those that name a snapshot already.
    pub fn in_snapshot(self, table: impl Into<String>, snapshot_id: i64) -> Self {
        match self {
            Self::Storage { .. } | Self::Metadata { .. } => Self::InSnapshot {
                table: table.into(),
                snapshot_id,
                source: Box::new(self),
            },
            other => other,
        }
    }

    /// What is wrong, without the snapshot where it was found.
    pub fn cause(&self) -> &Self {
        match self {
            Self::InSnapshot { source, .. } => source.cause(),
            other => other,
        }
    }

    /// Whether the reason is a file that is not there: trying again finds the same.
    pub fn is_missing_file(&self) -> bool {
        match self {
            Self::Storage { source, .. } => {
                matches!(source, object_store::Error::NotFound { .. })
            }
            // Files that the `iceberg` crate reads come from our storage, too.
            Self::Metadata { source, .. } => {
                let inner = std::error::Error::source(&**source);
                let inner = inner.and_then(|inner| inner.downcast_ref::<Self>());
                inner.is_some_and(Self::is_missing_file)
            }
            Self::InSnapshot { source, .. } => source.is_missing_file(),
            _ => false,
        }
    }

    /// Whether the same commit may succeed when rebuilt on the newest metadata.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::CommitConflict { .. })
    }
}

/// What to do about a file of a snapshot, after what is wrong with it.
fn remedy_of(error: &CatalogError) -> String {
    match error.is_missing_file() {
        true => format!(": {LOST_FILE_REMEDY}"),
        false => String::new(),
    }
}

/// Collapses white space, so that an error of a library stays on one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What the `iceberg` crate says, and what is behind it if that says more.
fn describe_iceberg_error(error: &iceberg::Error) -> String {
    let message = one_line(error.message());
    match std::error::Error::source(error) {
        Some(source) => {
            let source = one_line(&source.to_string());
            if message.contains(&source) {
                message
            } else {
                format!("{message}: {source}")
            }
        }
        None => message,
    }
}

/// What went wrong in a store: the innermost cause, without the request's noise.
fn describe_store_error(error: &object_store::Error) -> String {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => return "no such file".to_string(),
        Error::AlreadyExists { .. } | Error::Precondition { .. } => {
            return "it already exists".to_string();
        }
        _ => {}
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = one_line(&innermost.to_string());
    let text = match (xml_element(&text, "Code"), xml_element(&text, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_string(),
        _ => text,
    };
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            format!(
                "access denied ({text}): check the settings storage.s3.access_key_id and storage.s3.secret_access_key, and the bucket's policy"
            )
        }
        _ => text,
    }
}

/// The text of an element of an S3 error document.
fn xml_element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text)
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    match suggestion {
        Some(name) => format!("; did you mean {name}?"),
        None => String::new(),
    }
}
