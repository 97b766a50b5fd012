//! What the workload does next: amounts around the edges of what is left, wrong tokens, late ends.

use rungate::domain::control::RunControl;

use super::*;

/// The digits of an amount after the point.
const SCALE: u32 = 18;
const ATOMS_PER_USD: i128 = 1_000_000_000_000_000_000;

fn atoms(amount: Decimal) -> i128 {
    let mut amount = amount;
    amount.rescale(SCALE);
    amount.mantissa()
}

fn usd(atoms: i128) -> Usd {
    Usd::from_decimal(Decimal::from_i128_with_scale(atoms.max(0), SCALE).normalize()).unwrap()
}

impl World {
    fn last(&self, run: usize, unit: Unit) -> Option<[Decimal; 3]> {
        let balances = &self.runs[run].last.balances;
        balances.iter().find(|(of, _)| *of == unit).map(|(_, numbers)| *numbers)
    }

    /// Up to `end`, often with fewer digits than there are.
    fn atoms_below(&mut self, end: i128) -> i128 {
        let coarse = 10_i128.pow(u32::try_from(self.random.below(19)).unwrap());
        self.random.below_wide(end) / coarse * coarse
    }

    pub(super) fn amounts(&mut self, run: usize) -> Amounts {
        let [limit, spent, reserved] = self.last(run, Unit::Usd).unwrap().map(atoms);
        let left = limit - spent - reserved;
        let dollars = match self.random.below(20) {
            0 => 0,
            1..3 => left,
            3 => left + 1,
            4 => limit - spent + 1,
            _ => self.atoms_below(limit / 5),
        };
        let tokens = match self.last(run, Unit::Tokens) {
            Some([limit, spent, reserved]) if self.random.one_in(8) => {
                let left = u64::try_from(limit - spent - reserved).unwrap_or(0);
                left + self.random.below(2)
            }
            _ => self.random.below(120),
        };
        Amounts { usd: usd(dollars), tokens: Tokens::new(tokens), calls: 1 }
    }

    pub(super) fn authority(&mut self, run: usize) -> Authority {
        let Run { tokens, registration, .. } = &self.runs[run];
        let is_enough = !registration.terms.require_token;
        match self.random.below(20) {
            0..12 if is_enough => Authority::RunId,
            0 => Authority::RunId,
            1..19 => Authority::Token(*tokens.last().unwrap()),
            _ => Authority::Token(tokens[self.random.index(tokens.len())]),
        }
    }

    pub(super) fn outcome(&mut self, reserved: &Amounts) -> Outcome {
        let worst = atoms(reserved.usd.decimal());
        let charge = match self.random.below(20) {
            0..10 => self.charge(worst, reserved, CostSource::Usage),
            10 => Charge {
                cost: usd(worst + 1 + self.atoms_below(ATOMS_PER_USD / 10)),
                flag: Some(Flag::OverReservation),
                ..self.charge(worst, reserved, CostSource::Usage)
            },
            11..15 => self.charge(worst, reserved, CostSource::Estimate),
            15..18 => Charge {
                cost: reserved.usd,
                usage: Usage { uncached_input: reserved.tokens, ..Usage::default() },
                source: CostSource::WorstCase,
                flag: self.random.one_in(4).then_some(Flag::AbsurdUsage),
            },
            _ => Charge::NOTHING,
        };
        Outcome {
            charge,
            served_model: self.random.one_in(2).then(|| "small-2".to_owned()),
            service_tier: self.random.one_in(3).then(|| "flex".to_owned()),
            status: [200, 502, 499][self.random.index(3)],
            latency_ms: self.random.below(100_000),
            ttfb_ms: self.random.one_in(2).then_some(7),
        }
    }

    /// At most what was reserved.
    fn charge(&mut self, worst: i128, reserved: &Amounts, source: CostSource) -> Charge {
        let each = reserved.tokens.count() / 4 + 1;
        let mut some = || Tokens::new(self.random.below(each));
        let usage = Usage {
            uncached_input: some(),
            cached_input: some(),
            cache_write: some(),
            output: some(),
            reasoning: Tokens::ZERO,
            ..Usage::default()
        };
        let usage = Usage { reasoning: Tokens::new(usage.output.count() / 2), ..usage };
        Charge { cost: usd(self.atoms_below(worst + 1)), usage, source, flag: None }
    }

    pub(super) fn new_limit(&mut self, run: usize) -> Usd {
        let [limit, spent, reserved] = self.last(run, Unit::Usd).unwrap().map(atoms);
        usd(match self.random.below(8) {
            0 => spent,
            1 => spent - 1,
            2 => spent + reserved,
            3 => spent + self.atoms_below(reserved),
            _ => limit + self.atoms_below(ATOMS_PER_USD / 2),
        })
    }

    pub(super) fn state(&mut self) -> RunState {
        if self.random.below(4) > 0 {
            return RunState::Running;
        }
        RunState::ALL[self.random.index(RunState::ALL.len())]
    }

    pub(super) fn expiry(&mut self) -> Option<DateTime<Utc>> {
        let hour = chrono::Duration::hours(1);
        let now = Utc::now().trunc_subsecs(0);
        match self.random.below(5) {
            0 if self.random.one_in(2) => Some(now - hour),
            0..3 => Some(now + hour),
            _ => None,
        }
    }

    fn control(&mut self) -> RunControl {
        let pair = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let aliases = [BTreeMap::new(), pair("tiny \" \u{e9}", "small")];
        let forced = [BTreeMap::new(), pair("temperature", "0.5"), pair("effort", "\"low\"")];
        let provider = self.random.one_in(2).then(|| "openai".to_owned());
        RunControl {
            model_aliases: aliases[self.random.index(2)].clone(),
            forced_parameters: forced[self.random.index(3)].clone(),
            fallback: provider.is_none() && self.random.one_in(2),
            provider,
            own_providers: Vec::new(),
            attempt_budget: AttemptBudget::ALL[1 - usize::from(self.random.one_in(4))],
        }
    }

    pub(super) fn registration(&mut self) -> Registration {
        let mut new = registration("1");
        new.cost_limit = usd(ATOMS_PER_USD / 5 + self.atoms_below(3 * ATOMS_PER_USD));
        let tokens = 200 + self.random.below(2_000);
        new.terms.token_limit = self.random.one_in(2).then_some(Tokens::new(tokens));
        let calls = 3 + u32::try_from(self.random.below(20)).unwrap();
        new.terms.call_limit = self.random.one_in(2).then_some(calls);
        new.terms.require_token = self.random.one_in(4);
        new.terms.on_cap = [OnCap::Clamp, OnCap::Refuse][self.random.index(2)];
        if self.random.one_in(2) {
            new.terms.control = self.control();
        }
        if self.random.one_in(4) {
            new.status = self.state();
            new.expires_at = self.expiry();
        }
        new
    }
}
