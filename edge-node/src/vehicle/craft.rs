//! One vehicle as the vehicles' thread has it, and what it is asked for. Pure.

use std::time::Duration;

use shared::units::Uptime;

use super::class::Meaning;
use super::codec::{Packet, Writer};
use super::command::{request_parameter, request_stream};
use super::errands::{Doing, Errands, Out, Wish};
use super::message::{
    EKF_STATUS_REPORT, ESTIMATOR_STATUS, EXTENDED_SYS_STATE, GLOBAL_POSITION_INT, GPS_RAW_INT, HEARTBEAT,
    HOME_POSITION, RC_CHANNELS, SYS_STATUS,
};
use super::recent::Recent;
use super::roads::Roads;
use super::state::VehicleState;
use super::way::Way;
use super::{Class, VehicleConfig};

/// Streams are asked for again this often: a rebooted vehicle has forgotten.
const REQUEST: Duration = Duration::from_secs(5);
/// One parameter is asked for this often.
const AUDIT: Duration = Duration::from_millis(500);
/// Messages and intervals in microseconds that a vehicle is asked for.
const STREAMS: [(u32, u32); 7] = [
    (HEARTBEAT, 200_000),
    (GLOBAL_POSITION_INT, 200_000),
    (RC_CHANNELS, 100_000),
    (GPS_RAW_INT, 500_000),
    (SYS_STATUS, 1_000_000),
    (EXTENDED_SYS_STATE, 500_000),
    (HOME_POSITION, 5_000_000),
];
/// Slower than this it stands, m/s.
const STANDING_MPS: f32 = 0.3;
/// Not heard for this time it may have restarted.
const AWAY: Duration = Duration::from_secs(4);
/// And what tells how good its position is.
const ESTIMATE_US: u32 = 500_000;

/// One vehicle.
pub struct Craft {
    /// Its links.
    pub roads: Roads,
    /// What it said.
    pub state: VehicleState,
    /// Parameters asked for, and when the last was.
    audited: (usize, Option<Uptime>),
    /// When its state was journaled.
    pub sampled: Option<Uptime>,
    /// Acks that came.
    pub acks: Recent,
    /// It was heard in this batch.
    pub heard: bool,
    /// What is asked of it beside.
    pub errands: Errands,
}

/// What a link's packets are written and judged with.
#[derive(Debug)]
pub struct Link {
    /// Writes everything but demands.
    pub writer: Writer,
    /// Index of who looks at its signatures, where the link has a key.
    pub guard: Option<usize>,
}

impl Craft {
    /// Nothing was heard of it.
    pub fn new(roads: Roads, errands: Errands) -> Self {
        let (state, acks) = (VehicleState::default(), Recent::default());
        Self { roads, state, audited: (0, None), sampled: None, acks, heard: false, errands }
    }

    /// What its packet is for what is asked of it beside.
    pub fn hear_beside(&mut self, packet: &Packet, now: Uptime, out: &mut Vec<Out>) {
        self.errands.hear(packet, now, out);
        self.note();
    }

    /// Time passed, for the same; somebody may wish something.
    pub fn look_beside(&mut self, class: Class, wish: Option<(u64, Wish)>, now: Uptime, out: &mut Vec<Out>) {
        if let Some((id, wish)) = wish {
            self.errands.wish(id, wish, out);
        }
        let stands = !class.flies() && self.state.speed_mps < STANDING_MPS;
        let here = self.state.heartbeat_at.is_some_and(|at| now.since(at) < AWAY);
        if !here {
            self.errands.begin_anew();
        }
        let drives = self.state.armed && class.meaning(self.state.mode) == Meaning::Auto;
        self.errands.tick(here.then_some(Doing { still: !self.state.armed || stands, drives }), now, out);
        self.note();
    }

    fn note(&mut self) {
        let (plans, sync) = (self.errands.plans, self.errands.sync);
        if self.state.plans != plans {
            (self.state.plans, self.heard) = (plans, true);
        }
        self.state.sync = sync;
    }

    /// Asks on each of its links for streams, and where it is listened to for one parameter.
    pub fn ask(&mut self, config: &VehicleConfig, links: &mut [Link], now: Uptime, out: &mut Vec<(Way, Vec<u8>)>) {
        let mut packet = Vec::new();
        for road in &mut self.roads.all {
            let (Some(way), Some(Link { writer, .. })) = (&road.way, links.get_mut(road.link)) else { continue };
            if road.asked.is_none_or(|at| now.since(at) >= REQUEST) {
                road.asked = Some(now);
                let px4 = config.class == Class::Px4Copter;
                let estimate = (if px4 { ESTIMATOR_STATUS } else { EKF_STATUS_REPORT }, ESTIMATE_US);
                for (id, interval) in STREAMS.into_iter().chain([estimate]) {
                    request_stream(writer, config.sysid, id, interval, &mut packet);
                    out.push((way.clone(), packet.clone()));
                }
            }
        }
        let road = self.roads.active().and_then(|road| Some((road.way.as_ref()?, links.get_mut(road.link)?)));
        let (turn, at) = self.audited;
        if let Some((way, Link { writer, .. })) = road
            && at.is_none_or(|at| now.since(at) >= AUDIT)
        {
            self.audited = (turn.wrapping_add(1), Some(now));
            if let Some(name) = self.state.audit.next(config.class, turn) {
                request_parameter(writer, config.sysid, name, &mut packet);
                out.push((way.clone(), packet));
            }
        }
    }
}
