//! `{{ name }}` in statements.

use std::collections::BTreeMap;

use crate::folder::nearest;

/// A variable that cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct VariableError {
    /// Line of the text, from 1.
    pub line: u64,
    /// Column, from 1, in characters.
    pub column: u64,
    /// What is wrong.
    pub message: String,
}

/// Where in a statement the scanner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Code,
    /// `'…'`: quotes in values are doubled there.
    Text,
    /// `"…"`: likewise.
    Identifier,
    /// `-- …`: left as it is.
    LineComment,
    /// `/* … */`, which may be nested: left as it is.
    BlockComment(u32),
}

/// Replaces every `{{ name }}` outside of comments. A value cannot end the quotes that
/// it stands in: quotes in it are doubled.
///
/// # Errors
/// An unknown variable (the nearest one is named), or `{{` without `}}`.
pub fn replace(text: &str, variables: &BTreeMap<String, String>) -> Result<String, VariableError> {
    let mut replaced = String::with_capacity(text.len());
    let mut place = Place::Code;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_comment = matches!(place, Place::LineComment | Place::BlockComment(_));
        if !is_comment && let Some(inside) = rest.strip_prefix("{{") {
            let error = |message| located(text, rest, message);
            let Some((name, after)) = inside.split_once("}}") else {
                return Err(error(
                    "{{ is not closed: write }} after the name".to_string(),
                ));
            };
            let name = name.trim();
            let Some(value) = variables.get(name) else {
                return Err(error(unknown(name, variables)));
            };
            match place {
                Place::Text => replaced.push_str(&value.replace('\'', "''")),
                Place::Identifier => replaced.push_str(&value.replace('"', "\"\"")),
                _ => replaced.push_str(value),
            }
            rest = after;
            continue;
        }
        let (next_place, length) = step(place, rest, first);
        replaced.push_str(&rest[..length]);
        place = next_place;
        rest = &rest[length..];
    }
    Ok(replaced)
}

/// The place after the next bytes, and how many they are.
fn step(place: Place, rest: &str, first: char) -> (Place, usize) {
    let one = first.len_utf8();
    match (place, first) {
        (Place::Code, '\'') => (Place::Text, one),
        (Place::Code, '"') => (Place::Identifier, one),
        (Place::Code, _) if rest.starts_with("--") => (Place::LineComment, 2),
        (Place::Code, _) if rest.starts_with("/*") => (Place::BlockComment(1), 2),
        // A doubled quote leaves and enters again, which comes to the same.
        (Place::Text, '\'') | (Place::Identifier, '"') => (Place::Code, one),
        (Place::LineComment, '\n') => (Place::Code, one),
        (Place::BlockComment(depth), _) if rest.starts_with("/*") => {
            (Place::BlockComment(depth + 1), 2)
        }
        (Place::BlockComment(depth), _) if rest.starts_with("*/") => match depth {
            1 => (Place::Code, 2),
            _ => (Place::BlockComment(depth - 1), 2),
        },
        _ => (place, one),
    }
}

fn unknown(name: &str, variables: &BTreeMap<String, String>) -> String {
    let names = variables.keys().map(String::as_str);
    match nearest(name, names) {
        Some(nearest) => format!("unknown variable {name}; did you mean {nearest}?"),
        None => format!("unknown variable {name}: set it in pipeline.yaml or for the run"),
    }
}

fn located(text: &str, rest: &str, message: String) -> VariableError {
    let before = &text[..text.len() - rest.len()];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    VariableError {
        line: 1 + before.matches('\n').count() as u64,
        column: 1 + before[line_start..].chars().count() as u64,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> BTreeMap<String, String> {
        [("folder", "/a'b"), ("limit", "10")]
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .into()
    }

    #[test]
    fn values_stay_inside_their_quotes() {
        let replaced = |text| replace(text, &variables()).unwrap();
        assert_eq!(replaced("LIMIT {{limit}}"), "LIMIT 10");
        assert_eq!(replaced("'{{ folder }}/x'"), "'/a''b/x'");
        assert_eq!(replaced("\"{{ folder }}\""), "\"/a'b\"");
        assert_eq!(replaced("'it''s' {{ limit }}"), "'it''s' 10");
        assert_eq!(
            replaced("-- the shop's {{ x }}\n{{ limit }} /* ' {{ y }} /* */ ' */ '{{ folder }}'"),
            "-- the shop's {{ x }}\n10 /* ' {{ y }} /* */ ' */ '/a''b'"
        );
        assert_eq!(replaced("'ä' || 'ö{{ limit }}'"), "'ä' || 'ö10'");
    }

    #[test]
    fn mistakes_have_a_place() {
        let error = replace("SELECT 1,\n 'ü', {{ limti }}", &variables()).unwrap_err();
        assert_eq!((error.line, error.column), (2, 7));
        assert_eq!(error.message, "unknown variable limti; did you mean limit?");
        let error = replace("{{ limit ", &variables()).unwrap_err();
        assert!(error.message.contains("is not closed"), "{error}");
    }
}
