//! A real Postgres from the distribution's package: private data folder, unprivileged user, loopback only.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::process::{Process, free_tcp_port, output};
use crate::wait::until;

/// A running server; stopped when dropped.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    installed: Installed,
}

/// How it is started, the first time and again.
#[derive(Debug)]
struct Installed {
    bin: PathBuf,
    home: PathBuf,
    folder: PathBuf,
    owner: Option<(u32, u32)>,
    port: u16,
}

/// Connection string of a database at a port.
pub fn url(port: u16, database: &str) -> String {
    format!("host=127.0.0.1 port={port} user=picket dbname={database}")
}

impl Postgres {
    /// Makes a data folder under `folder` and starts a server on a free port.
    ///
    /// # Errors
    /// When the package is missing or the server does not start.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let bin = find_bin()?;
        let home = folder.join("postgres");
        std::fs::create_dir_all(&home).context("make the Postgres folder")?;
        let owner = unprivileged()?;
        if let Some((uid, gid)) = owner {
            for path in [folder, home.as_path()] {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).context("open the folder")?;
            }
            chown(&home, Some(uid), Some(gid)).context("give the Postgres folder to its user")?;
        }
        let installed = Installed { bin, home, folder: folder.to_owned(), owner, port: free_tcp_port()? };
        let mut initdb = installed.as_owner("initdb");
        output(initdb.args(["-U", "picket", "-A", "trust", "-E", "UTF8", "--locale=C", "-D", "data"]))?;
        Ok(Self { process: installed.launch()?, installed })
    }

    /// kill -9 of the server and its children; nothing serves until [`Postgres::revive`].
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill_group()
    }

    /// Starts it again on its data, at its port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn revive(&mut self) -> anyhow::Result<()> {
        self.process = self.installed.launch()?;
        Ok(())
    }

    /// Port on loopback.
    pub fn port(&self) -> u16 {
        self.installed.port
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Stops the server and waits.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(self) -> anyhow::Result<()> {
        // SIGINT is Postgres's fast shutdown; SIGTERM would wait for clients.
        self.process.signal(rustix::process::Signal::INT)?;
        self.process.stop(Duration::from_secs(30)).map(|_| ())
    }
}

impl Installed {
    fn as_owner(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command.current_dir(&self.home);
        command
    }

    fn spawn(&self) -> anyhow::Result<Process> {
        let mut server = self.as_owner("postgres");
        let settings = ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200", "-c", "shared_buffers=256MB"];
        server.args(["-D", "data", "-p", &self.port.to_string(), "-k"]).arg(&self.home).args(settings);
        Process::start("postgres", &mut server, &self.folder)
    }

    /// Starts the server and waits until it answers. After a kill its children hold its memory for a moment: it is
    /// started until it stays.
    fn launch(&self) -> anyhow::Result<Process> {
        let mut process = self.spawn()?;
        let (ready, port) = (self.bin.join("pg_isready"), self.port.to_string());
        until("Postgres to be ready", Duration::from_secs(60), || {
            let said = process.output();
            if process.ended().is_some() {
                process = self.spawn().map_err(|error| format!("{error:#}"))?;
            }
            let asked = output(Command::new(&ready).args(["-q", "-h", "127.0.0.1", "-p", &port]));
            asked.map(|_| ()).map_err(|_| said)
        })?;
        Ok(process)
    }
}

/// The newest installed server's programs.
fn find_bin() -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("find Postgres: install the package postgresql")?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin).context("find Postgres: install the package postgresql")
}

/// Postgres refuses to run as root: then the package's own user, or nobody.
fn unprivileged() -> anyhow::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let id = |flag: &str, user: &str| -> anyhow::Result<u32> {
        output(Command::new("id").args([flag, user]))?.trim().parse().context("read a user id")
    };
    let user = if id("-u", "postgres").is_ok() { "postgres" } else { "nobody" };
    Ok(Some((id("-u", user)?, id("-g", user)?)))
}
