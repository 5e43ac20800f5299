//! The wiring of the relay: every task is made here, and the first to end stops the process.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing::info;

use crate::config::Config;
use crate::database::{self, Pool};
use crate::ingest::store::Place;
use crate::ingest::{self, Ingest};
use crate::metrics::Metrics;
use crate::projections::VehicleLatest;
use crate::query::{self, Queries};
use crate::{consume, publish};

/// Applies the migrations and ends.
///
/// # Errors
/// A configuration or database that cannot be used.
pub async fn migrate(config: &Path) -> anyhow::Result<()> {
    let config = Config::read(config)?;
    let mut client = database::connect(&config.postgres).await?;
    database::migrate(&mut client).await
}

/// Runs the relay until SIGINT or SIGTERM.
///
/// # Errors
/// A configuration, database or broker that cannot be used, or the first task that failed.
pub async fn run(config: &Path) -> anyhow::Result<()> {
    let config = Config::read(config)?;
    let mut client = database::connect(&config.postgres).await?;
    database::migrate(&mut client).await?;
    let metrics = Metrics::new();
    let pool = Arc::new(Pool::new(config.postgres.clone()));
    let place = Place { tenant: config.tenant.clone(), site: config.site.clone() };
    let routes = ingest::router(Ingest { pool: pool.clone(), place, metrics: metrics.clone() })
        .merge(query::router(Queries { pool, metrics: metrics.clone() }));
    let listener = TcpListener::bind(config.listen).await.context("bind the listen address")?;
    info!(address = %listener.local_addr()?, "relay is ready");
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, routes).await.context("serve HTTP") });
    tasks.spawn(publish::run(config.clone(), metrics));
    tasks.spawn(consume::run(config.clone(), VehicleLatest));
    tasks.spawn(database::keep_partitions(config.postgres.clone()));
    let mut terminate = signal(SignalKind::terminate()).context("watch SIGTERM")?;
    tokio::select! {
        ended = tasks.join_next() => match ended {
            Some(Ok(result)) => result.context("run a task that never ends"),
            Some(Err(error)) => Err(error).context("run a task"),
            None => Ok(()),
        },
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}
