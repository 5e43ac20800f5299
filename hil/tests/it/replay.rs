//! What the interlock took is recorded, and decided again: the same under the same policy, otherwise under another.

use std::time::Duration;

use hil::site::{Plan, Ports};
use serde_json::{Value, json};

use crate::interlock::{go, vehicle, wait_for_state};
use crate::radio::{alone, link, pinned, simulated};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_is_reproduced_and_named_by_its_events_and_another_policy_decides_otherwise() {
    let ports = Ports::free().unwrap();
    let node = link("radio", &format!("udpin:127.0.0.1:{}", ports.link), "") + &pinned("rover", 1, "\"radio\"");
    let sim = simulated("rover", 1, &format!("\"127.0.0.1:{}\"", ports.link), "");
    let mut site = alone(&Plan { node, sim, ..Plan::default() }, ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    // An operator takes a lease and goes.
    let (status, answer) = site.post("/api/v1/vehicles/rover/lease", &json!({ "by": "hil" })).await.unwrap();
    assert_eq!(status, 202, "{answer}");
    go(&site, &["rover"]).await;
    let (status, _) = site.post("/api/v1/estop", &json!({ "by": "ann" })).await.unwrap();
    assert_eq!(status, 202);
    wait_for_state(&site, "the rover to be disarmed", |state| vehicle(state, "rover")["armed"] == false).await;
    let (status, _) = site.post("/api/v1/estop/reset", &json!({ "by": "ann" })).await.unwrap();
    assert_eq!(status, 202);
    wait_for_state(&site, "the reset", |state| state["interlock"]["estop"] == false).await;
    site.node.take().unwrap().stop(LONG).unwrap();
    // And once more, as a second recording.
    site.start_node().unwrap();
    wait_for_state(&site, "the link", |state| vehicle(state, "rover")["demand"] == "none").await;
    site.node.take().unwrap().stop(LONG).unwrap();

    let all = site.inspect(&["interlock", "replay", "--decisions"]).unwrap();
    let last = all.lines().last().unwrap();
    assert!(
        last.starts_with("2 recordings, ") && last.contains(": 0 did not come out as recorded, 0 differ"),
        "{last}"
    );
    // The journal's own events name the steps that they follow from.
    let events = site.inspect(&["events", "--json"]).unwrap();
    let events: Vec<Value> = events.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let decided = |event: &&Value| {
        let kind = event["type"].as_str().unwrap_or_default();
        kind.starts_with("interlock.")
            || kind == "estop.changed"
            || kind == "command.decided"
            || kind == "lease.changed"
    };
    let decided: Vec<&Value> = events.iter().filter(decided).collect();
    assert!(decided.len() > 10, "{} decisions", decided.len());
    for event in decided {
        let parent = event["traceparent"].as_str().unwrap_or_else(|| panic!("no reference: {event}"));
        let trace = parent.split('-').nth(1).unwrap();
        assert!(all.contains(trace), "not replayed: {event}");
    }

    // Power fails: what was written until then is read.
    site.start_node().unwrap();
    wait_for_state(&site, "the link", |state| vehicle(state, "rover")["demand"] == "none").await;
    site.node.take().unwrap().kill().unwrap();
    let cut = site.inspect(&["interlock", "replay"]).unwrap();
    let inputs = |text: &str| -> u64 { text.lines().last().unwrap().split(' ').nth(2).unwrap().parse().unwrap() };
    assert!(cut.starts_with("3 recordings, ") && cut.contains(": 0 did not come out as recorded"), "{cut}");
    assert!(inputs(&cut) > inputs(&all) + 20, "{cut}");

    // Under a policy without the link rule nothing would have been held at the start.
    let other = site.folder().join("other.toml");
    let text = std::fs::read_to_string(site.folder().join("node.toml")).unwrap();
    std::fs::write(&other, format!("{text}\n[interlock]\noff = [\"link\"]\n")).unwrap();
    let differs = site.inspect(&["interlock", "replay", "--under", other.to_str().unwrap()]).unwrap();
    let last = differs.lines().last().unwrap();
    assert!(last.contains(": 0 did not come out as recorded") && !last.contains(", 0 differ"), "{last}");
    assert!(differs.lines().any(|line| line.contains("recorded: link trips for rover: hold")), "{differs}");
    let two = format!("{text}{}", pinned("second", 2, "\"radio\""));
    std::fs::write(&other, two).unwrap();
    let error = site.inspect(&["interlock", "replay", "--under", other.to_str().unwrap()]).unwrap_err();
    assert!(format!("{error:#}").contains("expected 1 vehicles"), "{error:#}");

    // One bit of a recording.
    let folder = site.data().join("recordings");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let place = bytes.len() - 20;
    bytes[place] ^= 1;
    std::fs::write(&files[0], bytes).unwrap();
    let error = site.inspect(&["interlock", "replay"]).unwrap_err();
    assert!(format!("{error:#}").contains("not what was written"), "{error:#}");
}
