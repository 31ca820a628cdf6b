//! Opening a bucket of S3-compatible storage.

use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredentialProvider};
use object_store::{BackoffConfig, RetryConfig};

/// How to reach S3-compatible storage. One per process.
///
/// What is `None` here comes from the environment (`AWS_ACCESS_KEY_ID`,
/// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`,
/// web identity and container credentials).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct S3Config {
    /// Endpoint URL; `None` is AWS itself.
    pub endpoint: Option<String>,
    /// Region; MinIO accepts any. `us-east-1` when nothing says otherwise.
    pub region: Option<String>,
    /// Access key; not secret, but not shown either.
    pub access_key_id: Option<String>,
    /// Never logged or shown.
    pub secret_access_key: Option<String>,
    /// Never logged or shown.
    pub session_token: Option<String>,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`; MinIO needs it.
    pub path_style: bool,
}

impl std::fmt::Debug for S3Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Config")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("path_style", &self.path_style)
            .finish_non_exhaustive()
    }
}

const DEFAULT_REGION: &str = "us-east-1";

impl S3Config {
    /// Opens a bucket. Does no request: wrong credentials show at the first use.
    pub(super) fn open(&self, bucket: &str) -> object_store::Result<AmazonS3> {
        let mut builder = self.builder(bucket);
        if let Some(access_key_id) = &self.access_key_id {
            builder = builder.with_access_key_id(access_key_id);
        }
        if let Some(secret_access_key) = &self.secret_access_key {
            builder = builder.with_secret_access_key(secret_access_key);
        }
        if let Some(session_token) = &self.session_token {
            builder = builder.with_token(session_token);
        }
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        if endpoint.is_some() && !has_credentials(&builder) {
            // Without this the client would ask the AWS instance metadata service, which
            // only exists inside AWS, and time out after a long silence.
            return Err(object_store::Error::Generic {
                store: "S3",
                source: "no credentials: set the s3 access key and secret in the configuration \
                         or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
                    .into(),
            });
        }
        builder.build()
    }

    /// Opens a bucket with keys from elsewhere; this configuration's own are not used.
    pub(super) fn open_with(
        &self,
        bucket: &str,
        credentials: AwsCredentialProvider,
    ) -> object_store::Result<AmazonS3> {
        self.builder(bucket).with_credentials(credentials).build()
    }

    /// A client of the bucket, without keys.
    fn builder(&self, bucket: &str) -> AmazonS3Builder {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        } else if builder
            .get_config_value(&AmazonS3ConfigKey::Region)
            .is_none()
        {
            builder = builder.with_region(DEFAULT_REGION);
        }
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
            builder = builder.with_allow_http(true);
        }
        builder
            .with_virtual_hosted_style_request(!self.path_style)
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(100),
                    max_backoff: Duration::from_secs(5),
                    base: 2.0,
                },
                max_retries: 6,
                retry_timeout: Duration::from_secs(60),
            })
    }
}

fn has_credentials(builder: &AmazonS3Builder) -> bool {
    let is_set = |key| {
        builder
            .get_config_value(&key)
            .is_some_and(|value| !value.is_empty() && value != "false")
    };
    is_set(AmazonS3ConfigKey::AccessKeyId)
        || is_set(AmazonS3ConfigKey::WebIdentityTokenFile)
        || is_set(AmazonS3ConfigKey::ContainerCredentialsRelativeUri)
        || is_set(AmazonS3ConfigKey::ContainerCredentialsFullUri)
        || is_set(AmazonS3ConfigKey::SkipSignature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_credentials() {
        let config = S3Config {
            endpoint: Some("http://127.0.0.1:9000".to_string()),
            access_key_id: Some("the-access-key".to_string()),
            secret_access_key: Some("the-secret".to_string()),
            session_token: Some("the-token".to_string()),
            ..S3Config::default()
        };
        let shown = format!("{config:?}");
        assert!(shown.contains("127.0.0.1"), "{shown}");
        for secret in ["the-access-key", "the-secret", "the-token"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
