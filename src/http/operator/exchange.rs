//! One request to the control plane: its id, its credential, its parts; and its answer.

use std::cell::RefCell;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use subtle::ConstantTimeEq as _;

use crate::domain::fault::{Code, Fault};
use crate::domain::id::RunId;
use crate::domain::key::TokenHash;
use crate::gateway::inference::Standing;
use crate::http::request_id::request_id;
use crate::http::route::Param;
use crate::http::{decode, respond};
use crate::protocol::style::Style;

use super::Operator;
use super::fields::invalid;

/// What every answer says about caches: it shows tokens, or what is true only now.
pub(super) const NO_STORE: (HeaderName, HeaderValue) =
    (CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// A request that is being answered.
pub(super) struct Exchange {
    /// Its id.
    pub(super) id: String,
    /// What it is asked of.
    pub(super) operator: web::Data<Operator>,
    request: HttpRequest,
    unread: RefCell<Option<web::Payload>>,
}

impl Exchange {
    pub(super) fn new(request: HttpRequest, operator: web::Data<Operator>) -> Self {
        let id = request_id(request.headers());
        Self { id, operator, request, unread: RefCell::default() }
    }

    /// Answers with what `work` makes, or with its fault.
    pub(super) async fn answer(
        &self,
        work: impl Future<Output = Result<HttpResponse, Fault>>,
    ) -> HttpResponse {
        let manners = self.operator.manners;
        let answer = respond::guarded(&self.id, manners, Style::default(), async {
            work.await.unwrap_or_else(|fault| {
                respond::refuse(&fault, &self.id, manners, &Standing::default())
            })
        })
        .await;
        let answer = respond::last_answer(answer, self.operator.gateway.is_leaving());
        match self.unread.take() {
            Some(unread) => respond::hang_up(answer, unread),
            None => answer,
        }
    }

    /// Checks the credential of a request that has no body.
    pub(super) fn authenticate(&self) -> Result<(), Fault> {
        match &self.operator.admin_token {
            Some(token) => check_bearer(self.request.headers(), token),
            None => Ok(()),
        }
    }

    /// Reads the body and checks the credential. What is too large or encoded in an unknown way is
    /// refused whoever sends it; what else is wrong with a body only its sender may hear.
    pub(super) async fn body(&self, mut payload: web::Payload) -> Result<Body, Fault> {
        let limit = self.operator.max_body_bytes;
        let read = decode::read_json(&self.request, &mut payload, limit, None).await;
        if read.is_err() {
            self.unread.replace(Some(payload));
        }
        match read {
            Err(fault) if fault.code() != Code::InvalidRequest => Err(fault),
            read => {
                self.authenticate()?;
                read.map(Body)
            }
        }
    }

    /// The run that the path names.
    pub(super) fn run(&self) -> Result<RunId, Fault> {
        self.request.match_info().get("id").and_then(RunId::parse).ok_or_else(|| {
            Fault::new(Code::InvalidRunId, "The run id in the path is not a UUID.").param("id")
        })
    }

    /// The query's members, each at most once and each among the known ones.
    pub(super) fn query(&self, known: &[Param]) -> Result<Query, Fault> {
        let text = self.request.query_string();
        let pairs = web::Query::<Vec<(String, String)>>::from_query(text)
            .map_err(|_| Fault::new(Code::InvalidRequest, "The query cannot be read."))?
            .into_inner();
        for (position, (name, _)) in pairs.iter().enumerate() {
            let shown = || crate::protocol::json::Path::default().to_foreign(name);
            if !known.iter().any(|known| known.name == name) {
                return Err(invalid(shown(), "is not a parameter of this request; leave it out"));
            }
            if pairs.iter().take(position).any(|(other, _)| other == name) {
                return Err(invalid(shown(), "is given twice; give it once"));
            }
        }
        Ok(Query(pairs))
    }

    /// Whether the client would rather have a row on each line.
    pub(super) fn wants_lines(&self) -> bool {
        self.request
            .headers()
            .get_all("accept")
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|range| range.split(';').next())
            .any(|kind| kind.trim().eq_ignore_ascii_case(super::calls::LINES))
    }

    /// An answer in JSON.
    pub(super) fn json(
        &self,
        status: StatusCode,
        view: &impl Serialize,
    ) -> Result<HttpResponse, Fault> {
        let body = serde_json::to_vec(view).map_err(|error| {
            Fault::internal(
                Code::InternalError,
                "The answer could not be written. It has been logged; look at the run again.",
                error,
            )
        })?;
        Ok(respond::answer(status, &self.id, self.operator.manners)
            .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
            .insert_header(NO_STORE)
            .body(body))
    }
}

/// A body whose sender may be answered.
pub(super) struct Body(Bytes);

impl Body {
    /// The body as text.
    pub(super) fn text(&self) -> Result<&str, Fault> {
        std::str::from_utf8(&self.0).map_err(|_| {
            Fault::new(Code::InvalidRequest, "The body is not valid UTF-8. Send JSON in UTF-8.")
        })
    }
}

/// The members of a query.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Compares hashes, so that neither the time nor the length tells anything about the token.
fn check_bearer(headers: &HeaderMap, token: &SecretString) -> Result<(), Fault> {
    let mut given = headers.get_all(AUTHORIZATION);
    let bearer = match (given.next(), given.next()) {
        (Some(value), None) => value.to_str().ok().and_then(|value| value.split_once(' ')),
        _ => None,
    };
    let is_right = bearer.is_some_and(|(scheme, secret)| {
        let (given, wanted) = (TokenHash::of(secret.trim()), TokenHash::of(token.expose_secret()));
        let same = given.as_bytes().ct_eq(wanted.as_bytes());
        scheme.eq_ignore_ascii_case("bearer") && bool::from(same)
    });
    if is_right {
        return Ok(());
    }
    Err(Fault::new(
        Code::InvalidKey,
        "This credential is not valid here. Send ADMIN_TOKEN as `Authorization: Bearer …`.",
    ))
}
