//! Gateways as processes of their own, to be killed.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::client::Client;
use super::gateway::ADMIN_TOKEN;

/// `rungate serve` as a process.
pub struct GatewayProcess {
    child: Child,
    pub client: Client,
}

impl GatewayProcess {
    /// Starts it on `database` and waits until it listens.
    pub fn serve(database: &str, settings: &[(&str, &str)]) -> Self {
        Self::start(database, settings, Stdio::inherit())
    }

    /// The same, its log in a file.
    pub fn serve_logging_to(database: &str, settings: &[(&str, &str)], log: std::fs::File) -> Self {
        Self::start(database, settings, log.into())
    }

    fn start(database: &str, settings: &[(&str, &str)], log: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rungate"))
            .arg("serve")
            .current_dir(std::env::temp_dir())
            .env("DATABASE_URL", database)
            .env("ADMIN_TOKEN", ADMIN_TOKEN)
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("ADMIN_LISTEN_ADDR", "127.0.0.1:0")
            .env("SIMULATE_PROVIDERS", "true")
            .env("RUST_LOG", "warn")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |of: &str| -> SocketAddr {
            let line = lines.by_ref().map(Result::unwrap).find(|line| line.contains(of));
            let line = line.unwrap_or_else(|| panic!("the gateway did not say its {of}"));
            line.rsplit_once("http://").unwrap().1.parse().unwrap()
        };
        let (data, admin) = (address("data plane"), address("control plane"));
        Self { child, client: Client::new(data, admin) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn ask_to_stop(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        self.ask_to_stop();
        self.child.wait().unwrap().code()
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _reaped_before = self.child.wait();
    }
}
