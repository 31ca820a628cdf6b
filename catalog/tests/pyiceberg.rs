//! Tables that we wrote, read by PyIceberg. Skipped where it is not installed; set
//! `INGOT_TEST_PYTHON` to the Python that has it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::process::Command;

use common::*;
use ingot_catalog::commit::{append_files, commit_staged, stage_replace};

const READ_TABLE: &str = r#"
import json, sys
from pyiceberg.table import StaticTable
table = StaticTable.from_metadata(sys.argv[1])
# They are in no order in the file.
snapshots = sorted(table.metadata.snapshots, key=lambda snapshot: snapshot.timestamp_ms)
# Partition values and bounds are decoded only when a scan is planned.
files = [
    {
        "path": task.file.file_path,
        "day": task.file.partition[0],
        "records": task.file.record_count,
        "lower": task.file.lower_bounds.get(1, b"").hex(),
        "nulls": task.file.null_value_counts.get(3),
    }
    for task in table.scan().plan_files()
]
pruned = [task.file.file_path for task in table.scan(row_filter="day = '1970-01-03'").plan_files()]
by_id = [task.file.file_path for task in table.scan(row_filter="id > 10").plan_files()]
print(json.dumps({
    "version": table.metadata.format_version,
    "columns": [[f.field_id, f.name, str(f.field_type), f.required] for f in table.schema().fields],
    "spec": [[f.source_id, f.name, str(f.transform)] for f in table.spec().fields],
    "sort": [[f.source_id, f.direction.name] for f in table.sort_order().fields],
    "operations": [s.summary.operation.value for s in snapshots],
    "history": len(table.history()),
    "files": sorted(files, key=lambda file: file["path"]),
    "pruned": pruned,
    "by_id": by_id,
    "old_files": len(list(table.scan(snapshot_id=snapshots[0].snapshot_id).plan_files())),
    "inspected": table.inspect.files().num_rows if table.metadata.format_version == 2 else None,
}))
"#;

fn python() -> Option<String> {
    let python = std::env::var("INGOT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let found = Command::new(&python)
        .args(["-c", "import pyiceberg, pyarrow"])
        .output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!("skipped: {python} has no pyiceberg (pip install 'pyiceberg[pyarrow]==0.12.0')");
    None
}

#[tokio::test]
async fn pyiceberg_reads_what_we_commit() {
    let Some(python) = python() else {
        return;
    };
    for version in ["1", "2", "3"] {
        for codec in ["none", "gzip"] {
            let (_folder, catalog) = local_catalog().await;
            let name = ident("s", "t");
            let properties = [
                ("format-version", version),
                ("write.metadata.compression-codec", codec),
                ("commit.manifest.min-count-to-merge", "3"),
            ];
            let mut table = create_table(&*catalog, &name, &properties).await;
            for number in 0..5 {
                let file = data_file(&table, &format!("f{number}"), number);
                table = append_files(&*catalog, &table, vec![file], no_summary())
                    .await
                    .unwrap();
            }
            let order = iceberg::spec::SortOrder::builder()
                .with_sort_field(
                    iceberg::spec::SortField::builder()
                        .source_id(1)
                        .transform(iceberg::spec::Transform::Identity)
                        .direction(iceberg::spec::SortDirection::Descending)
                        .null_order(iceberg::spec::NullOrder::Last)
                        .build(),
                )
                .build_unbound()
                .unwrap();
            let staged = stage_replace(&*catalog, &name, schema(), by_day(), order, HashMap::new())
                .await
                .unwrap();
            let files = ["x", "y"].map(|file| data_file(staged.table(), file, 2));
            table = commit_staged(&*catalog, staged, files.to_vec())
                .await
                .unwrap();
            let file = data_file(&table, "z", 3);
            table = append_files(&*catalog, &table, vec![file], no_summary())
                .await
                .unwrap();

            let read = Command::new(&python)
                .args([
                    "-c",
                    READ_TABLE,
                    table.metadata_location.as_deref().unwrap(),
                ])
                .output()
                .unwrap();
            let stderr = String::from_utf8_lossy(&read.stderr);
            assert!(
                read.status.success(),
                "version {version}, {codec}: {stderr}"
            );
            let seen: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
            let expected_file = |name: &str, day: i32| {
                serde_json::json!({
                    "path": data_path(&table, name),
                    "day": day,
                    "records": 10,
                    "lower": "0100000000000000",
                    "nulls": 1,
                })
            };
            let expected = serde_json::json!({
                "version": version.parse::<i32>().unwrap(),
                "columns": [
                    [1, "id", "long", true],
                    [2, "day", "date", false],
                    [3, "name", "string", false],
                ],
                "spec": [[2, "day", "identity"]],
                "sort": [[1, "DESC"]],
                "operations": [
                    "append", "append", "append", "append", "append", "overwrite", "append"
                ],
                "history": 7,
                "files": [expected_file("x", 2), expected_file("y", 2), expected_file("z", 3)],
                "pruned": [data_path(&table, "x"), data_path(&table, "y")],
                "by_id": [],
                "old_files": 1,
                "inspected": if version == "2" { serde_json::json!(3) } else { serde_json::Value::Null },
            });
            assert_eq!(seen, expected, "version {version}, {codec}");
        }
    }
}
