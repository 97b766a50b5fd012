//! Gateways as processes of their own, to be stopped and killed. All that they write is watched.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

use super::client::Client;
use super::gateway::ADMIN_TOKEN;
use super::watch;

/// `rungate serve` as a process.
pub struct GatewayProcess {
    child: Child,
    pub client: Client,
    said: Arc<Mutex<Said>>,
    readers: Vec<JoinHandle<()>>,
}

/// What a process wrote.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub out: String,
    pub err: String,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub said: Said,
}

impl GatewayProcess {
    /// Starts it on `database` and waits until it listens.
    pub fn serve(database: &str, settings: &[(&str, &str)]) -> Self {
        Self::try_serve(database, settings).unwrap_or_else(|said| panic!("{said:?}"))
    }

    /// The same, unless it ends before it listens.
    pub fn try_serve(database: &str, settings: &[(&str, &str)]) -> Result<Self, Said> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rungate"));
        Self::start(command.arg("serve"), database, settings)
    }

    /// The same by a command that ends in `rungate serve`.
    pub fn start(
        command: &mut Command,
        database: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self, Said> {
        let mut child = command
            .current_dir(std::env::temp_dir())
            .env("DATABASE_URL", database)
            .env("ADMIN_TOKEN", ADMIN_TOKEN)
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("ADMIN_LISTEN_ADDR", "127.0.0.1:0")
            .env("SIMULATE_PROVIDERS", "true")
            .env("RUST_LOG", "rungate=trace,info")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(Said::default()));
        let (tell, told) = channel();
        let out = reader(child.stdout.take().unwrap(), &said, |said| &mut said.out, Some(tell));
        let err = reader(child.stderr.take().unwrap(), &said, |said| &mut said.err, None);
        let (data, admin) = (address(&told, "data plane"), address(&told, "control plane"));
        let Some((data, admin)) = data.zip(admin) else {
            let _reaped = child.wait();
            let said = said.lock().clone();
            return Err(said);
        };
        Ok(Self { child, client: Client::new(data, admin), said, readers: vec![out, err] })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn said(&self) -> Said {
        self.said.lock().clone()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn ask_to_stop(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Ended {
        let code = self.child.wait().unwrap().code();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Ended { code, said: self.said() }
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(self) -> Option<i32> {
        self.ask_to_stop();
        self.ended().code
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _reaped_before = self.child.wait();
    }
}

/// Reads to the end, under watch.
fn reader(
    from: impl Read + Send + 'static,
    said: &Arc<Mutex<Said>>,
    part: fn(&mut Said) -> &mut String,
    tell: Option<Sender<String>>,
) -> JoinHandle<()> {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            watch::look("a gateway's output", line.as_bytes());
            {
                let mut said = said.lock();
                let part = part(&mut said);
                part.push_str(&line);
                part.push('\n');
            }
            if let Some(tell) = &tell {
                let _nobody_waits_any_more = tell.send(line);
            }
        }
    })
}

/// The address that a line names.
fn address(lines: &Receiver<String>, of: &str) -> Option<SocketAddr> {
    let line = lines.iter().find(|line| line.contains(of))?;
    line.rsplit_once("://")?.1.parse().ok()
}
