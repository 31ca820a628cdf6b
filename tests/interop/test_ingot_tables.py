"""Tables that Ingot wrote, read by PyIceberg and DuckDB."""

import datetime
import decimal
import math

import duckdb
import pytest
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    TruncateTransform,
    YearTransform,
)

from conftest import metadata_location

COLUMNS = (
    "id bigint NOT NULL, flag boolean, small integer, single real, wide double, "
    "amount decimal(12, 2), day date, at timestamp(6), at_utc timestamp(6) with time zone, "
    "name varchar, bytes varbinary"
)

# Rows with nulls, a NaN, times before 1970 and text that is longer than a bound.
ROWS = """
    (1, true, 1, REAL '1.5', DOUBLE '-2.5', DECIMAL '10.25', DATE '2026-01-31',
     TIMESTAMP '2026-01-31 23:59:59.123456', TIMESTAMP '2026-01-31 23:59:59.123456 UTC', 'one', X'00ff'),
    (2, false, -5, CAST('NaN' AS real), CAST('NaN' AS double), DECIMAL '-0.01', DATE '1969-12-31',
     TIMESTAMP '1969-12-31 12:30:00', TIMESTAMP '1969-12-31 12:30:00 UTC', 'añ😀', X''),
    (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (4, true, 2147483647, REAL '0', DOUBLE '0', DECIMAL '9999999999.99', DATE '1970-01-01',
     TIMESTAMP '1970-01-01 00:00:00', TIMESTAMP '1970-01-01 00:00:00 UTC',
     'a very long text that is cut in the bounds of the file', X'ffffffffffffffffffffffffffffffffffff')
"""

EXPECTED = {
    "id": [1, 2, 3, 4],
    "flag": [True, False, None, True],
    "small": [1, -5, None, 2147483647],
    "single": [1.5, math.nan, None, 0.0],
    "wide": [-2.5, math.nan, None, 0.0],
    "amount": [
        decimal.Decimal("10.25"),
        decimal.Decimal("-0.01"),
        None,
        decimal.Decimal("9999999999.99"),
    ],
    "day": [
        datetime.date(2026, 1, 31),
        datetime.date(1969, 12, 31),
        None,
        datetime.date(1970, 1, 1),
    ],
    "at": [
        datetime.datetime(2026, 1, 31, 23, 59, 59, 123456),
        datetime.datetime(1969, 12, 31, 12, 30),
        None,
        datetime.datetime(1970, 1, 1),
    ],
    "name": ["one", "añ😀", None, "a very long text that is cut in the bounds of the file"],
    "bytes": [b"\x00\xff", b"", None, b"\xff" * 18],
}


def check_rows(arrow, context):
    table = arrow.sort_by("id")
    for column, expected in EXPECTED.items():
        actual = table[column].to_pylist()
        assert repr(actual) == repr(expected), f"{context}: {column}"
    utc = datetime.timezone.utc
    times = [time and time.astimezone(utc).replace(tzinfo=None) for time in table["at_utc"].to_pylist()]
    assert times == EXPECTED["at"], f"{context}: at_utc"


@pytest.fixture(scope="session")
def duck():
    """DuckDB with its Iceberg extension, without a network."""
    import duckdb_extension_avro
    import duckdb_extension_iceberg
    import pathlib

    connection = duckdb.connect()
    for name, module in [("avro", duckdb_extension_avro), ("iceberg", duckdb_extension_iceberg)]:
        folder = pathlib.Path(module.__file__).parent
        path = next(folder.glob(f"extensions/*/{name}.duckdb_extension"))
        connection.execute(f"LOAD '{path}'")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def check_with_duckdb(duck, location, context):
    arrow = duck.execute(f"SELECT * FROM iceberg_scan('{location}')").to_arrow_table()
    check_rows(arrow, f"{context} in DuckDB")


TRANSFORMS = [
    ("unpartitioned", "", []),
    ("by_identity", "flag", [IdentityTransform()]),
    ("by_number", "small", [IdentityTransform()]),
    ("by_decimal", "amount", [IdentityTransform()]),
    ("by_text", "name", [IdentityTransform()]),
    ("by_bucket", "bucket(id, 4)", [BucketTransform(4)]),
    ("by_text_bucket", "bucket(name, 3)", [BucketTransform(3)]),
    ("by_decimal_bucket", "bucket(amount, 5)", [BucketTransform(5)]),
    ("by_truncate", "truncate(name, 3)", [TruncateTransform(3)]),
    ("by_number_truncate", "truncate(small, 10)", [TruncateTransform(10)]),
    ("by_year", "year(day)", [YearTransform()]),
    ("by_month", "month(at)", [MonthTransform()]),
    ("by_day", "day(at)", [DayTransform()]),
    ("by_utc_day", "day(at_utc)", [DayTransform()]),
    ("by_hour", "hour(at)", [HourTransform()]),
    ("by_two", "month(day)|bucket(id, 2)", [MonthTransform(), BucketTransform(2)]),
]


@pytest.mark.parametrize("name, partitioning, transforms", TRANSFORMS)
def test_partitioned(execute, query, schema, opened, duck, name, partitioning, transforms):
    table = f"{schema}.{name}"
    fields = ", ".join(f"'{field}'" for field in partitioning.split("|") if field)
    properties = f" WITH (partitioning = ARRAY[{fields}])" if fields else ""
    execute(f"CREATE TABLE {table} ({COLUMNS}){properties}")
    execute(f"INSERT INTO {table} VALUES {ROWS}")
    check_rows(query(f"SELECT * FROM {table}"), "Ingot")

    peer = opened(table)
    assert [field.transform for field in peer.spec().fields] == transforms
    types = {field.name: str(field.field_type) for field in peer.schema().fields}
    assert types == {
        "id": "long",
        "flag": "boolean",
        "small": "int",
        "single": "float",
        "wide": "double",
        "amount": "decimal(12, 2)",
        "day": "date",
        "at": "timestamp",
        "at_utc": "timestamptz",
        "name": "string",
        "bytes": "binary",
    }
    assert peer.schema().find_field("id").required
    assert peer.format_version == 2
    check_rows(peer.scan().to_arrow(), "PyIceberg")

    # PyIceberg prunes by our partition values and bounds.
    for row_filter, expected in [
        ("id = 4", [4]),
        ("flag = false", [2]),
        ("small >= 1", [1, 4]),
        ("amount < 0", [2]),
        ("day = '1969-12-31'", [2]),
        ("at > '1969-12-31T12:30:00'", [1, 4]),
        ("at < '1970-01-01T00:00:00'", [2]),
        ("name = 'añ😀'", [2]),
        ("name >= 'a very long text'", [1, 2, 4]),
        ("name is null", [3]),
        ("bytes is null", [3]),
    ]:
        found = peer.scan(row_filter=row_filter).to_arrow()["id"].to_pylist()
        assert sorted(found) == expected, row_filter

    # Only the files are asked for: pyarrow's own row group pruning loses NaNs.
    files = list(peer.scan(row_filter="wide is nan").plan_files())
    assert len(files) == 1

    check_with_duckdb(duck, metadata_location(execute, table), name)


def test_metrics(execute, schema, opened):
    table = f"{schema}.metrics"
    execute(f"CREATE TABLE {table} ({COLUMNS})")
    execute(f"INSERT INTO {table} VALUES {ROWS}")
    peer = opened(table)
    files = peer.inspect.files().to_pylist()
    assert sum(file["record_count"] for file in files) == 4
    ids = {field.name: field.field_id for field in peer.schema().fields}
    nulls, nans, values = {}, {}, {}
    for file in files:
        for counts, total in [
            (file["null_value_counts"], nulls),
            (file["nan_value_counts"], nans),
            (file["value_counts"], values),
        ]:
            for id, count in counts or []:
                total[id] = total.get(id, 0) + count
    for name, id in ids.items():
        assert values[id] == 4, name
        assert nulls[id] == (0 if name == "id" else 1), name
    assert nans[ids["single"]] == 1
    assert nans[ids["wide"]] == 1
    for file in files:
        metrics = file["readable_metrics"]
        assert metrics["id"]["lower_bound"] >= 1
        assert metrics["id"]["upper_bound"] <= 4
        assert metrics["name"]["lower_bound"] is None or metrics["name"]["lower_bound"] <= "añ😀"
        for bound in [metrics["wide"]["lower_bound"], metrics["wide"]["upper_bound"]]:
            assert bound is None or not math.isnan(bound)
    snapshot = peer.current_snapshot()
    assert snapshot.summary["total-records"] == "4"
    assert snapshot.summary["total-data-files"] == str(len(files))


def test_create_table_as_and_replace_keep_history(execute, query, schema, opened, duck):
    table = f"{schema}.replaced"
    execute(f"CREATE TABLE {table} AS SELECT 1 AS a, 'x' AS b")
    first = opened(table).current_snapshot().snapshot_id
    execute(
        f"CREATE OR REPLACE TABLE {table} WITH (partitioning = ARRAY['c']) AS "
        "SELECT v AS c, CAST(v AS double) / 2 AS d FROM (VALUES (1), (2), (3)) AS t(v)"
    )
    peer = opened(table)
    assert len(peer.snapshots()) == 2
    assert peer.current_snapshot().parent_snapshot_id in (None, first)
    current = peer.scan().to_arrow().sort_by("c")
    assert current["d"].to_pylist() == [0.5, 1.0, 1.5]
    assert peer.scan(snapshot_id=first).to_arrow().to_pylist() == [{"a": 1, "b": "x"}]
    assert query(f"SELECT * FROM {table} FOR VERSION AS OF {first}").to_pylist() == [
        {"a": 1, "b": "x"}
    ]
    location = metadata_location(execute, table)
    count = duck.execute(f"SELECT count(*) FROM iceberg_scan('{location}')").fetchone()
    assert count == (3,)


def test_sorted_tables(execute, schema, opened):
    table = f"{schema}.sorted"
    execute(
        f"CREATE TABLE {table} (a integer, b varchar) "
        "WITH (sorted_by = ARRAY['a DESC NULLS LAST', 'b'])"
    )
    execute(f"INSERT INTO {table} VALUES (2, 'b'), (NULL, 'x'), (3, 'a'), (2, 'a')")
    peer = opened(table)
    order = peer.sort_order()
    assert [(field.source_id, str(field.direction), str(field.null_order)) for field in order.fields] == [
        (1, "SortDirection.DESC", "NullOrder.NULLS_LAST"),
        (2, "SortDirection.ASC", "NullOrder.NULLS_FIRST"),
    ] or [str(field) for field in order.fields] == [
        "1 DESC NULLS LAST",
        "2 ASC NULLS FIRST",
    ]
    rows = peer.scan().to_arrow().to_pylist()
    assert [(row["a"], row["b"]) for row in rows] == [(3, "a"), (2, "a"), (2, "b"), (None, "x")]


def test_nested_types(execute, query, schema, opened):
    table = f"{schema}.nested"
    execute(
        f"CREATE TABLE {table} AS SELECT 1 AS id, ARRAY[1, 2, NULL] AS numbers, "
        "named_struct('x', 1, 'y', 'text') AS pair, "
        "MAP(ARRAY['a', 'b'], ARRAY[1, 2]) AS lookup"
    )
    rows = opened(table).scan().to_arrow().to_pylist()
    assert rows[0]["numbers"] == [1, 2, None]
    assert rows[0]["pair"] == {"x": 1, "y": "text"}
    assert dict(rows[0]["lookup"]) == {"a": 1, "b": 2}
    assert query(f"SELECT pair, numbers FROM {table}").to_pylist() == [
        {"pair": {"x": 1, "y": "text"}, "numbers": [1, 2, None]}
    ]


def test_many_rows(execute, query, schema, opened, duck):
    """Several files and row groups: counts and sums agree."""
    table = f"{schema}.many"
    execute(
        f"CREATE TABLE {table} WITH (partitioning = ARRAY['bucket(id, 3)']) AS "
        "SELECT value AS id, value % 7 AS k, CAST(value AS varchar) AS t "
        "FROM generate_series(1, 100000) AS s(value)"
    )
    expected = (100000, sum(range(1, 100001)), 7)
    sql = "SELECT count(*), sum(id), count(DISTINCT k) FROM {}"
    ingot = query(sql.format(table))
    assert tuple(column[0].as_py() for column in ingot.columns) == expected
    location = metadata_location(execute, table)
    other = duck.execute(sql.format(f"iceberg_scan('{location}')")).fetchone()
    assert other == expected
    assert opened(table).scan(row_filter="id < 11").to_arrow().num_rows == 10
