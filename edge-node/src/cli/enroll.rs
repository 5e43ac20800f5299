//! `edge-node enroll`: makes this box a node of a relay.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::Context;
use shared::identity::Token;

use crate::config::Config;
use crate::uplink::RelayConfig;
use crate::uplink::connection;
use crate::uplink::identity::Files;

/// Longest text read as a token.
const TOKEN_MAX: u64 = 1024;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file (TOML): names the node and its data folder.
    #[arg(long, default_value = "/etc/picket/picket.toml")]
    config: PathBuf,
    /// The relay, `https://HOST:PORT`; that of the configuration without it.
    #[arg(long)]
    relay: Option<String>,
    /// As `cloud-relay token create` printed it; `-` reads it from standard input, where other users do not see it.
    #[arg(long)]
    token: String,
}

/// Runs the command.
///
/// # Errors
/// A token or relay that cannot be used, a relay that refuses.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let mut token = args.token.clone();
    if token == "-" {
        token.clear();
        std::io::stdin().take(TOKEN_MAX).read_to_string(&mut token).context("read the token")?;
    }
    let token: Token = token.parse().map_err(anyhow::Error::msg).context("read the token")?;
    let mut relay = match (config.relay, &args.relay) {
        (Some(relay), _) => relay,
        (None, Some(url)) => RelayConfig::at(url.clone()),
        (None, None) => anyhow::bail!("find the relay: --relay, or relay.url in {}", args.config.display()),
    };
    if let Some(url) = &args.relay {
        if *url != relay.url {
            tracing::warn!(configured = relay.url, "the node will send to the relay of its configuration");
        }
        relay.url.clone_from(url);
    }
    anyhow::ensure!(relay.url.starts_with("https://"), "enrol: expected https://HOST:PORT, found {:?}", relay.url);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let files = Files::of(&config.data);
    let held = runtime.block_on(connection::enrol(&relay, &config.node, &files, &token)).context("enrol")?;
    Ok(writeln!(std::io::stdout(), "enrolled: {}", held.identity)?)
}
