//! A vehicle of the benchmarks.

use std::net::UdpSocket;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use mavlink::dialects::ardupilotmega::{MavCmd, MavMessage};
use mavlink::{MavHeader, MavlinkReader, write_v2_msg};
use sim::autopilot::Autopilot;
use sim::scenario::Vehicle;

use crate::wait::now;

/// ArduRover's HOLD.
const HOLD: f32 = 4.0;
/// One that stands all the while.
pub const STANDS: &str = "mission_m = [[0, 0], [10, 0]]\nspeed_mps = 1.0\nmode = 4\n";

/// A rover of the simulator, armed in HOLD, that tells when an order to hold reaches its socket. `more`: its mission, speed and
/// what else it is.
pub fn run(link: u16, more: &str, told: &Sender<Instant>) {
    let text = format!(
        "name = \"rover\"\nclass = \"rover\"\nsysid = 1\nconnect = \"127.0.0.1:{link}\"\nhome = [47.4, 8.5]\n\
         armed = true\n{more}"
    );
    let (Ok(config), Ok(socket)) = (toml::from_str::<Vehicle>(&text), UdpSocket::bind("127.0.0.1:0")) else { return };
    let mut autopilot = Autopilot::new(config);
    let timeout = socket.set_read_timeout(Some(Duration::from_millis(20)));
    if timeout.and(socket.connect(("127.0.0.1", link))).is_err() {
        return;
    }
    let mut sequence = 0u8;
    let mut send = |message: &MavMessage| {
        let mut packet = Vec::new();
        sequence = sequence.wrapping_add(1);
        if write_v2_msg(&mut packet, MavHeader { sequence, system_id: 1, component_id: 1 }, message).is_ok() {
            let _ = socket.send(&packet);
        }
    };
    let (mut datagram, mut stepped) = ([0; 2048], now());
    loop {
        if let Ok(len) = socket.recv(&mut datagram) {
            let at = now();
            let mut reader = MavlinkReader::new(datagram.get(..len).unwrap_or_default());
            while let Ok((header, message)) = reader.read_any_message::<MavMessage>() {
                let order = matches!(&message, MavMessage::COMMAND_LONG(c) if c.command == MavCmd::MAV_CMD_DO_SET_MODE && c.param2 == HOLD);
                if order && told.send(at).is_err() {
                    return;
                }
                autopilot.take(header.system_id, &message).0.iter().for_each(&mut send);
            }
        }
        if stepped.elapsed() >= Duration::from_millis(20) {
            let passed = stepped.elapsed().as_secs_f64();
            stepped = now();
            autopilot.step(passed).0.iter().for_each(&mut send);
        }
    }
}
