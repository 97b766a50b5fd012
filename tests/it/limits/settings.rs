//! What the settings of pace may say.

use rungate::config::{Config, RateLimits};

fn read(name: &str, value: &str) -> Result<RateLimits, String> {
    let read = Config::read(&|asked| (asked == name).then(|| value.to_owned()));
    read.map(|config| config.rates).map_err(|errors| {
        let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
        said.join("\n")
    })
}

#[test]
fn a_share_is_one_or_a_part_of_one() {
    for (text, gateways) in [("1", 1), ("1/1", 1), ("1/3", 3), (" 1 / 4096 ", 4096)] {
        assert_eq!(read("RATE_LIMIT_SHARE", text).unwrap().gateways.get(), gateways, "{text}");
    }
    for text in ["3", "0", "2/3", "1/0", "1/4097", "0.5", "1/3/3", "1/-3", "third", "/3"] {
        let says = format!(
            "RATE_LIMIT_SHARE: {text:?} is not `1` or one of up to 4096 parts such as `1/3`"
        );
        assert_eq!(read("RATE_LIMIT_SHARE", text), Err(says));
    }
}

#[test]
fn a_limit_of_an_endpoint_names_one_that_there_is_and_a_count() {
    let name = "ENDPOINT_RATE_LIMITS";
    let two = read(name, "/v1/messages/count_tokens=60 , /api/inference = 1000000").unwrap();
    assert_eq!(two.endpoint("/v1/messages/count_tokens"), Some((0, 60)));
    assert_eq!(two.endpoint("/inference/v1/messages/count_tokens"), Some((0, 60)));
    assert_eq!(two.endpoint("/api/inference"), Some((1, 1_000_000)));
    assert_eq!(two.endpoint("/v1/messages"), None);
    assert_eq!(RateLimits::default().endpoint("/v1/messages"), None);
    for (text, problem) in [
        ("60", "\"60\" is not of the form /v1/messages=60"),
        ("/v1/messages=60,", "\"\" is not of the form /v1/messages=60"),
        ("/v1/messages=0", "\"0\" is not a whole number of requests a minute from 1 to 1000000"),
        ("/v1/messages=-1", "\"-1\" is not a whole number of requests a minute from 1 to 1000000"),
        (
            "/v1/messages=1e3",
            "\"1e3\" is not a whole number of requests a minute from 1 to 1000000",
        ),
        ("/v1/messages=5,/v1/messages=6", "/v1/messages has two limits"),
    ] {
        assert_eq!(read(name, text), Err(format!("{name}: {problem}")));
    }
    for unknown in ["/v1/models", "/v1", "messages", "/V1/messages", ""] {
        let said = read(name, &format!("{unknown}=60")).unwrap_err();
        let begins = format!("{name}: {unknown:?} is not one of /v1/chat/completions, ");
        assert!(said.starts_with(&begins), "{said}");
    }
}
