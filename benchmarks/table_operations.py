#!/usr/bin/env python3
"""Row changes of a large table, and the compaction of one with many small files.

    pip install -r benchmarks/requirements.txt
    cargo build --release
    python benchmarks/table_operations.py                 # or --scale 0.01 for a try
    python benchmarks/table_operations.py --only merge

    merge      MERGE of a source with 1 % of the rows of a table of 10 million (at scale 1): nine
               tenths of them change a row, one tenth are new; copy-on-write and merge-on-read
    optimize   ALTER TABLE EXECUTE optimize of 10 million rows in 1,000 files; queries before and
               after

Both beside the time of a plain scan and rewrite: CREATE TABLE AS SELECT * of the same rows. The
tables are compared with DuckDB's, whole. Fails when they differ; being slow does not fail.
"""

import statistics
import sys

import duckdb

from harness import (
    Cluster, argument_parser, at_least_one, differences, parse_arguments, print_table, timed,
    working_folder, yes_or_no,
)

ROWS = 10_000_000
FILES = 1_000

BASE = """
    SELECT i AS id, i % 1000 AS customer, (i * 7919 % 1000003)::DECIMAL(12, 2) AS amount,
        'status-' || (i % 5) AS status, 'note ' || md5(i::VARCHAR) AS note,
        TIMESTAMP '2024-01-01' + INTERVAL (i % 31536000) SECOND AS changed_at
    FROM range({rows}) AS numbers(i)
"""
# Nine of ten ids exist, spread over the whole table; the last tenth follow the table's.
CHANGES = """
    SELECT CASE WHEN i % 10 < 9 THEN i * 100 + i % 97 ELSE {rows} + i END AS id,
        (i % 1000)::BIGINT AS customer, 1.5::DECIMAL(12, 2) AS amount, 'changed' AS status,
        'note ' || i AS note, TIMESTAMP '2025-01-01' + INTERVAL (i) SECOND AS changed_at
    FROM range({changes}) AS numbers(i)
"""
COLUMNS = ["id", "customer", "amount", "status", "note", "changed_at"]
MERGE = """
    MERGE INTO bench.{table} AS t USING bench.changes AS s ON t.id = s.id
    WHEN MATCHED THEN UPDATE SET customer = s.customer, amount = s.amount, status = s.status,
        note = s.note, changed_at = s.changed_at
    WHEN NOT MATCHED THEN INSERT (id, customer, amount, status, note, changed_at)
        VALUES (s.id, s.customer, s.amount, s.status, s.note, s.changed_at)
"""
QUERIES = {
    "point": "SELECT * FROM bench.{table} WHERE id = {point}",
    "aggregate": "SELECT status, count(*) AS n, sum(amount) AS total "
                 "FROM bench.{table} GROUP BY status",
}


class Run:
    """One run: the cluster's connection, DuckDB with the same tables, and the rows to print."""

    def __init__(self, arguments, folder, cursor):
        self.arguments = arguments
        self.folder = folder
        self.cursor = cursor
        self.rows = max(FILES, round(ROWS * arguments.scale))
        self.duck = duckdb.connect()
        self.duck.execute(f"CREATE TABLE base AS {BASE.format(rows=self.rows)}")
        self.report, self.wrong = [], []

    def execute(self, text: str) -> float:
        """Seconds that a statement took."""
        return timed(lambda: self.cursor.execute(text).fetchall())[0]

    def value(self, text: str):
        return self.cursor.execute(text).fetchone()[0]

    def load(self, table: str, query: str):
        """The rows of a DuckDB query as a table of Ingot's."""
        path = str(self.folder / f"{table}.parquet").replace("'", "''")
        self.duck.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
        self.execute(f"CREATE OR REPLACE TABLE bench.{table} AS SELECT * FROM read_parquet('{path}')")

    def rewrite_seconds(self, table: str) -> float:
        """A plain scan and rewrite of a table."""
        seconds = self.execute(f"CREATE TABLE bench.copy AS SELECT * FROM bench.{table}")
        self.execute("DROP TABLE bench.copy PURGE")
        return seconds

    def compare(self, what: str, table: str, expected: str):
        """Compares a whole table with a query of DuckDB's."""
        columns = ", ".join(COLUMNS)
        ours = self.cursor.execute(f"SELECT {columns} FROM bench.{table}").fetch_arrow_table()
        theirs = self.duck.execute(f"SELECT {columns} FROM ({expected})").to_arrow_table()
        found = differences(ours, theirs, ["id"])
        self.wrong += [f"{what}: {message}" for message in found]
        return yes_or_no(not found)


def measure_merge(run: Run):
    changes = run.rows // 100
    run.load("changes", CHANGES.format(rows=run.rows, changes=changes))
    run.duck.execute(f"CREATE TABLE changes AS {CHANGES.format(rows=run.rows, changes=changes)}")
    expected = "SELECT * FROM base ANTI JOIN changes USING (id) UNION ALL SELECT * FROM changes"
    run.load("merged", "SELECT * FROM base")
    rewrite = run.rewrite_seconds("merged")
    run.report.append([f"rewrite {run.rows:,} rows", f"{rewrite:.2f} s", "-",
                       f"{run.rows / rewrite:,.0f}", "-"])
    for mode in ("copy-on-write", "merge-on-read"):
        run.load("merged", "SELECT * FROM base")
        run.execute(f"ALTER TABLE bench.merged SET PROPERTIES \"write.merge.mode\" = '{mode}'")
        seconds = run.execute(MERGE.format(table="merged"))
        equal = run.compare(f"merge, {mode}", "merged", expected)
        run.report.append([f"merge {changes:,} rows, {mode}", f"{seconds:.2f} s",
                           f"{seconds / rewrite:.2f} x", f"{changes / seconds:,.0f}", equal])


def measure_optimize(run: Run):
    run.execute("DROP TABLE IF EXISTS bench.small")
    path = str(run.folder / "base.parquet").replace("'", "''")
    run.execute("CREATE TABLE bench.small (id bigint, customer bigint, amount decimal(12, 2), "
                "status varchar, note varchar, changed_at timestamp)")
    for number in range(FILES):
        low, high = number * run.rows // FILES, (number + 1) * run.rows // FILES
        run.duck.execute(f"COPY (SELECT * FROM base WHERE id >= {low} AND id < {high}) "
                         f"TO '{path}' (FORMAT parquet)")
        run.execute(f"INSERT INTO bench.small SELECT * FROM read_parquet('{path}')")

    def files() -> int:
        return run.value('SELECT count(*) FROM bench."small$files"')

    def query_seconds() -> dict[str, float]:
        return {
            name: statistics.median(
                run.execute(text.format(table="small", point=run.rows // 3 + number))
                for number in range(run.arguments.repeat))
            for name, text in QUERIES.items()
        }

    files_before, before = files(), query_seconds()
    rewrite = run.rewrite_seconds("small")
    seconds = run.execute("ALTER TABLE bench.small EXECUTE optimize")
    files_after, after = files(), query_seconds()
    equal = run.compare("optimize", "small", "SELECT * FROM base")
    run.report.append([f"rewrite {files_before:,} files", f"{rewrite:.2f} s", "-",
                       f"{run.rows / rewrite:,.0f}", "-"])
    run.report.append([f"optimize, {files_before:,} files to {files_after}", f"{seconds:.2f} s",
                       f"{seconds / rewrite:.2f} x", f"{run.rows / seconds:,.0f}", equal])
    for name in QUERIES:
        run.report.append([f"{name} query, before", f"{before[name] * 1000:.1f} ms", "-", "-", "-"])
        run.report.append([f"{name} query, after", f"{after[name] * 1000:.1f} ms",
                           f"{after[name] / before[name]:.2f} x", "-", "-"])


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--only", choices=["merge", "optimize"])
    parser.add_argument("--repeat", type=at_least_one, default=5,
                        help="repetitions of each query (default: %(default)s)")
    arguments = parse_arguments(parser)
    with working_folder(arguments) as folder, \
            Cluster(arguments.binary, folder / "data", arguments.workers) as cluster, \
            cluster.connect() as connection, connection.cursor() as cursor:
        run = Run(arguments, folder, cursor)
        run.execute("CREATE SCHEMA IF NOT EXISTS bench")
        if arguments.only != "optimize":
            measure_merge(run)
        if arguments.only != "merge":
            measure_optimize(run)
        print_table(["figure", "time", "to rewrite or before", "rows/s", "equal"], run.report)
        peak = cluster.memory.peak_bytes / 2**30
        print(f"peak memory of all processes: {peak:.1f} GiB")
    if run.wrong:
        sys.exit("\n".join(run.wrong))


if __name__ == "__main__":
    main()
