//! The order: nodes brought up and changed, on played hosts and the strict cloud. Killed anywhere and run again it
//! does the same; a bad node stops what stands on it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum;
use aws_sdk_s3::primitives::ByteStream;
use futures::future::BoxFuture;
use gantry::blueprint::Role;
use gantry::boot::{Bundle, FileEntry, Pointer, pointer_key, report_key};
use gantry::engine::{Event, Observer, Outcome, Report, Stop};
use gantry::node::{Fleet, NodeFile};
use gantry::ops::order::Order;
use gantry::ops::runbook::{Runbook, carry_out};
use gantry::ops::{MemoryLedger, OpsFault, Played};
use gantry::profile::ProfileName;
use gantry::resource::Address;
use gantry::session::{Packed, Session};
use gantry::shell::recorder::{Answer, Effect, Recorder};
use gantry::shell::{Command, Exit, Place, RemoteFile, RemotePath, Shell, ShellFault};
use serde_json::json;
use tokio::sync::Notify;

use crate::support::Place as Folder;
use crate::support::stage::Stage;

const BOOT: &str = "systemctl restart gantry-boot.service";
const PATIENCE: Duration = Duration::from_mins(10);

/// Whether, and where, the process dies.
#[derive(Default)]
struct Death {
    /// After this many effects on hosts.
    after: Option<usize>,
    effects: AtomicUsize,
    dead: AtomicBool,
    died: Notify,
}

impl Death {
    fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.died.notify_one();
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }
}

/// A site that stands, with everything its nodes are.
struct Site {
    stage: Stage,
    session: Arc<Session>,
    fleet: Fleet,
    packed: Vec<Packed>,
    /// The machines of the Rails group.
    rails: Vec<String>,
}

/// What a machine is and does in one run.
#[derive(Clone)]
struct Run {
    recorder: Recorder,
    death: Arc<Death>,
    stop: Stop,
    /// Machines whose boot ends badly.
    bad: Arc<Mutex<BTreeSet<String>>>,
    /// The machine whose boot is interrupted by Ctrl-C.
    pressed_at: Option<String>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl Run {
    fn new() -> Self {
        Self::dying(None)
    }

    fn dying(after: Option<usize>) -> Self {
        Self {
            recorder: Recorder::new(),
            death: Arc::new(Death {
                after,
                ..Death::default()
            }),
            stop: Stop::default(),
            bad: Arc::default(),
            pressed_at: None,
            notes: Arc::default(),
        }
    }

    fn observer(&self) -> Observer {
        let notes = self.notes.clone();
        Arc::new(move |event| {
            if let Event::Note { text } = event {
                notes.lock().unwrap().push(text.clone());
            }
        })
    }

    /// What happened on each host, in order.
    fn by_host(&self) -> BTreeMap<String, Vec<String>> {
        let mut by_host: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for effect in self.recorder.effects() {
            let (host, what) = match effect {
                Effect::Ran { host, title, .. } => (host, title),
                Effect::Put { host, path, .. } => (host, format!("write {path}")),
                Effect::Got { host, path } => (host, format!("read {path}")),
            };
            by_host.entry(host).or_default().push(what);
        }
        by_host
    }

    /// How often each host booted.
    fn boots(&self) -> BTreeMap<String, usize> {
        let count = |all: &Vec<String>| all.iter().filter(|what| *what == BOOT).count();
        let all = self.by_host();
        let counts = all.iter().map(|(host, all)| (host.clone(), count(all)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// A played machine that boots: it becomes what it is pointed at, and reports.
struct Machine {
    inner: Arc<gantry::shell::recorder::Played>,
    role: Role,
    run: Run,
    session: Arc<Session>,
    bucket: String,
}

impl Machine {
    async fn boot(&self) -> Result<Exit, ShellFault> {
        let name = self.inner.host().to_owned();
        if self.role == Role::Rails {
            let instance = name.trim_start_matches("rails-");
            assert!(
                !registered(&self.session).await.contains(instance),
                "{name} boots while people are connected to it"
            );
        }
        if self.run.pressed_at.as_ref() == Some(&name) {
            self.run.stop.press();
        }
        let node = node_of(&name);
        let key = pointer_key(self.role, node);
        let get = self.session.cx.aws().s3.get_object();
        let pointer = get.bucket(&self.bucket).key(&key).send().await.unwrap();
        let pointer = pointer.body.collect().await.unwrap().to_vec();
        let bundle = Pointer::parse(&pointer).unwrap().bundle;
        let outcome = if self.run.bad.lock().unwrap().contains(&name) {
            "failed"
        } else {
            "ready"
        };
        report(
            &self.session,
            &self.bucket,
            self.role,
            &name,
            &bundle,
            outcome,
        )
        .await;
        let unit = Recorder::new();
        if outcome != "ready" {
            unit.on("*", "*").answer(Answer::code(1, "the unit failed"));
        }
        unit.shell(&name).run(&Command::new("unit")).await
    }
}

impl Shell for Machine {
    fn host(&self) -> &str {
        self.inner.host()
    }

    fn place(&self) -> Place {
        self.inner.place()
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Exit, ShellFault>> {
        Box::pin(async move {
            let death = &self.run.death;
            if death.is_dead() {
                return pending().await;
            }
            let mut exit = self.inner.run(command).await?;
            if command.title() == BOOT {
                exit = self.boot().await?;
            }
            let number = death.effects.fetch_add(1, Ordering::SeqCst) + 1;
            if death.after == Some(number) {
                death.die();
                return pending().await;
            }
            Ok(exit)
        })
    }

    fn put<'a>(&'a self, file: &'a RemoteFile) -> BoxFuture<'a, Result<(), ShellFault>> {
        Box::pin(async move {
            let death = &self.run.death;
            if death.is_dead() {
                return pending().await;
            }
            self.inner.put(file).await?;
            let number = death.effects.fetch_add(1, Ordering::SeqCst) + 1;
            if death.after == Some(number) {
                death.die();
                return pending().await;
            }
            Ok(())
        })
    }

    fn get<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Vec<u8>, ShellFault>> {
        self.inner.get(path)
    }
}

fn node_of(machine: &str) -> &str {
    if machine.starts_with("rails-") {
        "rails"
    } else {
        machine
    }
}

fn instance_of(session: &Session, machine: &str) -> String {
    if let Some(instance) = machine.strip_prefix("rails-") {
        return instance.to_owned();
    }
    let address: Address = format!("ec2/instance:{machine}").parse().unwrap();
    let outputs = session.store.state().outputs();
    outputs.0[&address]["id"].as_str().unwrap().to_owned()
}

/// The ARN of the web target group.
fn web(session: &Session) -> String {
    let address: Address = "elb/target_group:web".parse().unwrap();
    let outputs = session.store.state().outputs();
    outputs.0[&address]["arn"].as_str().unwrap().to_owned()
}

/// The instances that the web target group sends anything to.
async fn registered(session: &Session) -> BTreeSet<String> {
    let ask = session.cx.aws().elb.describe_target_health();
    let answer = ask.target_group_arn(web(session));
    let answer = answer.send().await.unwrap();
    let told = answer.target_health_descriptions().iter();
    told.filter(|told| {
        let state = told.target_health().and_then(|h| h.state());
        !matches!(state, Some(TargetHealthStateEnum::Unused))
    })
    .map(|told| told.target().unwrap().id().unwrap().to_owned())
    .collect()
}

async fn report(
    session: &Session,
    bucket: &str,
    role: Role,
    name: &str,
    bundle: &str,
    outcome: &str,
) {
    let stage = if outcome == "ready" { "" } else { "package" };
    let instance = instance_of(session, name);
    let text = json!({"format": 1, "node": node_of(name), "role": role.as_str(), "instance": instance,
        "address": "10.0.0.9", "bundle": bundle, "version": "19.5.3-ee.0", "outcome": outcome, "stage": stage,
        "detail": "it says no", "host_keys": ["ssh-ed25519 AAAA"], "at": "2026-11-20T10:00:00Z"})
    .to_string();
    let put = session.cx.aws().s3.put_object().bucket(bucket);
    let put = put.key(report_key(role, name));
    put.body(ByteStream::from(text.into_bytes()))
        .send()
        .await
        .unwrap();
}

impl Site {
    async fn standing(profile: ProfileName) -> Self {
        let stage = Stage::new(profile);
        stage.install().await;
        // The machines of the group come into service, and the balancer finds them healthy.
        stage.sandbox.clock().sleep(Duration::from_mins(10)).await;
        // Draining takes five minutes, and every poll of it some milliseconds of ours.
        stage.sandbox.change(|world| {
            for row in world.table("eu-west-1", "elb/target_group").values_mut() {
                let mut attributes = row.v["_attributes"].clone();
                attributes["deregistration_delay.timeout_seconds"] = "20".into();
                row.set("_attributes", attributes);
            }
        });
        let session = Arc::new(stage.session().await.unwrap());
        let reading = stage.read().await;
        let fleet = session.fleet(&reading).unwrap();
        let packed = session.pack(&fleet).unwrap();
        let mut rails = Vec::new();
        if fleet.of_role(Role::Rails).next().is_some() {
            let groups = session.cx.aws().autoscaling.describe_auto_scaling_groups();
            let answer = groups.send().await.unwrap();
            let instances = answer.auto_scaling_groups()[0].instances();
            rails = instances
                .iter()
                .map(|i| format!("rails-{}", i.instance_id().unwrap()))
                .collect();
            rails.sort();
        }
        Self {
            stage,
            session,
            fleet,
            packed,
            rails,
        }
    }

    fn machines(&self) -> Vec<(String, Role)> {
        let fixed = self.fleet.hosts.iter().filter(|h| h.role != Role::Rails);
        let fixed = fixed.map(|host| (host.name.clone(), host.role));
        let rails = self.rails.iter().map(|name| (name.clone(), Role::Rails));
        fixed.chain(rails).collect()
    }

    /// Points every node at its bundle, and lets every machine say that it is that.
    async fn booted(&self) {
        self.session.deliver(&self.packed).await.unwrap();
        for (name, role) in self.machines() {
            self.reports(&name, role, "ready").await;
        }
    }

    async fn reports(&self, name: &str, role: Role, outcome: &str) {
        let bundles = bundles(&self.packed);
        let bucket = &self.fleet.buckets.config;
        let bundle = &bundles[node_of(name)];
        report(&self.session, bucket, role, name, bundle, outcome).await;
    }

    fn order(&self, run: &Run, packed: &[Packed]) -> Order {
        let mut hosts = Played::default();
        for (name, role) in self.machines() {
            let machine = Machine {
                inner: run.recorder.shell(&name),
                role,
                run: run.clone(),
                session: self.session.clone(),
                bucket: self.fleet.buckets.config.clone(),
            };
            hosts = hosts.with(role, Arc::new(machine));
        }
        Order::new(
            self.session.clone(),
            Arc::new(hosts),
            self.fleet.clone(),
            bundles(packed),
            PATIENCE,
        )
    }

    /// The change of a test: the same files and one more, on every node with GitLab.
    fn changed(&self, word: &str) -> Vec<Packed> {
        let mut all = self.packed.clone();
        all.retain(|p| p.files.role != Role::Bastion);
        for packed in &mut all {
            let (mut manifest, mut contents) = Bundle::open(&packed.bundle.bytes).unwrap();
            let path = "/etc/gitlab/word".to_owned();
            manifest
                .files
                .push(FileEntry::of(path.clone(), "0600", "root:root", word));
            contents.insert(path.clone(), word.as_bytes().to_vec());
            packed.bundle = Bundle::pack(&manifest, &contents).unwrap();
            packed.files.files.push(NodeFile {
                path,
                mode: "0600".into(),
                owner: "root:root".into(),
                content: word.into(),
            });
        }
        all
    }

    async fn roll_out(&self, run: &Run, packed: &[Packed]) -> Runbook {
        let nodes = packed.iter().map(|p| p.files.node.clone()).collect();
        let order = self.order(run, packed);
        order.roll_out(packed.to_vec(), &nodes).await.unwrap()
    }

    /// What the balancer and the group are told: which call, in order, without looks.
    fn calls(&self) -> Vec<String> {
        let told = [
            "RegisterTargets",
            "DeregisterTargets",
            "SuspendProcesses",
            "ResumeProcesses",
        ];
        let calls = self
            .stage
            .sandbox
            .log()
            .into_iter()
            .map(|logged| logged.call);
        calls
            .map(|call| {
                call.split_once(':')
                    .map(|(_, verb)| verb.to_owned())
                    .unwrap_or(call)
            })
            .filter(|verb| told.contains(&verb.as_str()))
            .collect()
    }

    /// The processes that the group leaves off.
    async fn left_off(&self) -> usize {
        let groups = self
            .session
            .cx
            .aws()
            .autoscaling
            .describe_auto_scaling_groups();
        let answer = groups.send().await.unwrap();
        answer.auto_scaling_groups()[0].suspended_processes().len()
    }
}

fn bundles(packed: &[Packed]) -> BTreeMap<String, String> {
    let of = |p: &Packed| (p.files.node.clone(), p.bundle.sha256.clone());
    packed.iter().map(of).collect()
}

/// Carries a runbook out until it ends or the process dies.
async fn carry(
    site: &Site,
    book: Runbook,
    ledger: &MemoryLedger,
    run: &Run,
) -> Option<Report<OpsFault>> {
    let observe = run.observer();
    let clock = site.stage.sandbox.clock();
    let ledger = Arc::new(ledger.clone());
    tokio::select! {
        biased;
        () = run.death.died.notified() => None,
        report = carry_out(book, "run-1", ledger, &run.stop, clock, &observe) => {
            // An entry that cannot be written ends it as well.
            (!run.death.is_dead()).then(|| report.unwrap())
        }
    }
}

fn failures(report: &Report<OpsFault>) -> Vec<String> {
    let failures = report.failures();
    failures
        .map(|(name, fault)| format!("{name}: {fault}"))
        .collect()
}

/// The rule: on each host, the run that was cut did the beginning of what an uncut run does, and the one that went on
/// did the rest of it, from the beginning of a stage that the cut one was in. So nothing is left out, and nothing but
/// the stage that was cut is done twice.
fn agree(whole: &Run, cut: &Run, resumed: &Run, longest: usize, place: &str) {
    let (cut, resumed) = (cut.by_host(), resumed.by_host());
    for (host, all) in whole.by_host() {
        let first = cut.get(&host).cloned().unwrap_or_default();
        let second = resumed.get(&host).cloned().unwrap_or_default();
        assert!(
            all.starts_with(&first),
            "{place}, {host}: {first:?} begins {all:?}"
        );
        assert!(
            all.ends_with(&second),
            "{place}, {host}: {second:?} ends {all:?}"
        );
        let twice = (first.len() + second.len()).checked_sub(all.len());
        let twice =
            twice.unwrap_or_else(|| panic!("{place}, {host}: {first:?} {second:?} of {all:?}"));
        assert!(twice <= longest, "{place}, {host}: {twice} effects twice");
    }
    for host in cut.keys().chain(resumed.keys()) {
        assert!(
            whole.by_host().contains_key(host),
            "{place}: {host} was never to be touched"
        );
    }
}

/// Where a run is cut.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Before this entry of the ledger.
    Entry(usize),
    /// After this effect on a host.
    Effect(usize),
}

fn cut_ledger(cut: Cut, run: &Run) -> MemoryLedger {
    let death = run.death.clone();
    MemoryLedger::default().gated(Arc::new(move |number, _| {
        if matches!(cut, Cut::Entry(at) if at == number) {
            death.die();
        }
        !death.is_dead()
    }))
}

fn cut_run(cut: Cut) -> Run {
    match cut {
        Cut::Entry(_) => Run::new(),
        Cut::Effect(at) => Run::dying(Some(at)),
    }
}

fn cuts(ledger: &MemoryLedger, run: &Run) -> Vec<Cut> {
    let entries = (0..ledger.entries().len()).map(Cut::Entry);
    let effects = (1..=run.recorder.effects().len()).map(Cut::Effect);
    entries.chain(effects).collect()
}

async fn bring_up_killed_everywhere(profile: ProfileName) {
    let site = Site::standing(profile).await;
    site.booted().await;
    let (whole, ledger) = (Run::new(), MemoryLedger::default());
    let report = carry(
        &site,
        site.order(&whole, &site.packed).bring_up(),
        &ledger,
        &whole,
    )
    .await;
    let report = report.unwrap();
    assert!(report.complete(), "{:?}", failures(&report));
    for cut in cuts(&ledger, &whole) {
        let dying = cut_run(cut);
        let cut_short = cut_ledger(cut, &dying);
        let book = site.order(&dying, &site.packed).bring_up();
        assert!(
            carry(&site, book, &cut_short, &dying).await.is_none(),
            "{cut:?}"
        );
        let (resumed, kept) = (Run::new(), MemoryLedger::with(&cut_short.entries()));
        let book = site.order(&resumed, &site.packed).bring_up();
        let report = carry(&site, book, &kept, &resumed).await.unwrap();
        assert!(report.complete(), "{cut:?}: {:?}", failures(&report));
        // No stage has more than two effects on one host.
        agree(&whole, &dying, &resumed, 2, &format!("{profile}, {cut:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn poc_2k_comes_up_the_same_wherever_it_is_killed() {
    bring_up_killed_everywhere(ProfileName::Poc2k).await;
}

#[tokio::test(start_paused = true)]
async fn ha_3k_comes_up_the_same_wherever_it_is_killed() {
    bring_up_killed_everywhere(ProfileName::Ha3k).await;
}

#[tokio::test(start_paused = true)]
async fn a_box_comes_up_the_same_wherever_it_is_killed() {
    bring_up_killed_everywhere(ProfileName::SingleBox).await;
}

async fn roll_out_killed_everywhere(profile: ProfileName) {
    let site = Site::standing(profile).await;
    site.booted().await;
    let (whole, ledger) = (Run::new(), MemoryLedger::default());
    let changed = site.changed("word 0");
    let book = site.roll_out(&whole, &changed).await;
    let report = carry(&site, book, &ledger, &whole).await.unwrap();
    assert!(report.complete(), "{:?}", failures(&report));
    for (number, cut) in cuts(&ledger, &whole).into_iter().enumerate() {
        // Each time a change, so that there is something to roll out.
        let changed = site.changed(&format!("word {}", number + 1));
        let dying = cut_run(cut);
        let cut_short = cut_ledger(cut, &dying);
        let book = site.roll_out(&dying, &changed).await;
        assert!(
            carry(&site, book, &cut_short, &dying).await.is_none(),
            "{cut:?}"
        );
        let (resumed, kept) = (Run::new(), MemoryLedger::with(&cut_short.entries()));
        let book = site.roll_out(&resumed, &changed).await;
        let report = carry(&site, book, &kept, &resumed).await.unwrap();
        assert!(report.complete(), "{cut:?}: {:?}", failures(&report));
        // A file, a wait for the boot before, the boot, and up to two looks.
        agree(&whole, &dying, &resumed, 5, &format!("{profile}, {cut:?}"));
        if !site.rails.is_empty() {
            assert_eq!(
                registered(&site.session).await.len(),
                site.rails.len(),
                "{cut:?}"
            );
            assert_eq!(site.left_off().await, 0, "{cut:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_poc_2k_is_the_same_wherever_it_is_killed() {
    roll_out_killed_everywhere(ProfileName::Poc2k).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_ha_3k_is_the_same_wherever_it_is_killed() {
    roll_out_killed_everywhere(ProfileName::Ha3k).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_box_is_the_same_wherever_it_is_killed() {
    roll_out_killed_everywhere(ProfileName::SingleBox).await;
}

/// For each stage: let its check fail, and see what does not come to its turn.
async fn what_stops(profile: ProfileName) -> String {
    let site = Site::standing(profile).await;
    site.booted().await;
    let run = Run::new();
    let stages: Vec<String> = site
        .order(&run, &site.packed)
        .bring_up()
        .stages()
        .map(str::to_owned)
        .collect();
    let mut text = String::new();
    for stage in &stages {
        let run = Run::new();
        let no = |host: &str, command: &str| {
            run.recorder
                .on(host, command)
                .answer(Answer::code(1, "it says no"));
        };
        let role = site.machines().into_iter().find(|(name, _)| name == stage);
        match (stage.as_str(), role) {
            ("databases", _) => no("sidekiq-1", "look for extensions*"),
            ("gitaly-cluster", _) => no("praefect-2", "*praefect -config * check"),
            ("rails", _) => no(&site.rails[0], "curl *readiness"),
            ("gitlab", _) => no("*", "gitlab-rake gitlab:*"),
            // It has nothing to be looked at but its report.
            ("bastion", _) => site.reports("bastion", Role::Bastion, "failed").await,
            (calls, None) => no(calls.trim_end_matches("-calls"), "*gitaly check *"),
            (name, Some((_, Role::Gitaly))) => no(name, "gitlab-ctl status gitaly"),
            (name, Some((_, Role::Praefect))) => no(name, "*sql-ping"),
            (name, Some((_, Role::Sidekiq | Role::Monitoring | Role::Box))) => no(name, "curl *"),
            (name, role) => panic!("{name} {role:?}"),
        }
        let book = site.order(&run, &site.packed).bring_up();
        let report = carry(&site, book, &MemoryLedger::default(), &run)
            .await
            .unwrap();
        let failed: Vec<_> = report.failures().map(|(name, _)| name).collect();
        assert_eq!(failed, [stage], "{:?}", failures(&report));
        let blocked: Vec<&str> = report
            .outcomes
            .iter()
            .filter(|(_, _, outcome)| matches!(outcome, Outcome::Blocked { .. }))
            .map(|(name, _, _)| name.as_str())
            .collect();
        let others = report.outcomes.len() - 1 - blocked.len();
        let done = report
            .outcomes
            .iter()
            .filter(|(_, _, o)| matches!(o, Outcome::Done));
        assert_eq!(done.count(), others, "{stage}: everything else is done");
        text.push_str(&format!("{stage}: {}\n", blocked.join(" ")));
        site.reports_of_bastion().await;
    }
    text
}

impl Site {
    async fn reports_of_bastion(&self) {
        if self.fleet.host("bastion").is_some() {
            self.reports("bastion", Role::Bastion, "ready").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_node_of_poc_2k_stops_what_stands_on_it() {
    insta::assert_snapshot!(what_stops(ProfileName::Poc2k).await);
}

#[tokio::test(start_paused = true)]
async fn a_bad_node_of_ha_3k_stops_what_stands_on_it() {
    insta::assert_snapshot!(what_stops(ProfileName::Ha3k).await);
}

#[tokio::test(start_paused = true)]
async fn a_bad_box_stops_its_checks() {
    insta::assert_snapshot!(what_stops(ProfileName::SingleBox).await);
}

#[tokio::test(start_paused = true)]
async fn a_change_takes_one_node_at_a_time_out_and_puts_it_back() {
    let site = Site::standing(ProfileName::Ha3k).await;
    site.booted().await;
    site.stage.sandbox.clear_log();
    let (run, ledger) = (Run::new(), MemoryLedger::default());
    let book = site.roll_out(&run, &site.changed("word")).await;
    let stages: Vec<String> = book.stages().map(str::to_owned).collect();
    let place = |wanted: &str| stages.iter().position(|s| s.starts_with(wanted)).unwrap();
    assert!(place("gitaly-3") < place("praefect-1"));
    assert!(place("praefect-3") < place("sidekiq-1"));
    assert!(place("sidekiq-1") < place("rails-"));
    assert!(place("rails-") < place("sidekiq-2"));
    assert!(place("sidekiq-2") < place("monitoring-1"));
    let report = carry(&site, book, &ledger, &run).await.unwrap();
    assert!(report.complete(), "{:?}", failures(&report));
    // Praefect stands in one target group, a Rails machine in three.
    let mut expected = Vec::new();
    for _ in site.fleet.of_role(Role::Praefect) {
        expected.extend(["DeregisterTargets", "RegisterTargets"]);
    }
    for _ in &site.rails {
        expected.push("SuspendProcesses");
        expected.extend(["DeregisterTargets"; 3]);
        expected.extend(["RegisterTargets"; 3]);
        expected.push("ResumeProcesses");
    }
    assert_eq!(site.calls(), expected);
    let all: BTreeMap<String, usize> = site
        .machines()
        .into_iter()
        .filter(|(_, role)| *role != Role::Bastion)
        .map(|(name, _)| (name, 1))
        .collect();
    assert_eq!(run.boots(), all, "every machine booted once");
}

#[tokio::test(start_paused = true)]
async fn a_bad_rails_machine_stays_out_and_stops_the_others() {
    let site = Site::standing(ProfileName::Poc2k).await;
    site.booted().await;
    site.stage.sandbox.clear_log();
    let (run, ledger) = (Run::new(), MemoryLedger::default());
    let (first, second) = (&site.rails[0], &site.rails[1]);
    run.bad.lock().unwrap().insert(first.clone());
    run.recorder
        .on(first, "curl *readiness")
        .answer(Answer::code(22, "503"));
    let changed = site.changed("word");
    let report = carry(&site, site.roll_out(&run, &changed).await, &ledger, &run)
        .await
        .unwrap();
    let said = failures(&report);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with(&format!("{first}: {first} is not ready: failed in package")),
        "{said:?}"
    );
    let boots = run.boots();
    assert!(
        !boots.contains_key(second) && !boots.contains_key("monitoring-1"),
        "{boots:?}"
    );
    let instance = |machine: &str| machine.trim_start_matches("rails-").to_owned();
    assert_eq!(registered(&site.session).await, [instance(second)].into());
    assert_eq!(
        site.left_off().await,
        0,
        "the group looks after its nodes again"
    );
    let notes = run.notes.lock().unwrap().join("\n");
    assert!(
        notes.contains(&format!("{first} stays out of the balancer")),
        "{notes}"
    );
    assert!(notes.contains("gantry reconfigure rails"), "{notes}");

    // Mended, the same command goes on with it, and does nothing again that was done.
    let mended = Run::new();
    let report = carry(
        &site,
        site.roll_out(&mended, &changed).await,
        &ledger,
        &mended,
    )
    .await
    .unwrap();
    assert!(report.complete(), "{:?}", failures(&report));
    let rest: BTreeSet<String> = mended.boots().into_keys().collect();
    assert_eq!(
        rest,
        [first.clone(), second.clone(), "monitoring-1".into()].into()
    );
    assert_eq!(registered(&site.session).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_bad_gitaly_node_leaves_everything_else_as_it_was() {
    let site = Site::standing(ProfileName::Poc2k).await;
    site.booted().await;
    site.stage.sandbox.clear_log();
    let (run, ledger) = (Run::new(), MemoryLedger::default());
    run.bad.lock().unwrap().insert("gitaly-1".into());
    let book = site.roll_out(&run, &site.changed("word")).await;
    let report = carry(&site, book, &ledger, &run).await.unwrap();
    assert!(failures(&report)[0].starts_with("gitaly-1: "));
    assert_eq!(run.boots(), [("gitaly-1".to_owned(), 1)].into());
    assert_eq!(site.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_last_healthy_machine_is_never_taken_out() {
    let site = Site::standing(ProfileName::Poc2k).await;
    site.booted().await;
    // Somebody else took the other one out.
    let other = site.rails[1].trim_start_matches("rails-");
    let target = aws_sdk_elasticloadbalancingv2::types::TargetDescription::builder().id(other);
    let take = site.session.cx.aws().elb.deregister_targets();
    take.target_group_arn(web(&site.session))
        .targets(target.build())
        .send()
        .await
        .unwrap();
    site.stage.sandbox.clear_log();
    let (run, ledger) = (Run::new(), MemoryLedger::default());
    let book = site.roll_out(&run, &site.changed("word")).await;
    let report = carry(&site, book, &ledger, &run).await.unwrap();
    let said = failures(&report);
    assert!(
        said[0].contains("the last one is never taken out"),
        "{said:?}"
    );
    assert_eq!(site.calls(), ["SuspendProcesses", "ResumeProcesses"]);
    assert!(!run.boots().contains_key(&site.rails[0]));
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_puts_the_node_back() {
    let site = Site::standing(ProfileName::Poc2k).await;
    site.booted().await;
    let first = site.rails[0].clone();

    // While it drains.
    let (run, ledger) = (Run::new(), MemoryLedger::default());
    let stop = run.stop.clone();
    let observe: Observer = Arc::new(move |event| {
        if matches!(event, Event::Waiting { status, .. } if status == "draining") {
            stop.press();
        }
    });
    let changed = site.changed("word");
    let book = site.roll_out(&run, &changed).await;
    let clock = site.stage.sandbox.clock();
    let kept = Arc::new(ledger.clone());
    let report = carry_out(book, "run-1", kept, &run.stop, clock, &observe)
        .await
        .unwrap();
    assert!(report.interrupted());
    assert!(!run.boots().contains_key(&first));
    assert_eq!(registered(&site.session).await.len(), 2, "it is back");
    assert_eq!(site.left_off().await, 0);

    // In the middle of its boot: that is seen to its end.
    let pressed = Run {
        pressed_at: Some(first.clone()),
        ..Run::new()
    };
    let book = site.roll_out(&pressed, &changed).await;
    let report = carry(&site, book, &ledger, &pressed).await.unwrap();
    assert!(report.interrupted(), "{:?}", failures(&report));
    assert_eq!(pressed.boots(), [(first, 1)].into());
    assert_eq!(registered(&site.session).await.len(), 2, "it is back");
    assert_eq!(site.left_off().await, 0);

    let last = Run::new();
    let report = carry(&site, site.roll_out(&last, &changed).await, &ledger, &last)
        .await
        .unwrap();
    assert!(report.complete(), "{:?}", failures(&report));
}

#[tokio::test(start_paused = true)]
async fn differences_are_told_by_node_and_file() {
    let site = Site::standing(ProfileName::Poc2k).await;
    let all = site.session.differences(&site.packed).await.unwrap();
    assert_eq!(all.len(), site.packed.len());
    assert!(
        all.iter().all(|d| d.now.is_none()),
        "nothing was delivered yet"
    );
    site.booted().await;
    let none = site.session.differences(&site.packed).await.unwrap();
    assert!(none.is_empty(), "{none:?}");
    let changed = site.changed("one\ntwo\n");
    let all = site.session.differences(&changed).await.unwrap();
    assert_eq!(all.len(), changed.len());
    let one = &all[0].files;
    assert_eq!((one.len(), one[0].path.as_str()), (1, "/etc/gitlab/word"));
    assert_eq!(one[0].diff, "@@ -0,0 +1,2 @@\n+one\n+two\n");
    // An order that knows the change finds every machine behind.
    let order = site.order(&Run::new(), &changed);
    site.session.deliver(&changed).await.unwrap();
    let nodes = changed.iter().map(|p| p.files.node.clone()).collect();
    let behind = order.behind(&nodes).await.unwrap();
    assert_eq!(
        behind.len(),
        site.machines().len() - 1,
        "all but the bastion"
    );
}

#[test]
fn reconfigure_in_the_sandbox_shows_and_delivers() {
    let place = Folder::new();
    place.poc();
    let said = place.ok("reconfigure --dry-run");
    assert!(said.out.contains("Nothing differs"), "{}", said.out);
    let path = place.file("gantry.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        format!("{text}\n[smtp]\naddress = \"mail.example.com\"\nfrom = \"ops@example.com\"\nauthentication = \"none\"\n"),
    )
    .unwrap();
    let said = place.run("reconfigure --dry-run");
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(
        said.out.contains("/etc/gitlab/gitlab.rb (changed)"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("+gitlab_rails['smtp_address'] = "),
        "{}",
        said.out
    );
    let json = place.run("reconfigure sidekiq --dry-run --output json");
    assert_eq!(json.code, 3);
    let json = json.json();
    assert_eq!(json["differences"][0]["node"], "sidekiq-1");
    assert_eq!(json["differences"].as_array().unwrap().len(), 1);
    let said = place.run("reconfigure gitaly-7 --dry-run");
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("no node and no role `gitaly-7`"),
        "{}",
        said.err
    );
    let said = place.run("reconfigure");
    assert_eq!(said.code, 2, "nobody says yes");
    let said = place.ok("reconfigure --yes");
    assert!(said.out.contains("nothing is rolled out"), "{}", said.out);
    place.ok("reconfigure --dry-run");
}

#[tokio::test(start_paused = true)]
async fn the_deploy_node_gets_what_it_makes_the_registry_s_user_with() {
    let mut site = crate::support::stage::site(ProfileName::Poc2k);
    let text = "enabled = true\nmetadata_database = true\n";
    site.registry = Some(toml::from_str(text).unwrap());
    site.front.registry_domain = Some("registry.example.com".parse().unwrap());
    let (world, now) = (
        crate::support::stage::account(),
        crate::support::stage::BEGINNING,
    );
    let stage = Stage::with(site, world, &[], now);
    let session = stage.session().await.unwrap();
    let fleet = session.known_fleet().unwrap();
    for packed in session.pack(&fleet).unwrap() {
        let (manifest, _) = Bundle::open(&packed.bundle.bytes).unwrap();
        let reads = |secret: &&gantry::boot::SecretEntry| secret.name.starts_with("registry-");
        let needs = manifest.secrets.iter().filter(reads).count();
        match manifest.node.as_str() {
            "sidekiq-1" => {
                let database = manifest.database.unwrap();
                assert_eq!(database.extensions, ["pg_trgm", "btree_gist", "amcheck"]);
                assert_eq!(database.beside[0].name, "registry");
                assert_eq!(needs, 1);
            }
            "rails" => assert_eq!((manifest.database, needs), (None, 1)),
            node => assert_eq!((manifest.database, needs), (None, 0), "{node}"),
        }
    }
}
