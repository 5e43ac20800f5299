//! Binaries of two releases together: a newer node with an older relay and the reverse, then the older one updated in
//! place. What either acknowledged is central, once, whoever is the older.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::demo::count;
use crate::servers::Servers;
use crate::site::{Plan, Ports, Site};

/// Until what was posted is central: the node's longest wait after a failure, and a batch.
const PATIENCE: Duration = Duration::from_secs(60);
/// Readings posted at a time.
const READINGS: u64 = 200;

/// Runs both pairs with the binaries of another release in `other`; gives an object for each.
///
/// # Errors
/// When one does not run, or something acknowledged is not central in time.
pub async fn run(other: &Path) -> anyhow::Result<Vec<Value>> {
    let servers = Servers::start()?;
    let mut found = Vec::new();
    for older in ["cloud-relay", "edge-node"] {
        let place = servers.addresses().place(&format!("skew_{}", older.replace('-', "_"))).await?;
        let site = Site::prepare(place, Ports::free()?, &Plan::default(), None)?;
        found.push(pair(site, older, other).await.with_context(|| format!("run with the other release's {older}"))?);
    }
    servers.stop()?;
    Ok(found)
}

async fn pair(mut site: Site, older: &str, other: &Path) -> anyhow::Result<Value> {
    site.run_instead(older, Some(other.join(older)));
    let mut posted = std::collections::HashSet::new();
    site.start_relay()?;
    site.start_node()?;
    // As they are, after both were killed, and with the older one updated in place.
    for turn in 0..3 {
        if turn == 2 {
            site.run_instead(older, None);
        }
        if turn > 0 {
            drop((site.node.take(), site.relay.take()));
            site.start_node()?;
            posted.extend(site.read_many(READINGS).await?);
            site.start_relay()?;
        }
        posted.extend(site.read_many(READINGS).await?);
        site.until_central(&posted, PATIENCE).await?;
    }
    // An answer of both kinds: the node goes on, and the centre reaches it.
    site.operate(&["verify", "--node", "gate-1"]).context("prove the history")?;
    let report = count(&site).await?;
    anyhow::ensure!((report.lost, report.duplicated) == (0, 0), "keep every event once: {report:?}");
    Ok(json!({ "older": older, "acknowledged": posted.len(), "lost": report.lost, "duplicated": report.duplicated }))
}
