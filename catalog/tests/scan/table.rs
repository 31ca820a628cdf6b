//! Tables made by hand: metadata, manifest lists and manifests without data files.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::TableIdent;
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestFile, ManifestListWriter,
    ManifestWriterBuilder, NestedField, Operation, PrimitiveType, Schema, Snapshot, SortOrder,
    Summary, TableMetadataBuilder, Type, UnboundPartitionSpec,
};
use ingot_catalog::{Storage, StorageConfig, Table};

/// A table under construction. Every write goes into the next snapshot.
pub struct TestTable {
    folder: tempfile::TempDir,
    pub storage: Arc<Storage>,
    builder: Option<TableMetadataBuilder>,
    version: FormatVersion,
    manifests: Vec<ManifestFile>,
    next_file: usize,
    pub sequence_number: i64,
}

/// A file of a manifest: its sequence number is inherited unless given.
pub struct Entry {
    pub file: DataFile,
    pub sequence_number: Option<i64>,
}

impl From<DataFile> for Entry {
    fn from(file: DataFile) -> Self {
        Self {
            file,
            sequence_number: None,
        }
    }
}

pub fn schema_of(fields: &[(i32, &str, PrimitiveType)]) -> Schema {
    let fields = fields.iter().map(|(id, name, field_type)| {
        Arc::new(NestedField::optional(
            *id,
            name,
            Type::Primitive(field_type.clone()),
        ))
    });
    Schema::builder()
        .with_fields(fields.collect::<Vec<_>>())
        .build()
        .unwrap()
}

impl TestTable {
    pub fn new(schema: Schema, spec: UnboundPartitionSpec, version: FormatVersion) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = folder.path().display().to_string();
        let sort_order = SortOrder::unsorted_order();
        let builder =
            TableMetadataBuilder::new(schema, spec, sort_order, location, version, HashMap::new());
        Self {
            folder,
            storage: Storage::new(StorageConfig::default()),
            builder: Some(builder.unwrap()),
            version,
            manifests: Vec::new(),
            next_file: 0,
            sequence_number: 1,
        }
    }

    pub fn change(
        &mut self,
        change: impl FnOnce(TableMetadataBuilder) -> iceberg::Result<TableMetadataBuilder>,
    ) {
        let builder = self.builder.take().unwrap();
        self.builder = Some(change(builder).unwrap());
    }

    pub fn table(&self) -> Table {
        let metadata = self.builder.clone().unwrap().build().unwrap().metadata;
        Table {
            ident: TableIdent::from_strs(["test", "t"]).unwrap(),
            metadata: Arc::new(metadata),
            metadata_location: Some(self.path("metadata.json")),
        }
    }

    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder.path().display())
    }

    fn new_path(&mut self, suffix: &str) -> String {
        self.next_file += 1;
        self.path(&format!("{}{suffix}", self.next_file))
    }

    /// The id that the next snapshot will have.
    pub fn snapshot_id(&self) -> i64 {
        1000 + self.sequence_number
    }

    /// Writes a manifest of the next snapshot with the current schema and the given spec.
    pub async fn add_manifest<E: Into<Entry>>(
        &mut self,
        content: ManifestContentType,
        spec_id: i32,
        entries: impl IntoIterator<Item = E>,
    ) -> ManifestFile {
        let table = self.table();
        let spec = table.metadata.partition_spec_by_id(spec_id).unwrap();
        let path = self.new_path("-manifest.avro");
        let output = self.storage.file_io().new_output(path).unwrap();
        let builder = ManifestWriterBuilder::new(
            output,
            Some(self.snapshot_id()),
            Arc::clone(table.metadata.current_schema()),
            spec.as_ref().clone(),
        );
        let mut writer = match (self.version, content) {
            (FormatVersion::V1, _) => builder.build_v1(),
            (FormatVersion::V2, ManifestContentType::Data) => builder.build_v2_data(),
            (FormatVersion::V2, ManifestContentType::Deletes) => builder.build_v2_deletes(),
            (FormatVersion::V3, ManifestContentType::Data) => builder.build_v3_data(),
            (FormatVersion::V3, ManifestContentType::Deletes) => builder.build_v3_deletes(),
        };
        for entry in entries {
            let Entry {
                file,
                sequence_number,
            } = entry.into();
            match sequence_number {
                None => writer.add_file(file, -1).unwrap(),
                Some(number) => writer
                    .add_existing_file(file, 1000 + number, number, Some(number))
                    .unwrap(),
            }
        }
        let manifest = writer.write_manifest_file().await.unwrap();
        self.manifests.push(manifest.clone());
        manifest
    }

    /// Commits the manifests written so far as the next snapshot of the main branch.
    pub async fn commit(&mut self) -> i64 {
        let snapshot_id = self.snapshot_id();
        let sequence_number = match self.version {
            FormatVersion::V1 => 0,
            _ => self.sequence_number,
        };
        let path = self.new_path("-list.avro");
        let output = self.storage.file_io().new_output(&path).unwrap();
        let writer = output.writer().await.unwrap();
        let mut list = match self.version {
            FormatVersion::V1 => ManifestListWriter::v1(writer, snapshot_id, None),
            FormatVersion::V2 => ManifestListWriter::v2(writer, snapshot_id, None, sequence_number),
            FormatVersion::V3 => {
                ManifestListWriter::v3(writer, snapshot_id, None, sequence_number, Some(0))
            }
        };
        // Later snapshots list earlier manifests with what they were given at first.
        for manifest in &mut self.manifests {
            if manifest.sequence_number < 0 && self.version != FormatVersion::V1 {
                manifest.sequence_number = sequence_number;
                if manifest.min_sequence_number < 0 {
                    manifest.min_sequence_number = sequence_number;
                }
            }
        }
        list.add_manifests(self.manifests.iter().cloned()).unwrap();
        list.close().await.unwrap();
        let table = self.table();
        let snapshot = Snapshot::builder()
            .with_snapshot_id(snapshot_id)
            .with_parent_snapshot_id(table.metadata.current_snapshot_id())
            .with_sequence_number(sequence_number)
            .with_timestamp_ms(table.metadata.last_updated_ms() + self.sequence_number)
            .with_manifest_list(path)
            .with_summary(Summary {
                operation: Operation::Append,
                additional_properties: HashMap::from([("k".to_string(), "v".to_string())]),
            })
            .with_schema_id(table.metadata.current_schema_id());
        let snapshot = match self.version {
            FormatVersion::V3 => snapshot
                .with_row_range(table.metadata.next_row_id(), 1000)
                .build(),
            _ => snapshot.build(),
        };
        self.change(|builder| builder.set_branch_snapshot(snapshot, MAIN_BRANCH));
        // Two snapshots of one builder would count as one commit.
        let metadata = self.builder.take().unwrap().build().unwrap().metadata;
        self.builder = Some(metadata.into_builder(None));
        self.sequence_number += 1;
        snapshot_id
    }
}
