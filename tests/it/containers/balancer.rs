//! deploy/haproxy.cfg.

use super::compose::{composition, config, gateways, service};
use super::{seconds, text};

/// The lines of the configuration, without comments.
fn lines() -> Vec<String> {
    let text = text("deploy/haproxy.cfg");
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// What follows these words on the one line that begins with them.
#[track_caller]
fn only(words: &str) -> String {
    let lines = lines();
    let mut found = lines.iter().filter_map(|line| line.strip_prefix(words));
    let rest = found.next().unwrap_or_else(|| panic!("no line {words}")).trim().to_owned();
    assert_eq!(found.next(), None, "{words}");
    rest
}

#[test]
fn both_planes_use_the_one_configuration_before_both_gateways() {
    let target = "/usr/local/etc/haproxy/haproxy.cfg";
    for plane in ["data-plane", "control-plane"] {
        assert_eq!(service(plane)["configs"][0]["source"], "haproxy");
        assert_eq!(service(plane)["configs"][0]["target"], target);
    }
    assert_eq!(composition()["configs"]["haproxy"]["file"], "deploy/haproxy.cfg");
    assert_eq!(only("bind "), "\":${PORT}\"");
    for gateway in gateways() {
        assert_eq!(only(&format!("server {gateway} ")), format!("\"{gateway}:${{PORT}}\""));
    }
}

#[test]
fn only_what_was_not_sent_goes_to_the_other_gateway() {
    assert_eq!(only("retry-on "), "conn-failure 503");
    assert_eq!(only("option redispatch"), "1");
    let changes = only("http-request disable-l7-retry ");
    assert_eq!(changes, "if { path_beg /runs } !METH_GET");
}

#[test]
fn nothing_is_cut_that_the_gateway_would_still_answer() {
    let config = config();
    let longest = config.activation_wait + config.admission_wait + config.upstream_timeout;
    for side in ["client", "server"] {
        let patience = seconds(&only(&format!("timeout {side} ")));
        assert!(patience > longest.as_secs(), "timeout {side}: {patience} s, {longest:?}");
    }
    for plane in ["data-plane", "control-plane"] {
        let patience = seconds(service(plane)["stop_grace_period"].as_str().unwrap());
        assert!(patience > seconds(&only("hard-stop-after ")), "{plane}");
    }
}

#[test]
fn a_gateway_that_gives_notice_is_left_in_time() {
    assert_eq!(only("option httpchk "), "GET /readyz");
    assert_eq!(only("http-check expect "), "status 200");
    let server = only("default-server ");
    let words: Vec<&str> = server.split(' ').collect();
    let after = |name: &str| words[words.iter().position(|word| *word == name).unwrap() + 1];
    let noticed = seconds(after("inter")) * after("fall").parse::<u64>().unwrap();
    assert!(words.contains(&"check"));
    assert!(noticed < config().shutdown_notice.as_secs(), "{noticed} s");
}

#[test]
fn the_log_of_the_balancer_tells_no_path() {
    let format = only("log-format ");
    // The request line, and the URI with or without its query.
    for tells in ["%r", "%HU", "%HP", "%HQ", "path", "url", "%hr", "%hs"] {
        let told = format.replace("%rc", "").contains(tells);
        assert!(!told, "a path may hold a run's token: {tells}");
    }
    assert!(!lines().iter().any(|line| line == "option httplog"));
}

#[test]
fn there_are_files_enough_for_every_connection() {
    let connections: u64 = only("maxconn ").parse().unwrap();
    for plane in ["data-plane", "control-plane"] {
        let files = service(plane)["ulimits"]["nofile"].as_u64().unwrap();
        assert!(files > 2 * connections + 100, "{plane}: {files}");
    }
}
