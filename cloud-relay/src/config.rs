//! The relay's typed configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use shared::config::{ConfigError, parse};
use shared::ids::Name;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of the read API, loopback only; of nodes over plain HTTP, too, where there is no `fleet`.
    pub listen: SocketAddr,
    /// Tenant of what an operator asks and of new tokens, unless another is named. A node's own is in its certificate.
    pub tenant: Name,
    /// See `tenant`.
    pub site: Name,
    /// Nodes with certificates; without it only nodes on this machine are served.
    pub fleet: Option<FleetConfig>,
    /// Postgres.
    pub postgres: Postgres,
    /// Kafka or Redpanda.
    pub kafka: Kafka,
    /// How long things are kept.
    #[serde(default)]
    pub retention: Retention,
    /// Pictures and clips of nodes; without it they stay there.
    pub media: Option<MediaConfig>,
}

/// Where nodes' pictures and clips go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaConfig {
    /// Folder; relays beside each other share it.
    pub folder: PathBuf,
    /// Largest file, MiB.
    #[serde(default = "largest_mib")]
    pub largest_mib: u64,
}

/// How long things are kept.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Events and the batches that they came in, from their receipt on; whole days (UTC) go.
    #[serde(with = "shared::config::duration")]
    pub events: Duration,
    /// Kafka records, of topics that the relay makes.
    #[serde(with = "shared::config::duration")]
    pub topics: Duration,
    /// Pictures and clips.
    #[serde(with = "shared::config::duration")]
    pub media: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let week = Duration::from_secs(7 * 86_400);
        Self { events: week, topics: Duration::from_secs(86_400), media: week }
    }
}

/// The side of the relay that nodes reach: HTTPS with mutual TLS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetConfig {
    /// Address for nodes.
    pub listen: SocketAddr,
    /// Host names and addresses by which nodes reach it: they stand in its certificate.
    pub names: Vec<String>,
    /// Folder of the relay's own certificate authorities. Back it up apart from Postgres.
    pub authority: PathBuf,
    /// How long a node's certificate lives; it is renewed when a third of that is left.
    #[serde(default = "ninety_days", with = "shared::config::duration")]
    pub certificate_life: Duration,
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

fn ninety_days() -> Duration {
    Duration::from_secs(90 * 86_400)
}

fn largest_mib() -> u64 {
    256
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
            let text =
                format!("expected a loopback address: the read API has no accounts yet, found {}", config.listen);
            return Err(ConfigError::new(&file, "listen", text));
        }
        if !(1..=1000).contains(&config.kafka.partitions) {
            return Err(ConfigError::new(&file, "kafka.partitions", "expected 1 to 1000"));
        }
        let Retention { events, topics, media } = config.retention;
        for (key, kept) in [("events", events), ("topics", topics), ("media", media)] {
            if !(Duration::from_secs(3600)..=Duration::from_secs(3660 * 86_400)).contains(&kept) {
                return Err(ConfigError::new(
                    &file,
                    format!("retention.{key}"),
                    format!("expected 1h to 87840h, found {kept:?}"),
                ));
            }
        }
        if config.media.as_ref().is_some_and(|media| !(1..=1024).contains(&media.largest_mib)) {
            return Err(ConfigError::new(&file, "media.largest_mib", "expected 1 to 1024"));
        }
        if let Some((key, expected)) = config.fleet.as_ref().and_then(FleetConfig::problem) {
            return Err(ConfigError::new(&file, format!("fleet.{key}"), expected));
        }
        Ok(config)
    }

    /// The fleet's part, for what needs it.
    ///
    /// # Errors
    /// [`ConfigError`] where there is none.
    pub fn fleet(&self, path: &Path) -> Result<&FleetConfig, ConfigError> {
        let file = path.display().to_string();
        self.fleet.as_ref().ok_or_else(|| ConfigError::new(&file, "fleet", "expected this section, found none"))
    }
}

impl FleetConfig {
    /// The key that is wrong, and what was expected.
    fn problem(&self) -> Option<(&'static str, String)> {
        if self.names.is_empty() {
            return Some(("names", "expected at least one name or address, found none".into()));
        }
        let life = self.certificate_life;
        let fits = (Duration::from_secs(1)..=Duration::from_secs(825 * 86_400)).contains(&life);
        (!fits).then(|| ("certificate_life", format!("expected 1s to 19800h, found {life:?}")))
    }
}
