"""Ingot through the ADBC driver for Flight SQL."""

import datetime

import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow as pa
import pytest


@pytest.fixture(scope="module")
def table(execute, schema):
    name = f"{schema}.adbc"
    execute(f"CREATE TABLE {name} (id integer NOT NULL, name varchar, at timestamp(6))")
    execute(f"INSERT INTO {name} VALUES (1, 'one', TIMESTAMP '2026-01-01 00:00:00'), (2, NULL, NULL)")
    return name


def test_rows_and_types(query, table):
    result = query(f"SELECT * FROM {table} ORDER BY id")
    assert result.schema.names == ["id", "name", "at"]
    assert result.schema.types == [pa.int32(), pa.string(), pa.timestamp("us")]
    assert result.to_pylist() == [
        {"id": 1, "name": "one", "at": datetime.datetime(2026, 1, 1)},
        {"id": 2, "name": None, "at": None},
    ]


def test_expressions_have_types_that_clients_know(query):
    result = query(
        "SELECT count(*) AS n, 'x' AS t, now() AS at, DECIMAL '1.5' AS d, CAST(1 AS tinyint) AS b, "
        "length('abc') AS l, row_number() OVER () AS r"
    )
    for field in result.schema:
        assert not pa.types.is_unsigned_integer(field.type), field
        assert field.type != pa.string_view(), field
        assert not (pa.types.is_timestamp(field.type) and field.type.unit == "ns"), field


def test_empty_results_keep_their_schema(query, table):
    result = query(f"SELECT id, name FROM {table} WHERE false")
    assert result.num_rows == 0
    assert result.schema.names == ["id", "name"]
    assert result.schema.types == [pa.int32(), pa.string()]


def test_large_results_stream(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT value FROM generate_series(1, 300000) AS s(value)")
        reader = cursor.fetch_record_batch()
        total, batches = 0, 0
        for batch in reader:
            total += batch.num_rows
            batches += 1
        assert total == 300000
        assert batches > 1


def test_prepared_statements_take_parameters(connection, table):
    with connection.cursor() as cursor:
        sql = f"SELECT name FROM {table} WHERE id = ?"
        for id, expected in [(1, [("one",)]), (2, [(None,)]), (3, [])]:
            cursor.execute(sql, (id,))
            assert cursor.fetchall() == expected
        cursor.execute("SELECT $1 || 'x', $2 + 1", ("a", 5))
        assert cursor.fetchall() == [("ax", 6)]


def test_updates_report_row_counts(connection, schema):
    table = f"{schema}.adbc_updates"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {table} (id integer, name varchar)")
        cursor.execute(f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')")
        cursor.execute(f"INSERT INTO {table} SELECT id + 10, name FROM {table}")
        assert cursor.rowcount in (2, -1)
        count = cursor.adbc_statement
        count.set_sql_query(f"INSERT INTO {table} VALUES (5, 'c')")
        assert count.execute_update() == 1
        cursor.execute(f"SELECT count(*) FROM {table}")
        assert cursor.fetchall() == [(5,)]


def test_insert_with_parameters(connection, schema):
    table = f"{schema}.adbc_parameters"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {table} (id integer, name varchar)")
        cursor.execute(f"INSERT INTO {table} VALUES (?, ?)", (7, "seven"))
        cursor.execute(f"SELECT * FROM {table}")
        assert cursor.fetchall() == [(7, "seven")]


def test_objects(connection, schema, table):
    catalogs = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    by_name = {catalog["catalog_name"]: catalog for catalog in catalogs}
    assert "iceberg" in by_name
    schemas = {entry["db_schema_name"]: entry for entry in by_name["iceberg"]["catalog_db_schemas"]}
    tables = {entry["table_name"]: entry for entry in schemas[schema]["db_schema_tables"]}
    columns = [column["column_name"] for column in tables["adbc"]["table_columns"]]
    assert columns == ["id", "name", "at"]

    only_tables = connection.adbc_get_objects(
        depth="tables", db_schema_filter=schema, table_name_filter="adb_"
    )
    found = [
        entry["table_name"]
        for catalog in only_tables.read_all().to_pylist()
        for schema_entry in catalog["catalog_db_schemas"] or []
        for entry in schema_entry["db_schema_tables"] or []
    ]
    assert found == ["adbc"]
    types = connection.adbc_get_table_types()
    assert "TABLE" in types or "BASE TABLE" in types


def test_table_schema(connection, schema, table):
    arrow = connection.adbc_get_table_schema("adbc", db_schema_filter=schema)
    assert arrow.names == ["id", "name", "at"]
    assert not arrow.field("id").nullable


def test_info(connection):
    info = connection.adbc_get_info()
    assert "ingot" in str(info["vendor_name"]).lower()


@pytest.mark.parametrize(
    "sql, expected",
    [
        ("SELECT * FROM interop.no_such", "does not exist"),
        ("SELECT no_such FROM interop.adbc", "no_such"),
        ("SELEC 1", "line 1, column 1"),
        ("SELECT 1 / 0", "zero"),
        ("SELECT CAST('x' AS integer)", "x"),
        ("CREATE TABLE interop.adbc (id integer)", "already exists"),
        ("INSERT INTO interop.adbc VALUES (NULL, 'x', NULL)", "id"),
        ("CALL system.no_such()", "no_such"),
        ("CALL system.register_table('interop', 'x', '/no/such/metadata.json')", "metadata.json"),
    ],
)
def test_errors_say_what_is_wrong(connection, table, sql, expected):
    with connection.cursor() as cursor:
        with pytest.raises(flight_sql.Error) as caught:
            cursor.execute(sql)
            cursor.fetchall()
        message = str(caught.value)
        assert expected in message, message
        assert "\\n" not in message
        # The connection goes on.
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == [(1,)]


def test_sessions_are_apart(server, schema, table):
    with flight_sql.connect(server.uri, autocommit=True) as one:
        with flight_sql.connect(server.uri, autocommit=True) as other:
            with one.cursor() as cursor, other.cursor() as other_cursor:
                cursor.execute(f"USE {schema}")
                cursor.execute("SELECT count(*) FROM adbc")
                assert cursor.fetchall() == [(2,)]
                with pytest.raises(flight_sql.Error):
                    other_cursor.execute("SELECT count(*) FROM adbc")


def test_transactions(server, connection, schema):
    one, two = f"{schema}.adbc_one", f"{schema}.adbc_two"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {one} (id integer)")
        cursor.execute(f"CREATE TABLE {two} (id integer)")

    def count(cursor, table):
        cursor.execute(f"SELECT count(*) FROM {table}")
        return cursor.fetchall()[0][0]

    # As Python's database interface wants it: every statement is part of a transaction.
    with flight_sql.connect(server.uri, autocommit=False) as writer:
        with writer.cursor() as inside, connection.cursor() as outside:
            inside.execute(f"INSERT INTO {one} VALUES (1)")
            inside.execute(f"INSERT INTO {two} VALUES (?)", (2,))
            assert (count(inside, one), count(inside, two)) == (1, 1)
            assert (count(outside, one), count(outside, two)) == (0, 0)
            writer.commit()
            assert (count(outside, one), count(outside, two)) == (1, 1)

            inside.execute(f"DELETE FROM {one}")
            assert count(inside, one) == 0
            writer.rollback()
            assert count(inside, one) == 1
            writer.rollback()

            # Another one was first.
            assert count(inside, two) == 1
            outside.execute(f"INSERT INTO {two} VALUES (3)")
            inside.execute(f"INSERT INTO {two} VALUES (4)")
            with pytest.raises(Exception, match="run the transaction again"):
                writer.commit()
            assert count(outside, two) == 2


def test_transactions_as_statements(connection, schema):
    table = f"{schema}.adbc_statements"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {table} (id integer)")
        cursor.execute("BEGIN")
        cursor.execute(f"INSERT INTO {table} VALUES (1), (2)")
        cursor.execute("ROLLBACK")
        cursor.execute("START TRANSACTION")
        cursor.execute(f"INSERT INTO {table} VALUES (3)")
        cursor.execute("COMMIT")
        cursor.execute(f"SELECT id FROM {table}")
        assert cursor.fetchall() == [(3,)]


def test_branches(connection, schema):
    table = f"{schema}.adbc_branches"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {table} (id integer)")
        cursor.execute("CREATE BRANCH adbc_dev")
        cursor.execute("USE BRANCH adbc_dev")
        cursor.execute(f"CREATE TABLE {table}_new AS SELECT 1 AS id")
        found = connection.adbc_get_objects(depth="tables", db_schema_filter=schema)
        assert "adbc_branches_new" in str(found.read_all().to_pylist())
        cursor.execute("USE BRANCH main")
        found = connection.adbc_get_objects(depth="tables", db_schema_filter=schema)
        assert "adbc_branches_new" not in str(found.read_all().to_pylist())

        cursor.execute("SHOW BRANCHES LIKE 'adbc_dev'")
        (shown,) = cursor.fetch_arrow_table().to_pylist()
        assert (shown["Name"], shown["Kind"], shown["Parent"]) == ("adbc_dev", "branch", "main")
        assert shown["Version"] > shown["Forked At"]
        assert isinstance(shown["Created"], datetime.datetime)
        cursor.execute("MERGE BRANCH adbc_dev INTO main")
        cursor.execute(f"SHOW CATALOG LOG LIKE '{table}_new'")
        merge, create = cursor.fetch_arrow_table().to_pylist()
        assert (merge["Branch"], create["Branch"]) == ("main", "adbc_dev")
        assert merge["Version"] > create["Version"] == shown["Version"]
        assert merge["Changed"] == f"{table}_new"
        assert create["Message"] == f"create table {table}_new"
        assert create["Author"]
        assert merge["Time"] >= create["Time"] >= shown["Created"]
        cursor.execute("DROP BRANCH adbc_dev")
        cursor.execute("SHOW BRANCHES LIKE 'adbc_dev'")
        assert cursor.fetchall() == []
