//! Prices that others tell: LiteLLM's map, the lists of providers, and what their usage costs.

mod import;
mod offers;
mod serving;
mod told;
