//! Foreign errors, unwrapped to what the user did wrong.

use std::error::Error;
use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use ingot_catalog::CatalogError;
use ingot_engine::EngineError;
use ingot_jobs::JobsError;
use ingot_sql::SqlError;

use super::{CoordinatorError, ErrorCode};

/// How many layers of wrapping are looked through before an error is shown as it is.
const MAX_DEPTH: usize = 32;

/// How many column names an unknown-column message lists.
const MAX_LISTED_COLUMNS: usize = 12;

/// Folds a message of several lines into one, without a full stop at the end.
pub fn one_line(message: &str) -> String {
    let folded = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match folded.strip_suffix('.') {
        Some(without) if !without.ends_with('.') => without.to_string(),
        _ => folded,
    }
}

/// The code of a catalog error.
pub(super) fn catalog_code(error: &CatalogError) -> ErrorCode {
    match error {
        lost if lost.is_missing_file() => ErrorCode::NotFound,
        CatalogError::TableNotFound { .. }
        | CatalogError::ViewNotFound { .. }
        | CatalogError::SchemaNotFound { .. }
        | CatalogError::VersionNotFound { .. }
        | CatalogError::ReferenceNotFound { .. }
        | CatalogError::VersionExpired { .. } => ErrorCode::NotFound,
        CatalogError::TableExists { .. }
        | CatalogError::ViewExists { .. }
        | CatalogError::SchemaExists { .. }
        | CatalogError::ReferenceExists { .. } => ErrorCode::AlreadyExists,
        CatalogError::SchemaNotEmpty { .. }
        | CatalogError::Locked { .. }
        | CatalogError::FilesInUse { .. }
        | CatalogError::ReferenceEnded { .. } => ErrorCode::FailedPrecondition,
        CatalogError::NotAllowed { .. } | CatalogError::RemoteAccess { .. } => {
            ErrorCode::PermissionDenied
        }
        CatalogError::CommitConflict { .. }
        | CatalogError::MergeConflict { .. }
        | CatalogError::TransactionConflict { .. } => ErrorCode::Conflict,
        CatalogError::InvalidInput(_)
        | CatalogError::IsView { .. }
        | CatalogError::IsTable { .. } => ErrorCode::InvalidInput,
        CatalogError::Unsupported(_) => ErrorCode::Unsupported,
        CatalogError::Storage { .. }
        | CatalogError::Metadata { .. }
        | CatalogError::Remote { .. }
        | CatalogError::CommitStateUnknown { .. }
        | CatalogError::Database { .. } => ErrorCode::Unavailable,
        CatalogError::InSnapshot { source, .. } => catalog_code(source),
    }
}

/// The code of an error in SQL text.
pub(super) fn sql_code(error: &SqlError) -> ErrorCode {
    match error {
        SqlError::Unsupported { .. } => ErrorCode::Unsupported,
        _ => ErrorCode::InvalidInput,
    }
}

/// The code of an engine error.
pub(super) fn engine_code(error: &EngineError) -> ErrorCode {
    match error {
        EngineError::Catalog(inner) => catalog_code(inner),
        EngineError::Sql(inner) => sql_code(inner),
        EngineError::DataFusion(inner) | EngineError::View { source: inner, .. } => {
            explain_datafusion(inner).0
        }
        EngineError::UnsupportedType { .. } | EngineError::Unsupported(_) => ErrorCode::Unsupported,
        EngineError::CorruptFile { .. } => ErrorCode::Unavailable,
        EngineError::FileMissing { .. } => ErrorCode::NotFound,
        EngineError::InSnapshot { source, .. } => engine_code(source),
        EngineError::Iceberg { .. }
        | EngineError::MalformedValue { .. }
        | EngineError::InvalidInput(_) => ErrorCode::InvalidInput,
    }
}

/// The code of a jobs error.
pub(super) fn jobs_code(error: &JobsError) -> ErrorCode {
    match error {
        JobsError::Catalog(inner) => catalog_code(inner),
        _ => ErrorCode::InvalidInput,
    }
}

/// The code and the one-line message of a DataFusion error.
pub(crate) fn explain_datafusion(error: &DataFusionError) -> (ErrorCode, String) {
    explain(error, MAX_DEPTH)
}

fn explain(error: &DataFusionError, depth: usize) -> (ErrorCode, String) {
    if depth == 0 {
        return (ErrorCode::Internal, one_line(&error.to_string()));
    }
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            explain(inner, depth - 1)
        }
        DataFusionError::Shared(inner) => explain(inner, depth - 1),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => explain(first, depth - 1),
            None => (ErrorCode::Internal, "empty error collection".to_string()),
        },
        DataFusionError::External(inner) => explain_foreign(inner.as_ref(), depth - 1),
        DataFusionError::ArrowError(inner, _) => explain_arrow(inner, depth - 1),
        // Errors of our file readers come out through Parquet's.
        DataFusionError::ParquetError(inner) => match inner.as_ref() {
            ParquetError::External(inner) => explain_foreign(inner.as_ref(), depth - 1),
            other => (ErrorCode::Internal, one_line(&other.to_string())),
        },
        DataFusionError::SQL(inner, _) => (ErrorCode::InvalidInput, sentence(&inner.to_string())),
        DataFusionError::SchemaError(inner, _) => {
            (ErrorCode::InvalidInput, explain_schema_error(inner))
        }
        DataFusionError::Plan(message) => {
            let explained = wrong_arguments(message)
                .or_else(|| same_names(message))
                .or_else(|| wrong_column_count(message))
                .unwrap_or_else(|| sentence(message));
            (ErrorCode::InvalidInput, explained)
        }
        DataFusionError::Configuration(message) | DataFusionError::Execution(message) => {
            (ErrorCode::InvalidInput, sentence(message))
        }
        DataFusionError::NotImplemented(message) => {
            let explained = unplanned_expression(message).map(str::to_string);
            let explained = explained.unwrap_or_else(|| sentence(message));
            (ErrorCode::Unsupported, explained)
        }
        DataFusionError::ResourcesExhausted(message) => {
            (ErrorCode::ResourceExhausted, sentence(message))
        }
        DataFusionError::ObjectStore(inner) => {
            let code = match inner.as_ref() {
                datafusion::object_store::Error::NotFound { .. } => ErrorCode::NotFound,
                datafusion::object_store::Error::PermissionDenied { .. } => {
                    ErrorCode::PermissionDenied
                }
                _ => ErrorCode::Unavailable,
            };
            (code, sentence(&inner.to_string()))
        }
        DataFusionError::IoError(inner) => (ErrorCode::Unavailable, sentence(&inner.to_string())),
        DataFusionError::Internal(message) => match wrong_arguments(message) {
            Some(explained) => (ErrorCode::InvalidInput, explained),
            None => (
                ErrorCode::Internal,
                format!("internal error: {}", one_line(message)),
            ),
        },
        other => (ErrorCode::Internal, one_line(&other.strip_backtrace())),
    }
}

fn explain_arrow(error: &ArrowError, depth: usize) -> (ErrorCode, String) {
    match error {
        ArrowError::ExternalError(inner) => explain_foreign(inner.as_ref(), depth),
        ArrowError::DivideByZero => (ErrorCode::InvalidInput, "division by zero".to_string()),
        ArrowError::CastError(message)
        | ArrowError::ParseError(message)
        | ArrowError::ComputeError(message)
        | ArrowError::ArithmeticOverflow(message)
        | ArrowError::CsvError(message)
        | ArrowError::JsonError(message)
        | ArrowError::InvalidArgumentError(message) => (ErrorCode::InvalidInput, sentence(message)),
        ArrowError::NotYetImplemented(message) => (ErrorCode::Unsupported, sentence(message)),
        ArrowError::MemoryError(message) => (ErrorCode::ResourceExhausted, sentence(message)),
        ArrowError::IoError(message, _) => (ErrorCode::Unavailable, sentence(message)),
        other => (ErrorCode::Internal, sentence(&other.to_string())),
    }
}

/// Looks for an error that is understood behind a boxed one and its sources.
fn explain_foreign(error: &(dyn Error + 'static), depth: usize) -> (ErrorCode, String) {
    if depth > 0 {
        if let Some(ours) = error.downcast_ref::<CoordinatorError>() {
            return (ours.code(), ours.to_string());
        }
        if let Some(catalog) = error.downcast_ref::<CatalogError>() {
            return (catalog_code(catalog), catalog.to_string());
        }
        if let Some(engine) = error.downcast_ref::<EngineError>() {
            return match engine {
                EngineError::DataFusion(inner) => explain(inner, depth - 1),
                EngineError::View { view, source } => explain_view(view, source, depth - 1),
                other => (engine_code(other), other.to_string()),
            };
        }
        if let Some(datafusion) = error.downcast_ref::<DataFusionError>() {
            return explain(datafusion, depth - 1);
        }
        if let Some(datafusion) = error.downcast_ref::<Arc<DataFusionError>>() {
            return explain(datafusion, depth - 1);
        }
        if let Some(arrow) = error.downcast_ref::<ArrowError>() {
            return explain_arrow(arrow, depth - 1);
        }
        if let Some(source) = error.source() {
            let (code, message) = explain_foreign(source, depth - 1);
            // Only a source that is understood says more than the error around it.
            if code != ErrorCode::Internal {
                return (code, message);
            }
        }
    }
    (ErrorCode::Internal, one_line(&error.to_string()))
}

/// Why the query of a view cannot be planned.
fn explain_view(view: &str, source: &DataFusionError, depth: usize) -> (ErrorCode, String) {
    let (code, message) = explain(source, depth);
    // Errors of views in it begin with their own names.
    match message.starts_with("view ") {
        true => (code, message),
        false => (code, format!("view {view}: {message}")),
    }
}

/// A call that no signature fits. DataFusion tells it with all its attempts, and blames
/// itself.
fn wrong_arguments(message: &str) -> Option<String> {
    let (_, call) = message.split_once("given name and argument types '")?;
    let (call, _) = call.split_once('\'')?;
    let call = sql_types(call);
    Some(format!(
        "there is no function {call}: cast its arguments, or look at SHOW FUNCTIONS"
    ))
}

/// Two columns of one name in a list of expressions.
fn same_names(message: &str) -> Option<String> {
    let (_, expressions) =
        message.split_once("require unique expression names but the expression \"")?;
    let (expression, _) = expressions.split_once("\" at position")?;
    let is_column = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
    // `… AS a`, but not `CAST(… AS …)`.
    let expression = match expression.rsplit_once(" AS ") {
        Some((_, alias)) if alias.chars().all(is_column) => alias,
        _ => expression,
    };
    let name = match expression.chars().all(is_column) {
        true => expression.rsplit('.').next().unwrap_or(expression),
        false => expression,
    };
    Some(column_twice(&sql_types(name)))
}

fn column_twice(name: &str) -> String {
    format!("column name {name} is there twice: give one of them another with AS")
}

/// An expression that no operator computes where it stands. DataFusion shows its own form of it.
fn unplanned_expression(message: &str) -> Option<&'static str> {
    let (_, expression) =
        message.split_once("Physical plan does not support logical expression ")?;
    let kind = expression.split(['(', ' ']).next()?;
    match kind {
        "OuterReferenceColumn" => Some(
            "columns of an outer query, or of another table in FROM, can be used here only by = in \
             the WHERE of a subquery",
        ),
        "InSubquery" | "Exists" | "ScalarSubquery" | "SetComparison" => Some(
            "a subquery here cannot be planned: refer to columns of the outer query only by \
                 = in its WHERE, or write it as a join",
        ),
        "WindowFunction" => {
            Some("a window function cannot stand in a condition: compute it in a subquery in FROM")
        }
        _ => None,
    }
}

/// Says how to write an `INSERT` whose query has too few or too many columns.
fn wrong_column_count(message: &str) -> Option<String> {
    message
        .starts_with("Column count doesn't match insert query")
        .then(|| {
            "the inserted rows do not have as many columns as the table: list those that they have, \
             as in INSERT INTO t (a, b)"
                .to_string()
        })
}

fn explain_schema_error(error: &SchemaError) -> String {
    let (field, valid_fields) = match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => (field, valid_fields),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => return column_twice(name),
        SchemaError::AmbiguousReference { field } => {
            let name = field.quoted_flat_name();
            return format!("column {name} is ambiguous: several columns have this name");
        }
    };
    let column = field.quoted_flat_name();
    // Hidden columns, and those of our own, such as the position of a row that is changed, are
    // nobody's business.
    let is_visible = |column: &&Column| !column.name.starts_with('$');
    let visible: Vec<Column> = valid_fields.iter().filter(is_visible).cloned().collect();
    let among_visible = SchemaError::FieldNotFound {
        field: field.clone(),
        valid_fields: visible.clone(),
    };
    let text = among_visible.to_string();
    let first_line = text.lines().next().unwrap_or_default();
    if let Some((_, suggestion)) = first_line.split_once(". Did you mean '") {
        let name = suggestion.trim_end_matches("'?");
        return format!("column {column} does not exist; did you mean {name}?");
    }
    if visible.is_empty() {
        return format!("column {column} does not exist");
    }
    let mut names: Vec<String> = visible
        .iter()
        .take(MAX_LISTED_COLUMNS)
        .map(|valid| valid.quoted_flat_name())
        .collect();
    if visible.len() > MAX_LISTED_COLUMNS {
        names.push("…".to_string());
    }
    format!(
        "column {column} does not exist; there are {}",
        names.join(", ")
    )
}

/// One line that begins in lower case, unless its first word is an acronym or a keyword.
fn sentence(message: &str) -> String {
    let folded = sql_types(&one_line(message));
    let mut characters = folded.chars();
    let (Some(first), Some(second)) = (characters.next(), characters.next()) else {
        return folded;
    };
    if first.is_uppercase() && second.is_lowercase() {
        let rest: String = folded.chars().skip(1).collect();
        return format!("{}{rest}", first.to_lowercase());
    }
    folded
}

/// Arrow's names of types as those of SQL.
fn sql_types(message: &str) -> String {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let mut text = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(start) = rest.find(is_part) {
        let (before, word_and_rest) = rest.split_at(start);
        let end = word_and_rest.find(|c| !is_part(c));
        let (word, after) = word_and_rest.split_at(end.unwrap_or(word_and_rest.len()));
        text.push_str(before);
        text.push_str(sql_type(word));
        rest = after;
    }
    text.push_str(rest);
    text
}

fn sql_type(word: &str) -> &str {
    match word {
        "Int8" | "Int16" | "Int32" | "UInt8" | "UInt16" => "integer",
        "Int64" | "UInt32" | "UInt64" => "bigint",
        "Float32" => "real",
        "Float64" => "double",
        "Utf8" | "LargeUtf8" | "Utf8View" => "varchar",
        "Binary" | "LargeBinary" | "BinaryView" => "varbinary",
        "Boolean" => "boolean",
        "Date32" | "Date64" => "date",
        "Decimal128" | "Decimal256" => "decimal",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_without_a_full_stop() {
        assert_eq!(one_line("a\n  b.\n"), "a b");
        assert_eq!(one_line("and so on..."), "and so on...");
        assert_eq!(sentence("Cannot do it."), "cannot do it");
        assert_eq!(sentence("SQL is hard"), "SQL is hard");
    }

    #[test]
    fn types_are_those_of_sql() {
        let message = "Cannot cast string 'a' to value of Int64 type";
        let error = DataFusionError::Execution(message.to_string());
        assert_eq!(
            explain_datafusion(&error).1,
            "cannot cast string 'a' to value of bigint type"
        );
        let message = "Function 'sum' failed. No function matches the given name and argument \
            types 'sum(Utf8)'. You might need to add explicit type casts.";
        let error = DataFusionError::Internal(message.to_string());
        assert_eq!(
            explain_datafusion(&error),
            (
                ErrorCode::InvalidInput,
                "there is no function sum(varchar): cast its arguments, or look at SHOW FUNCTIONS"
                    .to_string()
            )
        );
    }

    #[test]
    fn expressions_without_an_operator_are_explained() {
        let message = "Physical plan does not support logical expression InSubquery(InSubquery { \
            expr: Column(Column { relation: None, name: \"id\" }) })";
        let error = DataFusionError::NotImplemented(message.to_string());
        let (code, explained) = explain_datafusion(&error);
        assert_eq!(code, ErrorCode::Unsupported);
        assert!(explained.starts_with("a subquery here"), "{explained}");
        let message = message.replace("InSubquery", "WindowFunction");
        let (_, explained) = explain_datafusion(&DataFusionError::NotImplemented(message));
        assert!(explained.starts_with("a window function"), "{explained}");
    }

    #[test]
    fn an_unknown_column_is_named_with_the_nearest_one() {
        let error = DataFusionError::SchemaError(
            Box::new(SchemaError::FieldNotFound {
                field: Box::new(Column::from_name("custmer_id")),
                valid_fields: vec![Column::from_name("customer_id"), Column::from_name("total")],
            }),
            Box::new(None),
        );
        assert_eq!(
            explain_datafusion(&error),
            (
                ErrorCode::InvalidInput,
                "column custmer_id does not exist; did you mean customer_id?".to_string()
            )
        );
    }

    #[test]
    fn columns_that_are_not_a_users_are_not_named() {
        let valid_fields = ["id", "$path", "$row_file", "$row_pos"];
        let error = SchemaError::FieldNotFound {
            field: Box::new(Column::from_name("$row_fil")),
            valid_fields: valid_fields.map(Column::from_name).to_vec(),
        };
        assert_eq!(
            explain_schema_error(&error),
            "column \"$row_fil\" does not exist; there are id"
        );
    }

    #[test]
    fn wrapped_arithmetic_errors_are_the_users() {
        let error = DataFusionError::Shared(Arc::new(DataFusionError::ArrowError(
            Box::new(ArrowError::ExternalError(Box::new(
                DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None),
            ))),
            None,
        )));
        assert_eq!(
            explain_datafusion(&error),
            (ErrorCode::InvalidInput, "division by zero".to_string())
        );
    }
}
