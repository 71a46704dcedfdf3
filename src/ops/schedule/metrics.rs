//! What Prometheus may read: a file for the textfile collector of `node_exporter`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;

use super::Standing;
use crate::site::Rpo;

/// The standing of a site's schedules in Prometheus' text format. `newest` is the newest whole point, and `drilled` when
/// a drill last showed that one restores; without one, as without any record, the line is left out, so that alerts must
/// ask with `absent()`.
pub fn textfile(
    site: &str,
    standings: &[Standing],
    newest: Option<Timestamp>,
    drilled: Option<Timestamp>,
    rpo: Rpo,
) -> String {
    let each = |value: &dyn Fn(&Standing) -> Option<f64>| -> Vec<(String, f64)> {
        let with = standings.iter().filter_map(|standing| {
            let labels = format!("site=\"{site}\",schedule=\"{}\"", standing.name);
            Some((labels, value(standing)?))
        });
        with.collect()
    };
    let whole = |value: Option<f64>| -> Vec<(String, f64)> {
        let labels = format!("site=\"{site}\"");
        value.map(|value| (labels, value)).into_iter().collect()
    };
    let ended = |standing: &Standing| standing.last.clone()?.ended;
    let families = [
        (
            "gantry_schedule_last_run_success",
            "Whether the last run that ended went well.",
            each(&|s| Some(f64::from(u8::from(ended(s)?.good())))),
        ),
        (
            "gantry_schedule_last_run_duration_seconds",
            "How long the last run took.",
            each(&|s| Some(s.last.as_ref()?.took()?.as_secs_f64())),
        ),
        (
            "gantry_schedule_last_run_end_timestamp_seconds",
            "When the last run ended.",
            each(&|s| Some(seconds(ended(s)?.at))),
        ),
        (
            "gantry_schedule_last_success_timestamp_seconds",
            "When a run last ended well.",
            each(&|s| s.last_good.map(seconds)),
        ),
        (
            "gantry_schedule_next_run_timestamp_seconds",
            "When the next run is due.",
            each(&|s| s.next.first().copied().map(seconds)),
        ),
        (
            "gantry_last_good_point_timestamp_seconds",
            "When the newest whole recovery point was begun.",
            whole(newest.map(seconds)),
        ),
        (
            "gantry_last_good_drill_timestamp_seconds",
            "When a drill last showed that a recovery point restores.",
            whole(drilled.map(seconds)),
        ),
        (
            "gantry_recovery_point_objective_seconds",
            "How old the newest recovery point may be.",
            whole(Some(f64::from(rpo.minutes) * 60.0)),
        ),
    ];
    let mut text = String::new();
    for (name, help, samples) in families {
        if samples.is_empty() {
            continue;
        }
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for (labels, value) in samples {
            text.push_str(&format!("{name}{{{labels}}} {value}\n"));
        }
    }
    text
}

/// Whole seconds: exact until long after the last calendar.
#[expect(
    clippy::cast_precision_loss,
    reason = "seconds since 1970 need 33 of the 52 bits"
)]
fn seconds(at: Timestamp) -> f64 {
    at.as_second() as f64
}

/// Writes the file in one step: the collector sees the old one or the new one.
pub fn write_textfile(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder)?;
    }
    // The collector reads only names that end in .prom.
    let new = path.with_extension("prom.new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.sync_data()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::super::{Ended, Name, Turn};
    use super::*;

    #[test]
    fn the_collector_s_format() {
        let at = |second: i64| Timestamp::new(1_790_000_000 + second, 0).unwrap();
        let full = Standing {
            name: Name::Full,
            schedule: "daily 02:30".into(),
            next: vec![at(86_400)],
            last: Some(Turn {
                run: "a".into(),
                due: Some(at(0)),
                missed: 0,
                began: at(60),
                ended: Some(Ended {
                    at: at(360),
                    exit: 4,
                    why: Some("denied \"words\"\n".into()),
                }),
            }),
            last_good: None,
            overdue: None,
        };
        let off = Standing {
            name: Name::Verify,
            schedule: "off".into(),
            next: vec![],
            last: None,
            last_good: None,
            overdue: None,
        };
        let rpo = Rpo { minutes: 60 };
        let text = textfile("acme", &[full, off], Some(at(-3600)), Some(at(-7200)), rpo);
        insta::assert_snapshot!(text, @r#"
        # HELP gantry_schedule_last_run_success Whether the last run that ended went well.
        # TYPE gantry_schedule_last_run_success gauge
        gantry_schedule_last_run_success{site="acme",schedule="full"} 0
        # HELP gantry_schedule_last_run_duration_seconds How long the last run took.
        # TYPE gantry_schedule_last_run_duration_seconds gauge
        gantry_schedule_last_run_duration_seconds{site="acme",schedule="full"} 300
        # HELP gantry_schedule_last_run_end_timestamp_seconds When the last run ended.
        # TYPE gantry_schedule_last_run_end_timestamp_seconds gauge
        gantry_schedule_last_run_end_timestamp_seconds{site="acme",schedule="full"} 1790000360
        # HELP gantry_schedule_next_run_timestamp_seconds When the next run is due.
        # TYPE gantry_schedule_next_run_timestamp_seconds gauge
        gantry_schedule_next_run_timestamp_seconds{site="acme",schedule="full"} 1790086400
        # HELP gantry_last_good_point_timestamp_seconds When the newest whole recovery point was begun.
        # TYPE gantry_last_good_point_timestamp_seconds gauge
        gantry_last_good_point_timestamp_seconds{site="acme"} 1789996400
        # HELP gantry_last_good_drill_timestamp_seconds When a drill last showed that a recovery point restores.
        # TYPE gantry_last_good_drill_timestamp_seconds gauge
        gantry_last_good_drill_timestamp_seconds{site="acme"} 1789992800
        # HELP gantry_recovery_point_objective_seconds How old the newest recovery point may be.
        # TYPE gantry_recovery_point_objective_seconds gauge
        gantry_recovery_point_objective_seconds{site="acme"} 3600
        "#);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics/gantry-acme.prom");
        for _ in 0..2 {
            write_textfile(&path, &text).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
