//! Which addresses providers may have: the operator's may be anywhere; those that others choose are
//! public ones, reached over TLS, so that nobody looks into our network through us.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;

/// Longest base URL, in bytes.
pub const MAX_BASE_URL_BYTES: usize = 2048;

/// Ends of names that stay within somebody's network.
const INNER_NAMES: [&str; 6] =
    ["localhost", "local", "internal", "localdomain", "home.arpa", "lan"];

/// Why a base URL cannot be used. It is told to whoever sent the URL, and repeats nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAddress {
    /// It is no URL of `http` or `https`, or too long.
    Malformed,
    /// It holds more than an address and a path.
    Login,
    /// Only the operator may use `http`.
    Plain,
    /// Only the operator may lead the gateway there.
    NotPublic,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "must be a URL such as https://llm.example.com/v1",
            Self::Login => "must hold no login, query or fragment; a key belongs into api_key",
            Self::Plain => "must begin with https://; only the operator may set another one",
            Self::NotPublic => {
                "must be a public address; only the operator may set one within a private network"
            }
        })
    }
}

/// The base URL in its one spelling. Unless it may be `anywhere`, it is a public one, as far as can
/// be told without asking DNS, and none of `ours`.
///
/// # Errors
/// If it may not be used.
pub fn checked(text: &str, anywhere: bool, ours: &[SocketAddr]) -> Result<String, BadAddress> {
    if text.len() > MAX_BASE_URL_BYTES || text.chars().any(char::is_control) {
        return Err(BadAddress::Malformed);
    }
    let url = Url::parse(text.trim()).map_err(|_| BadAddress::Malformed)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(BadAddress::Malformed);
    }
    let host = url.host_str().ok_or(BadAddress::Malformed)?;
    let has_login = !url.username().is_empty() || url.password().is_some();
    if has_login || url.query().is_some() || url.fragment().is_some() {
        return Err(BadAddress::Login);
    }
    if !anywhere {
        if url.scheme() != "https" {
            return Err(BadAddress::Plain);
        }
        let port = url.port_or_known_default();
        let is_ours = |ip: IpAddr| {
            let same = |ours: &SocketAddr| ours.ip() == ip && Some(ours.port()) == port;
            ours.iter().any(same)
        };
        let is_fit = match ip_of(host) {
            Some(ip) => is_public(ip) && !is_ours(ip),
            None => is_outer_name(host),
        };
        if !is_fit {
            return Err(BadAddress::NotPublic);
        }
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The address that a host of a URL is, if it is no name. Every other spelling of an address – in
/// decimal, octal or hexadecimal, with parts left out – became this one when the URL was read.
pub(super) fn ip_of(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether a name may be one of the public DNS. What it leads to is looked at when it is used.
fn is_outer_name(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let ends = |end: &&str| name.strip_suffix(*end).is_some_and(|rest| rest.ends_with('.'));
    name.contains('.') && !INNER_NAMES.iter().any(ends)
}

/// Whether an address is one of the public Internet: none of the ranges that IANA's registries of
/// special-purpose addresses name, and none that only carries such a one.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let is_special = match ip.octets() {
        // "This" network; loopback; private; link-local, where clouds keep their metadata.
        [0 | 10 | 127, ..] | [169, 254, ..] | [172, 16..=31, ..] | [192, 168, ..] => true,
        // Shared by carriers; protocols; documentation; 6to4 relays; benchmarks.
        [100, 64..=127, ..] | [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => true,
        [198, 51, 100, _] | [203, 0, 113, _] => true,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => true,
        _ => false,
    };
    !is_special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let carried = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        // NAT64 and 6to4 lead to the IPv4 address within.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => carried(high, low),
        // Protocols, Teredo and ORCHID; documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Only this much is global unicast.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_lead_us_to_public_addresses_only() {
        for refused in [
            "https://127.0.0.1/v1",
            "https://127.1",
            "https://2130706433",
            "https://0x7f000001",
            "https://0177.0.0.1",
            "https://0",
            "https://10.1.2.3:8443",
            "https://100.64.0.1",
            "https://172.31.255.1",
            "https://192.168.1.1",
            "https://169.254.169.254/latest/meta-data",
            "https://198.18.0.1",
            "https://224.0.0.1",
            "https://255.255.255.255",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:127.0.0.1]",
            "https://[::127.0.0.1]",
            "https://[64:ff9b::a00:1]",
            "https://[2002:7f00:1::]",
            "https://[2001:0:1::1]",
            "https://[fd00:ec2::254]",
            "https://[fe80::1]",
            "https://[ff02::1]",
            "https://localhost:8080",
            "https://LOCALHOST./v1",
            "https://a.localhost",
            "https://metadata.google.internal",
            "https://printer.local",
            "https://intranet",
            "https://１２７.0.0.1",
            "https://8.8.4.4:8443",
        ] {
            let ours = [SocketAddr::from(([8, 8, 4, 4], 8443))];
            assert_eq!(checked(refused, false, &ours), Err(BadAddress::NotPublic), "{refused}");
            assert!(checked(refused, true, &ours).is_ok(), "the operator may: {refused}");
        }
        for (allowed, kept) in [
            ("https://llm.example.com/v1/", "https://llm.example.com/v1"),
            ("https://LLM.example.com", "https://llm.example.com"),
            ("https://8.8.8.8:8443/a", "https://8.8.8.8:8443/a"),
            ("https://[2606:4700::1111]/v1", "https://[2606:4700::1111]/v1"),
            ("https://local.example", "https://local.example"),
        ] {
            assert_eq!(checked(allowed, false, &[]).as_deref(), Ok(kept));
        }
    }

    #[test]
    fn what_is_no_plain_address_is_nobodys() {
        for (refused, why) in [
            ("ftp://llm.example.com", BadAddress::Malformed),
            ("llm.example.com/v1", BadAddress::Malformed),
            ("https://", BadAddress::Malformed),
            ("https://a.example/\nb", BadAddress::Malformed),
            ("https://user:word@a.example", BadAddress::Login),
            ("https://a.example/?key=b", BadAddress::Login),
            ("https://a.example/#b", BadAddress::Login),
        ] {
            for anywhere in [false, true] {
                assert_eq!(checked(refused, anywhere, &[]), Err(why), "{refused}");
            }
        }
        assert_eq!(checked("http://a.example", false, &[]), Err(BadAddress::Plain));
        assert!(checked("http://a.example", true, &[]).is_ok());
        let long = format!("https://a.example/{}", "a".repeat(MAX_BASE_URL_BYTES));
        assert_eq!(checked(&long, true, &[]), Err(BadAddress::Malformed));
    }
}
