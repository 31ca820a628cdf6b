//! Sending events to whoever shows them.

use tokio::sync::mpsc::UnboundedSender;

use crate::report::RunEvent;

/// Where events go, if anywhere.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    events: Option<UnboundedSender<RunEvent>>,
}

impl Progress {
    pub(super) fn new(events: Option<UnboundedSender<RunEvent>>) -> Self {
        Self { events }
    }

    pub(super) fn send(&self, event: RunEvent) {
        if let Some(events) = &self.events {
            // A display that was closed does not stop the run.
            let _ = events.send(event);
        }
    }
}
