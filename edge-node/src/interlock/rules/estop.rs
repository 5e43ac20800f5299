//! The e-stop: what is pressed, and how it is released. Pressing needs nobody; a release needs a supervisor, where the site
//! wants it a second person within half a minute, every source let go, and a durable record before it acts.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

/// A second person confirms a reset within this time.
pub const CONFIRM: Duration = Duration::from_secs(30);
/// A hardware line must show "not pressed" for this long: contacts bounce. A press is never waited for.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// A hardware line that was not read for this long counts as pressed.
const UNREAD: Duration = Duration::from_millis(500);
/// What a press is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Every vehicle and output of the site.
    Site,
    /// The vehicles of the keep-out rules of a zone, by the zone's index in the configuration.
    Zone(usize),
    /// One vehicle, by its index.
    Vehicle(usize),
}

/// What is latched.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Latched {
    /// The whole site.
    pub site: bool,
    /// Vehicles by index, each for itself.
    pub vehicles: Vec<bool>,
}

impl Latched {
    /// Nothing latched, or the whole site.
    pub fn new(vehicles: usize, site: bool) -> Self {
        Self { site, vehicles: vec![false; vehicles] }
    }

    /// Whether a vehicle is stopped.
    pub fn holds(&self, vehicle: usize) -> bool {
        self.site || self.vehicles.get(vehicle).copied().unwrap_or(false)
    }

    /// Whether anything is.
    pub fn any(&self) -> bool {
        self.site || self.vehicles.iter().any(|pressed| *pressed)
    }

    fn without(&self, scope: Scope) -> Self {
        match scope {
            Scope::Vehicle(index) => {
                let vehicles = self.vehicles.iter().enumerate().map(|(at, pressed)| *pressed && at != index).collect();
                Self { site: self.site, vehicles }
            }
            Scope::Site | Scope::Zone(_) => Self::new(self.vehicles.len(), false),
        }
    }
}

/// The hardware line, normally closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Line {
    read: Uptime,
    pressed: bool,
    /// Since when it has shown "not pressed".
    good_since: Option<Uptime>,
}

/// A release that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Asked {
    by: String,
    scope: Scope,
    at: Uptime,
}

/// The e-stop of a site.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Estop {
    latched: Latched,
    presses: u64,
    line: Option<Line>,
    asked: Option<Asked>,
    /// What will be latched once the record of it is durable, and of which press it was.
    releasing: Option<(u64, Latched, Scope)>,
}

/// What a request to reset comes to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reset {
    /// It is refused.
    Denied(&'static str),
    /// A second person must confirm it.
    Waits,
    /// This must be written, under the number of the press; then it acts.
    Write(Latched, u64),
}

impl Estop {
    /// As the latch has it. A site with a hardware line believes it pressed until it is read.
    pub const fn new(latched: Latched, line: bool, now: Uptime) -> Self {
        let line = if line { Some(Line { read: now, pressed: false, good_since: None }) } else { None };
        Self { latched, presses: 1, line, asked: None, releasing: None }
    }

    /// What is latched.
    pub const fn latched(&self) -> &Latched {
        &self.latched
    }

    /// Number of the newest press.
    pub const fn presses(&self) -> u64 {
        self.presses
    }

    /// A press. `zone` are the vehicles of [`Scope::Zone`].
    pub fn press(&mut self, scope: Scope, zone: impl Iterator<Item = usize>) {
        self.presses += 1;
        (self.asked, self.releasing) = (None, None);
        let mut set = |vehicle: usize| match self.latched.vehicles.get_mut(vehicle) {
            Some(pressed) => *pressed = true,
            // Of what is not known the whole site is stopped.
            None => self.latched.site = true,
        };
        match scope {
            Scope::Site => self.latched.site = true,
            Scope::Vehicle(vehicle) => set(vehicle),
            Scope::Zone(_) => {
                let mut known = false;
                zone.for_each(|vehicle| {
                    known = true;
                    set(vehicle);
                });
                self.latched.site |= !known;
            }
        }
    }

    /// The line was read; true when that is a press.
    pub fn read(&mut self, pressed: bool, now: Uptime) -> bool {
        let line = self.line.get_or_insert(Line { read: now, pressed: false, good_since: None });
        let before = line.pressed;
        line.read = now;
        line.good_since = if pressed { None } else { line.good_since.or(Some(now)) };
        if pressed {
            line.pressed = true;
        } else if line.good_since.is_some_and(|since| now.since(since) >= DEBOUNCE) {
            line.pressed = false;
        }
        pressed && !before
    }

    /// Time passed; true when the line has not been read and now counts as pressed.
    pub fn tick(&mut self, now: Uptime) -> bool {
        let Some(line) = self.line.as_mut().filter(|line| !line.pressed && now.since(line.read) >= UNREAD) else {
            return false;
        };
        (line.pressed, line.good_since) = (true, None);
        true
    }

    /// Whether the hardware line shows a press, or did not yet show the contrary for long enough.
    pub fn line_pressed(&self, now: Uptime) -> bool {
        let good = |line: Line| line.good_since.is_some_and(|since| now.since(since) >= DEBOUNCE);
        self.line.is_some_and(|line| line.pressed || !good(line))
    }

    /// Somebody with the right to wants a reset.
    pub fn reset(&mut self, by: String, scope: Scope, two_person: bool, now: Uptime) -> Reset {
        let held = match scope {
            Scope::Vehicle(vehicle) => self.latched.vehicles.get(vehicle).copied().unwrap_or(false),
            Scope::Site => self.latched.any(),
            Scope::Zone(_) => return Reset::Denied("a zone's vehicles are reset by name, or the whole site is"),
        };
        if !held {
            return Reset::Denied("that is not latched");
        }
        // Whoever confirms must know what: nothing takes the place of what was asked for.
        if self.asked.as_ref().is_some_and(|asked| now.since(asked.at) < CONFIRM) {
            return Reset::Denied("a reset waits for its second person already");
        }
        if let Some(denied) = self.hinders(now) {
            return denied;
        }
        if two_person {
            self.asked = Some(Asked { by, scope, at: now });
            return Reset::Waits;
        }
        self.release(scope)
    }

    /// Somebody confirms a reset.
    pub fn confirm(&mut self, by: &str, now: Uptime) -> Reset {
        let Some(asked) = self.asked.take_if(|asked| now.since(asked.at) >= CONFIRM || asked.by != by) else {
            return Reset::Denied(match self.asked {
                Some(_) => "somebody else than who asked must confirm",
                None => "nobody has asked for a reset",
            });
        };
        if now.since(asked.at) >= CONFIRM {
            return Reset::Denied("it was asked for more than 30 s ago");
        }
        if let Some(denied) = self.hinders(now) {
            return denied;
        }
        self.release(asked.scope)
    }

    fn hinders(&self, now: Uptime) -> Option<Reset> {
        if self.releasing.is_some() {
            return Some(Reset::Denied("another reset is being written"));
        }
        let line = "the hardware line is still pressed, or cannot be read";
        self.line_pressed(now).then_some(Reset::Denied(line))
    }

    fn release(&mut self, scope: Scope) -> Reset {
        let left = self.latched.without(scope);
        self.releasing = Some((self.presses, left.clone(), scope));
        Reset::Write(left, self.presses)
    }

    /// The record of a release is durable; what it was for, when it acts: no press has come since.
    pub fn released(&mut self, press: u64) -> Option<Scope> {
        let (_, left, scope) = self.releasing.take_if(|(of, ..)| *of == press && press == self.presses)?;
        self.latched = left;
        Some(scope)
    }
}
