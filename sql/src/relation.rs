//! How a table's version and its metadata tables travel inside one table name.
//!
//! The planner knows a table only by its name, so `t FOR VERSION AS OF 5` becomes a table called
//! `t FOR VERSION AS OF 5` ([`RelationName::encode`]), which the schema provider takes apart again
//! ([`RelationName::parse`]). The form is readable because it shows in plans and error messages.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::SqlError;

const VERSION_MARKER: &str = " FOR VERSION AS OF ";
const TIMESTAMP_MARKER: &str = " FOR TIMESTAMP AS OF ";

/// A table name with everything that was said about the table: one part of a qualified name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelationName {
    /// The table's name in its schema.
    pub table: String,
    /// The metadata table that is read instead of the table's rows.
    pub metadata_table: Option<MetadataTable>,
    /// The version that is read instead of the current one.
    pub version: Option<RelationVersion>,
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
}

impl MetadataTable {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Snapshots,
        Self::History,
        Self::Files,
        Self::Manifests,
        Self::Partitions,
        Self::Refs,
        Self::Entries,
        Self::Properties,
        Self::MetadataLogEntries,
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
            version: None,
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
                table: table.to_string(),
                metadata_table: Some(metadata_table),
                version: None,
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
        if let Some((table, rest)) = split_quoted(text) {
            let (metadata_text, version) = split_version(rest).map_err(|e| invalid(&e))?;
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
                version,
            });
        }
        let (name, version) = split_version(text).map_err(|e| invalid(&e))?;
        Ok(Self {
            version,
            ..Self::from_identifier(name)
        })
    }

    fn suffix(&self) -> String {
        let mut suffix = String::new();
        if let Some(metadata_table) = self.metadata_table {
            suffix.push('$');
            suffix.push_str(metadata_table.name());
        }
        if let Some(version) = &self.version {
            suffix.push(' ');
            suffix.push_str(&version.to_string());
        }
        suffix
    }
}

impl fmt::Display for RelationName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.encode())
    }
}

/// The clause as it is written in SQL.
impl fmt::Display for RelationVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SnapshotId(id) => write!(formatter, "FOR VERSION AS OF {id}"),
            Self::Reference(name) => {
                write!(
                    formatter,
                    "FOR VERSION AS OF '{}'",
                    name.replace('\'', "''")
                )
            }
            Self::TimestampExpr(expression) => {
                write!(formatter, "FOR TIMESTAMP AS OF {expression}")
            }
        }
    }
}

/// Splits `"quoted name"rest`; `None` when the text does not begin with a complete quoted name.
fn split_quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut table = String::new();
    let mut characters = inner.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        if character != '"' {
            table.push(character);
        } else if characters.next_if(|(_, next)| *next == '"').is_some() {
            table.push('"');
        } else {
            return Some((table, &inner[index + 1..]));
        }
    }
    None
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

    /// Names with everything that the encoding uses itself.
    fn odd_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-zé \"'$.]{0,4}",
            Just(VERSION_MARKER.to_string()),
            Just(TIMESTAMP_MARKER.to_string()),
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
            version in version(),
        ) {
            let relation = RelationName {
                table,
                metadata_table: metadata.map(|index| MetadataTable::ALL[index]),
                version,
            };
            let encoded = relation.encode();
            prop_assert_eq!(RelationName::parse(&encoded).unwrap(), relation, "{}", encoded);
        }

        #[test]
        fn user_identifiers_never_carry_a_version(identifier in odd_text()) {
            let encoded = RelationName::from_identifier(&identifier).encode();
            prop_assert_eq!(RelationName::parse(&encoded).unwrap().version, None);
        }
    }

    #[test]
    fn encoded_relations_are_readable() {
        let relation = RelationName {
            table: "orders".to_string(),
            metadata_table: Some(MetadataTable::Files),
            version: Some(RelationVersion::Reference("it's".to_string())),
        };
        assert_eq!(relation.encode(), "orders$files FOR VERSION AS OF 'it''s'");
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
    }
}
