//! Statements: everything needed to execute them, typed.
//!
//! Names in statements are folded ([`ObjectName`]). Queries are kept as the parser library's
//! [`Query`], which DataFusion's planner takes; time travel and metadata tables are inside the
//! table names there (see [`crate::RelationName`]).

use serde::{Deserialize, Serialize};
use sqlparser::ast::{self, Expr, Query};

use crate::name::{ColumnPath, ObjectName};
use crate::relation::{CatalogVersionId, RelationVersion};
use crate::table_properties::{TableProperties, TablePropertyChanges};
use crate::types::ColumnType;

/// One SQL statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `SELECT`, `WITH`, `VALUES`, set operations: returns rows.
    Query(Box<Query>),
    /// `EXPLAIN [ANALYZE] [VERBOSE] statement`.
    Explain(Explain),

    /// `CREATE SCHEMA`.
    CreateSchema(CreateSchema),
    /// `DROP SCHEMA`.
    DropSchema(DropSchema),
    /// `CREATE TABLE` with columns.
    CreateTable(CreateTable),
    /// `CREATE TABLE … AS query`.
    CreateTableAs(CreateTableAs),
    /// `DROP TABLE`.
    DropTable(DropTable),
    /// `CREATE VIEW`, `CREATE MATERIALIZED VIEW`.
    CreateView(CreateView),
    /// `DROP VIEW`, `DROP MATERIALIZED VIEW`.
    DropView(DropView),
    /// `REFRESH MATERIALIZED VIEW view`.
    RefreshMaterializedView {
        /// The view whose rows are stored anew.
        view: ObjectName,
    },
    /// `ALTER VIEW`, `COMMENT ON VIEW`.
    AlterView(AlterView),
    /// `ALTER MATERIALIZED VIEW`, `COMMENT ON MATERIALIZED VIEW`.
    AlterMaterializedView(AlterMaterializedView),
    /// `ALTER TABLE`, `COMMENT ON`.
    AlterTable(AlterTable),

    /// `INSERT INTO` and `INSERT OVERWRITE`.
    Insert(Insert),
    /// `COPY INTO table FROM files`.
    CopyInto(CopyInto),
    /// `DELETE FROM`.
    Delete(RowChange),
    /// `UPDATE`.
    Update(RowChange),
    /// `MERGE INTO`.
    Merge(RowChange),
    /// `TRUNCATE TABLE`.
    Truncate {
        /// The table to empty.
        table: ObjectName,
    },
    /// `ANALYZE table [WITH (columns = ARRAY['column', …])]`.
    Analyze {
        /// The table to gather statistics of.
        table: ObjectName,
        /// The columns to look at; all when absent.
        columns: Option<Vec<String>>,
    },

    /// `SHOW CATALOGS [LIKE pattern]`.
    ShowCatalogs {
        /// The filter on the name.
        like: Option<LikePattern>,
    },
    /// `SHOW SCHEMAS [FROM catalog] [LIKE pattern]`.
    ShowSchemas {
        /// The catalog; the session's when absent.
        catalog: Option<String>,
        /// The filter on the name.
        like: Option<LikePattern>,
    },
    /// `SHOW TABLES [FROM [catalog.]schema] [LIKE pattern]`.
    ShowTables {
        /// The schema (its name is [`ObjectName::object`], its catalog [`ObjectName::schema`]); the
        /// session's when absent.
        schema: Option<ObjectName>,
        /// The filter on the name.
        like: Option<LikePattern>,
    },
    /// `SHOW COLUMNS FROM table [LIKE pattern]`, `DESCRIBE table`.
    ShowColumns {
        /// The table.
        table: ObjectName,
        /// The filter on the column's name.
        like: Option<LikePattern>,
    },
    /// `SHOW CREATE TABLE table`.
    ShowCreateTable {
        /// The table.
        table: ObjectName,
    },
    /// `SHOW CREATE VIEW view`.
    ShowCreateView {
        /// The view.
        view: ObjectName,
    },
    /// `SHOW CREATE MATERIALIZED VIEW view`.
    ShowCreateMaterializedView {
        /// The view.
        view: ObjectName,
    },
    /// `SHOW CREATE SCHEMA schema`.
    ShowCreateSchema {
        /// The schema (its name is [`ObjectName::object`], its catalog [`ObjectName::schema`]).
        schema: ObjectName,
    },
    /// `SHOW STATS FOR table`, `SHOW STATS FOR (query)`.
    ShowStats {
        /// What they are about.
        relation: StatsRelation,
    },
    /// `SHOW SESSION [LIKE pattern]`.
    ShowSession {
        /// The filter on the property's name.
        like: Option<LikePattern>,
    },
    /// `SHOW FUNCTIONS [LIKE pattern]`.
    ShowFunctions {
        /// The filter on the function's name.
        like: Option<LikePattern>,
    },
    /// `SHOW JOBS [LIKE pattern]`.
    ShowJobs {
        /// The filter on the job's name.
        like: Option<LikePattern>,
    },
    /// `SHOW BRANCHES [FROM catalog] [LIKE pattern]`: branches and tags of a catalog.
    ShowBranches {
        /// The catalog; the session's when absent.
        catalog: Option<String>,
        /// The filter on the name.
        like: Option<LikePattern>,
    },
    /// `SHOW CATALOG LOG [FROM catalog] [LIKE pattern] [LIMIT count]`.
    ShowCatalogLog {
        /// The catalog; the session's when absent.
        catalog: Option<String>,
        /// The filter on the names (`schema.table`) of what a commit changed.
        like: Option<LikePattern>,
        /// How many commits, the newest first.
        limit: Option<u64>,
    },

    /// `CREATE BRANCH | TAG` of a catalog.
    CreateCatalogReference(CreateCatalogReference),
    /// `DROP BRANCH | TAG` of a catalog.
    DropCatalogReference(DropCatalogReference),
    /// `MERGE BRANCH branch INTO target [IN catalog]`.
    MergeBranch {
        /// The branch whose changes are published.
        branch: String,
        /// The branch that gets them.
        target: String,
        /// The catalog; the session's when absent.
        catalog: Option<String>,
    },
    /// `USE BRANCH branch [IN catalog]`.
    UseBranch {
        /// The branch that the session's statements read and change from now on.
        branch: String,
        /// The catalog; the session's when absent.
        catalog: Option<String>,
    },

    /// `START TRANSACTION`, `BEGIN [TRANSACTION]`.
    StartTransaction,
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK`.
    Rollback,

    /// `USE schema`, `USE catalog.schema`.
    Use {
        /// The new default catalog; unchanged when absent.
        catalog: Option<String>,
        /// The new default schema.
        schema: String,
    },
    /// `SET SESSION name = value`, `SET TIME ZONE value` (as the property `time_zone`).
    SetSession {
        /// The property's name, lower case, parts joined with `.`.
        name: String,
        /// The value.
        value: SessionValue,
    },
    /// `RESET SESSION name`, `RESET SESSION ALL`.
    ResetSession {
        /// The property; all of them when absent.
        name: Option<String>,
    },

    /// `PREPARE name FROM statement`.
    Prepare {
        /// The prepared statement's name in the session.
        name: String,
        /// The statement; its parameters are `$1`, `$2` and so on.
        statement: Box<Statement>,
    },
    /// `EXECUTE name [USING expression, …]`.
    Execute {
        /// The prepared statement's name in the session.
        name: String,
        /// The parameters in order: constant expressions.
        parameters: Vec<Expr>,
    },
    /// `DEALLOCATE PREPARE name`.
    Deallocate {
        /// The prepared statement's name in the session.
        name: String,
    },

    /// `CALL [catalog.]schema.procedure(constant, name => constant, …)`.
    Call {
        /// The procedure, such as `system.register_table`.
        procedure: ObjectName,
        /// Its arguments, those without a name first.
        arguments: Vec<CallArgument>,
    },
    /// `RUN JOB name`.
    RunJob {
        /// The job's or pipeline's name.
        name: ObjectName,
    },
}

/// What `SHOW STATS` is about.
#[derive(Debug, Clone, PartialEq)]
pub enum StatsRelation {
    /// A table or view.
    Table(ObjectName),
    /// A query, as it is planned.
    Query(Box<Query>),
}

/// `EXPLAIN`.
#[derive(Debug, Clone, PartialEq)]
pub struct Explain {
    /// Run the statement and report what happened.
    pub analyze: bool,
    /// Every detail of the plan.
    pub verbose: bool,
    /// Which plan is asked for.
    pub kind: ExplainKind,
    /// The explained statement; never another `EXPLAIN`.
    pub statement: Box<Statement>,
}

/// The `TYPE` option of `EXPLAIN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExplainKind {
    /// The stages that run on the workers (the default).
    #[default]
    Distributed,
    /// The logical plan.
    Logical,
    /// Only plan the statement; report whether it is valid.
    Validate,
}

/// A `LIKE` filter of a `SHOW` statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LikePattern {
    /// The pattern with `%` and `_`.
    pub pattern: String,
    /// The character that makes the next one literal.
    pub escape: Option<char>,
}

/// `CREATE SCHEMA`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateSchema {
    /// The schema (its name is [`ObjectName::object`], its catalog [`ObjectName::schema`]).
    pub name: ObjectName,
    /// Do nothing when the schema exists.
    pub if_not_exists: bool,
    /// Where the schema's tables are stored, when not below the warehouse.
    pub location: Option<String>,
}

/// `DROP SCHEMA`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropSchema {
    /// The schema (its name is [`ObjectName::object`], its catalog [`ObjectName::schema`]).
    pub name: ObjectName,
    /// Do nothing when the schema does not exist.
    pub if_exists: bool,
    /// Drop the schema's tables too; otherwise the schema must be empty.
    pub cascade: bool,
}

/// A column of a new table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefinition {
    /// The column's name.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether `NOT NULL` was written.
    pub not_null: bool,
    /// `DEFAULT constant`: SQL text of a constant expression.
    pub default: Option<String>,
    /// The comment.
    pub comment: Option<String>,
}

/// `CREATE TABLE` with columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTable {
    /// The new table.
    pub name: ObjectName,
    /// Do nothing when the table exists.
    pub if_not_exists: bool,
    /// Replace the definition of an existing table, which becomes empty and keeps its history.
    pub or_replace: bool,
    /// The columns in order; at least one.
    pub columns: Vec<ColumnDefinition>,
    /// The table's comment.
    pub comment: Option<String>,
    /// `WITH (…)`.
    pub properties: TableProperties,
}

/// `CREATE TABLE … AS query`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateTableAs {
    /// The new table.
    pub name: ObjectName,
    /// Do nothing when the table exists.
    pub if_not_exists: bool,
    /// Add a snapshot to an existing table, with the query's schema.
    pub or_replace: bool,
    /// Names for the query's columns; empty when they keep their own.
    pub column_names: Vec<String>,
    /// The table's comment.
    pub comment: Option<String>,
    /// `WITH (…)`.
    pub properties: TableProperties,
    /// The query.
    pub query: Box<Query>,
    /// `false` after `WITH NO DATA`: only the columns are taken from the query.
    pub with_data: bool,
}

/// `DROP TABLE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropTable {
    /// The table.
    pub name: ObjectName,
    /// Do nothing when the table does not exist.
    pub if_exists: bool,
    /// Delete the table's files too.
    pub purge: bool,
}

/// `CREATE VIEW`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateView {
    /// The view.
    pub name: ObjectName,
    /// Replace an existing view.
    pub or_replace: bool,
    /// Do nothing when the view exists.
    pub if_not_exists: bool,
    /// Whether the view's rows are stored.
    pub materialized: bool,
    /// Names for the query's columns; empty when they keep their own.
    pub column_names: Vec<String>,
    /// `GRACE PERIOD`: how long stored rows may answer after they ceased to be up to date, in
    /// milliseconds; without limit when absent. Only of materialized views.
    pub grace_period_ms: Option<i64>,
    /// The view's comment.
    pub comment: Option<String>,
    /// `WITH (…)`: how the rows are stored. Only of materialized views.
    pub properties: TableProperties,
    /// The query.
    pub query: Box<Query>,
}

/// `DROP VIEW`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropView {
    /// The view.
    pub name: ObjectName,
    /// Do nothing when the view does not exist.
    pub if_exists: bool,
    /// Whether it is a materialized view.
    pub materialized: bool,
}

/// A change of a view that keeps its query.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterView {
    /// The view.
    pub name: ObjectName,
    /// Do nothing when the view does not exist.
    pub if_exists: bool,
    /// What changes.
    pub operation: AlterViewOperation,
}

/// What `ALTER VIEW` changes.
#[derive(Debug, Clone, PartialEq)]
pub enum AlterViewOperation {
    /// `RENAME TO new_name`.
    Rename {
        /// The new name; the parts it lacks are those of the old one.
        new_name: ObjectName,
    },
    /// `COMMENT ON VIEW`.
    SetComment {
        /// The comment; none removes it.
        comment: Option<String>,
    },
}

/// A change of a materialized view that keeps its query and its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterMaterializedView {
    /// The view.
    pub name: ObjectName,
    /// Do nothing when the view does not exist.
    pub if_exists: bool,
    /// What changes.
    pub operation: AlterMaterializedViewOperation,
}

/// What `ALTER MATERIALIZED VIEW` changes.
#[derive(Debug, Clone, PartialEq)]
pub enum AlterMaterializedViewOperation {
    /// `RENAME TO new_name`.
    Rename {
        /// The new name; the parts it lacks are those of the old one.
        new_name: ObjectName,
    },
    /// `SET PROPERTIES name = value | DEFAULT, …`: how its rows are stored.
    SetProperties {
        /// The properties.
        changes: TablePropertyChanges,
    },
    /// `COMMENT ON MATERIALIZED VIEW`.
    SetComment {
        /// The comment; none removes it.
        comment: Option<String>,
    },
}

/// A change of a table that keeps its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterTable {
    /// The table.
    pub name: ObjectName,
    /// Do nothing when the table does not exist.
    pub if_exists: bool,
    /// What changes.
    pub operation: AlterTableOperation,
}

/// What `ALTER TABLE` changes.
#[derive(Debug, Clone, PartialEq)]
pub enum AlterTableOperation {
    /// `ADD COLUMN [IF NOT EXISTS] definition [FIRST | LAST | AFTER column]`.
    AddColumn {
        /// The struct that gets the new field; none for a column of the table.
        parent: Option<ColumnPath>,
        /// The new column.
        column: ColumnDefinition,
        /// Where it goes; last when absent.
        position: Option<ColumnPosition>,
        /// Do nothing when it exists.
        if_not_exists: bool,
    },
    /// `DROP COLUMN [IF EXISTS] column`.
    DropColumn {
        /// The column.
        column: ColumnPath,
        /// Do nothing when it does not exist.
        if_exists: bool,
    },
    /// `RENAME COLUMN [IF EXISTS] column TO new_name`.
    RenameColumn {
        /// The column.
        column: ColumnPath,
        /// Its new name; it stays where it is.
        new_name: String,
        /// Do nothing when it does not exist.
        if_exists: bool,
    },
    /// `ALTER COLUMN column SET DATA TYPE type`.
    SetColumnType {
        /// The column.
        column: ColumnPath,
        /// Its new, wider type.
        column_type: ColumnType,
    },
    /// `ALTER COLUMN column DROP NOT NULL`.
    DropNotNull {
        /// The column.
        column: ColumnPath,
    },
    /// `ALTER COLUMN column SET DEFAULT constant | DROP DEFAULT`.
    SetDefault {
        /// The column.
        column: ColumnPath,
        /// SQL text of a constant expression; `None` drops the default.
        value: Option<String>,
    },
    /// `ALTER COLUMN column FIRST | LAST | AFTER other`.
    MoveColumn {
        /// The column.
        column: ColumnPath,
        /// Its new place among the columns, or among the fields of its struct.
        position: ColumnPosition,
    },
    /// `RENAME TO new_name`.
    RenameTable {
        /// The table's new name.
        new_name: ObjectName,
    },
    /// `SET PROPERTIES name = value | DEFAULT, …`.
    SetProperties {
        /// What is set and what is reset.
        changes: TablePropertyChanges,
    },
    /// `CREATE [OR REPLACE] BRANCH | TAG [IF NOT EXISTS] name …`, `REPLACE BRANCH | TAG name …`.
    SetReference(SetReference),
    /// `DROP BRANCH | TAG [IF EXISTS] name`.
    DropReference {
        /// Branch or tag.
        kind: ReferenceKind,
        /// Its name.
        name: String,
        /// Do nothing when it does not exist.
        if_exists: bool,
    },
    /// `COMMENT ON TABLE`.
    SetComment {
        /// The comment; none removes it.
        comment: Option<String>,
    },
    /// `COMMENT ON COLUMN`.
    SetColumnComment {
        /// The column.
        column: String,
        /// The comment; none removes it.
        comment: Option<String>,
    },
    /// `EXECUTE procedure [([name =>] value, …)] [WHERE condition]`.
    Execute {
        /// The procedure's name, lower case: `optimize`, `expire_snapshots` and so on.
        procedure: String,
        /// Its arguments, those without a name first.
        arguments: Vec<(Option<String>, Expr)>,
        /// Its filter.
        condition: Option<Box<Expr>>,
    },
}

/// A place among the columns of a table or the fields of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnPosition {
    /// Before all others.
    First,
    /// After all others.
    Last,
    /// Directly after this one.
    After(String),
}

/// A branch or a tag of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceKind {
    /// Moves with the snapshots that are written to it.
    Branch,
    /// Stays at its snapshot.
    Tag,
}

/// A branch or tag that is created or made to point elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetReference {
    /// Branch or tag.
    pub kind: ReferenceKind,
    /// Its name.
    pub name: String,
    /// What to do when it exists, or does not.
    pub mode: SetReferenceMode,
    /// The snapshot that it points to; the current one of `main` when absent.
    pub version: Option<RelationVersion>,
    /// How long it and its snapshots are kept; unlimited or as the table says when absent.
    pub retention: ReferenceRetention,
}

/// `CREATE BRANCH | TAG [IF NOT EXISTS] name [IN catalog] [FROM reference | FROM VERSION version]`:
/// a branch or tag of a whole catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateCatalogReference {
    /// Branch or tag.
    pub kind: ReferenceKind,
    /// Its name.
    pub name: String,
    /// Do nothing when there is a branch or tag of this kind and name.
    pub if_not_exists: bool,
    /// The catalog; the session's when absent.
    pub catalog: Option<String>,
    /// What it is made from; the session's branch when absent.
    pub from: Option<CatalogSource>,
}

/// What a branch or tag of a catalog is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogSource {
    /// `FROM name`: a branch or tag.
    Reference(String),
    /// `FROM VERSION 12`, `FROM VERSION '0a1b2c3d…'`: a version of the catalog.
    Version(CatalogVersionId),
}

/// `DROP BRANCH | TAG [IF EXISTS] name [IN catalog]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropCatalogReference {
    /// Branch or tag.
    pub kind: ReferenceKind,
    /// Its name.
    pub name: String,
    /// Do nothing when it does not exist.
    pub if_exists: bool,
    /// The catalog; the session's when absent.
    pub catalog: Option<String>,
}

/// What [`SetReference`] does with a reference that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetReferenceMode {
    /// `CREATE`: it must not exist.
    Create,
    /// `CREATE … IF NOT EXISTS`: it stays as it is.
    CreateIfNotExists,
    /// `CREATE OR REPLACE`: it is replaced.
    CreateOrReplace,
    /// `REPLACE`: it must exist.
    Replace,
}

/// `RETAIN 7 DAYS WITH SNAPSHOT RETENTION 3 SNAPSHOTS 2 DAYS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReferenceRetention {
    /// How long the reference itself is kept, in milliseconds.
    pub max_ref_age_ms: Option<i64>,
    /// How many of a branch's snapshots are kept at least.
    pub min_snapshots_to_keep: Option<i32>,
    /// How long a branch's snapshots are kept, in milliseconds.
    pub max_snapshot_age_ms: Option<i64>,
}

/// An argument of `CALL`.
#[derive(Debug, Clone, PartialEq)]
pub struct CallArgument {
    /// Its name, lower case; none when it is given by position.
    pub name: Option<String>,
    /// Its value.
    pub value: SessionValue,
}

/// `INSERT`.
#[derive(Debug, Clone, PartialEq)]
pub struct Insert {
    /// The table written to.
    pub table: ObjectName,
    /// The branch written to (`table @ branch`); `main` when absent.
    pub branch: Option<String>,
    /// The columns written, in the order of the query's; all of the table's when empty.
    pub columns: Vec<String>,
    /// Replace the table's rows.
    pub overwrite: bool,
    /// The rows.
    pub query: Box<Query>,
}

impl Insert {
    /// The same as a statement of the parser library, for DataFusion's planner.
    pub fn to_ast(&self) -> ast::Statement {
        ast::Statement::Insert(ast::Insert {
            insert_token: ast::helpers::attached_token::AttachedToken::empty(),
            optimizer_hints: vec![],
            or: None,
            ignore: false,
            into: true,
            table: ast::TableObject::TableName(self.table.to_ast()),
            table_alias: None,
            columns: self
                .columns
                .iter()
                .map(|column| ObjectName::new([column.as_str()]).to_ast())
                .collect(),
            overwrite: self.overwrite,
            source: Some(self.query.clone()),
            assignments: vec![],
            partitioned: None,
            after_columns: vec![],
            has_table_keyword: false,
            on: None,
            returning: None,
            output: None,
            replace_into: false,
            priority: None,
            insert_alias: None,
            settings: None,
            format_clause: None,
            multi_table_insert_type: None,
            multi_table_into_clauses: vec![],
            multi_table_when_clauses: vec![],
            multi_table_else_clause: None,
        })
    }
}

/// `DELETE`, `UPDATE` or `MERGE`.
#[derive(Debug, Clone, PartialEq)]
pub struct RowChange {
    /// The table written to.
    pub table: ObjectName,
    /// The branch of it (`UPDATE t @ branch`); `main` when absent.
    pub branch: Option<String>,
    /// The statement, for DataFusion's planner.
    pub statement: Box<ast::Statement>,
}

/// `COPY INTO table FROM 'location' …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyInto {
    /// The table written to.
    pub table: ObjectName,
    /// The columns that the files' columns go to; all of the table's when empty.
    pub columns: Vec<String>,
    /// File locations or globs, at least one.
    pub locations: Vec<String>,
    /// The files' format; from their names when absent.
    pub format: Option<CopyFormat>,
    /// Whether one malformed value fails the statement.
    pub mode: CopyMode,
    /// Where rejected rows are written in permissive mode.
    pub rejects: Option<String>,
    /// Whether a file's first line has the column names (CSV; default `true`).
    pub header: bool,
    /// What separates values (CSV; default `,`).
    pub delimiter: char,
    /// What quotes values (CSV; default `"`).
    pub quote: char,
    /// What escapes a quote inside a quoted value (CSV; by default a quote is doubled).
    pub escape: Option<char>,
    /// The text that stands for a missing value (CSV; default empty).
    pub null_value: String,
    /// Load files that were loaded before again.
    pub force: bool,
}

/// A file format that `COPY INTO` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyFormat {
    /// Comma-separated values.
    Csv,
    /// One JSON object per line.
    Json,
    /// Parquet.
    Parquet,
}

/// What happens to rows that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CopyMode {
    /// The statement fails and loads nothing.
    #[default]
    Strict,
    /// They are counted and kept aside; the others are loaded.
    Permissive,
}

/// A constant of `SET SESSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionValue {
    /// `'text'`, or a bare word.
    Text(String),
    /// A number as written.
    Number(String),
    /// `true` or `false`.
    Boolean(bool),
}

impl SessionValue {
    /// The value as it would stand in a settings file, without quotes.
    pub fn as_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.clone(),
            Self::Boolean(value) => value.to_string(),
        }
    }
}

impl Statement {
    /// Whether the statement answers with rows rather than with a count or a message.
    pub fn returns_rows(&self) -> bool {
        matches!(
            self,
            Self::Query(_)
                | Self::Explain(_)
                | Self::ShowCatalogs { .. }
                | Self::ShowSchemas { .. }
                | Self::ShowTables { .. }
                | Self::ShowColumns { .. }
                | Self::ShowCreateTable { .. }
                | Self::ShowCreateView { .. }
                | Self::ShowCreateMaterializedView { .. }
                | Self::ShowCreateSchema { .. }
                | Self::ShowStats { .. }
                | Self::ShowSession { .. }
                | Self::ShowFunctions { .. }
                | Self::ShowJobs { .. }
                | Self::ShowBranches { .. }
                | Self::ShowCatalogLog { .. }
        )
    }
}
