//! Messages from the centre to a node, on the real binaries: what is honoured, what is not, and that each is honoured once.

use std::time::Duration;

use hil::servers::Addresses;
use hil::site::{Plan, Ports, Site};
use hil::wait::eventually;
use hil::witness;
use serde_json::{Value, json};

use crate::clock::with_clock;

const LONG: Duration = Duration::from_secs(30);

async fn site(name: &str) -> Site {
    let place = Addresses::find().unwrap().place(name).await.unwrap();
    let mut site = Site::prepare(place, Ports::free().unwrap(), &Plan::default(), None).unwrap();
    site.start_relay().unwrap();
    site
}

fn press(site: &Site) -> String {
    let said = site.operate(&["downlink", "press-estop", "--node", "gate-1", "--by", "ann"]).unwrap();
    said.trim().to_owned()
}

async fn pressed(site: &Site) -> bool {
    let url = format!("{}/api/v1/interlocks", site.console());
    let answer = hil::http::client(LONG).unwrap().get(url).send().await.unwrap();
    answer.json::<Value>().await.unwrap()["estop"] == true
}

async fn until_pressed(site: &Site) {
    let look = async || if pressed(site).await { Ok(()) } else { Err("released".to_owned()) };
    eventually("the e-stop to be pressed", LONG, look).await.unwrap();
}

/// What the centre learned of messages: place and outcome, in order.
async fn received(site: &Site) -> Vec<(String, String)> {
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let sql = "SELECT payload->>'seq', payload->>'outcome' FROM event_store WHERE event_type = 'downlink.received'
        AND payload->>'kind' = 'estop.press' ORDER BY epoch, seq";
    let rows = db.query(sql, &[]).await.unwrap();
    let mut all: Vec<_> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    all.sort();
    all
}

async fn until_received(site: &Site, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(seq, outcome)| ((*seq).to_owned(), (*outcome).to_owned())).collect();
    let look = async || {
        let found = received(site).await;
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    };
    eventually(&format!("{expected:?} to be central"), LONG, look).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estop_pressed_at_the_centre_stops_the_site_once_whatever_is_restarted() {
    let mut site = site("downlink").await;
    site.start_node().unwrap();
    site.until_central(&site.read_many(1).await.unwrap(), LONG).await.unwrap();
    assert!(!pressed(&site).await);
    let first = press(&site);
    until_pressed(&site).await;
    until_received(&site, &[(&first, "taken")]).await;
    let listed = async || {
        let said = site.operate(&["downlink", "list", "--node", "gate-1"]).unwrap();
        if said.contains("by ann") && said.contains("kept by the node at") { Ok(()) } else { Err(said) }
    };
    eventually("the message to be kept", LONG, listed).await.unwrap();
    // Who pressed is in the record; the centre cannot reset.
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let sql = "SELECT count(*) FROM event_store WHERE event_type = 'estop.changed' AND payload->>'source' = 'downlink'
        AND payload->>'by' = 'ann' AND payload->>'pressed' = 'true'";
    // The press acts before anything is written: its own event may come a moment after the message's.
    let once = async || match db.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) {
        1 => Ok(()),
        found => Err(format!("{found} presses")),
    };
    eventually("the press to be central once", LONG, once).await.unwrap();
    assert_eq!(site.post("/api/v1/estop/reset", &json!({ "by": "bob" })).await.unwrap().0, 202);
    let released = async || if pressed(&site).await { Err("pressed".to_owned()) } else { Ok(()) };
    eventually("the e-stop to be released", LONG, released).await.unwrap();
    // The message has not expired, and the node has it: neither restart brings it again.
    drop(site.node.take());
    site.relay.take().unwrap().stop(LONG).unwrap();
    site.start_relay().unwrap();
    site.start_node().unwrap();
    site.until_central(&site.read_many(1).await.unwrap(), LONG).await.unwrap();
    assert_eq!(once().await, Ok(()), "neither restart presses again");
    // What is sent while the node is away waits for it; that it came means that all before it had come.
    site.node.take().unwrap().stop(LONG).unwrap();
    assert!(site.data().join("estop.a").exists());
    assert!(std::fs::read_to_string(site.data().join("estop.a")).unwrap().starts_with("released"));
    let second = press(&site);
    site.start_node().unwrap();
    until_pressed(&site).await;
    until_received(&site, &[(&first, "taken"), (&second, "taken")]).await;
    let status = hil::process::output(
        std::process::Command::new(hil::binaries::built().unwrap().join("edge-node"))
            .args(["outbox", "status", "--json", "--data"])
            .arg(site.data()),
    );
    let status: Value = serde_json::from_str(&status.unwrap()).unwrap();
    assert_eq!(status["downlink_seq"].to_string(), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_has_expired_or_is_not_the_relays_is_not_honoured() {
    let mut site = site("forged").await;
    let unknown = site.operate(&["downlink", "press-estop", "--node", "gate-2", "--by", "ann"]).unwrap_err();
    assert!(unknown.to_string().contains("no certificate"), "{unknown}");
    // A box whose clock is an hour ahead judges by that: rather a message too few than one too many.
    let mut ahead = with_clock(&site, "+1h");
    site.trace_node(&mut ahead).unwrap();
    site.node.as_mut().unwrap().wait_for_output("node is ready", LONG).unwrap();
    let late = press(&site);
    until_received(&site, &[(&late, "expired")]).await;
    assert!(!pressed(&site).await);
    site.node.take().unwrap().stop(LONG).unwrap();
    // Somebody who writes to Postgres has no key of an authority.
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let forged = press(&site);
    let changed = "UPDATE downlink SET content = replace(content, 'ann', 'eve') WHERE seq = $1";
    assert_eq!(db.execute(changed, &[&forged.parse::<i64>().unwrap()]).await.unwrap(), 1);
    site.start_node().unwrap();
    site.node.as_mut().unwrap().wait_for_output("it is not signed for this node", LONG).unwrap();
    assert!(!pressed(&site).await);
    assert!(site.metrics().await.unwrap().contains("downlink_messages_total{name=\"unsigned\"} 1"));
    site.node.take().unwrap().stop(LONG).unwrap();
    // What was made right is honoured, though the forged place lies before it and is there still.
    let good = press(&site);
    site.start_node().unwrap();
    until_pressed(&site).await;
    until_received(&site, &[(&late, "expired"), (&good, "taken")]).await;
}
