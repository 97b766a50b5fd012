//! The variables that point every client of a sandbox at the gateway.

use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::id::RunId;

use super::place::DataPlane;

/// What a sandbox is told.
pub(super) struct Sandbox {
    /// Where the gateway is.
    pub(super) gateway: DataPlane,
    /// Whose sandbox it is.
    pub(super) run: RunId,
    /// What stands as the key: the run's token, or its id.
    pub(super) key: SecretString,
    /// Whether nothing but the token will do.
    pub(super) only_token: bool,
    /// The model for clients that are told one by a variable.
    pub(super) model: Option<String>,
    /// Seconds that the agent has.
    pub(super) agent_timeout: Option<u64>,
    /// The run's cap in dollars.
    pub(super) cost_limit: String,
    /// The folder of Codex in the sandbox.
    pub(super) codex_home: String,
}

impl Sandbox {
    /// Where Codex's configuration must be.
    pub(super) fn codex_file(&self) -> String {
        format!("{}/config.toml", self.codex_home)
    }

    /// Every variable that has a value.
    ///
    /// Sources: the environments that inspect_ai's agent bridge and examples, Vivaria's agents,
    /// Harbor's Claude Code and Codex agents, mini-swe-agent, Qwen Code and Ridges' miners read.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        let gateway = &self.gateway.url;
        let key = self.key.expose_secret().to_owned();
        let v1 = format!("{gateway}/v1");
        let openrouter = format!("{gateway}/api/v1");
        let model = self.model.clone().unwrap_or_default();
        let run = self.run.to_string();
        // Those who speak this dialect send no header, so their token stands in the path.
        let ridges = if self.only_token { format!("{gateway}/r/{key}") } else { gateway.clone() };
        // LiteLLM takes the first part of the name for the dialect.
        let litellm = self.model.as_ref().map(|model| format!("openai/{model}"));
        let timeout = self.agent_timeout.map(|seconds| seconds.to_string());
        let all = [
            ("OPENAI_BASE_URL", v1.clone()),
            ("OPENAI_API_BASE", v1.clone()),
            ("OPENAI_API_BASE_URL", v1.clone()),
            ("OPENAI_API_URL", v1.clone()),
            ("OPENAI_API_KEY", key.clone()),
            ("ANTHROPIC_BASE_URL", gateway.clone()),
            ("ANTHROPIC_API_BASE", gateway.clone()),
            ("ANTHROPIC_API_KEY", key.clone()),
            ("ANTHROPIC_MODEL", model.clone()),
            ("ANTHROPIC_SMALL_FAST_MODEL", model.clone()),
            ("CLAUDE_CODE_SUBAGENT_MODEL", model.clone()),
            ("ANTHROPIC_DEFAULT_OPUS_MODEL", model.clone()),
            ("ANTHROPIC_DEFAULT_SONNET_MODEL", model.clone()),
            ("ANTHROPIC_DEFAULT_HAIKU_MODEL", model.clone()),
            ("OPENAI_MODEL", model),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
            ("IS_SANDBOX", "1".to_owned()),
            ("LLM_BASE_URL", v1),
            ("LLM_API_KEY", key.clone()),
            ("LLM_MODEL", litellm.unwrap_or_default()),
            ("OPENROUTER_API_BASE", openrouter.clone()),
            ("OPENROUTER_BASE_URL", openrouter),
            ("OPENROUTER_API_KEY", key.clone()),
            ("GOOGLE_GEMINI_BASE_URL", gateway.clone()),
            ("GEMINI_API_KEY", key),
            ("MSWEA_COST_TRACKING", "ignore_errors".to_owned()),
            ("NO_PROXY", self.gateway.host.clone()),
            ("SANDBOX_PROXY_URL", ridges),
            ("RUN_ID", run.clone()),
            ("EVALUATION_RUN_ID", run),
            ("RIDGES_MAX_COST_USD", self.cost_limit.clone()),
            ("AGENT_TIMEOUT", timeout.unwrap_or_default()),
            ("CODEX_HOME", self.codex_home.clone()),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }
}
