//! Protocol buffers of everything that crosses a process boundary.

/// What distributed plans need beyond DataFusion's and Ballista's own encoding.
#[allow(clippy::all, missing_docs)]
pub mod plan {
    tonic::include_proto!("ingot.plan");
}

/// Shows no keys.
impl std::fmt::Debug for plan::StorageAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StorageAccess")
            .field("location", &self.location)
            .field("endpoint", &self.endpoint)
            .field("expires_at_ms", &self.expires_at_ms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::plan::StorageAccess;

    #[test]
    fn debug_shows_no_keys() {
        let access = StorageAccess {
            location: "s3://bucket/t".to_string(),
            access_key_id: "the-key".to_string(),
            secret_access_key: "the-secret".to_string(),
            session_token: Some("the-token".to_string()),
            ..StorageAccess::default()
        };
        let shown = format!("{access:?}");
        assert!(shown.contains("s3://bucket/t"), "{shown}");
        assert!(!shown.contains("the-"), "{shown}");
    }
}
