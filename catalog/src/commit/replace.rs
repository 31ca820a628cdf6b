//! The schema, partition spec and sort order of a table that replaces another one.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, Schema, SortOrder, StructType, TableMetadata,
    Type, UnboundPartitionField, UnboundPartitionSpec,
};

use crate::error::{CatalogError, Result};

/// Gives the fields of a replacement schema their ids: a field with the full name and
/// the type of a current one has its id, every other one a fresh id, so that no old
/// data file can be read as a column that it does not have.
pub(super) struct FieldIds<'a> {
    base: &'a Schema,
    last_id: i32,
    /// From the ids of the given schema to those of the result.
    mapping: HashMap<i32, i32>,
}

impl<'a> FieldIds<'a> {
    pub(super) fn new(base: &'a TableMetadata) -> Self {
        Self {
            base: base.current_schema(),
            last_id: base.last_column_id(),
            mapping: HashMap::new(),
        }
    }

    /// The schema with its final ids.
    pub(super) fn assign(&mut self, schema: &Schema) -> Result<Schema> {
        let fields = self.fields(schema.as_struct().fields(), "")?;
        let identifiers: Option<Vec<_>> = schema
            .identifier_field_ids()
            .map(|id| self.mapping.get(&id).copied())
            .collect();
        Schema::builder()
            .with_fields(fields)
            .with_identifier_field_ids(identifiers.unwrap_or_default())
            .build()
            .map_err(|source| CatalogError::InvalidInput(source.message().to_string()))
    }

    fn fields(&mut self, fields: &[NestedFieldRef], prefix: &str) -> Result<Vec<NestedFieldRef>> {
        // All fields of one level first, then what is inside them: the order in which
        // Iceberg numbers new tables.
        let ids: Vec<_> = fields
            .iter()
            .map(|field| self.id(field, prefix))
            .collect::<Result<_>>()?;
        fields
            .iter()
            .zip(ids)
            .map(|(field, id)| self.with_id(field, id, prefix))
            .collect()
    }

    fn id(&mut self, field: &NestedField, prefix: &str) -> Result<i32> {
        let full_name = format!("{prefix}{}", field.name);
        let existing = self
            .base
            .field_by_name(&full_name)
            .filter(|existing| same_kind(&existing.field_type, &field.field_type));
        let id = match existing {
            Some(existing) => existing.id,
            None => {
                self.last_id = self.last_id.checked_add(1).ok_or_else(|| {
                    CatalogError::InvalidInput("the table has used up its column ids".to_string())
                })?;
                self.last_id
            }
        };
        self.mapping.insert(field.id, id);
        Ok(id)
    }

    fn with_id(&mut self, field: &NestedField, id: i32, prefix: &str) -> Result<NestedFieldRef> {
        let inner_prefix = format!("{prefix}{}.", field.name);
        let mut field = field.clone();
        field.id = id;
        field.field_type = Box::new(self.inner(&field.field_type, &inner_prefix)?);
        Ok(Arc::new(field))
    }

    fn inner(&mut self, field_type: &Type, prefix: &str) -> Result<Type> {
        Ok(match field_type {
            Type::Primitive(primitive) => Type::Primitive(primitive.clone()),
            Type::Struct(inner) => {
                Type::Struct(StructType::new(self.fields(inner.fields(), prefix)?))
            }
            Type::List(list) => {
                let element_id = self.id(&list.element_field, prefix)?;
                Type::List(ListType::new(self.with_id(
                    &list.element_field,
                    element_id,
                    prefix,
                )?))
            }
            Type::Map(map) => {
                let key_id = self.id(&map.key_field, prefix)?;
                let value_id = self.id(&map.value_field, prefix)?;
                Type::Map(MapType::new(
                    self.with_id(&map.key_field, key_id, prefix)?,
                    self.with_id(&map.value_field, value_id, prefix)?,
                ))
            }
        })
    }

    /// The partition spec, on the final ids. Its fields get ids when it is added.
    pub(super) fn partition_spec(
        &self,
        spec: &UnboundPartitionSpec,
    ) -> Result<UnboundPartitionSpec> {
        let fields: Vec<_> = spec
            .fields()
            .iter()
            .map(|field| {
                let source_id = self.mapped(field.source_id, "partition")?;
                Ok(UnboundPartitionField {
                    source_id,
                    field_id: None,
                    name: field.name.clone(),
                    transform: field.transform,
                })
            })
            .collect::<Result<_>>()?;
        let builder = UnboundPartitionSpec::builder().add_partition_fields(fields);
        builder
            .map(|builder| builder.build())
            .map_err(|source| CatalogError::InvalidInput(source.message().to_string()))
    }

    /// The sort order, on the final ids.
    pub(super) fn sort_order(&self, order: &SortOrder) -> Result<SortOrder> {
        let mut order = order.clone();
        for field in &mut order.fields {
            field.source_id = self.mapped(field.source_id, "sort")?;
        }
        Ok(order)
    }

    fn mapped(&self, source_id: i32, what: &str) -> Result<i32> {
        self.mapping.get(&source_id).copied().ok_or_else(|| {
            CatalogError::InvalidInput(format!(
                "a {what} field has the source column id {source_id}, which the schema does not have"
            ))
        })
    }
}

/// Whether a field of one type can have the id of a field of the other: equal
/// primitives, or containers of the same kind, whose own fields are then compared.
fn same_kind(old: &Type, new: &Type) -> bool {
    match (old, new) {
        (Type::Primitive(old), Type::Primitive(new)) => old == new,
        (Type::Struct(_), Type::Struct(_))
        | (Type::List(_), Type::List(_))
        | (Type::Map(_), Type::Map(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use iceberg::spec::{FormatVersion, PrimitiveType, TableMetadataBuilder};

    use super::*;

    fn primitive(primitive: PrimitiveType) -> Type {
        Type::Primitive(primitive)
    }

    fn schema(fields: Vec<NestedField>) -> Schema {
        let fields = fields.into_iter().map(Arc::new);
        Schema::builder().with_fields(fields).build().unwrap()
    }

    /// `id long, person struct<name string, age int>, tags list<string>,
    /// counts map<string, long>`, with ids from `first` on in written order.
    fn nested(first: i32, age: PrimitiveType, counts_value: PrimitiveType) -> Vec<NestedField> {
        let person = StructType::new(vec![
            NestedField::optional(first + 2, "name", primitive(PrimitiveType::String)).into(),
            NestedField::optional(first + 3, "age", primitive(age)).into(),
        ]);
        let element = NestedField::list_element(first + 5, primitive(PrimitiveType::String), false);
        let counts = MapType::optional(
            first + 7,
            primitive(PrimitiveType::String),
            first + 8,
            primitive(counts_value),
        );
        vec![
            NestedField::required(first, "id", primitive(PrimitiveType::Long)),
            NestedField::optional(first + 1, "person", Type::Struct(person)),
            NestedField::optional(first + 4, "tags", Type::List(ListType::new(element.into()))),
            NestedField::optional(first + 6, "counts", Type::Map(counts)),
        ]
    }

    fn base() -> TableMetadata {
        TableMetadataBuilder::new(
            schema(nested(1, PrimitiveType::Int, PrimitiveType::Long)),
            UnboundPartitionSpec::default(),
            SortOrder::unsorted_order(),
            "/t".to_string(),
            FormatVersion::V2,
            HashMap::new(),
        )
        .unwrap()
        .build()
        .unwrap()
        .metadata
    }

    #[test]
    fn nested_fields_that_stay_keep_their_ids() {
        let base = base();
        let same = nested(100, PrimitiveType::Int, PrimitiveType::Long);
        let assigned = FieldIds::new(&base).assign(&schema(same)).unwrap();
        assert_eq!(assigned.as_struct(), base.current_schema().as_struct());
    }

    #[test]
    fn fields_that_change_get_ids_that_were_never_used() {
        let base = base();
        let mut changed = nested(100, PrimitiveType::Long, PrimitiveType::String);
        changed.remove(2);
        changed.push(NestedField::optional(
            200,
            "name",
            primitive(PrimitiveType::String),
        ));
        let assigned = FieldIds::new(&base).assign(&schema(changed)).unwrap();
        let old = base.current_schema();
        let id = |name: &str| assigned.field_id_by_name(name).unwrap();
        for kept in ["id", "person", "person.name", "counts", "counts.key"] {
            assert_eq!(Some(id(kept)), old.field_id_by_name(kept), "{kept}");
        }
        let fresh = ["person.age", "counts.value", "name"].map(id);
        assert!(
            fresh.iter().all(|id| *id > base.last_column_id()),
            "{fresh:?}"
        );
        let distinct: HashSet<_> = fresh.iter().collect();
        assert_eq!(distinct.len(), 3);
    }

    #[test]
    fn a_container_of_another_kind_is_another_field() {
        let base = base();
        let person = NestedField::optional(1, "person", primitive(PrimitiveType::String));
        let tags = Type::Struct(StructType::new(vec![
            NestedField::optional(3, "element", primitive(PrimitiveType::String)).into(),
        ]));
        let tags = NestedField::optional(2, "tags", tags);
        let assigned = FieldIds::new(&base)
            .assign(&schema(vec![person, tags]))
            .unwrap();
        let last = base.last_column_id();
        let ids: Vec<_> = assigned.field_id_to_name_map().keys().collect();
        // `tags.element` has the full name and the type of the old list's element.
        let element = base.current_schema().field_id_by_name("tags.element");
        assert_eq!(assigned.field_id_by_name("tags.element"), element);
        assert_eq!(ids.into_iter().filter(|id| **id > last).count(), 2);
    }
}
