//! `edge-node interlock measure`: what one input costs the interlock, with sixteen vehicles and thirty-two zones.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use shared::ids::EventId;
use shared::units::Uptime;
use uuid::Uuid;

use crate::clock;
use crate::ground::people::People;
use crate::ground::polygon::Polygon;
use crate::ground::{Origin, Place};
use crate::interlock::machine::{Effect, Input, KeepOut, Machine, Policy, Verb};
use crate::interlock::output::{Output, While};
use crate::interlock::rules::estop::Latched;
use crate::interlock::rules::fence::{Fence, Side};
use crate::interlock::rules::node::Ill;
use crate::interlock::rules::separation::Apart;
use crate::vehicle::VehicleConfig;
use crate::vehicle::state::Report;
use crate::vehicle::state::{Estimate, Heard, VehicleState};

const VEHICLES: usize = 16;
const ZONES: usize = 32;
/// Inputs that are measured: reports, frames and ticks in the mix of a running site.
const INPUTS: u32 = 400_000;
/// Steps of one turn: each vehicle, each zone, and as many ticks.
const TURN: usize = 2 * (VEHICLES + ZONES);

fn policy() -> anyhow::Result<Policy> {
    let origin = Origin::new(Place { lat_deg: 47.4, lon_deg: 8.5 });
    let corners = [(47.39, 8.49), (47.39, 8.51), (47.41, 8.51), (47.41, 8.49)];
    let corners = corners.map(|(lat_deg, lon_deg)| Place { lat_deg, lon_deg });
    let polygon = Polygon::new(&corners, &origin).map_err(anyhow::Error::msg)?;
    let all: Vec<usize> = (0..VEHICLES).collect();
    let second = Duration::from_secs(1);
    let zone = |zone_index| KeepOut {
        zone: format!("z{zone_index}"),
        zone_index,
        vehicles: all.clone(),
        clear_after: second,
        stale_after: second,
        resumes: zone_index % 2 == 0,
        ground: None,
    };
    let vehicle = |n: usize| -> anyhow::Result<VehicleConfig> {
        let text = format!(
            "name = \"v{n}\"\nclass = \"copter\"\nsysid = {n}\nlinks = [\"l\"]\n\
             brake = [{{ speed_mps = 9.7, distance_m = 19.7, time_s = 4.7 }}]"
        );
        toml::from_str(&text).context("make a vehicle")
    };
    Ok(Policy {
        vehicles: (1..=VEHICLES).map(vehicle).collect::<anyhow::Result<_>>()?,
        keep_out: (0..ZONES).map(zone).collect(),
        fences: vec![Fence {
            name: "f".into(),
            side: Side::Inclusion,
            polygon,
            vehicles: all.clone(),
            ceiling_m: Some(100.0),
        }],
        origin: Some(origin),
        apart: Some(Apart { metres: 3.0 }),
        outputs: [While::Released, While::Held, While::Armed, While::Resuming].map(|wish| output(wish, &all)).into(),
        ..Policy::default()
    })
}

fn output(wish: While, all: &[usize]) -> Output {
    Output { name: format!("{wish:?}"), vehicles: all.to_vec(), energised_while: vec![wish], relay: None }
}

fn input(n: usize, now: Uptime) -> Input {
    match n % TURN {
        vehicle if vehicle < VEHICLES => {
            let north = f64::from(u8::try_from(vehicle).unwrap_or(0)) * 5e-4;
            let state = VehicleState {
                mode: 3,
                armed: true,
                speed_mps: 1.0,
                velocity_mps: (0.0, 1.0),
                position_deg: Some((47.4 + north, 8.5)),
                battery_pct: Some(80),
                battery_at: Some(now),
                heartbeat_at: Some(now),
                position_at: Some(now),
                packet_at: Some(now),
                fixed_at: Some(now),
                estimate: Some(Estimate { absolute: true, glitch: false, at: now }),
                ..VehicleState::default()
            };
            Input::Vehicle(Report { vehicle, state, heard: Heard::State })
        }
        zone if zone < VEHICLES + ZONES => {
            Input::Seen { zone: zone - VEHICLES, present: false, people: People::default(), captured: now }
        }
        _ => Input::Node(Ill::default()),
    }
}

/// A running site in its steady state: everybody on patrol, nothing tripped.
pub struct Site {
    machine: Machine,
    now: Uptime,
    out: Vec<Effect>,
}

impl Site {
    /// A site, once nothing is tripped any more.
    ///
    /// # Errors
    /// When something stays tripped.
    pub fn new() -> anyhow::Result<Self> {
        let now = Uptime::from_millis(100_000);
        let machine = Machine::new(policy()?, Latched::new(VEHICLES, false), now);
        let mut site = Self { machine, now, out: Vec::with_capacity(4096) };
        for vehicle in 0..VEHICLES {
            let (id, verb) = (EventId(Uuid::nil()), Verb::Patrol(Duration::from_secs(3600)));
            site.machine.step(Input::Request { id, vehicle, verb, by: "bench".into() }, now, &mut site.out);
        }
        site.run(INPUTS / 4);
        site.check()?;
        Ok(site)
    }

    /// Takes so many inputs; a turn of them is a tenth of a second.
    pub fn run(&mut self, inputs: u32) {
        for n in (0usize..).take(usize::try_from(inputs).unwrap_or(usize::MAX)) {
            self.now = self.now.plus(Duration::from_micros(1040));
            self.machine.step(input(n, self.now), self.now, &mut self.out);
            self.out.clear();
        }
    }

    /// Whether it is in its steady state.
    ///
    /// # Errors
    /// What is tripped.
    pub fn check(&self) -> anyhow::Result<()> {
        let tripped: Vec<_> = self.machine.rules().into_iter().filter(|rule| rule.reason.is_some()).collect();
        anyhow::ensure!(tripped.is_empty(), "find a steady state: {tripped:?}");
        Ok(())
    }
}

/// Runs the command: one JSON object.
///
/// # Errors
/// When standard output is closed.
pub fn run() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    let begun = clock::uptime();
    site.run(INPUTS);
    let nanoseconds = clock::uptime().since(begun).as_secs_f64() * 1e9 / f64::from(INPUTS);
    site.check()?;
    let measured = json!({ "step_ns": nanoseconds.round(), "vehicles": VEHICLES, "zones": ZONES, "inputs": INPUTS });
    Ok(writeln!(std::io::stdout(), "{measured}")?)
}
