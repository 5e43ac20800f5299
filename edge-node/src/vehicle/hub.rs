//! The vehicles' thread: it alone has their states and what ground stations are told. Feeds the fleet and does what it says.
//! Never waits for the disk or the safety thread: a stalled disk must not make a vehicle look silent.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use shared::event::{CommandRequested, Payload, VehicleSaid, VehicleSampled};
use shared::ids::EventId;
use shared::units::Uptime;
use tokio::sync::{oneshot, watch};
use tracing::info;
use uuid::Uuid;

use super::aircraft::{Aircraft, Skies};
use super::codec::Packet;
use super::ears::Heard;
use super::errands::{Found, Wish as Beside};
use super::fleet::{Act, Fleet};
use super::gate::Wish;
use super::signing::Pace;
use super::state::{Report, VehicleState};
use super::stations::Reply;
use super::tlog::Tlog;
use super::way::Way;
use super::{LinkConfig, VehicleConfig};
use crate::clock;
use crate::health::{Metrics, Of};
use crate::journal::Journal;

/// Longest wait for packets, so that heartbeats are sent on time and a stop is noticed.
const WAIT: Duration = Duration::from_millis(100);
/// So often things that are due are looked for.
const TICK: Duration = Duration::from_millis(50);

/// Aircraft that are not ours are shown this often.
const SHOWN: Duration = Duration::from_millis(250);

/// Why a request is denied that nobody judged.
const SILENT: &str = "the safety thread does not answer";

/// A request's answer, once it is there: every reason against it.
pub type Answer = oneshot::Receiver<Vec<String>>;

/// The name of a request, for events, and its answer; `None`: nobody will answer.
pub type Asked = (&'static str, Option<Answer>);

/// What the vehicles' thread tells the interlock; none of it waits.
pub struct Safety {
    /// A vehicle was heard.
    pub report: Box<dyn FnMut(Report) + Send>,
    /// Where a vehicle is on a link; false: to be told again.
    pub way: Box<dyn FnMut(usize, usize, Option<Way>) -> bool + Send>,
    /// A ground station presses: for a vehicle, or for the site; false: too many presses wait already.
    pub press: Box<dyn FnMut(Option<usize>, String) -> bool + Send>,
    /// A ground station asks.
    pub ask: Box<dyn FnMut(EventId, usize, Wish, String) -> Asked + Send>,
}

/// Things that people want and that wait for this thread: they come one by one.
pub const TASKS: usize = 8;

/// What somebody wants of a vehicle beside its orders, and where the answer goes.
pub struct Task {
    /// Index of the vehicle.
    pub vehicle: usize,
    /// What.
    pub wish: Beside,
    /// Takes what was found, or why not.
    pub answer: oneshot::Sender<Result<Found, String>>,
}

/// What the thread needs.
pub struct Hub {
    /// The fold.
    pub fleet: Fleet,
    /// What the links say.
    pub heard: Receiver<Heard>,
    /// What people want.
    pub tasks: Receiver<Task>,
    /// The interlock.
    pub safety: Safety,
    /// The vehicles of the site.
    pub vehicles: Vec<VehicleConfig>,
    /// The links of the site.
    pub links: Vec<LinkConfig>,
    /// Batches of each link that wait.
    pub waiting: Vec<Arc<AtomicUsize>>,
    /// Lets the time of signatures go on.
    pub pace: Pace,
    /// Where the console looks.
    pub view: watch::Sender<Vec<VehicleState>>,
    /// Where it looks for aircraft that are not ours.
    pub skies: watch::Sender<Vec<Aircraft>>,
    /// Keeps what is said on the links.
    pub tlog: Tlog,
    /// Takes samples and what vehicles say.
    pub journal: Journal,
    /// Counters.
    pub metrics: Metrics,
    /// Ends the thread.
    pub stop: Arc<AtomicBool>,
}

/// What was begun and is not done yet.
#[derive(Default)]
struct Pending {
    asked: Vec<(Reply, Answer)>,
    untold: Vec<(usize, usize, Option<Way>)>,
    wishes: HashMap<u64, oneshot::Sender<Result<Found, String>>>,
    /// Number of the last of them.
    wished: u64,
    /// Aircraft that are not ours.
    skies: Skies,
    /// One was seen since they were last shown.
    seen: bool,
    shown: Option<Uptime>,
}

impl Hub {
    /// Runs until stopped.
    pub fn run(mut self) {
        let (mut acts, mut pending, mut ticked) = (Vec::new(), Pending::default(), None);
        while !self.stop.load(Ordering::Relaxed) {
            let heard = match self.heard.recv_timeout(if pending.asked.is_empty() { WAIT } else { TICK }) {
                Ok(heard) => Some(heard),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let now = clock::uptime();
            self.pace.pass(now);
            let told = heard.is_some();
            match heard {
                Some(Heard::Packets(link, way, packets, at)) => {
                    if let Some(waiting) = self.waiting.get(link) {
                        waiting.fetch_sub(1, Ordering::Relaxed);
                    }
                    self.tlog.keep(packets.iter().map(|packet| &packet.raw[..]), clock::utc());
                    // When they came, not when there was time for them.
                    self.fleet.hear(link, &way, &packets, at, &mut acts);
                }
                Some(Heard::Opened(link, way)) => self.fleet.opened(link, &way, &mut acts),
                Some(Heard::Closed(link, way)) => self.fleet.closed(link, &way, &mut acts),
                None => {}
            }
            if ticked.is_none_or(|at| now.since(at) >= TICK) {
                ticked = Some(now);
                self.fleet.tick(now, &mut acts);
                self.tlog.hand_over();
                for Task { vehicle, wish, answer } in self.tasks.try_iter() {
                    pending.wished += 1;
                    pending.wishes.insert(pending.wished, answer);
                    self.fleet.wish(vehicle, (pending.wished, wish), now, &mut acts);
                }
                self.settle(&mut pending, &mut acts);
                let due = pending.shown.is_none_or(|at| now.since(at) >= SHOWN);
                if due && std::mem::take(&mut pending.seen) {
                    pending.shown = Some(now);
                    self.skies.send_replace(pending.skies.all());
                }
            }
            if told {
                // Before the interlock is told: whoever asks it and then looks sees no less than it knew.
                self.show();
            }
            for act in acts.drain(..) {
                self.carry_out(act, &mut pending);
            }
        }
        self.tlog.hand_over();
        info!("vehicles' thread has ended");
    }

    fn show(&self) {
        self.view
            .send_modify(|view| view.iter_mut().zip(self.fleet.states()).for_each(|(shown, state)| *shown = *state));
    }

    /// What the interlock has answered meanwhile, and what it had no room for.
    fn settle(&mut self, pending: &mut Pending, acts: &mut Vec<Act>) {
        pending.untold.retain_mut(|(vehicle, link, way)| !(self.safety.way)(*vehicle, *link, way.clone()));
        let now = clock::uptime();
        pending.asked.retain_mut(|(reply, answer)| {
            let reasons = match answer.try_recv() {
                Ok(reasons) => reasons,
                Err(oneshot::error::TryRecvError::Empty) => return true,
                Err(oneshot::error::TryRecvError::Closed) => vec![SILENT.into()],
            };
            let answer = reasons.first().map_or(Ok(()), |reason| Err(reason.as_str()));
            self.fleet.answer(reply, answer, now, acts);
            false
        });
    }

    fn carry_out(&mut self, act: Act, pending: &mut Pending) {
        match act {
            Act::Report(report) => (self.safety.report)(report),
            Act::Way { vehicle, link, way } => {
                // A newer word takes the place of one that waits.
                pending.untold.retain(|(v, l, _)| (*v, *l) != (vehicle, link));
                if !(self.safety.way)(vehicle, link, way.clone()) {
                    pending.untold.push((vehicle, link, way));
                }
            }
            Act::Send(way, packet) => {
                // A full or unreachable way is the link's silence, which the vehicle's age shows.
                way.ordinary(&packet);
                self.tlog.keep(std::iter::once(&packet[..]), clock::utc());
            }
            Act::Sample(vehicle) => self.sample(vehicle),
            Act::Said { vehicle, severity, text } => {
                let said = VehicleSaid { vehicle: self.name(vehicle), severity, text };
                let event = self.journal.event(format!("vehicle/{}", said.vehicle), Payload::VehicleSaid(said));
                self.journal.offer(event);
            }
            Act::Aircraft { link, packet } => self.aircraft(link, &packet, pending),
            Act::Press { vehicle, by, reply } => {
                let taken = (self.safety.press)(vehicle, by);
                self.reply(&reply, taken.then_some(()).ok_or("too many presses wait already"), pending);
            }
            Act::Ask { vehicle, wish, by, reply } => self.ask((vehicle, wish, by), reply, pending),
            Act::Found { id, found } => {
                if let Some(answer) = pending.wishes.remove(&id) {
                    // Whoever asked may have gone.
                    let _ = answer.send(found);
                }
            }
            Act::Refused { link, why } => self.refused(link, why),
            Act::Moved { vehicle, link } => {
                let link = self.links.get(link).map_or("", |link| link.name.as_str());
                info!(vehicle = self.name(vehicle), link, "vehicle is heard");
            }
        }
    }

    fn aircraft(&self, link: usize, packet: &Packet, pending: &mut Pending) {
        let now = clock::uptime();
        match pending.skies.hear(packet, now) {
            Ok(seen) => {
                if let Some(seen) = seen {
                    let subject = format!("aircraft/{}", seen.aircraft);
                    self.journal.offer(self.journal.event(subject, Payload::AircraftSeen(seen)));
                }
                pending.seen = true;
            }
            Err(why) => self.refused(link, why),
        }
    }

    fn refused(&self, link: usize, why: &str) {
        let name = self.links.get(link).map_or("", |link| link.name.as_str());
        self.metrics.mavlink_refused.get_or_create(&Of::new(&format!("{name}: {why}"))).inc();
    }

    fn ask(&mut self, (vehicle, wish, by): (usize, Wish, String), reply: Reply, pending: &mut Pending) {
        let id = EventId(Uuid::now_v7());
        let (verb, answer) = (self.safety.ask)(id, vehicle, wish, by.clone());
        let name = self.name(vehicle);
        let requested = CommandRequested { request: id, vehicle: name.clone(), verb: verb.into(), by };
        let event = self.journal.event(format!("vehicle/{name}"), Payload::CommandRequested(requested));
        self.journal.offer(event);
        match answer {
            Some(answer) => pending.asked.push((reply, answer)),
            None => self.reply(&reply, Err(SILENT), pending),
        }
    }

    fn reply(&mut self, reply: &Reply, answer: Result<(), &str>, pending: &mut Pending) {
        let mut acts = Vec::new();
        self.fleet.answer(reply, answer, clock::uptime(), &mut acts);
        acts.into_iter().for_each(|act| self.carry_out(act, pending));
    }

    fn name(&self, vehicle: usize) -> String {
        self.vehicles.get(vehicle).map_or_else(String::new, |vehicle| vehicle.name.to_string())
    }

    fn sample(&self, vehicle: usize) {
        let Some(state) = self.fleet.state(vehicle) else { return };
        let placed = state.position_at.is_some();
        let sample = VehicleSampled {
            vehicle: self.name(vehicle),
            mode: state.mode,
            armed: state.armed,
            lat_deg: state.position_deg.map(|(lat, _)| lat),
            lon_deg: state.position_deg.map(|(_, lon)| lon),
            relative_alt_m: placed.then_some(state.relative_alt_m),
            speed_mps: placed.then_some(state.speed_mps),
            battery_pct: state.battery_pct,
        };
        let event = self.journal.event(format!("vehicle/{}", sample.vehicle), Payload::VehicleSampled(sample));
        self.journal.offer(event);
    }
}
