//! YAML with errors that name the file, the line and the nearest valid key.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_saphyr::{Error as YamlError, Location};

use crate::error::{JobsError, Result};

/// A piece of YAML and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct YamlText<'a> {
    /// The file, for errors.
    pub path: &'a Path,
    /// The line of the file, from 1, at which the text begins.
    pub first_line: u64,
    /// The YAML.
    pub text: &'a str,
}

impl YamlText<'_> {
    /// Reads it; empty text and comments are an empty mapping.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let is_empty = self.text.lines().all(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#')
        });
        let text = if is_empty { "{}" } else { self.text };
        serde_saphyr::from_str(text).map_err(|error| self.yaml_error(&error))
    }

    /// An error at a place of the YAML.
    pub(super) fn error_at(&self, location: Location, message: impl Into<String>) -> JobsError {
        let (line, column) = if location == Location::UNKNOWN {
            (1, 1)
        } else {
            (location.line(), location.column())
        };
        JobsError::InvalidFile {
            path: self.path.to_path_buf(),
            line: self.first_line + line.saturating_sub(1),
            column,
            message: message.into(),
        }
    }

    fn yaml_error(&self, error: &YamlError) -> JobsError {
        let error = error.without_snippet();
        let location = error.location().unwrap_or(Location::UNKNOWN);
        let message = match error {
            YamlError::SerdeUnknownField {
                field, expected, ..
            } => unknown_key(field, expected),
            YamlError::SerdeMissingField { field, .. } => format!("the key {field} is missing"),
            YamlError::DuplicateMappingKey { key, .. } => match key {
                Some(key) => format!("the key {key} is there twice"),
                None => "a key is there twice".to_string(),
            },
            other => one_line(&other.to_string()),
        };
        self.error_at(location, message)
    }
}

/// Says that a key does not exist, and which one may be meant.
pub(super) fn unknown_key(key: &str, valid: &[&str]) -> String {
    let valid_keys = valid.join(", ");
    match nearest(key, valid.iter().copied()) {
        Some(nearest) => {
            format!("unknown key {key}; did you mean {nearest}? (valid keys: {valid_keys})")
        }
        None => format!("unknown key {key} (valid keys: {valid_keys})"),
    }
}

/// The nearest of some names, unless none is near.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, known)| known)
}

/// Without line breaks and without the place that is in the error already.
pub(super) fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.split_once(": ") {
        Some((place, rest)) if place.starts_with("line ") && place.contains("column ") => {
            rest.to_string()
        }
        _ => text,
    }
}
