//! How clients reach a table's files.

use std::collections::BTreeMap;

use ingot_catalog::storage::Scheme;
use ingot_catalog::{Location, S3Config};

/// Properties that a client needs to read and write files at `location`. Names are those of the
/// protocol, of Iceberg's Java library and of PyIceberg, which differ. Local files need none.
pub(super) fn client_properties(
    location: &str,
    s3: &S3Config,
    gives_credentials: bool,
) -> BTreeMap<String, String> {
    let is_s3 = Location::parse(location)
        .is_ok_and(|location| matches!(location.scheme, Scheme::S3 { .. }));
    if !is_s3 {
        return BTreeMap::new();
    }
    let mut properties = BTreeMap::new();
    let mut set = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            properties.insert(name.to_string(), value.clone());
        }
    };
    set("s3.endpoint", &s3.endpoint);
    set("s3.region", &s3.region);
    set("client.region", &s3.region);
    set("s3.path-style-access", &Some(s3.path_style.to_string()));
    set(
        "s3.force-virtual-addressing",
        &Some((!s3.path_style).to_string()),
    );
    if gives_credentials {
        set("s3.access-key-id", &s3.access_key_id);
        set("s3.secret-access-key", &s3.secret_access_key);
        set("s3.session-token", &s3.session_token);
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> S3Config {
        S3Config {
            endpoint: Some("http://127.0.0.1:9000".to_string()),
            region: Some("us-east-1".to_string()),
            access_key_id: Some("the-key".to_string()),
            secret_access_key: Some("the-secret".to_string()),
            session_token: None,
            path_style: true,
        }
    }

    #[test]
    fn credentials_are_given_only_when_asked_for() {
        let properties = client_properties("s3://bucket/t", &config(), false);
        assert_eq!(properties["s3.endpoint"], "http://127.0.0.1:9000");
        assert_eq!(properties["client.region"], "us-east-1");
        assert_eq!(properties["s3.path-style-access"], "true");
        assert_eq!(properties["s3.force-virtual-addressing"], "false");
        let text = format!("{properties:?}");
        assert!(
            !text.contains("the-key") && !text.contains("the-secret"),
            "{text}"
        );
        let properties = client_properties("s3a://bucket/t", &config(), true);
        assert_eq!(properties["s3.access-key-id"], "the-key");
        assert_eq!(properties["s3.secret-access-key"], "the-secret");
        assert!(!properties.contains_key("s3.session-token"));
    }

    #[test]
    fn local_files_need_no_properties() {
        assert!(client_properties("file:///lake/t", &config(), true).is_empty());
    }
}
