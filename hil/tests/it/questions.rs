//! What an operator and an integrator ask of the real binaries: events in pages, their schemas, whose they are.

use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

use hil::process::output;
use hil::servers::Addresses;
use hil::site::{Plan, Ports, Site};
use hil::witness;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

async fn get(port: u16, path: &str) -> (u16, Value) {
    let client = hil::http::client(Duration::from_secs(10)).unwrap();
    let answer = client.get(format!("http://127.0.0.1:{port}{path}")).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

async fn refuses_traces_that_are_none(site: &Site) {
    for wrong in ["0af7", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
        let data = json!({ "sensor": "s", "value": 1, "unit": "1" });
        let event = json!({ "type": "sensor.reading", "subject": "a", "traceparent": wrong, "data": data });
        let (status, problem) = site.post("/api/v1/events", &event).await.unwrap();
        assert!(status == 400 && problem["detail"].as_str().unwrap().contains("traceparent"), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_by_what_they_are_about_in_pages_over_http_and_at_the_command_line() {
    let place = Addresses::find().unwrap().place("questions").await.unwrap();
    let mut site = Site::prepare(place, Ports::free().unwrap(), &Plan::default(), None).unwrap();
    site.start_relay().unwrap();
    site.start_node().unwrap();
    let (trace, mut gate, mut traced) = ("0af7651916cd43dd8448eb211c80319c", HashSet::new(), None);
    for n in 0..30 {
        let subject = if n % 3 == 0 { "sensor/gate" } else { "sensor/yard" };
        let mut event = json!({ "type": "sensor.reading", "subject": subject });
        event["data"] = json!({ "sensor": "s", "value": n, "unit": "1" });
        if n == 7 {
            event["traceparent"] = json!(format!("00-{trace}-b7ad6b7169203331-01"));
        }
        let (status, answer) = site.post("/api/v1/events", &event).await.unwrap();
        assert_eq!(status, 202, "{answer}");
        let id = answer["id"].as_str().unwrap().to_owned();
        if n % 3 == 0 {
            gate.insert(id.clone());
        }
        traced = if n == 7 { Some(id) } else { traced };
    }
    refuses_traces_that_are_none(&site).await;
    // In pages of four, each once.
    let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (status, page) =
            get(site.ports.console, &format!("/api/v1/events?aggregate=sensor/gate&limit=4{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        let events = page["events"].as_array().unwrap();
        found.extend(events.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        cursor = format!("&cursor={}", page["next"].as_str().unwrap());
        pages += 1;
        if page["more"] == false {
            break;
        }
    }
    assert_eq!((found.len(), found.into_iter().collect::<HashSet<_>>()), (10, gate.clone()));
    assert!(pages >= 3, "{pages} pages");
    let (_, by_trace) = get(site.ports.console, &format!("/api/v1/events?trace={trace}")).await;
    assert_eq!(
        (by_trace["events"].as_array().unwrap().len(), by_trace["events"][0]["id"].as_str()),
        (1, traced.as_deref())
    );
    for (wrong, word) in
        [("limit=0", "limit"), ("since=yesterday", "since"), ("cursor=x", "cursor"), ("kind=a", "kind")]
    {
        let (status, problem) = get(site.ports.console, &format!("/api/v1/events?{wrong}")).await;
        assert_eq!(status, 400, "{wrong}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{wrong}: {problem}");
    }
    // The same at the command line, while the node runs.
    let ask = |arguments: &[&str]| {
        let mut events = Command::new(hil::binaries::built().unwrap().join("edge-node"));
        events.args(["events", "--json", "--config"]).arg(site.folder().join("node.toml")).args(arguments);
        let text = output(events.env("PICKET_LOG", "error")).unwrap();
        let ids =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned());
        ids.collect::<HashSet<_>>()
    };
    assert_eq!(ask(&["--aggregate", "sensor/gate"]), gate);
    assert_eq!(ask(&["--trace", trace]), HashSet::from([traced.unwrap()]));
    assert_eq!(ask(&["--type", "sensor.*"]).len(), 30);

    // Both binaries tell what the data of each type look like.
    for port in [site.ports.console, site.ports.relay] {
        let (status, types) = get(port, "/api/v1/schemas").await;
        assert_eq!(status, 200);
        assert!(types.as_array().unwrap().iter().any(|known| known["type"] == "sensor.reading"), "{types}");
        let (status, schema) = get(port, "/api/v1/schemas/sensor.reading").await;
        assert_eq!((status, schema["properties"]["value"]["type"].as_str()), (200, Some("number")), "{schema}");
        assert_eq!(get(port, "/api/v1/schemas/no.such").await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_events_are_of_the_tenant_and_site_of_its_certificate() {
    let place = Addresses::find().unwrap().place("tenant").await.unwrap();
    let mut site = Site::prepare(place, Ports::free().unwrap(), &Plan::default(), None).unwrap();
    site.start_relay().unwrap();
    // Enrolled anew, as another tenant's box at another site than the relay's own.
    std::fs::remove_dir_all(site.data().join("identity")).unwrap();
    let other = ["token", "create", "--node", "gate-1", "--tenant", "globex", "--site", "depot"];
    site.enrol(site.operate(&other).unwrap().trim()).unwrap();
    site.start_node().unwrap();
    let ids = site.read_many(5).await.unwrap();
    site.until_central(&ids, LONG).await.unwrap();
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let sql = "SELECT DISTINCT tenant, site FROM event_store";
    let owners: Vec<(String, String)> =
        db.query(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(owners, [("globex".to_owned(), "depot".to_owned())]);
}
