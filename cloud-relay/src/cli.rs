//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use shared::config::{ConfigError, duration};
use shared::downlink::Content;
use shared::identity::Identity;
use shared::ids::Name;
use shared::units::UtcMicros;
use uuid::Uuid;

use crate::config::Config;
use crate::operate::nodes::{self, Change};
use crate::operate::{messages, republish, verify};
use crate::relay;

/// The cloud relay of Picket: takes the batches of edge nodes into Postgres and Kafka, and serves what they saw.
#[derive(Debug, Parser)]
#[command(name = "cloud-relay", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs until stopped; applies migrations first.
    Run(Args),
    /// Brings the database schema up to date and ends.
    Migrate(Args),
    /// Proves a node's history: complete from A to B in each lane, or every gap with its reason.
    Verify(NodeArgs),
    /// Publishes again what was taken in since a time: for a broker that was restored to an older state.
    Republish {
        /// Configuration.
        #[command(flatten)]
        args: Args,
        /// From when on (RFC 3339), by the relay's clock.
        #[arg(long, value_parser = UtcMicros::parse_rfc3339)]
        since: UtcMicros,
    },
    /// Tokens that let a box become a node.
    Token {
        /// Verb.
        #[command(subcommand)]
        verb: TokenVerb,
    },
    /// Lists nodes, adopts one of two histories, approves and revokes certificates.
    Node {
        /// Verb.
        #[command(subcommand)]
        verb: NodeVerb,
    },
    /// Messages to nodes.
    Downlink {
        /// Verb.
        #[command(subcommand)]
        verb: DownlinkVerb,
    },
    /// The relay's own certificate authorities.
    Authority {
        /// Verb.
        #[command(subcommand)]
        verb: AuthorityVerb,
    },
}

/// Of tokens.
#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// Makes a token and prints it, once. Good for one box.
    Create {
        /// Node.
        #[command(flatten)]
        of: NodeArgs,
        /// Site; that of the configuration without it.
        #[arg(long)]
        site: Option<Name>,
        /// How long it may be used.
        #[arg(long, default_value = "24h", value_parser = duration::parse)]
        valid: Duration,
    },
}

/// Of nodes.
#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// Prints every node, its certificates, those that ask for one, and the histories that were refused.
    List {
        /// Configuration.
        #[command(flatten)]
        args: Args,
        /// Tenant; that of the configuration without it.
        #[arg(long)]
        tenant: Option<Name>,
    },
    /// Goes on with a refused history; what went on in its place is closed.
    Adopt {
        /// Node.
        #[command(flatten)]
        of: NodeArgs,
        /// Only these epochs, as `node list` prints them; all refused ones without it.
        #[arg(long = "epoch")]
        epochs: Vec<Uuid>,
        /// Who decides.
        #[arg(long)]
        by: String,
    },
    /// Lets a node whose certificate has expired have a new one.
    Approve {
        /// Node.
        #[command(flatten)]
        of: NodeArgs,
        /// How the fingerprint of its new key begins, as the node logs it; needed where several ask in its name.
        #[arg(long)]
        key: Option<String>,
        /// Who decides.
        #[arg(long)]
        by: String,
    },
    /// Refuses every certificate and token of a node from now on.
    Revoke {
        /// Node.
        #[command(flatten)]
        of: NodeArgs,
        /// Who decides.
        #[arg(long)]
        by: String,
    },
}

/// Of messages to nodes.
#[derive(Debug, Subcommand)]
pub enum DownlinkVerb {
    /// Presses the site's e-stop, and prints the message's number. There is no message that resets it.
    PressEstop {
        /// Node.
        #[command(flatten)]
        of: NodeArgs,
        /// Who presses.
        #[arg(long)]
        by: String,
        /// How long it is honoured.
        #[arg(long, default_value = "10m", value_parser = duration::parse)]
        valid: Duration,
    },
    /// Prints the newest messages to a node, and whether it has kept them.
    List(NodeArgs),
}

/// Of authorities.
#[derive(Debug, Subcommand)]
pub enum AuthorityVerb {
    /// Prints number and fingerprint of each; the last one signs.
    Show(Args),
    /// Adds an authority that signs from now on. The older ones stay trusted until they are retired.
    Rotate(Args),
    /// Trusts the oldest authority no longer. A node that knows only this one must be enrolled again.
    Retire {
        /// Configuration.
        #[command(flatten)]
        args: Args,
        /// As `show` prints it.
        #[arg(long)]
        number: u32,
    },
}

/// A configuration file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file (TOML).
    #[arg(long, default_value = "/etc/picket/relay.toml")]
    config: PathBuf,
}

/// A node of a tenant.
#[derive(Debug, clap::Args)]
pub struct NodeArgs {
    #[command(flatten)]
    args: Args,
    /// Node.
    #[arg(long)]
    node: Name,
    /// Tenant; that of the configuration without it.
    #[arg(long)]
    tenant: Option<Name>,
}

impl Args {
    fn read(&self, tenant: Option<&Name>) -> Result<Config, ConfigError> {
        let mut config = Config::read(&self.config)?;
        if let Some(tenant) = tenant {
            config.tenant = tenant.clone();
        }
        Ok(config)
    }
}

impl NodeArgs {
    fn read(&self) -> Result<Config, ConfigError> {
        self.args.read(self.tenant.as_ref())
    }
}

/// Runs a command.
///
/// # Errors
/// What ended it; [`exit_code`] tells configuration errors from others.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let out = &mut std::io::stdout();
    match cli.command {
        Command::Run(args) => relay::run(&args.config).await,
        Command::Migrate(args) => relay::migrate(&args.config).await,
        Command::Verify(of) => verify::verify(&of.read()?, &of.node, out).await,
        Command::Republish { args, since } => republish::republish(&args.read(None)?, since, out).await,
        Command::Token { verb: TokenVerb::Create { of, site, valid } } => {
            let config = of.read()?;
            let site = site.unwrap_or_else(|| config.site.clone());
            let identity = Identity { tenant: config.tenant.clone(), site, node: of.node };
            nodes::create_token(&config, config.fleet(&of.args.config)?, &identity, valid, out).await
        }
        Command::Node { verb } => match verb {
            NodeVerb::List { args, tenant } => nodes::list(&args.read(tenant.as_ref())?, out).await,
            NodeVerb::Adopt { of, epochs, by } => nodes::adopt(&of.read()?, &of.node, &epochs, &by, out).await,
            NodeVerb::Approve { of, key, by } => nodes::approve(&of.read()?, &of.node, key.as_deref(), &by, out).await,
            NodeVerb::Revoke { of, by } => nodes::revoke(&of.read()?, &of.node, &by, out).await,
        },
        Command::Downlink { verb: DownlinkVerb::List(of) } => messages::list(&of.read()?, &of.node, out).await,
        Command::Downlink { verb: DownlinkVerb::PressEstop { of, by, valid } } => {
            let config = of.read()?;
            let press = Content::PressEstop { by: by.clone() };
            messages::send(&config, config.fleet(&of.args.config)?, &of.node, (&press, &by, valid), out).await
        }
        Command::Authority { verb } => {
            let (args, change) = match verb {
                AuthorityVerb::Show(args) => (args, Change::Show),
                AuthorityVerb::Rotate(args) => (args, Change::Rotate),
                AuthorityVerb::Retire { args, number } => (args, Change::Retire(number)),
            };
            nodes::authorities(&args.read(None)?.fleet(&args.config)?.authority, change, out)
        }
    }
}

/// 2 for a configuration error, 1 for any other failure.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(if error.chain().any(|cause| cause.is::<ConfigError>()) { 2 } else { 1 })
}
