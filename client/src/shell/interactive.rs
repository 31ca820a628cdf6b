//! The loop of the interactive shell.

use std::path::Path;
use std::process::ExitCode;

use super::commands::{self, Command, HELP};
use super::editor::{LineEditor, Typed};
use super::{Ending, Shell, read_script_file};
use crate::output::OutputFormat;
use crate::splitter::{SplitStatement, split_statements};

/// Runs until the user leaves.
pub(super) async fn run(shell: &mut Shell, history_file: Option<&Path>) -> ExitCode {
    let editor = match LineEditor::start(history_file) {
        Ok(editor) => editor,
        Err(error) => {
            shell.say(&format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let target = shell.executor.target();
    shell.say(&format!(
        "Ingot {}, connected to {target}. Type help for help.",
        env!("CARGO_PKG_VERSION")
    ));
    loop {
        let text = match editor.read().await {
            Ok(Typed::Text(text)) => text,
            Ok(Typed::Interrupted) => continue,
            Ok(Typed::End) => return ExitCode::SUCCESS,
            Err(error) => {
                shell.say(&format!("error: {error}"));
                return ExitCode::FAILURE;
            }
        };
        match run_input(shell, &text).await {
            Next::Continue => {}
            Next::Leave => return ExitCode::SUCCESS,
        }
    }
}

/// What to do after an input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Continue,
    Leave,
}

/// Runs what was typed: a command, or statements until one fails.
pub(super) async fn run_input(shell: &mut Shell, text: &str) -> Next {
    match commands::parse(text) {
        Some(Ok(command)) => return run_command(shell, command).await,
        Some(Err(message)) => {
            shell.say(&format!("error: {message}"));
            return Next::Continue;
        }
        None => {}
    }
    let statements = split_statements(text).statements;
    let are_several = statements.len() > 1;
    for statement in &statements {
        let place = if are_several {
            format!(" at line {}", statement.line)
        } else {
            String::new()
        };
        match shell.run_statement(statement, &place).await {
            Ending::Succeeded => {}
            Ending::OutputClosed => return Next::Leave,
            Ending::Failed | Ending::Interrupted => break,
        }
    }
    Next::Continue
}

async fn run_command(shell: &mut Shell, command: Command) -> Next {
    match command {
        Command::Quit => return Next::Leave,
        Command::Help => shell.say(HELP),
        Command::Statement(text) => {
            let statement = SplitStatement { text, line: 1 };
            if shell.run_statement(&statement, "").await == Ending::OutputClosed {
                return Next::Leave;
            }
        }
        Command::ToggleTiming => {
            shell.shows_timing = !shell.shows_timing;
            let state = if shell.shows_timing { "on" } else { "off" };
            shell.say(&format!("timing is {state}"));
        }
        Command::ToggleVertical => {
            let is_vertical = shell.format == OutputFormat::Vertical;
            shell.format = if is_vertical {
                OutputFormat::Table
            } else {
                OutputFormat::Vertical
            };
        }
        Command::Format(format) => shell.format = format,
        Command::RunFile(path) => match read_script_file(&path) {
            Ok(script) => {
                if shell.run_script(&script).await == Ending::OutputClosed {
                    return Next::Leave;
                }
            }
            Err(error) => shell.say(&format!("error: {error}")),
        },
    }
    Next::Continue
}
