//! What the relay's own certificate and configuration promise.

use std::time::{Duration, SystemTime};

use cloud_relay::config::Config;
use cloud_relay::fleet::authority::Authorities;
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn the_relays_certificate_outlives_every_nodes() {
    let folder = tempfile::TempDir::new().unwrap();
    let now = cloud_relay::clock::now();
    let authorities = Authorities::open(&folder.path().join("authority"), now, true).unwrap();
    for node_life in [DAY, 365 * DAY] {
        let own = authorities.own(&["relay.example".to_owned()], now, node_life).unwrap();
        let (_, leaf) = X509Certificate::from_der(&own.chain[0]).unwrap();
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(leaf.validity().not_after.timestamp().cast_unsigned());
        // A node that was enrolled just now judges the relay by its own certificate's end at the latest.
        assert!(until > now + node_life, "{node_life:?}");
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_key_and_expectation() {
    let folder = tempfile::TempDir::new().unwrap();
    let head = "listen = \"127.0.0.1:0\"\ntenant = \"t\"\nsite = \"s\"\n[postgres]\nurl = \"postgres://x\"\n\
        [kafka]\nbrokers = \"x\"\ntopic_prefix = \"\"\npartitions = 1\n";
    for (text, words) in [
        ("[retention]\nevents = \"1s\"\n", ["retention.events", "1h to 87840h"]),
        ("[retention]\ntopics = \"0s\"\n", ["retention.topics", "1h to 87840h"]),
        ("[retention]\nevent = \"1h\"\n", ["event", "unknown field"]),
        ("[fleet]\nlisten = \"127.0.0.1:0\"\nnames = []\nauthority = \"a\"\n", ["fleet.names", "expected"]),
    ] {
        let file = folder.path().join("relay.toml");
        std::fs::write(&file, format!("{head}{text}")).unwrap();
        let error = Config::read(&file).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "expected {word:?} in: {error}");
        }
    }
    std::fs::write(folder.path().join("relay.toml"), head).unwrap();
    Config::read(&folder.path().join("relay.toml")).unwrap();
}
