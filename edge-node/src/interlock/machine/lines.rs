//! What the machine does with output lines, and with vehicles that go on by themselves.

use shared::units::Uptime;

use super::Machine;
use crate::interlock::output::{Output, Turn, While};
use crate::interlock::vehicle::Vehicle;
use crate::interlock::words::{Demand, Effect};
use crate::vehicle::command::{DO_REPEAT_RELAY, Order};
use crate::vehicle::message::ACCEPTED;
use crate::vehicle::state::{Heard, Report};

impl Machine {
    /// Vehicles that keep-out has stopped, and that may go on by themselves.
    pub(super) fn go_on(&mut self, now: Uptime, out: &mut Vec<Effect>) {
        for index in 0..self.vehicles.len() {
            let Some(config) = self.policy.vehicles.get(index) else { continue };
            let [by_itself, other] = [true, false].map(|resumes| self.keep_out(index, config.class, resumes));
            let siren =
                |output: &Output| output.energised_while.contains(&While::Resuming) && output.vehicles.contains(&index);
            let mut sirens = self.policy.outputs.iter().zip(&self.lines).filter(|(output, _)| siren(output));
            let sounds = sirens.any(|(output, line)| line.works(output, now));
            let Some(vehicle) = self.vehicles.get_mut(index) else { continue };
            if let Some(by) = vehicle.go_on(config, by_itself, (other != Demand::None, sounds), now) {
                out.push(Effect::GoOn { vehicle: index, by: by.to_owned() });
            }
        }
    }

    /// A pin cannot be written, or can again.
    pub(super) fn hear_pin(&mut self, output: usize, faulty: bool, out: &mut Vec<Effect>) {
        if let Some(line) = self.lines.get_mut(output)
            && line.found(faulty)
        {
            out.push(Effect::Output { output, energised: line.energised(), faulty });
        }
    }

    /// A vehicle has answered a pulse of its relay.
    pub(super) fn hear_relay(&mut self, report: &Report, now: Uptime, out: &mut Vec<Effect>) {
        let Heard::Ack { command: DO_REPEAT_RELAY, result, .. } = report.heard else { return };
        for (index, (output, line)) in self.policy.outputs.iter().zip(&mut self.lines).enumerate() {
            let own = output.relay.is_some_and(|(vehicle, _)| vehicle == report.vehicle);
            if own && line.energised() && line.answered(result == ACCEPTED, now) {
                out.push(Effect::Output { output: index, energised: true, faulty: line.faulty() });
            }
        }
    }

    /// Whether an output line shall be energised: never while the loop is late.
    fn wants(&self, output: &Output, now: Uptime) -> bool {
        let so = |wish: &While, vehicle: &usize| match (wish, self.vehicles.get(*vehicle)) {
            (_, None) => false,
            (While::Armed, Some(own)) => own.state.armed,
            (While::Held, Some(_)) => self.demand(*vehicle) >= Demand::Hold,
            (While::Resuming, Some(own)) => own.resume.announced(),
            (While::Released, Some(_)) => !self.estop.latched().holds(*vehicle),
        };
        let any = |wish: &While| match wish {
            While::Released => output.vehicles.iter().all(|vehicle| so(wish, vehicle)),
            _ => output.vehicles.iter().any(|vehicle| so(wish, vehicle)),
        };
        // A pilot who has the vehicle has its relays too.
        let steered = output.relay.and_then(|(vehicle, _)| self.vehicles.get(vehicle)).is_some_and(Vehicle::steered);
        self.pass.on_time(now) && !steered && output.energised_while.iter().any(any)
    }

    pub(super) fn energise(&mut self, now: Uptime, out: &mut Vec<Effect>) {
        for index in 0..self.lines.len() {
            let wanted = self.policy.outputs.get(index).is_some_and(|output| self.wants(output, now));
            let of = self.policy.outputs.get(index).zip(self.lines.get_mut(index));
            let Some((output, line)) = of else { continue };
            let turn = line.turn(output, wanted, now);
            if let (Some((vehicle, relay)), Turn::Pulse(_) | Turn::Drop) = (output.relay, turn) {
                // Open first: a pulse turns it twice, from wherever it is.
                out.push(Effect::Send(vehicle, Order::Relay(relay, false)));
                if matches!(turn, Turn::Pulse(_)) {
                    out.push(Effect::Send(vehicle, Order::PulseRelay(relay)));
                }
            }
            if !matches!(turn, Turn::Nothing | Turn::Pulse(false)) {
                out.push(Effect::Output { output: index, energised: wanted, faulty: line.faulty() });
            }
        }
    }
}
