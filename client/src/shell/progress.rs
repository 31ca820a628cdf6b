//! One line on standard error that shows how far a query is, and leaves nothing behind.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::executor::{Progress, QueryState};

/// The line. It is drawn only on a terminal.
pub(super) struct ProgressLine {
    is_enabled: bool,
    /// Results go to the same screen: the line must be gone before they are written.
    shares_screen: bool,
    /// Rows have been written to the screen: the line would end up between them.
    is_muted: AtomicBool,
    is_visible: AtomicBool,
}

impl ProgressLine {
    pub(super) fn new(is_enabled: bool, shares_screen: bool) -> Self {
        Self {
            is_enabled,
            shares_screen,
            is_muted: AtomicBool::new(false),
            is_visible: AtomicBool::new(false),
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    pub(super) fn show_snapshot(&self, progress: &Progress) {
        self.show(&describe(progress));
    }

    pub(super) fn show(&self, text: &str) {
        if self.is_enabled && !self.is_muted.load(Ordering::Relaxed) {
            self.is_visible.store(true, Ordering::Relaxed);
            draw(&format!("\r\x1b[2K{text}"));
        }
    }

    /// Makes room for rows.
    pub(super) fn before_output(&self) {
        if self.shares_screen {
            self.erase();
            self.is_muted.store(true, Ordering::Relaxed);
        }
    }

    /// The statement has ended.
    pub(super) fn clear(&self) {
        self.erase();
        self.is_muted.store(false, Ordering::Relaxed);
    }

    fn erase(&self) {
        if self.is_visible.swap(false, Ordering::Relaxed) {
            draw("\r\x1b[2K");
        }
    }
}

fn draw(text: &str) {
    let mut screen = std::io::stderr();
    // A line that cannot be drawn is not worth an error.
    let _ = screen.write_all(text.as_bytes());
    let _ = screen.flush();
}

fn describe(progress: &Progress) -> String {
    let state = match progress.state {
        QueryState::Queued => "queued",
        QueryState::Planning => "planning",
        QueryState::Running | QueryState::Unknown => "running",
        QueryState::Finished => "finishing",
        QueryState::Failed => "failed",
        QueryState::Cancelled => "cancelled",
    };
    let seconds = progress.elapsed_millis as f64 / 1000.0;
    let mut parts = vec![state.to_string()];
    if progress.stages_total > 0 {
        parts.push(format!(
            "stage {}/{}",
            progress.stages_done, progress.stages_total
        ));
    }
    if progress.tasks_total > 0 {
        parts.push(format!(
            "tasks {}/{}",
            progress.tasks_done, progress.tasks_total
        ));
    }
    if progress.rows > 0 {
        parts.push(format!("{} rows", short_number(progress.rows as f64)));
        if seconds > 0.0 {
            parts.push(format!(
                "{} rows/s",
                short_number(progress.rows as f64 / seconds)
            ));
        }
    }
    if progress.bytes > 0 {
        parts.push(format!("{}B", short_number(progress.bytes as f64)));
    }
    parts.push(format!("{seconds:.1} s"));
    parts.join(" · ")
}

/// Three significant digits with a decimal prefix.
fn short_number(value: f64) -> String {
    let mut scaled = value;
    for prefix in ["", "k", "M", "G", "T"] {
        if scaled < 999.5 || prefix == "T" {
            let digits = match (prefix, scaled) {
                ("", _) => 0,
                (_, small) if small < 9.995 => 2,
                (_, middle) if middle < 99.95 => 1,
                _ => 0,
            };
            return format!("{scaled:.digits$} {prefix}").trim_end().to_string();
        }
        scaled /= 1000.0;
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (999.0, "999"),
            (1000.0, "1.00 k"),
            (12_345.0, "12.3 k"),
            (999_600.0, "1.00 M"),
            (3_800_000_000.0, "3.80 G"),
        ];
        for (value, expected) in cases {
            assert_eq!(short_number(value), expected);
        }
    }

    #[test]
    fn a_distributed_query_shows_its_stages() {
        let progress = Progress {
            state: QueryState::Running,
            rows: 1_200_000,
            bytes: 34_000_000,
            stages_done: 1,
            stages_total: 3,
            tasks_done: 5,
            tasks_total: 12,
            elapsed_millis: 2000,
        };
        assert_eq!(
            describe(&progress),
            "running · stage 1/3 · tasks 5/12 · 1.20 M rows · 600 k rows/s · 34.0 MB · 2.0 s"
        );
    }

    #[test]
    fn a_local_query_shows_what_there_is() {
        let json = r#"{"state":"some_new_state","elapsed_millis":1500}"#;
        let progress: Progress = serde_json::from_str(json).unwrap();
        assert_eq!(describe(&progress), "running · 1.5 s");
    }
}
