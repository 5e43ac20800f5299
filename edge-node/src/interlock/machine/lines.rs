//! What the machine does with output lines, and with vehicles that go on by themselves.

use std::time::Duration;

use shared::units::Uptime;

use super::Machine;
use crate::interlock::output::{Output, Turn, While};
use crate::interlock::vehicle::Vehicle;
use crate::interlock::words::{Demand, Effect};
use crate::vehicle::command::{DO_REPEAT_RELAY, Order};
use crate::vehicle::message::ACCEPTED;
use crate::vehicle::state::{Heard, Report};

/// A vehicle that was not heard for this time may not have heard either.
const SILENT: Duration = Duration::from_secs(2);

impl Machine {
    /// Vehicles that keep-out has stopped, and that may go on by themselves.
    pub(super) fn go_on(&mut self, now: Uptime, out: &mut Vec<Effect>) {
        for index in 0..self.vehicles.len() {
            let Some(config) = self.policy.vehicles.get(index) else { continue };
            let [by_itself, other] = [true, false].map(|resumes| self.keep_out(index, config.class, resumes));
            let siren =
                |output: &Output| output.energised_while.contains(&While::Resuming) && output.vehicles.contains(&index);
            let mut sirens = self.policy.outputs.iter().zip(&self.lines).filter(|(output, _)| siren(output));
            let sounds = sirens.any(|(_, line)| line.works(now));
            let Some(vehicle) = self.vehicles.get_mut(index) else { continue };
            if let Some(by) = vehicle.go_on(config, by_itself, (other != Demand::None, sounds), now) {
                out.push(Effect::GoOn { vehicle: index, by: by.to_owned() });
            }
        }
    }

    /// A pin says that it cannot be written, or that it can.
    pub(super) fn hear_pin(&mut self, output: usize, faulty: bool, now: Uptime, out: &mut Vec<Effect>) {
        if let Some(line) = self.lines.get_mut(output)
            && line.found(faulty, now)
        {
            out.push(Effect::Output { output, energised: line.energised(), faulty });
        }
    }

    /// A vehicle has answered a pulse of its relay: it has one output line at most.
    pub(super) fn hear_relay(&mut self, report: &Report, now: Uptime, out: &mut Vec<Effect>) {
        let Heard::Ack { command: DO_REPEAT_RELAY, result, .. } = report.heard else { return };
        for (index, (output, line)) in self.policy.outputs.iter().zip(&mut self.lines).enumerate() {
            let own = output.relay.is_some_and(|(vehicle, _)| vehicle == report.vehicle);
            if own && line.energised() && line.found(result != ACCEPTED, now) {
                out.push(Effect::Output { output: index, energised: true, faulty: line.faulty() });
            }
        }
    }

    /// Whether an output line shall be energised: never while the loop is late, or the node ends.
    fn wants(&self, output: &Output, now: Uptime) -> bool {
        let own = || output.vehicles.iter().filter_map(|vehicle| Some((*vehicle, self.vehicles.get(*vehicle)?)));
        let latched = self.estop.latched();
        let so = |wish: &While| match wish {
            While::Armed => own().any(|(_, vehicle)| vehicle.state.armed),
            While::Held => own().any(|(index, _)| self.demand(index) >= Demand::Hold),
            While::Resuming => own().any(|(_, vehicle)| vehicle.resume.announced()),
            // Before the line was read it may be pressed.
            While::Released => {
                !latched.site && !self.estop.line_pressed(now) && !own().any(|(index, _)| latched.holds(index))
            }
        };
        // A pilot who has the vehicle has its relays, too.
        let steered = output.relay.and_then(|(vehicle, _)| self.vehicles.get(vehicle)).is_some_and(Vehicle::steered);
        self.pass.on_time(now) && !self.ending && !steered && output.energised_while.iter().any(so)
    }

    pub(super) fn energise(&mut self, now: Uptime, out: &mut Vec<Effect>) {
        for index in 0..self.lines.len() {
            let wanted = self.policy.outputs.get(index).is_some_and(|output| self.wants(output, now));
            let of = self.policy.outputs.get(index).zip(self.lines.get_mut(index));
            let Some((output, line)) = of else { continue };
            // What is told to a vehicle that is not heard is lost.
            let own = output.relay.and_then(|(vehicle, _)| self.vehicles.get(vehicle));
            if own.is_some_and(|vehicle| vehicle.state.packet_at.is_none_or(|at| now.since(at) > SILENT)) {
                line.open_again();
            }
            let (turn, changed) = line.turn(output, wanted, now);
            // Nothing is sent to what its pilot has: its relay opens by itself.
            let relay = output.relay.filter(|_| !own.is_some_and(Vehicle::steered));
            match (relay, turn) {
                (Some((vehicle, relay)), Turn::Open) => out.push(Effect::Send(vehicle, Order::Relay(relay, false))),
                (Some((vehicle, relay)), Turn::Pulse) => {
                    // Opened first, since a pulse turns it twice from wherever it is; both on one way, in this order.
                    let orders = [Order::Relay(relay, false), Order::PulseRelay(relay)];
                    out.extend(orders.map(|order| Effect::Pulse(vehicle, order, line.attempt())));
                }
                _ => {}
            }
            if changed {
                out.push(Effect::Output { output: index, energised: wanted, faulty: line.faulty() });
            }
        }
    }
}
