//! Errors that cross from a worker to the coordinator.
//!
//! Ballista reports a failed task as the debug text of its error. [`encode_task_error`] replaces
//! the error on the worker by one whose text carries its kind and message between markers, in
//! characters that no quoting changes; [`decode_task_error`] finds them in whatever text arrives.

use std::error::Error;
use std::sync::Arc;

use ballista_core::error::BallistaError;
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use ingot_catalog::CatalogError;
use parquet::errors::ParquetError;

use crate::error::EngineError;

const BEGIN: &str = "<ingot-task-error:";
const END: &str = ">";

/// Kinds of errors that are told apart after the journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Input,
    DivideByZero,
    Resources,
    Unsupported,
    NotFound,
    Storage,
    Internal,
}

impl Kind {
    const ALL: [(Self, &str); 7] = [
        (Self::Input, "input"),
        (Self::DivideByZero, "zero"),
        (Self::Resources, "resources"),
        (Self::Unsupported, "unsupported"),
        (Self::NotFound, "notfound"),
        (Self::Storage, "storage"),
        (Self::Internal, "internal"),
    ];

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("internal", |(_, name)| name)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(kind, _)| *kind)
    }
}

/// The error to report for a task that failed with `error`. I/O errors stay I/O errors, and what
/// the scheduler itself must understand (lost shuffle files, cancellation) stays as it is, so
/// that the same tasks are tried again.
pub fn encode_task_error(error: DataFusionError) -> DataFusionError {
    if let DataFusionError::External(inner) = error.find_root()
        && let Some(ballista) = inner.downcast_ref::<BallistaError>()
        && !matches!(
            ballista,
            BallistaError::ArrowError(_) | BallistaError::DataFusionError(_)
        )
    {
        return error;
    }
    let io_kind = match error.find_root() {
        DataFusionError::IoError(source) => Some(source.kind()),
        _ => None,
    };
    let (kind, message) = describe(&error, 16);
    let text = format!("{BEGIN}{}:{}{END}", kind.name(), to_hex(&message));
    match io_kind {
        Some(io_kind) => DataFusionError::IoError(std::io::Error::new(io_kind, text)),
        None => DataFusionError::Execution(text),
    }
}

/// The error that a worker put into a text, if there is one.
pub fn decode_task_error(text: &str) -> Option<DataFusionError> {
    let (_, after) = text.split_once(BEGIN)?;
    let (body, _) = after.split_once(END)?;
    let (kind, message) = body.split_once(':')?;
    let message = from_hex(message)?;
    Some(match Kind::parse(kind)? {
        Kind::Input => DataFusionError::Execution(message),
        Kind::DivideByZero => DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None),
        Kind::Resources => DataFusionError::ResourcesExhausted(message),
        Kind::Unsupported => DataFusionError::NotImplemented(message),
        Kind::NotFound | Kind::Storage => DataFusionError::IoError(std::io::Error::other(message)),
        Kind::Internal => DataFusionError::Internal(message),
    })
}

fn describe(error: &DataFusionError, depth: usize) -> (Kind, String) {
    let text = || error.strip_backtrace();
    if depth == 0 {
        return (Kind::Internal, text());
    }
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            describe(inner, depth - 1)
        }
        DataFusionError::Shared(inner) => describe(inner, depth - 1),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => describe(first, depth - 1),
            None => (Kind::Internal, text()),
        },
        DataFusionError::External(inner) => describe_foreign(inner.as_ref(), depth - 1),
        DataFusionError::ArrowError(inner, _) => describe_arrow(inner, depth - 1),
        // Errors of our file readers come out through Parquet's.
        DataFusionError::ParquetError(inner) => match inner.as_ref() {
            ParquetError::External(inner) => describe_foreign(inner.as_ref(), depth - 1),
            _ => (Kind::Internal, text()),
        },
        DataFusionError::Plan(message)
        | DataFusionError::Configuration(message)
        | DataFusionError::Execution(message) => (Kind::Input, message.clone()),
        DataFusionError::SQL(..) | DataFusionError::SchemaError(..) => (Kind::Input, text()),
        DataFusionError::NotImplemented(message) => (Kind::Unsupported, message.clone()),
        DataFusionError::ResourcesExhausted(message) => (Kind::Resources, message.clone()),
        DataFusionError::ObjectStore(inner) => {
            let kind = match inner.as_ref() {
                object_store::Error::NotFound { .. } => Kind::NotFound,
                _ => Kind::Storage,
            };
            (kind, inner.to_string())
        }
        DataFusionError::IoError(inner) => match inner.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => (
                Kind::Resources,
                format!(
                    "the disk of a worker's folder for shuffle and spill files is full: {inner}"
                ),
            ),
            _ => (Kind::Storage, inner.to_string()),
        },
        DataFusionError::Internal(message) => (Kind::Internal, message.clone()),
        _ => (Kind::Internal, text()),
    }
}

fn describe_arrow(error: &ArrowError, depth: usize) -> (Kind, String) {
    match error {
        ArrowError::ExternalError(inner) => describe_foreign(inner.as_ref(), depth),
        ArrowError::DivideByZero => (Kind::DivideByZero, String::new()),
        ArrowError::CastError(message)
        | ArrowError::ParseError(message)
        | ArrowError::ComputeError(message)
        | ArrowError::ArithmeticOverflow(message)
        | ArrowError::CsvError(message)
        | ArrowError::JsonError(message)
        | ArrowError::InvalidArgumentError(message) => (Kind::Input, message.clone()),
        ArrowError::NotYetImplemented(message) => (Kind::Unsupported, message.clone()),
        ArrowError::MemoryError(message) => (Kind::Resources, message.clone()),
        ArrowError::IoError(message, source) => {
            if source.kind() == std::io::ErrorKind::StorageFull {
                return (
                    Kind::Resources,
                    format!(
                        "the disk of a worker's folder for shuffle and spill files is full: \
                         {message}"
                    ),
                );
            }
            (Kind::Storage, message.clone())
        }
        other => (Kind::Internal, other.to_string()),
    }
}

fn describe_foreign(error: &(dyn Error + 'static), depth: usize) -> (Kind, String) {
    if depth > 0 {
        if let Some(engine) = error.downcast_ref::<EngineError>() {
            let kind = match engine {
                EngineError::DataFusion(inner) => return describe(inner, depth - 1),
                other => engine_kind(other),
            };
            return (kind, engine.to_string());
        }
        if let Some(catalog) = error.downcast_ref::<CatalogError>() {
            return (catalog_kind(catalog), catalog.to_string());
        }
        if let Some(datafusion) = error.downcast_ref::<DataFusionError>() {
            return describe(datafusion, depth - 1);
        }
        if let Some(datafusion) = error.downcast_ref::<Arc<DataFusionError>>() {
            return describe(datafusion, depth - 1);
        }
        if let Some(arrow) = error.downcast_ref::<ArrowError>() {
            return describe_arrow(arrow, depth - 1);
        }
        match error.downcast_ref::<BallistaError>() {
            Some(BallistaError::ArrowError(arrow)) => return describe_arrow(arrow, depth - 1),
            Some(BallistaError::DataFusionError(inner)) => return describe(inner, depth - 1),
            _ => {}
        }
    }
    (Kind::Internal, error.to_string())
}

fn engine_kind(error: &EngineError) -> Kind {
    match error {
        EngineError::Catalog(catalog) => catalog_kind(catalog),
        EngineError::InvalidInput(_)
        | EngineError::MalformedValue { .. }
        | EngineError::UnsupportedType { .. } => Kind::Input,
        EngineError::Unsupported(_) => Kind::Unsupported,
        EngineError::FileMissing { .. } => Kind::NotFound,
        EngineError::CorruptFile { .. } => Kind::Storage,
        EngineError::InSnapshot { source, .. } => engine_kind(source),
        _ => Kind::Internal,
    }
}

fn catalog_kind(error: &CatalogError) -> Kind {
    match error {
        CatalogError::InvalidInput(_) => Kind::Input,
        CatalogError::Unsupported(_) => Kind::Unsupported,
        _ => Kind::Storage,
    }
}

fn to_hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<String> {
    let bytes = text
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<Vec<u8>>>()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journey(error: DataFusionError) -> DataFusionError {
        let reported = format!(
            "Task failed: DataFusionError({:?})",
            encode_task_error(error)
        );
        decode_task_error(&reported).unwrap()
    }

    #[test]
    fn a_missing_file_is_told_as_it_is() {
        let missing = EngineError::FileMissing {
            table: "s.t".to_string(),
            snapshot_id: Some(7),
            kind: "data",
            path: "/t/a.parquet".to_string(),
        };
        let message = missing.to_string();
        let start = "table s.t, snapshot 7: data file /t/a.parquet does not exist: ";
        assert!(message.starts_with(start), "{message}");
        let error = ParquetError::External(Box::new(missing));
        let arrived = journey(DataFusionError::ParquetError(Box::new(error)));
        assert!(arrived.to_string().contains(&message), "{arrived}");
    }

    #[test]
    fn a_corrupt_file_keeps_its_snapshot() {
        let corrupt = EngineError::CorruptFile {
            path: "/t/a.parquet".to_string(),
            reason: "it is cut short".to_string(),
        };
        let error = DataFusionError::from(corrupt.in_snapshot("s.t", Some(7)));
        let arrived = journey(error);
        assert!(matches!(arrived, DataFusionError::IoError(_)), "{arrived}");
        let message = "table s.t, snapshot 7: file /t/a.parquet: it is cut short";
        assert!(arrived.to_string().contains(message), "{arrived}");
    }

    #[test]
    fn errors_keep_their_kind_and_message() {
        let message = "cannot cast string 'ä\"\\\n:>' to Int64";
        let cast =
            DataFusionError::ArrowError(Box::new(ArrowError::CastError(message.to_string())), None);
        match journey(cast) {
            DataFusionError::Execution(text) => assert_eq!(text, message),
            other => panic!("{other:?}"),
        }
        let exhausted = DataFusionError::ResourcesExhausted("pool".to_string()).context("sorting");
        assert!(matches!(
            journey(exhausted),
            DataFusionError::ResourcesExhausted(text) if text == "pool"
        ));
        let zero = DataFusionError::Shared(Arc::new(DataFusionError::ArrowError(
            Box::new(ArrowError::DivideByZero),
            None,
        )));
        assert!(matches!(
            journey(zero),
            DataFusionError::ArrowError(inner, _) if matches!(*inner, ArrowError::DivideByZero)
        ));
        let malformed = EngineError::MalformedValue {
            path: "a.csv".to_string(),
            line: 7,
            column: "price".to_string(),
            reason: "x is no number".to_string(),
        };
        let text = malformed.to_string();
        assert!(matches!(
            journey(DataFusionError::from(malformed)),
            DataFusionError::Execution(arrived) if arrived == text
        ));
    }

    #[test]
    fn what_ballista_wraps_is_seen_through_and_what_it_needs_is_kept() {
        let wrap =
            |error: BallistaError| DataFusionError::Shared(Arc::new(error.into_datafusion()));
        let zero = wrap(BallistaError::ArrowError(Box::new(
            ArrowError::DivideByZero,
        )));
        assert!(matches!(journey(zero), DataFusionError::ArrowError(..)));
        let lost = wrap(BallistaError::FetchFailed(
            "w".to_string(),
            1,
            2,
            "gone".to_string(),
        ));
        let kept = format!("{:?}", encode_task_error(lost));
        assert!(kept.contains("FetchFailed"), "{kept}");
    }

    #[test]
    fn a_full_disk_is_tried_again_and_explained() {
        let full = std::io::Error::new(std::io::ErrorKind::StorageFull, "no space left");
        let encoded = encode_task_error(DataFusionError::IoError(full));
        assert!(matches!(encoded, DataFusionError::IoError(_)));
        match decode_task_error(&format!("{encoded:?}")).unwrap() {
            DataFusionError::ResourcesExhausted(text) => assert!(text.contains("full"), "{text}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn other_texts_hold_no_error() {
        assert!(decode_task_error("stage 3 failed").is_none());
        assert!(decode_task_error("<ingot-task-error:input:zz>").is_none());
    }
}
