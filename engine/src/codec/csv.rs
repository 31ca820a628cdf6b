//! Encoding of strict CSV scans: DataFusion's own for files and projection, ours for the rest.

use std::sync::Arc;

use datafusion::datasource::physical_plan::{FileScanConfig, FileSource};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::proto::ExecutionPlanEncodeCtx;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::physical_plan_node::PhysicalPlanType;
use datafusion_proto::protobuf::{PhysicalExtensionNode, PhysicalPlanNode};
use ingot_catalog::Storage;
use ingot_proto::plan::CsvScanNode;
use ingot_proto::plan::plan_node::Node;
use prost::Message;

use super::{cannot_decode, node_to_bytes};
use crate::csv::{CsvFileSource, decode as decode_source, encode as encode_source};
use crate::error::EngineError;

/// Encodes the scan `config` of `source`, as an extension node without inputs.
pub(crate) fn encode_scan(
    source: &CsvFileSource,
    config: &FileScanConfig,
    context: &ExecutionPlanEncodeCtx<'_>,
) -> DataFusionResult<PhysicalPlanNode> {
    let (settings_json, plain) = encode_source(source)?;
    let plain_scan = plain.try_to_proto(config, context)?.ok_or_else(|| {
        EngineError::InvalidInput("a csv scan cannot be sent to workers".to_string())
    })?;
    let node = CsvScanNode {
        csv_scan: plain_scan.encode_to_vec(),
        settings_json,
    };
    Ok(PhysicalPlanNode {
        physical_plan_type: Some(PhysicalPlanType::Extension(PhysicalExtensionNode {
            node: node_to_bytes(Node::CsvScan(node), Vec::new()),
            inputs: Vec::new(),
        })),
    })
}

/// Rebuilds the scan.
pub(super) fn decode(
    node: CsvScanNode,
    storage: &Arc<Storage>,
    codec: &dyn PhysicalExtensionCodec,
    context: &TaskContext,
    converter: &dyn PhysicalProtoConverterExtension,
) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let plain_node = PhysicalPlanNode::decode(node.csv_scan.as_slice()).map_err(cannot_decode)?;
    let decode_context = PhysicalPlanDecodeContext::new(context, codec);
    let plain_scan = converter.proto_to_execution_plan(&plain_node, &decode_context)?;
    Ok(decode_source(&plain_scan, &node.settings_json, storage)?)
}
