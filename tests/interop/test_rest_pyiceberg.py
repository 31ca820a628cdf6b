"""PyIceberg on Ingot's tables through the REST catalog, both ways and at the same time."""

import concurrent.futures
import datetime

import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
    UnauthorizedError,
)
from pyiceberg.expressions import EqualTo, GreaterThan
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.update import AssertRefSnapshotId, SetPropertiesUpdate
from pyiceberg.transforms import BucketTransform, DayTransform
from pyiceberg.types import DateType, LongType, NestedField, StringType

from conftest import running_server

SCHEMA = Schema(
    NestedField(1, "id", LongType(), required=True),
    NestedField(2, "day", DateType()),
    NestedField(3, "name", StringType()),
)
ARROW = pa.schema(
    [pa.field("id", pa.int64(), nullable=False), ("day", pa.date32()), ("name", pa.string())]
)


def rows(*ids, name="n"):
    start = datetime.date(2026, 1, 1)
    return pa.table(
        {
            "id": list(ids),
            "day": [start + datetime.timedelta(days=number % 5) for number in ids],
            "name": [f"{name}{number}" for number in ids],
        },
        schema=ARROW,
    )


def in_pyiceberg(catalog, name):
    table = catalog.load_table(name).scan().to_arrow()
    return sorted(zip(*(table[column].to_pylist() for column in table.column_names)))


def in_ingot(query, name):
    table = query(f"SELECT * FROM {name}")
    return sorted(zip(*(table[column].to_pylist() for column in table.column_names)))


def test_namespaces(rest_catalog, execute):
    rest_catalog.create_namespace("rest_ns", {"owner": "ann"})
    assert ("rest_ns",) in rest_catalog.list_namespaces()
    assert ("rest_ns",) in [tuple(row) for row in execute("SHOW SCHEMAS")]
    assert rest_catalog.namespace_exists("rest_ns")
    assert not rest_catalog.namespace_exists("rest_none")
    with pytest.raises(NamespaceAlreadyExistsError):
        rest_catalog.create_namespace("rest_ns")
    summary = rest_catalog.update_namespace_properties("rest_ns", {"owner"}, {"a": "1"})
    assert (summary.removed, summary.updated) == (["owner"], ["a"])
    properties = rest_catalog.load_namespace_properties("rest_ns")
    assert properties["a"] == "1" and "owner" not in properties
    execute("CREATE TABLE rest_ns.t (id bigint)")
    assert rest_catalog.list_tables("rest_ns") == [("rest_ns", "t")]
    with pytest.raises(NamespaceNotEmptyError):
        rest_catalog.drop_namespace("rest_ns")
    rest_catalog.drop_table("rest_ns.t")
    rest_catalog.drop_namespace("rest_ns")
    with pytest.raises(NoSuchNamespaceError):
        rest_catalog.list_tables("rest_ns")


def test_a_table_of_ingot(rest_catalog, execute, query, schema):
    name = f"{schema}.rest_of_ingot"
    execute(
        f"CREATE TABLE {name} (id bigint NOT NULL, day date, name varchar) "
        "WITH (partitioning = ARRAY['day'])"
    )
    execute(f"INSERT INTO {name} VALUES (1, DATE '2026-01-02', 'n1'), (2, NULL, NULL)")
    expected = [(1, datetime.date(2026, 1, 2), "n1"), (2, None, None)]
    assert in_pyiceberg(rest_catalog, name) == expected
    table = rest_catalog.load_table(name)
    table.append(rows(3, 4))
    # The next statement sees it.
    assert in_ingot(query, name) == in_pyiceberg(rest_catalog, name)
    assert query(f"SELECT count(*) AS n FROM {name}")["n"].to_pylist() == [4]
    execute(f"DELETE FROM {name} WHERE id = 1")
    execute(f"UPDATE {name} SET name = 'changed' WHERE id = 3")
    assert in_pyiceberg(rest_catalog, name) == in_ingot(query, name)
    assert len(in_pyiceberg(rest_catalog, name)) == 3


@pytest.mark.parametrize(
    "spec",
    [
        PartitionSpec(),
        PartitionSpec(PartitionField(2, 1000, DayTransform(), "day_day")),
        PartitionSpec(PartitionField(1, 1000, BucketTransform(4), "id_bucket")),
    ],
    ids=["plain", "daily", "bucketed"],
)
def test_a_table_of_pyiceberg(rest_catalog, execute, query, schema, request, spec):
    name = f"{schema}.rest_of_pyiceberg_{request.node.callspec.id}"
    table = rest_catalog.create_table(name, SCHEMA, partition_spec=spec, properties={"a": "1"})
    with pytest.raises(TableAlreadyExistsError):
        rest_catalog.create_table(name, SCHEMA)
    assert in_ingot(query, name) == []
    table.append(rows(*range(20)))
    table.append(rows(*range(20, 30)))
    assert in_ingot(query, name) == in_pyiceberg(rest_catalog, name)
    found = query(f"SELECT id FROM {name} WHERE day = DATE '2026-01-03' ORDER BY id")
    assert found["id"].to_pylist() == [2, 7, 12, 17, 22, 27]

    table.overwrite(rows(100, 101, name="new"), overwrite_filter=GreaterThan("id", 24))
    table.delete(EqualTo("id", 7))
    expected = [number for number in range(25) if number != 7] + [100, 101]
    assert [row[0] for row in in_ingot(query, name)] == expected
    execute(f"INSERT INTO {name} VALUES (200, DATE '2026-02-01', 'ingot')")
    assert [row[0] for row in in_pyiceberg(rest_catalog, name)] == [*expected, 200]
    before = rest_catalog.load_table(name).history()[0].snapshot_id
    old = query(f"SELECT id FROM {name} FOR VERSION AS OF {before} ORDER BY id")
    assert old["id"].to_pylist() == list(range(20))


def test_a_table_evolves_on_both_sides(rest_catalog, execute, query, schema):
    name = f"{schema}.rest_evolved"
    table = rest_catalog.create_table(name, SCHEMA)
    table.append(rows(1, 2))
    with table.update_schema() as update:
        update.add_column("extra", LongType())
        update.rename_column("name", "label")
    with table.update_spec() as update:
        update.add_field("id", BucketTransform(2), "id_bucket")
    execute(f"ALTER TABLE {name} ADD COLUMN more varchar")
    execute(f"INSERT INTO {name} VALUES (3, NULL, 'l', 30, 'm')")
    table.refresh()
    assert [field.name for field in table.schema().fields] == ["id", "day", "label", "extra", "more"]
    day = [datetime.date(2026, 1, 2), datetime.date(2026, 1, 3)]
    expected = [
        (1, day[0], "n1", None, None),
        (2, day[1], "n2", None, None),
        (3, None, "l", 30, "m"),
    ]
    assert in_ingot(query, name) == expected
    assert in_pyiceberg(rest_catalog, name) == expected
    table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, "v1").commit()
    execute(f"INSERT INTO {name} VALUES (4, NULL, NULL, NULL, NULL)")
    assert len(query(f"SELECT * FROM {name} FOR VERSION AS OF 'v1'")) == 3


def test_a_table_is_created_with_its_rows(rest_catalog, query, schema):
    name = f"{schema}.rest_created_with_rows"
    spec = PartitionSpec(PartitionField(2, 1000, DayTransform(), "day_day"))
    with rest_catalog.create_table_transaction(name, SCHEMA, partition_spec=spec) as transaction:
        with transaction.update_snapshot().fast_append() as append:
            from pyiceberg.io.pyarrow import _dataframe_to_data_files

            files = _dataframe_to_data_files(
                table_metadata=transaction.table_metadata,
                df=rows(1, 2, 3),
                io=transaction._table.io,
            )
            for file in files:
                append.append_data_file(file)
        with pytest.raises(NoSuchTableError):
            rest_catalog.load_table(name)
    assert in_ingot(query, name) == in_pyiceberg(rest_catalog, name)
    assert [row[0] for row in in_ingot(query, name)] == [1, 2, 3]


def test_a_replacement_keeps_its_history(rest_catalog, execute, query, schema):
    name = f"{schema}.rest_replaced"
    rest_catalog.create_table(name, SCHEMA).append(rows(1, 2))
    execute(f"CREATE OR REPLACE TABLE {name} AS SELECT BIGINT '7' AS id, 'x' AS word")
    table = rest_catalog.load_table(name)
    assert in_pyiceberg(rest_catalog, name) == [(7, "x")]
    first = table.history()[0].snapshot_id
    assert table.scan(snapshot_id=first).to_arrow()["id"].to_pylist() == [1, 2]


def test_tables_are_renamed_registered_and_dropped(rest_catalog, query, schema):
    name = f"{schema}.rest_renamed"
    rest_catalog.create_table(name, SCHEMA).append(rows(1))
    rest_catalog.rename_table(name, f"{schema}.rest_new_name")
    assert in_ingot(query, f"{schema}.rest_new_name") == [(1, datetime.date(2026, 1, 2), "n1")]
    with pytest.raises(NoSuchTableError):
        rest_catalog.load_table(name)
    location = rest_catalog.load_table(f"{schema}.rest_new_name").metadata_location
    rest_catalog.drop_table(f"{schema}.rest_new_name")
    with pytest.raises(Exception, match="rest_new_name"):
        query(f"SELECT * FROM {schema}.rest_new_name")
    rest_catalog.register_table(f"{schema}.rest_back", location)
    assert in_ingot(query, f"{schema}.rest_back") == [(1, datetime.date(2026, 1, 2), "n1")]
    rest_catalog.purge_table(f"{schema}.rest_back")
    assert not rest_catalog.table_exists(f"{schema}.rest_back")


def test_views_are_listed_and_dropped(rest_catalog, execute, schema):
    execute(f"CREATE VIEW {schema}.rest_view AS SELECT 1 AS one")
    assert (schema, "rest_view") in rest_catalog.list_views(schema)
    assert rest_catalog.view_exists(f"{schema}.rest_view")
    with pytest.raises(NoSuchTableError):
        rest_catalog.load_table(f"{schema}.rest_view")
    rest_catalog.drop_view(f"{schema}.rest_view")
    assert not rest_catalog.view_exists(f"{schema}.rest_view")


def test_a_stale_commit_is_refused(rest_catalog, execute, query, schema):
    name = f"{schema}.rest_stale"
    table = rest_catalog.create_table(name, SCHEMA)
    table.append(rows(1))
    seen = AssertRefSnapshotId(ref="main", snapshot_id=table.current_snapshot().snapshot_id)
    execute(f"INSERT INTO {name} VALUES (2, NULL, NULL)")
    with pytest.raises(CommitFailedException):
        rest_catalog.commit_table(table, (seen,), (SetPropertiesUpdate(updates={"a": "1"}),))
    assert "a" not in rest_catalog.load_table(name).properties
    assert [row[0] for row in in_ingot(query, name)] == [1, 2]


def test_appends_from_both_sides_at_once(server, rest_catalog, query, schema):
    """Every row is there exactly once, whatever the order."""
    import adbc_driver_flightsql.dbapi as flight_sql

    name = f"{schema}.rest_concurrent"
    rest_catalog.create_table(name, SCHEMA)
    writers, commits = 3, 6

    def by_pyiceberg(writer):
        catalog = RestCatalog(f"writer{writer}", uri=server.rest_uri)
        for number in range(commits):
            while True:
                try:
                    catalog.load_table(name).append(rows(1000 * writer + number))
                    break
                except CommitFailedException:
                    continue

    def by_ingot(writer):
        with flight_sql.connect(server.uri, autocommit=True) as connection:
            for number in range(commits):
                with connection.cursor() as cursor:
                    cursor.execute(f"INSERT INTO {name} VALUES ({1000 * writer + number}, NULL, NULL)")

    with concurrent.futures.ThreadPoolExecutor() as pool:
        tasks = [pool.submit(by_pyiceberg, writer) for writer in range(writers)]
        tasks += [pool.submit(by_ingot, writer + writers) for writer in range(writers)]
        for task in tasks:
            task.result()
    expected = [1000 * writer + number for writer in range(2 * writers) for number in range(commits)]
    assert [row[0] for row in in_ingot(query, name)] == expected
    assert [row[0] for row in in_pyiceberg(rest_catalog, name)] == expected
    snapshots = rest_catalog.load_table(name).metadata.snapshots
    assert len(snapshots) == len(expected)


def test_passwords_and_tokens(tmp_path):
    settings = '[[coordinator.users]]\nname = "ann"\npassword = "se:cret"\n'
    with running_server(tmp_path, settings) as server:
        with pytest.raises(UnauthorizedError):
            RestCatalog("none", uri=server.rest_uri)
        with pytest.raises(UnauthorizedError):
            RestCatalog(
                "wrong",
                uri=server.rest_uri,
                auth={"type": "basic", "basic": {"username": "ann", "password": "x"}},
            )
        by_token = RestCatalog("token", uri=server.rest_uri, credential="ann:se:cret")
        by_token.create_namespace("s")
        by_token.create_table("s.t", SCHEMA).append(rows(1))
        by_password = RestCatalog(
            "password",
            uri=server.rest_uri,
            auth={"type": "basic", "basic": {"username": "ann", "password": "se:cret"}},
        )
        assert by_password.load_table("s.t").scan().to_arrow()["id"].to_pylist() == [1]


def test_it_can_be_switched_off(tmp_path):
    import urllib.error
    import urllib.request

    with running_server(tmp_path, "[coordinator]\nrest_catalog = false\n") as server:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.rest_uri}/v1/config")
        assert refused.value.code == 404
