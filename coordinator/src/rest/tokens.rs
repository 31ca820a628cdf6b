//! Access tokens: JSON web tokens (RFC 7519, HS256) that any coordinator with the same users
//! accepts, also after a restart.
//!
//! The key is made from the user's password, so there is no other secret to keep or share, and a
//! new password ends the tokens of the old one.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::authentication::Authentication;
use crate::error::{CoordinatorError, Result};

/// How long a token is good for, in seconds.
pub(super) const LIFETIME_SECONDS: i64 = 3_600;

/// Keeps the key apart from any other use of the password.
const KEY_PURPOSE: &[u8] = b"ingot rest catalog access token";

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    /// The user.
    sub: String,
    /// When it was issued, in seconds since the epoch.
    iat: i64,
    /// When it ends, in seconds since the epoch.
    exp: i64,
}

/// A token for a user with this password. `now` is in seconds since the epoch.
///
/// # Errors
/// `Internal`, never in practice.
pub(super) fn issue(user: &str, password: &str, now: i64) -> Result<String> {
    let claims = Claims {
        sub: user.to_string(),
        iat: now,
        exp: now.saturating_add(LIFETIME_SECONDS),
    };
    let claims = serde_json::to_vec(&claims)
        .map_err(|error| CoordinatorError::Internal(format!("access token: {error}")))?;
    let signed = format!(
        "{}.{}",
        BASE64_URL_SAFE_NO_PAD.encode(HEADER),
        BASE64_URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = signature(password, &signed)
        .ok_or_else(|| CoordinatorError::Internal("access token: no key".to_string()))?;
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signature.finalize().into_bytes());
    Ok(format!("{signed}.{signature}"))
}

/// The user of a token; `None` when it is not one of ours, has ended, or its user has another
/// password now or does not exist any more.
pub(super) fn verify(token: &str, authentication: &Authentication, now: i64) -> Option<String> {
    let (signed, given) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    if BASE64_URL_SAFE_NO_PAD.decode(header).ok()? != HEADER.as_bytes() {
        return None;
    }
    let claims: Claims =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let given = BASE64_URL_SAFE_NO_PAD.decode(given).ok()?;
    let password = authentication.password(&claims.sub)?;
    // Takes as long for a wrong signature as for a right one.
    signature(password, signed)?.verify_slice(&given).ok()?;
    (now < claims.exp).then_some(claims.sub)
}

fn signature(password: &str, signed: &str) -> Option<Hmac<Sha256>> {
    let mut key = Hmac::<Sha256>::new_from_slice(password.as_bytes()).ok()?;
    key.update(KEY_PURPOSE);
    let mut signature = Hmac::<Sha256>::new_from_slice(&key.finalize().into_bytes()).ok()?;
    signature.update(signed.as_bytes());
    Some(signature)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn users(password: &str) -> Authentication {
        Authentication::Passwords(BTreeMap::from([
            ("ann".to_string(), password.to_string()),
            ("bob".to_string(), password.to_string()),
        ]))
    }

    const NOW: i64 = 1_750_000_000;

    #[test]
    fn a_token_proves_its_user_until_it_ends() {
        let token = issue("ann", "secret", NOW).unwrap();
        assert_eq!(
            verify(&token, &users("secret"), NOW).as_deref(),
            Some("ann")
        );
        let last = NOW + LIFETIME_SECONDS - 1;
        assert!(verify(&token, &users("secret"), last).is_some());
        assert!(verify(&token, &users("secret"), last + 1).is_none());
    }

    #[test]
    fn a_new_password_ends_it() {
        let token = issue("ann", "secret", NOW).unwrap();
        assert!(verify(&token, &users("other"), NOW).is_none());
        assert!(verify(&token, &Authentication::None, NOW).is_none());
        let unknown = issue("eve", "secret", NOW).unwrap();
        assert!(verify(&unknown, &users("secret"), NOW).is_none());
    }

    #[test]
    fn nothing_in_it_can_be_changed() {
        let token = issue("ann", "secret", NOW).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let claims = format!(r#"{{"sub":"bob","iat":{NOW},"exp":{}}}"#, NOW + 10);
        let bob = BASE64_URL_SAFE_NO_PAD.encode(claims);
        let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        for forged in [
            format!("{}.{bob}.{}", parts[0], parts[2]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{none}.{}.", parts[1]),
            format!("{}.{}.", parts[0], parts[1]),
            format!(
                "{}.{}.{}",
                parts[0],
                parts[1],
                BASE64_URL_SAFE_NO_PAD.encode("x")
            ),
            "a.b.c".to_string(),
            "..".to_string(),
            String::new(),
        ] {
            assert!(verify(&forged, &users("secret"), NOW).is_none(), "{forged}");
        }
    }
}
