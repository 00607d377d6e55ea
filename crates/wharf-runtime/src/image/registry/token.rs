//! Tokens: what a registry's token server gives for a password, or for nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;

use super::Credential;
use super::place::{Place, encoded};
use super::wire::{Fault, Wire, collect, said};

/// Tokens are a few kilobytes; servers with many claims make longer ones.
const ANSWER_SIZE: usize = 1 << 20;
const CLIENT: &str = "wharf";

/// What a token is asked for.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) realm: Place,
    pub(super) service: Option<&'a str>,
    pub(super) scope: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// The value of `Authorization` for a user and password.
pub(super) fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

/// The value of `Authorization` that the token server gives.
pub(super) async fn bearer(
    wire: &Wire,
    wanted: &Wanted<'_>,
    credential: Option<&Credential>,
) -> Result<String, Fault> {
    let (place, request) = match credential {
        Some(Credential::IdentityToken(token)) => exchange(wanted, token)?,
        other => question(wanted, other)?,
    };
    let answer = wire.send(&place, request).await?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(Fault::last(&place, format!("unauthorized: {}", said(answer).await)));
        }
        _ => return Err(Fault::last(&place, format!("no token: {}", said(answer).await))),
    }
    let body = collect(&place, answer, ANSWER_SIZE).await?;
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|e| Fault::last(&place, format!("its token cannot be read: {e}")))?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Fault::last(&place, "its answer has no token in it"))?;
    Ok(format!("Bearer {token}"))
}

/// The usual way: a GET, with the password where there is one.
fn question(
    wanted: &Wanted<'_>,
    credential: Option<&Credential>,
) -> Result<(Place, Request<Full<Bytes>>), Fault> {
    let mut query = Vec::new();
    query.extend(wanted.service.map(|service| format!("service={}", encoded(service))));
    // Several scopes stand in one challenge with blanks between.
    let scopes = wanted.scope.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
    query.extend(scopes.map(|scope| format!("scope={}", encoded(scope))));
    let mut request = Request::builder().method(Method::GET);
    if let Some(Credential::Password { username, password }) = credential {
        query.push(format!("account={}", encoded(username)));
        request = request.header(AUTHORIZATION, basic(username, password));
    }
    let mut place = wanted.realm.clone();
    let separator = if place.path.contains('?') { '&' } else { '?' };
    place.path = format!("{}{separator}{}", place.path, query.join("&"));
    let request = request.body(Full::default()).map_err(|e| Fault::last(&place, e))?;
    Ok((place, request))
}

/// OAuth 2: a token for a token.
fn exchange(wanted: &Wanted<'_>, token: &str) -> Result<(Place, Request<Full<Bytes>>), Fault> {
    let mut form = vec![
        "grant_type=refresh_token".to_owned(),
        format!("client_id={CLIENT}"),
        format!("refresh_token={}", encoded(token)),
    ];
    form.extend(wanted.service.map(|service| format!("service={}", encoded(service))));
    form.extend(wanted.scope.map(|scope| format!("scope={}", encoded(scope))));
    let place = wanted.realm.clone();
    let request = Request::builder()
        .method(Method::POST)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::from(form.join("&")))
        .map_err(|e| Fault::last(&place, e))?;
    Ok((place, request))
}
