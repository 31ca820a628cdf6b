//! Which files a path means: a file, a folder or a pattern.

use glob::{MatchOptions, Pattern};
use ingot_catalog::{FileInfo, Location, Storage};

use crate::error::{EngineError, Result};

/// `*` stays within a folder; `**` goes through folders.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

const WILDCARDS: [char; 3] = ['*', '?', '['];

/// The files that `paths` mean, sorted by location: files, folders (all files below whose
/// names do not begin with `.` or `_`), and patterns with `*`, `?`, `[…]` and `**`. Empty
/// files are left out.
///
/// # Errors
/// `InvalidInput` naming a path that means no file, or a pattern that is none;
/// `NotAllowed` for local files that statements may not name.
pub(crate) async fn list_files(storage: &Storage, paths: &[String]) -> Result<Vec<FileInfo>> {
    let mut files = Vec::new();
    for path in paths {
        // Beforehand, so that nobody learns what exists elsewhere; afterwards, as what was
        // found may be links.
        storage.check_allowed(before_wildcard(path))?;
        let found = list_path(storage, path).await?;
        for file in &found {
            storage.check_allowed(&file.location)?;
        }
        if found.is_empty() {
            let reason = format!("there is no file {path}");
            return Err(EngineError::InvalidInput(reason));
        }
        files.extend(found);
    }
    files.sort_by(|a, b| a.location.cmp(&b.location));
    files.dedup_by(|a, b| a.location == b.location);
    // An empty file has no rows and, as a Parquet or CSV file, no header.
    let not_empty: Vec<FileInfo> = files.iter().filter(|file| file.size > 0).cloned().collect();
    Ok(if not_empty.is_empty() {
        files
    } else {
        not_empty
    })
}

fn before_wildcard(path: &str) -> &str {
    match path.find(WILDCARDS) {
        Some(wildcard) => folder_before(path, wildcard),
        None => path,
    }
}

fn folder_before(path: &str, wildcard: usize) -> &str {
    let folder_end = path[..wildcard].rfind('/').map_or(0, |slash| slash + 1);
    &path[..folder_end]
}

async fn list_path(storage: &Storage, path: &str) -> Result<Vec<FileInfo>> {
    if let Some(wildcard) = path.find(WILDCARDS) {
        // A file may have such a name.
        if let Ok(true) = storage.exists(path).await {
            return one_file(storage, path).await;
        }
        let folder = folder_before(path, wildcard);
        let pattern = Pattern::new(path).map_err(|error| {
            EngineError::InvalidInput(format!("path {path} is no pattern: {error}"))
        })?;
        let below = storage.list(folder).await?;
        let matching = below.into_iter();
        return Ok(matching
            .filter(|file| pattern.matches_with(&file.location, MATCHING))
            .collect());
    }
    if !path.ends_with('/') && storage.exists(path).await? {
        return one_file(storage, path).await;
    }
    let folder = path.trim_end_matches('/');
    let folder_depth = Location::parse(folder)?.path.parts().count();
    let below = storage.list(folder).await?.into_iter();
    Ok(below
        .filter(|file| {
            let location = Location::parse(&file.location);
            location.is_ok_and(|location| {
                let mut names = location.path.parts().skip(folder_depth);
                names.all(|name| !name.as_ref().starts_with(['.', '_']))
            })
        })
        .collect())
}

async fn one_file(storage: &Storage, path: &str) -> Result<Vec<FileInfo>> {
    let (store, store_path) = storage.store_for(path)?;
    let meta = object_store::ObjectStoreExt::head(store.as_ref(), &store_path)
        .await
        .map_err(|source| ingot_catalog::CatalogError::Storage {
            action: "read",
            path: path.to_string(),
            source,
        })?;
    Ok(vec![FileInfo {
        location: path.to_string(),
        size: meta.size,
        last_modified_ms: meta.last_modified.timestamp_millis(),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use ingot_catalog::StorageConfig;

    #[tokio::test]
    async fn paths_are_files_folders_and_patterns() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(StorageConfig::default());
        let root = folder.path().display().to_string();
        for name in [
            "a.csv",
            "b.csv",
            "c.txt",
            "x/d.csv",
            "x/y/e.csv",
            "x/_tmp/f.csv",
            ".g.csv",
        ] {
            let path = format!("{root}/{name}");
            storage
                .write(&path, Bytes::from_static(b"1"))
                .await
                .unwrap();
        }
        storage
            .write(&format!("{root}/empty.csv"), Bytes::new())
            .await
            .unwrap();
        let names = |path: &str| {
            let paths = vec![format!("{root}/{path}")];
            let (storage, root) = (&storage, &root);
            async move {
                let files = list_files(storage, &paths).await.unwrap();
                let names = files
                    .iter()
                    .map(|f| f.location[root.len() + 1..].to_string());
                names.collect::<Vec<_>>()
            }
        };
        assert_eq!(names("a.csv").await, ["a.csv"]);
        assert_eq!(names("[ab].csv").await, ["a.csv", "b.csv"]);
        assert_eq!(names("x").await, ["x/d.csv", "x/y/e.csv"]);
        assert_eq!(names("x/").await, ["x/d.csv", "x/y/e.csv"]);
        assert_eq!(names("x/*.csv").await, ["x/d.csv"]);
        assert_eq!(
            names("x/**/*.csv").await,
            ["x/_tmp/f.csv", "x/d.csv", "x/y/e.csv"]
        );
        assert_eq!(names("?.txt").await, ["c.txt"]);
        let missing = vec![format!("{root}/nothing*")];
        let error = list_files(&storage, &missing)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("there is no file"), "{error}");
    }
}
