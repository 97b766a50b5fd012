//! A random workload over runs, keys, organizations and credits on two ledgers at once: every
//! verdict and every balance must agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use rungate::domain::budget::{BudgetRef, Scope};
use rungate::domain::id::{KeyId, OrganizationId, ReservationId};
use rungate::domain::organization::{KeyLimits, KeyStatus, KeyTerms, SettingsPatch};
use rungate::domain::reservation::{Ask, Authority, Heard, Refusal};
use rungate::domain::run::Registration;
use rungate::domain::settlement::{Charge, CostSource};
use rungate::domain::usage::{Tokens, Usage};
use rungate::ledger::organizations::{BudgetStanding, NewKey};
use rungate::ledger::{Grant, Ledger};
use rust_decimal::Decimal;

use super::fixture::*;
use super::shared::{admit, credit, monthly, reset};
use super::workload::Random;

const BOTH: usize = 2;

struct Call {
    amounts: rungate::domain::budget::Amounts,
    grants: Vec<Grant>,
}

struct World {
    ledgers: [Arc<dyn Ledger>; BOTH],
    random: Random,
    organizations: Vec<OrganizationId>,
    keys: Vec<(OrganizationId, KeyId, rungate::domain::key::TokenHash)>,
    runs: Vec<Registration>,
    flying: Vec<Call>,
    seen: BTreeMap<String, u32>,
    story: String,
}

/// Drives both ledgers alike and fails where they differ. Answers how often each verdict was seen.
pub(crate) async fn compare_shared(
    model: Arc<dyn Ledger>,
    other: Arc<dyn Ledger>,
    seed: u64,
    operations: usize,
) -> BTreeMap<String, u32> {
    let mut world = World {
        ledgers: [model, other],
        random: Random(seed),
        organizations: Vec::new(),
        keys: Vec::new(),
        runs: Vec::new(),
        flying: Vec::new(),
        seen: BTreeMap::new(),
        story: String::new(),
    };
    world.begin().await;
    for step in 0..operations {
        let roll = world.random.below(100);
        world.story = format!("seed {seed}, step {step}, roll {roll}");
        world.step(roll).await;
        if step % 10 == 9 {
            world.check().await;
        }
    }
    world.seen
}

impl World {
    async fn begin(&mut self) {
        for _ in 0..3 {
            let id = OrganizationId::generate();
            self.organizations.push(id);
            for ledger in &self.ledgers {
                ledger.create_organization(id, id.to_string()).await.unwrap();
                ledger.put_settings(id, monthly("3")).await.unwrap();
            }
            for nth in 0..2 {
                self.mint(id, nth).await;
                let mut run = registration("2");
                run.terms.organization = id;
                run.terms.token_limit = (nth == 0).then_some(Tokens::new(3_000));
                let token = fresh_token();
                for ledger in &self.ledgers {
                    ledger.register(vec![(run.clone(), token)]).await.unwrap();
                }
                self.runs.push(run);
            }
        }
    }

    async fn mint(&mut self, organization: OrganizationId, nth: u64) {
        let (id, hash) = (KeyId::generate(), fresh_token());
        let limits = KeyLimits {
            monthly_tokens: Tokens::new(2_000 + self.random.below(2_000)),
            daily_tokens: (nth == 0).then(|| Tokens::new(1_500)),
            monthly_usd: (nth == 0).then(|| usd("1.5")),
            lifetime_usd: (nth == 1).then(|| usd("2")),
        };
        for ledger in &self.ledgers {
            let (terms, prefix) = (KeyTerms::default(), "rg-key-0000".to_owned());
            let new = NewKey { id, organization, terms, limits, hash, prefix };
            ledger.mint_key(new).await.unwrap();
        }
        self.keys.push((organization, id, hash));
    }

    async fn step(&mut self, roll: u64) {
        match roll {
            0..55 => self.ask().await,
            55..85 => self.end().await,
            85..92 => self.settings().await,
            92..95 => self.credit().await,
            95..97 => self.status().await,
            97..99 => self.terms().await,
            _ => {
                let organization = self.organizations[self.random.index(3)];
                self.mint(organization, roll % 2).await;
            }
        }
    }

    /// A call of a run, of a key, or of both; now and then of a key of somebody else's run.
    async fn ask(&mut self) {
        let key = (!self.random.one_in(4)).then(|| self.random.index(self.keys.len()));
        let key = key.map(|key| self.keys[key]);
        let own = |run: &&Registration| key.is_none_or(|key| run.terms.organization == key.0);
        let runs: Vec<&Registration> = if self.random.one_in(20) {
            self.runs.iter().collect()
        } else {
            self.runs.iter().filter(own).collect()
        };
        let run = runs[self.random.index(runs.len())].clone();
        let run = (key.is_none() || self.random.one_in(2)).then_some(run);
        let organization =
            key.map_or_else(|| run.as_ref().unwrap().terms.organization, |key| key.0);
        let atoms = self.random.below_wide(400_000_000_000_000_000);
        let cost = Decimal::from_i128_with_scale(atoms, 18).normalize().to_string();
        let amounts = amounts(&cost, self.random.below(500));
        let (id, facts) = (ReservationId::generate(), facts("small"));
        let authority =
            key.map_or(Authority::RunId, |(_, id, hash)| Authority::Key(id, Some(hash)));
        let mut verdicts = Vec::new();
        for ledger in &self.ledgers {
            let payer = ledger.find_organization(organization).await.unwrap().unwrap();
            let (mut budgets, mut heard) = (payer.budgets, Heard { payer: payer.version, key: 0 });
            if let Some((_, id, _)) = key {
                let key = ledger.find_key_by_id(id).await.unwrap().unwrap();
                heard.key = key.version;
                budgets.extend(key.budgets);
            }
            if let Some(run) = &run {
                let found = ledger.find(rungate::ledger::RunKey::Id(run.id)).await.unwrap();
                budgets.extend(found.unwrap().budgets);
            }
            budgets.sort_by_key(BudgetRef::rank);
            let (facts, run) = (facts.clone(), run.as_ref().map(|run| run.id));
            let ask = Ask { id, organization, run, authority, heard, budgets, amounts, facts };
            verdicts.push(admit(ledger, ask).await);
        }
        let told: Vec<_> = verdicts
            .iter()
            .map(|verdict| verdict.as_ref().map(|grant| *grant.balance()).map_err(|no| *no))
            .collect();
        assert_eq!(told[0], told[1], "{}", self.story);
        let name = match &told[0] {
            Ok(_) => "admitted".to_owned(),
            Err(Refusal::Budget { scope, unit, latched, .. }) => {
                format!("{scope:?} {unit:?} {latched}")
            }
            Err(refusal) => format!("{refusal:?}"),
        };
        *self.seen.entry(name).or_default() += 1;
        let grants: Vec<Grant> = verdicts.into_iter().filter_map(Result::ok).collect();
        if !grants.is_empty() {
            self.flying.push(Call { amounts, grants });
        }
    }

    async fn end(&mut self) {
        let Some(chosen) = self.random.choose(&self.flying) else { return };
        let Call { amounts, grants } = self.flying.swap_remove(chosen);
        let part = Decimal::from(self.random.below(5)) / Decimal::from(4);
        let input = self.random.below(amounts.tokens.count() + 1);
        let bought_nothing = self.random.one_in(6);
        for grant in grants {
            if bought_nothing {
                drop(grant);
                continue;
            }
            let usage = Usage { uncached_input: Tokens::new(input), ..Usage::default() };
            let cost = (amounts.usd.decimal() * part).round_dp(18).min(amounts.usd.decimal());
            let cost = usd(&cost.normalize().to_string());
            grant.settle(outcome(Charge { cost, usage, source: CostSource::Usage, flag: None }));
        }
        self.flush().await;
    }

    async fn flush(&self) {
        for ledger in &self.ledgers {
            ledger.flush().await;
        }
    }

    async fn settings(&mut self) {
        let organization = self.organizations[self.random.index(3)];
        // Around what is spent, and often above it.
        let model = self.ledgers[0].organization(organization).await.unwrap().unwrap();
        let spent = model.standing(Scope::Organization).unwrap().balance.spent.trunc();
        let more = Decimal::from(self.random.below(5));
        let limit = (spent + more).to_string();
        let patch = match self.random.below(6) {
            0 => monthly(&limit),
            1 => reset(),
            _ => SettingsPatch { reset_circuit: true, ..monthly(&limit) },
        };
        for ledger in &self.ledgers {
            ledger.put_settings(organization, patch.clone()).await.unwrap();
        }
    }

    async fn credit(&mut self) {
        let credit = credit(&format!("0.{}25", self.random.below(3)));
        for ledger in &self.ledgers {
            ledger.add_credit(self.organizations[0], credit.clone()).await.unwrap();
        }
    }

    async fn status(&mut self) {
        let (organization, id, hash) = self.keys[self.random.index(self.keys.len())];
        let statuses = [KeyStatus::Suspended, KeyStatus::Active, KeyStatus::Active];
        let status = statuses[self.random.index(3)];
        let next = fresh_token();
        let rotates = self.random.one_in(3);
        for ledger in &self.ledgers {
            if rotates {
                let prefix = "rg-key-1111".to_owned();
                ledger.rotate_key(organization, id, next, prefix).await.unwrap();
            } else {
                ledger.set_key_status(organization, id, status).await.unwrap();
            }
        }
        let known = self.keys.iter_mut().find(|key| key.2 == hash);
        if rotates && let Some(known) = known {
            known.2 = next;
        }
    }

    /// Limits of a key come, go, rise and fall.
    async fn terms(&mut self) {
        let (organization, id, _) = self.keys[self.random.index(self.keys.len())];
        let dollars = ["0", "0.5", "3"].map(usd)[self.random.index(3)];
        let limits = KeyLimits {
            monthly_tokens: Tokens::new(self.random.below(40_000) + 1),
            daily_tokens: self.random.one_in(2).then(|| Tokens::new(self.random.below(20_000))),
            monthly_usd: self.random.one_in(2).then_some(dollars),
            lifetime_usd: self.random.one_in(3).then_some(dollars),
        };
        let mut changed = Vec::new();
        for ledger in &self.ledgers {
            let version = ledger.find_key_by_id(id).await.unwrap().unwrap().version;
            let terms = (KeyTerms::default(), limits);
            let record = ledger.change_key(organization, id, version, terms).await.unwrap();
            let record = record.expect("nobody else changes it");
            let of =
                |standing: &BudgetStanding| (standing.budget.rank(), numbers(&standing.balance));
            changed.push(record.standings.iter().map(of).collect::<Vec<_>>());
        }
        assert_eq!(changed[0], changed[1], "{}", self.story);
    }

    /// Every balance of every organization, key and run.
    async fn check(&self) {
        self.flush().await;
        let told = |standings: Vec<BudgetStanding>| -> Vec<_> {
            let one =
                |of: BudgetStanding| (of.budget.rank(), of.since, of.latched, numbers(&of.balance));
            standings.into_iter().map(one).collect()
        };
        for id in &self.organizations {
            let mut found = Vec::new();
            for ledger in &self.ledgers {
                found.push(told(ledger.organization(*id).await.unwrap().unwrap().standings));
            }
            assert_eq!(found[0], found[1], "{}", self.story);
            assert!(found[0].iter().any(|(rank, ..)| rank.1 == Scope::Organization));
        }
        for (organization, id, _) in &self.keys {
            let mut found = Vec::new();
            for ledger in &self.ledgers {
                found.push(told(ledger.key(*organization, *id).await.unwrap().unwrap().standings));
            }
            assert_eq!(found[0], found[1], "{}", self.story);
        }
        for run in &self.runs {
            let mut found = Vec::new();
            for ledger in &self.ledgers {
                found.push(super::view::record(&**ledger, run.id).await);
            }
            assert_eq!(found[0], found[1], "{}", self.story);
        }
    }
}

#[tokio::test]
async fn the_model_of_shared_budgets_agrees_with_itself() {
    let seed = super::seed_from_env();
    let seen = compare_shared(super::memory(), super::memory(), seed, 4_000).await;
    for verdict in [
        "admitted",
        "InvalidKey",
        "RunNotFound",
        "Key Tokens false",
        "Run Tokens false",
        "Key Usd false",
        "Organization Usd false",
        "Organization Usd true",
        "Credits Usd false",
        "Run Usd false",
    ] {
        assert!(seen.contains_key(verdict), "seed {seed}: never reached {verdict}: {seen:?}");
    }
}
