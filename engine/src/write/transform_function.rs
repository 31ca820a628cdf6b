//! A partition transform as a scalar function, so that plans can hash and sort by partition
//! with DataFusion's own operators and send them to workers.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use iceberg::spec::Transform;

use super::transform::transform_array;

/// Name of the function in plans.
pub(super) const PARTITION_TRANSFORM: &str = "iceberg_transform";

static FUNCTION: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::from(PartitionTransformFunction::new())));

/// `iceberg_transform('bucket[16]', column)`: the partition value of a column under a
/// transform in the spelling of Iceberg's metadata.
///
/// Sessions and workers must register it: plans that write to partitioned tables name it.
pub fn partition_transform_function() -> Arc<ScalarUDF> {
    Arc::clone(&FUNCTION)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PartitionTransformFunction {
    signature: Signature,
}

impl PartitionTransformFunction {
    fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

fn transform_of(argument: Option<&ScalarValue>) -> Result<Transform> {
    let Some(Some(name)) = argument.and_then(ScalarValue::try_as_str) else {
        return plan_err!(
            "the first argument of {PARTITION_TRANSFORM} must be a transform such as 'bucket[16]'"
        );
    };
    match name.parse() {
        Ok(transform) => Ok(transform),
        Err(_) => plan_err!("iceberg has no partition transform {name:?}"),
    }
}

fn result_type(transform: Transform, input_type: &DataType) -> DataType {
    match transform {
        Transform::Bucket(_) | Transform::Year | Transform::Month | Transform::Hour => {
            DataType::Int32
        }
        Transform::Day => DataType::Date32,
        Transform::Identity | Transform::Void | Transform::Truncate(_) | Transform::Unknown => {
            input_type.clone()
        }
    }
}

impl ScalarUDFImpl for PartitionTransformFunction {
    fn name(&self) -> &str {
        PARTITION_TRANSFORM
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _argument_types: &[DataType]) -> Result<DataType> {
        plan_err!("the type of {PARTITION_TRANSFORM} depends on the value of its first argument")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let transform = transform_of(arguments.scalar_arguments.first().copied().flatten())?;
        let Some(input) = arguments.arg_fields.get(1) else {
            return plan_err!("{PARTITION_TRANSFORM} needs a column");
        };
        let data_type = result_type(transform, input.data_type());
        Ok(Arc::new(Field::new(PARTITION_TRANSFORM, data_type, true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [transform, column] = arguments.args.as_slice() else {
            return exec_err!("{PARTITION_TRANSFORM} needs two arguments");
        };
        let transform = match transform {
            ColumnarValue::Scalar(scalar) => transform_of(Some(scalar))?,
            ColumnarValue::Array(_) => transform_of(None)?,
        };
        match column {
            ColumnarValue::Array(array) => {
                Ok(ColumnarValue::Array(transform_array(transform, array)?))
            }
            ColumnarValue::Scalar(scalar) => {
                let array: ArrayRef = scalar.to_array()?;
                let transformed = transform_array(transform, &array)?;
                debug_assert_eq!(transformed.len(), 1);
                let scalar = ScalarValue::try_from_array(&transformed, 0)?;
                Ok(ColumnarValue::Scalar(scalar))
            }
        }
    }
}
