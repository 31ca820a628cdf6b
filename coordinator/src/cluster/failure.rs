//! What went wrong on the workers, in the words of the query.
//!
//! Ballista hands over a text only. Workers put the error into it in a form that survives the
//! wrapping (see `ingot_engine::task_error`), and this takes it out again.

use ballista_core::error::BallistaError;
use datafusion::error::DataFusionError;
use ingot_engine::task_error::decode_task_error;

use crate::error::{CoordinatorError, one_line};

/// The error of a job that failed with Ballista's `message`.
pub(super) fn job_failure(message: &str) -> CoordinatorError {
    if let Some(error) = decode_task_error(message) {
        return CoordinatorError::from(error);
    }
    if message.contains("all executors were lost") || message.contains("executors remain") {
        return CoordinatorError::Unavailable(
            "all workers were lost while the query ran; start workers and run it again".to_string(),
        );
    }
    if message.contains("task could not be prepared or was rejected by executor") {
        return CoordinatorError::Internal(
            "the plan cannot be sent to the workers: run the same version of ingot everywhere"
                .to_string(),
        );
    }
    if message.trim() == "Cancelled" {
        return CoordinatorError::Unavailable("the query's job was cancelled".to_string());
    }
    CoordinatorError::Internal(one_line(message))
}

/// Whether a job failed since a worker went away in the middle of a transfer between workers.
///
/// Ballista repairs a stage when a fetch cannot begin, but a connection that breaks later reaches
/// it as an error of the task, before the scheduler has noticed the loss.
pub(super) fn is_broken_connection(message: &str) -> bool {
    const SIGNS: [&str; 5] = [
        "h2 protocol error",
        "error reading a body from connection",
        "stream closed because of a broken pipe",
        "transport error",
        "Connection reset by peer",
    ];
    SIGNS.iter().any(|sign| message.contains(sign))
}

/// The error of planning a job, which fails in the words of Ballista around those of DataFusion.
pub(super) fn ballista_failure(error: BallistaError) -> CoordinatorError {
    match error {
        BallistaError::DataFusionError(inner) => CoordinatorError::from(*inner),
        BallistaError::ArrowError(inner) => {
            CoordinatorError::from(DataFusionError::ArrowError(inner, None))
        }
        other => CoordinatorError::Internal(one_line(&other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use datafusion::arrow::error::ArrowError;
    use ingot_engine::task_error::encode_task_error;

    #[test]
    fn a_division_by_zero_on_a_worker_is_the_users() {
        let original = DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None);
        let wrapped = format!(
            "Job failed due to stage 1 failed: Task failed due to runtime execution error: {:?}\n",
            BallistaError::DataFusionError(Box::new(encode_task_error(original)))
        );
        let error = job_failure(&wrapped);
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        assert_eq!(error.to_string(), "division by zero");
    }

    #[test]
    fn lost_workers_are_named() {
        let error = job_failure(
            "all executors were lost and no executor re-registered within 30s; no executors remain",
        );
        assert_eq!(error.code(), ErrorCode::Unavailable);
    }
}
