//! A real Kafka broker, one, on loopback: Redpanda by `compose.yaml` where a container engine answers, else Apache
//! Kafka in KRaft mode from its Maven Central jars.
//!
//! The jars' version is pinned in `hil/kafka/pom.xml`; maven copies them into a cache outside the tree once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::media::root;
use crate::process::{Process, free_tcp_port, output};
use crate::wait::until;

/// Version of the broker; keep equal to `hil/kafka/pom.xml`.
const VERSION: &str = "4.1.0";
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
/// KRaft cluster id: any 16 bytes in URL-safe base64.
const CLUSTER: &str = "cGlja2V0LXRlc3QtcmlnMQ";

/// A running broker; stopped when dropped.
#[derive(Debug)]
pub struct Kafka {
    process: Process,
    port: u16,
    project: Option<Project>,
    folder: PathBuf,
}

/// A compose project: the broker's container, where an engine runs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Project {
    name: String,
    port: u16,
}

/// The cache of what the rig fetches: PICKET_CACHE, else the user's cache folder.
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache/picket");
    std::env::var_os("PICKET_CACHE").map_or_else(home, PathBuf::from)
}

/// Copies the broker's jars into the cache, once.
///
/// # Errors
/// When maven fails.
pub fn fetch() -> anyhow::Result<PathBuf> {
    let jars = cache().join(format!("kafka-{VERSION}"));
    if jars.join("complete").exists() {
        return Ok(jars);
    }
    let pom = root().join("hil/kafka/pom.xml");
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(pom).arg(COPY);
    output(maven.arg(format!("-DoutputDirectory={}", jars.display())).arg("-DincludeScope=runtime"))?;
    std::fs::write(jars.join("complete"), VERSION).context("mark the jars as complete")?;
    Ok(jars)
}

impl Kafka {
    /// Starts a broker on a free port: in a container where an engine answers, else from the jars.
    ///
    /// # Errors
    /// When the jars or the image cannot be fetched, or the broker does not start.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut made = if Project::possible() { Self::contained(folder)? } else { Self::from_jars(folder)? };
        made.wait()?;
        Ok(made)
    }

    /// Starts a broker from the jars, whatever engine there is: its data lies in the folder and can be copied.
    ///
    /// # Errors
    /// When the jars cannot be fetched, or the broker does not start.
    pub fn start_here(folder: &Path) -> anyhow::Result<Self> {
        let mut made = Self::from_jars(folder)?;
        made.wait()?;
        Ok(made)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let broker = self.brokers();
        // An engine may have to fetch the image first.
        let deadline = Duration::from_secs(if self.project.is_some() { 300 } else { 90 });
        until("Kafka to answer", deadline, || {
            let asked = output(Command::new("kcat").args(["-b", &broker, "-L", "-m", "2"]));
            let text = self.process.ended().map_or(String::new(), |status| format!("it ended with {status}: "));
            asked.map(|_| ()).map_err(|e| format!("{text}{e:#}: {}", self.process.output()))
        })
    }

    /// kill -9 of the broker; nothing serves until [`Kafka::revive`].
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        match &self.project {
            // The container dies; the process that is attached to it ends by itself.
            Some(project) => output(project.compose().args(["kill", "--signal", "KILL"])).map(|_| ()),
            None => self.process.kill_group(),
        }
    }

    /// Makes it late: it answers nobody until it is let go on.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        match &self.project {
            Some(project) => output(project.compose().arg("pause")).map(|_| ()),
            None => self.process.signal(rustix::process::Signal::STOP),
        }
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn go_on(&mut self) -> anyhow::Result<()> {
        match &self.project {
            Some(project) => output(project.compose().arg("unpause")).map(|_| ()),
            None => self.process.signal(rustix::process::Signal::CONT),
        }
    }

    /// Starts it again on its data, at its port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn revive(&mut self) -> anyhow::Result<()> {
        self.process = match &self.project {
            Some(project) => Process::start("kafka", project.compose().args(["up", "--no-color"]), &self.folder)?,
            None => {
                let properties = self.folder.join("kafka/server.properties");
                Process::start("kafka", java(&fetch()?, "kafka.Kafka").arg(properties), &self.folder)?
            }
        };
        self.wait()
    }

    fn contained(folder: &Path) -> anyhow::Result<Self> {
        let port = free_tcp_port()?;
        let project = Project { name: format!("picket-{port}"), port };
        // Attached: it lives as long as the container does, and stops it when asked to end.
        let process = Process::start("kafka", project.compose().args(["up", "--no-color"]), folder)?;
        Ok(Self { process, port, project: Some(project), folder: folder.to_owned() })
    }

    fn from_jars(folder: &Path) -> anyhow::Result<Self> {
        let jars = fetch()?;
        let home = folder.join("kafka");
        std::fs::create_dir_all(&home).context("make the Kafka folder")?;
        let (port, controller) = (free_tcp_port()?, free_tcp_port()?);
        let properties = home.join("server.properties");
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={}\noffsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\n",
            home.join("logs").display()
        );
        std::fs::write(&properties, settings).context("write server.properties")?;
        let mut format = java(&jars, "kafka.tools.StorageTool");
        output(format.args(["format", "-t", CLUSTER, "-c"]).arg(&properties))?;
        let process = Process::start("kafka", java(&jars, "kafka.Kafka").arg(&properties), folder)?;
        Ok(Self { process, port, project: None, folder: folder.to_owned() })
    }

    /// `host:port`.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The compose project, where an engine runs the broker.
    pub fn project(&self) -> Option<&Project> {
        self.project.as_ref()
    }

    /// Stops the broker and waits.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(self) -> anyhow::Result<()> {
        self.process.stop(Duration::from_secs(60))?;
        self.project.map_or(Ok(()), |project| project.remove())
    }
}

fn java(jars: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.arg("-cp").arg(format!("{}/*", jars.display())).arg(class);
    command
}

impl Project {
    /// True where a container engine with compose answers.
    fn possible() -> bool {
        let answers = |arguments: &[&str]| output(Command::new("docker").args(arguments)).is_ok();
        answers(&["version", "--format", "{{.Server.Version}}"]) && answers(&["compose", "version"])
    }

    fn compose(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["compose", "--project-name", &self.name, "--file"]).arg(root().join("compose.yaml"));
        command.env("PICKET_KAFKA_PORT", self.port.to_string());
        command
    }

    /// Removes the container and its data.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn remove(&self) -> anyhow::Result<()> {
        output(self.compose().args(["down", "--volumes"])).map(|_| ())
    }
}
