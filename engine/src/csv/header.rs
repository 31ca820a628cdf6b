//! The header of a file, and how its fields become the table's columns.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use ingot_catalog::Storage;
use object_store::ObjectStoreExt;

use super::CsvDialect;
use crate::error::{EngineError, Result};

/// First bytes read in search of the header's end; then four times as many, and so on.
const FIRST_GUESS_BYTES: u64 = 16 * 1024;
const LONGEST_HEADER_BYTES: u64 = 4 * 1024 * 1024;

/// How the fields of one file become columns.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The columns in the order of the file's fields.
    pub(super) file_schema: SchemaRef,
    /// By column of the table, the field of the file.
    pub(super) field_of_column: Vec<usize>,
    /// Where the first record after the header begins.
    pub(super) data_start: u64,
}

impl Layout {
    /// The layout of a file, from its header if it has one.
    ///
    /// # Errors
    /// `InvalidInput` naming the file and both lists of columns when the header does not
    /// name the table's columns.
    pub(super) async fn of(
        storage: &Storage,
        location: &str,
        size: u64,
        dialect: &CsvDialect,
        schema: &SchemaRef,
    ) -> Result<Self> {
        if !dialect.has_header {
            return Ok(Self {
                file_schema: Arc::clone(schema),
                field_of_column: (0..schema.fields().len()).collect(),
                data_start: 0,
            });
        }
        let (names, data_start) = read_header(storage, location, size, dialect).await?;
        let field_of_column =
            match_columns(&names, schema).ok_or_else(|| wrong_header(location, &names, schema))?;
        let mut column_of_field = vec![0; names.len()];
        for (column, field) in field_of_column.iter().enumerate() {
            column_of_field[*field] = column;
        }
        let file_schema = schema
            .project(&column_of_field)
            .map_err(|error| EngineError::DataFusion(Box::new(error.into())))?;
        Ok(Self {
            file_schema: Arc::new(file_schema),
            field_of_column,
            data_start,
        })
    }
}

/// By column, the field with its name; `None` unless they match one to one. Case does not
/// count, as for unquoted names in SQL, unless that is ambiguous.
fn match_columns(names: &[String], schema: &Schema) -> Option<Vec<usize>> {
    if names.len() != schema.fields().len() {
        return None;
    }
    let by = |is_same: &dyn Fn(&str, &str) -> bool| -> Option<Vec<usize>> {
        let mut fields = Vec::with_capacity(names.len());
        for column in schema.fields() {
            let mut matching = names
                .iter()
                .enumerate()
                .filter(|(_, name)| is_same(name, column.name()));
            match (matching.next(), matching.next()) {
                (Some((field, _)), None) if !fields.contains(&field) => fields.push(field),
                _ => return None,
            }
        }
        Some(fields)
    };
    by(&|name, column| name == column)
        .or_else(|| by(&|name, column| name.eq_ignore_ascii_case(column)))
}

fn wrong_header(location: &str, names: &[String], schema: &Schema) -> EngineError {
    let expected: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    EngineError::InvalidInput(format!(
        "file {location} has a wrong header: expected the columns {}; found {}",
        expected.join(", "),
        names.join(", ")
    ))
}

/// The names in the first record, and where the next record begins.
pub(super) async fn read_header(
    storage: &Storage,
    location: &str,
    size: u64,
    dialect: &CsvDialect,
) -> Result<(Vec<String>, u64)> {
    let (store, path) = storage.store_for(location)?;
    if size == 0 {
        return Err(unreadable(
            location,
            "it is empty, and must begin with a header",
        ));
    }
    let mut length = FIRST_GUESS_BYTES;
    loop {
        let is_whole_file = length >= size;
        let bytes = store
            .get_range(&path, 0..length.min(size))
            .await
            .map_err(|source| cannot_read(location, source))?;
        let mut reader = reader_builder(dialect).from_reader(bytes.as_ref());
        let mut record = csv::ByteRecord::new();
        let found = reader
            .read_byte_record(&mut record)
            .map_err(|error| unreadable(location, &error.to_string()))?;
        if !found {
            return Err(unreadable(location, "it has no header"));
        }
        let end = reader.position().byte();
        // A record that ends with the bytes read may go on behind them.
        if end < bytes.len() as u64 || is_whole_file {
            let names = record
                .iter()
                .map(|name| std::str::from_utf8(name).map(|name| name.trim().to_string()))
                .collect::<std::result::Result<Vec<String>, _>>()
                .map_err(|_| unreadable(location, "its header is not valid UTF-8"))?;
            return Ok((names, end));
        }
        if length >= LONGEST_HEADER_BYTES {
            return Err(unreadable(location, "its header has no end within 4 MiB"));
        }
        length *= 4;
    }
}

pub(super) fn reader_builder(dialect: &CsvDialect) -> csv::ReaderBuilder {
    let mut builder = csv::ReaderBuilder::new();
    builder
        .delimiter(dialect.delimiter)
        .quote(dialect.quote)
        .escape(dialect.escape)
        .has_headers(false)
        .flexible(true);
    builder
}

pub(super) fn unreadable(location: &str, reason: &str) -> EngineError {
    EngineError::InvalidInput(format!("file {location} cannot be read as csv: {reason}"))
}

pub(super) fn cannot_read(location: &str, source: object_store::Error) -> EngineError {
    EngineError::Catalog(ingot_catalog::CatalogError::Storage {
        action: "read",
        path: location.to_string(),
        source,
    })
}
