//! Sketches of a column's distinct values, as `ANALYZE` stores them.
//!
//! Rules: Puffin specification, "apache-datasketches-theta-v1" blob type: a compact theta sketch of
//! Apache DataSketches with the default seed, over the values as Iceberg's single-value
//! serialization ("Appendix D") has them. Sketches of parts of a column are united into the sketch
//! of the column, so workers make them where they read.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use datafusion::common::{Result, ScalarValue, exec_err, internal_datafusion_err, plan_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};
use datasketches::hash::value::raw_bytes;
use datasketches::theta::{
    CompactThetaSketch, ThetaSketch, ThetaSketchBuilder, ThetaUnion, ThetaUnionBuilder,
};

use crate::error::EngineError;

const NAME: &str = "iceberg_theta_sketch";

/// The aggregate function `iceberg_theta_sketch(column)`: the sketch of the column's values that
/// are not null, as the bytes that a Puffin file has.
pub fn theta_sketch_udaf() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(ThetaSketchOfColumn::default()))
}

/// Whether there are sketches of columns of this type: Iceberg's primitive types, as Arrow has them.
fn can_be_sketched(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(_, _)
            | DataType::Date32
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _)
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

/// How many distinct values a sketch stands for, about: exact while it has seen fewer than some
/// thousands, then within a few percent.
///
/// # Errors
/// `InvalidInput` for bytes that are no sketch.
pub fn distinct_values(sketch: &[u8]) -> crate::error::Result<u64> {
    let sketch = CompactThetaSketch::deserialize(sketch)
        .map_err(|error| EngineError::InvalidInput(format!("theta sketch: {error}")))?;
    Ok(sketch.estimate().round() as u64)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ThetaSketchOfColumn {
    signature: Signature,
}

impl Default for ThetaSketchOfColumn {
    fn default() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl AggregateUDFImpl for ThetaSketchOfColumn {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, argument_types: &[DataType]) -> Result<DataType> {
        match argument_types {
            [data_type] if can_be_sketched(data_type) => Ok(DataType::Binary),
            [data_type] => plan_err!("{NAME} takes no values of type {data_type}"),
            _ => plan_err!("{NAME} takes one argument"),
        }
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn accumulator(&self, _arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(SketchAccumulator::try_new()?))
    }

    fn default_value(&self, _data_type: &DataType) -> Result<ScalarValue> {
        SketchAccumulator::try_new()?.evaluate()
    }
}

/// What is known of the values so far: those seen here, and the sketches of others.
#[derive(Debug)]
struct SketchAccumulator {
    values: ThetaSketch,
    others: ThetaUnion,
}

impl SketchAccumulator {
    fn try_new() -> Result<Self> {
        // The defaults (4096 nominal entries) are those of Spark and Trino.
        Ok(Self {
            values: ThetaSketchBuilder::default().build().map_err(failed)?,
            others: ThetaUnionBuilder::default().build().map_err(failed)?,
        })
    }

    fn sketch(&mut self) -> Result<ScalarValue> {
        self.others.update(&self.values).map_err(failed)?;
        self.values.reset();
        let sketch = self.others.to_sketch(true);
        Ok(ScalarValue::Binary(Some(sketch.serialize())))
    }
}

fn failed(error: datasketches::error::Error) -> datafusion::error::DataFusionError {
    internal_datafusion_err!("theta sketch: {error}")
}

impl Accumulator for SketchAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match values {
            [values] => add_values(&mut self.values, values),
            _ => exec_err!("{NAME} takes one argument"),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sketches = states
            .first()
            .and_then(|array| array.as_binary_opt::<i32>());
        let Some(sketches) = sketches else {
            return exec_err!("a state of {NAME} is no sketch");
        };
        for sketch in sketches.iter().flatten() {
            let sketch = CompactThetaSketch::deserialize(sketch).map_err(failed)?;
            self.others.update(&sketch).map_err(failed)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.sketch()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.sketch()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.estimated_size() + self.others.estimated_size()
    }
}

/// Adds the values that are not null, each in its binary form.
fn add_values(sketch: &mut ThetaSketch, array: &ArrayRef) -> Result<()> {
    match array.data_type() {
        DataType::Boolean => {
            for value in array.as_boolean().iter().flatten() {
                add(sketch, &[u8::from(value)]);
            }
        }
        DataType::Int32 => add_primitives::<Int32Type, _>(sketch, array, i32::to_le_bytes),
        DataType::Int64 => add_primitives::<Int64Type, _>(sketch, array, i64::to_le_bytes),
        DataType::Float32 => add_primitives::<Float32Type, _>(sketch, array, f32::to_le_bytes),
        DataType::Float64 => add_primitives::<Float64Type, _>(sketch, array, f64::to_le_bytes),
        DataType::Decimal128(_, _) => {
            for unscaled in array.as_primitive::<Decimal128Type>().iter().flatten() {
                add(sketch, shortest(&unscaled.to_be_bytes()));
            }
        }
        DataType::Date32 => add_primitives::<Date32Type, _>(sketch, array, i32::to_le_bytes),
        DataType::Time64(TimeUnit::Microsecond) => {
            add_primitives::<Time64MicrosecondType, _>(sketch, array, i64::to_le_bytes);
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            add_primitives::<TimestampMicrosecondType, _>(sketch, array, i64::to_le_bytes);
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            add_primitives::<TimestampNanosecondType, _>(sketch, array, i64::to_le_bytes);
        }
        DataType::Utf8 => {
            let texts = array.as_string::<i32>().iter().flatten();
            add_all(sketch, texts.map(str::as_bytes));
        }
        DataType::LargeUtf8 => {
            let texts = array.as_string::<i64>().iter().flatten();
            add_all(sketch, texts.map(str::as_bytes));
        }
        DataType::Utf8View => {
            let texts = array.as_string_view().iter().flatten();
            add_all(sketch, texts.map(str::as_bytes));
        }
        DataType::Binary => add_all(sketch, array.as_binary::<i32>().iter().flatten()),
        DataType::LargeBinary => add_all(sketch, array.as_binary::<i64>().iter().flatten()),
        DataType::BinaryView => add_all(sketch, array.as_binary_view().iter().flatten()),
        DataType::FixedSizeBinary(_) => {
            add_all(sketch, array.as_fixed_size_binary().iter().flatten());
        }
        other => return exec_err!("{NAME} takes no values of type {other}"),
    }
    Ok(())
}

fn add_primitives<T: ArrowPrimitiveType, const BYTES: usize>(
    sketch: &mut ThetaSketch,
    array: &ArrayRef,
    bytes_of: impl Fn(T::Native) -> [u8; BYTES],
) {
    for value in array.as_primitive::<T>().iter().flatten() {
        add(sketch, &bytes_of(value));
    }
}

fn add_all<'a>(sketch: &mut ThetaSketch, values: impl Iterator<Item = &'a [u8]>) {
    for value in values {
        add(sketch, value);
    }
}

fn add(sketch: &mut ThetaSketch, value: &[u8]) {
    sketch.update(raw_bytes::from_slice(value));
}

/// A big-endian two's-complement number without the leading bytes that only repeat its sign.
fn shortest(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && let Some(next) = rest.first()
        && ((*first == 0 && next & 0x80 == 0) || (*first == 0xFF && next & 0x80 != 0))
    {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch,
        StringArray,
    };
    use datafusion::datasource::MemTable;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use iceberg::spec::Datum;

    use super::*;

    fn sketch_of(array: ArrayRef) -> CompactThetaSketch {
        let mut accumulator = SketchAccumulator::try_new().unwrap();
        accumulator.update_batch(&[array]).unwrap();
        let ScalarValue::Binary(Some(bytes)) = accumulator.evaluate().unwrap() else {
            panic!("no sketch");
        };
        CompactThetaSketch::deserialize(&bytes).unwrap()
    }

    fn hashes(sketch: &CompactThetaSketch) -> Vec<u64> {
        sketch.iter().map(|entry| entry.hash()).collect()
    }

    #[test]
    fn numbers_are_as_short_as_their_sign_allows() {
        for (number, bytes) in [
            (0_i128, vec![0_u8]),
            (1, vec![1]),
            (-1, vec![0xFF]),
            (127, vec![0x7F]),
            (128, vec![0, 0x80]),
            (-128, vec![0x80]),
            (-129, vec![0xFF, 0x7F]),
            (0x0102_0304, vec![1, 2, 3, 4]),
            (i128::MAX, i128::MAX.to_be_bytes().to_vec()),
            (i128::MIN, i128::MIN.to_be_bytes().to_vec()),
        ] {
            assert_eq!(shortest(&number.to_be_bytes()), bytes, "{number}");
        }
    }

    /// The values' bytes are those that the `iceberg` crate writes as bounds of columns.
    #[test]
    fn values_are_hashed_in_their_iceberg_form() {
        let decimals = Decimal128Array::from(vec![Some(-12_345), None]);
        let decimals = decimals.with_precision_and_scale(9, 2).unwrap();
        let cases: Vec<(ArrayRef, Datum)> = vec![
            (Arc::new(BooleanArray::from(vec![true])), Datum::bool(true)),
            (Arc::new(Int32Array::from(vec![-7])), Datum::int(-7)),
            (
                Arc::new(Int64Array::from(vec![1_i64 << 40])),
                Datum::long(1_i64 << 40),
            ),
            (
                Arc::new(Date32Array::from(vec![19_000])),
                Datum::date(19_000),
            ),
            (
                Arc::new(StringArray::from(vec!["ähre"])),
                Datum::string("ähre"),
            ),
            (
                Arc::new(decimals),
                Datum::decimal_from_str("-123.45").unwrap(),
            ),
        ];
        for (array, datum) in cases {
            let mut expected = ThetaSketchBuilder::default().build().unwrap();
            expected.update(raw_bytes::from_slice(&datum.to_bytes().unwrap()));
            let expected = hashes(&expected.compact(true));
            assert_eq!(hashes(&sketch_of(array)), expected, "{datum}");
        }
    }

    /// The hashes are those of the library for C++ and Python.
    #[test]
    fn hashes_are_those_of_other_libraries() {
        let one = sketch_of(Arc::new(Int64Array::from(vec![1])));
        assert_eq!(hashes(&one), [405_753_591_161_026_837]);
        let text = sketch_of(Arc::new(StringArray::from(vec!["Iceberg"])));
        assert_eq!(hashes(&text), [1_608_181_089_518_224_418]);
    }

    #[test]
    fn a_few_values_are_counted_exactly_and_nulls_not_at_all() {
        let texts = StringArray::from(vec![Some("a"), None, Some("b"), Some("a"), Some("")]);
        let sketch = sketch_of(Arc::new(texts));
        assert_eq!(sketch.estimate(), 3.0);
        let nothing = sketch_of(Arc::new(Int64Array::from(vec![None, None])));
        assert!(nothing.is_empty());
        assert_eq!(distinct_values(&nothing.serialize()).unwrap(), 0);
        assert!(distinct_values(b"no sketch").is_err());
    }

    async fn count_by_query(rows: i64, distinct: i64, partitions: usize) -> u64 {
        let config = SessionConfig::new().with_target_partitions(partitions);
        let context = SessionContext::new_with_config(config);
        context.register_udaf(theta_sketch_udaf().as_ref().clone());
        let slices = (0..partitions as i64).map(|partition| {
            let ids = (partition..rows).step_by(partitions);
            let ids = Int64Array::from_iter_values(ids.map(|id| id % distinct));
            let ids: ArrayRef = Arc::new(ids);
            vec![RecordBatch::try_from_iter([("id", ids)]).unwrap()]
        });
        let slices: Vec<_> = slices.collect();
        let table = MemTable::try_new(slices[0][0].schema(), slices).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        let frame = context
            .sql("SELECT iceberg_theta_sketch(id) FROM t")
            .await
            .unwrap();
        let batches = frame.collect().await.unwrap();
        distinct_values(batches[0].column(0).as_binary::<i32>().value(0)).unwrap()
    }

    /// Three standard deviations of a sketch with 4096 entries are 4.7 %.
    #[tokio::test]
    async fn estimates_are_near_the_exact_count_whatever_the_partitions() {
        for partitions in [1, 4] {
            assert_eq!(count_by_query(20_000, 3_000, partitions).await, 3_000);
            let estimate = count_by_query(300_000, 150_000, partitions).await as f64;
            let error = (estimate - 150_000.0).abs() / 150_000.0;
            assert!(error < 0.05, "{estimate} with {partitions} partitions");
        }
    }

    #[tokio::test]
    async fn nested_values_have_no_sketch() {
        let context = SessionContext::new();
        context.register_udaf(theta_sketch_udaf().as_ref().clone());
        let planned = context.sql("SELECT iceberg_theta_sketch([1, 2])").await;
        let error = planned.unwrap_err().to_string();
        assert!(error.contains("takes no values of type List"), "{error}");
    }
}
