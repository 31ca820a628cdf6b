//! `CREATE TABLE … WITH (…)`: Trino's table properties, typed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sqlparser::tokenizer::Location;

use crate::error::SqlError;
use crate::name::quote_identifier;
use crate::parser::tokens::{Constant, Property};
use crate::property_values::expected_value;

/// The properties of a new table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableProperties {
    /// `format`: the format of data files.
    pub format: FileFormat,
    /// `format_version`: the Iceberg format version, 1 to 3.
    pub format_version: Option<u8>,
    /// `partitioning`: the partition fields in order; absent when the property was not given.
    pub partitioning: Option<Vec<PartitionField>>,
    /// `sorted_by`: the sort order of data files; absent when the property was not given.
    pub sorted_by: Option<Vec<SortField>>,
    /// `location`: where the table is stored.
    pub location: Option<String>,
    /// Iceberg table properties: `extra_properties`, `compression_codec` and names with a dot.
    pub extra: BTreeMap<String, String>,
}

/// The format of a table's data files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FileFormat {
    /// Parquet.
    #[default]
    Parquet,
}

/// One partition field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionField {
    /// The source column.
    pub column: String,
    /// How the partition's value is made from the column's.
    pub transform: PartitionTransform,
}

/// A partition transform of the Iceberg specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionTransform {
    /// The value itself.
    Identity,
    /// A hash of the value, in this many buckets.
    Bucket(u32),
    /// The value cut to this width.
    Truncate(u32),
    /// Years since 1970.
    Year,
    /// Months since 1970.
    Month,
    /// Days since 1970.
    Day,
    /// Hours since 1970.
    Hour,
}

/// One sort field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortField {
    /// The column.
    pub column: String,
    /// `DESC` rather than `ASC`.
    pub descending: bool,
    /// Where nulls stand; by default first when ascending and last when descending, as the Iceberg
    /// specification has it.
    pub nulls_first: bool,
}

impl fmt::Display for FileFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parquet => formatter.write_str("PARQUET"),
        }
    }
}

/// The text of the `partitioning` property.
impl fmt::Display for PartitionField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = quote_identifier(&self.column);
        match self.transform {
            PartitionTransform::Identity => formatter.write_str(&column),
            PartitionTransform::Bucket(count) => write!(formatter, "bucket({column}, {count})"),
            PartitionTransform::Truncate(width) => {
                write!(formatter, "truncate({column}, {width})")
            }
            PartitionTransform::Year => write!(formatter, "year({column})"),
            PartitionTransform::Month => write!(formatter, "month({column})"),
            PartitionTransform::Day => write!(formatter, "day({column})"),
            PartitionTransform::Hour => write!(formatter, "hour({column})"),
        }
    }
}

/// The text of the `sorted_by` property.
impl fmt::Display for SortField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.descending { "DESC" } else { "ASC" };
        let nulls = if self.nulls_first { "FIRST" } else { "LAST" };
        let column = quote_identifier(&self.column);
        write!(formatter, "{column} {direction} NULLS {nulls}")
    }
}

/// The names that `WITH (…)` knows, for messages.
const KNOWN_NAMES: [&str; 7] = [
    "format",
    "format_version",
    "partitioning",
    "sorted_by",
    "location",
    "compression_codec",
    "extra_properties",
];

/// What `SET PROPERTIES` changes of a table that exists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TablePropertyChanges {
    /// Properties that get a value.
    pub set: TableProperties,
    /// Names of properties that get their default again: `partitioning`, `sorted_by`,
    /// `compression_codec` and names with a dot.
    pub reset: Vec<String>,
}

impl TablePropertyChanges {
    /// Types and checks a list of properties; those without a value are reset.
    pub(crate) fn from_list(
        list: Vec<(String, Location, Option<Constant>)>,
    ) -> Result<Self, SqlError> {
        let mut changes = Self::default();
        for (name, location, value) in list {
            if name == "location" {
                return Err(SqlError::unsupported_but(
                    "moving a table to another location",
                    "create a table there from a query",
                    location,
                ));
            }
            match value {
                Some(value) => changes.set.set(Property {
                    name,
                    value,
                    location,
                })?,
                None if ["partitioning", "sorted_by", "compression_codec"]
                    .contains(&name.as_str())
                    || name.contains('.') =>
                {
                    changes.reset.push(name);
                }
                None if KNOWN_NAMES.contains(&name.as_str()) => {
                    return Err(SqlError::invalid(
                        format!("table property '{name}'"),
                        "it cannot be reset, give it a value",
                        location,
                    ));
                }
                None => return Err(unknown_property(&name, location)),
            }
        }
        Ok(changes)
    }
}

impl TableProperties {
    /// Types and checks a property list.
    pub(crate) fn from_list(list: Vec<Property>) -> Result<Self, SqlError> {
        let mut properties = Self::default();
        for property in list {
            properties.set(property)?;
        }
        Ok(properties)
    }

    fn set(&mut self, property: Property) -> Result<(), SqlError> {
        let Property {
            name,
            value,
            location,
        } = property;
        let expected = |wanted: &str| {
            SqlError::invalid(
                format!("table property '{name}'"),
                format!("expected {wanted}, found {}", value.describe()),
                location,
            )
        };
        match (name.as_str(), &value) {
            ("format", Constant::Text(text)) if text.eq_ignore_ascii_case("parquet") => {
                self.format = FileFormat::Parquet;
            }
            ("format", Constant::Text(text)) => {
                return Err(SqlError::unsupported_but(
                    format!("the table format '{text}'"),
                    "data files are written as 'PARQUET'",
                    location,
                ));
            }
            ("format", _) => return Err(expected("'PARQUET'")),
            ("format_version", Constant::Number(number)) => match number.parse() {
                Ok(version @ 1..=3) => self.format_version = Some(version),
                _ => return Err(expected("1, 2 or 3")),
            },
            ("format_version", _) => return Err(expected("1, 2 or 3")),
            ("partitioning", Constant::Array(elements)) => {
                let fields = parse_elements(elements, &name, location, parse_partition_field)?;
                check_no_duplicates(&fields, &name, location)?;
                self.partitioning = Some(fields);
            }
            ("partitioning", _) => return Err(expected("an array such as ARRAY['day(ts)']")),
            ("sorted_by", Constant::Array(elements)) => {
                let fields = parse_elements(elements, &name, location, parse_sort_field)?;
                self.sorted_by = Some(fields);
            }
            ("sorted_by", _) => return Err(expected("an array such as ARRAY['id DESC']")),
            ("location", Constant::Text(text)) if !text.is_empty() => {
                self.location = Some(text.clone());
            }
            ("location", _) => return Err(expected("a location such as 's3://bucket/path'")),
            ("compression_codec", Constant::Text(codec)) => {
                let codec = codec.to_lowercase();
                self.set_extra("write.parquet.compression-codec", codec, location)?;
            }
            ("compression_codec", _) => return Err(expected("a name such as 'zstd'")),
            ("extra_properties", Constant::Map(entries)) => {
                for (name, text) in entries {
                    self.set_extra(name, text.clone(), location)?;
                }
            }
            ("extra_properties", _) => {
                return Err(expected(
                    "a map of texts such as MAP(ARRAY['owner'], ARRAY['sales'])",
                ));
            }
            (dotted, constant) if dotted.contains('.') => match constant.as_text() {
                Some(text) => self.set_extra(&name, text, location)?,
                None => return Err(expected("a text, number or boolean")),
            },
            _ => return Err(unknown_property(&name, location)),
        }
        Ok(())
    }

    /// One of Iceberg's own properties.
    fn set_extra(&mut self, name: &str, text: String, location: Location) -> Result<(), SqlError> {
        if let Some(expected) = expected_value(name, &text) {
            return Err(SqlError::invalid(
                format!("table property '{name}'"),
                format!("it must be {expected}, not '{text}'"),
                location,
            ));
        }
        self.extra.insert(name.to_string(), text);
        Ok(())
    }
}

fn unknown_property(name: &str, location: Location) -> SqlError {
    let nearest = KNOWN_NAMES
        .into_iter()
        .filter(|known| strsim::damerau_levenshtein(known, name) <= 3)
        .min_by_key(|known| strsim::damerau_levenshtein(known, name));
    let suggestion = match nearest {
        Some(known) => format!("did you mean '{known}'?"),
        None => format!(
            "the properties are {}; put Iceberg's own properties into extra_properties",
            KNOWN_NAMES.join(", ")
        ),
    };
    SqlError::invalid(
        format!("table property '{name}'"),
        format!("there is no such property, {suggestion}"),
        location,
    )
}

fn parse_elements<T>(
    elements: &[Constant],
    name: &str,
    location: Location,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, SqlError> {
    elements
        .iter()
        .map(|element| match element {
            Constant::Text(text) => parse(text).map_err(|message| {
                SqlError::invalid(format!("{name} '{text}'"), message, location)
            }),
            other => Err(SqlError::invalid(
                format!("table property '{name}'"),
                format!("its elements must be texts, found {}", other.describe()),
                location,
            )),
        })
        .collect()
}

fn check_no_duplicates(
    fields: &[PartitionField],
    name: &str,
    location: Location,
) -> Result<(), SqlError> {
    for (index, field) in fields.iter().enumerate() {
        if fields[..index].contains(field) {
            return Err(SqlError::invalid(
                format!("table property '{name}'"),
                format!("the field {field} is given twice"),
                location,
            ));
        }
    }
    Ok(())
}

const TRANSFORMS: &str = "write a column name, bucket(column, count), truncate(column, width), \
                          year(column), month(column), day(column) or hour(column)";

/// Reads one element of `partitioning`: `column` or `transform(column[, number])`.
pub(crate) fn parse_partition_field(text: &str) -> Result<PartitionField, String> {
    let mut reader = ElementReader::new(text);
    let (first, quoted) = reader.identifier().ok_or(TRANSFORMS)?;
    if quoted || !reader.take('(') {
        reader.end().ok_or(TRANSFORMS)?;
        return Ok(PartitionField {
            column: first,
            transform: PartitionTransform::Identity,
        });
    }
    // Trino writes bucket(column, 16), Spark bucket(16, column).
    let number_before = reader.number();
    if number_before.is_some() && !reader.take(',') {
        return Err(TRANSFORMS.to_string());
    }
    let (column, _) = reader.identifier().ok_or(TRANSFORMS)?;
    let number = match number_before {
        Some(number) => Some(number),
        None if reader.take(',') => Some(reader.number().ok_or(TRANSFORMS)?),
        None => None,
    };
    if !reader.take(')') || reader.end().is_none() {
        return Err(TRANSFORMS.to_string());
    }
    let positive = |what: &str| match number.map(u32::try_from) {
        // Iceberg keeps these numbers as 32-bit signed integers.
        Some(Ok(number)) if number > 0 && number <= i32::MAX as u32 => Ok(number),
        _ => Err(format!(
            "the {what} must be a positive number; {TRANSFORMS}"
        )),
    };
    let transform = match first.as_str() {
        "bucket" => PartitionTransform::Bucket(positive("bucket count")?),
        "truncate" => PartitionTransform::Truncate(positive("width")?),
        "identity" if number.is_none() => PartitionTransform::Identity,
        "year" | "years" if number.is_none() => PartitionTransform::Year,
        "month" | "months" if number.is_none() => PartitionTransform::Month,
        "day" | "days" | "date" if number.is_none() => PartitionTransform::Day,
        "hour" | "hours" if number.is_none() => PartitionTransform::Hour,
        "year" | "years" | "month" | "months" | "day" | "days" | "hour" | "hours" | "identity"
        | "date" => return Err(format!("{first} takes only a column; {TRANSFORMS}")),
        _ => return Err(format!("there is no transform '{first}'; {TRANSFORMS}")),
    };
    Ok(PartitionField { column, transform })
}

/// Reads the name of a column: lower case unless it stands in double quotes.
pub(crate) fn parse_column_name(text: &str) -> Result<String, String> {
    let mut reader = ElementReader::new(text);
    match (reader.identifier(), reader.end()) {
        (Some((column, _)), Some(())) => Ok(column),
        _ => Err(format!("'{text}' is no name of a column")),
    }
}

/// Reads one element of `sorted_by`: `column [ASC|DESC] [NULLS FIRST|LAST]`.
pub(crate) fn parse_sort_field(text: &str) -> Result<SortField, String> {
    const EXPECTED: &str = "write a column name, then ASC or DESC, then NULLS FIRST or NULLS LAST";
    let mut reader = ElementReader::new(text);
    let (column, _) = reader.identifier().ok_or(EXPECTED)?;
    let mut words = reader
        .rest
        .split_whitespace()
        .map(str::to_lowercase)
        .peekable();
    let descending = match words.peek().map(String::as_str) {
        Some("asc") => words.next().is_none(),
        Some("desc") => words.next().is_some(),
        _ => false,
    };
    let nulls = words.collect::<Vec<_>>().join(" ");
    let nulls_first = match nulls.as_str() {
        "" => !descending,
        "nulls first" => true,
        "nulls last" => false,
        _ => return Err(EXPECTED.to_string()),
    };
    Ok(SortField {
        column,
        descending,
        nulls_first,
    })
}

impl FromStr for SortField {
    type Err = String;

    /// As an element of `sorted_by`; the error says what to write.
    fn from_str(text: &str) -> Result<Self, String> {
        parse_sort_field(text)
    }
}

/// Takes a property's element apart from the left.
struct ElementReader<'a> {
    rest: &'a str,
}

impl<'a> ElementReader<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.trim() }
    }

    fn take(&mut self, character: char) -> bool {
        match self.rest.strip_prefix(character) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    fn number(&mut self) -> Option<u64> {
        let digits = self
            .rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.rest.len());
        let number = self.rest[..digits].parse().ok()?;
        self.rest = self.rest[digits..].trim_start();
        Some(number)
    }

    /// A name, lower case unless quoted, and whether it was quoted.
    fn identifier(&mut self) -> Option<(String, bool)> {
        if let Some(inner) = self.rest.strip_prefix('"') {
            let mut name = String::new();
            let mut characters = inner.char_indices().peekable();
            while let Some((index, character)) = characters.next() {
                if character != '"' {
                    name.push(character);
                } else if characters.next_if(|(_, next)| *next == '"').is_some() {
                    name.push('"');
                } else {
                    self.rest = inner[index + 1..].trim_start();
                    return (!name.is_empty()).then_some((name, true));
                }
            }
            return None;
        }
        let is_start = |c: char| c.is_alphabetic() || c == '_';
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
        if !self.rest.starts_with(is_start) {
            return None;
        }
        let length = self
            .rest
            .find(|c: char| !is_part(c))
            .unwrap_or(self.rest.len());
        let name = self.rest[..length].to_lowercase();
        self.rest = self.rest[length..].trim_start();
        Some((name, false))
    }
}
