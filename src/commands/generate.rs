//! `ingot generate`

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ingot_catalog::Storage;
use ingot_pipelines::{FileSink, FolderSink, GenerateOptions, GenerateReport};

use super::object_sink::ObjectSink;
use super::report::{bytes, number, print_table};
use crate::cli::GenerateArgs;
use crate::config::Config;
use crate::error::{CommandError, Result};

/// Writes a sample's source files and says what is in them.
pub async fn run(config: &Config, arguments: GenerateArgs) -> Result<()> {
    let options = GenerateOptions {
        scale: arguments.scale,
        seed: arguments.seed,
        ..GenerateOptions::default()
    };
    let sink: Arc<dyn FileSink + Send> = match arguments.out.contains("://") {
        true => Arc::new(ObjectSink::new(
            Storage::new(config.storage_config()),
            &arguments.out,
            tokio::runtime::Handle::current(),
        )),
        false => Arc::new(FolderSink::new(&arguments.out)),
    };
    let report = generate(arguments.name, options, sink).await?;
    print_report(&report);
    Ok(())
}

/// Generates with a progress bar, off the network threads.
pub async fn generate(
    name: String,
    options: GenerateOptions,
    sink: Arc<dyn FileSink + Send>,
) -> Result<GenerateReport> {
    let generated = tokio::task::spawn_blocking(move || {
        let bar = ProgressBar::new(0).with_style(bar_style());
        bar.enable_steady_tick(Duration::from_millis(200));
        let report = ingot_pipelines::generate(&name, &options, sink.as_ref(), &|progress| {
            bar.set_length(progress.rows_total);
            bar.set_position(progress.rows);
            bar.set_message(progress.file.to_owned());
        });
        bar.finish_and_clear();
        report
    });
    match generated.await {
        Ok(report) => Ok(report?),
        Err(error) => Err(CommandError::Usage(format!(
            "the generator stopped: {error}"
        ))),
    }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("  {msg:30} {bar:24} {human_pos:>10} rows, {per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A table of files, and the dirt that was planted in them.
pub fn print_report(report: &GenerateReport) {
    let rows = report.files.iter().map(|file| {
        let planted: Vec<String> = file
            .planted
            .iter()
            .map(|(defect, count)| format!("{} {defect}", number(*count)))
            .collect();
        vec![
            file.file.clone(),
            number(file.rows),
            bytes(file.bytes),
            planted.join(", "),
        ]
    });
    print_table(&["file", "rows", "size", "planted defects"], &[1, 2], rows);
}
