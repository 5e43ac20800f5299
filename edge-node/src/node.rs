//! The wiring of the node: every thread and task is made here and nowhere else.
//!
//! Stop is ordered: sensors first, then the stages, then the journal. The first stage that ends by itself ends the
//! process, so that systemd starts it whole again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::time::Duration;

use anyhow::Context;
use shared::event::{NodeStarted, NodeStopped, Payload};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::alert::{self, Signal};
use crate::bridge;
use crate::clock::{self, Stamp};
use crate::config::Config;
use crate::console::shown::Shown;
use crate::console::{self, Console};
use crate::detect::manifest::ModelError;
use crate::detect::ondemand;
use crate::detect::worker::CameraView;
use crate::health::Metrics;
use crate::interlock::clerk::{self, View as InterlockView};
use crate::interlock::driver::Driver;
use crate::interlock::handle::Interlock;
use crate::interlock::machine::{Input, Machine, Source};
use crate::interlock::pin::{self, Pin};
use crate::interlock::rules::estop::Scope;
use crate::interlock::{latch, line, recorder};
use crate::journal::scrub;
use crate::journal::writer;
use crate::media::Media;
use crate::models;
use crate::models::choice::Choice;
use crate::policy;
use crate::seeing::{self, Seeing};
use crate::stages::{Stages, join};
use crate::uplink::downlink::Downlink;
use crate::uplink::driver::{Uplink, View as UplinkView};
use crate::uplink::identity::{self, Files};
use crate::vehicle::ears::{self, Ears};
use crate::vehicle::ends::{self, Ends};
use crate::vehicle::fleet::Fleet;
use crate::vehicle::hub::{Hub, TASKS};
use crate::vehicle::link;
use crate::vehicle::signing::{self, Pace};
use crate::vehicle::state::VehicleState;
use crate::vehicle::tlog;
use crate::watch as node_watch;

/// Workers of the runtime: HTTP and uplink are waiting most of the time.
const RUNTIME_THREADS: usize = 2;
/// Longest time a stop may take; then the stuck stage is named and left.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Time the journal has for its last commit even when a stage used up the deadline.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Runs the node until SIGINT or SIGTERM.
///
/// # Errors
/// What could not be opened at the start, or the first stage that failed.
#[expect(clippy::too_many_lines, reason = "the wiring function: it names every stage once, in the order of data flow")]
pub fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    let metrics = Metrics::new();
    let stop = Arc::new(AtomicBool::new(false));
    let (stop_tasks, stopping) = watch::channel(false);
    let (ended, endings) = channel();
    let mut stages = Stages::new(ended.clone());
    // The links end after the safety thread, which holds what moves before it ends.
    let (mut last, stop_last) = (Stages::new(ended), Arc::new(AtomicBool::new(false)));

    let names: Vec<_> = config.vehicles.iter().map(|vehicle| vehicle.name.clone()).collect();
    let latched = latch::at_start(&config.data, &names)?;
    let signer = identity::signer(Files::of(&config.data));
    let started = writer::start(config.data.clone(), config.journal.clone(), Stamp::new(), Some(signer));
    let (journal, acks, writer) = started.context("open the journal")?;
    let media = Media::open(&config.data, config.media).context("open the media folder")?;
    journal.record(
        journal.event("node", Payload::NodeStarted(NodeStarted { version: env!("CARGO_PKG_VERSION").into() })),
    )?;

    // The safety thread before anything that can be slow: vehicles obey it while the model still loads.
    let (signals, signals_in) = mpsc::channel::<Signal>(alert::QUEUE);
    let (interlock, safety_inputs) = Interlock::new(metrics.clone());
    // Whoever looks before the safety thread has shown anything sees what the latch says.
    let (interlock_show, interlock_view) =
        watch::channel(InterlockView { latched: latched.clone(), ..InterlockView::default() });
    let bound: Vec<_> = config.links.iter().map(link::bind).collect::<anyhow::Result<_>>()?;
    let signatures = signing::Clock::open(&config.data, clock::utc()).map_err(anyhow::Error::msg)?;
    let Ends { pens, links: writers, guards } =
        ends::ends(&config.links, (config.mavlink_sysid, config.supervisor_sysid), &signatures)?;
    let (desk, clerk) = clerk::desk(journal.clone(), signals.clone(), interlock_show, metrics.clone());
    stages.spawn("clerk", move || clerk.run())?;
    let (recorder, scribe) = recorder::recorder(&config.data, config.text.clone(), config.interlock.recording_bytes());
    if let Some(scribe) = scribe {
        stages.spawn("recorder", move || scribe.run())?;
    }
    let policy = policy::policy(&config);
    let mut outputs = Vec::new();
    for (index, output) in config.outputs.iter().cloned().enumerate() {
        let (pulses, taken) = sync_channel(pin::QUEUE);
        let local = !matches!(output.pin, Pin::Relay { .. });
        outputs.push((output.name.clone(), local.then_some(pulses)));
        if local {
            let own = interlock.clone();
            let tell = move |faulty| own.tell(Input::Pin { output: index, faulty });
            stages.spawn(&format!("out-{}", output.name), move || {
                pin::run(output.name.as_str(), &output.pin, &taken, tell);
            })?;
        }
    }
    let driver = Driver {
        machine: Machine::new(policy.clone(), latched, clock::uptime()),
        vehicles: config.vehicles.clone(),
        outputs,
        pens,
        desk,
        recorder,
        metrics: metrics.clone(),
        folder: config.data.clone(),
        own: interlock.clone(),
        stop: stop.clone(),
    };
    for camera in &config.cameras {
        if let Some(calibration) = policy::calibration(&config, camera) {
            info!(camera = %camera.name, error_m = calibration.error_m, "camera knows its ground");
        }
    }
    for rule in &config.interlock.off {
        warn!(rule = rule.as_str(), "rule is switched off by the configuration");
    }
    stages.spawn("safety", move || driver.run(&safety_inputs))?;
    if let Some(line) = config.interlock.line.clone() {
        let (interlock, stop) = (interlock.clone(), stop.clone());
        stages.spawn("line", move || line::run(&line, &interlock, &stop))?;
    }

    let (vehicle_show, vehicle_views) = watch::channel(vec![VehicleState::default(); config.vehicles.len()]);
    let (aircraft_show, aircraft) = watch::channel(Vec::new());
    let (vehicle_tasks, tasks_in) = sync_channel(TASKS);
    let (heard, hearing) = sync_channel(ears::QUEUE * config.links.len().max(1));
    let waiting: Vec<Arc<AtomicUsize>> = config.links.iter().map(|_| Arc::default()).collect();
    for (index, ((link, bound), waiting)) in config.links.iter().zip(bound).zip(&waiting).enumerate() {
        let (metrics, stop, waiting) = (metrics.clone(), stop_last.clone(), waiting.clone());
        let ears = Ears { link: index, config: link.clone(), waiting, to: heard.clone(), metrics, stop };
        last.spawn(&format!("link-{}", link.name), move || link::run(&ears, bound))?;
    }
    if config.links.iter().any(|link| link.key_file.is_some()) {
        let (signatures, folder, stop) = (signatures.clone(), config.data.clone(), stop.clone());
        stages.spawn("signing-time", move || signing::keep(&signatures, &folder, &stop))?;
    }
    let (tlog, scribe) = tlog::tlog(&config.data, u64::from(config.tlog_mib) << 20, metrics.tlog_lost.clone());
    if let Some(scribe) = scribe.filter(|_| !config.links.is_empty()) {
        last.spawn("tlog", move || scribe.run())?;
    }
    let hub = Hub {
        fleet: Fleet::new(
            config.vehicles.clone(),
            &config.links,
            (writers, guards),
            config.mavlink_sysid,
            policy::plans(&config, &policy),
        ),
        heard: hearing,
        tasks: tasks_in,
        safety: bridge::safety(&interlock),
        vehicles: config.vehicles.clone(),
        links: config.links.clone(),
        waiting,
        pace: Pace::new(signatures, clock::uptime()),
        view: vehicle_show,
        skies: aircraft_show,
        tlog,
        journal: journal.clone(),
        metrics: metrics.clone(),
        stop: stop_last.clone(),
    };
    drop(heard);
    if !config.links.is_empty() {
        last.spawn("vehicles", move || hub.run())?;
    } else {
        // It holds the journal, whose end waits for all who do.
        drop(hub);
    }

    let (alert_show, alerts) = watch::channel(Vec::new());
    let mut tasks = tokio::task::JoinSet::new();
    let alert_task = alert::run(signals_in, journal.clone(), alert_show);
    tasks.spawn_on(futures_util::FutureExt::map(alert_task, Ok), runtime.handle());

    let scrubbed = (config.data.clone(), config.journal.scrub);
    tasks.spawn_on(scrub::run(scrubbed, acks.clone(), metrics.clone(), stopping.clone()), runtime.handle());

    let (folder, headroom, told) = (config.data.clone(), config.interlock.headroom_bytes(), interlock.clone());
    let looks =
        node_watch::run(folder, headroom, journal.clone(), move |ill| told.tell(Input::Node(ill)), stopping.clone());
    tasks.spawn_on(futures_util::FutureExt::map(looks, Ok), runtime.handle());

    let (uplink_show, uplink_view) = watch::channel(UplinkView::default());
    if let Some(relay) = config.relay.clone() {
        let (node, folder) = (config.node.clone(), config.data.clone());
        let (metrics, stop) = (metrics.clone(), stopping.clone());
        let ((way_show, way), (kept_show, kept)) = (watch::channel(None), watch::channel(0));
        let pressed = interlock.clone();
        let downlink = Downlink {
            url: relay.url.clone(),
            node: node.clone(),
            folder: folder.clone(),
            way,
            inbox: acks.clone(),
            journal: journal.clone(),
            // False only when many presses wait already, or when the node ends.
            press: Box::new(move |by| {
                pressed.press(Source::Downlink, by, Scope::Site);
            }),
            kept: kept_show,
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        tasks.spawn_on(downlink.run(), runtime.handle());
        let (way, downlink, view) = (way_show, kept, uplink_show);
        let (journal, media) = (journal.clone(), media.clone());
        let uplink = Uplink { config: relay, node, folder, acks, media, journal, way, downlink, view, metrics, stop };
        tasks.spawn_on(async move { uplink.run().await.context("run the uplink") }, runtime.handle());
    }

    let accepted: Arc<[AtomicBool]> = config.cameras.iter().map(|_| AtomicBool::new(false)).collect();
    let (camera_show, camera_views) = watch::channel(vec![CameraView::default(); config.cameras.len()]);
    let (live, newest): (Vec<_>, Vec<_>) = config.cameras.iter().map(|_| watch::channel(None)).unzip();
    let (pictures, asks) = ondemand::new();
    let (wishes, words, models) = models::new();
    let console = Console {
        node: config.node.clone(),
        folder: config.data.clone(),
        supervisor_sysid: config.supervisor_sysid,
        two_person: config.interlock.two_person,
        zones: config.zones.iter().map(|zone| zone.name.clone()).collect(),
        cameras: config.cameras.iter().map(|camera| camera.name.clone()).collect(),
        shown: config.cameras.iter().map(|camera| Shown::new(camera.live)).collect(),
        vehicles: config.vehicles.clone(),
        outputs: config.outputs.iter().map(|output| output.name.clone()).collect(),
        camera_views,
        newest,
        pictures,
        models: wishes,
        accepted: accepted.clone(),
        vehicle_views,
        aircraft,
        alerts,
        interlock_view,
        uplink_view,
        interlock: interlock.clone(),
        tasks: vehicle_tasks,
        policy,
        journal: journal.clone(),
        media: media.clone(),
        metrics: metrics.clone(),
    };
    let listener = runtime.block_on(TcpListener::bind(config.listen)).context("bind the console's address")?;
    info!(address = %listener.local_addr()?, "console is ready");
    tasks.spawn_on(
        async move { axum::serve(listener, console::router(console)).await.context("serve the console") },
        runtime.handle(),
    );

    let model = match config.model.as_ref().map(|model| seeing::first(&config, model, &journal)) {
        Some(Err(error)) if !error.is::<ModelError>() => return Err(error),
        Some(Err(error)) => {
            // Vehicles and e-stop go on; a zone that nothing looks at counts as occupied.
            error!("failed to {error:#}; the node goes on without detection");
            metrics.model_failures.inc();
            let text = "no detector: every zone counts as occupied".into();
            // The queue is empty at the start.
            let _ = signals.try_send(Signal { active: true, rule: "detector".into(), subject: "node".into(), text });
            None
        }
        Some(Ok(model)) => Some(model),
        None => None,
    };
    if let (Some((model, choice)), Some(about)) = (model, &config.model) {
        let chains = seeing::chains(&config, about).or_else(|error| match error.is::<ModelError>() {
            true => {
                error!("failed to {error:#}; the node goes on without second looks");
                metrics.model_failures.inc();
                Ok(Vec::new())
            }
            false => Err(error),
        })?;
        let seeing = Seeing {
            model,
            choice,
            chains,
            accepted,
            news: Arc::new(bridge::news(&config, interlock, signals)),
            view: camera_show,
            live,
            asks,
            words,
            models,
            media,
            journal: journal.clone(),
            metrics,
            stop: stop.clone(),
            runtime: runtime.handle().clone(),
        };
        seeing.start(&config, about, &mut stages)?;
    } else {
        drop((interlock, signals, asks, words));
    }
    info!(node = %config.node, "node is ready");

    let reason = wait_for_end(&runtime, &mut tasks, &endings);
    info!(reason, "node is stopping");
    let _ = journal.record(journal.event("node", Payload::NodeStopped(NodeStopped { reason: reason.clone() })));
    stop.store(true, Ordering::Relaxed);
    stop_tasks.send_replace(true);
    let deadline = clock::uptime().plus(STOP_DEADLINE);
    stages.join(deadline);
    stop_last.store(true, Ordering::Relaxed);
    last.join(deadline);
    drop(journal);
    tasks.abort_all();
    runtime.shutdown_timeout(deadline.since(clock::uptime()));
    // A disk that hangs must not keep the process: systemd starts it again.
    join(vec![("journal".into(), writer.into_thread())], deadline.plus(STOP_GRACE));
    anyhow::ensure!(reason == "signal", "run: {reason}");
    Ok(())
}

type Tasks = tokio::task::JoinSet<anyhow::Result<()>>;

/// Waits for a signal or for the first stage that ends; gives the reason.
fn wait_for_end(runtime: &Runtime, tasks: &mut Tasks, endings: &std::sync::mpsc::Receiver<String>) -> String {
    runtime.block_on(async {
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return "signals cannot be watched".to_owned();
        };
        let mut look = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                _ = terminate.recv() => return "signal".to_owned(),
                _ = interrupt.recv() => return "signal".to_owned(),
                ended = tasks.join_next() => return match ended {
                    Some(Ok(Err(error))) => format!("{error:#}"),
                    other => format!("a task ended: {other:?}"),
                },
                _ = look.tick() => match endings.try_recv() {
                    Ok(stage) => return format!("stage {stage} ended"),
                    Err(std::sync::mpsc::TryRecvError::Empty | std::sync::mpsc::TryRecvError::Disconnected) => {}
                },
            }
        }
    })
}

/// Loads everything a configuration names, without running it.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::read(path)?;
    if let Some(model) = &config.model {
        seeing::load(&config, model, &model.name)?;
        // What was chosen is loaded first at the start.
        if let Some(chosen) = Choice::read(&config.data).filter(|choice| choice.configured == model.name) {
            seeing::load(&config, model, &chosen.model.name)?;
        }
        seeing::chains(&config, model)?;
    }
    Ok(())
}
