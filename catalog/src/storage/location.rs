//! Taking a location apart into a store and a path within it.

use object_store::path::Path;

use crate::error::{CatalogError, Result};

/// Which kind of store a location belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// The local file system.
    File,
    /// A bucket of the configured S3-compatible storage.
    S3 {
        /// Bucket name.
        bucket: String,
    },
}

/// A location, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The kind of store, and the bucket.
    pub scheme: Scheme,
    /// The path within the store, without a leading slash.
    pub path: Path,
    /// The location's text up to the path, as it was written.
    prefix: String,
}

impl Location {
    /// Takes a location apart, literally: nothing is percent-decoded.
    ///
    /// # Errors
    /// `InvalidInput` for an unknown scheme, a relative path, an empty bucket, and
    /// for empty, `.` or `..` segments, which could leave the folder they seem to be in.
    pub fn parse(location: &str) -> Result<Self> {
        let (scheme, prefix, path) = split(location)?;
        let path = Path::parse(path).map_err(|error| {
            CatalogError::InvalidInput(format!("location {location:?} is not valid: {error}"))
        })?;
        Ok(Self {
            scheme,
            path,
            prefix: prefix.to_string(),
        })
    }

    /// What locations of this store begin with, in the spelling that was parsed:
    /// appending a path of the store gives a location.
    pub(super) fn root(&self) -> &str {
        &self.prefix
    }

    /// Identifies the store: locations with the same key are in the same store.
    pub(super) fn store_key(&self) -> String {
        match &self.scheme {
            Scheme::File => "file".to_string(),
            Scheme::S3 { bucket } => format!("s3://{bucket}"),
        }
    }

    /// One text for all spellings of the location.
    pub(crate) fn canonical(&self) -> String {
        format!("{}/{}", self.store_key(), self.path)
    }

    /// Whether this is `folder` itself or lies below it, in the same store.
    pub fn is_within(&self, folder: &Location) -> bool {
        self.scheme == folder.scheme && self.path.prefix_matches(&folder.path)
    }
}

fn split(location: &str) -> Result<(Scheme, &str, &str)> {
    if let Some((scheme, rest)) = location.split_once("://") {
        match scheme.to_ascii_lowercase().as_str() {
            "file" => {
                // `file://host/…` names another machine; only the empty host and this one are ours.
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                if !path.starts_with('/') {
                    return Err(CatalogError::InvalidInput(format!(
                        "location {location:?} is not valid: write file:///absolute/path"
                    )));
                }
                let prefix_length = location.len() - path.len() + 1;
                let (prefix, path) = location.split_at(prefix_length);
                Ok((Scheme::File, prefix, path))
            }
            "s3" | "s3a" | "s3n" => {
                let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(CatalogError::InvalidInput(format!(
                        "location {location:?} is not valid: write s3://bucket/key"
                    )));
                }
                let prefix_length = location.len() - path.len();
                let prefix = &location[..prefix_length];
                let bucket = bucket.to_string();
                Ok((Scheme::S3 { bucket }, prefix, path))
            }
            _ => Err(CatalogError::InvalidInput(format!(
                "location {location:?} is not supported: use s3://, s3a:// or file:///"
            ))),
        }
    } else if let Some(path) = location
        .strip_prefix("file:")
        .filter(|path| path.starts_with('/'))
    {
        let prefix_length = location.len() - path.len() + 1;
        let (prefix, path) = location.split_at(prefix_length);
        Ok((Scheme::File, prefix, path))
    } else if let Some(path) = location.strip_prefix('/') {
        Ok((Scheme::File, "/", path))
    } else {
        Err(CatalogError::InvalidInput(format!(
            "location {location:?} is not absolute: use s3://, s3a://, file:/// or an absolute path"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(location: &str) -> (Scheme, String, String) {
        let parsed = Location::parse(location).unwrap();
        (parsed.scheme, parsed.prefix, parsed.path.to_string())
    }

    fn s3(bucket: &str) -> Scheme {
        Scheme::S3 {
            bucket: bucket.to_string(),
        }
    }

    #[test]
    fn locations_are_taken_apart_literally() {
        let file = |prefix: &str, path: &str| (Scheme::File, prefix.to_string(), path.to_string());
        assert_eq!(parsed("/a/b c"), file("/", "a/b c"));
        assert_eq!(parsed("file:///a/b%20c"), file("file:///", "a/b%20c"));
        assert_eq!(parsed("file:/a"), file("file:/", "a"));
        assert_eq!(parsed("file://localhost/a"), file("file://localhost/", "a"));
        let s3_parts = |prefix: &str, path: &str| (s3("bkt"), prefix.to_string(), path.to_string());
        assert_eq!(parsed("s3://bkt/k/x=1"), s3_parts("s3://bkt/", "k/x=1"));
        assert_eq!(parsed("s3a://bkt/k"), s3_parts("s3a://bkt/", "k"));
        assert_eq!(parsed("s3://bkt/"), s3_parts("s3://bkt/", ""));
    }

    #[test]
    fn locations_that_could_escape_are_refused() {
        for location in [
            "a/b",
            "./a",
            "../a",
            "",
            "/a/../b",
            "s3://bkt/../other/k",
            "s3:///k",
            "file://host/a",
            "file:a",
            "http://x/y",
            "s3://bkt/a//b",
            "/a/\u{0}b",
        ] {
            let error = Location::parse(location).unwrap_err().to_string();
            assert!(error.starts_with("location"), "{location}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn within_compares_whole_segments_of_one_store() {
        let within = |location: &str, folder: &str| {
            Location::parse(location)
                .unwrap()
                .is_within(&Location::parse(folder).unwrap())
        };
        assert!(within("s3a://b12/wh/t", "s3://b12/wh"));
        assert!(within("/wh/t", "file:///wh/"));
        assert!(!within("/wh2/t", "/wh"));
        assert!(!within("s3://b13/wh/t", "s3://b12/wh"));
    }
}
