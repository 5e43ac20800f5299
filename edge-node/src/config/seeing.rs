//! What is wrong with the detector's thresholds and with lines.

use shared::config::ConfigError;

use super::Config;
use crate::detect::network::LibraryConfig;
use crate::detect::zone::{LIKELY, ZoneConfig};

/// Least room for one file of a clip: key frames of the largest kind still fit.
const CLIP_LEAST: u64 = 48 << 20;

impl Config {
    pub(super) fn check_seeing(&self, file: &str) -> Result<(), ConfigError> {
        let wrong = |key: String, expected: String| Err(ConfigError::new(file, key, expected));
        match &self.model {
            None if !self.cameras.is_empty() => {
                return wrong("model".into(), "expected a model, since there are cameras".into());
            }
            Some(model) if !(0.01..=1.0).contains(&model.min_score) => {
                return wrong("model.min_score".into(), format!("expected 0.01 to 1, found {}", model.min_score));
            }
            _ => {}
        }
        if self.model.as_ref().is_some_and(|model| !(50..=5000).contains(&model.deadline.as_millis())) {
            return wrong("model.deadline".into(), "expected 50ms to 5s".into());
        }
        if let Some(model) = &self.model {
            if !(1..=2).contains(&model.workers) {
                return wrong("model.workers".into(), format!("expected 1 or 2, found {}", model.workers));
            }
            if let Some((key, expected)) = model.upkeep.problem() {
                return wrong(format!("model.upkeep.{key}"), expected);
            }
            if let Some((key, expected)) = model.onnxruntime.as_ref().and_then(LibraryConfig::problem) {
                return wrong(format!("model.onnxruntime.{key}"), expected);
            }
        }
        for (label, class) in self.model.iter().flat_map(|model| &model.classes) {
            for (key, value) in [("min_score", class.min_score), ("min_height", class.min_height)] {
                if !(0.0..=1.0).contains(&value) {
                    return wrong(format!("model.classes.{label}.{key}"), format!("expected 0 to 1, found {value}"));
                }
            }
        }
        let clips = self.cameras.iter().position(|camera| camera.clip.is_some());
        if let Some(index) = clips.filter(|_| self.media.largest() < CLIP_LEAST) {
            let expected = format!("expected none, or media.largest_mib of at least {}", CLIP_LEAST >> 20);
            return wrong(format!("camera[{index}].clip"), expected);
        }
        for (index, camera) in self.cameras.iter().enumerate() {
            let seldom = camera.detect_fps.is_some_and(|fps| camera.stale_after.as_secs_f32() * fps < 2.0);
            if seldom {
                let expected = "expected at least two pictures in stale_after: it would be stale in between";
                return wrong(format!("camera[{index}].detect_fps"), expected.into());
            }
        }
        self.check_keep_out_is_seen(file)?;
        for (index, chain) in self.chains.iter().enumerate() {
            if self.chains.iter().take(index).any(|other| other.name == chain.name) {
                let expected = format!("expected a name used once, found {} again", chain.name);
                return wrong(format!("chain[{index}].name"), expected);
            }
            if let Some((key, problem)) = chain.problem() {
                return wrong(format!("chain[{index}].{key}"), problem);
            }
        }
        for (index, line) in self.lines.iter().enumerate() {
            if self.lines.iter().take(index).any(|other| other.name == line.name) {
                let expected = format!("expected a name used once, found {} again", line.name);
                return wrong(format!("line[{index}].name"), expected);
            }
            if !self.cameras.iter().any(|camera| camera.name == line.camera) {
                let list = self.cameras.iter().map(|camera| camera.name.as_str()).collect::<Vec<_>>().join(", ");
                let expected = format!("expected the name of a camera ({list}), found {}", line.camera);
                return wrong(format!("line[{index}].camera"), expected);
            }
            if let Some((key, problem)) = line.problem() {
                return wrong(format!("line[{index}].{key}"), problem);
            }
        }
        Ok(())
    }

    /// Nothing that hides people, or takes a look for many, weakens what the interlock is told of a keep-out zone. Fewer
    /// pictures (`detect_fps`) do not: each is looked at, and too few are a stale camera.
    fn check_keep_out_is_seen(&self, file: &str) -> Result<(), ConfigError> {
        let watched = |zone: &ZoneConfig| self.keep_out.iter().any(|rule| rule.zone == zone.name);
        for (n, zone) in self.zones.iter().enumerate().filter(|(_, zone)| watched(zone)) {
            let Some(index) = self.cameras.iter().position(|camera| camera.name == zone.camera) else { continue };
            let Some(camera) = self.cameras.get(index) else { continue };
            let wrong = |key: &str, expected: &str| {
                let expected = format!("expected {expected}: zone {} is a keep-out zone", zone.name);
                Err(ConfigError::new(file, key, expected))
            };
            if camera.motion.is_some() {
                return wrong(&format!("camera[{index}].motion"), "none");
            }
            if camera.masks.iter().any(|mask| mask.overlaps(&zone.polygon)) {
                return wrong(&format!("camera[{index}].masks"), "masks outside of the zone");
            }
            if zone.min_score > LIKELY {
                return wrong(&format!("zone[{n}].min_score"), "at most 0.35");
            }
            if zone.min_height > 0.0 {
                return wrong(&format!("zone[{n}].min_height"), "none");
            }
            let classes = self.model.iter().flat_map(|model| &model.classes);
            let mut watched = classes.filter(|(label, _)| zone.labels.contains(label));
            if let Some((label, _)) = watched.find(|(_, class)| class.min_score > LIKELY || class.min_height > 0.0) {
                let key = format!("model.classes.{label}");
                return wrong(&key, "no min_height, and min_score of at most 0.35");
            }
        }
        Ok(())
    }
}
