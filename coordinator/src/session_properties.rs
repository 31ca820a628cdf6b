//! What `SET SESSION` can change.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::Placement;
use crate::core::MaintenanceOptions;
use crate::error::{CoordinatorError, Result};
use crate::units::parse_duration;

/// One property of a session.
#[derive(Debug, Clone, Copy)]
pub struct SessionProperty {
    /// Its name in `SET SESSION`.
    pub name: &'static str,
    /// What it is called in `SHOW SESSION`.
    pub help: &'static str,
    /// Its type, for people.
    pub value_type: &'static str,
}

/// Where statements run: `auto`, `local` or `distributed`.
pub const PLACEMENT: &str = "placement";
/// The time zone of `current_timestamp` and of timestamps without one.
pub const TIME_ZONE: &str = "time_zone";
/// The number of partitions that a plan aims at.
pub const TARGET_PARTITIONS: &str = "target_partitions";

/// The shortest retention that `expire_snapshots` takes.
pub const EXPIRE_SNAPSHOTS_MIN_RETENTION: &str = "expire_snapshots_min_retention";
/// The shortest retention that `remove_orphan_files` takes.
pub const REMOVE_ORPHAN_FILES_MIN_RETENTION: &str = "remove_orphan_files_min_retention";

/// All properties, sorted by name.
pub const SESSION_PROPERTIES: &[SessionProperty] = &[
    SessionProperty {
        name: EXPIRE_SNAPSHOTS_MIN_RETENTION,
        help: "shortest retention_threshold of expire_snapshots",
        value_type: "duration",
    },
    SessionProperty {
        name: PLACEMENT,
        help: "where statements run: auto, local (in the coordinator) or distributed (on workers)",
        value_type: "varchar",
    },
    SessionProperty {
        name: REMOVE_ORPHAN_FILES_MIN_RETENTION,
        help: "shortest retention_threshold of remove_orphan_files",
        value_type: "duration",
    },
    SessionProperty {
        name: TARGET_PARTITIONS,
        help: "partitions that a plan aims at; 0 is one for each slot of the cluster",
        value_type: "integer",
    },
    SessionProperty {
        name: TIME_ZONE,
        help: "time zone of current_timestamp and of timestamps that have none",
        value_type: "varchar",
    },
];

/// Checks a property's name and value before a session takes it.
pub fn check(name: &str, value: &str) -> Result<()> {
    let invalid = |expected: &str| {
        CoordinatorError::InvalidInput(format!(
            "session property {name}: \"{value}\" is not {expected}"
        ))
    };
    match name {
        PLACEMENT => parse_placement(value)
            .map(|_| ())
            .ok_or_else(|| invalid("auto, local or distributed")),
        EXPIRE_SNAPSHOTS_MIN_RETENTION | REMOVE_ORPHAN_FILES_MIN_RETENTION => {
            match parse_duration(value) {
                Some(_) => Ok(()),
                None => Err(invalid("a duration such as 7d")),
            }
        }
        TARGET_PARTITIONS => match value.parse::<usize>() {
            Ok(count) if count <= 10_000 => Ok(()),
            _ => Err(invalid("a number from 0 to 10000")),
        },
        TIME_ZONE => match value.parse::<arrow::array::timezone::Tz>() {
            Ok(_) => Ok(()),
            Err(_) => Err(invalid("a time zone such as Europe/Berlin or +02:00")),
        },
        _ => Err(unknown(name)),
    }
}

/// The error for a name that no property has.
pub fn unknown(name: &str) -> CoordinatorError {
    let nearest = SESSION_PROPERTIES
        .iter()
        .min_by_key(|property| strsim::damerau_levenshtein(property.name, name))
        .map_or("", |property| property.name);
    CoordinatorError::InvalidInput(format!(
        "session property {name} does not exist; did you mean {nearest}?"
    ))
}

/// The value of one of the properties of retention: the session's, or the configuration's.
pub fn minimum_retention(
    name: &str,
    properties: &BTreeMap<String, String>,
    options: &MaintenanceOptions,
) -> Duration {
    let of_session = properties.get(name).and_then(|value| parse_duration(value));
    of_session.unwrap_or(match name {
        EXPIRE_SNAPSHOTS_MIN_RETENTION => options.expire_snapshots_min_retention,
        _ => options.remove_orphan_files_min_retention,
    })
}

/// Where this session's statements run.
pub fn placement(properties: &BTreeMap<String, String>) -> Placement {
    properties
        .get(PLACEMENT)
        .and_then(|value| parse_placement(value))
        .unwrap_or(Placement::Auto)
}

fn parse_placement(value: &str) -> Option<Placement> {
    match value.to_lowercase().as_str() {
        "auto" => Some(Placement::Auto),
        "local" => Some(Placement::Local),
        "distributed" => Some(Placement::Distributed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_checked() {
        check("placement", "Distributed").unwrap();
        check("time_zone", "Europe/Berlin").unwrap();
        check("time_zone", "+02:00").unwrap();
        assert!(check("time_zone", "Mars/Base").is_err());
        assert!(check("target_partitions", "-1").is_err());
        let message = check("placment", "local").unwrap_err().to_string();
        assert!(message.ends_with("did you mean placement?"), "{message}");
    }
}
