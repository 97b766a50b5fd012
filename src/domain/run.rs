//! Runs: what an orchestrator registers, and the states it goes through.

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::budget::BudgetRef;
use super::control::RunControl;
use super::id::{Attempt, OrganizationId, RunId};
use super::key::TokenHash;
use super::money::Usd;
use super::seal::{Place, Sealed};
use super::usage::Tokens;

/// Where a run stands. Only a running run may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunState {
    /// Registered; nothing has started.
    Pending,
    /// Its sandbox is being made.
    Initializing,
    /// Its agent is at work: the one state that may spend.
    Running,
    /// The agent is done; its result is being judged.
    Scoring,
    /// Over, with a result.
    Finished,
    /// Over, without one.
    Failed,
    /// Stopped: calls in flight are cut.
    Cancelled,
}

impl RunState {
    /// Every state, in the order in which a run goes through them.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Initializing,
        Self::Running,
        Self::Scoring,
        Self::Finished,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word used in storage and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Initializing => "initializing",
            Self::Running => "running",
            Self::Scoring => "scoring",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads a state by its name or by the name that Ridges' platform has for it.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "initializing_agent" => Some(Self::Initializing),
            "running_agent" => Some(Self::Running),
            "initializing_eval" | "running_eval" => Some(Self::Scoring),
            "error" => Some(Self::Failed),
            _ => Self::ALL.into_iter().find(|state| state.as_str() == text),
        }
    }

    /// What a call of a run in this state meets.
    pub const fn admission(self) -> StateAdmission {
        match self {
            Self::Pending | Self::Initializing => StateAdmission::NotYet,
            Self::Running => StateAdmission::Open,
            Self::Scoring | Self::Finished | Self::Failed | Self::Cancelled => {
                StateAdmission::Closed
            }
        }
    }

    /// The state after somebody asked for `wanted`: forwards it moves, a late or repeated request
    /// leaves it where it is. Failed and cancelled runs stay what they are.
    #[must_use]
    pub fn towards(self, wanted: Self) -> Self {
        match self {
            Self::Failed | Self::Cancelled => self,
            Self::Pending | Self::Initializing | Self::Running | Self::Scoring | Self::Finished => {
                self.max(wanted)
            }
        }
    }

    /// Whether a new attempt may be opened.
    pub const fn allows_new_attempt(self) -> bool {
        !matches!(self, Self::Cancelled)
    }

    /// Whether a run in this state is over.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }
}

impl Serialize for RunState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What the state alone says about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateAdmission {
    /// It may become running: worth a short wait.
    NotYet,
    /// It may spend.
    Open,
    /// It will not spend again in this attempt.
    Closed,
}

/// What to do with a call that the cap cannot afford in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCap {
    /// Lower its output to what the rest buys.
    Clamp,
    /// Refuse it.
    Refuse,
}

impl OnCap {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Clamp, Self::Refuse];

    /// The word used in storage and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clamp => "clamp",
            Self::Refuse => "refuse",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.as_str() == text)
    }
}

impl Serialize for OnCap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What never changes about a run once it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTerms {
    /// Who pays.
    pub organization: OrganizationId,
    /// The models it may use, by their names in the catalogue; `None` means all.
    pub allowed_models: Option<Vec<String>>,
    /// Most tokens over its lifetime, or over that of each attempt.
    pub token_limit: Option<Tokens>,
    /// Most calls over its lifetime, or over that of each attempt.
    pub call_limit: Option<u32>,
    /// Most calls at once on one gateway, waiting ones included.
    pub max_concurrency: Option<u32>,
    /// Most requests a minute on one gateway.
    pub requests_per_minute: Option<u32>,
    /// Most output tokens of one choice of one call.
    pub max_output_tokens_per_call: Option<Tokens>,
    /// What happens to a call that the cap cannot afford in full.
    pub on_cap: OnCap,
    /// Whether the bare run id is not enough.
    pub require_token: bool,
    /// What is decided about its calls.
    pub control: RunControl,
}

/// A provider that a run is to reach with a key of its own, which is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunProvider {
    /// The provider's name.
    pub provider: String,
    /// Where it is, if not where the provider itself is.
    pub base_url: Option<String>,
    /// Whether the operator chose that address, so that it may lead anywhere.
    pub anywhere: bool,
    /// Whether it is attested to be in the EU.
    pub eu_endpoint: bool,
    /// Its key.
    pub key: Sealed,
}

impl RunProvider {
    /// Where its key opens.
    pub fn place(&self, organization: OrganizationId, run: RunId) -> Place<'_> {
        let (provider, base_url) = (self.provider.as_str(), self.base_url.as_deref());
        Place { organization, run: Some(run), provider, base_url }
    }
}

/// A registration, checked.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its id.
    pub id: RunId,
    /// What stays as it is.
    pub terms: RunTerms,
    /// The cap in dollars.
    pub cost_limit: Usd,
    /// Where it begins.
    pub status: RunState,
    /// When it stops spending by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// The orchestrator's own notes: a JSON object, as text.
    pub metadata: String,
    /// The providers that it brings keys of its own for, as `terms` names them.
    pub providers: Vec<RunProvider>,
    /// SHA-256 of the registration in canonical form: the same body again is the same run.
    pub fingerprint: [u8; 32],
}

/// A run as a gateway knows it: what never changes, and what was true when it last looked.
#[derive(Clone, Debug)]
pub struct RunSnapshot {
    /// Its id.
    pub id: RunId,
    /// What stays as it is.
    pub terms: RunTerms,
    /// The rows of the budgets that its current attempt spends from.
    pub budgets: Vec<BudgetRef>,
    /// What may have changed since.
    pub standing: RunStanding,
}

/// The part of a run that its orchestrator can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunStanding {
    /// Its state.
    pub state: RunState,
    /// Its current attempt.
    pub attempt: Attempt,
    /// The hash of the current attempt's token.
    pub token: TokenHash,
    /// When it stops spending by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether calls in flight are to be cut.
    pub cut: bool,
    /// How often it was changed; what was heard of an earlier version is outdated.
    pub version: u64,
}

/// What a change asks of a run. Absent fields stay as they are.
#[derive(Clone, Debug, Default)]
pub struct RunPatch {
    /// The state to move towards.
    pub status: Option<RunState>,
    /// The new cap.
    pub cost_limit: Option<Usd>,
    /// The new expiry; `Some(None)` takes it away.
    pub expires_at: Option<Option<DateTime<Utc>>>,
    /// New notes: a JSON object, as text.
    pub metadata: Option<String>,
}
