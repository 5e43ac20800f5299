//! Outbox -> relay. `session` decides, purely, what to send next and what an answer means; `driver` does the I/O.
//! `pace` is how much and how fast, `link` what the way there may be used for. `connection` is the way: `identity` the
//! node's certificate on disk, `floor` the time it is judged by. `upload` sends pictures and
//! clips, `downlink` is what comes the other way. The uplink only
//! reads the journal, moves its outbox cursor and fills its inbox.

pub mod pace;
pub mod session;
pub mod route;
pub mod link;
pub mod floor;
pub mod identity;
pub mod connection;
pub mod batch;
pub mod driver;
pub mod exchange;
pub mod upload;
pub mod downlink;

use std::time::Duration;

use serde::Deserialize;
use shared::ids::Lane;

/// Where the relay is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    /// `https://HOST:PORT`, with the certificate that `edge-node enroll` got; `http://127.0.0.1:PORT` is for a relay on
    /// the same machine.
    pub url: String,
    /// Longest wait for an answer to a small request; a large body gets more.
    #[serde(default = "default_timeout", with = "shared::config::duration")]
    pub timeout: Duration,
    /// Most bytes per second that the uplink may take; safety and alert do not wait for it.
    pub bytes_per_second: Option<u64>,
    /// Links that are paid by the byte.
    pub metered: Option<MeteredConfig>,
}

/// What may be sent while the relay is reached over a link that is paid by the byte; the rest waits for another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeteredConfig {
    /// Network interfaces, e.g. `wwan0`.
    pub interfaces: Vec<String>,
    /// Lanes that may use them.
    #[serde(default = "urgent")]
    pub lanes: Vec<Lane>,
    /// Most bytes per second there.
    pub bytes_per_second: Option<u64>,
}

fn urgent() -> Vec<Lane> {
    vec![Lane::Safety, Lane::Alert]
}

/// With less than this a batch takes longer than its answer is waited for.
const LIMIT_MIN: u64 = 256;

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

impl RelayConfig {
    /// A relay at an address, everything else as it is by default.
    pub fn at(url: String) -> Self {
        Self { url, timeout: default_timeout(), bytes_per_second: None, metered: None }
    }

    /// The key that is wrong, if any, and what was expected.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let limits = [
            ("bytes_per_second", self.bytes_per_second),
            ("metered.bytes_per_second", self.metered.as_ref().and_then(|metered| metered.bytes_per_second)),
        ];
        if let Some((key, Some(found))) = limits.into_iter().find(|(_, limit)| limit.is_some_and(|l| l < LIMIT_MIN)) {
            return Some((key, format!("expected at least {LIMIT_MIN}, found {found}")));
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&self.timeout) {
            return Some(("timeout", format!("expected 1s to 5m, found {:?}", self.timeout)));
        }
        let host = self.url.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
        let loopback = host.is_some_and(|host| host == "localhost" || host.starts_with("127."));
        let secure = self.url.strip_prefix("https://").is_some_and(|host| !host.is_empty());
        let wrong = (!loopback && !secure) || self.url.ends_with('/');
        let expected = || format!("expected https://HOST:PORT, or http://127.0.0.1:PORT, found {:?}", self.url);
        wrong.then(|| ("url", expected()))
    }
}
