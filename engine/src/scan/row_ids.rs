//! Row ids: two columns that say where a row is, for statements that change rows. Users do not see
//! them.
//!
//! `$row_file` is a number that stands for the data file, `$row_pos` the row's position in it,
//! deleted rows counted. The numbers belong to one statement: [`ScannedFiles`] gives them out when
//! scans are planned and knows afterwards which file each one is. They are small, where paths
//! in every row would make joins and shuffles several times as large.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::datasource::table_schema::TableSchema;
use iceberg::expr::Predicate;
use ingot_catalog::scan::FileTask;
use parking_lot::Mutex;
use parquet::arrow::RowNumber;

/// What the names of columns begin with that only statements which change rows use.
pub const INTERNAL_COLUMN_PREFIX: &str = "$row_";
/// Name of the column with the file's number.
pub const FILE_COLUMN: &str = "$row_file";
/// Name of the column with the row's position in the file, from 0.
pub const POSITION_COLUMN: &str = "$row_pos";

fn file_field() -> FieldRef {
    Arc::new(Field::new(FILE_COLUMN, DataType::Int32, false))
}

fn position_field() -> FieldRef {
    // Filled in by the Parquet reader.
    let field = Field::new(POSITION_COLUMN, DataType::Int64, false);
    Arc::new(field.with_extension_type(RowNumber))
}

/// A table's columns, then `$row_file` and `$row_pos`.
pub fn with_row_ids(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
    fields.extend([file_field(), position_field()]);
    Arc::new(Schema::new(fields))
}

/// The same as a scan has it: the file's number is a constant of each file, as the `constants`
/// before it are, the position comes from the Parquet reader.
pub(crate) fn scan_schema(file_schema: SchemaRef, constants: &[FieldRef]) -> TableSchema {
    let mut constants = constants.to_vec();
    constants.push(file_field());
    TableSchema::builder(file_schema)
        .with_table_partition_cols(Fields::from(constants))
        .with_virtual_columns(Fields::from(vec![position_field()]))
        .build()
}

/// The same columns in the form that DataFusion can encode, which loses columns of the reader.
pub(crate) fn encodable_schema(schema: &TableSchema) -> TableSchema {
    let mut constants = schema.table_partition_cols().to_vec();
    constants.push(position_field());
    TableSchema::builder(Arc::clone(schema.file_schema()))
        .with_table_partition_cols(Fields::from(constants))
        .build()
}

/// The schema of a scan that was encoded so.
pub(crate) fn decoded_schema(schema: &TableSchema) -> TableSchema {
    let encoded = schema.table_partition_cols();
    let constants = encoded.len().saturating_sub(2);
    scan_schema(Arc::clone(schema.file_schema()), &encoded[..constants])
}

/// The data files that the scans of one statement read, by number.
#[derive(Debug, Default)]
pub struct ScannedFiles {
    scanned: Mutex<Scanned>,
}

#[derive(Debug, Default)]
struct Scanned {
    numbers: HashMap<String, i32>,
    tasks: Vec<FileTask>,
    predicate: Option<Predicate>,
}

impl ScannedFiles {
    /// The number of a file that a scan will read.
    pub(super) fn number_of(&self, task: &FileTask) -> i32 {
        let mut scanned = self.scanned.lock();
        if let Some(number) = scanned.numbers.get(&task.path) {
            return *number;
        }
        let number = scanned.tasks.len() as i32;
        scanned.numbers.insert(task.path.clone(), number);
        scanned.tasks.push(task.clone());
        number
    }

    /// Notes what every row fulfils that a scan is for.
    pub(super) fn note_predicate(&self, predicate: &Predicate) {
        let mut scanned = self.scanned.lock();
        scanned.predicate = Some(match scanned.predicate.take() {
            // A plan is made again when it moves to the workers.
            Some(known) if known == *predicate => known,
            Some(known) => known.or(predicate.clone()),
            None => predicate.clone(),
        });
    }

    /// The file of a number that came out of a scan.
    pub fn file(&self, number: i32) -> Option<FileTask> {
        let index = usize::try_from(number).ok()?;
        self.scanned.lock().tasks.get(index).cloned()
    }

    /// What every row fulfils that the scans were for, as far as files can tell; names columns
    /// of the read schema.
    pub fn predicate(&self) -> Predicate {
        let scanned = self.scanned.lock();
        scanned.predicate.clone().unwrap_or(Predicate::AlwaysTrue)
    }
}
