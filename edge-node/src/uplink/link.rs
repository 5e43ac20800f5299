//! The link that the relay is reached over: whether it is there, and what it may be used for.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use shared::ids::Lane;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::{RelayConfig, route};

/// Longest probe, and longest search for an address.
const PROBE: Duration = Duration::from_secs(3);

/// What a link may be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Lanes that may use it.
    pub lanes: Vec<Lane>,
    /// Most bytes per second.
    pub bytes_per_second: Option<u64>,
    /// Whether it is paid by the byte.
    pub metered: bool,
}

/// Host and port of a relay's URL.
fn address(url: &str) -> anyhow::Result<(String, u16)> {
    let url = reqwest::Url::parse(url).context("read relay.url")?;
    let host = url.host_str().context("read relay.url: it names no host")?.trim_matches(['[', ']']);
    Ok((host.to_owned(), url.port_or_known_default().context("read relay.url: it names no port")?))
}

/// Whether somebody listens at the relay's address: a connection, and nothing more.
pub async fn probe(url: &str) -> bool {
    let Ok((host, port)) = address(url) else { return false };
    matches!(timeout(PROBE, TcpStream::connect((host.as_str(), port))).await, Ok(Ok(_)))
}

/// What the link to the relay may be used for now. Where the interface cannot be told, as if it were not metered.
pub async fn policy(config: &RelayConfig) -> Policy {
    let open = Policy { lanes: Lane::ALL.to_vec(), bytes_per_second: config.bytes_per_second, metered: false };
    let Some(metered) = &config.metered else { return open };
    match interface(&config.url).await {
        Some(name) if metered.interfaces.contains(&name) => {
            let limits = [metered.bytes_per_second, config.bytes_per_second];
            Policy { lanes: metered.lanes.clone(), bytes_per_second: limits.into_iter().flatten().min(), metered: true }
        }
        _ => open,
    }
}

async fn interface(url: &str) -> Option<String> {
    let (host, port) = address(url).ok()?;
    let found = timeout(PROBE, lookup_host((host.as_str(), port))).await.ok()?.ok()?;
    let to: IpAddr = found.into_iter().next()?.ip();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    route::interface(to, &read("/proc/net/route"), &read("/proc/net/ipv6_route"))
}
