//! Security groups and their rules.
//!
//! A row keeps its rules as AWS shows them, gathered by protocol and ports; every change takes them apart
//! into single rules and gathers them again.

use ipnet::{Ipv4Net, Ipv6Net};
use serde_json::{Value, json};

use super::{Handler, arn, describe, group_check, need, page, shown, tag_set, tags_asked, yes};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Row, World};

pub(super) const ACTIONS: &[&str] = &[
    "CreateSecurityGroup",
    "DescribeSecurityGroups",
    "DeleteSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "AuthorizeSecurityGroupEgress",
    "RevokeSecurityGroupIngress",
    "RevokeSecurityGroupEgress",
    "UpdateSecurityGroupRuleDescriptionsIngress",
    "UpdateSecurityGroupRuleDescriptionsEgress",
];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "CreateSecurityGroup" => create,
        "DescribeSecurityGroups" => list,
        "DeleteSecurityGroup" => delete,
        "AuthorizeSecurityGroupIngress" => |world, call| authorize(world, call, INGRESS),
        "AuthorizeSecurityGroupEgress" => |world, call| authorize(world, call, EGRESS),
        "RevokeSecurityGroupIngress" => |world, call| revoke(world, call, INGRESS),
        "RevokeSecurityGroupEgress" => |world, call| revoke(world, call, EGRESS),
        "UpdateSecurityGroupRuleDescriptionsIngress" => |world, call| reword(world, call, INGRESS),
        "UpdateSecurityGroupRuleDescriptionsEgress" => |world, call| reword(world, call, EGRESS),
        _ => return None,
    })
}

const TABLE: &str = "ec2/security_group";
const INGRESS: &str = "ipPermissions";
const EGRESS: &str = "ipPermissionsEgress";

/// One rule: one peer.
#[derive(Debug, Clone, PartialEq)]
struct Rule {
    protocol: String,
    from: Option<i64>,
    to: Option<i64>,
    peer: String,
    why: Option<String>,
}

impl Rule {
    /// Descriptions make no other rule.
    fn is_same(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.from == other.from
            && self.to == other.to
            && self.peer == other.peer
    }

    fn everything(peer: &str) -> Self {
        Self {
            protocol: "-1".into(),
            from: None,
            to: None,
            peer: peer.into(),
            why: None,
        }
    }
}

/// Where the peers of a permission stand: the set's name in calls and in answers, and the key of its items.
const PEERS: [(&str, &str, &str, &str); 4] = [
    ("Groups", "groups", "GroupId", "groupId"),
    ("IpRanges", "ipRanges", "CidrIp", "cidrIp"),
    ("Ipv6Ranges", "ipv6Ranges", "CidrIpv6", "cidrIpv6"),
    (
        "PrefixListIds",
        "prefixListIds",
        "PrefixListId",
        "prefixListId",
    ),
];

/// The single rules of a group in one direction.
fn rules(row: &Row, side: &str) -> Vec<Rule> {
    let mut rules = Vec::new();
    for permission in row.v[side]["item"].as_array().into_iter().flatten() {
        for (_, set, _, key) in PEERS {
            for peer in permission[set]["item"].as_array().into_iter().flatten() {
                rules.push(Rule {
                    protocol: permission["ipProtocol"].as_str().unwrap_or_default().into(),
                    from: permission["fromPort"].as_i64(),
                    to: permission["toPort"].as_i64(),
                    peer: peer[key].as_str().unwrap_or_default().into(),
                    why: peer["description"].as_str().map(Into::into),
                });
            }
        }
    }
    rules
}

/// Rules as AWS shows them.
fn gathered(rules: &[Rule], account: &str) -> Value {
    let mut permissions: Vec<Value> = Vec::new();
    for rule in rules {
        let alike = |p: &&mut Value| {
            p["ipProtocol"] == rule.protocol
                && p["fromPort"].as_i64() == rule.from
                && p["toPort"].as_i64() == rule.to
        };
        let (set, key) = match rule.peer.as_str() {
            p if p.starts_with("sg-") => ("groups", "groupId"),
            p if p.starts_with("pl-") => ("prefixListIds", "prefixListId"),
            p if p.contains(':') => ("ipv6Ranges", "cidrIpv6"),
            _ => ("ipRanges", "cidrIp"),
        };
        let mut peer = json!({key: rule.peer, "description": rule.why});
        if set == "groups" {
            peer["userId"] = json!(account);
        }
        match permissions.iter_mut().find(alike) {
            Some(permission) => {
                if let Value::Array(items) = &mut permission[set]["item"] {
                    items.push(peer);
                }
            }
            None => {
                let mut permission =
                    json!({"ipProtocol": rule.protocol, "fromPort": rule.from, "toPort": rule.to});
                for (_, name, _, _) in PEERS {
                    permission[name] = json!({"item": []});
                }
                permission[set] = json!({"item": [peer]});
                permissions.push(permission);
            }
        }
    }
    json!({"item": permissions})
}

fn set_rules(world: &mut World, call: &Call, id: &str, side: &str, rules: &[Rule]) {
    let all = gathered(rules, &world.account);
    if let Some(row) = world.get_mut(&call.region, TABLE, id) {
        row.set(side, all);
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::bad("InvalidParameterValue", message)
}

/// Letters, digits, spaces and AWS's list of signs, at most 255.
fn plain(what: &str, text: &str) -> Result<(), Refusal> {
    let fits = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if text.chars().count() > 255 || !text.chars().all(fits) {
        return Err(bad(format!(
            "Invalid {what}. Valid {what}s are strings less than 256 characters from the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$*"
        )));
    }
    Ok(())
}

fn insert<'w>(
    world: &'w mut World,
    call: &Call,
    vpc: &str,
    name: &str,
    description: &str,
) -> (String, &'w mut Row) {
    let id = world.id("sg");
    let arn = arn(world, &call.region, "security-group", &id);
    let egress = gathered(&[Rule::everything("0.0.0.0/0")], &world.account);
    let v = json!({"groupId": id, "groupName": name, "groupDescription": description, "vpcId": vpc,
        "ownerId": world.account, "securityGroupArn": arn, INGRESS: {"item": []}, EGRESS: egress, "_arn": arn});
    let row = world.insert(&call.region, TABLE, &id, v, call.now);
    (id, row)
}

/// The group that comes and goes with its network: everything from itself, everything out.
pub(super) fn default_group(world: &mut World, call: &Call, vpc: &str) {
    let account = world.account.clone();
    let (id, row) = insert(world, call, vpc, "default", "default VPC security group");
    row.set(INGRESS, gathered(&[Rule::everything(&id)], &account));
    row.set("_default", true);
}

/// The default group of a network.
pub(super) fn default_of(world: &World, region: &str, vpc: &str) -> Option<String> {
    world
        .rows(region, TABLE)
        .find(|(_, r)| r.text("vpcId") == vpc && r.is("_default"))
        .map(|(id, _)| id.clone())
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("GroupName")?.to_owned();
    let description = call.need("GroupDescription")?.to_owned();
    let vpc = call.need("VpcId")?.to_owned();
    need(world, call, "ec2/vpc", &vpc, "InvalidVpcID.NotFound")?;
    plain("security group name", &name)?;
    plain("security group description", &description)?;
    if name.starts_with("sg-") {
        return Err(bad(format!(
            "Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*"
        )));
    }
    if name == "default" {
        return Err(bad("Cannot use reserved security group name: default"));
    }
    let taken = world
        .rows(&call.region, TABLE)
        .any(|(_, r)| r.text("vpcId") == vpc && r.text("groupName") == name);
    if taken {
        return Err(Refusal::bad(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{vpc}'"),
        ));
    }
    let used = world.rows(&call.region, TABLE).count() as u64;
    if used >= world.quota("security_groups", 2_500) {
        return Err(Refusal::bad(
            "SecurityGroupLimitExceeded",
            "The maximum number of security groups has been reached.",
        ));
    }
    let (id, row) = insert(world, call, &vpc, &name, &description);
    row.tags = tags_asked(call, "security-group");
    let arn = row.text("securityGroupArn");
    Ok(
        json!({"return": true, "groupId": id, "securityGroupArn": arn, "tagSet": tag_set(row)})
            .into(),
    )
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let rows = describe(
        world,
        call,
        TABLE,
        "GroupId",
        "InvalidGroup.NotFound",
        |name, id, row| match name {
            "group-id" => vec![id.to_owned()],
            "group-name" => vec![row.text("groupName").to_owned()],
            "vpc-id" => vec![row.text("vpcId").to_owned()],
            "description" => vec![row.text("groupDescription").to_owned()],
            "ip-permission.group-id" => peers(row, INGRESS),
            "egress.ip-permission.group-id" => peers(row, EGRESS),
            "ip-permission.cidr" => peers(row, INGRESS),
            _ => vec![],
        },
    )?;
    let items = rows.iter().map(|(_, r)| shown(r)).collect();
    Ok(page(call, items, "securityGroupInfo").into())
}

fn peers(row: &Row, side: &str) -> Vec<String> {
    rules(row, side).into_iter().map(|r| r.peer).collect()
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("GroupId")?.to_owned();
    group_check(world, &call.region, &id)?;
    let row = need(world, call, TABLE, &id, "InvalidGroup.NotFound")?;
    if row.is("_default") {
        return Err(Refusal::bad(
            "CannotDelete",
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        ));
    }
    let in_use = world
        .rows(&call.region, "ec2/network_interface")
        .any(|(_, r)| super::interface::groups_of(r).contains(&id));
    let named = world.rows(&call.region, TABLE).any(|(other, r)| {
        *other != id && [INGRESS, EGRESS].iter().any(|s| peers(r, s).contains(&id))
    });
    if in_use || named {
        return Err(Refusal::bad(
            "DependencyViolation",
            format!("resource {id} has a dependent object"),
        ));
    }
    world.remove(&call.region, TABLE, &id);
    Ok(json!({"return": true, "groupId": id}).into())
}

// Rules

/// The rules a call names, one for each peer, checked for form.
fn asked(call: &Call) -> Result<Vec<Rule>, Refusal> {
    let permissions = call.list("IpPermissions");
    if permissions.is_empty() {
        call.need("IpPermissions.0.IpProtocol")?;
    }
    let mut asked: Vec<Rule> = Vec::new();
    for permission in permissions {
        let (protocol, from, to) = traffic(permission)?;
        for (set, _, key, _) in PEERS {
            for peer in permission[set].as_array().into_iter().flatten() {
                let rule = Rule {
                    protocol: protocol.clone(),
                    from,
                    to,
                    peer: peer[key].as_str().unwrap_or_default().into(),
                    why: peer["Description"].as_str().map(Into::into),
                };
                if asked.iter().any(|a| a.is_same(&rule)) {
                    return Err(bad("The same permission must not appear multiple times"));
                }
                asked.push(rule);
            }
        }
    }
    if asked.is_empty() {
        return Err(Refusal::bad(
            "MissingParameter",
            "Either 'cidrIp', 'cidrIpv6', 'prefixListId' or a group must be specified for a rule",
        ));
    }
    Ok(asked)
}

/// Protocol and ports of a permission.
fn traffic(permission: &Value) -> Result<(String, Option<i64>, Option<i64>), Refusal> {
    let port = |key: &str| match &permission[key] {
        Value::String(s) => s.parse::<i64>().ok(),
        other => other.as_i64(),
    };
    let protocol = match permission["IpProtocol"].as_str().unwrap_or_default() {
        "6" => "tcp",
        "17" => "udp",
        "1" => "icmp",
        known @ ("tcp" | "udp" | "icmp" | "icmpv6" | "-1") => known,
        other => {
            return Err(Refusal::bad(
                "InvalidPermission.Malformed",
                format!("Invalid protocol: {other}"),
            ));
        }
    };
    let (from, to) = (port("FromPort"), port("ToPort"));
    match protocol {
        "-1" => return Ok((protocol.into(), None, None)),
        "tcp" | "udp" => {}
        _ => return Ok((protocol.into(), from, to)),
    }
    let (Some(low), Some(high)) = (from, to) else {
        return Err(bad(
            "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
        ));
    };
    if !(0..=65_535).contains(&low) || !(0..=65_535).contains(&high) {
        return Err(bad(format!("Invalid value '{low}-{high}' for portRange.")));
    }
    if low > high {
        return Err(bad(format!("Invalid TCP/UDP port range ({low}:{high})")));
    }
    Ok((protocol.into(), from, to))
}

/// Refuses peers that cannot be: ranges that are none, groups that are not there.
fn check_peer(world: &World, call: &Call, vpc: &str, rule: &Rule) -> Result<(), Refusal> {
    let peer = rule.peer.as_str();
    let whole = if peer.starts_with("sg-") {
        if group_check(world, &call.region, peer)? != vpc {
            return Err(Refusal::bad(
                "InvalidGroup.NotFound",
                format!(
                    "You have specified two resources that belong to different networks: {peer}"
                ),
            ));
        }
        true
    } else if peer.starts_with("pl-") {
        true
    } else if peer.contains(':') {
        peer.parse::<Ipv6Net>().is_ok_and(|n| n.trunc() == n)
    } else {
        peer.parse::<Ipv4Net>().is_ok_and(|n| n.trunc() == n)
    };
    if !whole {
        return Err(bad(format!("CIDR block {peer} is malformed")));
    }
    if let Some(why) = &rule.why {
        plain("rule description", why)?;
    }
    Ok(())
}

fn words(rule: &Rule) -> String {
    format!(
        "peer: {}, {}, from port: {}, to port: {}, ALLOW",
        rule.peer,
        rule.protocol.to_uppercase(),
        rule.from.unwrap_or(-1),
        rule.to.unwrap_or(-1)
    )
}

fn authorize(world: &mut World, call: &Call, side: &str) -> Outcome {
    let id = call.need("GroupId")?.to_owned();
    let vpc = group_check(world, &call.region, &id)?;
    let new = asked(call)?;
    let mut all = rules(
        need(world, call, TABLE, &id, "InvalidGroup.NotFound")?,
        side,
    );
    for rule in &new {
        check_peer(world, call, &vpc, rule)?;
        if all.iter().any(|r| r.is_same(rule)) {
            return Err(Refusal::bad(
                "InvalidPermission.Duplicate",
                format!("the specified rule \"{}\" already exists", words(rule)),
            ));
        }
    }
    all.extend(new);
    // IPv4 and IPv6 are counted apart in AWS; nobody here writes the latter.
    if all.len() as u64 > world.quota("security_group_rules", 60) {
        return Err(Refusal::bad(
            "RulesPerSecurityGroupLimitExceeded",
            "The maximum number of rules per security group has been reached.",
        ));
    }
    set_rules(world, call, &id, side, &all);
    yes()
}

fn revoke(world: &mut World, call: &Call, side: &str) -> Outcome {
    let id = call.need("GroupId")?.to_owned();
    group_check(world, &call.region, &id)?;
    let mut all = rules(
        need(world, call, TABLE, &id, "InvalidGroup.NotFound")?,
        side,
    );
    for rule in asked(call)? {
        let before = all.len();
        all.retain(|r| !r.is_same(&rule));
        if all.len() == before {
            return Err(unknown());
        }
    }
    set_rules(world, call, &id, side, &all);
    yes()
}

fn unknown() -> Refusal {
    Refusal::bad(
        "InvalidPermission.NotFound",
        "The specified rule does not exist in this security group.",
    )
}

fn reword(world: &mut World, call: &Call, side: &str) -> Outcome {
    let id = call.need("GroupId")?.to_owned();
    let vpc = group_check(world, &call.region, &id)?;
    let mut all = rules(
        need(world, call, TABLE, &id, "InvalidGroup.NotFound")?,
        side,
    );
    for rule in asked(call)? {
        check_peer(world, call, &vpc, &rule)?;
        match all.iter_mut().find(|r| r.is_same(&rule)) {
            Some(there) => there.why = rule.why,
            None => return Err(unknown()),
        }
    }
    set_rules(world, call, &id, side, &all);
    yes()
}
