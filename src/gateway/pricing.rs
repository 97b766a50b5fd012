//! What an attempt is charged, once it is known what was used and who answered.

use std::sync::Arc;

use crate::catalog::{Catalog, Target};
use crate::domain::price::{Caching, Prices};
use crate::domain::settlement::{Charge, Ending, Terms};
use crate::protocol::stream::TellCost;

/// What an attempt's charge depends on besides its end.
#[derive(Clone)]
pub(super) struct Pricing {
    pub(super) catalog: Arc<Catalog>,
    pub(super) target: Arc<Target>,
    pub(super) terms: Terms,
    pub(super) caching: Caching,
}

impl Pricing {
    /// The charge, and whether it is for a model that nobody knows the price of.
    pub(super) fn charge(&self, ending: Ending, served_model: Option<&str>) -> (Charge, bool) {
        let (prices, is_unknown) = self.prices(served_model);
        (self.terms.charge(ending, &prices), is_unknown)
    }

    fn prices(&self, served_model: Option<&str>) -> (Prices, bool) {
        let target = &self.target;
        let served = served_model.and_then(|model| self.catalog.served(target.provider, model));
        // What makes something else has prices that do not fit what was made.
        let served = served.filter(|served| served.kind == target.kind);
        let is_unknown =
            served.is_none() && served_model.is_some_and(|name| !is_release(name, target));
        let prices = match served {
            Some(served) => served.prices,
            None if is_unknown => target.prices.with_caching(self.caching).without_discounts(),
            None => target.prices,
        };
        (prices, is_unknown)
    }

    /// What will be booked if a stream ends with the usage that it has told.
    pub(super) fn teller(&self) -> TellCost {
        let pricing = self.clone();
        Box::new(move |usage, model| pricing.charge(Ending::Reported(usage), model).0.cost)
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
