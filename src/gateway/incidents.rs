//! Lines for whoever watches over the providers.

use crate::domain::id::ReservationId;
use crate::domain::settlement::{Charge, Flag};
use crate::protocol::answer::Served;

use super::pricing::Pricing;

/// Tells what is odd about a provider's report.
pub(super) fn tell(id: ReservationId, pricing: &Pricing, charge: &Charge, served: Served<'_>) {
    let (provider, model) = (pricing.target.provider.name, pricing.target.model.as_str());
    let (asked, named) = (pricing.tier.as_str(), served.tier.map(|tier| tier.as_str()));
    match charge.flag {
        Some(Flag::OverReservation) => tracing::error!(
            call.id = %id, provider,
            cost_usd = %charge.cost, reserved_usd = %pricing.terms.reserved.usd,
            "call.over_reservation: the provider broke its own limit; booked in full"
        ),
        Some(Flag::UnknownModel) => tracing::error!(
            call.id = %id, provider, model,
            served_model = ?served.model.map(clean),
            "call.unknown_model: booked at the dearest prices of the model that was asked"
        ),
        Some(Flag::UnpricedTier) => tracing::error!(
            call.id = %id, provider, model, asked_tier = asked, served_tier = named,
            "call.unpriced_tier: the tier that was served has no prices here; booked at the \
             dearest tier's"
        ),
        Some(Flag::UnaskedTier) => tracing::error!(
            call.id = %id, provider, model, asked_tier = asked, served_tier = named,
            "call.unasked_tier: booked at the prices of the tier that was served"
        ),
        Some(Flag::ContradictedUsage) => tracing::error!(
            call.id = %id, provider, model,
            "call.contradicted_usage: the provider reports no output, and there was some"
        ),
        _ => {}
    }
}

/// A provider's name for a model, as it may be stored: no NUL, not endless.
pub(super) fn clean(name: &str) -> String {
    const MOST: usize = 256;
    name.chars().filter(|c| !c.is_control()).take(MOST).collect()
}
