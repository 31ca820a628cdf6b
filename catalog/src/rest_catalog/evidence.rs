//! Whether a table shows that a commit happened.

use iceberg::spec::TableMetadata;
use iceberg::{TableRequirement, TableUpdate};
use serde_json::Value;

use crate::catalog::TableCommit;
use crate::table::Table;

/// Whether a table has what a commit brings, or had it and moved on.
pub(super) fn has_happened(commit: &TableCommit, table: &Table) -> bool {
    let metadata = table.metadata.as_ref();
    let added = commit.updates.iter().find_map(|update| match update {
        TableUpdate::AddSnapshot { snapshot } => Some(snapshot),
        _ => None,
    });
    // The list's name is in no other commit, whatever UUID the server gave the table.
    if let Some(snapshot) = added
        && let Some(known) = metadata.snapshot_by_id(snapshot.snapshot_id())
        && known.manifest_list() == snapshot.manifest_list()
    {
        return true;
    }
    if is_of_another_table(commit, metadata) {
        return false;
    }
    match added {
        // Once it has expired, only what came after it knows it. Ids are random: nobody else's
        // snapshot has it.
        Some(snapshot) => {
            let id = Some(snapshot.snapshot_id());
            let mut snapshots = metadata.snapshots();
            snapshots
                .any(|known| Some(known.snapshot_id()) == id || known.parent_snapshot_id() == id)
        }
        None => commit.created_from.is_some() || changes_nothing(commit, table),
    }
}

/// Whether the table is another one than that which the commit creates or wants.
fn is_of_another_table(commit: &TableCommit, metadata: &TableMetadata) -> bool {
    let created = commit.created_from.iter().map(TableMetadata::uuid);
    let wanted = commit
        .requirements
        .iter()
        .filter_map(|requirement| match requirement {
            TableRequirement::UuidMatch { uuid } => Some(*uuid),
            _ => None,
        });
    created.chain(wanted).any(|uuid| uuid != metadata.uuid())
}

/// Whether a commit without a snapshot leaves the table as it is.
fn changes_nothing(commit: &TableCommit, table: &Table) -> bool {
    let Ok(built) = commit.apply(Some(table)) else {
        return false;
    };
    match (content(&built.metadata), content(&table.metadata)) {
        (Ok(next), Ok(current)) => next == current,
        _ => false,
    }
}

/// The metadata without what every commit changes.
fn content(metadata: &TableMetadata) -> serde_json::Result<Value> {
    let mut json = serde_json::to_value(metadata)?;
    if let Some(fields) = json.as_object_mut() {
        fields.remove("last-updated-ms");
        fields.remove("metadata-log");
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use iceberg::spec::{
        FormatVersion, MAIN_BRANCH, NestedField, Operation, PrimitiveType, Schema, Snapshot,
        SnapshotReference, SnapshotRetention, SortOrder, Summary, TableMetadataBuilder, Type,
        UnboundPartitionSpec,
    };
    use iceberg::{NamespaceIdent, TableIdent};
    use uuid::Uuid;

    use super::*;
    use crate::catalog::TableDraft;

    fn created() -> Table {
        let ident = TableIdent::new(NamespaceIdent::new("s".to_string()), "t".to_string());
        let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
        let draft = TableDraft {
            schema: Schema::builder()
                .with_fields(vec![id.into()])
                .build()
                .unwrap(),
            spec: UnboundPartitionSpec::builder().build(),
            sort_order: SortOrder::unsorted_order(),
            format_version: FormatVersion::V2,
            location: None,
            properties: HashMap::new(),
        };
        let metadata = draft.build(&ident, "s3://b/t").unwrap();
        loaded(&ident, metadata)
    }

    fn loaded(ident: &TableIdent, metadata: TableMetadata) -> Table {
        Table {
            ident: ident.clone(),
            metadata: Arc::new(metadata),
            metadata_location: None,
        }
    }

    /// A commit of a snapshot on top of the table.
    fn adding(table: &Table, id: i64, list: &str) -> TableCommit {
        let metadata = &table.metadata;
        let snapshot = Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(metadata.current_snapshot_id())
            .with_sequence_number(metadata.last_sequence_number() + 1)
            .with_timestamp_ms(chrono::Utc::now().timestamp_millis())
            .with_manifest_list(list.to_string())
            .with_summary(Summary {
                operation: Operation::Append,
                additional_properties: HashMap::new(),
            })
            .with_schema_id(metadata.current_schema_id())
            .build();
        let retention = SnapshotRetention::branch(None, None, None);
        TableCommit {
            ident: table.ident.clone(),
            requirements: vec![TableRequirement::UuidMatch {
                uuid: metadata.uuid(),
            }],
            based_on: None,
            created_from: None,
            updates: vec![
                TableUpdate::AddSnapshot { snapshot },
                TableUpdate::SetSnapshotRef {
                    ref_name: MAIN_BRANCH.to_string(),
                    reference: SnapshotReference::new(id, retention),
                },
            ],
        }
    }

    fn after(table: &Table, commit: &TableCommit) -> Table {
        let built = commit.apply(Some(table)).unwrap();
        loaded(&table.ident, built.metadata)
    }

    fn with_another_uuid(table: &Table) -> Table {
        let metadata = table.metadata.as_ref().clone();
        let builder = TableMetadataBuilder::new_from_metadata(metadata, None);
        let built = builder.assign_uuid(Uuid::new_v4()).build().unwrap();
        loaded(&table.ident, built.metadata)
    }

    #[test]
    fn a_snapshot_is_found_by_its_list_its_id_and_its_child() {
        let before = created();
        let commit = adding(&before, 1, "s3://b/t/metadata/snap-1-a.avro");
        assert!(!has_happened(&commit, &before));
        let first = after(&before, &commit);
        assert!(has_happened(&commit, &first));
        let other_list = adding(&before, 1, "s3://b/t/metadata/snap-1-b.avro");
        assert!(has_happened(&other_list, &first));

        let second = adding(&first, 2, "s3://b/t/metadata/snap-2.avro");
        assert!(!has_happened(&second, &first));
        let mut expiring = second.clone();
        expiring.updates.push(TableUpdate::RemoveSnapshots {
            snapshot_ids: vec![1],
        });
        let expired = after(&first, &expiring);
        assert!(expired.metadata.snapshot_by_id(1).is_none());
        assert!(has_happened(&commit, &expired));
    }

    #[test]
    fn another_uuid_means_another_table_unless_the_list_is_there() {
        let before = created();
        let mut commit = adding(&before, 1, "s3://b/t/metadata/snap-1-a.avro");
        let committed = after(&before, &commit);
        commit.requirements = vec![TableRequirement::NotExist];
        commit.created_from = Some(before.metadata.as_ref().clone());
        assert!(has_happened(&commit, &with_another_uuid(&committed)));
        assert!(!has_happened(&commit, &with_another_uuid(&before)));
        commit.updates.clear();
        assert!(has_happened(&commit, &committed));
        assert!(!has_happened(&commit, &with_another_uuid(&committed)));
    }

    #[test]
    fn changes_without_a_snapshot_are_found_by_what_they_change() {
        let before = created();
        let mut commit = adding(&before, 1, "unused");
        commit.updates = vec![TableUpdate::SetProperties {
            updates: HashMap::from([("p".to_string(), "1".to_string())]),
        }];
        assert!(!has_happened(&commit, &before));
        let changed = after(&before, &commit);
        assert!(has_happened(&commit, &changed));
        assert!(!has_happened(&commit, &with_another_uuid(&changed)));
    }
}
