"""Statistics that Ingot gathers, as PyIceberg and the Puffin format see them, and the other way."""

import io
import json
import struct
import urllib.parse

import pyarrow as pa
import pytest
from pyiceberg.table import StaticTable
from pyiceberg.table.statistics import BlobMetadata, StatisticsFile

from conftest import metadata_location

ROWS = 20_000


@pytest.fixture(scope="module")
def analyzed(execute, schema):
    """A table with statistics; its name."""
    name = f"{schema}.analyzed"
    execute(f"CREATE TABLE {name} (id bigint, kind varchar, price decimal(9, 2), tags array(varchar))")
    execute(
        f"INSERT INTO {name} SELECT value, CASE WHEN value % 10 = 0 THEN NULL ELSE "
        "concat('kind ', CAST(value % 10 AS varchar)) END, CAST(value % 100 AS decimal(9, 2)), NULL "
        f"FROM generate_series(1, {ROWS})"
    )
    execute(f"ANALYZE {name}")
    return name


def read_puffin(path):
    """The blobs of a Puffin file by their field: type, metadata and content."""
    content = open(urllib.parse.urlparse(path).path, "rb").read()
    assert content[:4] == b"PFA1" and content[-4:] == b"PFA1"
    (payload_size,) = struct.unpack("<i", content[-12:-8])
    footer = json.loads(content[-12 - payload_size : -12])
    assert content[-16 - payload_size : -12 - payload_size] == b"PFA1"
    blobs = {}
    for blob in footer["blobs"]:
        (field_id,) = blob["fields"]
        stored = content[blob["offset"] : blob["offset"] + blob["length"]]
        assert blob["compression-codec"] == "zstd"
        sketch = pa.CompressedInputStream(io.BytesIO(stored), "zstd").read()
        blobs[field_id] = (blob, sketch)
    return content, footer, blobs


def test_pyiceberg_sees_the_statistics(analyzed, execute):
    table = StaticTable.from_metadata(metadata_location(execute, analyzed))
    (statistics,) = table.metadata.statistics
    snapshot = table.current_snapshot()
    assert statistics.snapshot_id == snapshot.snapshot_id
    fields = {field.name: field.field_id for field in table.schema().fields}
    distinct = {}
    for blob in statistics.blob_metadata:
        assert blob.type == "apache-datasketches-theta-v1"
        assert blob.snapshot_id == snapshot.snapshot_id
        assert blob.sequence_number == snapshot.sequence_number
        distinct[blob.fields[0]] = int(blob.properties["ndv"])
    assert set(distinct) == {fields["id"], fields["kind"], fields["price"]}
    assert distinct[fields["kind"]] == 9
    assert distinct[fields["price"]] == 100
    assert abs(distinct[fields["id"]] - ROWS) < 0.05 * ROWS


def test_the_file_is_puffin_with_compact_sketches(analyzed, execute):
    table = StaticTable.from_metadata(metadata_location(execute, analyzed))
    (statistics,) = table.metadata.statistics
    content, footer, blobs = read_puffin(statistics.statistics_path)
    assert len(content) == statistics.file_size_in_bytes
    assert content[-statistics.file_footer_size_in_bytes :].startswith(b'PFA1{"')
    assert footer["properties"]["created-by"].startswith("ingot ")
    assert len(blobs) == len(statistics.blob_metadata) == 3
    field_id = table.schema().find_field("kind").field_id
    blob, sketch = blobs[field_id]
    assert blob["properties"] == {"ndv": "9"}
    # Preamble of two longs, serial version 3, family compact; read-only, compact and ordered.
    assert sketch[:3] == bytes([2, 3, 3])
    assert sketch[5] & 0b11010 == 0b11010
    # The hash of the seed 9001 that all libraries begin with, and the number of hashes.
    assert sketch[6:8] == bytes([0xCC, 0x93])
    assert struct.unpack("<i", sketch[8:12]) == (9,)
    hashes = struct.unpack("<9q", sketch[16:])
    assert list(hashes) == sorted(set(hashes)) and min(hashes) > 0


def test_other_engines_read_the_rows_as_before(analyzed, rest_catalog):
    rows = rest_catalog.load_table(analyzed).scan().to_arrow()
    assert rows.num_rows == ROWS


def distinct_values(execute, name):
    return {row[0]: row[2] for row in execute(f"SHOW STATS FOR {name}") if row[0]}


def test_ingot_uses_statistics_of_others(execute, schema, rest_catalog):
    name = f"{schema}.analyzed_by_others"
    execute(f"CREATE TABLE {name} AS SELECT value AS id, value % 3 AS k FROM generate_series(1, 100)")
    assert distinct_values(execute, name) == {"id": None, "k": None}
    table = rest_catalog.load_table(name)
    snapshot = table.current_snapshot()
    blob = BlobMetadata(
        **{
            "type": "apache-datasketches-theta-v1",
            "snapshot-id": snapshot.snapshot_id,
            "sequence-number": snapshot.sequence_number,
            "fields": [table.schema().find_field("k").field_id],
            "properties": {"ndv": "3"},
        }
    )
    file = StatisticsFile(
        **{
            "snapshot-id": snapshot.snapshot_id,
            "statistics-path": f"{table.location()}/metadata/others.stats",
            "file-size-in-bytes": 100,
            "file-footer-size-in-bytes": 50,
            "blob-metadata": [blob],
        }
    )
    with table.update_statistics() as update:
        update.set_statistics(file)
    assert distinct_values(execute, name) == {"id": None, "k": 3.0}
    execute(f"ALTER TABLE {name} EXECUTE drop_extended_stats")
    assert distinct_values(execute, name) == {"id": None, "k": None}
    assert rest_catalog.load_table(name).metadata.statistics == []
