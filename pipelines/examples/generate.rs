//! Generates the source files of a sample without a server:
//! `cargo run --release -p ingot-pipelines --example generate -- ecommerce 0.01 42 FOLDER`.

use std::process::ExitCode;
use std::time::Instant;

use ingot_pipelines::{FolderSink, GenerateOptions, generate};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, scale, seed, folder] = arguments.as_slice() else {
        eprintln!("usage: generate NAME SCALE SEED FOLDER");
        return ExitCode::FAILURE;
    };
    let (Ok(scale), Ok(seed)) = (scale.parse(), seed.parse()) else {
        eprintln!("the scale and the seed are numbers");
        return ExitCode::FAILURE;
    };
    let options = GenerateOptions {
        scale,
        seed,
        ..GenerateOptions::default()
    };
    let start = Instant::now();
    match generate(name, &options, &FolderSink::new(folder), &|_| {}) {
        Ok(report) => {
            for file in report.files {
                println!("{}: {} rows, {} bytes", file.file, file.rows, file.bytes);
                for (defect, rows) in file.planted {
                    println!("  {rows} rows: {defect}");
                }
            }
            println!("{:.1} s", start.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
