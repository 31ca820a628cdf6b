"""DuckDB on Ingot's tables through the REST catalog."""

import datetime
import pathlib

import duckdb
import pytest

from conftest import running_server


def connect():
    """DuckDB with the extensions that a REST catalog needs."""
    connection = duckdb.connect()
    for name in ["avro", "httpfs", "iceberg"]:
        module = __import__(f"duckdb_extension_{name}")
        folder = pathlib.Path(module.__file__).parent
        path = next(folder.glob(f"extensions/*/{name}.duckdb_extension"))
        connection.execute(f"LOAD '{path}'")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


@pytest.fixture(scope="module")
def duck(server, schema):
    connection = connect()
    connection.execute(
        f"ATTACH 'iceberg' AS lake (TYPE iceberg, ENDPOINT '{server.rest_uri}', "
        "AUTHORIZATION_TYPE 'none', ACCESS_DELEGATION_MODE 'none', STAGE_CREATE_TABLES false)"
    )
    return connection


def test_tables_of_ingot_are_read(duck, execute, schema):
    name = f"{schema}.duck_reads"
    execute(f"CREATE TABLE {name} (id bigint, day date, name varchar)")
    execute(f"INSERT INTO {name} VALUES (1, DATE '2026-01-02', 'one'), (2, NULL, NULL), (3, NULL, 'x')")
    execute(f"DELETE FROM {name} WHERE id = 3")
    rows = duck.execute(f"SELECT * FROM lake.{name} ORDER BY id").fetchall()
    assert rows == [(1, datetime.date(2026, 1, 2), "one"), (2, None, None)]
    tables = duck.execute(
        f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}'"
    ).fetchall()
    assert ("duck_reads",) in tables


def test_rows_of_duckdb_are_read(duck, execute, query, schema):
    name = f"{schema}.duck_inserts"
    execute(f"CREATE TABLE {name} (id bigint, day date, name varchar)")
    duck.execute(f"INSERT INTO lake.{name} VALUES (1, DATE '2026-01-02', 'one'), (2, NULL, NULL)")
    execute(f"INSERT INTO {name} VALUES (3, NULL, 'ingot')")
    duck.execute(f"INSERT INTO lake.{name} SELECT range, NULL, 'many' FROM range(10, 20)")
    expected = [1, 2, 3, *range(10, 20)]
    assert query(f"SELECT id FROM {name} ORDER BY id")["id"].to_pylist() == expected
    rows = duck.execute(f"SELECT id FROM lake.{name} ORDER BY id").fetchall()
    assert [row[0] for row in rows] == expected


def test_tables_of_duckdb_are_read_and_written(duck, execute, query, schema):
    name = f"{schema}.duck_creates"
    duck.execute(f"CREATE TABLE lake.{name} (id bigint, name varchar)")
    duck.execute(f"INSERT INTO lake.{name} VALUES (1, 'one')")
    execute(f"INSERT INTO {name} VALUES (2, 'two')")
    assert query(f"SELECT * FROM {name} ORDER BY id").to_pylist() == [
        {"id": 1, "name": "one"},
        {"id": 2, "name": "two"},
    ]
    duck.execute(f"CREATE TABLE lake.{schema}.duck_copies AS SELECT id * 10 AS id FROM lake.{name}")
    assert query(f"SELECT id FROM {schema}.duck_copies ORDER BY id")["id"].to_pylist() == [10, 20]
    duck.execute(f"DROP TABLE lake.{schema}.duck_copies")
    with pytest.raises(Exception, match="duck_copies"):
        query(f"SELECT * FROM {schema}.duck_copies")


def test_a_transaction_over_two_tables(duck, execute, query, schema):
    for name in ["duck_left", "duck_right"]:
        execute(f"CREATE TABLE {schema}.{name} (id bigint)")
    duck.execute("BEGIN")
    duck.execute(f"INSERT INTO lake.{schema}.duck_left VALUES (1)")
    duck.execute(f"INSERT INTO lake.{schema}.duck_right VALUES (2)")
    assert query(f"SELECT count(*) AS n FROM {schema}.duck_left")["n"].to_pylist() == [0]
    duck.execute("COMMIT")
    for name, expected in [("duck_left", [1]), ("duck_right", [2])]:
        assert query(f"SELECT id FROM {schema}.{name}")["id"].to_pylist() == expected


def test_a_password(tmp_path):
    settings = '[[coordinator.users]]\nname = "ann"\npassword = "secret"\n'
    with running_server(tmp_path, settings) as server:
        attach = (
            f"(TYPE iceberg, ENDPOINT '{server.rest_uri}', ACCESS_DELEGATION_MODE 'none', "
            "STAGE_CREATE_TABLES false, "
        )
        duck = connect()
        with pytest.raises(duckdb.Error):
            duck.execute(f"ATTACH 'iceberg' AS lake {attach} AUTHORIZATION_TYPE 'none')")
            duck.execute("SHOW ALL TABLES")
        duck = connect()
        duck.execute(
            "CREATE SECRET lake_user (TYPE iceberg, CLIENT_ID 'ann', CLIENT_SECRET 'secret', "
            f"OAUTH2_SERVER_URI '{server.rest_uri}/v1/oauth/tokens')"
        )
        duck.execute(f"ATTACH 'iceberg' AS lake {attach} SECRET lake_user)")
        duck.execute("CREATE SCHEMA lake.s")
        duck.execute("CREATE TABLE lake.s.t AS SELECT 7 AS seven")
        assert duck.execute("SELECT * FROM lake.s.t").fetchall() == [(7,)]
