//! Listing nodes, adopting one of two histories of a node, and everything about their certificates.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use shared::identity::{Identity, Token};
use shared::ids::{Digest, Name};
use uuid::Uuid;

use crate::clock;
use crate::config::{Config, FleetConfig};
use crate::database::{self, Pool};
use crate::fleet::authority::{Authorities, fingerprint};
use crate::fleet::register::{Register, any_certificate, lock_node, ms, refuse_before};

/// Prints every node: last heard, events received, gaps, and histories that wait for an operator.
///
/// # Errors
/// When Postgres fails.
pub async fn list(config: &Config, out: &mut impl Write) -> anyhow::Result<()> {
    let client = database::connect(&config.postgres).await?;
    let sql =
        "SELECT node, to_char(max(updated_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), sum(seq)::bigint,
            (SELECT count(*) FROM gap g WHERE g.tenant = h.tenant AND g.node = h.node),
            (SELECT count(*) FROM fork f WHERE f.tenant = h.tenant AND f.node = h.node AND adopted_at IS NULL)
        FROM lane_head h WHERE tenant = $1 GROUP BY tenant, node ORDER BY node";
    writeln!(out, "{:<24} {:<22} {:>12} {:>6} {:>8}", "node", "last heard", "items", "gaps", "refused")?;
    for row in client.query(sql, &[&config.tenant.as_str()]).await.context("list nodes")? {
        let (node, heard): (&str, &str) = (row.get(0), row.get(1));
        let (items, gaps, refused): (i64, i64, i64) = (row.get(2), row.get(3), row.get(4));
        writeln!(out, "{node:<24} {heard:<22} {items:>12} {gaps:>6} {refused:>8}")?;
    }
    let sql = "SELECT node, count(*), to_char(max(not_after) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
        FROM node_certificate WHERE tenant = $1 AND revoked_at IS NULL GROUP BY node ORDER BY node";
    for row in client.query(sql, &[&config.tenant.as_str()]).await.context("list certificates")? {
        let (node, until): (&str, &str) = (row.get(0), row.get(2));
        writeln!(out, "certificate: {node} until {until}")?;
    }
    let sql = "SELECT node, public_key FROM renewal_request WHERE tenant = $1 AND approved_at IS NULL ORDER BY node";
    for row in client.query(sql, &[&config.tenant.as_str()]).await.context("list applications")? {
        let (node, key) = (row.get::<_, &str>(0), fingerprint(row.get(1)));
        writeln!(out, "expired: {node} asks for a certificate, key {key}: `cloud-relay node approve` renews it")?;
    }
    let sql =
        "SELECT node, lane, epoch, parent_epoch, parent_seq, why FROM fork WHERE tenant = $1 AND adopted_at IS NULL
        ORDER BY node, last_seen, lane";
    for row in client.query(sql, &[&config.tenant.as_str()]).await.context("list refused histories")? {
        let (node, lane, why): (&str, &str, &str) = (row.get(0), row.get(1), row.get(5));
        let (epoch, parent, seq): (Uuid, Uuid, i64) = (row.get(2), row.get(3), row.get(4));
        writeln!(out, "refused: {node} {lane} epoch {} behind {} at {seq}: {why}", epoch.simple(), parent.simple())?;
    }
    Ok(())
}

/// Adopts the refused histories of a node, or those of some epochs: they go on with its history, and what went on
/// instead in those lanes is closed.
///
/// # Errors
/// When Postgres fails, or nothing of the node waits for it.
pub async fn adopt(
    config: &Config,
    node: &Name,
    epochs: &[Uuid],
    by: &str,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut client = database::connect(&config.postgres).await?;
    let tx = client.transaction().await.context("begin")?;
    let sql = "UPDATE fork SET adopted_at = now(), adopted_by = $4 WHERE tenant = $1 AND node = $2
        AND adopted_at IS NULL AND (cardinality($3::uuid[]) = 0 OR epoch = ANY($3)) RETURNING lane, epoch";
    let adopted = tx.query(sql, &[&config.tenant.as_str(), &node.as_str(), &epochs, &by]).await.context("adopt")?;
    anyhow::ensure!(!adopted.is_empty(), "adopt {node}: no refused history of it waits; see `cloud-relay node list`");
    for row in &adopted {
        let (lane, epoch): (&str, Uuid) = (row.get(0), row.get(1));
        let close =
            "UPDATE lane_head SET closed_at = now() WHERE tenant = $1 AND node = $2 AND lane = $3 AND epoch <> $4
            AND closed_at IS NULL";
        tx.execute(close, &[&config.tenant.as_str(), &node.as_str(), &lane, &epoch]).await.context("close")?;
        let open = "UPDATE lane_head SET closed_at = NULL WHERE tenant = $1 AND node = $2 AND lane = $3 AND epoch = $4";
        tx.execute(open, &[&config.tenant.as_str(), &node.as_str(), &lane, &epoch]).await.context("open")?;
        writeln!(out, "adopted: {node} {lane} epoch {}", epoch.simple())?;
    }
    tx.commit().await.context("commit the adoption")
}

/// Makes a token for a node and prints it, once: only its hash is kept.
///
/// # Errors
/// When Postgres fails or the authorities cannot be read.
pub async fn create_token(
    config: &Config,
    fleet: &FleetConfig,
    identity: &Identity,
    valid: Duration,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut client = database::connect(&config.postgres).await?;
    database::migrate(&mut client).await?;
    let first = !any_certificate(&client).await?;
    let authorities = Authorities::open(&fleet.authority, clock::now(), first).context("open the authorities")?;
    let (_, authority) = authorities.fingerprints().last().context("find an authority")?;
    let mut secret = Digest::default();
    let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut secret.0);
    filled.ok().context("draw a secret")?;
    let register = Register { pool: Arc::new(Pool::new(config.postgres.clone())) };
    let hash = fingerprint(secret.to_string().as_bytes());
    register.add_token(identity, &hash.0, valid).await?;
    Ok(writeln!(out, "{}", Token { secret, authority })?)
}

/// Revokes every certificate of a node, and every token that waits for it. One that the register does not know, since
/// Postgres was restored, is refused from now on, too.
///
/// # Errors
/// When Postgres fails.
pub async fn revoke(config: &Config, node: &Name, by: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let mut client = database::connect(&config.postgres).await?;
    let tx = client.transaction().await.context("begin")?;
    let (tenant, node) = (config.tenant.as_str(), node.as_str());
    lock_node(&tx, tenant, node).await?;
    let of: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&tenant, &node];
    let sql = "UPDATE enrol_token SET expires_at = now() WHERE tenant = $1 AND node = $2 AND expires_at > now()";
    let tokens = tx.execute(sql, &of).await.context("end tokens")?;
    tx.execute("DELETE FROM renewal_request WHERE tenant = $1 AND node = $2", &of).await.context("end applications")?;
    let sql = "UPDATE node_certificate SET revoked_at = now(), revoked_by = $3
        WHERE tenant = $1 AND node = $2 AND revoked_at IS NULL";
    let revoked = tx.execute(sql, &[&tenant, &node, &by]).await.context("revoke certificates")?;
    // Serial numbers carry milliseconds: one of this very millisecond goes, too.
    refuse_before(&tx, tenant, node, ms(clock::now()) + 1).await?;
    tx.commit().await.context("commit the revocation")?;
    writeln!(out, "revoked: {node}, {revoked} certificates and {tokens} tokens")?;
    if revoked + tokens == 0 {
        writeln!(out, "nothing of {node} is known here; what was signed for it before now is refused all the same")?;
    }
    Ok(())
}

/// Approves a node's application for a certificate after the old one expired; `key` is how its fingerprint begins.
///
/// # Errors
/// When Postgres fails, the node has none that waits, or several wait and `key` does not name one.
pub async fn approve(
    config: &Config,
    node: &Name,
    key: Option<&str>,
    by: &str,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut client = database::connect(&config.postgres).await?;
    let tx = client.transaction().await.context("begin")?;
    let (tenant, node) = (config.tenant.as_str(), node.as_str());
    lock_node(&tx, tenant, node).await?;
    let sql = "SELECT public_key FROM renewal_request WHERE tenant = $1 AND node = $2 AND approved_at IS NULL";
    let waiting = tx.query(sql, &[&tenant, &node]).await.context("list applications")?;
    anyhow::ensure!(!waiting.is_empty(), "approve {node}: it has not asked; see `cloud-relay node list`");
    let begins = |found: &&[u8]| fingerprint(found).to_string().starts_with(key.unwrap_or_default());
    let keys: Vec<&[u8]> = waiting.iter().map(|row| row.get(0)).filter(begins).collect();
    let [chosen] = keys.as_slice() else {
        anyhow::bail!(
            "approve {node}: {} keys fit; name one with --key, as `cloud-relay node list` prints it",
            keys.len()
        )
    };
    let sql = "UPDATE renewal_request SET approved_at = now(), approved_by = $4
        WHERE tenant = $1 AND node = $2 AND public_key = $3";
    tx.execute(sql, &[&tenant, &node, chosen, &by]).await.context("approve")?;
    tx.commit().await.context("commit the approval")?;
    Ok(writeln!(out, "approved: {node}, key {}", fingerprint(chosen))?)
}

/// What to do with the authorities.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// Nothing.
    Show,
    /// Add one that signs from now on.
    Rotate,
    /// Trust this one no longer.
    Retire(u32),
}

/// Changes the authorities, and prints number and fingerprint of each.
///
/// # Errors
/// A folder that cannot be used.
pub fn authorities(folder: &Path, change: Change, out: &mut impl Write) -> anyhow::Result<()> {
    let authorities = match change {
        Change::Show => Authorities::open(folder, clock::now(), false),
        Change::Rotate => Authorities::rotate(folder, clock::now()),
        Change::Retire(number) => Authorities::retire(folder, number),
    };
    for (number, fingerprint) in authorities?.fingerprints() {
        writeln!(out, "authority {number}: SHA-256 {fingerprint}")?;
    }
    Ok(())
}
