//! The budgets that calls of several runs meet on, in all their windows, and the keys and
//! organizations that they are of.

use std::collections::{BTreeMap, HashMap, VecDeque};

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::domain::budget::{Amounts, Balance, BudgetRef, Scope, Unit, Window};
use crate::domain::id::{BudgetId, KeyId, OrchestratorKeyId, OrganizationId, RunId};
use crate::domain::key::TokenHash;
use crate::domain::organization::KeyStatus;
use crate::domain::reservation::{Ask, Authority, Refusal};

use super::super::CallRecord;
use super::super::credits::{Credit, Movement, Transaction};
use super::super::members::{Member, PasswordHash};
use super::super::organizations::{BudgetStanding, KeyRecord, OrchestratorKey, OrganizationRecord};
use super::super::providers::ProviderConfiguration;
use super::account::KEPT_CALLS;
use super::used::sum;

/// Everything of organizations.
pub(super) struct Shared {
    pub(super) organizations: BTreeMap<OrganizationId, OrganizationRecord>,
    pub(super) keys: BTreeMap<KeyId, KeyRecord>,
    pub(super) orchestrators: BTreeMap<OrchestratorKeyId, OrchestratorKey>,
    pub(super) credits: BTreeMap<OrganizationId, Vec<Credit>>,
    /// What calls were charged to credits, as far as it is kept.
    pub(super) charges: BTreeMap<OrganizationId, VecDeque<Transaction>>,
    pub(super) members: BTreeMap<(OrganizationId, String), (Member, PasswordHash)>,
    pub(super) providers: BTreeMap<OrganizationId, BTreeMap<String, ProviderConfiguration>>,
    shelves: HashMap<BudgetId, Shelf>,
}

/// A budget with its windows, by their first day; a lifetime has one without.
struct Shelf {
    budget: BudgetRef,
    scope_id: Uuid,
    limit: Decimal,
    rows: BTreeMap<Option<NaiveDate>, Row>,
}

#[derive(Clone, Copy, Default)]
struct Row {
    balance: Balance,
    latched: bool,
    waiting: bool,
}

/// Where an amount was taken.
pub(super) type Place = (BudgetId, Option<NaiveDate>);

impl Default for Shared {
    fn default() -> Self {
        let default = OrganizationRecord {
            organization: crate::domain::organization::OrganizationSnapshot {
                id: OrganizationId::DEFAULT,
                settings: None,
                budgets: Vec::new(),
                version: 0,
            },
            name: "default".to_owned(),
            created_at: DateTime::UNIX_EPOCH,
            standings: Vec::new(),
        };
        Self {
            organizations: BTreeMap::from([(OrganizationId::DEFAULT, default)]),
            keys: BTreeMap::new(),
            orchestrators: BTreeMap::new(),
            credits: BTreeMap::new(),
            charges: BTreeMap::new(),
            members: BTreeMap::new(),
            providers: BTreeMap::new(),
            shelves: HashMap::new(),
        }
    }
}

impl Shelf {
    fn current(&mut self, now: DateTime<Utc>) -> (Option<NaiveDate>, &mut Row) {
        let first = self.budget.window.first_day(now);
        // An open circuit stays open over the turn.
        let before = self.rows.range(..first).next_back().is_some_and(|(_, row)| row.latched);
        let limit = self.limit;
        let row = self.rows.entry(first).or_insert_with(|| Row {
            balance: Balance { limit, ..Balance::default() },
            latched: before,
            waiting: false,
        });
        (first, row)
    }
}

impl Shared {
    /// Whether the key is good, and for a run of that organization.
    pub(super) fn check_key(
        &self,
        authority: Authority,
        run_of: Option<OrganizationId>,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let Authority::Key(id, hash) = authority else { return Ok(()) };
        let key = self.keys.get(&id).map(|record| &record.key);
        let good = key.filter(|key| {
            let expired = key.terms.expires_at.is_some_and(|expiry| now >= expiry);
            let shown = hash.is_none_or(|hash| key.hash == hash);
            key.status == KeyStatus::Active && shown && !expired
        });
        let key = good.ok_or(Refusal::InvalidKey)?;
        if run_of.is_some_and(|organization| organization != key.organization) {
            return Err(Refusal::RunNotFound);
        }
        Ok(())
    }

    /// Whether the organization that pays, or the key, was changed since the asker heard of it.
    pub(super) fn is_outdated(&self, ask: &Ask) -> bool {
        let payer = self.organizations.get(&ask.organization);
        let key = ask.authority.key().and_then(|id| self.keys.get(&id));
        payer.is_some_and(|payer| payer.organization.version != ask.heard.payer)
            || key.is_some_and(|record| record.key.version != ask.heard.key)
    }

    pub(super) fn name_of(&self, key: KeyId) -> Option<String> {
        self.keys.get(&key).map(|record| record.key.terms.name.clone())
    }

    pub(super) fn key_of(&self, hash: TokenHash) -> Option<&KeyRecord> {
        self.keys.values().find(|record| record.key.hash == hash)
    }

    pub(super) fn key_of_identity(&self, name: &str) -> Option<&KeyRecord> {
        self.keys.values().find(|record| {
            let named = record.key.terms.client_identity.as_deref() == Some(name);
            named && record.key.status != KeyStatus::Revoked
        })
    }

    /// Gives a scope a budget.
    pub(super) fn open(
        &mut self,
        scope_id: Uuid,
        (scope, unit, window): (Scope, Unit, Window),
        limit: Decimal,
    ) -> BudgetRef {
        let budget = BudgetRef { id: BudgetId::generate(), scope, unit, window };
        let shelf = Shelf { budget, scope_id, limit, rows: BTreeMap::new() };
        self.shelves.insert(budget.id, shelf);
        budget
    }

    /// The budget of this kind that a scope has, or once had.
    pub(super) fn shelved(
        &self,
        scope_id: Uuid,
        (scope, unit, window): (Scope, Unit, Window),
    ) -> Option<BudgetRef> {
        let mut shelves = self.shelves.values().filter(|shelf| shelf.scope_id == scope_id);
        let kind = |budget: &BudgetRef| (budget.scope, budget.unit, budget.window);
        shelves.find(|shelf| kind(&shelf.budget) == (scope, unit, window)).map(|shelf| shelf.budget)
    }

    /// Where a budget stands in its current window.
    pub(super) fn standing(
        &mut self,
        budget: &BudgetRef,
        now: DateTime<Utc>,
    ) -> Option<BudgetStanding> {
        let shelf = self.shelves.get_mut(&budget.id)?;
        let (first, row) = shelf.current(now);
        let since = first.and_then(|day| day.and_hms_opt(0, 0, 0)).map(|at| at.and_utc());
        Some(BudgetStanding { budget: *budget, since, balance: row.balance, latched: row.latched })
    }

    /// Sets a limit, of the current window too, and opens or shuts its circuit.
    pub(super) fn set_limit(
        &mut self,
        budget: BudgetId,
        limit: Option<Decimal>,
        reset: bool,
        now: DateTime<Utc>,
    ) {
        let Some(shelf) = self.shelves.get_mut(&budget) else { return };
        let limit = limit.unwrap_or(shelf.limit);
        shelf.limit = limit;
        let circuit = shelf.budget.scope == Scope::Organization;
        let (_, row) = shelf.current(now);
        row.balance.limit = limit;
        row.latched = circuit && (row.balance.spent >= limit || row.latched && !reset);
    }

    /// Takes an amount, which fits.
    pub(super) fn take(
        &mut self,
        budgets: &[BudgetRef],
        amounts: &Amounts,
        now: DateTime<Utc>,
    ) -> Vec<Place> {
        let mut places = Vec::with_capacity(budgets.len());
        for budget in budgets {
            let Some(shelf) = self.shelves.get_mut(&budget.id) else { continue };
            let (first, row) = shelf.current(now);
            row.balance.reserved = sum(row.balance.reserved, amounts.in_unit(budget.unit));
            places.push((budget.id, first));
        }
        places
    }

    /// A call waits for what is reserved on this budget.
    pub(super) fn wait_for(&mut self, budget: &BudgetRef, now: DateTime<Utc>) {
        if let Some(shelf) = self.shelves.get_mut(&budget.id) {
            let (_, row) = shelf.current(now);
            row.waiting |= !row.balance.reserved.is_zero();
        }
    }

    /// Notes what a call that ended was charged, if that went to its organization's credits.
    pub(super) fn note_charge(
        &mut self,
        organization: OrganizationId,
        places: &[Place],
        run: Option<RunId>,
        call: &CallRecord,
    ) {
        let scope = |(budget, _): &Place| self.shelves.get(budget).map(|shelf| shelf.budget.scope);
        let prepaid = places.iter().any(|place| scope(place) == Some(Scope::Credits));
        let cost = call.charge.cost.decimal();
        if !prepaid || cost.is_zero() {
            return;
        }
        let movement = Movement::Charge {
            call: call.id.uuid(),
            cost: cost.normalize(),
            run,
            key: call.key,
            model: call.model.clone(),
            created_at: call.created_at,
        };
        let charges = self.charges.entry(organization).or_default();
        charges.push_back(Transaction { position: call.id.uuid(), movement });
        if charges.len() > KEPT_CALLS {
            charges.pop_front();
        }
    }

    /// Frees what was taken and books what was spent. Answers for whose budgets somebody waits.
    pub(super) fn book(&mut self, places: &[Place], held: &Amounts, spent: &Amounts) -> Vec<Uuid> {
        let mut awaited = Vec::new();
        for (id, first) in places {
            let Some(shelf) = self.shelves.get_mut(id) else { continue };
            let (unit, scope) = (shelf.budget.unit, shelf.budget.scope);
            let Some(row) = shelf.rows.get_mut(first) else { continue };
            row.balance.reserved = sum(row.balance.reserved, -held.in_unit(unit));
            row.balance.spent = sum(row.balance.spent, spent.in_unit(unit));
            row.latched |= scope == Scope::Organization && row.balance.spent >= row.balance.limit;
            if std::mem::take(&mut row.waiting) {
                awaited.push(shelf.scope_id);
            }
        }
        awaited
    }
}
