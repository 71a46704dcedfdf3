//! What the plan makes, against what the account may have.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, InstanceType};
use aws_sdk_elasticloadbalancingv2::types::LoadBalancerTypeEnum;
use serde_json::Value;

use super::{Check, Verdict};
use crate::cloud::{Fault, quotas};
use crate::plan::Action;
use crate::resource::{Address, CloudCx};
use crate::session::{Reading, Session};

/// How many of each thing, by gantry's name for its limit.
type Counts = BTreeMap<&'static str, u64>;

/// How many machines of each type.
type Machines = BTreeMap<String, u64>;

impl Session {
    pub(super) async fn quotas(&self, reading: &Reading) -> Result<Vec<Check>, Fault> {
        let (mut needs, machines) = needs(reading);
        let mut used = used(&needs, &self.cx).await?;
        if !machines.is_empty() {
            let running = running(&self.cx).await?;
            let sizes = processors(machines.keys().chain(running.keys()), &self.cx).await?;
            let sum = |all: &Machines| -> u64 {
                let each = all
                    .iter()
                    .map(|(kind, n)| n * sizes.get(kind).unwrap_or(&0));
                each.sum()
            };
            needs.insert("vcpus", sum(&machines));
            used.insert("vcpus", sum(&running));
        }
        let lines: Vec<_> = needs.keys().filter_map(|key| quotas::quota(key)).collect();
        let current = quotas::current(&self.cx, &lines).await?;
        let check = |line: &quotas::QuotaLine| {
            let have = current.get(line.code).copied().unwrap_or(line.default);
            let (need, used) = (needs[line.key], used.get(line.key).copied().unwrap_or(0));
            let seen = format!(
                "{}: {need} more needed, {used} in use, {have} allowed",
                line.name
            );
            let wish = used + need;
            if wish <= have {
                return Check::pass("quota", seen);
            }
            let help = format!("ask for at least {wish} of {} in Service Quotas", line.code);
            Check::new("quota", Verdict::Fail, seen, help)
        };
        Ok(lines.into_iter().map(check).collect())
    }
}

/// What the plan makes of each limited thing, and its machines.
fn needs(reading: &Reading) -> (Counts, Machines) {
    let (mut needs, mut machines) = (Counts::new(), Machines::new());
    let made = reading.plan.changes.iter();
    for change in made.filter(|change| change.action == Action::Create) {
        let spec = |address: &Address| reading.blueprint.get(address).map(|r| r.spec());
        let own = spec(&change.address).unwrap_or_default();
        let number = |key: &str| own.get(key).and_then(Value::as_u64).unwrap_or(0);
        let (key, many) = match change.address.kind().as_str() {
            "ec2/vpc" => ("vpcs", 1),
            "ec2/internet_gateway" => ("internet_gateways", 1),
            "ec2/elastic_ip" => ("addresses", 1),
            "rds/db_instance" | "rds/db_replica" => ("db_instances", 1),
            "elasticache/replication_group" => ("cache_nodes", 1 + number("replicas")),
            "elb/load_balancer" => ("load_balancers", 1),
            "elb/target_group" => ("target_groups", 1),
            "s3/bucket" => ("buckets", 1),
            "ec2/instance" => {
                *machines.entry(text(&own, "instance_type")).or_default() += 1;
                continue;
            }
            "autoscaling/group" => {
                // The launch template the group grows from has the type.
                let template = text(&own, "template").parse().ok();
                let kind =
                    template.and_then(|address| Some(text(&spec(&address)?, "instance_type")));
                *machines.entry(kind.unwrap_or_default()).or_default() += number("desired");
                continue;
            }
            _ => continue,
        };
        *needs.entry(key).or_default() += many;
    }
    (needs, machines)
}

fn text(spec: &Value, key: &str) -> String {
    spec.get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// What the account has already of these, in the region: one listing each.
async fn used(needs: &Counts, cx: &CloudCx) -> Result<Counts, Fault> {
    let mut used = Counts::new();
    for key in needs.keys() {
        used.insert(*key, count(key, cx).await? as u64);
    }
    Ok(used)
}

async fn count(key: &str, cx: &CloudCx) -> Result<usize, Fault> {
    let aws = cx.aws();
    Ok(match key {
        "vpcs" => cx
            .read("ec2:DescribeVpcs", || {
                let pages = aws.ec2.describe_vpcs().into_paginator();
                pages.items().send().collect::<Result<Vec<_>, _>>()
            })
            .await?
            .len(),
        "internet_gateways" => cx
            .read("ec2:DescribeInternetGateways", || {
                let pages = aws.ec2.describe_internet_gateways().into_paginator();
                pages.items().send().collect::<Result<Vec<_>, _>>()
            })
            .await?
            .len(),
        "addresses" => {
            let call = || aws.ec2.describe_addresses().send();
            let listed = cx.read("ec2:DescribeAddresses", call).await?;
            listed.addresses().len()
        }
        "db_instances" => cx
            .read("rds:DescribeDBInstances", || {
                let pages = aws.rds.describe_db_instances().into_paginator();
                pages.items().send().collect::<Result<Vec<_>, _>>()
            })
            .await?
            .len(),
        // Memcached clusters stand in no replication group, and are not counted.
        "cache_nodes" => cx
            .read("elasticache:DescribeReplicationGroups", || {
                let pages = aws
                    .elasticache
                    .describe_replication_groups()
                    .into_paginator();
                pages.items().send().collect::<Result<Vec<_>, _>>()
            })
            .await?
            .iter()
            .map(|group| group.member_clusters().len())
            .sum(),
        "load_balancers" => cx
            .read("elasticloadbalancing:DescribeLoadBalancers", || {
                let pages = aws.elb.describe_load_balancers().into_paginator();
                pages.items().send().collect::<Result<Vec<_>, _>>()
            })
            .await?
            .iter()
            .filter(|balancer| balancer.r#type() == Some(&LoadBalancerTypeEnum::Network))
            .count(),
        "target_groups" => cx
            .read("elasticloadbalancing:DescribeTargetGroups", || {
                let pages = aws.elb.describe_target_groups().into_paginator();
                pages.items().send().collect::<Result<Vec<_>, _>>()
            })
            .await?
            .len(),
        // In all regions: the limit is the account's.
        "buckets" => cx
            .read("s3:ListAllMyBuckets", || {
                let pages = aws.s3.list_buckets().max_buckets(1_000).into_paginator();
                pages.items().send().collect::<Result<Vec<_>, _>>()
            })
            .await?
            .len(),
        _ => 0,
    })
}

/// The machines of the account in the region.
async fn running(cx: &CloudCx) -> Result<Machines, Fault> {
    let listed = cx
        .read("ec2:DescribeInstances", || {
            let states = ["pending", "running"].map(str::to_owned).to_vec();
            let filter = Filter::builder()
                .name("instance-state-name")
                .set_values(Some(states))
                .build();
            let call = cx.aws().ec2.describe_instances().filters(filter);
            let pages = call.into_paginator().items();
            pages.send().collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let mut running = Machines::new();
    for kind in listed
        .iter()
        .flat_map(|reservation| reservation.instances())
        .filter_map(|machine| machine.instance_type())
    {
        *running.entry(kind.as_str().to_owned()).or_default() += 1;
    }
    // Other families have limits of their own.
    running.retain(|kind, _| kind.starts_with(['a', 'c', 'd', 'h', 'i', 'm', 'r', 't', 'z']));
    Ok(running)
}

/// The vCPUs of these types, as EC2 counts them.
async fn processors(
    kinds: impl Iterator<Item = &String>,
    cx: &CloudCx,
) -> Result<BTreeMap<String, u64>, Fault> {
    let kinds: BTreeSet<&String> = kinds.collect();
    let kinds: Vec<InstanceType> = kinds.into_iter().map(|kind| kind.as_str().into()).collect();
    let listed = cx
        .read("ec2:DescribeInstanceTypes", || {
            let call = cx.aws().ec2.describe_instance_types();
            let call = call.set_instance_types(Some(kinds.clone()));
            let pages = call.into_paginator().items();
            pages.send().collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let size = |info: &aws_sdk_ec2::types::InstanceTypeInfo| {
        let cores = info.v_cpu_info()?.default_v_cpus()?;
        let kind = info.instance_type()?.as_str().to_owned();
        Some((kind, u64::try_from(cores).ok()?))
    };
    Ok(listed.iter().filter_map(size).collect())
}
