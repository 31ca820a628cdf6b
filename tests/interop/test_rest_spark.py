"""Spark on Ingot's tables through the REST catalog, with a user and a password.

Needs a Python with pyspark and the Iceberg runtime, as test_spark_tables.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import running_server
from test_spark_tables import FIND_JAR


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """What Spark saw, and a way to ask Ingot afterwards."""
    import adbc_driver_flightsql.dbapi as flight_sql

    python = os.environ.get("INGOT_SPARK_PYTHON", sys.executable)
    found = subprocess.run([python, "-c", FIND_JAR], capture_output=True, text=True)
    if found.returncode != 0:
        pytest.skip(f"{python} has no pyspark with an Iceberg runtime; see INGOT_SPARK_PYTHON")
    folder = tmp_path_factory.mktemp("rest-spark")
    settings = '[[coordinator.users]]\nname = "ann"\npassword = "secret"\n'
    credentials = {"username": "ann", "password": "secret"}
    with running_server(folder, settings) as server:
        with flight_sql.connect(server.uri, db_kwargs=credentials, autocommit=True) as connection:

            def query(sql):
                with connection.cursor() as cursor:
                    cursor.execute(sql)
                    return cursor.fetchall() if cursor.description else None

            query("CREATE SCHEMA spark")
            query("CREATE TABLE spark.of_ingot (id bigint, name varchar)")
            query("INSERT INTO spark.of_ingot VALUES (1, 'one'), (2, NULL)")
            script = Path(__file__).with_name("rest_spark.py")
            result = folder / "result.json"
            done = subprocess.run(
                [python, str(script), server.rest_uri, "ann:secret", found.stdout.strip(), str(result)],
                capture_output=True,
                text=True,
                env={**os.environ, "PYSPARK_PYTHON": python},
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
            yield json.loads(result.read_text()), query


def test_spark_reads_tables_of_ingot(lake):
    seen, _ = lake
    assert ["spark"] in seen["namespaces"]
    assert seen["of_ingot"] == [[1, "one"], [2, None]]
    assert seen["of_ingot_snapshots"] == [["append"]]


def test_ingot_reads_what_spark_changed(lake):
    _, query = lake
    assert query("SELECT id, name FROM spark.of_ingot ORDER BY id") == [
        (2, None),
        (10, "merged"),
        (11, "spark"),
        (20, "new"),
    ]


@pytest.mark.parametrize("version", [2, 3])
def test_ingot_reads_and_changes_tables_of_spark(lake, version):
    _, query = lake
    name = f"spark.of_spark_v{version}"
    kept = [number for number in range(100) if number % 3]
    assert [row[0] for row in query(f"SELECT id FROM {name} ORDER BY id")] == kept
    count = query(f"SELECT count(*) FROM {name} WHERE day >= DATE '2026-02-01'")
    assert count == [(len([number for number in kept if number >= 31]),)]
    query(f"DELETE FROM {name} WHERE id > 50")
    assert [row[0] for row in query(f"SELECT id FROM {name} ORDER BY id")] == [
        number for number in kept if number <= 50
    ]


def test_tables_made_with_their_rows(lake):
    seen, query = lake
    assert seen["ctas"] == [[0, "0"], [1, "1"], [2, "2"]]
    assert query("SELECT * FROM spark.renamed ORDER BY id") == [
        (0, "0", None),
        (1, "1", None),
        (2, "2", None),
    ]
    first = query('SELECT snapshot_id FROM spark."renamed$snapshots" ORDER BY committed_at LIMIT 1')
    old = query(f"SELECT * FROM spark.renamed FOR VERSION AS OF {first[0][0]} ORDER BY id")
    assert old == [(number, 2 * number) for number in range(5)]
    assert query("SELECT count(*) FROM spark.renamed FOR VERSION AS OF 'first'") == [(3,)]


def test_statistics_of_spark(lake):
    _, query = lake
    statistics = {row[0]: row[2] for row in query("SHOW STATS FOR spark.renamed") if row[0]}
    assert statistics["id"] == 3.0
    assert statistics["text"] == 3.0


def test_names(lake):
    seen, _ = lake
    names = {row[1] for row in seen["tables"]}
    assert names == {"of_ingot", "of_spark_v2", "of_spark_v3", "renamed"}
    assert "nothing" in seen["missing"]


def test_views_of_spark(lake):
    seen, query = lake
    assert seen["view"] == [[2], [3]]
    assert {row[1] for row in seen["views"]} == {"v", "x"}
    with pytest.raises(Exception, match="another engine wrote in its own dialect"):
        query("SELECT * FROM spark.v")
