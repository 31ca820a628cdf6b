"""Rows that Ingot deleted, updated and merged, as PyIceberg and DuckDB see them."""

import pytest
from conftest import metadata_location
from test_ingot_tables import duck  # noqa: F401

MERGE_ON_READ = (
    "\"write.delete.mode\" = 'merge-on-read', \"write.update.mode\" = 'merge-on-read', "
    "\"write.merge.mode\" = 'merge-on-read', "
)
MODES = {
    "cow": "",
    "mor": MERGE_ON_READ,
    "vectors": f"format_version = 3, {MERGE_ON_READ}",
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("partitioning", ["", "'kind'", "'bucket(id, 3)', 'kind'"])
def test_changed_rows(execute, query, schema, opened, duck, mode, partitioning):  # noqa: F811
    table = f"{schema}.changed_{mode}_{len(partitioning)}"
    execute(
        f"CREATE TABLE {table} (id bigint NOT NULL, kind varchar, n integer) "
        f"WITH ({MODES[mode]} partitioning = ARRAY[{partitioning}])"
    )
    execute(
        f"INSERT INTO {table} SELECT value, CASE WHEN value % 10 = 0 THEN NULL "
        "ELSE 'k' || CAST(value % 3 AS varchar) END, CAST(value % 100 AS integer) "
        "FROM generate_series(1, 3000) AS s(value)"
    )
    rows = {
        id: (None if id % 10 == 0 else f"k{id % 3}", id % 100) for id in range(1, 3001)
    }
    states = []

    def check():
        expected = sorted((id, kind, n) for id, (kind, n) in rows.items())
        states.append((opened(table).current_snapshot().snapshot_id, expected))
        peer = opened(table).scan().to_arrow().sort_by("id").to_pylist()
        assert [(row["id"], row["kind"], row["n"]) for row in peer] == expected
        location = metadata_location(execute, table)
        other = duck.execute(f"SELECT id, kind, n FROM iceberg_scan('{location}') ORDER BY id")
        assert other.fetchall() == expected

    check()
    execute(f"DELETE FROM {table} WHERE n < 20 AND id % 2 = 0")
    rows = {id: row for id, row in rows.items() if not (row[1] < 20 and id % 2 == 0)}
    check()
    execute(f"UPDATE {table} SET n = n + 1, kind = 'moved' WHERE id BETWEEN 100 AND 400")
    rows = {
        id: ("moved", n + 1) if 100 <= id <= 400 else (kind, n) for id, (kind, n) in rows.items()
    }
    check()
    execute(f"DELETE FROM {table} WHERE kind = 'moved'")
    rows = {id: row for id, row in rows.items() if row[0] != "moved"}
    check()
    execute(
        f"MERGE INTO {table} AS t USING (SELECT value AS id FROM generate_series(2950, 3050) AS s(value)) "
        "AS s ON t.id = s.id WHEN MATCHED AND t.n > 80 THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET n = -1 WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'new', 0)"
    )
    for id in range(2950, 3051):
        if id not in rows:
            rows[id] = ("new", 0)
        elif rows[id][1] > 80:
            del rows[id]
        else:
            rows[id] = (rows[id][0], -1)
    check()
    peer = opened(table)
    snapshots = sorted(peer.snapshots(), key=lambda snapshot: snapshot.sequence_number)
    operations = [snapshot.summary.operation.value for snapshot in snapshots]
    assert operations[0] == "append"
    assert set(operations[1:]) <= {"delete", "overwrite"}
    for snapshot_id, expected in states:
        old = peer.scan(snapshot_id=snapshot_id).to_arrow().sort_by("id").to_pylist()
        assert [(row["id"], row["kind"], row["n"]) for row in old] == expected
    summary = peer.current_snapshot().summary
    if mode == "cow":
        assert summary["total-records"] == str(len(rows))
        assert summary["total-delete-files"] == "0"
    else:
        assert int(summary["total-position-deletes"]) > 0
    execute(f"TRUNCATE TABLE {table}")
    assert opened(table).scan().to_arrow().num_rows == 0
