//! The reading thread of a UDP link: packets into vehicle states, stream requests and our heartbeat out.
//!
//! ArduPilot sends from an ephemeral port, so each vehicle is answered at the address it was last heard from.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use shared::event::{Payload, VehicleSampled};
use shared::units::Uptime;
use tokio::sync::watch;
use tracing::{info, warn};

use super::codec::{Writer, parse};
use super::command::{Kind, OUR_COMPONENT, heartbeat, request_parameter, request_stream};
use super::state::{Heard, VehicleState};
use super::{Class, LinkConfig, VehicleConfig};
use crate::clock;
use crate::health::{Metrics, Of};
use crate::journal::Journal;

/// Longest wait for a datagram, so that heartbeats are sent on time and a stop is noticed.
const WAIT: Duration = Duration::from_millis(100);
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
/// Largest datagram.
const DATAGRAM_MAX: usize = 65_536;

/// What the link tells of a vehicle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// Index of the vehicle in the configuration.
    pub vehicle: usize,
    /// Where it is answered.
    pub peer: SocketAddr,
    /// Its state now.
    pub state: VehicleState,
    /// What its last packet meant.
    pub heard: Heard,
}

/// What a link's thread needs.
pub struct Link {
    /// The link.
    pub config: LinkConfig,
    /// The vehicles of the whole site; others are ignored.
    pub vehicles: Vec<VehicleConfig>,
    /// Our system id.
    pub sysid: u8,
    /// Takes reports; must not block.
    pub report: Box<dyn FnMut(Report) + Send>,
    /// Where the console looks.
    pub view: watch::Sender<Vec<VehicleState>>,
    /// Takes samples.
    pub journal: Journal,
    /// Counters.
    pub metrics: Metrics,
    /// Ends the thread.
    pub stop: Arc<AtomicBool>,
}

/// Binds a link's socket. The safety thread gets a clone of it.
///
/// # Errors
/// When the address is taken.
pub fn bind(config: &LinkConfig) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(config.url.0).with_context(|| format!("bind link {}", config.name))?;
    socket.set_read_timeout(Some(WAIT)).context("set the read timeout")?;
    Ok(socket)
}

struct Peer {
    index: usize,
    sysid: u8,
    class: Class,
    /// Parameters asked for, and when the last was.
    audited: (usize, Option<Uptime>),
    address: Option<SocketAddr>,
    state: VehicleState,
    asked: Option<Uptime>,
    sampled: Option<Uptime>,
    heard: bool,
}

impl Link {
    /// Reads until stopped.
    pub fn run(mut self, socket: &UdpSocket) {
        let here = self.vehicles.iter().enumerate().filter(|(_, v)| v.link == self.config.name);
        let mut peers: Vec<Peer> = here
            .map(|(index, v)| Peer {
                index,
                sysid: v.sysid,
                class: v.class,
                audited: (0, None),
                address: None,
                state: VehicleState::default(),
                asked: None,
                sampled: None,
                heard: false,
            })
            .collect();
        let mut writer = Writer::new(self.sysid, OUR_COMPONENT);
        let (mut datagram, mut out) = (vec![0; DATAGRAM_MAX], Vec::new());
        let mut beat = None;
        while !self.stop.load(Ordering::Relaxed) {
            let received = socket.recv_from(&mut datagram);
            let now = clock::uptime();
            if let Ok((len, from)) = received {
                self.take(datagram.get(..len).unwrap_or_default(), from, now, &mut peers);
            }
            let beat_due = beat.is_none_or(|at| now.since(at) >= HEARTBEAT);
            for peer in &mut peers {
                self.maintain(socket, peer, &mut writer, &mut out, beat_due, now);
            }
            if beat_due {
                beat = Some(now);
            }
        }
        info!(link = %self.config.name, "link has ended");
    }

    fn take(&mut self, datagram: &[u8], from: SocketAddr, now: Uptime, peers: &mut [Peer]) {
        let of = Of::new(self.config.name.as_str());
        let parsed = parse(datagram);
        self.metrics.mavlink_packets.get_or_create(&of).inc_by(parsed.packets.len() as u64);
        if let Some(offset) = parsed.first_garbage {
            let count = self.metrics.mavlink_garbage_bytes.get_or_create(&of);
            // Once: a broken sender would fill the log.
            if count.inc_by(parsed.garbage as u64) == 0 {
                warn!(link = %self.config.name, %from, offset, bytes = parsed.garbage, "expected a MAVLink packet");
            }
        }
        for packet in &parsed.packets {
            // Only the autopilot speaks for the vehicle: a gimbal or companion under the same system id does not.
            let autopilot = |peer: &&mut Peer| peer.sysid == packet.sysid && packet.compid == AUTOPILOT;
            let Some(peer) = peers.iter_mut().find(autopilot) else { continue };
            if peer.address.replace(from) != Some(from) {
                info!(link = %self.config.name, sysid = packet.sysid, %from, "vehicle is heard");
            }
            let heard = peer.state.hear(packet, now);
            peer.state.audit.hear(peer.class, packet);
            peer.heard = peer.heard || heard != Heard::Nothing;
            let for_us = |to: u8| to == 0 || to == self.sysid;
            if matches!(heard, Heard::Ack { to, .. } if for_us(to)) {
                (self.report)(Report { vehicle: peer.index, peer: from, state: peer.state, heard });
            }
        }
        // Once a datagram and vehicle, whatever it holds: a flood must not fill the interlock's queue.
        for peer in peers.iter_mut().filter(|peer| peer.heard) {
            peer.heard = false;
            (self.report)(Report { vehicle: peer.index, peer: from, state: peer.state, heard: Heard::State });
        }
        self.view.send_modify(|states| {
            for peer in peers.iter() {
                if let Some(state) = states.get_mut(peer.index) {
                    *state = peer.state;
                }
            }
        });
    }

    fn maintain(
        &self,
        socket: &UdpSocket,
        peer: &mut Peer,
        w: &mut Writer,
        out: &mut Vec<u8>,
        beat: bool,
        now: Uptime,
    ) {
        let Some(address) = peer.address else { return };
        // A full or unreachable socket is the link's silence, which the vehicle's age shows.
        let send = |bytes: &[u8]| drop(socket.send_to(bytes, address));
        if beat {
            heartbeat(w, Kind::Onboard, out);
            send(out);
        }
        if peer.asked.is_none_or(|at| now.since(at) >= REQUEST) {
            peer.asked = Some(now);
            let estimate = ESTIMATE.into_iter().filter(|(id, _)| (*id == 230) == (peer.class == Class::Px4Copter));
            for (id, interval) in STREAMS.into_iter().chain(estimate) {
                request_stream(w, peer.sysid, id, interval, out);
                send(out);
            }
        }
        let (turn, at) = peer.audited;
        if at.is_none_or(|at| now.since(at) >= AUDIT) {
            peer.audited = (turn.wrapping_add(1), Some(now));
            if let Some(name) = peer.state.audit.next(peer.class, turn) {
                request_parameter(w, peer.sysid, name, out);
                send(out);
            }
        }
        let fresh = peer.state.heartbeat_at.is_some_and(|at| now.since(at) < SAMPLE * 4);
        if fresh && peer.sampled.is_none_or(|at| now.since(at) >= SAMPLE) {
            peer.sampled = Some(now);
            self.sample(peer);
        }
    }

    fn sample(&self, peer: &Peer) {
        let Some(vehicle) = self.vehicles.get(peer.index) else { return };
        let state = peer.state;
        let moving = state.position_at.is_some();
        let sample = VehicleSampled {
            vehicle: vehicle.name.to_string(),
            mode: state.mode,
            armed: state.armed,
            lat_deg: state.position_deg.map(|(lat, _)| lat),
            lon_deg: state.position_deg.map(|(_, lon)| lon),
            relative_alt_m: moving.then_some(state.relative_alt_m),
            speed_mps: moving.then_some(state.speed_mps),
            battery_pct: state.battery_pct,
        };
        let event = self.journal.event(format!("vehicle/{}", vehicle.name), Payload::VehicleSampled(sample));
        // Never waits: a stalled disk must not make the vehicle look silent.
        self.journal.offer(event);
    }
}
