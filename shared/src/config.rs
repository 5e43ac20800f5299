//! How a configuration file is read: TOML, unknown keys refused, errors with file, key path and expectation.

use serde::de::DeserializeOwned;

/// A configuration that cannot be used; the process ends with exit code 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {key}: {expected}")]
pub struct ConfigError {
    /// File, as given on the command line.
    pub file: String,
    /// Dotted path of the key, or the line where the text is not TOML.
    pub key: String,
    /// What was expected, and what was found.
    pub expected: String,
}

impl ConfigError {
    /// An error found after parsing, by a rule that types cannot hold.
    pub fn new(file: &str, key: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { file: file.to_owned(), key: key.into(), expected: expected.into() }
    }
}

/// Reads a typed configuration from TOML text. `file` only names the text in errors.
///
/// # Errors
/// [`ConfigError`] with the key path, e.g. `camera[0].source: unknown field ...`.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, ConfigError> {
    let document = toml::Deserializer::parse(text).map_err(|e| {
        let line = e.span().map_or(1, |span| text.get(..span.start).unwrap_or(text).lines().count().max(1));
        ConfigError::new(file, format!("line {line}"), e.message())
    })?;
    serde_path_to_error::deserialize(document).map_err(|e| {
        let inner = e.inner();
        let line = inner.span().map(|span| text.get(..span.start).unwrap_or(text).matches('\n').count() + 1);
        let at = line.map_or(String::new(), |line| format!(" (line {line})"));
        ConfigError::new(file, format!("{}{at}", e.path()), inner.message())
    })
}

/// Durations in configuration files: `1500ms`, `10s`, `5m`, `48h`.
pub mod duration {
    use std::time::Duration;

    use serde::de::{Deserializer, Error};
    use serde::{Deserialize, Serializer};

    /// Reads `10s` and its like.
    ///
    /// # Errors
    /// A sentence with the accepted forms.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let wrong = || format!("expected a duration like \"250ms\", \"10s\", \"5m\" or \"48h\", found {text:?}");
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let millis_each = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(millis_each).map(Duration::from_millis).ok_or_else(wrong)
    }

    /// For `#[serde(with = "shared::config::duration")]`.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }

    /// Writes milliseconds.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{}ms", duration.as_millis()))
    }
}
