//! The port of credits, as the ledger in Postgres has it: each question in its time.

use async_trait::async_trait;

use crate::domain::id::{CreditId, OrganizationId};

use super::super::super::credits::{Credit, Credits, History};
use super::super::super::organizations::{BudgetStanding, OrganizationsError};
use super::super::super::{LedgerError, Page};
use super::super::{ANSWER_TIMEOUT, PostgresLedger, WORK_TIMEOUT, credits, unavailable, within};

#[async_trait]
impl Credits for PostgresLedger {
    async fn add_credit(
        &self,
        organization: OrganizationId,
        credit: Credit,
    ) -> Result<BudgetStanding, OrganizationsError> {
        within(ANSWER_TIMEOUT, credits::add(&self.pool, organization, credit)).await
    }

    async fn credit(
        &self,
        organization: OrganizationId,
        id: CreditId,
    ) -> Result<Option<Credit>, LedgerError> {
        within(ANSWER_TIMEOUT, credits::find(&self.pool, organization, id))
            .await
            .map_err(unavailable)
    }

    async fn credit_history(
        &self,
        organization: OrganizationId,
        page: Page,
    ) -> Result<History, LedgerError> {
        within(WORK_TIMEOUT, credits::history(&self.pool, organization, page))
            .await
            .map_err(unavailable)
    }
}
