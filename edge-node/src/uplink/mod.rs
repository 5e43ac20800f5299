//! Outbox -> relay. `session` decides, purely, what to send next and what an answer means; `driver` does the I/O.
//! `connection` is the way there: `identity` the node's certificate on disk, `floor` the time it is judged by. The
//! uplink only reads the journal and moves its outbox cursor.

pub mod session;
pub mod floor;
pub mod identity;
pub mod connection;
pub mod batch;
pub mod driver;

use std::time::Duration;

use serde::Deserialize;

/// Where the relay is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    /// `https://HOST:PORT`, with the certificate that `edge-node enroll` got; `http://127.0.0.1:PORT` is for a relay on
    /// the same machine.
    pub url: String,
    /// Longest wait for an answer.
    #[serde(default = "default_timeout", with = "shared::config::duration")]
    pub timeout: Duration,
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

impl RelayConfig {
    /// A relay at an address, everything else as it is by default.
    pub fn at(url: String) -> Self {
        Self { url, timeout: default_timeout() }
    }

    /// What is wrong with the address, if anything.
    pub fn problem(&self) -> Option<String> {
        let host = self.url.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
        let loopback = host.is_some_and(|host| host == "localhost" || host.starts_with("127."));
        let secure = self.url.strip_prefix("https://").is_some_and(|host| !host.is_empty());
        let wrong = (!loopback && !secure) || self.url.ends_with('/');
        wrong.then(|| format!("expected https://HOST:PORT, or http://127.0.0.1:PORT, found {:?}", self.url))
    }
}
