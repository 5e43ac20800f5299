//! The JSON at the rim: CloudEvents 1.0, structured mode (<https://github.com/cloudevents/spec>, v1.0.2).
//!
//! Extension attributes are lower-case and without dots, as the specification asks: `aggregateid`, `traceparent`,
//! `causeid`, `node`, `epoch`, `lane`, `seq`, `clock`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Payload;
use crate::record::Envelope;
use crate::units::ClockState;

/// One event as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloudEvent {
    /// `1.0`.
    pub specversion: String,
    /// Event id.
    pub id: String,
    /// Dotted event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// `/node`.
    pub source: String,
    /// RFC 3339.
    pub time: String,
    /// Aggregate id.
    pub subject: String,
    /// `application/json`.
    pub datacontenttype: String,
    /// Trustworthiness of `time`.
    pub clock: ClockState,
    /// W3C traceparent, where there is a trace.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<String>,
    /// Id of the event that caused this one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub causeid: Option<String>,
    /// Version of the payload's layout.
    pub schemaversion: u16,
    /// Payload.
    pub data: Value,
}

impl CloudEvent {
    /// The event of `node` as JSON. A payload of unknown type is carried as hexadecimal `raw`, flagged by its type.
    pub fn new(node: &str, type_id: u16, schema_version: u16, envelope: &Envelope, payload: Option<&Payload>) -> Self {
        let event_type = payload.map_or_else(|| format!("unknown.{type_id}"), |p| p.event_type().to_owned());
        let traceparent = envelope.trace_id.map(|trace| {
            let span = envelope.event_id.0.as_u64_pair().1;
            format!("00-{trace}-{span:016x}-01")
        });
        Self {
            specversion: "1.0".into(),
            id: envelope.event_id.to_string(),
            event_type,
            source: format!("/{node}"),
            time: envelope.occurred.at.to_string(),
            subject: envelope.aggregate_id.clone(),
            datacontenttype: "application/json".into(),
            clock: envelope.occurred.clock,
            traceparent,
            causeid: envelope.cause_id.map(|id| id.to_string()),
            schemaversion: schema_version,
            data: payload.map_or(Value::Null, Payload::to_json),
        }
    }
}
