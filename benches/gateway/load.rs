//! Calls as fast as they are answered, made by wrk.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::contenders::{Credential, Target};

/// Builds every request before the first is sent, and tells the results in a line of numbers.
const SCRIPT: &str = r#"
local requests, next = {}, 0

function init(arguments)
  local file = assert(io.open(arguments[1]))
  local body = file:read("*a")
  file:close()
  for credential in io.lines(arguments[2]) do
    local bearer, run = credential:match("^(%S+) ?(%S*)$")
    local headers = {
      ["content-type"] = "application/json",
      ["authorization"] = "Bearer " .. bearer,
    }
    if run ~= "" then headers["x-run-id"] = run end
    requests[#requests + 1] = wrk.format("POST", nil, headers, body)
  end
end

function request()
  next = next % #requests + 1
  return requests[next]
end

function done(summary, latency)
  local failed = summary.errors
  io.write(string.format("\nresults %d %d %d %d %d %d %d\n",
    summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(90), latency:percentile(99),
    failed.status,
    failed.connect + failed.read + failed.write + failed.timeout))
end
"#;

/// What to send.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) target: &'a Target,
    pub(crate) body: &'a str,
    pub(crate) connections: usize,
    /// How many of the target's credentials take turns at most.
    pub(crate) credentials: usize,
    pub(crate) time: Duration,
}

/// What came of it; latencies in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answered {
    pub(crate) calls: f64,
    pub(crate) seconds: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
}

/// wrk, and the files that it reads.
pub(crate) struct Wrk {
    folder: PathBuf,
}

impl Wrk {
    /// # Errors
    /// If there is no wrk; the message says what to install.
    pub(crate) async fn find(folder: &Path) -> Result<Self> {
        let mut command = Command::new("wrk");
        command.arg("-v").stdout(Stdio::null()).stderr(Stdio::null());
        if let Err(error) = command.status().await {
            bail!("wrk cannot be run ({error}); install it: apt-get install wrk");
        }
        std::fs::write(folder.join("load.lua"), SCRIPT)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Drives one target.
    ///
    /// # Errors
    /// If any call failed.
    pub(crate) async fn drive(&self, load: Load<'_>) -> Result<Answered> {
        let (body, credentials) = (self.folder.join("body"), self.folder.join("credentials"));
        std::fs::write(&body, load.body)?;
        let taken = load.target.credentials.iter().take(load.credentials);
        let line = |Credential { bearer, run }: &Credential| {
            format!("{bearer} {}\n", run.as_deref().unwrap_or_default())
        };
        std::fs::write(&credentials, taken.map(line).collect::<String>())?;
        let output = Command::new("wrk")
            .args(["--threads", "1", "--timeout", "30s"])
            .arg("--connections")
            .arg(load.connections.to_string())
            .arg("--duration")
            .arg(format!("{}s", load.time.as_secs().max(1)))
            .arg("--script")
            .arg(self.folder.join("load.lua"))
            .arg(format!("http://{}/v1/chat/completions", load.target.address))
            .arg("--")
            .args([body, credentials])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("wrk cannot be run")?;
        let text = String::from_utf8_lossy(&output.stdout);
        read(&text).with_context(|| {
            let complaints = String::from_utf8_lossy(&output.stderr);
            format!("{} under wrk: {text}{complaints}", load.target.name())
        })
    }
}

fn read(text: &str) -> Result<Answered> {
    let line = text.lines().find_map(|line| line.strip_prefix("results "));
    let line = line.context("wrk printed no results")?;
    let numbers: Vec<u32> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [calls, microseconds, p50, p90, p99, refused, broken] = numbers[..] else {
        bail!("wrk's results cannot be understood: {line}");
    };
    if calls == 0 || refused + broken > 0 {
        bail!("{calls} calls, {refused} of them not answered 200, {broken} failures of sockets");
    }
    Ok(Answered {
        calls: f64::from(calls),
        seconds: f64::from(microseconds) / 1e6,
        p50: f64::from(p50),
        p90: f64::from(p90),
        p99: f64::from(p99),
    })
}
