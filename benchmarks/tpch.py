"""TPC-H as Iceberg tables: all 22 queries in one process and on two workers.

Each result is compared with DuckDB's on the same Parquet files, and each time with plain
DataFusion over those files, in the same run:

    pip install -r benchmarks/requirements.txt
    cargo build --release
    python benchmarks/tpch.py --scale 1
"""

import argparse
import decimal
import math
import pathlib
import subprocess
import sys
import tempfile

import datafusion
import duckdb
import duckdb_extension_tpch

from harness import Cluster, print_table, timed

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
    """Rows in a form in which equal results are equal: numbers as floats, sorted."""
    def cell(value):
        if isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool):
            return float(value)
        return str(value)
    return sorted(([cell(value) for value in row] for row in rows), key=lambda row: [str(v)[:12] for v in row])


def is_equal(left, right) -> bool:
    left, right = canonical(left), canonical(right)
    if len(left) != len(right):
        return False
    for one, other in zip(left, right):
        for a, b in zip(one, other):
            same = math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-2) if isinstance(a, float) and isinstance(b, float) else a == b
            if not same:
                return False
    return True


def best(action, repeat):
    times = []
    for _ in range(repeat):
        seconds, result = timed(action)
        times.append(seconds)
    return min(times), result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each query; the fastest counts")
    parser.add_argument("--data", type=pathlib.Path, help="folder to keep files and tables in")
    parser.add_argument("--only", type=int, nargs="*", help="only these queries")
    arguments = parser.parse_args()

    folder = arguments.data or pathlib.Path(tempfile.mkdtemp(prefix="ingot-tpch-"))
    parquet = folder / f"parquet-{arguments.scale}"
    if not (parquet / "lineitem.parquet").exists():
        parquet.mkdir(parents=True, exist_ok=True)
        subprocess.run([str(pathlib.Path(sys.executable).parent / "tpchgen-cli"), "parquet", "-s", str(arguments.scale),
                        f"--output-dir={parquet}"], check=True)

    duck = duckdb.connect()
    plain = datafusion.SessionContext()
    for table in TABLES:
        path = parquet / f"{table}.parquet"
        duck.execute(f"CREATE VIEW {table} AS FROM read_parquet('{path}')")
        plain.register_parquet(table, str(path))

    with Cluster(folder / f"lake-{arguments.scale}", workers=2) as cluster, cluster.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE SCHEMA IF NOT EXISTS tpch")
        for table in TABLES:
            cursor.execute(f"CREATE TABLE IF NOT EXISTS tpch.{table} AS SELECT * FROM read_parquet('{parquet}/{table}.parquet')")
        cursor.execute("USE iceberg.tpch")

        def ingot(placement, text):
            cursor.execute(f"SET SESSION placement = '{placement}'")
            cursor.execute(text)
            return cursor.fetchall()

        rows, wrong = [], []
        for number, text in enumerate(queries(arguments.scale), start=1):
            if arguments.only and number not in arguments.only:
                continue
            duck_seconds, expected = best(lambda: duck.execute(text).fetchall(), arguments.repeat)
            plain_seconds, _ = best(lambda: plain.sql(text).collect(), arguments.repeat)
            local_seconds, local = best(lambda: ingot("local", text), arguments.repeat)
            remote_seconds, remote = best(lambda: ingot("distributed", text), arguments.repeat)
            equal = [is_equal(expected, local), is_equal(expected, remote)]
            if not all(equal):
                wrong.append(number)
            rows.append([number, plain_seconds, duck_seconds, local_seconds, local_seconds / plain_seconds,
                         remote_seconds, remote_seconds / plain_seconds, "yes" if all(equal) else f"NO {equal}"])
            print(f"q{number}", end=" ", flush=True, file=sys.stderr)
        print(file=sys.stderr)
        plain_sum, duck_sum, local_sum, remote_sum = (sum(row[i] for row in rows) for i in (1, 2, 3, 5))
        rows.append(["sum", plain_sum, duck_sum, local_sum, local_sum / plain_sum, remote_sum, remote_sum / plain_sum,
                     "yes" if not wrong else "NO"])
        print_table(["query", "plain s", "duckdb s", "local s", "local ratio", "2 workers s", "2 workers ratio", "equal"], rows)
        print(f"\npeak memory of all processes: {cluster.peak_bytes / 2**20:.0f} MiB")
        sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
