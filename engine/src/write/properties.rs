//! The table properties that a writer honours.
//!
//! Properties of Iceberg that this module does not name are hints for other writers and
//! change nothing here; a value that cannot be right is an error.

use std::collections::BTreeMap;
use std::str::FromStr;

use iceberg::spec::Schema;
use ingot_catalog::Table;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::target::WriteTarget;
use crate::error::{EngineError, Result};

const MIB: usize = 1024 * 1024;
const DEFAULT_TARGET_FILE_SIZE: usize = 512 * MIB;
const DEFAULT_ROW_GROUP_BYTES: usize = 128 * MIB;
/// Iceberg has no row limit of its own; without one a narrow table would be one row group,
/// which only one task can read at a time.
const DEFAULT_ROW_GROUP_ROWS: usize = 1024 * 1024;
const DEFAULT_PAGE_BYTES: usize = MIB;
const DEFAULT_PAGE_ROWS: usize = 20_000;
const DEFAULT_DICTIONARY_BYTES: usize = 2 * MIB;
const DEFAULT_ZSTD_LEVEL: i32 = 1;
const DEFAULT_BLOOM_FILTER_FPP: f64 = 0.01;
/// Columns after these have no metrics, unless a property asks for them: as in Iceberg,
/// wide tables would have huge manifests.
const DEFAULT_MAX_INFERRED_COLUMNS: usize = 100;
/// Length that Parquet's own statistics are cut to, unless longer bounds are asked for.
const PARQUET_STATISTICS_BYTES: usize = 64;
const LONGEST_UTF8_CHARACTER: usize = 4;

/// About how large a table's data files become, in bytes (`write.target-file-size-bytes`).
///
/// # Errors
/// `InvalidInput` for a `write.*` property with a value that it cannot have.
pub fn target_file_size(table: &Table) -> Result<u64> {
    let properties = WriteProperties::of(&WriteTarget::of(table))?;
    Ok(properties.target_file_size_bytes as u64)
}

/// How rows reach the tasks that write them (`write.distribution-mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DistributionMode {
    /// As the query leaves them: no exchange, up to one file per partition and task.
    None,
    /// All rows of a partition to one task.
    Hash,
}

/// Which metrics a column gets (`write.metadata.metrics.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricsMode {
    None,
    Counts,
    /// Counts, and bounds of at most this many characters or bytes.
    Truncate(usize),
    Full,
}

/// A table's write properties, parsed.
#[derive(Debug, Clone)]
pub(super) struct WriteProperties {
    pub(super) distribution: DistributionMode,
    pub(super) target_file_size_bytes: usize,
    pub(super) parquet: WriterProperties,
    /// By field id, for all primitive fields.
    pub(super) metrics: BTreeMap<i32, MetricsMode>,
}

impl WriteProperties {
    /// # Errors
    /// `InvalidInput` naming the table, the property and what it may be.
    pub(super) fn of(target: &WriteTarget) -> Result<Self> {
        let source = Source { target };
        source.check_format()?;
        let distribution = match source.text("write.distribution-mode") {
            None if target.partition_spec.is_unpartitioned() => DistributionMode::None,
            // Range distribution also brings a partition's rows together; that it orders
            // the partitions among the tasks shows nowhere in an Iceberg table.
            None | Some("hash" | "range") => DistributionMode::Hash,
            Some("none") => DistributionMode::None,
            Some(other) => {
                return Err(source.invalid("write.distribution-mode", other, "none or hash"));
            }
        };
        let target_file_size_bytes =
            source.positive("write.target-file-size-bytes", DEFAULT_TARGET_FILE_SIZE)?;
        let metrics = source.metrics()?;
        let parquet = source.parquet(&metrics)?;
        Ok(Self {
            distribution,
            target_file_size_bytes,
            parquet,
            metrics,
        })
    }
}

struct Source<'a> {
    target: &'a WriteTarget,
}

impl Source<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.target.properties.get(name).map(String::as_str)
    }

    fn invalid(&self, name: &str, value: &str, allowed: &str) -> EngineError {
        EngineError::InvalidInput(format!(
            "property {name} of table {} is {value:?}: it must be {allowed}",
            self.target.table_name
        ))
    }

    fn parsed<T: FromStr>(&self, name: &str, default: T, allowed: &str) -> Result<T> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => text
                .trim()
                .parse()
                .map_err(|_| self.invalid(name, text, allowed)),
        }
    }

    fn positive(&self, name: &str, default: usize) -> Result<usize> {
        match self.parsed(name, default, "a positive whole number")? {
            0 => Err(self.invalid(name, "0", "a positive whole number")),
            value => Ok(value),
        }
    }

    fn check_format(&self) -> Result<()> {
        match self.text("write.format.default") {
            None => Ok(()),
            Some(format) if format.eq_ignore_ascii_case("parquet") => Ok(()),
            Some(format) => Err(EngineError::Unsupported(format!(
                "writing {format} files (table {})",
                self.target.table_name
            ))),
        }
    }

    fn parquet(&self, metrics: &BTreeMap<i32, MetricsMode>) -> Result<WriterProperties> {
        let schema_json = serde_json::to_string(self.target.schema.as_ref())
            .map_err(|error| EngineError::InvalidInput(format!("table schema: {error}")))?;
        let row_group_bytes = self.positive(
            "write.parquet.row-group-size-bytes",
            DEFAULT_ROW_GROUP_BYTES,
        )?;
        let row_group_rows =
            self.positive("write.parquet.row-group-limit", DEFAULT_ROW_GROUP_ROWS)?;
        let page_bytes = self.positive("write.parquet.page-size-bytes", DEFAULT_PAGE_BYTES)?;
        let page_rows = self.positive("write.parquet.page-row-limit", DEFAULT_PAGE_ROWS)?;
        let dictionary_bytes =
            self.positive("write.parquet.dict-size-bytes", DEFAULT_DICTIONARY_BYTES)?;
        let longest_bound = metrics
            .values()
            .map(|mode| match mode {
                MetricsMode::None | MetricsMode::Counts => Some(0),
                MetricsMode::Truncate(length) => length.checked_mul(LONGEST_UTF8_CHARACTER),
                MetricsMode::Full => None,
            })
            .try_fold(PARQUET_STATISTICS_BYTES, |longest, length| {
                length.map(|length| longest.max(length))
            });
        let mut builder = WriterProperties::builder()
            .set_compression(self.compression()?)
            .set_max_row_group_bytes(Some(row_group_bytes))
            .set_max_row_group_row_count(Some(row_group_rows))
            .set_data_page_size_limit(page_bytes)
            .set_data_page_row_count_limit(page_rows)
            .set_dictionary_page_size_limit(dictionary_bytes)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_statistics_truncate_length(longest_bound)
            .set_key_value_metadata(Some(vec![KeyValue::new(
                "iceberg.schema".to_string(),
                schema_json,
            )]));
        const BLOOM_FILTER: &str = "write.parquet.bloom-filter-enabled.column.";
        for (name, value) in &self.target.properties {
            let Some(column) = name.strip_prefix(BLOOM_FILTER) else {
                continue;
            };
            let enabled = self.parsed(name, false, "true or false")?;
            if self.target.schema.field_by_name(column).is_none() {
                return Err(EngineError::InvalidInput(format!(
                    "property {name} of table {} is {value:?}: there is no column {column}",
                    self.target.table_name
                )));
            }
            let path =
                || ColumnPath::from(column.split('.').map(str::to_string).collect::<Vec<_>>());
            builder = builder.set_column_bloom_filter_enabled(path(), enabled);
            if !enabled {
                continue;
            }
            let fpp_name = format!("write.parquet.bloom-filter-fpp.column.{column}");
            let fpp: f64 = self.parsed(&fpp_name, DEFAULT_BLOOM_FILTER_FPP, "a fraction")?;
            if !(fpp > 0.0 && fpp < 1.0) {
                return Err(self.invalid(&fpp_name, &fpp.to_string(), "between 0 and 1"));
            }
            builder = builder.set_column_bloom_filter_fpp(path(), fpp);
            let ndv_name = format!("write.parquet.bloom-filter-ndv.column.{column}");
            if self.text(&ndv_name).is_some() {
                let ndv = self.positive(&ndv_name, 1)?;
                builder = builder.set_column_bloom_filter_max_ndv(path(), ndv as u64);
            }
        }
        Ok(builder.build())
    }

    fn compression(&self) -> Result<Compression> {
        const CODEC: &str = "write.parquet.compression-codec";
        const LEVEL: &str = "write.parquet.compression-level";
        let codec = self.text(CODEC).unwrap_or("zstd").to_ascii_lowercase();
        Ok(match codec.as_str() {
            "zstd" => {
                let level = self.parsed(LEVEL, DEFAULT_ZSTD_LEVEL, "1 to 22")?;
                let level = ZstdLevel::try_new(level)
                    .map_err(|_| self.invalid(LEVEL, &level.to_string(), "1 to 22"))?;
                Compression::ZSTD(level)
            }
            "gzip" => {
                let default = GzipLevel::default().compression_level();
                let level = self.parsed(LEVEL, default, "0 to 9")?;
                let level = GzipLevel::try_new(level)
                    .map_err(|_| self.invalid(LEVEL, &level.to_string(), "0 to 9"))?;
                Compression::GZIP(level)
            }
            "snappy" => Compression::SNAPPY,
            "lz4" | "lz4_raw" => Compression::LZ4_RAW,
            "uncompressed" | "none" => Compression::UNCOMPRESSED,
            other => {
                let allowed = "zstd, snappy, gzip, lz4 or uncompressed";
                return Err(self.invalid(CODEC, other, allowed));
            }
        })
    }

    fn metrics(&self) -> Result<BTreeMap<i32, MetricsMode>> {
        const DEFAULT: &str = "write.metadata.metrics.default";
        const COLUMN: &str = "write.metadata.metrics.column.";
        const MAX_INFERRED: &str = "write.metadata.metrics.max-inferred-column-defaults";
        let default_text = self.text(DEFAULT);
        let default = match default_text {
            Some(text) => self.metrics_mode(DEFAULT, text)?,
            None => MetricsMode::Truncate(16),
        };
        let limit: usize =
            self.parsed(MAX_INFERRED, DEFAULT_MAX_INFERRED_COLUMNS, "a whole number")?;
        let schema: &Schema = &self.target.schema;
        let mut names: Vec<(i32, &str)> = schema
            .field_id_to_name_map()
            .iter()
            .map(|(field_id, name)| (*field_id, name.as_str()))
            .collect();
        names.sort_unstable();
        let mut modes = BTreeMap::new();
        for (field_id, name) in names {
            let is_primitive = schema
                .field_by_id(field_id)
                .is_some_and(|field| field.field_type.is_primitive());
            if !is_primitive {
                continue;
            }
            let property = format!("{COLUMN}{name}");
            let mode = match self.text(&property) {
                Some(text) => self.metrics_mode(&property, text)?,
                None if default_text.is_none() && modes.len() >= limit => MetricsMode::None,
                None => default,
            };
            modes.insert(field_id, mode);
        }
        Ok(modes)
    }

    fn metrics_mode(&self, property: &str, text: &str) -> Result<MetricsMode> {
        let lower = text.trim().to_ascii_lowercase();
        let length = lower
            .strip_prefix("truncate(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|length| length.trim().parse().ok())
            .filter(|length: &usize| *length > 0);
        match (lower.as_str(), length) {
            ("none", _) => Ok(MetricsMode::None),
            ("counts", _) => Ok(MetricsMode::Counts),
            ("full", _) => Ok(MetricsMode::Full),
            (_, Some(length)) => Ok(MetricsMode::Truncate(length)),
            _ => Err(self.invalid(property, text, "none, counts, truncate(16) or full")),
        }
    }
}
