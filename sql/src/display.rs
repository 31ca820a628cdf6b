//! Statements as SQL text that parses back to the same statement.

use std::fmt::{self, Display, Formatter, Write};
use std::ops::ControlFlow;

use sqlparser::ast::{self, Expr, Ident, ObjectNamePart, Query, TableFactor, VisitMut, VisitorMut};

use crate::name::quote_identifier;
use crate::parser::interval_text;
use crate::relation::RelationName;
use crate::statement::{
    AlterMaterializedViewOperation, AlterTableOperation, AlterViewOperation, CatalogSource,
    ColumnDefinition, ColumnPosition, CopyFormat, CopyInto, CopyMode, ExplainKind, LikePattern,
    ReferenceKind, ReferenceRetention, RowChange, SessionValue, SetReference, SetReferenceMode,
    Statement, StatsRelation,
};
use crate::table_properties::{FileFormat, TableProperties, TablePropertyChanges};

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(query) => write_planned(f, query.as_ref()),
            Self::Explain(explain) => {
                f.write_str("EXPLAIN ")?;
                write_if(f, explain.analyze, "ANALYZE ")?;
                write_if(f, explain.verbose, "VERBOSE ")?;
                match explain.kind {
                    ExplainKind::Distributed => {}
                    ExplainKind::Logical => f.write_str("(TYPE LOGICAL) ")?,
                    ExplainKind::Validate => f.write_str("(TYPE VALIDATE) ")?,
                }
                explain.statement.fmt(f)
            }
            Self::CreateSchema(create) => {
                f.write_str("CREATE SCHEMA ")?;
                write_if(f, create.if_not_exists, "IF NOT EXISTS ")?;
                create.name.fmt(f)?;
                match &create.location {
                    Some(location) => write!(f, " WITH (location = {})", text(location)),
                    None => Ok(()),
                }
            }
            Self::DropSchema(drop) => {
                f.write_str("DROP SCHEMA ")?;
                write_if(f, drop.if_exists, "IF EXISTS ")?;
                drop.name.fmt(f)?;
                write_if(f, drop.cascade, " CASCADE")
            }
            Self::CreateTable(create) => {
                f.write_str("CREATE ")?;
                write_if(f, create.or_replace, "OR REPLACE ")?;
                f.write_str("TABLE ")?;
                write_if(f, create.if_not_exists, "IF NOT EXISTS ")?;
                write!(f, "{} (", create.name)?;
                write_list(f, &create.columns)?;
                f.write_str(")")?;
                write_comment(f, create.comment.as_deref())?;
                write_properties(f, &create.properties)
            }
            Self::CreateTableAs(create) => {
                f.write_str("CREATE ")?;
                write_if(f, create.or_replace, "OR REPLACE ")?;
                f.write_str("TABLE ")?;
                write_if(f, create.if_not_exists, "IF NOT EXISTS ")?;
                create.name.fmt(f)?;
                write_column_names(f, &create.column_names)?;
                write_comment(f, create.comment.as_deref())?;
                write_properties(f, &create.properties)?;
                f.write_str(" AS ")?;
                write_planned(f, create.query.as_ref())?;
                write_if(f, !create.with_data, " WITH NO DATA")
            }
            Self::DropTable(drop) => {
                f.write_str("DROP TABLE ")?;
                write_if(f, drop.if_exists, "IF EXISTS ")?;
                drop.name.fmt(f)?;
                write_if(f, drop.purge, " PURGE")
            }
            Self::CreateView(create) => {
                f.write_str("CREATE ")?;
                write_if(f, create.or_replace, "OR REPLACE ")?;
                write_if(f, create.materialized, "MATERIALIZED ")?;
                f.write_str("VIEW ")?;
                write_if(f, create.if_not_exists, "IF NOT EXISTS ")?;
                create.name.fmt(f)?;
                write_column_names(f, &create.column_names)?;
                if let Some(grace_period_ms) = create.grace_period_ms {
                    write!(f, " GRACE PERIOD {}", interval_text(grace_period_ms))?;
                }
                write_comment(f, create.comment.as_deref())?;
                if create.materialized {
                    write_properties(f, &create.properties)?;
                }
                f.write_str(" AS ")?;
                write_planned(f, create.query.as_ref())
            }
            Self::RefreshMaterializedView { view } => {
                write!(f, "REFRESH MATERIALIZED VIEW {view}")
            }
            Self::AlterView(alter) => {
                let view = &alter.name;
                match &alter.operation {
                    AlterViewOperation::SetComment { comment } => {
                        write!(f, "COMMENT ON VIEW {view} IS {}", text_or_null(comment))
                    }
                    AlterViewOperation::Rename { new_name } => {
                        f.write_str("ALTER VIEW ")?;
                        write_if(f, alter.if_exists, "IF EXISTS ")?;
                        write!(f, "{view} RENAME TO {new_name}")
                    }
                }
            }
            Self::AlterMaterializedView(alter) => {
                let view = &alter.name;
                if let AlterMaterializedViewOperation::SetComment { comment } = &alter.operation {
                    let comment = text_or_null(comment);
                    return write!(f, "COMMENT ON MATERIALIZED VIEW {view} IS {comment}");
                }
                f.write_str("ALTER MATERIALIZED VIEW ")?;
                write_if(f, alter.if_exists, "IF EXISTS ")?;
                match &alter.operation {
                    AlterMaterializedViewOperation::Rename { new_name } => {
                        write!(f, "{view} RENAME TO {new_name}")
                    }
                    AlterMaterializedViewOperation::SetProperties { changes } => {
                        write!(f, "{view} SET PROPERTIES {changes}")
                    }
                    AlterMaterializedViewOperation::SetComment { .. } => Ok(()),
                }
            }
            Self::DropView(drop) => {
                f.write_str("DROP ")?;
                write_if(f, drop.materialized, "MATERIALIZED ")?;
                f.write_str("VIEW ")?;
                write_if(f, drop.if_exists, "IF EXISTS ")?;
                drop.name.fmt(f)
            }
            Self::AlterTable(alter) => {
                let table = &alter.name;
                match &alter.operation {
                    AlterTableOperation::SetComment { comment } => {
                        write!(f, "COMMENT ON TABLE {table} IS {}", text_or_null(comment))
                    }
                    AlterTableOperation::SetColumnComment { column, comment } => write!(
                        f,
                        "COMMENT ON COLUMN {table}.{} IS {}",
                        quote_identifier(column),
                        text_or_null(comment)
                    ),
                    operation => {
                        f.write_str("ALTER TABLE ")?;
                        write_if(f, alter.if_exists, "IF EXISTS ")?;
                        write!(f, "{table} ")?;
                        write_alter_operation(f, operation)
                    }
                }
            }
            Self::Insert(insert) => {
                f.write_str("INSERT ")?;
                f.write_str(if insert.overwrite {
                    "OVERWRITE "
                } else {
                    "INTO "
                })?;
                insert.table.fmt(f)?;
                if let Some(branch) = &insert.branch {
                    write!(f, " @ {}", quote_identifier(branch))?;
                }
                write_column_names(f, &insert.columns)?;
                f.write_str(" ")?;
                write_planned(f, insert.query.as_ref())
            }
            Self::CopyInto(copy) => write_copy(f, copy),
            Self::Delete(change) | Self::Update(change) | Self::Merge(change) => {
                write_row_change(f, change)
            }
            Self::Truncate { table } => write!(f, "TRUNCATE TABLE {table}"),
            Self::Analyze { table, columns } => {
                write!(f, "ANALYZE {table}")?;
                let Some(columns) = columns else {
                    return Ok(());
                };
                let columns = columns.iter().map(|column| text(&quote_identifier(column)));
                write!(f, " WITH (columns = ARRAY[{}])", joined(columns))
            }
            Self::ShowCatalogs { like } => {
                f.write_str("SHOW CATALOGS")?;
                write_like(f, like)
            }
            Self::ShowSchemas { catalog, like } => {
                f.write_str("SHOW SCHEMAS")?;
                if let Some(catalog) = catalog {
                    write!(f, " FROM {}", quote_identifier(catalog))?;
                }
                write_like(f, like)
            }
            Self::ShowTables { schema, like } => {
                f.write_str("SHOW TABLES")?;
                if let Some(schema) = schema {
                    write!(f, " FROM {schema}")?;
                }
                write_like(f, like)
            }
            Self::ShowColumns { table, like } => {
                write!(f, "SHOW COLUMNS FROM {table}")?;
                write_like(f, like)
            }
            Self::ShowCreateTable { table } => write!(f, "SHOW CREATE TABLE {table}"),
            Self::ShowCreateView { view } => write!(f, "SHOW CREATE VIEW {view}"),
            Self::ShowCreateMaterializedView { view } => {
                write!(f, "SHOW CREATE MATERIALIZED VIEW {view}")
            }
            Self::ShowCreateSchema { schema } => write!(f, "SHOW CREATE SCHEMA {schema}"),
            Self::ShowStats { relation } => match relation {
                StatsRelation::Table(table) => write!(f, "SHOW STATS FOR {table}"),
                StatsRelation::Query(query) => {
                    f.write_str("SHOW STATS FOR (")?;
                    write_planned(f, query.as_ref())?;
                    f.write_str(")")
                }
            },
            Self::ShowSession { like } => {
                f.write_str("SHOW SESSION")?;
                write_like(f, like)
            }
            Self::ShowFunctions { like } => {
                f.write_str("SHOW FUNCTIONS")?;
                write_like(f, like)
            }
            Self::ShowJobs { like } => {
                f.write_str("SHOW JOBS")?;
                write_like(f, like)
            }
            Self::ShowBranches { catalog, like } => {
                f.write_str("SHOW BRANCHES")?;
                write_catalog(f, "FROM", catalog)?;
                write_like(f, like)
            }
            Self::ShowCatalogLog {
                catalog,
                like,
                limit,
            } => {
                f.write_str("SHOW CATALOG LOG")?;
                write_catalog(f, "FROM", catalog)?;
                write_like(f, like)?;
                match limit {
                    Some(limit) => write!(f, " LIMIT {limit}"),
                    None => Ok(()),
                }
            }
            Self::CreateCatalogReference(create) => {
                write!(f, "CREATE {} ", create.kind)?;
                write_if(f, create.if_not_exists, "IF NOT EXISTS ")?;
                f.write_str(&quote_identifier(&create.name))?;
                write_catalog(f, "IN", &create.catalog)?;
                match &create.from {
                    Some(CatalogSource::Reference(name)) => {
                        write!(f, " FROM {}", quote_identifier(name))
                    }
                    Some(CatalogSource::Version(version)) => write!(f, " FROM VERSION {version}"),
                    None => Ok(()),
                }
            }
            Self::DropCatalogReference(drop) => {
                write!(f, "DROP {} ", drop.kind)?;
                write_if(f, drop.if_exists, "IF EXISTS ")?;
                f.write_str(&quote_identifier(&drop.name))?;
                write_catalog(f, "IN", &drop.catalog)
            }
            Self::MergeBranch {
                branch,
                target,
                catalog,
            } => {
                let (branch, target) = (quote_identifier(branch), quote_identifier(target));
                write!(f, "MERGE BRANCH {branch} INTO {target}")?;
                write_catalog(f, "IN", catalog)
            }
            Self::UseBranch { branch, catalog } => {
                write!(f, "USE BRANCH {}", quote_identifier(branch))?;
                write_catalog(f, "IN", catalog)
            }
            Self::StartTransaction => f.write_str("START TRANSACTION"),
            Self::Commit => f.write_str("COMMIT"),
            Self::Rollback => f.write_str("ROLLBACK"),
            Self::Use { catalog, schema } => {
                f.write_str("USE ")?;
                if let Some(catalog) = catalog {
                    write!(f, "{}.", quote_identifier(catalog))?;
                }
                f.write_str(&quote_identifier(schema))
            }
            Self::SetSession { name, value } => {
                write!(f, "SET SESSION {} = {value}", property_name(name))
            }
            Self::ResetSession { name: None } => f.write_str("RESET SESSION ALL"),
            Self::ResetSession { name: Some(name) } => {
                write!(f, "RESET SESSION {}", property_name(name))
            }
            Self::Prepare { name, statement } => {
                write!(f, "PREPARE {} FROM {statement}", quote_identifier(name))
            }
            Self::Execute { name, parameters } => {
                write!(f, "EXECUTE {}", quote_identifier(name))?;
                write_if(f, !parameters.is_empty(), " USING ")?;
                write_list(f, parameters)
            }
            Self::Deallocate { name } => {
                write!(f, "DEALLOCATE PREPARE {}", quote_identifier(name))
            }
            Self::Call {
                procedure,
                arguments,
            } => {
                let list = joined(arguments.iter().map(|argument| match &argument.name {
                    Some(name) => format!("{} => {}", quote_identifier(name), argument.value),
                    None => argument.value.to_string(),
                }));
                write!(f, "CALL {procedure}({list})")
            }
            Self::RunJob { name } => write!(f, "RUN JOB {name}"),
        }
    }
}

impl Display for ColumnDefinition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", quote_identifier(&self.name), self.column_type)?;
        write_if(f, self.not_null, " NOT NULL")?;
        if let Some(default) = &self.default {
            write!(f, " DEFAULT {default}")?;
        }
        write_comment(f, self.comment.as_deref())
    }
}

impl Display for SessionValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(value) => f.write_str(&text(value)),
            Self::Number(number) => f.write_str(number),
            Self::Boolean(value) => value.fmt(f),
        }
    }
}

impl Display for ColumnPosition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("FIRST"),
            Self::Last => f.write_str("LAST"),
            Self::After(column) => write!(f, "AFTER {}", quote_identifier(column)),
        }
    }
}

impl Display for ReferenceKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Branch => "BRANCH",
            Self::Tag => "TAG",
        })
    }
}

/// As an operation of `ALTER TABLE`.
impl Display for SetReference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.mode {
            SetReferenceMode::Create | SetReferenceMode::CreateIfNotExists => "CREATE ",
            SetReferenceMode::CreateOrReplace => "CREATE OR REPLACE ",
            SetReferenceMode::Replace => "REPLACE ",
        })?;
        write!(f, "{} ", self.kind)?;
        write_if(
            f,
            self.mode == SetReferenceMode::CreateIfNotExists,
            "IF NOT EXISTS ",
        )?;
        f.write_str(&quote_identifier(&self.name))?;
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        let minutes = |milliseconds: i64| milliseconds / 60_000;
        let ReferenceRetention {
            max_ref_age_ms,
            min_snapshots_to_keep,
            max_snapshot_age_ms,
        } = self.retention;
        if let Some(age) = max_ref_age_ms {
            write!(f, " RETAIN {} MINUTES", minutes(age))?;
        }
        write_if(
            f,
            min_snapshots_to_keep.is_some() || max_snapshot_age_ms.is_some(),
            " WITH SNAPSHOT RETENTION",
        )?;
        if let Some(count) = min_snapshots_to_keep {
            write!(f, " {count} SNAPSHOTS")?;
        }
        if let Some(age) = max_snapshot_age_ms {
            write!(f, " {} MINUTES", minutes(age))?;
        }
        Ok(())
    }
}

/// The list of a `SET PROPERTIES`.
impl Display for TablePropertyChanges {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut entries = vec![];
        let set = self.set.to_string();
        if !set.is_empty() {
            entries.push(set);
        }
        let quoted = |name: &String| format!("{} = DEFAULT", quote_identifier(name));
        entries.extend(self.reset.iter().map(quoted));
        f.write_str(&entries.join(", "))
    }
}

/// The properties as the list of a `WITH (…)`; empty when nothing was set.
impl Display for TableProperties {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut entries = vec![];
        match self.format {
            // The only one, and so not worth a word.
            FileFormat::Parquet => {}
        }
        if let Some(version) = self.format_version {
            entries.push(format!("format_version = {version}"));
        }
        if let Some(fields) = &self.partitioning {
            entries.push(format!("partitioning = {}", array(fields)));
        }
        if let Some(fields) = &self.sorted_by {
            entries.push(format!("sorted_by = {}", array(fields)));
        }
        if let Some(location) = &self.location {
            entries.push(format!("location = {}", text(location)));
        }
        if !self.extra.is_empty() {
            entries.push(format!(
                "extra_properties = MAP(ARRAY[{}], ARRAY[{}])",
                joined(self.extra.keys().map(|key| text(key))),
                joined(self.extra.values().map(|value| text(value))),
            ));
        }
        f.write_str(&entries.join(", "))
    }
}

fn write_alter_operation(f: &mut Formatter<'_>, operation: &AlterTableOperation) -> fmt::Result {
    match operation {
        AlterTableOperation::AddColumn {
            parent,
            column,
            position,
            if_not_exists,
        } => {
            f.write_str("ADD COLUMN ")?;
            write_if(f, *if_not_exists, "IF NOT EXISTS ")?;
            if let Some(parent) = parent {
                write!(f, "{parent}.")?;
            }
            column.fmt(f)?;
            match position {
                Some(position) => write!(f, " {position}"),
                None => Ok(()),
            }
        }
        AlterTableOperation::DropColumn { column, if_exists } => {
            f.write_str("DROP COLUMN ")?;
            write_if(f, *if_exists, "IF EXISTS ")?;
            column.fmt(f)
        }
        AlterTableOperation::RenameColumn {
            column,
            new_name,
            if_exists,
        } => {
            f.write_str("RENAME COLUMN ")?;
            write_if(f, *if_exists, "IF EXISTS ")?;
            write!(f, "{column} TO {}", quote_identifier(new_name))
        }
        AlterTableOperation::SetColumnType {
            column,
            column_type,
        } => write!(f, "ALTER COLUMN {column} SET DATA TYPE {column_type}"),
        AlterTableOperation::DropNotNull { column } => {
            write!(f, "ALTER COLUMN {column} DROP NOT NULL")
        }
        AlterTableOperation::SetDefault { column, value } => match value {
            Some(value) => write!(f, "ALTER COLUMN {column} SET DEFAULT {value}"),
            None => write!(f, "ALTER COLUMN {column} DROP DEFAULT"),
        },
        AlterTableOperation::MoveColumn { column, position } => {
            write!(f, "ALTER COLUMN {column} {position}")
        }
        AlterTableOperation::RenameTable { new_name } => write!(f, "RENAME TO {new_name}"),
        AlterTableOperation::SetProperties { changes } => {
            write!(f, "SET PROPERTIES {changes}")
        }
        AlterTableOperation::SetReference(reference) => reference.fmt(f),
        AlterTableOperation::DropReference {
            kind,
            name,
            if_exists,
        } => {
            write!(f, "DROP {kind} ")?;
            write_if(f, *if_exists, "IF EXISTS ")?;
            f.write_str(&quote_identifier(name))
        }
        AlterTableOperation::Execute {
            procedure,
            arguments,
            condition,
        } => {
            write!(f, "EXECUTE {}", quote_identifier(procedure))?;
            if !arguments.is_empty() {
                let list = joined(arguments.iter().map(|(name, value)| match name {
                    Some(name) => format!("{} => {value}", quote_identifier(name)),
                    None => value.to_string(),
                }));
                write!(f, "({list})")?;
            }
            match condition {
                Some(condition) => write!(f, " WHERE {condition}"),
                None => Ok(()),
            }
        }
        // These two are statements of their own.
        AlterTableOperation::SetComment { .. } | AlterTableOperation::SetColumnComment { .. } => {
            Ok(())
        }
    }
}

fn write_copy(f: &mut Formatter<'_>, copy: &CopyInto) -> fmt::Result {
    write!(f, "COPY INTO {}", copy.table)?;
    write_column_names(f, &copy.columns)?;
    let locations = joined(copy.locations.iter().map(|location| text(location)));
    match copy.locations.len() {
        1 => write!(f, " FROM {locations}")?,
        _ => write!(f, " FROM ({locations})")?,
    }
    let mut options = vec![];
    if let Some(format) = copy.format {
        let name = match format {
            CopyFormat::Csv => "csv",
            CopyFormat::Json => "json",
            CopyFormat::Parquet => "parquet",
        };
        options.push(format!("format = '{name}'"));
    }
    if copy.mode == CopyMode::Permissive {
        options.push("mode = 'permissive'".to_string());
    }
    if let Some(rejects) = &copy.rejects {
        options.push(format!("rejects = {}", text(rejects)));
    }
    options.push(format!("header = {}", copy.header));
    options.push(format!("delimiter = {}", text(&copy.delimiter.to_string())));
    options.push(format!("quote = {}", text(&copy.quote.to_string())));
    if let Some(escape) = copy.escape {
        options.push(format!("escape = {}", text(&escape.to_string())));
    }
    options.push(format!("null_value = {}", text(&copy.null_value)));
    if copy.force {
        options.push("force = true".to_string());
    }
    write!(f, " WITH ({})", options.join(", "))
}

fn write_if(f: &mut Formatter<'_>, condition: bool, words: &str) -> fmt::Result {
    if condition {
        f.write_str(words)
    } else {
        Ok(())
    }
}

fn write_list<T: Display>(f: &mut Formatter<'_>, items: &[T]) -> fmt::Result {
    f.write_str(&joined(items.iter().map(T::to_string)))
}

fn write_column_names(f: &mut Formatter<'_>, names: &[String]) -> fmt::Result {
    if names.is_empty() {
        return Ok(());
    }
    write!(
        f,
        " ({})",
        joined(names.iter().map(|name| quote_identifier(name)))
    )
}

fn write_comment(f: &mut Formatter<'_>, comment: Option<&str>) -> fmt::Result {
    match comment {
        Some(comment) => write!(f, " COMMENT {}", text(comment)),
        None => Ok(()),
    }
}

fn write_properties(f: &mut Formatter<'_>, properties: &TableProperties) -> fmt::Result {
    let list = properties.to_string();
    if list.is_empty() {
        return Ok(());
    }
    write!(f, " WITH ({list})")
}

fn write_like(f: &mut Formatter<'_>, like: &Option<LikePattern>) -> fmt::Result {
    let Some(like) = like else {
        return Ok(());
    };
    write!(f, " LIKE {}", text(&like.pattern))?;
    match like.escape {
        Some(escape) => write!(f, " ESCAPE {}", text(&escape.to_string())),
        None => Ok(()),
    }
}

fn write_catalog(f: &mut Formatter<'_>, word: &str, catalog: &Option<String>) -> fmt::Result {
    match catalog {
        Some(catalog) => write!(f, " {word} {}", quote_identifier(catalog)),
        None => Ok(()),
    }
}

fn property_name(name: &str) -> String {
    name.split('.')
        .map(quote_identifier)
        .collect::<Vec<_>>()
        .join(".")
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn text_or_null(value: &Option<String>) -> String {
    value.as_deref().map_or("NULL".to_string(), text)
}

fn array<T: Display>(items: &[T]) -> String {
    let texts = items.iter().map(|item| text(&item.to_string()));
    format!("ARRAY[{}]", joined(texts))
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// Writes a statement that changes rows, with the branch after its table.
fn write_row_change(f: &mut Formatter<'_>, change: &RowChange) -> fmt::Result {
    struct Planned<'a>(&'a ast::Statement);
    impl Display for Planned<'_> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            write_planned(f, self.0)
        }
    }
    let text = Planned(&change.statement).to_string();
    let target = match change.statement.as_ref() {
        ast::Statement::Delete(delete) => match &delete.from {
            ast::FromTable::WithFromKeyword(tables) | ast::FromTable::WithoutKeyword(tables) => {
                tables.first().map(|table| &table.relation)
            }
        },
        ast::Statement::Update(update) => Some(&update.table.relation),
        ast::Statement::Merge(merge) => Some(&merge.table),
        _ => None,
    };
    let name = match target {
        Some(TableFactor::Table { name, .. }) => name.to_string(),
        _ => String::new(),
    };
    match (&change.branch, text.find(&name)) {
        (Some(branch), Some(start)) => {
            let (before, after) = text.split_at(start + name.len());
            write!(f, "{before} @ {}{after}", quote_identifier(branch))
        }
        _ => f.write_str(&text),
    }
}

/// Writes a query with its time-travel clauses as they are written in SQL, not folded into names.
fn write_planned<T: VisitMut + Clone + Display>(f: &mut Formatter<'_>, planned: &T) -> fmt::Result {
    let mut unfolded = planned.clone();
    let mut unfolder = Unfolder::default();
    let _ = unfolded.visit(&mut unfolder);
    let mut written = String::new();
    write!(written, "{unfolded}")?;
    for (index, relation) in unfolder.relations.iter().enumerate() {
        let table = RelationName {
            catalog_version: None,
            version: None,
            ..relation.clone()
        };
        // The identifier as a user writes it: nothing in it is taken for a clause.
        let identifier = match table.metadata_table {
            Some(metadata_table) => format!("{}${}", table.table, metadata_table.name()),
            None => table.table.clone(),
        };
        let mut clause = format!("\"{}\"", identifier.replace('"', "\"\""));
        if let Some(version) = &relation.catalog_version {
            write!(clause, " {version}")?;
        }
        if let Some(version) = &relation.version {
            write!(clause, " {version}")?;
        }
        written = written.replacen(&format!("\"{}\"", marker(index)), &clause, 1);
    }
    f.write_str(&written)
}

/// A character for private use keeps the marker apart from every name and text.
fn marker(index: usize) -> String {
    format!("\u{F0F0}{index}\u{F0F0}")
}

#[derive(Default)]
struct Unfolder {
    relations: Vec<RelationName>,
}

impl VisitorMut for Unfolder {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name, args: None, ..
        } = factor
            && let Some(ObjectNamePart::Identifier(last)) = name.0.last_mut()
            && last.quote_style.is_some()
            && let Ok(relation) = RelationName::parse(&last.value)
            && relation != RelationName::table(last.value.as_str())
        {
            *last = Ident::with_quote('"', marker(self.relations.len()));
            self.relations.push(relation);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, _expression: &mut Expr) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
