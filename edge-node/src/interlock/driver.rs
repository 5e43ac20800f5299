//! The safety thread: feeds the machine, writes demands on every link of a vehicle by itself, and never waits for
//! tokio, SQLite, inference, disk or network. A press acts first and is persisted by the latch thread.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel};
use std::time::Duration;

use shared::event::{
    CommandDecided, CommandEnded, EstopChanged, InterlockChange, InterlockDemanded, LeaseChanged, OutputChanged,
    Payload,
};
use shared::ids::{EventId, Name};
use shared::units::Uptime;
use tokio::sync::oneshot;
use tracing::{error, info};
use uuid::Uuid;

use super::clerk::{Desk, Responsible, View};
use super::handle::{Interlock, Message, PRESSES, Queues};
use super::keeper::{self, Write};
use super::machine::{Effect, Input, Machine, Source, Verb};
use super::recorder::Recorder;
use super::rules::estop::Scope;
use crate::alert::Signal;
use crate::clock;
use crate::health::Metrics;
use crate::realtime::{lock_memory, prefer_this_thread};
use crate::vehicle::VehicleConfig;
use crate::vehicle::codec::PACKET_MAX;
use crate::vehicle::command::{Kind, Order, heartbeat};
use crate::vehicle::ends::Pens;
use crate::vehicle::way::Way;

/// The machine is stepped at least this often.
const TICK: Duration = Duration::from_millis(20);
/// What moves is told to hold for this long before the thread ends: four times.
const ENDING: Duration = Duration::from_millis(700);
/// What the safety thread owns.
pub struct Driver {
    /// The machine.
    pub machine: Machine,
    /// Vehicles in the machine's order.
    pub vehicles: Vec<VehicleConfig>,
    /// Output lines in the machine's order: their names, and what takes the pulses of a pin.
    pub outputs: Vec<(Name, Option<SyncSender<()>>)>,
    /// What writes on each link, in the order of the configuration.
    pub pens: Vec<Pens>,
    /// Takes events, signals and the console's view, without waiting.
    pub desk: Desk,
    /// Keeps what the machine takes.
    pub recorder: Recorder,
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
    pens: Vec<Pens>,
    buffer: Vec<u8>,
    /// By vehicle and link.
    ways: Vec<Vec<Option<Way>>>,
    latch: Sender<Write>,
    waiting: HashMap<EventId, oneshot::Sender<Vec<String>>>,
    /// The console's view has changed since it was last handed over.
    unshown: bool,
    pulsed: Uptime,
}

impl Driver {
    /// Runs until stopped.
    pub fn run(mut self, queues: &Queues) {
        prefer_this_thread("the safety thread");
        lock_memory();
        let (latch, writes) = channel();
        let (folder, own) = (self.folder.clone(), self.own.clone());
        let names: Vec<Name> = self.vehicles.iter().map(|vehicle| vehicle.name.clone()).collect();
        let released = move |press, by| own.tell(Input::Released { press, by });
        let keep = move || keeper::keep(&folder, &names, &writes, released);
        let keeper = std::thread::Builder::new().name("latch".into()).spawn(keep);
        if let Err(error) = &keeper {
            error!(%error, "latch thread cannot be started");
        }
        let pens = std::mem::take(&mut self.pens);
        let ways = vec![vec![None; pens.len()]; self.vehicles.len()];
        let (buffer, waiting, unshown) = (Vec::with_capacity(PACKET_MAX), HashMap::new(), true);
        let mut effects = Vec::with_capacity(64);
        let mut last_pass = clock::uptime();
        let mut out = Outputs { pens, buffer, ways, latch, waiting, unshown, pulsed: last_pass };
        while !self.stop.load(Ordering::Relaxed) {
            let message = queues.inputs.recv_timeout(TICK);
            let now = clock::uptime();
            self.take_presses(queues, now, &mut effects, &mut out);
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
                Ok(Message::Way(vehicle, link, way)) => {
                    if let Some(known) = out.ways.get_mut(vehicle).and_then(|ways| ways.get_mut(link)) {
                        *known = way;
                    }
                    Input::Tick
                }
                Err(RecvTimeoutError::Timeout) => Input::Tick,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.pass(input, now, &mut effects, &mut out);
            self.pulse(now, &mut out);
        }
        // Pins drop before anything else; relays open by themselves.
        self.outputs.iter_mut().for_each(|(_, pulses)| *pulses = None);
        self.end(queues, &mut effects, &mut out);
        drop(out);
        // A press that is not on the disk yet.
        if let Ok(keeper) = keeper {
            let _ = keeper.join();
        }
        info!("safety thread has ended");
    }

    /// Presses, no more than waited: whoever goes on pressing does not stop the loop.
    fn take_presses(&mut self, queues: &Queues, now: Uptime, effects: &mut Vec<Effect>, out: &mut Outputs) {
        for press in queues.pressed.try_iter().take(PRESSES) {
            self.pass(press, now, effects, out);
        }
    }

    /// Pins that are energised are turned, once a tick: one that has not taken the pulse before hangs, and drops.
    fn pulse(&self, now: Uptime, out: &mut Outputs) {
        if now.since(out.pulsed) < TICK {
            return;
        }
        out.pulsed = now;
        for (index, (_, pulses)) in self.outputs.iter().enumerate() {
            if let Some(pulses) = pulses.as_ref().filter(|_| self.machine.energised(index)) {
                let _ = pulses.try_send(());
            }
        }
    }

    /// Before the supervisor's heartbeat ends what moves is told to hold, a few times.
    fn end(&mut self, queues: &Queues, effects: &mut Vec<Effect>, out: &mut Outputs) {
        let begun = clock::uptime();
        self.pass(Input::Ending, begun, effects, out);
        while !self.vehicles.is_empty() && clock::uptime().since(begun) < ENDING {
            std::thread::sleep(TICK);
            self.pass(Input::Tick, clock::uptime(), effects, out);
            // Who presses now is told that it was taken: it acts and is latched.
            self.take_presses(queues, clock::uptime(), effects, out);
        }
        self.take_presses(queues, clock::uptime(), effects, out);
    }

    /// One input through the machine, its effects carried out: orders first, what is kept and shown after.
    fn pass(&mut self, input: Input, now: Uptime, effects: &mut Vec<Effect>, out: &mut Outputs) {
        let kept = self.recorder.before(&self.machine, &input, now);
        self.machine.step(input, now, effects);
        self.recorder.after(kept, effects, now);
        for effect in effects.iter() {
            match effect {
                Effect::Send(vehicle, order) => self.send(*vehicle, (*order, 0), None, out),
                // Once: two pulses are one that ends closed.
                Effect::Pulse(vehicle, order, way) => self.send(*vehicle, (*order, 0), Some(*way), out),
                Effect::Again(vehicle, order, before) => self.send(*vehicle, (*order, *before), None, out),
                Effect::Beat(vehicle) => beat(*vehicle, out),
                // A renewal changes nothing that is shown.
                Effect::Decided { kept: false, .. } => {}
                _ => out.unshown = true,
            }
        }
        for effect in effects.drain(..) {
            self.carry_out(effect, out);
        }
        if out.unshown {
            out.unshown = !self.show(now);
        }
    }

    fn show(&self, now: Uptime) -> bool {
        let demands = (0..self.vehicles.len()).map(|vehicle| self.machine.demand(vehicle).as_str()).collect();
        let responsible = (0..self.vehicles.len()).map(|vehicle| {
            let (holder, patrol) = self.machine.responsible(vehicle, now);
            Responsible { holder: holder.map(str::to_owned), patrol: patrol.map(str::to_owned) }
        });
        let told = (0..self.vehicles.len()).map(|vehicle| self.machine.told(vehicle)).collect();
        let (latched, rules, responsible) =
            (self.machine.latched().clone(), self.machine.rules(), responsible.collect());
        let outputs = self.machine.outputs();
        self.desk.show(View { latched, rules, demands, responsible, told, outputs })
    }

    fn output(&self, output: usize, energised: bool, faulty: bool) {
        let Some((name, _)) = self.outputs.get(output) else { return };
        let (rule, subject) = ("output".to_owned(), format!("output/{name}"));
        let text = format!("output {name} {}", if faulty { "does not work" } else { "works" });
        self.desk.signal(Signal { active: faulty, rule, subject: subject.clone(), text });
        let changed = OutputChanged { output: name.to_string(), energised, faulty };
        self.note(subject, Payload::OutputChanged(changed));
    }

    /// An order goes out on every link: which of them the vehicle hears is not known.
    fn send(&self, vehicle: usize, (order, before): (Order, u8), one: Option<usize>, out: &mut Outputs) {
        let (Some(config), Some(ways)) = (self.vehicles.get(vehicle), out.ways.get(vehicle)) else { return };
        let known = ways.iter().flatten().count().max(1);
        let ways = ways.iter().zip(&mut out.pens).filter_map(|(way, pens)| Some((way.as_ref()?, pens)));
        let (skipped, taken) = one.map_or((0, usize::MAX), |way| (way % known, 1));
        for (way, pens) in ways.skip(skipped).take(taken) {
            order.write((config.class, config.sysid, before), &mut pens.observer, &mut out.buffer, |bytes| {
                match way.urgent(bytes) {
                    true => self.metrics.demands_sent.inc(),
                    false => self.metrics.demands_failed.inc(),
                };
            });
        }
    }

    /// An event, with the reference of the step that it follows from.
    fn note(&self, aggregate: String, payload: Payload) {
        self.desk.note(aggregate, payload, self.recorder.trace());
    }

    fn name(&self, vehicle: usize) -> String {
        self.vehicles.get(vehicle).map_or_else(String::new, |v| v.name.to_string())
    }

    fn subject(&self, scope: Scope) -> String {
        match scope {
            Scope::Vehicle(vehicle) => format!("vehicle/{}", self.name(vehicle)),
            Scope::Site | Scope::Zone(_) => "site".into(),
        }
    }

    fn carry_out(&self, effect: Effect, out: &mut Outputs) {
        match effect {
            Effect::Send(..) | Effect::Again(..) | Effect::Pulse(..) | Effect::Beat(_) => {}
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
                self.note(format!("vehicle/{vehicle}"), payload);
            }
            Effect::Demanded { vehicle, demand, order, why } => {
                let vehicle = self.name(vehicle);
                let payload = Payload::InterlockDemanded(InterlockDemanded {
                    vehicle: vehicle.clone(),
                    demand: demand.as_str().into(),
                    action: order.map_or_else(String::new, |order| order.to_string()),
                    why: why.as_str().into(),
                });
                self.note(format!("vehicle/{vehicle}"), payload);
            }
            Effect::Latch { latched, pressed, scope, press, source, by } => {
                if pressed {
                    let change = EstopChanged { source: source.as_str().into(), pressed, by: by.clone() };
                    self.note(self.subject(scope), Payload::EstopChanged(change));
                }
                // The latch thread lives as long as this one.
                let _ = out.latch.send(Write { latched, pressed, press, by });
            }
            Effect::LatchReleased { by, scope, pressed } => {
                let change = EstopChanged { source: Source::Reset.as_str().into(), pressed, by };
                self.note(self.subject(scope), Payload::EstopChanged(change));
            }
            Effect::Lease { vehicle, change, by, lasts } => {
                let vehicle = self.name(vehicle);
                let lasts_s = lasts.map(|lasts| lasts.as_secs());
                let changed = LeaseChanged { vehicle: vehicle.clone(), change: change.into(), by, lasts_s };
                self.note(format!("vehicle/{vehicle}"), Payload::LeaseChanged(changed));
            }
            Effect::Decided { id, vehicle, reasons, kept } => {
                let (vehicle, permitted) = (self.name(vehicle), reasons.is_empty());
                if kept {
                    let reasons = reasons.clone();
                    let decided = CommandDecided { request: id, vehicle: vehicle.clone(), permitted, reasons };
                    self.note(format!("vehicle/{vehicle}"), Payload::CommandDecided(decided));
                }
                answer(id, reasons, out);
            }
            Effect::Answered { id, reasons } => answer(id, reasons, out),
            Effect::Output { output, energised, faulty } => self.output(output, energised, faulty),
            // A lost request moves nothing.
            Effect::GoOn { vehicle, by } => {
                // By chance alone: ids by time share a lock with slower threads.
                self.own.tell(Input::Request { id: EventId(Uuid::new_v4()), vehicle, verb: Verb::GoOn, by });
            }
            Effect::Ended { id, vehicle, verb, outcome } => {
                let (vehicle, detail) = (self.name(vehicle), outcome.detail().to_owned());
                let (verb, outcome) = (verb.to_owned(), outcome.as_str().to_owned());
                let ended = CommandEnded { request: id, vehicle: vehicle.clone(), verb, outcome, detail };
                self.note(format!("vehicle/{vehicle}"), Payload::CommandEnded(ended));
            }
        }
    }
}

/// The supervisor's heartbeat, on every link.
fn beat(vehicle: usize, out: &mut Outputs) {
    let Some(ways) = out.ways.get(vehicle) else { return };
    for (way, pens) in ways.iter().zip(&mut out.pens).filter_map(|(way, pens)| Some((way.as_ref()?, pens))) {
        heartbeat(&mut pens.supervisor, Kind::GroundStation, &mut out.buffer);
        // A heartbeat that is not sent is one that the vehicle misses.
        way.urgent(&out.buffer);
    }
}

fn answer(id: EventId, reasons: Vec<String>, out: &mut Outputs) {
    if let Some(answer) = out.waiting.remove(&id) {
        // Whoever asked may have gone.
        let _ = answer.send(reasons);
    }
}
