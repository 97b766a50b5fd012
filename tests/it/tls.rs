//! TLS of the listeners, and the certificates of clients.

mod authority;
mod listener;
mod patience;
mod clients;
mod keys;
