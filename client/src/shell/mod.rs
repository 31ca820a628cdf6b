//! The SQL shell: interactive, or over the statements of an argument, a file or standard input.

mod commands;
mod editor;
mod interactive;
mod progress;
mod runner;
#[cfg(test)]
mod tests;

use std::io::{BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::error::{ClientError, Result};
use crate::executor::StatementExecutor;
use crate::output::OutputFormat;
use crate::splitter::{SplitStatement, split_statements};

use progress::ProgressLine;
use runner::{Runner, Summary};

/// The exit code of a script that was interrupted, as shells use it for SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Where statements come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShellInput {
    /// The keyboard; or, when standard input is no terminal, all of it.
    Interactive,
    /// This text, with one or several statements (`-e`).
    Text(String),
    /// A file; `-` is standard input (`-f`).
    File(PathBuf),
}

/// Settings of the shell.
#[derive(Debug, Clone)]
pub struct ShellOptions {
    /// Where statements come from.
    pub input: ShellInput,
    /// How results are shown.
    pub output: OutputFormat,
    /// Whether only results and errors are shown.
    pub is_quiet: bool,
    /// Where the lines typed are kept; `None` keeps them nowhere. See [`default_history_file`].
    pub history_file: Option<PathBuf>,
}

/// `$XDG_STATE_HOME/ingot/sql_history`, or below `~/.local/state`; `None` without a home.
pub fn default_history_file() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local").join("state")))?;
    Some(state.join("ingot").join("sql_history"))
}

/// Runs the shell to its end. Results go to standard output, everything else to standard error.
/// The exit code is 0 only if every statement succeeded; in an interactive session errors are
/// shown and forgotten.
pub async fn run_shell(options: ShellOptions, executor: Arc<dyn StatementExecutor>) -> ExitCode {
    let terminals = Terminals {
        output: std::io::stdout().is_terminal(),
        messages: std::io::stderr().is_terminal(),
    };
    let interactive = options.input == ShellInput::Interactive && std::io::stdin().is_terminal();
    let mut shell = Shell {
        executor,
        format: options.output,
        shows_timing: true,
        summaries: match (options.is_quiet, interactive || terminals.messages) {
            (true, _) => Summaries::None,
            (false, true) => Summaries::All,
            (false, false) => Summaries::WithoutRows,
        },
        progress: ProgressLine::new(terminals.messages, terminals.output),
        output: Box::new(BufWriter::new(std::io::stdout())),
        messages: Box::new(std::io::stderr()),
        interrupts: Box::new(|| {
            Box::pin(async {
                if tokio::signal::ctrl_c().await.is_err() {
                    // Without a signal handler nobody can interrupt.
                    std::future::pending::<()>().await;
                }
            })
        }),
    };
    if interactive {
        return interactive::run(&mut shell, options.history_file.as_deref()).await;
    }
    let script = match read_script(&options.input) {
        Ok(script) => script,
        Err(error) => {
            shell.say(&format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    };
    shell.run_script(&script).await.exit_code()
}

/// Statements and where they come from.
struct Script {
    text: String,
    /// The name of the file, if it is one.
    name: Option<String>,
}

fn read_script(input: &ShellInput) -> Result<Script> {
    match input {
        ShellInput::Text(text) => Ok(Script {
            text: text.clone(),
            name: None,
        }),
        ShellInput::File(path) if path != Path::new("-") => read_script_file(path),
        ShellInput::File(_) | ShellInput::Interactive => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|source| ClientError::Io {
                    action: "read standard input".to_string(),
                    source,
                })?;
            Ok(Script { text, name: None })
        }
    }
}

fn read_script_file(path: &Path) -> Result<Script> {
    let text = std::fs::read_to_string(path).map_err(|source| ClientError::Io {
        action: format!("read {}", path.display()),
        source,
    })?;
    Ok(Script {
        text,
        name: Some(path.display().to_string()),
    })
}

struct Terminals {
    output: bool,
    messages: bool,
}

/// How a script or a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Succeeded,
    Failed,
    Interrupted,
    /// Nobody reads our output any more: no reason to go on, and no error either.
    OutputClosed,
}

impl Ending {
    fn exit_code(self) -> ExitCode {
        match self {
            Self::Succeeded | Self::OutputClosed => ExitCode::SUCCESS,
            Self::Failed => ExitCode::FAILURE,
            Self::Interrupted => ExitCode::from(EXIT_INTERRUPTED),
        }
    }
}

type Interrupts = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Of which statements the shell says what they did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Summaries {
    None,
    /// Those that return no rows, and show nothing else.
    WithoutRows,
    All,
}

/// The state of a running shell.
struct Shell {
    executor: Arc<dyn StatementExecutor>,
    format: OutputFormat,
    shows_timing: bool,
    summaries: Summaries,
    progress: ProgressLine,
    output: Box<dyn Write + Send>,
    messages: Box<dyn Write + Send>,
    interrupts: Interrupts,
}

impl Shell {
    /// Writes a line for people.
    fn say(&mut self, line: &str) {
        // If standard error is gone there is nobody to tell.
        let _ = writeln!(self.messages, "{line}");
        let _ = self.messages.flush();
    }

    /// Runs statements until one fails.
    async fn run_script(&mut self, script: &Script) -> Ending {
        for statement in split_statements(&script.text).statements {
            let place = match &script.name {
                Some(name) => format!(" at {name}:{}", statement.line),
                None => format!(" at line {}", statement.line),
            };
            let ending = self.run_statement(&statement, &place).await;
            if ending != Ending::Succeeded {
                return ending;
            }
        }
        Ending::Succeeded
    }

    /// Runs one statement and reports on it. `place` says where it stands, for errors.
    async fn run_statement(&mut self, statement: &SplitStatement, place: &str) -> Ending {
        let runner = Runner {
            executor: self.executor.as_ref(),
            format: self.format,
            progress: &self.progress,
            interrupts: &self.interrupts,
        };
        let result = runner.run(&statement.text, self.output.as_mut()).await;
        self.progress.clear();
        match result {
            Ok(summary) => {
                let is_shown = match self.summaries {
                    Summaries::None => false,
                    Summaries::WithoutRows => !summary.counts_result(),
                    Summaries::All => true,
                };
                if is_shown {
                    let line = self.summary_line(&summary);
                    self.say(&line);
                }
                Ending::Succeeded
            }
            Err(error) if error.is_broken_pipe() => Ending::OutputClosed,
            Err(error) if error.is_cancelled() => {
                self.say(&format!("cancelled{place}: {error}"));
                Ending::Interrupted
            }
            Err(error) => {
                self.say(&format!("error{place}: {error}"));
                Ending::Failed
            }
        }
    }

    fn summary_line(&self, summary: &Summary) -> String {
        let what = summary.describe();
        if self.shows_timing {
            format!("({what}, {:.3} s)", summary.elapsed.as_secs_f64())
        } else {
            format!("({what})")
        }
    }
}
