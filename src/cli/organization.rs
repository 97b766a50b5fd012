//! Which organization a command is about.

use clap::Args;
use serde_json::Value;

use crate::domain::id::OrganizationId;

use super::control::ControlPlane;
use super::exit::{Exit, Failure};
use super::lists::{every_page, rows};
use super::print::plain;

/// What the default organization is called in paths.
pub(super) const DEFAULT: &str = "default";

/// The organization, by an option.
#[derive(Args, Clone, Debug)]
pub(super) struct Of {
    /// The organization: its id, its name, or `default`
    #[arg(long = "org", value_name = "ORG", default_value = DEFAULT)]
    org: String,
}

impl Of {
    /// The path of the organization, and what is below it.
    ///
    /// # Errors
    /// As for [`path`].
    pub(super) async fn path(&self, plane: &ControlPlane, below: &str) -> anyhow::Result<String> {
        Ok(format!("{}{below}", path(plane, &self.org).await?))
    }
}

/// The path of the organization of this id or name. A name is looked up among all, for which the
/// operator's token is needed.
///
/// # Errors
/// If there is none of this name, or more than one; as for any request.
pub(super) async fn path(plane: &ControlPlane, org: &str) -> anyhow::Result<String> {
    if org == DEFAULT {
        return Ok(format!("/organizations/{DEFAULT}"));
    }
    if let Some(id) = OrganizationId::parse(org) {
        return Ok(format!("/organizations/{id}"));
    }
    let mut found = Vec::new();
    every_page(plane, "/organizations", &[], |_, page| {
        let called = rows(page, "data").unwrap_or_default().iter();
        let called = called.filter(|one| one.get("name").and_then(Value::as_str) == Some(org));
        let ids = called.filter_map(|one| one.get("id")?.as_str());
        found.extend(ids.filter_map(OrganizationId::parse));
        Ok(())
    })
    .await?;
    match found.as_slice() {
        [id] => Ok(format!("/organizations/{id}")),
        [] => {
            let what = format!(
                "there is no organization of the name or id '{}'; `rungate orgs list` shows those \
                 that there are",
                plain(org)
            );
            Err(Failure::new(Exit::NotFound, what).into())
        }
        several => {
            let ids: Vec<String> = several.iter().map(ToString::to_string).collect();
            let what = format!(
                "{} organizations are called '{}'; name one by its id: {}",
                several.len(),
                plain(org),
                ids.join(", ")
            );
            Err(Failure::new(Exit::Usage, what).into())
        }
    }
}
