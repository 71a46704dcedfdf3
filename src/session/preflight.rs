//! Every check that can be made before the first write.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{InstallOptions, Reading, Session, SessionError};
use crate::cloud::{Fault, quotas};
use crate::plan::Action;

/// One check and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked, in a word or two.
    pub name: String,
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// What to do when it failed; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help: String,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    /// Install works, but somebody should know.
    Warn,
    Fail,
}

impl Check {
    fn new(name: &str, verdict: Verdict, seen: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            verdict,
            seen: seen.into(),
            help: help.into(),
        }
    }

    fn pass(name: &str, seen: impl Into<String>) -> Self {
        Self::new(name, Verdict::Pass, seen, "")
    }
}

impl Session {
    /// Looks at identity, offerings, DNS, quotas and the plan. Writes nothing.
    pub async fn preflight(&self) -> Result<Vec<Check>, SessionError> {
        let mut checks = vec![Check::pass(
            "identity",
            format!("{} in account {}", self.identity.arn, self.identity.account),
        )];
        let reading = match self.read(&InstallOptions::default()).await {
            Ok(reading) => reading,
            Err(SessionError::Facts(error)) => {
                let help = miette::Diagnostic::help(&error)
                    .map(|h| h.to_string())
                    .unwrap_or_default();
                checks.push(Check::new(
                    "offerings",
                    Verdict::Fail,
                    error.to_string(),
                    help,
                ));
                return Ok(checks);
            }
            Err(SessionError::Contradiction(complaints)) => {
                let help = "change the site file; `gantry plan` says the same".to_owned();
                checks.push(Check::new(
                    "blueprint",
                    Verdict::Fail,
                    complaints.join("; "),
                    help,
                ));
                return Ok(checks);
            }
            Err(other) => return Err(other),
        };
        checks.push(Check::pass(
            "offerings",
            format!(
                "every instance type is offered in {}",
                reading.facts.zones.join(", ")
            ),
        ));
        checks.push(self.dns(&reading));
        checks.push(doubles(&reading));
        checks.push(refusals(&reading));
        checks.extend(self.quotas(&reading).await?);
        Ok(checks)
    }

    fn dns(&self, reading: &Reading) -> Check {
        let domain = &self.site.site.domain;
        match &reading.facts.hosted_zone {
            Some(zone) => Check::pass(
                "dns",
                format!("{domain} is in the hosted zone {}", zone.name),
            ),
            None => Check::new(
                "dns",
                Verdict::Warn,
                format!("no hosted zone of this account holds {domain}"),
                "install will print the records to create by hand, and finish in a later run",
            ),
        }
    }

    /// What the plan makes, against what the account may have.
    async fn quotas(&self, reading: &Reading) -> Result<Vec<Check>, Fault> {
        let mut needs: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut machines: BTreeMap<String, u64> = BTreeMap::new();
        for change in reading
            .plan
            .changes
            .iter()
            .filter(|c| c.action == Action::Create)
        {
            let spec = reading
                .blueprint
                .get(&change.address)
                .map(|r| r.spec())
                .unwrap_or_default();
            let number = |key: &str| spec.get(key).and_then(Value::as_u64).unwrap_or(0);
            let (key, many) = match change.address.kind().as_str() {
                "ec2/vpc" => ("vpcs", 1),
                "ec2/elastic_ip" => ("addresses", 1),
                "rds/db_instance" | "rds/db_replica" => ("db_instances", 1),
                "elasticache/replication_group" => ("cache_nodes", 1 + number("replicas")),
                "elb/load_balancer" => ("load_balancers", 1),
                "elb/target_group" => ("target_groups", 1),
                "s3/bucket" => ("buckets", 1),
                "ec2/instance" => {
                    *machines.entry(text(&spec, "instance_type")).or_default() += 1;
                    continue;
                }
                "autoscaling/group" => {
                    // The launch template the group grows from has the type.
                    let template = text(&spec, "template").parse().ok();
                    let kind = template
                        .and_then(|a| reading.blueprint.get(&a))
                        .map(|t| text(&t.spec(), "instance_type"));
                    *machines.entry(kind.unwrap_or_default()).or_default() += number("desired");
                    continue;
                }
                _ => continue,
            };
            *needs.entry(key).or_default() += many;
        }
        if !machines.is_empty() {
            needs.insert("vcpus", self.processors(&machines).await?);
        }
        let used = self.used(&needs).await?;
        let lines: Vec<_> = needs.keys().filter_map(|key| quotas::quota(key)).collect();
        let current = quotas::current(&self.cx, &lines).await?;
        Ok(lines
            .into_iter()
            .map(|line| {
                let (need, have) = (
                    needs[line.key],
                    current.get(line.code).copied().unwrap_or(line.default),
                );
                let used = used.get(line.key).copied().unwrap_or(0);
                let seen = format!(
                    "{}: {need} more needed, {used} in use, {have} allowed",
                    line.name
                );
                if used + need <= have {
                    return Check::pass("quota", seen);
                }
                let wish = used + need;
                Check::new(
                    "quota",
                    Verdict::Fail,
                    seen,
                    format!("ask for at least {wish} of {} in Service Quotas", line.code),
                )
            })
            .collect())
    }

    /// vCPUs of these machines, as EC2 counts them.
    async fn processors(&self, machines: &BTreeMap<String, u64>) -> Result<u64, Fault> {
        let types: Vec<aws_sdk_ec2::types::InstanceType> =
            machines.keys().map(|k| k.as_str().into()).collect();
        let listed = self
            .cx
            .read("ec2:DescribeInstanceTypes", || {
                let call = self
                    .cx
                    .aws()
                    .ec2
                    .describe_instance_types()
                    .set_instance_types(Some(types.clone()));
                call.into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(listed
            .iter()
            .map(|t| {
                let each = t
                    .v_cpu_info()
                    .and_then(|v| v.default_v_cpus())
                    .and_then(|n| u64::try_from(n).ok())
                    .unwrap_or(0);
                let name = t
                    .instance_type()
                    .map(|t| t.as_str().to_owned())
                    .unwrap_or_default();
                each * machines.get(&name).copied().unwrap_or(0)
            })
            .sum())
    }

    /// What the account uses already of the two limits that small accounts meet first.
    async fn used(
        &self,
        needs: &BTreeMap<&'static str, u64>,
    ) -> Result<BTreeMap<&'static str, u64>, Fault> {
        let mut used = BTreeMap::new();
        if needs.contains_key("vpcs") {
            let vpcs = self
                .cx
                .read("ec2:DescribeVpcs", || {
                    self.cx
                        .aws()
                        .ec2
                        .describe_vpcs()
                        .into_paginator()
                        .items()
                        .send()
                        .collect::<Result<Vec<_>, _>>()
                })
                .await?;
            used.insert("vpcs", vpcs.len() as u64);
        }
        if needs.contains_key("addresses") {
            let listed = self
                .cx
                .read("ec2:DescribeAddresses", || {
                    self.cx.aws().ec2.describe_addresses().send()
                })
                .await?;
            used.insert("addresses", listed.addresses().len() as u64);
        }
        Ok(used)
    }
}

fn doubles(reading: &Reading) -> Check {
    let doubles = &reading.survey.doubles;
    if doubles.is_empty() {
        return Check::pass("tags", "no two resources carry the same address");
    }
    let names: Vec<_> = doubles.keys().map(ToString::to_string).collect();
    Check::new(
        "tags",
        Verdict::Fail,
        format!("more than one resource is tagged {}", names.join(", ")),
        "remove the tags of the wrong one",
    )
}

fn refusals(reading: &Reading) -> Check {
    let refused = &reading.plan.refused;
    if refused.is_empty() {
        return Check::pass("plan", crate::ui::totals_line(&reading.plan));
    }
    let names: Vec<_> = refused
        .iter()
        .map(|r| format!("{}: {}", r.address, r.why))
        .collect();
    Check::new(
        "plan",
        Verdict::Fail,
        names.join("; "),
        "install refuses this without --replace",
    )
}

fn text(spec: &Value, key: &str) -> String {
    spec.get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
