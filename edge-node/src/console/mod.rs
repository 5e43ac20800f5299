//! The node's HTTP side: the console page, its live stream, the API. Bound to loopback until the console has accounts.

pub mod shown;
pub mod live;
pub mod api;
pub mod verb;
pub mod command;
pub mod mission;
pub mod history;
pub mod infer;
pub mod models;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;

use axum::Router;
use axum::response::Html;
use axum::routing::{get, post};
use shared::event::Alert;
use shared::ids::Name;
use shown::Shown;
use tokio::sync::watch;

use crate::detect::ondemand::OnDemand;
use crate::detect::worker::CameraView;
use crate::health::Metrics;
use crate::interlock::clerk::View as InterlockView;
use crate::interlock::handle::Interlock;
use crate::interlock::machine::{Input, Policy};
use crate::journal::Journal;
use crate::media::{Media, http as media_http};
use crate::models::Models;
use crate::sensor::frame::Frame;
use crate::sensor::http::{Ingest, router as ingest_router};
use crate::uplink::driver::View as UplinkView;
use crate::vehicle::VehicleConfig;
use crate::vehicle::aircraft::Aircraft;
use crate::vehicle::hub::Task;
use crate::vehicle::state::VehicleState;

/// What the console shows and whom it tells.
pub struct Console {
    /// This node.
    pub node: Name,
    /// Its data folder.
    pub folder: PathBuf,
    /// Names of the zones.
    pub zones: Vec<Name>,
    /// System id of the supervisor's heartbeat.
    pub supervisor_sysid: u8,
    /// Whether a second person must confirm a reset of the e-stop.
    pub two_person: bool,
    /// Names of the cameras.
    pub cameras: Vec<Name>,
    /// Vehicles.
    pub vehicles: Vec<VehicleConfig>,
    /// Names of output lines, in the order of the configuration.
    pub outputs: Vec<Name>,
    /// What is shown of each.
    pub shown: Vec<Shown>,
    /// Newest pictures and boxes.
    pub camera_views: watch::Receiver<Vec<CameraView>>,
    /// Vehicle states.
    pub vehicle_views: watch::Receiver<Vec<VehicleState>>,
    /// By camera: somebody has said that what it shows now is what it should show.
    pub accepted: Arc<[AtomicBool]>,
    /// Aircraft that are not ours.
    pub aircraft: watch::Receiver<Vec<Aircraft>>,
    /// Open alerts.
    pub alerts: watch::Receiver<Vec<Alert>>,
    /// Rules and demands.
    pub interlock_view: watch::Receiver<InterlockView>,
    /// Backlog.
    pub uplink_view: watch::Receiver<UplinkView>,
    /// Takes presses and requests.
    pub interlock: Interlock,
    /// Takes what is wanted of vehicles beside their orders.
    pub tasks: SyncSender<Task>,
    /// What the interlock enforces.
    pub policy: Policy,
    /// By camera, its newest frame.
    pub newest: Vec<watch::Receiver<Option<Frame>>>,
    /// Looks at pictures that somebody sends.
    pub pictures: OnDemand,
    /// Takes what is wanted of the models.
    pub models: Models,
    /// Takes events.
    pub journal: Journal,
    /// Takes pictures and clips.
    pub media: Media,
    /// Counters.
    pub metrics: Metrics,
}

type Shared = Arc<Console>;

/// All routes.
pub fn router(console: Console) -> Router {
    let (interlock, weather) = (console.interlock.clone(), console.policy.weather.clone());
    let reading = move |sensor: &str, value: f64| {
        let watched = weather.iter().enumerate().filter(|(_, rule)| rule.sensor == sensor);
        watched.for_each(|(weather, _)| interlock.tell(Input::Reading { weather, value }));
    };
    let (journal, metrics) = (console.journal.clone(), console.metrics.clone());
    let ingest = Ingest { journal, metrics, reading: Arc::new(reading) };
    let (media, journal, metrics) = (console.media.clone(), console.journal.clone(), console.metrics.clone());
    let taking = media_http::Taking { media, journal, metrics };
    let history = history::History { node: console.node.clone(), folder: console.folder.clone() };
    let (pictures, journal) = (console.pictures.clone(), console.journal.clone());
    let (wishes, cameras, views) = (console.models.clone(), console.cameras.clone(), console.newest.clone());
    let console: Shared = Arc::new(console);
    Router::new()
        .route("/", get(|| async { Html(include_str!("page.html")) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(api::metrics))
        .route("/api/v1/schemas", get(api::schemas))
        .route("/api/v1/schemas/{event_type}", get(api::schema))
        .route("/api/v1/state", get(live::state))
        .route("/api/v1/stream", get(live::stream))
        .route("/api/v1/aircraft", get(live::aircraft))
        .route("/api/v1/cameras/{camera}/frame.jpg", get(live::frame))
        .route("/api/v1/cameras/{camera}/accept", post(api::accept))
        .route("/api/v1/estop", post(api::press))
        .route("/api/v1/estop/reset", post(api::reset))
        .route("/api/v1/interlocks", get(api::interlocks))
        .route("/api/v1/estop/reset/confirm", post(api::confirm))
        .route("/api/v1/vehicles/{vehicle}/commands", post(command::command))
        .route("/api/v1/vehicles/{vehicle}/lease", post(command::lease).delete(command::leave))
        .route("/api/v1/vehicles/{vehicle}/lease/renew", post(command::renew))
        .route("/api/v1/vehicles/{vehicle}/patrol", post(command::patrol))
        .route("/api/v1/vehicles/{vehicle}/readiness", get(command::readiness))
        .route("/api/v1/vehicles/{vehicle}/audit", get(command::audit))
        .route("/api/v1/vehicles/{vehicle}/mission", get(mission::read).post(mission::write))
        .route("/api/v1/vehicles/{vehicle}/fence", get(mission::fence))
        .route("/api/v1/vehicles/{vehicle}/parameters", get(mission::parameters))
        .with_state(console)
        .merge(ingest_router(ingest))
        .merge(history::router(history))
        .merge(media_http::router(taking))
        .merge(infer::router(pictures, journal))
        .merge(models::router(wishes, cameras, views))
}
