//! Links of every kind to simulated vehicles, and to one that is made with pymavlink: heard, told, signed, lost and found.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hil::peer::Peer;
use hil::process::{free_tcp_port, free_udp_port};
use hil::servers::Place;
use hil::site::{FAILSAFES, Plan, Ports, ROVER_BRAKE, Site};
use mavlink::dialects::ardupilotmega::{MavMessage, PARAM_REQUEST_READ_DATA};
use mavlink::{MavHeader, write_v2_msg};
use serde_json::{Value, json};

use crate::clock::with_clock;
use crate::interlock::{go, told, vehicle, wait_for, wait_for_state};

pub const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER_KEY: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const DO_SET_MODE: &str = "MAV_CMD_DO_SET_MODE";
const LONG: Duration = Duration::from_secs(20);

/// A node alone: nothing of this needs a relay.
pub fn alone(plan: &Plan, ports: Ports) -> Site {
    let place = Place { postgres: String::new(), kafka: String::new(), topic_prefix: String::new() };
    let plan = Plan { plain: true, ..plan.clone() };
    Site::prepare(place, ports, &plan, None).unwrap()
}

/// A key file as its owner alone may read it; gives the line of the link's configuration.
pub fn key_file(folder: &tempfile::TempDir) -> String {
    use std::os::unix::fs::PermissionsExt;
    let file = folder.path().join("link.key");
    std::fs::write(&file, KEY).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    format!("key_file = \"{}\"\n", file.display())
}

pub fn link(name: &str, url: &str, more: &str) -> String {
    format!("\n[[link]]\nname = \"{name}\"\nurl = \"{url}\"\n{more}")
}

/// A rover of the node.
pub fn pinned(name: &str, sysid: u8, links: &str) -> String {
    format!("\n[[vehicle]]\nname = \"{name}\"\nclass = \"rover\"\nsysid = {sysid}\nlinks = [{links}]\n{ROVER_BRAKE}")
}

/// And of the simulator.
pub fn simulated(name: &str, sysid: u8, connect: &str, more: &str) -> String {
    format!(
        "\n[[vehicle]]\nname = \"{name}\"\nclass = \"rover\"\nsysid = {sysid}\nconnect = [{connect}]\nhome = [47.4, 8.5]\n\
         mission_m = [[0, 0], [400, 0], [400, 300]]\nspeed_mps = 2.0\nmode = 10\narmed = true\n{FAILSAFES}{more}"
    )
}

pub async fn counted(site: &Site, name: &str) -> u64 {
    let metrics = site.metrics().await.unwrap();
    let lines = metrics.lines().filter(|line| line.contains(name) && !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn rovers_on_every_kind_of_link_are_held_and_found_again_after_they_were_away() {
    let ports = Ports::free().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (tcp_in, tcp_out, signed) = (free_tcp_port().unwrap(), free_tcp_port().unwrap(), free_udp_port().unwrap());
    let tty = folder.path().join("radio");
    let tty = tty.display();
    let names = ["datagrams", "caller", "listener", "serial", "signed"];
    let mut plan = Plan::default();
    let urls = [
        (format!("udpin:127.0.0.1:{}", ports.link), String::new()),
        (format!("tcpin:127.0.0.1:{tcp_in}"), String::new()),
        (format!("tcpout:127.0.0.1:{tcp_out}"), String::new()),
        (format!("serial:{tty}:57600"), String::new()),
        (format!("udpin:127.0.0.1:{signed}"), key_file(&folder)),
    ];
    let connects = [
        format!("\"127.0.0.1:{}\"", ports.link),
        format!("\"tcpout:127.0.0.1:{tcp_in}\""),
        format!("\"tcpin:127.0.0.1:{tcp_out}\""),
        format!("\"serial:{tty}:57600\""),
        format!("\"udpout:127.0.0.1:{signed}\""),
    ];
    for (index, name) in names.iter().enumerate() {
        let sysid = u8::try_from(index).unwrap() + 1;
        let key = if *name == "signed" { format!("key = \"{KEY}\"\n") } else { String::new() };
        plan.node.push_str(&link(name, &urls[index].0, &urls[index].1));
        plan.node.push_str(&pinned(name, sysid, &format!("\"{name}\"")));
        plan.sim.push_str(&simulated(name, sysid, &connects[index], &key));
    }
    let mut site = alone(&plan, ports);
    // The node first: two of the links are not there yet.
    site.start_node().unwrap();
    site.start_sim().unwrap();
    go(&site, &names).await;
    assert_eq!(site.post("/api/v1/estop", &json!({ "by": "ann" })).await.unwrap().0, 202);
    wait_for(&site, "each to be told HOLD", LONG, |trace| {
        names.iter().all(|name| told(trace, name, DO_SET_MODE).iter().any(|c| c["p2"] == 4.0 && c["result"] == 0))
    });
    wait_for_state(&site, "each to stand", |state| {
        names.iter().all(|name| vehicle(state, name)["speed_mps"].as_f64().is_some_and(|speed| speed < 0.1))
    })
    .await;
    // All of them go and come again: connections break, the terminal goes, datagrams come from another port.
    site.sim.take().unwrap().kill().unwrap();
    let silent =
        |state: &Value, name: &str| vehicle(state, name)["heartbeat_age_ms"].as_f64().is_some_and(|age| age > 2000.0);
    wait_for_state(&site, "each to be missed", |state| names.iter().all(|name| silent(state, name))).await;
    std::fs::remove_file(site.folder().join("trace.jsonl")).unwrap();
    site.start_sim().unwrap();
    wait_for(&site, "each to be told to stop again", LONG, |trace| {
        let orders = [DO_SET_MODE, "MAV_CMD_COMPONENT_ARM_DISARM"];
        names.iter().all(|name| orders.iter().any(|order| !told(trace, name, order).is_empty()))
    });
    let signed = site.metrics().await.unwrap();
    assert!(!signed.contains("signature"), "{signed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_does_not_stand_behind_what_fills_a_serial_line() {
    let (ports, ground) = (Ports::free().unwrap(), free_udp_port().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let tty = folder.path().join("radio");
    let url = format!("serial:{}:57600", tty.display());
    let node = link("serial", &url, "")
        + &link("qgc", &format!("udpin:127.0.0.1:{ground}"), "ground_stations = { per_second = 1000 }\n")
        + &pinned("rover", 1, "\"serial\"");
    let mut site =
        alone(&Plan { node, sim: simulated("rover", 1, &format!("\"{url}\""), ""), ..Plan::default() }, ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    go(&site, &["rover"]).await;
    // Twice what the line takes, of questions for one parameter.
    let mut question = Vec::new();
    let header = MavHeader { system_id: 255, component_id: 190, sequence: 0 };
    let wanted = PARAM_REQUEST_READ_DATA { target_system: 1, target_component: 1, ..PARAM_REQUEST_READ_DATA::DEFAULT };
    write_v2_msg(&mut question, header, &MavMessage::PARAM_REQUEST_READ(wanted)).unwrap();
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    std::thread::spawn(move || {
        while !end.load(Ordering::Relaxed) && flood.send_to(&question, ("127.0.0.1", ground)).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let begun = hil::wait::now();
    hil::wait::until("the line to be full for a second", LONG, || {
        (begun.elapsed() > Duration::from_secs(1)).then_some(()).ok_or_else(String::new)
    })
    .unwrap();
    let holds = |trace: &[Value]| told(trace, "rover", DO_SET_MODE).iter().filter(|c| c["p2"] == 4.0).count();
    let before = holds(&site.trace());
    let pressed = hil::wait::now();
    assert_eq!(site.post("/api/v1/estop", &json!({ "by": "ann" })).await.unwrap().0, 202);
    wait_for(&site, "HOLD", LONG, |trace| holds(trace) > before);
    // Behind a queue that the kernel keeps it would be a second and more.
    assert!(pressed.elapsed() < Duration::from_millis(500), "{:?}", pressed.elapsed());
    ended.store(true, Ordering::Relaxed);
}

/// Passes datagrams on between a vehicle and the node, until it is cut.
fn pass_on(from: UdpSocket, to: u16) -> Arc<AtomicBool> {
    let cut = Arc::new(AtomicBool::new(false));
    let out = UdpSocket::bind("127.0.0.1:0").unwrap();
    out.connect(("127.0.0.1", to)).unwrap();
    let (back, forth, ends) = (out.try_clone().unwrap(), from.try_clone().unwrap(), [cut.clone(), cut.clone()]);
    let [up, down] = ends;
    let vehicle = Arc::new(std::sync::Mutex::new(None));
    let known = vehicle.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((len, at)) = from.recv_from(&mut bytes) {
            *vehicle.lock().unwrap() = Some(at);
            if !up.load(Ordering::Relaxed) {
                let _ = out.send(&bytes[..len]);
            }
        }
    });
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        loop {
            let Ok(len) = back.recv(&mut bytes) else { continue };
            if let Some(at) = *known.lock().unwrap()
                && !down.load(Ordering::Relaxed)
            {
                let _ = forth.send_to(&bytes[..len], at);
            }
        }
    });
    cut
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rover_with_two_links_is_told_on_both_and_drives_on_when_one_is_cut() {
    let ports = Ports::free().unwrap();
    let second = free_tcp_port().unwrap();
    let before = UdpSocket::bind("127.0.0.1:0").unwrap();
    let via = before.local_addr().unwrap().port();
    let cut = pass_on(before, ports.link);
    let node = link("radio", &format!("udpin:127.0.0.1:{}", ports.link), "")
        + &link("modem", &format!("tcpin:127.0.0.1:{second}"), "")
        + &pinned("rover", 1, "\"radio\", \"modem\"");
    let sim = simulated("rover", 1, &format!("\"udpout:127.0.0.1:{via}\", \"tcpout:127.0.0.1:{second}\""), "");
    let mut site = alone(&Plan { node, sim, ..Plan::default() }, ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    go(&site, &["rover"]).await;
    let heard = |site: &Site, link: &str| {
        let log = site.node.as_ref().unwrap().output();
        log.lines().filter(|l| l.contains("vehicle is heard") && l.contains(&format!("link=\"{link}\""))).count()
    };
    // The one named first, whichever was there first.
    hil::wait::until("the radio to be used", LONG, || {
        (heard(&site, "radio") > 0).then_some(()).ok_or_else(String::new)
    })
    .unwrap();
    cut.store(true, Ordering::Relaxed);
    hil::wait::until("the modem to be used", LONG, || {
        let log = site.node.as_ref().unwrap().output();
        let last = log.lines().rfind(|line| line.contains("vehicle is heard")).unwrap_or_default().to_owned();
        if last.contains("link=\"modem\"") { Ok(()) } else { Err(last) }
    })
    .unwrap();
    // Two seconds of driving with the radio cut: longer than silence may last.
    let driving = wait_for_state(&site, "the rover", |_| true).await;
    let holds = |site: &Site| told(&site.trace(), "rover", DO_SET_MODE).iter().filter(|c| c["p2"] == 4.0).count();
    assert_eq!(vehicle(&driving, "rover")["demand"], "none", "{driving}");
    let so_far = holds(&site);
    let begun = hil::wait::now();
    hil::wait::until("three seconds without the radio", LONG, || {
        assert_eq!(holds(&site), so_far, "held while one link was there");
        (begun.elapsed() > Duration::from_secs(3)).then_some(()).ok_or_else(String::new)
    })
    .unwrap();
    cut.store(false, Ordering::Relaxed);
    wait_for(&site, "the radio to carry something again", LONG, |trace| {
        trace.iter().rev().take(20).any(|line| line["link"] == 0)
    });
    assert_eq!(site.post("/api/v1/estop", &json!({ "by": "ann" })).await.unwrap().0, 202);
    wait_for(&site, "HOLD on both links", LONG, |trace| {
        let mut links: Vec<i64> = told(trace, "rover", DO_SET_MODE)
            .iter()
            .filter(|c| c["p2"] == 4.0)
            .filter_map(|c| c["link"].as_i64())
            .skip(so_far)
            .collect();
        links.sort_unstable();
        links.dedup();
        links == [0, 1]
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stopped_holds_a_rover_behind_a_connection_before_it_ends() {
    let (ports, tcp) = (Ports::free().unwrap(), free_tcp_port().unwrap());
    let node = link("modem", &format!("tcpin:127.0.0.1:{tcp}"), "") + &pinned("rover", 1, "\"modem\"");
    let sim = simulated("rover", 1, &format!("\"tcpout:127.0.0.1:{tcp}\""), "");
    let mut site = alone(&Plan { node, sim, ..Plan::default() }, ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    go(&site, &["rover"]).await;
    let holds = |site: &Site| told(&site.trace(), "rover", DO_SET_MODE).iter().filter(|c| c["p2"] == 4.0).count();
    let before = holds(&site);
    site.node.take().unwrap().stop(LONG).unwrap();
    assert!(holds(&site) > before, "held before the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_link_takes_only_its_key_and_a_box_in_1970_is_obeyed_after_one_packet() {
    let ports = Ports::free().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let node = link("radio", &format!("udpin:127.0.0.1:{}", ports.link), &key_file(&folder))
        + &pinned("rover", 7, "\"radio\"");
    let mut site = alone(&Plan { node, ..Plan::default() }, ports);
    let mut early = with_clock(&site, "@1970-01-01 00:00:10");
    site.trace_node(&mut early).unwrap();
    site.node.as_mut().unwrap().wait_for_output("node is ready", LONG).unwrap();
    let url = format!("udpout:127.0.0.1:{}", ports.link);

    // Not signed, and signed with something else.
    for (key, why) in [(None, "radio: unsigned"), (Some(OTHER_KEY), "radio: wrong signature")] {
        let stranger = Peer::start(&url, (7, 1), key).unwrap();
        let refused = async || match counted(&site, why).await {
            // Two seconds of its heartbeats: an answer would have come meanwhile.
            0..=2 => Err(site.metrics().await.unwrap()),
            _ => Ok(()),
        };
        hil::wait::eventually(why, LONG, refused).await.unwrap();
        let heard = stranger.heard();
        assert!(heard.iter().all(|message| message["mavpackettype"] == "BAD_DATA"), "answered: {heard:?}");
        let state = site.state().await.unwrap();
        assert!(vehicle(&state, "rover")["heartbeat_age_ms"].is_null(), "{state}");
    }

    // With the key it is heard, and takes what the box has signed although the box thinks that it is 1970.
    let rover = Peer::start(&url, (7, 1), Some(KEY)).unwrap();
    let is = |message: &Value, kind: &str| message["mavpackettype"] == kind && message["signed"] == true;
    let beat = rover.wait("the node's heartbeat", |m| is(m, "HEARTBEAT") && m["sysid"] == 245).unwrap();
    assert_eq!((&beat["compid"], &beat["type"]), (&json!(191), &json!(18)));
    rover.wait("a stream request", |m| is(m, "COMMAND_LONG") && m["command"] == 511).unwrap();
    assert_eq!(site.post("/api/v1/estop", &json!({ "by": "ann" })).await.unwrap().0, 202);
    let hold = rover.wait("HOLD", |m| is(m, "COMMAND_LONG") && m["command"] == 176).unwrap();
    assert_eq!((&hold["param1"], &hold["param2"]), (&json!(1.0), &json!(4.0)));

    // Power fails before anything newer is stored: it is obeyed again.
    site.node.take().unwrap().kill().unwrap();
    rover.forget();
    let mut early = with_clock(&site, "@1970-01-01 00:00:10");
    site.trace_node(&mut early).unwrap();
    rover.wait("HOLD after a restart", |m| is(m, "COMMAND_LONG") && m["command"] == 176).unwrap();
}
