//! Ingot's own client against the server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::{StreamExt, TryStreamExt};
use ingot_client::client::{CANCEL_QUERY_ACTION, QUERY_ID_HEADER, QUERY_PROGRESS_ACTION};
use ingot_client::{Client, ClientError, ClientOptions, QueryState};
use ingot_client::{StatementExecutor, StatementResult};
use tonic::Code;
use uuid::Uuid;

use super::super::{Authentication, TlsFiles};
use super::fake_service::{FOREVER, WAIT, eventually};
use super::{Fixture, show};

async fn connect(fixture: &Fixture) -> Client {
    let address = fixture.server.local_address().to_string();
    Client::connect(&address, ClientOptions::default())
        .await
        .unwrap()
}

fn message_of(result: Result<StatementResult, ClientError>) -> (Code, String) {
    match result.err() {
        Some(ClientError::Statement { code, message }) => (code, message),
        other => panic!("not a statement error: {other:?}"),
    }
}

#[test]
fn client_and_server_agree_on_names() {
    assert_eq!(QUERY_ID_HEADER, super::super::QUERY_ID_HEADER);
    assert_eq!(QUERY_PROGRESS_ACTION, super::super::QUERY_PROGRESS_ACTION);
    assert_eq!(CANCEL_QUERY_ACTION, super::super::CANCEL_QUERY_ACTION);
}

#[tokio::test]
async fn queries_updates_and_errors() {
    let fixture = Fixture::open().await;
    let client = connect(&fixture).await;
    let batches = client.fetch_all("select id from people order by id").await;
    insta::assert_snapshot!(show(&batches.unwrap()), @r"
    +----+
    | id |
    +----+
    | 1  |
    | 2  |
    +----+
    ");
    let insert = "insert into people values (3, 'Cleo', 0)";
    assert_eq!(client.update(insert).await.unwrap(), 1);
    let result = client
        .query("create table c as select 1 as a")
        .await
        .unwrap();
    let StatementResult::Done { message } = result else {
        panic!("ddl is done")
    };
    assert_eq!(message, "it is done");
    assert_eq!(fixture.executed().len(), 3, "each once");
    let (code, message) = message_of(client.query("select * from nowhere").await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(
        message.contains("nowhere") && !message.contains('\n'),
        "{message}"
    );
}

#[tokio::test]
async fn a_large_result_arrives_whole() {
    let fixture = Fixture::open().await;
    let client = connect(&fixture).await;
    let sql = "select value, repeat('x', 100) as padding from generate_series(1, 300000)";
    let StatementResult::Rows { stream, .. } = client.query(sql).await.unwrap() else {
        panic!("a query has rows")
    };
    let (mut rows, mut sum) = (0, 0);
    let mut batches = stream;
    while let Some(batch) = batches.next().await {
        let batch = batch.unwrap();
        assert!(
            batch.get_array_memory_size() < 4 << 20,
            "messages are small"
        );
        rows += batch.num_rows();
        let values = batch.column(0).as_primitive::<Int64Type>().values();
        sum += values.iter().sum::<i64>();
    }
    assert_eq!((rows, sum), (300_000, 300_000 * 300_001 / 2));
}

#[tokio::test]
async fn a_row_larger_than_usual_limits_arrives() {
    let fixture = Fixture::open().await;
    let client = connect(&fixture).await;
    let batches = client
        .fetch_all("select repeat('x', 20000000) as huge")
        .await
        .unwrap();
    assert_eq!(
        batches[0].column(0).as_string::<i32>().value(0).len(),
        20_000_000
    );
}

#[tokio::test]
async fn a_query_is_watched_and_cancelled() {
    let fixture = Fixture::open().await;
    let client = connect(&fixture).await;
    let query_id = Uuid::new_v4();
    let result = client.execute(FOREVER, query_id).await.unwrap();
    let StatementResult::Rows { mut stream, .. } = result else {
        panic!("a query has rows")
    };
    stream.next().await.unwrap().unwrap();
    let progress = client.progress(query_id).await.unwrap().unwrap();
    assert_eq!((progress.state, progress.rows), (QueryState::Running, 7));
    assert!(client.cancel(query_id).await.unwrap());
    let _rest: Vec<_> = stream.try_collect().await.unwrap();
    assert_eq!(client.progress(query_id).await.unwrap(), None);
    assert_eq!(client.progress(Uuid::new_v4()).await.unwrap(), None);
}

#[tokio::test]
async fn a_client_that_leaves_a_running_update_cancels_it() {
    let fixture = Fixture::open().await;
    let client = connect(&fixture).await;
    let waiting = tokio::spawn(async move { client.update(WAIT).await });
    let observed = Arc::clone(&fixture.service.observed);
    eventually("the statement begins", || {
        !observed.executed.lock().unwrap().is_empty()
    })
    .await;
    waiting.abort();
    eventually("the abandoned statement is cancelled", || {
        observed.cancelled.lock().unwrap().len() == 1
    })
    .await;
}

#[tokio::test]
async fn passwords_and_sessions() {
    let users = BTreeMap::from([("ada".to_string(), "secret".to_string())]);
    let fixture = Fixture::start(Authentication::Passwords(users)).await;
    let address = fixture.server.local_address().to_string();
    let error = Client::connect(&address, ClientOptions::default()).await;
    assert_eq!(error.err().unwrap().to_string(), "wrong user or password");
    let options = ClientOptions {
        user: Some("ada".to_string()),
        password: Some("secret".to_string()),
        ..ClientOptions::default()
    };
    let client = Client::connect(&address, options).await.unwrap();
    client.fetch_all("select 1").await.unwrap();
    client.clone().close().await.unwrap();
    let (code, message) = message_of(client.query("select 1").await);
    assert_eq!(code, Code::Unauthenticated);
    assert_eq!(message, "unknown or expired session token: connect again");
}

fn certificate(name: &str) -> PathBuf {
    [
        env!("CARGO_MANIFEST_DIR"),
        "src/flight/tests/fixtures",
        name,
    ]
    .iter()
    .collect()
}

#[tokio::test]
async fn tls_with_a_private_authority() {
    let files = TlsFiles {
        certificate: certificate("localhost.pem"),
        key: certificate("localhost.key.pem"),
    };
    let fixture = Fixture::start_with(Authentication::None, Some(files)).await;
    let address = format!(
        "https://localhost:{}",
        fixture.server.local_address().port()
    );
    let untrusting = Client::connect(&address, ClientOptions::default()).await;
    assert!(untrusting.is_err());
    let options = ClientOptions {
        ca_certificate: Some(certificate("localhost.pem")),
        connect_timeout: Some(Duration::from_secs(20)),
        ..ClientOptions::default()
    };
    let client = Client::connect(&address, options).await.unwrap();
    assert_eq!(client.fetch_all("select 1").await.unwrap()[0].num_rows(), 1);
}

#[tokio::test]
async fn a_taken_port_and_a_missing_certificate_are_named() {
    let fixture = Fixture::open().await;
    let address = fixture.server.local_address();
    let error = Fixture::try_start(address, None).await.err().unwrap();
    assert!(
        error.to_string().starts_with(&format!(
            "cannot listen for flight sql on {address} (setting coordinator.flight_bind): "
        )),
        "{error}"
    );
    let files = TlsFiles {
        certificate: PathBuf::from("/nowhere/cert.pem"),
        key: PathBuf::from("/nowhere/key.pem"),
    };
    let any_port = ([127, 0, 0, 1], 0).into();
    let error = Fixture::try_start(any_port, Some(files))
        .await
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .starts_with("cannot read /nowhere/cert.pem"),
        "{error}"
    );
}
