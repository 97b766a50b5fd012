//! Prepaid credits, as the ledger in memory keeps them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::domain::budget::{Scope, Unit, Window};
use crate::domain::id::{CreditId, OrganizationId};
use crate::domain::money::add_exact;

use super::super::credits::{Credit, Credits, History, Movement, Transaction, position_of};
use super::super::organizations::{BudgetStanding, OrganizationsError};
use super::super::{Event, LedgerError, Page};
use super::MemoryLedger;
use super::organizations::at_most;
use super::shared::Shared;

impl Shared {
    fn add_credit(
        &mut self,
        id: OrganizationId,
        credit: Credit,
        now: DateTime<Utc>,
    ) -> Result<BudgetStanding, OrganizationsError> {
        if !self.organizations.contains_key(&id) {
            return Err(OrganizationsError::NotFound);
        }
        let history = self.credits.entry(id).or_default();
        if !history.iter().any(|known| known.id == credit.id) {
            let total = history.iter().try_fold(credit.amount.decimal(), |total, known| {
                add_exact(total, known.amount.decimal())
            });
            let total = total.map_err(|_| OrganizationsError::TooMuch)?;
            history.push(Credit { created_at: now, ..credit });
            match self.budget_of(id, Scope::Credits) {
                Some(budget) => self.set_limit(budget.id, Some(total), false, now),
                None => {
                    let kind = (Scope::Credits, Unit::Usd, Window::Lifetime);
                    let budget = self.open(id.uuid(), kind, total);
                    self.add_budget(id, budget);
                }
            }
            if let Some(record) = self.organizations.get_mut(&id) {
                record.organization.version += 1;
            }
        }
        let budget = self.budget_of(id, Scope::Credits).ok_or(OrganizationsError::NotFound)?;
        self.standing(&budget, now).ok_or(OrganizationsError::NotFound)
    }
}

#[async_trait]
impl Credits for MemoryLedger {
    async fn add_credit(
        &self,
        organization: OrganizationId,
        credit: Credit,
    ) -> Result<BudgetStanding, OrganizationsError> {
        let standing =
            self.on_shared(|shared, now| shared.add_credit(organization, credit, now))?;
        self.tell(Event::OrganizationChanged(organization));
        Ok(standing)
    }

    async fn credit(
        &self,
        organization: OrganizationId,
        id: CreditId,
    ) -> Result<Option<Credit>, LedgerError> {
        Ok(self.on_shared(|shared, _| {
            let booked = shared.credits.get(&organization);
            booked.into_iter().flatten().find(|credit| credit.id == id).cloned()
        }))
    }

    async fn credit_history(
        &self,
        organization: OrganizationId,
        page: Page,
    ) -> Result<History, LedgerError> {
        Ok(self.on_shared(|shared, _| {
            let put_in = shared.credits.get(&organization).into_iter().flatten();
            let put_in = put_in.map(|credit| Transaction {
                position: position_of(credit),
                movement: Movement::Credit(credit.clone()),
            });
            let charged = shared.charges.get(&organization).into_iter().flatten().cloned();
            let all = put_in.chain(charged);
            let mut found: Vec<Transaction> =
                all.filter(|one| page.after.is_none_or(|after| one.position < after)).collect();
            found.sort_by_key(|one| std::cmp::Reverse(one.position));
            found.truncate(at_most(page));
            History { transactions: found, retired: Decimal::ZERO }
        }))
    }
}
