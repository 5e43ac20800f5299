//! The vehicles behind all links, and the ground stations: a fold over what comes in, which says what must be done. Pure:
//! no I/O, time as an argument.

use std::time::Duration;

use shared::units::Uptime;

use super::codec::{Fields, Packet, Writer};
use super::command::{
    Kind, MAV_RESULT_ACCEPTED, MAV_RESULT_DENIED, command_ack, heartbeat, request_parameter, request_stream,
    status_text,
};
use super::gate::{Verdict, Wish, judge};
use super::recent::{Recent, said};
use super::roads::{Hearing, Roads};
use super::signing::Guard;
use super::state::{Heard, Report, VehicleState};
use super::stations::{Reply, Stations};
use super::way::Way;
use super::{Class, LinkConfig, VehicleConfig};

/// Our heartbeat's period.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Streams are asked for again this often: a rebooted vehicle has forgotten.
const REQUEST: Duration = Duration::from_secs(5);
/// One parameter is asked for this often.
const AUDIT: Duration = Duration::from_millis(500);
/// A vehicle's state is journaled this often.
const SAMPLE: Duration = Duration::from_secs(1);
/// Message ids and intervals in microseconds that a vehicle is asked for.
const STREAMS: [(u32, u32); 6] =
    [(0, 200_000), (33, 200_000), (65, 100_000), (24, 500_000), (1, 1_000_000), (245, 500_000)];
/// And what tells how good its position is: of ArduPilot, of PX4.
const ESTIMATE: [(u32, u32); 2] = [(193, 500_000), (230, 500_000)];
/// MAV_COMP_ID_AUTOPILOT1.
const AUTOPILOT: u8 = 1;
/// A target that means every system.
const ALL: u8 = 0;
const COMMAND_ACK: u32 = 77;
/// Offset of COMMAND_ACK.target_system, an extension field.
const ACK_TARGET: usize = 8;
const STATUSTEXT: u32 = 253;

/// What must be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Tell the interlock.
    Report(Report),
    /// Tell the safety thread where a vehicle is on a link.
    Way {
        /// Index of the vehicle.
        vehicle: usize,
        /// Index of the link.
        link: usize,
        /// Where, if anywhere.
        way: Option<Way>,
    },
    /// Send a packet.
    Send(Way, Vec<u8>),
    /// Journal a vehicle's state.
    Sample(usize),
    /// Journal what a vehicle said.
    Said {
        /// Index of the vehicle.
        vehicle: usize,
        /// MAV_SEVERITY.
        severity: u8,
        /// Its words.
        text: String,
    },
    /// A ground station presses the e-stop: for a vehicle, or for the site.
    Press {
        /// Index of the vehicle.
        vehicle: Option<usize>,
        /// Who.
        by: String,
    },
    /// A ground station asks for something.
    Ask {
        /// Index of the vehicle.
        vehicle: usize,
        /// What.
        wish: Wish,
        /// Who.
        by: String,
        /// How it is answered.
        reply: Reply,
    },
    /// Count a packet that was not taken.
    Refused {
        /// Index of the link.
        link: usize,
        /// Why.
        why: &'static str,
    },
    /// A vehicle is listened to on another link or at another address.
    Moved {
        /// Index of the vehicle.
        vehicle: usize,
        /// Index of the link.
        link: usize,
    },
}

struct Craft {
    roads: Roads,
    state: VehicleState,
    /// Parameters asked for, and when the last was.
    audited: (usize, Option<Uptime>),
    sampled: Option<Uptime>,
    acks: Recent,
    heard: bool,
}

/// What a link's packets are written and judged with.
#[derive(Debug)]
pub struct Link {
    /// Writes everything but demands.
    pub writer: Writer,
    /// Looks at signatures, where the link has a key.
    pub guard: Option<Guard>,
}

/// The vehicles and ground stations of the site.
pub struct Fleet {
    vehicles: Vec<VehicleConfig>,
    links: Vec<Link>,
    craft: Vec<Craft>,
    stations: Stations,
    sysid: u8,
    beat: Option<Uptime>,
}

impl Fleet {
    /// Nobody was heard yet. `ends` in the order of `links`.
    pub fn new(vehicles: Vec<VehicleConfig>, links: &[LinkConfig], ends: Vec<Link>, sysid: u8) -> Self {
        let road = |name| links.iter().position(|link| &link.name == name);
        let craft = vehicles.iter().map(|vehicle| Craft {
            roads: Roads::new(vehicle.links.iter().filter_map(road)),
            state: VehicleState::default(),
            audited: (0, None),
            sampled: None,
            acks: Recent::default(),
            heard: false,
        });
        let (craft, stations) = (craft.collect(), Stations::new(links));
        Self { vehicles, links: ends, craft, stations, sysid, beat: None }
    }

    /// State of a vehicle.
    pub fn state(&self, vehicle: usize) -> Option<&VehicleState> {
        self.craft.get(vehicle).map(|craft| &craft.state)
    }

    /// States of all.
    pub fn states(&self) -> impl Iterator<Item = &VehicleState> {
        self.craft.iter().map(|craft| &craft.state)
    }

    /// A way to whoever is at the other end of a link.
    pub fn opened(&mut self, link: usize, way: &Way, out: &mut Vec<Act>) {
        self.stations.opened(link, way);
        for (vehicle, craft) in self.craft.iter_mut().enumerate() {
            if craft.roads.open(link, way) {
                out.push(Act::Way { vehicle, link, way: Some(way.clone()) });
            }
        }
    }

    /// That way is no more.
    pub fn closed(&mut self, link: usize, way: &Way, out: &mut Vec<Act>) {
        self.stations.closed(link, way);
        for (vehicle, craft) in self.craft.iter_mut().enumerate() {
            if craft.roads.close(link, way) {
                out.push(Act::Way { vehicle, link, way: None });
            }
        }
    }

    /// Packets came over a way.
    pub fn hear(&mut self, link: usize, way: &Way, packets: &[Packet], now: Uptime, out: &mut Vec<Act>) {
        for packet in packets {
            let guard = self.links.get_mut(link).and_then(|link| link.guard.as_mut());
            if let Some(Err(why)) = guard.map(|guard| guard.check(packet)) {
                out.push(Act::Refused { link, why: why.as_str() });
            } else if self.stations.is_station(link) {
                self.hear_station(link, way, packet, now, out);
            } else {
                self.hear_vehicle(link, way, packet, now, out);
            }
        }
        // Once a batch and vehicle, whatever it holds: a flood must not fill the interlock's queue.
        for (vehicle, craft) in self.craft.iter_mut().enumerate().filter(|(_, craft)| craft.heard) {
            craft.heard = false;
            out.push(Act::Report(Report { vehicle, state: craft.state, heard: Heard::State }));
        }
    }

    fn hear_vehicle(&mut self, link: usize, way: &Way, packet: &Packet, now: Uptime, out: &mut Vec<Act>) {
        let pinned = self.vehicles.iter().zip(&mut self.craft).enumerate();
        let mut pinned = pinned.filter(|(_, (config, _))| config.sysid == packet.sysid);
        let heard = pinned.next().and_then(|(vehicle, (config, craft))| {
            let hearing = craft.roads.hear(link, way, now)?;
            Some((vehicle, config, craft, hearing))
        });
        let Some((vehicle, config, craft, hearing)) = heard else {
            return out.push(Act::Refused { link, why: "no vehicle of ours" });
        };
        let (listened, moved, found) = match hearing {
            Hearing::Taken { moved, found } => (true, moved, found),
            Hearing::Aside { found } => (false, false, found),
            Hearing::Stranger => return out.push(Act::Refused { link, why: "another address" }),
        };
        if found {
            out.push(Act::Way { vehicle, link, way: Some(way.clone()) });
        }
        if moved || found && listened {
            out.push(Act::Moved { vehicle, link });
        }
        if !listened {
            return;
        }
        // An ack to us answers nobody else.
        if !(packet.id == COMMAND_ACK && Fields(&packet.payload).u8(ACK_TARGET) == self.sysid) {
            out.extend(self.stations.ways().map(|(_, way)| Act::Send(way.clone(), packet.raw.clone())));
        }
        // Only the autopilot speaks for the vehicle: a gimbal or companion under the same system id does not.
        if packet.compid != AUTOPILOT {
            return;
        }
        if packet.id == STATUSTEXT {
            let (severity, text) = said(packet);
            out.push(Act::Said { vehicle, severity, text });
        }
        if config.class.contradicts(packet) {
            return out.push(Act::Refused { link, why: "another kind of vehicle" });
        }
        if packet.id == COMMAND_ACK && craft.acks.has(packet, now) {
            return out.push(Act::Refused { link, why: "came twice" });
        }
        let heard = craft.state.hear(packet, now);
        craft.state.audit.hear(config.class, packet);
        craft.heard |= heard != Heard::Nothing;
        let sysid = self.sysid;
        let for_us = |to: u8| to == 0 || to == sysid;
        if matches!(heard, Heard::Ack { to, .. } if for_us(to)) {
            out.push(Act::Report(Report { vehicle, state: craft.state, heard }));
        }
    }

    fn hear_station(&mut self, link: usize, way: &Way, packet: &Packet, now: Uptime, out: &mut Vec<Act>) {
        if !self.stations.hear(link, way, now) {
            return out.push(Act::Refused { link, why: "too many ground stations" });
        }
        // One that speaks in a vehicle's name, or in ours, is none.
        let ours = self.vehicles.iter().any(|vehicle| vehicle.sysid == packet.sysid) || packet.sysid == self.sysid;
        if ours {
            return out.push(Act::Refused { link, why: "not a ground station" });
        }
        let class_of = |sysid| self.vehicles.iter().find(|vehicle| vehicle.sysid == sysid).map(|vehicle| vehicle.class);
        let judged = judge(packet, self.stations.allowed(link), class_of);
        let vehicle = self.vehicles.iter().position(|vehicle| vehicle.sysid == judged.target);
        if judged.verdict == Verdict::Ignore || (vehicle.is_none() && judged.target != ALL) {
            return;
        }
        let by = self.stations.operator(link);
        let (way, asker) = (way.clone(), (packet.sysid, packet.compid));
        let reply = Reply { link, way, vehicle, component: judged.component, command: judged.command, asker };
        // A press is never too much.
        if judged.verdict == Verdict::Press {
            out.push(Act::Press { vehicle, by });
            return self.answer(&reply, Ok(()), now, out);
        }
        if !self.stations.may_send(link, now) {
            return out.push(Act::Refused { link, why: "too fast" });
        }
        match (judged.verdict, vehicle) {
            (Verdict::Forward, Some(vehicle)) => self.forward(vehicle, packet, out),
            (Verdict::Forward, None) => (0..self.craft.len()).for_each(|vehicle| self.forward(vehicle, packet, out)),
            (Verdict::Ask(wish), Some(vehicle)) => out.push(Act::Ask { vehicle, wish, by, reply }),
            _ => {
                out.push(Act::Refused { link, why: "not permitted" });
                self.answer(&reply, Err("not permitted from a ground station"), now, out);
            }
        }
    }

    /// A packet goes on to a vehicle as it came: what is signed stays so, and nothing is signed for anybody else.
    fn forward(&self, vehicle: usize, packet: &Packet, out: &mut Vec<Act>) {
        let road = self.craft.get(vehicle).and_then(|craft| craft.roads.active());
        if let Some(way) = road.and_then(|road| road.way.clone()) {
            out.push(Act::Send(way, packet.raw.clone()));
        }
    }

    /// Answers a ground station in the vehicle's name: a COMMAND_ACK to a command, and why not as a STATUSTEXT.
    pub fn answer(&mut self, reply: &Reply, answer: Result<(), &str>, now: Uptime, out: &mut Vec<Act>) {
        let Some(Link { writer, .. }) = self.links.get_mut(reply.link) else { return };
        let sysid = reply.vehicle.and_then(|vehicle| self.vehicles.get(vehicle)).map_or(self.sysid, |v| v.sysid);
        let mut packet = Vec::new();
        if let Some(command) = reply.command {
            let result = if answer.is_ok() { MAV_RESULT_ACCEPTED } else { MAV_RESULT_DENIED };
            let component = if reply.component == 0 { AUTOPILOT } else { reply.component };
            command_ack(writer, (sysid, component), (command, result), reply.asker, &mut packet);
            out.push(Act::Send(reply.way.clone(), packet.clone()));
        }
        if let Err(why) = answer
            && self.stations.may_be_told(reply.link, now)
        {
            status_text(writer, (sysid, AUTOPILOT), &format!("Picket: {why}"), &mut packet);
            out.push(Act::Send(reply.way.clone(), packet));
        }
    }

    /// Time has passed: heartbeats, stream requests, parameters, samples.
    pub fn tick(&mut self, now: Uptime, out: &mut Vec<Act>) {
        self.stations.forget(now);
        if self.beat.is_none_or(|at| now.since(at) >= HEARTBEAT) {
            self.beat = Some(now);
            self.beat(out);
        }
        let craft = self.vehicles.iter().zip(&mut self.craft).enumerate();
        for (vehicle, (config, craft)) in craft {
            craft.ask(config, &mut self.links, now, out);
            let fresh = craft.state.heartbeat_at.is_some_and(|at| now.since(at) < SAMPLE * 4);
            if fresh && craft.sampled.is_none_or(|at| now.since(at) >= SAMPLE) {
                craft.sampled = Some(now);
                out.push(Act::Sample(vehicle));
            }
        }
    }

    /// Our own heartbeat, once to each way.
    fn beat(&mut self, out: &mut Vec<Act>) {
        let roads = self.craft.iter().flat_map(|craft| &craft.roads.all);
        let roads = roads.filter_map(|road| Some((road.link, road.way.as_ref()?)));
        let mut ways: Vec<(usize, &Way)> = Vec::new();
        for (link, way) in roads.chain(self.stations.ways()) {
            if !ways.iter().any(|(_, known)| *known == way) {
                ways.push((link, way));
            }
        }
        for (link, way) in ways {
            if let Some(Link { writer, .. }) = self.links.get_mut(link) {
                let mut packet = Vec::new();
                heartbeat(writer, Kind::Onboard, &mut packet);
                out.push(Act::Send(way.clone(), packet));
            }
        }
    }
}

impl Craft {
    fn ask(&mut self, config: &VehicleConfig, links: &mut [Link], now: Uptime, out: &mut Vec<Act>) {
        let mut packet = Vec::new();
        for road in &mut self.roads.all {
            let (Some(way), Some(Link { writer, .. })) = (&road.way, links.get_mut(road.link)) else { continue };
            if road.asked.is_none_or(|at| now.since(at) >= REQUEST) {
                road.asked = Some(now);
                let estimate =
                    ESTIMATE.into_iter().filter(|(id, _)| (*id == 230) == (config.class == Class::Px4Copter));
                for (id, interval) in STREAMS.into_iter().chain(estimate) {
                    request_stream(writer, config.sysid, id, interval, &mut packet);
                    out.push(Act::Send(way.clone(), packet.clone()));
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
                out.push(Act::Send(way.clone(), packet));
            }
        }
    }
}
