//! What clients ask about catalogs, tables and the server.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, UInt32Type};
use arrow::ipc::convert::try_schema_from_flatbuffer_bytes;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables, SqlInfo};

use super::{Fixture, fetch, show};

fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[tokio::test]
async fn catalogs_and_schemas_are_listed() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let info = client.get_catalogs().await.unwrap();
    let schema = info.clone().try_decode_schema().unwrap();
    assert_eq!(
        schema,
        Schema::new(vec![Field::new("catalog_name", DataType::Utf8, false)])
    );
    assert!(show(&fetch(&mut client, info).await).contains("iceberg"));
    let filtered = CommandGetDbSchemas {
        catalog: Some("iceberg".to_string()),
        db_schema_filter_pattern: Some("g%".to_string()),
    };
    let info = client.get_db_schemas(filtered).await.unwrap();
    let text = show(&fetch(&mut client, info).await);
    assert!(text.contains("gold") && !text.contains("bronze"), "{text}");
    let elsewhere = CommandGetDbSchemas {
        catalog: Some("nowhere".to_string()),
        db_schema_filter_pattern: None,
    };
    let info = client.get_db_schemas(elsewhere).await.unwrap();
    assert_eq!(count(&fetch(&mut client, info).await), 0);
}

#[tokio::test]
async fn tables_are_listed_with_their_columns() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let command = CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: Some("gold".to_string()),
        table_name_filter_pattern: Some("d%".to_string()),
        table_types: vec![],
        include_schema: true,
    };
    let info = client.get_tables(command).await.unwrap();
    let batches = fetch(&mut client, info).await;
    assert_eq!(
        batches[0].num_rows(),
        1,
        "a table dropped meanwhile is left out"
    );
    let bytes = batches[0].column(4).as_binary::<i32>().value(0);
    // The stored message has the length prefix of the IPC stream format.
    let schema = arrow::ipc::convert::try_schema_from_ipc_buffer(bytes)
        .or_else(|_| try_schema_from_flatbuffer_bytes(bytes))
        .unwrap();
    assert_eq!(
        schema,
        Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
        ])
    );
    let all = CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: None,
        table_name_filter_pattern: None,
        table_types: vec!["TABLE".to_string()],
        include_schema: false,
    };
    let info = client.get_tables(all.clone()).await.unwrap();
    assert_eq!(count(&fetch(&mut client, info).await), 4);
    let views = CommandGetTables {
        table_types: vec!["VIEW".to_string()],
        ..all
    };
    let info = client.get_tables(views).await.unwrap();
    assert_eq!(count(&fetch(&mut client, info).await), 0);
}

#[tokio::test]
async fn the_server_describes_itself() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let asked = vec![
        SqlInfo::FlightSqlServerName,
        SqlInfo::FlightSqlServerArrowVersion,
        SqlInfo::FlightSqlServerReadOnly,
        SqlInfo::SqlIdentifierQuoteChar,
    ];
    let info = client.get_sql_info(asked).await.unwrap();
    let batches = fetch(&mut client, info).await;
    let names = batches[0].column(0).as_primitive::<UInt32Type>();
    assert_eq!(names.values().to_vec(), [0, 2, 3, 504]);
    let keys = CommandGetPrimaryKeys {
        catalog: None,
        db_schema: None,
        table: "daily".to_string(),
    };
    let info = client.get_primary_keys(keys).await.unwrap();
    assert_eq!(count(&fetch(&mut client, info).await), 0);
    let info = client.get_table_types().await.unwrap();
    assert!(show(&fetch(&mut client, info).await).contains("TABLE"));
}
