//! One request to the control plane: its id, its credential, its parts; and its answer.

use std::cell::RefCell;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::Serialize;

use crate::domain::fault::{Code, Fault};
use crate::domain::id::{OrganizationId, RunId};
use crate::gateway::inference::Standing;
use crate::http::request_id::request_id;
use crate::http::route::{Param, Right};
use crate::http::{decode, respond};
use crate::ledger::audit;
use crate::protocol::style::Style;

use super::Operator;
use super::credential::{self, Caller};
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
            audit::attributed(work).await.unwrap_or_else(|fault| {
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

    /// Checks the credential of a request that has no body, and what it allows. Whatever is changed
    /// from then on is changed by its owner.
    ///
    /// A run that the path names is then one that the caller may know of, and an organization there
    /// is his own, or one that the operator has.
    pub(super) async fn admit(&self, needs: Right) -> Result<Caller, Fault> {
        let caller = credential::check(&self.request, &self.operator, &self.id, needs).await?;
        if let (Some(owner), Some(_)) = (caller.bound_to(), self.request.match_info().get("id")) {
            self.operator.gateway.must_own_run(owner, self.run()?).await?;
        }
        Ok(caller)
    }

    /// Reads the body and checks the credential, as [`Exchange::admit`] does. What its head says is
    /// too large or encoded in an unknown way is refused whoever sends it; what else is wrong with
    /// a body only its sender may hear. One that may become large is read only if its credential is
    /// good.
    pub(super) async fn body(
        &self,
        mut payload: web::Payload,
        needs: Right,
    ) -> Result<(Caller, Body), Fault> {
        let limit = self.operator.max_body_bytes;
        let mut admitted = None;
        if decode::is_heavy(self.request.headers()) {
            match self.admit_heavy(limit, needs).await {
                Ok(caller) => admitted = Some(caller),
                Err(fault) => {
                    self.unread.replace(Some(payload));
                    return Err(fault);
                }
            }
        }
        let read = decode::read_json(&self.request, &mut payload, limit, None).await;
        if read.is_err() {
            self.unread.replace(Some(payload));
        }
        match (read, admitted) {
            (Err(fault), _) if fault.code() != Code::InvalidRequest => Err(fault),
            (read, admitted) => {
                let caller = match admitted {
                    Some(caller) => caller,
                    None => self.admit(needs).await?,
                };
                read.map(|body| (caller, Body(body)))
            }
        }
    }

    async fn admit_heavy(&self, limit: usize, needs: Right) -> Result<Caller, Fault> {
        decode::check_headers(self.request.headers(), limit)?;
        self.admit(needs).await
    }

    /// The run that the path names.
    pub(super) fn run(&self) -> Result<RunId, Fault> {
        self.request.match_info().get("id").and_then(RunId::parse).ok_or_else(|| {
            Fault::new(Code::InvalidRunId, "The run id in the path is not a UUID.").param("id")
        })
    }

    /// The organization that the path names.
    pub(super) fn organization(&self) -> Result<OrganizationId, Fault> {
        credential::organization(&self.request)
            .ok_or_else(crate::gateway::organizations::no_organization)
    }

    /// What the path says there.
    pub(super) fn part(&self, name: &str) -> &str {
        self.request.match_info().get(name).unwrap_or_default()
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

    /// Whether the client asks for an answer of this type.
    pub(super) fn wants(&self, kind: &str) -> bool {
        self.request
            .headers()
            .get_all("accept")
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|range| range.split(';').next())
            .any(|asked| asked.trim().eq_ignore_ascii_case(kind))
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
