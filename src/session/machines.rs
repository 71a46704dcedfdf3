//! How the machines are: those with an address of their own and those that Auto Scaling made, whether their last boot
//! ended well, and what the load balancers think of them.
//!
//! One paged listing of instances and one call for each target group, however many machines there are.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, Instance as Live};

use super::{Reading, Session};
use crate::cloud::Fault;
use crate::inventory::Node;
use crate::kinds::autoscaling::{self, AT_BIRTH, Group};
use crate::kinds::ec2::BOOT_TAG;
use crate::kinds::elb::TargetGroup;
use crate::resource::{ADDRESS_TAG, Address, ROLE_TAG, Resource, SITE_TAG};

/// What the balancers say of each instance, by its id: `web healthy, ssh unhealthy`.
type Health = BTreeMap<String, Vec<String>>;

impl Session {
    /// The machines of the site, in the order of their names.
    pub async fn machines(&self, reading: &Reading) -> Result<Vec<Node>, Fault> {
        let (instances, health) = futures::try_join!(self.instances(), self.health(reading))?;
        let mut nodes: Vec<Node> = instances
            .iter()
            .filter_map(|instance| node(instance, &health))
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nodes)
    }

    /// The Rails group's name; none before it was made, and where there is none.
    pub(super) fn rails_group(&self) -> Option<String> {
        let outputs = self.store.state().outputs();
        let name = outputs
            .0
            .get(&Address::new(Group::KIND, "rails"))?
            .get("name")?;
        Some(name.as_str()?.to_owned())
    }

    /// Ends what the Rails group leaves off since it was made: from now on a machine that is ill is replaced.
    pub async fn release_group(&self) -> Result<(), Fault> {
        match self.rails_group() {
            Some(group) => autoscaling::hold(&self.cx, &group, &AT_BIRTH, false).await,
            None => Ok(()),
        }
    }

    async fn instances(&self) -> Result<Vec<Live>, Fault> {
        let filter = |name: &str, values: &[&str]| {
            let values = values.iter().map(|v| (*v).to_owned()).collect();
            Filter::builder()
                .name(name)
                .set_values(Some(values))
                .build()
        };
        let filters = vec![
            filter(&format!("tag:{SITE_TAG}"), &[self.cx.site()]),
            filter(
                "instance-state-name",
                &["pending", "running", "stopping", "stopped"],
            ),
        ];
        let found = self
            .cx
            .read("ec2:DescribeInstances", || {
                self.cx
                    .aws()
                    .ec2
                    .describe_instances()
                    .set_filters(Some(filters.clone()))
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let instances = found
            .into_iter()
            .flat_map(|r| r.instances.unwrap_or_default());
        Ok(instances.collect())
    }

    async fn health(&self, reading: &Reading) -> Result<Health, Fault> {
        let mut health = Health::new();
        for found in reading.survey.found.values() {
            let arn = found
                .id
                .as_str()
                .filter(|_| *found.address.kind() == TargetGroup::KIND);
            let Some(arn) = arn else { continue };
            let asked = self
                .cx
                .read("elasticloadbalancing:DescribeTargetHealth", || {
                    let ask = self.cx.aws().elb.describe_target_health();
                    ask.target_group_arn(arn).send()
                })
                .await;
            let asked = match asked {
                Err(fault) if fault.is_gone() => continue,
                other => other?,
            };
            for target in asked.target_health_descriptions() {
                let id = target.target().and_then(|t| t.id()).unwrap_or_default();
                let state = target.target_health().and_then(|h| h.state());
                let word = state.map_or("unknown", |state| state.as_str());
                let said = format!("{} {word}", found.address.name());
                health.entry(id.to_owned()).or_default().push(said);
            }
        }
        Ok(health)
    }
}

fn node(instance: &Live, health: &Health) -> Option<Node> {
    let tag = |key: &str| {
        let tag = instance.tags().iter().find(|tag| tag.key() == Some(key));
        tag.and_then(|tag| tag.value())
    };
    let id = instance.instance_id()?.to_owned();
    let role = tag(ROLE_TAG).unwrap_or_default().to_owned();
    // A machine of a group has the address of the group's template, or none; boots call it by its id, too.
    let name = tag(ADDRESS_TAG)
        .and_then(|address| address.parse::<Address>().ok())
        .filter(|address| *address.kind() == crate::kinds::ec2::Instance::KIND)
        .map_or_else(
            || format!("{role}-{id}"),
            |address| address.name().to_owned(),
        );
    let state = instance.state().and_then(|s| s.name());
    let zone = instance.placement().and_then(|p| p.availability_zone());
    Some(Node {
        name,
        role,
        zone: zone.unwrap_or_default().to_owned(),
        address: instance.private_ip_address().unwrap_or_default().to_owned(),
        state: state.map_or("unknown", |state| state.as_str()).to_owned(),
        boot: tag(BOOT_TAG).map(ToOwned::to_owned),
        balancers: health.get(&id).cloned().unwrap_or_default(),
        id,
    })
}
