//! The calls of all kinds in the order in which the engine makes them, without the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_ec2::types::Filter;
use gantry::blueprint::Blueprint;
use gantry::clock::Clock;
use gantry::cloud::{Aws, Fault, Limits};
use gantry::kinds::registry;
use gantry::resource::{
    Address, AnyFound, AnyResource, ApplyCx, Change, CloudCx, ConfigureWhen, Diff, How, KindInfo,
    Outputs, PlanCx, Readiness, Scope, Tags,
};
use gantry::sandbox::ACCOUNT;
use serde_json::Value;

use super::REGION;
use super::site::{Ground, Wanted, site};

/// Looks at something that takes time, and tries of something that is not possible yet.
const PATIENCE: u32 = 1_500;

/// Lets whatever waits fail after a while on moto, where nothing takes long, instead of going on for an hour.
const PATIENCE_IN_REAL_TIME: u32 = 40;

/// One site in one cloud.
pub struct Life {
    aws: Aws,
    clock: Clock,
    ground: Ground,
    /// Services that this cloud does not have.
    without: Vec<String>,
    color: &'static str,
    run: &'static str,
    ids: BTreeMap<Address, Value>,
    outputs: Outputs,
    problems: Vec<String>,
}

impl Life {
    pub async fn new(aws: Aws, clock: Clock, without: &[String]) -> Self {
        let ground = ground(&aws).await;
        Self {
            aws,
            clock,
            ground,
            without: without.to_vec(),
            color: "green",
            run: "first",
            ids: BTreeMap::new(),
            outputs: Outputs::default(),
            problems: vec![],
        }
    }

    /// From nothing to nothing; what was not as it should be.
    pub async fn whole(mut self) -> Vec<String> {
        let first = site(&self.ground, Wanted::First);
        self.make(&first).await;
        self.same(&first, "after it was made").await;
        self.twice().await;
        let changed = site(&self.ground, Wanted::Changed);
        self.run = "second";
        self.mend(&changed, "specification").await;
        self.same(&changed, "after its specification changed").await;
        (self.run, self.color) = ("third", "blue");
        self.mend(&changed, "tags").await;
        self.same(&changed, "after its tags changed").await;
        self.remove(&changed).await;
        self.problems
    }

    fn has(&self, address: &Address) -> bool {
        !self
            .without
            .iter()
            .any(|service| service == address.kind().service())
    }

    fn real_time(&self) -> bool {
        matches!(self.clock, Clock::System)
    }

    fn cloud(&self) -> CloudCx {
        let scope = Scope {
            site: "acme".into(),
            account: ACCOUNT.into(),
            region: REGION.into(),
            tags: Tags::new().with("color", self.color),
        };
        let mut known = BTreeMap::new();
        for (address, id) in &self.ids {
            texts(id, &mut |text| {
                known.insert(text.to_owned(), address.clone());
            });
        }
        CloudCx::new(
            self.aws.clone(),
            scope,
            self.clock,
            Limits::default(),
            None,
            known,
        )
    }

    async fn pause(&self) {
        let pause = if self.real_time() {
            Duration::from_millis(50)
        } else {
            Duration::from_secs(5)
        };
        self.clock.sleep(pause).await;
    }

    fn patience(&self) -> u32 {
        if self.real_time() {
            PATIENCE_IN_REAL_TIME
        } else {
            PATIENCE
        }
    }

    /// One for each run and address, as the engine has it.
    fn token(&self, address: &Address) -> String {
        let word = address.to_string().replace(['/', ':', '.', '_'], "-");
        format!("{}-{word}", self.run)
    }

    fn problem(&mut self, address: &Address, what: impl std::fmt::Display) {
        self.problems.push(format!("{address}: {what}"));
    }

    // --- making -------------------------------------------------------------------------------

    async fn make(&mut self, wanted: &Blueprint) {
        let shared = wanted.shared();
        for (address, _) in wanted.iter() {
            if !self.has(address) {
                continue;
            }
            if let Err(why) = self.make_one(address, &*shared[address]).await {
                self.problem(address, format!("not made: {why}"));
            }
        }
    }

    async fn make_one(&mut self, address: &Address, spec: &dyn AnyResource) -> Result<(), String> {
        let kind = spec.info();
        let cloud = self.cloud();
        let token = self.token(address);
        let mut tries = 0;
        let (id, _) = loop {
            let cx = ApplyCx {
                cloud: &cloud,
                address,
                token: &token,
                outputs: &self.outputs,
            };
            match spec.create(&cx).await {
                Ok(made) => break made,
                Err(Fault::Later { .. }) if tries < self.patience() => tries += 1,
                Err(fault) => return Err(fault.to_string()),
            }
            self.pause().await;
        };
        self.ids.insert(address.clone(), id.clone());
        if kind.configures && kind.configure == ConfigureWhen::AtOnce {
            self.configure(address, spec, &id, None).await?;
        }
        let mut output = self.ready(kind, &id).await?;
        if kind.configures && kind.configure == ConfigureWhen::WhenReady {
            self.configure(address, spec, &id, None).await?;
            output = self.ready(kind, &id).await?;
        }
        self.outputs.0.insert(address.clone(), output);
        Ok(())
    }

    async fn configure(
        &self,
        address: &Address,
        spec: &dyn AnyResource,
        id: &Value,
        diff: Option<&Diff>,
    ) -> Result<(), String> {
        let cloud = self.cloud();
        let token = self.token(address);
        let mut tries = 0;
        loop {
            let cx = ApplyCx {
                cloud: &cloud,
                address,
                token: &token,
                outputs: &self.outputs,
            };
            let change = diff.map_or(Change::All, Change::Fields);
            match spec.configure(id, change, &cx).await {
                Ok(()) => return Ok(()),
                Err(Fault::Later { .. }) if tries < self.patience() => tries += 1,
                Err(fault) => return Err(format!("not configured: {fault}")),
            }
            self.pause().await;
        }
    }

    async fn ready(&self, kind: &KindInfo, id: &Value) -> Result<Value, String> {
        let mut last = String::new();
        for _ in 0..self.patience() {
            match self.poll(kind, id).await? {
                Readiness::Ready(output) => return Ok(output),
                Readiness::Broken(why) => return Err(format!("broken: {why}")),
                Readiness::Pending(why) => last = why.into_owned(),
                Readiness::Held(fault) => last = fault.to_string(),
                Readiness::Absent => last = "absent".into(),
            }
            self.pause().await;
        }
        Err(format!("never ready: {last}"))
    }

    async fn poll(&self, kind: &KindInfo, id: &Value) -> Result<Readiness<Value>, String> {
        let cloud = self.cloud();
        let polled = (kind.poll)(std::slice::from_ref(id), &cloud)
            .await
            .map_err(|f| f.to_string())?;
        polled
            .into_iter()
            .next()
            .ok_or_else(|| "a poll without an answer".into())
    }

    // --- looking ------------------------------------------------------------------------------

    async fn survey(&mut self) -> Vec<AnyFound> {
        // Listings by tag lag behind.
        self.clock
            .sleep(if self.real_time() {
                Duration::ZERO
            } else {
                Duration::from_mins(1)
            })
            .await;
        let cloud = self.cloud();
        let mut found = vec![];
        for kind in registry::all() {
            if self
                .without
                .iter()
                .any(|service| service == kind.kind.service())
            {
                continue;
            }
            match (kind.survey)(&cloud).await {
                Ok(listed) => found.extend(listed),
                Err(fault) => self
                    .problems
                    .push(format!("survey of {}: {fault}", kind.kind)),
            }
        }
        found.sort_by(|a, b| a.address.cmp(&b.address));
        found
    }

    /// What is there is what is wanted, once each, and nothing else.
    async fn same(&mut self, wanted: &Blueprint, when: &str) {
        let found = self.survey().await;
        let scope = self.cloud().scope().clone();
        let none = BTreeSet::new();
        for (address, spec) in wanted.iter() {
            if !self.has(address) {
                continue;
            }
            let mut mine = found.iter().filter(|f| f.address == *address);
            let Some(one) = mine.next() else {
                self.problem(address, format!("not found {when}"));
                continue;
            };
            if mine.next().is_some() {
                self.problem(address, format!("found twice {when}"));
            }
            if !matches!(one.readiness, Readiness::Ready(_)) {
                self.problem(address, format!("{:?} {when}", one.readiness));
            }
            let cx = PlanCx {
                address,
                scope: &scope,
                outputs: &self.outputs,
                later: &none,
            };
            match spec.diff(&one.live, &cx) {
                Ok(diff) if diff.is_empty() => {}
                Ok(diff) => self.problem(address, format!("differs {when}: {}", told(&diff))),
                Err(fault) => self.problem(address, fault),
            }
        }
        for stray in found.iter().filter(|f| wanted.get(&f.address).is_none()) {
            self.problem(
                &stray.address,
                format!("found {when}, and nobody wanted it"),
            );
        }
    }

    async fn twice(&mut self) {
        let (one, two) = (self.survey().await, self.survey().await);
        for (a, b) in one.iter().zip(&two) {
            if a != b {
                self.problem(
                    &a.address,
                    format!("two surveys see it differently: {a:?} and {b:?}"),
                );
            }
        }
    }

    // --- changing -----------------------------------------------------------------------------

    /// Puts right what differs from the changed site, as an update, never as a replacement.
    async fn mend(&mut self, wanted: &Blueprint, what: &str) {
        let found = self.survey().await;
        let scope = self.cloud().scope().clone();
        let none = BTreeSet::new();
        let shared = wanted.shared();
        let mut changed = 0;
        for (address, spec) in wanted.iter() {
            let Some(one) = found.iter().find(|f| f.address == *address) else {
                continue;
            };
            let cx = PlanCx {
                address,
                scope: &scope,
                outputs: &self.outputs,
                later: &none,
            };
            let diff = match spec.diff(&one.live, &cx) {
                Ok(diff) => diff,
                Err(fault) => {
                    self.problem(address, fault);
                    continue;
                }
            };
            if diff.is_empty() {
                continue;
            }
            changed += 1;
            if diff.fields.iter().any(|f| f.how == How::Replace) {
                self.problem(
                    address,
                    format!("a change of its {what} replaces it: {}", told(&diff)),
                );
                continue;
            }
            let done = match self
                .configure(address, &*shared[address], &one.id, Some(&diff))
                .await
            {
                Ok(()) => self.ready(spec.info(), &one.id).await,
                Err(why) => Err(why),
            };
            match done {
                Ok(output) => {
                    self.outputs.0.insert(address.clone(), output);
                }
                Err(why) => self.problem(address, format!("its {what} did not change: {why}")),
            }
        }
        assert!(
            changed > 10,
            "the changed site has to differ, or this shows nothing: {changed}"
        );
    }

    // --- taking away --------------------------------------------------------------------------

    async fn remove(&mut self, wanted: &Blueprint) {
        let order: Vec<Address> = wanted.iter().map(|(a, _)| a.clone()).collect();
        for address in order.iter().rev() {
            let Some(id) = self.ids.get(address).cloned() else {
                continue;
            };
            let kind = registry::find(address.kind().as_str()).unwrap();
            for time in ["", " again"] {
                if let Err(why) = self.delete(kind, &id).await {
                    self.problem(address, format!("not deleted{time}: {why}"));
                }
            }
        }
        let left = self.survey().await;
        for stray in left {
            self.problem(&stray.address, "still there after it was deleted");
        }
    }

    async fn delete(&self, kind: &KindInfo, id: &Value) -> Result<(), String> {
        let cloud = self.cloud();
        let mut tries = 0;
        while let Err(fault) = (kind.delete)(id, &cloud).await {
            if !matches!(fault, Fault::Later { .. }) || tries == self.patience() {
                return Err(fault.to_string());
            }
            tries += 1;
            self.pause().await;
        }
        if !kind.delete_takes_time {
            return Ok(());
        }
        for _ in 0..self.patience() {
            if self.poll(kind, id).await? == Readiness::Absent {
                return Ok(());
            }
            self.pause().await;
        }
        Err("it never went".into())
    }
}

/// The hosted zone and the image that every account has to begin with.
async fn ground(aws: &Aws) -> Ground {
    let zones = aws.route53.list_hosted_zones().send().await.unwrap();
    let images = aws
        .ec2
        .describe_images()
        .owners("099720109477")
        .filters(
            Filter::builder()
                .name("architecture")
                .values("x86_64")
                .build(),
        )
        .send()
        .await
        .unwrap();
    Ground {
        hosted_zone: zones
            .hosted_zones()
            .iter()
            .find(|z| z.name() == "example.com.")
            .unwrap()
            .id()
            .trim_start_matches("/hostedzone/")
            .to_owned(),
        image: images.images()[0].image_id().unwrap().to_owned(),
    }
}

fn told(diff: &Diff) -> String {
    let fields = diff
        .fields
        .iter()
        .map(|f| format!("{} is {}, wanted {}", f.field, f.have, f.want));
    fields.collect::<Vec<_>>().join("; ")
}

fn texts(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) if !text.is_empty() => see(text),
        Value::Object(map) => map.values().for_each(|v| texts(v, see)),
        Value::Array(list) => list.iter().for_each(|v| texts(v, see)),
        _ => {}
    }
}
