//! The node's console over one connection, without a client's own time in the figures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;

use crate::wait::now;

/// Longest wait for anything.
const LONG: Duration = Duration::from_secs(30);

/// A connection to the node's console that stays open.
pub struct Console {
    answers: BufReader<TcpStream>,
}

impl Console {
    /// Opens it.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("reach the console")?;
        stream.set_nodelay(true).context("reach the console")?;
        stream.set_read_timeout(Some(LONG)).context("reach the console")?;
        Ok(Self { answers: BufReader::new(stream) })
    }

    /// Waits until the interlock's view contains a text.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn shows(&mut self, text: &str) -> anyhow::Result<()> {
        // Asked again at once: ten thousand presses are to end some day.
        let begun = now();
        loop {
            let view = self.ask("GET", "/api/v1/interlocks", "")?;
            if view.contains(text) {
                return Ok(());
            }
            anyhow::ensure!(begun.elapsed() < LONG, "wait for {text}: last seen: {view}");
        }
    }

    /// One request; its answer's body.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        self.send(method, path, body.as_bytes())
    }

    /// One request with any bytes; its answer's body.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn send(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<String> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.answers.get_mut().write_all(&[head.as_bytes(), body].concat()).context("ask the console")?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.answers.read_line(&mut line).context("read the console's answer")?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().context("read the answer's length")?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.answers.read_exact(&mut body).context("read the console's answer")?;
        String::from_utf8(body).context("read the console's answer")
    }
}
