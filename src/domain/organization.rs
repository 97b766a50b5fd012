//! Organizations: who pays, what they have set, and the keys that spend for them.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Serialize, Serializer};

use super::budget::{BudgetRef, Scope, Unit, Window};
use super::fault::Code;
use super::id::{KeyId, OrganizationId};
use super::key::TokenHash;
use super::limits::Limits;
use super::money::Usd;
use super::tier::ServiceTier;
use super::usage::Tokens;

/// What a member of an organization may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything, members included.
    Owner,
    /// Everything but members.
    Admin,
    /// Look.
    Viewer,
}

impl Role {
    /// Every role, the mightiest first.
    pub const ALL: [Self; 3] = [Self::Owner, Self::Admin, Self::Viewer];

    /// The word used in storage and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Whether it may change settings, providers and keys.
    pub const fn may_manage(self) -> bool {
        matches!(self, Self::Owner | Self::Admin)
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Whether a key is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyStatus {
    /// It may spend.
    Active,
    /// It may not spend until it is resumed.
    Suspended,
    /// It will not spend again.
    Revoked,
}

impl KeyStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Active, Self::Suspended, Self::Revoked];

    /// The word used in storage and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether a key may go from here to there. Revoked is final; to stay is always allowed.
    pub const fn allows(self, next: Self) -> bool {
        !matches!((self, next), (Self::Revoked, Self::Active | Self::Suspended))
    }
}

impl Serialize for KeyStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What a registration of a run falls back to where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunDefaults {
    /// The cap in dollars.
    pub cost_limit: Option<Usd>,
    /// Most tokens over its lifetime.
    pub token_limit: Option<Tokens>,
    /// Most calls over its lifetime.
    pub call_limit: Option<u32>,
    /// Most calls at once on one gateway.
    pub max_concurrency: Option<u32>,
    /// Most requests a minute on one gateway.
    pub requests_per_minute: Option<u32>,
    /// Most output tokens of one choice of one call.
    pub max_output_tokens_per_call: Option<Tokens>,
}

/// What an organization has set, besides its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether only providers that are attested to be in the EU are reached.
    pub eu_only: bool,
    /// The tier that its calls ask for, where that has prices.
    pub service_tier: ServiceTier,
    /// What its runs fall back to.
    pub defaults: RunDefaults,
    /// How fast all of its calls together may come, on one gateway.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            eu_only: false,
            service_tier: ServiceTier::Default,
            defaults: RunDefaults::default(),
            limits: Limits::default(),
        }
    }
}

/// What a change asks of an organization's settings. Absent fields stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsPatch {
    /// The most that a month may cost. The first configuration must have it.
    pub monthly_cost_limit: Option<Usd>,
    /// Close the cost circuit, if what is spent is below the limit.
    pub reset_circuit: bool,
    /// Whether only providers in the EU are reached.
    pub eu_only: Option<bool>,
    /// The tier that its calls ask for.
    pub service_tier: Option<ServiceTier>,
    /// What its runs fall back to, as a whole.
    pub defaults: Option<RunDefaults>,
    /// How fast its calls may come, as a whole.
    pub limits: Option<Limits>,
}

/// An organization as a gateway knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationSnapshot {
    /// Its id.
    pub id: OrganizationId,
    /// What it has set; `None` until somebody configures it.
    pub settings: Option<Settings>,
    /// The budgets that all of its calls fall under: its cost circuit and its credits, if any.
    pub budgets: Vec<BudgetRef>,
    /// How often it was changed.
    pub version: u64,
}

/// What an inference key allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyTerms {
    /// What its owner calls it.
    pub name: String,
    /// The models that it is good for, by their names in the catalogue; `None` means all.
    pub allowed_models: Option<Vec<String>>,
    /// The endpoints that it is good for, as in `/v1/chat/completions`; `None` means all.
    pub allowed_endpoints: Option<Vec<String>>,
    /// Most requests a minute on one gateway.
    pub rate_limit_rpm: Option<u32>,
    /// Most requests a second on one gateway.
    pub rate_limit_rps: Option<u32>,
    /// Most tokens a minute on one gateway.
    pub tokens_per_minute: Option<u32>,
    /// Most calls at once on one gateway, waiting ones included.
    pub max_concurrency: Option<u32>,
    /// When it stops being good by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether each of its calls must name a run.
    pub require_run: bool,
    /// The name in a client's certificate that stands for the key, as [`client_identity`] reads it.
    pub client_identity: Option<String>,
}

impl KeyTerms {
    /// How fast its calls may come, on one gateway.
    pub const fn limits(&self) -> Limits {
        Limits {
            requests_per_second: self.rate_limit_rps,
            requests_per_minute: self.rate_limit_rpm,
            tokens_per_minute: self.tokens_per_minute,
            max_concurrency: self.max_concurrency,
        }
    }
}

/// What an inference key may spend. There is no key without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// Most tokens in a month.
    pub monthly_tokens: Tokens,
    /// Most tokens in a day.
    pub daily_tokens: Option<Tokens>,
    /// Most dollars in a month.
    pub monthly_usd: Option<Usd>,
    /// Most dollars over its lifetime.
    pub lifetime_usd: Option<Usd>,
}

impl KeyLimits {
    /// The budgets that a key may have, each with its limit, in the budget's unit.
    pub fn budgets(&self) -> [(Unit, Window, Option<Decimal>); 4] {
        let tokens = |tokens: Tokens| Decimal::from(tokens.count());
        [
            (Unit::Tokens, Window::Month, Some(tokens(self.monthly_tokens))),
            (Unit::Tokens, Window::Day, self.daily_tokens.map(tokens)),
            (Unit::Usd, Window::Month, self.monthly_usd.map(Usd::decimal)),
            (Unit::Usd, Window::Lifetime, self.lifetime_usd.map(Usd::decimal)),
        ]
    }
}

/// What a change asks of an inference key. Absent fields stay as they are; where there may be no
/// limit, `Some(None)` takes it away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPatch {
    /// Its name.
    pub name: Option<String>,
    /// The models that it is good for.
    pub allowed_models: Option<Option<Vec<String>>>,
    /// The endpoints that it is good for.
    pub allowed_endpoints: Option<Option<Vec<String>>>,
    /// Most requests a minute on one gateway.
    pub rate_limit_rpm: Option<Option<u32>>,
    /// Most requests a second on one gateway.
    pub rate_limit_rps: Option<Option<u32>>,
    /// Most tokens a minute on one gateway.
    pub tokens_per_minute: Option<Option<u32>>,
    /// Most calls at once on one gateway.
    pub max_concurrency: Option<Option<u32>>,
    /// When it stops being good by itself.
    pub expires_at: Option<Option<DateTime<Utc>>>,
    /// Whether each of its calls must name a run.
    pub require_run: Option<bool>,
    /// The name in a client's certificate that stands for it.
    pub client_identity: Option<Option<String>>,
    /// Most tokens in a month.
    pub monthly_tokens: Option<Tokens>,
    /// Most tokens in a day.
    pub daily_tokens: Option<Option<Tokens>>,
    /// Most dollars in a month.
    pub monthly_usd: Option<Option<Usd>>,
    /// Most dollars over its lifetime.
    pub lifetime_usd: Option<Option<Usd>>,
}

impl KeyPatch {
    /// What a key allows, and what it may spend, once it is changed.
    #[must_use]
    pub fn applied(self, terms: KeyTerms, limits: KeyLimits) -> (KeyTerms, KeyLimits) {
        let terms = KeyTerms {
            name: self.name.unwrap_or(terms.name),
            allowed_models: self.allowed_models.unwrap_or(terms.allowed_models),
            allowed_endpoints: self.allowed_endpoints.unwrap_or(terms.allowed_endpoints),
            rate_limit_rpm: self.rate_limit_rpm.unwrap_or(terms.rate_limit_rpm),
            rate_limit_rps: self.rate_limit_rps.unwrap_or(terms.rate_limit_rps),
            tokens_per_minute: self.tokens_per_minute.unwrap_or(terms.tokens_per_minute),
            max_concurrency: self.max_concurrency.unwrap_or(terms.max_concurrency),
            expires_at: self.expires_at.unwrap_or(terms.expires_at),
            require_run: self.require_run.unwrap_or(terms.require_run),
            client_identity: self.client_identity.unwrap_or(terms.client_identity),
        };
        let limits = KeyLimits {
            monthly_tokens: self.monthly_tokens.unwrap_or(limits.monthly_tokens),
            daily_tokens: self.daily_tokens.unwrap_or(limits.daily_tokens),
            monthly_usd: self.monthly_usd.unwrap_or(limits.monthly_usd),
            lifetime_usd: self.lifetime_usd.unwrap_or(limits.lifetime_usd),
        };
        (terms, limits)
    }
}

/// An inference key as a gateway knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySnapshot {
    /// Its id.
    pub id: KeyId,
    /// Who pays.
    pub organization: OrganizationId,
    /// What it allows.
    pub terms: KeyTerms,
    /// Whether it is good.
    pub status: KeyStatus,
    /// The hash of its secret.
    pub hash: TokenHash,
    /// The budgets that its calls fall under.
    pub budgets: Vec<BudgetRef>,
    /// How often it was changed.
    pub version: u64,
}

/// The code of a refusal because a budget is spent.
pub const fn spent_code(scope: Scope, unit: Unit) -> Code {
    match (unit, scope) {
        (Unit::Calls, _) => Code::CallLimitExceeded,
        (Unit::Tokens, _) => Code::TokenCeilingExceeded,
        (Unit::Usd, Scope::Run) => Code::CostLimitExceeded,
        (Unit::Usd, Scope::Key) => Code::KeyBudgetExceeded,
        (Unit::Usd, Scope::Organization) => Code::CostCircuitOpen,
        (Unit::Usd, Scope::Credits) => Code::InsufficientCredits,
    }
}

/// Most bytes of a name in a client's certificate.
pub const MAX_IDENTITY_BYTES: usize = 512;

/// Reads a name in a client's certificate: `san:dns:…`, `san:uri:…`, `san:email:…`, or
/// `subject:CN=…,O=…` as RFC 4514 writes it. Names of hosts are the same in any case.
pub fn client_identity(text: &str) -> Option<String> {
    let kinds = ["san:dns:", "san:uri:", "san:email:", "subject:"];
    let named = |kind: &&str| text.strip_prefix(*kind).is_some_and(|name| !name.is_empty());
    let kind = kinds.into_iter().find(named)?;
    let fits = text.len() <= MAX_IDENTITY_BYTES && !text.contains(char::is_control);
    let lower = || text.to_ascii_lowercase();
    fits.then(|| if kind == "san:dns:" { lower() } else { text.to_owned() })
}
