//! What operators put into an organization's credits, and what its calls took out of them.

use chrono::DateTime;
use rust_decimal::Decimal;

use crate::domain::fault::{Code, Fault};
use crate::domain::id::{CreditId, OrganizationId};
use crate::domain::money::Usd;
use crate::ledger::Page;
use crate::ledger::credits::{Credit, CreditKind, Transaction};
use crate::ledger::organizations::BudgetStanding;

use super::organizations::{fault, no_object};
use super::runs::{Rows, cut, one_more};
use super::{Gateway, unavailable};

impl Gateway {
    /// Puts credits in, once for each id. The first ones make the organization a prepaid one.
    /// Answers what is booked, where the credits stand, and whether it was booked before.
    ///
    /// # Errors
    /// 400 if it is nothing; 404 if there is no such organization; 409 if the id was booked with
    /// another amount, kind or note.
    pub async fn add_credit(
        &self,
        organization: OrganizationId,
        (id, kind, amount): (CreditId, CreditKind, Usd),
        note: String,
    ) -> Result<(Credit, BudgetStanding, bool), Fault> {
        if amount == Usd::ZERO {
            let says = "Put in more than nothing.";
            return Err(Fault::new(Code::InvalidRequest, says).param("amount_usd"));
        }
        let before = self.ledger.credit(organization, id).await.map_err(unavailable)?;
        let created_at = DateTime::UNIX_EPOCH;
        let credit = Credit { id, kind, amount, note, created_at };
        let added = self.ledger.add_credit(organization, credit.clone()).await;
        let standing = added.map_err(fault)?;
        self.refresh_organization(organization).await;
        // Only what is booked tells, since another request may have been faster.
        let booked = self.ledger.credit(organization, id).await.map_err(unavailable)?;
        let booked = booked.ok_or_else(no_object)?;
        let as_sent = Credit { created_at, ..booked.clone() };
        if as_sent != credit {
            let says = "That id was booked with something else. Leave it out, or choose another.";
            return Err(Fault::new(Code::Conflict, says).param("id"));
        }
        Ok((booked, standing, before.is_some()))
    }

    /// The transactions of an organization's credits, the newest first, and what was charged for
    /// calls that are not kept one by one any more.
    ///
    /// # Errors
    /// 503 if the ledger cannot answer.
    pub async fn credit_history(
        &self,
        organization: OrganizationId,
        page: Page,
    ) -> Result<(Rows<Transaction>, Decimal), Fault> {
        let found = self.ledger.credit_history(organization, one_more(page)).await;
        let found = found.map_err(unavailable)?;
        Ok((cut(found.transactions, page), found.retired))
    }
}
