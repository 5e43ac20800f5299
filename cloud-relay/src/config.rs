//! The relay's typed configuration.

use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;
use shared::config::{ConfigError, parse};
use shared::ids::Name;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of ingest and query. Loopback only, until enrolment brings TLS.
    pub listen: SocketAddr,
    /// Tenant and site of the nodes that reach this address; from the certificate once nodes enrol.
    pub tenant: Name,
    /// See `tenant`.
    pub site: Name,
    /// Postgres.
    pub postgres: Postgres,
    /// Kafka or Redpanda.
    pub kafka: Kafka,
}

/// Postgres.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Connection string, `host=… user=… dbname=…`. Never logged.
    pub url: String,
}

/// Kafka or Redpanda.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Bootstrap brokers, `host:port` separated by commas.
    pub brokers: String,
    /// Put before every topic name.
    #[serde(default)]
    pub topic_prefix: String,
    /// Partitions of a topic; fixed when it is made.
    #[serde(default = "six")]
    pub partitions: i32,
}

fn six() -> i32 {
    6
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] naming file and key path.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::new(&file, "file", e.to_string()))?;
        let config: Self = parse(&file, &text)?;
        if !config.listen.ip().is_loopback() {
            let text = format!("expected a loopback address until enrolment brings TLS, found {}", config.listen);
            return Err(ConfigError::new(&file, "listen", text));
        }
        if !(1..=1000).contains(&config.kafka.partitions) {
            return Err(ConfigError::new(&file, "kafka.partitions", "expected 1 to 1000"));
        }
        Ok(config)
    }
}
