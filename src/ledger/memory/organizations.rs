//! The port of organizations, as the ledger in memory has it.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::domain::budget::{BudgetRef, Scope, Unit, Window};
use crate::domain::id::{KeyId, OrchestratorKeyId, OrganizationId};
use crate::domain::key::TokenHash;
use crate::domain::money::Usd;
use crate::domain::organization::{
    KeyLimits, KeySnapshot, KeyStatus, KeyTerms, OrganizationSnapshot, Settings, SettingsPatch,
};

use super::super::organizations::{
    BudgetStanding, KeyRecord, NewKey, OrchestratorKey, OrganizationRecord, Organizations,
    OrganizationsError,
};
use super::super::{Event, LedgerError, Page};
use super::MemoryLedger;
use super::shared::Shared;

impl Shared {
    fn organization(
        &mut self,
        id: OrganizationId,
        now: DateTime<Utc>,
    ) -> Result<OrganizationRecord, OrganizationsError> {
        let mut record =
            self.organizations.get(&id).cloned().ok_or(OrganizationsError::NotFound)?;
        record.standings = self.standings(&record.organization.budgets, now);
        Ok(record)
    }

    fn key(
        &mut self,
        organization: OrganizationId,
        id: KeyId,
        now: DateTime<Utc>,
    ) -> Result<KeyRecord, OrganizationsError> {
        let found = self.keys.get(&id).filter(|found| found.key.organization == organization);
        let mut record = found.cloned().ok_or(OrganizationsError::NotFound)?;
        record.standings = self.standings(&record.key.budgets, now);
        Ok(record)
    }

    fn standings(&mut self, budgets: &[BudgetRef], now: DateTime<Utc>) -> Vec<BudgetStanding> {
        budgets.iter().filter_map(|budget| self.standing(budget, now)).collect()
    }

    /// Gives an organization a budget.
    pub(super) fn add_budget(&mut self, id: OrganizationId, budget: BudgetRef) {
        if let Some(record) = self.organizations.get_mut(&id) {
            record.organization.budgets.push(budget);
            record.organization.budgets.sort_by_key(BudgetRef::rank);
        }
    }

    pub(super) fn budget_of(&self, id: OrganizationId, scope: Scope) -> Option<BudgetRef> {
        let budgets = &self.organizations.get(&id)?.organization.budgets;
        budgets.iter().find(|budget| budget.scope == scope).copied()
    }

    fn circuit(&mut self, id: OrganizationId, limit: Decimal) -> BudgetRef {
        if let Some(circuit) = self.budget_of(id, Scope::Organization) {
            return circuit;
        }
        let kind = (Scope::Organization, Unit::Usd, Window::Month);
        let circuit = self.open(id.uuid(), kind, limit);
        self.add_budget(id, circuit);
        circuit
    }

    fn put_settings(
        &mut self,
        id: OrganizationId,
        patch: SettingsPatch,
        now: DateTime<Utc>,
    ) -> Result<(), OrganizationsError> {
        let before = self.organizations.get(&id).ok_or(OrganizationsError::NotFound)?;
        let before = before.organization.settings.clone();
        let is_first = before.is_none();
        if is_first && patch.monthly_cost_limit.is_none() {
            return Err(OrganizationsError::NotConfigured);
        }
        if patch.monthly_cost_limit.is_some() || patch.reset_circuit {
            let limit = patch.monthly_cost_limit.map(Usd::decimal);
            let circuit = self.circuit(id, limit.unwrap_or_default());
            self.set_limit(circuit.id, limit, patch.reset_circuit || is_first, now);
        }
        let before = before.unwrap_or_default();
        if let Some(record) = self.organizations.get_mut(&id) {
            record.organization.settings = Some(Settings {
                eu_only: patch.eu_only.unwrap_or(before.eu_only),
                service_tier: patch.service_tier.unwrap_or(before.service_tier),
                defaults: patch.defaults.unwrap_or(before.defaults),
                limits: patch.limits.unwrap_or(before.limits),
            });
            record.organization.version += 1;
        }
        Ok(())
    }

    fn change_key(
        &mut self,
        (organization, id): (OrganizationId, KeyId),
        next: KeyStatus,
        change: impl FnOnce(&mut KeyRecord),
        now: DateTime<Utc>,
    ) -> Result<KeyRecord, OrganizationsError> {
        let found = self.keys.get_mut(&id).filter(|found| found.key.organization == organization);
        let record = found.ok_or(OrganizationsError::NotFound)?;
        if !record.key.status.allows(next) {
            return Err(OrganizationsError::InvalidTransition(record.key.status));
        }
        change(record);
        record.key.version += 1;
        self.key(organization, id, now)
    }
}

pub(super) fn at_most(page: Page) -> usize {
    usize::try_from(page.limit).unwrap_or(usize::MAX)
}

impl MemoryLedger {
    pub(super) fn on_shared<T>(&self, work: impl FnOnce(&mut Shared, DateTime<Utc>) -> T) -> T {
        work(&mut self.books.state.lock().shared, (self.clock)())
    }

    pub(super) fn tell(&self, event: Event) {
        let _nobody_listens = self.events.send(event);
    }
}

#[async_trait]
impl Organizations for MemoryLedger {
    async fn create_organization(
        &self,
        id: OrganizationId,
        name: String,
    ) -> Result<OrganizationRecord, OrganizationsError> {
        self.on_shared(|shared, now| {
            let mut known = shared.organizations.values();
            if known.any(|record| record.organization.id == id || record.name == name) {
                return Err(OrganizationsError::Taken);
            }
            let (settings, budgets) = (None, Vec::new());
            let organization = OrganizationSnapshot { id, settings, budgets, version: 0 };
            let standings = Vec::new();
            let record = OrganizationRecord { organization, name, created_at: now, standings };
            shared.organizations.insert(id, record);
            shared.circuit(id, Decimal::ZERO);
            shared.organization(id, now)
        })
    }

    async fn find_organization(
        &self,
        id: OrganizationId,
    ) -> Result<Option<OrganizationSnapshot>, LedgerError> {
        Ok(self.on_shared(|shared, _| {
            shared.organizations.get(&id).map(|record| record.organization.clone())
        }))
    }

    async fn organization(
        &self,
        id: OrganizationId,
    ) -> Result<Option<OrganizationRecord>, LedgerError> {
        Ok(self.on_shared(|shared, now| shared.organization(id, now).ok()))
    }

    async fn organizations(&self, asked: Page) -> Result<Vec<OrganizationRecord>, LedgerError> {
        Ok(self.on_shared(|shared, now| {
            let after = asked.after.map(OrganizationId::from_uuid);
            let ids = shared.organizations.keys().filter(|id| after.is_none_or(|last| **id > last));
            let ids: Vec<_> = ids.take(at_most(asked)).copied().collect();
            ids.into_iter().filter_map(|id| shared.organization(id, now).ok()).collect()
        }))
    }

    async fn put_settings(
        &self,
        id: OrganizationId,
        patch: SettingsPatch,
    ) -> Result<OrganizationRecord, OrganizationsError> {
        let record = self.on_shared(|shared, now| {
            shared.put_settings(id, patch, now)?;
            shared.organization(id, now)
        })?;
        self.tell(Event::OrganizationChanged(id));
        Ok(record)
    }

    async fn mint_key(&self, new: NewKey) -> Result<KeyRecord, OrganizationsError> {
        let (organization, id) = (new.organization, new.id);
        self.on_shared(|shared, now| {
            shared.mint(new, now)?;
            shared.key(organization, id, now)
        })
    }

    async fn find_key(&self, hash: TokenHash) -> Result<Option<KeySnapshot>, LedgerError> {
        Ok(self.on_shared(|shared, _| shared.key_of(hash).map(|record| record.key.clone())))
    }

    async fn find_key_by_identity(
        &self,
        names: &[String],
    ) -> Result<Option<KeySnapshot>, LedgerError> {
        Ok(self.on_shared(|shared, _| {
            let of = |name: &String| shared.key_of_identity(name);
            names.iter().find_map(of).map(|record| record.key.clone())
        }))
    }

    async fn find_key_by_id(&self, id: KeyId) -> Result<Option<KeySnapshot>, LedgerError> {
        Ok(self.on_shared(|shared, _| shared.keys.get(&id).map(|record| record.key.clone())))
    }

    async fn key(
        &self,
        organization: OrganizationId,
        id: KeyId,
    ) -> Result<Option<KeyRecord>, LedgerError> {
        Ok(self.on_shared(|shared, now| shared.key(organization, id, now).ok()))
    }

    async fn keys(
        &self,
        organization: OrganizationId,
        asked: Page,
    ) -> Result<Vec<KeyRecord>, LedgerError> {
        Ok(self.on_shared(|shared, now| {
            let after = asked.after.map(KeyId::from_uuid);
            let known = shared.keys.iter().filter(|(id, _)| after.is_none_or(|last| **id > last));
            let own = known.filter(|(_, record)| record.key.organization == organization);
            let ids: Vec<KeyId> = own.map(|(id, _)| *id).take(at_most(asked)).collect();
            ids.into_iter().filter_map(|id| shared.key(organization, id, now).ok()).collect()
        }))
    }

    async fn set_key_status(
        &self,
        organization: OrganizationId,
        id: KeyId,
        status: KeyStatus,
    ) -> Result<KeyRecord, OrganizationsError> {
        let record = self.on_shared(|shared, now| {
            shared.change_key((organization, id), status, |of| of.key.status = status, now)
        })?;
        self.tell(Event::KeyChanged(id));
        Ok(record)
    }

    async fn change_key(
        &self,
        organization: OrganizationId,
        id: KeyId,
        version: u64,
        changed: (KeyTerms, KeyLimits),
    ) -> Result<Option<KeyRecord>, OrganizationsError> {
        let record = self.on_shared(|shared, now| {
            match shared.change_terms(organization, id, version, changed, now)? {
                true => shared.key(organization, id, now).map(Some),
                false => Ok(None),
            }
        })?;
        self.tell(Event::KeyChanged(id));
        Ok(record)
    }

    async fn rotate_key(
        &self,
        organization: OrganizationId,
        id: KeyId,
        hash: TokenHash,
        prefix: String,
    ) -> Result<KeyRecord, OrganizationsError> {
        let record = self.on_shared(|shared, now| {
            let replace = |of: &mut KeyRecord| {
                of.key.hash = hash;
                of.prefix = prefix;
                of.rotated_at = Some(now);
            };
            shared.change_key((organization, id), KeyStatus::Active, replace, now)
        })?;
        self.tell(Event::KeyChanged(id));
        Ok(record)
    }

    async fn mint_orchestrator_key(
        &self,
        key: OrchestratorKey,
    ) -> Result<OrchestratorKey, OrganizationsError> {
        self.on_shared(|shared, now| {
            if !shared.organizations.contains_key(&key.organization) {
                return Err(OrganizationsError::NotFound);
            }
            let key = OrchestratorKey { created_at: now, status: KeyStatus::Active, ..key };
            shared.orchestrators.insert(key.id, key.clone());
            Ok(key)
        })
    }

    async fn find_orchestrator_key(
        &self,
        hash: TokenHash,
    ) -> Result<Option<OrchestratorKey>, LedgerError> {
        Ok(self.on_shared(|shared, _| {
            let mut known = shared.orchestrators.values();
            known.find(|key| key.hash == hash && key.status == KeyStatus::Active).cloned()
        }))
    }

    async fn orchestrator_keys(
        &self,
        organization: OrganizationId,
    ) -> Result<Vec<OrchestratorKey>, LedgerError> {
        Ok(self.on_shared(|shared, _| {
            let known = shared.orchestrators.values();
            known.filter(|key| key.organization == organization).cloned().collect()
        }))
    }

    async fn revoke_orchestrator_key(
        &self,
        organization: OrganizationId,
        id: OrchestratorKeyId,
    ) -> Result<OrchestratorKey, OrganizationsError> {
        self.on_shared(|shared, _| {
            let found = shared.orchestrators.get_mut(&id);
            let key = found.filter(|key| key.organization == organization);
            let key = key.ok_or(OrganizationsError::NotFound)?;
            key.status = KeyStatus::Revoked;
            Ok(key.clone())
        })
    }
}
