//! One field per line, for rows that are wider than the screen.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use unicode_width::UnicodeWidthStr;

use super::{ResultWriter, cell, format_options, formatters, output_error, single_line};
use crate::error::Result;

pub(super) struct VerticalWriter {
    names: Vec<String>,
    records: usize,
}

impl VerticalWriter {
    pub(super) fn new(schema: SchemaRef) -> Self {
        let names: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| single_line(field.name().clone()))
            .collect();
        let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
        Self {
            names: names
                .into_iter()
                .map(|name| {
                    let padding = " ".repeat(width - name.width());
                    format!("{name}{padding}")
                })
                .collect(),
            records: 0,
        }
    }
}

impl ResultWriter for VerticalWriter {
    fn write(&mut self, batch: &RecordBatch, output: &mut dyn Write) -> Result<()> {
        let options = format_options();
        let columns = formatters(batch, &options)?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            self.records += 1;
            text.push_str(&format!("-[ record {} ]-\n", self.records));
            for (name, formatter) in self.names.iter().zip(&columns) {
                text.push_str(name);
                text.push_str(" | ");
                text.push_str(&single_line(cell(formatter, row)?));
                text.push('\n');
            }
        }
        output.write_all(text.as_bytes()).map_err(output_error)
    }

    fn finish(&mut self, _output: &mut dyn Write) -> Result<()> {
        Ok(())
    }
}
