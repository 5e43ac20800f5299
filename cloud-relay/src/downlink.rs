//! Messages from the centre to nodes: made and signed by an operator's command, handed out to nodes that wait for them.
//!
//! What a message may ask for is `shared::downlink::Content`; whether it is honoured is the node's to decide. A waiting
//! node holds a connection of its own, but none to Postgres.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use shared::downlink::{CONTENT_MAX, Content, HOLD, MESSAGES_MAX, Message, Page};
use shared::identity::{Identity, Signature};
use shared::ids::Name;
use tokio::sync::watch;
use tokio_postgres::types::ToSql;
use tracing::{error, warn};

use crate::clock;
use crate::config::Postgres;
use crate::database::{Pool, connect_listening};
use crate::fleet::authority::Authorities;
use crate::fleet::caller::{Caller, REVOKED};
use crate::fleet::register::{Register, lock_node};
use crate::problem::problem;

/// Told to Postgres with each new message.
const CHANNEL: &str = "picket_downlink";
/// Before a lost connection is made again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the handler needs.
#[derive(Clone)]
pub struct Downlink {
    /// Connections.
    pub pool: Arc<Pool>,
    /// Whether a certificate is still good after the wait.
    pub register: Register,
    /// Changes when a message may have come.
    pub news: watch::Receiver<u64>,
}

/// The route of nodes; each request carries its [`Caller`].
pub fn router(downlink: Downlink) -> Router {
    Router::new().route("/v1/nodes/{node}/downlink", get(wait)).with_state(downlink)
}

#[derive(Debug, Deserialize)]
struct Asked {
    after: u64,
}

async fn wait(
    State(mut downlink): State<Downlink>,
    Extension(caller): Extension<Caller>,
    Query(Asked { after }): Query<Asked>,
) -> Response {
    let Ok(after) = i64::try_from(after) else {
        return problem(StatusCode::BAD_REQUEST, "after: expected a sequence number".into());
    };
    let deadline = tokio::time::Instant::now() + HOLD;
    if let Err(error) = kept(&downlink, &caller.identity, after).await {
        return unavailable(&error);
    }
    loop {
        // Before the look: what comes during it is seen at the next turn.
        downlink.news.mark_unchanged();
        let page = match page(&downlink, &caller.identity, after).await {
            Ok(page) => page,
            Err(error) => return unavailable(&error),
        };
        let over = tokio::time::Instant::now() >= deadline;
        if over || !page.messages.is_empty() {
            return hand_out(&downlink, &caller, page).await;
        }
        // Ended by the deadline, or by the relay's end: both are answered with nothing.
        let _ = tokio::time::timeout_at(deadline, downlink.news.changed()).await;
    }
}

fn unavailable(error: &anyhow::Error) -> Response {
    error!("failed to {error:#}");
    problem(StatusCode::SERVICE_UNAVAILABLE, "the store is not available, ask again".into())
}

/// Nothing goes to a node that was revoked while it waited.
async fn hand_out(downlink: &Downlink, caller: &Caller, page: Page) -> Response {
    let good = match &caller.certificate {
        Some(shown) => downlink.register.is_good(shown).await,
        None => Ok(true),
    };
    match good {
        Ok(true) => Json(page).into_response(),
        Ok(false) => problem(StatusCode::FORBIDDEN, REVOKED.into()),
        Err(error) => unavailable(&error),
    }
}

/// Notes that the node has everything up to `after`.
async fn kept(downlink: &Downlink, of: &Identity, after: i64) -> anyhow::Result<()> {
    let mut pooled = downlink.pool.get().await?;
    let sql = "UPDATE downlink SET kept_at = now() WHERE tenant = $1 AND node = $2 AND seq <= $3 AND kept_at IS NULL";
    let (tenant, node) = (of.tenant.as_str(), of.node.as_str());
    pooled.client()?.execute(sql, &[&tenant, &node, &after]).await.context("note what a node has kept")?;
    Ok(())
}

/// What waits behind `after` and has not expired.
async fn page(downlink: &Downlink, of: &Identity, after: i64) -> anyhow::Result<Page> {
    let mut pooled = downlink.pool.get().await?;
    let sql = "SELECT seq, expires_us, content, signatures FROM downlink
        WHERE tenant = $1 AND site = $2 AND node = $3 AND seq > $4 AND expires_us > $5 ORDER BY seq LIMIT $6";
    let most = i64::try_from(MESSAGES_MAX).unwrap_or(i64::MAX);
    let now = clock::utc_us();
    let values: [&(dyn ToSql + Sync); 6] =
        [&of.tenant.as_str(), &of.site.as_str(), &of.node.as_str(), &after, &now, &most];
    let rows = pooled.client()?.query(sql, &values).await.context("look for messages")?;
    let message = |row: &tokio_postgres::Row| {
        let signatures = row.get::<_, Vec<String>>(3).into_iter().map(Signature::try_from);
        Ok(Message {
            seq: u64::try_from(row.get::<_, i64>(0)).unwrap_or(0),
            expires_us: row.get(1),
            content: row.get(2),
            signatures: signatures.collect::<Result<_, _>>().map_err(anyhow::Error::msg)?,
        })
    };
    Ok(Page { messages: rows.iter().map(message).collect::<anyhow::Result<_>>()? })
}

/// Listens for new messages, made here or at another relay, for ever; after a lost connection everybody looks.
///
/// # Errors
/// Never.
pub async fn listen(config: Postgres, news: watch::Sender<u64>) -> anyhow::Result<()> {
    loop {
        match connect_listening(&config).await {
            Ok((client, mut notified)) => {
                if let Err(error) = client.batch_execute(&format!("LISTEN {CHANNEL}")).await {
                    warn!(%error, "downlink: cannot listen");
                }
                news.send_modify(|count| *count += 1);
                while notified.recv().await.is_some() {
                    news.send_modify(|count| *count += 1);
                }
            }
            Err(error) => warn!("failed to {error:#}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Signs a message for an enrolled node and keeps it; its sequence number. Waiting nodes are told.
///
/// # Errors
/// When Postgres fails, no such node is enrolled, or the content is too long.
pub async fn send(
    client: &mut tokio_postgres::Client,
    authorities: &Authorities,
    (tenant, node): (&Name, &Name),
    (content, by, valid): (&Content, &str, Duration),
) -> anyhow::Result<u64> {
    let content = serde_json::to_string(content).context("write a message")?;
    anyhow::ensure!(content.len() <= CONTENT_MAX, "write a message: more than {CONTENT_MAX} bytes");
    let tx = client.transaction().await.context("begin")?;
    lock_node(&tx, tenant.as_str(), node.as_str()).await?;
    let sql = "SELECT site FROM node_certificate WHERE tenant = $1 AND node = $2 AND revoked_at IS NULL
        ORDER BY issued_at DESC LIMIT 1";
    let row = tx.query_opt(sql, &[&tenant.as_str(), &node.as_str()]).await.context("find the node")?;
    let row = row.with_context(|| format!("find the node: {node} has no certificate that is good"))?;
    let site: Name = row.get::<_, String>(0).parse().map_err(anyhow::Error::msg)?;
    let to = Identity { tenant: tenant.clone(), site, node: node.clone() };
    let sql = "SELECT coalesce(max(seq), 0) FROM downlink WHERE tenant = $1 AND node = $2";
    let row = tx.query_one(sql, &[&tenant.as_str(), &node.as_str()]).await.context("find the last message")?;
    let now = clock::utc_us();
    let seq = now.max(row.get::<_, i64>(0).saturating_add(1));
    let expires_us = now.saturating_add(i64::try_from(valid.as_micros()).unwrap_or(i64::MAX));
    let mut message = Message { seq: u64::try_from(seq)?, expires_us, content, signatures: Vec::new() };
    message.signatures = authorities.sign_all(&message.statement(&to)).context("sign a message")?;
    let signatures: Vec<String> = message.signatures.iter().cloned().map(String::from).collect();
    let sql = "INSERT INTO downlink(tenant, site, node, seq, created_by, expires_us, content, signatures)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let (tenant, site, node) = (tenant.as_str(), to.site.as_str(), node.as_str());
    let values: [&(dyn ToSql + Sync); 8] =
        [&tenant, &site, &node, &seq, &by, &expires_us, &message.content, &signatures];
    tx.execute(sql, &values).await.context("keep a message")?;
    tx.execute(&format!("NOTIFY {CHANNEL}"), &[]).await.context("tell of a message")?;
    tx.commit().await.context("commit a message")?;
    Ok(message.seq)
}
