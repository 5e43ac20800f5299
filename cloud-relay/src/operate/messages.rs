//! Messages to nodes: sent by a named person, and what became of each on its way.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use shared::downlink::Content;
use shared::ids::Name;

use crate::clock;
use crate::config::{Config, FleetConfig};
use crate::database;
use crate::downlink;
use crate::fleet::authority::Authorities;

/// Signs a message for a node and prints its sequence number.
///
/// # Errors
/// When Postgres fails, the authorities cannot be read, or no such node is enrolled.
pub async fn send(
    config: &Config,
    fleet: &FleetConfig,
    node: &Name,
    (content, by, valid): (&Content, &str, Duration),
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut client = database::connect(&config.postgres).await?;
    database::migrate(&mut client).await?;
    let authorities = Authorities::open(&fleet.authority, clock::now(), false).context("open the authorities")?;
    let seq = downlink::send(&mut client, &authorities, (&config.tenant, node), (content, by, valid)).await?;
    Ok(writeln!(out, "{seq}")?)
}

/// Prints the newest messages to a node, newest first.
///
/// # Errors
/// When Postgres fails.
pub async fn list(config: &Config, node: &Name, out: &mut impl Write) -> anyhow::Result<()> {
    let client = database::connect(&config.postgres).await?;
    let time = |column: &str| format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
    let expires = time("to_timestamp(expires_us / 1000000.0)");
    let sql = format!(
        "SELECT seq, {}, created_by, {expires}, {}, content, expires_us < (extract(epoch FROM now()) * 1000000)::bigint
         FROM downlink WHERE tenant = $1 AND node = $2 ORDER BY seq DESC LIMIT 100",
        time("created_at"),
        time("kept_at")
    );
    for row in client.query(&sql, &[&config.tenant.as_str(), &node.as_str()]).await.context("list messages")? {
        let (seq, made, by): (i64, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let (expires, kept, content): (&str, Option<&str>, &str) = (row.get(3), row.get(4), row.get(5));
        let state = match kept {
            Some(kept) => format!("kept by the node at {kept}"),
            None if row.get(6) => format!("expired at {expires}, never kept"),
            None => format!("waits until {expires}"),
        };
        writeln!(out, "{seq} {made} by {by}: {content}: {state}")?;
    }
    Ok(())
}
