//! The status page: nodes, statements and job runs on one plain page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::StatusView;
use crate::queries::{QueryRecord, state_name};
use crate::service::QueryState;

const STYLE: &str = "
:root { color-scheme: light dark; font: 14px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font: 12px ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.running { color: #06c; } .failed { color: #c30; } .cancelled { color: #a70; } .finished, .succeeded { color: #282; }
.muted { opacity: .65; }
";

/// Renders everything that the page shows; it refreshes itself every five seconds.
pub fn status_page(view: &StatusView) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content="5";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Ingot" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Ingot" }
                p.muted {
                    "version " (view.version) ", up " (duration(view.uptime_seconds as f64))
                    ", Flight SQL at " code { (view.flight_address) }
                }
                (nodes(view))
                (queries(&view.queries))
                (runs(view))
            }
        }
    }
}

fn nodes(view: &StatusView) -> Markup {
    html! {
        h2 { "Workers (" (view.workers.len()) ")" }
        @if view.workers.is_empty() {
            p.muted { "No worker has joined: statements run in the coordinator." }
        } @else {
            table {
                tr { th { "Worker" } th { "Address" } th.number { "Slots" } th.number { "Free" } th.number { "Last heartbeat" } }
                @for worker in &view.workers {
                    tr {
                        td { code { (worker.id) } }
                        td { (worker.address) }
                        td.number { (worker.slots) }
                        td.number { (worker.free_slots) }
                        td.number { (duration(worker.heartbeat_age_seconds)) " ago" }
                    }
                }
            }
        }
    }
}

fn queries(records: &[QueryRecord]) -> Markup {
    html! {
        h2 { "Statements" }
        @if records.is_empty() {
            p.muted { "None yet." }
        } @else {
            table {
                tr { th { "Started" } th { "State" } th { "Statement" } th { "User" } th { "Where" } th.number { "Rows" } th.number { "Time" } }
                @for record in records {
                    tr {
                        td { (record.started_at.format("%H:%M:%S")) }
                        td class=(state_name(record.state)) { (state_name(record.state)) }
                        td {
                            code { (shorten(&record.sql)) }
                            @if record.state == QueryState::Failed && let Some(error) = &record.error {
                                div.failed { (error) }
                            }
                        }
                        td { (record.user) }
                        td { (record.placement.unwrap_or("")) }
                        td.number { (record.rows) }
                        td.number { (duration(record.elapsed.as_secs_f64())) }
                    }
                }
            }
        }
    }
}

fn runs(view: &StatusView) -> Markup {
    html! {
        h2 { "Job runs" }
        @if view.runs.is_empty() {
            p.muted { "None yet." }
        } @else {
            table {
                tr { th { "Started" } th { "Pipeline" } th { "State" } th { "Trigger" } th.number { "Time" } th { "Error" } }
                @for run in &view.runs {
                    tr {
                        td { (run.started_at) }
                        td { (run.pipeline) }
                        td class=(run.state) { (run.state) }
                        td { (run.trigger) }
                        td.number { @if let Some(seconds) = run.seconds { (duration(seconds)) } }
                        td { (run.error.as_deref().unwrap_or("")) }
                    }
                }
            }
        }
    }
}

fn shorten(sql: &str) -> String {
    const SHOWN: usize = 400;
    match sql.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &sql[..end]),
        None => sql.to_owned(),
    }
}

fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else if seconds < 3600.0 {
        format!(
            "{:.0} min {:.0} s",
            (seconds / 60.0).floor(),
            seconds % 60.0
        )
    } else {
        format!(
            "{:.0} h {:.0} min",
            (seconds / 3600.0).floor(),
            (seconds / 60.0) % 60.0
        )
    }
}
