//! The wiring of the relay: every task is made here, and the first to end stops the process.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::middleware;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::info;

use crate::config::Config;
use crate::database::{self, Pool};
use crate::downlink::{self, Downlink};
use crate::fleet::caller::{self, Place};
use crate::fleet::listener::{Peer, TlsListener};
use crate::fleet::register::{Register, any_certificate};
use crate::fleet::{self, Fleet, Keeper, STRANGERS};
use crate::ingest::{self, Ingest};
use crate::media::{self, store::Store};
use crate::metrics::Metrics;
use crate::projections::VehicleLatest;
use crate::query::{self, Queries};
use crate::{consume, publish, retention};

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
    let mut nodes = ingest::router(Ingest {
        pool: pool.clone(),
        metrics: metrics.clone(),
        turns: Arc::new(Semaphore::new(ingest::AT_ONCE)),
    });
    let mut routes = query::router(Queries { pool: pool.clone(), metrics: metrics.clone() });
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    if let Some(media_config) = &config.media {
        let store = Store::open(&media_config.folder, media_config.largest_mib * 1024 * 1024)?;
        nodes = nodes.merge(media::of_nodes(store.clone()));
        routes = routes.merge(media::of_readers(store.clone(), config.tenant.clone()));
        tasks.spawn(store.keep_swept(config.retention.media));
    }
    if let Some(fleet_config) = &config.fleet {
        let keeper = Keeper::open(fleet_config, !any_certificate(&client).await?)?;
        let (authorities, certificate_life) = (keeper.authorities(), fleet_config.certificate_life);
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        let register = Register { pool: pool.clone() };
        let (told, news) = watch::channel(0);
        tasks.spawn(downlink::listen(config.postgres.clone(), told));
        let nodes = nodes.merge(downlink::router(Downlink { pool, register: register.clone(), news }));
        let fleet = Fleet { register, authorities, certificate_life, strangers };
        let tcp = TcpListener::bind(fleet_config.listen).await.context("bind the fleet's address")?;
        info!(address = %tcp.local_addr()?, "nodes are served over TLS");
        let (listener, served) = (TlsListener::new(tcp, keeper.tls()), fleet::router(fleet, nodes));
        let served = served.into_make_service_with_connect_info::<Peer>();
        tasks.spawn(async move { axum::serve(listener, served).await.context("serve nodes") });
        tasks.spawn(keeper.run());
    } else {
        let place = Place { tenant: config.tenant.clone(), site: config.site.clone() };
        routes = routes.merge(nodes.route_layer(middleware::from_fn_with_state(place, caller::believe)));
    }
    let listener = TcpListener::bind(config.listen).await.context("bind the listen address")?;
    info!(address = %listener.local_addr()?, "relay is ready");
    tasks.spawn(async move { axum::serve(listener, routes).await.context("serve HTTP") });
    tasks.spawn(publish::run(config.clone(), metrics));
    tasks.spawn(consume::run(config.clone(), VehicleLatest));
    tasks.spawn(retention::run(config.clone()));
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
