//! Who may connect: users, passwords, and the HTTP `authorization` header that Flight SQL (as gRPC
//! metadata) and the REST catalog share.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::error::{CoordinatorError, Result};

/// The user of connections that name none, when authentication is off.
pub const ANONYMOUS_USER: &str = "anonymous";

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
    /// The password of a user; `None` for unknown users and when authentication is off.
    pub(crate) fn password(&self, user: &str) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Passwords(users) => users.get(user).map(String::as_str),
        }
    }

    /// The user that these credentials prove, or `Unauthenticated`.
    pub(crate) fn check(&self, credentials: Option<&Credentials>) -> Result<String> {
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
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// What an `authorization` header holds.
pub(crate) enum Authorization {
    /// `Bearer …`
    Bearer(String),
    /// `Basic …`
    Basic(Credentials),
}

impl Authorization {
    /// Reads the header's text; `None` when a client wrote out that it has no token. A text that
    /// cannot be understood is an error, not an anonymous call.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>> {
        let (scheme, rest) = text.split_once(' ').ok_or_else(malformed_authorization)?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            Ok((rest != NO_TOKEN).then(|| Self::Bearer(rest.to_string())))
        } else if scheme.eq_ignore_ascii_case("basic") {
            parse_basic(rest).map(|credentials| Some(Self::Basic(credentials)))
        } else {
            Err(malformed_authorization())
        }
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

pub(crate) fn malformed_authorization() -> CoordinatorError {
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

    #[test]
    fn a_password_may_contain_a_colon() {
        for encoded in [
            BASE64_STANDARD.encode("anna:pa:ss"),
            BASE64_STANDARD_NO_PAD.encode("anna:pa:ss"),
        ] {
            let parsed = Authorization::parse(&format!("Basic {encoded}")).unwrap();
            let Some(Authorization::Basic(credentials)) = parsed else {
                panic!("no credentials");
            };
            assert_eq!(passwords().check(Some(&credentials)).unwrap(), "anna");
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
        for text in ["Digest abc", "Basic !!!", "Bearer", ""] {
            assert!(Authorization::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_missing_token_written_out_is_no_token() {
        assert!(Authorization::parse("Bearer None").unwrap().is_none());
    }

    #[test]
    fn debug_output_has_no_passwords() {
        assert!(!format!("{:?}", passwords()).contains("pa:ss"));
    }
}
