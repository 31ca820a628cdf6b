//! The slow path: looking at records one by one, after Arrow's decoder refused a block.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::csv::ReaderBuilder;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use regex::Regex;

use super::CsvDialect;
use super::header::reader_builder;
use crate::error::{EngineError, Result};

/// Records that are decoded at once in the search for wrong ones: few, so that one wrong
/// record costs little, and enough that a block without any is quick.
const RECORDS_AT_ONCE: usize = 64;

/// How the records of a file are decoded.
#[derive(Debug, Clone)]
pub(super) struct RecordFormat {
    pub(super) dialect: CsvDialect,
    /// Matches the fields that are null; `None` for empty ones.
    pub(super) null_pattern: Option<Regex>,
    /// Columns in the order of the file's fields.
    pub(super) file_schema: SchemaRef,
    /// Fields wanted, in the order of the result.
    pub(super) projection: Vec<usize>,
}

/// A wrong record: where it is in the bytes, and what is wrong.
#[derive(Debug)]
pub(super) struct WrongRecord {
    pub(super) range: Range<usize>,
    pub(super) column: String,
    pub(super) value: String,
    pub(super) reason: String,
}

impl RecordFormat {
    pub(super) fn decoder(&self, batch_size: usize) -> arrow::csv::reader::Decoder {
        self.decoder_of(self.projection.clone(), batch_size)
    }

    fn decoder_of(&self, projection: Vec<usize>, batch_size: usize) -> arrow::csv::reader::Decoder {
        let mut builder = ReaderBuilder::new(SchemaRef::clone(&self.file_schema))
            .with_header(false)
            .with_delimiter(self.dialect.delimiter)
            .with_quote(self.dialect.quote)
            .with_batch_size(batch_size)
            .with_projection(projection);
        if let Some(escape) = self.dialect.escape {
            builder = builder.with_escape(escape);
        }
        if let Some(pattern) = &self.null_pattern {
            builder = builder.with_null_regex(pattern.clone());
        }
        builder.build_decoder()
    }

    /// Where the records are in `bytes`. Unless the bytes are all there is, the last record
    /// is left out: it may go on behind them.
    pub(super) fn record_ranges(&self, bytes: &[u8], is_all: bool) -> Result<Vec<Range<usize>>> {
        let mut reader = reader_builder(&self.dialect).from_reader(bytes);
        let mut record = csv::ByteRecord::new();
        let mut starts = Vec::new();
        loop {
            let start = reader.position().byte() as usize;
            let found = reader
                .read_byte_record(&mut record)
                .map_err(|error| EngineError::InvalidInput(format!("csv: {error}")))?;
            if !found {
                break;
            }
            starts.push(start);
        }
        let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
        let mut ranges: Vec<Range<usize>> = starts
            .iter()
            .zip(ends)
            .map(|(start, end)| *start..end)
            .collect();
        if !is_all {
            ranges.pop();
        }
        Ok(ranges)
    }

    /// Decodes records, giving the good ones to `good` and the wrong ones to `wrong`, which
    /// says whether to go on.
    pub(super) fn decode_each(
        &self,
        bytes: &[u8],
        records: &[Range<usize>],
        good: &mut dyn FnMut(RecordBatch),
        wrong: &mut dyn FnMut(WrongRecord) -> Result<()>,
    ) -> Result<()> {
        for chunk in records.chunks(RECORDS_AT_ONCE) {
            self.decode_some(bytes, chunk, good, wrong)?;
        }
        Ok(())
    }

    fn decode_some(
        &self,
        bytes: &[u8],
        records: &[Range<usize>],
        good: &mut dyn FnMut(RecordBatch),
        wrong: &mut dyn FnMut(WrongRecord) -> Result<()>,
    ) -> Result<()> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok(());
        };
        let decoded = self.decode(
            &bytes[first.start..last.end],
            &self.projection,
            records.len(),
        );
        match (decoded, records.len()) {
            (Ok(batch), _) => {
                batch.into_iter().for_each(good);
                Ok(())
            }
            (Err(error), 1) => wrong(self.describe(bytes, first.clone(), &error)),
            (Err(_), count) => {
                let (left, right) = records.split_at(count / 2);
                self.decode_some(bytes, left, good, wrong)?;
                self.decode_some(bytes, right, good, wrong)
            }
        }
    }

    /// Decodes whole records.
    fn decode(
        &self,
        bytes: &[u8],
        projection: &[usize],
        records: usize,
    ) -> std::result::Result<Option<RecordBatch>, ArrowError> {
        let mut decoder = self.decoder_of(projection.to_vec(), records.max(1));
        let mut offset = 0;
        loop {
            // The empty input at last says that nothing follows.
            let consumed = decoder.decode(&bytes[offset..])?;
            offset += consumed;
            if consumed == 0 || decoder.capacity() == 0 {
                return decoder.flush();
            }
        }
    }

    fn describe(&self, bytes: &[u8], range: Range<usize>, error: &ArrowError) -> WrongRecord {
        let mut record = csv::ByteRecord::new();
        let mut reader = reader_builder(&self.dialect).from_reader(&bytes[range.clone()]);
        let is_readable = reader.read_byte_record(&mut record).unwrap_or(false);
        let fields = self.file_schema.fields();
        let whole = |reason: String| WrongRecord {
            range: range.clone(),
            column: String::new(),
            value: String::new(),
            reason,
        };
        if !is_readable {
            return whole(one_line(&error.to_string()));
        }
        if record.len() != fields.len() {
            let reason = format!("expected {} fields, found {}", fields.len(), record.len());
            return whole(reason);
        }
        let of_field = |field: usize, value: String, reason: String| WrongRecord {
            range: range.clone(),
            column: fields[field].name().clone(),
            value,
            reason,
        };
        for (field, value) in record.iter().enumerate() {
            if std::str::from_utf8(value).is_err() {
                let value = String::from_utf8_lossy(value).into_owned();
                return of_field(field, value, "the text is not valid UTF-8".to_string());
            }
        }
        for field in &self.projection {
            let wrong = self.decode(&bytes[range.clone()], &[*field], 1).is_err();
            if let (true, Some(value)) = (wrong, record.get(*field)) {
                let value = String::from_utf8_lossy(value).into_owned();
                let expected = sql_type(fields[*field].data_type());
                let reason = format!("{value:?} is not a valid {expected}");
                return of_field(*field, value, reason);
            }
        }
        whole(one_line(&error.to_string()))
    }
}

/// The pattern that matches a text and nothing else; `None` for the empty one, which Arrow
/// takes for null by itself.
///
/// # Errors
/// `InvalidInput` for a text too long for a pattern.
pub(super) fn null_pattern(text: &str) -> Result<Option<Regex>> {
    if text.is_empty() {
        return Ok(None);
    }
    let pattern = format!(r"\A{}\z", regex::escape(text));
    let compiled = Regex::new(&pattern);
    compiled.map(Some).map_err(|error| {
        EngineError::InvalidInput(format!(
            "text of null in csv files: {}",
            one_line(&error.to_string())
        ))
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A type as SQL spells it.
fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_string(),
        DataType::Int32 => "integer".to_string(),
        DataType::Int64 => "bigint".to_string(),
        DataType::Float32 => "real".to_string(),
        DataType::Float64 => "double".to_string(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Date32 => "date".to_string(),
        DataType::Time64(_) => "time".to_string(),
        DataType::Timestamp(_, None) => "timestamp".to_string(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".to_string(),
        other => other.to_string(),
    }
}
