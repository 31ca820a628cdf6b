//! Names of partition fields in Avro, which allows only letters, digits and underscores.
//!
//! Writers of all languages replace the other characters alike, and readers go by field ids. The
//! `iceberg` crate writes names as they are, which Avro's own readers refuse.

use std::collections::HashSet;
use std::sync::Arc;

use iceberg::Result;
use iceberg::spec::{PartitionSpec, SchemaRef, UnboundPartitionField};

/// The partition spec with names that Avro allows, for the writer of a manifest. Ids stay.
///
/// # Errors
/// When the spec is not one of the schema.
pub(crate) fn spec_for_avro(spec: &PartitionSpec, schema: &SchemaRef) -> Result<PartitionSpec> {
    if spec.fields().iter().all(|field| is_avro_name(&field.name)) {
        return Ok(spec.clone());
    }
    let mut builder = PartitionSpec::builder(Arc::clone(schema)).with_spec_id(spec.spec_id());
    let mut used: HashSet<String> = spec
        .fields()
        .iter()
        .map(|field| field.name.clone())
        .collect();
    for field in spec.fields() {
        let mut name = field.name.clone();
        if !is_avro_name(&name) {
            name = avro_name(&name);
            while used.contains(&name) || schema.field_by_name(&name).is_some() {
                name.push('_');
            }
            used.insert(name.clone());
        }
        builder = builder.add_unbound_field(UnboundPartitionField {
            source_id: field.source_id,
            field_id: Some(field.field_id),
            name,
            transform: field.transform,
        })?;
    }
    builder.build()
}

fn is_avro_name(name: &str) -> bool {
    let mut characters = name.chars();
    let starts_well = characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    starts_well && characters.all(is_avro_character)
}

fn is_avro_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// The name with `_x` and the hexadecimal code for what Avro does not allow, and an underscore
/// before a digit that comes first.
fn avro_name(name: &str) -> String {
    let mut allowed = String::with_capacity(name.len());
    for (index, character) in name.chars().enumerate() {
        if !is_avro_character(character) {
            allowed.push_str(&format!("_x{:X}", u32::from(character)));
            continue;
        }
        if index == 0 && character.is_ascii_digit() {
            allowed.push('_');
        }
        allowed.push(character);
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_what_other_writers_make_of_them() {
        for (name, expected) in [
            ("a b", "a_x20b"),
            ("order-date", "order_x2Ddate"),
            ("9lives", "_9lives"),
            ("größe", "gr_xF6_xDFe"),
            ("a_b1", "a_b1"),
        ] {
            assert_eq!(avro_name(name), expected);
            assert_eq!(is_avro_name(name), name == expected);
        }
        assert!(!is_avro_name(""));
    }
}
