#!/usr/bin/env python3
"""The e-commerce pipeline, CSV to gold with its checks: Ingot beside DuckDB.

    cargo build --release
    pip install duckdb==1.5.5
    python benchmarks/ecommerce.py --binary target/release/ingot --scale 1

Starts a coordinator and workers as processes of their own (loopback), loads and
transforms the generated files in both systems one after the other, compares the gold
tables row by row, and prints seconds and peak memory. Fails when rows differ.
"""

import argparse
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
PIPELINE = os.path.join(HERE, "..", "pipelines", "ecommerce")
GOLD = ("customer_summary", "daily_metrics", "product_summary")


class MemoryWatch:
    """The greatest sum of resident memory of some processes."""

    def __init__(self):
        self.processes = []
        self.peak = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.stopped.wait(0.1):
            self.peak = max(self.peak, sum(resident(process) for process in self.processes))

    def stop(self):
        self.stopped.set()
        self.thread.join()
        return self.peak


def resident(process):
    """Resident memory of a process in bytes; 0 when it has ended."""
    try:
        with open(f"/proc/{process.pid}/status") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Cluster:
    """A coordinator and its workers."""

    def __init__(self, arguments, folder):
        self.binary = arguments.binary
        self.workers = arguments.workers
        self.folder = folder
        self.data = os.path.join(folder, "lake")
        self.flight, self.http, self.scheduler = free_port(), free_port(), free_port()
        self.memory = MemoryWatch()
        self.processes = []

    def start(self):
        self.spawn(
            "coordinator", "coordinator", "--data", self.data, "--flight-port", str(self.flight),
            "--http-port", str(self.http), "--scheduler-port", str(self.scheduler),
        )
        self.wait_for("the coordinator", lambda: self.get("/readyz") is not None)
        for number in range(self.workers):
            self.spawn(
                f"worker-{number}", "worker", "--coordinator", f"127.0.0.1:{self.scheduler}",
                "--slots", "1", "--work-dir", os.path.join(self.folder, f"worker-{number}"),
            )
        self.wait_for("the workers", lambda: self.worker_count() == self.workers)

    def spawn(self, name, *arguments):
        log = open(os.path.join(self.folder, f"{name}.log"), "wb")
        process = subprocess.Popen(
            [self.binary, *arguments], stdout=log, stderr=subprocess.STDOUT, cwd=self.folder
        )
        log.close()
        self.processes.append(process)
        self.memory.processes.append(process)

    def wait_for(self, what, ready):
        deadline = time.monotonic() + 60
        while not ready():
            for process in self.processes:
                if process.poll() is not None:
                    sys.exit(f"{what}: a process ended, see the logs in {self.folder}")
            if time.monotonic() > deadline:
                sys.exit(f"{what} did not become ready, see the logs in {self.folder}")
            time.sleep(0.05)

    def get(self, path):
        try:
            url = f"http://127.0.0.1:{self.http}{path}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, OSError):
            return None

    def worker_count(self):
        for line in (self.get("/metrics") or "").splitlines():
            if line.startswith("ingot_workers "):
                return int(float(line.split()[1]))
        return 0

    def command(self, *arguments):
        environment = dict(os.environ, INGOT_SERVER=f"grpc://127.0.0.1:{self.flight}")
        done = subprocess.run(
            [self.binary, *arguments], env=environment, stdout=subprocess.PIPE, text=True
        )
        if done.returncode != 0:
            sys.exit(f"ingot {' '.join(arguments)} failed:\n{done.stdout}\nlogs: {self.folder}")
        return done.stdout

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return self.memory.stop()


def run_ingot(arguments, folder, source):
    """Seconds by table, in all, and the peak of memory; gold goes to CSV files."""
    cluster = Cluster(arguments, folder)
    try:
        cluster.start()
        cluster.command("jobs", "apply", PIPELINE, "--set", f"source_dir={source}")
        start = time.perf_counter()
        cluster.command("jobs", "run", "ecommerce")
        seconds = time.perf_counter() - start
        steps = steps_of(os.path.join(cluster.data, "catalog.db"))
        gold = os.path.join(folder, "gold")
        os.makedirs(gold)
        for table in GOLD:
            query = f"SELECT * FROM gold.{table}"
            rows = cluster.command("sql", "--output", "csv", "-e", query)
            with open(os.path.join(gold, f"{table}.csv"), "w") as file:
                file.write(rows)
    finally:
        peak = cluster.stop()
    return steps, seconds, peak


def steps_of(catalog):
    """Rows and seconds, checks included, by job of the latest run."""
    connection = sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)
    rows = connection.execute(
        "SELECT job, rows_written, (ended_at - started_at) / 1e6 FROM jobs_job_runs "
        "WHERE run_id = (SELECT run_id FROM jobs_runs ORDER BY started_at DESC LIMIT 1)"
    ).fetchall()
    connection.close()
    return {job: (rows_written, seconds) for job, rows_written, seconds in rows}


def run_duckdb(arguments, folder, source):
    """The same, in DuckDB."""
    database = os.path.join(folder, "duckdb.db")
    memory = MemoryWatch()
    process = subprocess.Popen(
        [
            sys.executable, os.path.join(HERE, "ecommerce_duckdb.py"), "run", "--json",
            "--source", source, "--database", database, "--threads", str(arguments.threads),
        ],
        stdout=subprocess.PIPE, text=True,
    )
    memory.processes.append(process)
    output, _ = process.communicate()
    peak = memory.stop()
    if process.returncode != 0:
        sys.exit("the DuckDB pipeline failed")
    steps = {
        step["table"]: (step["rows"], step["seconds"] + step["check_seconds"])
        for step in json.loads(output)["steps"]
    }
    return steps, sum(seconds for _, seconds in steps.values()), peak, database


def mebibytes(size):
    return f"{size / 2**20:,.0f} MiB"


def print_table(ingot, duckdb):
    ingot_steps, ingot_seconds, ingot_peak = ingot
    duckdb_steps, duckdb_seconds, duckdb_peak, _ = duckdb
    print(f"{'table':<30} {'rows':>10} {'Ingot':>10} {'DuckDB':>10} {'ratio':>7}")
    for table, (rows, seconds) in ingot_steps.items():
        other = duckdb_steps[table][1]
        print(f"{table:<30} {rows:>10,} {seconds:>8.2f} s {other:>8.2f} s {seconds / other:>7.2f}")
    checkpoint = duckdb_steps["checkpoint"][1]
    print(f"{'(checkpoint)':<30} {'':>10} {'':>10} {checkpoint:>8.2f} s")
    print(
        f"{'in all':<30} {'':>10} {ingot_seconds:>8.2f} s {duckdb_seconds:>8.2f} s "
        f"{ingot_seconds / duckdb_seconds:>7.2f}"
    )
    print(
        f"{'peak memory, all processes':<30} {'':>10} {mebibytes(ingot_peak):>10} "
        f"{mebibytes(duckdb_peak):>10}"
    )
    print("Jobs of Ingot overlap, so that their seconds are more than those in all.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/ingot", help="the ingot binary")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--workers", type=int, default=2, help="worker processes, one slot each")
    parser.add_argument("--threads", type=int, default=2, help="threads of DuckDB")
    parser.add_argument("--folder", help="keep everything here instead of a temporary folder")
    arguments = parser.parse_args()
    arguments.binary = os.path.abspath(arguments.binary)
    folder = os.path.abspath(arguments.folder or tempfile.mkdtemp(prefix="ingot-benchmark-"))
    os.makedirs(folder, exist_ok=True)
    source = os.path.join(folder, "source")
    start = time.perf_counter()
    subprocess.run(
        [
            arguments.binary, "generate", "ecommerce", "--scale", str(arguments.scale),
            "--seed", str(arguments.seed), "--out", source,
        ],
        check=True, stdout=subprocess.DEVNULL,
    )
    print(f"generated in {time.perf_counter() - start:.1f} s")
    ingot = run_ingot(arguments, folder, source)
    duckdb = run_duckdb(arguments, folder, source)
    print_table(ingot, duckdb)
    compared = subprocess.run(
        [
            sys.executable, os.path.join(HERE, "ecommerce_duckdb.py"), "compare",
            "--database", duckdb[3], "--gold", os.path.join(folder, "gold"),
        ]
    )
    # After a failure the logs are worth keeping.
    if compared.returncode == 0 and not arguments.folder:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(compared.returncode)


if __name__ == "__main__":
    main()
