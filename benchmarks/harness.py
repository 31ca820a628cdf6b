"""What the benchmarks share: Ingot as processes, its memory, timing, and tables that line up."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

import adbc_driver_flightsql.dbapi as flight_sql

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def ingot_binary() -> str:
    """The release binary: $INGOT_BINARY, or the one that `cargo build --release` leaves."""
    named = os.environ.get("INGOT_BINARY")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    path = pathlib.Path(named) if named else target / "release" / "ingot"
    if not path.exists():
        raise SystemExit(f"no binary at {path}: run cargo build --release, or set INGOT_BINARY")
    return str(path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """One coordinator and `workers` worker processes over one data folder."""

    def __init__(self, data: pathlib.Path, workers: int, settings: dict[str, str] | None = None):
        self.binary = ingot_binary()
        self.flight_port, self.http_port, scheduler_port = free_port(), free_port(), free_port()
        self.logs = pathlib.Path(tempfile.mkdtemp(prefix="ingot-bench-"))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("INGOT_")}
        environment["INGOT_LOG_LEVEL"] = "warn"
        environment.update(settings or {})
        self.processes: list[subprocess.Popen] = []
        started = time.perf_counter()
        self._start(environment, "coordinator", "--data", str(data),
                    "--flight-port", str(self.flight_port), "--http-port", str(self.http_port),
                    "--scheduler-port", str(scheduler_port))
        self._wait_until(self._is_ready, "the coordinator to be ready")
        for _ in range(workers):
            self._start(environment, "worker", "--coordinator", f"127.0.0.1:{scheduler_port}",
                        "--slots", str(max(1, (os.cpu_count() or 2) // workers)))
        self._wait_until(lambda: self.metric("ingot_workers") >= workers, f"{workers} workers to join")
        self.start_seconds = time.perf_counter() - started
        self.peak_bytes = 0
        self._sampling = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def _start(self, environment, *arguments):
        log = open(self.logs / f"{arguments[0]}-{len(self.processes)}.log", "wb")
        self.processes.append(subprocess.Popen(
            [self.binary, *arguments], env=environment, stdout=log, stderr=log))

    def _wait_until(self, condition, what, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for process in self.processes:
                if process.poll() is not None:
                    logs = "\n".join(path.read_text()[-2000:] for path in self.logs.iterdir())
                    raise SystemExit(f"{process.args[1]} ended with {process.returncode}:\n{logs}")
            try:
                if condition():
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise SystemExit(f"waited {seconds} s for {what}; logs in {self.logs}")

    def _is_ready(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/readyz", timeout=1) as answer:
            return answer.status == 200

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=1) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
        return 0.0

    def resident_bytes(self) -> int:
        """Resident memory of all processes together, now."""
        total = 0
        for process in self.processes:
            try:
                with open(f"/proc/{process.pid}/statm") as statm:
                    total += int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            except OSError:
                pass
        return total

    def _sample(self):
        while not self._sampling.wait(0.05):
            self.peak_bytes = max(self.peak_bytes, self.resident_bytes())

    def connect(self):
        return flight_sql.connect(f"grpc://127.0.0.1:{self.flight_port}", autocommit=True)

    def stop(self):
        self._sampling.set()
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.logs, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def timed(action):
    """Seconds that `action` took, and what it returned."""
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def print_table(header: list[str], rows: list[list]):
    """A table whose columns line up, numbers to the right."""
    texts = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *texts]) for i in range(len(header))]
    numeric = [all(isinstance(row[i], (int, float)) or row[i] == "" for row in rows) for i in range(len(header))]

    def line(cells):
        return "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(cells, widths, numeric)).rstrip()

    print(line(header))
    print("  ".join("-" * width for width in widths))
    for row in texts:
        print(line(row))
