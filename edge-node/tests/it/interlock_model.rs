//! Every order of events of the e-stop's latch with a reset by two, and of leases, model-checked with the production code.

use std::time::Duration;

use edge_node::interlock::rules::estop::{CONFIRM, Estop, Latched, Reset, Scope};
use edge_node::interlock::rules::lease::{Lease, RENEWAL};
use shared::ids::EventId;
use shared::units::Uptime;
use stateright::{Checker, Model, Property};
use uuid::Uuid;

/// A step of the e-stop's time: half of what a second person has.
const STEP: Duration = Duration::from_secs(15);
/// A line that has shown "not pressed" for this long is let go.
const BOUNCE: Duration = Duration::from_millis(200);
const PEOPLE: [&str; 2] = ["ann", "bob"];

/// What the latch's thread has before it: what shall be on the disk, and of which press that is.
type Wish = (Latched, bool, u64);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Site {
    estop: Estop,
    disk: Latched,
    wishes: Vec<Wish>,
    durable: Vec<u64>,
    now: Uptime,
    line: bool,
    presses: u8,
    asks: u8,
    crashes: u8,
    /// By the book: who asked, when; whether somebody else has confirmed since the last press.
    asked: Option<(usize, Uptime)>,
    confirmed: bool,
    /// The newest press is on the disk, and no release was confirmed since.
    kept: bool,
    wrong: Option<&'static str>,
    released: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    Press(Scope),
    Line(bool),
    Ask(usize, Scope),
    Confirm(usize),
    Write,
    Durable(usize),
    Wait,
    Crash,
}

struct TwoPersons;

impl Site {
    fn pressed(&mut self) {
        self.presses += 1;
        (self.asked, self.confirmed, self.kept) = (None, false, false);
        self.wishes.push((self.estop.latched().clone(), true, self.estop.presses()));
    }
}

impl Site {
    fn confirm(&mut self, who: usize) {
        let right = self.asked.is_some_and(|(by, at)| by != who && self.now.since(at) < CONFIRM);
        match self.estop.confirm(PEOPLE[who], self.now) {
            Reset::Write(..) if !right => self.wrong = Some("released without two people in time"),
            Reset::Write(..) if self.line => self.wrong = Some("released while the line is pressed"),
            Reset::Write(left, press) => {
                (self.confirmed, self.asked, self.kept) = (true, None, false);
                self.wishes.push((left, false, press));
            }
            Reset::Denied(_) | Reset::Waits => {}
        }
    }
}

impl Model for TwoPersons {
    type State = Site;
    type Action = Act;

    fn init_states(&self) -> Vec<Site> {
        let now = Uptime::from_millis(100_000);
        let mut estop = Estop::new(Latched::new(2, false), true, now);
        estop.read(false, now);
        let now = now.plus(BOUNCE);
        vec![Site {
            estop,
            disk: Latched::new(2, false),
            wishes: Vec::new(),
            durable: Vec::new(),
            now,
            line: false,
            presses: 0,
            asks: 0,
            crashes: 0,
            asked: None,
            confirmed: false,
            kept: false,
            wrong: None,
            released: false,
        }]
    }

    fn actions(&self, state: &Site, actions: &mut Vec<Act>) {
        if state.presses < 3 {
            actions.extend([Act::Press(Scope::Site), Act::Press(Scope::Vehicle(0)), Act::Line(true)]);
        }
        if state.line {
            actions.push(Act::Line(false));
        }
        if state.asks < 3 {
            let scopes = [Scope::Site, Scope::Vehicle(0)];
            actions.extend(scopes.into_iter().flat_map(|scope| [Act::Ask(0, scope), Act::Ask(1, scope)]));
        }
        actions.extend([Act::Confirm(0), Act::Confirm(1)]);
        if !state.wishes.is_empty() {
            actions.push(Act::Write);
        }
        actions.extend((0..state.durable.len()).map(Act::Durable));
        if state.asked.is_some_and(|(_, at)| state.now.since(at) < CONFIRM) {
            actions.push(Act::Wait);
        }
        if state.crashes < 1 {
            actions.push(Act::Crash);
        }
    }

    fn next_state(&self, last: &Site, act: Act) -> Option<Site> {
        let mut state = last.clone();
        match act {
            Act::Press(scope) => {
                state.estop.press(scope, std::iter::empty());
                state.pressed();
            }
            Act::Line(pressed) => {
                state.line = pressed;
                if state.estop.read(pressed, state.now) {
                    state.estop.press(Scope::Site, std::iter::empty());
                    state.pressed();
                }
                // Let go for long enough.
                if !pressed {
                    state.now = state.now.plus(BOUNCE);
                    state.estop.read(false, state.now);
                }
            }
            Act::Ask(who, scope) => {
                if state.estop.reset(PEOPLE[who].into(), scope, true, state.now) == Reset::Waits {
                    state.asked = Some((who, state.now));
                    state.asks += 1;
                }
            }
            Act::Confirm(who) => state.confirm(who),
            Act::Write => {
                // The latch's thread writes the newest wish.
                let (latched, pressed, press) = std::mem::take(&mut state.wishes).pop()?;
                state.disk = latched;
                if pressed {
                    state.kept = press == state.estop.presses() && !state.confirmed;
                } else {
                    state.durable.push(press);
                }
            }
            Act::Durable(index) => {
                let press = state.durable.remove(index);
                let before = state.estop.latched().any();
                if state.estop.released(press).is_some() {
                    if !state.confirmed {
                        state.wrong = Some("released though nobody has confirmed since the last press");
                    }
                    if state.disk != *state.estop.latched() {
                        state.wrong = Some("released before it was on the disk");
                    }
                    state.released |= before && !state.estop.latched().any();
                }
            }
            Act::Wait => state.now = state.now.plus(STEP),
            Act::Crash => {
                state.crashes += 1;
                if state.kept && !state.disk.any() {
                    state.wrong = Some("a press that was on the disk is forgotten");
                }
                state.estop = Estop::new(state.disk.clone(), true, state.now);
                if !state.line {
                    state.estop.read(false, state.now);
                    state.now = state.now.plus(BOUNCE);
                }
                (state.wishes, state.durable, state.asked) = (Vec::new(), Vec::new(), None);
                state.confirmed = false;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the latch opens as it may", |_, state: &Site| state.wrong.is_none()),
            Property::sometimes("it is released in the end", |_, state: &Site| state.released),
        ]
    }
}

#[test]
fn the_latch_opens_only_by_two_people_in_time_and_once_that_is_on_the_disk() {
    let checked = TwoPersons.checker().threads(2).spawn_bfs().join();
    checked.assert_properties();
    assert!(checked.unique_state_count() > 1000, "{} states", checked.unique_state_count());
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wheel {
    lease: Lease,
    now: Uptime,
    /// Leases that were given, and to whom: the newest is the only one in force.
    given: Vec<(EventId, usize)>,
    /// By the book: when the one in force was renewed last; the patrol's end.
    renewed: Option<Uptime>,
    until: Option<Uptime>,
    wrong: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Turn {
    Give(usize),
    Renew(usize),
    Leave,
    Patrol,
    EndPatrol,
    Second,
}

struct Leases;

impl Wheel {
    fn check(&mut self) {
        let alive = self.renewed.is_some_and(|at| self.now.since(at) <= RENEWAL);
        let holder = self.given.last().filter(|_| alive).map(|(_, who)| PEOPLE[*who]);
        if self.lease.holder(self.now) != holder {
            self.wrong = Some("somebody else holds it than whoever took it last and is still there");
        }
        let patrol = self.until.is_some_and(|until| self.now < until);
        if self.lease.live(self.now) != (holder.is_some() || patrol) {
            self.wrong = Some("it may move for nobody, or may not though somebody answers");
        }
    }
}

impl Model for Leases {
    type State = Wheel;
    type Action = Turn;

    fn init_states(&self) -> Vec<Wheel> {
        let (lease, now) = (Lease::default(), Uptime::from_millis(100_000));
        vec![Wheel { lease, now, given: Vec::new(), renewed: None, until: None, wrong: None }]
    }

    fn actions(&self, state: &Wheel, actions: &mut Vec<Turn>) {
        if state.given.len() < 3 {
            actions.extend([Turn::Give(0), Turn::Give(1)]);
        }
        actions.extend((0..state.given.len()).map(Turn::Renew));
        actions.extend([Turn::Leave, Turn::Patrol, Turn::EndPatrol]);
        if state.now < Uptime::from_millis(106_000) {
            actions.push(Turn::Second);
        }
    }

    fn next_state(&self, last: &Wheel, turn: Turn) -> Option<Wheel> {
        let mut state = last.clone();
        match turn {
            Turn::Give(who) => {
                let id = EventId(Uuid::from_u128(state.given.len() as u128 + 1));
                state.lease.give(id, PEOPLE[who].into(), state.now);
                state.given.push((id, who));
                state.renewed = Some(state.now);
            }
            Turn::Renew(index) => {
                let newest = index + 1 == state.given.len() && state.renewed.is_some();
                let (id, who) = state.given[index];
                let other = PEOPLE[1 - who];
                if state.lease.is(id, PEOPLE[who]) != newest || state.lease.is(id, other) {
                    state.wrong = Some("a lease that was given to another is taken for theirs");
                }
                if newest {
                    state.lease.renew(state.now);
                    state.renewed = Some(state.now);
                }
            }
            Turn::Leave => {
                state.lease.end();
                state.renewed = None;
            }
            Turn::Patrol => {
                let until = state.now.plus(Duration::from_secs(3));
                state.lease.authorise("ann".into(), until);
                state.until = Some(until);
            }
            Turn::EndPatrol => {
                state.lease.end_patrol();
                state.until = None;
            }
            Turn::Second => state.now = state.now.plus(Duration::from_secs(1)),
        }
        state.check();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("one person at a time, and only while there", |_, state: &Wheel| state.wrong.is_none())]
    }
}

#[test]
fn a_lease_is_the_newest_ones_and_ends_with_its_renewals() {
    let checked = Leases.checker().threads(2).spawn_bfs().join();
    checked.assert_properties();
    assert!(checked.unique_state_count() > 1000, "{} states", checked.unique_state_count());
}
