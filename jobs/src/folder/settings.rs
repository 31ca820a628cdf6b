//! `pipeline.yaml`: the settings of a pipeline.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::values::DurationText;
use super::yaml::YamlText;
use crate::definition::{MissedFires, Pipeline, RetryPolicy, Schedule};
use crate::error::{JobsError, Result};
use crate::schedule::CronSchedule;

/// The keys of `pipeline.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    name: Option<String>,
    #[serde(default)]
    description: String,
    schedule: Option<Spanned<ScheduleSettings>>,
    #[serde(default = "default_catalog")]
    catalog: String,
    schema: Option<String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    setup: Vec<String>,
    #[serde(default = "default_concurrency")]
    max_concurrent_jobs: usize,
    retry: Option<RetrySettings>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleSettings {
    cron: String,
    #[serde(default = "default_time_zone")]
    time_zone: String,
    #[serde(default)]
    missed: MissedFires,
}

/// How to retry; what is not said is as in `RetryPolicy::default`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetrySettings {
    attempts: Option<u32>,
    delay: Option<DurationText>,
    max_delay: Option<DurationText>,
}

impl RetrySettings {
    /// These settings over those of the pipeline.
    pub(super) fn over(self, base: RetryPolicy) -> RetryPolicy {
        let or = |value: Option<DurationText>, base: Duration| value.map_or(base, |text| text.0);
        RetryPolicy {
            attempts: self.attempts.unwrap_or(base.attempts).max(1),
            delay: or(self.delay, base.delay),
            max_delay: or(self.max_delay, base.max_delay),
        }
    }
}

fn default_catalog() -> String {
    "iceberg".to_string()
}

fn default_time_zone() -> String {
    "UTC".to_string()
}

fn default_concurrency() -> usize {
    2
}

/// Settings, and what they apply to jobs.
pub(super) struct ParsedSettings<'a> {
    yaml: YamlText<'a>,
    settings: Settings,
}

pub(super) fn parse<'a>(path: &'a Path, text: &'a str) -> Result<ParsedSettings<'a>> {
    let yaml = YamlText {
        path,
        first_line: 1,
        text,
    };
    let settings = yaml.parse()?;
    Ok(ParsedSettings { yaml, settings })
}

impl ParsedSettings<'_> {
    /// The pipeline without its jobs. Its name is that of the folder unless it has one.
    pub(super) fn into_pipeline(self, folder: &Path) -> Result<Pipeline> {
        let Self { yaml, settings } = self;
        let name = match settings.name {
            Some(name) => name,
            None => folder_name(folder)?,
        };
        let is_valid = |character: char| {
            character.is_ascii_alphanumeric() || character == '_' || character == '-'
        };
        if name.is_empty() || !name.chars().all(is_valid) {
            return Err(yaml.error_at(
                Location::UNKNOWN,
                format!(
                    "the pipeline name {name:?} is not valid: use letters, digits, _ and -, \
                     or set name in {}",
                    super::PIPELINE_FILE
                ),
            ));
        }
        if settings.max_concurrent_jobs == 0 {
            return Err(yaml.error_at(
                Location::UNKNOWN,
                "max_concurrent_jobs is 0: it is at least 1",
            ));
        }
        let schedule = settings
            .schedule
            .map(|spanned| {
                let schedule = Schedule {
                    cron: spanned.value.cron,
                    time_zone: spanned.value.time_zone,
                    missed: spanned.value.missed,
                };
                match CronSchedule::parse(&schedule) {
                    Ok(_) => Ok(schedule),
                    Err(message) => Err(yaml.error_at(spanned.referenced, message)),
                }
            })
            .transpose()?;
        let retry = settings.retry.map_or_else(RetryPolicy::default, |retry| {
            retry.over(RetryPolicy::default())
        });
        Ok(Pipeline {
            name,
            description: settings.description,
            schedule,
            catalog: settings.catalog,
            schema: settings.schema,
            variables: settings.variables,
            setup: settings.setup,
            max_concurrent_jobs: settings.max_concurrent_jobs,
            retry,
            jobs: Vec::new(),
        })
    }
}

fn folder_name(folder: &Path) -> Result<String> {
    let absolute = std::path::absolute(folder).map_err(|source| JobsError::Io {
        path: folder.to_path_buf(),
        source,
    })?;
    let name = absolute.file_name().unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}
