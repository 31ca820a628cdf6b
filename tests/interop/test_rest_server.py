"""Ingot on the tables of an independent REST catalog server, with PyIceberg beside it.

The server is rustberg 0.3.0, named by RUSTBERG_BINARY:
    cargo install rustberg --version 0.3.0 --locked --no-default-features --features cli,storage-s3
"""

import os
import pathlib
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import CommitFailedException

from conftest import free_port, running_server


class RestServer:
    """One server process over a local warehouse, with the key that it has made up."""

    def __init__(self, binary, folder):
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = folder / "rest-server.log"
        warehouse = folder / "warehouse"
        warehouse.mkdir()
        configuration = folder / "rest-server.toml"
        # By default it answers too few requests a second for several writers.
        configuration.write_text("[rate_limit]\nenabled = false\n")
        command = [binary, "--config", str(configuration), "--dev", "--insecure-http"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--warehouse", f"file://{warehouse}", "--catalog-url", "memory://"]
        self.process = subprocess.Popen(
            command, stdout=self.log.open("wb"), stderr=subprocess.STDOUT, cwd=folder
        )

    def token(self, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            made = re.search(r"X-API-Key: (rb_\S+)", self.log.read_text(errors="replace"))
            if made and self.answers(made[1]):
                return made[1]
            time.sleep(0.1)
        pytest.fail(f"the rest server did not become ready:\n{self.log.read_text()[-4000:]}")

    def answers(self, token):
        request = urllib.request.Request(
            f"{self.uri}/v1/config", headers={"Authorization": f"Bearer {token}"}
        )
        try:
            with urllib.request.urlopen(request) as reply:
                return reply.status == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """SQL of an Ingot that uses the server, and PyIceberg on the same server."""
    import adbc_driver_flightsql.dbapi as flight_sql

    binary = os.environ.get("RUSTBERG_BINARY")
    if not binary:
        pytest.skip("RUSTBERG_BINARY does not name a rest catalog server to test with")
    rest = RestServer(str(pathlib.Path(binary).resolve()), tmp_path_factory.mktemp("rest"))
    try:
        token = rest.token()
        settings = f'[catalog.rest]\nuri = "{rest.uri}"\ntoken = "{token}"\n'
        with running_server(tmp_path_factory.mktemp("ingot"), settings) as ingot:
            with flight_sql.connect(ingot.uri, autocommit=True) as connection:

                def run(sql):
                    with connection.cursor() as cursor:
                        cursor.execute(sql)
                        return cursor.fetchall() if cursor.description else None

                yield run, RestCatalog("peer", uri=rest.uri, token=token)
    finally:
        rest.stop()


def test_tables_of_both_are_seen_by_both(both):
    run, peer = both
    run("CREATE SCHEMA s")
    run("CREATE TABLE s.t AS SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(id, name)")
    table = peer.load_table("s.t")
    assert sorted(table.scan().to_arrow()["id"].to_pylist()) == [1, 2]
    table.append(pa.table({"id": [3], "name": ["c"]}, schema=table.schema().as_arrow()))
    assert run("SELECT id, name FROM s.t ORDER BY id") == [(1, "a"), (2, "b"), (3, "c")]
    run("DELETE FROM s.t WHERE id = 1")
    run("UPDATE s.t SET name = 'z' WHERE id = 2")
    run("ALTER TABLE s.t ADD COLUMN x double")
    table.refresh()
    assert sorted(table.scan().to_arrow()["id"].to_pylist()) == [2, 3]
    assert table.schema().find_field("x").name == "x"
    peer.create_table("s.theirs", pa.schema([pa.field("n", pa.int64())]))
    run("INSERT INTO s.theirs VALUES (1), (2)")
    assert peer.load_table("s.theirs").scan().to_arrow().num_rows == 2
    assert [row[0] for row in run("SHOW TABLES FROM s")] == ["t", "theirs"]


def test_tables_are_replaced_renamed_and_dropped(both):
    run, peer = both
    run("CREATE SCHEMA IF NOT EXISTS r")
    run("CREATE TABLE r.t WITH (partitioning = ARRAY['a']) AS SELECT 1 AS a, 2 AS b")
    run("CREATE OR REPLACE TABLE r.t AS SELECT 'x' AS c")
    assert peer.load_table("r.t").scan().to_arrow().to_pylist() == [{"c": "x"}]
    run("ALTER TABLE r.t RENAME TO r.u")
    assert not peer.table_exists("r.t")
    with pytest.raises(Exception, match="did you mean"):
        run("SELECT * FROM r.uu")
    run("DROP TABLE r.u PURGE")
    assert not peer.table_exists("r.u")
    run("DROP SCHEMA r")
    assert ("r",) not in peer.list_namespaces()


def test_views_are_kept(both):
    run, _ = both
    run("CREATE SCHEMA IF NOT EXISTS v")
    run("CREATE TABLE v.t AS SELECT 1 AS id")
    run("CREATE VIEW v.w AS SELECT id + 1 AS next FROM v.t")
    assert run("SELECT * FROM v.w") == [(2,)]
    run("CREATE OR REPLACE VIEW v.w AS SELECT id + 2 AS next FROM v.t")
    assert run("SELECT * FROM v.w") == [(3,)]
    run("DROP VIEW v.w")


def test_row_changes_refs_and_maintenance(both):
    run, peer = both
    run("CREATE SCHEMA IF NOT EXISTS m")
    run("CREATE TABLE m.t (id bigint, name varchar) WITH (partitioning = ARRAY['bucket(id, 2)'])")
    for first in range(0, 20, 5):
        values = ", ".join(f"({first + i}, 'n{first + i}')" for i in range(5))
        run(f"INSERT INTO m.t VALUES {values}")
    (before,) = run('SELECT snapshot_id FROM m."t$snapshots" ORDER BY committed_at DESC LIMIT 1')[0]
    run("ALTER TABLE m.t CREATE TAG filled")
    run(
        "MERGE INTO m.t USING (VALUES (3, 'three'), (99, 'new')) AS s(id, name) ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.name)"
    )
    run("DELETE FROM m.t WHERE id BETWEEN 5 AND 9")
    run("ALTER TABLE m.t EXECUTE optimize")
    rows = run("SELECT id, name FROM m.t ORDER BY id")
    expected = [i for i in range(20) if not 5 <= i <= 9] + [99]
    assert [row[0] for row in rows] == expected
    assert dict(rows)[3] == "three"
    table = peer.load_table("m.t")
    assert sorted(table.scan().to_arrow()["id"].to_pylist()) == expected
    assert table.scan(snapshot_id=before).to_arrow().num_rows == 20
    for version in [str(before), "'filled'"]:
        assert run(f"SELECT count(*) FROM m.t FOR VERSION AS OF {version}") == [(20,)]
    run(f"CALL system.rollback_to_snapshot('m', 't', {before})")
    assert run("SELECT count(*), max(name) FROM m.t WHERE id = 3") == [(1, "n3")]
    # It has no branches of the whole catalog.
    with pytest.raises(Exception, match="branch"):
        run("CREATE BRANCH side")


def test_writers_at_once_lose_no_commit(both):
    run, peer = both
    run("CREATE SCHEMA IF NOT EXISTS c")
    run("CREATE TABLE c.t (writer bigint, n bigint)")
    table = peer.load_table("c.t")
    failures = []

    def append(writer):
        try:
            for n in range(3):
                while True:
                    rows = {"writer": [writer], "n": [n]}
                    try:
                        newest = peer.load_table("c.t")
                        newest.append(pa.table(rows, schema=table.schema().as_arrow()))
                        break
                    except CommitFailedException:
                        continue
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=append, args=(writer,)) for writer in range(2)]
    for thread in threads:
        thread.start()
    for n in range(6):
        run(f"INSERT INTO c.t VALUES (9, {n})")
    for thread in threads:
        thread.join()
    assert not failures
    expected = [(writer, n) for writer in range(2) for n in range(3)] + [(9, n) for n in range(6)]
    assert run("SELECT writer, n FROM c.t ORDER BY writer, n") == expected
