//! Output lines end to end, as the simulated vehicle's relay turned: it opens by itself when the node dies, and a rover goes on
//! by itself only after its siren.

use std::time::Duration;

use hil::process::free_udp_port;
use hil::site::{Plan, Ports, Site};
use serde_json::{Value, json};

use crate::interlock::{go, told, vehicle, wait_for, wait_for_state};
use crate::radio::{alone, link, pinned, simulated};

const DO_SET_MODE: &str = "MAV_CMD_DO_SET_MODE";
/// In the simulator's trace: a relay has turned; its number, and whether it is closed.
const RELAY: &str = "RELAY";
/// And its own ground-station failsafe acted.
const STATION_LOST: &str = "FAILSAFE_GCS";

/// A rover with two links: a pulse that came twice would leave its relay closed.
fn rover(ports: Ports, output: &str) -> Plan {
    let spare = free_udp_port().unwrap();
    let node = link("radio", &format!("udpin:127.0.0.1:{}", ports.link), "")
        + &link("spare", &format!("udpin:127.0.0.1:{spare}"), "")
        + &pinned("rover", 1, "\"radio\", \"spare\"")
        + output;
    let sim = simulated("rover", 1, &format!("\"127.0.0.1:{}\", \"127.0.0.1:{spare}\"", ports.link), "");
    Plan { node, sim, ..Plan::default() }
}

fn started(plan: &Plan, ports: Ports) -> Site {
    let mut site = alone(plan, ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    site
}

fn at(line: &Value) -> f64 {
    line["t_s"].as_f64().unwrap()
}

/// When the relay closed, and when it opened.
fn turns(trace: &[Value], number: f64) -> (Vec<f64>, Vec<f64>) {
    let turned = |closed: f64| {
        let own = told(trace, "rover", RELAY).into_iter().filter(|line| line["p1"] == number && line["p2"] == closed);
        own.map(at).collect()
    };
    (turned(1.0), turned(0.0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_light_on_a_vehicles_relay_blinks_while_it_is_armed_and_goes_out_by_itself_when_the_node_is_killed() {
    let ports = Ports::free().unwrap();
    let light = "\n[[output]]\nname = \"light\"\npin = { relay = { vehicle = \"rover\", number = 3 } }\n\
                 energised_while = [\"armed\"]\n";
    let mut site = started(&rover(ports, light), ports);
    go(&site, &["rover"]).await;
    wait_for(&site, "the light to blink", Duration::from_secs(20), |trace| turns(trace, 3.0).1.len() >= 3);
    let state = site.get("/api/v1/interlocks").await.unwrap().1;
    assert_eq!(state["outputs"], json!([{ "name": "light", "energised": true, "faulty": false }]), "{state}");
    site.node.take().unwrap().kill().unwrap();
    wait_for(&site, "its own failsafe", Duration::from_secs(20), |trace| {
        !told(trace, "rover", STATION_LOST).is_empty()
    });
    let trace = site.trace();
    let (closed, opened) = turns(&trace, 3.0);
    let (last_closed, last_opened) = (closed.last().unwrap(), opened.last().unwrap());
    assert!(last_opened > last_closed && last_opened - last_closed < 1.2, "{closed:?} {opened:?}");
    let lost = at(told(&trace, "rover", STATION_LOST)[0]);
    assert!(lost - last_closed > 1.5, "it blinked after the node was dead: {last_closed}, failsafe at {lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rover_goes_on_by_itself_once_the_person_has_left_and_its_siren_has_sounded_for_five_seconds() {
    let test = "a_rover_goes_on_by_itself_once_the_person_has_left_and_its_siren_has_sounded_for_five_seconds";
    let Some(media) = hil::media::or_skip(test) else { return };
    // A person for two seconds, then twelve without anybody, five pictures a second.
    let pictures = tempfile::tempdir().unwrap();
    for n in 0..70 {
        let picture = if n < 10 { "coco64/images/000000001490.jpg" } else { "coco64/images/000000000802.jpg" };
        std::fs::copy(media.join(picture), pictures.path().join(format!("{n:03}.jpg"))).unwrap();
    }
    let ports = Ports::free().unwrap();
    let yard = format!(
        "\n[[camera]]\nname = \"yard\"\nsource = \"mjpeg:http://127.0.0.1:{}/yard\"\nview = {{ frozen_after = \"0s\" }}\n\n\
         [[zone]]\nname = \"yard\"\ncamera = \"yard\"\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n\n\
         [[keep_out]]\nzone = \"yard\"\nvehicles = [\"rover\"]\nclear_after = \"1s\"\nresume = \"automatic\"\n\n\
         [[output]]\nname = \"siren\"\npin = {{ relay = {{ vehicle = \"rover\", number = 0 }} }}\n\
         energised_while = [\"resuming\"]\n",
        ports.camera
    );
    let mut plan = rover(ports, &yard);
    plan.model = true;
    plan.sim.push_str(&format!(
        "\n[[camera]]\nname = \"yard\"\nlisten = \"127.0.0.1:{}\"\nsource = \"{}\"\nfps = 5\n",
        ports.camera,
        pictures.path().display()
    ));
    let site = started(&plan, ports);
    go(&site, &["rover"]).await;
    let sent_on = |trace: &[Value]| -> Vec<f64> {
        told(trace, "rover", DO_SET_MODE).iter().filter(|line| line["p2"] == 10.0).map(|line| at(line)).collect()
    };
    let by_hand = sent_on(&site.trace()).len();
    wait_for(&site, "it to be held", Duration::from_secs(30), |trace| {
        told(trace, "rover", DO_SET_MODE).iter().any(|line| line["p2"] == 4.0 && line["mode_before"] == 10)
    });
    wait_for(&site, "it to go on by itself", Duration::from_secs(40), |trace| sent_on(trace).len() > by_hand);
    wait_for_state(&site, "it to move", |state| vehicle(state, "rover")["speed_mps"].as_f64() > Some(1.0)).await;
    let trace = site.trace();
    let went = sent_on(&trace)[by_hand];
    let held = told(&trace, "rover", DO_SET_MODE)
        .into_iter()
        .rev()
        .filter(|line| line["p2"] == 4.0)
        .map(at)
        .find(|t| *t < went);
    let siren: Vec<f64> = turns(&trace, 0.0).0.into_iter().filter(|t| *t < went && Some(*t) > held).collect();
    assert!(siren.len() >= 3 && went - siren[0] > 4.5, "siren at {siren:?}, on at {went}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_that_cannot_be_written_are_said_once_and_counted_as_not_working() {
    let ports = Ports::free().unwrap();
    let folder = tempfile::tempdir().unwrap();
    // A pseudo-terminal has no control lines, and this machine has no such chip.
    let path = folder.path().join("port");
    let _kept = sim::wire::terminal(&path).unwrap();
    let pins = format!(
        "\n[[output]]\nname = \"stop\"\npin = {{ serial = {{ port = \"{}\", line = \"rts\" }} }}\n\
         energised_while = [\"released\"]\n\n\
         [[output]]\nname = \"light\"\npin = {{ gpio = {{ chip = \"/dev/gpiochip99\", line = 4 }} }}\n\
         energised_while = [\"armed\"]\n",
        path.display()
    );
    let mut site = alone(&Plan { node: rover(ports, &pins).node, ..Plan::default() }, ports);
    site.start_node().unwrap();
    let faulty = |state: &Value| {
        let outputs = state["outputs"].as_array().unwrap();
        outputs.len() == 2 && outputs.iter().all(|output| output["faulty"] == true)
    };
    let state = wait_for_state(&site, "both to be faulty", faulty).await;
    assert_eq!(state["outputs"][0]["energised"], true, "the machine wants it");
    let state = wait_for_state(&site, "their alerts", |state| {
        let alerts = state["alerts"].as_array().unwrap();
        ["output/stop", "output/light"].iter().all(|name| alerts.iter().any(|alert| alert["subject"] == *name))
    })
    .await;
    assert_eq!(state["alerts"].as_array().unwrap().len(), 2 + 1, "and the rover that was never heard: {state}");
    let events = site.inspect(&["events", "--json", "--type", "output.changed"]).unwrap();
    assert!(events.contains("\"faulty\":true"), "{events}");
    let log = site.node.as_ref().unwrap().output();
    assert_eq!(log.matches("output cannot be written").count(), 2, "{log}");
}
