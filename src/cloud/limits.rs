//! Staying under AWS's request rates.
//!
//! One bucket per service, refilled steadily: a burst at the start of a run, then a steady rate.
//! Numbers: half of what AWS allows (see the API throttling pages of each service), since the account
//! has other callers too. Objects in S3 have buckets of their own: their rates are for each prefix of keys, not for
//! the account, so nobody else's calls count.

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

/// What a call is counted as: its service, except for the contents of objects.
///
/// A backup of 100,000 objects would take half an hour at the rate of calls about buckets. S3 takes 3,500 writes and
/// 5,500 reads a second for each prefix (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>),
/// and answers `SlowDown`, which is tried again, when it has not yet grown to that.
fn counted(call: &str) -> &str {
    match call {
        "s3:PutObject" => "s3 writes",
        "s3:GetObject" => "s3 reads",
        _ => call.split(':').next().unwrap_or_default(),
    }
}

/// Requests at once, and requests a second.
fn allowance(counted: &str) -> (f64, f64) {
    match counted {
        "ec2" => (60.0, 15.0),
        "rds" => (100.0, 6.0),
        "elasticache" => (20.0, 5.0),
        "elasticloadbalancing" => (20.0, 5.0),
        "route53" => (5.0, 3.0),
        "iam" => (15.0, 5.0),
        "s3" => (100.0, 50.0),
        "s3 writes" => (3_500.0, 3_500.0),
        "s3 reads" => (5_500.0, 5_500.0),
        _ => (20.0, 8.0),
    }
}

impl Limits {
    /// Waits until one more call like this one, `ec2:CreateVpc`, is within its rate.
    pub async fn pace(&self, call: &str, clock: &Clock) {
        let wait = self.take(counted(call), clock.now());
        if !wait.is_zero() {
            clock.sleep(wait).await;
        }
    }

    fn take(&self, counted: &str, now: Timestamp) -> Duration {
        let (burst, rate) = allowance(counted);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(counted.to_owned()).or_insert(Bucket {
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
    fn contents_of_objects_are_not_counted_with_calls_about_buckets() {
        let limits = Limits::default();
        let now = Timestamp::UNIX_EPOCH;
        let mut waits = (0..3_500).map(|_| limits.take(counted("s3:PutObject"), now));
        assert!(waits.all(|wait| wait.is_zero()));
        assert!(!limits.take(counted("s3:PutObject"), now).is_zero());
        assert!(limits.take(counted("s3:GetObject"), now).is_zero());
        assert_eq!(counted("s3:ListBucket"), "s3");
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
