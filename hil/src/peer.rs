//! An end of a MAVLink link that is made with pymavlink (`peer.py`): a ground station or a vehicle that shares no code with
//! Picket.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::media::root;
use crate::process::output;
use crate::python::python;
use crate::wait::until;

/// pymavlink and what it needs, pinned.
const PACKAGES: [&str; 3] = ["pymavlink==2.4.50", "fastcrc==0.5.0", "lxml==6.1.3"];

/// Reads a telemetry log to its end; prints the number of packets of each kind by sender, and its first and last time.
const COUNT: &str = "
import json, sys
from pymavlink import mavutil
log, counts, times = mavutil.mavlink_connection(sys.argv[1]), {}, []
while (message := log.recv_match()) is not None:
    name = f'{message.get_srcSystem()} {message.get_type()}'
    counts[name] = counts.get(name, 0) + 1
    times.append(message._timestamp)
print(json.dumps({'counts': counts, 'from': times[0], 'to': times[-1], 'sorted': times == sorted(times)}))
";

/// What pymavlink finds in a telemetry log.
///
/// # Errors
/// A file that it cannot read.
pub fn counted(log: &Path) -> anyhow::Result<Value> {
    let found = output(Command::new(python("peer-venv", &PACKAGES)?).arg("-c").arg(COUNT).arg(log))?;
    serde_json::from_str(&found).context("read what pymavlink counted")
}

/// A running peer; ended when dropped.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Peer {
    /// Starts one: `url` as pymavlink has it.
    ///
    /// # Errors
    /// When Python or pymavlink cannot be had.
    pub fn start(url: &str, ids: (u8, u8), key: Option<&str>) -> anyhow::Result<Self> {
        let mut command = Command::new(python("peer-venv", &PACKAGES)?);
        command.arg(root().join("hil/peer.py")).arg(url).args([ids.0.to_string(), ids.1.to_string()]).args(key);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start pymavlink")?;
        let input = child.stdin.take().context("write to pymavlink")?;
        let lines = BufReader::new(child.stdout.take().context("read from pymavlink")?).lines();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = heard.clone();
        std::thread::spawn(move || {
            for message in lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
        });
        Ok(Self { child, input, heard })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the peer has ended.
    pub fn send(&mut self, name: &str, fields: &Value) -> anyhow::Result<()> {
        self.say(&json!({ "name": name, "fields": fields }))
    }

    /// Sends a COMMAND_LONG with its first parameters, to a system's autopilot.
    ///
    /// # Errors
    /// When the peer has ended.
    pub fn command(&mut self, system: u8, command: u16, parameters: &[f64]) -> anyhow::Result<()> {
        let mut fields = json!({
            "target_system": system, "target_component": 1, "command": command, "confirmation": 0,
        });
        let given = parameters.iter().copied().chain(std::iter::repeat(0.0)).take(7).zip(1..);
        if let Some(fields) = fields.as_object_mut() {
            fields.extend(given.map(|(value, n)| (format!("param{n}"), json!(value))));
        }
        self.send("COMMAND_LONG", &fields)
    }

    /// Changes its heartbeat.
    ///
    /// # Errors
    /// When the peer has ended.
    pub fn beat(&mut self, fields: &Value) -> anyhow::Result<()> {
        self.say(&json!({ "heartbeat": fields }))
    }

    fn say(&mut self, line: &Value) -> anyhow::Result<()> {
        writeln!(self.input, "{line}").context("write to pymavlink")
    }

    /// Everything that came so far.
    pub fn heard(&self) -> Vec<Value> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what came.
    pub fn forget(&self) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// When none comes in 20 seconds.
    pub fn wait(&self, what: &str, is: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        until(what, Duration::from_secs(20), || {
            let heard = self.heard();
            heard.iter().find(|message| is(message)).cloned().ok_or_else(|| {
                let last: Vec<String> = heard.iter().rev().take(4).map(Value::to_string).collect();
                format!("{} came, last: {}", heard.len(), last.join("\n"))
            })
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
