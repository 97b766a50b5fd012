//! A random workload on two ledgers at once: every answer, and what is left behind, must agree.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};
use futures_util::future::join_all;
use rungate::domain::budget::{Amounts, BudgetRef, Unit};
use rungate::domain::control::AttemptBudget;
use rungate::domain::id::{Attempt, OrganizationId, ReservationId, RunId};
use rungate::domain::key::TokenHash;
use rungate::domain::money::Usd;
use rungate::domain::reservation::{Ask, Authority, Heard, Refusal};
use rungate::domain::run::{OnCap, Registration, RunPatch, RunState};
use rungate::domain::settlement::{Charge, CostSource, Flag};
use rungate::domain::usage::{Tokens, Usage};
use rungate::ledger::{Close, Grant, Ledger, Outcome, queue::RunQueue, queue::Turn};
use rust_decimal::Decimal;

use super::fixture::{facts, registration};
use super::view::{Answer, RunView, Verdict, agree, calls, record, taken};

mod check;
mod draw;
mod random;

pub(crate) use random::{Random, operations_from_env, seed_from_env};

/// How often each verdict and each refused change was seen.
pub(crate) type Seen = BTreeMap<&'static str, u32>;

/// Between two comparisons of everything.
const BATCH: usize = 25;
/// The runs that most operations are about: the newest.
const ACTIVE_RUNS: usize = 4;
/// The calls that wait at most; a waiting call keeps its run's later ones behind it.
const WAITERS: usize = 3;
/// How much of the story a failure tells.
const STORY: usize = 12;

/// Drives both ledgers through the same operations, and fails where they differ.
pub(crate) async fn compare(
    model: Arc<dyn Ledger>,
    other: Arc<dyn Ledger>,
    seed: u64,
    operations: usize,
) -> Seen {
    let mut world = World {
        ledgers: Pair { model, other },
        random: Random(seed),
        runs: Vec::new(),
        in_flight: Vec::new(),
        waiting: Vec::new(),
        story: VecDeque::new(),
        seen: Seen::new(),
        seed,
    };
    world.register().await;
    for step in 0..operations {
        let run = world.step(step).await;
        world.check(run).await;
        if step % BATCH == BATCH - 1 {
            for run in 0..world.runs.len() {
                world.check(run).await;
            }
        }
    }
    world.seen
}

struct Pair<T> {
    model: T,
    other: T,
}

impl<T> Pair<T> {
    fn map<U>(self, f: impl Fn(T) -> U) -> Pair<U> {
        Pair { model: f(self.model), other: f(self.other) }
    }

    fn as_ref(&self) -> Pair<&T> {
        Pair { model: &self.model, other: &self.other }
    }
}

struct Run {
    registration: Registration,
    budgets: Pair<Vec<BudgetRef>>,
    queues: Pair<Arc<RunQueue>>,
    /// The last is the current attempt's.
    tokens: Vec<TokenHash>,
    last: RunView,
}

/// A call that both ledgers admitted.
struct InFlight {
    run: usize,
    attempt: Attempt,
    amounts: Amounts,
    grants: Pair<Grant>,
}

/// A call that waits on both.
struct Waiting {
    run: usize,
    asks: Pair<Ask>,
    turns: Pair<Arc<Turn>>,
}

struct World {
    ledgers: Pair<Arc<dyn Ledger>>,
    random: Random,
    runs: Vec<Run>,
    in_flight: Vec<InFlight>,
    waiting: Vec<Waiting>,
    story: VecDeque<String>,
    seen: Seen,
    seed: u64,
}

impl World {
    /// Does something, and answers which run it was about.
    async fn step(&mut self, step: usize) -> usize {
        let roll = self.random.below(100);
        let newest = self.runs.len().saturating_sub(ACTIVE_RUNS);
        let run = if self.random.one_in(10) {
            self.random.index(self.runs.len())
        } else {
            newest + self.random.index(self.runs.len() - newest)
        };
        if self.story.len() == STORY {
            self.story.pop_front();
        }
        self.story.push_back(format!("{step}: run {run}, roll {roll}"));
        match self.runs[run].last.standing.state {
            // A closed run has little left to try: most are taken up again, or followed by another.
            RunState::Cancelled if roll < 20 => self.register().await,
            RunState::Scoring | RunState::Finished | RunState::Failed | RunState::Cancelled
                if roll < 25 =>
            {
                self.open_attempt(run).await;
            }
            _ => return self.act(run, roll).await,
        }
        run
    }

    async fn act(&mut self, run: usize, roll: u64) -> usize {
        match roll {
            0..34 => self.arrive(run, 1).await,
            34..39 => {
                let calls = 2 + self.random.index(5);
                self.arrive(run, calls).await;
            }
            39..61 => return self.end_some(true).await.unwrap_or(run),
            61..67 => return self.end_some(false).await.unwrap_or(run),
            67..74 => return self.retry_one().await.unwrap_or(run),
            74..80 => return self.give_up_one().unwrap_or(run),
            80..92 => self.patch(run).await,
            92 => self.close(run).await,
            93..95 => self.open_attempt(run).await,
            95 => self.rotate(run).await,
            96 => self.count_refusals(run).await,
            _ => self.register().await,
        }
        run
    }

    fn tell(&mut self, what: impl std::fmt::Debug) {
        let Some(last) = self.story.back_mut() else { return };
        write!(last, ", {what:?}").unwrap();
    }

    fn story(&self) -> String {
        let lines: Vec<&str> = self.story.iter().map(String::as_str).collect();
        format!("seed {}, last operations:\n {}", self.seed, lines.join("\n "))
    }

    fn count(&mut self, name: &'static str) {
        *self.seen.entry(name).or_default() += 1;
    }

    async fn arrive(&mut self, run: usize, how_many: usize) {
        let mut calls = Vec::with_capacity(how_many);
        for _ in 0..how_many {
            let (amounts, authority) = (self.amounts(run), self.authority(run));
            let known = &self.runs[run];
            let facts = facts(["small", "large"][self.random.index(2)]);
            let (id, heard) = (ReservationId::generate(), Heard::default());
            let asks = known.budgets.as_ref().map(|budgets| Ask {
                id,
                organization: OrganizationId::DEFAULT,
                run: Some(known.registration.id),
                authority,
                heard,
                budgets: budgets.clone(),
                amounts,
                facts: facts.clone(),
            });
            let turns = known.queues.as_ref().map(|queue| queue.arrive());
            calls.push(Waiting { run, asks, turns });
            self.tell((authority, amounts));
        }
        self.ask(calls).await;
    }

    /// Asks for calls at once, in the order of their turns.
    async fn ask(&mut self, calls: Vec<Waiting>) {
        let Pair { model, other } = &self.ledgers;
        let asked = calls.iter().map(|call| (call.asks.as_ref(), call.turns.as_ref()));
        let on_model = asked.clone().map(|(ask, turn)| model.admit(ask.model.clone(), turn.model));
        let on_other = asked.map(|(ask, turn)| other.admit(ask.other.clone(), turn.other));
        let model = join_all(on_model).await;
        let other = join_all(on_other).await;
        for (call, (model, other)) in calls.into_iter().zip(model.into_iter().zip(other)) {
            self.answer(call, Pair { model, other }.map(Result::unwrap)).await;
        }
    }

    async fn answer(&mut self, call: Waiting, answers: Pair<Result<Grant, Refusal>>) {
        let verdicts = answers.as_ref().map(Verdict::of);
        self.tell(&verdicts.model);
        agree(&verdicts.model, &verdicts.other, &self.story());
        self.count(verdicts.model.name());
        let run = call.run;
        match answers {
            Pair { model: Ok(model), other: Ok(other) } => {
                let (amounts, attempt) = (call.asks.model.amounts, model.attempt());
                let grants = Pair { model, other };
                self.in_flight.push(InFlight { run, attempt, amounts, grants });
                drop(call);
                self.check_caps(run).await;
            }
            Pair { model: Err(Refusal::Outdated), .. } => {
                drop(call);
                self.look_up(run).await;
            }
            _ if verdicts.model.waits() && self.waiting.len() < WAITERS => self.waiting.push(call),
            _ => drop(call),
        }
    }

    /// Right after an admission nothing stands above its limit.
    async fn check_caps(&mut self, run: usize) {
        let id = self.runs[run].registration.id;
        for ledger in [&self.ledgers.model, &self.ledgers.other] {
            for (unit, [limit, spent, reserved]) in record(&**ledger, id).await.balances {
                assert!(spent + reserved <= limit, "{unit:?} past its cap; {}", self.story());
            }
        }
    }

    /// One end alone, or several at once, now and then with a call that begins meanwhile.
    async fn end_some(&mut self, settled: bool) -> Option<usize> {
        let run = self.end_one(settled)?;
        if self.random.one_in(3) {
            for _ in 0..self.random.index(4) {
                self.end_one(settled);
            }
        }
        if self.random.one_in(4) {
            self.arrive(run, 1).await;
        }
        self.ledgers.model.flush().await;
        self.ledgers.other.flush().await;
        Some(run)
    }

    fn end_one(&mut self, settled: bool) -> Option<usize> {
        let chosen = self.random.choose(&self.in_flight)?;
        let InFlight { run, amounts, grants, .. } = self.in_flight.swap_remove(chosen);
        if settled {
            let outcome = self.outcome(&amounts);
            self.tell(&outcome);
            grants.model.settle(outcome.clone());
            grants.other.settle(outcome);
        } else {
            drop(grants);
        }
        Some(run)
    }

    async fn retry_one(&mut self) -> Option<usize> {
        let chosen = self.random.choose(&self.waiting)?;
        let call = self.waiting.swap_remove(chosen);
        let run = call.run;
        self.tell((run, call.asks.model.amounts));
        self.ask(vec![call]).await;
        Some(run)
    }

    fn give_up_one(&mut self) -> Option<usize> {
        let chosen = self.random.choose(&self.waiting)?;
        Some(self.waiting.swap_remove(chosen).run)
    }

    async fn patch(&mut self, run: usize) {
        let mut patch = RunPatch::default();
        match self.random.below(10) {
            0..6 => patch.cost_limit = Some(self.new_limit(run)),
            6..8 => patch.status = Some(self.state()),
            _ => patch.expires_at = Some(self.expiry()),
        }
        if self.random.one_in(4) {
            patch.metadata = Some(format!(r#"{{"n":{}, "b": [1.50]}}"#, self.random.below(99)));
        }
        self.tell(&patch);
        self.change(run, async |ledger, id| ledger.patch(id, patch.clone()).await).await;
    }

    async fn close(&mut self, run: usize) {
        let states = [RunState::Scoring, RunState::Finished, RunState::Failed, RunState::Cancelled];
        let close = Close {
            status: states[self.random.index(4)],
            cut: self.random.one_in(3),
            reason: self.random.one_in(2).then(|| format!("reason {}", self.random.below(99))),
        };
        self.tell(&close);
        self.change(run, async |ledger, id| ledger.close(id, close.clone()).await).await;
    }

    async fn open_attempt(&mut self, run: usize) {
        let starts = [RunState::Running, RunState::Running, RunState::Running, RunState::Pending];
        let (status, token) = (starts[self.random.index(4)], self.random.token());
        let id = self.runs[run].registration.id;
        let opened = async |ledger: &Arc<dyn Ledger>| {
            Answer::of_change(ledger.open_attempt(id, status, token).await)
        };
        let model = opened(&self.ledgers.model).await;
        let other = opened(&self.ledgers.other).await;
        if matches!(model, Answer::Changed(_)) {
            self.runs[run].tokens.push(token);
            // Not everybody hears of it at once.
            if !self.random.one_in(3) {
                self.look_up(run).await;
            }
        }
        self.agree_on(model, other);
    }

    async fn rotate(&mut self, run: usize) {
        let token = self.random.token();
        self.runs[run].tokens.push(token);
        self.change(run, async |ledger, id| ledger.rotate_token(id, token).await).await;
    }

    async fn change(
        &mut self,
        run: usize,
        how: impl AsyncFn(
            &Arc<dyn Ledger>,
            RunId,
        ) -> Result<rungate::ledger::RunRecord, rungate::ledger::RunsError>,
    ) {
        let id = self.runs[run].registration.id;
        let model = Answer::of_change(how(&self.ledgers.model, id).await);
        let other = Answer::of_change(how(&self.ledgers.other, id).await);
        self.agree_on(model, other);
    }

    fn agree_on(&mut self, model: Answer, other: Answer) {
        agree(&model, &other, &self.story());
        if let Answer::Refused(code, _) = model {
            self.count(code);
        }
    }

    async fn count_refusals(&mut self, run: usize) {
        let code = ["run_closed", "cost_limit_exceeded"][self.random.index(2)];
        let counts = vec![(self.runs[run].registration.id, code, self.random.below(5) + 1)];
        self.ledgers.model.count_refusals(counts.clone()).await.unwrap();
        self.ledgers.other.count_refusals(counts).await.unwrap();
    }

    /// One or two runs, some of them known already, now and then with another body.
    async fn register(&mut self) {
        let mut batch = vec![(self.registration(), self.random.token())];
        if let Some(known) = self.random.choose(&self.runs)
            && self.random.one_in(2)
        {
            let mut again = self.runs[known].registration.clone();
            again.fingerprint[31] ^= u8::from(self.random.one_in(2));
            batch.push((again, self.random.token()));
        }
        let model = self.ledgers.model.register(batch.clone()).await;
        let other = self.ledgers.other.register(batch.clone()).await;
        let (model, other) = (Answer::of_registration(model), Answer::of_registration(other));
        agree(&model, &other, &self.story());
        let mut batch = batch.into_iter();
        for answer in model {
            let Some((registration, token)) = batch.next() else { return };
            match answer {
                Answer::New(last) => self.meet(registration, token, last).await,
                Answer::Refused(code, _) => self.count(code),
                Answer::Existing(_) | Answer::Changed(_) => {}
            }
        }
    }
}
