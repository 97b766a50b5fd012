//! The wire formats that clients speak: pure, bytes in and bytes out.
//!
//! Nothing here knows HTTP, prices, the catalogue or a clock. A body that is accepted is written
//! anew from what was understood of it, so that nothing goes upstream that was not priced.

pub mod json;
pub mod schema;
pub mod sse;
pub mod error;
pub mod provider_error;
pub mod format;
pub mod request;
pub mod answer;
pub mod stream;
pub mod chat;
pub mod embeddings;
pub mod messages;
pub mod responses;
pub mod ridges;
pub mod style;
pub mod translate;
