//! `rungate env`: the variables and the file that a sandbox needs, for a shell and as an object.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::support::client::{Answer, Run, prompt};
use crate::support::gateway::TestGateway;

use super::shell::{Said, Shell};

/// The variables that clients read, as they must be for a gateway, a key, a model and a run.
fn expected(gateway: &str, key: &str, model: &str, run: &str) -> BTreeMap<String, String> {
    let block = "OPENAI_BASE_URL=$G/v1 OPENAI_API_BASE=$G/v1 OPENAI_API_BASE_URL=$G/v1 \
        OPENAI_API_URL=$G/v1 OPENAI_API_KEY=$T ANTHROPIC_BASE_URL=$G ANTHROPIC_API_BASE=$G \
        ANTHROPIC_API_KEY=$T ANTHROPIC_MODEL=$M ANTHROPIC_SMALL_FAST_MODEL=$M \
        CLAUDE_CODE_SUBAGENT_MODEL=$M ANTHROPIC_DEFAULT_OPUS_MODEL=$M \
        ANTHROPIC_DEFAULT_SONNET_MODEL=$M ANTHROPIC_DEFAULT_HAIKU_MODEL=$M \
        OPENAI_MODEL=$M \
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 IS_SANDBOX=1 LLM_BASE_URL=$G/v1 LLM_API_KEY=$T \
        LLM_MODEL=openai/$M OPENROUTER_API_BASE=$G/api/v1 OPENROUTER_BASE_URL=$G/api/v1 \
        OPENROUTER_API_KEY=$T GOOGLE_GEMINI_BASE_URL=$G GEMINI_API_KEY=$T \
        MSWEA_COST_TRACKING=ignore_errors NO_PROXY=gw.example SANDBOX_PROXY_URL=$G RUN_ID=$R \
        EVALUATION_RUN_ID=$R RIDGES_MAX_COST_USD=0.25 AGENT_TIMEOUT=600 \
        CODEX_HOME=/run/gateway/codex";
    let filled = |value: &str| {
        let value = value.replace("$G", gateway).replace("$T", key);
        value.replace("$M", model).replace("$R", run)
    };
    let pairs = block.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), filled(value))).collect()
}

fn map(object: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(object.clone()).unwrap()
}

async fn running(gateway: &TestGateway, more: Value) -> Run {
    let mut body = json!({"cost_limit_usd": "0.25"});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    gateway.client.register(body).await
}

/// A call as an OpenAI client makes it, with what its variables say.
async fn call(env: &BTreeMap<String, String>) -> Answer {
    let url = format!("{}/chat/completions", env["OPENAI_BASE_URL"]);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(url).bearer_auth(&env["OPENAI_API_KEY"]).json(&prompt("Hello"));
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_finds_its_variables_and_codex_its_file() {
    let gateway = TestGateway::dev(&[]).await;
    let run = running(&gateway, json!({"allowed_models": ["gpt-4o-mini", "gpt-4o"]})).await;
    let shell = Shell::before(&gateway);
    let command = format!(
        "env --run {} --format json --gateway https://gw.example/ --agent-timeout 600",
        run.id
    );
    let injected = shell.types(&command).await.json();
    let url = "https://gw.example";
    assert_eq!(map(&injected["env"]), expected(url, &run.id, "gpt-4o-mini", &run.id));
    let file = &injected["files"][0];
    assert_eq!(injected["files"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&file["path"], &file["mode"]),
        (&json!("/run/gateway/codex/config.toml"), &json!("0644"))
    );
    let codex: toml::Table = file["content"].as_str().unwrap().parse().unwrap();
    let written: toml::Table = r#"
        model = "gpt-4o-mini"
        model_provider = "gw"
        web_search = "disabled"
        [model_providers.gw]
        name = "rungate"
        base_url = "https://gw.example/v1"
        env_key = "OPENAI_API_KEY"
        wire_api = "responses"
        supports_websockets = false
    "#
    .parse()
    .unwrap();
    assert_eq!(codex, written);

    let with_token =
        shell.types(&format!("{command} --token {} --model gpt-4o", run.token)).await.json();
    assert_eq!(map(&with_token["env"]), expected(url, &run.token, "gpt-4o", &run.id));
    let shell = shell.with("RUN_TOKEN", &run.token);
    let from_variable = shell.types(&format!("{command} --model gpt-4o")).await.json();
    assert_eq!(from_variable, with_token);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_takes_the_lines_as_they_are_meant() {
    let gateway = TestGateway::dev(&[]).await;
    let run = running(&gateway, json!({})).await;
    let shell = Shell::before(&gateway);
    let home = shell.path("co dex's $HOME");
    let model = "it's \"a\" $HOME `date` \\ * model; é";
    let args = ["env", "--run", &run.id, "--model", model, "--codex-home", home.to_str().unwrap()];
    let injected = shell.run(&[&args[..], &["--format", "json"]].concat()).await.json();
    let lines = shell.run(&args).await.ok();
    fs::write(shell.path("env.sh"), &lines).unwrap();
    for script in [". ./env.sh", "eval \"$(cat env.sh)\""] {
        let script = format!("set -eu; {script}; rm env.sh.seen 2>&- || :; env -0 > env.sh.seen");
        let output = shell.command("sh", &["-c", &script]).output().await.unwrap();
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
        let seen = fs::read_to_string(shell.path("env.sh.seen")).unwrap();
        let seen: BTreeMap<&str, &str> =
            seen.split_terminator('\0').map(|pair| pair.split_once('=').unwrap()).collect();
        for (name, value) in map(&injected["env"]) {
            assert_eq!(seen.get(name.as_str()), Some(&value.as_str()), "{name}");
        }
        let file = &injected["files"][0];
        assert_eq!(file["path"], home.join("config.toml").to_str().unwrap());
        let content = fs::read_to_string(home.join("config.toml")).unwrap();
        assert_eq!(file["content"], content);
        let codex: toml::Table = content.parse().unwrap();
        assert_eq!(codex["model"].as_str(), Some(model));
        fs::remove_dir_all(&home).unwrap();
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_is_left_out_and_told() {
    let gateway = TestGateway::dev(&[]).await;
    let free = running(&gateway, json!({})).await;
    let shell = Shell::before(&gateway);
    let said = shell.types(&format!("env --run {} --format json", free.id)).await;
    assert_eq!(
        said.err,
        "note: the run may use every model, so no variable names one; --model adds them \
         (ANTHROPIC_MODEL, LLM_MODEL and others)\n"
    );
    let injected: Value = serde_json::from_str(&said.out).unwrap();
    let env = map(&injected["env"]);
    let mut names = expected("", "", "", "").into_keys().collect::<Vec<_>>();
    names.retain(|name| !name.contains("MODEL") && name != "AGENT_TIMEOUT");
    assert_eq!(env.keys().cloned().collect::<Vec<_>>(), names);
    assert_eq!(env["OPENAI_BASE_URL"], format!("{}/v1", gateway.client.data));
    assert_eq!(env["NO_PROXY"], "127.0.0.1");
    let codex: toml::Table = injected["files"][0]["content"].as_str().unwrap().parse().unwrap();
    assert!(!codex.contains_key("model"), "{codex}");
    assert_eq!(call(&env).await.status, 200);

    let short = running(&gateway, json!({"ttl_seconds": 3600, "allowed_models": ["gpt-4o"]})).await;
    let injected = shell.types(&format!("env --run {} --format json", short.id)).await.json();
    let left: u64 = map(&injected["env"])["AGENT_TIMEOUT"].parse().unwrap();
    assert!((1..=3600).contains(&left), "{left}");
    let other = format!("env --run {} --format json --model gpt-4o-mini", short.id);
    let note = "note: this model is not among the run's allowed_models by this name\n";
    assert_eq!(shell.types(&other).await.err, note);
    gateway.client.close(&short, &json!({})).await;
    let said = shell.types(&format!("env --run {} --format json", short.id)).await;
    assert_eq!(
        (said.code, said.err.as_str()),
        (0, "note: the run is finished; its calls will be refused\n")
    );
    gateway.stop().await;
}

/// The variables of a command that succeeded and said this on the side.
#[track_caller]
fn told(said: &Said, notes: &str) -> BTreeMap<String, String> {
    assert_eq!((said.code, said.err.as_str()), (0, notes), "{said:?}");
    map(&serde_json::from_str::<Value>(&said.out).unwrap()["env"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_demands_its_token_gets_nothing_less() {
    let database = crate::support::postgres::database().await;
    let gateway = TestGateway::serve(&database, &[]).await;
    let admin = crate::support::gateway::ADMIN_TOKEN;
    let shell = Shell::before(&gateway).with("ADMIN_TOKEN", admin);
    let terms = json!({"require_token": true, "allowed_models": ["gpt-4o-mini"]});
    let run = running(&gateway, terms).await;
    let command = format!("env --run {} --format json", run.id);
    assert_eq!(
        shell.types(&command).await.failed(2),
        "the run was registered with require_token, so its id is no key: give its token in \
         RUN_TOKEN or with --token, or replace it with --new-token"
    );
    let old = told(&shell.types(&format!("{command} --token {}", run.token)).await, "");
    assert_eq!(call(&old).await.status, 200);

    let said = shell.types(&format!("{command} --new-token")).await;
    let note =
        "note: the run has a new token; the one it had is dead, also in sandboxes that use it\n";
    let new = told(&said, note);
    assert_eq!(call(&old).await.code(), "invalid_key", "the old token is dead");
    assert_eq!(call(&new).await.status, 200);
    let key = &new["OPENAI_API_KEY"];
    assert!(key.starts_with("rg-run-") && *key != run.token);
    for name in ["ANTHROPIC_API_KEY", "LLM_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY"] {
        assert_eq!(new[name], *key);
    }
    // Its clients send no header.
    assert_eq!(new["SANDBOX_PROXY_URL"], format!("{}/r/{key}", gateway.client.data));
    let url = format!("{}/v1/chat/completions", new["SANDBOX_PROXY_URL"]);
    let bare = gateway.client.http.post(url).json(&prompt("Hello")).send().await.unwrap();
    assert_eq!(bare.status(), 200);

    // Under RUN_AUTH=token no run's id is a key.
    let free = running(&gateway, json!({})).await;
    let strict = Shell::before(&gateway).with("ADMIN_TOKEN", admin).with("RUN_AUTH", "token");
    let line = strict.types(&format!("env --run {}", free.id)).await.failed(2);
    assert!(line.starts_with("RUN_AUTH=token is set, so its id is no key"), "{line}");
    // The operator's token is never handed to a sandbox, nor repeated.
    let line = shell.types(&format!("env --run {} --token {admin}", free.id)).await.failed(2);
    assert_eq!(line, "--token is no run's token; one begins with rg-run-");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_is_where_this_environment_would_open_it() {
    let gateway = TestGateway::dev(&[]).await;
    let run = running(&gateway, json!({"allowed_models": ["gpt-4o"]})).await;
    for (listens, url, host) in [
        ("127.0.0.1:18080", "http://127.0.0.1:18080", "127.0.0.1"),
        ("0.0.0.0:18080", "http://127.0.0.1:18080", "127.0.0.1"),
        ("[::]:18080", "http://[::1]:18080", "::1"),
        ("192.168.7.7:80", "http://192.168.7.7:80", "192.168.7.7"),
    ] {
        let shell = Shell::before(&gateway).with("LISTEN_ADDR", listens);
        let said = shell.types(&format!("env --run {} --format json", run.id)).await;
        let env = told(&said, "");
        assert_eq!((env["ANTHROPIC_BASE_URL"].as_str(), env["NO_PROXY"].as_str()), (url, host));
    }
    let shell = Shell::before(&gateway).with("LISTEN_ADDR", "127.0.0.1:0");
    let line = shell.types(&format!("env --run {}", run.id)).await.failed(2);
    assert_eq!(line, "LISTEN_ADDR names no port; say with --gateway where the data plane is");
    gateway.stop().await;
}
