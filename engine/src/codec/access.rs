//! Temporary credentials of storage on their way to workers, which have no catalog to ask.

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use ingot_catalog::{S3Config, Storage, StorageAccess};
use ingot_proto::plan;

/// The credentials with which this process reaches these locations.
pub(super) fn encode<'a>(
    storage: &Storage,
    locations: impl IntoIterator<Item = &'a str>,
) -> Vec<plan::StorageAccess> {
    let accesses = storage.accesses(locations).into_iter();
    accesses.map(to_message).collect()
}

/// Lets this process reach files with these credentials.
pub(super) fn take(storage: &Storage, accesses: Vec<plan::StorageAccess>) -> DataFusionResult<()> {
    for access in accesses {
        storage
            .grant(from_message(access), None)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
    }
    Ok(())
}

fn to_message(access: StorageAccess) -> plan::StorageAccess {
    plan::StorageAccess {
        location: access.location,
        access_key_id: access.s3.access_key_id.unwrap_or_default(),
        secret_access_key: access.s3.secret_access_key.unwrap_or_default(),
        session_token: access.s3.session_token,
        endpoint: access.s3.endpoint,
        region: access.s3.region,
        path_style: access.s3.path_style,
        expires_at_ms: access.expires_at_ms,
    }
}

fn from_message(access: plan::StorageAccess) -> StorageAccess {
    StorageAccess {
        location: access.location,
        s3: S3Config {
            endpoint: access.endpoint,
            region: access.region,
            access_key_id: Some(access.access_key_id),
            secret_access_key: Some(access.secret_access_key),
            session_token: access.session_token,
            path_style: access.path_style,
        },
        expires_at_ms: access.expires_at_ms,
    }
}

#[cfg(test)]
mod tests {
    use ingot_catalog::StorageConfig;

    use super::*;

    #[tokio::test]
    async fn credentials_arrive_as_they_were() {
        let access = StorageAccess {
            location: "s3://bucket/wh/t".to_string(),
            s3: S3Config {
                endpoint: Some("http://127.0.0.1:1".to_string()),
                region: Some("here".to_string()),
                access_key_id: Some("key".to_string()),
                secret_access_key: Some("secret".to_string()),
                session_token: Some("token".to_string()),
                path_style: true,
            },
            expires_at_ms: Some(4_102_444_800_000),
        };
        let here = Storage::new(StorageConfig::default());
        here.grant(access.clone(), None).unwrap();
        let files = [
            "s3://bucket/wh/t/data/a",
            "s3://bucket/wh/t/data/b",
            "/tmp/c",
        ];
        let sent = encode(&here, files);
        assert_eq!(sent.len(), 1);
        assert!(encode(&here, ["s3://bucket/wh/other/a"]).is_empty());
        let there = Storage::new(StorageConfig::default());
        take(&there, sent).unwrap();
        assert_eq!(there.accesses(files), vec![access]);
    }
}
