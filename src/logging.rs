//! Log lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSection};

/// Starts logging. Standard output stays for results.
///
/// # Errors
/// When the filter does not parse.
pub fn start(settings: &LogSection) -> Result<(), String> {
    // The engine's libraries tell of every task at `info`; that is ours to say. That a shuffle
    // spills to disk is what its memory limit is for.
    let quiet = "ballista_core=warn,ballista_core::execution_plans::sort_shuffle=error,\
                 ballista_scheduler=warn,ballista_executor=warn,datafusion=warn,sqlx=warn";
    let directives = match settings.level.contains('=') {
        true => settings.level.clone(),
        false => format!("{},{quiet}", settings.level),
    };
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| format!("setting log.level: {}: {error}", settings.level))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
