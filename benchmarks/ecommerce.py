#!/usr/bin/env python3
"""The e-commerce pipeline, CSV to gold with its checks: Ingot beside DuckDB.

    pip install -r benchmarks/requirements.txt
    cargo build --release
    python benchmarks/ecommerce.py               # or --scale 0.01 for a try

Generates the CSV files (3.8 million rows at scale 1), and loads and transforms them in both
systems one after the other: in Ingot by `ingot jobs run` on a coordinator and workers that
share the cpus, in DuckDB by the same queries and checks (ecommerce_duckdb.py). Prints seconds
by table, and the peak of memory of all processes.

Fails when a row of the gold tables differs; being slower does not fail.
"""

import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys

from harness import (
    REPOSITORY, Cluster, MemoryWatch, argument_parser, at_least_one, cpus, mebibytes,
    parse_arguments, print_table, timed, working_folder,
)

PIPELINE = REPOSITORY / "pipelines" / "ecommerce"
DUCKDB_PROGRAM = pathlib.Path(__file__).resolve().parent / "ecommerce_duckdb.py"
GOLD = ("customer_summary", "daily_metrics", "product_summary")


def generate(arguments, source):
    """Writes the CSV files; those of an earlier run may be of another scale."""
    shutil.rmtree(source, ignore_errors=True)
    subprocess.run(
        [
            arguments.binary, "generate", "ecommerce", "--scale", str(arguments.scale),
            "--seed", str(arguments.seed), "--out", source,
        ],
        check=True, stdout=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.startswith("INGOT_")},
    )


def run_ingot(arguments, folder, source):
    """Rows and seconds by table, seconds in all, and the peak of memory; gold goes to CSV."""
    data, gold = folder / "lake", folder / "gold"
    shutil.rmtree(data, ignore_errors=True)
    gold.mkdir(exist_ok=True)
    with Cluster(arguments.binary, data, arguments.workers) as cluster:
        cluster.command("jobs", "apply", PIPELINE, "--set", f"source_dir={source}")
        cluster.memory.restart()
        seconds, _ = timed(lambda: cluster.command("jobs", "run", "ecommerce"))
        peak = cluster.memory.peak_bytes
        steps = steps_of(data / "catalog.db")
        for table in GOLD:
            query = f"SELECT * FROM gold.{table}"
            rows = cluster.command("sql", "--output", "csv", "-e", query)
            (gold / f"{table}.csv").write_text(rows)
    return steps, seconds, peak


def steps_of(catalog):
    """Rows and seconds, checks included, by job of the latest run."""
    connection = sqlite3.connect(f"{catalog.as_uri()}?mode=ro", uri=True)
    rows = connection.execute(
        "SELECT job, rows_written, (ended_at - started_at) / 1e6 FROM jobs_job_runs "
        "WHERE run_id = (SELECT run_id FROM jobs_runs ORDER BY started_at DESC LIMIT 1)"
    ).fetchall()
    connection.close()
    return {job: (rows_written, seconds) for job, rows_written, seconds in rows}


def run_duckdb(arguments, source, database):
    """The same, in DuckDB."""
    database.unlink(missing_ok=True)
    process = subprocess.Popen(
        [
            sys.executable, DUCKDB_PROGRAM, "run", "--json", "--source", source,
            "--database", database, "--threads", str(arguments.threads),
        ],
        stdout=subprocess.PIPE, text=True,
    )
    memory = MemoryWatch([process])
    output, _ = process.communicate()
    peak = memory.stop()
    if process.returncode != 0:
        raise SystemExit("the DuckDB pipeline failed")
    steps = {
        step["table"]: (step["rows"], step["seconds"] + step["check_seconds"])
        for step in json.loads(output)["steps"]
    }
    return steps, sum(seconds for _, seconds in steps.values()), peak


def print_steps(ingot, duckdb):
    ingot_steps, ingot_seconds, ingot_peak = ingot
    duckdb_steps, duckdb_seconds, duckdb_peak = duckdb

    def row(name, count, ours, theirs):
        return [name, count, f"{ours:.2f} s", f"{theirs:.2f} s", f"{ours / theirs:.2f} x"]

    rows = [row(table, f"{count:,}", seconds, duckdb_steps[table][1])
            for table, (count, seconds) in ingot_steps.items()]
    rows.append(["(checkpoint)", "", "", f"{duckdb_steps['checkpoint'][1]:.2f} s", ""])
    rows.append(row("in all", "", ingot_seconds, duckdb_seconds))
    rows.append(["peak memory, all processes", "", mebibytes(ingot_peak), mebibytes(duckdb_peak),
                 f"{ingot_peak / duckdb_peak:.2f} x"])
    print_table(["table", "rows", "Ingot", "DuckDB", "ratio"], rows)
    print("\nJobs of Ingot overlap, so that their seconds are more than those in all.")


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--seed", type=int, default=42, help="seed of the data")
    parser.add_argument("--threads", type=at_least_one, default=cpus(),
                        help="threads of DuckDB (default: %(default)s, one for each cpu)")
    arguments = parse_arguments(parser)
    with working_folder(arguments) as folder:
        source, database = folder / "source", folder / "duckdb.db"
        seconds, _ = timed(lambda: generate(arguments, source))
        print(f"generated in {seconds:.1f} s", file=sys.stderr)
        ingot = run_ingot(arguments, folder, source)
        duckdb = run_duckdb(arguments, source, database)
        print_steps(ingot, duckdb)
        compared = subprocess.run([
            sys.executable, DUCKDB_PROGRAM, "compare", "--database", database,
            "--gold", folder / "gold",
        ])
        if compared.returncode != 0:
            sys.exit(1)


if __name__ == "__main__":
    main()
