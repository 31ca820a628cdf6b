//! Reading one part of a file.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::csv::reader::Decoder;
use arrow::error::ArrowError;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use ingot_catalog::Storage;

use super::MalformedRecords;
use super::header::unreadable;
use super::pieces::blocks;
use super::records::{RecordFormat, WrongRecord};
use super::rejects::{Reject, write_rejects};
use crate::error::{EngineError, Result};

/// Rejects kept in memory before they are written.
const REJECTS_PER_FILE: usize = 10_000;

/// What is read, and how.
pub(super) struct Piece {
    pub(super) storage: Arc<Storage>,
    pub(super) location: String,
    /// Bytes of the file: whole records, no header.
    pub(super) range: Range<u64>,
    pub(super) format: RecordFormat,
    pub(super) malformed: MalformedRecords,
    pub(super) batch_size: usize,
}

impl Piece {
    /// The records of the part as batches.
    pub(super) fn read(self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let (store, path) = self.storage.store_for(&self.location)?;
        let blocks = blocks(store, path, self.location.clone(), self.range.clone());
        let reader = PieceReader {
            decoder: self.format.decoder(self.batch_size),
            offset: self.range.start,
            piece: self,
            blocks,
            block: Bytes::new(),
            undelivered: Vec::new(),
            ready: VecDeque::new(),
            rejects: Vec::new(),
            lines_before: (0, 0),
            is_at_end: false,
        };
        let batches = stream::try_unfold(reader, |mut reader| async move {
            let batch = reader.next().await?;
            Ok(batch.map(|batch| (batch, reader)))
        });
        Ok(batches.boxed())
    }
}

struct PieceReader {
    piece: Piece,
    decoder: Decoder,
    blocks: BoxStream<'static, Result<Bytes>>,
    /// What of the last block the decoder has not taken yet.
    block: Bytes,
    /// Bytes that the decoder took since the last batch: whole records whenever a batch is
    /// complete.
    undelivered: Vec<Bytes>,
    /// Where `undelivered` begins in the file.
    offset: u64,
    ready: VecDeque<RecordBatch>,
    rejects: Vec<Reject>,
    /// Line ends in the file before an offset, for the last offset asked for.
    lines_before: (u64, u64),
    is_at_end: bool,
}

impl PieceReader {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if self.is_at_end {
                self.write_rejects().await?;
                return Ok(None);
            }
            if self.block.is_empty() {
                match self.blocks.next().await.transpose()? {
                    Some(block) => self.block = block,
                    None => self.is_at_end = true,
                }
            }
            // An empty block tells the decoder that nothing follows.
            match self.decoder.decode(&self.block) {
                Ok(taken) => {
                    if taken > 0 {
                        self.undelivered.push(self.block.split_to(taken));
                    }
                    if self.decoder.capacity() == 0 || self.is_at_end {
                        self.flush().await?;
                    }
                }
                Err(error) => {
                    let block = std::mem::take(&mut self.block);
                    self.undelivered.push(block);
                    self.examine(&error).await?;
                }
            }
        }
    }

    async fn flush(&mut self) -> Result<()> {
        match self.decoder.flush() {
            Ok(batch) => {
                let taken: usize = self.undelivered.iter().map(Bytes::len).sum();
                self.offset += taken as u64;
                self.undelivered.clear();
                self.ready.extend(batch);
                Ok(())
            }
            Err(error) => self.examine(&error).await,
        }
    }

    /// Looks at the undelivered records one by one, and goes on behind them.
    async fn examine(&mut self, error: &ArrowError) -> Result<()> {
        let mut bytes = BytesMut::new();
        for part in self.undelivered.drain(..) {
            bytes.extend_from_slice(&part);
        }
        bytes.extend_from_slice(&std::mem::take(&mut self.block));
        // The last record is whole only when nothing follows.
        if !self.is_at_end {
            match self.blocks.next().await.transpose()? {
                Some(block) => bytes.extend_from_slice(&block),
                None => self.is_at_end = true,
            }
        }
        let bytes = bytes.freeze();
        let ranges = self.piece.format.record_ranges(&bytes, self.is_at_end)?;
        let mut good = Vec::new();
        let mut wrong = Vec::new();
        let is_strict = self.piece.malformed == MalformedRecords::Fail;
        let result = self.piece.format.decode_each(
            &bytes,
            &ranges,
            &mut |batch| good.push(batch),
            &mut |record| {
                wrong.push(record);
                match is_strict {
                    // Ends the search: the first one is enough.
                    true => Err(EngineError::InvalidInput(String::new())),
                    false => Ok(()),
                }
            },
        );
        for record in wrong {
            let reject = self.reject(&bytes, record).await?;
            if is_strict {
                return Err(reject.into_error());
            }
            self.rejects.push(reject);
        }
        result?;
        if is_strict && self.is_at_end {
            // The records are fine one by one: the decoder's own message is all there is.
            return Err(unreadable(&self.piece.location, &error.to_string()));
        }
        let examined = ranges.last().map_or(0, |range| range.end);
        self.deliver(good)?;
        self.offset += examined as u64;
        self.decoder = self.piece.format.decoder(self.piece.batch_size);
        self.block = bytes.slice(examined..);
        if self.rejects.len() >= REJECTS_PER_FILE {
            self.write_rejects().await?;
        }
        Ok(())
    }

    /// Joins small batches into ones of the usual size.
    fn deliver(&mut self, batches: Vec<RecordBatch>) -> Result<()> {
        let mut group: Vec<RecordBatch> = Vec::new();
        let mut rows = 0;
        let count = batches.len();
        for (index, batch) in batches.into_iter().enumerate() {
            rows += batch.num_rows();
            group.push(batch);
            if rows >= self.piece.batch_size || index + 1 == count {
                let joined = concat_batches(&group[0].schema(), &group)
                    .map_err(|error| EngineError::DataFusion(Box::new(error.into())))?;
                self.ready.push_back(joined);
                group.clear();
                rows = 0;
            }
        }
        Ok(())
    }

    async fn reject(&mut self, bytes: &Bytes, wrong: WrongRecord) -> Result<Reject> {
        let text = &bytes[wrong.range.clone()];
        let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        // The second half of the last record's line end belongs to the range.
        let skipped = text.iter().take_while(|byte| is_line_end(byte)).count();
        let start = self.offset + (wrong.range.start + skipped) as u64;
        let line = 1 + self.line_ends_before(start).await?;
        let record = String::from_utf8_lossy(&text[skipped..]);
        Ok(Reject {
            file: self.piece.location.clone(),
            line,
            column: wrong.column,
            value: wrong.value,
            reason: wrong.reason,
            record: record.trim_end_matches(['\n', '\r']).to_string(),
        })
    }

    /// Counts from the file's beginning the first time, then from the last answer on.
    async fn line_ends_before(&mut self, offset: u64) -> Result<u64> {
        let (counted_to, mut count) = match self.lines_before {
            (counted_to, count) if counted_to <= offset => (counted_to, count),
            _ => (0, 0),
        };
        let (store, path) = self.piece.storage.store_for(&self.piece.location)?;
        let location = self.piece.location.clone();
        let mut blocks = blocks(store, path, location, counted_to..offset);
        while let Some(block) = blocks.next().await.transpose()? {
            count += block.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        self.lines_before = (offset, count);
        Ok(count)
    }

    async fn write_rejects(&mut self) -> Result<()> {
        let rejects = std::mem::take(&mut self.rejects);
        match &self.piece.malformed {
            MalformedRecords::SetAside { folder } if !rejects.is_empty() => {
                write_rejects(&self.piece.storage, folder, &rejects).await
            }
            MalformedRecords::SetAside { .. } | MalformedRecords::Fail => Ok(()),
        }
    }
}
