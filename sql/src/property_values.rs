//! Values of Iceberg's own table properties that Ingot acts on. They are checked where they are
//! set: a table should not be made that no statement can write to.

/// Text that is one of a few.
const ENUMERATED: &[(&str, &[&str])] = &[
    ("write.delete.mode", &["copy-on-write", "merge-on-read"]),
    ("write.update.mode", &["copy-on-write", "merge-on-read"]),
    ("write.merge.mode", &["copy-on-write", "merge-on-read"]),
    (
        "write.delete.isolation-level",
        &["serializable", "snapshot"],
    ),
    (
        "write.update.isolation-level",
        &["serializable", "snapshot"],
    ),
    ("write.merge.isolation-level", &["serializable", "snapshot"]),
    ("write.distribution-mode", &["none", "hash", "range"]),
    ("write.format.default", &["parquet"]),
    (
        "write.parquet.compression-codec",
        &[
            "zstd",
            "snappy",
            "gzip",
            "lz4",
            "lz4_raw",
            "uncompressed",
            "none",
        ],
    ),
    ("commit.manifest-merge.enabled", &["true", "false"]),
    ("gc.enabled", &["true", "false"]),
    (
        "write.metadata.delete-after-commit.enabled",
        &["true", "false"],
    ),
];

/// Whole numbers, and the smallest of them.
const NUMBERS: &[(&str, u64)] = &[
    ("write.target-file-size-bytes", 1),
    ("write.parquet.row-group-size-bytes", 1),
    ("write.parquet.row-group-limit", 1),
    ("write.parquet.page-size-bytes", 1),
    ("write.parquet.page-row-limit", 1),
    ("write.parquet.dict-size-bytes", 1),
    ("write.metadata.metrics.max-inferred-column-defaults", 0),
    ("commit.manifest.target-size-bytes", 1),
    ("commit.manifest.min-count-to-merge", 0),
    ("commit.retry.num-retries", 0),
    ("commit.retry.min-wait-ms", 0),
    ("commit.retry.max-wait-ms", 0),
    ("commit.retry.total-timeout-ms", 0),
];

/// What a value must be, when it is not; `None` for a value that may be right.
pub(crate) fn expected_value(name: &str, value: &str) -> Option<String> {
    let value = value.trim();
    if let Some((_, allowed)) = ENUMERATED.iter().find(|(known, _)| *known == name) {
        let is_allowed = |known: &&str| known.eq_ignore_ascii_case(value);
        return (!allowed.iter().any(is_allowed)).then(|| one_of(allowed));
    }
    if let Some((_, smallest)) = NUMBERS.iter().find(|(known, _)| *known == name) {
        let is_allowed = value.parse::<u64>().is_ok_and(|number| number >= *smallest);
        return (!is_allowed).then(|| format!("a whole number, at least {smallest}"));
    }
    if name == "write.metadata.metrics.default"
        || name.starts_with("write.metadata.metrics.column.")
    {
        return (!is_metrics_mode(value)).then(|| "none, counts, truncate(16) or full".to_string());
    }
    if name.starts_with("write.parquet.bloom-filter-enabled.column.") {
        return (!matches!(value, "true" | "false")).then(|| "true or false".to_string());
    }
    None
}

fn is_metrics_mode(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let length = value
        .strip_prefix("truncate(")
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|length| length.trim().parse::<usize>().ok());
    matches!(value.as_str(), "none" | "counts" | "full") || length.is_some_and(|length| length > 0)
}

fn one_of(allowed: &[&str]) -> String {
    match allowed {
        [] => String::new(),
        [only] => (*only).to_string(),
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_be_right_are_refused() {
        for (name, value, expected) in [
            ("write.delete.mode", "merge-on-read", None),
            ("write.delete.mode", "Copy-On-Write", None),
            (
                "write.delete.mode",
                "foo",
                Some("copy-on-write or merge-on-read"),
            ),
            ("write.distribution-mode", "", Some("none, hash or range")),
            ("write.format.default", "orc", Some("parquet")),
            ("write.target-file-size-bytes", "1048576", None),
            (
                "write.target-file-size-bytes",
                "0",
                Some("a whole number, at least 1"),
            ),
            ("commit.retry.num-retries", "0", None),
            ("write.metadata.metrics.column.a.b", "truncate(3)", None),
            (
                "write.metadata.metrics.default",
                "truncate(0)",
                Some("none, counts, truncate(16) or full"),
            ),
            ("owner", "anybody", None),
        ] {
            let found = expected_value(name, value);
            assert_eq!(found.as_deref(), expected, "{name} = {value}");
        }
    }
}
