//! How often and how long to try a commit again.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rand::Rng;

use crate::error::{CatalogError, Result};

/// Iceberg's default is 4, which many concurrent writers of one table use up.
const DEFAULT_RETRIES: u32 = 50;
const DEFAULT_MIN_WAIT_MS: u64 = 20;
const DEFAULT_MAX_WAIT_MS: u64 = 2_000;
const DEFAULT_TOTAL_MS: u64 = 30 * 60 * 1_000;

/// A table property as a number, or its default.
pub(super) fn number_property<T: FromStr>(
    properties: &HashMap<String, String>,
    key: &str,
    default: T,
) -> Result<T> {
    match properties.get(key) {
        None => Ok(default),
        Some(value) => value.trim().parse().map_err(|_| {
            CatalogError::InvalidInput(format!(
                "table property {key} is {value:?}: it must be a whole number"
            ))
        }),
    }
}

/// Counts the attempts of one commit and waits between them: exponentially longer,
/// with jitter, so that writers that collided once do not collide again.
#[derive(Debug)]
pub(super) struct Backoff {
    retries_left: u32,
    next_wait: Duration,
    max_wait: Duration,
    deadline: Instant,
}

impl Backoff {
    /// From the table's `commit.retry.*` properties.
    pub(super) fn new(properties: &HashMap<String, String>) -> Result<Self> {
        let milliseconds =
            |key, default| number_property(properties, key, default).map(Duration::from_millis);
        let total = milliseconds("commit.retry.total-timeout-ms", DEFAULT_TOTAL_MS)?;
        let now = Instant::now();
        Ok(Self {
            retries_left: number_property(properties, "commit.retry.num-retries", DEFAULT_RETRIES)?,
            next_wait: milliseconds("commit.retry.min-wait-ms", DEFAULT_MIN_WAIT_MS)?,
            max_wait: milliseconds("commit.retry.max-wait-ms", DEFAULT_MAX_WAIT_MS)?,
            deadline: now.checked_add(total).unwrap_or(now),
        })
    }

    /// Waits before the next attempt; false when there is none.
    pub(super) async fn wait(&mut self) -> bool {
        if self.retries_left == 0 || Instant::now() >= self.deadline {
            return false;
        }
        self.retries_left -= 1;
        let longest = self.next_wait.min(self.max_wait);
        let factor = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(longest.mul_f64(factor)).await;
        self.next_wait = longest.saturating_mul(2);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn retries_end() {
        let properties = HashMap::from([
            ("commit.retry.num-retries".to_string(), "2".to_string()),
            ("commit.retry.min-wait-ms".to_string(), "0".to_string()),
        ]);
        let mut backoff = Backoff::new(&properties).unwrap();
        assert!(backoff.wait().await);
        assert!(backoff.wait().await);
        assert!(!backoff.wait().await);
    }

    #[test]
    fn a_property_that_is_no_number_is_named() {
        let properties = HashMap::from([("commit.retry.num-retries".into(), "many".into())]);
        let error = Backoff::new(&properties).unwrap_err().to_string();
        assert!(error.contains("commit.retry.num-retries"), "{error}");
    }
}
