//! A run of a pipeline, while it goes on and afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use ingot_jobs::{CheckOutcome, JobReport, JobStatus, RunEvent, RunReport, RunStatus, Severity};

use super::report::{bytes, number, print_table};

/// One line for each job that runs, and one for each that has ended.
pub struct RunDisplay {
    lines: MultiProgress,
    running: BTreeMap<String, ProgressBar>,
    total: usize,
    ended: usize,
}

impl RunDisplay {
    /// Nothing is shown until the first event.
    pub fn new() -> Self {
        Self {
            lines: MultiProgress::new(),
            running: BTreeMap::new(),
            total: 0,
            ended: 0,
        }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &RunEvent) {
        match event {
            RunEvent::RunStarted { jobs, .. } => self.total = jobs.len(),
            RunEvent::JobStarted { job, attempt } => {
                let line = self.lines.add(ProgressBar::new_spinner());
                let style = ProgressStyle::with_template("  {spinner} {msg} {elapsed}");
                line.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                line.set_message(match attempt {
                    1 => job.clone(),
                    attempt => format!("{job} (attempt {attempt})"),
                });
                line.enable_steady_tick(Duration::from_millis(120));
                if let Some(earlier) = self.running.insert(job.clone(), line) {
                    earlier.finish_and_clear();
                }
            }
            RunEvent::JobRetrying {
                job,
                attempt,
                error,
                ..
            } => {
                self.say(&format!("  ↻ {job}: attempt {attempt} failed: {error}"));
            }
            RunEvent::JobFinished { report } => {
                if let Some(line) = self.running.remove(&report.job) {
                    line.finish_and_clear();
                }
                self.ended += 1;
                let line = format!("  [{}/{}] {}", self.ended, self.total, job_line(report));
                self.say(&line);
            }
            RunEvent::StatementStarted { .. }
            | RunEvent::CheckFinished { .. }
            | RunEvent::RunFinished { .. } => {}
        }
    }

    /// Clears the moving lines.
    pub fn finish(&mut self) {
        for (_, line) in std::mem::take(&mut self.running) {
            line.finish_and_clear();
        }
    }

    /// Prints above the moving lines; where there is no terminal, as a plain line.
    fn say(&self, text: &str) {
        if self.lines.println(text).is_err() || self.lines.is_hidden() {
            eprintln!("{text}");
        }
    }
}

fn job_line(report: &JobReport) -> String {
    let seconds = report
        .elapsed()
        .map_or(0.0, |elapsed| elapsed.as_secs_f64());
    match report.status {
        JobStatus::Succeeded => {
            let rate = report.rows_written as f64 / seconds.max(0.001);
            format!(
                "✓ {}: {} rows in {seconds:.1} s ({} rows/s)",
                report.job,
                number(report.rows_written),
                number(rate as u64)
            )
        }
        other => format!(
            "✗ {}: {other}{}",
            report.job,
            report
                .error
                .as_ref()
                .map_or(String::new(), |error| format!(": {error}"))
        ),
    }
}

/// The report of a run: its jobs, then the checks that did not pass.
pub fn print_run(run: &RunReport) {
    let rows = run.jobs.iter().map(|job| {
        let passed = job
            .checks
            .iter()
            .filter(|check| check.outcome == CheckOutcome::Passed)
            .count();
        vec![
            job.job.clone(),
            job.status.to_string(),
            number(job.rows_written),
            number(job.files_written),
            bytes(job.bytes_written),
            job.elapsed().map_or(String::new(), |elapsed| {
                format!("{:.2}", elapsed.as_secs_f64())
            }),
            match job.checks.len() {
                0 => String::new(),
                total => format!("{passed} of {total}"),
            },
        ]
    });
    println!();
    print_table(
        &[
            "job",
            "status",
            "rows out",
            "files",
            "size",
            "seconds",
            "checks passed",
        ],
        &[2, 3, 4, 5, 6],
        rows,
    );
    for job in &run.jobs {
        for check in &job.checks {
            if check.outcome != CheckOutcome::Passed {
                let severity = match check.severity {
                    Severity::Error => "error",
                    Severity::Warn => "warning",
                };
                println!(
                    "  {severity}: {}: {}: {}",
                    job.job, check.check, check.message
                );
            }
        }
    }
    let elapsed = run
        .ended_at
        .map_or(0.0, |ended| (ended - run.started_at).as_seconds_f64());
    match run.status {
        RunStatus::Succeeded => println!("\n  run {} succeeded in {elapsed:.1} s", run.run_id),
        other => println!(
            "\n  run {} {other} after {elapsed:.1} s{}",
            run.run_id,
            run.error
                .as_ref()
                .map_or(String::new(), |error| format!(": {error}"))
        ),
    }
}
