#!/usr/bin/env python3
"""How fast Ingot answers and starts, and how little memory it takes when idle.

    pip install -r benchmarks/requirements.txt
    cargo build --release
    python benchmarks/latency.py                 # or --repeat 20 --starts 2 for a try

    answers   p50 and p95 of small queries on a gold table (a row for each day of a leap year,
              at scale 1) by ADBC Flight SQL on one warm connection, whole result fetched; the
              constants of the queries change with every repetition
    start     from starting the process `ingot server` to its answer to SELECT 1 by Flight SQL,
              over an empty folder and over one with tables; the median of --starts
    memory    resident memory of `ingot coordinator` and of `ingot server` over tables, 5 s
              after their start, with no query sent

Fails when a query's result differs from DuckDB's; being slower or larger than a target does not
fail.
"""

import contextlib
import datetime
import shutil
import socket
import statistics
import sys
import time

import duckdb

from harness import (
    MEBIBYTE, Cluster, argument_parser, at_least_one, cpus, differences, mebibytes,
    parse_arguments, percentile, print_table, timed, working_folder, yes_or_no,
)

WARM_UP = 20
ANSWER_TARGET_MILLISECONDS = 20
START_TARGET_SECONDS = 2
IDLE_TARGET_BYTES = 150 * MEBIBYTE
IDLE_SECONDS = 5
FIRST_DAY = datetime.date(2024, 1, 1)

TABLE = """
    SELECT DATE '2024-01-01' + i::INTEGER AS metric_date,
        (i * 7919 % 100003)::DECIMAL(18, 2) AS total_revenue, i * 31 % 211 AS total_orders,
        CASE WHEN i % 50 <> 0 THEN (i * 8191 % 10007) / 7.0::DOUBLE END AS avg_order_value,
        'region-' || (i % 7) AS region
    FROM range({days}) AS numbers(i)
"""

# What they are called, what identifies a row of the result, and the text; {day} changes.
QUERIES = [
    ("SELECT 1", ["one"], "SELECT 1 AS one"),
    ("SELECT *, one day", ["metric_date"],
     "SELECT * FROM gold.daily_metrics WHERE metric_date = DATE '{day}'"),
    ("SELECT *, one month", ["metric_date"],
     "SELECT * FROM gold.daily_metrics WHERE metric_date >= DATE '{day}' "
     "AND metric_date < DATE '{day}' + INTERVAL '30' DAY"),
    ("aggregate, 7 groups", ["region"],
     "SELECT region, count(*) AS days, max(total_orders) AS most_orders, "
     "avg(avg_order_value) AS average FROM gold.daily_metrics "
     "WHERE metric_date >= DATE '{day}' GROUP BY region"),
]


def make_table(arguments, folder, data):
    """The gold table in Ingot, and in the DuckDB connection that is returned."""
    days = max(1, round(366 * arguments.scale))
    duck = duckdb.connect()
    duck.execute("CREATE SCHEMA gold")
    duck.execute(f"CREATE TABLE gold.daily_metrics AS {TABLE.format(days=days)}")
    path = str(folder / "daily_metrics.parquet").replace("'", "''")
    duck.execute(f"COPY gold.daily_metrics TO '{path}' (FORMAT parquet)")
    with Cluster(arguments.binary, data, workers=0) as cluster, \
            cluster.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA gold")
        cursor.execute(f"CREATE TABLE gold.daily_metrics AS SELECT * FROM read_parquet('{path}')")
    return duck, days


def measure_answers(arguments, duck, days, data):
    """Rows of the table, and what differs."""
    rows, wrong = [], []
    with Cluster(arguments.binary, data, arguments.workers) as cluster, \
            cluster.connect() as connection, connection.cursor() as cursor:

        def ask(text):
            cursor.execute(text)
            return cursor.fetch_arrow_table()

        for name, keys, query in QUERIES:
            milliseconds, found = [], []
            for number in range(WARM_UP + arguments.repeat):
                day = FIRST_DAY + datetime.timedelta(days=number * 37 % days)
                text = query.format(day=day)
                seconds, result = timed(lambda: ask(text))
                if number >= WARM_UP:
                    milliseconds.append(seconds * 1000)
                expected = duck.execute(text).to_arrow_table()
                found = found or differences(result, expected, keys)
            cluster.check_processes()
            wrong += [f"{name}: {message}" for message in found]
            middle, high = statistics.median(milliseconds), percentile(milliseconds, 95)
            rows.append([f"{name}: p50", f"{middle:.1f} ms", f"< {ANSWER_TARGET_MILLISECONDS} ms",
                         yes_or_no(middle < ANSWER_TARGET_MILLISECONDS)])
            rows.append([f"{name}: p95", f"{high:.1f} ms", "-", "-"])
    return rows, wrong


def seconds_to_first_answer(arguments, data) -> float:
    with Cluster(arguments.binary, data, arguments.workers, one_process=True) as cluster:
        def listens():
            socket.create_connection(("127.0.0.1", cluster.flight_port), timeout=1).close()
            return True

        # A driver that connects too early would wait before it tries again.
        cluster.wait_until(listens, "the server to listen", pause=0.002)
        with cluster.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
            return time.perf_counter() - cluster.started


def measure_starts(arguments, folder, data):
    rows = []
    # One start more than asked for: the first loads the driver and the program's file.
    with contextlib.ExitStack() as cleanup:
        for name in ("an empty folder", "a folder with tables"):
            seconds = []
            for number in range(arguments.starts + 1):
                used = data
                if name == "an empty folder":
                    used = folder / f"empty-{number}"
                    shutil.rmtree(used, ignore_errors=True)
                    cleanup.callback(shutil.rmtree, used, ignore_errors=True)
                seconds.append(seconds_to_first_answer(arguments, used))
            middle = statistics.median(seconds[1:])
            rows.append([f"ingot server, start over {name}", f"{middle:.2f} s",
                         f"< {START_TARGET_SECONDS} s", yes_or_no(middle < START_TARGET_SECONDS)])
    return rows


def measure_memory(arguments, data):
    rows = []
    for name, one_process, target in (
        ("ingot coordinator, idle", False, IDLE_TARGET_BYTES), ("ingot server, idle", True, None),
    ):
        workers = arguments.workers if one_process else 0
        with Cluster(arguments.binary, data, workers, one_process=one_process) as cluster:
            time.sleep(max(0, cluster.started + IDLE_SECONDS - time.perf_counter()))
            cluster.check_processes()
            size = cluster.memory.now_bytes()
        rows.append([name, mebibytes(size), f"< {mebibytes(target)}" if target else "-",
                     yes_or_no(size < target) if target else "-"])
    return rows


def main():
    parser = argument_parser(__doc__, workers=1)
    parser.add_argument("--repeat", type=at_least_one, default=200,
                        help="timed repetitions of each query (default: %(default)s)")
    parser.add_argument("--starts", type=at_least_one, default=5,
                        help="timed starts of the server (default: %(default)s)")
    arguments = parse_arguments(parser)
    with working_folder(arguments) as folder:
        data = folder / "lake"
        shutil.rmtree(data, ignore_errors=True)
        duck, days = make_table(arguments, folder, data)
        print("answers", file=sys.stderr)
        rows, wrong = measure_answers(arguments, duck, days, data)
        print("starts", file=sys.stderr)
        rows += measure_starts(arguments, folder, data)
        print("memory", file=sys.stderr)
        rows += measure_memory(arguments, data)
        print_table(["figure", "Ingot", "target", "met"], rows)
        print(f"\n{days} rows, {arguments.repeat} repetitions, {arguments.starts} starts, "
              f"workers: {arguments.workers}, cpus: {cpus()}")
        for message in wrong:
            print(message, file=sys.stderr)
        if wrong:
            sys.exit(1)


if __name__ == "__main__":
    main()
