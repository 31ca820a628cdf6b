//! Names and locations: what is allowed, and what was probably meant.

use crate::error::{CatalogError, Result};
use crate::storage::Location;

/// Longest schema or table name, in characters.
const MAX_NAME_LENGTH: usize = 128;

/// Refuses names that could leave the warehouse folder or break a listing.
pub(super) fn validate_name(what: &str, name: &str) -> Result<()> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.chars().count() > MAX_NAME_LENGTH {
        "is longer than 128 characters"
    } else if name.contains(['/', '\\']) {
        "contains a slash"
    } else if name == "." || name.contains("..") {
        "contains dots that could leave the warehouse folder"
    } else if name.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(());
    };
    Err(CatalogError::InvalidInput(format!(
        "{what} name {name:?} {problem}: choose another name"
    )))
}

/// A name as a folder's name: what needs escaping in a URL anywhere becomes `_`, so
/// that every reader of the table spells its location alike. Need not be unique.
pub(super) fn folder_name(name: &str) -> String {
    let safe =
        |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '-';
    name.chars()
        .map(|character| if safe(character) { character } else { '_' })
        .collect()
}

/// Refuses a location outside of `folder`.
pub(super) fn check_within(what: &str, location: &str, folder: &str) -> Result<()> {
    if Location::parse(location)?.is_within(&Location::parse(folder)?) {
        return Ok(());
    }
    Err(CatalogError::InvalidInput(format!(
        "{what} location {location} is outside of the warehouse {folder}: \
         leave the location out, or choose one in the warehouse"
    )))
}

/// Refuses a location that `folder`, which `owner` has, is or lies in.
pub(super) fn check_around(what: &str, location: &str, owner: &str, folder: &str) -> Result<()> {
    if !Location::parse(folder)?.is_within(&Location::parse(location)?) {
        return Ok(());
    }
    Err(CatalogError::InvalidInput(format!(
        "{what} location {location} holds the folder {folder} of {owner}: choose a folder of its \
         own, or leave the location out"
    )))
}

/// The candidate nearest to a name that does not exist, if one is near enough to be a
/// misspelling.
pub fn nearest_name<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a String>,
) -> Option<String> {
    let folded = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&folded, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| {
            let length = folded.chars().count().max(candidate.chars().count());
            *distance <= (length / 3).max(1)
        })
        .min()
        .map(|(_, candidate)| candidate.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_escape_are_refused() {
        let long = "x".repeat(129);
        for name in ["", ".", "..", "../x", "a/b", "a\\b", "a\nb", "a\0", &long] {
            let error = validate_name("table", name).unwrap_err().to_string();
            assert!(error.starts_with("table name"), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        for name in ["a", "Ümlaut", "with space", "%2e%2e", "a.b", &long[1..]] {
            validate_name("table", name).unwrap();
        }
    }

    #[test]
    fn folders_need_no_escaping() {
        assert_eq!(folder_name("a b%ü#?.x-y_1"), "a_b_____x-y_1");
    }

    #[test]
    fn misspellings_find_the_nearest_name() {
        let names: Vec<_> = ["daily_metrics", "customer_summary", "orders"]
            .map(String::from)
            .to_vec();
        let nearest = |name| nearest_name(name, &names);
        assert_eq!(nearest("dayly_metrics"), Some("daily_metrics".to_string()));
        assert_eq!(nearest("ORDRES"), Some("orders".to_string()));
        assert_eq!(nearest("unrelated"), None);
    }
}
