//! A site without an engine, for tests of single kinds on the strict cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gantry::blueprint::Blueprint;
use gantry::clock::Clock;
use gantry::cloud::{Aws, Fault, Limits};
use gantry::resource::{
    Address, ApplyCx, Change, CloudCx, ConfigureWhen, Created, Diff, Found, Outputs, PlanCx,
    Readiness, Ref, Resource, Scope, Tags,
};
use gantry::sandbox::Sandbox;
use gantry::sandbox::world::World;

pub const REGION: &str = "eu-west-1";

/// A site without an engine: the calls of a kind in the order the engine makes them.
pub struct Stage {
    pub sandbox: Sandbox,
    pub cloud: CloudCx,
    pub blueprint: Blueprint,
    pub outputs: Outputs,
    /// What a journal would remember.
    pub known: BTreeMap<String, Address>,
}

/// Seconds between two looks.
const LOOK: u64 = 5;

/// Looks before one gives up: a database takes twenty minutes.
const LOOKS: usize = 400;

impl Stage {
    pub fn new() -> Self {
        let clock = Clock::played("2026-01-05T06:00:00Z".parse().unwrap(), 1);
        let sandbox = Sandbox::in_memory(World::new("123456789012"), clock);
        let scope = Scope {
            site: "acme".into(),
            account: "123456789012".into(),
            region: REGION.into(),
            tags: Tags::new().with("cost_center", "42"),
        };
        let aws = Aws::new(&sandbox.config(REGION));
        let limits = Limits::default();
        let cloud = CloudCx::new(aws, scope, clock, limits, None, Default::default());
        Self {
            sandbox,
            cloud,
            blueprint: Blueprint::new(),
            outputs: Outputs::default(),
            known: BTreeMap::new(),
        }
    }

    /// The clients of somebody who works by hand.
    pub fn hand(&self) -> Aws {
        self.cloud.aws().clone()
    }

    pub fn ec2(&self) -> aws_sdk_ec2::Client {
        self.hand().ec2
    }

    pub async fn wait(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// The tables of the region that are not empty.
    pub fn left(&self) -> Vec<String> {
        let tables = self.sandbox.world().tables.into_iter();
        tables
            .filter(|(name, rows)| name.starts_with(REGION) && !rows.is_empty())
            .map(|(name, _)| name)
            .collect()
    }

    /// Makes a resource, configures it and waits until it is ready.
    pub async fn make<R: Resource>(&mut self, name: &str, spec: R) -> (Ref<R>, R::Id) {
        let to = self.blueprint.add(name, spec.clone());
        let id = self.start(&spec, to.address()).await.unwrap();
        let cx = self.apply(to.address());
        let early = R::CONFIGURES && R::CONFIGURE == ConfigureWhen::AtOnce;
        if early {
            spec.configure(&id, Change::All, &cx).await.unwrap();
        }
        let mut output = self.ready::<R>(&id).await;
        if R::CONFIGURES && !early {
            self.configure(&spec, &id, Change::All, &cx).await;
            output = self.ready::<R>(&id).await;
        }
        let output = serde_json::to_value(output).unwrap();
        self.outputs.0.insert(to.address().clone(), output);
        (to, id)
    }

    /// Changes it as soon as it may be changed.
    async fn configure<R: Resource>(
        &self,
        spec: &R,
        id: &R::Id,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) {
        for _ in 0..LOOKS {
            match spec.configure(id, change, cx).await {
                Ok(()) => return,
                Err(Fault::Later { .. }) => self.wait(LOOK).await,
                Err(fault) => panic!("{}: {fault}", cx.address),
            }
        }
        panic!("{} never takes its settings", cx.address);
    }

    pub fn apply<'a>(&'a self, address: &'a Address) -> ApplyCx<'a> {
        ApplyCx {
            cloud: &self.cloud,
            address,
            token: address.name(),
            outputs: &self.outputs,
        }
    }

    pub async fn start<R: Resource>(&self, spec: &R, address: &Address) -> Result<R::Id, Fault> {
        Ok(match spec.create(&self.apply(address)).await? {
            Created::Done(id, _) | Created::Waiting(id) => id,
        })
    }

    pub async fn ready<R: Resource>(&self, id: &R::Id) -> R::Output {
        for _ in 0..LOOKS {
            let polled = R::poll(std::slice::from_ref(id), &self.cloud)
                .await
                .unwrap();
            match polled.into_iter().next().unwrap() {
                Readiness::Ready(output) => return output,
                Readiness::Broken(why) => panic!("{}: {why}", R::KIND),
                Readiness::Pending(_) | Readiness::Held(_) | Readiness::Absent => {
                    self.wait(LOOK).await;
                }
            }
        }
        panic!("{} never became ready", R::KIND);
    }

    /// What a survey finds at an address, after the listings have caught up.
    pub async fn seen<R: Resource>(&self, to: &Ref<R>) -> Option<Found<R>> {
        self.wait(2).await;
        let cloud = self.cloud.fresh(self.known.clone());
        let mut found = R::survey(&cloud).await.unwrap();
        found.retain(|f| f.address == *to.address());
        assert!(found.len() < 2, "{} is found twice", to.address());
        found.pop()
    }

    pub async fn diff<R: Resource>(&self, to: &Ref<R>, spec: &R) -> Diff {
        let found = self.seen(to).await.expect("a survey finds it");
        // The live state goes through the journal, so it must survive that.
        let text = serde_json::to_string(&found.live).unwrap();
        let live: R::Live = serde_json::from_str(&text).unwrap();
        let later = BTreeSet::new();
        spec.diff(
            &live,
            &PlanCx {
                address: to.address(),
                scope: self.cloud.scope(),
                outputs: &self.outputs,
                later: &later,
            },
        )
    }

    pub async fn same<R: Resource>(&self, to: &Ref<R>, spec: &R) {
        let diff = self.diff(to, spec).await;
        assert!(diff.is_empty(), "{}: {diff:?}", to.address());
    }

    /// Sees the drift in exactly these fields, puts it right, and sees none once that is through.
    pub async fn mend<R: Resource>(&self, to: &Ref<R>, id: &R::Id, spec: &R, fields: &[&str]) {
        self.put_right(to, id, spec, fields).await;
        self.ready::<R>(id).await;
        self.same(to, spec).await;
    }

    /// Sees the drift in exactly these fields, and begins to put it right.
    pub async fn put_right<R: Resource>(&self, to: &Ref<R>, id: &R::Id, spec: &R, fields: &[&str]) {
        let diff = self.diff(to, spec).await;
        let names: Vec<&str> = diff.fields.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(names, fields, "{}: {diff:?}", to.address());
        assert!(!diff.replaces(), "{diff:?}");
        let cx = self.apply(to.address());
        self.configure(spec, id, Change::Fields(&diff), &cx).await;
    }

    /// Deletes it as often as it takes, and once more.
    pub async fn gone<R: Resource>(&self, to: &Ref<R>, id: &R::Id) {
        let mut tries = 0;
        while let Err(fault) = R::delete(id, &self.cloud).await {
            assert!(matches!(fault, Fault::Later { .. }), "{fault}");
            tries += 1;
            assert!(tries < LOOKS, "{} never goes: {fault}", to.address());
            self.wait(LOOK).await;
        }
        if R::DELETE_TAKES_TIME {
            for _ in 0..LOOKS {
                let polled = R::poll(std::slice::from_ref(id), &self.cloud)
                    .await
                    .unwrap();
                if matches!(polled[0], Readiness::Absent) {
                    break;
                }
                self.wait(LOOK).await;
            }
        }
        R::delete(id, &self.cloud).await.unwrap();
        assert!(self.seen(to).await.is_none(), "{} stays", to.address());
    }
}

/// `refused!(call, "Code")`: the call is refused with that code.
macro_rules! refused {
    ($call:expr, $code:expr) => {{
        let refusal = $call.send().await.expect_err("AWS refuses this");
        assert_eq!(
            refusal.code(),
            Some($code),
            "{:?}: {:?}",
            refusal.message(),
            refusal
        );
    }};
}

pub(crate) use refused;
