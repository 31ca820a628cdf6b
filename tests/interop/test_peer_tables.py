"""Tables that PyIceberg wrote, read by Ingot."""

import datetime
import decimal
import math

import pyarrow as pa
import pytest
from pyiceberg.expressions import EqualTo, GreaterThan
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    TruncateTransform,
    VoidTransform,
    YearTransform,
)
from pyiceberg.typedef import Record
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
)

from peer_deletes import (
    commit_deletes,
    field_with_id,
    write_equality_deletes,
    write_position_deletes,
)

UTC = datetime.timezone.utc


def rows_of(table, *columns):
    """An Arrow table's rows, ordered."""
    columns = columns or table.column_names
    return sorted(zip(*(table[name].to_pylist() for name in columns)), key=repr)


def create(catalog, name, schema, spec=PartitionSpec(), **properties):
    return catalog.create_table(f"peer.{name}", schema, partition_spec=spec, properties=properties)


def test_every_type(pyiceberg_catalog, registered, query):
    schema = Schema(
        NestedField(1, "flag", BooleanType()),
        NestedField(2, "small", IntegerType()),
        NestedField(3, "big", LongType()),
        NestedField(4, "single", FloatType()),
        NestedField(5, "wide", DoubleType()),
        NestedField(6, "amount", DecimalType(10, 2)),
        NestedField(7, "day", DateType()),
        NestedField(8, "at", TimestampType()),
        NestedField(9, "at_utc", TimestamptzType()),
        NestedField(10, "name", StringType()),
        NestedField(11, "bytes", BinaryType()),
        NestedField(12, "key", IntegerType(), required=True),
    )
    table = create(pyiceberg_catalog, "every_type", schema)
    at = datetime.datetime(2026, 1, 31, 23, 59, 59, 123456)
    data = {
        "flag": [True, None, False],
        "small": [1, None, -(2**31)],
        "big": [2**62, None, -(2**63)],
        "single": [1.5, None, math.nan],
        "wide": [-0.0, None, math.inf],
        "amount": [decimal.Decimal("12345678.90"), None, decimal.Decimal("-0.01")],
        "day": [datetime.date(2026, 2, 28), None, datetime.date(1969, 12, 31)],
        "at": [at, None, datetime.datetime(1969, 12, 31, 23, 0)],
        "at_utc": [at.replace(tzinfo=UTC), None, datetime.datetime(1960, 1, 1, tzinfo=UTC)],
        "name": ["añ😀", None, ""],
        "bytes": [b"\x00\xff", None, b""],
        "key": [1, 2, 3],
    }
    table.append(pa.table(data, schema=table.schema().as_arrow()))
    name = registered("every_type", table.metadata_location)
    result = query(f"SELECT * FROM {name} ORDER BY key")
    assert result.column_names == list(data)
    for column, expected in data.items():
        actual = result[column].to_pylist()
        if column == "at_utc":
            # Time zones that are equal may print differently.
            assert actual == expected
        else:
            assert repr(actual) == repr(expected), column
    assert query(f"SELECT key FROM {name} WHERE single = 1.5")["key"].to_pylist() == [1]
    assert query(f"SELECT key FROM {name} WHERE isnan(single)")["key"].to_pylist() == [3]
    assert query(f"SELECT key FROM {name} WHERE name IS NULL")["key"].to_pylist() == [2]
    where = "at_utc < TIMESTAMP '1969-12-31 00:00:00 UTC'"
    assert query(f"SELECT key FROM {name} WHERE {where}")["key"].to_pylist() == [3]


PARTITIONED = Schema(
    NestedField(1, "id", LongType()),
    NestedField(2, "region", StringType()),
    NestedField(3, "day", DateType()),
    NestedField(4, "at", TimestampType()),
)


def partitioned_rows():
    start = datetime.datetime(1969, 11, 1, 5)
    ids = list(range(400))
    times = [None if id % 97 == 0 else start + datetime.timedelta(hours=7 * id) for id in ids]
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "region": pa.array([[None, "eu", "us", "añ/b=c", ""][id % 5] for id in ids]),
            "day": pa.array([None if at is None else at.date() for at in times], pa.date32()),
            "at": pa.array(times, pa.timestamp("us")),
        }
    )


@pytest.mark.parametrize(
    "name, column, transform",
    [
        ("identity_text", 2, IdentityTransform()),
        ("identity_date", 3, IdentityTransform()),
        ("month_date", 3, MonthTransform()),
        ("year_time", 4, YearTransform()),
        ("month_time", 4, MonthTransform()),
        ("day_time", 4, DayTransform()),
        ("text_bucket", 2, BucketTransform(3)),
        ("number_bucket", 1, BucketTransform(4)),
        ("text_truncate", 2, TruncateTransform(2)),
        ("number_truncate", 1, TruncateTransform(100)),
        ("void", 2, VoidTransform()),
    ],
)
def test_partitioned(pyiceberg_catalog, registered, query, name, column, transform):
    field = PartitionField(column, 1000, transform, "part")
    table = create(pyiceberg_catalog, name, PARTITIONED, PartitionSpec(field))
    rows = partitioned_rows()
    table.append(rows.slice(0, 250))
    table.append(rows.slice(250))
    ingot = registered(name, table.metadata_location)
    assert rows_of(query(f"SELECT * FROM {ingot}")) == rows_of(rows)
    ids = rows.to_pylist()

    def check(where, expected):
        actual = query(f"SELECT id FROM {ingot} WHERE {where} ORDER BY id")["id"].to_pylist()
        assert actual == [row["id"] for row in ids if expected(row)], where

    check("region = 'eu'", lambda row: row["region"] == "eu")
    check("region IS NULL", lambda row: row["region"] is None)
    check("region <> 'eu'", lambda row: row["region"] not in (None, "eu"))
    check("region IN ('', 'añ/b=c')", lambda row: row["region"] in ("", "añ/b=c"))
    limit = datetime.datetime(1970, 1, 1)
    check(
        "at < TIMESTAMP '1970-01-01 00:00:00'",
        lambda row: row["at"] is not None and row["at"] < limit,
    )
    check(
        "at >= TIMESTAMP '1969-12-31 12:00:00' AND at < TIMESTAMP '1970-01-02 00:00:00'",
        lambda row: row["at"] is not None
        and datetime.datetime(1969, 12, 31, 12) <= row["at"] < datetime.datetime(1970, 1, 2),
    )
    check(
        "day = DATE '1969-12-31'",
        lambda row: row["day"] == datetime.date(1969, 12, 31),
    )
    check("id < 100", lambda row: row["id"] < 100)
    check("id IN (7, 250)", lambda row: row["id"] in (7, 250))
    check("region LIKE 'añ/b%'", lambda row: row["region"] == "añ/b=c")
    check("at IS NULL", lambda row: row["at"] is None)


def test_partition_names_that_avro_does_not_allow(pyiceberg_catalog, registered, query, execute, opened):
    schema = Schema(
        NestedField(1, "order-date", DateType()),
        NestedField(2, "größe", StringType()),
        NestedField(3, "n", LongType()),
    )
    spec = PartitionSpec(
        PartitionField(1, 1000, MonthTransform(), "order-date month"),
        PartitionField(2, 1001, IdentityTransform(), "größe"),
    )
    table = create(pyiceberg_catalog, "odd_names", schema, spec)
    days = [datetime.date(2026, 1, 5), datetime.date(2026, 2, 5), None]
    rows = pa.table(
        {"order-date": days, "größe": ["S", "M", None], "n": [1, 2, 3]},
        schema=table.schema().as_arrow(),
    )
    table.append(rows)
    ingot = registered("odd_names", table.metadata_location)

    def numbers(where):
        return query(f"SELECT n FROM {ingot} WHERE {where} ORDER BY n")["n"].to_pylist()

    assert numbers("\"größe\" = 'S'") == [1]
    assert numbers("\"größe\" IS NULL") == [3]
    assert numbers("\"order-date\" >= DATE '2026-02-01'") == [2]

    execute(f"INSERT INTO {ingot} VALUES (DATE '2026-02-06', 'S', 4)")
    execute(f"UPDATE {ingot} SET n = 20 WHERE n = 2")
    execute(f"DELETE FROM {ingot} WHERE n = 3")
    assert numbers("\"größe\" = 'S'") == [1, 4]
    peer = opened(ingot)
    for row_filter, expected in [
        (EqualTo("größe", "S"), [1, 4]),
        (EqualTo("größe", "M"), [20]),
        (GreaterThan("n", 0), [1, 4, 20]),
    ]:
        found = peer.scan(row_filter=row_filter).to_arrow()["n"].to_pylist()
        assert sorted(found) == expected, row_filter
    partitions = peer.inspect.partitions()["partition"].to_pylist()
    assert sorted(row["größe"] for row in partitions) == ["M", "S", "S"]


def test_evolved_schema_and_time_travel(pyiceberg_catalog, registered, query):
    schema = Schema(
        NestedField(1, "id", IntegerType()),
        NestedField(2, "price", FloatType()),
        NestedField(3, "amount", DecimalType(5, 2)),
        NestedField(4, "gone", StringType()),
        NestedField(5, "name", StringType()),
    )
    table = create(pyiceberg_catalog, "evolved", schema)
    first = pa.table(
        {
            "id": [1, 2],
            "price": [0.5, None],
            "amount": [decimal.Decimal("1.50"), None],
            "gone": ["x", "y"],
            "name": ["one", "two"],
        },
        schema=table.schema().as_arrow(),
    )
    table.append(first)
    first_snapshot = table.current_snapshot().snapshot_id
    with table.update_schema() as update:
        update.update_column("id", LongType())
        update.update_column("price", DoubleType())
        update.update_column("amount", DecimalType(12, 2))
        update.delete_column("gone")
        update.rename_column("name", "label")
        update.add_column("added", StringType())
    with table.update_schema() as update:
        update.move_first("label")
    # A column that has the name of a dropped one is another column.
    with table.update_schema() as update:
        update.add_column("gone", IntegerType())
    second = pa.table(
        {
            "label": ["three"],
            "id": [2**40],
            "price": [1e300],
            "amount": [decimal.Decimal("1234567890.12")],
            "added": ["new"],
            "gone": [7],
        },
        schema=table.schema().as_arrow(),
    )
    table.append(second)
    name = registered("evolved", table.metadata_location)
    result = query(f"SELECT * FROM {name} ORDER BY id")
    assert result.column_names == ["label", "id", "price", "amount", "added", "gone"]
    assert result.to_pylist() == [
        dict(label="one", id=1, price=0.5, amount=decimal.Decimal("1.50"), added=None, gone=None),
        dict(label="two", id=2, price=None, amount=None, added=None, gone=None),
        dict(
            label="three",
            id=2**40,
            price=1e300,
            amount=decimal.Decimal("1234567890.12"),
            added="new",
            gone=7,
        ),
    ]
    found = query(f"SELECT label FROM {name} WHERE id > 1 AND id < {2**40}")
    assert found["label"].to_pylist() == ["two"]
    found = query(f"SELECT label FROM {name} WHERE added IS NULL ORDER BY label")
    assert found["label"].to_pylist() == ["one", "two"]
    found = query(f"SELECT label FROM {name} WHERE gone = 7")
    assert found["label"].to_pylist() == ["three"]

    earlier = query(f"SELECT * FROM {name} FOR VERSION AS OF {first_snapshot} ORDER BY id")
    assert earlier.to_pylist() == first.to_pylist()


def test_evolved_partitioning(pyiceberg_catalog, registered, query):
    table = create(pyiceberg_catalog, "respecified", PARTITIONED)
    rows = partitioned_rows()
    table.append(rows.slice(0, 100))
    with table.update_spec() as update:
        update.add_field("at", MonthTransform(), "by_month")
    table.append(rows.slice(100, 100))
    with table.update_spec() as update:
        update.remove_field("by_month")
        update.add_field("region", IdentityTransform(), "by_region")
    table.append(rows.slice(200))
    name = registered("respecified", table.metadata_location)
    assert rows_of(query(f"SELECT * FROM {name}")) == rows_of(rows)
    where = "region = 'us' AND at > TIMESTAMP '1970-01-10 00:00:00'"
    expected = [
        row["id"]
        for row in rows.to_pylist()
        if row["region"] == "us" and row["at"] and row["at"] > datetime.datetime(1970, 1, 10)
    ]
    found = query(f"SELECT id FROM {name} WHERE {where} ORDER BY id")
    assert found["id"].to_pylist() == expected


def data_files(table):
    """Path, partition and rows of each live data file."""
    for task in table.scan().plan_files():
        yield task.file


def test_position_deletes(pyiceberg_catalog, registered, query):
    spec = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "region"))
    table = create(pyiceberg_catalog, "positions", PARTITIONED, spec)
    rows = partitioned_rows()
    table.append(rows.slice(0, 300))
    before = table.current_snapshot().snapshot_id
    removed = set()
    deletes = []
    for file in data_files(table):
        region = file.partition[0]
        ids = [row["id"] for row in rows.slice(0, 300).to_pylist() if row["region"] == region]
        # The first, the last and every third row of the file.
        positions = {0, len(ids) - 1, *range(0, len(ids), 3)}
        removed.update(ids[position] for position in positions)
        pairs = [(file.file_path, position) for position in positions]
        deletes.append(write_position_deletes(table, Record(region), 0, pairs))
    table = commit_deletes(pyiceberg_catalog, table, deletes)
    table.append(rows.slice(300))
    expected = [row for row in rows.to_pylist() if row["id"] not in removed]
    # PyIceberg agrees on what is left.
    assert rows_of(table.scan().to_arrow()) == rows_of(pa.Table.from_pylist(expected))
    name = registered("positions", table.metadata_location)
    assert rows_of(query(f"SELECT * FROM {name}")) == rows_of(pa.Table.from_pylist(expected))
    count = query(f"SELECT count(*) AS n FROM {name}")["n"].to_pylist()
    assert count == [len(expected)]
    count = query(f"SELECT count(*) AS n FROM {name} WHERE region = 'eu' AND id > 50")
    eu = [row for row in expected if row["region"] == "eu" and row["id"] > 50]
    assert count["n"].to_pylist() == [len(eu)]
    count = query(f"SELECT count(*) AS n FROM {name} FOR VERSION AS OF {before}")
    assert count["n"].to_pylist() == [300]


def test_equality_deletes(pyiceberg_catalog, registered, query):
    table = create(pyiceberg_catalog, "equality", PARTITIONED)
    rows = partitioned_rows()
    table.append(rows.slice(0, 300))
    compared = pa.schema([field_with_id("region", pa.string(), 2, nullable=True)])
    condition = pa.table([pa.array(["eu", None])], schema=compared)
    deletes = write_equality_deletes(table, Record(), 0, condition, [2])
    table = commit_deletes(pyiceberg_catalog, table, [deletes])
    # Rows that come later are not deleted.
    table.append(rows.slice(300))
    name = registered("equality", table.metadata_location)
    expected = [
        row for row in rows.to_pylist() if row["id"] >= 300 or row["region"] not in (None, "eu")
    ]
    assert rows_of(query(f"SELECT * FROM {name}")) == rows_of(pa.Table.from_pylist(expected))
    count = query(f"SELECT count(*) AS n FROM {name} WHERE id < 300")["n"].to_pylist()
    assert count == [len([row for row in expected if row["id"] < 300])]


def test_hour_partitions_and_overwrites(pyiceberg_catalog, registered, query):
    spec = PartitionSpec(PartitionField(4, 1000, HourTransform(), "by_hour"))
    table = create(pyiceberg_catalog, "hours", PARTITIONED, spec)
    rows = partitioned_rows().slice(0, 40)
    table.append(rows)
    table.delete("id >= 10 and id < 20")
    table.overwrite(rows.slice(0, 2), "id < 5")
    name = registered("hours", table.metadata_location)
    expected = rows_of(table.scan().to_arrow())
    assert rows_of(query(f"SELECT * FROM {name}")) == expected
    assert len(expected) == 27
