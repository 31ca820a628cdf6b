//! Line editing in a thread of its own, since reading the keyboard blocks.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};
use tokio::sync::oneshot;

use super::commands::is_command;
use crate::error::{ClientError, Result};
use crate::splitter::split_statements;

const PROMPT: &str = "ingot> ";

/// How many entries the history keeps.
const MAX_HISTORY: usize = 10_000;

/// What came from the keyboard.
#[derive(Debug)]
pub(super) enum Typed {
    /// One or several complete statements, or a command.
    Text(String),
    /// Ctrl-C: the input so far is thrown away.
    Interrupted,
    /// Ctrl-D.
    End,
}

type Reply = oneshot::Sender<Result<Typed>>;

/// The editor. Dropping it ends its thread.
pub(super) struct LineEditor {
    requests: mpsc::Sender<Reply>,
}

impl LineEditor {
    /// Starts the editor; a history that cannot be read or written is done without.
    pub(super) fn start(history_file: Option<&Path>) -> Result<Self> {
        let config = Config::builder()
            .max_history_size(MAX_HISTORY)
            .map_err(editor_error)?
            .history_ignore_space(true)
            .auto_add_history(false)
            .build();
        let mut editor: Editor<InputHelper, FileHistory> =
            Editor::with_config(config).map_err(editor_error)?;
        editor.set_helper(Some(InputHelper));
        let history = history_file.map(prepare_history);
        if let Some(path) = &history {
            // Missing on first use.
            let _ = editor.load_history(path);
        }
        let (requests, incoming) = mpsc::channel::<Reply>();
        std::thread::Builder::new()
            .name("sql-editor".to_string())
            .spawn(move || {
                while let Ok(reply) = incoming.recv() {
                    let typed = read_one(&mut editor, history.as_deref());
                    if reply.send(typed).is_err() {
                        break;
                    }
                }
            })
            .map_err(|source| ClientError::Io {
                action: "start the line editor".to_string(),
                source,
            })?;
        Ok(Self { requests })
    }

    /// Reads until the input is complete.
    pub(super) async fn read(&self) -> Result<Typed> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(reply).is_err() {
            return Ok(Typed::End);
        }
        answer.await.unwrap_or(Ok(Typed::End))
    }
}

fn prepare_history(path: &Path) -> PathBuf {
    if let Some(folder) = path.parent() {
        // If this fails, so does writing the history, which is done without.
        let _ = std::fs::create_dir_all(folder);
    }
    path.to_path_buf()
}

fn read_one(
    editor: &mut Editor<InputHelper, FileHistory>,
    history: Option<&Path>,
) -> Result<Typed> {
    match editor.readline(PROMPT) {
        Ok(text) => {
            if !text.trim().is_empty() {
                let added = editor.add_history_entry(text.trim_end());
                if let (Ok(true), Some(path)) = (added, history) {
                    let _ = editor.append_history(path);
                }
            }
            Ok(Typed::Text(text))
        }
        Err(ReadlineError::Interrupted) => Ok(Typed::Interrupted),
        Err(ReadlineError::Eof) => Ok(Typed::End),
        Err(error) => Err(editor_error(error)),
    }
}

fn editor_error(error: ReadlineError) -> ClientError {
    ClientError::Io {
        action: "read from the terminal".to_string(),
        source: std::io::Error::other(error),
    }
}

/// Tells the editor when the input is complete.
struct InputHelper;

impl Validator for InputHelper {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        Ok(if is_complete(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Completer for InputHelper {
    type Candidate = String;
}

impl Hinter for InputHelper {
    type Hint = String;
}

impl Highlighter for InputHelper {}

impl Helper for InputHelper {}

/// Whether Enter sends the text: a command, or only statements with their semicolons.
pub(super) fn is_complete(text: &str) -> bool {
    is_command(text) || !split_statements(text).is_open
}
