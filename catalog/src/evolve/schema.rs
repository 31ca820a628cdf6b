//! Changes of a table's columns.

use std::sync::Arc;

use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, Literal, NestedField, NestedFieldRef, Schema, Transform, Type};

use super::column_properties::follow_column;
use super::columns::{edit_field, edit_level, find, ids_within, suggestion, with_fresh_ids};
use super::promotion::{check_promotion, promote_default, sql_type_name};
use crate::error::{CatalogError, Result};
use crate::table::Table;

/// One change of the columns of a table. Paths lead from a column down to a nested field; below
/// an array stands `element`, below a map `value`.
#[derive(Debug, Clone, PartialEq)]
pub enum SchemaChange {
    /// Adds a column or a field. Rows that exist have null in it.
    AddColumn {
        /// The row that gets the field; empty for a column.
        parent: Vec<String>,
        /// Name, type, comment. Its ids do not matter: it gets fresh ones.
        field: Box<NestedField>,
        /// Where it goes.
        position: ColumnPosition,
        /// Do nothing when it exists.
        if_not_exists: bool,
    },
    /// Drops a column or a field. Its id is never used again.
    DropColumn {
        /// The column.
        path: Vec<String>,
        /// Do nothing when it does not exist.
        if_exists: bool,
    },
    /// Renames a column or a field where it is.
    RenameColumn {
        /// The column.
        path: Vec<String>,
        /// Its new name.
        new_name: String,
        /// Do nothing when it does not exist.
        if_exists: bool,
    },
    /// Widens a type.
    SetColumnType {
        /// The column, array element or map value.
        path: Vec<String>,
        /// The new type.
        new_type: Type,
    },
    /// What a column is in new rows that do not say; rows that exist stay as they are.
    SetDefault {
        /// The column.
        path: Vec<String>,
        /// A value of its type; `None` for no default.
        value: Option<Literal>,
    },
    /// Allows nulls.
    DropNotNull {
        /// The column.
        path: Vec<String>,
    },
    /// Moves a column among the others, a field among those of its row.
    MoveColumn {
        /// The column.
        path: Vec<String>,
        /// Its new place.
        position: ColumnPosition,
    },
    /// Sets or removes a comment.
    SetColumnComment {
        /// The column.
        path: Vec<String>,
        /// The comment.
        comment: Option<String>,
    },
}

/// A place among columns or fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnPosition {
    /// Before all others.
    First,
    /// After all others.
    Last,
    /// Directly after the one of this name.
    After(String),
}

/// The updates that a change of columns makes to this state of a table; none when it is so
/// already.
///
/// # Errors
/// `InvalidInput`, naming the column and what stands in the way.
pub fn change_schema(table: &Table, change: &SchemaChange) -> Result<Vec<TableUpdate>> {
    let editor = Editor {
        table,
        schema: table.metadata.current_schema(),
    };
    match change {
        SchemaChange::AddColumn {
            parent,
            field,
            position,
            if_not_exists,
        } => editor.add(parent, field, position, *if_not_exists),
        SchemaChange::DropColumn { path, if_exists } => editor.drop_column(path, *if_exists),
        SchemaChange::RenameColumn {
            path,
            new_name,
            if_exists,
        } => editor.rename(path, new_name, *if_exists),
        SchemaChange::SetColumnType { path, new_type } => editor.set_type(path, new_type),
        SchemaChange::SetDefault { path, value } => editor.set_default(path, value.as_ref()),
        SchemaChange::DropNotNull { path } => editor.edit(path, |field| field.required = false),
        SchemaChange::MoveColumn { path, position } => editor.move_column(path, position),
        SchemaChange::SetColumnComment { path, comment } => {
            editor.edit(path, |field| field.doc.clone_from(comment))
        }
    }
}

struct Editor<'a> {
    table: &'a Table,
    schema: &'a Schema,
}

impl Editor<'_> {
    fn fields(&self) -> &[NestedFieldRef] {
        self.schema.as_struct().fields()
    }

    fn error(&self, path: &[String], problem: &str) -> CatalogError {
        CatalogError::InvalidInput(format!(
            "column {} of table {} {problem}",
            path.join("."),
            self.table.name()
        ))
    }

    /// The field of a path.
    fn existing(&self, path: &[String]) -> Result<(&NestedFieldRef, bool)> {
        find(self.fields(), path).ok_or_else(|| {
            let hint = suggestion(self.fields(), path);
            self.error(path, &format!("does not exist{hint}"))
        })
    }

    fn add(
        &self,
        parent: &[String],
        field: &NestedField,
        position: &ColumnPosition,
        if_not_exists: bool,
    ) -> Result<Vec<TableUpdate>> {
        let path = child(parent, &field.name);
        if !parent.is_empty() {
            let (row, in_key) = self.existing(parent)?;
            self.refuse_in_key(&path, in_key)?;
            if !matches!(row.field_type.as_ref(), Type::Struct(_)) {
                let row_type = sql_type_name(&row.field_type);
                let problem = format!("is of type {row_type}: only a row can have fields");
                return Err(self.error(parent, &problem));
            }
        }
        if find(self.fields(), &path).is_some() {
            return match if_not_exists {
                true => Ok(Vec::new()),
                false => Err(self.error(&path, "already exists")),
            };
        }
        if field.required && field.initial_default.is_none() {
            return Err(self.error(
                &path,
                "cannot be added as NOT NULL: rows that exist would have no value for it; add it \
                 without NOT NULL, or with a DEFAULT (format version 3)",
            ));
        }
        if field.initial_default.is_some() {
            self.check_defaults(&path)?;
        }
        self.check_name_is_free(&path, None)?;
        let mut last_id = self.table.metadata.last_column_id();
        let numbered = Arc::new(with_fresh_ids(field, &mut last_id)?);
        let fields = edit_level(self.fields(), parent, &mut |level| {
            let mut level = level.to_vec();
            let index = self.index_of(position, &level, parent)?;
            level.insert(index, Arc::clone(&numbered));
            Ok(level)
        })?;
        self.updates(fields)
    }

    /// Default values came with format version 3.
    fn check_defaults(&self, path: &[String]) -> Result<()> {
        match self.table.metadata.format_version() {
            FormatVersion::V1 | FormatVersion::V2 => Err(self.error(
                path,
                "cannot have a default value: that takes format version 3, see SET PROPERTIES \
                 format_version = 3",
            )),
            FormatVersion::V3 => Ok(()),
        }
    }

    fn set_default(&self, path: &[String], value: Option<&Literal>) -> Result<Vec<TableUpdate>> {
        if value.is_some() {
            self.check_defaults(path)?;
        }
        self.edit(path, |field| field.write_default = value.cloned())
    }

    fn drop_column(&self, path: &[String], if_exists: bool) -> Result<Vec<TableUpdate>> {
        let (field, in_key) = match find(self.fields(), path) {
            None if if_exists => return Ok(Vec::new()),
            _ => self.existing(path)?,
        };
        self.refuse_in_key(path, in_key)?;
        let (name, parent) = self.split(path)?;
        let dropped = ids_within(field);
        self.check_unused(path, &dropped)?;
        let fields = edit_level(self.fields(), parent, &mut |level| {
            if level.len() == 1 {
                return Err(self.error(
                    path,
                    match parent.is_empty() {
                        true => "is the only one: a table must have a column",
                        false => "is the only field of its row: drop the row instead",
                    },
                ));
            }
            let others = level.iter().filter(|field| field.name != *name);
            Ok(others.cloned().collect())
        })?;
        let mut updates = self.updates(fields)?;
        updates.extend(follow_column(&self.table.metadata, &path.join("."), None));
        Ok(updates)
    }

    /// Refuses to drop what partitioning, sort order or row identity need.
    fn check_unused(&self, path: &[String], dropped: &[i32]) -> Result<()> {
        let metadata = &self.table.metadata;
        let uses = |source_id: i32, transform: Transform| {
            transform != Transform::Void && dropped.contains(&source_id)
        };
        let default_spec = metadata.default_partition_spec();
        let partition_field = default_spec
            .fields()
            .iter()
            .find(|field| uses(field.source_id, field.transform));
        if let Some(field) = partition_field {
            let problem = format!(
                "cannot be dropped: the table is partitioned by it ({}); change the partitioning \
                 first with SET PROPERTIES partitioning = ARRAY[…]",
                field.name
            );
            return Err(self.error(path, &problem));
        }
        let was_partitioned = metadata.partition_specs_iter().any(|spec| {
            let mut fields = spec.fields().iter();
            fields.any(|field| uses(field.source_id, field.transform))
        });
        if was_partitioned {
            return Err(self.error(
                path,
                "cannot be dropped: the table was partitioned by it, and files of that \
                 partitioning could not be read by other engines; create a table without it from a \
                 query",
            ));
        }
        let order = metadata.default_sort_order();
        if order
            .fields
            .iter()
            .any(|field| uses(field.source_id, field.transform))
        {
            return Err(self.error(
                path,
                "cannot be dropped: the table is sorted by it; change the sort order first with \
                 SET PROPERTIES sorted_by = ARRAY[…]",
            ));
        }
        let mut identifiers = self.schema.identifier_field_ids();
        if identifiers.any(|id| dropped.contains(&id)) {
            return Err(self.error(
                path,
                "cannot be dropped: it is an identifier field of the table",
            ));
        }
        Ok(())
    }

    fn rename(&self, path: &[String], new_name: &str, if_exists: bool) -> Result<Vec<TableUpdate>> {
        let (field, _) = match find(self.fields(), path) {
            None if if_exists => return Ok(Vec::new()),
            _ => self.existing(path)?,
        };
        let (name, parent) = self.split(path)?;
        if name == new_name {
            return Ok(Vec::new());
        }
        let new_path = child(parent, new_name);
        if find(self.fields(), &new_path).is_some() {
            return Err(self.error(&new_path, "already exists"));
        }
        let in_struct = parent.is_empty()
            || matches!(
                self.existing(parent)?.0.field_type.as_ref(),
                Type::Struct(_)
            );
        if !in_struct {
            return Err(self.error(path, "has a fixed name: it cannot be renamed"));
        }
        self.check_name_is_free(&new_path, Some(field.id))?;
        let fields = edit_field(self.fields(), path, &mut |field| {
            let mut renamed = field.clone();
            renamed.name = new_name.to_string();
            Ok(renamed)
        })?;
        let mut updates = self.updates(fields)?;
        updates.extend(follow_column(
            &self.table.metadata,
            &path.join("."),
            Some(&new_path.join(".")),
        ));
        Ok(updates)
    }

    fn set_type(&self, path: &[String], new_type: &Type) -> Result<Vec<TableUpdate>> {
        let (field, _) = self.existing(path)?;
        if path.last().is_some_and(|name| name == "key") && path.len() > 1 {
            let (parent, _) = self.existing(&path[..path.len() - 1])?;
            if matches!(parent.field_type.as_ref(), Type::Map(_)) {
                return Err(self.error(path, "is the key of a map, whose type cannot change"));
            }
        }
        if field.field_type.as_ref() == new_type {
            return Ok(Vec::new());
        }
        let name = format!("{} of table {}", path.join("."), self.table.name());
        check_promotion(&name, &field.field_type, new_type)?;
        self.edit(path, |field| {
            *field.field_type = new_type.clone();
            let defaults = [&mut field.initial_default, &mut field.write_default];
            for value in defaults.into_iter().flatten() {
                *value = promote_default(value, new_type);
            }
        })
    }

    fn move_column(&self, path: &[String], position: &ColumnPosition) -> Result<Vec<TableUpdate>> {
        let (_, in_key) = self.existing(path)?;
        self.refuse_in_key(path, in_key)?;
        let (name, parent) = self.split(path)?;
        if *position == ColumnPosition::After(name.clone()) {
            return Err(self.error(path, "cannot be moved after itself"));
        }
        let fields = edit_level(self.fields(), parent, &mut |level| {
            let (moved, mut others): (Vec<_>, Vec<_>) =
                level.iter().cloned().partition(|field| field.name == *name);
            let index = self.index_of(position, &others, parent)?;
            others.splice(index..index, moved);
            Ok(others)
        })?;
        self.updates(fields)
    }

    fn edit(&self, path: &[String], change: impl Fn(&mut NestedField)) -> Result<Vec<TableUpdate>> {
        self.existing(path)?;
        let fields = edit_field(self.fields(), path, &mut |field| {
            let mut changed = field.clone();
            change(&mut changed);
            Ok(changed)
        })?;
        self.updates(fields)
    }

    /// Where a column at this position stands among those of its level.
    fn index_of(
        &self,
        position: &ColumnPosition,
        level: &[NestedFieldRef],
        parent: &[String],
    ) -> Result<usize> {
        match position {
            ColumnPosition::First => Ok(0),
            ColumnPosition::Last => Ok(level.len()),
            ColumnPosition::After(name) => {
                let index = level.iter().position(|field| field.name == *name);
                index.map(|index| index + 1).ok_or_else(|| {
                    let path = child(parent, name);
                    let hint = suggestion(self.fields(), &path);
                    self.error(&path, &format!("does not exist{hint}"))
                })
            }
        }
    }

    /// The specification's rule: other fields could make different keys equal.
    fn refuse_in_key(&self, path: &[String], in_key: bool) -> Result<()> {
        match in_key {
            true => Err(self.error(
                path,
                "is inside the key of a map, whose rows cannot get, lose or move fields",
            )),
            false => Ok(()),
        }
    }

    /// Refuses a name that a partition field has: files and tools tell partitions by it.
    fn check_name_is_free(&self, path: &[String], field_id: Option<i32>) -> Result<()> {
        let name = path.join(".");
        let spec = self.table.metadata.default_partition_spec();
        let taken = spec.fields().iter().find(|field| field.name == name);
        match taken {
            Some(field)
                if !(field.transform == Transform::Identity
                    && Some(field.source_id) == field_id) =>
            {
                Err(self.error(
                    path,
                    "would have the name of a field of the table's partitioning: choose another \
                     name",
                ))
            }
            _ => Ok(()),
        }
    }

    fn split<'p>(&self, path: &'p [String]) -> Result<(&'p String, &'p [String])> {
        path.split_last().ok_or_else(|| {
            CatalogError::InvalidInput(format!("table {}: no column is named", self.table.name()))
        })
    }

    /// The updates that give the table these columns.
    fn updates(&self, fields: Vec<NestedFieldRef>) -> Result<Vec<TableUpdate>> {
        if fields.as_slice() == self.fields() {
            return Ok(Vec::new());
        }
        let schema = Schema::builder()
            .with_fields(fields)
            .with_identifier_field_ids(self.schema.identifier_field_ids())
            .build()
            .map_err(|source| {
                CatalogError::InvalidInput(format!(
                    "table {}: {}",
                    self.table.name(),
                    source.message()
                ))
            })?;
        Ok(vec![
            TableUpdate::AddSchema { schema },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
        ])
    }
}

fn child(parent: &[String], name: &str) -> Vec<String> {
    let mut path = parent.to_vec();
    path.push(name.to_string());
    path
}
