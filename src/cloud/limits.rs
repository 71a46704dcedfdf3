//! Staying under AWS's request rates.
//!
//! One bucket per service, refilled steadily: a burst at the start of a run, then a steady rate.
//! Numbers: half of what AWS allows (see the API throttling pages of each service), since the account
//! has other callers too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;

struct Bucket {
    tokens: f64,
    at: Option<Timestamp>,
}

/// Rate limits, shared by everything that talks to one account.
#[derive(Clone, Default)]
pub struct Limits {
    buckets: Arc<Mutex<BTreeMap<String, Bucket>>>,
}

/// Requests at once, and requests a second.
fn allowance(service: &str) -> (f64, f64) {
    match service {
        "ec2" => (60.0, 15.0),
        "rds" => (100.0, 6.0),
        "elasticache" => (20.0, 5.0),
        "elasticloadbalancing" => (20.0, 5.0),
        "route53" => (5.0, 3.0),
        "iam" => (15.0, 5.0),
        "s3" => (100.0, 50.0),
        _ => (20.0, 8.0),
    }
}

impl Limits {
    /// Waits until one more call to this service is within its rate.
    pub async fn pace(&self, service: &str, clock: &Clock) {
        let wait = self.take(service, clock.now());
        if !wait.is_zero() {
            clock.sleep(wait).await;
        }
    }

    fn take(&self, service: &str, now: Timestamp) -> Duration {
        let (burst, rate) = allowance(service);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(service.to_owned()).or_insert(Bucket {
            tokens: burst,
            at: None,
        });
        if let Some(at) = bucket.at {
            let passed = now.duration_since(at).as_secs_f64().max(0.0);
            bucket.tokens = (bucket.tokens + passed * rate).min(burst);
        }
        bucket.at = Some(now);
        bucket.tokens -= 1.0;
        if bucket.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-bucket.tokens / rate)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_then_calls_are_spread() {
        let limits = Limits::default();
        let now = Timestamp::UNIX_EPOCH;
        let waits: Vec<_> = (0..7).map(|_| limits.take("route53", now)).collect();
        assert!(waits[..5].iter().all(Duration::is_zero));
        assert!(waits[5] > Duration::ZERO && waits[6] > waits[5]);
    }

    #[test]
    fn time_refills_the_bucket() {
        let limits = Limits::default();
        let start = Timestamp::UNIX_EPOCH;
        for _ in 0..5 {
            limits.take("route53", start);
        }
        let later = start + jiff::SignedDuration::from_secs(1);
        assert!(limits.take("route53", later).is_zero());
    }
}
