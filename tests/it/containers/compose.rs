//! docker-compose.yml.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rungate::config::{Config, SETTINGS, secret_file, secret_settings};
use serde_json::{Map, Value};

use super::{image, seconds, text};

/// What a stop may still take when the grace is over: cut calls are settled, everything is written
/// down, servers and connections are closed.
const AFTERWARDS: u64 = 60;

pub(super) fn composition() -> Value {
    serde_saphyr::from_str(&text("docker-compose.yml")).unwrap()
}

pub(super) fn service(name: &str) -> Value {
    let all = composition();
    let found = &all["services"][name];
    assert!(found.is_object(), "there is no service {name}");
    found.clone()
}

fn services() -> Map<String, Value> {
    composition()["services"].as_object().unwrap().clone()
}

/// The names of the services that run the gateway.
pub(super) fn gateways() -> Vec<String> {
    let built = services().into_iter().filter(|(_, service)| service.get("build").is_some());
    built.map(|(name, _)| name).collect()
}

/// The words of a list, or the keys of a map.
fn words(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap().into()).collect(),
        Value::Object(members) => members.keys().cloned().collect(),
        _ => BTreeSet::new(),
    }
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

pub(super) fn environment(service: &Value) -> BTreeMap<String, String> {
    let members = service["environment"].as_object().unwrap();
    members.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().into())).collect()
}

/// The settings of the gateways, with those of the image; the files of secrets hold what is right.
pub(super) fn config() -> Config {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, secret: &str| {
        let path = folder.path().join(name);
        fs::write(&path, secret).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut settings: BTreeMap<String, String> = image::settings().into_iter().collect();
    for (name, value) in environment(&service(&gateways()[0])) {
        let value = match name.strip_suffix("_FILE") {
            Some("DATABASE_URL") => written(&name, "postgres://rungate:x@postgres/rungate"),
            Some(_) => written(&name, "secret"),
            // `${NAME:-default}`
            None => match value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
                Some(asked) => asked.split_once(":-").unwrap().1.to_owned(),
                None => value,
            },
        };
        settings.insert(name, value);
    }
    Config::read(&|name| settings.get(name).cloned()).unwrap()
}

#[test]
fn there_are_two_gateways_alike() {
    let names = gateways();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(service(&names[0]), service(&names[1]));
}

#[test]
fn every_setting_is_one_of_the_gateways_and_every_secret_is_a_file() {
    let gateway = service(&gateways()[0]);
    let secrets: Vec<String> = secret_settings().collect();
    let mounted = words(&gateway["secrets"]);
    let all = composition();
    for (name, value) in environment(&gateway) {
        assert!(!secrets.contains(&name), "{name} is a secret and stands in the environment");
        match secrets.iter().find(|secret| secret_file(secret) == name) {
            Some(_) => {
                let file = value.strip_prefix("/run/secrets/").unwrap();
                assert!(mounted.contains(file), "{name}: {file} is not mounted");
                assert_eq!(all["secrets"][file]["file"], format!("secrets/{file}"));
            }
            None => {
                let known = SETTINGS.iter().any(|setting| setting.name == name);
                assert!(known, "{name} is no setting");
            }
        }
    }
    let config = config();
    assert!(config.database_url.is_some() && config.admin_token.is_some());
    assert!(config.providers.iter().any(|provider| provider.api_key.is_some()));
    let postgres = environment(&service("postgres"));
    assert!(!postgres.contains_key("POSTGRES_PASSWORD"));
    assert_eq!(postgres["POSTGRES_PASSWORD_FILE"], "/run/secrets/postgres_password");
}

#[test]
fn the_comments_make_every_secret_and_the_database_that_it_opens() {
    let file = text("docker-compose.yml");
    let comments: Vec<&str> = file.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
    for secret in words(&composition()["secrets"]) {
        let made = comments.iter().any(|line| line.contains(&format!("> {secret}")));
        assert!(made, "no command makes secrets/{secret}");
    }
    let postgres = environment(&service("postgres"));
    let (user, name) = (&postgres["POSTGRES_USER"], &postgres["POSTGRES_DB"]);
    let url = format!("postgres://{user}:$(cat postgres_password)@postgres/{name}\"");
    assert!(comments.iter().any(|line| line.contains(&url)), "no command writes {url}");
    let ignored = |list: &str| text(list).lines().any(|line| line == "/secrets");
    assert!(ignored(".gitignore"), "the secrets would be committed");
}

#[test]
fn every_container_has_nothing_that_it_does_not_need() {
    for (name, service) in services() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(words(&service["cap_drop"]), set(["ALL"]), "{name}");
        assert_eq!(words(&service["security_opt"]), set(["no-new-privileges:true"]), "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        for more in ["cap_add", "privileged", "devices", "network_mode", "pid", "ipc"] {
            assert_eq!(service.get(more), None, "{name}");
        }
        let mounts = service.get("volumes").map(words).unwrap_or_default();
        assert!(mounts.iter().all(|mount| mount.starts_with("ledger:")), "{name}: {mounts:?}");
        let is_ours = service.get("build").is_some();
        let image = service["image"].as_str().unwrap();
        assert!(is_ours || image.contains(':') && !image.ends_with(":latest"), "{name}: {image}");
        // The gateway's user and health check are the image's.
        assert!(is_ours || service.get("healthcheck").is_some(), "{name}");
    }
    assert_eq!(service("postgres")["user"], "999:999");
}

#[test]
fn a_sandbox_reaches_the_data_plane_and_nothing_else() {
    let on = |network: &str| -> BTreeSet<String> {
        let attached =
            services().into_iter().filter(|(_, s)| words(&s["networks"]).contains(network));
        attached.map(|(name, _)| name).collect()
    };
    let mut with_gateways: BTreeSet<String> = gateways().into_iter().collect();
    assert_eq!(on("sandboxes"), set(["data-plane"]));
    assert_eq!(on("edge"), set(["data-plane"]));
    assert_eq!(on("operators"), set(["control-plane"]));
    assert_eq!(on("providers"), with_gateways);
    with_gateways.insert("postgres".into());
    assert_eq!(on("database"), with_gateways);
    assert!(!on("gateways").contains("postgres"));
    let all = composition();
    for network in ["sandboxes", "gateways", "database"] {
        assert_eq!(all["networks"][network]["internal"], true, "{network}");
    }
}

#[test]
fn the_ports_are_those_of_the_two_planes() {
    let config = config();
    let (data, admin) = (config.listen_addr.port(), config.admin_listen_addr.port());
    for (name, service) in services() {
        let published = service.get("ports").map(words).unwrap_or_default();
        let expected = match name.as_str() {
            "data-plane" => set([&format!("{data}:{data}")]),
            // For this machine alone.
            "control-plane" => set([&format!("127.0.0.1:{admin}:{admin}")]),
            _ => BTreeSet::new(),
        };
        assert_eq!(published, expected, "{name}");
    }
    assert_eq!(environment(&service("data-plane"))["PORT"], data.to_string());
    assert_eq!(environment(&service("control-plane"))["PORT"], admin.to_string());
}

#[test]
fn a_gateway_is_not_killed_before_its_grace_is_over() {
    let config = config();
    assert!(!config.shutdown_notice.is_zero(), "balancers must notice");
    let grace = config.shutdown_notice.as_secs() + config.shutdown_grace.as_secs();
    for name in gateways() {
        let patience = seconds(service(&name)["stop_grace_period"].as_str().unwrap());
        assert!(patience >= grace + AFTERWARDS, "{name}: {patience} s for {grace} s");
    }
}

#[test]
fn nothing_is_started_before_what_it_needs_is_healthy() {
    let waits = |name: &str, other: &str| {
        assert_eq!(service(name)["depends_on"][other]["condition"], "service_healthy", "{name}");
    };
    for gateway in gateways() {
        waits(&gateway, "postgres");
        waits("data-plane", &gateway);
        waits("control-plane", &gateway);
    }
}
