//! Z-order: one order of rows that keeps those together that are near each other in several
//! columns, so that column bounds prune files by each of them.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, UInt64Type};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Name of the function in plans.
const Z_ORDER: &str = "iceberg_z_order";
const KEY_BITS: u32 = u64::BITS;
const KEY_BYTES: usize = 8;

static FUNCTION: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::from(ZOrderFunction::new())));

/// `iceberg_z_order(column, …)`: where a row is on the Z-order curve over columns of primitive
/// types, as bytes that sort along it.
///
/// Each value becomes a key of 8 bytes that sorts as the values do, nulls first; the bits of the
/// keys alternate. Whole numbers and times of all widths count as 64 bits, floats as doubles, of
/// texts, bytes and UUIDs the first 8 bytes count.
///
/// Sessions and workers must register it: plans that rewrite files name it.
pub fn z_order_function() -> Arc<ScalarUDF> {
    Arc::clone(&FUNCTION)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ZOrderFunction {
    signature: Signature,
}

impl ZOrderFunction {
    fn new() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for ZOrderFunction {
    fn name(&self) -> &str {
        Z_ORDER
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _argument_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let keys: Vec<Vec<u64>> = columns.iter().map(keys_of).collect::<Result<_>>()?;
        let rows = arguments.number_rows;
        let mut builder = BinaryBuilder::with_capacity(rows, rows * keys.len() * KEY_BYTES);
        let mut row_keys = vec![0; keys.len()];
        let mut bytes = Vec::with_capacity(keys.len() * KEY_BYTES);
        for row in 0..rows {
            for (row_key, column) in row_keys.iter_mut().zip(&keys) {
                // A constant argument has one key.
                *row_key = column[row.min(column.len() - 1)];
            }
            interleave(&row_keys, &mut bytes);
            builder.append_value(&bytes);
        }
        Ok(ColumnarValue::Array(Arc::new(builder.finish())))
    }
}

/// The bits of the keys by turns, the highest of each first.
fn interleave(keys: &[u64], bytes: &mut Vec<u8>) {
    bytes.clear();
    let mut byte = 0_u8;
    let mut filled = 0;
    for bit in (0..KEY_BITS).rev() {
        for key in keys {
            byte = (byte << 1) | ((key >> bit) & 1) as u8;
            filled += 1;
            if filled == u8::BITS {
                bytes.push(byte);
                filled = 0;
            }
        }
    }
}

/// Keys of a column: 0 for null, which is never above another key.
fn keys_of(column: &ArrayRef) -> Result<Vec<u64>> {
    let whole = |data_type: &DataType| -> Result<Vec<u64>> {
        let numbers = cast(&cast(column, data_type)?, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>().iter();
        Ok(numbers
            .map(|value| value.map_or(0, key_of_integer))
            .collect())
    };
    match column.data_type() {
        DataType::Boolean | DataType::Int32 | DataType::Int64 => whole(&DataType::Int64),
        DataType::Date32 => whole(&DataType::Int32),
        DataType::Time64(TimeUnit::Microsecond) | DataType::Timestamp(..) => {
            whole(&DataType::Int64)
        }
        DataType::Float32 | DataType::Float64 => {
            let doubles = cast(column, &DataType::Float64)?;
            let doubles = doubles.as_primitive::<Float64Type>().iter();
            Ok(doubles
                .map(|value| value.map_or(0, key_of_double))
                .collect())
        }
        DataType::Decimal128(..) => {
            let decimals = column.as_primitive::<Decimal128Type>().iter();
            let key = |value: i128| {
                let nearest = value.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
                key_of_integer(nearest as i64)
            };
            Ok(decimals.map(|value| value.map_or(0, key)).collect())
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let text = cast(column, &DataType::Utf8)?;
            let text = text.as_string::<i32>().iter();
            Ok(text
                .map(|value| value.map_or(0, |value| key_of_bytes(value.as_bytes())))
                .collect())
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let bytes = cast(column, &DataType::Binary)?;
            let bytes = bytes.as_binary::<i32>().iter();
            Ok(bytes.map(|value| value.map_or(0, key_of_bytes)).collect())
        }
        DataType::FixedSizeBinary(_) => {
            let bytes = column.as_fixed_size_binary().iter();
            Ok(bytes.map(|value| value.map_or(0, key_of_bytes)).collect())
        }
        DataType::UInt64 => {
            let numbers = column.as_primitive::<UInt64Type>().iter();
            Ok(numbers.map(Option::unwrap_or_default).collect())
        }
        other => plan_err!("rows cannot be put in z-order by a column of type {other}"),
    }
}

fn key_of_integer(value: i64) -> u64 {
    (value as u64) ^ (1 << (KEY_BITS - 1))
}

/// In total order: negative NaNs, negative numbers, positive ones, NaNs.
fn key_of_double(value: f64) -> u64 {
    let bits = value.to_bits();
    match bits >> (KEY_BITS - 1) {
        0 => bits | (1 << (KEY_BITS - 1)),
        _ => !bits,
    }
}

fn key_of_bytes(bytes: &[u8]) -> u64 {
    let mut key = [0; KEY_BYTES];
    let length = bytes.len().min(KEY_BYTES);
    key[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
        Float64Array, Int32Array, Int64Array, StringArray, Time64MicrosecondArray,
        TimestampMicrosecondArray,
    };
    use proptest::prelude::*;

    /// The arrays hold values in ascending order, null first.
    #[test]
    fn keys_sort_as_values_do_with_nulls_first() {
        let ascending: Vec<ArrayRef> = vec![
            Arc::new(BooleanArray::from(vec![None, Some(false), Some(true)])),
            Arc::new(Int32Array::from(vec![
                None,
                Some(i32::MIN),
                Some(-1),
                Some(0),
                Some(7),
            ])),
            Arc::new(Int64Array::from(vec![
                None,
                Some(-5),
                Some(0),
                Some(i64::MAX),
            ])),
            Arc::new(Date32Array::from(vec![
                None,
                Some(-400),
                Some(0),
                Some(20_000),
            ])),
            Arc::new(Time64MicrosecondArray::from(vec![None, Some(0), Some(5)])),
            Arc::new(TimestampMicrosecondArray::from(vec![
                None,
                Some(-9),
                Some(5),
            ])),
            Arc::new(
                TimestampMicrosecondArray::from(vec![None, Some(-9), Some(5)]).with_timezone("UTC"),
            ),
            Arc::new(Float32Array::from(vec![
                None,
                Some(f32::NEG_INFINITY),
                Some(-0.5),
                Some(2.0),
            ])),
            Arc::new(Float64Array::from(vec![
                None,
                Some(f64::NEG_INFINITY),
                Some(-1e300),
                Some(-0.0),
                Some(0.0),
                Some(1.5),
                Some(f64::INFINITY),
                Some(f64::NAN),
            ])),
            Arc::new(
                Decimal128Array::from(vec![None, Some(-(10_i128.pow(30))), Some(-1), Some(12)])
                    .with_precision_and_scale(38, 2)
                    .unwrap(),
            ),
            Arc::new(StringArray::from(vec![
                None,
                Some("a"),
                Some("ab"),
                Some("b"),
                Some("é"),
            ])),
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [None, Some([1_u8; 16]), Some([2_u8; 16])].into_iter(),
                    16,
                )
                .unwrap(),
            ),
        ];
        for column in ascending {
            let keys = keys_of(&column).unwrap();
            assert!(keys.is_sorted(), "{column:?}: {keys:?}");
            assert_eq!(keys[0], 0);
            assert!(
                keys[1..].is_sorted_by(|left, right| left < right),
                "{column:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn bits_alternate(keys in prop::collection::vec(any::<u64>(), 1..5)) {
            let mut bytes = Vec::new();
            interleave(&keys, &mut bytes);
            prop_assert_eq!(bytes.len(), keys.len() * 8);
            for (column, key) in keys.iter().enumerate() {
                for bit in 0..64 {
                    let place = bit * keys.len() + column;
                    let found = (bytes[place / 8] >> (7 - place % 8)) & 1;
                    let expected = ((key >> (63 - bit)) & 1) as u8;
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
