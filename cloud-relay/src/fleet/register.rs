//! Tokens, certificates and renewals in Postgres. What changes a node's certificates happens one after the other
//! ([`lock_node`]), so that a revocation overtakes nothing and nothing overtakes it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use shared::identity::Identity;
use shared::ids::Name;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Transaction};
use tracing::warn;
use uuid::Uuid;

use super::authority::{Authorities, Issued};
use crate::database::Pool;

/// Most applications of one node that wait at a time: who stole a key may apply, too.
const APPLICATIONS: i64 = 8;

/// The register of nodes.
#[derive(Clone)]
pub struct Register {
    /// Connections.
    pub pool: Arc<Pool>,
}

/// A certificate as a connection shows it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Whose it is.
    pub identity: Identity,
    /// Its serial number.
    pub serial: Vec<u8>,
    /// Its public key.
    pub public_key: Vec<u8>,
    /// Until when it is good.
    pub not_after: SystemTime,
}

/// How an application after expiry stands.
pub enum Application {
    /// Signed.
    Approved(Issued),
    /// Nobody has approved it yet.
    Waits,
    /// The old certificate was revoked.
    Revoked,
    /// Too many others wait.
    TooMany,
}

impl Register {
    /// Keeps a token's hash; the token itself is known only to who was given it.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn add_token(&self, identity: &Identity, secret_hash: &[u8], valid: Duration) -> anyhow::Result<()> {
        let mut pooled = self.pool.get().await?;
        let sql = "INSERT INTO enrol_token(secret_hash, tenant, site, node, expires_at)
            VALUES ($1, $2, $3, $4, now() + $5 * interval '1 second')";
        let (tenant, site, node) = parts(identity);
        let values: [&(dyn ToSql + Sync); 5] = [&secret_hash, &tenant, &site, &node, &valid.as_secs_f64()];
        pooled.client()?.execute(sql, &values).await.context("keep a token")?;
        Ok(())
    }

    /// Signs a certificate for who brings a token; certificates and tokens that the node had before are revoked. The same
    /// key may ask again while the token lasts: the answer may have been lost.
    ///
    /// # Errors
    /// When Postgres fails. `None`: the token is unknown, expired, for another node, or was used by another box.
    pub async fn redeem(
        &self,
        (secret_hash, node, public_key): (&[u8], &Name, &[u8]),
        sign: impl FnOnce(&Identity) -> anyhow::Result<Issued>,
    ) -> anyhow::Result<Option<(Identity, Issued)>> {
        let mut pooled = self.pool.get().await?;
        let tx = pooled.client()?.transaction().await.context("begin")?;
        let sql = "SELECT tenant FROM enrol_token WHERE secret_hash = $1 AND node = $2";
        let row = tx.query_opt(sql, &[&secret_hash, &node.as_str()]).await.context("find a token")?;
        let Some(row) = row else { return Ok(None) };
        lock_node(&tx, row.get(0), node.as_str()).await?;
        let sql = "UPDATE enrol_token SET public_key = $2, used_at = now() WHERE secret_hash = $1 AND node = $3
            AND expires_at > now() AND (public_key IS NULL OR public_key = $2) RETURNING tenant, site, node";
        let row = tx.query_opt(sql, &[&secret_hash, &public_key, &node.as_str()]).await.context("use a token")?;
        let Some(row) = row else { return Ok(None) };
        let name = |at: usize| row.get::<_, String>(at).parse::<Name>();
        let identity = Identity { tenant: name(0)?, site: name(1)?, node: name(2)? };
        let issued = sign(&identity)?;
        let (tenant, _, node) = parts(&identity);
        // A token that the box before had could otherwise be used again by it.
        let sql = "UPDATE enrol_token SET expires_at = now()
            WHERE tenant = $1 AND node = $2 AND secret_hash <> $3 AND expires_at > now()";
        tx.execute(sql, &[&tenant, &node, &secret_hash]).await.context("end other tokens")?;
        let sql = "UPDATE node_certificate SET revoked_at = now(), revoked_by = 'enrolled anew'
            WHERE tenant = $1 AND node = $2 AND public_key <> $3 AND revoked_at IS NULL";
        let replaced = tx.execute(sql, &[&tenant, &node, &public_key]).await.context("revoke what was before")?;
        if replaced > 0 {
            warn!(%identity, replaced, "node is enrolled anew, its certificates from before are revoked");
        }
        refuse_before(&tx, tenant, node, signed_ms(&issued.serial)).await?;
        enter(&tx, &identity, &issued, "token").await?;
        tx.commit().await.context("commit an enrolment")?;
        Ok(Some((identity, issued)))
    }

    /// Signs the certificate that follows the one with this serial number; `None` if that one is not good any more.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn renew(
        &self,
        (identity, serial): (&Identity, &[u8]),
        sign: impl FnOnce(&Identity) -> anyhow::Result<Issued>,
    ) -> anyhow::Result<Option<Issued>> {
        let mut pooled = self.pool.get().await?;
        let tx = pooled.client()?.transaction().await.context("begin")?;
        let (tenant, _, node) = parts(identity);
        lock_node(&tx, tenant, node).await?;
        if !stands(&tx, serial).await? {
            return Ok(None);
        }
        let issued = sign(identity)?;
        enter(&tx, identity, &issued, "renewal").await?;
        tx.commit().await.context("commit a renewal")?;
        Ok(Some(issued))
    }

    /// Whether a certificate that one of the authorities signed is still good. One that is not in the register was
    /// signed before Postgres was restored from a backup: it is entered, since a fleet must not be locked out by that,
    /// unless the node was revoked or enrolled anew since it was signed.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn is_good(&self, shown: &Shown) -> anyhow::Result<bool> {
        let mut pooled = self.pool.get().await?;
        let sql = "SELECT revoked_at IS NOT NULL FROM node_certificate WHERE serial = $1";
        let client = pooled.client()?;
        if let Some(row) = client.query_opt(sql, &[&shown.serial]).await.context("look up a certificate")? {
            return Ok(!row.get::<_, bool>(0));
        }
        let tx = client.transaction().await.context("begin")?;
        let (tenant, _, node) = parts(&shown.identity);
        lock_node(&tx, tenant, node).await?;
        let sql = "SELECT 1 FROM node_revocation WHERE tenant = $1 AND node = $2 AND before_ms > $3";
        let signed = signed_ms(&shown.serial);
        if tx.query_opt(sql, &[&tenant, &node, &signed]).await.context("look up a revocation")?.is_some() {
            return Ok(false);
        }
        warn!(identity = %shown.identity, "certificate is not in the register: entered; revocations may be missing, too");
        let Shown { identity, serial, public_key, not_after } = shown.clone();
        let issued = Issued { certificate: String::new(), serial, public_key, not_after };
        enter(&tx, &identity, &issued, "seen").await?;
        tx.commit().await.context("commit a certificate")?;
        Ok(true)
    }

    /// Keeps who asks after expiry, and signs once an operator has approved this key. An approval lasts a day and ends
    /// the node's other applications.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn apply(
        &self,
        old: &Shown,
        public_key: &[u8],
        sign: impl FnOnce(&Identity) -> anyhow::Result<Issued>,
    ) -> anyhow::Result<Application> {
        if !self.is_good(old).await? {
            return Ok(Application::Revoked);
        }
        let mut pooled = self.pool.get().await?;
        let tx = pooled.client()?.transaction().await.context("begin")?;
        let (tenant, site, node) = parts(&old.identity);
        lock_node(&tx, tenant, node).await?;
        let sql = "DELETE FROM renewal_request WHERE tenant = $1 AND node = $2
            AND coalesce(approved_at, asked_at) < now() - interval '1 day'";
        tx.execute(sql, &[&tenant, &node]).await.context("forget old applications")?;
        let sql = "SELECT count(*) FROM renewal_request WHERE tenant = $1 AND node = $2 AND public_key <> $3";
        let others: i64 = tx.query_one(sql, &[&tenant, &node, &public_key]).await.context("count applications")?.get(0);
        if others >= APPLICATIONS {
            return Ok(Application::TooMany);
        }
        let sql = "INSERT INTO renewal_request(tenant, site, node, public_key, old_serial) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (tenant, node, public_key) DO UPDATE SET asked_at = now() RETURNING approved_at IS NOT NULL";
        let values: [&(dyn ToSql + Sync); 5] = [&tenant, &site, &node, &public_key, &old.serial];
        let row = tx.query_one(sql, &values).await.context("keep an application")?;
        let approved: bool = row.get(0);
        let issued = approved.then(|| sign(&old.identity)).transpose()?;
        if let Some(issued) = &issued {
            enter(&tx, &old.identity, issued, "approval").await?;
            let sql = "DELETE FROM renewal_request WHERE tenant = $1 AND node = $2 AND public_key <> $3";
            tx.execute(sql, &[&tenant, &node, &public_key]).await.context("end other applications")?;
        }
        tx.commit().await.context("commit an application")?;
        Ok(issued.map_or(Application::Waits, Application::Approved))
    }
}

/// Takes the node's certificates for this transaction alone.
///
/// # Errors
/// When Postgres fails.
pub async fn lock_node(tx: &Transaction<'_>, tenant: &str, node: &str) -> anyhow::Result<()> {
    let name = format!("{tenant}/{node}");
    tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 2))", &[&name]).await.context("lock the node")?;
    Ok(())
}

/// Whether the certificate with this serial number is in the register, neither revoked nor expired, as the transaction
/// sees it.
///
/// # Errors
/// When Postgres fails.
pub async fn stands(tx: &Transaction<'_>, serial: &[u8]) -> anyhow::Result<bool> {
    let sql = "SELECT 1 FROM node_certificate WHERE serial = $1 AND revoked_at IS NULL AND not_after > now()";
    Ok(tx.query_opt(sql, &[&serial]).await.context("look up a certificate")?.is_some())
}

/// Whether any node was ever given a certificate.
///
/// # Errors
/// When Postgres fails.
pub async fn any_certificate(client: &Client) -> anyhow::Result<bool> {
    let row = client.query_one("SELECT EXISTS (SELECT 1 FROM node_certificate)", &[]).await;
    Ok(row.context("look for certificates")?.get(0))
}

/// Refuses, of this node, every certificate signed before a time (milliseconds since 1970) that is not in the register.
///
/// # Errors
/// When Postgres fails.
pub async fn refuse_before(tx: &Transaction<'_>, tenant: &str, node: &str, ms: i64) -> anyhow::Result<()> {
    let sql = "INSERT INTO node_revocation(tenant, node, before_ms) VALUES ($1, $2, $3)
        ON CONFLICT (tenant, node) DO UPDATE SET before_ms = greatest(node_revocation.before_ms, excluded.before_ms)";
    tx.execute(sql, &[&tenant, &node, &ms]).await.context("keep a revocation")?;
    Ok(())
}

/// When a certificate was signed: our serial numbers are UUIDv7. Any other is older than everything.
fn signed_ms(serial: &[u8]) -> i64 {
    let at = Uuid::from_slice(serial).ok().and_then(|serial| serial.get_timestamp());
    at.map_or(0, |at| i64::try_from(at.to_unix().0).unwrap_or(0) * 1000 + i64::from(at.to_unix().1 / 1_000_000))
}

/// Milliseconds since 1970.
pub fn ms(at: SystemTime) -> i64 {
    i64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

fn parts(identity: &Identity) -> (&str, &str, &str) {
    (identity.tenant.as_str(), identity.site.as_str(), identity.node.as_str())
}

async fn enter(tx: &Transaction<'_>, identity: &Identity, issued: &Issued, why: &str) -> anyhow::Result<()> {
    let sql = "INSERT INTO node_certificate(serial, tenant, site, node, public_key, not_after, why)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (serial) DO NOTHING";
    let (tenant, site, node) = parts(identity);
    let values: [&(dyn ToSql + Sync); 7] =
        [&issued.serial, &tenant, &site, &node, &issued.public_key, &issued.not_after, &why];
    tx.execute(sql, &values).await.context("enter a certificate")?;
    Ok(())
}

/// What the signing of a certificate needs beside the identity.
pub fn signer<'a>(
    authorities: &'a Authorities,
    csr: &'a str,
    now: SystemTime,
    life: Duration,
) -> impl FnOnce(&Identity) -> anyhow::Result<Issued> + 'a {
    move |identity| authorities.sign(identity, csr, now, life)
}
