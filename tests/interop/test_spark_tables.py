"""Tables that Spark wrote and changed merge-on-read, read by Ingot.

Needs a Python with pyspark and the Iceberg runtime: this one, or the one that
INGOT_SPARK_PYTHON names (`pip install pyspark==3.5.9 snowpark-connect-deps-iceberg==1.0.2`).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FIND_JAR = (
    "import pathlib, pyspark, snowpark_connect_deps_iceberg as deps; "
    "print(next(pathlib.Path(deps.__file__).parent.rglob('iceberg-spark-runtime-*_2.12-*.jar')))"
)


@pytest.fixture(scope="module")
def spark_tables(server):
    python = os.environ.get("INGOT_SPARK_PYTHON", sys.executable)
    found = subprocess.run([python, "-c", FIND_JAR], capture_output=True, text=True)
    if found.returncode != 0:
        pytest.skip(f"{python} has no pyspark with an Iceberg runtime; see INGOT_SPARK_PYTHON")
    folder = server.warehouse / "of-spark"
    folder.mkdir(parents=True)
    script = Path(__file__).with_name("spark_tables.py")
    written = subprocess.run(
        [python, str(script), str(folder), found.stdout.strip()],
        capture_output=True,
        text=True,
        env={**os.environ, "PYSPARK_PYTHON": python},
    )
    assert written.returncode == 0, written.stdout[-2000:] + written.stderr[-4000:]
    return json.loads((folder / "tables.json").read_text())


@pytest.mark.parametrize(
    "name",
    [
        *(f"{label}_v{version}" for version in (2, 3) for label in ("plain", "bucketed", "daily", "truncated")),
        "evolved",
        "upgraded",
        "compacted",
    ],
)
def test_merge_on_read(spark_tables, registered, query, name):
    table = spark_tables[name]
    assert table["delete_files"] > 0
    ingot = registered(f"spark_{name}", table["metadata"])
    rows = query(f"SELECT * FROM {ingot} ORDER BY id").to_pylist()
    actual = [
        {column: None if value is None else str(value) for column, value in row.items()} for row in rows
    ]
    assert actual == table["rows"]
    count = query(f"SELECT count(*) AS n FROM {ingot}")["n"].to_pylist()
    assert count == [len(table["rows"])]
    expected = [row for row in table["rows"] if 400 <= int(row["id"]) < 620]
    found = query(f"SELECT id FROM {ingot} WHERE id >= 400 AND id < 620 ORDER BY id")
    assert found["id"].to_pylist() == [int(row["id"]) for row in expected]
