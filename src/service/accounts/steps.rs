//! A log-in tried step by step, for an administrator who wants to know where it fails.

use serde::{Deserialize, Serialize};

/// How far a log-in got, and what was found there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// A word, such as `connect`.
    pub step: String,
    pub outcome: Outcome,
    pub what: String,
    /// What to do where it failed.
    pub remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Ok,
    /// The log-in works, and somebody should know this.
    Note,
    Failed,
}

impl Step {
    pub fn ok(step: &str, what: impl Into<String>) -> Self {
        Self { step: step.to_owned(), outcome: Outcome::Ok, what: what.into(), remedy: None }
    }

    pub fn note(step: &str, what: impl Into<String>) -> Self {
        Self { outcome: Outcome::Note, ..Self::ok(step, what) }
    }

    pub fn failed(step: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into()).filter(|remedy: &String| !remedy.is_empty());
        Self { outcome: Outcome::Failed, remedy, ..Self::ok(step, what) }
    }
}
