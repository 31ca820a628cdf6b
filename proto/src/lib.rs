//! Protocol buffers of everything that crosses a process boundary.

/// What distributed plans need beyond DataFusion's and Ballista's own encoding.
#[allow(clippy::all, missing_docs)]
pub mod plan {
    tonic::include_proto!("ingot.plan");
}
