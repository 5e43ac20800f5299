//! One Postgres and one Kafka for a whole test run, a database and topic prefix for each test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use uuid::Uuid;

use crate::kafka::{Kafka, Project};
use crate::media::root;
use crate::postgres::{Postgres, url};
use crate::wait::until;

/// Names the file of running servers to the tests of a run.
pub const ENV: &str = "PICKET_SERVERS";

/// Where the servers are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Addresses {
    /// Postgres's port on loopback.
    pub postgres_port: u16,
    /// Kafka's `host:port`.
    pub kafka: String,
    /// Process ids, to stop them by.
    pub pids: Vec<u32>,
    /// Where a container engine runs Kafka: what is to be removed after it.
    pub kafka_project: Option<Project>,
    /// Their data.
    pub folder: PathBuf,
}

/// Servers of this process; stopped when dropped.
#[derive(Debug)]
pub struct Servers {
    postgres: Postgres,
    kafka: Kafka,
    folder: TempDir,
}

/// What one test has of the servers.
#[derive(Debug, Clone)]
pub struct Place {
    /// Connection string of its own database.
    pub postgres: String,
    /// `host:port`.
    pub kafka: String,
    /// Prefix of its own topics.
    pub topic_prefix: String,
}

impl Servers {
    /// Starts both on free ports with private folders.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start() -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("picket-servers-").context("make a folder for the servers")?;
        let postgres = Postgres::start(folder.path())?;
        let kafka = Kafka::start(folder.path())?;
        Ok(Self { postgres, kafka, folder })
    }

    /// Where they are.
    pub fn addresses(&self) -> Addresses {
        Addresses {
            postgres_port: self.postgres.port(),
            kafka: self.kafka.brokers(),
            pids: vec![self.postgres.id(), self.kafka.id()],
            kafka_project: self.kafka.project().cloned(),
            folder: self.folder.path().to_owned(),
        }
    }

    /// Writes where they are to a file in their folder, for [`ENV`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn publish(&self) -> anyhow::Result<PathBuf> {
        let file = self.folder.path().join("servers.json");
        self.addresses().write(&file)?;
        Ok(file)
    }

    /// Stops both and waits.
    ///
    /// # Errors
    /// When one does not end in time.
    pub fn stop(self) -> anyhow::Result<()> {
        self.kafka.stop()?;
        self.postgres.stop()
    }

    /// Postgres, to be killed and revived.
    pub fn postgres(&mut self) -> &mut Postgres {
        &mut self.postgres
    }

    /// Kafka, to be killed and revived.
    pub fn kafka(&mut self) -> &mut Kafka {
        &mut self.kafka
    }

    /// Lets both run on after this process; `down` stops them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn leave(self) -> anyhow::Result<Addresses> {
        let addresses = self.addresses();
        addresses.write(&left_file())?;
        std::mem::forget(self);
        Ok(addresses)
    }
}

/// Where `./dev up` writes what it started.
fn left_file() -> PathBuf {
    root().join(".cache/servers.json")
}

/// Stops what `./dev up` left running.
///
/// # Errors
/// When nothing was left, or it does not end.
pub fn down() -> anyhow::Result<()> {
    let file = left_file();
    let addresses = Addresses::read(&file).context("find what ./dev up started")?;
    for id in addresses.pids.iter().filter_map(|id| Pid::from_raw(i32::try_from(*id).ok()?)) {
        if kill_process(id, Signal::INT).is_ok() {
            until("a server to end", Duration::from_secs(60), || match test_kill_process(id) {
                Ok(()) => Err(format!("process {id:?} runs")),
                Err(_) => Ok(()),
            })?;
        }
    }
    if let Some(project) = &addresses.kafka_project {
        project.remove()?;
    }
    // The folder may be gone already; the file decides whether there is something to stop.
    let _ = std::fs::remove_dir_all(&addresses.folder);
    std::fs::remove_file(&file).context("forget what ./dev up started")
}

impl Addresses {
    fn write(&self, file: &Path) -> anyhow::Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).context("make a folder for servers.json")?;
        }
        std::fs::write(file, serde_json::to_vec(self)?).with_context(|| format!("write {}", file.display()))
    }

    fn read(file: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("read {}", file.display()))
    }

    /// The servers of this test run, or those `./dev up` left running.
    ///
    /// # Errors
    /// When there are none.
    pub fn find() -> anyhow::Result<Self> {
        let file = std::env::var_os(ENV).map_or_else(left_file, PathBuf::from);
        Self::read(&file).context("find the servers: run ./dev test, or ./dev up first")
    }

    /// A new database and topic prefix.
    ///
    /// # Errors
    /// When Postgres refuses.
    pub async fn place(&self, name: &str) -> anyhow::Result<Place> {
        let unique = Uuid::new_v4().simple().to_string();
        let database = format!("{name}_{unique}");
        let admin = crate::witness::sql(&url(self.postgres_port, "postgres")).await?;
        admin.batch_execute(&format!("CREATE DATABASE {database}")).await.context("make a database")?;
        Ok(Place {
            postgres: url(self.postgres_port, &database),
            kafka: self.kafka.clone(),
            topic_prefix: format!("{name}-{unique}-"),
        })
    }
}
