#!/usr/bin/env python3
"""Planning a point query on a table with very many files.

    pip install -r benchmarks/requirements.txt
    cargo build --release
    python benchmarks/planning.py                # or --scale 0.01 for a try

A table of 100,000 data files in 1,000 manifests (at scale 1), which PyIceberg commits and Ingot
registers. Each file's bounds hold 1,000 ids of its own; only the one that is asked for exists.
Planned is SELECT * WHERE id = constant, by EXPLAIN, whose planning is all but the reading of the one
file, and by the query itself:

    cold       the first after a start of `ingot server`; the median of --starts
    warm       p50 of --repeat, each for another id
    bounded    the same with a cache that is too small for the manifests, and the server's memory

Fails when the row is not found; being slower or larger than a target does not fail.
"""

import pathlib
import statistics
import sys

import pyarrow
import pyarrow.parquet
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.conversions import to_bytes
from pyiceberg.manifest import (
    DataFile, DataFileContent, FileFormat, ManifestEntry, ManifestEntryStatus, ManifestFile,
)
from pyiceberg.schema import Schema
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, NestedField, StringType

from harness import (
    Cluster, argument_parser, at_least_one, mebibytes, parse_arguments, percentile, print_table,
    timed, working_folder, yes_or_no,
)

MANIFESTS = 1_000
FILES_IN_MANIFEST = 100
IDS_IN_FILE = 1_000
COLD_TARGET_SECONDS = 1.0
WARM_TARGET_SECONDS = 0.1
SMALL_CACHE_BYTES = 32 * 2**20


class ManyManifests(_FastAppendFiles):
    """An append that writes a manifest for each hundred files. A commit for each would write a
    manifest list and a metadata file that grow with every commit: most of an hour."""

    def _manifests(self) -> list[ManifestFile]:
        files = self._added_data_files
        return [self.manifest_of(files[first:first + FILES_IN_MANIFEST])
                for first in range(0, len(files), FILES_IN_MANIFEST)]

    def manifest_of(self, files: list[DataFile]) -> ManifestFile:
        with self.new_manifest_writer(self._transaction.table_metadata.spec()) as writer:
            for file in files:
                writer.add(ManifestEntry.from_args(
                    status=ManifestEntryStatus.ADDED, snapshot_id=self.snapshot_id,
                    sequence_number=None, file_sequence_number=None, data_file=file))
        return writer.to_manifest_file()


def make_table(folder: pathlib.Path, manifests: int) -> tuple[str, int]:
    """The metadata file of the table, and the id in the only file that exists."""
    folder.mkdir(parents=True, exist_ok=True)
    catalog = SqlCatalog("bench", uri=f"sqlite:///{folder / 'peer.db'}",
                         warehouse=folder.as_uri())
    catalog.create_namespace_if_not_exists("bench")
    schema = Schema(NestedField(1, "id", LongType()), NestedField(2, "name", StringType()))
    if catalog.table_exists("bench.many"):
        catalog.drop_table("bench.many")
    table = catalog.create_table("bench.many", schema)
    location = pathlib.Path(table.location().removeprefix("file://"))
    real_file = manifests * FILES_IN_MANIFEST // 3
    real_id = real_file * IDS_IN_FILE
    data = location / "data"
    data.mkdir(parents=True, exist_ok=True)
    real_path = data / f"{real_file}.parquet"
    columns = table.schema().as_arrow()
    pyarrow.parquet.write_table(
        pyarrow.table({"id": [real_id], "name": ["the one"]}, schema=columns), real_path)
    with table.transaction() as transaction, \
            ManyManifests(Operation.APPEND, transaction, table.io) as append:
        for file in range(manifests * FILES_IN_MANIFEST):
            append.append_data_file(data_file(data, file, real_path.stat().st_size))
    return table.metadata_location, real_id


def data_file(folder: pathlib.Path, number: int, size: int) -> DataFile:
    low, high = number * IDS_IN_FILE, (number + 1) * IDS_IN_FILE - 1
    names = StringType()
    return DataFile.from_args(
        content=DataFileContent.DATA, file_path=(folder / f"{number}.parquet").as_uri(),
        file_format=FileFormat.PARQUET, partition=Record(), record_count=1,
        file_size_in_bytes=size, column_sizes={1: 100, 2: 100}, value_counts={1: 1, 2: 1},
        null_value_counts={1: 0, 2: 0}, nan_value_counts={},
        lower_bounds={1: to_bytes(LongType(), low), 2: to_bytes(names, "a")},
        upper_bounds={1: to_bytes(LongType(), high), 2: to_bytes(names, "z")},
        key_metadata=None, split_offsets=[4], equality_ids=None, sort_order_id=None, spec_id=0,
    )


def measure(arguments, data: pathlib.Path, real_id: int, ids: int, settings: dict[str, str]):
    """Medians of cold and warm planning and of the query in seconds, the greatest memory, and
    whether the row was found."""
    cold, warm, queries, found = [], [], [], True
    peak = 0
    for start in range(arguments.starts):
        with Cluster(arguments.binary, data, 1, settings, one_process=True) as cluster:
            cluster.wait_until(lambda: cluster._http("/readyz"), "the server to be ready")
            with cluster.connect() as connection, connection.cursor() as cursor:
                def ask(text):
                    return timed(lambda: cursor.execute(text).fetchall())

                ask("SELECT 1")
                cold.append(ask(f"EXPLAIN SELECT * FROM bench.many WHERE id = {real_id}")[0])
                for number in range(arguments.repeat if start == 0 else 0):
                    other = (number * 7919 + 1) * IDS_IN_FILE % ids
                    warm.append(ask(f"EXPLAIN SELECT * FROM bench.many WHERE id = {other}")[0])
                    seconds, rows = ask(f"SELECT * FROM bench.many WHERE id = {real_id}")
                    queries.append(seconds)
                    found = found and rows == [(real_id, "the one")]
            peak = max(peak, cluster.memory.peak_bytes)
    return statistics.median(cold), percentile(warm, 50), percentile(queries, 50), peak, found


def main():
    parser = argument_parser(__doc__, workers=1)
    parser.add_argument("--starts", type=at_least_one, default=5)
    parser.add_argument("--repeat", type=at_least_one, default=50)
    arguments = parse_arguments(parser)
    manifests = max(1, round(MANIFESTS * arguments.scale))
    files = manifests * FILES_IN_MANIFEST
    report, all_found = [], True
    with working_folder(arguments) as folder:
        data = folder / "data"
        # Tables that are registered must be below the warehouse.
        metadata_location, real_id = make_table(data / "warehouse" / "peer", manifests)
        with Cluster(arguments.binary, data, 1, one_process=True) as cluster:
            cluster.wait_until(lambda: cluster._http("/readyz"), "the server to be ready")
            with cluster.connect() as connection, connection.cursor() as cursor:
                cursor.execute("CREATE SCHEMA IF NOT EXISTS bench")
                cursor.execute("DROP TABLE IF EXISTS bench.many")
                cursor.execute(
                    f"CALL system.register_table('bench', 'many', '{metadata_location}')")
        for name, settings in (
            ("default cache", {}),
            (f"cache of {mebibytes(SMALL_CACHE_BYTES)}",
             {"INGOT_CATALOG_MANIFEST_CACHE": str(SMALL_CACHE_BYTES)}),
        ):
            cold, warm, query, peak, found = measure(
                arguments, data, real_id, files * IDS_IN_FILE, settings)
            all_found = all_found and found
            met = cold < COLD_TARGET_SECONDS and warm < WARM_TARGET_SECONDS
            report.append([name, f"{cold * 1000:.0f} ms", f"{warm * 1000:.1f} ms",
                           f"{query * 1000:.1f} ms", mebibytes(peak),
                           yes_or_no(met) if not settings else "-"])
    print(f"{files:,} data files in {manifests:,} manifests; targets: cold < "
          f"{COLD_TARGET_SECONDS:.0f} s, warm < {WARM_TARGET_SECONDS * 1000:.0f} ms")
    print_table(["", "cold plan", "warm plan", "query, warm", "peak memory", "target met"], report)
    if not all_found:
        sys.exit("the row was not found")


if __name__ == "__main__":
    main()
