//! Schedules: the same times as systemd's, units that systemd takes, and putting them on the appliance host.

use std::collections::BTreeSet;
use std::process::Command;

use gantry::blueprint::Role;
use gantry::ops::schedule::{
    Binary, Calendar, Ended, Layout, Message, Name, Objective, Placed, Placing, Program, Turn,
    Unit, measure, objective, place, publish, remove, topic_arn, units,
};
use gantry::ops::{Hosts, Played};
use gantry::profile::ProfileName;
use gantry::secret::Secret;
use gantry::shell::recorder::{Answer, Effect, Recorder};
use gantry::site::{Rpo, Schedule, Site};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::support::Place;
use crate::support::stage::{Stage, site};

/// Zones of every habit: half hours, quarters, midnight changes, two hours at once, Ramadan, none at all.
const ZONES: [&str; 25] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "Atlantic/Azores",
    "America/New_York",
    "America/Los_Angeles",
    "America/St_Johns",
    "America/Havana",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/Nuuk",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Jerusalem",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Antarctica/Troll",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Pacific/Auckland",
    "Pacific/Chatham",
];

/// How many runs of each schedule are compared.
const RUNS: usize = 5;

/// The same numbers in every run (xorshift64*; Vigna, "An experimental exploration of Marsaglia's xorshift generators").
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % most
    }

    fn signed(&mut self, most: i64) -> i64 {
        i64::try_from(self.below(u64::try_from(most).unwrap())).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    fn schedule(&mut self) -> String {
        let time = format!("{:02}:{:02}", self.below(24), self.below(60));
        let night = format!("{:02}:{:02}", self.below(4), 15 * self.below(4));
        match self.below(8) {
            0 => "hourly".into(),
            1 => format!("daily {time}"),
            2 => format!("daily {night}"),
            3 => format!("weekly {} {night}", self.one(&["mon", "sat", "sun"])),
            4 => format!("monthly {} {time}", 1 + self.below(28)),
            _ => format!(
                "{} {} {} {} {}",
                self.one(&["0", "30", "*/15", "5-20/5", "59", "*", "1,2,3,30"]),
                self.one(&["*", "2", "1-3", "*/6", "0", "23", "0,2,12"]),
                self.one(&["*", "*", "*", "1", "1,15,29", "31", "25-31", "*/2"]),
                self.one(&["*", "*", "*", "3", "10,11", "2", "1-6"]),
                self.one(&["*", "*", "*", "0", "7", "1-5", "6,0", "*/3"]),
            ),
        }
    }

    /// A moment within days of a change of the clocks, mostly.
    fn moment(&mut self, zone: &TimeZone) -> Timestamp {
        let day = 24 * 3600;
        let from = Timestamp::new(1_735_689_600 + self.signed(1100 * day), 0).unwrap();
        let change = zone.following(from).next().map(|change| change.timestamp());
        let near = [
            -self.signed(3600),
            self.signed(3600),
            -self.signed(4) * 900,
            -self.signed(3 * day),
            -self.signed(40 * day),
        ];
        let seconds = near[usize::try_from(self.below(5)).unwrap()];
        change.unwrap_or(from) + SignedDuration::from_secs(seconds)
    }
}

fn calendar(schedule: &str, zone: &str) -> Calendar {
    let schedule: Schedule = schedule.parse().unwrap();
    let calendar = Calendar::of(&schedule, &zone.parse().unwrap());
    calendar.unwrap().unwrap()
}

/// What `systemd-analyze calendar` says of each expression.
fn systemd(expressions: &[String], base: Timestamp) -> Vec<Vec<Timestamp>> {
    let said = Command::new("systemd-analyze")
        .arg("calendar")
        .arg(format!("--iterations={RUNS}"))
        .arg(format!("--base-time=@{}", base.as_second()))
        .args(expressions)
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .output()
        .expect("install systemd: systemd-analyze is what schedules are compared with");
    let text = String::from_utf8(said.stdout).unwrap();
    let mut all: Vec<Vec<Timestamp>> = Vec::new();
    for line in text.lines() {
        let Some((what, value)) = line.trim().split_once(": ") else {
            continue;
        };
        if what == "Normalized form" {
            all.push(vec![]);
        }
        if what == "Next elapse" || what.starts_with("Iter. #") {
            let words: Vec<&str> = value.split(' ').collect();
            if let [_, date, time, "UTC"] = words.as_slice() {
                let moment = format!("{date}T{time}Z").parse().unwrap();
                all.last_mut().unwrap().push(moment);
            } else {
                assert_eq!(value, "never", "{text}");
            }
        }
    }
    let errors = String::from_utf8_lossy(&said.stderr);
    assert_eq!(all.len(), expressions.len(), "{errors}\n{text}");
    all
}

#[test]
fn a_thousand_schedules_run_when_systemd_says() {
    let mut dice = Dice(0x6761_6e74_7279);
    let mut wrong = Vec::new();
    let (mut compared, mut never) = (0, 0);
    for round in 0..125 {
        let name = ZONES[round % ZONES.len()];
        let base = dice.moment(&TimeZone::get(name).unwrap());
        let schedules: Vec<String> = (0..8).map(|_| dice.schedule()).collect();
        let calendars: Vec<Calendar> = schedules.iter().map(|s| calendar(s, name)).collect();
        let lines: Vec<String> = calendars.iter().flat_map(Calendar::expressions).collect();
        let mut said = systemd(&lines, base).into_iter();
        for (schedule, calendar) in schedules.iter().zip(&calendars) {
            let theirs: BTreeSet<Timestamp> = said
                .by_ref()
                .take(calendar.expressions().len())
                .flatten()
                .collect();
            let theirs: Vec<Timestamp> = theirs.into_iter().take(RUNS).collect();
            let ours: Vec<Timestamp> = calendar.runs(base).take(RUNS).collect();
            compared += 1;
            never += usize::from(ours.is_empty());
            if ours != theirs {
                wrong.push(format!(
                    "{schedule} {name} after {base}:\n  ours   {ours:?}\n  theirs {theirs:?}"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {compared}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(compared, 1000);
    assert!(
        never < 100,
        "{never} never run: the schedules say too little"
    );
}

fn box_site() -> Site {
    let mut site = site(ProfileName::SingleBox);
    site.backup.timezone = "Europe/Berlin".parse().unwrap();
    site.backup.schedule.verify = "30 4 1,15 * 0".parse().unwrap();
    site
}

fn units_of(site: &Site, layout: &Layout) -> Vec<Unit> {
    units(site, layout).unwrap()
}

#[test]
fn systemd_takes_the_units() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new("acme", "box-1");
    // systemd wants the program to be there.
    layout.binary = "/bin/true".into();
    let units = units_of(&box_site(), &layout);
    let mut paths = Vec::new();
    for unit in &units {
        let path = dir.path().join(&unit.name);
        std::fs::write(&path, &unit.content).unwrap();
        paths.push(path);
    }
    assert_eq!(paths.len(), 9);
    let said = Command::new("systemd-analyze")
        .arg("verify")
        .args(&paths)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{text}");
    assert_eq!(text, "", "systemd warns");
    // A unit that systemd does not take is seen.
    let timer = dir.path().join("gantry-acme-full.timer");
    std::fs::write(&timer, "[Timer]\nOnCalendar=daily 02:30\n").unwrap();
    let said = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&timer)
        .output()
        .unwrap();
    assert!(!said.stderr.is_empty());
}

/// The host's own role may not make a site: its administrator names another one, for this unit alone.
#[test]
fn only_drills_may_be_given_another_role() {
    let units = units_of(&box_site(), &Layout::new("acme", "box-1"));
    let given: Vec<&str> = units
        .iter()
        .filter(|unit| {
            unit.content
                .contains("EnvironmentFile=-/etc/gantry/drill.env")
        })
        .map(|unit| unit.name.as_str())
        .collect();
    assert_eq!(given, ["gantry-acme-drill.service"]);
}

#[test]
fn the_units_as_they_are_written() {
    let layout = Layout::new("acme", "box-1");
    let units = units_of(&box_site(), &layout);
    let text: Vec<String> = units
        .iter()
        .filter(|unit| !unit.name.contains("snapshot"))
        .map(|unit| format!("== {}\n{}", unit.name, unit.content))
        .collect();
    insta::assert_snapshot!(text.join("\n"));
}

const PROGRAM: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn placing(site: &Site) -> Placing {
    let layout = Layout::new("acme", "bastion");
    Placing {
        units: units_of(site, &layout),
        layout,
        site_file: "[site]\nname = \"acme\"\n".into(),
        journal: Some(b"{}\n".to_vec()),
        program: Program {
            sha256: PROGRAM.into(),
            from: Binary::Url(Secret::new(
                "https://s3.example/?X-Amz-Signature=canary".into(),
            )),
        },
    }
}

/// A bastion and one node, both new.
fn machines() -> (Recorder, Played) {
    let recorder = Recorder::new();
    let key = "ssh-ed25519 AAAA gantry-schedule-acme\n";
    recorder
        .on("bastion", "prepare the user gantry")
        .answer(Answer::out(key));
    recorder
        .on("bastion", "sha256sum *")
        .answer(Answer::code(1, "no such file"));
    recorder
        .on("bastion", "test -e *")
        .answer(Answer::code(1, ""));
    recorder
        .on("bastion", "systemctl is-active *")
        .answer(Answer::code(3, ""));
    let hosts = Played::default()
        .with(Role::Bastion, recorder.shell("bastion"))
        .with(Role::Sidekiq, recorder.shell("sidekiq-1"));
    (recorder, hosts)
}

/// The bastion after an install.
fn is_placed(recorder: &Recorder) {
    let sum = format!("{PROGRAM}  /opt/gantry/acme/gantry\n");
    recorder
        .on("bastion", "sha256sum *")
        .answer(Answer::out(sum));
    recorder
        .on("bastion", "systemctl is-active *")
        .answer(Answer::out(""));
}

#[tokio::test]
async fn timers_are_placed_once() {
    let (recorder, hosts) = machines();
    let host = hosts.shell("bastion").unwrap();
    let wanted = placing(&box_site());
    let changes = wanted.look(host.as_ref()).await.unwrap();
    assert!(
        !recorder
            .effects()
            .iter()
            .any(|e| matches!(e, Effect::Put { .. })),
        "looking writes nothing"
    );
    // The program, the site file, the journal, nine units; four timers to start.
    assert_eq!(changes.len(), 16, "{changes:?}");
    place(&wanted, &changes, host.as_ref(), &hosts)
        .await
        .unwrap();
    let ran = recorder.ran("bastion");
    for expected in [
        "fetch gantry",
        "systemctl daemon-reload",
        "systemctl enable gantry-acme-snapshot.timer gantry-acme-full.timer gantry-acme-verify.timer gantry-acme-drill.timer",
        "let the appliance host in",
    ] {
        assert!(
            ran.iter().any(|title| title == expected),
            "{expected}: {ran:?}"
        );
    }
    assert_eq!(recorder.ran("sidekiq-1"), ["let the appliance host in"]);
    for effect in recorder.effects() {
        if let Effect::Ran { said, .. } = &effect {
            assert!(
                !said.contains("canary"),
                "an address that opens the bucket is in {said}"
            );
        }
        if let Effect::Put { path, content, .. } = &effect {
            assert!(!content.contains("canary"), "{path}");
        }
    }

    is_placed(&recorder);
    let changes = wanted.look(host.as_ref()).await.unwrap();
    assert!(changes.is_empty(), "{changes:?}");
    let before = recorder.effects().len();
    place(&wanted, &changes, host.as_ref(), &hosts)
        .await
        .unwrap();
    let again: Vec<String> = recorder.effects()[before..]
        .iter()
        .map(|effect| match effect {
            Effect::Ran { title, .. } => title.clone(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        again,
        [
            "prepare the user gantry",
            "let the appliance host in",
            "let the appliance host in"
        ]
    );
}

#[tokio::test]
async fn a_schedule_that_is_switched_off_loses_its_timer() {
    let (recorder, hosts) = machines();
    let host = hosts.shell("bastion").unwrap();
    let wanted = placing(&box_site());
    let changes = wanted.look(host.as_ref()).await.unwrap();
    place(&wanted, &changes, host.as_ref(), &hosts)
        .await
        .unwrap();
    is_placed(&recorder);
    let mut site = box_site();
    site.backup.schedule.verify = Schedule::Off;
    site.backup.schedule.full = "daily 03:45".parse().unwrap();
    recorder
        .on(
            "bastion",
            "test -e /etc/systemd/system/gantry-acme-verify.*",
        )
        .answer(Answer::out(""));
    let wanted = placing(&site);
    let changes = wanted.look(host.as_ref()).await.unwrap();
    let units = "/etc/systemd/system/gantry-acme-";
    let said: Vec<(String, Placed)> = changes
        .iter()
        .map(|change| (change.what.replace(units, ""), change.how))
        .collect();
    assert_eq!(
        said,
        [
            ("full.timer".to_owned(), Placed::Changed),
            ("verify.service".to_owned(), Placed::Removed),
            ("verify.timer".to_owned(), Placed::Removed),
        ]
    );
    place(&wanted, &changes, host.as_ref(), &hosts)
        .await
        .unwrap();
    let ran = recorder.ran("bastion");
    let at = |title: &str| {
        ran.iter()
            .position(|ran| ran == title)
            .unwrap_or_else(|| panic!("{title}: {ran:?}"))
    };
    let disabled = at("systemctl disable --now gantry-acme-verify.timer");
    let gone = at(
        "rm -f -- /etc/systemd/system/gantry-acme-verify.service /etc/systemd/system/gantry-acme-verify.timer",
    );
    assert!(disabled < gone);
}

#[tokio::test]
async fn remove_takes_away_what_install_wrote() {
    let (recorder, hosts) = machines();
    let host = hosts.shell("bastion").unwrap();
    let layout = Layout::new("acme", "bastion");
    let nothing = remove(&layout, host.as_ref(), &hosts, true).await.unwrap();
    assert!(nothing.is_empty(), "{nothing:?}");
    recorder.on("bastion", "test -e *").answer(Answer::out(""));
    let shown = remove(&layout, host.as_ref(), &hosts, false).await.unwrap();
    // Nine units, the site file and the program.
    assert_eq!(shown.len(), 11);
    assert!(
        !recorder
            .ran("bastion")
            .iter()
            .any(|title| title.starts_with("rm "))
    );
    let gone = remove(&layout, host.as_ref(), &hosts, true).await.unwrap();
    assert_eq!(gone, shown);
    let ran = recorder.ran("bastion");
    let rm = ran.iter().find(|title| title.starts_with("rm ")).unwrap();
    let written: BTreeSet<String> = placing(&box_site())
        .units
        .iter()
        .map(|unit| format!("/etc/systemd/system/{}", unit.name))
        .chain([
            "/opt/gantry/acme/gantry".into(),
            "/etc/opt/gantry/acme.toml".into(),
        ])
        .collect();
    let removed: BTreeSet<String> = rm.split(' ').skip(3).map(ToOwned::to_owned).collect();
    assert_eq!(removed, written);
    for name in Name::ALL {
        assert!(
            ran.iter()
                .any(|t| t.contains(&layout.timer(name)) && t.contains("disable"))
        );
    }
    assert!(
        recorder
            .ran("sidekiq-1")
            .contains(&"shut the appliance host out".to_owned())
    );
}

fn failed_turn() -> Turn {
    let at = |text: &str| text.parse().unwrap();
    Turn {
        run: "20260922T023000Z-1a2b3c".into(),
        due: Some(at("2026-09-22T02:30:00Z")),
        missed: 0,
        began: at("2026-09-22T02:31:00Z"),
        ended: Some(Ended {
            at: at("2026-09-22T02:41:00Z"),
            exit: 4,
            why: Some("AWS refused".into()),
        }),
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_reaches_the_topic_and_cloudwatch() {
    let stage = Stage::new(ProfileName::SingleBox);
    stage.install().await;
    let session = stage.session().await.unwrap();
    let cx = &session.cx;
    let topic = topic_arn(&session.store.state().outputs()).unwrap();
    let turn = failed_turn();
    let ended = turn.ended.as_ref().unwrap().at;
    // CloudWatch takes no values of the far future.
    let now = cx.clock().now();
    let stands = objective(
        Some(turn.began - SignedDuration::from_hours(2)),
        Rpo { minutes: 60 },
        ended,
    );
    let message = Message::about("acme", Name::Full, &turn, &stands, "1h").unwrap();
    publish(cx, &topic, &message).await.unwrap();
    measure(cx, Name::Full, &turn, &stands, now).await.unwrap();

    let messages = stage.sandbox.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].subject, "gantry acme: full failed");
    assert_eq!(
        (&messages[0].topic, &messages[0].text),
        (&topic, &message.text)
    );
    let told: Vec<String> = stage
        .sandbox
        .metrics()
        .iter()
        .map(|datum| {
            format!(
                "{} {} {:?} {} {}",
                datum.namespace, datum.metric, datum.dimensions, datum.value, datum.unit
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"gantry Success {"Schedule": "full", "Site": "acme"} 0 None"#,
            r#"gantry Duration {"Schedule": "full", "Site": "acme"} 600 Seconds"#,
            r#"gantry AgeOfLastGoodPoint {"Site": "acme"} 7800 Seconds"#,
        ]
    );
    // Nobody has looked at the points: the age is left out, not made up.
    measure(cx, Name::Full, &turn, &Objective::Unknown, now)
        .await
        .unwrap();
    assert_eq!(stage.sandbox.metrics().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_program_is_lent_once() {
    let stage = Stage::new(ProfileName::SingleBox);
    stage.install().await;
    let session = stage.session().await.unwrap();
    stage.sandbox.clear_log();
    let puts = || {
        let log = stage.sandbox.log();
        log.iter()
            .filter(|call| call.call == "s3:PutObject")
            .count()
    };
    for _ in 0..2 {
        let address = session
            .lend_program(Role::Box, PROGRAM, b"hello")
            .await
            .unwrap();
        assert!(!format!("{address:?}").contains("Signature"));
        assert_eq!(puts(), 1);
    }
}

#[test]
fn show_says_what_is_next_and_what_was() {
    let place = Place::new();
    place.ok("init --profile single-box --domain gitlab.example.com --region eu-west-1");
    let folder = place.file(".gantry/sandbox/gitlab-example/schedule");
    std::fs::create_dir_all(&folder).unwrap();
    let began = r#"{"entry":"began","format":1,"run":"a","due":"2020-09-22T02:30:00Z","missed":0,"at":"2020-09-22T02:31:00Z"}"#;
    let ended =
        r#"{"entry":"ended","run":"a","exit":4,"why":"AWS refused","at":"2020-09-22T02:41:00Z"}"#;
    std::fs::write(folder.join("full.jsonl"), format!("{began}\n{ended}\n")).unwrap();
    let shown = place.ok("schedule show --output json").json();
    assert_eq!(shown["records"]["from"], "here-instead", "{shown}");
    let full = &shown["schedules"][1];
    assert_eq!(full["name"], "full");
    assert_eq!(full["last"]["ended"]["exit"], 4);
    assert_eq!(full["overdue"], "2020-09-23T02:30:00Z");
    for schedule in shown["schedules"].as_array().unwrap() {
        assert_eq!(schedule["next"].as_array().unwrap().len(), 3, "{schedule}");
    }
    let text = place.ok("schedule show --here").out;
    for part in [
        "daily 02:30",
        "failed (4)",
        "10 min 00 s",
        "full is overdue since Wed 2020-09-23 02:30 +00:00",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    // There is nothing to install anything on.
    let refused = place.run("schedule install");
    assert_eq!(refused.code, 2, "{}", refused.err);
}

#[test]
fn a_run_that_ended_without_a_word_is_reported_once() {
    let place = Place::new();
    place.poc();
    // Ten minutes must not pass between the two reports.
    let place = place.at_speed(1);
    let folder = place.file(".gantry/sandbox/gitlab-example/schedule");
    std::fs::create_dir_all(&folder).unwrap();
    let began = r#"{"entry":"began","format":1,"run":"a","due":null,"missed":0,"at":"2020-09-22T02:31:00Z"}"#;
    std::fs::write(folder.join("full.jsonl"), format!("{began}\n")).unwrap();
    for _ in 0..2 {
        place.ok("schedule report-failure full");
    }
    let world = std::fs::read_to_string(place.file(".gantry/sandbox/world/world.json")).unwrap();
    assert_eq!(world.matches("failed without a word").count(), 1);
    let records = std::fs::read_to_string(folder.join("full.jsonl")).unwrap();
    assert_eq!(records.lines().count(), 2, "{records}");
}
