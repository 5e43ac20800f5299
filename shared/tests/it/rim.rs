//! Names, times, durations, configuration and JSON at the rim.

use std::time::Duration;

use serde::Deserialize;
use shared::config::{duration, parse};
use shared::event::{Custom, Payload};
use shared::ids::Name;
use shared::record::Record;
use shared::units::UtcMicros;

#[track_caller]
fn check_time(text: &str, expected: Option<&str>) {
    let shown = UtcMicros::parse_rfc3339(text).ok().map(|t| t.to_string());
    assert_eq!(shown.as_deref(), expected, "{text}");
}

#[test]
fn times_read_and_print_as_rfc_3339() {
    check_time("2026-01-31T12:00:00Z", Some("2026-01-31T12:00:00.000000Z"));
    check_time("2024-02-29T23:59:59.1234567+02:00", Some("2024-02-29T21:59:59.123456Z"));
    check_time("1969-12-31T23:59:59.5Z", Some("1969-12-31T23:59:59.500000Z"));
    check_time("2100-02-29T00:00:00Z", None);
    check_time("2026-13-01T00:00:00Z", None);
    check_time("2026-01-31T12:00:00", None);
    check_time("yesterday", None);
    check_time("2026-01-31T12:00:00.Z", None);
    check_time("2026-01-31T12:00:0é", None);
}

#[test]
fn names_are_safe_in_paths_and_keys() {
    assert!("gate-1".parse::<Name>().is_ok());
    for bad in ["", "..", "a/b", "a b", "é", &"x".repeat(65)] {
        assert!(bad.parse::<Name>().is_err(), "{bad:?}");
    }
}

#[test]
fn durations_have_units() {
    assert_eq!(duration::parse("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(duration::parse("48h"), Ok(Duration::from_secs(172_800)));
    for bad in ["", "5", "s", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h"] {
        assert!(duration::parse(bad).is_err(), "{bad:?}");
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Site {
    #[serde(rename = "camera")]
    _camera: Vec<Camera>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Camera {
    #[serde(rename = "width")]
    _width: u32,
}

#[track_caller]
fn check_config(text: &str, key: &str, words: &str) {
    let error = parse::<Site>("site.toml", text).unwrap_err();
    assert!(error.key.starts_with(key), "{error}");
    assert!(error.to_string().starts_with("site.toml: ") && error.to_string().contains(words), "{error}");
}

#[test]
fn a_configuration_error_names_file_key_path_and_expectation() {
    check_config("[[camera]]\nwidth = 1\n[[camera]]\nwidth = \"wide\"", "camera[1].width", "u32");
    check_config("[[camera]]\nwidht = 1", "camera[0].widht", "expected `width`");
    check_config("[[camera]]", "camera[0]", "missing field `width`");
    check_config("[[camera]]\nwidth = ", "line 2", "");
}

#[test]
fn an_event_from_outside_keeps_its_type_and_json() {
    let payload = Payload::Custom(Custom { event_type: "custom.door".into(), json: r#"{"open":true}"#.into() });
    let decoded = Record::encode(crate::golden::event(payload)).unwrap().decode().unwrap().payload.unwrap();
    assert_eq!(decoded.event_type(), "custom.door");
    assert_eq!(decoded.to_json()["open"], true);
}
