//! The data plane over real sockets: what clients send, what they see, and what is booked for it.

pub(crate) mod stage;
mod refused;
mod errors;
mod formats;
mod keys;
mod ridges;
mod openrouter;
mod probes;
mod messages_cut;
mod errors_callers;
mod errors_edges;
mod errors_limits;
mod errors_order;
mod pace;
pub(crate) mod endings;
pub(crate) mod endings_streams;
mod endings_clients;
mod upstream;
mod dialects;
mod relay;
mod relay_told;
mod caps;
mod control;
mod caps_queue;
mod counts;
mod counts_admitted;
