//! Which calls share a session, and who may call at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::error::FlightError;
use tonic::Code;

use super::super::Authentication;
use super::super::sessions::SessionRegistry;
use super::fake_service::eventually;
use super::{Fixture, act, rows};

const USE_OTHER: &str = "set datafusion.catalog.default_schema = 'other'";

fn code_of(error: &FlightError) -> Code {
    match error {
        FlightError::Tonic(status) => status.code(),
        other => panic!("not a status: {other}"),
    }
}

#[tokio::test]
async fn a_connection_without_token_or_cookie_has_a_session_of_its_own() {
    let fixture = Fixture::open().await;
    let mut first = fixture.connect().await;
    let mut second = fixture.connect().await;
    first
        .execute_update(USE_OTHER.to_string(), None)
        .await
        .unwrap();
    assert!(
        rows(&mut first, "select answer from t")
            .await
            .contains("42")
    );
    assert!(
        second
            .execute("select answer from t".to_string(), None)
            .await
            .is_err()
    );
    rows(&mut second, "select 1").await;
    assert_eq!(fixture.service.open_sessions(), 2);
    drop(first);
    let service = Arc::clone(&fixture.service);
    eventually("the session ends with its connection", || {
        service.open_sessions() == 1
    })
    .await;
}

#[tokio::test]
async fn a_token_keeps_its_session_across_connections() {
    let fixture = Fixture::open().await;
    let mut first = fixture.connect().await;
    first.handshake("ada", "ignored").await.unwrap();
    first
        .execute_update(USE_OTHER.to_string(), None)
        .await
        .unwrap();
    let token = first.token().cloned().unwrap();
    drop(first);
    let mut second = fixture.connect().await;
    second.set_token(token);
    assert!(
        rows(&mut second, "select answer from t")
            .await
            .contains("42")
    );
    assert!(
        rows(&mut second, "select user_name from public.who_ada")
            .await
            .contains("ada")
    );
}

#[tokio::test]
async fn a_cookie_keeps_its_session_across_connections() {
    let fixture = Fixture::open().await;
    let mut first = fixture.connect().await;
    let response = first
        .inner_mut()
        .list_actions(arrow_flight::Empty {})
        .await
        .unwrap();
    let cookie = response.metadata().get("set-cookie").unwrap();
    let cookie = cookie
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_string();
    first.set_header("cookie", cookie.clone());
    first
        .execute_update(USE_OTHER.to_string(), None)
        .await
        .unwrap();
    drop(first);
    let mut second = fixture.connect().await;
    second.set_header("cookie", cookie);
    assert!(
        rows(&mut second, "select answer from t")
            .await
            .contains("42")
    );
}

#[tokio::test]
async fn an_unknown_token_is_refused_even_when_everybody_may_connect() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    client.set_token("made-up".to_string());
    let error = client
        .execute("select 1".to_string(), None)
        .await
        .unwrap_err();
    assert_eq!(code_of(&error), Code::Unauthenticated);
}

#[tokio::test]
async fn passwords_are_checked() {
    let users = BTreeMap::from([("ada".to_string(), "secret".to_string())]);
    let fixture = Fixture::start(Authentication::Passwords(users)).await;
    let mut client = fixture.connect().await;
    let error = client
        .execute("select 1".to_string(), None)
        .await
        .unwrap_err();
    assert_eq!(code_of(&error), Code::Unauthenticated);
    assert!(client.handshake("ada", "wrong").await.is_err());
    assert!(client.handshake("eve", "secret").await.is_err());
    assert_eq!(fixture.service.open_sessions(), 0);
    client.handshake("ada", "secret").await.unwrap();
    rows(&mut client, "select 1").await;
}

#[tokio::test]
async fn results_and_queries_belong_to_their_user() {
    let fixture = Fixture::open().await;
    let mut ada = fixture.connect().await;
    ada.handshake("ada", "").await.unwrap();
    let mut eve = fixture.connect().await;
    eve.handshake("eve", "").await.unwrap();
    let info = ada.execute("select 1".to_string(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let error = eve.do_get(ticket.clone()).await.err().unwrap();
    assert_eq!(code_of(&error), Code::NotFound);
    ada.do_get(ticket).await.unwrap();
}

#[tokio::test]
async fn a_session_that_was_closed_is_gone() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    client.handshake("ada", "").await.unwrap();
    let action = arrow_flight::Action::new("CloseSession", "");
    let mut request = tonic::Request::new(action);
    let bearer = format!("Bearer {}", client.token().unwrap())
        .parse()
        .unwrap();
    request.metadata_mut().insert("authorization", bearer);
    client.inner_mut().do_action(request).await.unwrap();
    let error = client
        .execute("select 1".to_string(), None)
        .await
        .unwrap_err();
    assert_eq!(code_of(&error), Code::Unauthenticated);
    assert_eq!(fixture.service.open_sessions(), 0);
}

/// The bytes of SetSessionOptionsRequest with one text option.
fn set_option(name: &str, value: &str) -> Vec<u8> {
    let text = [&[0x0a, value.len() as u8], value.as_bytes()].concat();
    let entry = [
        &[0x0a, name.len() as u8],
        name.as_bytes(),
        &[0x12, text.len() as u8],
        &text,
    ]
    .concat();
    [&[0x0a, entry.len() as u8][..], &entry].concat()
}

#[tokio::test]
async fn the_current_schema_is_a_session_option() {
    let fixture = Fixture::open().await;
    let mut client = fixture.connect().await;
    let set = act(
        &mut client,
        "SetSessionOptions",
        set_option("schema", "other"),
    )
    .await;
    assert_eq!(set, [b""], "no errors");
    assert!(
        rows(&mut client, "select answer from t")
            .await
            .contains("42")
    );
    let options = act(&mut client, "GetSessionOptions", vec![]).await;
    let text = String::from_utf8_lossy(&options[0]).to_string();
    assert!(
        text.contains("schema") && text.contains("other"),
        "{text:?}"
    );
    let set = act(&mut client, "SetSessionOptions", set_option("color", "red")).await;
    assert!(String::from_utf8_lossy(&set[0]).contains("color"));
}

#[tokio::test]
async fn idle_sessions_expire_and_busy_ones_do_not() {
    let service = super::fake_service::FakeService::new().await;
    let registry = SessionRegistry::new(service.clone(), Authentication::None);
    let idle = registry.handshake(None).await.unwrap();
    let busy = registry.handshake(None).await.unwrap();
    let in_use = busy.hold();
    let (now, hour) = (Instant::now(), Duration::from_secs(3600));
    registry.expire(now + hour / 2, hour).await;
    assert!(registry.is_open(&idle));
    registry.expire(now + hour * 2, hour).await;
    assert!(!registry.is_open(&idle) && registry.is_open(&busy));
    assert_eq!(service.open_sessions(), 1);
    drop(in_use);
    registry.expire(now + hour * 2, hour).await;
    assert_eq!(service.open_sessions(), 0);
}
