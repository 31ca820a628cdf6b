//! Compiles the `.proto` files with a compiler written in Rust: no `protoc` is needed.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("src/protobuf");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            println!("cargo:rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    files.sort();
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [root])?;
    tonic_prost_build::configure()
        // It has keys: what is shown of it is written by hand.
        .skip_debug([".ingot.plan.StorageAccess"])
        .compile_fds(descriptors)?;
    Ok(())
}
