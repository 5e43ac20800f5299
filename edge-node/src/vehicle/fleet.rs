//! The vehicles behind all links, and the ground stations: a fold over what comes in, which says what must be done. Pure:
//! no I/O, time as an argument.

use std::time::Duration;

use shared::units::Uptime;

pub use super::act::Act;
use super::aircraft;
use super::codec::Packet;
use super::command::{Kind, command_ack, heartbeat, status_text};
use super::craft::{Craft, Link};
use super::errands::{Errands, Out, Wanted, Wish};
use super::gate::{Verdict, judge};
use super::message::{ACCEPTED, AUTOPILOT, DENIED, HEARTBEAT, STATUSTEXT};
use super::recent::said;
use super::roads::{Hearing, Roads};
use super::signing::{Guard, Refusal};
use super::state::{Heard, Report, VehicleState};
use super::stations::{Reply, Stations};
use super::way::Way;
use super::{LinkConfig, VehicleConfig};

/// Our heartbeat's period.
const BEAT: Duration = Duration::from_secs(1);
/// A vehicle's state is journaled this often.
const SAMPLE: Duration = Duration::from_secs(1);
/// Who is behind with its signatures is told the time this often.
const BEHIND: Duration = Duration::from_millis(200);
/// A target that means every system.
const ALL: u8 = 0;

/// The vehicles and ground stations of the site.
pub struct Fleet {
    vehicles: Vec<VehicleConfig>,
    links: Vec<Link>,
    guards: Vec<Guard>,
    craft: Vec<Craft>,
    stations: Stations,
    sysid: u8,
    beat: Option<Uptime>,
    /// When somebody whose signatures are behind was last answered.
    behind: Option<Uptime>,
}

impl Fleet {
    /// Nobody was heard yet. `ends`: in the order of `links`, and who looks at their signatures; `wanted`: what each
    /// vehicle's plans must be; those beyond have no fence.
    pub fn new(
        vehicles: Vec<VehicleConfig>,
        links: &[LinkConfig],
        ends: (Vec<Link>, Vec<Guard>),
        sysid: u8,
        wanted: Vec<Wanted>,
    ) -> Self {
        let road = |name| links.iter().position(|link| &link.name == name);
        let craft = vehicles.iter().zip(wanted.into_iter().chain(std::iter::repeat_with(Wanted::default))).map(
            |(vehicle, wanted)| {
                let errands = Errands::new((vehicle.sysid, sysid), vehicle.class.counts_home(), wanted);
                Craft::new(Roads::new(vehicle.links.iter().filter_map(road)), errands)
            },
        );
        let (craft, stations) = (craft.collect(), Stations::new(links));
        let (ends, guards) = ends;
        Self { vehicles, links: ends, guards, craft, stations, sysid, beat: None, behind: None }
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
            let vehicles = !self.stations.is_station(link);
            match self.check(link, packet, vehicles) {
                Err(why) => {
                    out.push(Act::Refused { link, why: why.as_str() });
                    if vehicles && why == Refusal::Old {
                        self.lead(link, way, now, out);
                    }
                }
                // Whoever receives them: an autopilot, or a receiver beside it.
                Ok(()) if vehicles && aircraft::tells(packet.id) => {
                    out.push(Act::Aircraft { link, packet: packet.clone() });
                    if self.vehicles.iter().any(|vehicle| vehicle.sysid == packet.sysid) {
                        self.hear_vehicle(link, way, packet, now, out);
                    }
                }
                Ok(()) if vehicles => self.hear_vehicle(link, way, packet, now, out),
                Ok(()) => self.hear_station(link, way, packet, now, out),
            }
        }
        // Once a batch and vehicle, whatever it holds: a flood must not fill the interlock's queue.
        for (vehicle, craft) in self.craft.iter_mut().enumerate().filter(|(_, craft)| craft.heard) {
            craft.heard = false;
            out.push(Act::Report(Report { vehicle, state: craft.state, heard: Heard::State }));
        }
    }

    fn check(&mut self, link: usize, packet: &Packet, vehicle: bool) -> Result<(), Refusal> {
        let guard = self.links.get(link).and_then(|link| link.guard);
        guard.and_then(|guard| self.guards.get_mut(guard)).map_or(Ok(()), |guard| guard.check(packet, vehicle))
    }

    /// A vehicle whose time is more than a minute behind is not believed, but told ours: it goes on from there.
    fn lead(&mut self, link: usize, way: &Way, now: Uptime, out: &mut Vec<Act>) {
        let due = self.behind.is_none_or(|at| now.since(at) >= BEHIND);
        if let Some(Link { writer, .. }) = self.links.get_mut(link).filter(|_| due) {
            self.behind = Some(now);
            let mut packet = Vec::new();
            heartbeat(writer, Kind::Onboard, &mut packet);
            out.push(Act::Send(way.clone(), packet));
        }
    }

    fn hear_vehicle(&mut self, link: usize, way: &Way, packet: &Packet, now: Uptime, out: &mut Vec<Act>) {
        let pinned = self.vehicles.iter().zip(&mut self.craft).enumerate();
        let mut pinned = pinned.filter(|(_, (config, _))| config.sysid == packet.sysid);
        let Some((vehicle, (config, craft))) = pinned.next() else {
            return out.push(Act::Refused { link, why: "no vehicle of ours" });
        };
        // Only the autopilot speaks for the vehicle: a gimbal or companion under the same system id does not, and is not
        // where the vehicle is.
        if packet.compid != AUTOPILOT {
            if craft.roads.active().is_some_and(|road| road.link == link && road.way.as_ref() == Some(way)) {
                out.extend(self.stations.ways().map(|(_, way)| Act::Send(way.clone(), packet.raw.clone())));
            }
            return;
        }
        if config.class.contradicts(packet) {
            // Our numbers would mean something else to it: nothing is sent there.
            if !craft.roads.beats(link, way, now) && craft.roads.close(link, way) {
                out.push(Act::Way { vehicle, link, way: None });
            }
            return out.push(Act::Refused { link, why: "another kind of vehicle" });
        }
        let (listened, moved, found) = match craft.roads.hear(link, way, packet.id == HEARTBEAT, now) {
            Some(Hearing::Taken { moved, found }) => (true, moved, found),
            Some(Hearing::Aside { found }) => (false, false, found),
            Some(Hearing::Stranger) => return out.push(Act::Refused { link, why: "another address" }),
            None => return out.push(Act::Refused { link, why: "no vehicle of ours" }),
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
        let heard = craft.state.hear(packet, now);
        let acked = if let Heard::Ack { to, .. } = heard { Some(to) } else { None };
        // An ack to us answers nobody else.
        if acked != Some(self.sysid) {
            out.extend(self.stations.ways().map(|(_, way)| Act::Send(way.clone(), packet.raw.clone())));
        }
        if packet.id == STATUSTEXT {
            let (severity, text) = said(packet);
            out.push(Act::Said { vehicle, severity, text });
        }
        if acked.is_some() && craft.acks.has(packet, now) {
            return out.push(Act::Refused { link, why: "came twice" });
        }
        craft.state.audit.hear(config.class, packet);
        let mut beside = Vec::new();
        craft.hear_beside(packet, now, &mut beside);
        say(craft, &mut self.links, beside, out);
        craft.heard |= heard != Heard::Nothing;
        if acked.is_some_and(|to| to == ALL || to == self.sysid) {
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
        match judged.verdict {
            // A press is never too much.
            Verdict::Press => return out.push(Act::Press { vehicle, by, reply }),
            Verdict::Forward if !self.stations.may_send(link, now) => {
                return out.push(Act::Refused { link, why: "too fast" });
            }
            Verdict::Ask(_) if !self.stations.may_ask(link, now) => {
                out.push(Act::Refused { link, why: "too fast" });
                return self.answer(&reply, Err("asked too often"), now, out);
            }
            _ => {}
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
            let result = if answer.is_ok() { ACCEPTED } else { DENIED };
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
        if self.beat.is_none_or(|at| now.since(at) >= BEAT) {
            self.beat = Some(now);
            self.beat(out);
        }
        let craft = self.vehicles.iter().zip(&mut self.craft).enumerate();
        let mut asked = Vec::new();
        for (vehicle, (config, craft)) in craft {
            craft.ask(config, &mut self.links, now, &mut asked);
            let mut beside = Vec::new();
            craft.look_beside(config.class, None, now, &mut beside);
            say(craft, &mut self.links, beside, out);
            let fresh = craft.state.heartbeat_at.is_some_and(|at| now.since(at) < SAMPLE * 4);
            if fresh && craft.sampled.is_none_or(|at| now.since(at) >= SAMPLE) {
                craft.sampled = Some(now);
                out.push(Act::Sample(vehicle));
            }
        }
        out.extend(asked.into_iter().map(|(way, packet)| Act::Send(way, packet)));
    }

    /// Somebody wants something of a vehicle beside its orders; answered by [`Act::Found`] with this number.
    pub fn wish(&mut self, vehicle: usize, wish: (u64, Wish), now: Uptime, out: &mut Vec<Act>) {
        if let (Some(config), Some(craft)) = (self.vehicles.get(vehicle), self.craft.get_mut(vehicle)) {
            let mut beside = Vec::new();
            craft.look_beside(config.class, Some(wish), now, &mut beside);
            say(craft, &mut self.links, beside, out);
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

/// Sends what is said to a vehicle beside its orders, where it is listened to.
fn say(craft: &Craft, links: &mut [Link], beside: Vec<Out>, out: &mut Vec<Act>) {
    let road = craft.roads.active().and_then(|road| Some((road.way.as_ref()?, road.link)));
    for one in beside {
        match (one, road) {
            (Out::Answer(id, found), _) => out.push(Act::Found { id, found }),
            (Out::Say(id, payload), Some((way, link))) => {
                let mut packet = Vec::new();
                if let Some(Link { writer, .. }) = links.get_mut(link) {
                    writer.write(id, &payload, &mut packet);
                    out.push(Act::Send(way.clone(), packet));
                }
            }
            // Said again until it is heard, or given up.
            (Out::Say(..), None) => {}
        }
    }
}
