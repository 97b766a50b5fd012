//! Which target serves a call, and whether its run may use it.

use std::sync::Arc;

use crate::catalog::{Catalog, Kind, Target, Unresolved};
use crate::domain::fault::{Code, Fault};
use crate::domain::run::RunTerms;
use crate::domain::tier::ServiceTier;
use crate::protocol::format::Format;
use crate::protocol::request::Request;
use crate::protocol::translate::Translation;
use crate::providers::Provider;

use super::Gateway;
use super::caller::Caller;
use super::reach::{Reach, outside_the_eu};

/// A model that can be called, and who serves it.
pub struct Listed {
    alias: Option<String>,
    /// Who serves it.
    pub target: Arc<Target>,
}

impl Listed {
    const fn own(target: Arc<Target>) -> Self {
        Self { alias: None, target }
    }

    /// What it is called by: an alias, or its name in the catalogue.
    pub fn name(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.target.model)
    }
}

impl Gateway {
    /// All models that a caller may use: in the catalogue's order, then by its run's aliases.
    pub fn models_of(&self, caller: &Caller, reach: &Reach) -> Vec<Listed> {
        let control = &caller.run.terms.control;
        let is_alias = |target: &Target| control.model_aliases.contains_key(&target.model);
        let mut models = self.models_at(control.provider.as_deref(), reach);
        models.retain(|own| may_use(caller, &own.target) && !is_alias(&own.target));
        let aliases = control.model_aliases.keys();
        models.extend(aliases.filter_map(|name| self.model_of(caller, name, reach)));
        models
    }

    /// The model that a caller's call for this name would go to, if he may use it.
    pub fn model_of(&self, caller: &Caller, name: &str, reach: &Reach) -> Option<Listed> {
        let control = &caller.run.terms.control;
        let alias = control.model_aliases.contains_key(name).then(|| name.to_owned());
        let target = self.catalog().resolve_at(
            control.model(name),
            control.provider.as_deref(),
            |provider| reach.serves(provider),
        );
        let target = target.ok().filter(|target| may_use(caller, target))?;
        Some(Listed { alias, target })
    }

    /// All models that an organization is served, in the catalogue's order.
    pub fn models(&self, reach: &Reach) -> Vec<Listed> {
        self.models_at(None, reach)
    }

    fn models_at(&self, provider: Option<&str>, reach: &Reach) -> Vec<Listed> {
        let serves = |target: &&Arc<Target>| {
            provider.is_none_or(|provider| target.provider.name == provider)
                && reach.serves(target.provider)
        };
        let first =
            |model: &Arc<crate::catalog::Model>| model.targets.iter().find(serves).map(Arc::clone);
        self.catalog().models().filter_map(first).map(Listed::own).collect()
    }

    /// The target that serves the request's model, if the caller may use it.
    pub(super) fn route(
        &self,
        catalog: &Catalog,
        request: &Request,
        caller: &Caller,
        reach: &Reach,
    ) -> Result<Arc<Target>, Fault> {
        let configured = |provider: &Provider| reach.serves(provider);
        let control = &caller.run.terms.control;
        let (name, pinned) = (control.model(&request.model), control.provider.as_deref());
        let resolved = catalog.resolve_at(name, pinned, configured);
        let allowed = |target: &Target| check_model(&request.model, target, caller);
        let target = match resolved {
            Ok(target) => target,
            Err(Unresolved::Unknown) => return Err(no_such_model(&request.model)),
            Err(Unresolved::Elsewhere) => return Err(not_there(&request.model, pinned)),
            Err(Unresolved::NotConfigured(provider)) => {
                if let Ok(named) = catalog.resolve_at(name, pinned, |_| true) {
                    fits(request.format, &named)?;
                    allowed(&named)?;
                }
                let configured = |provider: &Provider| reach.is_configured(provider);
                if catalog.resolve_at(name, pinned, configured).is_ok() {
                    return Err(outside_the_eu());
                }
                return Err(reach.not_configured(provider));
            }
        };
        takes(&target, request)?;
        allowed(&target)?;
        Ok(target)
    }
}

/// The targets of a model behind the one that a call for it goes to, in catalogue order; none for
/// a name with a provider before it.
pub(super) fn targets_after(
    catalog: &Catalog,
    name: &str,
    target: &Arc<Target>,
) -> Vec<Arc<Target>> {
    let targets = catalog.model(name).map_or(&[][..], |model| &model.targets);
    targets.iter().skip_while(|it| !Arc::ptr_eq(it, target)).skip(1).cloned().collect()
}

/// Whether a target can be asked what a request asks, as far as that depends on no field's value.
///
/// # Errors
/// If it would have to be refused.
pub(super) fn takes(target: &Target, request: &Request) -> Result<(), Fault> {
    fits(request.format, target)?;
    if request.choices > 1 && !target.provider.dialect.several_choices {
        let says = format!("{} gives one answer to a call; leave out `n`.", target.model);
        return Err(Fault::new(Code::ParameterNotAllowed, says).param("n"));
    }
    if request.shape.images > 0 && target.constants.per_image.is_none() {
        return Err(Fault::new(
            Code::ParameterNotAllowed,
            format!("{} takes no images here: their cost is not bounded.", target.model),
        )
        .param("messages"));
    }
    Ok(())
}

/// The service tier that a call asks for: its organization's, where the provider takes one in this
/// format and the target has prices for it.
pub(super) fn tier_of(caller: &Caller, target: &Target, format: Format) -> ServiceTier {
    let takes_one = matches!(format, Format::Chat | Format::Responses);
    // Hardly any target has other tiers, and then nobody is asked.
    if !takes_one || target.tiers.is_empty() {
        return ServiceTier::Default;
    }
    let heard = caller.run.payer.heard();
    let set = heard.settings.as_ref().map(|settings| settings.service_tier).unwrap_or_default();
    if target.prices_in(set).is_some() { set } else { ServiceTier::Default }
}

/// Whether a run of these terms may use a target's model.
pub(super) fn allows(terms: &RunTerms, target: &Target) -> bool {
    is_listed(terms.allowed_models.as_deref(), target)
}

/// Whether the run's and the key's lists of models both name the target, where there are any.
pub(super) fn may_use(caller: &Caller, target: &Target) -> bool {
    let key = caller.key.as_ref().map(|key| key.heard());
    allows(&caller.run.terms, target)
        && key.is_none_or(|key| is_listed(key.terms.allowed_models.as_deref(), target))
}

/// Refuses a model, under the name that the client gave it, that the run or the key may not use.
pub(super) fn check_model(name: &str, target: &Target, caller: &Caller) -> Result<(), Fault> {
    if may_use(caller, target) { Ok(()) } else { Err(model_not_allowed(name)) }
}

fn is_listed(allowed: Option<&[String]>, target: &Target) -> bool {
    allowed.is_none_or(|allowed| {
        allowed.iter().any(|name| *name == target.model || names_target(name, target))
    })
}

/// Whether the key may call this endpoint. Its list names endpoints by their paths, or by the ends
/// of these, as in `chat/completions`.
pub(super) fn check_endpoint(endpoint: &str, caller: &Caller) -> Result<(), Fault> {
    let key = caller.key.as_ref().map(|key| key.heard());
    let allowed = key.as_ref().and_then(|key| key.terms.allowed_endpoints.as_ref());
    let names = |name: &String| {
        let name = name.trim_start_matches('/');
        let of_path = endpoint.trim_start_matches('/').strip_suffix(name);
        !name.is_empty() && of_path.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    if allowed.is_none_or(|allowed| allowed.iter().any(names)) {
        return Ok(());
    }
    Err(Fault::new(Code::EndpointNotAllowed, "This key may not use this endpoint."))
}

/// Whether a name of the form `provider/model` names this target.
fn names_target(name: &str, target: &Target) -> bool {
    name.strip_prefix(target.provider.name)
        .and_then(|rest| rest.strip_prefix('/'))
        .is_some_and(|rest| rest == target.model || rest == target.upstream_model)
}

fn no_such_model(name: &str) -> Fault {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    Fault::new(
        Code::InvalidModel,
        format!("There is no model {shown:?} here. GET /v1/models lists those that there are."),
    )
    .param("model")
}

/// Whether calls of a format can be made of a model where it is served.
fn fits(format: Format, target: &Target) -> Result<(), Fault> {
    let (made, name) = match format {
        Format::Chat => (Kind::Chat, "chat completions"),
        Format::Messages => (Kind::Chat, "messages"),
        Format::Responses => (Kind::Chat, "responses"),
        Format::Embeddings => (Kind::Embedding, "embeddings"),
    };
    let model = &target.model;
    let says = match (target.kind, made) {
        (Kind::Embedding, Kind::Chat) => {
            format!("{model} makes embeddings, not {name}. GET /v1/models tells the kinds.")
        }
        (Kind::Chat, Kind::Embedding) => {
            format!("{model} makes chat completions, not {name}. GET /v1/models tells the kinds.")
        }
        _ if Translation::spoken(format, target.provider.formats).is_some() => return Ok(()),
        _ => format!("{model} is not served at this endpoint by the provider that has it."),
    };
    Err(Fault::new(Code::InvalidModel, says).param("model"))
}

fn model_not_allowed(name: &str) -> Fault {
    Fault::new(
        Code::ModelNotAllowed,
        format!("This run may not use {name:?}. GET /v1/models lists those that it may."),
    )
    .param("model")
}

fn not_there(name: &str, provider: Option<&str>) -> Fault {
    let provider = provider.unwrap_or_default();
    Fault::new(
        Code::ModelNotAllowed,
        format!(
            "This run is served by {provider} alone, which does not serve {name:?}. GET /v1/models \
             lists what it may use."
        ),
    )
    .param("model")
}
