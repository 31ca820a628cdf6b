"""What the benchmarks share: arguments, Ingot as processes, memory, timing, comparing, tables.

This is a module, not a benchmark; README.md lists those.
"""

import argparse
import contextlib
import math
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow
import pyarrow.compute as compute

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SAMPLE_SECONDS = 0.05
MEBIBYTE = 2**20


# Arguments

def argument_parser(docstring: str, workers: int = 2) -> argparse.ArgumentParser:
    """A parser with what all benchmarks take; `--help` shows the docstring."""
    parser = argparse.ArgumentParser(
        description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--binary", type=pathlib.Path, default=default_binary(),
        help="the ingot binary (default: $INGOT_BINARY, or what `cargo build --release` leaves)",
    )
    parser.add_argument(
        "--workers", type=at_least_one, default=workers, help="workers (default: %(default)s)"
    )
    parser.add_argument(
        "--scale", type=positive_number, default=1.0,
        help="size of the data; targets are meant for the default (%(default)s)",
    )
    parser.add_argument(
        "--folder", type=pathlib.Path,
        help="keep files and tables here, and use them again, instead of in a temporary folder",
    )
    return parser


def default_binary() -> pathlib.Path:
    named = os.environ.get("INGOT_BINARY")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return pathlib.Path(named) if named else target / "release" / "ingot"


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, once the binary is known to exist, with absolute paths."""
    arguments = parser.parse_args()
    if not arguments.binary.is_file():
        raise SystemExit(
            f"no binary at {arguments.binary}: run cargo build --release, or give --binary FILE"
        )
    arguments.binary = arguments.binary.resolve()
    if arguments.folder:
        arguments.folder = arguments.folder.resolve()
    return arguments


def at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def positive_number(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be greater than 0")
    return number


@contextlib.contextmanager
def working_folder(arguments: argparse.Namespace):
    """`--folder`, or a temporary folder that is deleted afterwards unless something failed."""
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        yield arguments.folder
        return
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ingot-benchmark-"))
    try:
        yield folder
    except BaseException:
        print(f"files, tables and logs are kept in {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def cpus() -> int:
    """The cpus that this process, and so Ingot and DuckDB, may use."""
    return len(os.sched_getaffinity(0))


# Processes and their memory

class MemoryWatch:
    """The greatest sum of the resident memory of some processes, sampled every 50 ms."""

    def __init__(self, processes: list[subprocess.Popen]):
        self.processes = processes
        self.peak_bytes = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def now_bytes(self) -> int:
        """Resident memory of all processes together, now; of those that have ended, 0."""
        total = 0
        for process in list(self.processes):
            with contextlib.suppress(OSError):
                statm = pathlib.Path(f"/proc/{process.pid}/statm").read_text()
                total += int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return total

    def restart(self):
        """Forgets the peak until now."""
        self.peak_bytes = self.now_bytes()

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self.peak_bytes

    def _sample(self):
        while not self._stopped.wait(SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, self.now_bytes())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """Ingot as processes over one data folder, on loopback.

    A coordinator and `workers` worker processes that share the cpus, or with `one_process` an
    `ingot server`. Settings come from `settings` alone: INGOT_* variables of the caller, which
    would change what is measured, do not reach the processes. Use it in a `with` statement,
    which stops the processes; their logs are deleted unless something failed.
    """

    def __init__(self, binary: pathlib.Path, data: pathlib.Path, workers: int,
                 settings: dict[str, str] | None = None, one_process: bool = False):
        self.binary = str(binary)
        self.flight_port, self.http_port = free_port(), free_port()
        self.logs = pathlib.Path(tempfile.mkdtemp(prefix="ingot-logs-"))
        self.processes: list[subprocess.Popen] = []
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("INGOT_")}
        self._environment["INGOT_LOG_LEVEL"] = "warn"
        # The files to load may be anywhere.
        self._environment["INGOT_STORAGE_ALLOWED_FOLDERS"] = "/"
        self._environment.update(settings or {})
        self.memory = MemoryWatch(self.processes)
        self.started = time.perf_counter()
        ports = ["--flight-port", str(self.flight_port), "--http-port", str(self.http_port)]
        try:
            if one_process:
                self._spawn("server", "--data", str(data), *ports, "--workers", str(workers))
            else:
                self._start_separately(data, workers, ports)
        except BaseException:
            self._end_processes()
            raise

    def _start_separately(self, data, workers, ports):
        scheduler_port = str(free_port())
        self._spawn("coordinator", "--data", str(data), *ports, "--scheduler-port", scheduler_port)
        self.wait_until(self._is_ready, "the coordinator to be ready")
        for number in range(workers):
            self._spawn("worker", "--coordinator", f"127.0.0.1:{scheduler_port}",
                        "--slots", str(max(1, cpus() // workers)),
                        "--work-dir", str(self.logs / f"work-{number}"))
        if workers:
            self.wait_until(lambda: self.metric("ingot_workers") >= workers,
                            f"{workers} workers to join")

    def _spawn(self, *arguments):
        log = self.logs / f"{arguments[0]}-{len(self.processes)}.log"
        with open(log, "wb") as output:
            self.processes.append(subprocess.Popen(
                [self.binary, *arguments], env=self._environment,
                stdout=output, stderr=subprocess.STDOUT))

    def wait_until(self, condition, what: str, seconds: float = 60, pause: float = 0.02):
        """Waits for `condition`; fails when a process ends first."""
        deadline = time.monotonic() + seconds
        while True:
            self.check_processes()
            with contextlib.suppress(OSError):
                if condition():
                    return
            if time.monotonic() > deadline:
                raise SystemExit(f"waited {seconds} s for {what}\n{self.log_tails()}")
            time.sleep(pause)

    def check_processes(self):
        """Fails with the tails of the logs when a process has ended by itself."""
        for process in self.processes:
            if process.poll() is not None:
                raise SystemExit(
                    f"ingot {process.args[1]} ended with {process.returncode}\n{self.log_tails()}"
                )

    def log_tails(self) -> str:
        tails = [f"logs are in {self.logs}"]
        for log in sorted(self.logs.glob("*.log")):
            tails.append(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:].strip()}")
        return "\n".join(tails)

    def _http(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.http_port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()

    def _is_ready(self) -> bool:
        return bool(self._http("/readyz"))

    def metric(self, name: str) -> float:
        for line in self._http("/metrics").splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        return 0.0

    def connect(self):
        """An ADBC connection by Flight SQL."""
        return flight_sql.connect(f"grpc://127.0.0.1:{self.flight_port}", autocommit=True)

    def command(self, *arguments) -> str:
        """What a command of the `ingot` program prints, run against this cluster."""
        environment = {**self._environment,
                       "INGOT_SERVER": f"grpc://127.0.0.1:{self.flight_port}"}
        done = subprocess.run([self.binary, *map(str, arguments)], env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            self.check_processes()
            raise SystemExit(f"ingot {' '.join(map(str, arguments))} failed:\n"
                             f"{done.stdout}{done.stderr}\n{self.log_tails()}")
        return done.stdout

    def _end_processes(self) -> int:
        """Stops the processes; how many of them had ended before."""
        ended = sum(process.poll() is not None for process in self.processes)
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.memory.stop()
        return ended

    def __enter__(self):
        return self

    def __exit__(self, kind, _error, _traceback):
        ended = self._end_processes()
        # `check_processes` has told already why it raised SystemExit.
        if kind is not SystemExit and (kind or ended):
            print(f"{ended} processes ended by themselves\n{self.log_tails()}", file=sys.stderr)
        if kind is None and ended:
            raise SystemExit("a process of Ingot ended before the benchmark did")
        if kind is None:
            shutil.rmtree(self.logs, ignore_errors=True)


# Times

def timed(action):
    """Seconds that `action` took, and what it returned."""
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def percentile(values: list[float], percent: int) -> float:
    """The smallest value that at least `percent` of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


# Results

def differences(ours: pyarrow.Table, theirs: pyarrow.Table, keys: list[str],
                tolerance: float = 1e-9) -> list[str]:
    """What differs between two results whose rows `keys` identify, as messages; none if equal.

    Values must be equal, and floating-point numbers equal up to the relative `tolerance`: the
    order in which they are added is not fixed. Types may differ in width only: ours are cast
    to theirs without loss.
    """
    if ours.column_names != theirs.column_names:
        return [f"columns {ours.column_names} are not {theirs.column_names}"]
    if ours.num_rows != theirs.num_rows:
        return [f"{ours.num_rows} rows, {theirs.num_rows} in DuckDB"]
    try:
        ours = ours.cast(theirs.schema.remove_metadata())
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        return [f"types {ours.schema.types} are not {theirs.schema.types}: {error}"]
    order = [(key, "ascending") for key in keys]
    ours, theirs = ours.sort_by(order), theirs.sort_by(order)
    found = []
    for name in ours.column_names:
        left, right = ours[name], theirs[name]
        same = compute.if_else(
            compute.or_(compute.is_null(left), compute.is_null(right)),
            compute.and_(compute.is_null(left), compute.is_null(right)),
            is_close(left, right, tolerance) if pyarrow.types.is_floating(left.type)
            else compute.equal(left, right),
        )
        wrong = compute.indices_nonzero(compute.invert(same))
        if len(wrong):
            row = wrong[0].as_py()
            found.append(f"{name}: {len(wrong)} of {len(left)} values differ, the first for "
                         f"{[ours[key][row].as_py() for key in keys]}: "
                         f"{left[row].as_py()!r}, in DuckDB {right[row].as_py()!r}")
    return found


def is_close(left, right, tolerance):
    allowed = compute.multiply(compute.max_element_wise(compute.abs(left), compute.abs(right)),
                               tolerance)
    close = compute.less_equal(compute.abs(compute.subtract(left, right)), allowed)
    # Infinities are equal to themselves, and so are, here, values that are not a number.
    both_nan = compute.and_(compute.is_nan(left), compute.is_nan(right))
    return compute.or_(compute.or_(close, compute.equal(left, right)), both_nan)


def yes_or_no(is_so: bool) -> str:
    """For a table; what is wanted and not so stands out."""
    return "yes" if is_so else "NO"


def mebibytes(size: float) -> str:
    return f"{size / MEBIBYTE:,.0f} MiB"


NUMBER = re.compile(r"(<=? ?)?-?[\d,.]+( ?(s|ms|MiB|x|%))?|-|")


def print_table(header: list[str], rows: list[list]):
    """A table whose columns line up, numbers (with their units) to the right."""
    texts = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
             for row in rows]
    columns = range(len(header))
    widths = [max(len(row[i]) for row in [header, *texts]) for i in columns]
    numeric = [all(NUMBER.fullmatch(row[i]) for row in texts) for i in columns]

    def line(cells):
        aligned = (cell.rjust(width) if right else cell.ljust(width)
                   for cell, width, right in zip(cells, widths, numeric))
        return "  ".join(aligned).rstrip()

    print(line(header))
    print("  ".join("-" * width for width in widths))
    for row in texts:
        print(line(row), flush=True)
