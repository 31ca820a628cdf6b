//! Arguments of table procedures: `name => value`, or by position.

use std::collections::BTreeMap;
use std::time::Duration;

use ingot_sql::sqlparser::ast::{Expr, Value};

use crate::error::{CoordinatorError, Result};
use crate::units::{parse_duration, parse_size};

/// The arguments given to a procedure, by the names of its parameters. All may be missing.
#[derive(Debug)]
pub(super) struct Arguments<'a> {
    procedure: &'static str,
    values: BTreeMap<&'static str, &'a Expr>,
}

impl<'a> Arguments<'a> {
    /// # Errors
    /// `InvalidInput` for a name that no parameter has (with the nearest one), for one given
    /// twice and for too many values.
    pub(super) fn bind(
        procedure: &'static str,
        parameters: &'static [&'static str],
        arguments: &'a [(Option<String>, Expr)],
    ) -> Result<Self> {
        let mut values = BTreeMap::new();
        for (position, (name, value)) in arguments.iter().enumerate() {
            let parameter = match name {
                Some(name) => parameters.iter().find(|known| *known == name),
                None => parameters.get(position),
            };
            let Some(parameter) = parameter else {
                return Err(unknown(procedure, parameters, name.as_deref()));
            };
            if values.insert(*parameter, value).is_some() {
                return Err(CoordinatorError::InvalidInput(format!(
                    "parameter {parameter} of {procedure} is given twice"
                )));
            }
        }
        Ok(Self { procedure, values })
    }

    fn invalid(&self, name: &str, expected: &str) -> CoordinatorError {
        let given = match self.values.get(name) {
            Some(value) => format!("{value} is not"),
            None => "it must be".to_owned(),
        };
        CoordinatorError::InvalidInput(format!(
            "parameter {name} of {}: {given} {expected}",
            self.procedure
        ))
    }

    fn text(&self, name: &str) -> Option<Option<&str>> {
        let value = self.values.get(name)?;
        Some(text_of(value))
    }

    /// A size such as `'128MB'`, in bytes.
    pub(super) fn size(&self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let bytes = text.and_then(parse_size);
        let bytes = bytes.ok_or_else(|| self.invalid(name, "a size such as '128MB'"))?;
        Ok(Some(bytes))
    }

    /// A duration such as `'7d'`.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let duration = text.and_then(parse_duration);
        let duration = duration.ok_or_else(|| self.invalid(name, "a duration such as '7d'"))?;
        Ok(Some(duration))
    }

    /// A whole number from 1.
    pub(super) fn count(&self, name: &str) -> Result<Option<usize>> {
        let Some(value) = self.values.get(name) else {
            return Ok(None);
        };
        let number: Option<usize> = match value {
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => number.parse().ok(),
                _ => None,
            },
            _ => None,
        };
        let number = number.filter(|number| *number > 0);
        let number = number.ok_or_else(|| self.invalid(name, "a whole number from 1"))?;
        Ok(Some(number))
    }

    /// `true` or `false`; without it, `false`.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        let Some(value) = self.values.get(name) else {
            return Ok(false);
        };
        match value {
            Expr::Value(value) => match value.value {
                Value::Boolean(flag) => Ok(flag),
                _ => Err(self.invalid(name, "true or false")),
            },
            _ => Err(self.invalid(name, "true or false")),
        }
    }

    /// The texts of an array that has at least one.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>> {
        let Some(value) = self.values.get(name) else {
            return Ok(None);
        };
        let Expr::Array(array) = value else {
            return Err(self.invalid(name, "an array such as ARRAY['a', 'b']"));
        };
        let texts: Option<Vec<String>> = array
            .elem
            .iter()
            .map(|element| text_of(element).map(str::to_owned))
            .collect();
        match texts {
            Some(texts) if !texts.is_empty() => Ok(Some(texts)),
            _ => Err(self.invalid(name, "an array of texts such as ARRAY['a', 'b']")),
        }
    }
}

fn text_of(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn unknown(
    procedure: &str,
    parameters: &'static [&'static str],
    name: Option<&str>,
) -> CoordinatorError {
    let what = match name {
        Some(name) => format!("procedure {procedure} has no parameter {name}"),
        None => format!("procedure {procedure} has {} parameters", parameters.len()),
    };
    let nearest = name.and_then(|name| {
        let names = parameters.iter();
        names.min_by_key(|known| strsim::damerau_levenshtein(known, name))
    });
    let remedy = match (nearest, parameters) {
        (_, []) => "it takes none".to_owned(),
        (Some(nearest), _) => format!("did you mean {nearest}?"),
        (None, all) => format!("they are {}", all.join(", ")),
    };
    CoordinatorError::InvalidInput(format!("{what}; {remedy}"))
}
