//! Where a sandbox reaches the data plane.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;

use crate::config::Config;

use super::super::exit::{Exit, Failure};

/// How a container calls the machine that it runs on.
const DOCKER_HOST: &str = "host.docker.internal";

/// The data plane as a sandbox sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DataPlane {
    /// Its URL, without a slash at its end.
    pub(super) url: String,
    /// Its host alone, as `NO_PROXY` takes it.
    pub(super) host: String,
    /// Whether a container is to reach a listener that is for this machine alone.
    pub(super) hidden_from_docker: bool,
}

/// Reads the URL of a data plane.
///
/// # Errors
/// If it is none, or holds what does not belong there.
pub(super) fn parse(text: &str) -> Result<DataPlane, String> {
    let wrong = || "is not a URL such as http://gateway:8080".to_owned();
    let url = Url::parse(text).map_err(|_| wrong())?;
    let host = url.host_str().unwrap_or_default();
    let has_login = !url.username().is_empty() || url.password().is_some();
    if !matches!(url.scheme(), "http" | "https")
        || host.is_empty()
        || has_login
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(wrong());
    }
    let trimmed = url.as_str().trim_end_matches('/');
    if trimmed.ends_with("/v1") {
        return Err(
            "ends in /v1, which the variables add where it belongs; leave it out".to_owned()
        );
    }
    Ok(DataPlane {
        url: trimmed.to_owned(),
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        hidden_from_docker: false,
    })
}

/// The data plane that this environment's gateway would open. For docker, this machine has another
/// name.
///
/// # Errors
/// If the port is 0, so that nobody knows it beforehand.
pub(super) fn default(config: &Config, docker: bool) -> Result<DataPlane, Failure> {
    let listens = config.listen_addr;
    if listens.port() == 0 {
        let what = "LISTEN_ADDR names no port; say with --gateway where the data plane is";
        return Err(Failure::new(Exit::Usage, what));
    }
    let is_here = listens.ip().is_loopback() || listens.ip().is_unspecified();
    let (host, authority) = if docker && is_here {
        (DOCKER_HOST.to_owned(), format!("{DOCKER_HOST}:{}", listens.port()))
    } else {
        let reached = SocketAddr::new(reachable(listens.ip()), listens.port());
        (reached.ip().to_string(), reached.to_string())
    };
    let hidden_from_docker = docker && listens.ip().is_loopback();
    Ok(DataPlane {
        url: format!("{}://{authority}", config.data_scheme()),
        host,
        hidden_from_docker,
    })
}

/// Whoever listens everywhere listens on loopback.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

impl DataPlane {
    /// Whether docker has to be told what its host is called.
    pub(super) fn is_docker_host(&self) -> bool {
        self.host == DOCKER_HOST
    }
}
