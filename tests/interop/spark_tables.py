"""Writes Iceberg tables with Spark, and what they hold as JSON.

Usage: python spark_tables.py FOLDER ICEBERG-RUNTIME-JAR
Prints one JSON object: for each table its metadata location and its rows, ordered by id.
Run by test_spark_tables.py, possibly with another Python than the tests'.
"""

import json
import pathlib
import sys

from pyspark.sql import SparkSession

folder, jar = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.jars", jar)
    .config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
    .config("spark.sql.catalog.peer", "org.apache.iceberg.spark.SparkCatalog")
    .config("spark.sql.catalog.peer.type", "hadoop")
    .config("spark.sql.catalog.peer.warehouse", folder)
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")

MERGE_ON_READ = (
    "'write.delete.mode'='merge-on-read', 'write.update.mode'='merge-on-read', "
    "'write.merge.mode'='merge-on-read'"
)
SOURCE = (
    "SELECT id, concat('n', id % 13) AS name, "
    "timestamp_ntz'1969-12-30 00:00:00' + make_dt_interval(0, id) AS at, "
    "CAST(id AS decimal(10, 2)) / 4 AS amount FROM range(1000)"
)


def change(name):
    """Deletes, updates and merges, each a commit of its own."""
    spark.sql(f"DELETE FROM peer.db.{name} WHERE id % 10 = 3")
    spark.sql(f"UPDATE peer.db.{name} SET name = 'changed' WHERE id % 50 = 7")
    spark.sql(
        f"MERGE INTO peer.db.{name} t USING (SELECT id * 20 AS id FROM range(60)) s ON t.id = s.id "
        "WHEN MATCHED AND t.id < 500 THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET amount = -1 "
        "WHEN NOT MATCHED THEN INSERT (id, name, at, amount) VALUES (s.id, NULL, NULL, NULL)"
    )
    spark.sql(f"DELETE FROM peer.db.{name} WHERE id BETWEEN 100 AND 120")


def create(name, partitioning, version, properties=MERGE_ON_READ):
    spark.sql(
        f"CREATE TABLE peer.db.{name} (id bigint, name string, at timestamp_ntz, amount decimal(10, 2)) "
        f"USING iceberg {partitioning} TBLPROPERTIES ('format-version'='{version}', {properties})"
    )
    spark.sql(f"INSERT INTO peer.db.{name} {SOURCE}")


tables = []
for version in [2, 3]:
    for label, partitioning in [
        ("plain", ""),
        ("bucketed", "PARTITIONED BY (bucket(4, id))"),
        ("daily", "PARTITIONED BY (days(at))"),
        ("truncated", "PARTITIONED BY (truncate(2, name))"),
    ]:
        name = f"{label}_v{version}"
        create(name, partitioning, version)
        change(name)
        tables.append(name)

# Partitioning and columns change between commits that delete.
create("evolved", "PARTITIONED BY (bucket(4, id))", 2)
spark.sql("DELETE FROM peer.db.evolved WHERE id % 7 = 0")
spark.sql("ALTER TABLE peer.db.evolved ADD PARTITION FIELD months(at)")
spark.sql("ALTER TABLE peer.db.evolved RENAME COLUMN name TO label")
spark.sql("ALTER TABLE peer.db.evolved ADD COLUMN name string")
spark.sql(
    "INSERT INTO peer.db.evolved SELECT id + 5000, 'later', "
    "timestamp_ntz'2026-01-01 00:00:00', 1, 'new' FROM range(20)"
)
spark.sql("DELETE FROM peer.db.evolved WHERE id % 5 = 0")
tables.append("evolved")

# A table of format version 1 that was upgraded, then deleted from.
create("upgraded", "PARTITIONED BY (days(at))", 1, "'x'='y'")
spark.sql(f"ALTER TABLE peer.db.upgraded SET TBLPROPERTIES ('format-version'='2', {MERGE_ON_READ})")
change("upgraded")
tables.append("upgraded")

# Position deletes that were compacted, and an explicit sort order.
create("compacted", "", 2)
spark.sql("ALTER TABLE peer.db.compacted WRITE ORDERED BY name, id DESC")
change("compacted")
spark.sql("CALL peer.system.rewrite_position_delete_files(table => 'db.compacted', options => map('rewrite-all','true'))")
spark.sql("CALL peer.system.rewrite_manifests('db.compacted')")
tables.append("compacted")

result = {}
for name in tables:
    rows = [row.asDict() for row in spark.sql(f"SELECT * FROM peer.db.{name} ORDER BY id").collect()]
    metadata = sorted(
        pathlib.Path(folder, "db", name, "metadata").glob("v*.metadata.json"),
        key=lambda path: int(path.name[1:].split(".")[0]),
    )[-1]
    files = spark.sql(
        f"SELECT content, count(*) AS n FROM peer.db.{name}.all_files GROUP BY content"
    ).collect()
    result[name] = {
        "metadata": str(metadata),
        "rows": [{column: None if value is None else str(value) for column, value in row.items()} for row in rows],
        "delete_files": sum(row["n"] for row in files if row["content"] != 0),
    }
spark.stop()
pathlib.Path(folder, "tables.json").write_text(json.dumps(result))
