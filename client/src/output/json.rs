//! One JSON object per row and line.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;

use super::{ResultWriter, cannot_show, output_error};
use crate::error::Result;

#[derive(Default)]
pub(super) struct JsonWriter {}

impl ResultWriter for JsonWriter {
    fn write(&mut self, batch: &RecordBatch, output: &mut dyn Write) -> Result<()> {
        let mut text = Vec::new();
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, LineDelimited>(&mut text);
        writer.write(batch).map_err(cannot_show)?;
        writer.finish().map_err(cannot_show)?;
        output.write_all(&text).map_err(output_error)
    }

    fn finish(&mut self, _output: &mut dyn Write) -> Result<()> {
        Ok(())
    }
}
