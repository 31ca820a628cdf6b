//! RFC 4180.

use std::io::Write;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::{ResultWriter, cell, format_options, formatters, output_error};
use crate::error::Result;

pub(super) struct CsvWriter {
    schema: SchemaRef,
    has_header: bool,
}

impl CsvWriter {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self {
            schema,
            has_header: false,
        }
    }

    fn append_header(&mut self, text: &mut String) {
        if self.has_header {
            return;
        }
        self.has_header = true;
        for (index, field) in self.schema.fields().iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            append_field(text, field.name());
        }
        text.push('\n');
    }
}

impl ResultWriter for CsvWriter {
    fn write(&mut self, batch: &RecordBatch, output: &mut dyn Write) -> Result<()> {
        let options = format_options();
        let columns = formatters(batch, &options)?;
        let mut text = String::new();
        self.append_header(&mut text);
        for row in 0..batch.num_rows() {
            for (index, formatter) in columns.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                if !batch.column(index).is_null(row) {
                    append_field(&mut text, &cell(formatter, row)?);
                }
            }
            text.push('\n');
        }
        output.write_all(text.as_bytes()).map_err(output_error)
    }

    fn finish(&mut self, output: &mut dyn Write) -> Result<()> {
        let mut text = String::new();
        self.append_header(&mut text);
        output.write_all(text.as_bytes()).map_err(output_error)
    }
}

/// Quotes what needs it. An empty string is quoted, so that it is not taken for NULL.
fn append_field(text: &mut String, value: &str) {
    let needs_quotes = value.is_empty()
        || value.contains([',', '"', '\n', '\r'])
        || value.starts_with([' ', '\t'])
        || value.ends_with([' ', '\t']);
    if needs_quotes {
        text.push('"');
        text.push_str(&value.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(value);
    }
}
