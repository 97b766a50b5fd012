//! The HTTP servers of this process.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::web;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;

use crate::config::Config;
use crate::gateway::{Gateway, Mode};
use crate::http::respond::Manners;
use crate::http::{data, operator};
use crate::limits::bodies::Bodies;
use crate::simulator::{self, SimulatorOptions};
use crate::upstream::{Client, Trust};

use super::StartError;
use super::door::Door;
use super::tls::Tls;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Bytes of an answer that the kernel takes for a client that does not read them. More would only
/// hide for longer that he does not.
const SEND_BUFFER: usize = 256 << 10;
/// Threads of the control plane and of the simulated provider.
const SIDE_WORKERS: usize = 1;

/// What both planes share.
pub(super) struct Planes {
    pub(super) gateway: Arc<Gateway>,
    pub(super) manners: Manners,
    pub(super) metrics: PrometheusHandle,
}

impl Planes {
    pub(super) fn new(
        gateway: &Arc<Gateway>,
        budget_status: u16,
        metrics: PrometheusHandle,
    ) -> Self {
        let manners = Manners { budget_status, dev: gateway.mode == Mode::Dev };
        Self { gateway: Arc::clone(gateway), manners, metrics }
    }
}

/// Binds an address before anything else is started, so that port 0 works and a taken one is told
/// at once.
pub(super) fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let listen = || -> std::io::Result<TcpListener> {
        use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket(family, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER)?;
        bind(&socket, &address)?;
        listen(&socket, BACKLOG)?;
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|source| StartError::Bind { setting, address, source })
}

/// The simulated provider, if this gateway answers from it.
pub(super) fn simulator(
    config: &Config,
    mode: Mode,
) -> Result<Option<(SocketAddr, Server)>, StartError> {
    let simulated = match mode {
        Mode::Dev => !config.dev_live,
        Mode::Serve => config.simulate_providers,
    };
    if !simulated {
        return Ok(None);
    }
    let start = || -> std::io::Result<(SocketAddr, Server)> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let server = simulator::start(listener, SimulatorOptions::default(), SIDE_WORKERS)?;
        Ok((address, server))
    };
    start().map(Some).map_err(StartError::Serve)
}

/// The data plane.
pub(super) fn data_plane(
    listener: TcpListener,
    config: &Config,
    planes: &Planes,
    tls: Option<Arc<Tls>>,
) -> Result<Server, StartError> {
    // Loaded once here, so that a missing root store stops the start and not the first call.
    let trust = Trust::of_system().map_err(StartError::Client)?;
    let connect = config.upstream_connect_timeout;
    let gateway = Arc::clone(&planes.gateway);
    let (manners, max_body_bytes) = (planes.manners, config.max_body_bytes);
    let base_paths = config.base_paths.clone();
    let document = data::document(&gateway, manners, &base_paths);
    let bodies = Bodies::new(config.clients.max_bodies_bytes, max_body_bytes);
    let door = Door::of_data(listener, config, tls)?;
    door.serve(config.workers, move |service| {
        let client = Client::new(trust.clone(), connect);
        let (gateway, bodies) = (Arc::clone(&gateway), Arc::clone(&bodies));
        let document = document.clone();
        let plane = data::Plane { gateway, manners, client, max_body_bytes, bodies, document };
        service.app_data(web::Data::new(plane));
        data::mount(service, &base_paths);
    })
}

/// The control plane.
pub(super) fn control_plane(
    listener: TcpListener,
    config: &Config,
    planes: &Planes,
    admin_token: Option<SecretString>,
    tls: Option<Arc<Tls>>,
) -> Result<Server, StartError> {
    let operator = web::Data::new(operator::Operator {
        gateway: Arc::clone(&planes.gateway),
        manners: planes.manners,
        admin_token,
        metrics: planes.metrics.clone(),
        max_body_bytes: config.max_body_bytes,
        document: operator::document(planes.gateway.mode, planes.manners),
    });
    Door::of_control(listener, config, tls)?.serve(SIDE_WORKERS, move |service| {
        service.app_data(operator.clone());
        operator::configure(service);
    })
}
