//! Who asks the control plane: the operator by his token, an orchestrator by its key, a member of
//! an organization by name and password.
//!
//! Whatever is wrong with a credential, the answer is the same. What a good one does not allow is
//! 403; what is not its organization's is not there, but for a member's own name: that is good for
//! his organization alone, and is no credential anywhere else.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::domain::fault::{Code, Fault};
use crate::domain::id::OrganizationId;
use crate::domain::key::{ORCHESTRATOR_KEY_PREFIX, TokenHash};
use crate::domain::organization::Role;
use crate::http::route::Right;
use crate::ledger::audit::{self, Actor, ActorKind};
use crate::ledger::organizations::OrchestratorKey;

use super::Operator;

/// The word that stands for the default organization in a path.
const DEFAULT: &str = "default";
/// The longest credential that is looked at, in bytes.
const MAX_CREDENTIAL_BYTES: usize = 4 << 10;

/// Who asks.
pub(super) enum Caller {
    /// Whoever has the operator's token, or asks a developer's gateway.
    Operator,
    /// An orchestrator.
    Orchestrator(OrchestratorKey),
    /// A member of the organization of the path.
    Member(String, Role),
}

impl Caller {
    /// The one organization whose runs the caller knows, unless he knows all.
    pub(super) fn bound_to(&self) -> Option<OrganizationId> {
        match self {
            Self::Operator | Self::Member(..) => None,
            Self::Orchestrator(key) => Some(key.organization),
        }
    }

    fn has(&self, needs: Right) -> bool {
        match self {
            Self::Operator => true,
            Self::Orchestrator(_) => needs == Right::Runs,
            Self::Member(_, role) => needs.roles().contains(role),
        }
    }

    fn actor(&self) -> (ActorKind, Option<String>, Option<String>) {
        match self {
            Self::Operator => (ActorKind::Operator, None, None),
            Self::Orchestrator(key) => {
                (ActorKind::OrchestratorKey, Some(key.id.to_string()), Some(key.name.clone()))
            }
            Self::Member(name, _) => (ActorKind::Member, None, Some(name.clone())),
        }
    }
}

/// Checks the credential of a request, and what it allows.
pub(super) async fn check(
    request: &HttpRequest,
    operator: &Operator,
    request_id: &str,
    needs: Right,
) -> Result<Caller, Fault> {
    let from = request.peer_addr().map(|peer| peer.ip());
    let caller = caller(request, operator, from).await?;
    if !caller.has(needs) {
        return Err(Fault::new(
            Code::Forbidden,
            "This credential does not allow that. Ask an owner of the organization, or the \
             operator.",
        ));
    }
    if matches!((&caller, needs), (Caller::Operator, Right::Read | Right::Manage | Right::Own)) {
        let named =
            organization(request).ok_or_else(crate::gateway::organizations::no_organization)?;
        operator.gateway.must_have_organization(named).await?;
    }
    // A developer's gateway asked for nothing, so it knows nobody.
    if operator.admin_token.is_some() {
        let (kind, id, name) = caller.actor();
        let address = from.map(|address| address.to_string());
        audit::tell(Actor { kind, id, name, address, request_id: request_id.to_owned() });
    }
    Ok(caller)
}

/// The organization that the path names.
pub(super) fn organization(request: &HttpRequest) -> Option<OrganizationId> {
    match request.match_info().get("org")? {
        DEFAULT => Some(OrganizationId::DEFAULT),
        text => OrganizationId::parse(text),
    }
}

async fn caller(
    request: &HttpRequest,
    operator: &Operator,
    from: Option<IpAddr>,
) -> Result<Caller, Fault> {
    let Some(token) = &operator.admin_token else { return Ok(Caller::Operator) };
    match presented(request.headers()) {
        Some(Presented::Bearer(secret)) => {
            let given = TokenHash::of(secret.expose_secret());
            let wanted = TokenHash::of(token.expose_secret());
            // Hashes, so that neither the time nor the length tells anything about the token.
            if bool::from(given.as_bytes().ct_eq(wanted.as_bytes())) {
                return Ok(Caller::Operator);
            }
            if !secret.expose_secret().starts_with(ORCHESTRATOR_KEY_PREFIX) {
                operator.gateway.count_guess(from)?;
                return Err(invalid_key());
            }
            let found = operator.gateway.find_orchestrator(given, from).await?;
            found.map(Caller::Orchestrator).ok_or_else(invalid_key)
        }
        Some(Presented::Basic(name, password)) => {
            let organization = organization(request).ok_or_else(invalid_key)?;
            let role = operator.gateway.sign_in(organization, &name, password, from).await?;
            role.map(|role| Caller::Member(name, role)).ok_or_else(invalid_key)
        }
        None => Err(invalid_key()),
    }
}

/// What a request shows.
enum Presented {
    Bearer(SecretString),
    Basic(String, SecretString),
}

fn presented(headers: &HeaderMap) -> Option<Presented> {
    let mut given = headers.get_all(AUTHORIZATION);
    let (Some(value), None) = (given.next(), given.next()) else { return None };
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim();
    if rest.is_empty() || rest.len() > MAX_CREDENTIAL_BYTES {
        return None;
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Presented::Bearer(rest.to_owned().into()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(rest).ok()?);
    let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    // Postgres keeps no NUL, so nobody is called that.
    let possible = !name.is_empty() && !name.contains('\0');
    possible.then(|| Presented::Basic(name.to_owned(), password.to_owned().into()))
}

/// One body for every credential that is not good, whatever is wrong with it.
fn invalid_key() -> Fault {
    Fault::new(
        Code::InvalidKey,
        "This credential is not valid here. Send ADMIN_TOKEN as `Authorization: Bearer …`.",
    )
}
