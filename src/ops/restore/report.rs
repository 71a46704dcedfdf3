//! What a restore came to: how long it took, what GitLab says of itself, what was set aside.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::Story;
use super::super::point::{Manifest, PointId};
use super::checks::{Checked, Compared};
use super::database::Swapped;

/// The proof of a restore. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub point: PointId,
    /// The site that was restored onto.
    pub site: String,
    pub began: Timestamp,
    pub ended: Timestamp,
    /// From the beginning to started workers: the measured recovery time, in seconds.
    pub rto_seconds: u64,
    /// How much work was lost at the most: from the moment of the point to the beginning of the restore, in seconds.
    pub rpo_seconds: u64,
    pub stages: Vec<StageTime>,
    pub checks: Vec<Checked>,
    pub compared: Compared,
    /// What was replaced and kept: what it was, and what it is called now.
    pub set_aside: BTreeMap<String, String>,
    /// Whether every check was good and every compared repository the same.
    pub sound: bool,
}

/// How long a stage took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    pub stage: String,
    pub seconds: u64,
}

/// The report of a restore that came to its end; none before.
pub fn report(story: &Story, manifest: &Manifest, site: &str) -> Option<Report> {
    fn of<T: serde::de::DeserializeOwned>(story: &Story, stage: &str) -> Option<T> {
        serde_json::from_value(story.output(stage)?.clone()).ok()
    }
    let began = story.began?;
    let at = |stage: &str| Some(story.stages.get(stage)?.done.as_ref()?.1);
    let seconds = |from: Timestamp, to: Timestamp| {
        let time: Duration = to.duration_since(from).try_into().unwrap_or_default();
        time.as_secs()
    };
    let checks: Vec<Checked> = of(story, "checks")?;
    let compared: Compared = of(story, "compare")?;
    let mut set_aside = BTreeMap::new();
    if let Some(swapped) = of::<Swapped>(story, "database") {
        set_aside.extend(swapped.aside.map(|name| ("the database".to_owned(), name)));
    }
    if let Some(volumes) = of::<BTreeMap<String, String>>(story, "volumes") {
        let volumes = volumes.into_iter();
        set_aside.extend(volumes.map(|(node, id)| (format!("the volume of {node}"), id)));
    }
    let mut stages: Vec<(Timestamp, StageTime)> = story
        .stages
        .iter()
        .filter_map(|(stage, told)| {
            let started = told.started?;
            let time = StageTime {
                stage: stage.clone(),
                seconds: seconds(started, told.done.as_ref()?.1),
            };
            Some((started, time))
        })
        .collect();
    stages.sort_by(|a, b| (a.0, &a.1.stage).cmp(&(b.0, &b.1.stage)));
    let ended = at("checks")?.max(at("compare")?);
    Some(Report {
        point: manifest.id.clone(),
        site: site.to_owned(),
        began,
        ended,
        rto_seconds: seconds(began, at("start")?),
        rpo_seconds: seconds(manifest.began, began),
        sound: checks.iter().all(|check| check.ok) && compared.differing.is_empty(),
        stages: stages.into_iter().map(|(_, time)| time).collect(),
        checks,
        compared,
        set_aside,
    })
}
