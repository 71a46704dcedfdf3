//! Object Lock: what is written can be deleted by nobody for some days.
//!
//! A bucket's default counts for what is written from then on; each version keeps the time it was given. Nobody can
//! take that back in compliance mode, and nobody can switch the lock of a bucket off again
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>). A bucket that is there already can be
//! given one, as long as it keeps versions.

use aws_sdk_s3::types::{
    DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode,
    ObjectLockRule,
};
use serde::{Deserialize, Serialize};

use super::settings::if_set;
use crate::cloud::Fault;
use crate::resource::{ApplyCx, CloudCx};

const COMPLIANCE: &str = "COMPLIANCE";

/// What a bucket gives every new version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// `COMPLIANCE`, which nobody gets around, or `GOVERNANCE`, which some may.
    pub mode: String,
    pub days: u32,
}

impl Lock {
    pub(super) fn compliance(days: u32) -> Self {
        Self {
            mode: COMPLIANCE.into(),
            days,
        }
    }
}

/// Why a lock that is there is not made weaker; none where the wanted one is at least as strong.
///
/// AWS would let the default of a bucket be lowered for what is written later. That is the first thing that somebody
/// with stolen credentials and a copy of the site file would do, and nothing an install should do by the way.
pub(super) fn weaker(wanted: Option<u32>, live: Option<&Lock>) -> Option<String> {
    let have = live.filter(|lock| lock.mode == COMPLIANCE)?.days;
    if wanted.is_some_and(|days| days >= have) {
        return None;
    }
    let asked = wanted.map_or_else(
        || "no longer asks for it".to_owned(),
        |days| format!("asks for {days}"),
    );
    Some(format!(
        "what is written there is immutable for {have} days, and the site file {asked}: nobody can shorten it for what \
         is there, and gantry does not for what will be; write `immutable_days = {have}` or more"
    ))
}

pub(super) async fn read(name: &str, cx: &CloudCx) -> Result<Option<Lock>, Fault> {
    let answer = if_set(
        cx.read("s3:GetBucketObjectLockConfiguration", || {
            cx.aws()
                .s3
                .get_object_lock_configuration()
                .bucket(name)
                .send()
        })
        .await,
    )?;
    let retention = answer
        .and_then(|answer| answer.object_lock_configuration)
        .and_then(|configuration| configuration.rule)
        .and_then(|rule| rule.default_retention);
    Ok(retention.and_then(|retention| {
        let years = retention.years.map(|years| years.saturating_mul(365));
        Some(Lock {
            mode: retention.mode?.as_str().to_owned(),
            days: u32::try_from(retention.days.or(years)?).ok()?,
        })
    }))
}

/// Puts the default; none takes away one that somebody may still get around.
pub(super) async fn put(id: &str, wanted: Option<&Lock>, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    let rule = wanted.map(|lock| {
        let retention = DefaultRetention::builder()
            .mode(ObjectLockRetentionMode::from(lock.mode.as_str()))
            .days(i32::try_from(lock.days).unwrap_or(i32::MAX))
            .build();
        ObjectLockRule::builder()
            .default_retention(retention)
            .build()
    });
    let configuration = ObjectLockConfiguration::builder()
        .object_lock_enabled(ObjectLockEnabled::Enabled)
        .set_rule(rule)
        .build();
    cx.cloud
        .put("s3:PutBucketObjectLockConfiguration", || {
            cx.aws()
                .s3
                .put_object_lock_configuration()
                .bucket(id)
                .object_lock_configuration(configuration.clone())
                .send()
        })
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_made_stronger_and_never_weaker() {
        let live = Lock::compliance(14);
        assert_eq!(weaker(Some(14), Some(&live)), None);
        assert_eq!(weaker(Some(30), Some(&live)), None);
        assert_eq!(weaker(None, None), None);
        assert_eq!(weaker(Some(14), None), None);
        let less = weaker(Some(7), Some(&live)).unwrap();
        assert!(
            less.contains("asks for 7") && less.contains("immutable_days = 14"),
            "{less}"
        );
        assert!(
            weaker(None, Some(&live))
                .unwrap()
                .contains("no longer asks")
        );
        let soft = Lock {
            mode: "GOVERNANCE".into(),
            days: 90,
        };
        assert_eq!(weaker(None, Some(&soft)), None);
    }
}
