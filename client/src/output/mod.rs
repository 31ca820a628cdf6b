//! Results as text: aligned tables, CSV, JSON lines, one field per line.

mod csv;
mod json;
mod table;
mod vertical;

use std::io::Write;
use std::str::FromStr;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{ClientError, Result};

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputFormat {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// RFC 4180 with a header. NULL is an empty field, an empty string is `""`.
    Csv,
    /// One JSON object per row and line. NULL is `null`.
    Json,
    /// One field per line.
    Vertical,
}

impl FromStr for OutputFormat {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "table" => Ok(Self::Table),
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            "vertical" => Ok(Self::Vertical),
            other => Err(ClientError::Output(format!(
                "{other} is not an output format: use table, csv, json or vertical"
            ))),
        }
    }
}

/// Writes one result, batch by batch.
pub trait ResultWriter: Send {
    /// Writes or collects rows.
    fn write(&mut self, batch: &RecordBatch, output: &mut dyn Write) -> Result<()>;

    /// Writes what is left.
    fn finish(&mut self, output: &mut dyn Write) -> Result<()>;
}

/// A writer for one result.
pub fn result_writer(format: OutputFormat, schema: SchemaRef) -> Box<dyn ResultWriter> {
    match format {
        OutputFormat::Table => Box::new(table::TableWriter::new(schema)),
        OutputFormat::Csv => Box::new(csv::CsvWriter::new(schema)),
        OutputFormat::Json => Box::new(json::JsonWriter::default()),
        OutputFormat::Vertical => Box::new(vertical::VerticalWriter::new(schema)),
    }
}

/// How values look outside of JSON: as SQL literals without their quotes.
fn format_options() -> FormatOptions<'static> {
    FormatOptions::new()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"))
        .with_datetime_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_null("NULL")
        .with_display_error(false)
}

/// One formatter per column.
fn formatters<'a>(
    batch: &'a RecordBatch,
    options: &'a FormatOptions<'a>,
) -> Result<Vec<ArrayFormatter<'a>>> {
    batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), options).map_err(cannot_show))
        .collect()
}

fn cannot_show(error: ArrowError) -> ClientError {
    ClientError::Output(error.to_string())
}

/// One value as text.
fn cell(formatter: &ArrayFormatter<'_>, row: usize) -> Result<String> {
    formatter.value(row).try_to_string().map_err(cannot_show)
}

/// A value that keeps to its line: control characters as in Rust strings.
fn single_line(text: String) -> String {
    if !text.chars().any(char::is_control) {
        return text;
    }
    text.chars()
        .flat_map(|character| {
            let escaped: Vec<char> = if character.is_control() {
                character.escape_default().collect()
            } else {
                vec![character]
            };
            escaped
        })
        .collect()
}

pub(crate) fn output_error(source: std::io::Error) -> ClientError {
    ClientError::Io {
        action: "write the result".to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray,
        StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    fn batch() -> RecordBatch {
        let decimals = Decimal128Array::from(vec![Some(12345), None, Some(-5)])
            .with_precision_and_scale(10, 2)
            .unwrap();
        let times = TimestampMicrosecondArray::from(vec![Some(0), Some(1_500_000), None]);
        let zoned = times.clone().with_timezone("+00:00");
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
        ]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from(vec![1, 20, 300]))),
            (
                "name",
                Arc::new(StringArray::from(vec![Some("Ada, \"A\""), Some(""), None])),
            ),
            (
                "rate",
                Arc::new(Float64Array::from(vec![Some(0.5), None, Some(2.0)])),
            ),
            ("price", Arc::new(decimals)),
            ("at", Arc::new(times)),
            ("zoned", Arc::new(zoned)),
            (
                "ok",
                Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
            ),
            ("tags", Arc::new(lists)),
            (
                "text",
                Arc::new(StringArray::from(vec!["two\nlines", "日本", "x"])),
            ),
            (
                "raw",
                Arc::new(BinaryArray::from(vec![
                    Some(&b"\x01\xff"[..]),
                    None,
                    Some(b""),
                ])),
            ),
        ];
        RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .unwrap()
    }

    fn written(format: OutputFormat, batches: &[RecordBatch]) -> String {
        let mut output = Vec::new();
        let mut writer = result_writer(format, batches[0].schema());
        for batch in batches {
            writer.write(batch, &mut output).unwrap();
        }
        writer.finish(&mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn tables_are_aligned() {
        insta::assert_snapshot!(written(OutputFormat::Table, &[batch()]));
    }

    #[test]
    fn csv_tells_null_from_empty() {
        insta::assert_snapshot!(written(OutputFormat::Csv, &[batch(), batch().slice(0, 1)]));
    }

    #[test]
    fn json_has_one_object_per_line() {
        insta::assert_snapshot!(written(OutputFormat::Json, &[batch()]));
    }

    #[test]
    fn vertical_numbers_its_records_across_batches() {
        let batches = [batch().slice(0, 1), batch().slice(1, 1)];
        insta::assert_snapshot!(written(OutputFormat::Vertical, &batches));
    }

    #[test]
    fn an_empty_result_has_its_header() {
        let empty = batch().slice(0, 0).project(&[0, 1]).unwrap();
        let table = written(OutputFormat::Table, std::slice::from_ref(&empty));
        assert_eq!(table, " id | name \n----+------\n");
        assert_eq!(
            written(OutputFormat::Csv, std::slice::from_ref(&empty)),
            "id,name\n"
        );
        assert_eq!(written(OutputFormat::Json, &[empty]), "");
    }

    #[test]
    fn a_long_result_is_written_before_its_end() {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5000));
        let long = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        let mut output = Vec::new();
        let mut writer = result_writer(OutputFormat::Table, long.schema());
        writer.write(&long, &mut output).unwrap();
        assert!(!output.is_empty());
        writer.finish(&mut output).unwrap();
        assert_eq!(output.iter().filter(|byte| **byte == b'\n').count(), 5002);
    }
}
