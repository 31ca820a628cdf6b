//! What a relation name says: table, metadata table and version.

use arrow::array::timezone::Tz;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use ingot_catalog::scan::metadata_tables::MetadataTableKind;
use ingot_catalog::{CatalogReference, TableVersion, VersionId};
use ingot_sql::{
    CatalogVersion, CatalogVersionId, MetadataTable, RelationChanges, RelationName, RelationVersion,
};

use crate::error::{EngineError, Result};
use crate::session::session_config_for_time;
use crate::time_zone::{self, in_session_zone};

/// A relation name whose version is known.
pub(super) struct Relation {
    pub(super) table: String,
    pub(super) metadata_table: Option<MetadataTableKind>,
    /// The state of the catalog to look in, when it is not the session's.
    pub(super) catalog_reference: Option<CatalogReference>,
    pub(super) version: TableVersion,
    pub(super) changes: Option<RelationChanges>,
    pub(super) with_hidden_columns: bool,
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
        let catalog_version = parsed.catalog_version;
        let catalog_reference = catalog_version.map(|version| reference_of(version, time_zone));
        Ok(Self {
            table: parsed.table,
            metadata_table: parsed.metadata_table.map(kind_of),
            catalog_reference: catalog_reference.transpose()?,
            version,
            changes: parsed.changes,
            with_hidden_columns: parsed.with_hidden_columns,
        })
    }
}

fn reference_of(version: CatalogVersion, time_zone: &str) -> Result<CatalogReference> {
    Ok(match version {
        CatalogVersion::Branch(name) => CatalogReference::Branch(name),
        CatalogVersion::Tag(name) => CatalogReference::Tag(name),
        CatalogVersion::Version(version) => CatalogReference::Version(version_id_of(version)),
        CatalogVersion::TimestampExpr(text) => {
            let micros = evaluate_timestamp(&text, time_zone)?;
            CatalogReference::TimestampMillis(micros.div_euclid(1000))
        }
    })
}

/// The version of a catalog that a statement names.
pub fn version_id_of(version: CatalogVersionId) -> VersionId {
    match version {
        CatalogVersionId::Number(number) => VersionId::Number(number),
        CatalogVersionId::Hash(hash) => VersionId::Hash(hash),
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
        MetadataTable::AllManifests => MetadataTableKind::AllManifests,
        MetadataTable::AllEntries => MetadataTableKind::AllEntries,
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
    let value = evaluate_constant(text, time_zone).map_err(|reason| invalid(&reason))?;
    let zone = time_zone
        .parse()
        .map_err(|_| invalid(&format!("there is no time zone {time_zone}")))?;
    instant_of(&value, zone).ok_or_else(|| {
        invalid("it must be a timestamp, a date, or text such as '2024-01-31 12:00:00'")
    })
}

/// The value of a constant SQL expression, or what is wrong with it.
pub(crate) fn evaluate_constant(
    text: &str,
    time_zone: &str,
) -> std::result::Result<ScalarValue, String> {
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(session_config_for_time(time_zone))
        .build();
    let schema = DFSchema::empty();
    let expression = state
        .create_logical_expr(text, &schema)
        .map_err(|error| error.strip_backtrace())?;
    let context = SimplifyContext::builder()
        .with_schema(schema.into())
        .with_config_options(state.config().options().clone())
        .with_query_execution_start_time(Some(chrono::Utc::now()))
        .build();
    let expression = in_session_zone(expression, &DFSchema::empty(), time_zone)
        .map_err(|error| error.strip_backtrace())?;
    let simplified = ExprSimplifier::new(context)
        .simplify(expression)
        .map_err(|error| error.strip_backtrace())?;
    match simplified {
        Expr::Literal(value, _) => Ok(value),
        _ => Err("it must be a constant".to_string()),
    }
}

fn instant_of(value: &ScalarValue, zone: Tz) -> Option<i64> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    match value {
        value if value.is_null() => None,
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => time_zone::parse_instant(text.trim(), zone).ok(),
        ScalarValue::Date32(_) | ScalarValue::Date64(_) => {
            let local = micros_of(&value.cast_to(&micros).ok()?)?;
            time_zone::instant_of(local, zone)
        }
        _ => match value.data_type() {
            DataType::Timestamp(_, None) => {
                let local = micros_of(&value.cast_to(&micros).ok()?)?;
                time_zone::instant_of(local, zone)
            }
            DataType::Timestamp(_, Some(own_zone)) => {
                let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(own_zone));
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
