//! `edge-node vehicle brake-test`: the commissioning test of a vehicle's brakes. It drives to and fro between where it stands
//! and a place, is told to hold at each speed, and what it needed is printed as the configuration wants it: the
//! configuration is what recordings keep, so nothing is written behind its back.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::client::{Client, Node, text};
use crate::clock;
use crate::ground::{Origin, Place, Point};
use crate::vehicle::stop::{Sample, Stop, StopTable, measure};

/// The vehicle is looked at this often; it tells where it is five times a second.
const LOOK: Duration = Duration::from_millis(50);
/// The lease is renewed this often.
const RENEW: Duration = Duration::from_millis(500);
/// Between two commands.
const PAUSE: Duration = Duration::from_millis(250);
/// A speed is reached within this time, a stop ends within it, a command is answered within it.
const PATIENCE: Duration = Duration::from_secs(60);
/// A speed counts as reached at this part of it, in every report of this many seconds: what still gains speed when it is told
/// to hold needs more than its speed says.
const REACHED: f64 = 0.95;
const STEADY_S: f64 = 0.5;
/// Slower than this it stands, m/s: on the ground, and in the wind.
const STANDS_MPS: f64 = 0.1;
const HOVERS_MPS: f64 = 0.3;

/// What to test.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the vehicle.
    vehicle: shared::ids::Name,
    /// Who holds its lease meanwhile: a supervisor.
    #[arg(long)]
    by: String,
    /// Where to, latitude and longitude: straight and free from where it stands, and long enough to reach each speed and stop.
    #[arg(long, value_parser = parse_place, allow_hyphen_values = true)]
    to: Place,
    /// Speeds, m/s, slowest first.
    #[arg(long, value_delimiter = ',', required = true)]
    speeds: Vec<f64>,
    /// Stops from each speed; the worst counts.
    #[arg(long, default_value_t = 2)]
    times: u8,
    /// Where the node is, and how it is shown.
    #[command(flatten)]
    node: Node,
}

struct Test<'a> {
    args: &'a Args,
    client: Client,
    lease: String,
    renewed: shared::units::Uptime,
    /// When it was last told something.
    commanded: shared::units::Uptime,
    origin: Origin,
}

/// Runs the test.
///
/// # Errors
/// What the interlock denies, or a vehicle that does not do it; it is held then.
pub fn run(args: &Args) -> anyhow::Result<()> {
    ensure!((1..=10).contains(&args.times), "times: expected 1 to 10");
    let client = Client::new(&args.node)?;
    let leased = client.post(&path(args, "lease"), &json!({ "by": args.by }))?;
    let lease = leased.get("lease").and_then(Value::as_str).context("read the lease")?.to_owned();
    let mut test = Test {
        args,
        client,
        lease,
        renewed: clock::uptime(),
        commanded: clock::uptime(),
        origin: Origin::new(args.to),
    };
    let found = test.run(args.to);
    // Whatever happened it stands before the lease ends.
    let held = test.command(&json!({ "verb": "hold" }));
    let stops = found?;
    held?;
    print(args, &stops)
}

fn parse_place(text: &str) -> Result<Place, String> {
    let expected = || format!("expected LATITUDE,LONGITUDE in degrees, found {text:?}");
    let (lat, lon) = text.split_once(',').ok_or_else(expected)?;
    let degrees = |part: &str| part.trim().parse::<f64>().map_err(|_| expected());
    Place::try_from([degrees(lat)?, degrees(lon)?])
}

fn path(args: &Args, what: &str) -> String {
    format!("/api/v1/vehicles/{}/{what}", args.vehicle)
}

fn print(args: &Args, stops: &[Stop]) -> anyhow::Result<()> {
    let rows: Vec<String> = stops.iter().map(row).collect();
    let line = format!("brake = [{}]", rows.join(", "));
    let table = StopTable::try_from(stops.to_vec());
    let mut out = std::io::stdout().lock();
    if args.node.json {
        let stops =
            stops.iter().map(|s| json!({ "speed_mps": s.speed_mps, "distance_m": s.distance_m, "time_s": s.time_s }));
        writeln!(out, "{}", json!({ "vehicle": args.vehicle, "brake": stops.collect::<Vec<_>>() }))?;
    } else {
        writeln!(out, "# of [[vehicle]] {}; restart the node with it\n{line}", args.vehicle)?;
    }
    table.map(drop).map_err(|why| anyhow::anyhow!("the table cannot be used, test again: {why}"))
}

/// Rounded so that nothing becomes less.
fn row(stop: &Stop) -> String {
    let up = |value: f32| (value * 100.0).ceil() / 100.0;
    let speed = (stop.speed_mps * 100.0).floor() / 100.0;
    format!("{{ speed_mps = {speed:.2}, distance_m = {:.2}, time_s = {:.2} }}", up(stop.distance_m), up(stop.time_s))
}

impl Test<'_> {
    fn run(&mut self, there: Place) -> anyhow::Result<Vec<Stop>> {
        self.command(&json!({ "verb": "brake-test" }))?;
        let state = self.look()?;
        let flies = text(&state, "class") != "rover";
        let armed = state.get("armed").and_then(Value::as_bool) == Some(true);
        ensure!(armed || !flies, "{}: expected it in the air, at the height of its work", self.args.vehicle);
        if !armed {
            self.carried_out(&json!({ "verb": "arm" }))?;
        }
        let here = place(&state).context("read where it is")?;
        let height = state.get("relative_alt_m").and_then(Value::as_f64).filter(|_| flies);
        let mut stops = Vec::new();
        for speed in self.args.speeds.clone() {
            let mut worst: Option<Stop> = None;
            for _ in 0..self.args.times {
                // Towards the farther end: a stop may need the whole way.
                let now = place(&self.look()?).context("read where it is")?;
                let away = |end: Place| self.point(now).distance(self.point(end));
                let to = if away(there) >= away(here) { there } else { here };
                let stop = self.stop(speed, to, height, flies)?;
                writeln!(
                    std::io::stderr(),
                    "from {:.2} m/s: {:.2} m, {:.2} s",
                    stop.speed_mps,
                    stop.distance_m,
                    stop.time_s
                )?;
                worst = Some(worst.map_or(stop, |worst| Stop {
                    // The slower speed for the longer way.
                    speed_mps: worst.speed_mps.min(stop.speed_mps),
                    distance_m: worst.distance_m.max(stop.distance_m),
                    time_s: worst.time_s.max(stop.time_s),
                }));
            }
            stops.extend(worst);
        }
        Ok(stops)
    }

    /// Drives towards a place, and is told to hold at the speed.
    fn stop(&mut self, speed: f64, to: Place, height: Option<f64>, flies: bool) -> anyhow::Result<Stop> {
        let go = json!({ "verb": "go-to", "lat_deg": to.lat_deg, "lon_deg": to.lon_deg, "height_m": height });
        self.carried_out(&go)?;
        self.carried_out(&json!({ "verb": "speed", "speed_mps": speed }))?;
        let begun = clock::uptime();
        let mut samples: Vec<Sample> = Vec::new();
        let standing = if flies { HOVERS_MPS } else { STANDS_MPS };
        let mut told: Option<f64> = None;
        loop {
            ensure!(
                clock::uptime().since(begun) < PATIENCE,
                "from {speed} m/s: it does not get so fast, or does not stand"
            );
            let state = self.look()?;
            let demand = text(&state, "demand");
            ensure!(told.is_some() || demand == "none", "the interlock demands {demand}");
            samples.extend(self.sample(&state, samples.last()));
            match (told, samples.last()) {
                (None, _) if steady(&samples, speed * REACHED) => {
                    // The order is on the wire before the answer comes.
                    let before = seconds();
                    self.command(&json!({ "verb": "hold" }))?;
                    told = Some(before);
                }
                (Some(told), _) => {
                    if let Some(stop) = measure(&samples, told, standing) {
                        return Ok(stop);
                    }
                }
                _ => {}
            }
        }
    }

    fn point(&self, place: Place) -> Point {
        self.origin.point(place.lat_deg, place.lon_deg)
    }

    fn sample(&self, state: &Value, last: Option<&Sample>) -> Option<Sample> {
        let age = state.get("position_age_ms")?.as_f64()? / 1000.0;
        let (at_s, place) = (seconds() - age, place(state)?);
        // The same report again, its age told a little differently.
        let new = last.is_none_or(|last| at_s - last.at_s > 0.04);
        let point = self.point(place);
        let speed_mps = state.get("speed_mps")?.as_f64()?;
        new.then_some(Sample { at_s, place_m: (point.east, point.north), speed_mps })
    }

    /// Waits a moment, renews the lease when it is due; the vehicle as the node shows it.
    fn look(&mut self) -> anyhow::Result<Value> {
        std::thread::sleep(LOOK);
        let now = clock::uptime();
        if now.since(self.renewed) >= RENEW {
            self.renewed = now;
            let body = json!({ "by": self.args.by, "lease": self.lease });
            self.client.post(&path(self.args, "lease/renew"), &body)?;
        }
        let state = self.client.get("/api/v1/state")?;
        let vehicles = state.get("vehicles").and_then(Value::as_array).into_iter().flatten();
        let mut own = vehicles.filter(|vehicle| text(vehicle, "name") == self.args.vehicle.as_str());
        own.next().cloned().context("find the vehicle")
    }

    /// Asks for a command; its number.
    fn command(&self, command: &Value) -> anyhow::Result<String> {
        let mut body = command.clone();
        if let Some(body) = body.as_object_mut() {
            body.retain(|_, value| !value.is_null());
            body.insert("by".into(), json!(self.args.by));
        }
        let answer = self.client.post(&path(self.args, "commands"), &body);
        Ok(text(&answer.with_context(|| text(command, "verb"))?, "id"))
    }

    /// Asks for a command, and waits until the vehicle has carried it out.
    fn carried_out(&mut self, command: &Value) -> anyhow::Result<()> {
        // The node takes five a second.
        while clock::uptime().since(self.commanded) < PAUSE {
            self.look()?;
        }
        let (id, begun) = (self.command(command)?, clock::uptime());
        self.commanded = begun;
        while clock::uptime().since(begun) < PATIENCE {
            let last = self.look()?.get("command").cloned().unwrap_or_default();
            let outcome = text(&last, "outcome");
            if text(&last, "id") == id && outcome != "-" {
                ensure!(outcome == "done", "{} was {outcome}: {}", text(command, "verb"), text(&last, "detail"));
                return Ok(());
            }
        }
        bail!("{} did not end", text(command, "verb"))
    }
}

/// Whether it has been at least so fast for long enough.
fn steady(samples: &[Sample], mps: f64) -> bool {
    let fast = samples.iter().rev().take_while(|sample| sample.speed_mps >= mps);
    let first = fast.last().map(|sample| sample.at_s);
    first.zip(samples.last()).is_some_and(|(first, last)| last.at_s - first >= STEADY_S)
}

fn place(state: &Value) -> Option<Place> {
    let place = state.get("position_deg")?.as_array()?;
    let [lat, lon] = &place[..] else { return None };
    Place::try_from([lat.as_f64()?, lon.as_f64()?]).ok()
}

fn seconds() -> f64 {
    clock::uptime().since(shared::units::Uptime(0)).as_secs_f64()
}
