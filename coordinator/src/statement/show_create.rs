//! A table as the statement that would create it.

use iceberg::spec::{NullOrder, SortDirection, Transform};
use ingot_catalog::Table;
pub(super) use ingot_catalog::evolve::sql_type_name as type_name;
use ingot_engine::default_value::default_text;

/// `CREATE TABLE …` with columns, comments, partitioning, sort order and properties.
pub(super) fn create_table(name: &str, table: &Table) -> String {
    let metadata = &table.metadata;
    let columns: Vec<String> = metadata
        .current_schema()
        .as_struct()
        .fields()
        .iter()
        .map(|field| {
            let not_null = if field.required { " NOT NULL" } else { "" };
            let default =
                default_text(field).map_or(String::new(), |default| format!(" DEFAULT {default}"));
            let comment = field
                .doc
                .as_ref()
                .map_or(String::new(), |doc| format!(" COMMENT {}", literal(doc)));
            format!(
                "   {} {}{not_null}{default}{comment}",
                identifier(&field.name),
                type_name(&field.field_type)
            )
        })
        .collect();
    let mut text = format!("CREATE TABLE {name} (\n{}\n)\n", columns.join(",\n"));
    if let Some(comment) = metadata.properties().get("comment") {
        text.push_str(&format!("COMMENT {}\n", literal(comment)));
    }
    text.push_str(&format!(
        "WITH (\n   {}\n)",
        properties(table).join(",\n   ")
    ));
    text
}

/// The entries of a table's `WITH (…)`.
pub(super) fn properties(table: &Table) -> Vec<String> {
    let metadata = &table.metadata;
    let mut properties = vec![
        "format = 'PARQUET'".to_owned(),
        format!("format_version = {}", metadata.format_version() as u8),
    ];
    let partitioning: Vec<String> = metadata
        .default_partition_spec()
        .fields()
        .iter()
        .map(|field| {
            literal(&transform_text(
                field.transform,
                &column(table, field.source_id),
            ))
        })
        .collect();
    if !partitioning.is_empty() {
        properties.push(format!("partitioning = ARRAY[{}]", partitioning.join(", ")));
    }
    let sorted_by: Vec<String> = metadata
        .default_sort_order()
        .fields
        .iter()
        .map(|field| {
            let direction = match field.direction {
                SortDirection::Ascending => "ASC",
                SortDirection::Descending => "DESC",
            };
            let nulls = match field.null_order {
                NullOrder::First => "FIRST",
                NullOrder::Last => "LAST",
            };
            let column = transform_text(field.transform, &column(table, field.source_id));
            literal(&format!("{column} {direction} NULLS {nulls}"))
        })
        .collect();
    if !sorted_by.is_empty() {
        properties.push(format!("sorted_by = ARRAY[{}]", sorted_by.join(", ")));
    }
    properties.push(format!("location = {}", literal(metadata.location())));
    let mut others: Vec<(&String, &String)> = metadata
        .properties()
        .iter()
        .filter(|(name, _)| *name != "comment")
        .collect();
    others.sort();
    if !others.is_empty() {
        let names: Vec<String> = others.iter().map(|(name, _)| literal(name)).collect();
        let values: Vec<String> = others.iter().map(|(_, value)| literal(value)).collect();
        properties.push(format!(
            "extra_properties = MAP(ARRAY[{}], ARRAY[{}])",
            names.join(", "),
            values.join(", ")
        ));
    }
    properties
}

fn column(table: &Table, field_id: i32) -> String {
    let schema = table.metadata.current_schema();
    let name = schema.name_by_field_id(field_id);
    name.map_or_else(|| format!("(dropped column {field_id})"), identifier)
}

fn transform_text(transform: Transform, column: &str) -> String {
    match transform {
        Transform::Identity => column.to_owned(),
        Transform::Bucket(count) => format!("bucket({column}, {count})"),
        Transform::Truncate(width) => format!("truncate({column}, {width})"),
        other => format!("{other}({column})"),
    }
}

pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name, quoted where it would not be read back as it is.
pub(super) fn identifier(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|character| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
        });
    match is_plain {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}
