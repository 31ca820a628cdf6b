//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A SQL cluster for Apache Iceberg lakehouses.
#[derive(Debug, Parser)]
#[command(
    name = "ingot",
    version,
    after_help = "Examples:
  ingot demo                                    a whole lakehouse, from CSV files to gold tables
  ingot server --data ./lake                    everything in one process
  ingot sql -e 'SHOW SCHEMAS'                   ask a running server
  ingot sql --local ./lake                      a shell on a warehouse folder, without a server"
)]
pub struct Cli {
    /// Configuration file; see docs/configuration.md.
    #[arg(long, global = true, env = "INGOT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Generate e-commerce data, run its pipeline from bronze to gold, and keep serving.
    Demo(DemoArgs),
    /// Run coordinator and workers in one process.
    Server(ServerArgs),
    /// Run a coordinator; workers join it.
    Coordinator(CoordinatorArgs),
    /// Run a worker of a cluster.
    Worker(WorkerArgs),
    /// Run SQL: a shell, or statements from the command line or a file.
    Sql(SqlArgs),
    /// Apply, run and watch pipelines.
    Jobs(JobsArgs),
    /// Write the source files of a sample pipeline.
    Generate(GenerateArgs),
    /// Print every setting with its default, as a commented ingot.toml.
    Config,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ingot demo --scale 0.1 --exit                 small, and stop when done
  ingot demo --data ./lake --workers 4          keep the tables in ./lake")]
pub struct DemoArgs {
    /// Size of the data: 1.0 is 3.8 million rows.
    #[arg(long, default_value_t = 1.0, value_parser = positive_number)]
    pub scale: f64,
    /// Worker executors to start.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: u16,
    /// Folder of the tables; a second run over it adds new versions of them.
    #[arg(long, default_value = "ingot-demo", value_name = "DIR")]
    pub data: PathBuf,
    /// Seed of the generated data.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Stop after the report instead of serving.
    #[arg(long)]
    pub exit: bool,
    /// Run the statements as separate worker processes would, whatever their size.
    #[arg(long)]
    pub distributed: bool,
    #[command(flatten)]
    pub ports: PortArgs,
}

/// Ports on which clients connect.
#[derive(Debug, Clone, Args)]
pub struct PortArgs {
    /// Port of Flight SQL; 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub flight_port: Option<u16>,
    /// Port of HTTP; 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub http_port: Option<u16>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ingot server --data ./lake
  ingot server --data ./lake --flight-port 9000 --workers 4")]
pub struct ServerArgs {
    /// Folder of catalog and tables.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Worker executors in this process.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: u16,
    #[command(flatten)]
    pub ports: PortArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ingot coordinator --config ingot.toml
  INGOT_CATALOG_URL=postgres://ingot@db/ingot ingot coordinator")]
pub struct CoordinatorArgs {
    /// Folder of catalog and tables, where the configuration names no others.
    #[arg(long, default_value = "ingot-data", value_name = "DIR")]
    pub data: PathBuf,
    #[command(flatten)]
    pub ports: PortArgs,
    /// Port that workers join.
    #[arg(long, value_name = "PORT")]
    pub scheduler_port: Option<u16>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ingot worker --coordinator 127.0.0.1:50050
  ingot worker --coordinator coordinator:50050 --bind 0.0.0.0 --slots 8")]
pub struct WorkerArgs {
    /// Address of the coordinator's scheduler.
    #[arg(long, value_name = "HOST:PORT")]
    pub coordinator: Option<String>,
    /// Address on which to listen.
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Option<String>,
    /// Host name by which the others reach this worker.
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
    /// Tasks to run at the same time; 0 is one for each core.
    #[arg(long)]
    pub slots: Option<usize>,
    /// Folder for shuffle and spill files.
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
}

/// Which server to talk to, or which folder to open instead.
#[derive(Debug, Clone, Args)]
pub struct ConnectArgs {
    /// Flight SQL address of the server.
    #[arg(
        long,
        env = "INGOT_SERVER",
        default_value = "grpc://127.0.0.1:8815",
        value_name = "URL",
        conflicts_with = "local"
    )]
    pub server: String,
    /// Open a data folder in this process, without a server.
    #[arg(long, value_name = "DIR")]
    pub local: Option<PathBuf>,
    /// User name.
    #[arg(long, env = "INGOT_USER")]
    pub user: Option<String>,
    /// Password; better given as INGOT_PASSWORD.
    #[arg(long, env = "INGOT_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Table,
    Csv,
    Json,
    Vertical,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ingot sql                                       a shell on the server at 127.0.0.1:8815
  ingot sql -e 'SELECT 1; SELECT 2' --output csv
  ingot sql -f report.sql --server grpc://lake:8815
  ingot sql --local ./lake -e 'SHOW TABLES FROM gold'")]
pub struct SqlArgs {
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Run these statements and stop.
    #[arg(short, long, value_name = "SQL", conflicts_with = "file")]
    pub execute: Option<String>,
    /// Run the statements of this file and stop; `-` is standard input.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Format of the results.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
    /// Show results and errors only, not what statements without results did.
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ingot jobs apply pipelines/ecommerce --set source_dir=/data/csv
  ingot jobs run ecommerce
  ingot jobs status")]
pub struct JobsArgs {
    #[command(flatten)]
    pub connect: ConnectArgs,
    #[command(subcommand)]
    pub command: JobsCommand,
}

#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Register a pipeline folder, replacing its earlier version.
    Apply {
        /// Folder of SQL files.
        folder: PathBuf,
        /// A variable of the pipeline, as NAME=VALUE.
        #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
        variables: Vec<(String, String)>,
    },
    /// Run a pipeline now, and wait for it.
    Run {
        /// Name of the pipeline.
        pipeline: String,
    },
    /// Show pipelines and their latest runs, or one run with its jobs and checks.
    Status {
        /// Only this pipeline.
        pipeline: Option<String>,
        /// One run, by its id.
        #[arg(long)]
        run: Option<String>,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ingot generate ecommerce --scale 0.1 --out ./csv")]
pub struct GenerateArgs {
    /// Name of the sample pipeline.
    pub name: String,
    /// Size of the data.
    #[arg(long, default_value_t = 1.0, value_parser = positive_number)]
    pub scale: f64,
    /// Seed of the data.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Folder or s3:// location to write to.
    #[arg(long, value_name = "DIR")]
    pub out: String,
}

fn positive_number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("not a number greater than 0".to_owned()),
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not of the form NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
