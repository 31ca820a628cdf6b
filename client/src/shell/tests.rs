//! The shell over an executor in this process.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt, stream};
use tokio::sync::Notify;
use uuid::Uuid;

use super::editor::is_complete;
use super::interactive::{Next, run_input};
use super::progress::ProgressLine;
use super::{Ending, Script, Shell, Summaries};
use crate::error::{ClientError, Result};
use crate::executor::{Progress, StatementExecutor, StatementResult};
use crate::output::OutputFormat;

#[derive(Default)]
struct FakeExecutor {
    statements: Mutex<Vec<String>>,
    cancelled: Mutex<Vec<Uuid>>,
    stop: Notify,
    /// Whether `cancel` ends the query `wait`, as a good server does.
    answers_cancel: AtomicBool,
}

fn failure(code: tonic::Code, message: &str) -> ClientError {
    ClientError::Statement {
        code,
        message: message.to_string(),
    }
}

#[async_trait]
impl StatementExecutor for FakeExecutor {
    fn target(&self) -> String {
        "nowhere".to_string()
    }

    async fn execute(&self, sql: &str, _query_id: Uuid) -> Result<StatementResult> {
        self.statements.lock().unwrap().push(sql.to_string());
        match sql {
            "insert" => Ok(StatementResult::UpdateCount(3)),
            "create" => Ok(StatementResult::Done {
                message: "table created".to_string(),
            }),
            "bad" => Err(failure(tonic::Code::InvalidArgument, "it is bad")),
            "wait" => {
                self.stop.notified().await;
                Err(failure(tonic::Code::Cancelled, "query 7 was cancelled"))
            }
            _ => {
                let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 22]));
                let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
                let schema = batch.schema();
                let mut batches = vec![Ok(batch)];
                if sql == "break" {
                    batches.push(Err(failure(
                        tonic::Code::InvalidArgument,
                        "division by zero",
                    )));
                }
                Ok(StatementResult::Rows {
                    schema,
                    stream: stream::iter(batches).boxed(),
                })
            }
        }
    }

    async fn cancel(&self, query_id: Uuid) -> Result<bool> {
        self.cancelled.lock().unwrap().push(query_id);
        if self.answers_cancel.load(Ordering::SeqCst) {
            self.stop.notify_one();
            return Ok(true);
        }
        Ok(false)
    }

    async fn progress(&self, _query_id: Uuid) -> Result<Option<Progress>> {
        Ok(None)
    }
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct ClosedPipe;

impl Write for ClosedPipe {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }
}

struct Fixture {
    shell: Shell,
    executor: Arc<FakeExecutor>,
    output: Sink,
    messages: Sink,
}

fn fixture() -> Fixture {
    let executor = Arc::new(FakeExecutor::default());
    let (output, messages) = (Sink::default(), Sink::default());
    let shell = Shell {
        executor: executor.clone(),
        format: OutputFormat::Csv,
        shows_timing: false,
        summaries: Summaries::All,
        progress: ProgressLine::new(false, false),
        output: Box::new(output.clone()),
        messages: Box::new(messages.clone()),
        interrupts: Box::new(|| std::future::pending().boxed()),
    };
    Fixture {
        shell,
        executor,
        output,
        messages,
    }
}

fn script(text: &str) -> Script {
    Script {
        text: text.to_string(),
        name: Some("a.sql".to_string()),
    }
}

#[tokio::test]
async fn a_script_stops_at_its_first_error_and_names_its_line() {
    let mut fixture = fixture();
    let text = "create; insert;\nselect;\n\nbad;\nselect";
    let ending = fixture.shell.run_script(&script(text)).await;
    assert_eq!(ending, Ending::Failed);
    assert_eq!(
        *fixture.executor.statements.lock().unwrap(),
        ["create", "insert", "select", "bad"]
    );
    assert_eq!(fixture.output.text(), "n\n1\n22\n");
    assert_eq!(
        fixture.messages.text(),
        "(table created)\n(3 rows changed)\n(2 rows)\nerror at a.sql:4: it is bad\n"
    );
}

#[tokio::test]
async fn rows_before_an_error_are_shown() {
    let mut fixture = fixture();
    let ending = fixture.shell.run_script(&script("break")).await;
    assert_eq!(ending, Ending::Failed);
    assert_eq!(fixture.output.text(), "n\n1\n22\n");
    assert_eq!(
        fixture.messages.text(),
        "error at a.sql:1: division by zero\n"
    );
}

#[tokio::test]
async fn a_reader_that_left_ends_the_script_quietly() {
    let mut fixture = fixture();
    fixture.shell.output = Box::new(ClosedPipe);
    let ending = fixture.shell.run_script(&script("select; select")).await;
    assert_eq!(ending, Ending::OutputClosed);
    assert_eq!(fixture.executor.statements.lock().unwrap().len(), 1);
    assert_eq!(fixture.messages.text(), "");
}

#[tokio::test]
async fn an_interrupt_cancels_the_query_on_the_server() {
    let mut fixture = fixture();
    fixture
        .executor
        .answers_cancel
        .store(true, Ordering::SeqCst);
    let first = AtomicBool::new(true);
    fixture.shell.interrupts = Box::new(move || {
        if first.swap(false, Ordering::SeqCst) {
            tokio::task::yield_now().boxed()
        } else {
            std::future::pending().boxed()
        }
    });
    let ending = fixture.shell.run_script(&script("wait; select")).await;
    assert_eq!(ending, Ending::Interrupted);
    assert_eq!(fixture.executor.cancelled.lock().unwrap().len(), 1);
    assert_eq!(
        fixture.messages.text(),
        "cancelled at a.sql:1: query 7 was cancelled\n"
    );
}

#[tokio::test]
async fn an_interrupt_leaves_a_server_that_does_not_cancel() {
    let mut fixture = fixture();
    fixture.shell.interrupts = Box::new(|| tokio::task::yield_now().boxed());
    let ending = fixture.shell.run_script(&script("wait")).await;
    assert_eq!(ending, Ending::Interrupted);
    assert!(fixture.messages.text().contains("was interrupted"));
}

#[tokio::test]
async fn typed_input_is_a_command_or_statements() {
    let mut fixture = fixture();
    assert_eq!(run_input(&mut fixture.shell, r"\d t").await, Next::Continue);
    assert_eq!(run_input(&mut fixture.shell, r"\x").await, Next::Continue);
    assert_eq!(fixture.shell.format, OutputFormat::Vertical);
    assert_eq!(run_input(&mut fixture.shell, "bad;").await, Next::Continue);
    assert_eq!(
        run_input(&mut fixture.shell, "create;\nbad; select;").await,
        Next::Continue
    );
    assert_eq!(
        run_input(&mut fixture.shell, r"\nope").await,
        Next::Continue
    );
    assert_eq!(run_input(&mut fixture.shell, "quit").await, Next::Leave);
    assert_eq!(
        *fixture.executor.statements.lock().unwrap(),
        ["DESCRIBE t", "bad", "create", "bad"]
    );
    assert_eq!(
        fixture.messages.text(),
        "(2 rows)\nerror: it is bad\n(table created)\nerror at line 2: it is bad\n\
         error: \\nope is not a command: \\? shows all\n"
    );
}

#[test]
fn enter_sends_only_complete_input() {
    for complete in [
        "select 1;",
        "select 1; select ';';",
        r"\d",
        "quit",
        "",
        "-- note",
    ] {
        assert!(is_complete(complete), "{complete}");
    }
    for open in ["select 1", "select 'a;", "select 1; select", "helpful"] {
        assert!(!is_complete(open), "{open}");
    }
}

#[tokio::test]
async fn statements_without_rows_say_what_they_did_also_in_scripts() {
    for (summaries, expected) in [
        (
            Summaries::WithoutRows,
            "(table created)\n(3 rows changed)\n",
        ),
        (Summaries::None, ""),
    ] {
        let mut fixture = fixture();
        fixture.shell.summaries = summaries;
        let ending = fixture
            .shell
            .run_script(&script("create; insert; rows"))
            .await;
        assert_eq!(ending, Ending::Succeeded);
        assert_eq!(fixture.messages.text(), expected);
        assert!(fixture.output.text().ends_with("22\n"));
    }
}
