//! `./dev bench mavlink`: packets from a vehicle's link to a ground station's through the node, beside another router in
//! the same run; a ground station's press to the vehicle's socket; a press to the wire of a serial line that is full.

use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::Context;
use mavlink::dialects::ardupilotmega::{
    ATTITUDE_DATA, COMMAND_LONG_DATA, HEARTBEAT_DATA, MavAutopilot, MavCmd, MavMessage, MavType,
    PARAM_REQUEST_LIST_DATA,
};
use mavlink::{MavHeader, MavlinkReader, write_v2_msg};
use serde_json::json;

use super::{Target::Most, console::Console, last_line, load::Load, percentiles, prefer_this_thread, round};
use crate::kafka::cache;
use crate::process::{Process, cpu, free_tcp_port, free_udp_port, output};
use crate::servers::Place;
use crate::site::{Plan, Ports, Site};
use crate::wait::{now, until};

/// Packets a second, and how long.
const RATE: u32 = 10_000;
const PACKETS: u32 = 100_000;
/// Rounds in which the routers take turns.
const ROUNDS: usize = 2;
/// Presses of each kind; those of a ground station once more while both cores are busy.
const PRESSES: usize = 2_000;
const BUSY_PRESSES: usize = 10_000;
const SERIAL_PRESSES: usize = 400;
/// Between two presses of those: what a press and its release make must leave the line, or presses alone are more than it takes.
const DRAINS: Duration = Duration::from_millis(120);
/// The serial line, bits a second, ten bits a byte.
const BAUD: u32 = 57_600;
const LONG: Duration = Duration::from_secs(30);
/// The other router: a program that is installed for this from crates.io, no part of Picket.
const OTHER: [&str; 2] = ["mavrouter", "0.1.6"];

/// Measures and prints.
///
/// # Errors
/// When a node does not start, or something is not answered.
pub fn run(out: &mut impl Write) -> anyhow::Result<()> {
    let mut metrics = serde_json::Map::new();
    writeln!(out, "{PACKETS} packets of 40 bytes, {RATE} a second, from a vehicle's UDP link to a ground station's")?;
    writeln!(out, "                         lost  p50 us  p99 us  p99.9 us  max us  CPU us/packet")?;
    let other = other();
    if let Err(error) = &other {
        writeln!(out, "  no other router: {error:#}")?;
    }
    let mut medians = [f64::NAN; 2];
    for _ in 0..ROUNDS {
        let (site, vehicle, station) = node_between()?;
        let process = site.node.as_ref().context("find the node")?.id();
        let (row, found) = route(&vehicle, &station, process, "picket")?;
        writeln!(out, "{row}")?;
        medians = [found[1], medians[1]];
        metrics.extend(named("routed", &found));
        drop(site);
        if let Ok(program) = &other {
            let folder = tempfile::tempdir().context("make a folder")?;
            let (process, vehicle, station) = other_between(program, folder.path())?;
            let (row, found) = route(&vehicle, &station, process.id(), OTHER[0])?;
            writeln!(out, "{row}")?;
            medians = [medians[0], found[1]];
            metrics.extend(named("other", &found));
        }
    }
    if other.is_ok() {
        writeln!(out, "  median over {}'s: {:.2}", OTHER[0], medians[0] / medians[1])?;
        metrics.insert("median_over_other".into(), json!(round(medians[0] / medians[1])));
    }
    let pressed = percentiles(station_presses(false)?);
    let busy = percentiles(station_presses(true)?);
    let serial = percentiles(serial_presses(false)?);
    let full = percentiles(serial_presses(true)?);
    writeln!(out, "press to the first demand, milliseconds            p50      p99    p99.9      max")?;
    for (what, name, [p50, p99, p999, max]) in [
        ("by a ground station, at the vehicle's socket", "station", pressed),
        ("the same, both cores busy", "station_busy", busy),
        ("over HTTP, last byte on a full serial line", "serial", serial),
        ("the same, both cores busy", "serial_busy", full),
    ] {
        writeln!(out, "  {what:<46}{p50:>6.2}{p99:>9.2}{p999:>9.2}{max:>9.2}")?;
        metrics.insert(format!("{name}_p50_ms"), json!(round(p50)));
        metrics.insert(format!("{name}_p999_ms"), json!(round(p999)));
    }
    writeln!(
        out,
        "  {PRESSES}, {BUSY_PRESSES} and twice {SERIAL_PRESSES} presses; busy: two processes of inference (nice 10) and events \
         over HTTP; the line: a pseudo-terminal at {BAUD} baud whose bytes leave at that speed \
         by the reader's count, filled with questions of a ground station"
    )?;
    last_line(
        out,
        "mavlink",
        &metrics.into(),
        &[
            Most("station_p999_ms", 5.0),
            Most("station_busy_p999_ms", 5.0),
            Most("serial_p999_ms", 20.0),
            Most("serial_busy_p999_ms", 20.0),
        ],
    )
}

fn named(name: &str, found: &[f64; 6]) -> Vec<(String, serde_json::Value)> {
    let parts = ["lost", "p50_us", "p99_us", "p999_us", "max_us", "cpu_us"];
    parts.iter().zip(found).map(|(part, value)| (format!("{name}_{part}"), json!(round(*value)))).collect()
}

/// A node alone, with these links and vehicles.
fn node(links: &str, ports: Ports) -> anyhow::Result<Site> {
    let place = Place { postgres: String::new(), kafka: String::new(), topic_prefix: String::new() };
    let plan = Plan { node: links.to_owned(), plain: true, ..Plan::default() };
    let mut site = Site::prepare(place, ports, &plan, None)?;
    site.start_node()?;
    Ok(site)
}

const ROVER: &str = "\n[[vehicle]]\nname = \"rover\"\nclass = \"rover\"\nsysid = 1\nlinks = [\"radio\"]\n";

fn stations(port: u16) -> String {
    format!(
        "\n[[link]]\nname = \"ground\"\nurl = \"udpin:127.0.0.1:{port}\"\nground_stations = {{ per_second = 1000 }}\n"
    )
}

fn node_between() -> anyhow::Result<(Site, UdpSocket, UdpSocket)> {
    let (ports, ground) = (Ports::free()?, free_udp_port()?);
    let radio = format!("\n[[link]]\nname = \"radio\"\nurl = \"udpin:127.0.0.1:{}\"\n", ports.link);
    let site = node(&format!("{radio}{}{ROVER}", stations(ground)), ports)?;
    Ok((site, end(ports.link)?, end(ground)?))
}

fn end(port: u16) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("bind an end")?;
    socket.connect(("127.0.0.1", port)).context("connect an end")?;
    socket.set_read_timeout(Some(Duration::from_millis(200))).context("set up an end")?;
    Ok(socket)
}

/// The other router, installed in the cache.
fn other() -> anyhow::Result<PathBuf> {
    let [name, version] = OTHER;
    let folder = cache().join(name);
    let program = folder.join("bin").join(name);
    if !program.exists() {
        let mut install = Command::new("cargo");
        install.args(["install", name, "--version", version, "--locked", "--quiet", "--root"]).arg(&folder);
        output(&mut install)?;
    }
    Ok(program)
}

fn other_between(program: &PathBuf, folder: &std::path::Path) -> anyhow::Result<(Process, UdpSocket, UdpSocket)> {
    let (vehicle, ground) = (free_udp_port()?, free_udp_port()?);
    let endpoint = |port| format!("[[endpoint]]\ntype = \"udp\"\naddress = \"127.0.0.1:{port}\"\nmode = \"server\"\n");
    let general = format!("[general]\ntcp_port = {}\nbus_capacity = 20000\n", free_tcp_port()?);
    let config = folder.join("router.toml");
    std::fs::write(&config, format!("{general}{}{}", endpoint(vehicle), endpoint(ground))).context("write a file")?;
    let mut command = Command::new(program);
    command.arg("--config").arg(&config).env("RUST_LOG", "warn").current_dir(folder);
    let process = Process::start("router", &mut command, folder)?;
    Ok((process, end(vehicle)?, end(ground)?))
}

fn bytes(system: u8, sequence: u8, message: &MavMessage) -> anyhow::Result<Vec<u8>> {
    let mut packet = Vec::with_capacity(300);
    let component_id = if system == 1 { 1 } else { 190 };
    write_v2_msg(&mut packet, MavHeader { system_id: u32::from(system), component_id, sequence }, message)?;
    Ok(packet)
}

fn beat(system: u8) -> anyhow::Result<Vec<u8>> {
    let (mavtype, autopilot) = match system {
        1 => (MavType::MAV_TYPE_GROUND_ROVER, MavAutopilot::MAV_AUTOPILOT_ARDUPILOTMEGA),
        _ => (MavType::MAV_TYPE_GCS, MavAutopilot::MAV_AUTOPILOT_INVALID),
    };
    bytes(
        system,
        0,
        &MavMessage::HEARTBEAT(HEARTBEAT_DATA { custom_mode: 4, mavtype, autopilot, ..HEARTBEAT_DATA::DEFAULT }),
    )
}

/// Sends packets from the vehicle; each carries its number. The row, and lost, percentiles and CPU time in microseconds.
fn route(vehicle: &UdpSocket, station: &UdpSocket, process: u32, name: &str) -> anyhow::Result<(String, [f64; 6])> {
    // Both make themselves known until something comes through.
    until("the first packet to come through", LONG, || {
        let known = (|| {
            station.send(&beat(255)?)?;
            vehicle.send(&beat(1)?)?;
            let mut answer = [0; 512];
            let len = station.recv(&mut answer)?;
            let heard = MavlinkReader::new(answer.get(..len).unwrap_or_default()).read_any_message::<MavMessage>();
            anyhow::ensure!(heard.is_ok_and(|(header, _)| header.system_id == 1), "from somebody else");
            Ok(())
        })();
        known.map_err(|error: anyhow::Error| format!("{error:#}"))
    })?;
    let (receiving, begun) = (station.try_clone().context("share an end")?, now());
    let reader = std::thread::spawn(move || {
        let (mut datagram, mut came) = ([0; 2048], Vec::new());
        // Ends 200 ms after the last one.
        while let Ok(len) = receiving.recv(&mut datagram) {
            let at = begun.elapsed();
            let mut reader = MavlinkReader::new(datagram.get(..len).unwrap_or_default());
            while let Ok((_, message)) = reader.read_any_message::<MavMessage>() {
                if let MavMessage::ATTITUDE(attitude) = message {
                    came.push((attitude.time_boot_ms, at));
                }
            }
        }
        came
    });
    let before = cpu(process)?;
    let mut sent: Vec<Duration> = Vec::new();
    for number in 0..PACKETS {
        let due = Duration::from_secs(1) * number / RATE;
        while begun.elapsed() < due {
            std::thread::sleep(Duration::from_micros(50));
        }
        let attitude = ATTITUDE_DATA { time_boot_ms: number, roll: 0.1, yawspeed: 0.1, ..ATTITUDE_DATA::DEFAULT };
        let sequence = u8::try_from(number % 256).unwrap_or(0);
        let packet = bytes(1, sequence, &MavMessage::ATTITUDE(attitude))?;
        sent.push(begun.elapsed());
        vehicle.send(&packet).context("send a packet")?;
        if number.is_multiple_of(RATE) {
            station.send(&beat(255)?).context("send a heartbeat")?;
        }
    }
    let came = reader.join().map_err(|_| anyhow::anyhow!("the reader failed"))?;
    let cpu = (cpu(process)? - before).as_secs_f64() * 1e6 / f64::from(PACKETS);
    let times = came.iter().filter_map(|(number, at)| {
        let sent = sent.get(usize::try_from(*number).ok()?)?;
        Some(at.saturating_sub(*sent).as_secs_f64() * 1e6)
    });
    let [p50, p99, p999, max] = percentiles(times.collect());
    let lost = f64::from(PACKETS) - came.len() as f64;
    let row = format!("  {name:<20}{lost:>8.0}{p50:>8.0}{p99:>8.0}{p999:>10.0}{max:>8.0}{cpu:>15.1}");
    Ok((row, [lost, p50, p99, p999, max, cpu]))
}

/// Forced disarms of a ground station, until the first order is at the vehicle's socket; milliseconds.
fn station_presses(busy: bool) -> anyhow::Result<Vec<f64>> {
    let (site, vehicle, station) = node_between()?;
    let _load = if busy { Some(Load::start(site.ports.console)?) } else { None };
    let mut console = Console::open(site.ports.console)?;
    let orders = orders(vehicle)?;
    station.send(&beat(255)?).context("send a heartbeat")?;
    console.shows("\"tripped\":false")?;
    let force = COMMAND_LONG_DATA {
        command: MavCmd::MAV_CMD_COMPONENT_ARM_DISARM,
        param2: 21196.0,
        target_system: 1,
        target_component: 1,
        ..COMMAND_LONG_DATA::DEFAULT
    };
    let mut times = Vec::new();
    for n in 0..if busy { BUSY_PRESSES } else { PRESSES } {
        let packet = bytes(255, u8::try_from(n % 256).unwrap_or(0), &MavMessage::COMMAND_LONG(force.clone()))?;
        let pressed = now();
        station.send(&packet).context("press")?;
        times.push(first_after(&orders, pressed)?);
        release(&mut console, "vehicle/rover")?;
    }
    Ok(times)
}

fn first_after(orders: &std::sync::mpsc::Receiver<Instant>, pressed: Instant) -> anyhow::Result<f64> {
    loop {
        // One that was on its way before the press is of the demand before.
        match orders.recv_timeout(LONG).context("wait for a demand")? {
            at if at >= pressed => return Ok(at.duration_since(pressed).as_secs_f64() * 1e3),
            _ => {}
        }
    }
}

fn release(console: &mut Console, scope: &str) -> anyhow::Result<()> {
    // What is shown follows what is done.
    console.shows("e-stop is latched")?;
    console.ask("POST", "/api/v1/estop/reset", &json!({ "by": "bench", "scope": scope }).to_string())?;
    let begun = now();
    while console.ask("GET", "/api/v1/interlocks", "")?.contains("e-stop is latched") {
        anyhow::ensure!(begun.elapsed() < LONG, "the e-stop stays");
    }
    Ok(())
}

/// A rover that stands in HOLD, armed, and tells when an order comes.
fn orders(vehicle: UdpSocket) -> anyhow::Result<std::sync::mpsc::Receiver<Instant>> {
    let (told, orders) = channel();
    vehicle.set_read_timeout(Some(Duration::from_millis(100))).context("set up an end")?;
    let beat = beat(1)?;
    std::thread::spawn(move || {
        let (mut datagram, mut beaten) = ([0; 2048], None::<Instant>);
        loop {
            if beaten.is_none_or(|at| at.elapsed() >= Duration::from_millis(200)) {
                beaten = Some(now());
                let _ = vehicle.send(&beat);
            }
            let Ok(len) = vehicle.recv(&mut datagram) else { continue };
            let at = now();
            let mut reader = MavlinkReader::new(datagram.get(..len).unwrap_or_default());
            while let Ok((_, message)) = reader.read_any_message::<MavMessage>() {
                if is_order(&message) && told.send(at).is_err() {
                    return;
                }
            }
        }
    });
    Ok(orders)
}

fn is_order(message: &MavMessage) -> bool {
    let orders = [MavCmd::MAV_CMD_DO_SET_MODE, MavCmd::MAV_CMD_COMPONENT_ARM_DISARM];
    matches!(message, MavMessage::COMMAND_LONG(command) if orders.contains(&command.command))
}

/// Presses while a serial line is full; until the demand's last byte has left it at the line's speed; milliseconds.
fn serial_presses(busy: bool) -> anyhow::Result<Vec<f64>> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let path = folder.path().join("radio");
    let (port, _kept) = sim::wire::terminal(&path)?;
    let (ports, ground) = (Ports::free()?, free_udp_port()?);
    let radio = format!("\n[[link]]\nname = \"radio\"\nurl = \"serial:{}:{BAUD}\"\n", path.display());
    let site = node(&format!("{radio}{}{ROVER}", stations(ground)), ports)?;
    let (mut sending, reading) = (port.try_clone().context("share the terminal")?, port);
    let beat_of_rover = beat(1)?;
    std::thread::spawn(move || {
        while sending.write_all(&beat_of_rover).is_ok() {
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let (told, orders) = channel();
    std::thread::spawn(move || read_line(reading, &told));
    let station = end(ground)?;
    let question = MavMessage::PARAM_REQUEST_LIST(PARAM_REQUEST_LIST_DATA { target_system: 1, target_component: 1 });
    let question = bytes(255, 0, &question)?;
    std::thread::spawn(move || {
        // More than the line takes.
        while station.send(&question).is_ok() {
            std::thread::sleep(Duration::from_micros(1000));
        }
    });
    let _load = if busy { Some(Load::start(site.ports.console)?) } else { None };
    let mut console = Console::open(site.ports.console)?;
    let mut times = Vec::new();
    for _ in 0..SERIAL_PRESSES {
        std::thread::sleep(DRAINS);
        while orders.try_recv().is_ok() {}
        let pressed = now();
        console.ask("POST", "/api/v1/estop", "{\"by\":\"bench\"}")?;
        times.push(first_after(&orders, pressed)?);
        release(&mut console, "site")?;
    }
    Ok(times)
}

/// Reads what is written to a line at once, and counts when it would have left at the line's speed. Bytes are taken to have
/// come when the read before ended, or the line would stand still while this thread is not scheduled; no packet leaves
/// before it was read.
fn read_line(mut port: File, told: &std::sync::mpsc::Sender<Instant>) {
    prefer_this_thread();
    let (mut kept, mut bytes, mut idle): (Vec<u8>, _, _) = (Vec::new(), [0; 512], now());
    let mut read_at = now();
    while let Ok(len) = port.read(&mut bytes) {
        let before = std::mem::replace(&mut read_at, now());
        idle = idle.max(before) + Duration::from_secs(10) * u32::try_from(len).unwrap_or(0) / BAUD;
        kept.extend_from_slice(bytes.get(..len).unwrap_or_default());
        // A packet whose end has come: its length is in its second byte.
        while let Some(packet) = kept.get(1).and_then(|len| kept.get(..usize::from(*len) + 12)).map(<[u8]>::to_vec) {
            kept.drain(..packet.len());
            let read = MavlinkReader::new(packet.as_slice()).read_any_message::<MavMessage>();
            // What else was read with it would have left after it.
            let rest = Duration::from_secs(10) * u32::try_from(kept.len()).unwrap_or(0) / BAUD;
            if read.is_ok_and(|(_, message)| is_order(&message)) && told.send((idle - rest).max(read_at)).is_err() {
                return;
            }
        }
    }
}
