//! Vectorised transforms against those of the `iceberg` crate, value by value.

use arrow::array::Array;
use iceberg::spec::{Datum, PrimitiveType, Transform, Type};
use iceberg::transform::create_transform_function;

use super::support::{Random, wide_batch, wide_schema};
use crate::write::partition::single_value_bytes;
use crate::write::transform::transform_array;

const TRANSFORMS: [Transform; 12] = [
    Transform::Identity,
    Transform::Void,
    Transform::Year,
    Transform::Month,
    Transform::Day,
    Transform::Hour,
    Transform::Bucket(1),
    Transform::Bucket(16),
    Transform::Bucket(1_000_003),
    Transform::Truncate(1),
    Transform::Truncate(10),
    Transform::Truncate(1_000),
];

#[test]
fn transforms_equal_those_of_the_iceberg_crate() {
    let schema = wide_schema();
    let mut compared = 0;
    for seed in 0..4 {
        let batch = wide_batch(&mut Random::new(seed), 0, 400);
        for (field, column) in schema.as_struct().fields().iter().zip(batch.columns()) {
            let Type::Primitive(primitive) = field.field_type.as_ref() else {
                continue;
            };
            for transform in TRANSFORMS {
                let Ok(result_type) = transform.result_type(&field.field_type) else {
                    assert!(
                        transform_array(transform, column).is_err(),
                        "{transform} of {primitive}"
                    );
                    continue;
                };
                let transformed = transform_array(transform, column).unwrap();
                assert_eq!(transformed.len(), column.len());
                let oracle = create_transform_function(&transform).unwrap();
                for row in 0..column.len() {
                    let input = single_value_bytes(column, row)
                        .unwrap()
                        .map(|bytes| Datum::try_from_bytes(&bytes, primitive.clone()).unwrap());
                    let expected = match (&input, transform) {
                        (None, _) | (_, Transform::Void) => None,
                        // The crate cannot do this one.
                        (Some(datum), Transform::Truncate(width))
                            if *primitive == PrimitiveType::Binary =>
                        {
                            let bytes = datum.to_bytes().unwrap();
                            let end = bytes.len().min(width as usize);
                            Some(Datum::binary(bytes[..end].iter().copied()))
                        }
                        (Some(datum), _) => oracle.transform_literal(datum).unwrap(),
                    };
                    let found = single_value_bytes(&transformed, row).unwrap().map(|bytes| {
                        let Type::Primitive(primitive) = &result_type else {
                            panic!("{result_type}");
                        };
                        Datum::try_from_bytes(&bytes, primitive.clone()).unwrap()
                    });
                    let literal = |datum: Option<Datum>| datum.map(|datum| datum.literal().clone());
                    assert_eq!(
                        literal(found),
                        literal(expected),
                        "seed {seed}: {transform} of {primitive} {input:?}"
                    );
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 50_000);
}

/// The examples of Appendix B of the specification.
#[test]
fn hashes_equal_those_of_the_specification() {
    use arrow::array::{
        ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, StringArray,
    };
    use std::sync::Arc;
    // With this many buckets the bucket is the hash without its sign bit.
    let hash = |array: ArrayRef| -> i32 {
        let buckets = transform_array(Transform::Bucket(i32::MAX as u32), &array).unwrap();
        let bytes = single_value_bytes(&buckets, 0).unwrap().unwrap();
        i32::from_le_bytes(bytes.try_into().unwrap())
    };
    let expected = |hash: i32| (hash & i32::MAX) % i32::MAX;
    assert_eq!(
        hash(Arc::new(Int32Array::from(vec![34]))),
        expected(2_017_239_379)
    );
    assert_eq!(
        hash(Arc::new(Int64Array::from(vec![34]))),
        expected(2_017_239_379)
    );
    assert_eq!(
        hash(Arc::new(Date32Array::from(vec![17_486]))),
        expected(-653_330_422)
    );
    assert_eq!(
        hash(Arc::new(StringArray::from(vec!["iceberg"]))),
        expected(1_210_000_089)
    );
    let decimal = Decimal128Array::from(vec![1420])
        .with_precision_and_scale(9, 2)
        .unwrap();
    assert_eq!(hash(Arc::new(decimal)), expected(-500_754_589));
}

#[test]
fn floats_cannot_be_bucketed() {
    let real = PrimitiveType::Double;
    assert!(
        Transform::Bucket(4)
            .result_type(&Type::Primitive(real))
            .is_err()
    );
}
