"""A running Ingot and the folders that tests share.

The server is the real binary, named by INGOT_BINARY, on free loopback ports over a
temporary data folder. Without the binary or a client library every test is skipped, and
says which is missing.
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

MISSING = []
for module in ["pyarrow", "pyiceberg", "duckdb", "adbc_driver_flightsql", "adbc_driver_manager"]:
    try:
        __import__(module)
    except ImportError:
        MISSING.append(module)

collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_report_header(config):
    if MISSING:
        names = ", ".join(MISSING)
        return f"interoperability tests are skipped: no {names}; install tests/interop/requirements.txt"
    return None


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """One `ingot server` process. `settings` are those of `ingot.toml`, as its text."""

    def __init__(self, binary, folder, settings=""):
        self.folder = folder
        self.flight_port = free_port()
        self.http_port = free_port()
        self.log = folder / "server.log"
        configuration = folder / "ingot.toml"
        configuration.write_text(settings)
        command = [
            binary,
            "server",
            "--config",
            str(configuration),
            "--data",
            str(folder / "lake"),
            "--flight-port",
            str(self.flight_port),
            "--http-port",
            str(self.http_port),
        ]
        # The tests' own variables are not settings of Ingot.
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("INGOT_")
        }
        self.process = subprocess.Popen(
            command,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
        )

    @property
    def warehouse(self):
        """Folder of its tables; tables of others are registered from within it."""
        return self.folder / "lake" / "warehouse"

    @property
    def uri(self):
        return f"grpc://127.0.0.1:{self.flight_port}"

    @property
    def rest_uri(self):
        """The REST catalog of its tables."""
        return f"http://127.0.0.1:{self.http_port}/iceberg"

    def wait_until_ready(self, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/readyz") as reply:
                    if reply.status == 200:
                        return
            except (urllib.error.URLError, ConnectionError):
                pass
            time.sleep(0.1)
        pytest.fail(f"the server did not become ready:\n{self.log.read_text()[-4000:]}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def running_server(folder, settings=""):
    """A server in a folder, until the block ends."""
    binary = os.environ.get("INGOT_BINARY")
    if not binary:
        pytest.skip("INGOT_BINARY does not name the ingot binary to test")
    running = Server(str(pathlib.Path(binary).resolve()), folder, settings)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("ingot")) as running:
        yield running


@pytest.fixture(scope="session")
def connection(server):
    import adbc_driver_flightsql.dbapi as flight_sql

    with flight_sql.connect(server.uri, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def execute(connection):
    """Executes one statement; returns its rows as tuples, or None if it returns no rows."""

    def run(sql, parameters=None):
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else None

    return run


@pytest.fixture(scope="session")
def query(connection):
    """Executes a query; returns its rows as an Arrow table."""

    def run(sql):
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetch_arrow_table()

    return run


@pytest.fixture(scope="session")
def schema(execute):
    """A schema of Ingot's for the tables of a test run."""
    execute("CREATE SCHEMA IF NOT EXISTS interop")
    return "interop"


@pytest.fixture(scope="session")
def pyiceberg_catalog(server):
    """A catalog of PyIceberg's own, with its tables in Ingot's warehouse."""
    from pyiceberg.catalog.sql import SqlCatalog

    folder = server.warehouse / "of-pyiceberg"
    folder.mkdir(parents=True)
    catalog = SqlCatalog(
        "peer", uri=f"sqlite:///{server.folder}/peer.db", warehouse=f"file://{folder}"
    )
    catalog.create_namespace("peer")
    return catalog


@pytest.fixture(scope="session")
def rest_catalog(server, schema):
    """Ingot's own catalog as PyIceberg uses it, over the REST protocol."""
    from pyiceberg.catalog.rest import RestCatalog

    return RestCatalog("ingot", uri=server.rest_uri)


@pytest.fixture
def registered(execute, schema):
    """Opens a table of another engine in Ingot, by its metadata; returns its name there."""

    def register(name, metadata_location):
        execute(f"CALL system.register_table('{schema}', '{name}', '{metadata_location}')")
        return f"{schema}.{name}"

    return register


@pytest.fixture
def opened(execute):
    """Opens a table of Ingot's in PyIceberg, by its metadata."""
    from pyiceberg.table import StaticTable

    def open_table(name):
        return StaticTable.from_metadata(metadata_location(execute, name))

    return open_table


def metadata_location(execute, name):
    """Where the current metadata of an Ingot table is."""
    schema_name, table = name.split(".")
    rows = execute(
        f'SELECT file FROM {schema_name}."{table}$metadata_log_entries" '
        "ORDER BY \"timestamp\" DESC, file DESC LIMIT 1"
    )
    return rows[0][0]
