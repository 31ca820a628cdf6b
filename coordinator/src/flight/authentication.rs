//! Who may connect, and how credentials travel in gRPC headers.

use std::collections::BTreeMap;
use std::fmt;

use arrow_flight::BasicAuth;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::Message;
use tonic::metadata::MetadataMap;

use crate::error::{CoordinatorError, Result};

/// The user of connections that name none, when authentication is off.
pub const ANONYMOUS_USER: &str = "anonymous";

/// The cookie that carries a session token for clients that keep cookies.
pub(super) const SESSION_COOKIE: &str = "ingot_session";

/// What flightsql-dbapi (Superset) sends as its token when it has none.
const NO_TOKEN: &str = "None";

/// Who may connect.
#[derive(Clone, Default)]
pub enum Authentication {
    /// Everybody; a user name that is given is believed, a password ignored.
    #[default]
    None,
    /// Users and passwords from the configuration.
    Passwords(BTreeMap<String, String>),
}

impl fmt::Debug for Authentication {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("None"),
            // Names only: passwords never reach a log.
            Self::Passwords(users) => formatter
                .debug_tuple("Passwords")
                .field(&users.keys().collect::<Vec<_>>())
                .finish(),
        }
    }
}

impl Authentication {
    /// The user that these credentials prove, or `Unauthenticated`.
    pub(super) fn check(&self, credentials: Option<&Credentials>) -> Result<String> {
        match (self, credentials) {
            (Self::None, None) => Ok(ANONYMOUS_USER.to_string()),
            (Self::None, Some(given)) if given.user.is_empty() => Ok(ANONYMOUS_USER.to_string()),
            (Self::None, Some(given)) => Ok(given.user.clone()),
            (Self::Passwords(_), None) => Err(CoordinatorError::Unauthenticated(
                "this server needs a user and a password".to_string(),
            )),
            (Self::Passwords(users), Some(given)) => {
                // An unknown user costs a comparison too, so that timing does not tell names.
                let expected = users.get(&given.user);
                let expected_bytes = expected.map_or(&b"\0"[..], |password| password.as_bytes());
                let equal = equal_in_constant_time(expected_bytes, given.password.as_bytes());
                if equal && expected.is_some() {
                    Ok(given.user.clone())
                } else {
                    Err(CoordinatorError::Unauthenticated(
                        "wrong user or password".to_string(),
                    ))
                }
            }
        }
    }
}

/// Compares without stopping at the first difference. The length is not hidden.
fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let difference = left
        .iter()
        .zip(right)
        .fold(0u8, |accumulated, (a, b)| accumulated | (a ^ b));
    std::hint::black_box(difference) == 0
}

/// A user name and a password as a client sent them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

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
            let (scheme, rest) = text.split_once(' ').ok_or_else(malformed_authorization)?;
            if scheme.eq_ignore_ascii_case("bearer") {
                let token = rest.trim();
                headers.bearer = (token != NO_TOKEN).then(|| token.to_string());
            } else if scheme.eq_ignore_ascii_case("basic") {
                headers.basic = Some(parse_basic(rest.trim())?);
            } else {
                return Err(malformed_authorization());
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

/// Go clients leave out the padding that the specification of basic authentication wants.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn parse_basic(encoded: &str) -> Result<Credentials> {
    let bytes = LENIENT_BASE64
        .decode(encoded)
        .map_err(|_| malformed_authorization())?;
    let text = String::from_utf8(bytes).map_err(|_| malformed_authorization())?;
    let (user, password) = text.split_once(':').ok_or_else(malformed_authorization)?;
    Ok(Credentials {
        user: user.to_string(),
        password: password.to_string(),
    })
}

fn malformed_authorization() -> CoordinatorError {
    CoordinatorError::Unauthenticated(
        "malformed authorization header: use \"Basic …\" or \"Bearer …\"".to_string(),
    )
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};

    use super::*;

    fn passwords() -> Authentication {
        Authentication::Passwords(BTreeMap::from([("anna".to_string(), "pa:ss".to_string())]))
    }

    fn header(value: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", value.parse().unwrap());
        metadata
    }

    #[test]
    fn a_password_may_contain_a_colon() {
        for encoded in [
            BASE64_STANDARD.encode("anna:pa:ss"),
            BASE64_STANDARD_NO_PAD.encode("anna:pa:ss"),
        ] {
            let headers = CallHeaders::parse(&header(&format!("Basic {encoded}"))).unwrap();
            assert_eq!(passwords().check(headers.basic.as_ref()).unwrap(), "anna");
        }
    }

    #[test]
    fn wrong_and_missing_credentials_are_refused_alike() {
        for (user, password) in [("anna", "x"), ("anna", ""), ("eve", "pa:ss"), ("eve", "\0")] {
            let credentials = Credentials {
                user: user.to_string(),
                password: password.to_string(),
            };
            let error = passwords().check(Some(&credentials)).unwrap_err();
            assert_eq!(error.to_string(), "wrong user or password");
        }
        assert!(passwords().check(None).is_err());
    }

    #[test]
    fn a_malformed_header_is_not_an_anonymous_call() {
        assert!(CallHeaders::parse(&header("Digest abc")).is_err());
        assert!(CallHeaders::parse(&header("Basic !!!")).is_err());
        assert!(CallHeaders::parse(&header("Bearer")).is_err());
    }

    #[test]
    fn a_missing_token_written_out_is_no_token() {
        let headers = CallHeaders::parse(&header("Bearer None")).unwrap();
        assert!(headers.bearer.is_none());
        assert!(passwords().check(headers.basic.as_ref()).is_err());
    }

    #[test]
    fn the_session_cookie_is_found_among_others() {
        let mut metadata = MetadataMap::new();
        metadata.insert("cookie", "a=b; ingot_session=xyz".parse().unwrap());
        let headers = CallHeaders::parse(&metadata).unwrap();
        assert_eq!(headers.cookie.as_deref(), Some("xyz"));
    }

    #[test]
    fn debug_output_has_no_passwords() {
        assert!(!format!("{:?}", passwords()).contains("pa:ss"));
    }
}
