//! Tokens, certificates and renewals in Postgres.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use shared::identity::Identity;
use shared::ids::Name;
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;
use tracing::warn;

use super::authority::{Authorities, Issued};
use crate::database::Pool;

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

    /// Signs a certificate for who brings a token; certificates that the node had before are revoked. The same key may
    /// ask again while the token lasts: the answer may have been lost.
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
        let sql = "UPDATE enrol_token SET public_key = $2, used_at = now() WHERE secret_hash = $1 AND node = $3
            AND expires_at > now() AND (public_key IS NULL OR public_key = $2) RETURNING tenant, site, node";
        let row = tx.query_opt(sql, &[&secret_hash, &public_key, &node.as_str()]).await.context("use a token")?;
        let Some(row) = row else { return Ok(None) };
        let name = |at: usize| row.get::<_, String>(at).parse::<Name>();
        let identity = Identity { tenant: name(0)?, site: name(1)?, node: name(2)? };
        let issued = sign(&identity)?;
        let sql = "UPDATE node_certificate SET revoked_at = now(), revoked_by = 'enrolled anew'
            WHERE tenant = $1 AND node = $2 AND public_key <> $3 AND revoked_at IS NULL";
        let (tenant, _, node) = parts(&identity);
        let replaced = tx.execute(sql, &[&tenant, &node, &public_key]).await.context("revoke what was before")?;
        if replaced > 0 {
            warn!(%identity, replaced, "node is enrolled anew, its certificates from before are revoked");
        }
        enter(&tx, &identity, &issued, "token").await?;
        tx.commit().await.context("commit an enrolment")?;
        Ok(Some((identity, issued)))
    }

    /// Keeps a certificate that was signed for a renewal.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn renewed(&self, identity: &Identity, issued: &Issued) -> anyhow::Result<()> {
        let mut pooled = self.pool.get().await?;
        let tx = pooled.client()?.transaction().await.context("begin")?;
        enter(&tx, identity, issued, "renewal").await?;
        tx.commit().await.context("commit a renewal")
    }

    /// Whether a certificate that one of the authorities signed is still good. One that is not in the register was
    /// signed before Postgres was restored from a backup: it is entered, since a fleet must not be locked out by that.
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
        warn!(identity = %shown.identity, "certificate is not in the register: entered; revocations may be missing, too");
        let Shown { identity, serial, public_key, not_after } = shown.clone();
        let issued = Issued { certificate: String::new(), serial, public_key, not_after };
        let tx = client.transaction().await.context("begin")?;
        enter(&tx, &identity, &issued, "seen").await?;
        tx.commit().await.context("commit a certificate")?;
        Ok(true)
    }

    /// Keeps who asks after expiry, and signs once an operator has approved it. A node has one application at a time.
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
        let sql =
            "DELETE FROM renewal_request WHERE tenant = $1 AND node = $2 AND public_key <> $3 AND approved_at IS NULL";
        tx.execute(sql, &[&tenant, &node, &public_key]).await.context("forget an older application")?;
        let sql = "INSERT INTO renewal_request(tenant, site, node, public_key, old_serial) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (tenant, node, public_key) DO UPDATE SET asked_at = now() RETURNING approved_at IS NOT NULL";
        let values: [&(dyn ToSql + Sync); 5] = [&tenant, &site, &node, &public_key, &old.serial];
        let row = tx.query_one(sql, &values).await.context("keep an application")?;
        let approved: bool = row.get(0);
        let issued = approved.then(|| sign(&old.identity)).transpose()?;
        if let Some(issued) = &issued {
            enter(&tx, &old.identity, issued, "approval").await?;
        }
        tx.commit().await.context("commit an application")?;
        Ok(issued.map_or(Application::Waits, Application::Approved))
    }
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
