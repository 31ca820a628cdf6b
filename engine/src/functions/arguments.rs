//! The arguments of a table function, checked.

use std::collections::BTreeMap;

use arrow::datatypes::{Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use ingot_sql::{ColumnType, Statement, parse_statement};

use crate::error::{EngineError, Result};
use crate::types::arrow_type_of_column;

/// Name of the first argument, which needs none.
const PATH: &str = "path";
/// Names and types of columns, as in `CREATE TABLE`.
const COLUMNS: &str = "columns";

/// Arguments by name; each is taken once, and none may be left.
pub(super) struct Arguments {
    function: &'static str,
    values: BTreeMap<String, ScalarValue>,
}

impl Arguments {
    /// From pairs of name and value.
    ///
    /// # Errors
    /// `InvalidInput` for an argument that is not constant or given twice.
    pub(super) fn parse(function: &'static str, pairs: &[Expr]) -> Result<Self> {
        let mut arguments = Self {
            function,
            values: BTreeMap::new(),
        };
        for pair in pairs.chunks(2) {
            let [name, value] = pair else {
                return Err(arguments.wrong("an argument", "has no value"));
            };
            let name = match name.as_literal().and_then(|name| name.try_as_str()) {
                Some(Some("")) => PATH.to_string(),
                Some(Some(name)) => name.to_string(),
                _ => return Err(arguments.wrong("an argument", "has no name")),
            };
            let Some(value) = value.as_literal() else {
                return Err(arguments.wrong(&name, "must be a constant"));
            };
            if arguments
                .values
                .insert(name.clone(), value.clone())
                .is_some()
            {
                return Err(arguments.wrong(&name, "is given twice"));
            }
        }
        Ok(arguments)
    }

    fn wrong(&self, name: &str, reason: &str) -> EngineError {
        EngineError::InvalidInput(format!("{}: {name} {reason}", self.function))
    }

    /// The paths to read: text, or an array of text.
    pub(super) fn take_paths(&mut self) -> Result<Vec<String>> {
        let value = self.values.remove(PATH);
        let paths = match &value {
            None => None,
            Some(ScalarValue::List(list)) => {
                let texts = ScalarValue::convert_array_to_scalar_vec(list.as_ref())
                    .ok()
                    .and_then(|mut rows| rows.pop().flatten())
                    .unwrap_or_default();
                texts.iter().map(text_of).collect::<Option<Vec<_>>>()
            }
            Some(value) => text_of(value).map(|path| vec![path]),
        };
        match paths {
            Some(paths) if !paths.is_empty() => Ok(paths),
            _ => Err(self.wrong(
                PATH,
                "must be text, or an array of text: 's3://bucket/*.csv'",
            )),
        }
    }

    /// A flag.
    pub(super) fn take_flag(&mut self, name: &str, default: bool) -> Result<bool> {
        match self.values.remove(name) {
            None => Ok(default),
            Some(ScalarValue::Boolean(Some(flag))) => Ok(flag),
            Some(_) => Err(self.wrong(name, "must be true or false")),
        }
    }

    /// One byte of text.
    pub(super) fn take_byte(&mut self, name: &str) -> Result<Option<u8>> {
        let Some(value) = self.values.remove(name) else {
            return Ok(None);
        };
        match text_of(&value).as_deref() {
            Some("\\t") => Ok(Some(b'\t')),
            Some(text) if text.len() == 1 => Ok(text.bytes().next()),
            _ => Err(self.wrong(name, "must be one ASCII character")),
        }
    }

    /// The columns as they were given: `'id bigint, name varchar'`.
    pub(super) fn take_columns(&mut self) -> Result<Option<Schema>> {
        let Some(value) = self.values.remove(COLUMNS) else {
            return Ok(None);
        };
        let remedy = "must be text such as 'id bigint, name varchar'";
        let Some(text) = text_of(&value) else {
            return Err(self.wrong(COLUMNS, remedy));
        };
        let definition = format!("CREATE TABLE t ({text})");
        let statement = parse_statement(&definition);
        let Ok(Statement::CreateTable(table)) = statement else {
            return Err(self.wrong(COLUMNS, remedy));
        };
        let fields = table.columns.iter().map(|column| {
            let column_type: &ColumnType = &column.column_type;
            let data_type = arrow_type_of_column(column_type);
            Field::new(&column.name, data_type, true)
        });
        Ok(Some(Schema::new(fields.collect::<Vec<_>>())))
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// `InvalidInput` naming an unknown argument and the nearest known one.
    pub(super) fn finish(self, known: &[&str]) -> Result<()> {
        let Some(name) = self.values.keys().next() else {
            return Ok(());
        };
        let nearest = known
            .iter()
            .map(|candidate| (strsim::damerau_levenshtein(candidate, name), candidate))
            .min_by_key(|(distance, _)| *distance)
            .filter(|(distance, candidate)| *distance <= candidate.len() / 2);
        let hint = match nearest {
            Some((_, candidate)) => format!("is unknown: did you mean {candidate}?"),
            None => format!("is unknown: it takes {}", known.join(", ")),
        };
        Err(self.wrong(&format!("argument {name}"), &hint))
    }
}

fn text_of(value: &ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::logical_expr::lit;

    fn parse(pairs: &[(&str, Expr)]) -> Result<Arguments> {
        let pairs: Vec<Expr> = pairs
            .iter()
            .flat_map(|(name, value)| [lit(*name), value.clone()])
            .collect();
        Arguments::parse("read_csv", &pairs)
    }

    #[test]
    fn arguments_are_taken_by_name() {
        let mut arguments = parse(&[
            ("", lit("/a.csv")),
            ("header", lit(false)),
            ("delimiter", lit("\\t")),
            (
                "columns",
                lit("id bigint, price decimal(10, 2), at timestamp"),
            ),
        ])
        .unwrap();
        assert_eq!(arguments.take_paths().unwrap(), vec!["/a.csv"]);
        assert!(!arguments.take_flag("header", true).unwrap());
        assert_eq!(arguments.take_byte("delimiter").unwrap(), Some(b'\t'));
        let columns = arguments.take_columns().unwrap().unwrap();
        let types: Vec<_> = columns
            .fields()
            .iter()
            .map(|f| f.data_type().to_string())
            .collect();
        assert_eq!(types, ["Int64", "Decimal128(10, 2)", "Timestamp(µs)"]);
        arguments.finish(&["header"]).unwrap();
    }

    #[test]
    fn wrong_arguments_are_named() {
        let unknown = parse(&[("", lit("/a.csv")), ("haeder", lit(true))]).unwrap();
        let mut unknown = unknown;
        unknown.take_paths().unwrap();
        let error = unknown
            .finish(&["header", "delimiter"])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "read_csv: argument haeder is unknown: did you mean header?"
        );
        let error = parse(&[("a", lit(1)), ("a", lit(2))])
            .err()
            .unwrap()
            .to_string();
        assert_eq!(error, "read_csv: a is given twice");
        assert!(parse(&[("", lit(1))]).unwrap().take_paths().is_err());
    }
}
