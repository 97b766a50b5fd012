//! Identifiers, each a type of its own so that none stands in for another.

use std::fmt;

use serde::{Serialize, Serializer};
use uuid::Uuid;

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// Takes an identifier that another part of the system made.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The identifier as a UUID, for storage.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }
    };
}

uuid_newtype!(
    /// A run. Orchestrators may choose it; it can be a credential, so ours are random (v4).
    RunId
);
uuid_newtype!(
    /// Who pays for a run.
    OrganizationId
);
uuid_newtype!(
    /// An inference key of an organization (v7: ordered by time). Not a secret.
    KeyId
);
uuid_newtype!(
    /// A key of an organization for the runs of the control plane. Not a secret.
    OrchestratorKeyId
);
uuid_newtype!(
    /// One amount that was put into an organization's credits.
    CreditId
);
uuid_newtype!(
    /// One limit on one scope; the order of these is the order in which rows are locked.
    BudgetId
);
uuid_newtype!(
    /// One upstream attempt, from its reservation to its row among the calls (v7: ordered by time).
    ReservationId
);
uuid_newtype!(
    /// One gateway process between two lapses of its lease.
    GatewayId
);

impl RunId {
    /// A new random run id (version 4).
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Reads a UUID in any of its usual spellings; the nil UUID names no run.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok()?;
        (!id.is_nil()).then_some(Self(id))
    }
}

impl OrganizationId {
    /// The organization of a single-tenant operator, made by the first migration.
    pub const DEFAULT: Self = Self(Uuid::from_u128(1));

    /// A new organization's id (version 7: lists are in the order of creation).
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads a UUID in any of its usual spellings.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl KeyId {
    /// A new key's id (version 7: lists are in the order of creation).
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads a UUID in any of its usual spellings.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl OrchestratorKeyId {
    /// A new key's id (version 7: lists are in the order of creation).
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads a UUID in any of its usual spellings.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl CreditId {
    /// A new id (version 7: the history is in the order of booking).
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl BudgetId {
    /// A new budget id (version 7, so that the rows of one registration lie together).
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl ReservationId {
    /// A new reservation id (version 7: its order is the order of admission on this gateway).
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl GatewayId {
    /// A new gateway id.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

/// How often a run has been tried: 1 for the first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Attempt(u32);

impl Attempt {
    /// The attempt that a registration opens.
    pub const FIRST: Self = Self(1);

    /// Reads a stored attempt; none is below 1.
    pub fn new(number: u32) -> Option<Self> {
        (number >= 1).then_some(Self(number))
    }

    /// The attempt after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The attempt's number, from 1.
    pub fn number(self) -> u32 {
        self.0
    }
}
