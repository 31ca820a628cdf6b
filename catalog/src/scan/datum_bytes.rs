//! Serde for [`Datum`] that keeps every value: JSON has no NaN or infinity, so values travel
//! as their type and Iceberg's single-value bytes.

use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType};

/// Iceberg's single-value serialisation, except that decimals keep all 16 bytes.
fn to_bytes(datum: &Datum) -> iceberg::Result<Vec<u8>> {
    match datum.literal() {
        // `Datum::to_bytes` cuts to the bytes of the precision, from the wrong end if the value overflows it.
        PrimitiveLiteral::Int128(unscaled) => Ok(unscaled.to_be_bytes().to_vec()),
        _ => Ok(datum.to_bytes()?.into_vec()),
    }
}

/// For fields of type `Option<Datum>`.
pub(super) mod optional {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Datum, PrimitiveType, to_bytes};

    pub fn serialize<S: Serializer>(
        datum: &Option<Datum>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let encoded = match datum {
            Some(datum) => {
                let bytes = to_bytes(datum).map_err(S::Error::custom)?;
                Some((datum.data_type(), bytes))
            }
            None => None,
        };
        encoded.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Datum>, D::Error> {
        let encoded = Option::<(PrimitiveType, Vec<u8>)>::deserialize(deserializer)?;
        encoded
            .map(|(data_type, bytes)| Datum::try_from_bytes(&bytes, data_type))
            .transpose()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        #[serde(with = "optional")]
        value: Option<Datum>,
    }

    #[test]
    fn every_type_survives_json() {
        let decimal_type = PrimitiveType::Decimal {
            precision: 38,
            scale: 2,
        };
        let decimals = [
            0,
            1,
            -1,
            127,
            128,
            -128,
            -129,
            10_i128.pow(37),
            -(10_i128.pow(37)),
        ]
        .map(|value| Datum::try_from_bytes(&value.to_be_bytes(), decimal_type.clone()).unwrap());
        let others = [
            Datum::bool(true),
            Datum::int(i32::MIN),
            Datum::long(i64::MAX),
            Datum::float(f32::NAN),
            Datum::float(-0.0),
            Datum::double(f64::NEG_INFINITY),
            Datum::date(-1),
            Datum::time_micros(1).unwrap(),
            Datum::timestamp_micros(-1),
            Datum::timestamptz_micros(5),
            Datum::timestamp_nanos(7),
            Datum::timestamptz_nanos(7),
            Datum::string("añ\u{1F600}"),
            Datum::uuid(uuid::Uuid::from_u128(u128::MAX - 3)),
            Datum::fixed([0_u8, 255]),
            Datum::binary([0_u8, 255, 3]),
        ];
        for datum in decimals.into_iter().chain(others) {
            let holder = Holder { value: Some(datum) };
            let json = serde_json::to_string(&holder).unwrap();
            assert_eq!(
                serde_json::from_str::<Holder>(&json).unwrap(),
                holder,
                "{json}"
            );
        }
        let json = serde_json::to_string(&Holder { value: None }).unwrap();
        assert_eq!(serde_json::from_str::<Holder>(&json).unwrap().value, None);
    }
}
