//! `ingot demo`: a whole lakehouse, from CSV files to gold tables.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ingot_client::{OutputFormat, ShellInput, ShellOptions, run_shell};
use ingot_coordinator::jobs::{APPLY_ACTION, ApplyAnswer, ApplyRequest};
use ingot_jobs::RunStatus;
use ingot_pipelines::{FolderSink, GenerateOptions, write_sample};

use super::jobs::{JobsConnection, load};
use super::run_display::print_run;
use super::serve::{Running, shutdown_on_signal, start_all_in_one};
use super::sql::LocalExecutor;
use super::{generate, report};
use crate::cli::DemoArgs;
use crate::config::Config;
use crate::error::{CommandError, Result};

/// The pipeline that the demo runs.
const SAMPLE: &str = "ecommerce";

/// What the demo asks its gold tables.
const QUERIES: [(&str, &str); 3] = [
    (
        "Who are the customers?",
        "SELECT customer_segment, count(*) AS customers, round(avg(total_ltv), 2) AS average_ltv
FROM gold.customer_summary GROUP BY customer_segment ORDER BY customers DESC",
    ),
    (
        "What were the best days?",
        "SELECT metric_date, total_revenue, total_orders, fraud_flag_count
FROM gold.daily_metrics ORDER BY total_revenue DESC LIMIT 5",
    ),
    (
        "Which products sell?",
        "SELECT product_id, product_views, product_purchases, revenue_generated
FROM gold.product_summary ORDER BY revenue_generated DESC NULLS LAST LIMIT 5",
    ),
];

/// Runs the demo, and serves its tables until it is told to stop.
pub async fn run(config: &Config, arguments: DemoArgs) -> Result<()> {
    let shutdown = shutdown_on_signal()?;
    let mut config = config.clone();
    if arguments.distributed {
        config.query.local_scan_limit = crate::config::ByteCount(0);
    }
    println!("starting a coordinator and {} workers", arguments.workers);
    let running = start_all_in_one(
        &config,
        &arguments.data,
        arguments.workers,
        &arguments.ports,
        &shutdown,
    )
    .await?;
    let worked = tokio::select! {
        worked = work(&running, &arguments) => worked,
        () = shutdown.cancelled() => Err(CommandError::Usage("interrupted".to_owned())),
    };
    if arguments.exit || worked.is_err() {
        shutdown.cancel();
    } else {
        println!("\n{}\n  Ctrl-C stops it", running.how_to_connect());
    }
    running.stopped().await?;
    worked
}

async fn work(running: &Running, arguments: &DemoArgs) -> Result<()> {
    let source = arguments.data.join("source");
    println!(
        "\ngenerating {SAMPLE} data at scale {} in {}",
        arguments.scale,
        source.display()
    );
    let options = GenerateOptions {
        scale: arguments.scale,
        seed: arguments.seed,
        ..GenerateOptions::default()
    };
    let sink = Arc::new(FolderSink::new(&source));
    let generated = generate::generate(SAMPLE.to_owned(), options, sink).await?;
    generate::print_report(&generated);

    let folder = arguments.data.join("pipelines").join(SAMPLE);
    write_sample(SAMPLE, &folder)?;
    let source_dir = absolute(&source)?;
    let pipeline = load(&folder, vec![("source_dir".to_owned(), source_dir)])?;
    println!("\nrunning the pipeline in {}", folder.display());
    let connection = JobsConnection::Local {
        coordinator: running.lakehouse.coordinator.clone(),
        _lakehouse: None,
    };
    let _: ApplyAnswer = connection
        .call(APPLY_ACTION, &ApplyRequest { pipeline })
        .await?;
    let run = connection.run_pipeline(SAMPLE).await?;
    print_run(&run);
    print_size(&generated, &run);
    if run.status != RunStatus::Succeeded {
        return Err(CommandError::Usage(format!(
            "the run of pipeline {SAMPLE} did not succeed"
        )));
    }
    let executor =
        Arc::new(LocalExecutor::over(&running.lakehouse.coordinator, &arguments.data).await?);
    for (question, sql) in QUERIES {
        show(&executor, question, sql).await?;
    }
    show_versions(running, &executor).await
}

/// How much smaller the bronze tables are than the CSV files.
fn print_size(generated: &ingot_pipelines::GenerateReport, run: &ingot_jobs::RunReport) {
    let csv: u64 = generated.files.iter().map(|file| file.bytes).sum();
    let bronze: u64 = run
        .jobs
        .iter()
        .filter(|job| job.job.starts_with("bronze"))
        .map(|job| job.bytes_written)
        .sum();
    if csv > 0 {
        println!(
            "  bronze takes {} of Parquet for {} of CSV ({:.0} % less)",
            report::bytes(bronze),
            report::bytes(csv),
            100.0 - 100.0 * bronze as f64 / csv as f64
        );
    }
}

/// Reads a gold table as it was in its first version, beside how it is now.
async fn show_versions(running: &Running, executor: &Arc<LocalExecutor>) -> Result<()> {
    let ident = iceberg::TableIdent::from_strs(["gold", "daily_metrics"])
        .map_err(|error| CommandError::Usage(error.to_string()))?;
    let catalog = running
        .lakehouse
        .coordinator
        .core()
        .catalogs
        .first()
        .cloned();
    let Some(catalog) = catalog else {
        return Ok(());
    };
    let table = catalog.load_table(&ident).await?;
    let history = table.metadata.history();
    let (Some(first), Some(last)) = (history.first(), history.last()) else {
        return Ok(());
    };
    let sql = format!(
        "SELECT 'first version' AS version, count(*) AS days, sum(total_revenue) AS revenue, max(processed_at) AS processed_at
FROM gold.daily_metrics FOR VERSION AS OF {}
UNION ALL
SELECT 'version {}', count(*), sum(total_revenue), max(processed_at)
FROM gold.daily_metrics FOR VERSION AS OF {}",
        first.snapshot_id,
        history.len(),
        last.snapshot_id
    );
    show(executor, "How was gold before? (time travel)", &sql).await
}

async fn show(executor: &Arc<LocalExecutor>, question: &str, sql: &str) -> Result<()> {
    println!("\n{question}\n{sql}");
    let options = ShellOptions {
        input: ShellInput::Text(sql.to_owned()),
        output: OutputFormat::Table,
        is_quiet: false,
        history_file: None,
    };
    let exit_code = run_shell(options, executor.clone()).await;
    if exit_code == ExitCode::SUCCESS {
        return Ok(());
    }
    Err(CommandError::Usage("a query of the demo failed".to_owned()))
}

fn absolute(path: &Path) -> Result<String> {
    path.canonicalize()
        .map(|path| path.display().to_string())
        .map_err(|source| CommandError::Io {
            action: format!("find {}", path.display()),
            source,
        })
}
