//! Tests of CSV reading against the `csv` crate, and of every kind of wrong file.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::physical_plan::{AsExecutionPlan, PhysicalExtensionCodec};
use datafusion_proto::protobuf::PhysicalPlanNode;
use ingot_catalog::{FileInfo, Storage, StorageConfig};
use tempfile::TempDir;

use super::splits::SplitFinder;
use super::{CsvDialect, CsvOptions, CsvTable, MalformedRecords, read_rejects};
use crate::codec::IngotPhysicalCodec;
use crate::error::Result;

struct Folder {
    folder: TempDir,
    storage: Arc<Storage>,
}

impl Folder {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            storage: Storage::new(StorageConfig::default()),
        }
    }

    async fn file(&self, name: &str, text: &[u8]) -> FileInfo {
        let location = format!("file://{}/{name}", self.folder.path().display());
        self.storage
            .write(&location, bytes::Bytes::copy_from_slice(text))
            .await
            .unwrap();
        FileInfo {
            location,
            size: text.len() as u64,
            last_modified_ms: 0,
        }
    }

    fn table(&self, files: Vec<FileInfo>, schema: &Schema, options: CsvOptions) -> CsvTable {
        CsvTable::try_new(Arc::clone(&self.storage), files, schema, options).unwrap()
    }

    fn rejecting(&self) -> CsvOptions {
        CsvOptions {
            malformed: MalformedRecords::SetAside {
                folder: format!("file://{}/rejects", self.folder.path().display()),
            },
            ..CsvOptions::default()
        }
    }
}

fn context(batch_size: usize) -> Arc<TaskContext> {
    let config = SessionConfig::new().with_batch_size(batch_size);
    SessionContext::new_with_config(config).task_ctx()
}

async fn rows(table: &CsvTable, batch_size: usize) -> Result<RecordBatch> {
    let plan = table.plan(None, None, 4).await?;
    let schema = plan.schema();
    let batches = collect(plan, context(batch_size)).await?;
    Ok(concat_batches(&schema, &batches).unwrap())
}

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("price", DataType::Decimal128(9, 2), true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ])
}

const GOOD: &str = "id,name,price,at\n\
    1,a,1.50,2024-01-02 03:04:05\n\
    2,\"b, \"\"c\"\"\nd\",,2024-12-31 23:59:59\n\
    3,,-0.01,\n";

#[tokio::test]
async fn values_are_typed_and_empty_fields_are_null() {
    let folder = Folder::new();
    let file = folder.file("a.csv", GOOD.as_bytes()).await;
    let table = folder.table(vec![file], &schema(), CsvOptions::default());
    let batch = rows(&table, 8192).await.unwrap();
    insta::assert_snapshot!(pretty_format_batches(&[batch]).unwrap(), @r#"
    +----+--------+-------+---------------------+
    | id | name   | price | at                  |
    +----+--------+-------+---------------------+
    | 1  | a      | 1.50  | 2024-01-02T03:04:05 |
    | 2  | b, "c" |       | 2024-12-31T23:59:59 |
    |    | d      |       |                     |
    | 3  |        | -0.01 |                     |
    +----+--------+-------+---------------------+
    "#);
}

#[tokio::test]
async fn columns_are_found_by_name_in_each_file() {
    let folder = Folder::new();
    let files = vec![
        folder.file("a.csv", GOOD.as_bytes()).await,
        folder
            .file(
                "b.csv",
                b"\xef\xbb\xbfAT,price,Name,ID\r\n2024-01-01 00:00:00,2,x,4\r\n",
            )
            .await,
    ];
    let table = folder.table(files, &schema(), CsvOptions::default());
    let batch = rows(&table, 2).await.unwrap();
    let ids = batch.column(0).as_primitive::<Int64Type>();
    let mut ids: Vec<i64> = ids.values().to_vec();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4]);
    let plan = table.plan(Some(&vec![2, 0]), None, 1).await.unwrap();
    let batches = collect(plan, context(8192)).await.unwrap();
    let projected = concat_batches(&batches[0].schema(), &batches).unwrap();
    assert_eq!(projected.schema().field(1).name(), "id");
    assert_eq!(projected.num_rows(), 4);
    let no_columns = table.plan(Some(&vec![]), None, 1).await.unwrap();
    let batches = collect(no_columns, context(8192)).await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
}

#[tokio::test]
async fn wrong_files_are_named() {
    let cases: [(&[u8], &str); 8] = [
        (
            b"id,nome,price,at\n",
            "a.csv has a wrong header: expected the columns id, name, price, at; found id, nome, price, at",
        ),
        (
            b"",
            "a.csv cannot be read as csv: it is empty, and must begin with a header",
        ),
        (
            b"id,name,price,at\n1,a,1,\n2,b,x1,\n",
            "a.csv, line 3, column price: \"x1\" is not a valid decimal(9, 2)",
        ),
        (
            b"id,name,price,at\r\n1,a,1,\r\n2,\"b\r\nc\",1,\r\n3,b,1,yesterday\r\n",
            "a.csv, line 5, column at: \"yesterday\" is not a valid timestamp",
        ),
        (
            b"id,name,price,at\n1,a,1,\n2,b,1\n",
            "a.csv: line 3: expected 4 fields, found 3",
        ),
        (
            b"id,name,price,at\n1,a,1,\n\n2,b,1,,5\n3,,,\n",
            "a.csv: line 4: expected 4 fields, found 5",
        ),
        (
            b"id,name,price,at\n1,a\xff,1,\n",
            "a.csv, line 2, column name: the text is not valid UTF-8",
        ),
        (
            b"id,name,price,at\n1,a,1,\n9223372036854775808,a,1,",
            "line 3, column id: \"9223372036854775808\" is not a valid bigint",
        ),
    ];
    for (text, message) in cases {
        for batch_size in [1, 2, 8192] {
            let folder = Folder::new();
            let file = folder.file("a.csv", text).await;
            let table = folder.table(vec![file], &schema(), CsvOptions::default());
            let error = rows(&table, batch_size).await.unwrap_err().to_string();
            assert!(error.contains(message), "batch size {batch_size}: {error}");
        }
    }
}

/// Text with some wrong records, and what is right and wrong in it.
fn dirty(seed: u64, records: u64) -> (String, Vec<i64>, Vec<u64>) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    let line_end = if seed.is_multiple_of(2) { "\n" } else { "\r\n" };
    let mut text = format!("id,name,price,at{line_end}");
    let mut line = 2;
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for id in 0..records as i64 {
        let name = match random(5) {
            0 => {
                line += 1;
                format!("\"two{line_end}lines, {id}\"")
            }
            1 => "\"say \"\"so\"\"\"".to_string(),
            2 => "inner\"quote".to_string(),
            _ => format!("name {id}"),
        };
        let record_line = if name.contains('\n') { line - 1 } else { line };
        match random(12) {
            0 => {
                wrong.push(record_line);
                text += &format!("{id},{name},abc,{line_end}");
            }
            1 => {
                wrong.push(record_line);
                text += &format!("{id},{name}{line_end}");
            }
            _ => {
                good.push(id);
                text += &format!("{id},{name},1.25,2024-05-06 07:08:09{line_end}");
            }
        }
        line += 1;
    }
    (text, good, wrong)
}

#[tokio::test]
async fn wrong_records_can_be_set_aside() {
    for seed in 0..8 {
        let (text, good, wrong) = dirty(seed, 300);
        for batch_size in [1, 7, 64, 8192] {
            let folder = Folder::new();
            let file = folder.file("a.csv", text.as_bytes()).await;
            let table = folder.table(vec![file], &schema(), folder.rejecting());
            let context = format!("seed {seed}, batch size {batch_size}");
            let batch = rows(&table, batch_size).await.unwrap();
            let ids = batch.column(0).as_primitive::<Int64Type>();
            assert_eq!(ids.values().to_vec(), good, "{context}");
            assert_eq!(batch.column(2).null_count(), 0, "{context}");
            let rejects_folder = format!("file://{}/rejects", folder.folder.path().display());
            let rejects = read_rejects(&folder.storage, &rejects_folder)
                .await
                .unwrap();
            let lines: Vec<u64> = rejects.iter().map(|reject| reject.line).collect();
            assert_eq!(lines, wrong, "{context}");
            for reject in &rejects {
                assert!(reject.file.ends_with("/a.csv"));
                if reject.column == "price" {
                    assert_eq!(reject.value, "abc", "{context}");
                } else {
                    assert_eq!(reject.reason, "expected 4 fields, found 2", "{context}");
                }
            }
        }
    }
}

#[test]
fn files_are_cut_only_at_record_ends() {
    for seed in 0..40 {
        let (text, _, _) = dirty(seed, 60);
        let text = text.as_bytes();
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .has_headers(false)
            .from_reader(text);
        let mut starts = Vec::new();
        let mut record = csv::ByteRecord::new();
        loop {
            let start = reader.position().byte();
            if !reader.read_byte_record(&mut record).unwrap() {
                break;
            }
            starts.push(start);
        }
        for part_bytes in [1, 10, 100, 100_000] {
            for block in [1, 3, 50, 10_000] {
                let mut finder = SplitFinder::new(&CsvDialect::default(), part_bytes).unwrap();
                text.chunks(block).for_each(|chunk| finder.follow(chunk));
                let splits = finder.finish();
                // The `csv` crate counts the second half of a line end to the next record.
                for split in &splits {
                    let is_start = starts.contains(split) || starts.contains(&(split - 1));
                    assert!(is_start, "seed {seed}, block {block}: {split}");
                }
                match part_bytes {
                    1 => assert_eq!(splits.len(), starts.len() - 1, "seed {seed}, block {block}"),
                    100_000 => assert!(splits.is_empty()),
                    _ => assert!(!splits.is_empty()),
                }
                let parts = splits
                    .windows(2)
                    .all(|pair| pair[1] - pair[0] >= part_bytes);
                assert!(parts, "seed {seed}, block {block}");
            }
        }
    }
}

#[tokio::test]
async fn parts_of_a_file_read_every_record_once() {
    let folder = Folder::new();
    let mut text = "id,name,price,at\n".to_string();
    let filler = "x".repeat(400);
    let count: i64 = 60_000;
    for id in 0..count {
        text += &format!("{id},\"{filler}\n\",1,\n");
    }
    let file = folder.file("a.csv", text.as_bytes()).await;
    let table = folder.table(vec![file], &schema(), CsvOptions::default());
    let plan = table.plan(Some(&vec![0]), None, 3).await.unwrap();
    use datafusion::physical_plan::ExecutionPlanProperties;
    let partitions = plan.output_partitioning().partition_count();
    assert!(partitions > 1, "the file is cut");
    let batches = collect(through_codec(&folder, plan), context(8192))
        .await
        .unwrap();
    let mut ids: Vec<i64> = batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..count).collect::<Vec<i64>>());
}

fn through_codec(folder: &Folder, plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let codec: Arc<dyn PhysicalExtensionCodec> =
        Arc::new(IngotPhysicalCodec::new(Arc::clone(&folder.storage)));
    let node = PhysicalPlanNode::try_from_physical_plan(plan, codec.as_ref()).unwrap();
    node.try_into_physical_plan(&context(8192), codec.as_ref())
        .unwrap()
}

#[tokio::test]
async fn scans_survive_encoding() {
    let folder = Folder::new();
    let files = vec![
        folder.file("a.csv", GOOD.as_bytes()).await,
        folder
            .file("b.csv", b"name,id,at,price\nx,9,,bad\ny,8,,1\n")
            .await,
    ];
    let table = folder.table(files, &schema(), folder.rejecting());
    for (projection, limit) in [
        (None, None),
        (Some(vec![3, 0]), None),
        (Some(vec![1]), Some(2)),
    ] {
        let plan = table.plan(projection.as_ref(), limit, 1).await.unwrap();
        let decoded = through_codec(&folder, Arc::clone(&plan));
        assert_eq!(decoded.schema(), plan.schema());
        let direct = collect(plan, context(8192)).await.unwrap();
        let remote = collect(decoded, context(8192)).await.unwrap();
        assert_eq!(direct, remote);
    }
}

#[tokio::test]
async fn types_are_inferred() {
    let folder = Folder::new();
    let text = b"a,b,c,d,e,f\n1,1.5,2024-01-01,2024-01-01 00:00:00,true,\n2,3,2024-01-02,2024-01-01 00:00:01,false,\n";
    let file = folder.file("a.csv", text).await;
    let storage = Arc::clone(&folder.storage);
    let table = CsvTable::infer(storage, vec![file], CsvOptions::default())
        .await
        .unwrap();
    use datafusion::catalog::TableProvider;
    let types: Vec<String> = table
        .schema()
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    assert_eq!(
        types,
        [
            "a Int64",
            "b Float64",
            "c Date32",
            "d Timestamp(µs)",
            "e Boolean",
            "f Utf8"
        ]
    );
    assert_eq!(rows(&table, 8192).await.unwrap().num_rows(), 2);
}
