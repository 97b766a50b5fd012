//! From samples to medians.

use crate::contenders::Kind;
use crate::memory::Held1000;
use crate::scenarios::{Sample, Samples};
use crate::stats::median;

/// What one sample says; times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Calls a second.
    Rate,
    /// The median latency.
    P50,
    /// The latency that one call in a hundred exceeds.
    P99,
    /// The median latency less that of the provider alone.
    Added,
    /// CPU time per call in the process between the client and the provider; of the provider
    /// itself where there is none between.
    Cpu,
    /// CPU time per call in Postgres.
    Postgres,
    /// Transactions per call that wrote something.
    Commits,
}

/// Everything that was measured, in so many rounds.
pub(crate) struct Results {
    pub(crate) rounds: usize,
    pub(crate) samples: Samples,
    pub(crate) held: Held1000,
}

impl Results {
    /// The median over the rounds; `None` if it was not measured.
    pub(crate) fn value(&self, id: &'static str, kind: Kind, metric: Metric) -> Option<f64> {
        median(self.series(id, kind, metric))
    }

    /// The median of each round's ratio to the bare relay in the same turns. Postgres is held
    /// against the relay's own CPU.
    pub(crate) fn ratio(&self, id: &'static str, kind: Kind, metric: Metric) -> Option<f64> {
        median(self.ratios(id, kind, metric))
    }

    /// The ratios of all rounds, whose median [`Self::ratio`] is.
    pub(crate) fn ratios(&self, id: &'static str, kind: Kind, metric: Metric) -> Vec<f64> {
        let base = if metric == Metric::Postgres { Metric::Cpu } else { metric };
        self.by_round(ratios(self.turns(id, kind, metric), self.turns(id, Kind::Relay, base)))
    }

    /// Each round's ratio of a contender to another one.
    pub(crate) fn ratios_to(
        &self,
        base: Kind,
        id: &'static str,
        kind: Kind,
        metric: Metric,
    ) -> Vec<f64> {
        self.by_round(ratios(self.turns(id, kind, metric), self.turns(id, base, metric)))
    }

    /// The value of each round.
    pub(crate) fn series(&self, id: &'static str, kind: Kind, metric: Metric) -> Vec<f64> {
        self.by_round(self.turns(id, kind, metric))
    }

    /// The median of the turns of each round.
    fn by_round(&self, turns: Vec<f64>) -> Vec<f64> {
        let each = turns.len().div_ceil(self.rounds).max(1);
        turns.chunks(each).filter_map(|round| median(round.to_vec())).collect()
    }

    /// The value of each turn.
    fn turns(&self, id: &'static str, kind: Kind, metric: Metric) -> Vec<f64> {
        let turns = |kind| self.samples.get(&(id, kind)).map_or(&[][..], Vec::as_slice);
        let of = |sample: &Sample| read(sample, metric);
        if metric != Metric::Added {
            return turns(kind).iter().map(of).collect();
        }
        let alone = turns(Kind::Direct).iter();
        turns(kind).iter().zip(alone).map(|(sample, alone)| of(sample) - of(alone)).collect()
    }
}

fn ratios(series: Vec<f64>, base: Vec<f64>) -> Vec<f64> {
    series.iter().zip(base).map(|(value, base)| value / base).collect()
}

fn read(sample: &Sample, metric: Metric) -> f64 {
    let Sample { answered, used, commits } = sample;
    let each = |time: std::time::Duration| time.as_secs_f64() * 1e6 / answered.calls;
    match metric {
        Metric::Rate => answered.calls / answered.seconds,
        Metric::P50 | Metric::Added => answered.p50,
        Metric::P99 => answered.p99,
        Metric::Cpu if used.gateway.is_zero() => each(used.provider),
        Metric::Cpu => each(used.gateway),
        Metric::Postgres => each(used.postgres),
        Metric::Commits => commits / answered.calls,
    }
}
