//! `ANALYZE [TABLE] table [WITH (columns = ARRAY['column', …])]`

use sqlparser::parser::Parser;

use super::tokens::{Constant, Property, TokenReader, parse_property_list};
use crate::error::SqlError;
use crate::statement::Statement;
use crate::table_properties::parse_column_name;

const COLUMNS: &str = "columns";

pub(super) fn parse_analyze(parser: &mut Parser<'_>) -> Result<Statement, SqlError> {
    parser.expect_word("analyze")?;
    let _ = parser.take_word("table");
    let table = parser.table_name()?;
    let mut columns = None;
    if parser.take_word("with") {
        for property in parse_property_list(parser)? {
            columns = Some(columns_of(property)?);
        }
    }
    Ok(Statement::Analyze { table, columns })
}

/// The columns that the only property there is names: at least one, each once.
fn columns_of(property: Property) -> Result<Vec<String>, SqlError> {
    let Property {
        name,
        value,
        location,
    } = property;
    let invalid =
        |reason: String| SqlError::invalid(format!("property '{name}'"), reason, location);
    if name != COLUMNS {
        return Err(invalid(format!("ANALYZE has only '{COLUMNS}'")));
    }
    let expected = "expected an array of column names such as ARRAY['a', 'b']";
    let Constant::Array(elements) = &value else {
        return Err(invalid(format!("{expected}, found {}", value.describe())));
    };
    if elements.is_empty() {
        return Err(invalid(format!(
            "{expected}; leave the property out for all columns"
        )));
    }
    let mut columns: Vec<String> = Vec::with_capacity(elements.len());
    for element in elements {
        let Constant::Text(text) = element else {
            return Err(invalid(format!("{expected}, found {}", element.describe())));
        };
        let column = parse_column_name(text).map_err(&invalid)?;
        if columns.contains(&column) {
            return Err(invalid(format!("column {column} is given twice")));
        }
        columns.push(column);
    }
    Ok(columns)
}
