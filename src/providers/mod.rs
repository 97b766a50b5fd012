//! The providers: where they live, how they are addressed, and how their dialects differ.
//!
//! One row of [`REGISTRY`] is all that an OpenAI-compatible provider needs. A provider's key and a
//! different base URL come from the settings; nothing here reads them.

mod format;
mod price_list;

pub use format::Format;
pub use price_list::{PRICE_LISTS, PricedBy};

/// How a provider is told the most output it may produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitField {
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`, which also bounds reasoning.
    MaxCompletionTokens,
}

impl LimitField {
    /// The field's name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// Where a provider's dialect of the OpenAI wire format differs from the next one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The field that bounds the output.
    pub limit_field: LimitField,
    /// Whether `stream_options` is understood. Without it usage rides on the last content chunk.
    pub stream_options: bool,
    /// Whether `store` is understood, so that it can be forced to `false`.
    pub store: bool,
    /// Whether `service_tier` is understood, so that it is always named: `default`, or the
    /// organization's where the model has prices for that.
    pub service_tier: bool,
    /// The name that the provider has for `seed`; `None` if it takes none.
    pub seed_field: Option<&'static str>,
    /// Whether `prompt_cache_key` and `safety_identifier` are understood, so that each run can be
    /// kept apart from the others.
    pub run_tag: bool,
    /// Whether `n` may be above 1.
    pub several_choices: bool,
}

/// The header that carries a provider's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHeader {
    /// `authorization: Bearer KEY`.
    Bearer,
    /// `api-key: KEY`.
    ApiKey,
    /// `x-api-key: KEY`.
    XApiKey,
}

/// A provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name: the prefix in `openai/gpt-4o-mini`, a label in metrics and in the ledger.
    pub name: &'static str,
    /// How its settings begin: `OPENAI` for `OPENAI_API_KEY` and `OPENAI_BASE_URL`.
    pub settings_prefix: &'static str,
    /// Where it lives unless a setting says otherwise; paths such as `/chat/completions` follow.
    /// `None` if every customer has an address of its own, which the setting must then name.
    pub default_base_url: Option<&'static str>,
    /// How it is shown the key.
    pub key_header: KeyHeader,
    /// The formats that it speaks.
    pub formats: &'static [Format],
    /// Its dialect.
    pub dialect: Dialect,
}

const COMPATIBLE: Dialect = Dialect {
    limit_field: LimitField::MaxTokens,
    stream_options: true,
    store: false,
    service_tier: false,
    seed_field: Some("seed"),
    run_tag: false,
    several_choices: true,
};

const CHATS: &[Format] = &[Format::Chat];
const EMBEDS: &[Format] = &[Format::Chat, Format::Embeddings];
const RESPONDS: &[Format] = &[Format::Chat, Format::Embeddings, Format::Responses];

/// Every provider, in the order in which unprefixed names prefer them.
///
/// Sources: the providers' own API references for chat completions (OpenAI
/// `platform.openai.com/docs/api-reference/chat`, Mistral `docs.mistral.ai/api`, Groq
/// `console.groq.com/docs/openai`, DeepSeek `api-docs.deepseek.com`, OpenRouter
/// `openrouter.ai/docs`, Chutes `chutes.ai/docs`, Targon `docs.targon.com`).
///
/// Anthropic is spoken to in its own format (`platform.claude.com/docs/en/api/messages`). Azure
/// through its v1 API (`learn.microsoft.com/azure`, "Azure OpenAI v1 API"): an address for each
/// resource, the key under `api-key`, and as the model the name of a deployment.
pub const REGISTRY: [Provider; 9] = [
    Provider {
        name: "openai",
        settings_prefix: "OPENAI",
        default_base_url: Some("https://api.openai.com/v1"),
        key_header: KeyHeader::Bearer,
        formats: RESPONDS,
        dialect: Dialect {
            limit_field: LimitField::MaxCompletionTokens,
            store: true,
            service_tier: true,
            run_tag: true,
            ..COMPATIBLE
        },
    },
    Provider {
        name: "anthropic",
        settings_prefix: "ANTHROPIC",
        default_base_url: Some("https://api.anthropic.com/v1"),
        key_header: KeyHeader::Bearer,
        formats: &[Format::Messages],
        dialect: Dialect { seed_field: None, several_choices: false, ..COMPATIBLE },
    },
    Provider {
        name: "mistral",
        settings_prefix: "MISTRAL",
        default_base_url: Some("https://api.mistral.ai/v1"),
        key_header: KeyHeader::Bearer,
        formats: EMBEDS,
        dialect: Dialect { stream_options: false, seed_field: Some("random_seed"), ..COMPATIBLE },
    },
    Provider {
        name: "azure_openai",
        settings_prefix: "AZURE_OPENAI",
        default_base_url: None,
        key_header: KeyHeader::ApiKey,
        formats: RESPONDS,
        dialect: Dialect { limit_field: LimitField::MaxCompletionTokens, ..COMPATIBLE },
    },
    Provider {
        name: "groq",
        settings_prefix: "GROQ",
        default_base_url: Some("https://api.groq.com/openai/v1"),
        key_header: KeyHeader::Bearer,
        formats: CHATS,
        dialect: Dialect {
            limit_field: LimitField::MaxCompletionTokens,
            several_choices: false,
            ..COMPATIBLE
        },
    },
    Provider {
        name: "deepseek",
        settings_prefix: "DEEPSEEK",
        default_base_url: Some("https://api.deepseek.com/v1"),
        key_header: KeyHeader::Bearer,
        formats: CHATS,
        dialect: Dialect { seed_field: None, ..COMPATIBLE },
    },
    Provider {
        name: "chutes",
        settings_prefix: "CHUTES",
        default_base_url: Some("https://llm.chutes.ai/v1"),
        key_header: KeyHeader::Bearer,
        formats: EMBEDS,
        dialect: COMPATIBLE,
    },
    Provider {
        name: "openrouter",
        settings_prefix: "OPENROUTER",
        default_base_url: Some("https://openrouter.ai/api/v1"),
        key_header: KeyHeader::Bearer,
        formats: EMBEDS,
        dialect: COMPATIBLE,
    },
    Provider {
        name: "targon",
        settings_prefix: "TARGON",
        default_base_url: Some("https://api.targon.com/v1"),
        key_header: KeyHeader::Bearer,
        formats: CHATS,
        dialect: COMPATIBLE,
    },
];

/// The provider of this name.
pub fn find(name: &str) -> Option<&'static Provider> {
    REGISTRY.iter().find(|provider| provider.name == name)
}
