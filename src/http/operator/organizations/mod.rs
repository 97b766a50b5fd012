//! Organizations on the control plane: what they have set, their keys, their credits, their people.

mod settings;
mod keys;
mod key_terms;
mod orchestrators;
mod credits;
mod people;
mod changes;
mod routes;
mod key_routes;
mod people_routes;

use crate::http::route::Endpoint;

/// Every endpoint.
pub(super) static ALL: [&[Endpoint]; 3] = [routes::ALL, key_routes::ALL, people_routes::ALL];

/// Most bytes of a name.
const MAX_NAME_BYTES: usize = 128;
