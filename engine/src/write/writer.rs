//! The writer of one task: rows in, files of many partitions out.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::future::join_all;
use ingot_catalog::Location;
use ingot_catalog::storage::Scheme;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::align::Aligner;
use super::exec::WriteOptions;
use super::metrics::NanCounter;
use super::parquet_file::{FileFormat, FilePlace, OpenFile, delete_quietly};
use super::partition::PartitionSplitter;
use super::properties::WriteProperties;
use super::target::WriteTarget;
use super::written::WrittenFile;
use crate::error::Result;

/// Rows are collected before they are split by partition, so that each partition gets
/// batches worth encoding and not a few rows at a time.
const ROWS_PER_SPLIT: usize = 64 * 1024;
const BYTES_PER_SPLIT: usize = 32 * 1024 * 1024;
/// A partition with fewer bytes is kept as rows: an open Parquet writer costs more memory
/// (dictionaries of about 64 kB per column) than such rows do.
const BYTES_WORTH_A_WRITER: usize = 1024 * 1024;
/// A partition without new rows for so many rounds is taken as complete when memory or
/// writers must be freed.
const IDLE_ROUNDS: u64 = 8;
/// Below this, memory that the pool refuses is not this operator's to free.
const LEAST_MEMORY_BYTES: usize = 8 * 1024 * 1024;
/// Files finished at the same time at the end, each waiting for its upload.
const CONCURRENT_FINISHES: usize = 8;

/// Writes the rows of one input partition. [`TaskWriter::finish`] ends it; without that,
/// dropping it removes its files.
pub(super) struct TaskWriter {
    aligner: Aligner,
    splitter: PartitionSplitter,
    format: Arc<FileFormat>,
    options: WriteOptions,
    data_location: String,
    input_partition: usize,
    context: Arc<TaskContext>,
    reservation: MemoryReservation,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    pending_bytes: usize,
    slots: HashMap<usize, Slot>,
    open_files: usize,
    memory: usize,
    round: u64,
    finished: FinishedFiles,
}

/// One partition that is being written.
struct Slot {
    /// Rows that wait for a writer.
    rows: Vec<RecordBatch>,
    rows_bytes: usize,
    file: Option<OpenFile>,
    memory: usize,
    last_round: u64,
}

impl Slot {
    async fn write_rows(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.rows_bytes = 0;
        if let Some(file) = &mut self.file {
            for batch in &rows {
                file.write(batch).await?;
            }
        }
        Ok(())
    }

    fn measure(&self) -> usize {
        self.rows_bytes + self.file.as_ref().map_or(0, OpenFile::memory_bytes)
    }
}

impl TaskWriter {
    pub(super) fn new(
        target: &WriteTarget,
        options: &WriteOptions,
        input: &arrow::datatypes::Schema,
        input_partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<Self> {
        let properties = WriteProperties::of(target)?;
        let aligner = Aligner::new(&target.table_name, &target.schema, input)?;
        let splitter = PartitionSplitter::new(target, aligner.arrow_schema())?;
        let sort_order_id = i32::try_from(target.sort_order.order_id).ok();
        let format = FileFormat {
            table_name: target.table_name.clone(),
            arrow_schema: Arc::clone(aligner.arrow_schema()),
            schema: Arc::clone(&target.schema),
            properties: Arc::new(properties),
            spec_id: target.partition_spec.spec_id(),
            sort_order_id,
            nan_counter: NanCounter::new(&target.schema),
        };
        let reservation = MemoryConsumer::new(format!("IcebergWriteExec[{input_partition}]"))
            .with_can_spill(true)
            .register(context.memory_pool());
        Ok(Self {
            aligner,
            splitter,
            format: Arc::new(format),
            options: options.clone(),
            data_location: target.data_location.clone(),
            input_partition,
            context,
            reservation,
            pending: Vec::new(),
            pending_rows: 0,
            pending_bytes: 0,
            slots: HashMap::new(),
            open_files: 0,
            memory: 0,
            round: 0,
            finished: FinishedFiles::default(),
        })
    }

    /// # Errors
    /// When a value does not fit the table, or a file cannot be written.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let aligned = self.aligner.align(batch)?;
        self.pending_rows += aligned.num_rows();
        self.pending_bytes += aligned.get_array_memory_size();
        self.pending.push(aligned);
        if self.pending_rows >= ROWS_PER_SPLIT || self.pending_bytes >= BYTES_PER_SPLIT {
            self.write_pending().await?;
        }
        Ok(())
    }

    async fn write_pending(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.pending);
        self.pending_rows = 0;
        self.pending_bytes = 0;
        self.round += 1;
        for (partition, rows) in self.splitter.split(batches)? {
            self.write_partition(partition, rows).await?;
        }
        self.bound_memory().await
    }

    async fn write_partition(&mut self, partition: usize, rows: RecordBatch) -> Result<()> {
        let round = self.round;
        let slot = self.slots.entry(partition).or_insert_with(|| Slot {
            rows: Vec::new(),
            rows_bytes: 0,
            file: None,
            memory: 0,
            last_round: round,
        });
        slot.last_round = round;
        slot.rows_bytes += rows_bytes(&rows);
        slot.rows.push(rows);
        let worth_a_writer =
            BYTES_WORTH_A_WRITER.min(self.format.properties.target_file_size_bytes);
        if slot.file.is_none() && slot.rows_bytes >= worth_a_writer {
            while self.open_files >= self.options.max_open_files.max(1) {
                match self.most_complete(|slot| slot.file.is_some()) {
                    Some(victim) => self.close(victim).await?,
                    None => break,
                }
            }
            let place = self.new_place(partition)?;
            let file = OpenFile::open(&self.format, place)?;
            if let Some(slot) = self.slots.get_mut(&partition) {
                slot.file = Some(file);
                self.open_files += 1;
            }
        }
        let Some(slot) = self.slots.get_mut(&partition) else {
            return Ok(());
        };
        if slot.file.is_some() {
            slot.write_rows().await?;
        }
        let memory = slot.measure();
        self.memory = self.memory - slot.memory + memory;
        slot.memory = memory;
        let encoded = slot.file.as_ref().map_or(0, OpenFile::encoded_bytes);
        if encoded >= self.format.properties.target_file_size_bytes {
            self.close(partition).await?;
        }
        Ok(())
    }

    /// Finishes files while the task holds more memory than it may.
    async fn bound_memory(&mut self) -> Result<()> {
        loop {
            let is_within_limit = self.memory <= self.options.memory_limit_bytes;
            if is_within_limit && self.reservation.try_resize(self.memory).is_ok() {
                return Ok(());
            }
            let is_little = is_within_limit && self.memory <= LEAST_MEMORY_BYTES;
            match self.most_complete(|_| true) {
                Some(partition) if !is_little => self.close(partition).await?,
                _ => {
                    // What is left is little: count it, and go on.
                    self.reservation.resize(self.memory);
                    return Ok(());
                }
            }
        }
    }

    /// The partition to finish first: of those that got no rows lately the oldest, else the
    /// largest, which leaves the fewest small files.
    fn most_complete(&self, among: impl Fn(&Slot) -> bool) -> Option<usize> {
        let candidates = || self.slots.iter().filter(|(_, slot)| among(slot));
        let idle = candidates()
            .filter(|(_, slot)| slot.last_round + IDLE_ROUNDS <= self.round)
            .min_by_key(|(_, slot)| slot.last_round);
        let largest = || candidates().max_by_key(|(_, slot)| slot.memory);
        idle.or_else(largest).map(|(partition, _)| *partition)
    }

    /// Takes a partition's open file, with a new one for rows that have none yet.
    fn take_file(&mut self, partition: usize) -> Result<Option<(Slot, FilePlace)>> {
        let Some(mut slot) = self.slots.remove(&partition) else {
            return Ok(None);
        };
        self.memory -= slot.memory;
        let place = match &slot.file {
            Some(file) => {
                self.open_files -= 1;
                file.place().clone()
            }
            None => {
                let place = self.new_place(partition)?;
                slot.file = Some(OpenFile::open(&self.format, place.clone())?);
                place
            }
        };
        Ok(Some((slot, place)))
    }

    async fn close(&mut self, partition: usize) -> Result<()> {
        if let Some((slot, place)) = self.take_file(partition)? {
            // Noted before the file exists: nobody else would delete it.
            self.finished.places.push(place);
            let written = finish_slot(slot).await?;
            self.finished.written.extend(written);
        }
        Ok(())
    }

    fn new_place(&self, partition: usize) -> Result<FilePlace> {
        let partition = self.splitter.partition(partition);
        // Numbers of input partitions repeat between the tasks of a cluster, hence the UUID.
        let name = format!(
            "{}-{:05}-{}.parquet",
            self.options.statement_id,
            self.input_partition,
            Uuid::new_v4()
        );
        let location = match partition.folder.as_str() {
            "" => format!("{}/{name}", self.data_location),
            folder => format!("{}/{folder}/{name}", self.data_location),
        };
        let parsed = Location::parse(&location)?;
        let url = match &parsed.scheme {
            Scheme::File => ObjectStoreUrl::local_filesystem(),
            Scheme::S3 { bucket } => ObjectStoreUrl::parse(format!("s3://{bucket}"))?,
        };
        let store = self.context.runtime_env().object_store(url)?;
        Ok(FilePlace {
            location,
            store,
            path: parsed.path,
            partition: partition.values.clone(),
        })
    }

    /// Closes all files and returns them.
    ///
    /// # Errors
    /// When a file cannot be written; call [`TaskWriter::discard`] then.
    pub(super) async fn finish(&mut self) -> Result<Vec<WrittenFile>> {
        self.write_pending().await?;
        let mut partitions: Vec<usize> = self.slots.keys().copied().collect();
        partitions.sort_unstable();
        for some in partitions.chunks(CONCURRENT_FINISHES) {
            let mut finishing = Vec::with_capacity(some.len());
            for partition in some {
                if let Some((slot, place)) = self.take_file(*partition)? {
                    self.finished.places.push(place);
                    finishing.push(finish_slot(slot));
                }
            }
            // To the end, whatever fails: a file must not come into being after its deletion.
            for written in join_all(finishing).await {
                self.finished.written.extend(written?);
            }
        }
        self.reservation.free();
        self.finished.places.clear();
        Ok(std::mem::take(&mut self.finished.written))
    }

    /// Aborts uploads and deletes the files that this task finished.
    pub(super) async fn discard(&mut self) {
        for (_, slot) in self.slots.drain() {
            if let Some(mut file) = slot.file {
                file.abort().await;
            }
        }
        for place in std::mem::take(&mut self.finished.places) {
            delete_quietly(&place).await;
        }
        self.reservation.free();
    }
}

async fn finish_slot(mut slot: Slot) -> Result<Option<WrittenFile>> {
    slot.write_rows().await?;
    match slot.file.take() {
        Some(file) => file.finish().await.map(Some),
        None => Ok(None),
    }
}

/// Bytes of the rows themselves, without what else their buffers hold.
fn rows_bytes(rows: &RecordBatch) -> usize {
    let columns = rows.columns().iter();
    let bytes = columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or(0));
    bytes.sum()
}

/// Files that exist and that nobody knows of yet. Dropping it deletes them.
#[derive(Default)]
struct FinishedFiles {
    written: Vec<WrittenFile>,
    places: Vec<FilePlace>,
}

impl Drop for FinishedFiles {
    fn drop(&mut self) {
        let places = std::mem::take(&mut self.places);
        if places.is_empty() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                for place in &places {
                    delete_quietly(place).await;
                }
            });
        }
    }
}
