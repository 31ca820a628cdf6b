//! Small results made here: what `SHOW …`, `DESCRIBE` and `EXPLAIN` return.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream;
use ingot_sql::LikePattern;

use crate::error::Result;
use crate::service::StatementOutcome;

/// The schema of a small result: every column is text and may be null.
pub fn text_schema(columns: &[&str]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|name| Field::new(*name, DataType::Utf8, true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// Rows of text as a result; each row has one cell for each column of the schema.
pub fn text_rows(
    schema: SchemaRef,
    rows: impl IntoIterator<Item = Vec<Option<String>>>,
) -> Result<StatementOutcome> {
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); schema.fields().len()];
    for row in rows {
        for (column, cell) in columns.iter_mut().zip(row) {
            column.push(cell);
        }
    }
    let arrays: Vec<ArrayRef> = columns
        .into_iter()
        .map(|column| Arc::new(StringArray::from(column)) as ArrayRef)
        .collect();
    batch_rows(RecordBatch::try_new(schema, arrays)?)
}

/// A batch as a result.
pub fn batch_rows(batch: RecordBatch) -> Result<StatementOutcome> {
    let schema = batch.schema();
    let stream = RecordBatchStreamAdapter::new(schema.clone(), stream::iter([Ok(batch)]));
    Ok(StatementOutcome::Rows {
        schema,
        stream: Box::pin(stream),
    })
}

/// Whether a name matches a `LIKE` pattern, as `SHOW … LIKE` needs it; no pattern matches all.
pub fn is_like(name: &str, like: &Option<LikePattern>) -> bool {
    let Some(like) = like else {
        return true;
    };
    let name: Vec<char> = name.chars().collect();
    let mut elements = Vec::new();
    let mut characters = like.pattern.chars();
    while let Some(character) = characters.next() {
        elements.push(match character {
            _ if Some(character) == like.escape => match characters.next() {
                Some(escaped) => PatternElement::Exactly(escaped),
                None => PatternElement::Exactly(character),
            },
            '%' => PatternElement::Anything,
            '_' => PatternElement::OneCharacter,
            _ => PatternElement::Exactly(character),
        });
    }
    matches_elements(&name, &elements)
}

#[derive(Debug, Clone, Copy)]
enum PatternElement {
    Exactly(char),
    OneCharacter,
    Anything,
}

fn matches_elements(name: &[char], pattern: &[PatternElement]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((PatternElement::Anything, rest)) => {
            (0..=name.len()).any(|skipped| matches_elements(&name[skipped..], rest))
        }
        Some((PatternElement::OneCharacter, rest)) => {
            !name.is_empty() && matches_elements(&name[1..], rest)
        }
        Some((PatternElement::Exactly(wanted), rest)) => {
            name.first() == Some(wanted) && matches_elements(&name[1..], rest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(pattern: &str, escape: Option<char>) -> Option<LikePattern> {
        Some(LikePattern {
            pattern: pattern.to_owned(),
            escape,
        })
    }

    #[test]
    fn like_patterns() {
        assert!(is_like("customer_events", &like("customer%", None)));
        assert!(is_like("abc", &like("a_c", None)));
        assert!(!is_like("abc", &like("a\\_c", Some('\\'))));
        assert!(is_like("a_c", &like("a\\_c", Some('\\'))));
        assert!(!is_like("abc", &like("", None)));
        assert!(is_like("", &like("%", None)));
        assert!(is_like("anything", &None));
    }
}
