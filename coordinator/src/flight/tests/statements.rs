//! Queries, updates, prepared statements, cancellation.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use arrow_flight::error::FlightError;
use arrow_flight::{CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus};
use futures::StreamExt;
use prost::Message;
use tonic::Code;
use uuid::Uuid;

use super::super::{CANCEL_QUERY_ACTION, QUERY_ID_HEADER, QUERY_PROGRESS_ACTION};
use super::fake_service::{FOREVER, WAIT, eventually};
use super::{Fixture, act, fetch, rows, show};
use crate::service::{ProgressSnapshot, QueryState};

fn status_of(error: FlightError) -> tonic::Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("not a status: {other}"),
    }
}

#[tokio::test]
async fn a_query_returns_its_rows_in_common_types() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let sql = "select id, name, big, arrow_cast(name, 'Dictionary(Int32, Utf8View)') as d \
               from people order by id";
    let info = client.execute(sql.to_string(), None).await.unwrap();
    assert!(fixture.executed().is_empty(), "only described so far");
    let schema = info.clone().try_decode_schema().unwrap();
    let types: Vec<&DataType> = schema
        .fields()
        .iter()
        .map(|field| field.data_type())
        .collect();
    let (text, number) = (DataType::Utf8, DataType::Int64);
    assert_eq!(types, [&number, &text, &number, &text]);
    assert!(!schema.field(0).is_nullable());
    let batches = fetch(&mut client, info).await;
    insta::assert_snapshot!(show(&batches), @r"
    +----+------+---------------------+-----+
    | id | name | big                 | d   |
    +----+------+---------------------+-----+
    | 1  | Ada  | 9223372036854775807 | Ada |
    | 2  |      | 0                   |     |
    +----+------+---------------------+-----+
    ");
}

#[tokio::test]
async fn a_ticket_is_good_once() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let info = client.execute("select 1".to_string(), None).await.unwrap();
    fetch(&mut client, info.clone()).await;
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let status = status_of(client.do_get(ticket).await.err().unwrap());
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn an_empty_result_has_its_schema() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let info = client
        .execute("select id from people where false".to_string(), None)
        .await
        .unwrap();
    let batches = fetch(&mut client, info).await;
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

#[tokio::test]
async fn updates_count_their_rows() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let sql = "insert into people select id + 10, name, big from people";
    let count = client.execute_update(sql.to_string(), None).await.unwrap();
    assert_eq!(count, 2);
    let ddl = "create table fresh (a bigint)".to_string();
    assert_eq!(client.execute_update(ddl, None).await.unwrap(), 0);
    let error = client
        .execute_update("select 1".to_string(), None)
        .await
        .unwrap_err();
    assert_eq!(status_of(error).code(), Code::InvalidArgument);
}

#[tokio::test]
async fn ddl_and_dml_sent_as_queries_are_executed_once() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let ddl = "create table made_by_query (a bigint)";
    let info = client.execute(ddl.to_string(), None).await.unwrap();
    assert_eq!(fixture.executed(), [ddl], "executed before it is fetched");
    insta::assert_snapshot!(show(&fetch(&mut client, info).await), @r"
    +------------+
    | result     |
    +------------+
    | it is done |
    +------------+
    ");
    let insert = "insert into made_by_query values (1), (2), (3)";
    let info = client.execute(insert.to_string(), None).await.unwrap();
    assert_eq!(info.total_records, 3);
    let report = fetch(&mut client, info).await;
    assert_eq!(report[0].column(0).as_primitive::<Int64Type>().value(0), 3);
    assert_eq!(fixture.executed(), [ddl, insert]);
}

#[tokio::test]
async fn a_prepared_query_takes_parameters_again_and_again() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let mut prepared = client
        .prepare("select name from people where id = $1".to_string(), None)
        .await
        .unwrap();
    assert_eq!(prepared.parameter_schema().unwrap().fields().len(), 1);
    assert_eq!(prepared.dataset_schema().unwrap().field(0).name(), "name");
    let error = prepared.execute().await.unwrap_err();
    let message = status_of(error).message().to_string();
    assert_eq!(
        message,
        "the statement has 1 parameters and none were bound"
    );
    for (id, expected) in [("1", "Ada"), ("2", ""), ("1", "Ada")] {
        // Text for a number: converted to what the statement expects.
        let column: ArrayRef = Arc::new(StringArray::from(vec![id]));
        let batch = RecordBatch::try_from_iter([("p", column)]).unwrap();
        prepared.set_parameters(batch).unwrap();
        let info = prepared.execute().await.unwrap();
        let batches = fetch(&mut client, info).await;
        assert_eq!(batches[0].column(0).as_string::<i32>().value(0), expected);
    }
    prepared.close().await.unwrap();
}

#[tokio::test]
async fn a_parameter_may_decide_the_type_of_the_result() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let mut prepared = client
        .prepare("select $1 as given".to_string(), None)
        .await
        .unwrap();
    let column: ArrayRef = Arc::new(Int64Array::from(vec![5]));
    let batch = RecordBatch::try_from_iter([("p", column)]).unwrap();
    prepared.set_parameters(batch).unwrap();
    let info = prepared.execute().await.unwrap();
    let batches = fetch(&mut client, info).await;
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 5);
}

#[tokio::test]
async fn a_prepared_insert_of_several_rows_is_one_statement() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let mut prepared = client
        .prepare("insert into people values ($1, $2, 7)".to_string(), None)
        .await
        .unwrap();
    assert!(prepared.dataset_schema().unwrap().fields().is_empty());
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![11, 12, 13]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("z")]));
    let batch = RecordBatch::try_from_iter_with_nullable([("a", ids, true), ("b", names, true)]);
    prepared.set_parameters(batch.unwrap()).unwrap();
    assert_eq!(prepared.execute_update().await.unwrap(), 3);
    assert_eq!(fixture.executed().len(), 1, "{:?}", fixture.executed());
    let text = rows(
        &mut client,
        "select id, name from people where big = 7 order by id",
    )
    .await;
    insta::assert_snapshot!(text, @r"
    +----+------+
    | id | name |
    +----+------+
    | 11 | x    |
    | 12 |      |
    | 13 | z    |
    +----+------+
    ");
}

/// The rows of one repeated insert are those of inserts one by one.
#[tokio::test]
async fn a_repeated_insert_equals_single_inserts() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    for table in ["fast", "slow"] {
        let ddl = format!("create table {table} (a bigint, b varchar, c double, d date)");
        client.execute_update(ddl, None).await.unwrap();
    }
    let ids: ArrayRef = Arc::new(Int64Array::from_iter(
        (0..3000).map(|n| (n % 7 != 0).then_some(n)),
    ));
    let names: ArrayRef = Arc::new(StringArray::from_iter(
        (0..3000).map(|n| (n % 5 != 0).then(|| format!("it's {n}; \"ü\""))),
    ));
    let batch = RecordBatch::try_from_iter_with_nullable([("a", ids, true), ("b", names, true)]);
    let batch = batch.unwrap();
    for (table, values) in [
        ("fast", "($1, $2, 1.5, '2026-01-02')"),
        // An expression keeps it from being repeated.
        ("slow", "($1, $2, 1.0 + 0.5, date '2026-01-02')"),
    ] {
        let insert = format!("insert into {table} values {values}");
        let mut prepared = client.prepare(insert, None).await.unwrap();
        prepared
            .set_parameters(batch.slice(0, if table == "fast" { 3000 } else { 100 }))
            .unwrap();
        prepared.execute_update().await.unwrap();
    }
    let executed = fixture.executed();
    let repeated = executed.iter().filter(|sql| sql.contains("INTO fast "));
    assert_eq!(
        repeated.count(),
        2,
        "3000 rows of 2 parameters, 4096 at a time"
    );
    let all = rows(
        &mut client,
        "select count(*), count(a), sum(a), count(b) from fast",
    )
    .await;
    let sum: i64 = (0..3000).filter(|n| n % 7 != 0).sum();
    assert!(all.contains(&sum.to_string()), "{all}");
    let first = "(select * from fast where a is null or a < 100)";
    for (left, right) in [(first, "slow"), ("slow", first)] {
        let difference = format!(
            "select * from {left} as l where a < 100 except all select * from {right} as r where a < 100"
        );
        let text = rows(&mut client, &difference).await;
        assert_eq!(text, "++\n++", "no rows");
    }
}

#[tokio::test]
async fn errors_are_one_line_with_the_right_code() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let unknown_column = client
        .execute("select nam from people".to_string(), None)
        .await;
    let status = status_of(unknown_column.unwrap_err());
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "column nam does not exist; did you mean people.name?"
    );
    // An error of the data itself comes while the result is read.
    let info = client
        .execute("select 1 / (id - 1) from people".to_string(), None)
        .await
        .unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.do_get(ticket).await.unwrap();
    let error = loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("no error"),
        }
    };
    let status = status_of(error);
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "division by zero");
}

#[tokio::test]
async fn transactions_are_those_of_the_session() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let id = client.begin_transaction().await.unwrap();
    let in_transaction = client.execute("SELECT 1".to_string(), Some(id.clone()));
    in_transaction.await.unwrap();
    client
        .end_transaction(id.clone(), arrow_flight::sql::EndTransaction::Commit)
        .await
        .unwrap();
    let executed = fixture.service.observed.executed.lock().unwrap().clone();
    assert_eq!(executed, ["START TRANSACTION", "COMMIT"]);

    // It has ended, and nobody takes another one for it.
    let other = client.begin_transaction().await.unwrap();
    assert_ne!(id, other);
    for error in [
        client
            .execute("SELECT 1".to_string(), Some(id.clone()))
            .await
            .unwrap_err(),
        client
            .end_transaction(id, arrow_flight::sql::EndTransaction::Rollback)
            .await
            .unwrap_err(),
    ] {
        let status = status_of(error);
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(
            status.message(),
            "the transaction has ended: begin another one"
        );
    }
    client
        .end_transaction(other, arrow_flight::sql::EndTransaction::Rollback)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_slow_reader_slows_the_query_and_leaving_cancels_it() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let info = client.execute(FOREVER.to_string(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.do_get(ticket).await.unwrap();
    stream.next().await.unwrap().unwrap();
    // Half a mebibyte per batch: unread, some tens of batches fill all buffers on the way.
    let batches = &fixture.service.observed.batches;
    let mut before = batches.load(Ordering::SeqCst);
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let now = batches.load(Ordering::SeqCst);
        assert!(
            now < 500,
            "the query runs ahead of its reader: {now} batches"
        );
        if now == before {
            break;
        }
        before = now;
    }
    drop(stream);
    let observed = Arc::clone(&fixture.service.observed);
    eventually("the abandoned query is cancelled", || {
        observed.cancelled.lock().unwrap().len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_running_query_can_be_watched_and_cancelled_by_its_info() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let query_id = Uuid::new_v4();
    client.set_header(QUERY_ID_HEADER, query_id.to_string());
    let info = client.execute(FOREVER.to_string(), None).await.unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&info.app_metadata).unwrap();
    assert_eq!(metadata["query_id"], query_id.to_string());
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.do_get(ticket).await.unwrap();
    stream.next().await.unwrap().unwrap();

    let bodies = act(&mut client, QUERY_PROGRESS_ACTION, query_id.to_string()).await;
    let progress: ProgressSnapshot = serde_json::from_slice(&bodies[0]).unwrap();
    assert_eq!((progress.state, progress.rows), (QueryState::Running, 7));

    let request = CancelFlightInfoRequest { info: Some(info) };
    let bodies = act(&mut client, "CancelFlightInfo", request.encode_to_vec()).await;
    let result = CancelFlightInfoResult::decode(&*bodies[0]).unwrap();
    assert_eq!(result.status(), CancelStatus::Cancelled);
    while let Some(batch) = stream.next().await {
        batch.unwrap();
    }
}

#[tokio::test]
async fn a_statement_without_rows_can_be_cancelled_while_its_call_waits() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let mut other = fixture.connect().await;
    let query_id = Uuid::new_v4();
    client.set_header(QUERY_ID_HEADER, query_id.to_string());
    let waiting = tokio::spawn(async move { client.execute(WAIT.to_string(), None).await });
    let observed = Arc::clone(&fixture.service.observed);
    eventually("the statement begins", || {
        !observed.executed.lock().unwrap().is_empty()
    })
    .await;
    let bodies = act(&mut other, CANCEL_QUERY_ACTION, query_id.to_string()).await;
    assert_eq!(bodies[0], b"true");
    let status = status_of(waiting.await.unwrap().unwrap_err());
    assert_eq!(status.code(), Code::Cancelled);
    assert_eq!(status.message(), format!("query {query_id} was cancelled"));
}

#[tokio::test]
async fn a_query_that_was_not_begun_can_be_cancelled() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let info = client.execute("select 1".to_string(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let request = CancelFlightInfoRequest { info: Some(info) };
    let bodies = act(&mut client, "CancelFlightInfo", request.encode_to_vec()).await;
    let result = CancelFlightInfoResult::decode(&*bodies[0]).unwrap();
    assert_eq!(result.status(), CancelStatus::Cancelled);
    assert!(client.do_get(ticket).await.is_err());
    assert!(fixture.executed().is_empty());
}
