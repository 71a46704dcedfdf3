//! Who is told: the site's topic for alarms, and CloudWatch.

use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use aws_smithy_types::DateTime;
use jiff::Timestamp;

use super::{Name, Objective, Turn};
use crate::blueprint::METRICS;
use crate::cloud::Fault;
use crate::resource::{CloudCx, Outputs};

/// SNS takes no longer subject, and only ASCII in it
/// (<https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>).
const LONGEST_SUBJECT: usize = 100;

/// Something to tell people. Holds no secret: faults have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub subject: String,
    pub text: String,
}

impl Message {
    /// What to say about a turn, or nothing: it went well, and no more would be lost than is allowed.
    pub fn about(
        site: &str,
        name: Name,
        turn: &Turn,
        standing: &Objective,
        rpo: &str,
    ) -> Option<Self> {
        let mut lines = Vec::new();
        let failed = turn.ended.as_ref().filter(|ended| !ended.good());
        if let Some(ended) = failed {
            lines.push(format!(
                "{} of the site {site} ended with exit code {} at {}.",
                name.verb(),
                ended.exit,
                ended.at
            ));
            lines.extend(ended.why.clone());
        }
        if standing.missed() {
            lines.push(match standing.age() {
                Some(age) => format!(
                    "The newest whole recovery point is {} minutes old; the site file allows {rpo}.",
                    age.as_secs() / 60
                ),
                None => format!(
                    "There is no whole recovery point; the site file allows to lose {rpo} of work."
                ),
            });
        }
        if lines.is_empty() {
            return None;
        }
        lines.push(format!(
            "`gantry schedule show` says how things stand, and `journalctl -u gantry-{site}-{name}` on the appliance \
             host what the run said."
        ));
        let what = match failed {
            Some(_) => format!("{name} failed"),
            None => "recovery point objective missed".to_owned(),
        };
        Some(Self::new(
            &format!("gantry {site}: {what}"),
            lines.join("\n"),
        ))
    }

    /// The unit of a schedule failed, and gantry itself could not say so: killed, or not there.
    pub fn silent_end(site: &str, name: Name, last: Option<&Turn>) -> Self {
        let began = match last {
            Some(turn) => format!(
                "The run {} began at {} and has no end.",
                turn.run, turn.began
            ),
            None => "No run is recorded.".to_owned(),
        };
        let text = format!(
            "The timer's run of {} on the site {site} failed without a word.\n{began}\n\
             `journalctl -u gantry-{site}-{name}` on the appliance host has what systemd saw.",
            name.verb()
        );
        Self::new(&format!("gantry {site}: {name} ended without a word"), text)
    }

    fn new(subject: &str, text: String) -> Self {
        let plain = subject
            .chars()
            .filter(|c| c.is_ascii() && !c.is_ascii_control());
        Self {
            subject: plain.take(LONGEST_SUBJECT).collect(),
            text,
        }
    }
}

/// The topic that the blueprint makes for alarms; none where `[monitoring] alarms` is off.
pub fn topic_arn(outputs: &Outputs) -> Option<String> {
    let address = "sns/topic:alarms".parse().ok()?;
    let arn = outputs.0.get(&address)?.get("arn")?;
    arn.as_str().map(ToOwned::to_owned)
}

/// Tells everybody who is subscribed. Sent twice rather than not at all.
pub async fn publish(cx: &CloudCx, topic: &str, message: &Message) -> Result<(), Fault> {
    cx.put("sns:Publish", || {
        let publish = cx.aws().sns.publish().topic_arn(topic);
        publish
            .subject(&message.subject)
            .message(&message.text)
            .send()
    })
    .await?;
    Ok(())
}

/// Puts a turn's measures into CloudWatch: `Success` (0 or 1) and `Duration` by site and schedule, `AgeOfLastGoodPoint`
/// by site. Times are in seconds.
pub async fn measure(
    cx: &CloudCx,
    name: Name,
    turn: &Turn,
    standing: &Objective,
    now: Timestamp,
) -> Result<(), Fault> {
    let mut data = Vec::new();
    let site = || dimension("Site", cx.site());
    let datum = |metric: &str, unit: StandardUnit, value: f64| {
        MetricDatum::builder()
            .metric_name(metric)
            .unit(unit)
            .value(value)
            .timestamp(DateTime::from_secs(now.as_second()))
    };
    let of_turn = [
        (
            "Success",
            StandardUnit::None,
            turn.ended.as_ref().map(|e| f64::from(u8::from(e.good()))),
        ),
        (
            "Duration",
            StandardUnit::Seconds,
            turn.took().map(|took| took.as_secs_f64()),
        ),
    ];
    for (metric, unit, value) in of_turn {
        if let Some(value) = value {
            let datum = datum(metric, unit, value);
            data.push(
                datum
                    .dimensions(site())
                    .dimensions(dimension("Schedule", name.as_str()))
                    .build(),
            );
        }
    }
    if let Some(age) = standing.age() {
        let datum = datum(
            "AgeOfLastGoodPoint",
            StandardUnit::Seconds,
            age.as_secs_f64(),
        );
        data.push(datum.dimensions(site()).build());
    }
    // CloudWatch refuses to be told nothing.
    if data.is_empty() {
        return Ok(());
    }
    cx.put("cloudwatch:PutMetricData", || {
        let put = cx.aws().cloudwatch.put_metric_data().namespace(METRICS);
        put.set_metric_data(Some(data.clone())).send()
    })
    .await?;
    Ok(())
}

fn dimension(name: &str, value: &str) -> Dimension {
    Dimension::builder().name(name).value(value).build()
}

#[cfg(test)]
mod tests {
    use super::super::Ended;
    use super::*;

    fn turn(exit: u8, why: Option<&str>) -> Turn {
        let at = |text: &str| text.parse().unwrap();
        Turn {
            run: "20260320T013100Z-1a2b3c".into(),
            due: None,
            missed: 0,
            began: at("2026-03-20T01:31:00Z"),
            ended: Some(Ended {
                at: at("2026-03-20T01:41:00Z"),
                exit,
                why: why.map(Into::into),
            }),
        }
    }

    #[test]
    fn nobody_is_told_that_all_is_well() {
        let kept = Objective::Kept { age_seconds: 60 };
        for standing in [kept, Objective::Unknown] {
            assert_eq!(
                Message::about("acme", Name::Full, &turn(0, None), &standing, "1h"),
                None
            );
        }
    }

    #[test]
    fn a_failure_says_what_and_why() {
        let turn = turn(4, Some("ec2:CreateSnapshots was denied"));
        let missed = Objective::Missed { age_seconds: 7_260 };
        let said = Message::about("acme", Name::Snapshot, &turn, &missed, "1h").unwrap();
        insta::assert_snapshot!(format!("{}\n\n{}", said.subject, said.text), @r"
        gantry acme: snapshot failed

        gantry snapshot create of the site acme ended with exit code 4 at 2026-03-20T01:41:00Z.
        ec2:CreateSnapshots was denied
        The newest whole recovery point is 121 minutes old; the site file allows 1h.
        `gantry schedule show` says how things stand, and `journalctl -u gantry-acme-snapshot` on the appliance host what the run said.
        ");
        let late = Message::about(
            "acme",
            Name::Full,
            &self::turn(0, None),
            &Objective::NoPoint,
            "1h",
        );
        assert_eq!(
            late.unwrap().subject,
            "gantry acme: recovery point objective missed"
        );
    }

    #[test]
    fn a_subject_is_short_and_plain() {
        let message = Message::new(&format!("ä\n{}", "x".repeat(200)), String::new());
        assert_eq!(message.subject, "x".repeat(100));
    }
}
