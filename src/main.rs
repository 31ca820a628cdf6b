//! The `ingot` command.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cli;
mod commands;
mod config;
mod error;
mod logging;
mod settings;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use config::Config;
use error::{CommandError, Result};

/// Queries allocate and free in bursts on many threads; this allocator is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Planning recurses deeply over large statements; the default of 2 MiB is too small.
const THREAD_STACK_BYTES: usize = 16 << 20;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(THREAD_STACK_BYTES)
        .build()
        .map_err(|source| CommandError::Io {
            action: "start the runtime".to_owned(),
            source,
        })
        .and_then(|runtime| {
            let exit_code = runtime.block_on(run(cli));
            // What still runs in the background ends with the process.
            runtime.shutdown_background();
            exit_code
        });
    match result {
        Ok(exit_code) => exit_code,
        Err(error) => {
            eprintln!("ingot: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut config = Config::load(cli.config.as_deref(), environment)?;
    if is_quiet(&cli.command) && config.log.level == "info" {
        config.log.level = "warn".to_owned();
    }
    logging::start(&config.log).map_err(CommandError::Usage)?;
    match cli.command {
        Command::Demo(arguments) => commands::demo::run(&config, arguments).await?,
        Command::Server(arguments) => commands::serve::server(&config, &arguments).await?,
        Command::Coordinator(arguments) => {
            commands::serve::coordinator(&config, &arguments).await?
        }
        Command::Worker(arguments) => commands::worker::run(&config, &arguments).await?,
        Command::Sql(arguments) => return commands::sql::run(&config, arguments).await,
        Command::Jobs(arguments) => return commands::jobs::run(&config, arguments).await,
        Command::Generate(arguments) => commands::generate::run(&config, arguments).await?,
        Command::Config => print!("{}", commands::config::commented_file()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Commands whose output is for people: only warnings are logged beside it.
fn is_quiet(command: &Command) -> bool {
    !matches!(
        command,
        Command::Server(_) | Command::Coordinator(_) | Command::Worker(_)
    )
}
