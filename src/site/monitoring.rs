//! `[monitoring]` and `[protection]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gitlab::Email;
use super::place::Path;
use super::problem::Problem;

/// Alarms, and who hears of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Monitoring {
    /// CloudWatch alarms for what an operator must know.
    pub alarms: bool,
    /// Who is written to when an alarm fires; each has to confirm once.
    pub email: Vec<Email>,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self {
            alarms: true,
            email: Vec::new(),
        }
    }
}

/// Guards against losing what cannot be made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Protection {
    /// Deletion protection on databases and load balancers, termination protection on Git data's nodes.
    pub deletion: bool,
}

impl Default for Protection {
    fn default() -> Self {
        Self { deletion: true }
    }
}

impl Monitoring {
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        if !self.alarms && !self.email.is_empty() {
            problems.push(
                Problem::at(
                    Path::of("monitoring.email"),
                    "`monitoring.email` names people who would never be written to",
                )
                .because("`alarms` is false")
                .help("write `alarms = true`, or take the addresses away")
                .depends("monitoring.alarms"),
            );
        }
        for (index, email) in self.email.iter().enumerate() {
            if self.email[..index].contains(email) {
                problems.push(
                    Problem::at(
                        Path::of("monitoring.email").index(index),
                        format!("{email} is named twice"),
                    )
                    .because("a second subscription of the same address is the same subscription")
                    .help("take one of them away"),
                );
            }
        }
    }
}
