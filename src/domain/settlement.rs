//! What an ended attempt is charged: usage where the provider told, else the published rules.

use super::budget::Amounts;
use super::money::{Overflow, Usd};
use super::price::Prices;
use super::usage::{Tokens, Usage};

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CostSource {
    /// The provider's own count.
    Usage,
    /// Our count of the input and of the output that was seen.
    Estimate,
    /// The whole reservation.
    WorstCase,
    /// Nothing was bought.
    None,
}

impl CostSource {
    /// Every source.
    pub const ALL: [Self; 4] = [Self::Usage, Self::Estimate, Self::WorstCase, Self::None];

    /// The word used in storage and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Estimate => "estimate",
            Self::WorstCase => "worst_case",
            Self::None => "none",
        }
    }

    /// Reads the word used in storage.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == text)
    }
}

/// Why an operator should look at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// The provider reported usage that cannot be true.
    AbsurdUsage,
    /// The provider reported, and is paid for, more than was reserved.
    OverReservation,
    /// The gateway that made the call died.
    GatewayLost,
    /// The ledger's answer was lost; nothing had been sent.
    Orphaned,
    /// The database refused the call's row as it was.
    RowRejected,
    /// The exact cost could not be represented.
    CostOverflow,
    /// The provider reported no output, and there was some.
    ContradictedUsage,
    /// The provider named a model that nobody knows the price of.
    UnknownModel,
    /// The provider served a tier that nobody knows the price of.
    UnpricedTier,
    /// The provider served a tier that is neither the one that was asked for nor the default one.
    UnaskedTier,
}

impl Flag {
    /// Every flag.
    pub const ALL: [Self; 10] = [
        Self::AbsurdUsage,
        Self::OverReservation,
        Self::GatewayLost,
        Self::Orphaned,
        Self::RowRejected,
        Self::CostOverflow,
        Self::ContradictedUsage,
        Self::UnknownModel,
        Self::UnpricedTier,
        Self::UnaskedTier,
    ];

    /// Reads the word used in storage.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flag| flag.as_str() == text)
    }

    /// The word used in storage, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AbsurdUsage => "absurd_usage",
            Self::OverReservation => "over_reservation",
            Self::GatewayLost => "gateway_lost",
            Self::Orphaned => "orphaned",
            Self::RowRejected => "row_rejected",
            Self::CostOverflow => "cost_overflow",
            Self::ContradictedUsage => "contradicted_usage",
            Self::UnknownModel => "unknown_model",
            Self::UnpricedTier => "unpriced_tier",
            Self::UnaskedTier => "unasked_tier",
        }
    }
}

/// What a provider reported, before it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportedUsage {
    /// Whole numbers that add up.
    Counted(Usage),
    /// Negative, fractional or contradictory numbers.
    Nonsense,
}

/// How an attempt ended, as far as money cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing was sent, or the provider refused before any byte of an answer.
    NothingBought,
    /// The provider reported what was used.
    Reported(ReportedUsage),
    /// A stream that the provider ended or broke, or that an abort or cancellation cut.
    Seen {
        /// The request's input, counted.
        input: Tokens,
        /// The output that arrived, counted.
        output: Tokens,
    },
    /// Anything may have been bought.
    Unknown,
}

/// What to charge where a stream ended without usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownUsage {
    /// A flagged estimate.
    #[default]
    Estimate,
    /// The whole reservation.
    WorstCase,
}

impl UnknownUsage {
    /// Reads the word used in settings.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "estimate" => Some(Self::Estimate),
            "worst_case" => Some(Self::WorstCase),
            _ => None,
        }
    }
}

/// What was agreed when the attempt was admitted, and with what it is priced.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// What was reserved.
    pub reserved: Amounts,
    /// The input it was reserved for.
    pub input_bound: Tokens,
    /// The output it was reserved for, over all choices.
    pub output_bound: Tokens,
    /// No request is served with more input than this.
    pub context_window: Tokens,
    /// No answer has more output than this, over all choices.
    pub output_maximum: Tokens,
    /// The model may have thought where nobody could see it.
    pub hidden_reasoning: bool,
    /// What an unknown usage costs.
    pub unknown_usage: UnknownUsage,
}

/// What a settlement books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The exact cost.
    pub cost: Usd,
    /// The tokens that it is for.
    pub usage: Usage,
    /// Where the numbers come from.
    pub source: CostSource,
    /// Whether somebody should look.
    pub flag: Option<Flag>,
}

impl Charge {
    /// Nothing was bought.
    pub const NOTHING: Self =
        Self { cost: Usd::ZERO, usage: EMPTY, source: CostSource::None, flag: None };

    /// What the charge takes of each budget.
    pub const fn amounts(&self) -> Amounts {
        match self.source {
            CostSource::None => Amounts { usd: Usd::ZERO, tokens: Tokens::ZERO, calls: 0 },
            CostSource::Usage | CostSource::Estimate | CostSource::WorstCase => {
                Amounts::of_call(self.cost, &self.usage)
            }
        }
    }
}

const EMPTY: Usage = Usage {
    uncached_input: Tokens::ZERO,
    cached_input: Tokens::ZERO,
    cache_write: Tokens::ZERO,
    long_cache_write: Tokens::ZERO,
    output: Tokens::ZERO,
    reasoning: Tokens::ZERO,
};

impl Terms {
    /// The charge for an attempt that ended like this, at `prices` – those of the model that
    /// answered, where it is priced, else of the one that was asked.
    pub fn charge(&self, ending: Ending, prices: &Prices) -> Charge {
        match ending {
            Ending::NothingBought => Charge::NOTHING,
            Ending::Reported(ReportedUsage::Counted(usage)) if self.is_plausible(&usage) => {
                self.by_usage(usage, prices)
            }
            Ending::Reported(_) => self.worst_case(Some(Flag::AbsurdUsage)),
            Ending::Seen { input, output } => self.by_estimate(input, output, prices),
            Ending::Unknown => self.worst_case(None),
        }
    }

    /// The whole reservation.
    pub fn worst_case(&self, flag: Option<Flag>) -> Charge {
        Charge {
            cost: self.reserved.usd,
            usage: Usage {
                uncached_input: self.input_bound,
                output: self.output_bound,
                ..Usage::default()
            },
            source: CostSource::WorstCase,
            flag,
        }
    }

    fn is_plausible(&self, usage: &Usage) -> bool {
        usage.input() <= self.context_window
            && usage.output <= self.output_maximum
            && usage.reasoning <= usage.output
    }

    fn by_usage(&self, usage: Usage, prices: &Prices) -> Charge {
        let Ok(cost) = prices.cost(&usage) else {
            return self.worst_case(Some(Flag::CostOverflow));
        };
        let over = cost > self.reserved.usd || usage.total() > self.reserved.tokens;
        let flag = over.then_some(Flag::OverReservation);
        Charge { cost, usage, source: CostSource::Usage, flag }
    }

    fn by_estimate(&self, input: Tokens, output: Tokens, prices: &Prices) -> Charge {
        if self.hidden_reasoning || self.unknown_usage == UnknownUsage::WorstCase {
            return self.worst_case(None);
        }
        let usage = Usage {
            uncached_input: input.min(self.input_bound),
            output: output.min(self.output_bound),
            ..Usage::default()
        };
        match prices.cost(&usage) {
            Ok(cost) => {
                let cost = cost.min(self.reserved.usd);
                Charge { cost, usage, source: CostSource::Estimate, flag: None }
            }
            Err(Overflow) => self.worst_case(Some(Flag::CostOverflow)),
        }
    }
}
