//! kill -9 of node, relay, Postgres and Kafka at seeded moments, mid-commit and mid-acknowledgement among them; then the
//! count from outside.
//!
//! Mid-commit: strace delivers SIGKILL as the journal's thread enters its n-th `pwrite64` or `fsync`, so the kill
//! falls between the writes of one commit, or after them and before they are durable. Mid-acknowledgement: the relay
//! has committed and answered, and the answer is withheld from the node, which is then killed.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use sim::link::{Link, Weather};
use sim::random::Random;
use uuid::Uuid;

use crate::demo::{Report, count, plan};
use crate::servers::Servers;
use crate::site::{Plan, Ports, Site, reading};
use crate::wait::{eventually, until};

/// How long a round may take until its kill falls.
const ROUND: Duration = Duration::from_secs(60);
/// Posts under way at once: makes group commits of several events.
const POSTERS: u64 = 8;
/// Each poster's pace: 800 events/s together, which the relay drains beside the rounds.
const PACE: Duration = Duration::from_millis(10);

/// Where a kill is to fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// As the journal's thread enters this write of its WAL.
    Write(u64),
    /// As the journal's thread enters this sync.
    Sync(u64),
    /// After the relay stored a batch, before the node hears of it; this many answers are withheld first.
    Acknowledgement(u64),
    /// After this many more events were acknowledged to their senders.
    Acknowledged(usize),
    /// After this many more events were journaled, of a part of the centre, which is back after as many more.
    Centre(Part, usize),
}

/// A part of the centre.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// cloud-relay.
    Relay,
    /// Postgres.
    Postgres,
    /// The Kafka broker.
    Kafka,
}

/// What the rounds came to.
pub struct Outcome {
    /// Where each kill fell, in the order of rounds.
    pub falls: Vec<String>,
    /// Event ids that the node acknowledged over HTTP.
    pub acknowledged: HashSet<Uuid>,
    /// The count from outside.
    pub report: Report,
    /// Acknowledged and not central.
    pub lost: usize,
    /// Gaps that the relay has named, by SQL.
    pub gaps_named: i64,
    /// What `cloud-relay verify` says of the node.
    pub proved: String,
}

impl Outcome {
    /// What is wrong, if anything: a list of counts that must be 0.
    pub fn problem(&self) -> Option<String> {
        let Report { lost, duplicated, misplaced, unpublished, disordered, .. } = self.report;
        let counts = [
            ("acknowledged and not central", self.lost),
            ("journaled and not central", lost),
            ("central twice", duplicated),
            ("central at another place", misplaced),
            ("central and not in Kafka", unpublished),
            ("in Kafka out of order", disordered),
            ("not proved by the relay", usize::from(self.proved.contains("NOT PROVED"))),
        ];
        let wrong: Vec<String> =
            counts.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}")).collect();
        (!wrong.is_empty()).then(|| wrong.join(", "))
    }
}

/// The moments of a seed: the same seed gives the same moments.
pub fn moments(seed: u64, rounds: usize) -> Vec<Moment> {
    let random = Random::new(seed);
    let next = |below| random.draw(below);
    (0..rounds)
        .map(|round| match round % 7 {
            0 => Moment::Write(80 + next(400)),
            1 => Moment::Acknowledgement(1 + next(3)),
            2 => Moment::Sync(20 + next(60)),
            3 => Moment::Acknowledged(5 + usize::try_from(next(60)).unwrap_or(0)),
            kind => {
                let part = [Part::Relay, Part::Postgres, Part::Kafka].into_iter().cycle().nth(kind - 4);
                let count = 50 + usize::try_from(next(1500)).unwrap_or(0);
                Moment::Centre(part.unwrap_or(Part::Relay), count)
            }
        })
        .collect()
}

/// Runs the rounds on servers of their own.
///
/// # Errors
/// When something does not start, or a kill does not fall in time.
pub async fn run(seed: u64, rounds: usize) -> anyhow::Result<Outcome> {
    let mut servers = Servers::start()?;
    let place = servers.addresses().place("crash").await?;
    let ports = Ports::free()?;
    let link = Link::start(ports.fleet, seed)?;
    // The demo's vehicles, without its camera: the journal is what is under test.
    let Plan { node, sim, .. } = plan(ports, None);
    // Small segments, so that kills fall around their change, too.
    let node = node + "\n[journal]\nsegment_mib = 1\nballast_mib = 1\n";
    let quiet = Plan { node, sim, ..Plan::default() };
    let mut site = Site::prepare(place, ports, &quiet, Some(link.port()))?;
    site.start_relay()?;
    site.start_sim()?;
    let stop = Arc::new(AtomicBool::new(false));
    let posters: Vec<_> = (0..POSTERS).map(|n| tokio::spawn(post(site.console(), n, stop.clone()))).collect();
    let mut falls = Vec::new();
    for (round, moment) in moments(seed, rounds).into_iter().enumerate() {
        let fall = kill_at(&mut site, &mut servers, &link, moment).await;
        let fall = fall.with_context(|| format!("kill at {moment:?}, round {round} of seed {seed}"))?;
        falls.push(format!("round {round}, {moment:?}: {fall}"));
    }
    link.set(Weather::Clear);
    site.start_node()?;
    site.read(0).await.context("post after the last restart")?;
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = HashSet::new();
    for poster in posters {
        acknowledged.extend(poster.await.context("join a poster")?);
    }
    let report = count(&site).await?;
    let central = crate::witness::central(&site.place.postgres).await?;
    let lost = acknowledged.difference(&central.ids).count();
    // Each lane proved by the relay itself, too: complete, or it says where not.
    let proved = site.operate(&["verify", "--node", "gate-1"])?;
    let db = crate::witness::sql(&site.place.postgres).await?;
    let gaps_named = db.query_one("SELECT count(*) FROM gap", &[]).await?.get(0);
    drop(site);
    servers.stop()?;
    Ok(Outcome { falls, acknowledged, report, lost, gaps_named, proved })
}

/// Posts events one after another, whatever becomes of the node; gives the ids it acknowledged.
async fn post(console: String, seed: u64, stop: Arc<AtomicBool>) -> HashSet<Uuid> {
    let mut acknowledged = HashSet::new();
    let Ok(client) = crate::http::client(Duration::from_secs(5)) else { return acknowledged };
    let mut n = seed;
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.load(Ordering::SeqCst) {
        n += POSTERS;
        let answer = client.post(format!("{console}/api/v1/events")).json(&reading(n % 1000)).send().await;
        match answer {
            Ok(answer) if answer.status().as_u16() == 202 => {
                let id = answer.json::<serde_json::Value>().await.ok();
                let id = id.and_then(|body| Uuid::try_parse(body.get("id")?.as_str()?).ok());
                acknowledged.extend(id);
            }
            // The node is down: the next tick looks again.
            Ok(_) | Err(_) => {}
        }
        ticks.tick().await;
    }
    acknowledged
}

/// Starts the node, kills it at the moment; tells where the kill fell.
async fn kill_at(site: &mut Site, servers: &mut Servers, link: &Link, moment: Moment) -> anyhow::Result<String> {
    link.set(Weather::Clear);
    match moment {
        Moment::Write(n) => kill_in_syscall(site, "pwrite64", n),
        Moment::Sync(n) => kill_in_syscall(site, "fsync", n),
        Moment::Acknowledgement(answers) => {
            site.start_node()?;
            // What is withheld then are answers to batches, not the beginning of the session.
            let connected = async || match site.state().await {
                Ok(state) if state.pointer("/uplink/connected").is_some_and(|on| on == true) => Ok(()),
                other => Err(format!("{other:?}")),
            };
            eventually("the uplink to be connected", ROUND, connected).await?;
            link.set(Weather::Withheld);
            until("the relay's answer to be withheld", ROUND, || match link.swallowed() {
                seen if seen >= answers => Ok(()),
                seen => Err(format!("{seen} answers")),
            })?;
            kill(site)?;
            Ok(format!("the relay had answered, {} answers never reached the node", link.swallowed()))
        }
        Moment::Acknowledged(count) => {
            site.start_node()?;
            wait_for_events(site, count)?;
            kill(site)?;
            Ok(format!("at least {count} events after the start"))
        }
        Moment::Centre(part, count) => {
            site.start_node()?;
            wait_for_events(site, count)?;
            match part {
                Part::Relay => site.relay.take().context("kill the relay")?.kill()?,
                Part::Postgres => servers.postgres().kill()?,
                Part::Kafka => servers.kafka().kill()?,
            }
            // The site goes on without it.
            wait_for_events(site, count)?;
            match part {
                Part::Relay => site.start_relay()?,
                Part::Postgres => servers.postgres().revive()?,
                Part::Kafka => servers.kafka().revive()?,
            }
            kill(site)?;
            Ok(format!("{part:?} after {count} events, back after {count} more, then the node"))
        }
    }
}

/// Waits until the node has journaled that many more events.
fn wait_for_events(site: &Site, count: usize) -> anyhow::Result<()> {
    let data = site.data();
    let begun = crate::witness::journal(&data)?.rows;
    until("events to be journaled", ROUND, || match crate::witness::journal(&data) {
        Ok(found) if found.rows >= begun + count => Ok(()),
        Ok(found) => Err(format!("{} rows of {}", found.rows, begun + count)),
        Err(error) => Err(format!("{error:#}")),
    })
}

fn kill(site: &mut Site) -> anyhow::Result<()> {
    site.node.take().context("kill the node")?.kill()
}

/// Runs the node under strace, which kills it as a thread enters its `n`-th such call.
fn kill_in_syscall(site: &mut Site, call: &str, n: u64) -> anyhow::Result<String> {
    let log = site.folder().join("strace.log");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-e", "trace=pwrite64,fsync"]);
    strace.arg("-e").arg(format!("inject={call}:signal=SIGKILL:when={n}")).arg("-o").arg(&log).arg("--");
    site.trace_node(&mut strace)?;
    let mut node = site.node.take().context("run the node under strace")?;
    until(&format!("SIGKILL at {call} {n}"), ROUND, || node.ended().ok_or_else(|| "running".to_owned()))?;
    Ok(last_call(&log, call))
}

/// The call that the kill fell on, as strace saw it.
fn last_call(log: &Path, call: &str) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().rev().find(|line| line.contains(&format!("{call}(")));
    let shown = line.unwrap_or("not seen by strace").split_once(' ').map_or("", |(_, rest)| rest.trim());
    let file = shown.split('<').nth(1).and_then(|rest| rest.split('>').next()).unwrap_or_default();
    let name = file.rsplit('/').next().unwrap_or_default();
    format!("entering {call} on {name}")
}
