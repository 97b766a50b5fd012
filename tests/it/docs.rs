//! What is written about the gateway equals what it is.
//!
//! The tables of the README and `.env.example` are made from the code. A test that fails prints the
//! right text; with `UPDATE_DOCS=1` it writes it.

mod parameters;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rungate::config::{
    Config, PROVIDER_PREFIXES, SECRET_FILES, SETTINGS, provider_settings, secret_settings,
    unknown_names,
};
use rungate::domain::fault::Code;
use rungate::protocol::format::Format;
use rungate::protocol::request::fields;
use rungate::protocol::translate::{CHAT_TO_MESSAGES, MESSAGES_TO_CHAT, forced, markdown};
use rungate::providers::REGISTRY;

use crate::support::watch;

/// Settings whose default is no value, and what stands for one in `.env.example`.
const EXAMPLES: [(&str, &str); 6] = [
    ("DATABASE_URL", "postgres://rungate:secret@localhost/rungate"),
    ("ADMIN_TOKEN", ""),
    ("ENCRYPTION_KEY", ""),
    ("MODELS_FILE", "./models.toml"),
    ("ENDPOINT_RATE_LIMITS", "/v1/messages/count_tokens=60"),
    ("WORKERS", "4"),
];
/// What stands for the address of a provider that has one for each customer.
const OWN_ADDRESS: &str = "https://RESOURCE.openai.azure.com/openai/v1";

/// When a code is answered. Part of the published table of errors.
fn when(code: Code) -> &'static str {
    match code {
        Code::InvalidRequest => {
            "malformed JSON, a missing or wrongly typed field, a duplicate key, too many values"
        }
        Code::InvalidModel => "the catalogue has no such model, or it makes something else",
        Code::InvalidRunId => "the run id is not a UUID",
        Code::RunIdMismatch => "credential, header and body name different runs",
        Code::RunIdRequired => "nothing names a run",
        Code::ParameterNotAllowed => {
            "the field `param` is not in the table below, its cost cannot be bounded, or the run \
             forces it and the provider does not have it"
        }
        Code::InvalidKey => {
            "credential missing, unknown, replaced or not enough; the body never says which"
        }
        Code::CostLimitExceeded => {
            "what is spent leaves too little of the cap for this call; the status is BUDGET_STATUS"
        }
        Code::KeyBudgetExceeded => "what is spent leaves too little of the key's budget in dollars",
        Code::CostCircuitOpen => {
            "the organization's month cannot afford the call, or its cost circuit is open until it \
             is reset"
        }
        Code::InsufficientCredits => "the organization's prepaid credits cannot afford the call",
        Code::RunClosed => "the run is past `running`, or was stopped while the call was under way",
        Code::RunExpired => "the run is past `expires_at`",
        Code::ModelNotAllowed => {
            "the run's or the key's `allowed_models` does not name the model, or the run's \
             `provider` does not serve it"
        }
        Code::EndpointNotAllowed => "the key's `allowed_endpoints` does not name the endpoint",
        Code::EuResidencyUnavailable => {
            "the organization is bound to the EU, and no provider of the model is attested there"
        }
        Code::Forbidden => "the credential may not do this on the control plane",
        Code::RunNotFound => "there is no run of this id",
        Code::NotFound => "there is no such endpoint or object",
        Code::RunNotActive => "the run is still `pending` or `initializing` after the wait",
        Code::RunConflict => "the run id is registered already, with another body",
        Code::LimitBelowSpent => "a PATCH sets the cap below what is spent",
        Code::Conflict => "the name or the id is taken, or was used for something else",
        Code::InvalidTransition => "the run cannot be closed or reopened that way",
        Code::ProviderNotConfigured => "no provider of this model has a key or a base URL",
        Code::RequestTooLarge => {
            "the body, decoded, is larger than MAX_BODY_BYTES, or a compressed one becomes more than \
             100 times its size"
        }
        Code::UnsupportedMediaType => "the body is not JSON, or its encoding is not known",
        Code::UpgradeNotSupported => "a WebSocket was asked for",
        Code::RateLimited => {
            "requests or tokens come faster than the run, the key, the organization or the endpoint \
             allows on this gateway"
        }
        Code::ConcurrencyLimited => {
            "too many calls of the run, the key or the organization are under way on this gateway"
        }
        Code::TokenCeilingExceeded => {
            "the run's `token_limit` or the key's tokens of the day or month leave too little"
        }
        Code::CallLimitExceeded => "the run's `call_limit` is reached",
        Code::BudgetReserved => "calls in flight stand in the way, and the wait is over",
        Code::InternalError => "a bug",
        Code::UpstreamError => "the provider failed; what it said is under `error.upstream`",
        Code::Unavailable => "the gateway is draining, or its ledger cannot be reached",
        Code::UpstreamTimeout => "the provider did not answer in time",
    }
}

/// The folder of the project.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn settings_table() -> String {
    let mut table = String::from("| setting | default | meaning |\n|---|---|---|\n");
    for setting in SETTINGS {
        let (name, default, meaning) = (setting.name, setting.default, setting.meaning);
        table.push_str(&format!("| `{name}` | {default} | {meaning} |\n"));
    }
    let served: Vec<_> = REGISTRY.iter().map(|provider| provider.settings_prefix).collect();
    let homeless = REGISTRY.iter().filter(|provider| provider.default_base_url.is_none());
    let homeless: Vec<_> = homeless.map(|provider| provider.settings_prefix).collect();
    table.push_str(&format!(
        "| `<P>_API_KEY` | not set | the key of a provider; P is one of {} |\n\
         | `<P>_BASE_URL` | the provider's own | where that provider is reached instead; {} has \
         an address for each customer and needs it |\n\
         | `<P>_EU_ENDPOINT` | false | the operator attests that this provider, as it is configured \
         here, is in the EU |\n\
         | `<SECRET>_FILE` | not set | {SECRET_FILES} |\n",
        served.join(", "),
        homeless.join(", ")
    ));
    table
}

fn errors_table() -> String {
    let mut table =
        String::from("| status | code | origin | retryable | when |\n|---|---|---|---|---|\n");
    for code in Code::ALL {
        table.push_str(&format!(
            "| {} | `{}` | {} | {} | {} |\n",
            code.status(),
            code.as_str(),
            code.origin().as_str(),
            if code.retryable() { "yes" } else { "no" },
            when(code)
        ));
    }
    table
}

/// Every setting with its default and meaning, commented out.
fn env_example() -> String {
    let mut text = String::from(
        "# Settings of rungate. Copy this file to `.env` and uncomment what you change. The\n\
         # environment of the process wins over it; `rungate check-config` shows what holds.\n",
    );
    for setting in SETTINGS {
        let example = EXAMPLES.iter().find(|(name, _)| *name == setting.name);
        let none = (setting.default == "none").then_some("");
        let value = example.map_or(none.unwrap_or(setting.default), |(_, value)| *value);
        let (name, default, meaning) = (setting.name, setting.default, setting.meaning);
        text.push_str(&format!("\n# {meaning}\n# default: {default}\n#{name}={value}\n"));
    }
    text.push_str("\n# The keys of the providers, and other addresses than these\n");
    for provider in &REGISTRY {
        let (prefix, url) =
            (provider.settings_prefix, provider.default_base_url.unwrap_or(OWN_ADDRESS));
        text.push_str(&format!(
            "#{prefix}_API_KEY=\n#{prefix}_BASE_URL={url}\n#{prefix}_EU_ENDPOINT=false\n"
        ));
    }
    text.push_str(&format!("\n# <SECRET>_FILE: {SECRET_FILES}\n"));
    text
}

/// The README with a table between its marks replaced.
pub(crate) fn with_table(readme: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
    let (before, rest) = readme.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end} after {begin}"));
    format!("{before}{begin}{table}{end}{after}")
}

/// Holds a file against what it should be, or makes it so.
pub(crate) fn assert_written(file: &str, right: &str, shown: &str) {
    let path = root().join(file);
    let is = fs::read_to_string(&path).unwrap_or_default();
    if is == right {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some_and(|wish| wish == "1") {
        fs::write(&path, right).unwrap();
        return;
    }
    panic!("{file} differs from the code. UPDATE_DOCS=1 cargo test docs:: writes:\n\n{shown}");
}

#[test]
fn the_tables_of_the_readme_are_those_of_the_code() {
    let mut right = fs::read_to_string(root().join("README.md")).unwrap();
    let mut wrong = String::new();
    let tables = [
        ("settings", settings_table()),
        ("errors", errors_table()),
        ("fields", fields::markdown(Format::Chat.table())),
        ("embedding fields", fields::markdown(Format::Embeddings.table())),
        ("message fields", fields::markdown(Format::Messages.table())),
        ("response fields", fields::markdown(Format::Responses.table())),
        ("chat at providers", parameters::markdown(Format::Chat)),
        ("messages at providers", parameters::markdown(Format::Messages)),
        ("responses at providers", parameters::markdown(Format::Responses)),
        ("embeddings at providers", parameters::markdown(Format::Embeddings)),
        ("chat to messages", markdown(&CHAT_TO_MESSAGES)),
        ("messages to chat", markdown(&MESSAGES_TO_CHAT)),
        ("forced parameters", forced::markdown()),
    ];
    for (name, table) in tables {
        let with = with_table(&right, name, &table);
        if with != right {
            wrong.push_str(&format!("{name}:\n{table}\n"));
        }
        right = with;
    }
    assert_written("README.md", &right, &wrong);
}

#[test]
fn the_example_of_settings_names_each_with_its_default_and_meaning() {
    let right = env_example();
    assert_written(".env.example", &right, &right);
}

#[test]
fn the_example_of_settings_can_be_used_as_it_stands() {
    let example = env_example();
    let given: Vec<(&str, &str)> = example
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
        .map(|line| line.split_once('=').unwrap())
        .collect();
    assert_eq!(unknown_names(given.iter().map(|(name, _)| *name)), Vec::<&str>::new());
    let get = |name: &str| {
        given.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    if let Err(errors) = Config::read(&get) {
        panic!("{errors:?}");
    }
}

#[test]
fn every_provider_has_settings_and_no_other_name_has() {
    assert_eq!(REGISTRY.map(|provider| provider.settings_prefix), PROVIDER_PREFIXES);
}

#[test]
fn what_is_said_of_files_of_secrets_names_every_secret() {
    for name in secret_settings() {
        let named = if name.ends_with("_API_KEY") { "<P>_API_KEY" } else { &name };
        assert!(SECRET_FILES.contains(&format!("`{named}`")), "{name}");
    }
}

#[test]
fn the_help_names_every_setting() {
    let output = Command::new(env!("CARGO_BIN_EXE_rungate"))
        .arg("--help")
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    watch::output(&output);
    assert!(output.status.success(), "{output:?}");
    let help = String::from_utf8(output.stdout).unwrap();
    let shown: BTreeSet<&str> = help.split_whitespace().collect();
    let settings = SETTINGS.iter().map(|setting| setting.name.to_owned());
    for name in settings.chain(provider_settings()) {
        assert!(shown.contains(name.as_str()), "--help does not name {name}:\n{help}");
    }
    assert!(shown.contains("<SECRET>_FILE"), "--help does not tell of files:\n{help}");
}
