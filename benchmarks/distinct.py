#!/usr/bin/env python3
"""COUNT(DISTINCT …) over many groups: seconds and peak memory of Ingot, beside DuckDB.

    pip install -r benchmarks/requirements.txt
    cargo build --release
    python benchmarks/distinct.py                # or --scale 0.01 for a try

Two shapes that fill the silver and gold tables of most pipelines:

    sessions  4 million rows in 2 million groups over two string columns: two distinct
              counts of strings beside count, min and avg
    fan-out   three tables joined on a customer's key, 10 * 10 * 6 rows for each of 100,000
              customers: 60 million joined rows under three distinct counts

Both systems read Parquet: DuckDB the generated files, Ingot tables made of them. Each query
runs once to warm up and then --repeat times in both by turns, with all rows fetched as Arrow
tables; medians are compared. Ingot runs it in the coordinator (local) and on the workers
(distributed), each time in new processes, so that the peak of memory is that of the query.

Fails when a result differs from DuckDB's; being slower or larger than a target does not fail.
"""

import dataclasses
import statistics
import sys

import duckdb

from harness import (
    Cluster, argument_parser, at_least_one, cpus, differences, mebibytes,
    parse_arguments, print_table, timed, working_folder, yes_or_no,
)

RATIO_TARGET = 2.5
ROWS_PER_CUSTOMER = 10 * 10 * 6


@dataclasses.dataclass
class Shape:
    name: str
    tables: dict[str, str]
    """Name of each table, and the DuckDB query that generates its rows."""
    query: str
    keys: list[str]
    memory_target: int | None


# The rows are arithmetic on their numbers, the same everywhere: multiplications by primes,
# modulo, scatter them. {groups} is the number of sessions.
SESSIONS = Shape(
    name="sessions",
    tables={
        # Every session has one row of the first half; the second half goes by the square of
        # a scattered number, so that a few sessions are long, many have one row.
        "events": """
            WITH numbered AS (
                SELECT i, CASE WHEN i < {groups} THEN i * 1299709 % {groups}
                    ELSE (i * 1299721 % {groups}) * (i * 1299721 % {groups}) // {groups}
                    END AS session
                FROM range(2 * {groups}) AS numbers(i)
            )
            SELECT 'session-' || lpad(session::VARCHAR, 9, '0') AS k1,
                'customer-' || lpad((session * 7919 % ({groups} // 10 + 1))::VARCHAR, 8, '0')
                    AS k2,
                CASE WHEN i % 1009 <> 0 THEN '/shop/page-' || (i * 48271 % 2147483647 % 50)
                    END AS a,
                CASE i * 16807 % 2147483647 % 5 WHEN 0 THEN 'desktop' WHEN 1 THEN 'mobile'
                    WHEN 2 THEN 'tablet' WHEN 3 THEN 'tv' END AS b,
                TIMESTAMP '2025-01-01 00:00:00' + to_seconds(i * 7919 % 31536000) AS t,
                CASE WHEN i % 31 <> 0 THEN (i * 8191 % 10007) / 7.0::DOUBLE END AS x
            FROM numbered
        """,
    },
    query="""
        SELECT k1, k2, count(*) AS row_count, count(DISTINCT a) AS distinct_a,
            count(DISTINCT b) AS distinct_b, min(t) AS first_t, avg(x) AS average_x
        FROM events GROUP BY k1, k2
    """,
    keys=["k1", "k2"],
    memory_target=4 * 2**30,
)

# {customers} is the number of customers.
FAN_OUT = Shape(
    name="fan-out",
    tables={
        "visits": """
            SELECT 'customer-' || lpad((i * 1299709 % {customers})::VARCHAR, 8, '0') AS customer,
                CASE WHEN i % 1009 <> 0 THEN '/shop/page-' ||
                    ((i % {customers} * 7 + i // {customers} * (i % 10) // 3) % 50) END AS page
            FROM range(10 * {customers}) AS numbers(i)
        """,
        "orders": """
            SELECT 'customer-' || lpad((i * 1299721 % {customers})::VARCHAR, 8, '0') AS customer,
                i AS order_id
            FROM range(10 * {customers}) AS numbers(i)
        """,
        "tickets": """
            SELECT 'customer-' || lpad((i * 1299743 % {customers})::VARCHAR, 8, '0') AS customer,
                CASE i * 16807 % 2147483647 % 5 WHEN 0 THEN 'email' WHEN 1 THEN 'phone'
                    WHEN 2 THEN 'chat' WHEN 3 THEN 'social' END AS channel
            FROM range(6 * {customers}) AS numbers(i)
        """,
    },
    query="""
        SELECT v.customer, count(*) AS row_count, count(DISTINCT v.page) AS pages,
            count(DISTINCT o.order_id) AS orders, count(DISTINCT t.channel) AS channels
        FROM visits v JOIN orders o ON o.customer = v.customer
            JOIN tickets t ON t.customer = v.customer
        GROUP BY v.customer
    """,
    keys=["customer"],
    memory_target=None,
)


def generate(duck, shape, arguments, folder):
    """Writes the Parquet files that are not there yet, and makes them views of DuckDB."""
    files = {}
    parquet = folder / f"parquet-{arguments.scale:g}"
    parquet.mkdir(exist_ok=True)
    for table, query in shape.tables.items():
        files[table] = parquet / f"{table}.parquet"
        if not files[table].exists():
            unfinished = parquet / f"{table}.unfinished"
            text = query.format(groups=max(10, round(2_000_000 * arguments.scale)),
                                customers=max(10, round(100_000 * arguments.scale)))
            duck.execute(f"COPY ({text}) TO {literal(unfinished)} (FORMAT parquet)")
            unfinished.rename(files[table])
        duck.execute(f"CREATE VIEW {table} AS FROM read_parquet({literal(files[table])})")
    return files


def literal(path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def check_shape(shape, expected, arguments):
    """That the data is what the benchmark says: the number of groups, and of joined rows."""
    if shape is SESSIONS:
        groups = max(10, round(2_000_000 * arguments.scale))
        rows = 2 * groups
    else:
        groups = max(10, round(100_000 * arguments.scale))
        rows = groups * ROWS_PER_CUSTOMER
    found = sum(expected["row_count"].to_pylist())
    if (expected.num_rows, found) != (groups, rows):
        raise SystemExit(f"{shape.name}: {expected.num_rows} groups of {found} rows were "
                         f"generated, not {groups} of {rows}: the files are of another kind")
    return groups, rows


def load(arguments, data, files):
    """Makes Ingot tables of the Parquet files, where there are none yet."""
    with Cluster(arguments.binary, data, arguments.workers) as cluster, \
            cluster.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS bench")
        for table, path in files.items():
            cursor.execute(f"CREATE TABLE IF NOT EXISTS bench.{table} AS "
                           f"SELECT * FROM read_parquet({literal(path)})")


def measure(arguments, duck, shape, data, placement):
    """Runs the query in both systems by turns; a row of the table, and what differs."""
    names = ("INGOT_WORKER_MEMORY", "INGOT_QUERY_LOCAL_MEMORY")
    settings = {name: arguments.memory for name in names} if arguments.memory else None
    with Cluster(arguments.binary, data, arguments.workers, settings) as cluster, \
            cluster.connect() as connection, connection.cursor() as cursor:
        cursor.execute("USE iceberg.bench")
        cursor.execute(f"SET SESSION placement = '{placement}'")
        cursor.execute(f"EXPLAIN {shape.query}")
        plan = " ".join(str(value) for row in cursor.fetchall() for value in row)
        if f"placement: {placement}," not in plan:
            placement = f"{placement} (not kept)"

        def ingot():
            cursor.execute(shape.query)
            return cursor.fetch_arrow_table()

        def theirs():
            return duck.execute(shape.query).to_arrow_table()

        cluster.memory.restart()
        found = differences(ingot(), theirs(), shape.keys)
        times, duck_times = [], []
        for _ in range(arguments.repeat):
            seconds, result = timed(ingot)
            times.append(seconds)
            seconds, expected = timed(theirs)
            duck_times.append(seconds)
            found = found or differences(result, expected, shape.keys)
            cluster.check_processes()
        peak = cluster.memory.peak_bytes
    return placement, statistics.median(times), statistics.median(duck_times), peak, found


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--repeat", type=at_least_one, default=3,
                        help="timed runs of each query (default: %(default)s)")
    parser.add_argument("--only", choices=["sessions", "fan-out"], help="only this shape")
    parser.add_argument("--memory", default="", metavar="SIZE",
                        help="memory of the coordinator's queries and of each worker, such as "
                             "512MiB (default: Ingot's own)")
    arguments = parse_arguments(parser)
    shapes = [shape for shape in (SESSIONS, FAN_OUT) if arguments.only in (None, shape.name)]

    rows, wrong = [], []
    with working_folder(arguments) as folder:
        duck = duckdb.connect()
        duck.execute(f"SET threads = {cpus()}")
        data = folder / f"lake-{arguments.scale:g}"
        for shape in shapes:
            print(f"{shape.name}: generating and loading", file=sys.stderr)
            files = generate(duck, shape, arguments, folder)
            expected = duck.execute(shape.query).to_arrow_table()
            groups, joined = check_shape(shape, expected, arguments)
            load(arguments, data, files)
            for wanted in ("local", "distributed"):
                print(f"{shape.name}: {wanted}", file=sys.stderr)
                placement, seconds, duck_seconds, peak, found = measure(
                    arguments, duck, shape, data, wanted)
                wrong += [f"{shape.name}, {placement}: {message}" for message in found]
                ratio = seconds / duck_seconds
                memory = shape.memory_target
                rows.append([
                    shape.name, placement, f"{joined:,}", f"{groups:,}", f"{seconds:.2f} s",
                    f"{duck_seconds:.2f} s", f"{ratio:.2f} x", f"<= {RATIO_TARGET} x",
                    yes_or_no(ratio <= RATIO_TARGET), mebibytes(peak),
                    f"< {mebibytes(memory)}" if memory else "-",
                    yes_or_no(peak < memory) if memory else "-", yes_or_no(not found),
                ])
        duck.close()
        print_table(["shape", "placement", "rows", "groups", "Ingot", "DuckDB", "ratio", "target",
                     "met", "peak memory", "target", "met", "equal"], rows)
        print(f"\n{arguments.workers} workers, {cpus()} cpus for either system, scale "
              f"{arguments.scale:g}, medians of {arguments.repeat} runs")
        if any("not kept" in row[1] for row in rows):
            print("not kept: Ingot runs this plan elsewhere than it was asked to")
        for message in wrong:
            print(message, file=sys.stderr)
        if wrong:
            sys.exit(1)


if __name__ == "__main__":
    main()
