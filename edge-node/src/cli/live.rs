//! `edge-node interlock` and `edge-node vehicle list`: what the running node says of itself, asked over its own
//! loopback API.

use std::io::Write;

use clap::Subcommand;
use serde_json::Value;

use super::client::{Client, Node, text};

/// What of the interlock.
#[derive(Debug, Subcommand)]
pub enum Interlock {
    /// Every rule on every vehicle: its state, since when, why, and what would clear it.
    Status(Node),
    /// Decides again what was recorded: as it was, and under another configuration; prints where that differs.
    Replay(super::replay::Args),
    /// What one input costs, with sixteen vehicles and thirty-two zones.
    #[command(hide = true)]
    Measure,
}

/// What of the vehicles.
#[derive(Debug, Subcommand)]
pub enum Vehicle {
    /// The parameters of a vehicle's own failsafes, as it told them and as they must be; fails if one is wrong.
    Audit {
        /// Name of the vehicle.
        vehicle: shared::ids::Name,
        /// Where the node is, and how it is shown.
        #[command(flatten)]
        node: Node,
    },
    /// Drives a vehicle and stops it, from each speed, and prints its stop table for the configuration.
    BrakeTest(super::brake::Args),
    /// All parameters of a vehicle, as it tells them now.
    Params {
        /// Name of the vehicle.
        vehicle: shared::ids::Name,
        /// Where the node is, and how it is shown.
        #[command(flatten)]
        node: Node,
    },
    /// The vehicles: mode, speed, battery, when heard, what is demanded of them, who answers for them.
    List(Node),
}

/// Runs `interlock`.
///
/// # Errors
/// A node that does not answer.
pub fn interlock(what: &Interlock) -> anyhow::Result<()> {
    let node = match what {
        Interlock::Status(node) => node,
        Interlock::Measure => return super::step::run(),
        Interlock::Replay(args) => return super::replay::run(args),
    };
    let answer = ask(node, "/api/v1/interlocks")?;
    if node.json {
        return Ok(writeln!(std::io::stdout(), "{answer}")?);
    }
    let mut out = std::io::stdout().lock();
    let pressed = answer.get("estop").and_then(Value::as_bool) == Some(true);
    writeln!(out, "e-stop: {}", if pressed { "LATCHED" } else { "released" })?;
    for rule in answer.get("rules").and_then(Value::as_array).into_iter().flatten() {
        let (name, vehicle) = (text(rule, "rule"), text(rule, "vehicle"));
        match rule.get("reason").and_then(Value::as_str) {
            Some(reason) => {
                let seconds = rule.get("for_s").and_then(Value::as_f64).unwrap_or(0.0);
                let clears = text(rule, "clears");
                writeln!(out, "{vehicle:<12} {name:<11} TRIPPED for {seconds:.1} s: {reason}; clears: {clears}")?;
            }
            None => writeln!(out, "{vehicle:<12} {name:<11} clear")?,
        }
    }
    Ok(())
}

/// Runs `vehicle`.
///
/// # Errors
/// A node that does not answer.
pub fn vehicle(what: &Vehicle) -> anyhow::Result<()> {
    let node = match what {
        Vehicle::List(node) => node,
        Vehicle::Audit { vehicle, node } => return audit(vehicle.as_str(), node),
        Vehicle::Params { vehicle, node } => return params(vehicle.as_str(), node),
        Vehicle::BrakeTest(args) => return super::brake::run(args),
    };
    let answer = ask(node, "/api/v1/state")?;
    let vehicles = answer.get("vehicles").cloned().unwrap_or_default();
    if node.json {
        return Ok(writeln!(std::io::stdout(), "{vehicles}")?);
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<12} {:<8} {:>6} {:>4} {:>5} {:>9} {:>8} {:>9} {:<8} answers",
        "vehicle", "class", "sysid", "mode", "armed", "speed", "battery", "heard", "demand"
    )?;
    for vehicle in vehicles.as_array().into_iter().flatten() {
        let heard = match vehicle.get("heartbeat_age_ms").and_then(Value::as_f64) {
            Some(age) => format!("{:.1} s", age / 1000.0),
            None => "never".into(),
        };
        let charge = match vehicle.get("battery_pct").and_then(Value::as_u64) {
            Some(charge) => format!("{charge} %"),
            None => "-".into(),
        };
        let speed = vehicle.get("speed_mps").and_then(Value::as_f64).unwrap_or(0.0);
        let answers = [text(vehicle, "lease"), text(vehicle, "patrol")].into_iter().find(|name| *name != "-");
        writeln!(
            out,
            "{:<12} {:<8} {:>6} {:>4} {:>5} {:>5.1} m/s {:>8} {:>9} {:<8} {}",
            text(vehicle, "name"),
            text(vehicle, "class"),
            vehicle.get("sysid").unwrap_or(&Value::Null),
            vehicle.get("mode").unwrap_or(&Value::Null),
            if vehicle.get("armed").and_then(Value::as_bool) == Some(true) { "yes" } else { "no" },
            speed,
            charge,
            heard,
            text(vehicle, "demand"),
            answers.unwrap_or_else(|| "nobody".into()),
        )?;
    }
    Ok(())
}

fn audit(vehicle: &str, node: &Node) -> anyhow::Result<()> {
    let answer = ask(node, &format!("/api/v1/vehicles/{vehicle}/audit"))?;
    let parameters = answer.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
    let good = |parameter: &Value| parameter.get("good").and_then(Value::as_bool) == Some(true);
    let mut out = std::io::stdout().lock();
    if node.json {
        writeln!(out, "{answer}")?;
    } else {
        for parameter in &parameters {
            let value = parameter.get("value").filter(|value| !value.is_null());
            let value = value.map_or_else(|| "not told".into(), Value::to_string);
            let word = if good(parameter) { "good" } else { "WRONG" };
            writeln!(
                out,
                "{word:<6} {:<18} {value:<10} expected {}",
                text(parameter, "name"),
                text(parameter, "expected")
            )?;
        }
    }
    let wrong = parameters.iter().filter(|parameter| !good(parameter)).count();
    anyhow::ensure!(wrong == 0, "audit {vehicle}: {wrong} parameters are not as they must be");
    Ok(())
}

fn params(vehicle: &str, node: &Node) -> anyhow::Result<()> {
    let answer = ask(node, &format!("/api/v1/vehicles/{vehicle}/parameters"))?;
    let mut out = std::io::stdout().lock();
    if node.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    for parameter in answer.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        let value = parameter.get("value").map_or_else(String::new, Value::to_string);
        writeln!(out, "{:<18} {value}", text(parameter, "name"))?;
    }
    Ok(())
}

fn ask(node: &Node, path: &str) -> anyhow::Result<Value> {
    Client::new(node)?.get(path)
}
