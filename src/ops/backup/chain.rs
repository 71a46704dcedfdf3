//! Whether Gitaly's next backup is whole or an increment, and what it adds to. Pure.
//!
//! Gitaly takes an increment on top of whatever it backed up last, whichever id it is told
//! (doc/administration/backup_restore/backup_large_reference_architectures.md, and the ignored value of
//! `PREVIOUS_BACKUP`). So an attempt that broke off, or one that nobody can name, ends a chain: nothing may build on
//! steps that no manifest knows.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::ops::OpsFault;
use crate::ops::point::{
    Chain, Gitlab, Health, Listed, Outcome, PartName, PointId, Rank, Standing,
};

/// What is going to be taken, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Next {
    pub rank: Rank,
    /// The first point of the chain; none when this one begins it.
    pub first: Option<PointId>,
    /// The point that is added to, and the id of Gitaly's backup in it.
    pub previous: Option<(PointId, String)>,
    pub why: String,
}

impl Next {
    fn whole(why: impl Into<String>) -> Self {
        Self {
            rank: Rank::Whole,
            first: None,
            previous: None,
            why: why.into(),
        }
    }

    /// The place in the chain of the point `id`, whose backup `gitlab-backup` called `backup`.
    pub fn chain(&self, id: &PointId, backup: String) -> Chain {
        Chain {
            backup,
            first: self.first.clone().unwrap_or_else(|| id.clone()),
            previous: self.previous.as_ref().map(|(id, _)| id.clone()),
            rank: self.rank,
        }
    }
}

/// Decides for the point `me`, which `gitlab` writes. `points` are all there are, oldest first; months are those of `zone`. An increment that
/// was asked for and cannot be is refused.
pub fn next(
    points: &[Listed],
    me: &PointId,
    gitlab: &Gitlab,
    now: Timestamp,
    zone: &TimeZone,
    asked: Option<Rank>,
) -> Result<Next, OpsFault> {
    if asked == Some(Rank::Whole) {
        return Ok(Next::whole("asked for"));
    }
    match (usable(points, me, gitlab), asked) {
        (Err(why), Some(Rank::Increment)) => Err(OpsFault::refused(
            "an increment cannot be taken",
            why,
            "leave --increment out; the next one can be one again",
        )),
        (Err(why), _) => Ok(Next::whole(why)),
        (Ok(found), Some(_)) => Ok(found.next("asked for".to_owned())),
        (Ok(found), None) if month(found.began, zone) != month(now, zone) => Ok(Next::whole(
            "the first of a month is whole, so that chains do not grow for ever",
        )),
        (Ok(found), None) => {
            let why = format!("adds to {}", found.previous.0);
            Ok(found.next(why))
        }
    }
}

/// A chain that can be added to.
struct Found {
    first: PointId,
    /// When its first point was begun.
    began: Timestamp,
    previous: (PointId, String),
}

impl Found {
    fn next(self, why: String) -> Next {
        Next {
            rank: Rank::Increment,
            first: Some(self.first),
            previous: Some(self.previous),
            why,
        }
    }
}

/// The chain whose last step is what Gitaly wrote last, or why there is none.
fn usable(points: &[Listed], me: &PointId, gitlab: &Gitlab) -> Result<Found, String> {
    let newest = points
        .iter()
        .rev()
        .filter(|point| point.id != *me)
        .find(|point| touches(point))
        .ok_or("there is no earlier backup to add to")?;
    let manifest = newest
        .manifest()
        .ok_or_else(|| format!("what Gitaly wrote for {} is not known for sure", newest.id))?;
    let chain = manifest
        .chain()
        .ok_or_else(|| format!("the Git data of {} was not saved to its end", newest.id))?;
    // `gitlab-backup` unpacks the archive that it adds to, and takes none of another version.
    if manifest.gitlab != *gitlab {
        return Err(format!(
            "{} was written by GitLab {}, and this is {}",
            newest.id, manifest.gitlab.version, gitlab.version
        ));
    }
    let mut seen = BTreeSet::new();
    let mut at = &newest.id;
    loop {
        let step = points
            .iter()
            .find(|point| point.id == *at)
            .filter(|point| point.marks.dropping.is_none())
            .ok_or_else(|| format!("the step {at} of the last chain is gone"))?;
        if step
            .marks
            .verified
            .as_ref()
            .is_some_and(|verified| verified.outcome == Health::Faulty)
        {
            return Err(format!("the step {at} of the last chain was found faulty"));
        }
        let link = step
            .manifest()
            .and_then(|manifest| Some((manifest, manifest.chain()?)));
        let Some((step, link)) = link.filter(|(_, link)| link.first == chain.first) else {
            return Err(format!("the step {at} of the last chain cannot be read"));
        };
        match &link.previous {
            None if step.id == chain.first => {
                return Ok(Found {
                    first: chain.first.clone(),
                    began: step.began,
                    previous: (newest.id.clone(), chain.backup.clone()),
                });
            }
            Some(previous) if seen.insert(previous.clone()) => at = previous,
            _ => {
                return Err(format!(
                    "the last chain does not lead back to {}",
                    chain.first
                ));
            }
        }
    }
}

/// Whether Gitaly may have written something for this point.
fn touches(point: &Listed) -> bool {
    match &point.standing {
        Standing::Signed(manifest) => manifest.part(&PartName::Repositories).is_some_and(|part| {
            matches!(part.outcome, Outcome::Failed { .. }) || manifest.chain().is_some()
        }),
        Standing::Untrusted { .. } | Standing::Unfinished => true,
    }
}

fn month(at: Timestamp, zone: &TimeZone) -> (i16, i8) {
    let local = zone.to_datetime(at);
    (local.year(), local.month())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::backup::tests::{manifest, part};
    use crate::ops::point::{Manifest, Marks, ObjectIndex, Verified, Way};

    fn id(day: &str) -> PointId {
        format!("202611{day}T023000Z-1a2b3c").parse().unwrap()
    }

    fn server_side(chain: Chain) -> Way {
        Way::GitalyServerSide {
            bucket: "g".into(),
            archive_bucket: "b".into(),
            archive_key: "k".into(),
            archive_sha256: "0".into(),
            chain,
            index: ObjectIndex {
                key: "i".into(),
                sha256: "0".into(),
                count: 0,
                bytes: 0,
            },
        }
    }

    fn listed(manifest: Manifest) -> Listed {
        Listed {
            id: manifest.id.clone(),
            standing: Standing::Signed(Box::new(manifest)),
            marks: Marks::default(),
            doubts: vec![],
            keys: vec![],
        }
    }

    /// A chain from the first day, a point a day.
    fn chain(days: &[&str]) -> Vec<Listed> {
        let mut points = Vec::new();
        let mut previous = None;
        for day in days {
            let mut said = manifest(&id(day));
            said.began = format!("2026-11-{day}T02:30:00Z").parse().unwrap();
            let link = Chain {
                backup: format!("b{day}"),
                first: id(days[0]),
                previous: previous.clone(),
                rank: if previous.is_none() {
                    Rank::Whole
                } else {
                    Rank::Increment
                },
            };
            said.parts = vec![part(
                PartName::Repositories,
                Outcome::Saved(server_side(link)),
            )];
            previous = Some(id(day));
            points.push(listed(said));
        }
        points
    }

    fn decide(points: &[Listed], now: &str, asked: Option<Rank>) -> Result<Next, OpsFault> {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let me = "20261130T233000Z-ffffff".parse().unwrap();
        let gitlab = manifest(&me).gitlab;
        next(points, &me, &gitlab, now.parse().unwrap(), &zone, asked)
    }

    const NOW: &str = "2026-11-20T02:30:00Z";

    #[test]
    fn an_increment_adds_to_the_newest_step() {
        let points = chain(&["01", "02", "03"]);
        let found = decide(&points, NOW, None).unwrap();
        assert_eq!(found.rank, Rank::Increment);
        assert_eq!(found.first, Some(id("01")));
        assert_eq!(found.previous, Some((id("03"), "b03".into())));
    }

    #[test]
    fn the_first_of_a_month_is_whole_by_the_sites_own_calendar() {
        let points = chain(&["01", "30"]);
        // 1 December in Berlin, and still 30 November in UTC.
        let found = decide(&points, "2026-11-30T23:30:00Z", None).unwrap();
        assert_eq!(found.rank, Rank::Whole);
        let found = decide(&points, "2026-11-30T22:30:00Z", None).unwrap();
        assert_eq!(found.rank, Rank::Increment);
    }

    #[test]
    fn what_was_asked_for_is_done_or_refused() {
        let points = chain(&["01", "02"]);
        let whole = decide(&points, NOW, Some(Rank::Whole)).unwrap();
        assert_eq!((whole.rank, whole.previous), (Rank::Whole, None));
        // Also over the end of a month.
        let later = "2026-12-20T00:00:00Z";
        let more = decide(&points, later, Some(Rank::Increment)).unwrap();
        assert_eq!(more.rank, Rank::Increment);
        let refused = decide(&[], NOW, Some(Rank::Increment)).unwrap_err();
        assert!(
            refused.to_string().contains("no earlier backup"),
            "{refused}"
        );
    }

    #[test]
    fn a_chain_with_a_doubtful_end_is_not_added_to() {
        let broken = |change: fn(&mut Vec<Listed>)| {
            let mut points = chain(&["01", "02", "03"]);
            change(&mut points);
            let found = decide(&points, NOW, None).unwrap();
            assert_eq!(found.rank, Rank::Whole, "{}", found.why);
            found.why
        };
        // A later attempt that broke off, or failed, may have left steps that no manifest knows.
        let why = broken(|points| points[2].standing = Standing::Unfinished);
        assert!(why.contains("not known for sure"), "{why}");
        let why = broken(|points| {
            let mut said = points[2].manifest().unwrap().clone();
            said.parts[0].outcome = Outcome::Failed { why: "x".into() };
            points[2].standing = Standing::Signed(Box::new(said));
        });
        assert!(why.contains("not saved to its end"), "{why}");
        let why = broken(|points| {
            points.remove(1);
        });
        assert!(why.contains("is gone"), "{why}");
        // An upgrade in between.
        let why = broken(|points| {
            let mut said = points[2].manifest().unwrap().clone();
            said.gitlab.version = "19.4.9".into();
            points[2].standing = Standing::Signed(Box::new(said));
        });
        assert!(why.contains("was written by GitLab 19.4.9"), "{why}");
        let why = broken(|points| {
            points[0].marks.verified = Some(Verified {
                at: NOW.parse().unwrap(),
                share: 100,
                outcome: Health::Faulty,
                findings: vec!["x".into()],
            });
        });
        assert!(why.contains("found faulty"), "{why}");
    }

    #[test]
    fn points_without_git_data_and_incomplete_ones_do_not_end_a_chain() {
        let mut points = chain(&["01", "02", "03"]);
        let mut said = points[2].manifest().unwrap().clone();
        said.whole = false;
        points[2].standing = Standing::Signed(Box::new(said));
        let mut other = manifest(&id("04"));
        other.parts = vec![];
        points.push(listed(other));
        let found = decide(&points, NOW, None).unwrap();
        assert_eq!(found.previous, Some((id("03"), "b03".into())));
    }
}
