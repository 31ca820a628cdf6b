"""Reads, writes and merges tables of a REST catalog with Spark.

Usage: python rest_spark.py REST-URI CREDENTIAL ICEBERG-RUNTIME-JAR RESULT-FILE
The namespace `spark` must exist with a table `of_ingot (id bigint, name string)` that has rows.
CREDENTIAL is `user:password`, or empty. Writes one JSON object, name of a result to rows.
Run by test_rest_spark.py, possibly with another Python than the tests'.
"""

import json
import pathlib
import sys

from pyspark.sql import SparkSession
from pyspark.sql.utils import AnalysisException

uri, credential, jar, result_file = sys.argv[1:]
builder = (
    SparkSession.builder.master("local[2]")
    .config("spark.jars", jar)
    .config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
    .config("spark.sql.catalog.lake", "org.apache.iceberg.spark.SparkCatalog")
    .config("spark.sql.catalog.lake.type", "rest")
    .config("spark.sql.catalog.lake.uri", uri)
)
if credential:
    builder = builder.config("spark.sql.catalog.lake.credential", credential)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
results = {}


def rows(name, sql):
    results[name] = [list(row) for row in spark.sql(sql).collect()]


rows("namespaces", "SHOW NAMESPACES IN lake")
rows("of_ingot", "SELECT id, name FROM lake.spark.of_ingot ORDER BY id")
rows("of_ingot_snapshots", "SELECT operation FROM lake.spark.of_ingot.snapshots")

# Rows into Ingot's table, merged on read.
spark.sql("INSERT INTO lake.spark.of_ingot VALUES (10, 'spark'), (11, 'spark')")
spark.sql(
    "ALTER TABLE lake.spark.of_ingot SET TBLPROPERTIES ('write.merge.mode'='merge-on-read', "
    "'write.delete.mode'='merge-on-read')"
)
spark.sql(
    "MERGE INTO lake.spark.of_ingot t USING (SELECT 10 AS id UNION ALL SELECT 20) s ON t.id = s.id "
    "WHEN MATCHED THEN UPDATE SET name = 'merged' "
    "WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, 'new')"
)
spark.sql("DELETE FROM lake.spark.of_ingot WHERE id = 1")

# Tables of Spark's own, also created with their rows in one step.
for version in [2, 3]:
    spark.sql(
        f"CREATE TABLE lake.spark.of_spark_v{version} (id bigint, day date, name string) USING iceberg "
        "PARTITIONED BY (bucket(4, id), months(day)) "
        f"TBLPROPERTIES ('format-version'='{version}', 'write.delete.mode'='merge-on-read')"
    )
    spark.sql(
        f"INSERT INTO lake.spark.of_spark_v{version} "
        "SELECT id, date_add(date'2026-01-01', CAST(id AS int)), concat('n', id) FROM range(100)"
    )
    spark.sql(f"DELETE FROM lake.spark.of_spark_v{version} WHERE id % 3 = 0")
spark.sql(
    "CREATE TABLE lake.spark.ctas USING iceberg PARTITIONED BY (id) "
    "AS SELECT id, id * 2 AS twice FROM range(5)"
)
spark.sql(
    "CREATE OR REPLACE TABLE lake.spark.ctas USING iceberg "
    "AS SELECT id, CAST(id AS string) AS text FROM range(3)"
)
rows("ctas", "SELECT * FROM lake.spark.ctas ORDER BY id")
spark.sql("ALTER TABLE lake.spark.ctas ADD COLUMN more int")
spark.sql("ALTER TABLE lake.spark.ctas CREATE TAG first")
spark.sql("ALTER TABLE lake.spark.ctas RENAME TO spark.renamed")
spark.sql("CALL lake.system.compute_table_stats(table => 'spark.renamed')")
spark.sql("CREATE TABLE lake.spark.dropped (id int) USING iceberg")
spark.sql("INSERT INTO lake.spark.dropped VALUES (1)")
spark.sql("DROP TABLE lake.spark.dropped PURGE")
spark.sql("CALL lake.system.rewrite_data_files(table => 'spark.of_spark_v2')")

spark.sql("CREATE VIEW lake.spark.v AS SELECT id FROM lake.spark.renamed WHERE id > 0")
spark.sql("CREATE OR REPLACE VIEW lake.spark.v AS SELECT id + 1 AS id FROM lake.spark.renamed WHERE id > 0")
rows("view", "SELECT * FROM lake.spark.v ORDER BY id")
spark.sql("CREATE VIEW lake.spark.w AS SELECT 1 AS one")
spark.sql("ALTER VIEW lake.spark.w RENAME TO lake.spark.x")
rows("views", "SHOW VIEWS IN lake.spark")
spark.sql("DROP VIEW lake.spark.x")

spark.sql("CREATE NAMESPACE lake.spark_ns WITH PROPERTIES ('a'='1')")
spark.sql("DROP NAMESPACE lake.spark_ns")
try:
    spark.sql("SELECT * FROM lake.spark.nothing")
except AnalysisException as error:
    results["missing"] = str(error)
rows("tables", "SHOW TABLES IN lake.spark")
spark.stop()
pathlib.Path(result_file).write_text(json.dumps(results, default=str))
