//! New keys, as the ledger in memory makes them.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::domain::budget::{BudgetRef, Scope, Unit, Window};
use crate::domain::money::Usd;
use crate::domain::organization::{KeySnapshot, KeyStatus};

use super::super::organizations::{KeyRecord, NewKey, OrganizationsError};
use super::shared::Shared;

impl Shared {
    /// Makes a key, whose secret and name are its alone.
    pub(super) fn mint(
        &mut self,
        new: NewKey,
        now: DateTime<Utc>,
    ) -> Result<(), OrganizationsError> {
        let NewKey { id, organization, terms, limits, hash, prefix } = new;
        if !self.organizations.contains_key(&organization) {
            return Err(OrganizationsError::NotFound);
        }
        let identity = terms.client_identity.as_deref();
        let named = identity.is_some_and(|name| self.key_of_identity(name).is_some());
        if named || self.keys.contains_key(&id) || self.key_of(hash).is_some() {
            return Err(OrganizationsError::Taken);
        }
        let daily = limits.daily_tokens.map(|tokens| Decimal::from(tokens.count()));
        let tokens = Decimal::from(limits.monthly_tokens.count());
        let wanted = [
            (Unit::Tokens, Window::Day, daily),
            (Unit::Tokens, Window::Month, Some(tokens)),
            (Unit::Usd, Window::Lifetime, limits.lifetime_usd.map(Usd::decimal)),
            (Unit::Usd, Window::Month, limits.monthly_usd.map(Usd::decimal)),
        ];
        let mut budgets = Vec::new();
        for (unit, window, limit) in wanted {
            let Some(limit) = limit else { continue };
            budgets.push(self.open(id.uuid(), (Scope::Key, unit, window), limit));
        }
        budgets.sort_by_key(BudgetRef::rank);
        let status = KeyStatus::Active;
        let key = KeySnapshot { id, organization, terms, status, hash, budgets, version: 0 };
        let (rotated_at, standings) = (None, Vec::new());
        self.keys.insert(id, KeyRecord { key, prefix, created_at: now, rotated_at, standings });
        Ok(())
    }
}
