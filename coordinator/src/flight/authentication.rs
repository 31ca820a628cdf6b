//! How credentials travel in Flight SQL: gRPC metadata, cookies and the handshake.

use arrow_flight::BasicAuth;
use prost::Message;
use tonic::metadata::MetadataMap;

use crate::authentication::malformed_authorization;
pub(super) use crate::authentication::{Authentication, Authorization, Credentials};
use crate::error::Result;

/// The cookie that carries a session token for clients that keep cookies.
pub(super) const SESSION_COOKIE: &str = "ingot_session";

impl Credentials {
    /// From the payload of a `Handshake` (the `BasicAuth` protobuf), which some clients use
    /// instead of a header.
    pub(super) fn from_handshake_payload(payload: &[u8]) -> Option<Self> {
        if payload.is_empty() {
            return None;
        }
        let decoded = BasicAuth::decode(payload).ok()?;
        Some(Self {
            user: decoded.username,
            password: decoded.password,
        })
    }
}

/// What the headers of a call say about its sender.
#[derive(Default)]
pub(super) struct CallHeaders {
    /// `authorization: Bearer …`
    pub(super) bearer: Option<String>,
    /// `authorization: Basic …`
    pub(super) basic: Option<Credentials>,
    /// The session cookie.
    pub(super) cookie: Option<String>,
}

impl CallHeaders {
    /// Reads them; a header that cannot be understood is an error, not an anonymous call.
    pub(super) fn parse(metadata: &MetadataMap) -> Result<Self> {
        let mut headers = Self::default();
        if let Some(value) = metadata.get("authorization") {
            let text = value.to_str().map_err(|_| malformed_authorization())?;
            match Authorization::parse(text)? {
                Some(Authorization::Bearer(token)) => headers.bearer = Some(token),
                Some(Authorization::Basic(credentials)) => headers.basic = Some(credentials),
                None => {}
            }
        }
        for value in metadata.get_all("cookie") {
            let Ok(text) = value.to_str() else { continue };
            for pair in text.split(';') {
                if let Some((name, content)) = pair.trim().split_once('=')
                    && name == SESSION_COOKIE
                {
                    headers.cookie = Some(content.trim_matches('"').to_string());
                }
            }
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::prelude::*;

    use super::*;

    fn header(value: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", value.parse().unwrap());
        metadata
    }

    #[test]
    fn the_authorization_header_has_a_token_or_credentials() {
        let users = BTreeMap::from([("anna".to_string(), "pa:ss".to_string())]);
        let authentication = Authentication::Passwords(users);
        let encoded = BASE64_STANDARD.encode("anna:pa:ss");
        let headers = CallHeaders::parse(&header(&format!("Basic {encoded}"))).unwrap();
        assert!(headers.bearer.is_none());
        assert_eq!(
            authentication.check(headers.basic.as_ref()).unwrap(),
            "anna"
        );
        let headers = CallHeaders::parse(&header("Bearer xyz")).unwrap();
        assert_eq!(headers.bearer.as_deref(), Some("xyz"));
        let headers = CallHeaders::parse(&header("Bearer None")).unwrap();
        assert!(headers.bearer.is_none());
        assert!(authentication.check(headers.basic.as_ref()).is_err());
        assert!(CallHeaders::parse(&header("Digest abc")).is_err());
    }

    #[test]
    fn the_session_cookie_is_found_among_others() {
        let mut metadata = MetadataMap::new();
        metadata.insert("cookie", "a=b; ingot_session=xyz".parse().unwrap());
        let headers = CallHeaders::parse(&metadata).unwrap();
        assert_eq!(headers.cookie.as_deref(), Some("xyz"));
    }
}
