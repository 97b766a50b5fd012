//! The two listeners: what sandboxes reach, and what orchestrators and operators reach.
//!
//! Handlers turn a request into typed values, call one use case, and turn its result into an
//! answer. They know no SQL and no provider.

pub mod connection;
pub mod request_id;
pub mod respond;
pub mod decode;
pub mod usage_view;
mod key_usage_view;
pub mod catalogue_view;
mod route;
pub mod openapi;
pub mod data;

pub mod operator;
