//! The documents of both planes (OpenAPI 3.1): whether they are sound, and whether they are true.

mod document;
mod sound;
mod mounted;
mod answers;
mod organizations;
mod chat_bodies;
mod run_bodies;
