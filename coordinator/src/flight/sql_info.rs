//! What Ingot tells clients about itself and its types (`GetSqlInfo`, `GetXdbcTypeInfo`).

use std::collections::HashMap;

use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    Nullable, Searchable, SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel,
    SqlSupportedCaseSensitivity, SqlSupportedGroupBy, SqlSupportedSubqueries,
    SqlSupportedTransaction, SqlSupportedUnions, SqlTransactionIsolationLevel, SupportedSqlGrammar,
    XdbcDataType, XdbcDatetimeSubcode,
};

use crate::transactions::LONGEST_TRANSACTION;

/// The name of the server, as clients show it.
pub const SERVER_NAME: &str = "Ingot";

/// Words that are Ingot's beyond the reserved ones of the SQL standard.
const KEYWORDS: &[&str] = &[
    "ANALYZE",
    "CATALOGS",
    "COPY",
    "DATABASES",
    "DESCRIBE",
    "EXPLAIN",
    "FILES",
    "FORMAT",
    "ILIKE",
    "JOB",
    "JOBS",
    "LIMIT",
    "MERGE",
    "OFFSET",
    "OPTIMIZE",
    "OVERWRITE",
    "PARTITIONING",
    "PARTITIONS",
    "PAUSE",
    "PROPERTIES",
    "QUALIFY",
    "RESUME",
    "SCHEMAS",
    "SHOW",
    "SNAPSHOTS",
    "SORTED_BY",
    "SYSTEM_TIME",
    "TABLES",
    "TABLESAMPLE",
    "TRUNCATE",
    "USE",
    "VERSION",
];

const NUMERIC_FUNCTIONS: &[&str] = &[
    "abs", "acos", "asin", "atan", "atan2", "cbrt", "ceil", "cos", "cot", "degrees", "exp",
    "floor", "ln", "log", "log10", "log2", "mod", "pi", "power", "radians", "random", "round",
    "sign", "signum", "sin", "sqrt", "tan", "trunc",
];

const STRING_FUNCTIONS: &[&str] = &[
    "ascii",
    "btrim",
    "char_length",
    "chr",
    "concat",
    "concat_ws",
    "ends_with",
    "initcap",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "octet_length",
    "position",
    "regexp_like",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "substring",
    "translate",
    "trim",
    "upper",
];

const SYSTEM_FUNCTIONS: &[&str] = &["coalesce", "greatest", "least", "nullif", "version"];

const DATETIME_FUNCTIONS: &[&str] = &[
    "current_date",
    "current_time",
    "current_timestamp",
    "date_bin",
    "date_part",
    "date_trunc",
    "extract",
    "from_unixtime",
    "make_date",
    "now",
    "to_char",
    "to_date",
    "to_timestamp",
    "to_unixtime",
];

/// A bit mask of enum values, as several infos want them.
fn mask(values: &[i32]) -> i32 {
    values.iter().fold(0, |bits, value| bits | (1 << value))
}

/// All infos that clients are known to ask for.
pub(super) fn sql_info() -> Result<SqlInfoData, FlightError> {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, SERVER_NAME);
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    info.append(SqlInfo::FlightSqlServerReadOnly, false);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(
        SqlInfo::FlightSqlServerTransaction,
        SqlSupportedTransaction::Transaction as i32,
    );
    info.append(SqlInfo::FlightSqlServerCancel, true);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    info.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    info.append(SqlInfo::FlightSqlServerStatementTimeout, 0i32);
    let longest_ms = i32::try_from(LONGEST_TRANSACTION.as_millis()).unwrap_or(i32::MAX);
    info.append(SqlInfo::FlightSqlServerTransactionTimeout, longest_ms);
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, true);
    info.append(SqlInfo::SqlDdlTable, true);
    info.append(
        SqlInfo::SqlIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32,
    );
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(
        SqlInfo::SqlQuotedIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32,
    );
    info.append(SqlInfo::SqlAllTablesAreSelectable, true);
    info.append(
        SqlInfo::SqlNullOrdering,
        SqlNullOrdering::SqlNullsSortedHigh as i32,
    );
    info.append(SqlInfo::SqlKeywords, KEYWORDS);
    info.append(SqlInfo::SqlNumericFunctions, NUMERIC_FUNCTIONS);
    info.append(SqlInfo::SqlStringFunctions, STRING_FUNCTIONS);
    info.append(SqlInfo::SqlSystemFunctions, SYSTEM_FUNCTIONS);
    info.append(SqlInfo::SqlDatetimeFunctions, DATETIME_FUNCTIONS);
    info.append(SqlInfo::SqlSearchStringEscape, "\\");
    info.append(SqlInfo::SqlExtraNameCharacters, "");
    info.append(SqlInfo::SqlSupportsColumnAliasing, true);
    info.append(SqlInfo::SqlNullPlusNullIsNull, true);
    // Conversions are many and written as CAST: the JDBC escape function is not offered.
    info.append(SqlInfo::SqlSupportsConvert, HashMap::<i32, Vec<i32>>::new());
    info.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    info.append(SqlInfo::SqlSupportsDifferentTableCorrelationNames, false);
    info.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    info.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    info.append(
        SqlInfo::SqlSupportedGroupBy,
        mask(&[
            SqlSupportedGroupBy::SqlGroupByUnrelated as i32,
            SqlSupportedGroupBy::SqlGroupByBeyondSelect as i32,
        ]),
    );
    info.append(SqlInfo::SqlSupportsLikeEscapeClause, true);
    info.append(SqlInfo::SqlSupportsNonNullableColumns, true);
    info.append(
        SqlInfo::SqlSupportedGrammar,
        mask(&[
            SupportedSqlGrammar::SqlMinimumGrammar as i32,
            SupportedSqlGrammar::SqlCoreGrammar as i32,
        ]),
    );
    // Entry level: its enum is not public, and it is bit 0.
    info.append(SqlInfo::SqlAnsi92SupportedLevel, 1i32);
    info.append(SqlInfo::SqlSupportsIntegrityEnhancementFacility, false);
    info.append(
        SqlInfo::SqlOuterJoinsSupportLevel,
        SqlOuterJoinsSupportLevel::SqlFullOuterJoins as i32,
    );
    info.append(SqlInfo::SqlSchemaTerm, "schema");
    info.append(SqlInfo::SqlProcedureTerm, "procedure");
    info.append(SqlInfo::SqlCatalogTerm, "catalog");
    info.append(SqlInfo::SqlCatalogAtStart, true);
    info.append(SqlInfo::SqlSchemasSupportedActions, 0i32);
    info.append(SqlInfo::SqlCatalogsSupportedActions, 0i32);
    info.append(SqlInfo::SqlSupportedPositionedCommands, 0i32);
    info.append(SqlInfo::SqlSelectForUpdateSupported, false);
    info.append(SqlInfo::SqlStoredProceduresSupported, false);
    info.append(
        SqlInfo::SqlSupportedSubqueries,
        mask(&[
            SqlSupportedSubqueries::SqlSubqueriesInComparisons as i32,
            SqlSupportedSubqueries::SqlSubqueriesInExists as i32,
            SqlSupportedSubqueries::SqlSubqueriesInIns as i32,
        ]),
    );
    info.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    info.append(
        SqlInfo::SqlSupportedUnions,
        mask(&[
            SqlSupportedUnions::SqlUnion as i32,
            SqlSupportedUnions::SqlUnionAll as i32,
        ]),
    );
    for limit in UNLIMITED {
        info.append(*limit, 0i64);
    }
    info.append(SqlInfo::SqlMaxRowSizeIncludesBlobs, true);
    info.append(
        SqlInfo::SqlDefaultTransactionIsolation,
        SqlTransactionIsolationLevel::SqlTransactionRepeatableRead as i32,
    );
    info.append(SqlInfo::SqlTransactionsSupported, true);
    // Snapshot isolation: more than the weaker ones ask for, and not serializable.
    info.append(
        SqlInfo::SqlSupportedTransactionsIsolationLevels,
        mask(&[
            SqlTransactionIsolationLevel::SqlTransactionReadUncommitted as i32,
            SqlTransactionIsolationLevel::SqlTransactionReadCommitted as i32,
            SqlTransactionIsolationLevel::SqlTransactionRepeatableRead as i32,
        ]),
    );
    info.append(SqlInfo::SqlDataDefinitionCausesTransactionCommit, false);
    info.append(SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false);
    // Forward only, read only.
    info.append(SqlInfo::SqlSupportedResultSetTypes, 0b10i32);
    info.append(
        SqlInfo::SqlSupportedConcurrenciesForResultSetUnspecified,
        0i32,
    );
    info.append(
        SqlInfo::SqlSupportedConcurrenciesForResultSetForwardOnly,
        0b10i32,
    );
    info.append(
        SqlInfo::SqlSupportedConcurrenciesForResultSetScrollSensitive,
        0i32,
    );
    info.append(
        SqlInfo::SqlSupportedConcurrenciesForResultSetScrollInsensitive,
        0i32,
    );
    info.append(SqlInfo::SqlBatchUpdatesSupported, true);
    info.append(SqlInfo::SqlSavepointsSupported, false);
    info.append(SqlInfo::SqlNamedParametersSupported, false);
    info.append(SqlInfo::SqlLocatorsUpdateCopy, false);
    info.append(SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false);
    info.build()
}

/// Limits that do not exist, or are not known.
const UNLIMITED: &[SqlInfo] = &[
    SqlInfo::SqlMaxBinaryLiteralLength,
    SqlInfo::SqlMaxCharLiteralLength,
    SqlInfo::SqlMaxColumnNameLength,
    SqlInfo::SqlMaxColumnsInGroupBy,
    SqlInfo::SqlMaxColumnsInIndex,
    SqlInfo::SqlMaxColumnsInOrderBy,
    SqlInfo::SqlMaxColumnsInSelect,
    SqlInfo::SqlMaxColumnsInTable,
    SqlInfo::SqlMaxConnections,
    SqlInfo::SqlMaxCursorNameLength,
    SqlInfo::SqlMaxIndexLength,
    SqlInfo::SqlDbSchemaNameLength,
    SqlInfo::SqlMaxProcedureNameLength,
    SqlInfo::SqlMaxCatalogNameLength,
    SqlInfo::SqlMaxRowSize,
    SqlInfo::SqlMaxStatementLength,
    SqlInfo::SqlMaxStatements,
    SqlInfo::SqlMaxTableNameLength,
    SqlInfo::SqlMaxTablesInSelect,
    SqlInfo::SqlMaxUsernameLength,
];

/// How a type is written as a literal.
#[derive(Clone, Copy)]
enum Literal {
    Bare,
    Quoted(&'static str),
}

struct TypeRow {
    name: &'static str,
    data_type: XdbcDataType,
    size: Option<i32>,
    literal: Literal,
    parameters: &'static [&'static str],
    scale: Option<(i32, i32)>,
    radix: Option<i32>,
    datetime: Option<XdbcDatetimeSubcode>,
}

const fn plain(name: &'static str, data_type: XdbcDataType, size: Option<i32>) -> TypeRow {
    TypeRow {
        name,
        data_type,
        size,
        literal: Literal::Bare,
        parameters: &[],
        scale: None,
        radix: None,
        datetime: None,
    }
}

const fn number(name: &'static str, data_type: XdbcDataType, digits: i32) -> TypeRow {
    let mut row = plain(name, data_type, Some(digits));
    row.radix = Some(10);
    row
}

const fn datetime(
    name: &'static str,
    data_type: XdbcDataType,
    size: i32,
    prefix: &'static str,
    subcode: XdbcDatetimeSubcode,
) -> TypeRow {
    let mut row = plain(name, data_type, Some(size));
    row.literal = Literal::Quoted(prefix);
    row.datetime = Some(subcode);
    row
}

/// The types of Iceberg tables under their SQL names.
fn type_rows() -> Vec<TypeRow> {
    let mut decimal = number("decimal", XdbcDataType::XdbcDecimal, 38);
    decimal.parameters = &["precision", "scale"];
    decimal.scale = Some((0, 38));
    let mut text = plain("varchar", XdbcDataType::XdbcVarchar, Some(i32::MAX));
    text.literal = Literal::Quoted("'");
    let mut binary = plain("varbinary", XdbcDataType::XdbcVarbinary, Some(i32::MAX));
    binary.literal = Literal::Quoted("X'");
    vec![
        plain("boolean", XdbcDataType::XdbcBit, Some(1)),
        number("bigint", XdbcDataType::XdbcBigint, 19),
        number("integer", XdbcDataType::XdbcInteger, 10),
        number("real", XdbcDataType::XdbcReal, 7),
        number("double", XdbcDataType::XdbcDouble, 15),
        decimal,
        text,
        binary,
        datetime(
            "date",
            XdbcDataType::XdbcDate,
            10,
            "DATE '",
            // XDBC_SUBCODE_DATE is an alias of this one.
            XdbcDatetimeSubcode::XdbcSubcodeYear,
        ),
        datetime(
            "time",
            XdbcDataType::XdbcTime,
            15,
            "TIME '",
            XdbcDatetimeSubcode::XdbcSubcodeTime,
        ),
        datetime(
            "timestamp",
            XdbcDataType::XdbcTimestamp,
            26,
            "TIMESTAMP '",
            XdbcDatetimeSubcode::XdbcSubcodeTimestamp,
        ),
    ]
}

/// The SQL types of Ingot.
pub(super) fn type_info() -> Result<XdbcTypeInfoData, FlightError> {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    for row in type_rows() {
        let (literal_prefix, literal_suffix) = match row.literal {
            Literal::Bare => (None, None),
            Literal::Quoted(prefix) => (Some(prefix.to_string()), Some("'".to_string())),
        };
        let is_text = matches!(row.data_type, XdbcDataType::XdbcVarchar);
        builder.append(XdbcTypeInfo {
            type_name: row.name.to_string(),
            data_type: row.data_type,
            column_size: row.size,
            literal_prefix,
            literal_suffix,
            create_params: (!row.parameters.is_empty()).then(|| {
                row.parameters
                    .iter()
                    .map(|name| (*name).to_string())
                    .collect()
            }),
            nullable: Nullable::NullabilityNullable,
            case_sensitive: is_text,
            searchable: Searchable::Full,
            unsigned_attribute: row.radix.map(|_| false),
            fixed_prec_scale: false,
            auto_increment: row.radix.map(|_| false),
            local_type_name: Some(row.name.to_string()),
            minimum_scale: row.scale.map(|(minimum, _)| minimum),
            maximum_scale: row.scale.map(|(_, maximum)| maximum),
            sql_data_type: row.data_type,
            datetime_subcode: row.datetime,
            num_prec_radix: row.radix,
            interval_precision: None,
        });
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_info_and_type_builds() {
        let info = sql_info().unwrap();
        let all = info.record_batch([]).unwrap();
        assert!(all.num_rows() > 80);
        let superset = info.record_batch([0, 2, 3, 504]).unwrap();
        assert_eq!(superset.num_rows(), 4);
        let types = type_info().unwrap();
        assert_eq!(types.record_batch(None).unwrap().num_rows(), 11);
        let timestamps = types
            .record_batch(Some(XdbcDataType::XdbcTimestamp as i32))
            .unwrap();
        assert_eq!(timestamps.num_rows(), 1);
    }
}
