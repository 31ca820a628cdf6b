//! Encoding of scans: DataFusion's own for what it covers, ours for what it drops.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::proto::ExecutionPlanEncodeCtx;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::physical_plan_node::PhysicalPlanType;
use datafusion_proto::protobuf::{PhysicalExtensionNode, PhysicalPlanNode};
use iceberg::spec::Schema as IcebergSchema;
use ingot_catalog::scan::DeleteFileRef;
use ingot_proto::plan::plan_node::Node;
use ingot_proto::plan::{IcebergScanNode, ScanFile};
use prost::Message;

use super::{access, cannot_decode, node_to_bytes};
use crate::error::EngineError;
use crate::scan::row_ids;
use crate::scan::{FileDetails, IcebergFileSource, ScanDescription, ScanServices};

/// Encodes the scan `config` of `source`, as an extension node without inputs.
pub(crate) fn encode(
    source: &IcebergFileSource,
    config: &FileScanConfig,
    context: &ExecutionPlanEncodeCtx<'_>,
) -> DataFusionResult<PhysicalPlanNode> {
    let description = source.description();
    let parquet_scan = match description.has_row_ids {
        true => {
            let schema = row_ids::encodable_schema(source.parquet().table_schema());
            let parquet = with_schema(source.parquet(), schema)?;
            let config = FileScanConfigBuilder::from(config.clone())
                .with_source(Arc::new(parquet.clone()))
                .build();
            parquet.try_to_proto(&config, context)?
        }
        false => source.parquet().try_to_proto(config, context)?,
    };
    let parquet_scan =
        parquet_scan.ok_or_else(|| cannot_encode("a parquet scan does not encode itself"))?;

    let mut delete_lists_json = Vec::new();
    let mut delete_list_indices: HashMap<String, u32> = HashMap::new();
    let mut files = Vec::new();
    let mut locations: Vec<&str> = Vec::new();
    for file in config.file_groups.iter().flat_map(FileGroup::iter) {
        let details = file
            .extension::<FileDetails>()
            .ok_or_else(|| cannot_encode("a file of an iceberg scan has no details"))?;
        locations.push(details.location.as_ref());
        locations.extend(details.deletes.iter().map(|delete| delete.path.as_str()));
        let delete_list = if details.deletes.is_empty() {
            0
        } else {
            let json = serde_json::to_string(&details.deletes.to_vec()).map_err(cannot_encode)?;
            match delete_list_indices.get(&json) {
                Some(index) => *index,
                None => {
                    delete_lists_json.push(json.clone());
                    let index = u32::try_from(delete_lists_json.len()).map_err(cannot_encode)?;
                    delete_list_indices.insert(json, index);
                    index
                }
            }
        };
        files.push(ScanFile {
            location: details.location.to_string(),
            record_count: details.record_count,
            delete_list,
            columns_that_must_exist: details.columns_that_must_exist.to_vec(),
        });
    }
    let storage_access = access::encode(description.services().storage(), locations);
    let node = IcebergScanNode {
        parquet_scan: parquet_scan.encode_to_vec(),
        table_name: description.table_name.clone(),
        schema_json: serde_json::to_string(description.schema().as_ref()).map_err(cannot_encode)?,
        name_mapping_json: description.name_mapping_json.clone(),
        files,
        delete_lists_json,
        limit: config.limit.map(|limit| limit as u64),
        preserve_order: config.preserve_order,
        has_row_ids: description.has_row_ids,
        snapshot_id: description.snapshot_id,
    };
    Ok(PhysicalPlanNode {
        physical_plan_type: Some(PhysicalPlanType::Extension(PhysicalExtensionNode {
            node: node_to_bytes(Node::IcebergScan(node), storage_access),
            inputs: Vec::new(),
        })),
    })
}

/// Rebuilds the scan.
pub(super) fn decode(
    node: IcebergScanNode,
    services: &Arc<ScanServices>,
    codec: &dyn PhysicalExtensionCodec,
    context: &TaskContext,
    converter: &dyn PhysicalProtoConverterExtension,
) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let parquet_node =
        PhysicalPlanNode::decode(node.parquet_scan.as_slice()).map_err(cannot_decode)?;
    let decode_context = PhysicalPlanDecodeContext::new(context, codec);
    let parquet_plan = converter.proto_to_execution_plan(&parquet_node, &decode_context)?;
    let not_parquet = || cannot_decode("an iceberg scan is not a parquet scan");
    let config = parquet_plan
        .downcast_ref::<DataSourceExec>()
        .and_then(|exec| exec.data_source().downcast_ref::<FileScanConfig>())
        .ok_or_else(not_parquet)?;
    let parquet = config
        .file_source()
        .downcast_ref::<ParquetSource>()
        .ok_or_else(not_parquet)?;

    let schema: IcebergSchema = serde_json::from_str(&node.schema_json).map_err(cannot_decode)?;
    let mut description = ScanDescription::new(
        node.table_name,
        Arc::new(schema),
        node.name_mapping_json,
        Arc::clone(services),
    )?;
    description.has_row_ids = node.has_row_ids;
    description.snapshot_id = node.snapshot_id;
    let parquet = match node.has_row_ids {
        true => {
            let schema = row_ids::decoded_schema(parquet.table_schema());
            with_schema(parquet, schema)?
        }
        false => parquet.clone(),
    };
    let delete_lists = node
        .delete_lists_json
        .iter()
        .map(|json| serde_json::from_str::<Vec<DeleteFileRef>>(json).map(Arc::from))
        .collect::<Result<Vec<Arc<[DeleteFileRef]>>, _>>()
        .map_err(cannot_decode)?;

    let mut encoded_files = node.files.into_iter();
    let mut file_groups = Vec::with_capacity(config.file_groups.len());
    for group in &config.file_groups {
        let mut files = Vec::with_capacity(group.len());
        for file in group.iter() {
            let encoded = encoded_files
                .next()
                .ok_or_else(|| cannot_decode("a scan has more files than details"))?;
            let deletes = match encoded.delete_list.checked_sub(1) {
                None => Vec::new().into(),
                Some(index) => delete_lists
                    .get(index as usize)
                    .cloned()
                    .ok_or_else(|| cannot_decode("a file's deletes are missing"))?,
            };
            files.push(file.clone().with_extension(FileDetails {
                location: encoded.location.into(),
                record_count: encoded.record_count,
                deletes,
                columns_that_must_exist: encoded.columns_that_must_exist.into(),
            }));
        }
        file_groups.push(FileGroup::new(files));
    }
    if encoded_files.next().is_some() {
        return Err(cannot_decode("a scan has fewer files than details"));
    }
    let limit = node
        .limit
        .map(usize::try_from)
        .transpose()
        .map_err(cannot_decode)?;
    let source = IcebergFileSource::wrap(parquet, Arc::new(description));
    let config = FileScanConfigBuilder::from(config.clone())
        .with_source(Arc::new(source))
        .with_file_groups(file_groups)
        .with_limit(limit)
        .with_preserve_order(node.preserve_order)
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// The same source with the columns of another table schema, which must be the same columns
/// in the same order.
fn with_schema(source: &ParquetSource, schema: TableSchema) -> DataFusionResult<ParquetSource> {
    let options = source.table_parquet_options().clone();
    let mut rebuilt = ParquetSource::new(schema).with_table_parquet_options(options);
    if let Some(predicate) = source.filter() {
        rebuilt = rebuilt.with_predicate(predicate);
    }
    let Some(projection) = source.projection() else {
        return Ok(rebuilt);
    };
    let projected = rebuilt.try_pushdown_projection(projection)?;
    projected
        .as_ref()
        .and_then(|source| source.downcast_ref::<ParquetSource>())
        .cloned()
        .ok_or_else(|| cannot_encode("a parquet scan does not take its projection"))
}

fn cannot_encode(reason: impl std::fmt::Display) -> datafusion::error::DataFusionError {
    EngineError::InvalidInput(format!("a plan cannot be sent to workers: {reason}")).into()
}
