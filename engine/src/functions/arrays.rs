//! Trino's `contains`, `element_at` and `regexp_extract`. DataFusion 55 has functions of the
//! first two names: `contains` only for text, `element_at` only for maps, with a list as its value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::functions::string::contains as contains_text;
use datafusion::functions_nested::array_has::array_has_udf;
use datafusion::functions_nested::extract::array_element_udf;
use datafusion::functions_nested::map_extract::map_extract_udf;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use regex::Regex;

/// The functions of this module.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let signature = || Signature::user_defined(Volatility::Immutable);
    vec![
        Arc::new(ScalarUDF::from(Contains {
            signature: signature(),
        })),
        Arc::new(ScalarUDF::from(ElementAt {
            signature: signature(),
        })),
        Arc::new(ScalarUDF::from(RegexpExtract {
            signature: signature(),
        })),
    ]
}

/// `contains(array, value)`, null where the array has nulls and not the value; `contains(text,
/// part)` as DataFusion has it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Contains {
    signature: Signature,
}

/// `element_at(array, position)`, from the end when it is negative, null outside of the array;
/// `element_at(map, key)`, null without the key. DataFusion has another function of this name,
/// hence its own (see `ingot_sql::prepare`).
#[derive(Debug, PartialEq, Eq, Hash)]
struct ElementAt {
    signature: Signature,
}

/// `regexp_extract(text, pattern [, group])`: the first match, or a group of it; null without one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RegexpExtract {
    signature: Signature,
}

fn is_list(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
    )
}

impl ScalarUDFImpl for Contains {
    fn name(&self) -> &str {
        "contains"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [
                DataType::List(field)
                | DataType::LargeList(field)
                | DataType::FixedSizeList(field, _),
                value,
            ] => {
                let element = match comparison_coercion(field.data_type(), value) {
                    Some(common) => common,
                    None => {
                        return plan_err!(
                            "contains cannot compare elements of type {} with {value}",
                            field.data_type()
                        );
                    }
                };
                let field = Field::new(field.name(), element.clone(), true);
                Ok(vec![DataType::List(Arc::new(field)), element])
            }
            [_, _] => Ok(vec![DataType::Utf8, DataType::Utf8]),
            _ => plan_err!("write contains(array, value) or contains(text, part)"),
        }
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if !arguments
            .args
            .first()
            .is_some_and(|value| is_list(&value.data_type()))
        {
            return contains_text().invoke_with_args(arguments);
        }
        let rows = arguments.number_rows;
        let columns = arguments.args.iter().map(|value| value.to_array(rows));
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        arguments.args = columns.iter().cloned().map(ColumnarValue::Array).collect();
        let found = array_has_udf()
            .invoke_with_args(arguments)?
            .to_array(rows)?;
        let [lists, values] = columns.as_slice() else {
            return exec_err!("contains takes two arguments");
        };
        let lists = lists.as_list::<i32>();
        let rows = found.as_boolean().iter().enumerate().map(|(row, found)| {
            match lists.is_null(row) || values.is_null(row) {
                true => None,
                false if found == Some(true) => Some(true),
                false => (lists.value(row).logical_null_count() == 0).then_some(false),
            }
        });
        Ok(ColumnarValue::Array(Arc::new(
            rows.collect::<BooleanArray>(),
        )))
    }
}

impl ScalarUDFImpl for ElementAt {
    fn name(&self) -> &str {
        "array_or_map_element"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [list, _] if is_list(list) => Ok(vec![list.clone(), DataType::Int64]),
            [map @ DataType::Map(..), _] => map_extract_udf().coerce_types(types).map_err(|_| {
                let message = format!("element_at of {map} takes a key of its type");
                DataFusionError::Plan(message)
            }),
            _ => plan_err!("write element_at(array, position) or element_at(map, key)"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(
                DataType::List(field)
                | DataType::LargeList(field)
                | DataType::FixedSizeList(field, _),
            ) => Ok(field.data_type().clone()),
            Some(DataType::Map(entries, _)) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => Ok(fields[1].data_type().clone()),
                other => plan_err!("a map has no entries of type {other}"),
            },
            _ => plan_err!("write element_at(array, position) or element_at(map, key)"),
        }
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if arguments
            .args
            .first()
            .is_some_and(|value| is_list(&value.data_type()))
        {
            return array_element_udf().invoke_with_args(arguments);
        }
        // A map's value comes as a list of it.
        let value_type = arguments.return_field.data_type().clone();
        let list = Field::new_list_field(value_type, true);
        let list_field = Field::new(self.name(), DataType::List(Arc::new(list)), true);
        let rows = arguments.number_rows;
        let returned = std::mem::replace(&mut arguments.return_field, Arc::new(list_field.clone()));
        let config_options = Arc::clone(&arguments.config_options);
        let lists = map_extract_udf().invoke_with_args(arguments)?;
        array_element_udf().invoke_with_args(ScalarFunctionArgs {
            args: vec![lists, ColumnarValue::Scalar(ScalarValue::Int64(Some(1)))],
            arg_fields: vec![
                Arc::new(list_field),
                Arc::new(Field::new("position", DataType::Int64, false)),
            ],
            number_rows: rows,
            return_field: returned,
            config_options,
        })
    }
}

impl ScalarUDFImpl for RegexpExtract {
    fn name(&self) -> &str {
        "regexp_extract"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [_, _] => Ok(vec![DataType::Utf8, DataType::Utf8]),
            [_, _, _] => Ok(vec![DataType::Utf8, DataType::Utf8, DataType::Int64]),
            _ => plan_err!(
                "write regexp_extract(text, pattern) or regexp_extract(text, pattern, group)"
            ),
        }
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let columns = arguments.args.iter().map(|value| value.to_array(rows));
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        let (Some(texts), Some(patterns)) = (columns.first(), columns.get(1)) else {
            return exec_err!("regexp_extract takes a text and a pattern");
        };
        let (texts, patterns) = (texts.as_string::<i32>(), patterns.as_string::<i32>());
        let groups = columns
            .get(2)
            .map(|groups| groups.as_primitive::<Int64Type>());
        // Most patterns are a constant.
        let mut last: Option<(&str, Regex)> = None;
        let extracted = (0..rows).map(|row| {
            if texts.is_null(row) || patterns.is_null(row) {
                return Ok(None);
            }
            let group = match groups {
                None => 0,
                Some(groups) if groups.is_null(row) => return Ok(None),
                Some(groups) => groups.value(row),
            };
            let pattern = patterns.value(row);
            let regex = match &last {
                Some((known, regex)) if *known == pattern => regex,
                _ => {
                    let regex = Regex::new(pattern).map_err(|error| invalid(pattern, &error))?;
                    &last.insert((pattern, regex)).1
                }
            };
            match usize::try_from(group) {
                Ok(index) if index < regex.captures_len() => Ok(regex
                    .captures(texts.value(row))
                    .and_then(|captures| captures.get(index).map(|found| found.as_str()))),
                _ => exec_err!(
                    "pattern '{pattern}' has {} groups, there is none with number {group}",
                    regex.captures_len() - 1
                ),
            }
        });
        let extracted: StringArray = extracted.collect::<Result<_>>()?;
        Ok(ColumnarValue::Array(Arc::new(extracted)))
    }
}

fn invalid(pattern: &str, error: &regex::Error) -> DataFusionError {
    let reason = error.to_string();
    let reason = reason.lines().last().unwrap_or_default().to_string();
    DataFusionError::Execution(format!("'{pattern}' is no regular expression: {reason}"))
}
