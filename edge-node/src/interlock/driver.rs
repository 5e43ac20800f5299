//! The safety thread: feeds the machine, writes demands to its own clones of the links' sockets, and never waits for
//! tokio, SQLite, inference, disk or network. A press acts first and is persisted by the latch thread.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel};
use std::time::Duration;

use rustix::net::{SendFlags, sendto};
use shared::event::{CommandDecided, EstopChanged, InterlockChange, InterlockDemanded, Payload};
use shared::ids::EventId;
use shared::units::Uptime;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::clerk::{Desk, View};
use super::latch;
use super::machine::{Effect, Input, Machine};
use crate::alert::Signal;
use crate::clock;
use crate::health::Metrics;
use crate::vehicle::VehicleConfig;
use crate::vehicle::codec::Writer;
use crate::vehicle::command::OUR_COMPONENT;

/// Inputs waiting for the safety thread: two seconds of 16 vehicles and 8 cameras. Full: the input is counted and
/// lost, the next says the same, and silence trips.
pub const QUEUE: usize = 1024;
/// Presses have a queue of their own, looked at first, so that no flood of other inputs delays one.
const PRESSES: usize = 64;
/// The machine is stepped at least this often.
const TICK: Duration = Duration::from_millis(20);
/// A latch that could not be written is tried again after this time.
const LATCH_RETRY: Duration = Duration::from_millis(200);
/// Priority under SCHED_FIFO, above everything of ours, below the kernel's own threads.
const PRIORITY: u8 = 40;

/// What the safety thread takes.
pub enum Message {
    /// An input of the machine.
    Input(Input),
    /// A request with its answer: no reasons mean permitted.
    Request(Input, EventId, oneshot::Sender<Vec<String>>),
}

/// Handle of the safety thread: cheap to clone.
#[derive(Clone)]
pub struct Interlock {
    queue: SyncSender<Message>,
    presses: SyncSender<Input>,
    metrics: Metrics,
}

/// The safety thread's ends of its queues.
pub struct Queues {
    inputs: Receiver<Message>,
    pressed: Receiver<Input>,
}

impl Interlock {
    /// A handle and the thread's ends of its queues.
    pub fn new(metrics: Metrics) -> (Self, Queues) {
        let (queue, inputs) = std::sync::mpsc::sync_channel(QUEUE);
        let (presses, pressed) = std::sync::mpsc::sync_channel(PRESSES);
        (Self { queue, presses, metrics }, Queues { inputs, pressed })
    }

    /// Tells the machine something; never waits.
    pub fn tell(&self, input: Input) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Input(input)) {
            self.metrics.interlock_inputs_lost.inc();
        }
    }

    /// Presses the e-stop; false only when as many presses are waiting already, or the safety thread has ended.
    pub fn press(&self, source: &'static str, by: String) -> bool {
        let taken = self.presses.try_send(Input::Press { source, by }).is_ok();
        // Wakes the thread; a full queue means that it is awake.
        let _ = self.queue.try_send(Message::Input(Input::Tick));
        taken
    }

    /// Asks for a command; the answer is every reason against it, or `None` when the safety thread does not answer.
    pub async fn ask(&self, input: Input, id: EventId) -> Option<Vec<String>> {
        let (answer, reasons) = oneshot::channel();
        self.queue.try_send(Message::Request(input, id, answer)).ok()?;
        reasons.await.ok()
    }
}

/// What the safety thread owns.
pub struct Driver {
    /// The machine.
    pub machine: Machine,
    /// Vehicles in the machine's order.
    pub vehicles: Vec<VehicleConfig>,
    /// Its clone of each vehicle's socket, in the same order.
    pub sockets: Vec<UdpSocket>,
    /// Our system id.
    pub sysid: u8,
    /// Takes events, signals and the console's view, without waiting.
    pub desk: Desk,
    /// Counters.
    pub metrics: Metrics,
    /// Data folder of the latch.
    pub folder: PathBuf,
    /// This thread's own queue, for the latch thread.
    pub own: Interlock,
    /// Ends the thread.
    pub stop: Arc<AtomicBool>,
}

struct Outputs {
    writer: Writer,
    buffer: Vec<u8>,
    peers: Vec<Option<SocketAddr>>,
    latch: Sender<(bool, u64, String)>,
    waiting: HashMap<EventId, oneshot::Sender<Vec<String>>>,
    /// The console's view has changed since it was last handed over.
    unshown: bool,
}

impl Driver {
    /// Runs until stopped.
    pub fn run(mut self, queues: &Queues) {
        prefer_this_thread();
        let (latch, writes) = channel();
        let (folder, own) = (self.folder.clone(), self.own.clone());
        let keeper = std::thread::Builder::new().name("latch".into()).spawn(move || keep_latch(&folder, &writes, &own));
        if let Err(error) = keeper {
            error!(%error, "latch thread cannot be started");
        }
        let peers = vec![None; self.vehicles.len()];
        let writer = Writer::new(self.sysid, OUR_COMPONENT);
        let mut out =
            Outputs { writer, buffer: Vec::with_capacity(300), peers, latch, waiting: HashMap::new(), unshown: true };
        let mut effects = Vec::with_capacity(64);
        let mut last_pass = clock::uptime();
        while !self.stop.load(Ordering::Relaxed) {
            let message = queues.inputs.recv_timeout(TICK);
            let now = clock::uptime();
            for press in queues.pressed.try_iter() {
                self.pass(press, now, &mut effects, &mut out);
            }
            let pass = i64::try_from(now.since(last_pass).as_micros()).unwrap_or(i64::MAX);
            last_pass = now;
            if pass > self.metrics.safety_loop_max_us.get() {
                self.metrics.safety_loop_max_us.set(pass);
            }
            let input = match message {
                Ok(Message::Input(input)) => input,
                Ok(Message::Request(input, id, answer)) => {
                    out.waiting.insert(id, answer);
                    input
                }
                Err(RecvTimeoutError::Timeout) => Input::Tick,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Input::Vehicle(report) = &input
                && let Some(peer) = out.peers.get_mut(report.vehicle)
            {
                *peer = Some(report.peer);
            }
            self.pass(input, now, &mut effects, &mut out);
        }
        info!("safety thread has ended");
    }

    /// One input through the machine, its effects carried out: orders first, what is kept and shown after.
    fn pass(&mut self, input: Input, now: Uptime, effects: &mut Vec<Effect>, out: &mut Outputs) {
        self.machine.step(input, now, effects);
        out.unshown |= !effects.is_empty();
        for effect in effects.iter() {
            if let Effect::Send(vehicle, order) = effect {
                self.send(*vehicle, *order, out);
            }
        }
        for effect in effects.drain(..) {
            self.carry_out(effect, out);
        }
        if out.unshown {
            out.unshown = !self.show();
        }
    }

    fn show(&self) -> bool {
        let demands = (0..self.vehicles.len()).map(|vehicle| self.machine.demand(vehicle).as_str()).collect();
        self.desk.show(View { pressed: self.machine.pressed(), rules: self.machine.rules(), demands })
    }

    fn send(&self, vehicle: usize, order: crate::vehicle::command::Order, out: &mut Outputs) {
        let (Some(config), Some(socket)) = (self.vehicles.get(vehicle), self.sockets.get(vehicle)) else { return };
        let Some(peer) = out.peers.get(vehicle).copied().flatten() else { return };
        order.write((config.class, config.sysid), &mut out.writer, &mut out.buffer, |bytes| {
            // Never waits: one full link must not delay the other vehicles.
            match sendto(socket, bytes, SendFlags::DONTWAIT, &peer) {
                Ok(_) => self.metrics.demands_sent.inc(),
                Err(_) => self.metrics.demands_failed.inc(),
            };
        });
    }

    fn name(&self, vehicle: usize) -> String {
        self.vehicles.get(vehicle).map_or_else(String::new, |v| v.name.to_string())
    }

    fn carry_out(&self, effect: Effect, out: &mut Outputs) {
        match effect {
            Effect::Send(..) => {}
            Effect::Rule { tripped, rule, vehicle, demand, reason } => {
                let vehicle = self.name(vehicle);
                let signal = Signal {
                    active: tripped,
                    rule: rule.into(),
                    subject: format!("vehicle/{vehicle}"),
                    text: reason.clone(),
                };
                self.desk.signal(signal);
                let change = InterlockChange {
                    rule: rule.into(),
                    vehicle: vehicle.clone(),
                    demand: demand.as_str().into(),
                    reason,
                };
                let payload =
                    if tripped { Payload::InterlockTripped(change) } else { Payload::InterlockCleared(change) };
                self.desk.note(format!("vehicle/{vehicle}"), payload);
            }
            Effect::Demanded { vehicle, demand, order, why } => {
                let vehicle = self.name(vehicle);
                let payload = Payload::InterlockDemanded(InterlockDemanded {
                    vehicle: vehicle.clone(),
                    demand: demand.as_str().into(),
                    action: order.map_or_else(String::new, |order| order.to_string()),
                    why: why.as_str().into(),
                });
                self.desk.note(format!("vehicle/{vehicle}"), payload);
            }
            Effect::Latch { pressed, press, source, by } => {
                if pressed {
                    let change = EstopChanged { source: source.into(), pressed, by: by.clone() };
                    self.desk.note("site".into(), Payload::EstopChanged(change));
                }
                // The latch thread lives as long as this one.
                let _ = out.latch.send((pressed, press, by));
            }
            Effect::LatchReleased { by } => {
                let change = EstopChanged { source: "reset".into(), pressed: false, by };
                self.desk.note("site".into(), Payload::EstopChanged(change));
            }
            Effect::Decided { id, vehicle, reasons } => {
                let (vehicle, permitted) = (self.name(vehicle), reasons.is_empty());
                let decided =
                    CommandDecided { request: id, vehicle: vehicle.clone(), permitted, reasons: reasons.clone() };
                self.desk.note(format!("vehicle/{vehicle}"), Payload::CommandDecided(decided));
                if let Some(answer) = out.waiting.remove(&id) {
                    // Whoever asked may have gone.
                    let _ = answer.send(reasons);
                }
            }
        }
    }
}

/// Persists the latch off the safety thread: the newest wish, until it is durable. A release goes back to the machine
/// only then.
fn keep_latch(folder: &std::path::Path, writes: &Receiver<(bool, u64, String)>, interlock: &Interlock) {
    let mut wished: Option<(bool, u64, String)> = None;
    loop {
        match (&wished, writes.recv_timeout(LATCH_RETRY)) {
            (_, Ok(newer)) => wished = Some(writes.try_iter().last().unwrap_or(newer)),
            (Some(_), Err(RecvTimeoutError::Timeout)) => {}
            (None, Err(RecvTimeoutError::Timeout)) => continue,
            (_, Err(RecvTimeoutError::Disconnected)) => return,
        }
        let Some((pressed, press, by)) = wished.take() else { continue };
        match latch::write(folder, pressed) {
            Ok(()) if !pressed => interlock.tell(Input::Released { press, by }),
            Ok(()) => {}
            Err(error) => {
                error!(pressed, %error, "latch cannot be written; trying again");
                wished = Some((pressed, press, by));
            }
        }
    }
}

/// SCHED_FIFO and locked memory where the system permits them.
fn prefer_this_thread() {
    use rustix::mm::{MlockAllFlags, mlockall};
    use thread_priority::{
        RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id,
    };
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let priority = ThreadPriorityValue::try_from(PRIORITY).map(ThreadPriority::Crossplatform);
    let set = priority.map(|priority| set_thread_priority_and_policy(thread_native_id(), priority, policy));
    if !matches!(set, Ok(Ok(()))) {
        warn!("safety thread runs without real-time priority: SCHED_FIFO is not permitted");
    }
    if let Err(error) = mlockall(MlockAllFlags::CURRENT) {
        warn!(%error, "memory is not locked");
    }
}
