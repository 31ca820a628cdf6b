//! Encoding of physical plans for workers.
//!
//! DataFusion's default encoding of a file scan silently drops the extensions of its
//! files, and so the deletes, and every adapter that maps columns. Hence our own nodes for
//! scans and writes of Iceberg tables, and for joins that Ballista must not plan again; everything
//! else is Ballista's.

mod access;
pub(crate) mod csv;
pub mod scan;

use std::sync::Arc;

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::physical_expr::proto_decode::PhysicalExprDecodeCtx;
use datafusion::physical_expr_common::physical_expr::proto_encode::PhysicalExprEncodeCtx;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::physical_plan_node::PhysicalPlanType;
use datafusion_proto::protobuf::{PhysicalExtensionNode, PhysicalPlanNode};
use ingot_catalog::Storage;
use ingot_proto::plan::{
    BroadcastJoinNode, IcebergWriteNode, PlanNode, StorageAccess, plan_node::Node,
};
use prost::Message;

use crate::broadcast_join::BroadcastJoinExec;
use crate::scan::ScanServices;
use crate::write::{self, IcebergWriteExec};

/// What our nodes begin with. Ballista's are protocol buffers, whose first byte is never 0.
const MAGIC: &[u8] = b"\0INGOT1\0";

/// The codec of coordinator and workers: one per process.
#[derive(Debug)]
pub struct IngotPhysicalCodec {
    services: Arc<ScanServices>,
    ballista: BallistaPhysicalExtensionCodec,
}

impl IngotPhysicalCodec {
    /// A codec whose decoded scans read through `storage`, with caches of their own.
    pub fn new(storage: Arc<Storage>) -> Self {
        Self::with_services(ScanServices::new(storage))
    }

    /// A codec whose decoded scans share these caches with the process's other scans.
    pub fn with_services(services: Arc<ScanServices>) -> Self {
        Self {
            services,
            ballista: BallistaPhysicalExtensionCodec::default(),
        }
    }
}

/// One of our nodes as bytes, with credentials for its files.
fn node_to_bytes(node: Node, storage_access: Vec<StorageAccess>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let node = PlanNode {
        node: Some(node),
        storage_access,
    };
    bytes.extend(node.encode_to_vec());
    bytes
}

/// The encoding of a [`BroadcastJoinExec`] around the join that `join` encodes, inputs included.
pub(crate) fn broadcast_join_node(join: &PhysicalPlanNode) -> PhysicalPlanNode {
    let node = BroadcastJoinNode {
        join: join.encode_to_vec(),
    };
    PhysicalPlanNode {
        physical_plan_type: Some(PhysicalPlanType::Extension(PhysicalExtensionNode {
            node: node_to_bytes(Node::BroadcastJoin(node), Vec::new()),
            inputs: Vec::new(),
        })),
    }
}

fn decode_broadcast_join(
    node: &BroadcastJoinNode,
    codec: &dyn PhysicalExtensionCodec,
    context: &TaskContext,
    converter: &dyn PhysicalProtoConverterExtension,
) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let node = PhysicalPlanNode::decode(node.join.as_slice()).map_err(cannot_decode)?;
    let decode_context = PhysicalPlanDecodeContext::new(context, codec);
    let plan = converter.proto_to_execution_plan(&node, &decode_context)?;
    let join = plan
        .downcast_ref::<HashJoinExec>()
        .ok_or_else(|| cannot_decode("a broadcast join is not a hash join"))?;
    let join = BroadcastJoinExec::try_new(join.builder().build()?)?;
    Ok(Arc::new(join))
}

fn cannot_decode(reason: impl std::fmt::Display) -> DataFusionError {
    DataFusionError::Internal(format!(
        "a plan from the coordinator cannot be read: {reason}; run the same version of ingot everywhere"
    ))
}

impl PhysicalExtensionCodec for IngotPhysicalCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let Some(bytes) = bytes.strip_prefix(MAGIC) else {
            return self.ballista.try_decode(bytes, inputs, context, converter);
        };
        let PlanNode {
            node,
            storage_access,
        } = PlanNode::decode(bytes).map_err(cannot_decode)?;
        access::take(self.services.storage(), storage_access)?;
        match node {
            Some(Node::IcebergScan(node)) => {
                scan::decode(node, &self.services, self, context, converter)
            }
            Some(Node::CsvScan(node)) => {
                csv::decode(node, self.services.storage(), self, context, converter)
            }
            Some(Node::IcebergWrite(node)) => Ok(write::decode(&node.payload, inputs)?),
            Some(Node::BroadcastJoin(node)) => {
                decode_broadcast_join(&node, self, context, converter)
            }
            None => Err(cannot_decode("unknown node")),
        }
    }

    /// Scans and broadcast joins encode themselves (`try_to_proto`) and never come here.
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> DataFusionResult<()> {
        if let Some(write_node) = node.downcast_ref::<IcebergWriteExec>() {
            let payload = write::encode(write_node)?;
            let folder = write_node.target().data_location.as_str();
            let storage_access = access::encode(self.services.storage(), [folder]);
            let node = Node::IcebergWrite(IcebergWriteNode { payload });
            *bytes = node_to_bytes(node, storage_access);
            return Ok(());
        }
        self.ballista.try_encode(node, bytes, converter)
    }

    fn try_decode_udf(&self, name: &str, bytes: &[u8]) -> DataFusionResult<Arc<ScalarUDF>> {
        self.ballista.try_decode_udf(name, bytes)
    }

    fn try_encode_udf(&self, node: &ScalarUDF, bytes: &mut Vec<u8>) -> DataFusionResult<()> {
        self.ballista.try_encode_udf(node, bytes)
    }

    fn try_decode_higher_order_function(
        &self,
        name: &str,
        bytes: &[u8],
    ) -> DataFusionResult<Arc<HigherOrderUDF>> {
        self.ballista.try_decode_higher_order_function(name, bytes)
    }

    fn try_encode_higher_order_function(
        &self,
        node: &HigherOrderUDF,
        bytes: &mut Vec<u8>,
    ) -> DataFusionResult<()> {
        self.ballista.try_encode_higher_order_function(node, bytes)
    }

    fn try_decode_expr(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn PhysicalExpr>],
        context: &PhysicalExprDecodeCtx<'_>,
    ) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
        self.ballista.try_decode_expr(bytes, inputs, context)
    }

    fn try_encode_expr(
        &self,
        node: &Arc<dyn PhysicalExpr>,
        bytes: &mut Vec<u8>,
        context: &PhysicalExprEncodeCtx<'_>,
    ) -> DataFusionResult<()> {
        self.ballista.try_encode_expr(node, bytes, context)
    }

    fn try_decode_udaf(&self, name: &str, bytes: &[u8]) -> DataFusionResult<Arc<AggregateUDF>> {
        self.ballista.try_decode_udaf(name, bytes)
    }

    fn try_encode_udaf(&self, node: &AggregateUDF, bytes: &mut Vec<u8>) -> DataFusionResult<()> {
        self.ballista.try_encode_udaf(node, bytes)
    }

    fn try_decode_udwf(&self, name: &str, bytes: &[u8]) -> DataFusionResult<Arc<WindowUDF>> {
        self.ballista.try_decode_udwf(name, bytes)
    }

    fn try_encode_udwf(&self, node: &WindowUDF, bytes: &mut Vec<u8>) -> DataFusionResult<()> {
        self.ballista.try_encode_udwf(node, bytes)
    }
}
