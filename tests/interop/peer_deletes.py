"""Delete files for PyIceberg tables, which PyIceberg itself reads but does not write."""

import time
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, AssertRefSnapshotId, SetSnapshotRefUpdate

PATH_FIELD_ID = 2147483546
POSITION_FIELD_ID = 2147483545


class DeleteManifestWriter(ManifestWriterV2):
    """PyIceberg's manifest writer, for delete files."""

    def content(self):
        return ManifestContent.DELETES

    @property
    def _meta(self):
        return {**super()._meta, "content": "deletes"}


def field_with_id(name, arrow_type, field_id, nullable=False):
    return pa.field(name, arrow_type, nullable, {b"PARQUET:field_id": str(field_id).encode()})


def write_position_deletes(table, partition, spec_id, positions):
    """A position delete file for (path, position) pairs of one partition."""
    schema = pa.schema(
        [
            field_with_id("file_path", pa.string(), PATH_FIELD_ID),
            field_with_id("pos", pa.int64(), POSITION_FIELD_ID),
        ]
    )
    ordered = sorted(positions)
    rows = pa.table(
        [
            pa.array([path for path, _ in ordered], pa.string()),
            pa.array([position for _, position in ordered], pa.int64()),
        ],
        schema=schema,
    )
    return write_delete_file(table, rows, DataFileContent.POSITION_DELETES, partition, spec_id)


def write_equality_deletes(table, partition, spec_id, rows, field_ids):
    """An equality delete file: rows (an Arrow table with field ids) of the columns to compare."""
    content = DataFileContent.EQUALITY_DELETES
    return write_delete_file(table, rows, content, partition, spec_id, field_ids)


def write_delete_file(table, rows, content, partition, spec_id, equality_ids=None):
    location = f"{table.location()}/data/{uuid.uuid4()}-deletes.parquet"
    output = table.io.new_output(location)
    with output.create() as stream:
        pq.write_table(rows, stream)
    file = DataFile.from_args(
        content=content,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=partition,
        record_count=rows.num_rows,
        file_size_in_bytes=len(output.to_input_file()),
        column_sizes=None,
        value_counts=None,
        null_value_counts=None,
        nan_value_counts=None,
        lower_bounds=None,
        upper_bounds=None,
        key_metadata=None,
        split_offsets=None,
        equality_ids=equality_ids,
        sort_order_id=None,
    )
    file.spec_id = spec_id
    return file


def commit_deletes(catalog, table, delete_files):
    """Adds a snapshot that has the table's manifests and one with these delete files."""
    metadata = table.metadata
    parent = table.current_snapshot()
    sequence_number = metadata.next_sequence_number()
    snapshot_id = metadata.new_snapshot_id()
    spec_ids = {file.spec_id for file in delete_files}
    manifests = list(parent.manifests(table.io))
    for spec_id in spec_ids:
        location = f"{table.location()}/metadata/{uuid.uuid4()}-m0.avro"
        writer = DeleteManifestWriter(
            table.specs()[spec_id],
            table.schema(),
            table.io.new_output(location),
            snapshot_id,
            "deflate",
        )
        with writer:
            for file in delete_files:
                if file.spec_id == spec_id:
                    entry = ManifestEntry.from_args(
                        status=ManifestEntryStatus.ADDED,
                        snapshot_id=snapshot_id,
                        sequence_number=None,
                        file_sequence_number=None,
                        data_file=file,
                    )
                    writer.add_entry(entry)
        manifests.append(writer.to_manifest_file())
    list_location = f"{table.location()}/metadata/snap-{snapshot_id}-{uuid.uuid4()}.avro"
    with write_manifest_list(
        format_version=2,
        output_file=table.io.new_output(list_location),
        snapshot_id=snapshot_id,
        parent_snapshot_id=parent.snapshot_id,
        sequence_number=sequence_number,
        avro_compression="deflate",
    ) as writer:
        writer.add_manifests(manifests)
    snapshot = Snapshot(
        snapshot_id=snapshot_id,
        parent_snapshot_id=parent.snapshot_id,
        manifest_list=list_location,
        sequence_number=sequence_number,
        timestamp_ms=max(int(time.time() * 1000), parent.timestamp_ms + 1),
        summary=Summary(Operation.DELETE),
        schema_id=metadata.current_schema_id,
    )
    catalog.commit_table(
        table,
        (AssertRefSnapshotId(ref="main", snapshot_id=parent.snapshot_id),),
        (
            AddSnapshotUpdate(snapshot=snapshot),
            SetSnapshotRefUpdate(ref_name="main", type="branch", snapshot_id=snapshot_id),
        ),
    )
    return catalog.load_table(table.name())
