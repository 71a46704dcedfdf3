//! The exact set of rules of one security group: what is missing is added, what nobody wants there goes.
//!
//! The rules have no tags of their own here; they are found by their group's, under the group's name. A group
//! without any rule counts as one whose rules are still to be made, so a set must not be empty.
//! Deleting takes all rules away, which also unties groups that name each other.

use aws_sdk_ec2::types::{
    IpPermission, IpRange, Ipv6Range, PrefixListId, SecurityGroup as Live, UserIdGroupPair,
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ElasticIp, SecurityGroup, by, in_order, ours, security_group, text};
use crate::cloud::Fault;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource,
};

/// What a group lets in and out. Its address bears the group's name.
#[derive(Debug, Clone, Serialize)]
pub struct SecurityGroupRules {
    pub group: Ref<SecurityGroup>,
    pub ingress: Vec<Rule>,
    pub egress: Vec<Rule>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Rule {
    pub peer: Peer,
    pub protocol: Protocol,
    pub from_port: u16,
    pub to_port: u16,
    /// The rule's description in AWS.
    pub why: String,
}

/// Who is at the other end.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    Cidr(Ipv4Net),
    Group(Ref<SecurityGroup>),
    /// One address of ours, known once it is allocated: what a NAT gateway's traffic comes from.
    Address(Ref<ElasticIp>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRulesOutput {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRulesLive {
    pub group: String,
    pub ingress: Vec<LiveRule>,
    pub egress: Vec<LiveRule>,
}

/// One rule as AWS has it; anything a person may have added can be written so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LiveRule {
    /// An IPv4 or IPv6 range, a group, or a prefix list.
    pub peer: String,
    pub protocol: String,
    pub from_port: Option<i32>,
    pub to_port: Option<i32>,
    pub why: String,
}

/// The direction of traffic, seen from the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Ingress,
    Egress,
}

impl LiveRule {
    /// The rule AWS puts into every new group: everything to everywhere.
    pub(super) fn everything() -> Self {
        Self {
            peer: "0.0.0.0/0".into(),
            protocol: "-1".into(),
            from_port: None,
            to_port: None,
            why: String::new(),
        }
    }

    /// Whether AWS takes the two for the same rule: descriptions do not count.
    pub(super) fn same_traffic(&self, other: &Self) -> bool {
        self.peer == other.peer
            && self.protocol == other.protocol
            && self.from_port == other.from_port
            && self.to_port == other.to_port
    }

    fn permission(&self) -> IpPermission {
        let why = (!self.why.is_empty()).then(|| self.why.clone());
        let permission = IpPermission::builder()
            .ip_protocol(&self.protocol)
            .set_from_port(self.from_port)
            .set_to_port(self.to_port);
        let peer = self.peer.as_str();
        if peer.starts_with("sg-") {
            let pair = UserIdGroupPair::builder().group_id(peer);
            permission.user_id_group_pairs(pair.set_description(why).build())
        } else if peer.starts_with("pl-") {
            let list = PrefixListId::builder().prefix_list_id(peer);
            permission.prefix_list_ids(list.set_description(why).build())
        } else if peer.contains(':') {
            let range = Ipv6Range::builder().cidr_ipv6(peer);
            permission.ipv6_ranges(range.set_description(why).build())
        } else {
            let range = IpRange::builder().cidr_ip(peer);
            permission.ip_ranges(range.set_description(why).build())
        }
        .build()
    }
}

impl Resource for SecurityGroupRules {
    const KIND: Kind = Kind::new("ec2/security_group_rules");
    /// Making the set exact twice is the same as once.
    const REPLAY: Replay = Replay::Token;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:DescribeSecurityGroups",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:AuthorizeSecurityGroupEgress",
        "ec2:RevokeSecurityGroupIngress",
        "ec2:RevokeSecurityGroupEgress",
        "ec2:UpdateSecurityGroupRuleDescriptionsIngress",
        "ec2:UpdateSecurityGroupRuleDescriptionsEgress",
    ];

    /// The group's id.
    type Id = String;
    type Output = SecurityGroupRulesOutput;
    type Live = SecurityGroupRulesLive;

    fn refs(&self) -> Vec<&Address> {
        let peers = self.ingress.iter().chain(&self.egress);
        let groups = peers.filter_map(|r| match &r.peer {
            Peer::Group(group) => Some(group.address()),
            Peer::Address(address) => Some(address.address()),
            Peer::Cidr(_) => None,
        });
        std::iter::once(self.group.address())
            .chain(groups)
            .collect()
    }

    fn diff(&self, live: &SecurityGroupRulesLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("group", cx.want(&self.group, |g| g.id), &live.group)
            .field("ingress", planned(&self.ingress, cx), sorted(&live.ingress))
            .field("egress", planned(&self.egress, cx), sorted(&live.egress))
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = security_group::of_site(cx).await?;
        Ok(listed.iter().filter_map(|t| found(t, cx.site())).collect())
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<SecurityGroupRulesOutput>>, Fault> {
        let listed = cx
            .read("ec2:DescribeSecurityGroups", || {
                cx.aws()
                    .ec2
                    .describe_security_groups()
                    .filters(by("group-id", ids))
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(in_order(ids, &listed, Live::group_id, readiness))
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let id = cx.get(&self.group)?.id;
        let ingress = wanted(&self.ingress, cx)?;
        let egress = wanted(&self.egress, cx)?;
        // A new group is empty, so no look is needed, unless an earlier attempt came this far.
        let empty = [];
        let mut made = settle(&id, Side::Ingress, &ingress, &empty, cx.cloud).await;
        if made.is_ok() {
            made = settle(&id, Side::Egress, &egress, &empty, cx.cloud).await;
        }
        match made {
            Err(fault) if fault.is_exists() => self.make_exact(&id, cx).await?,
            other => other?,
        }
        Ok(Created::Done(id, SecurityGroupRulesOutput {}))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        match change {
            Change::Fields(diff) if diff.has_any(&["ingress", "egress"]) => {
                self.make_exact(id, cx).await
            }
            _ => Ok(()),
        }
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let group = match look(id, cx).await {
            Err(fault) if fault.is_gone() => return Ok(()),
            other => other?,
        };
        for side in [Side::Ingress, Side::Egress] {
            revoke(id, side, &rules_of(&group, side), cx).await?;
        }
        Ok(())
    }
}

impl SecurityGroupRules {
    /// Looks at the group and puts right what differs.
    async fn make_exact(&self, id: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let ingress = wanted(&self.ingress, cx)?;
        let egress = wanted(&self.egress, cx)?;
        let group = look(id, cx.cloud).await?;
        for (side, want) in [(Side::Ingress, ingress), (Side::Egress, egress)] {
            settle(id, side, &want, &rules_of(&group, side), cx.cloud).await?;
        }
        Ok(())
    }
}

/// The wanted rules with the ids of their groups, each kind of traffic once.
fn wanted(rules: &[Rule], cx: &ApplyCx<'_>) -> Result<Vec<LiveRule>, Fault> {
    let mut wanted: Vec<LiveRule> = Vec::new();
    for rule in rules {
        let peer = match &rule.peer {
            Peer::Cidr(range) => range.trunc().to_string(),
            Peer::Group(group) => cx.get(group)?.id,
            Peer::Address(address) => format!("{}/32", cx.get(address)?.address),
        };
        let rule = LiveRule {
            peer,
            protocol: rule.protocol.as_str().to_owned(),
            from_port: Some(rule.from_port.into()),
            to_port: Some(rule.to_port.into()),
            why: rule.why.clone(),
        };
        if !wanted.iter().any(|w| w.same_traffic(&rule)) {
            wanted.push(rule);
        }
    }
    Ok(wanted)
}

/// As [`wanted`], for a plan: a group that is still to be made has no id yet.
fn planned(rules: &[Rule], cx: &PlanCx<'_>) -> Vec<Value> {
    let mut planned: Vec<Value> = Vec::new();
    for rule in rules {
        let peer = match &rule.peer {
            Peer::Cidr(range) => json!(range.trunc()),
            Peer::Group(group) => cx.want(group, |g| g.id),
            Peer::Address(address) => cx.want(address, |a| format!("{}/32", a.address)),
        };
        let rule = json!({"peer": peer, "protocol": rule.protocol.as_str(),
            "from_port": rule.from_port, "to_port": rule.to_port, "why": rule.why});
        let traffic =
            |r: &Value| ["peer", "protocol", "from_port", "to_port"].map(|key| r[key].clone());
        // Two groups still to be made look alike here; both lines stay in the plan.
        let later = rule["peer"] == crate::resource::KNOWN_LATER;
        if later || !planned.iter().any(|p| traffic(p) == traffic(&rule)) {
            planned.push(rule);
        }
    }
    planned.sort_by_key(ToString::to_string);
    planned
}

/// The rules in the order of [`planned`].
fn sorted(rules: &[LiveRule]) -> Vec<Value> {
    let mut rules: Vec<Value> = rules.iter().map(|r| json!(r)).collect();
    rules.sort_by_key(ToString::to_string);
    rules
}

/// Turns the rules it has into those it should have: first what is missing, so that traffic never stops,
/// then descriptions, then what nobody wants.
async fn settle(
    id: &str,
    side: Side,
    want: &[LiveRule],
    have: &[LiveRule],
    cx: &CloudCx,
) -> Result<(), Fault> {
    let there = |rule: &LiveRule| have.iter().find(|h| h.same_traffic(rule));
    let missing = want.iter().filter(|w| there(w).is_none());
    let reworded = want
        .iter()
        .filter(|w| there(w).is_some_and(|h| h.why != w.why));
    let surplus: Vec<LiveRule> = have
        .iter()
        .filter(|h| !want.iter().any(|w| w.same_traffic(h)))
        .cloned()
        .collect();
    authorize(id, side, missing.map(LiveRule::permission).collect(), cx).await?;
    reword(id, side, reworded.map(LiveRule::permission).collect(), cx).await?;
    revoke(id, side, &surplus, cx).await
}

async fn authorize(
    id: &str,
    side: Side,
    rules: Vec<IpPermission>,
    cx: &CloudCx,
) -> Result<(), Fault> {
    if rules.is_empty() {
        return Ok(());
    }
    let ec2 = &cx.aws().ec2;
    match side {
        Side::Ingress => {
            cx.put("ec2:AuthorizeSecurityGroupIngress", || {
                ec2.authorize_security_group_ingress()
                    .group_id(id)
                    .set_ip_permissions(Some(rules.clone()))
                    .send()
            })
            .await?;
        }
        Side::Egress => {
            cx.put("ec2:AuthorizeSecurityGroupEgress", || {
                ec2.authorize_security_group_egress()
                    .group_id(id)
                    .set_ip_permissions(Some(rules.clone()))
                    .send()
            })
            .await?;
        }
    }
    Ok(())
}

async fn reword(id: &str, side: Side, rules: Vec<IpPermission>, cx: &CloudCx) -> Result<(), Fault> {
    if rules.is_empty() {
        return Ok(());
    }
    let ec2 = &cx.aws().ec2;
    match side {
        Side::Ingress => {
            cx.put("ec2:UpdateSecurityGroupRuleDescriptionsIngress", || {
                ec2.update_security_group_rule_descriptions_ingress()
                    .group_id(id)
                    .set_ip_permissions(Some(rules.clone()))
                    .send()
            })
            .await?;
        }
        Side::Egress => {
            cx.put("ec2:UpdateSecurityGroupRuleDescriptionsEgress", || {
                ec2.update_security_group_rule_descriptions_egress()
                    .group_id(id)
                    .set_ip_permissions(Some(rules.clone()))
                    .send()
            })
            .await?;
        }
    }
    Ok(())
}

/// Takes rules away; those that are gone already are fine.
pub(super) async fn revoke(
    id: &str,
    side: Side,
    rules: &[LiveRule],
    cx: &CloudCx,
) -> Result<(), Fault> {
    if rules.is_empty() {
        return Ok(());
    }
    let ec2 = &cx.aws().ec2;
    let all: Vec<IpPermission> = rules.iter().map(LiveRule::permission).collect();
    let revoke_these = |these: Vec<IpPermission>| async move {
        match side {
            Side::Ingress => cx
                .put("ec2:RevokeSecurityGroupIngress", || {
                    ec2.revoke_security_group_ingress()
                        .group_id(id)
                        .set_ip_permissions(Some(these.clone()))
                        .send()
                })
                .await
                .map(drop),
            Side::Egress => cx
                .put("ec2:RevokeSecurityGroupEgress", || {
                    ec2.revoke_security_group_egress()
                        .group_id(id)
                        .set_ip_permissions(Some(these.clone()))
                        .send()
                })
                .await
                .map(drop),
        }
    };
    // The group itself may be so new that EC2 does not know it yet: that is no rule gone.
    let without = |fault: &Fault| fault.code() == "InvalidPermission.NotFound";
    match revoke_these(all.clone()).await {
        Err(fault) if without(&fault) => {}
        other => return other,
    }
    if all.len() == 1 {
        return Ok(());
    }
    // One that is gone keeps AWS from touching the others: one by one then.
    for rule in all {
        match revoke_these(vec![rule]).await {
            Err(fault) if without(&fault) => {}
            other => other?,
        }
    }
    Ok(())
}

/// The group, read by id: such reads show at once what listings by filter show later.
async fn look(id: &str, cx: &CloudCx) -> Result<Live, Fault> {
    let listed = cx
        .read("ec2:DescribeSecurityGroups", || {
            cx.aws().ec2.describe_security_groups().group_ids(id).send()
        })
        .await?;
    listed
        .security_groups()
        .first()
        .cloned()
        .ok_or_else(|| Fault::Gone {
            call: "ec2:DescribeSecurityGroups".into(),
            code: "InvalidGroup.NotFound".into(),
            message: format!("the security group {id} is not there"),
        })
}

/// A group's rules, one for each peer, sorted.
pub(super) fn rules_of(group: &Live, side: Side) -> Vec<LiveRule> {
    let permissions = match side {
        Side::Ingress => group.ip_permissions(),
        Side::Egress => group.ip_permissions_egress(),
    };
    let mut rules = Vec::new();
    for permission in permissions {
        let protocol = text(permission.ip_protocol());
        // AWS leaves the ports out of "everything"; others write -1.
        let ports = (protocol != "-1").then(|| (permission.from_port(), permission.to_port()));
        let (from_port, to_port) = ports.unwrap_or_default();
        let mut add = |peer: Option<&str>, why: Option<&str>| {
            rules.push(LiveRule {
                peer: text(peer),
                protocol: protocol.clone(),
                from_port,
                to_port,
                why: text(why),
            });
        };
        for range in permission.ip_ranges() {
            add(range.cidr_ip(), range.description());
        }
        for range in permission.ipv6_ranges() {
            add(range.cidr_ipv6(), range.description());
        }
        for list in permission.prefix_list_ids() {
            add(list.prefix_list_id(), list.description());
        }
        for pair in permission.user_id_group_pairs() {
            add(pair.group_id(), pair.description());
        }
    }
    rules.sort();
    rules
}

fn found(group: &Live, site: &str) -> Option<Found<SecurityGroupRules>> {
    let owner = ours::<SecurityGroup>(group.tags(), site)?;
    let (ingress, egress) = (
        rules_of(group, Side::Ingress),
        rules_of(group, Side::Egress),
    );
    if ingress.is_empty() && egress.is_empty() {
        return None;
    }
    Some(Found {
        address: Address::new(SecurityGroupRules::KIND, owner.name()),
        id: text(group.group_id()),
        live: SecurityGroupRulesLive {
            group: text(group.group_id()),
            ingress,
            egress,
        },
        readiness: readiness(group),
    })
}

fn readiness(group: &Live) -> Readiness<SecurityGroupRulesOutput> {
    if group.ip_permissions().is_empty() && group.ip_permissions_egress().is_empty() {
        return Readiness::Absent;
    }
    Readiness::Ready(SecurityGroupRulesOutput {})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(peer: &str, why: &str) -> LiveRule {
        LiveRule {
            peer: peer.into(),
            protocol: "tcp".into(),
            from_port: Some(443),
            to_port: Some(443),
            why: why.into(),
        }
    }

    #[test]
    fn a_rule_survives_the_way_to_aws_and_back() {
        for peer in ["10.0.0.0/8", "2001:db8::/32", "sg-1", "pl-1"] {
            let rule = rule(peer, "because");
            let group = Live::builder().ip_permissions(rule.permission()).build();
            assert_eq!(rules_of(&group, Side::Ingress), [rule]);
        }
    }

    #[test]
    fn a_description_makes_no_other_rule() {
        assert!(rule("sg-1", "a").same_traffic(&rule("sg-1", "b")));
        assert!(!rule("sg-1", "a").same_traffic(&rule("sg-2", "a")));
    }
}
