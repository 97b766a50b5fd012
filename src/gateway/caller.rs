//! Who is calling, and for which run.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::RunAuth;
use crate::domain::budget::BudgetRef;
use crate::domain::fault::{Code, Fault};
use crate::domain::id::{OrganizationId, RunId};
use crate::domain::key::{Credential, TokenHash};
use crate::domain::reservation::Authority;
use crate::limits::bodies::Owner;

use super::directory::{KnownRun, NotFound};
use super::payers::{KnownKey, budgets_of};
use super::{Gateway, Mode, unavailable};

/// What a request brought to show who it is. Nothing of it has been believed yet.
#[derive(Debug, Default)]
pub struct Presented {
    /// The credentials of its headers and its path, without repetitions.
    pub credentials: Vec<Credential>,
    /// The text of the signed token among them. With a second one there are two credentials.
    pub signed: Option<String>,
    /// The runs that the header `X-Run-Id` and the query name, as often as they do.
    pub named_runs: Vec<String>,
    /// The address that it came from.
    pub from: Option<IpAddr>,
    /// The names of the certificate that its connection was opened with.
    pub certificate_names: Vec<String>,
    /// Whether that certificate is no longer good.
    pub certificate_is_bad: bool,
}

/// A credential that was found to be good.
pub enum Identity {
    /// A run's token.
    Token(Arc<KnownRun>, TokenHash),
    /// A run's id, where a key would stand.
    RunId(Arc<KnownRun>),
    /// A signed token: of one run, or of any run of an organization that the request names.
    Signed(OrganizationId, Option<Arc<KnownRun>>),
    /// An inference key, and the hash of its secret if not a certificate stands for it.
    Key(Arc<KnownKey>, Option<TokenHash>),
    /// None, where none is needed.
    Anonymous,
}

impl Identity {
    /// Whose the bytes of its body are.
    pub fn owner(&self) -> Owner {
        match self {
            Self::Token(run, _) | Self::RunId(run) | Self::Signed(_, Some(run)) => {
                Owner::Run(Arc::clone(&run.bodies))
            }
            Self::Key(key, _) => Owner::Run(Arc::clone(&key.account.bodies)),
            Self::Signed(_, None) | Self::Anonymous => Owner::Anonymous,
        }
    }

    /// The run that it names by itself.
    pub fn run(&self) -> Option<&KnownRun> {
        match self {
            Self::Token(run, _) | Self::RunId(run) => Some(run),
            Self::Signed(_, run) => run.as_deref(),
            Self::Key(..) | Self::Anonymous => None,
        }
    }
}

/// A call's run, and by what right it is called for.
#[derive(Clone)]
pub struct Caller {
    /// The run, or what its key calls without one.
    pub run: Arc<KnownRun>,
    /// The key that it is called with, if it is one.
    pub key: Option<Arc<KnownKey>>,
    /// The right, to be checked by the ledger.
    pub authority: Authority,
    /// The names of the certificate that stands for the key, if one does.
    pub(super) certificate: Option<Arc<[String]>>,
}

impl Caller {
    pub(super) fn of_run(run: Arc<KnownRun>, authority: Authority) -> Self {
        Self { run, key: None, authority, certificate: None }
    }

    /// Refuses a call that names no run with a key that wants one.
    pub(super) fn check_key_names_run(&self) -> Result<(), Fault> {
        let wants_run = self.key.as_ref().is_some_and(|key| key.heard().terms.require_run);
        if wants_run && self.run.named().is_none() { Err(run_id_required()) } else { Ok(()) }
    }

    /// Refuses a call by a certificate that does not stand for the key any more.
    pub(super) fn check_certificate(&self) -> Result<(), Fault> {
        match (&self.key, &self.certificate) {
            (Some(key), Some(names)) if !key.answers_to(names) => Err(invalid_key()),
            _ => Ok(()),
        }
    }

    /// The budgets that its calls fall under, in the order of checking.
    pub fn budgets(&self) -> Vec<BudgetRef> {
        budgets_of(&self.run, self.key.as_deref())
    }
}

/// One body for every credential that is not good, whatever is wrong with it.
pub fn invalid_key() -> Fault {
    Fault::new(
        Code::InvalidKey,
        "This credential is not valid here. Send the token that this run was given, or an \
         inference key, as `Authorization: Bearer …`.",
    )
}

/// There is no such run.
pub fn run_not_found() -> Fault {
    Fault::new(
        Code::RunNotFound,
        "There is no run of this id. Check the id, or have the run registered first.",
    )
}

/// Nobody calls as two.
pub(super) fn two_credentials() -> Fault {
    Fault::new(
        Code::InvalidRequest,
        "The request carries two different credentials. Send one of them only.",
    )
}

/// A run is needed, and nothing names it.
pub fn run_id_required() -> Fault {
    Fault::new(
        Code::RunIdRequired,
        "Nothing names a run. Send its token as `Authorization: Bearer …`, its id in the header \
         `X-Run-Id`, or `run_id` in the body.",
    )
    .param("run_id")
}

impl Gateway {
    /// Checks the credential, before the body is looked at.
    ///
    /// # Errors
    /// 400 if there are two; 401 if it is not good; 503 if the ledger cannot say.
    pub async fn authenticate(&self, presented: &Presented) -> Result<Identity, Fault> {
        if let Some(identity) = self.certified(presented).await? {
            return Ok(identity);
        }
        let credential = match presented.credentials.as_slice() {
            [] => None,
            [one] => Some(*one),
            // A laptop's environment may well hold a real key beside ours.
            all @ [..] if self.mode == Mode::Dev => all
                .iter()
                .find(|one| matches!(one, Credential::RunToken(_) | Credential::RunId(_)))
                .copied(),
            [..] => return Err(two_credentials()),
        };
        let found = match credential {
            None => None,
            Some(Credential::RunToken(hash)) => self
                .directory
                .by_token(hash, self.stranger(presented))
                .await
                .map_err(not_found)?
                .map(|run| Identity::Token(run, hash)),
            Some(Credential::RunId(id)) => self
                .directory
                .by_id(id, self.stranger(presented))
                .await
                .map_err(not_found)?
                .filter(|run| self.bare_id_is_enough(run))
                .map(Identity::RunId),
            Some(Credential::Signed(hash)) => self.signed(hash, presented).await?,
            Some(Credential::InferenceKey(hash)) if self.mode == Mode::Serve => self
                .directory
                .by_key(hash, self.stranger(presented))
                .await
                .map_err(not_found)?
                .map(|key| Identity::Key(key, Some(hash))),
            Some(Credential::InferenceKey(_) | Credential::Foreign(_)) => None,
        };
        match (found, credential, self.mode) {
            (Some(identity), _, _) => Ok(identity),
            (None, _, Mode::Dev) => Ok(Identity::Anonymous),
            (None, None, Mode::Serve) if self.policy.run_auth == RunAuth::RunId => {
                Ok(Identity::Anonymous)
            }
            (None, _, Mode::Serve) => Err(invalid_key()),
        }
    }

    /// Finds the run that the credential, the header, the query and the body name, all of which
    /// must agree.
    ///
    /// # Errors
    /// 400 if a name is malformed, disagrees, or is missing; 401 if the run wants a token; 404 if
    /// there is no such run.
    pub async fn name_run(
        &self,
        identity: Identity,
        presented: &Presented,
        body_names: &[String],
    ) -> Result<Caller, Fault> {
        let mut named = None;
        for name in presented.named_runs.iter().chain(body_names) {
            let id = RunId::parse(name).ok_or_else(|| {
                Fault::new(Code::InvalidRunId, "The run id is not a UUID.").param("run_id")
            })?;
            if named.is_some_and(|other| other != id) {
                return Err(mismatch());
            }
            named = Some(id);
        }
        let caller = match identity {
            Identity::Token(run, hash) => Caller::of_run(run, Authority::Token(hash)),
            Identity::RunId(run) => Caller::of_run(run, Authority::RunId),
            Identity::Signed(organization, run) => {
                return self.name_signed(organization, run, named, presented).await;
            }
            Identity::Key(key, hash) => return self.with_key(key, hash, named, presented).await,
            Identity::Anonymous => return self.anonymous(named, presented).await,
        };
        if named.is_some_and(|id| id != caller.run.id) {
            return Err(mismatch());
        }
        Ok(caller)
    }

    /// A call with a key: for a run of the key's organization, or for none.
    async fn with_key(
        &self,
        key: Arc<KnownKey>,
        hash: Option<TokenHash>,
        named: Option<RunId>,
        presented: &Presented,
    ) -> Result<Caller, Fault> {
        let authority = Authority::Key(key.id, hash);
        let certificate = hash.is_none().then(|| presented.certificate_names.as_slice().into());
        let Some(id) = named else {
            let run = Arc::clone(&key.account);
            let caller = Caller { run, key: Some(key), authority, certificate };
            caller.check_key_names_run()?;
            return Ok(caller);
        };
        let found = self.directory.by_id(id, self.stranger(presented)).await.map_err(not_found)?;
        let own = |run: &Arc<KnownRun>| run.terms.organization == key.heard().organization;
        let run = found.filter(own).ok_or_else(run_not_found)?;
        // A key is good for its organization; a run that wants its own token wants no less here.
        if !self.bare_id_is_enough(&run) {
            return Err(invalid_key());
        }
        Ok(Caller { run, key: Some(key), authority, certificate })
    }

    /// The address whose questions in vain are counted. In dev mode nobody is a stranger.
    pub(super) fn stranger(&self, presented: &Presented) -> Option<IpAddr> {
        presented.from.filter(|_| self.mode == Mode::Serve)
    }

    async fn anonymous(
        &self,
        named: Option<RunId>,
        presented: &Presented,
    ) -> Result<Caller, Fault> {
        let id = named.or(self.default_run).ok_or_else(run_id_required)?;
        let found = self.directory.by_id(id, self.stranger(presented)).await.map_err(not_found)?;
        let run = found.ok_or_else(run_not_found)?;
        if !self.bare_id_is_enough(&run) {
            return Err(invalid_key());
        }
        Ok(Caller::of_run(run, Authority::RunId))
    }

    /// A developer's gateway takes any id, whatever RUN_AUTH says. But a run that was registered
    /// there with `require_token` asks for its token there too, so that this can be tried out.
    fn bare_id_is_enough(&self, run: &KnownRun) -> bool {
        let by_id = self.mode == Mode::Dev || self.policy.run_auth == RunAuth::RunId;
        by_id && !run.terms.require_token
    }
}

/// It could not be found out who is calling.
pub(super) fn not_found(problem: NotFound) -> Fault {
    match problem {
        NotFound::Ledger(error) => unavailable(error),
        NotFound::TooMany(wait) => too_many_strangers(wait),
    }
}

/// Says nothing about the credential: it was not looked at.
fn too_many_strangers(wait: Duration) -> Fault {
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(60) + 1;
    Fault::new(
        Code::RateLimited,
        format!(
            "Too many credentials and runs that do not exist were named from this address. Try \
             again in {seconds} s."
        ),
    )
    .retry_after(seconds)
}

pub(super) fn mismatch() -> Fault {
    Fault::new(
        Code::RunIdMismatch,
        "The credential, the header X-Run-Id, the query and the body do not all name the same run. \
         Name one.",
    )
    .param("run_id")
}
