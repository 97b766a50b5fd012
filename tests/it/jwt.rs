//! Signed tokens on the data plane, and that nobody comes in without any credential.

mod issuer;
mod good;
mod bad;
mod refreshed;
mod everywhere;
