//! What a relation name says: table, metadata table and version.

use arrow::datatypes::{DataType, TimeUnit};
use chrono::NaiveDateTime;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use ingot_catalog::TableVersion;
use ingot_catalog::scan::metadata_tables::MetadataTableKind;
use ingot_sql::{MetadataTable, RelationName, RelationVersion};

use crate::error::{EngineError, Result};
use crate::session::session_config_for_time;

/// A relation name whose version is known.
pub(super) struct Relation {
    pub(super) table: String,
    pub(super) metadata_table: Option<MetadataTableKind>,
    pub(super) version: TableVersion,
}

impl Relation {
    pub(super) async fn parse(name: &str, time_zone: &str) -> Result<Self> {
        let parsed = RelationName::parse(name)?;
        let version = match parsed.version {
            None => TableVersion::Current,
            Some(RelationVersion::SnapshotId(id)) => TableVersion::SnapshotId(id),
            Some(RelationVersion::Reference(name)) => TableVersion::Reference(name),
            Some(RelationVersion::TimestampExpr(text)) => {
                let micros = evaluate_timestamp(&text, time_zone)?;
                TableVersion::TimestampMillis(micros.div_euclid(1000))
            }
        };
        Ok(Self {
            table: parsed.table,
            metadata_table: parsed.metadata_table.map(kind_of),
            version,
        })
    }
}

fn kind_of(table: MetadataTable) -> MetadataTableKind {
    match table {
        MetadataTable::Snapshots => MetadataTableKind::Snapshots,
        MetadataTable::History => MetadataTableKind::History,
        MetadataTable::Files => MetadataTableKind::Files,
        MetadataTable::Manifests => MetadataTableKind::Manifests,
        MetadataTable::Partitions => MetadataTableKind::Partitions,
        MetadataTable::Refs => MetadataTableKind::Refs,
        MetadataTable::Entries => MetadataTableKind::Entries,
        MetadataTable::Properties => MetadataTableKind::Properties,
        MetadataTable::MetadataLogEntries => MetadataTableKind::MetadataLogEntries,
    }
}

/// The instant that the SQL expression `text` is, in microseconds since the epoch: a
/// timestamp, a date (its midnight) or text of either, in the session's time zone unless it
/// has one of its own.
///
/// # Errors
/// `InvalidInput` when it is not a constant, or no point in time.
pub fn evaluate_timestamp(text: &str, time_zone: &str) -> Result<i64> {
    let invalid =
        |reason: &str| EngineError::InvalidInput(format!("for timestamp as of {text}: {reason}"));
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(session_config_for_time(time_zone))
        .build();
    let schema = DFSchema::empty();
    let expression = state
        .create_logical_expr(text, &schema)
        .map_err(|error| invalid(&error.strip_backtrace()))?;
    let context = SimplifyContext::builder()
        .with_schema(schema.into())
        .with_config_options(state.config().options().clone())
        .with_query_execution_start_time(Some(chrono::Utc::now()))
        .build();
    let simplified = ExprSimplifier::new(context)
        .simplify(expression)
        .map_err(|error| invalid(&error.strip_backtrace()))?;
    let Expr::Literal(value, _) = simplified else {
        return Err(invalid("it must be a constant"));
    };
    instant_of(&value, time_zone).ok_or_else(|| {
        invalid("it must be a timestamp, a date, or text such as '2024-01-31 12:00:00'")
    })
}

fn instant_of(value: &ScalarValue, time_zone: &str) -> Option<i64> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    match value {
        value if value.is_null() => None,
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => {
            // Text with a zone is read in it; text without, in the session's.
            let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(time_zone.into()));
            let plain = ScalarValue::Utf8(Some(text.trim().to_string()));
            micros_of(&plain.cast_to(&zoned).ok()?)
        }
        ScalarValue::Date32(_) | ScalarValue::Date64(_) => {
            let local = micros_of(&value.cast_to(&micros).ok()?)?;
            local_to_instant(local, time_zone)
        }
        _ => match value.data_type() {
            DataType::Timestamp(_, None) => {
                let local = micros_of(&value.cast_to(&micros).ok()?)?;
                local_to_instant(local, time_zone)
            }
            DataType::Timestamp(_, Some(zone)) => {
                let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(zone));
                micros_of(&value.cast_to(&zoned).ok()?)
            }
            _ => None,
        },
    }
}

fn micros_of(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampMicrosecond(micros, _) => *micros,
        _ => None,
    }
}

/// A wall-clock time in a zone as an instant.
fn local_to_instant(local_micros: i64, time_zone: &str) -> Option<i64> {
    let local: NaiveDateTime = chrono::DateTime::from_timestamp_micros(local_micros)?.naive_utc();
    let text = local.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(time_zone.into()));
    micros_of(&ScalarValue::Utf8(Some(text)).cast_to(&zoned).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-01-31 12:00:00 UTC.
    const NOON: i64 = 1_706_702_400_000_000;

    #[test]
    fn times_are_read_in_the_sessions_zone_unless_they_have_one() {
        let hour = 3_600_000_000;
        for (text, zone, expected) in [
            ("TIMESTAMP '2024-01-31 12:00:00'", "UTC", NOON),
            ("'2024-01-31 12:00:00'", "UTC", NOON),
            ("'2024-01-31 12:00:00'", "Europe/Berlin", NOON - hour),
            (
                "TIMESTAMP '2024-01-31 12:00:00'",
                "Europe/Berlin",
                NOON - hour,
            ),
            (
                "'2024-01-31 12:00:00+03:00'",
                "Europe/Berlin",
                NOON - 3 * hour,
            ),
            (
                "TIMESTAMP '2024-01-31 11:00:00' + INTERVAL '1' HOUR",
                "UTC",
                NOON,
            ),
            ("DATE '2024-01-31'", "UTC", NOON - 12 * hour),
            ("DATE '2024-01-31'", "+02:00", NOON - 14 * hour),
        ] {
            let found = evaluate_timestamp(text, zone).unwrap();
            assert_eq!(found, expected, "{text} in {zone}");
        }
    }

    #[test]
    fn now_is_a_constant_and_columns_are_not() {
        let before = chrono::Utc::now().timestamp_micros();
        let now = evaluate_timestamp("now()", "UTC").unwrap();
        assert!(now >= before - 1 && now < before + 60_000_000, "{now}");
        let yesterday = evaluate_timestamp("now() - INTERVAL '1' DAY", "UTC").unwrap();
        assert!(yesterday < before - 80_000_000_000);
        for text in ["a_column", "'never'", "17", "random()", "NULL"] {
            let error = evaluate_timestamp(text, "UTC").unwrap_err().to_string();
            assert!(error.starts_with("for timestamp as of"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
