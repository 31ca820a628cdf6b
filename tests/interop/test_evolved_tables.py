"""Tables whose columns, partitioning and branches Ingot changed, read by PyIceberg and DuckDB."""

import decimal

from pyiceberg.transforms import BucketTransform, IdentityTransform, MonthTransform

from conftest import metadata_location
from test_ingot_tables import duck  # noqa: F401  (a fixture)


def rows_of(arrow, *columns):
    table = arrow.select(list(columns)).sort_by("id")
    return list(zip(*(table[column].to_pylist() for column in columns)))


def check(opened, duck, execute, query, table, columns, expected):
    """The same rows from Ingot, PyIceberg and DuckDB."""
    assert rows_of(query(f"SELECT * FROM {table}"), *columns) == expected, "Ingot"
    assert rows_of(opened(table).scan().to_arrow(), *columns) == expected, "PyIceberg"
    location = metadata_location(execute, table)
    arrow = duck.execute(f"SELECT * FROM iceberg_scan('{location}')").to_arrow_table()
    assert rows_of(arrow, *columns) == expected, "DuckDB"


def test_evolved_columns(execute, query, schema, opened, duck):
    table = f"{schema}.evolved_columns"
    execute(
        f"CREATE TABLE {table} (id integer NOT NULL, score real, amount decimal(5, 2), "
        "name varchar, gone varchar)"
    )
    execute(f"INSERT INTO {table} VALUES (1, 0.5, 1.25, 'one', 'old'), (2, 1.5, 2.5, NULL, 'old')")
    execute(f"ALTER TABLE {table} ALTER COLUMN id SET DATA TYPE bigint")
    execute(f"ALTER TABLE {table} ALTER COLUMN score SET DATA TYPE double")
    execute(f"ALTER TABLE {table} ALTER COLUMN amount SET DATA TYPE decimal(20, 2)")
    execute(f"ALTER TABLE {table} RENAME COLUMN name TO label")
    execute(f"ALTER TABLE {table} ADD COLUMN city varchar COMMENT 'where' AFTER id")
    execute(f"ALTER TABLE {table} DROP COLUMN gone")
    execute(f"ALTER TABLE {table} ADD COLUMN gone varchar")
    execute(f"ALTER TABLE {table} ALTER COLUMN id DROP NOT NULL")
    execute(f"COMMENT ON TABLE {table} IS 'evolved'")
    execute(
        f"INSERT INTO {table} VALUES (5000000000, 'Rome', 1e300, 123456789012345678.25, 'big', 'new')"
    )
    expected = [
        (1, None, 0.5, decimal.Decimal("1.25"), "one", None),
        (2, None, 1.5, decimal.Decimal("2.50"), None, None),
        (5000000000, "Rome", 1e300, decimal.Decimal("123456789012345678.25"), "big", "new"),
    ]
    columns = ["id", "city", "score", "amount", "label", "gone"]
    check(opened, duck, execute, query, table, columns, expected)

    peer = opened(table)
    assert [field.name for field in peer.schema().fields] == columns
    assert [field.field_id for field in peer.schema().fields] == [1, 6, 2, 3, 4, 7]
    assert not peer.schema().find_field("id").required
    assert peer.schema().find_field("city").doc == "where"
    assert peer.properties["comment"] == "evolved"
    # Bounds of the old types prune as they should.
    for row_filter, ids in [
        ("id > 2147483647", [5000000000]),
        ("id = 2", [2]),
        ("amount > 999", [5000000000]),
        ("city is null", [1, 2]),
        ("gone = 'old'", []),
    ]:
        found = peer.scan(row_filter=row_filter).to_arrow()["id"].to_pylist()
        assert sorted(found) == ids, row_filter


def test_evolved_rows(execute, query, schema, opened):
    table = f"{schema}.evolved_rows"
    execute(f"CREATE TABLE {table} (id integer, address row(street varchar, zip integer))")
    execute(f"INSERT INTO {table} VALUES (1, named_struct('street', 'Via', 'zip', 100)), (2, NULL)")
    execute(f"ALTER TABLE {table} ADD COLUMN address.city varchar")
    execute(f"ALTER TABLE {table} ALTER COLUMN address.zip SET DATA TYPE bigint")
    execute(f"ALTER TABLE {table} RENAME COLUMN address.street TO road")
    execute(
        f"INSERT INTO {table} VALUES (3, named_struct('road', 'Corso', 'zip', 5000000000, 'city', 'Rome'))"
    )
    expected = [
        (1, {"road": "Via", "zip": 100, "city": None}),
        (2, None),
        (3, {"road": "Corso", "zip": 5000000000, "city": "Rome"}),
    ]
    assert rows_of(query(f"SELECT * FROM {table}"), "id", "address") == expected
    assert rows_of(opened(table).scan().to_arrow(), "id", "address") == expected


def test_evolved_partitioning(execute, query, schema, opened, duck):
    table = f"{schema}.repartitioned"
    execute(f"CREATE TABLE {table} (id integer, kind varchar, day date)")
    execute(f"INSERT INTO {table} VALUES (1, 'a', DATE '2026-01-01'), (2, 'b', NULL)")
    execute(f"ALTER TABLE {table} SET PROPERTIES partitioning = ARRAY['kind']")
    execute(f"INSERT INTO {table} VALUES (3, 'a', DATE '2026-02-01'), (4, NULL, DATE '2026-02-01')")
    execute(
        f"ALTER TABLE {table} SET PROPERTIES partitioning = ARRAY['bucket(id, 4)', 'month(day)'], "
        "sorted_by = ARRAY['id DESC']"
    )
    execute(f"INSERT INTO {table} VALUES (5, 'c', DATE '2026-02-02'), (6, 'a', NULL)")
    execute(f"ALTER TABLE {table} ALTER COLUMN id SET DATA TYPE bigint")
    execute(f"INSERT INTO {table} VALUES (5000000000, 'a', DATE '2026-01-31')")
    execute(f"ALTER TABLE {table} SET PROPERTIES partitioning = ARRAY['bucket(id, 8)']")
    execute(f"INSERT INTO {table} VALUES (8, 'a', DATE '2026-01-31')")
    # Back to one that was: its id, its field ids and its name.
    execute(f"ALTER TABLE {table} SET PROPERTIES partitioning = ARRAY['kind']")
    ids = [1, 2, 3, 4, 5, 6, 8, 5000000000]
    kinds = ["a", "b", "a", None, "c", "a", "a", "a"]
    check(opened, duck, execute, query, table, ["id", "kind"], list(zip(ids, kinds)))

    peer = opened(table)
    specs = {spec_id: spec.fields for spec_id, spec in peer.specs().items()}
    assert {spec_id: [field.transform for field in fields] for spec_id, fields in specs.items()} == {
        0: [],
        1: [IdentityTransform()],
        2: [BucketTransform(4), MonthTransform()],
        3: [BucketTransform(8)],
    }
    names = [field.name for fields in specs.values() for field in fields]
    assert sorted(names) == ["day_month", "id_bucket", "id_bucket_8", "kind"]
    field_ids = [field.field_id for fields in specs.values() for field in fields]
    assert sorted(field_ids) == [1000, 1001, 1002, 1003]
    assert peer.spec().spec_id == 1
    for row_filter, expected in [
        ("kind = 'a'", [1, 3, 6, 8, 5000000000]),
        ("kind is null", [4]),
        ("id = 5000000000", [5000000000]),
        ("id in (5, 8)", [5, 8]),
        ("day = '2026-01-31'", [8, 5000000000]),
        ("day is null", [2, 6]),
    ]:
        found = peer.scan(row_filter=row_filter).to_arrow()["id"].to_pylist()
        assert sorted(found) == expected, row_filter


def test_references(execute, schema, opened):
    table = f"{schema}.branched"
    execute(f"CREATE TABLE {table} (id integer)")
    execute(f"INSERT INTO {table} VALUES (1)")
    execute(f"ALTER TABLE {table} CREATE BRANCH audit RETAIN 7 DAYS WITH SNAPSHOT RETENTION 2 SNAPSHOTS")
    execute(f"ALTER TABLE {table} CREATE TAG first_one")
    execute(f"INSERT INTO {table} @ audit VALUES (2)")
    execute(f"INSERT INTO {table} VALUES (3)")
    peer = opened(table)
    references = peer.metadata.refs
    assert {name: reference.snapshot_ref_type.value for name, reference in references.items()} == {
        "main": "branch",
        "audit": "branch",
        "first_one": "tag",
    }
    assert references["audit"].max_ref_age_ms == 7 * 24 * 3600 * 1000
    assert references["audit"].min_snapshots_to_keep == 2
    for name, expected in [("main", [1, 3]), ("audit", [1, 2]), ("first_one", [1])]:
        snapshot_id = peer.snapshot_by_name(name).snapshot_id
        found = peer.scan(snapshot_id=snapshot_id).to_arrow()["id"].to_pylist()
        assert sorted(found) == expected, name
