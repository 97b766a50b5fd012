//! How fast calls may come and how many may be under way, of a run, a key or an organization.

use std::num::NonZeroU32;

/// Limits of pace; `None` means no limit. What is at least one stays so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most requests in a second.
    pub requests_per_second: Option<u32>,
    /// Most requests in a minute.
    pub requests_per_minute: Option<u32>,
    /// Most tokens in a minute: the worst case of a call, and once it has ended what it used.
    pub tokens_per_minute: Option<u32>,
    /// Most calls at once, waiting ones included.
    pub max_concurrency: Option<u32>,
}

impl Limits {
    /// What one of so many gateways enforces, so that all of them together do not allow more. Each
    /// limit stays at least one.
    #[must_use]
    pub fn share(self, gateways: NonZeroU32) -> Self {
        let part = |limit: Option<u32>| limit.map(|limit| (limit / gateways).max(1));
        Self {
            requests_per_second: part(self.requests_per_second),
            requests_per_minute: part(self.requests_per_minute),
            tokens_per_minute: part(self.tokens_per_minute),
            max_concurrency: part(self.max_concurrency),
        }
    }
}
