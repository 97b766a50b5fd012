//! Who is measured, each a process of its own, and all of them before the same provider.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::cpu::Accounts;
use crate::process::{Output, Process, free_address};

const RUNGATE: &str = env!("CARGO_BIN_EXE_rungate");
/// Runs that take turns.
pub(crate) const RUNS: usize = 1_000;
/// More calls at once than any scenario makes, so that no run's limit is in the way.
const CONCURRENCY: u32 = 4_096;
const CAP_USD: &str = "1000000";
const ADMIN_TOKEN: &str = "the-benchmarks-operator";

/// One column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The simulated provider itself.
    Direct,
    /// The bare relay.
    Relay,
    /// `rungate dev`, many runs.
    Dev,
    /// `rungate serve`, many runs.
    Serve,
    /// `rungate serve`, one run.
    ServeOne,
    /// `rungate dev` for clients of another format than the provider's.
    Translating,
    /// `rungate serve` with organizations in its tables.
    Paid(Payer, Rows),
}

/// Whose budgets calls fall under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Payer {
    /// Only their run's: the run's token, in an organization that nobody configured.
    Run,
    /// Their run's, their key's and their organization's, of which there are many.
    Organizations,
    /// The same, where the runs and the keys lie scattered among all that are in the tables.
    Scattered,
    /// The same of one organization, with many runs and keys.
    OneOrganization,
}

/// How much is in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rows {
    /// Hardly more than is measured with.
    Few,
    /// 1,000 organizations, 100,000 keys, 1,000,000 runs.
    Many,
}

impl Kind {
    /// The columns of the table of everything.
    pub(crate) const COLUMNS: [Self; 5] =
        [Self::Direct, Self::Relay, Self::Dev, Self::Serve, Self::ServeOne];
    /// Those of the table of organizations.
    pub(crate) const PAID: [Self; 7] = [
        Self::Paid(Payer::Run, Rows::Few),
        Self::Paid(Payer::Organizations, Rows::Few),
        Self::Paid(Payer::OneOrganization, Rows::Few),
        Self::Paid(Payer::Run, Rows::Many),
        Self::Paid(Payer::Organizations, Rows::Many),
        Self::Paid(Payer::OneOrganization, Rows::Many),
        Self::Paid(Payer::Scattered, Rows::Many),
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "provider alone",
            Self::Relay => "bare relay",
            Self::Dev => "dev",
            Self::Serve => "serve, 1,000 runs",
            Self::ServeOne => "serve, one run",
            Self::Translating => "dev, translating",
            Self::Paid(Payer::Run, Rows::Few) => "one budget",
            Self::Paid(Payer::Organizations, Rows::Few) => "three budgets",
            Self::Paid(Payer::OneOrganization, Rows::Few) => "one organization",
            Self::Paid(Payer::Run, Rows::Many) => "one budget, full",
            Self::Paid(Payer::Organizations, Rows::Many) => "three budgets, full",
            Self::Paid(Payer::OneOrganization, Rows::Many) => "one organization, full",
            Self::Paid(Payer::Scattered, _) => "three budgets, scattered",
        }
    }
}

/// As whom a call is made.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) bearer: String,
    /// The run that is named beside it, where it does not say by itself.
    pub(crate) run: Option<String>,
}

impl From<String> for Credential {
    fn from(bearer: String) -> Self {
        Self { bearer, run: None }
    }
}

/// Where calls are sent, as whom, and whose time they take.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) credentials: Vec<Credential>,
    pub(crate) accounts: Accounts,
    /// Its database, where what is committed is to be counted.
    pub(crate) database: Option<String>,
}

impl Target {
    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }
}

/// The simulated provider.
pub(crate) struct Provider {
    process: Process,
    address: SocketAddr,
}

impl Provider {
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(RUNGATE);
        command.env_clear().args(["simulate", "--listen", &address.to_string()]);
        let mut process = Process::start("provider", command, folder, Output::Kept)?;
        process.listens(address).await?;
        Ok(Self { process, address })
    }

    fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    fn accounts(&self) -> Accounts {
        Accounts { gateway: None, postgres: None, provider: self.process.pid() }
    }

    /// It answers whoever asks.
    pub(crate) fn target(&self) -> Target {
        Target {
            kind: Kind::Direct,
            address: self.address,
            credentials: run_ids(),
            accounts: self.accounts(),
            database: None,
        }
    }
}

/// A process between the client and the provider.
pub(crate) struct Between {
    pub(crate) process: Process,
    pub(crate) target: Target,
}

/// The bare relay: this program, started again.
pub(crate) async fn relay(folder: &Path, provider: &Provider) -> Result<Between> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .env_clear()
        .args(["relay", "--listen", &address.to_string(), "--upstream"])
        .arg(provider.base_url());
    let mut process = Process::start("relay", command, folder, Output::Kept)?;
    process.listens(address).await?;
    let accounts = Accounts { gateway: Some(process.pid()), ..provider.accounts() };
    let credentials = run_ids();
    let target = Target { kind: Kind::Relay, address, credentials, accounts, database: None };
    Ok(Between { process, target })
}

/// `rungate dev`. It prints a line for each call, to `/dev/null`.
pub(crate) async fn dev(folder: &Path, provider: &Provider) -> Result<Between> {
    let (mut command, address, _) = gateway("dev", provider)?;
    command.env("DEV_LIVE", "true").env("DEV_COST_LIMIT_USD", CAP_USD);
    let mut process = Process::start("dev", command, folder, Output::Dropped)?;
    process.listens(address).await?;
    let accounts = Accounts { gateway: Some(process.pid()), ..provider.accounts() };
    let credentials = run_ids();
    let target = Target { kind: Kind::Dev, address, credentials, accounts, database: None };
    Ok(Between { process, target })
}

/// `rungate serve` with its private Postgres, which flushes every commit.
pub(crate) struct Serve {
    pub(crate) process: Process,
    pub(crate) target: Target,
    pub(crate) database: String,
}

impl Serve {
    pub(crate) async fn start(folder: &Path, provider: &Provider) -> Result<Self> {
        let (mut command, address, admin) = gateway("serve", provider)?;
        let data = folder.join("data");
        command.env("DATA_DIR", &data).env("ADMIN_TOKEN", ADMIN_TOKEN);
        command.env("SHARE_PROVIDERS", "true");
        let mut process = Process::start("serve", command, folder, Output::Kept)?;
        process.listens(address).await?;
        let database = told(&mut process, "postgres").await?;
        let postmaster = std::fs::read_to_string(data.join("postgres/pgdata/postmaster.pid"))
            .context("the private Postgres left no pid")?;
        let postmaster = postmaster.lines().next().and_then(|line| line.trim().parse().ok());
        let accounts = Accounts {
            gateway: Some(process.pid()),
            postgres: Some(postmaster.context("the pid of Postgres")?),
            ..provider.accounts()
        };
        let credentials = register(admin).await?;
        let kind = Kind::Serve;
        let target = Target { kind, address, credentials, accounts, database: None };
        Ok(Self { process, target, database })
    }

    /// The same gateway, where all calls are of one run.
    fn one_run(&self) -> Target {
        let credentials = self.target.credentials.iter().take(1).cloned().collect();
        Target { kind: Kind::ServeOne, credentials, ..self.target.clone() }
    }

    /// `rungate ledger check` on its database.
    pub(crate) async fn check(&self, folder: &Path) -> Result<String> {
        let output = tokio::process::Command::new(RUNGATE)
            .args(["ledger", "check"])
            .env("DATABASE_URL", &self.database)
            .current_dir(folder)
            .kill_on_drop(true)
            .output()
            .await?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() {
            let complaints = String::from_utf8_lossy(&output.stderr);
            bail!("rungate ledger check: {}\n{text}\n{complaints}", output.status);
        }
        Ok(text.replace('\n', "; "))
    }
}

/// All that stand before one provider at the same time.
pub(crate) struct Contenders {
    relay: Between,
    dev: Between,
    pub(crate) serve: Serve,
}

impl Contenders {
    pub(crate) async fn start(folder: &Path, provider: &Provider) -> Result<Self> {
        let (relay, dev) = (relay(folder, provider).await?, dev(folder, provider).await?);
        Ok(Self { relay, dev, serve: Serve::start(folder, provider).await? })
    }

    /// The columns of the table.
    pub(crate) fn targets(&self, provider: &Provider) -> [Target; 6] {
        let (relay, dev) = (self.relay.target.clone(), self.dev.target.clone());
        let translating = Target { kind: Kind::Translating, ..dev.clone() };
        let (serve, one_run) = (self.serve.target.clone(), self.serve.one_run());
        [provider.target(), relay, dev, serve, one_run, translating]
    }

    /// What they wrote to standard error, to be told with a failure.
    pub(crate) fn complaints(&self) -> String {
        let processes = [&self.relay.process, &self.dev.process, &self.serve.process];
        processes.map(Process::complaints).concat() + "not measured"
    }
}

/// A gateway's command with what all modes need, and where its two planes will listen.
fn gateway(mode: &str, provider: &Provider) -> Result<(Command, SocketAddr, SocketAddr)> {
    let (data, admin) = (free_address()?, free_address()?);
    let mut command = Command::new(RUNGATE);
    command
        .env_clear()
        .arg(mode)
        .env("LISTEN_ADDR", data.to_string())
        .env("ADMIN_LISTEN_ADDR", admin.to_string())
        .env("OPENAI_BASE_URL", provider.base_url())
        .env("OPENAI_API_KEY", "sk-of-the-benchmark")
        .env("ANTHROPIC_BASE_URL", provider.base_url())
        .env("ANTHROPIC_API_KEY", "sk-of-the-benchmark")
        .env("MAX_CONCURRENCY_PER_RUN", CONCURRENCY.to_string())
        .env("RUST_LOG", "warn");
    Ok((command, data, admin))
}

/// The value that a line of its output tells.
async fn told(process: &mut Process, name: &str) -> Result<String> {
    for _ in 0..100 {
        let printed = process.printed();
        let line = printed.lines().find_map(|line| line.trim().strip_prefix(name));
        if let Some(value) = line.and_then(|rest| rest.split_whitespace().next()) {
            return Ok(value.to_owned());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Err(anyhow!("serve did not say its {name}: {}", process.printed()))
}

/// Registers the runs and returns their tokens.
async fn register(admin: SocketAddr) -> Result<Vec<Credential>> {
    let run = json!({
        "cost_limit_usd": CAP_USD, "status": "running", "max_concurrency": CONCURRENCY
    });
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .post(format!("http://{admin}/runs"))
        .bearer_auth(ADMIN_TOKEN)
        .json(&vec![run; RUNS])
        .send()
        .await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    let runs = body.as_array().or_else(|| body["data"].as_array());
    let token = |run: &Value| Some(run["token"].as_str()?.to_owned().into());
    let tokens: Option<Vec<_>> = runs.map(|runs| runs.iter().filter_map(token).collect());
    match tokens {
        Some(tokens) if status.is_success() && tokens.len() == RUNS => Ok(tokens),
        Some(_) | None => bail!("the runs were not registered: {status} {body}"),
    }
}

/// Run ids that nobody has registered; `dev` meets them as it goes.
fn run_ids() -> Vec<Credential> {
    (0..RUNS).map(|_| uuid::Uuid::new_v4().to_string().into()).collect()
}
