//! The write operator between processes. Both ends are of the same version.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use super::exec::{IcebergWriteExec, WriteOptions};
use super::target::WriteTarget;
use crate::error::{EngineError, Result};

#[derive(Serialize, Deserialize)]
struct Payload {
    target: WriteTarget,
    options: WriteOptions,
}

/// The operator without its input.
///
/// # Errors
/// `InvalidInput` when the table's metadata has no JSON.
pub fn encode(node: &IcebergWriteExec) -> Result<Vec<u8>> {
    let payload = Payload {
        target: node.target().clone(),
        options: node.options().clone(),
    };
    serde_json::to_vec(&payload).map_err(|error| invalid(&error))
}

/// The operator over `inputs`, which must be one plan.
///
/// # Errors
/// `InvalidInput` when the bytes are not those of [`encode`].
pub fn decode(payload: &[u8], inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
    let payload: Payload = serde_json::from_slice(payload).map_err(|error| invalid(&error))?;
    let [input] = inputs else {
        return Err(invalid(&"it needs one input"));
    };
    let node = IcebergWriteExec::try_new(payload.target, payload.options, Arc::clone(input))?;
    Ok(Arc::new(node))
}

fn invalid(reason: &dyn std::fmt::Display) -> EngineError {
    EngineError::InvalidInput(format!("encoded write operator: {reason}"))
}
