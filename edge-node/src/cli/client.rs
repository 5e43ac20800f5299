//! The running node's loopback API, for commands of the command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::config::Config;
use crate::tls;

/// Longest wait for the node's answer: a vehicle behind a slow radio tells a thousand parameters in a minute.
const WAIT: Duration = Duration::from_secs(120);

/// Where the node is, and how it is shown.
#[derive(Debug, clap::Args)]
pub struct Node {
    /// Configuration file (TOML): names the node's address.
    #[arg(long, default_value = "/etc/picket/picket.toml")]
    pub config: PathBuf,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// A connection to the node.
pub struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    base: String,
}

impl Client {
    /// Of the node that a configuration names.
    ///
    /// # Errors
    /// A configuration that cannot be read.
    pub fn new(node: &Node) -> anyhow::Result<Self> {
        let config = Config::read(&node.config)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls::nobody()?).timeout(WAIT).no_proxy();
        let http = http.build().context("make an HTTP client")?;
        Ok(Self { http, runtime, base: format!("http://{}", config.listen) })
    }

    /// Gets a JSON.
    ///
    /// # Errors
    /// A node that does not answer, or refuses.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(self.http.get(format!("{}{path}", self.base)))
    }

    /// Posts a JSON.
    ///
    /// # Errors
    /// A node that does not answer, or refuses: with every reason.
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.http.post(format!("{}{path}", self.base)).json(body))
    }

    fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        self.runtime.block_on(async {
            let answer = request.send().await;
            let answer = answer.with_context(|| format!("ask the node at {}: is it running?", self.base))?;
            let status = answer.status();
            let body: Value = answer.json().await.with_context(|| format!("read the node's answer, {status}"))?;
            if status.is_success() {
                return Ok(body);
            }
            let reasons = body.get("reasons").and_then(Value::as_array).into_iter().flatten();
            let reasons: Vec<String> = reasons.filter_map(|reason| reason.as_str().map(plain)).collect();
            anyhow::bail!("{}: {}", text(&body, "detail"), reasons.join("; "))
        })
    }
}

/// Control characters of whoever named something stay out of the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Text of a field.
pub fn text(of: &Value, key: &str) -> String {
    plain(of.get(key).and_then(Value::as_str).unwrap_or("-"))
}
