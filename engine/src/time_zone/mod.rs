//! The session's time zone.
//!
//! A `timestamp with time zone` is an instant, kept in UTC. Its date, its hours and its text are
//! those that a clock on the wall shows in the session's time zone, and a timestamp without a zone
//! is what that clock shows. DataFusion 55 converts by the zone of the Arrow type, which is UTC for
//! all tables: [`SessionTimeZone`] puts the session's zone into the plan, as a constant, so that
//! workers need not know the session. What `AT TIME ZONE` makes has a zone of its own, in its type.

mod functions;
mod rule;

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;
use datafusion::optimizer::Analyzer;

use self::functions::{AtTimeZone, Now, TimestampInZone, TimestampText, WithTimeZone};

pub(crate) use self::functions::{instant_of, parse_instant};
pub use self::rule::{SessionTimeZone, in_session_zone};

/// Adds the functions and, behind DataFusion's own rules (which add the casts), the rule.
pub fn install(builder: &mut SessionStateBuilder) {
    let analyzer = builder.analyzer().get_or_insert_with(Analyzer::new);
    analyzer.rules.push(Arc::new(SessionTimeZone));
    let known = builder.scalar_functions().get_or_insert_with(Vec::new);
    let ours = functions();
    known.retain(|function| ours.iter().all(|our| our.name() != function.name()));
    known.extend(ours);
}

/// `at_timezone`, `with_timezone`, `now` and what the rule puts into plans. Workers need them.
fn functions() -> [Arc<ScalarUDF>; 5] {
    [
        Arc::new(ScalarUDF::from(AtTimeZone::new())),
        Arc::new(ScalarUDF::from(WithTimeZone::new())),
        Arc::new(ScalarUDF::from(TimestampInZone::new())),
        Arc::new(ScalarUDF::from(TimestampText::new())),
        Arc::new(ScalarUDF::from(Now::new())),
    ]
}

/// Whether a zone is UTC, in any of its usual spellings.
fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "utc" | "Z" | "+00:00" | "+00" | "-00:00")
}
