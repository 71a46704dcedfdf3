//! Disk snapshots by Amazon Data Lifecycle Manager, where Git data may be saved that way.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::Draft;
use crate::kinds::dlm::Policy;
use crate::kinds::ec2::SNAPSHOTS_TAG;
use crate::kinds::iam::{self, Grant, Target};
use crate::site::{Schedule, TimeOfDay};

/// The intervals that DLM knows, in hours
/// (<https://docs.aws.amazon.com/dlm/latest/APIReference/API_CreateRule.html>).
const INTERVALS: [u32; 8] = [1, 2, 3, 4, 6, 8, 12, 24];

/// DLM keeps 1,000 snapshots of a volume at most.
const MOST_KEPT: u32 = 1000;

/// A volume of a Gitaly Cluster is never saved alone: the three copies would not fit each other
/// (doc/administration/gitaly/praefect/_index.md).
pub(super) fn add(draft: &mut Draft<'_>) {
    let Some(mark) = draft.snapshots() else {
        return;
    };
    let Some((every_hours, time)) = rhythm(&draft.site.backup.schedule.snapshot, draft) else {
        return;
    };
    let keep = draft.site.backup.keep;
    let retain = if every_hours < 24 {
        keep.hourly
    } else {
        keep.daily
    };
    let role = role(draft);
    let spec = Policy {
        description: format!("Snapshots of the Git data of {}", draft.site.site.name),
        role,
        target_tags: BTreeMap::from([(SNAPSHOTS_TAG.to_owned(), mark)]),
        times: vec![time.to_string()],
        every_hours,
        retain: retain.clamp(1, MOST_KEPT),
    };
    draft.world.add("git-data", spec);
}

impl Draft<'_> {
    /// What marks the data volumes to be saved by snapshots; none where they must not be, or are not wanted.
    pub(super) fn snapshots(&self) -> Option<String> {
        let wanted = self.site.backup.dlm && self.site.backup.schedule.snapshot != Schedule::Off;
        (wanted && self.sizes.praefect.is_none()).then(|| self.site.site.name.to_string())
    }
}

/// Hours between two snapshots, and when the first of a day is taken, in UTC.
///
/// DLM knows no time zones and no daylight saving: the zone's time of January is used all year.
fn rhythm(schedule: &Schedule, draft: &Draft<'_>) -> Option<(u32, TimeOfDay)> {
    let gap = schedule.longest_gap_hours()?;
    let every = INTERVALS
        .into_iter()
        .rev()
        .find(|hours| *hours <= gap.max(1))
        .unwrap_or(1);
    let local = match schedule {
        Schedule::Daily(time) | Schedule::Weekly(_, time) | Schedule::Monthly(_, time) => *time,
        Schedule::Off | Schedule::Hourly | Schedule::Cron(_) => TimeOfDay { hour: 0, minute: 0 },
    };
    let zone = draft.site.backup.timezone.rules().unwrap_or(TimeZone::UTC);
    Some((every, in_utc(local, &zone).unwrap_or(local)))
}

fn in_utc(local: TimeOfDay, zone: &TimeZone) -> Option<TimeOfDay> {
    let (hour, minute) = (
        i8::try_from(local.hour).ok()?,
        i8::try_from(local.minute).ok()?,
    );
    let utc = jiff::civil::date(2026, 1, 15)
        .at(hour, minute, 0, 0)
        .to_zoned(zone.clone())
        .ok()?
        .with_time_zone(TimeZone::UTC);
    Some(TimeOfDay {
        hour: u8::try_from(utc.hour()).ok()?,
        minute: u8::try_from(utc.minute()).ok()?,
    })
}

/// What DLM may do: AWS's own list for snapshots
/// (<https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSDataLifecycleManagerServiceRole.html>).
fn role(draft: &mut Draft<'_>) -> crate::resource::Ref<iam::Role> {
    let grant = |sid: &str, actions: &[&str], on: Target| Grant::new(sid, actions, vec![on], &[]);
    let spec = iam::Role {
        name: draft.names.role("dlm"),
        path: iam::path(draft.site.site.name.as_str()),
        service: "dlm.amazonaws.com".to_owned(),
        grants: vec![
            grant(
                "Snapshots",
                &[
                    "ec2:CreateSnapshot",
                    "ec2:CreateSnapshots",
                    "ec2:DeleteSnapshot",
                    "ec2:DescribeInstances",
                    "ec2:DescribeSnapshots",
                    "ec2:DescribeVolumes",
                ],
                Target::Any,
            ),
            grant(
                "SnapshotTags",
                &["ec2:CreateTags"],
                Target::Arn("arn:aws:ec2:*::snapshot/*".to_owned()),
            ),
        ],
    };
    draft.world.add("dlm", spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_to_utc_by_the_zone_of_january() {
        let time = TimeOfDay {
            hour: 0,
            minute: 30,
        };
        let zone = |name: &str| TimeZone::get(name).unwrap();
        assert_eq!(in_utc(time, &zone("UTC")).unwrap(), time);
        assert_eq!(
            in_utc(time, &zone("Europe/Berlin")).unwrap(),
            TimeOfDay {
                hour: 23,
                minute: 30
            }
        );
        assert_eq!(
            in_utc(time, &zone("Asia/Kolkata")).unwrap(),
            TimeOfDay {
                hour: 19,
                minute: 0
            }
        );
    }
}
