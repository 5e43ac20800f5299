//! Centre to node: messages with a sequence of their own, an expiry each, signed by the relay's authorities.
//!
//! `GET /v1/nodes/{node}/downlink?after=SEQ` answers with a [`Page`]: at once where something waits, else when something
//! comes or after [`HOLD`]. To ask says that everything up to `after` is kept at the node. Sequence numbers rise and are
//! not dense: each is the relay's clock in microseconds, or one more than the last where that has not moved on, so that
//! a relay restored from a backup gives none out again. Limits: [`MESSAGES_MAX`] messages a page, [`CONTENT_MAX`] bytes
//! of content each, so a page stays below [`PAGE_MAX`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::{Identity, Signature};

/// Longest wait of the relay before it answers that nothing came: less than what gateways let a silent connection live.
pub const HOLD: Duration = Duration::from_secs(50);
/// Most messages in one answer.
pub const MESSAGES_MAX: usize = 16;
/// Longest content of a message, bytes.
pub const CONTENT_MAX: usize = 8 * 1024;
/// Longest answer, bytes: the content's quotes are escaped.
pub const PAGE_MAX: usize = 512 * 1024;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Rising.
    pub messages: Vec<Message>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its place.
    pub seq: u64,
    /// From then on it is not honoured, UTC microseconds.
    pub expires_us: i64,
    /// [`Content`] as JSON, exactly as it was signed.
    pub content: String,
    /// [`Message::statement`], once for each authority of the relay.
    pub signatures: Vec<Signature>,
}

/// What a message asks for. A kind that a node does not know is refused by its name, and nothing else waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum Content {
    /// Presses the site's e-stop. There is no message that resets it.
    #[serde(rename = "estop.press")]
    PressEstop {
        /// Who presses.
        by: String,
    },
}

impl Message {
    /// What the authorities sign: this message, for this node alone.
    pub fn statement(&self, to: &Identity) -> Vec<u8> {
        format!("picket downlink v1\n{to}\n{}\n{}\n{}", self.seq, self.expires_us, self.content).into_bytes()
    }

    /// Its kind, for people, whatever else is in it.
    pub fn kind(&self) -> String {
        let parsed = serde_json::from_str::<serde_json::Value>(&self.content).ok();
        let kind = parsed.as_ref().and_then(|content| content.get("kind")?.as_str());
        kind.unwrap_or("unknown").chars().take(64).collect()
    }
}
