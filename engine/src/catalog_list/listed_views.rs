//! `information_schema.views`, with the columns that Trino has.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::Result as DataFusionResult;

/// One view.
pub(super) struct ListedViewText {
    pub(super) schema_name: String,
    pub(super) view_name: String,
    /// The query; `None` when another engine wrote it in its own dialect.
    pub(super) definition: Option<String>,
}

/// The rows of `information_schema.views` for the views of one catalog.
pub(super) fn views_table(
    catalog: &str,
    views: &[ListedViewText],
) -> DataFusionResult<Arc<dyn TableProvider>> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("table_catalog", DataType::Utf8, false),
        Field::new("table_schema", DataType::Utf8, false),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("view_definition", DataType::Utf8, true),
    ]));
    let texts = |text: &dyn Fn(&ListedViewText) -> Option<String>| {
        Arc::new(views.iter().map(text).collect::<StringArray>()) as ArrayRef
    };
    let arrays = vec![
        texts(&|_| Some(catalog.to_string())),
        texts(&|view| Some(view.schema_name.clone())),
        texts(&|view| Some(view.view_name.clone())),
        texts(&|view| view.definition.clone()),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}
