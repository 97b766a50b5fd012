//! What `/metrics` counts of ended calls.
//!
//! To find a counter by its labels costs more than to count, so those of each target are kept.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{Counter, counter};
use parking_lot::RwLock;

use crate::catalog::Target;
use crate::domain::money::Usd;
use crate::domain::settlement::{Charge, CostSource};

use super::call::CLIENT_GONE;

/// The counters of every target that was called.
#[derive(Default)]
pub(super) struct Counters {
    targets: RwLock<HashMap<&'static str, HashMap<String, Arc<OfTarget>>>>,
}

/// The counters of one target.
struct OfTarget {
    input_tokens: Counter,
    output_tokens: Counter,
    cost_nanousd: Counter,
    calls: RwLock<Vec<(CostSource, &'static str, Counter)>>,
}

impl Counters {
    /// Counts an ended call.
    pub(super) fn count(&self, target: &Target, charge: &Charge, status: u16) {
        let counters = self.of(target);
        counters.call(target, charge.source, class(status));
        if charge.source == CostSource::None {
            return;
        }
        counters.input_tokens.increment(charge.usage.input().count());
        counters.output_tokens.increment(charge.usage.output.count());
        counters.cost_nanousd.increment(nanousd(charge.cost));
        if let Some(flag) = charge.flag {
            counter!("rungate_incidents_total", "kind" => flag.as_str()).increment(1);
        }
    }

    fn of(&self, target: &Target) -> Arc<OfTarget> {
        let provider = target.provider.name;
        let known = self.targets.read();
        if let Some(found) = known.get(provider).and_then(|models| models.get(&target.model)) {
            return Arc::clone(found);
        }
        drop(known);
        let mut targets = self.targets.write();
        let models = targets.entry(provider).or_default();
        let found = models.entry(target.model.clone()).or_insert_with(|| OfTarget::new(target));
        Arc::clone(found)
    }
}

impl OfTarget {
    fn new(target: &Target) -> Arc<Self> {
        let labels =
            [("provider", target.provider.name.to_owned()), ("model", target.model.clone())];
        Arc::new(Self {
            input_tokens: counter!("rungate_input_tokens_total", &labels),
            output_tokens: counter!("rungate_output_tokens_total", &labels),
            cost_nanousd: counter!("rungate_cost_nanousd_total", &labels),
            calls: RwLock::default(),
        })
    }

    fn call(&self, target: &Target, source: CostSource, status: &'static str) {
        let is_it = |known: &&(CostSource, &str, Counter)| known.0 == source && known.1 == status;
        if let Some((.., calls)) = self.calls.read().iter().find(is_it) {
            return calls.increment(1);
        }
        let calls = counter!(
            "rungate_calls_total",
            "provider" => target.provider.name,
            "model" => target.model.clone(),
            "cost_source" => source.as_str(),
            "status" => status
        );
        calls.increment(1);
        self.calls.write().push((source, status, calls));
    }
}

/// What a status is counted as.
fn class(status: u16) -> &'static str {
    match status {
        200..=299 => "2xx",
        CLIENT_GONE => "client_gone",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// Whole billionths of a dollar, as a counter takes them. The ledger has the exact sum.
fn nanousd(cost: Usd) -> u64 {
    let billion = rust_decimal::Decimal::from(1_000_000_000_u64);
    let nanos = cost.decimal().checked_mul(billion).unwrap_or_default();
    u64::try_from(nanos.trunc()).unwrap_or(0)
}
