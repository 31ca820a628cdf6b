//! Commands of the shell itself, which are not SQL.

use std::path::PathBuf;

use crate::output::OutputFormat;

/// What `help` shows.
pub(super) const HELP: &str = r"Statements end with a semicolon and may span lines. Ctrl-C cancels, Ctrl-D leaves.
  \l                 catalogs
  \dn                schemas
  \d  or  \dt        tables of the current schema; \dt NAME of another
  \d NAME            columns of a table
  \timing            show times, or stop it
  \x                 one field per line, or back to tables
  \o FORMAT          table, csv, json or vertical
  \i FILE            run the statements of a file
  \q                 leave
Time travel: SELECT … FROM t FOR TIMESTAMP AS OF …, FOR VERSION AS OF …; history: t$snapshots.";

/// A command of the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    Help,
    /// Short for a statement.
    Statement(String),
    ToggleTiming,
    ToggleVertical,
    Format(OutputFormat),
    RunFile(PathBuf),
}

/// Whether a line is for the shell and not for the server.
pub(super) fn is_command(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('\\') || matches!(bare_word(line).as_deref(), Some("help" | "quit" | "exit"))
}

/// Understands a line; `None` when it is SQL.
pub(super) fn parse(line: &str) -> Option<Result<Command, String>> {
    let line = line.trim();
    if !is_command(line) {
        return None;
    }
    let Some(rest) = line.strip_prefix('\\') else {
        let is_help = bare_word(line).as_deref() == Some("help");
        return Some(Ok(if is_help {
            Command::Help
        } else {
            Command::Quit
        }));
    };
    let rest = rest.trim_end_matches(';').trim_end();
    let (name, argument) = match rest.split_once(char::is_whitespace) {
        Some((name, argument)) => (name, argument.trim()),
        None => (rest, ""),
    };
    let statement = |text: String| Ok(Command::Statement(text));
    Some(match (name, argument) {
        ("q" | "quit" | "exit", "") => Ok(Command::Quit),
        ("?" | "h" | "help", "") => Ok(Command::Help),
        ("l", "") => statement("SHOW CATALOGS".to_string()),
        ("dn", "") => statement("SHOW SCHEMAS".to_string()),
        ("dn", catalog) => statement(format!("SHOW SCHEMAS FROM {catalog}")),
        ("d" | "dt", "") => statement("SHOW TABLES".to_string()),
        ("dt", schema) => statement(format!("SHOW TABLES FROM {schema}")),
        ("d", table) => statement(format!("DESCRIBE {table}")),
        ("timing", "") => Ok(Command::ToggleTiming),
        ("x", "") => Ok(Command::ToggleVertical),
        ("o", "") => Err(r"\o needs a format: table, csv, json or vertical".to_string()),
        ("o", format) => format
            .parse()
            .map(Command::Format)
            .map_err(|error: crate::ClientError| error.to_string()),
        ("i", "") => Err(r"\i needs the name of a file".to_string()),
        ("i", file) => Ok(Command::RunFile(PathBuf::from(file))),
        _ => Err(format!(r"\{rest} is not a command: \? shows all")),
    })
}

/// The line as one lower-case word without its semicolon.
fn bare_word(line: &str) -> Option<String> {
    let word = line.trim_end_matches(';').trim_end();
    word.chars()
        .all(|character| character.is_ascii_alphabetic())
        .then(|| word.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Command {
        parse(line).unwrap().unwrap()
    }

    #[test]
    fn commands_are_told_from_sql() {
        assert!(parse("select 1;").is_none());
        assert!(parse("help me;").is_none());
        assert_eq!(command("HELP;"), Command::Help);
        assert_eq!(command("exit"), Command::Quit);
        assert_eq!(command(r"\q"), Command::Quit);
        assert_eq!(
            command(r"\d gold.daily;"),
            Command::Statement("DESCRIBE gold.daily".to_string())
        );
        assert_eq!(command(r"\o csv"), Command::Format(OutputFormat::Csv));
        assert!(parse(r"\frobnicate").unwrap().is_err());
        assert!(parse(r"\o xml").unwrap().is_err());
        assert!(parse(r"\i").unwrap().is_err());
    }
}
