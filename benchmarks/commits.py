#!/usr/bin/env python3
"""Many writers at once: commits per second, and whether each commit is there exactly once.

    pip install -r benchmarks/requirements.txt
    cargo build --release
    python benchmarks/commits.py
    python benchmarks/commits.py --catalog postgres://user:password@127.0.0.1/catalog

16 connections insert one row 50 times each (at scale 1), by ADBC Flight SQL: all into one table,
then each into a table of its own; into `bench`, which must not exist in a catalog given by
--catalog. Afterwards every row must be there once, there must be one snapshot for each commit, and
the tables' folders must hold no data file that no table has. The manifests that a table has then
are counted too: the most of any table. Fails when rows, snapshots or files are wrong, or when a
commit was refused; being slow does not fail.
"""

import pathlib
import sys
import threading
import urllib.parse

from harness import Cluster, argument_parser, parse_arguments, print_table, timed, working_folder

WRITERS = 16
COMMITS = 50


def insert_all(cluster, tables: list[str], commits: int) -> list[str]:
    """Errors of all writers, of which the number i writes to tables[i]."""
    errors = []
    ready = threading.Barrier(WRITERS)

    def write(writer: int):
        try:
            with cluster.connect() as connection, connection.cursor() as cursor:
                ready.wait()
                for number in range(commits):
                    cursor.execute(f"INSERT INTO {tables[writer]} VALUES ({writer}, {number})")
                    cursor.fetchall()
        except Exception as error:
            errors.append(f"writer {writer}: {error}")

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def check(cursor, tables: list[str], commits: int) -> list[str]:
    """What is missing or too much in the tables."""
    wrong = []
    found, snapshots = [], 0
    for table in tables:
        schema, name = table.split(".")
        found += cursor.execute(f"SELECT writer, number FROM {table}").fetchall()
        snapshots += cursor.execute(
            f'SELECT count(*) FROM {schema}."{name}$snapshots"').fetchone()[0]
        files = [row[0] for row in cursor.execute(
            f'SELECT file_path FROM {schema}."{name}$files"').fetchall()]
        wrong += orphans(table, files)
    expected = [(writer, number) for writer in range(WRITERS) for number in range(commits)]
    if sorted(found) != expected:
        wrong.append(f"{len(found)} rows, {len(set(found))} of them different, instead of "
                     f"{len(expected)}")
    if snapshots != len(expected):
        wrong.append(f"{snapshots} snapshots instead of {len(expected)}")
    return wrong


def most_manifests(cursor, tables: list[str]) -> int:
    """Manifests of the current snapshot, of the table that has most."""
    counts = []
    for table in tables:
        schema, name = table.split(".")
        counts.append(cursor.execute(
            f'SELECT count(*) FROM {schema}."{name}$manifests"').fetchone()[0])
    return max(counts)


def orphans(table: str, files: list[str]) -> list[str]:
    """Data files in the table's folder that the table does not have."""
    paths = {urllib.parse.unquote(urllib.parse.urlparse(file).path) for file in files}
    if not paths:
        return [f"{table} has no file"]
    folder = pathlib.Path(min(paths)).parent
    return [f"{table}: {path} belongs to no snapshot"
            for path in folder.rglob("*.parquet") if str(path) not in paths]


def main():
    parser = argument_parser(__doc__, workers=0)
    parser.add_argument("--catalog", help="URL of the catalog database (default: SQLite)")
    arguments = parse_arguments(parser)
    commits = max(1, round(COMMITS * arguments.scale))
    settings = {"INGOT_CATALOG_URL": arguments.catalog} if arguments.catalog else {}
    report, wrong = [], []
    with working_folder(arguments) as folder, \
            Cluster(arguments.binary, folder / "data", 0, settings) as cluster, \
            cluster.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA bench")
        for name, count in (("one table", 1), (f"{WRITERS} tables", WRITERS)):
            tables = [f"bench.t{count}_{number}" for number in range(count)]
            for table in tables:
                cursor.execute(f"CREATE TABLE {table} (writer bigint, number bigint)")
            seconds, errors = timed(
                lambda: insert_all(cluster, [tables[i % count] for i in range(WRITERS)], commits))
            total = WRITERS * commits
            failures = errors + check(cursor, tables, commits)
            report.append([name, total, f"{seconds:.2f} s", f"{total / seconds:,.0f}",
                           most_manifests(cursor, tables), "yes" if not failures else "NO"])
            wrong += [f"{name}: {failure}" for failure in failures]
    print_table(["written to", "commits", "time", "commits/s", "most manifests of a table",
                 "each once, no orphan"], report)
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
