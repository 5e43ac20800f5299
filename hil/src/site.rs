//! One site under test: relay, node and sim as real processes, with generated configurations.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::binaries::built;
use crate::media::root;
use crate::process::{MEMORY, Process, free_tcp_port, free_udp_port, output};
use crate::servers::Place;
use crate::wait::eventually;
use crate::witness;

/// How long a binary may take to be ready: the node loads a model.
const READY: Duration = Duration::from_secs(60);

/// Lines of a rover's configuration: its brake test, as INTERLOCKS measured it.
pub const ROVER_BRAKE: &str = "brake = [{ speed_mps = 5.3, distance_m = 11.2, time_s = 7.7 }]\n";
/// A line of a vehicle of the simulator: its own failsafes as INTERLOCKS wants them.
pub const FAILSAFES: &str = "parameters = { FS_GCS_ENABLE = 5, FS_GCS_TIMEOUT = 2, FS_OPTIONS = 0, FS_ACTION = 2, \
    FS_TIMEOUT = 1, FENCE_ENABLE = 1 }\n";
/// And of a copter's.
pub const COPTER_BRAKE: &str = "brake = [{ speed_mps = 2.9, distance_m = 4.6, time_s = 3.3 }, \
    { speed_mps = 4.9, distance_m = 8.5, time_s = 3.8 }, { speed_mps = 9.7, distance_m = 19.7, time_s = 4.7 }]\n";

/// A sensor's reading as its gateway posts it.
pub fn reading(value: u64) -> Value {
    let data = json!({ "sensor": "load", "value": value, "unit": "1" });
    json!({ "type": "sensor.reading", "subject": "sensor/load", "data": data })
}

/// What a site is made of.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Text of the node's configuration after the head: cameras, zones, vehicles, rules.
    pub node: String,
    /// Text of the sim's scenario after the head.
    pub sim: String,
    /// Whether the node runs the detector.
    pub model: bool,
    /// Name of another model than the usual one.
    pub detector: Option<String>,
    /// Whether the node reaches the relay over plain loopback instead of being enrolled.
    pub plain: bool,
    /// Text of the relay's `[fleet]` after its addresses.
    pub fleet: String,
    /// Whether the relay keeps media, in `media` of the site's folder.
    pub media: bool,
}

/// Ports that a plan's texts may name.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// The node's console.
    pub console: u16,
    /// The relay's read API; of nodes, too, in a plain plan.
    pub relay: u16,
    /// The relay's address for enrolled nodes.
    pub fleet: u16,
    /// The node's MAVLink link.
    pub link: u16,
    /// The sim's camera.
    pub camera: u16,
}

/// A running site; everything ends when dropped.
pub struct Site {
    folder: TempDir,
    bin: PathBuf,
    /// Addresses.
    pub ports: Ports,
    /// The servers' part of it.
    pub place: Place,
    plain: bool,
    /// Programs of another release that are run instead.
    instead: HashMap<String, PathBuf>,
    /// The relay, while it runs.
    pub relay: Option<Process>,
    /// The node, while it runs.
    pub node: Option<Process>,
    /// The simulator, while it runs.
    pub sim: Option<Process>,
    http: reqwest::Client,
}

impl Ports {
    /// Free ones.
    ///
    /// # Errors
    /// When loopback has none.
    pub fn free() -> anyhow::Result<Self> {
        let (console, relay, fleet) = (free_tcp_port()?, free_tcp_port()?, free_tcp_port()?);
        Ok(Self { console, relay, fleet, camera: free_tcp_port()?, link: free_udp_port()? })
    }
}

impl Site {
    /// Writes the configurations; starts nothing. `via` is a port before the relay, where the node believes it to be.
    ///
    /// # Errors
    /// When the binaries do not build or the folder cannot be written.
    pub fn prepare(place: Place, ports: Ports, plan: &Plan, via: Option<u16>) -> anyhow::Result<Self> {
        let bin = built()?;
        let folder = TempDir::with_prefix("picket-site-").context("make a folder for the site")?;
        let at = folder.path();
        let data = at.join("data");
        let url = match plan.plain {
            true => format!("http://127.0.0.1:{}", via.unwrap_or(ports.relay)),
            false => format!("https://127.0.0.1:{}", via.unwrap_or(ports.fleet)),
        };
        let mut node = format!(
            "node = \"gate-1\"\ndata = \"{}\"\nlisten = \"127.0.0.1:{}\"\n\n[relay]\nurl = \"{url}\"\n",
            data.display(),
            ports.console
        );
        if plan.model {
            let manifest = root().join("models/manifest.toml");
            let name = plan.detector.as_deref().unwrap_or("yolox-nano");
            write!(node, "\n[model]\nname = \"{name}\"\nmanifest = \"{}\"\n", manifest.display())?;
        }
        node.push_str(&plan.node);
        std::fs::write(at.join("node.toml"), node).context("write node.toml")?;
        let mut relay = format!(
            "listen = \"127.0.0.1:{}\"\ntenant = \"acme\"\nsite = \"yard\"\n\n[postgres]\nurl = \"{}\"\n\n[kafka]\nbrokers = \"{}\"\ntopic_prefix = \"{}\"\npartitions = 3\n",
            ports.relay, place.postgres, place.kafka, place.topic_prefix
        );
        if !plan.plain {
            let authority = at.join("authority");
            write!(
                relay,
                "\n[fleet]\nlisten = \"127.0.0.1:{}\"\nnames = [\"127.0.0.1\"]\nauthority = \"{}\"\n{}",
                ports.fleet,
                authority.display(),
                plan.fleet
            )?;
        }
        if plan.media {
            write!(relay, "\n[media]\nfolder = \"{}\"\nlargest_mib = 8\n", at.join("media").display())?;
        }
        std::fs::write(at.join("relay.toml"), relay).context("write relay.toml")?;
        let sim = format!("trace = \"{}\"\n{}", at.join("trace.jsonl").display(), plan.sim);
        std::fs::write(at.join("sim.toml"), sim).context("write sim.toml")?;
        let http = crate::http::client(Duration::from_secs(10))?;
        let (plain, instead) = (plan.plain, HashMap::new());
        Ok(Self { folder, bin, ports, place, plain, instead, relay: None, node: None, sim: None, http })
    }

    /// Folder of configurations, logs, data and trace.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The node's data folder.
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Runs a program of another release from its next start on; `None` for this one's.
    pub fn run_instead(&mut self, program: &str, other: Option<PathBuf>) {
        match other {
            Some(other) => drop(self.instead.insert(program.to_owned(), other)),
            None => drop(self.instead.remove(program)),
        }
    }

    fn program(&self, program: &str) -> Command {
        Command::new(self.instead.get(program).cloned().unwrap_or_else(|| self.bin.join(program)))
    }

    fn command(&self, program: &str, config: &str) -> Command {
        let mut command = self.program(program);
        command.args(["run", if program == "sim" { "--scenario" } else { "--config" }]).arg(self.folder().join(config));
        // Readiness is read from the log, so its level is not the caller's; memory as README says.
        command.env("PICKET_LOG", "info,tract=warn").envs(MEMORY);
        command
    }

    /// Starts the relay and waits until it is ready; at its first start the node is enrolled.
    ///
    /// # Errors
    /// When it is not ready in time, or refuses the node.
    pub fn start_relay(&mut self) -> anyhow::Result<()> {
        let mut relay = Process::start("relay", &mut self.command("cloud-relay", "relay.toml"), self.folder())?;
        relay.wait_for_output("relay is ready", READY)?;
        self.relay = Some(relay);
        if !self.plain && !self.data().join("identity/node.pem").exists() {
            self.enrol(&self.token()?)?;
        }
        Ok(())
    }

    /// A new token for the node, as an operator makes it.
    ///
    /// # Errors
    /// When the relay's command fails.
    pub fn token(&self) -> anyhow::Result<String> {
        Ok(self.operate(&["token", "create", "--node", "gate-1"])?.trim().to_owned())
    }

    /// Runs a command of the node with its configuration; gives what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn inspect(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.program("edge-node");
        command.args(arguments).arg("--config").arg(self.folder().join("node.toml")).env("PICKET_LOG", "info");
        output(&mut command)
    }

    /// Runs a command of the relay with its configuration; gives what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn operate(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.program("cloud-relay");
        command.args(arguments).arg("--config").arg(self.folder().join("relay.toml")).env("PICKET_LOG", "info");
        output(&mut command)
    }

    /// Enrols the node with a token, past any port before the relay.
    ///
    /// # Errors
    /// When the command fails, with what it said.
    pub fn enrol(&self, token: &str) -> anyhow::Result<String> {
        let mut command = self.program("edge-node");
        command.args(["enroll", "--token", token, "--relay", &format!("https://127.0.0.1:{}", self.ports.fleet)]);
        command.arg("--config").arg(self.folder().join("node.toml")).env("PICKET_LOG", "info");
        output(&mut command)
    }

    /// Starts the node and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub fn start_node(&mut self) -> anyhow::Result<()> {
        let mut node = Process::start("node", &mut self.command("edge-node", "node.toml"), self.folder())?;
        node.wait_for_output("node is ready", READY)?;
        self.node = Some(node);
        Ok(())
    }

    /// Starts the node under another program (a tracer), which gets the node's command line as its last arguments.
    /// Does not wait: the tracer may end it at any moment.
    ///
    /// # Errors
    /// When the tracer cannot be started.
    pub fn trace_node(&mut self, tracer: &mut Command) -> anyhow::Result<()> {
        let command = self.command("edge-node", "node.toml");
        tracer.arg(command.get_program()).args(command.get_args());
        self.node = Some(Process::start("node-traced", tracer, self.folder())?);
        Ok(())
    }

    /// Starts the simulator and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub fn start_sim(&mut self) -> anyhow::Result<()> {
        let mut sim = Process::start("sim", &mut self.command("sim", "sim.toml"), self.folder())?;
        sim.wait_for_output("sim is ready", READY)?;
        self.sim = Some(sim);
        Ok(())
    }

    /// Address of the node's console.
    pub fn console(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.console)
    }

    /// The node's live state.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn state(&self) -> anyhow::Result<Value> {
        Ok(self.get("/api/v1/state").await?.1)
    }

    /// Gets a JSON of the node; its status and body.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        let answer = self.http.get(format!("{}{path}", self.console())).send().await;
        let answer = answer.with_context(|| format!("get {path}"))?;
        Ok((answer.status().as_u16(), answer.json().await.with_context(|| format!("read {path}"))?))
    }

    /// The node's metrics, as Prometheus reads them.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let answer = self.http.get(format!("{}/metrics", self.console())).send().await.context("ask the node")?;
        answer.text().await.context("read the node's metrics")
    }

    /// The relay's metrics.
    ///
    /// # Errors
    /// When the relay does not answer.
    pub async fn relay_metrics(&self) -> anyhow::Result<String> {
        let answer = self.http.get(format!("http://127.0.0.1:{}/metrics", self.ports.relay)).send().await;
        answer.context("ask the relay")?.text().await.context("read the relay's metrics")
    }

    /// Posts JSON to the node; gives status and answer.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let answer = self.http.post(format!("{}{path}", self.console())).json(body).send().await;
        let answer = answer.with_context(|| format!("post to {path}"))?;
        Ok((answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null)))
    }

    /// Posts a reading to the node; its id, for which the node has taken the responsibility.
    ///
    /// # Errors
    /// When the node does not answer, or refuses it.
    pub async fn read(&self, value: u64) -> anyhow::Result<Uuid> {
        let (status, answer) = self.post("/api/v1/events", &reading(value)).await?;
        anyhow::ensure!(status == 202, "post a reading: {status}: {answer}");
        let id = answer.get("id").and_then(Value::as_str).context("read the id of a reading")?;
        Uuid::try_parse(id).context("read the id of a reading")
    }

    /// Posts so many readings, one after the other; their ids.
    ///
    /// # Errors
    /// As [`Site::read`].
    pub async fn read_many(&self, count: u64) -> anyhow::Result<HashSet<Uuid>> {
        let mut ids = HashSet::new();
        for value in 0..count {
            ids.insert(self.read(value).await?);
        }
        Ok(ids)
    }

    /// Of these events, how many are not in the event store.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn missing(&self, ids: &HashSet<Uuid>) -> anyhow::Result<usize> {
        Ok(ids.difference(&witness::central(&self.place.postgres).await?.ids).count())
    }

    /// Waits until all these events are in the event store.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn until_central(&self, ids: &HashSet<Uuid>, deadline: Duration) -> anyhow::Result<()> {
        let look = async || match self.missing(ids).await {
            Ok(0) => Ok(()),
            Ok(missing) => Err(format!("{missing} of {} are missing", ids.len())),
            Err(error) => Err(format!("{error:#}")),
        };
        eventually("the events to be central", deadline, look).await
    }

    /// Asks for a vehicle command in a person's name; whether the interlock permitted it.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn command_vehicle(&self, vehicle: &str, verb: &str) -> anyhow::Result<bool> {
        let path = format!("/api/v1/vehicles/{vehicle}/commands");
        Ok(self.post(&path, &json!({ "verb": verb, "by": "hil" })).await?.0 == 202)
    }

    /// Authorises a vehicle's patrol for an hour in a person's name.
    ///
    /// # Errors
    /// When the node does not answer, or denies it.
    pub async fn patrol(&self, vehicle: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/vehicles/{vehicle}/patrol");
        let (status, answer) = self.post(&path, &json!({ "for": "1h", "by": "hil" })).await?;
        anyhow::ensure!(status == 202, "authorise a patrol of {vehicle}: {status}: {answer}");
        Ok(())
    }

    /// Whether a vehicle is ready to be sent on, and every reason against it.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn readiness(&self, vehicle: &str) -> anyhow::Result<Value> {
        Ok(self.get(&format!("/api/v1/vehicles/{vehicle}/readiness?by=hil")).await?.1)
    }

    /// What the vehicles were told: the lines of the sim's trace.
    pub fn trace(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder().join("trace.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
