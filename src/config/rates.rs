//! The settings of limits on pace: how many gateways share them, and those of endpoints.

use std::num::NonZeroU32;

/// The endpoints that may have a limit, as their paths are written down.
pub const METERED_ENDPOINTS: [&str; 9] = [
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/agents/inference",
    "/agents/embedding",
    "/api/inference",
    "/api/embedding",
];

/// The limits on pace that settings say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// How many gateways share the limits of runs, keys, organizations and endpoints.
    pub gateways: NonZeroU32,
    /// The endpoints that have a limit, each with the most requests a minute of one run or key.
    pub endpoints: Vec<(&'static str, u32)>,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { gateways: NonZeroU32::MIN, endpoints: Vec::new() }
    }
}

impl RateLimits {
    /// The place of an endpoint among those with a limit, and its requests a minute. The same
    /// endpoint below `/inference` is the same.
    pub fn endpoint(&self, path: &str) -> Option<(usize, u32)> {
        let below = path.strip_prefix("/inference").filter(|rest| rest.starts_with('/'));
        let path = below.unwrap_or(path);
        let found = self.endpoints.iter().enumerate().find(|(_, (known, _))| *known == path);
        found.map(|(nth, (_, limit))| (nth, *limit))
    }
}

/// Why a limit of an endpoint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EndpointLimitError {
    #[error("{0:?} is not of the form /v1/messages=60")]
    Malformed(String),
    #[error("{0:?} is not one of {known}", known = METERED_ENDPOINTS.join(", "))]
    Unknown(String),
    #[error("{0:?} is not a whole number of requests a minute from 1 to 1000000")]
    NotACount(String),
    #[error("{0} has two limits")]
    Twice(&'static str),
}

const MOST_PER_MINUTE: u32 = 1_000_000;

/// Reads limits of endpoints, such as `/v1/messages=60,/v1/embeddings=600`.
pub(super) fn endpoints(text: &str) -> Result<Vec<(&'static str, u32)>, EndpointLimitError> {
    let mut all: Vec<(&'static str, u32)> = Vec::new();
    for one in text.split(',').map(str::trim) {
        let malformed = || EndpointLimitError::Malformed(one.to_owned());
        let (path, count) = one.split_once('=').ok_or_else(malformed)?;
        let (path, count) = (path.trim(), count.trim());
        let known = METERED_ENDPOINTS.into_iter().find(|known| *known == path);
        let known = known.ok_or_else(|| EndpointLimitError::Unknown(path.to_owned()))?;
        let limit = count.parse().ok().filter(|limit| (1..=MOST_PER_MINUTE).contains(limit));
        let limit = limit.ok_or_else(|| EndpointLimitError::NotACount(count.to_owned()))?;
        if all.iter().any(|(other, _)| *other == known) {
            return Err(EndpointLimitError::Twice(known));
        }
        all.push((known, limit));
    }
    Ok(all)
}

/// Reads a share: `1`, or one of so many parts, as in `1/3`.
pub(super) fn share(text: &str) -> Option<NonZeroU32> {
    const MOST_GATEWAYS: u32 = 4096;
    let parts = match text.split_once('/') {
        None => text,
        Some((one, parts)) if one.trim() == "1" => parts.trim(),
        Some(_) => return None,
    };
    let gateways: NonZeroU32 = parts.parse().ok()?;
    let whole = text.contains('/') || gateways == NonZeroU32::MIN;
    (whole && gateways.get() <= MOST_GATEWAYS).then_some(gateways)
}
