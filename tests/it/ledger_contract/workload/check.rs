//! What must hold after every operation.

use std::time::Duration;

use rungate::ledger::RunKey;

use super::*;

/// How often the queues are looked at until they agree: a second in all.
const PATIENCE: u32 = 200;

impl World {
    /// Takes a run up that both ledgers have registered.
    pub(super) async fn meet(
        &mut self,
        registration: Registration,
        token: TokenHash,
        last: RunView,
    ) {
        let key = RunKey::Id(registration.id);
        let model = self.ledgers.model.find(key).await.unwrap().unwrap();
        let other = self.ledgers.other.find(key).await.unwrap().unwrap();
        let queue = || Arc::new(RunQueue::default());
        self.runs.push(Run {
            registration,
            budgets: Pair { model: model.budgets, other: other.budgets },
            queues: Pair { model: queue(), other: queue() },
            tokens: vec![token],
            last,
        });
    }

    /// Takes note of the budgets that the run's current attempt spends from.
    pub(super) async fn look_up(&mut self, run: usize) {
        let key = RunKey::Id(self.runs[run].registration.id);
        let model = self.ledgers.model.find(key).await.unwrap().unwrap();
        let other = self.ledgers.other.find(key).await.unwrap().unwrap();
        self.runs[run].budgets = Pair { model: model.budgets, other: other.budgets };
    }

    /// Both ledgers say the same of a run, its sums are those of its calls, in flight is what was
    /// admitted and has not ended, and nothing is negative.
    pub(super) async fn check(&mut self, run: usize) {
        let id = self.runs[run].registration.id;
        let model = record(&*self.ledgers.model, id).await;
        agree(&model, &record(&*self.ledgers.other, id).await, &self.story());
        let ended = calls(&*self.ledgers.model, id).await;
        agree(&ended, &calls(&*self.ledgers.other, id).await, &self.story());
        self.check_waiting(run).await;
        self.check_lookups(run, &model).await;

        let story = self.story();
        assert_eq!(model.total_spent, taken(&ended, Unit::Usd).normalize(), "{story}");
        // What each attempt has of its own is not shown of the earlier ones.
        let each = model.terms.control.attempt_budget == AttemptBudget::PerAttempt;
        let counts = |attempt: Attempt| !each || attempt == model.standing.attempt;
        let ended: Vec<_> = ended.into_iter().filter(|call| counts(call.attempt)).collect();
        let (in_flight, earlier): (Vec<&InFlight>, Vec<&InFlight>) = self
            .in_flight
            .iter()
            .filter(|call| call.run == run)
            .partition(|call| counts(call.attempt));
        assert_eq!(model.in_flight, in_flight.len() as u64, "{story}");
        assert_eq!(model.earlier_in_flight, earlier.len() as u64, "{story}");
        for (unit, [limit, spent, reserved]) in &model.balances {
            let held: Decimal = in_flight.iter().map(|call| call.amounts.in_unit(*unit)).sum();
            assert_eq!(*spent, taken(&ended, *unit), "{unit:?} spent; {story}");
            assert_eq!(*reserved, held, "{unit:?} reserved; {story}");
            for number in [limit, spent, reserved] {
                assert!(*number >= Decimal::ZERO, "{unit:?} is negative; {story}");
            }
        }
        let by_model: Decimal = model.models.iter().map(|used| used.cost).sum();
        assert_eq!(by_model, taken(&ended, Unit::Usd), "{story}");
        self.runs[run].last = model;
    }

    /// The same calls wait. A ledger may let go of an answered call's turn a moment later.
    async fn check_waiting(&self, run: usize) {
        let waiting = || self.runs[run].queues.as_ref().map(|queue| queue.waiting());
        for _ in 0..PATIENCE {
            if waiting().model == waiting().other {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        agree(&waiting().model, &waiting().other, &self.story());
    }

    /// The run is found by its id and by its current token, and by no older one.
    async fn check_lookups(&mut self, run: usize, expected: &RunView) {
        let id = self.runs[run].registration.id;
        let tokens = self.runs[run].tokens.clone();
        let tried = self.random.index(tokens.len());
        let is_current = tried + 1 == tokens.len();
        for ledger in [&self.ledgers.model, &self.ledgers.other] {
            let found = ledger.find(RunKey::Id(id)).await.unwrap().unwrap();
            assert_eq!(found.standing, expected.standing, "{}", self.story());
            assert_eq!(found.terms, expected.terms, "{}", self.story());
            let by_token = ledger.find(RunKey::Token(tokens[tried])).await.unwrap();
            let found = by_token.map(|found| found.id);
            assert_eq!(found, is_current.then_some(id), "{}", self.story());
        }
    }
}
