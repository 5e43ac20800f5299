//! What is asked of one vehicle beside its orders: that its fence is the site's and its mission one that may be driven, its
//! parameters, its clock. One transfer at a time, what people ask for first. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use shared::units::Uptime;

use super::codec::Packet;
use super::params::{Listing, Parameter};
use super::plan::{Item, Kind, Plans, Verdict, same, sum};
use super::timesync::{Sync, TimeSync};
use super::transfer::{Done, Transfer, Turn};

/// Plans are read again this often: a ground station on another link may change them.
const READ_AGAIN: Duration = Duration::from_secs(300);
/// After a failure so soon.
const RETRY: Duration = Duration::from_secs(10);
/// What people ask for and waits.
const QUEUE: usize = 4;

/// Judges a mission as a vehicle told it.
pub type Check = Box<dyn Fn(&[Item]) -> Verdict + Send>;

/// What a vehicle's plans must be.
pub struct Wanted {
    /// The site's fence for it; without items it has none, and its own is not looked at.
    pub fence: Vec<Item>,
    /// Whether a mission may be driven.
    pub check: Check,
}

impl Default for Wanted {
    /// No fence, and any mission.
    fn default() -> Self {
        Self { fence: Vec::new(), check: Box::new(|_| Verdict::Good) }
    }
}

/// What people ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// The plan that it holds.
    Read(Kind),
    /// This mission, instead of its own.
    Write(Vec<Item>),
    /// All of its parameters.
    Params,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A plan: what it holds, or what was written and read back.
    Items(Vec<Item>),
    /// Parameters.
    Params(Vec<Parameter>),
}

/// What the vehicle does, as far as its plans are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doing {
    /// It is disarmed, or stands on the ground: its fence may change.
    pub still: bool,
    /// It is on its mission: that may not change.
    pub drives: bool,
}

/// What must be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Out {
    /// Send this message to it.
    Say(u32, Vec<u8>),
    /// A wish of this number has ended.
    Answer(u64, Result<Found, String>),
}

/// Why a transfer runs.
#[derive(Debug)]
enum Cause {
    /// To see whether it is as it must be; written already: whether what it took is what was sent.
    Look { written: bool },
    /// Its fence is made the site's.
    Mend,
    /// Somebody wants to read it.
    Read(u64),
    /// Somebody has sent a mission.
    Write(u64, Vec<Item>),
    /// And it is read back.
    Back(u64, Vec<Item>),
}

/// Of one vehicle.
pub struct Errands {
    ids: (u8, u8),
    /// Its first mission item is home, which it sets by itself: ArduPilot.
    home: bool,
    wanted: Wanted,
    /// What is known of its plans.
    pub plans: Plans,
    /// What is known of its clock.
    pub sync: Option<Sync>,
    running: Option<(Transfer, Cause)>,
    listing: Option<(Listing, u64)>,
    waiting: VecDeque<(u64, Wish)>,
    /// When fence and mission are looked at next.
    due: [Option<Uptime>; 2],
    clock: TimeSync,
}

impl Errands {
    /// Nothing is known. `ids`: system ids of the vehicle and ours; `home`: it is an ArduPilot.
    pub fn new(ids: (u8, u8), home: bool, wanted: Wanted) -> Self {
        Self {
            ids,
            home,
            wanted,
            plans: Plans::default(),
            sync: None,
            running: None,
            listing: None,
            waiting: VecDeque::new(),
            due: [None; 2],
            clock: TimeSync::default(),
        }
    }

    /// Somebody wants something.
    pub fn wish(&mut self, id: u64, wish: Wish, out: &mut Vec<Out>) {
        if self.waiting.len() >= QUEUE {
            return out.push(Out::Answer(id, Err("too much waits for this vehicle already".into())));
        }
        self.waiting.push_back((id, wish));
    }

    /// It was away, or has restarted: what was known of it may be old.
    pub fn begin_anew(&mut self) {
        // What was half written still is.
        let mission = if self.plans.mission == Verdict::Half { Verdict::Half } else { Verdict::Unknown };
        (self.due, self.plans) = ([None; 2], Plans { mission, ..Plans::default() });
    }

    /// A packet of it.
    pub fn hear(&mut self, packet: &Packet, now: Uptime, out: &mut Vec<Out>) {
        let (sync, answer) = self.clock.hear(packet, now);
        self.sync = sync.or(self.sync);
        out.extend(answer.map(|(id, payload)| Out::Say(id, payload)));
        if let Some((listing, _)) = &mut self.listing {
            listing.hear(packet, now);
        }
        if let Some(turn) = self.running.as_mut().and_then(|(transfer, _)| transfer.hear(packet, now)) {
            self.turn(turn, now, out);
        }
    }

    /// Time passed. `doing`: what it does; `None`: it is not heard.
    pub fn tick(&mut self, doing: Option<Doing>, now: Uptime, out: &mut Vec<Out>) {
        out.extend(self.clock.tick(now).map(|(id, payload)| Out::Say(id, payload)));
        if let Some((listing, id)) = &mut self.listing {
            match listing.tick(now) {
                Ok(questions) => out.extend(questions.into_iter().map(|(id, payload)| Out::Say(id, payload))),
                Err(ended) => {
                    out.push(Out::Answer(*id, ended.map(Found::Params)));
                    self.listing = None;
                }
            }
        }
        if self.running.is_none() {
            self.start(doing, now, out);
        }
        if let Some(turn) = self.running.as_mut().and_then(|(transfer, _)| transfer.tick(now)) {
            self.turn(turn, now, out);
        }
    }

    fn start(&mut self, doing: Option<Doing>, now: Uptime, out: &mut Vec<Out>) {
        let still = doing.is_some_and(|doing| doing.still);
        let due = |at: Option<Uptime>| at.is_none_or(|at| now >= at);
        let [fence, mission] = self.due;
        match self.waiting.front() {
            Some((_, Wish::Params)) if self.listing.is_none() => {
                if let Some((id, _)) = self.waiting.pop_front() {
                    self.listing = Some((Listing::new(self.ids.0, !self.home), id));
                }
            }
            Some((_, Wish::Params)) => {}
            Some((id, Wish::Read(kind))) => {
                let (id, kind) = (*id, *kind);
                self.waiting.pop_front();
                self.running = Some((Transfer::read(kind, self.ids, now), Cause::Read(id)));
            }
            // It was asked before what is asked now is known.
            Some((id, Wish::Write(_))) if doing.is_none_or(|doing| doing.drives) => {
                out.push(Out::Answer(*id, Err("it is on its mission, or not heard".into())));
                self.waiting.pop_front();
            }
            Some((id, Wish::Write(items))) => {
                let (id, items) = (*id, items.clone());
                self.waiting.pop_front();
                self.plans.mission = Verdict::Half;
                let transfer = Transfer::write(Kind::Mission, items.clone(), self.ids, now);
                self.running = Some((transfer, Cause::Write(id, items)));
            }
            None if doing.is_none() => {}
            None if self.plans.fence == Verdict::Other && still && due(fence) => self.mend(now),
            None if !self.wanted.fence.is_empty() && due(fence) => self.look(Kind::Fence, false, now),
            None if due(mission) => self.look(Kind::Mission, false, now),
            None => {}
        }
    }

    fn look(&mut self, kind: Kind, written: bool, now: Uptime) {
        self.running = Some((Transfer::read(kind, self.ids, now), Cause::Look { written }));
    }

    fn mend(&mut self, now: Uptime) {
        let transfer = Transfer::write(Kind::Fence, self.wanted.fence.clone(), self.ids, now);
        self.running = Some((transfer, Cause::Mend));
    }

    fn turn(&mut self, turn: Turn, now: Uptime, out: &mut Vec<Out>) {
        match turn {
            Turn::Say(id, payload) => out.push(Out::Say(id, payload)),
            Turn::Done(last, done) => {
                out.extend(last.map(|(id, payload)| Out::Say(id, payload)));
                if let Some((transfer, cause)) = self.running.take() {
                    self.ended(transfer.kind(), cause, done, now, out);
                }
            }
        }
    }

    fn ended(&mut self, kind: Kind, cause: Cause, done: Done, now: Uptime, out: &mut Vec<Out>) {
        self.again(kind, now.plus(READ_AGAIN));
        match (cause, done) {
            (Cause::Look { written }, Done::Read(items)) => {
                let verdict = self.judge(kind, &items);
                if kind == Kind::Fence && verdict == Verdict::Other {
                    // Mended as soon as it stands; what was just written and is not there waits.
                    self.again(kind, if written { now.plus(RETRY) } else { now });
                }
            }
            (Cause::Mend, Done::Taken) => self.look(Kind::Fence, true, now),
            (Cause::Read(id), Done::Read(items)) => {
                self.judge(kind, &items);
                out.push(Out::Answer(id, Ok(Found::Items(items))));
            }
            (Cause::Write(id, items), Done::Taken) => {
                self.running = Some((Transfer::read(Kind::Mission, self.ids, now), Cause::Back(id, items)));
            }
            (Cause::Back(id, sent), Done::Read(items)) => {
                self.judge(kind, &items);
                let answer = match same(&sent, &items, usize::from(self.home)) {
                    true => Ok(Found::Items(items)),
                    false => Err("what it took is not what was sent".to_owned()),
                };
                out.push(Out::Answer(id, answer));
            }
            (cause, Done::Failed(why)) => {
                self.again(kind, now.plus(RETRY));
                match (cause, kind) {
                    (Cause::Read(id) | Cause::Write(id, _) | Cause::Back(id, _), _) => {
                        out.push(Out::Answer(id, Err(why)))
                    }
                    // What cannot be read is not known; what was half written stays so.
                    (_, Kind::Mission) if self.plans.mission != Verdict::Half => self.plans.mission = Verdict::Unknown,
                    (_, Kind::Mission) => {}
                    (_, Kind::Fence) => self.plans.fence = Verdict::Unknown,
                }
            }
            // A transfer that reads ends with what it read, one that writes with what was taken.
            (_, Done::Read(_) | Done::Taken) => {}
        }
    }

    fn again(&mut self, kind: Kind, at: Uptime) {
        let [fence, mission] = &mut self.due;
        *(if kind == Kind::Fence { fence } else { mission }) = Some(at);
    }

    fn judge(&mut self, kind: Kind, items: &[Item]) -> Verdict {
        match kind {
            Kind::Fence if self.wanted.fence.is_empty() => {}
            Kind::Fence if same(&self.wanted.fence, items, 0) => self.plans.fence = Verdict::Good,
            Kind::Fence => self.plans.fence = Verdict::Other,
            Kind::Mission => {
                let own = items.get(usize::from(self.home)..).unwrap_or_default();
                self.plans.mission = (self.wanted.check)(own);
                self.plans.mission_sum = sum(own);
            }
        }
        if kind == Kind::Fence { self.plans.fence } else { self.plans.mission }
    }
}
