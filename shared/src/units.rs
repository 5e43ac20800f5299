//! Quantities with their unit in the type: time since boot, wall-clock time, and its trustworthiness.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time since the machine booted, suspended time included (CLOCK_BOOTTIME), in microseconds.
///
/// The only clock that decisions may use: it never steps. Drivers read it, pure code gets it as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Uptime(pub u64);

impl Uptime {
    /// `millis` milliseconds after boot.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This time plus `wait`, at most the largest time.
    pub fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
    }

    /// This time less `age`, at least the machine's boot.
    pub fn minus(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Wall-clock time: microseconds since 1970-01-01T00:00:00 UTC, negative before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct UtcMicros(pub i64);

const MICROS_PER_DAY: i64 = 86_400_000_000;

impl UtcMicros {
    /// Reads the RFC 3339 form with any fraction and offset.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse_rfc3339(text: &str) -> Result<Self, String> {
        parse_rfc3339(text).ok_or_else(|| format!("expected a time like 2026-01-31T12:00:00Z, found {text:?}"))
    }
}

/// RFC 3339 with microseconds and `Z`.
impl fmt::Display for UtcMicros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(MICROS_PER_DAY));
        let rest = self.0.rem_euclid(MICROS_PER_DAY);
        let (secs, micros) = (rest / 1_000_000, rest % 1_000_000);
        let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// How far the wall clock behind a time can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockState {
    /// Disciplined by a time source now.
    Synced,
    /// Was disciplined in this boot, free-running since.
    Holdover,
    /// Never disciplined in this boot.
    Unsynced,
}

/// Days since 1970-01-01 to (year, month, day), proleptic Gregorian.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// (year, month, day) to days since 1970-01-01; same source, `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = if month > 2 { month - 3 } else { month + 9 };
    let doy = (153 * mp + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

fn parse_rfc3339(text: &str) -> Option<UtcMicros> {
    let digits = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let sign_at = |at: usize, wanted: &str| text.get(at..at + 1).is_some_and(|c| wanted.contains(c));
    let punctuated = sign_at(4, "-") && sign_at(7, "-") && sign_at(10, "Tt ") && sign_at(13, ":") && sign_at(16, ":");
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    let days = days_from_civil(year, month, day);
    let real_day = (1..=12).contains(&month) && civil_from_days(days) == (year, month, day);
    if !punctuated || !real_day || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut micros = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let len = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let six: String = fraction.get(..len)?.chars().chain("000000".chars()).take(6).collect();
        micros = if len == 0 { return None } else { six.parse().ok()? };
        rest = fraction.get(len..)?;
    }
    let offset_minutes = match rest.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 5;
            let minutes = digits(at..at + 2)? * 60 + digits(at + 3..at + 5)?;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let secs = hour * 3600 + (minute - offset_minutes) * 60 + second;
    Some(UtcMicros(days * MICROS_PER_DAY + secs * 1_000_000 + micros))
}
