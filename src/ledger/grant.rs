//! A reservation that cannot be forgotten.

use std::sync::Arc;

use crate::domain::budget::Balance;
use crate::domain::id::{Attempt, ReservationId};
use crate::domain::reservation::Reservation;
use crate::domain::settlement::Charge;

use super::queue::RunQueue;
use super::{Outcome, Settlement};

/// Where settlements go.
pub trait Settle: Send + Sync {
    /// Takes a settlement over: it will be written whatever happens, and `queue`'s head is woken
    /// once it is.
    fn settle(&self, settlement: Settlement, queue: Arc<RunQueue>);
}

/// A reservation and the duty to end it. Dropped without an outcome it is released, which is right
/// for as long as nothing was sent on it.
pub struct Grant {
    id: ReservationId,
    attempt: Attempt,
    balance: Balance,
    held: Option<Reservation>,
    queue: Arc<RunQueue>,
    books: Arc<dyn Settle>,
}

impl Grant {
    /// Hands a reservation to the call that asked for it.
    pub fn new(reservation: Reservation, queue: Arc<RunQueue>, books: Arc<dyn Settle>) -> Self {
        let Reservation { id, attempt, balance, .. } = reservation;
        Self { id, attempt, balance, held: Some(reservation), queue, books }
    }

    /// The reservation's id, which becomes the call's.
    pub const fn id(&self) -> ReservationId {
        self.id
    }

    /// The attempt of the run that it was admitted under.
    pub const fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// The run's dollars right after it was taken.
    pub const fn balance(&self) -> &Balance {
        &self.balance
    }

    /// Ends the reservation.
    pub fn settle(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(reservation) = self.held.take() {
            let queue = Arc::clone(&self.queue);
            self.books.settle(Settlement { reservation, outcome }, queue);
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.end(Outcome {
            charge: Charge::NOTHING,
            served_model: None,
            service_tier: None,
            status: 499,
            latency_ms: 0,
            ttfb_ms: None,
        });
    }
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Grant").field(&self.held).finish()
    }
}
