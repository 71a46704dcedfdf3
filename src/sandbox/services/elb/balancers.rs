//! Network load balancers and their attributes.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    BALANCERS, LISTENERS, attribute_list, check_name, missing, need, page, tags_asked, time, yes,
};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::delays;
use crate::sandbox::services::ec2;
use crate::sandbox::world::World;

/// The hosted zones of network load balancers, region by region, as in AWS's table of service endpoints.
const ZONES: &[(&str, &str)] = &[
    ("us-east-1", "Z26RNL4JYFTOTI"),
    ("us-east-2", "ZLMOA37VPKANP"),
    ("us-west-1", "Z24FKFUX50B4VW"),
    ("us-west-2", "Z18D5FSROUN65G"),
    ("ca-central-1", "Z2EPGBW3API2WT"),
    ("eu-central-1", "Z3F0SRJ5LGBH90"),
    ("eu-west-1", "Z2IFOLAFXWLO4F"),
    ("eu-west-2", "ZD4D7Y8KGAS4G"),
    ("eu-west-3", "Z1CMS0P5QUZ6D5"),
    ("eu-north-1", "Z1UDT6IFJ4EJM"),
    ("ap-southeast-1", "ZKVM4W9LS7TM"),
    ("ap-southeast-2", "ZCT6FZBF4DROD"),
    ("ap-northeast-1", "Z31USIVHYNEOWT"),
    ("ap-south-1", "ZVDDRBQ08TROA"),
    ("sa-east-1", "ZTK26PT1VY4CU"),
];

/// The attributes of a network load balancer and what they are at first.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("access_logs.s3.enabled", "false"),
    ("access_logs.s3.bucket", ""),
    ("access_logs.s3.prefix", ""),
    ("deletion_protection.enabled", "false"),
    ("dns_record.client_routing_policy", "any_availability_zone"),
    ("ipv6.deny_all_igw_traffic", "false"),
    ("load_balancing.cross_zone.enabled", "false"),
    ("secondary_ips.auto_assigned.per_subnet", "0"),
    ("zonal_shift.config.enabled", "false"),
];

/// What the subnets of one load balancer say.
struct Placement {
    vpc: String,
    zones: Vec<Value>,
    subnets: Vec<String>,
}

fn place(world: &World, call: &Call) -> Result<Placement, Refusal> {
    let mut subnets: Vec<String> = call.texts("Subnets").into_iter().map(Into::into).collect();
    subnets.extend(
        call.list("SubnetMappings")
            .iter()
            .filter_map(|m| m["SubnetId"].as_str().map(Into::into)),
    );
    if subnets.is_empty() {
        return Err(Refusal::bad(
            "ValidationError",
            "At least one subnet must be specified",
        ));
    }
    let mut vpcs = BTreeSet::new();
    let mut zones = Vec::new();
    let mut seen = BTreeSet::new();
    for id in &subnets {
        let (vpc, zone) = ec2::subnet_check(world, &call.region, id).map_err(|_| {
            Refusal::bad(
                "SubnetNotFound",
                format!("The subnet ID '{id}' is not found"),
            )
        })?;
        vpcs.insert(vpc);
        if !seen.insert(zone.clone()) {
            return Err(Refusal::bad(
                "InvalidConfigurationRequest",
                "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
            ));
        }
        zones.push(json!({"ZoneName": zone, "SubnetId": id}));
    }
    if vpcs.len() > 1 {
        return Err(Refusal::bad(
            "InvalidConfigurationRequest",
            "All subnets must belong to the same VPC",
        ));
    }
    Ok(Placement {
        vpc: vpcs.into_iter().next().unwrap_or_default(),
        zones,
        subnets,
    })
}

fn check_groups(world: &World, call: &Call, vpc: &str, groups: &[String]) -> Result<(), Refusal> {
    for group in groups {
        let of = ec2::group_check(world, &call.region, group).map_err(|_| {
            Refusal::bad(
                "InvalidSecurityGroup",
                format!("The security group ID '{group}' is not found"),
            )
        })?;
        if of != vpc {
            return Err(Refusal::bad(
                "InvalidConfigurationRequest",
                format!("The security group '{group}' does not belong to VPC '{vpc}'"),
            ));
        }
    }
    Ok(())
}

pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("Name")?.to_owned();
    check_name("Load balancer", &name)?;
    if name.starts_with("internal-") {
        return Err(Refusal::bad(
            "ValidationError",
            format!("Load balancer name '{name}' cannot begin with 'internal-'"),
        ));
    }
    if call.opt("Type") != Some("network") {
        return Err(Refusal::unknown_action(call));
    }
    let scheme = call.opt("Scheme").unwrap_or("internet-facing").to_owned();
    if !["internet-facing", "internal"].contains(&scheme.as_str()) {
        return Err(Refusal::bad(
            "InvalidScheme",
            format!("The scheme '{scheme}' is not valid"),
        ));
    }
    let tags = tags_asked(call)?;
    let place = place(world, call)?;
    let groups: Vec<String> = call
        .texts("SecurityGroups")
        .into_iter()
        .map(Into::into)
        .collect();
    check_groups(world, call, &place.vpc, &groups)?;
    if scheme == "internet-facing" && !has_gateway(world, call, &place.vpc) {
        return Err(Refusal::bad(
            "InvalidSubnet",
            format!("VPC {} has no internet gateway", place.vpc),
        ));
    }

    let zones = json!({"member": place.zones});
    let group_list = json!({"member": groups});
    let twin = world
        .rows(&call.region, BALANCERS)
        .find(|(_, r)| r.text("LoadBalancerName") == name)
        .map(|(_, r)| r.clone());
    if let Some(row) = twin {
        let same = row.text("Scheme") == scheme
            && as_set(&row.v["AvailabilityZones"]) == as_set(&zones)
            && as_set(&row.v["SecurityGroups"]) == as_set(&group_list);
        return if same {
            Ok(json!({"LoadBalancers": {"member": [row.shown()]}}).into())
        } else {
            Err(Refusal::bad(
                "DuplicateLoadBalancerName",
                format!(
                    "A load balancer with the same name '{name}' exists, but with different settings"
                ),
            ))
        };
    }
    if world.rows(&call.region, BALANCERS).count() as u64 >= world.quota("load_balancers", 50) {
        return Err(Refusal::bad(
            "TooManyLoadBalancers",
            "The maximum number of load balancers has been reached",
        ));
    }

    let id = world.hex(16);
    let arn = format!(
        "arn:aws:elasticloadbalancing:{}:{}:loadbalancer/net/{name}/{id}",
        call.region, world.account
    );
    for subnet in &place.subnets {
        let text = format!("ELB net/{name}/{id}");
        let owner = format!("elb/{id}");
        ec2::plug(
            world,
            &call.region,
            call.now,
            subnet,
            &groups,
            &text,
            &owner,
        );
    }
    let zone = ZONES
        .iter()
        .find(|(r, _)| *r == call.region)
        .map_or("Z00000000000000000000", |(_, z)| z);
    let attributes: Map<String, Value> = ATTRIBUTES
        .iter()
        .map(|(k, v)| ((*k).to_owned(), json!(v)))
        .collect();
    let v = json!({
        "LoadBalancerArn": arn,
        "LoadBalancerName": name,
        "DNSName": format!("{name}-{id}.elb.{}.amazonaws.com", call.region),
        "CanonicalHostedZoneId": zone,
        "CreatedTime": time(call.now),
        "Scheme": scheme,
        "VpcId": place.vpc,
        "State": {"Code": "provisioning"},
        "Type": "network",
        "AvailabilityZones": zones,
        "SecurityGroups": group_list,
        "IpAddressType": "ipv4",
        "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic": "on",
        "_arn": arn,
        "_id": id,
        "_attributes": attributes,
    });
    let row = world.insert(&call.region, BALANCERS, &arn, v, call.now);
    row.tags = tags;
    row.later(
        call.now,
        delays::LOAD_BALANCER,
        json!({"State": {"Code": "active"}}),
    );
    Ok(json!({"LoadBalancers": {"member": [row.shown()]}}).into())
}

/// Whether an internet gateway is attached to the VPC.
fn has_gateway(world: &World, call: &Call, vpc: &str) -> bool {
    world
        .rows(&call.region, "ec2/internet_gateway")
        .any(|(_, r)| r.v["attachmentSet"].to_string().contains(vpc) || r.text("vpcId") == vpc)
}

fn as_set(list: &Value) -> BTreeSet<String> {
    list["member"]
        .as_array()
        .into_iter()
        .flatten()
        .map(Value::to_string)
        .collect()
}

pub(super) fn describe(world: &mut World, call: &Call) -> Outcome {
    let arns = call.texts("LoadBalancerArns");
    let names = call.texts("Names");
    if arns.len() + names.len() > 20 {
        return Err(Refusal::bad(
            "ValidationError",
            "Up to 20 load balancers may be named in one call",
        ));
    }
    let mut rows = Vec::new();
    for arn in &arns {
        rows.push(need(world, call, BALANCERS, arn)?.shown());
    }
    for name in &names {
        let row = world
            .rows(&call.region, BALANCERS)
            .find(|(_, r)| r.text("LoadBalancerName") == *name);
        rows.push(row.ok_or_else(|| missing(BALANCERS, name))?.1.shown());
    }
    if arns.is_empty() && names.is_empty() {
        rows = world
            .seen(&call.region, BALANCERS, call.now)
            .map(|(_, r)| r.shown())
            .collect();
    }
    Ok(page(call, "LoadBalancers", rows)?.into())
}

pub(super) fn delete(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("LoadBalancerArn")?.to_owned();
    let Some(row) = world.get(&call.region, BALANCERS, &arn) else {
        // AWS: deleting what is not there succeeds.
        return yes();
    };
    if row.v["_attributes"]["deletion_protection.enabled"] == "true" {
        return Err(Refusal::bad(
            "OperationNotPermitted",
            format!(
                "Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
            ),
        ));
    }
    let owner = format!("elb/{}", row.text("_id"));
    world.remove(&call.region, BALANCERS, &arn);
    world
        .table(&call.region, LISTENERS)
        .retain(|_, l| l.text("LoadBalancerArn") != arn);
    ec2::unplug(
        world,
        &call.region,
        &owner,
        call.now,
        delays::LOAD_BALANCER_INTERFACES,
    );
    yes()
}

pub(super) fn attributes(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("LoadBalancerArn")?;
    Ok(attribute_list(need(world, call, BALANCERS, arn)?).into())
}

pub(super) fn modify_attributes(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("LoadBalancerArn")?.to_owned();
    let mut have = need(world, call, BALANCERS, &arn)?.v["_attributes"].clone();
    for (key, value) in call.pairs("Attributes") {
        if !ATTRIBUTES.iter().any(|(k, _)| *k == key) {
            return Err(Refusal::bad(
                "ValidationError",
                format!("Load balancer attribute key '{key}' is not recognized"),
            ));
        }
        if key.ends_with(".enabled") && !["true", "false"].contains(&value.as_str()) {
            return Err(Refusal::bad(
                "ValidationError",
                format!("'{value}' is not a value of the attribute '{key}'"),
            ));
        }
        have[key] = json!(value);
    }
    if have["access_logs.s3.enabled"] == "true" {
        let bucket = have["access_logs.s3.bucket"].as_str().unwrap_or_default();
        check_log_bucket(world, call, bucket)?;
    }
    if let Some(row) = world.get_mut(&call.region, BALANCERS, &arn) {
        row.set("_attributes", have);
        return Ok(attribute_list(row).into());
    }
    yes()
}

/// The bucket must exist in this region and let the log delivery service write.
fn check_log_bucket(world: &World, call: &Call, bucket: &str) -> Result<(), Refusal> {
    let no = |why: String| Refusal::bad("InvalidConfigurationRequest", why);
    if bucket.is_empty() {
        return Err(no("The access logs need a bucket name".into()));
    }
    let row = [&call.region, crate::sandbox::world::GLOBAL]
        .iter()
        .find_map(|region| world.get(region, "s3/bucket", bucket))
        .ok_or_else(|| no(format!("S3Bucket: {bucket} does not exist in this region")))?;
    let policy = ["_policy", "policy", "Policy"]
        .iter()
        .find_map(|k| row.v.get(*k))
        .map(|p| p.as_str().map_or_else(|| p.to_string(), Into::into))
        .unwrap_or_default();
    if !(policy.contains("delivery.logs.amazonaws.com") && policy.contains("s3:PutObject")) {
        return Err(no(format!(
            "Access Denied for bucket: {bucket}. Please check S3bucket permission"
        )));
    }
    Ok(())
}

pub(super) fn set_subnets(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("LoadBalancerArn")?.to_owned();
    let row = need(world, call, BALANCERS, &arn)?;
    let vpc = row.text("VpcId").to_owned();
    let (id, name) = (
        row.text("_id").to_owned(),
        row.text("LoadBalancerName").to_owned(),
    );
    let groups = members(&row.v["SecurityGroups"]);
    let place = place(world, call)?;
    if place.vpc != vpc {
        return Err(Refusal::bad(
            "InvalidConfigurationRequest",
            "The subnets must belong to the load balancer's VPC",
        ));
    }
    let owner = format!("elb/{id}");
    ec2::unplug(world, &call.region, &owner, call.now, 0);
    for subnet in &place.subnets {
        let text = format!("ELB net/{name}/{id}");
        ec2::plug(
            world,
            &call.region,
            call.now,
            subnet,
            &groups,
            &text,
            &owner,
        );
    }
    let zones = json!({"member": place.zones});
    if let Some(row) = world.get_mut(&call.region, BALANCERS, &arn) {
        row.set("AvailabilityZones", zones.clone());
    }
    Ok(json!({"AvailabilityZones": zones}).into())
}

pub(super) fn set_groups(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("LoadBalancerArn")?.to_owned();
    let row = need(world, call, BALANCERS, &arn)?;
    let (vpc, id) = (row.text("VpcId").to_owned(), row.text("_id").to_owned());
    if members(&row.v["SecurityGroups"]).is_empty() {
        return Err(Refusal::bad(
            "InvalidConfigurationRequest",
            "Security groups cannot be set on a Network Load Balancer that was created without security groups",
        ));
    }
    let groups: Vec<String> = call
        .texts("SecurityGroups")
        .into_iter()
        .map(Into::into)
        .collect();
    check_groups(world, call, &vpc, &groups)?;
    let set: Vec<Value> = groups.iter().map(|g| json!({"groupId": g})).collect();
    let owner = format!("elb/{id}");
    for row in world
        .table(&call.region, "ec2/network_interface")
        .values_mut()
        .filter(|r| r.text("_owner") == owner)
    {
        row.set("groupSet", json!({"item": set}));
    }
    if let Some(row) = world.get_mut(&call.region, BALANCERS, &arn) {
        row.set("SecurityGroups", json!({"member": groups}));
    }
    Ok(json!({"SecurityGroupIds": {"member": groups}}).into())
}

fn members(list: &Value) -> Vec<String> {
    list["member"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(Into::into)
        .collect()
}
