#!/usr/bin/env python3
"""TPC-H as Iceberg tables: all 22 queries in the coordinator and on the workers.

    pip install -r benchmarks/requirements.txt
    cargo build --release
    python benchmarks/tpch.py                    # or --scale 0.01 for a try

Each query runs --repeat times in DuckDB and in plain DataFusion over the generated Parquet
files, and in Ingot over tables made of them, in the same run; the fastest counts, with the whole result
as Arrow. The ratio is Ingot's seconds to those of plain DataFusion.

Fails when a result differs from DuckDB's; being slower does not fail.
"""

import decimal
import math
import pathlib
import shutil
import subprocess
import sys

import datafusion
import duckdb
import duckdb_extension_tpch

from harness import (
    Cluster, argument_parser, at_least_one, cpus, mebibytes, parse_arguments, print_table, timed,
    working_folder,
)

TABLES = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"]


def queries(scale: float) -> list[str]:
    """The 22 queries, from DuckDB's tpch extension; Q11's constant depends on the scale."""
    connection = duckdb.connect()
    folder = pathlib.Path(duckdb_extension_tpch.__file__).parent / "extensions"
    connection.load_extension(str(next(folder.glob("*/tpch.duckdb_extension"))))
    texts = [text for _, text in connection.execute("FROM tpch_queries() ORDER BY query_nr").fetchall()]
    texts[10] = texts[10].replace("0.0001000000", f"{0.0001 / scale:.10f}")
    return [text.rstrip().rstrip(";") for text in texts]


def canonical(rows):
    """Rows sorted alike in both systems: by what is neither rounded nor typed differently."""
    def key(row):
        return [format(cell, ".6g") if isinstance(cell, (float, decimal.Decimal)) else str(cell)
                for cell in row]
    return sorted(rows, key=key)


def is_same(one, other) -> bool:
    """Equal, or as near as the types allow.

    DuckDB divides and averages decimals as floating-point numbers, Ingot as decimals: such
    values may differ by one unit of the decimal's last digit. Floating-point numbers may differ
    by 1e-9 of their size, as the order of addition is not fixed.
    """
    numbers = (int, float, decimal.Decimal)
    if not (isinstance(one, numbers) and isinstance(other, numbers)):
        return one == other
    if not (isinstance(one, float) or isinstance(other, float)):
        return one == other
    unit = max((10.0 ** value.as_tuple().exponent
                for value in (one, other) if isinstance(value, decimal.Decimal)), default=0.0)
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=unit)


def is_equal(left, right) -> bool:
    left, right = canonical(left), canonical(right)
    return len(left) == len(right) and all(
        len(one) == len(other) and all(map(is_same, one, other)) for one, other in zip(left, right))


def rows_of(table):
    return list(zip(*(column.to_pylist() for column in table.columns)))


def best(action, repeat):
    times = []
    for _ in range(repeat):
        seconds, result = timed(action)
        times.append(seconds)
    return min(times), result


def generate(arguments, folder):
    """The folder of the Parquet files, which it writes unless they are there."""
    parquet = folder / f"parquet-{arguments.scale:g}"
    if not parquet.exists():
        unfinished = folder / f"parquet-{arguments.scale:g}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        program = pathlib.Path(sys.executable).parent / "tpchgen-cli"
        subprocess.run([program, "parquet", "-s", str(arguments.scale), f"--output-dir={unfinished}"],
                       check=True, stdout=sys.stderr)
        unfinished.rename(parquet)
    return parquet


def register_files(cursor, plain, duck, table):
    """Gives plain DataFusion and DuckDB the very files that Ingot reads."""
    cursor.execute(f'SELECT file_path FROM tpch."{table}$files"')
    files = {pathlib.Path(path.removeprefix("file://")) for (path,) in cursor.fetchall()}
    (data,) = {file.parent for file in files}
    if set(data.glob("*.parquet")) != files:
        raise SystemExit(f"{data} has files that are not of the table: use another --folder")
    plain.register_parquet(table, str(data))
    duck.execute(f"CREATE VIEW {table} AS FROM read_parquet('{data}/*.parquet')")


def run(arguments, folder):
    """Runs the queries; the rows of the table, numbers of wrong queries, and the peak of memory."""
    parquet = generate(arguments, folder)
    duck = duckdb.connect()
    duck.execute(f"SET threads = {cpus()}")
    plain = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(cpus()))
    data = folder / f"lake-{arguments.scale:g}"
    with Cluster(arguments.binary, data, arguments.workers) as cluster, \
            cluster.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS tpch")
        for table in TABLES:
            cursor.execute(f"CREATE TABLE IF NOT EXISTS tpch.{table} AS "
                           f"SELECT * FROM read_parquet('{parquet}/{table}.parquet')")
            register_files(cursor, plain, duck, table)
        cursor.execute("USE iceberg.tpch")

        def ingot(placement, text):
            cursor.execute(f"SET SESSION placement = '{placement}'")
            cursor.execute(text)
            return cursor.fetch_arrow_table()

        cluster.memory.restart()
        rows, wrong = [], []
        for number, text in enumerate(queries(arguments.scale), start=1):
            if arguments.only and number not in arguments.only:
                continue
            duck_seconds, _ = best(lambda: duck.execute(text).to_arrow_table(), arguments.repeat)
            expected = duck.execute(text).fetchall()
            plain_seconds, _ = best(lambda: plain.sql(text).collect(), arguments.repeat)
            local_seconds, local = best(lambda: ingot("local", text), arguments.repeat)
            remote_seconds, remote = best(lambda: ingot("distributed", text), arguments.repeat)
            equal = [is_equal(expected, rows_of(local)), is_equal(expected, rows_of(remote))]
            if not all(equal):
                wrong.append(number)
            rows.append([number, plain_seconds, duck_seconds, local_seconds, local_seconds / plain_seconds,
                         remote_seconds, remote_seconds / plain_seconds, "yes" if all(equal) else f"NO {equal}"])
            cluster.check_processes()
            print(f"q{number}", end=" ", flush=True, file=sys.stderr)
        print(file=sys.stderr)
        peak = cluster.memory.peak_bytes
    plain_sum, duck_sum, local_sum, remote_sum = (sum(row[i] for row in rows) for i in (1, 2, 3, 5))
    rows.append(["sum", plain_sum, duck_sum, local_sum, local_sum / plain_sum, remote_sum,
                 remote_sum / plain_sum, "NO" if wrong else "yes"])
    return rows, wrong, peak


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--repeat", type=at_least_one, default=3,
                        help="runs of each query; the fastest counts (default: %(default)s)")
    parser.add_argument("--only", type=int, nargs="+", choices=range(1, 23), metavar="NUMBER",
                        help="only these queries")
    arguments = parse_arguments(parser)
    with working_folder(arguments) as folder:
        rows, wrong, peak = run(arguments, folder)
        print_table(["query", "plain s", "duckdb s", "local s", "local ratio", "workers s",
                     "workers ratio", "equal"], rows)
        print(f"\npeak memory of all processes during the queries: {mebibytes(peak)}")
        print(f"{arguments.workers} workers, {cpus()} cpus for each system, scale {arguments.scale:g}")
        if wrong:
            sys.exit(1)


if __name__ == "__main__":
    main()
