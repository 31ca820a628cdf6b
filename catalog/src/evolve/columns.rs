//! Finding and changing one field in a tree of nested fields.

use std::sync::Arc;

use iceberg::spec::{ListType, MapType, NestedField, NestedFieldRef, StructType, Type};

use crate::error::{CatalogError, Result};
use crate::sql_catalog::nearest_name;

/// What stands for the element of an array in a path, and in Iceberg's full names.
const ELEMENT: &str = "element";
/// What stands for the value of a map.
const VALUE: &str = "value";
/// What stands for the key of a map.
const KEY: &str = "key";

/// The field that a path leads to, `None` when there is none; and whether it is in the key of a map.
pub(super) fn find<'a>(
    fields: &'a [NestedFieldRef],
    path: &[String],
) -> Option<(&'a NestedFieldRef, bool)> {
    let (name, rest) = path.split_first()?;
    let field = fields.iter().find(|field| field.name == *name)?;
    find_in(field, rest, false)
}

fn find_in<'a>(
    field: &'a NestedFieldRef,
    path: &[String],
    in_key: bool,
) -> Option<(&'a NestedFieldRef, bool)> {
    let Some((name, rest)) = path.split_first() else {
        return Some((field, in_key));
    };
    match field.field_type.as_ref() {
        Type::Struct(inner) => {
            let found = inner.fields().iter().find(|field| field.name == *name)?;
            find_in(found, rest, in_key)
        }
        Type::List(list) if name == ELEMENT => find_in(&list.element_field, rest, in_key),
        Type::Map(map) if name == VALUE => find_in(&map.value_field, rest, in_key),
        Type::Map(map) if name == KEY => find_in(&map.key_field, rest, true),
        _ => None,
    }
}

/// The fields with the one that `path` leads to changed. There must be one.
pub(super) fn edit_field(
    fields: &[NestedFieldRef],
    path: &[String],
    edit: &mut dyn FnMut(&NestedField) -> Result<NestedField>,
) -> Result<Vec<NestedFieldRef>> {
    let Some((name, rest)) = path.split_first() else {
        return Ok(fields.to_vec());
    };
    fields
        .iter()
        .map(|field| match field.name == *name {
            true => edit_at(field, rest, edit),
            false => Ok(Arc::clone(field)),
        })
        .collect()
}

fn edit_at(
    field: &NestedFieldRef,
    path: &[String],
    edit: &mut dyn FnMut(&NestedField) -> Result<NestedField>,
) -> Result<NestedFieldRef> {
    let Some((name, rest)) = path.split_first() else {
        return edit(field).map(Arc::new);
    };
    let changed_type = match field.field_type.as_ref() {
        Type::Struct(inner) => {
            Type::Struct(StructType::new(edit_field(inner.fields(), path, edit)?))
        }
        Type::List(list) if name == ELEMENT => {
            Type::List(ListType::new(edit_at(&list.element_field, rest, edit)?))
        }
        Type::Map(map) if name == VALUE => Type::Map(MapType::new(
            Arc::clone(&map.key_field),
            edit_at(&map.value_field, rest, edit)?,
        )),
        other => other.clone(),
    };
    let mut changed = field.as_ref().clone();
    changed.field_type = Box::new(changed_type);
    Ok(Arc::new(changed))
}

/// The fields with those of one level changed: the table's columns for an empty path, else the
/// fields of the struct that it leads to, which must be one.
pub(super) fn edit_level(
    fields: &[NestedFieldRef],
    parent: &[String],
    edit: &mut dyn FnMut(&[NestedFieldRef]) -> Result<Vec<NestedFieldRef>>,
) -> Result<Vec<NestedFieldRef>> {
    if parent.is_empty() {
        return edit(fields);
    }
    edit_field(
        fields,
        parent,
        &mut |field| match field.field_type.as_ref() {
            Type::Struct(inner) => {
                let mut changed = field.clone();
                changed.field_type = Box::new(Type::Struct(StructType::new(edit(inner.fields())?)));
                Ok(changed)
            }
            _ => Err(CatalogError::InvalidInput(format!(
                "column {} is no row: it cannot have fields",
                parent.join(".")
            ))),
        },
    )
}

/// The names that stand at one level, for suggestions.
pub(super) fn suggestion(fields: &[NestedFieldRef], path: &[String]) -> String {
    let (Some(name), parent) = (path.last(), &path[..path.len().saturating_sub(1)]) else {
        return String::new();
    };
    let level = match parent.is_empty() {
        true => fields,
        false => match find(fields, parent).map(|(field, _)| field.field_type.as_ref()) {
            Some(Type::Struct(inner)) => inner.fields(),
            Some(Type::List(_)) => {
                return format!(
                    ": write {}.{ELEMENT} for what is in the array",
                    parent.join(".")
                );
            }
            Some(Type::Map(_)) => {
                return format!(": write {}.{VALUE} for the map's values", parent.join("."));
            }
            _ => return String::new(),
        },
    };
    let names: Vec<String> = level.iter().map(|field| field.name.clone()).collect();
    match nearest_name(name, &names) {
        Some(nearest) => {
            let mut full = parent.to_vec();
            full.push(nearest);
            format!("; did you mean {}?", full.join("."))
        }
        None => String::new(),
    }
}

/// Ids of a field and of everything in it.
pub(super) fn ids_within(field: &NestedField) -> Vec<i32> {
    let mut ids = vec![field.id];
    let inner: Vec<&NestedFieldRef> = match field.field_type.as_ref() {
        Type::Primitive(_) => Vec::new(),
        Type::Struct(inner) => inner.fields().iter().collect(),
        Type::List(list) => vec![&list.element_field],
        Type::Map(map) => vec![&map.key_field, &map.value_field],
    };
    for field in inner {
        ids.extend(ids_within(field));
    }
    ids
}

/// The same field with ids above `last_id`, which moves on: the field, then the fields of one
/// level after the other, as Iceberg's own writers number them.
pub(super) fn with_fresh_ids(field: &NestedField, last_id: &mut i32) -> Result<NestedField> {
    let id = next_id(last_id)?;
    with_id(field, id, last_id)
}

fn with_id(field: &NestedField, id: i32, last_id: &mut i32) -> Result<NestedField> {
    let mut numbered = field.clone();
    numbered.id = id;
    numbered.field_type = Box::new(match field.field_type.as_ref() {
        Type::Primitive(primitive) => Type::Primitive(primitive.clone()),
        Type::Struct(inner) => {
            let ids: Vec<i32> = inner
                .fields()
                .iter()
                .map(|_| next_id(last_id))
                .collect::<Result<_>>()?;
            let fields: Vec<NestedFieldRef> = inner
                .fields()
                .iter()
                .zip(ids)
                .map(|(field, id)| with_id(field, id, last_id).map(Arc::new))
                .collect::<Result<_>>()?;
            Type::Struct(StructType::new(fields))
        }
        Type::List(list) => {
            let element = with_fresh_ids(&list.element_field, last_id)?;
            Type::List(ListType::new(Arc::new(element)))
        }
        Type::Map(map) => {
            let (key_id, value_id) = (next_id(last_id)?, next_id(last_id)?);
            Type::Map(MapType::new(
                Arc::new(with_id(&map.key_field, key_id, last_id)?),
                Arc::new(with_id(&map.value_field, value_id, last_id)?),
            ))
        }
    });
    Ok(numbered)
}

fn next_id(last_id: &mut i32) -> Result<i32> {
    *last_id = last_id.checked_add(1).ok_or_else(|| {
        CatalogError::InvalidInput("the table has used up its column ids".to_string())
    })?;
    Ok(*last_id)
}
