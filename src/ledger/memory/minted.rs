//! What keys are made of, and what they become, in the ledger in memory.

use chrono::{DateTime, Utc};

use crate::domain::budget::{BudgetRef, Scope};
use crate::domain::id::{KeyId, OrganizationId};
use crate::domain::organization::{KeyLimits, KeySnapshot, KeyStatus, KeyTerms};

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
        let mut budgets = Vec::new();
        for (unit, window, limit) in limits.budgets() {
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

    /// Changes what a key allows and may spend, if it is of this version.
    pub(super) fn change_terms(
        &mut self,
        organization: OrganizationId,
        id: KeyId,
        version: u64,
        (terms, limits): (KeyTerms, KeyLimits),
        now: DateTime<Utc>,
    ) -> Result<bool, OrganizationsError> {
        let found = self.keys.get(&id).filter(|found| found.key.organization == organization);
        let key = found.map(|found| &found.key).ok_or(OrganizationsError::NotFound)?;
        if key.status == KeyStatus::Revoked {
            return Err(OrganizationsError::InvalidTransition(key.status));
        }
        if key.version != version {
            return Ok(false);
        }
        let identity = terms.client_identity.as_deref();
        let holder = identity.and_then(|name| self.key_of_identity(name));
        if holder.is_some_and(|holder| holder.key.id != id) {
            return Err(OrganizationsError::Taken);
        }
        let mut budgets = Vec::new();
        for (unit, window, limit) in limits.budgets() {
            let Some(limit) = limit else { continue };
            let kind = (Scope::Key, unit, window);
            match self.shelved(id.uuid(), kind) {
                Some(budget) => {
                    self.set_limit(budget.id, Some(limit), false, now);
                    budgets.push(budget);
                }
                None => budgets.push(self.open(id.uuid(), kind, limit)),
            }
        }
        budgets.sort_by_key(BudgetRef::rank);
        if let Some(record) = self.keys.get_mut(&id) {
            (record.key.terms, record.key.budgets) = (terms, budgets);
            record.key.version += 1;
        }
        Ok(true)
    }
}
