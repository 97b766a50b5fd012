//! What an attempt is charged, once it is known what was used, who answered and in which tier.

use std::sync::Arc;

use crate::catalog::{Catalog, Target};
use crate::domain::price::{Caching, Prices};
use crate::domain::settlement::{Charge, CostSource, Ending, Flag, Terms};
use crate::domain::tier::{ServedTier, ServiceTier};
use crate::protocol::answer::Served;
use crate::protocol::stream::TellCost;

/// What an attempt's charge depends on besides its end.
#[derive(Clone)]
pub(super) struct Pricing {
    pub(super) catalog: Arc<Catalog>,
    pub(super) target: Arc<Target>,
    pub(super) terms: Terms,
    pub(super) caching: Caching,
    /// The service tier that was asked for.
    pub(super) tier: ServiceTier,
}

/// The model that answered.
struct Answered<'a> {
    target: &'a Target,
    /// Nobody knows its prices: those of the model that was asked stand for them.
    caching: Option<Caching>,
}

impl Answered<'_> {
    fn prices_in(&self, tier: ServiceTier) -> Option<Prices> {
        let prices = *self.target.prices_in(tier)?;
        Some(match self.caching {
            None => prices,
            Some(caching) => prices.with_caching(caching).without_discounts(),
        })
    }
}

impl Pricing {
    /// The charge, and what is odd about what its price rests on.
    ///
    /// What was used is charged at the prices of the tier that the answer names, or of the one that
    /// was asked for if it names none. A tier without prices here is charged at the dearest that
    /// are known. An estimate is of a call that may have been served in the default tier, too.
    pub(super) fn charge(&self, ending: Ending, served: Served<'_>) -> (Charge, Option<Flag>) {
        let answered = self.answered(served.model);
        let named = match self.named(served) {
            None => Some(self.tier),
            Some(ServedTier::Known(tier)) => Some(*tier),
            Some(ServedTier::Other(_)) => None,
        };
        let own = named.and_then(|tier| answered.prices_in(tier));
        let charge = match (ending, own) {
            (Ending::Reported(_), Some(prices)) => self.terms.charge(ending, &prices),
            (Ending::Reported(_), None) => {
                let asked = named.and_then(|tier| self.target.prices_in(tier).copied());
                let known =
                    ServiceTier::ALL.into_iter().filter_map(|tier| answered.prices_in(tier));
                self.dearest(ending, known.chain(asked))
            }
            (Ending::Seen { .. }, _) if self.tier != ServiceTier::Default => {
                let asked = answered.prices_in(self.tier);
                self.dearest(
                    ending,
                    answered.prices_in(ServiceTier::Default).into_iter().chain(asked),
                )
            }
            (Ending::Seen { .. } | Ending::NothingBought | Ending::Unknown, _) => {
                let prices = answered.prices_in(ServiceTier::Default);
                self.terms.charge(ending, &prices.unwrap_or(self.target.prices))
            }
        };
        let expected = [Some(self.tier), Some(ServiceTier::Default)].contains(&named);
        let flag = match (own, expected) {
            _ if answered.caching.is_some() => Some(Flag::UnknownModel),
            (None, _) => Some(Flag::UnpricedTier),
            (Some(_), false) => Some(Flag::UnaskedTier),
            (Some(_), true) => None,
        };
        (charge, flag)
    }

    /// The tier that is kept of a call: none where that is the default one, or nothing was bought.
    pub(super) fn tier_kept(&self, charge: &Charge, served: Served<'_>) -> Option<String> {
        let asked = ServedTier::Known(self.tier);
        let tier = self.named(served).unwrap_or(&asked);
        let is_kept =
            charge.source != CostSource::None && *tier != ServedTier::Known(ServiceTier::Default);
        is_kept.then(|| tier.as_str().to_owned())
    }

    /// The tier that the answer names, in the words of a provider that is asked for one.
    fn named<'s>(&self, served: Served<'s>) -> Option<&'s ServedTier> {
        served.tier.filter(|_| self.target.provider.dialect.service_tier)
    }

    fn answered(&self, served_model: Option<&str>) -> Answered<'_> {
        let target = &self.target;
        let served = served_model.and_then(|model| self.catalog.served(target.provider, model));
        // What makes something else has prices that do not fit what was made.
        let served = served.filter(|served| served.kind == target.kind);
        let is_unknown =
            served.is_none() && served_model.is_some_and(|name| !is_release(name, target));
        let caching = is_unknown.then_some(self.caching);
        Answered { target: served.unwrap_or(target), caching }
    }

    /// The dearest of the charges at these prices.
    fn dearest(&self, ending: Ending, prices: impl Iterator<Item = Prices>) -> Charge {
        let charges = prices.map(|prices| self.terms.charge(ending, &prices));
        let dearest = charges.max_by_key(|charge| charge.cost);
        dearest.unwrap_or_else(|| self.terms.worst_case(None))
    }

    /// What will be booked if a stream ends with the usage that it has told.
    pub(super) fn teller(&self) -> TellCost {
        let pricing = self.clone();
        Box::new(move |usage, served| pricing.charge(Ending::Reported(usage), served).0.cost)
    }
}

/// Whether a name is that of a release of the model that was asked: its name, and a date.
fn is_release(name: &str, target: &Target) -> bool {
    [&target.upstream_model, &target.model].into_iter().any(|asked| {
        let rest = name.strip_prefix(asked.as_str());
        let date = rest.and_then(|rest| rest.strip_prefix(['-', '@']));
        rest == Some("")
            || date.is_some_and(|date| {
                let digits = date.bytes().filter(u8::is_ascii_digit).count();
                let is_date = date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
                is_date && matches!(digits, 4 | 6 | 8)
            })
    })
}
