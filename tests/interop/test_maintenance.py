"""Tables that Ingot optimized and expired, as PyIceberg and DuckDB see them."""

import pyarrow as pa
import pytest
from conftest import metadata_location
from peer_deletes import commit_deletes, field_with_id, write_equality_deletes
from pyiceberg.typedef import Record
from test_ingot_tables import duck  # noqa: F401
from test_peer_tables import PARTITIONED, create, partitioned_rows, rows_of
from test_row_changes import MODES


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("partitioning", ["", "'kind'", "'bucket(id, 3)', 'kind'"])
def test_maintained_tables(execute, schema, opened, duck, mode, partitioning):  # noqa: F811
    table = f"{schema}.maintained_{mode}_{len(partitioning)}"
    execute(
        f"CREATE TABLE {table} (id bigint NOT NULL, kind varchar, n integer) "
        f"WITH ({MODES[mode]} partitioning = ARRAY[{partitioning}])"
    )
    rows = {}
    states = {}

    def check():
        expected = sorted((id, kind, n) for id, (kind, n) in rows.items())
        peer = opened(table)
        states[peer.current_snapshot().snapshot_id] = expected
        for snapshot in peer.snapshots():
            old = peer.scan(snapshot_id=snapshot.snapshot_id).to_arrow().sort_by("id").to_pylist()
            found = [(row["id"], row["kind"], row["n"]) for row in old]
            assert found == states[snapshot.snapshot_id]
        location = metadata_location(execute, table)
        other = duck.execute(f"SELECT id, kind, n FROM iceberg_scan('{location}') ORDER BY id")
        assert other.fetchall() == expected

    for batch in range(5):
        low = batch * 100
        execute(
            f"INSERT INTO {table} SELECT value, 'k' || CAST(value % 3 AS varchar), "
            f"CAST(value AS integer) FROM generate_series({low}, {low + 99}) AS s(value)"
        )
        rows.update({id: (f"k{id % 3}", id) for id in range(low, low + 100)})
        check()
    execute(f"DELETE FROM {table} WHERE n % 7 = 0")
    rows = {id: row for id, row in rows.items() if row[1] % 7 != 0}
    check()
    # After a copy-on-write DELETE there may be one file only.
    execute(f"INSERT INTO {table} VALUES (600, 'k0', 600), (601, 'k1', 601), (602, 'k2', 602)")
    rows.update({id: (f"k{id % 3}", id) for id in range(600, 603)})
    check()
    before = len(list(opened(table).scan().plan_files()))
    execute(f"ALTER TABLE {table} EXECUTE optimize")
    check()
    files = list(opened(table).scan().plan_files())
    assert len(files) < before
    assert all(not task.delete_files for task in files)
    assert opened(table).current_snapshot().summary.operation.value == "replace"
    execute(f"ALTER TABLE {table} EXECUTE optimize(zorder_by => ARRAY['n', 'kind'])")
    check()
    execute(f"INSERT INTO {table} VALUES (1000, 'k1', 5)")
    rows[1000] = ("k1", 5)
    check()
    execute(f"ALTER TABLE {table} EXECUTE optimize_manifests")
    check()
    execute("SET SESSION expire_snapshots_min_retention = '0s'")
    execute("SET SESSION remove_orphan_files_min_retention = '0s'")
    execute(
        f"ALTER TABLE {table} EXECUTE expire_snapshots(retention_threshold => '0s', retain_last => 2)"
    )
    execute(f"ALTER TABLE {table} EXECUTE remove_orphan_files(retention_threshold => '0s')")
    assert len(opened(table).snapshots()) == 2
    check()


def test_equality_deletes_are_applied(pyiceberg_catalog, registered, execute, query, opened):
    table = create(pyiceberg_catalog, "optimized_equality", PARTITIONED)
    rows = partitioned_rows()
    table.append(rows.slice(0, 200))
    table.append(rows.slice(200, 100))
    compared = pa.schema([field_with_id("region", pa.string(), 2, nullable=True)])
    condition = pa.table([pa.array(["eu", None])], schema=compared)
    deletes = write_equality_deletes(table, Record(), 0, condition, [2])
    table = commit_deletes(pyiceberg_catalog, table, [deletes])
    table.append(rows.slice(300))
    name = registered("optimized_equality", table.metadata_location)
    expected = rows_of(
        pa.Table.from_pylist(
            [
                row
                for row in rows.to_pylist()
                if row["id"] >= 300 or row["region"] not in (None, "eu")
            ]
        )
    )
    execute(f"ALTER TABLE {name} EXECUTE optimize")
    assert rows_of(query(f"SELECT * FROM {name}")) == expected
    # PyIceberg reads no equality deletes: there are none any more.
    peer = opened(name)
    assert rows_of(peer.scan().to_arrow()) == expected
    summary = peer.current_snapshot().summary
    assert summary["removed-delete-files"] == "1"
    # Without a total before, as here, there is none after.
    assert summary["total-delete-files"] in (None, "0")
