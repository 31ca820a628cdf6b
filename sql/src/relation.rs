//! How a table's version and its metadata tables travel inside one table name.
//!
//! The planner knows a table only by its name, so `t FOR VERSION AS OF 5` becomes a table called
//! `t FOR VERSION AS OF 5` ([`RelationName::encode`]), which the schema provider takes apart again
//! ([`RelationName::parse`]). The form is readable because it shows in plans and error messages.
//!
//! `AT …` names a state of the whole catalog, `FOR … AS OF` a state of the one table in it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::SqlError;

const VERSION_MARKER: &str = " FOR VERSION AS OF ";
const TIMESTAMP_MARKER: &str = " FOR TIMESTAMP AS OF ";
const BRANCH_MARKER: &str = " AT BRANCH ";
const TAG_MARKER: &str = " AT TAG ";
const CATALOG_VERSION_MARKER: &str = " AT VERSION ";
const CATALOG_TIME_MARKER: &str = " AT TIMESTAMP ";
const CHANGES_MARKER: &str = " CHANGES FROM ";
const CHANGES_TO_MARKER: &str = " TO ";
const HIDDEN_COLUMNS_MARKER: &str = " WITH HIDDEN COLUMNS";

/// A table name with everything that was said about the table: one part of a qualified name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelationName {
    /// The table's name in its schema.
    pub table: String,
    /// The metadata table that is read instead of the table's rows.
    pub metadata_table: Option<MetadataTable>,
    /// The state of the catalog in which the table is looked up instead of the session's.
    pub catalog_version: Option<CatalogVersion>,
    /// The version of the table that is read instead of the current one.
    pub version: Option<RelationVersion>,
    /// The changes that are read instead of the table's rows.
    pub changes: Option<RelationChanges>,
    /// Whether the [hidden columns](crate::hidden_columns) follow the table's own.
    pub with_hidden_columns: bool,
}

/// Between which snapshots of a table changes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelationChanges {
    /// Id of the snapshot before the first change.
    pub from: i64,
    /// Id of the snapshot of the last change.
    pub to: i64,
}

/// The state of a whole catalog that a query asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CatalogVersion {
    /// `AT BRANCH name`: a branch of the catalog.
    Branch(String),
    /// `AT TAG name`: a tag of the catalog.
    Tag(String),
    /// `AT VERSION 12`, `AT VERSION '0a1b2c3d…'`: the catalog after this commit.
    Version(CatalogVersionId),
    /// `AT TIMESTAMP expression`: SQL text of a constant expression, evaluated when the query is
    /// planned. What the session's branch of the catalog was at that time.
    TimestampExpr(String),
}

/// What a catalog calls one of its commits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CatalogVersionId {
    /// A number, in Ingot's own catalog.
    Number(i64),
    /// A text, in catalogs such as Nessie that call commits by hashes.
    Hash(String),
}

/// As it is written in SQL.
impl fmt::Display for CatalogVersionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Hash(hash) => formatter.write_str(&quoted(hash)),
        }
    }
}

/// The version of a table that a query asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RelationVersion {
    /// `FOR VERSION AS OF 8954597067493422955`: a snapshot id.
    SnapshotId(i64),
    /// `FOR VERSION AS OF 'name'`: a branch or tag of the table.
    Reference(String),
    /// `FOR TIMESTAMP AS OF expression`: SQL text of a constant expression, evaluated when the
    /// query is planned. The version is the table's state at that time.
    TimestampExpr(String),
}

/// The metadata tables, written `"table$name"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MetadataTable {
    /// One row per snapshot.
    Snapshots,
    /// One row per change of the current snapshot.
    History,
    /// One row per live data or delete file.
    Files,
    /// One row per manifest of the snapshot.
    Manifests,
    /// One row per partition.
    Partitions,
    /// One row per branch or tag.
    Refs,
    /// One row per manifest entry.
    Entries,
    /// One row per table property.
    Properties,
    /// One row per metadata file.
    MetadataLogEntries,
    /// One row per manifest of each snapshot.
    AllManifests,
    /// One row per entry of the manifests of all snapshots.
    AllEntries,
}

impl MetadataTable {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Snapshots,
        Self::History,
        Self::Files,
        Self::Manifests,
        Self::Partitions,
        Self::Refs,
        Self::Entries,
        Self::Properties,
        Self::MetadataLogEntries,
        Self::AllManifests,
        Self::AllEntries,
    ];

    /// The name after the `$`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshots",
            Self::History => "history",
            Self::Files => "files",
            Self::Manifests => "manifests",
            Self::Partitions => "partitions",
            Self::Refs => "refs",
            Self::Entries => "entries",
            Self::Properties => "properties",
            Self::MetadataLogEntries => "metadata_log_entries",
            Self::AllManifests => "all_manifests",
            Self::AllEntries => "all_entries",
        }
    }

    /// The metadata table of this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|table| table.name().eq_ignore_ascii_case(name))
    }
}

impl RelationName {
    /// The current rows of a table whose name is taken as it is.
    pub fn table(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            metadata_table: None,
            catalog_version: None,
            version: None,
            changes: None,
            with_hidden_columns: false,
        }
    }

    /// What a user means by an identifier: `t`, or `t$snapshots` for a metadata table. A `$` before
    /// anything else belongs to the table's name. Version markers are not looked for.
    pub fn from_identifier(identifier: &str) -> Self {
        let metadata = identifier.rsplit_once('$').and_then(|(table, suffix)| {
            let metadata_table = MetadataTable::from_name(suffix)?;
            (!table.is_empty()).then_some((table, metadata_table))
        });
        match metadata {
            Some((table, metadata_table)) => Self {
                metadata_table: Some(metadata_table),
                ..Self::table(table)
            },
            None => Self::table(identifier),
        }
    }

    /// The text that stands for this relation as the last part of a table name.
    pub fn encode(&self) -> String {
        let readable = format!("{}{}", self.table, self.suffix());
        match Self::parse(&readable) {
            Ok(parsed) if parsed == *self => readable,
            // The table's own name looks like a marker or a metadata table.
            _ => format!("\"{}\"{}", self.table.replace('"', "\"\""), self.suffix()),
        }
    }

    /// Takes apart what [`encode`](Self::encode) made, or a plain identifier.
    ///
    /// # Errors
    /// When the text has a version marker followed by something that is not a version.
    pub fn parse(text: &str) -> Result<Self, SqlError> {
        let invalid = |message: &str| SqlError::Invalid {
            what: format!("table name '{text}'"),
            message: message.to_string(),
            line: 0,
            column: 0,
        };
        let (text, with_hidden_columns) = match text.strip_suffix(HIDDEN_COLUMNS_MARKER) {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (text, changes) = match split_changes(text) {
            Some((text, changes)) => (text, Some(changes)),
            None => (text, None),
        };
        if let Some((table, rest)) = split_quoted(text, '"') {
            let suffixes = split_suffixes(rest).map_err(|e| invalid(&e))?;
            let (metadata_text, catalog_version, version) = suffixes;
            let metadata_table = match metadata_text.strip_prefix('$') {
                Some(name) => Some(
                    MetadataTable::from_name(name)
                        .ok_or_else(|| invalid("there is no such metadata table"))?,
                ),
                None if metadata_text.is_empty() => None,
                None => return Err(invalid("unexpected text after the quoted table name")),
            };
            return Ok(Self {
                table,
                metadata_table,
                catalog_version,
                version,
                changes,
                with_hidden_columns,
            });
        }
        let (name, catalog_version, version) = split_suffixes(text).map_err(|e| invalid(&e))?;
        Ok(Self {
            catalog_version,
            version,
            changes,
            with_hidden_columns,
            ..Self::from_identifier(name)
        })
    }

    fn suffix(&self) -> String {
        let mut suffix = String::new();
        if let Some(metadata_table) = self.metadata_table {
            suffix.push('$');
            suffix.push_str(metadata_table.name());
        }
        if let Some(version) = &self.catalog_version {
            suffix.push_str(&version.encode());
        }
        if let Some(version) = &self.version {
            suffix.push(' ');
            suffix.push_str(&version.to_string());
        }
        if let Some(RelationChanges { from, to }) = self.changes {
            suffix.push_str(&format!("{CHANGES_MARKER}{from}{CHANGES_TO_MARKER}{to}"));
        }
        if self.with_hidden_columns {
            suffix.push_str(HIDDEN_COLUMNS_MARKER);
        }
        suffix
    }
}

impl fmt::Display for RelationName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.encode())
    }
}

/// The marker of a version that is given as a quoted text, and what the text is.
type Quoted = (&'static str, fn(String) -> CatalogVersion);

impl CatalogVersion {
    /// The clause inside a name. Its end can be seen whatever follows: an expression is quoted.
    fn encode(&self) -> String {
        match self {
            Self::Branch(name) => format!("{BRANCH_MARKER}{}", quoted(name)),
            Self::Tag(name) => format!("{TAG_MARKER}{}", quoted(name)),
            Self::Version(version) => format!("{CATALOG_VERSION_MARKER}{version}"),
            Self::TimestampExpr(text) => format!("{CATALOG_TIME_MARKER}{}", quoted(text)),
        }
    }

    /// Takes a clause off the beginning of a text that has one there.
    fn parse(text: &str) -> Result<(Self, &str), String> {
        if let Some(rest) = text.strip_prefix(CATALOG_VERSION_MARKER) {
            if let Some((hash, rest)) = split_quoted(rest, '\'') {
                return Ok((Self::Version(CatalogVersionId::Hash(hash)), rest));
            }
            let end = rest.find(' ').unwrap_or(rest.len());
            let version = rest[..end].parse();
            let version = version.map_err(|_| "the catalog version is no number".to_string())?;
            return Ok((
                Self::Version(CatalogVersionId::Number(version)),
                &rest[end..],
            ));
        }
        let kinds: [Quoted; 3] = [
            (BRANCH_MARKER, Self::Branch),
            (TAG_MARKER, Self::Tag),
            (CATALOG_TIME_MARKER, Self::TimestampExpr),
        ];
        let found = kinds.into_iter().find_map(|(marker, kind)| {
            let (value, rest) = split_quoted(text.strip_prefix(marker)?, '\'')?;
            Some((kind(value), rest))
        });
        found.ok_or_else(|| "the catalog version is not quoted".to_string())
    }
}

/// The clause as it is written in SQL.
impl fmt::Display for CatalogVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => write!(formatter, "AT BRANCH {}", quoted(name)),
            Self::Tag(name) => write!(formatter, "AT TAG {}", quoted(name)),
            Self::Version(version) => write!(formatter, "AT VERSION {version}"),
            Self::TimestampExpr(expression) => write!(formatter, "AT TIMESTAMP {expression}"),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The clause as it is written in SQL.
impl fmt::Display for RelationVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SnapshotId(id) => write!(formatter, "FOR VERSION AS OF {id}"),
            Self::Reference(name) => write!(formatter, "FOR VERSION AS OF {}", quoted(name)),
            Self::TimestampExpr(expression) => {
                write!(formatter, "FOR TIMESTAMP AS OF {expression}")
            }
        }
    }
}

/// Splits `"quoted text"rest`; `None` when the text does not begin with a complete quoted one.
fn split_quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let inner = text.strip_prefix(quote)?;
    let mut content = String::new();
    let mut characters = inner.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        if character != quote {
            content.push(character);
        } else if characters.next_if(|(_, next)| *next == quote).is_some() {
            content.push(quote);
        } else {
            return Some((content, &inner[index + quote.len_utf8()..]));
        }
    }
    None
}

/// What is before the clauses, the catalog's clause and the table's.
type Suffixes<'a> = (&'a str, Option<CatalogVersion>, Option<RelationVersion>);

/// Splits off the clauses, of which the catalog's comes first.
fn split_suffixes(text: &str) -> Result<Suffixes<'_>, String> {
    let first_of = |markers: &[&str]| {
        let found = markers.iter().filter_map(|marker| text.find(marker));
        found.min()
    };
    let catalog_at = first_of(&[
        BRANCH_MARKER,
        TAG_MARKER,
        CATALOG_VERSION_MARKER,
        CATALOG_TIME_MARKER,
    ]);
    let table_at = first_of(&[VERSION_MARKER, TIMESTAMP_MARKER]);
    match catalog_at {
        Some(at) if table_at.is_none_or(|table_at| at < table_at) => {
            let (catalog_version, rest) = CatalogVersion::parse(&text[at..])?;
            let (between, version) = split_version(rest)?;
            if !between.is_empty() {
                return Err("unexpected text after the catalog version".to_string());
            }
            Ok((&text[..at], Some(catalog_version), version))
        }
        _ => {
            let (name, version) = split_version(text)?;
            Ok((name, None, version))
        }
    }
}

/// Splits off the changes that the text ends with.
fn split_changes(text: &str) -> Option<(&str, RelationChanges)> {
    let (table, range) = text.rsplit_once(CHANGES_MARKER)?;
    let (from, to) = range.split_once(CHANGES_TO_MARKER)?;
    let changes = RelationChanges {
        from: from.parse().ok()?,
        to: to.parse().ok()?,
    };
    Some((table, changes))
}

/// Splits off the version clause that starts at the first marker.
fn split_version(text: &str) -> Result<(&str, Option<RelationVersion>), String> {
    let version_at = text.find(VERSION_MARKER);
    let timestamp_at = text.find(TIMESTAMP_MARKER);
    match (version_at, timestamp_at) {
        (Some(at), other) if other.is_none_or(|other| at < other) => {
            let value = &text[at + VERSION_MARKER.len()..];
            Ok((&text[..at], Some(parse_version(value)?)))
        }
        (_, Some(at)) => {
            let expression = &text[at + TIMESTAMP_MARKER.len()..];
            if expression.is_empty() {
                return Err("the timestamp is missing".to_string());
            }
            let version = RelationVersion::TimestampExpr(expression.to_string());
            Ok((&text[..at], Some(version)))
        }
        _ => Ok((text, None)),
    }
}

fn parse_version(value: &str) -> Result<RelationVersion, String> {
    if let Ok(id) = value.parse() {
        return Ok(RelationVersion::SnapshotId(id));
    }
    let quoted = value
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    match quoted {
        Some(name) => Ok(RelationVersion::Reference(name.replace("''", "'"))),
        None => Err("the version is neither a snapshot id nor a quoted name".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version() -> impl Strategy<Value = Option<RelationVersion>> {
        prop_oneof![
            Just(None),
            any::<i64>().prop_map(|id| Some(RelationVersion::SnapshotId(id))),
            ".*".prop_map(|name| Some(RelationVersion::Reference(name))),
            odd_text().prop_map(|text| Some(RelationVersion::TimestampExpr(format!("'{text}'")))),
        ]
    }

    fn catalog_version() -> impl Strategy<Value = Option<CatalogVersion>> {
        prop_oneof![
            Just(None),
            odd_text().prop_map(|name| Some(CatalogVersion::Branch(name))),
            odd_text().prop_map(|name| Some(CatalogVersion::Tag(name))),
            any::<i64>()
                .prop_map(|number| Some(CatalogVersion::Version(CatalogVersionId::Number(number)))),
            odd_text().prop_map(|hash| Some(CatalogVersion::Version(CatalogVersionId::Hash(hash)))),
            odd_text().prop_map(|text| Some(CatalogVersion::TimestampExpr(format!("'{text}'")))),
        ]
    }

    /// Names with everything that the encoding uses itself.
    fn odd_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-zé \"'$.]{0,4}",
            Just(VERSION_MARKER.to_string()),
            Just(TIMESTAMP_MARKER.to_string()),
            Just(BRANCH_MARKER.to_string()),
            Just(CATALOG_VERSION_MARKER.to_string()),
            Just(CATALOG_TIME_MARKER.to_string()),
            Just("'x'".to_string()),
            Just(HIDDEN_COLUMNS_MARKER.to_string()),
            Just(CHANGES_MARKER.to_string()),
            Just(CHANGES_TO_MARKER.to_string()),
            Just("$snapshots".to_string()),
            Just("$FILES".to_string()),
            Just("\"".to_string()),
            Just("5".to_string()),
        ];
        proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn encoded_relations_are_parsed_back(
            table in odd_text(),
            metadata in proptest::option::of(0..MetadataTable::ALL.len()),
            catalog_version in catalog_version(),
            version in version(),
            changes in proptest::option::of((any::<i64>(), any::<i64>())),
            with_hidden_columns in any::<bool>(),
        ) {
            let relation = RelationName {
                table,
                metadata_table: metadata.map(|index| MetadataTable::ALL[index]),
                catalog_version,
                version,
                changes: changes.map(|(from, to)| RelationChanges { from, to }),
                with_hidden_columns,
            };
            let encoded = relation.encode();
            prop_assert_eq!(RelationName::parse(&encoded).unwrap(), relation, "{}", encoded);
        }

        #[test]
        fn user_identifiers_never_carry_a_version(identifier in odd_text()) {
            let encoded = RelationName::from_identifier(&identifier).encode();
            let parsed = RelationName::parse(&encoded).unwrap();
            prop_assert_eq!((parsed.catalog_version, parsed.version), (None, None));
            prop_assert_eq!(parsed.changes, None);
            prop_assert!(!parsed.with_hidden_columns);
        }
    }

    #[test]
    fn encoded_relations_are_readable() {
        let relation = RelationName {
            table: "orders".to_string(),
            metadata_table: Some(MetadataTable::Files),
            catalog_version: None,
            version: Some(RelationVersion::Reference("it's".to_string())),
            changes: None,
            with_hidden_columns: false,
        };
        assert_eq!(relation.encode(), "orders$files FOR VERSION AS OF 'it''s'");
        let on_branch = RelationName {
            catalog_version: Some(CatalogVersion::Branch("b".to_string())),
            ..relation
        };
        assert_eq!(
            on_branch.encode(),
            "orders$files AT BRANCH 'b' FOR VERSION AS OF 'it''s'"
        );
        assert_eq!(
            RelationName::parse("orders$FILES").unwrap().metadata_table,
            Some(MetadataTable::Files)
        );
        assert_eq!(
            RelationName::parse("cost$center").unwrap(),
            RelationName::table("cost$center")
        );
        assert!(RelationName::parse("t FOR VERSION AS OF x").is_err());
        assert!(RelationName::parse("t FOR TIMESTAMP AS OF ").is_err());
        assert!(RelationName::parse("t AT BRANCH b").is_err());
        assert!(RelationName::parse("t AT VERSION five").is_err());
        assert!(RelationName::parse("t AT VERSION 5 AT TAG 'x'").is_err());
    }
}
