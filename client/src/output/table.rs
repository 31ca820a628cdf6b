//! Aligned columns, as psql draws them.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use unicode_width::UnicodeWidthStr;

use super::{ResultWriter, cell, format_options, formatters, output_error, single_line};
use crate::error::Result;

/// Column widths are found from this many rows at a time, so that a long result is shown while it
/// arrives and needs little memory. A later, wider value widens its column from there on.
const ROWS_PER_CHUNK: usize = 1000;

pub(super) struct TableWriter {
    names: Vec<String>,
    is_number: Vec<bool>,
    widths: Vec<usize>,
    pending: Vec<Vec<String>>,
    has_header: bool,
}

impl TableWriter {
    pub(super) fn new(schema: SchemaRef) -> Self {
        let names: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| single_line(field.name().clone()))
            .collect();
        Self {
            is_number: schema
                .fields()
                .iter()
                .map(|field| is_number(field.data_type()))
                .collect(),
            widths: names.iter().map(|name| name.width()).collect(),
            names,
            pending: Vec::new(),
            has_header: false,
        }
    }

    fn flush(&mut self, output: &mut dyn Write) -> Result<()> {
        for row in &self.pending {
            for (width, text) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(text.width());
            }
        }
        let mut text = String::new();
        if !self.has_header {
            self.has_header = true;
            let left = vec![false; self.names.len()];
            append_row(&mut text, &self.names, &self.widths, &left);
            let rules: Vec<String> = self.widths.iter().map(|w| "-".repeat(w + 2)).collect();
            text.push_str(&rules.join("+"));
            text.push('\n');
        }
        for row in self.pending.drain(..) {
            append_row(&mut text, &row, &self.widths, &self.is_number);
        }
        output.write_all(text.as_bytes()).map_err(output_error)
    }
}

impl ResultWriter for TableWriter {
    fn write(&mut self, batch: &RecordBatch, output: &mut dyn Write) -> Result<()> {
        let options = format_options();
        let columns = formatters(batch, &options)?;
        for row in 0..batch.num_rows() {
            let cells: Result<Vec<String>> = columns
                .iter()
                .map(|column| Ok(single_line(cell(column, row)?)))
                .collect();
            self.pending.push(cells?);
            if self.pending.len() >= ROWS_PER_CHUNK {
                self.flush(output)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut dyn Write) -> Result<()> {
        self.flush(output)
    }
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

fn append_row(text: &mut String, cells: &[String], widths: &[usize], right: &[bool]) {
    for (index, cell) in cells.iter().enumerate() {
        let padding = " ".repeat(widths[index].saturating_sub(cell.width()));
        text.push_str(if index == 0 { " " } else { "| " });
        if right[index] {
            text.push_str(&padding);
            text.push_str(cell);
        } else {
            text.push_str(cell);
            text.push_str(&padding);
        }
        text.push(' ');
    }
    text.push('\n');
}
