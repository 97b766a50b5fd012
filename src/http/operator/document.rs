//! The document of the control plane.

use serde_json::json;

use crate::domain::fault::Code;
use crate::gateway::Mode;
use crate::http::openapi::{self, Document};
use crate::http::respond::Manners;

use super::routes::mounted;

/// The document of the control plane.
pub fn document(mode: Mode, manners: Manners) -> Document {
    Document::new(move || {
        let security = match mode {
            // A developer's gateway asks for nothing.
            Mode::Dev => json!({}),
            Mode::Serve => json!({
                "operator": {"type": "http", "scheme": "bearer", "description": "ADMIN_TOKEN"},
                "orchestrator": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key for the runs of one organization, `rg-orc-…`.",
                },
                "member": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "Name and password of a member of the organization in the path; \
                                    what stands beside it are the roles that suffice.",
                },
            }),
        };
        openapi::render(&openapi::Plane {
            title: "rungate: control plane",
            about: "What orchestrators do to runs, and what operators read; never for a sandbox. \
                Amounts of money are exact decimal text in US dollars, and may be numbers in \
                requests."
                .to_owned(),
            servers: json!([{"url": "/"}]),
            security,
            mounted: mounted().map(|endpoints| ("", endpoints)).collect(),
            parameters: &[],
            rights: Some(&[Code::Forbidden, Code::RateLimited, Code::Unavailable]),
            anonymous: mode == Mode::Dev,
            headers: &[],
            errors: &[Code::InternalError],
            manners,
        })
    })
}
