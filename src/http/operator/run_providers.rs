//! The providers that a registration brings keys of its own for.

use secrecy::ExposeSecret as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::domain::fault::Fault;
use crate::gateway::Gateway;
use crate::gateway::providers::WantedProvider;
use crate::providers::REGISTRY;
use crate::upstream::address::MAX_BASE_URL_BYTES;

use super::fields::Fields;
use super::members::{Kind, Member, not_null, optional};
use super::providers::{self, MAX_KEY_BYTES};
use super::register::WantedRun;

const NAME: &str = "providers";

/// Those providers.
pub(super) const PROVIDERS: Member = optional(
    NAME,
    Kind::Objects(OWN, REGISTRY.len()),
    "Providers that it is to reach with keys of its own, instead of its organization's. What it \
     spends there counts against its cap all the same.",
);

/// The members of one of them.
static OWN: &[Member] = &[
    Member { required: true, ..not_null("provider", Kind::Provider, "Its name.") },
    Member {
        required: true,
        ..not_null(
            "api_key",
            Kind::Text(MAX_KEY_BYTES),
            "Its key. It is kept encrypted, never shown.",
        )
    },
    optional(
        "base_url",
        Kind::Text(MAX_BASE_URL_BYTES),
        "Where it is, if not at its own address: a public https address, unless the operator says \
         it.",
    ),
    not_null("eu_endpoint", Kind::Flag, "Attests that this address is in the EU."),
];

/// Reads them, in the order of their names.
pub(super) fn read(fields: &Fields<'_>) -> Result<Vec<WantedProvider>, Fault> {
    let mut found: Vec<WantedProvider> = Vec::new();
    for own in fields.objects(NAME, OWN, REGISTRY.len())?.unwrap_or_default() {
        let wanted = providers::read_members(&own)?;
        if wanted.api_key.is_none() {
            return Err(own.wrong("api_key", "is required"));
        }
        if found.iter().any(|known| known.provider == wanted.provider) {
            return Err(own.wrong("provider", "is named twice; name it once"));
        }
        found.push(wanted);
    }
    found.sort_by(|a, b| a.provider.cmp(&b.provider));
    Ok(found)
}

/// Their names.
pub(super) fn names(providers: &[WantedProvider]) -> Vec<String> {
    providers.iter().map(|own| own.provider.clone()).collect()
}

/// Seals what a run brings along.
///
/// # Errors
/// If it cannot be used or kept. The fault names the member.
pub(super) fn bring(
    gateway: &Gateway,
    wanted: &mut WantedRun,
    by_operator: bool,
) -> Result<(), Fault> {
    let WantedRun { registration, providers, place } = wanted;
    let run = (registration.terms.organization, registration.id);
    for (index, own) in providers.iter().enumerate() {
        let brought = gateway.brought(run, own, by_operator).map_err(|fault| {
            let member = fault.param_name().unwrap_or_default().to_owned();
            fault.param(format!("{place}{NAME}[{index}].{member}"))
        })?;
        registration.providers.push(brought);
    }
    Ok(())
}

/// What of one makes two registrations the same.
#[derive(Serialize)]
pub(super) struct Canonical<'a> {
    provider: &'a str,
    base_url: Option<&'a str>,
    eu_endpoint: bool,
    /// Nothing of the key can be told from it.
    key_sha256: String,
}

impl<'a> Canonical<'a> {
    fn of(own: &'a WantedProvider) -> Self {
        let key = own.api_key.as_ref().map(|key| key.expose_secret()).unwrap_or_default();
        Self {
            provider: &own.provider,
            base_url: own.base_url.as_ref().and_then(|url| url.as_deref()),
            eu_endpoint: own.eu_endpoint.unwrap_or(false),
            key_sha256: hex::encode(Sha256::digest(key)),
        }
    }
}

/// The form in which they are compared.
pub(super) fn canonical(providers: &[WantedProvider]) -> Vec<Canonical<'_>> {
    providers.iter().map(Canonical::of).collect()
}
