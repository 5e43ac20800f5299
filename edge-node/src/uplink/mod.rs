//! Outbox -> relay. `session` decides, purely, what to send next and what an answer means; `driver` does the I/O.
//! The uplink only reads the journal and moves its outbox cursor.

pub mod session;
pub mod driver;

use std::time::Duration;

use serde::Deserialize;

/// Where the relay is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    /// `http://127.0.0.1:PORT`: plain HTTP on loopback only, until enrolment brings TLS.
    pub url: String,
    /// Longest wait for an answer.
    #[serde(default = "default_timeout", with = "shared::config::duration")]
    pub timeout: Duration,
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

impl RelayConfig {
    /// What is wrong with the address, if anything.
    pub fn problem(&self) -> Option<String> {
        let host = self.url.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
        let loopback = host.is_some_and(|host| host == "localhost" || host.starts_with("127."));
        (!loopback).then(|| format!("expected http://127.0.0.1:PORT until enrolment brings TLS, found {:?}", self.url))
    }
}
