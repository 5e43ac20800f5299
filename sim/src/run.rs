//! The wiring of the simulator: a thread a vehicle, a task a camera.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use tokio::task::JoinSet;
use tracing::info;

use crate::scenario::Scenario;
use crate::{camera, vehicle};

/// Runs a scenario until the process is ended. Nothing in it is random yet, so the seed is only shown.
///
/// # Errors
/// A scenario that cannot be used, or the first part that failed.
pub fn run(path: &Path, seed: u64) -> anyhow::Result<()> {
    let scenario = Scenario::read(path)?;
    let trace = scenario.trace.as_ref().map(|file| File::options().create(true).append(true).open(file)).transpose();
    let trace = Arc::new(Mutex::new(trace.context("make the trace file")?));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for config in scenario.vehicles {
            let trace = trace.clone();
            tasks.spawn_blocking(move || vehicle::run(config, &trace));
        }
        for config in scenario.cameras {
            tasks.spawn(camera::run(config));
        }
        info!(seed, "sim is ready");
        match tasks.join_next().await {
            Some(ended) => ended.context("run a part of the scenario")?,
            None => Ok(()),
        }
    })
}
