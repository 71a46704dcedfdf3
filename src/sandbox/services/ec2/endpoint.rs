//! VPC endpoints and flow logs.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Handler, arn, describe, group_check, need, page, plug, route, shown, stamp, subnet_check,
    tags_asked, unplug, yes,
};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::delays;
use crate::sandbox::world::{Row, World};

pub(super) const ACTIONS: &[&str] = &[
    "CreateVpcEndpoint",
    "DescribeVpcEndpoints",
    "ModifyVpcEndpoint",
    "DeleteVpcEndpoints",
    "CreateFlowLogs",
    "DescribeFlowLogs",
    "DeleteFlowLogs",
];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "CreateVpcEndpoint" => create,
        "DescribeVpcEndpoints" => list,
        "ModifyVpcEndpoint" => modify,
        "DeleteVpcEndpoints" => delete,
        "CreateFlowLogs" => create_flow_log,
        "DescribeFlowLogs" => list_flow_logs,
        "DeleteFlowLogs" => delete_flow_logs,
        _ => return None,
    })
}

const TABLE: &str = "ec2/vpc_endpoint";

/// Services with interface endpoints that a GitLab site may want, by the last part of their names.
const SERVICES: &[&str] = &[
    "autoscaling",
    "ec2",
    "ec2messages",
    "elasticache",
    "elasticloadbalancing",
    "email-smtp",
    "kms",
    "logs",
    "monitoring",
    "rds",
    "s3",
    "dynamodb",
    "secretsmanager",
    "sns",
    "ssm",
    "ssmmessages",
    "sts",
];

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::bad("InvalidParameter", message)
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let token = call.opt("ClientToken").unwrap_or_default();
    if !token.is_empty()
        && let Some(id) = call.replayed(world, token)?
    {
        let row = need(world, call, TABLE, &id, "InvalidVpcEndpointId.NotFound")?;
        return Ok(json!({"clientToken": token, "vpcEndpoint": shown(row)}).into());
    }
    let vpc = call.need("VpcId")?.to_owned();
    need(world, call, "ec2/vpc", &vpc, "InvalidVpcId.NotFound")?;
    let service = call.need("ServiceName")?.to_owned();
    let last = service.strip_prefix(&format!("com.amazonaws.{}.", call.region));
    if !last.is_some_and(|last| SERVICES.contains(&last)) {
        return Err(Refusal::bad(
            "InvalidServiceName",
            format!("The Vpc Endpoint Service '{service}' does not exist"),
        ));
    }
    let id = world.id("vpce");
    let row = match call.opt("VpcEndpointType").unwrap_or("Gateway") {
        "Gateway" => gateway(world, call, &id, &vpc, &service)?,
        "Interface" => interface(world, call, &id, &vpc, &service)?,
        other => return Err(bad(format!("Unknown endpoint type {other}"))),
    };
    let answer = json!({"clientToken": token, "vpcEndpoint": shown(&row)});
    if !token.is_empty() {
        call.remember(world, token, &id);
    }
    Ok(answer.into())
}

fn insert<'w>(world: &'w mut World, call: &Call, id: &str, mut v: Value) -> &'w mut Row {
    v["vpcEndpointId"] = json!(id);
    v["ownerId"] = json!(world.account);
    v["creationTimestamp"] = json!(stamp(call.now));
    v["_arn"] = json!(arn(world, &call.region, "vpc-endpoint", id));
    let row = world.insert(&call.region, TABLE, id, v, call.now);
    row.tags = tags_asked(call, "vpc-endpoint");
    row
}

fn gateway(
    world: &mut World,
    call: &Call,
    id: &str,
    vpc: &str,
    service: &str,
) -> Result<Row, Refusal> {
    if !service.ends_with(".s3") && !service.ends_with(".dynamodb") {
        return Err(bad(
            "Endpoint type (Gateway) does not match available service types ([Interface]).",
        ));
    }
    if !call.list("SubnetId").is_empty() || !call.list("SecurityGroupId").is_empty() {
        return Err(bad("Gateway endpoints take route tables only"));
    }
    let tables: Vec<String> = owned(call, "RouteTableId");
    for table in &tables {
        check_table(world, call, table, vpc, service)?;
    }
    for table in &tables {
        route_in(world, call, table, id, service);
    }
    let v = json!({"vpcEndpointType": "Gateway", "vpcId": vpc, "serviceName": service, "state": "available",
        "routeTableIdSet": {"item": tables}, "subnetIdSet": {"item": []}, "groupSet": {"item": []},
        "networkInterfaceIdSet": {"item": []}, "privateDnsEnabled": false});
    Ok(insert(world, call, id, v).clone())
}

/// The prefix list of a service's addresses in a region.
fn prefix_list(call: &Call, service: &str) -> String {
    let digits = format!(
        "{:08x}",
        service.len() * 7_919 + call.region.len() * 104_729
    );
    format!("pl-{digits}")
}

fn check_table(
    world: &World,
    call: &Call,
    table: &str,
    vpc: &str,
    service: &str,
) -> Result<(), Refusal> {
    let row = need(
        world,
        call,
        route::TABLE,
        table,
        "InvalidRouteTableId.NotFound",
    )?;
    if row.text("vpcId") != vpc {
        return Err(bad(format!(
            "Route table {table} is not in the network {vpc}"
        )));
    }
    let list = prefix_list(call, service);
    let routes = row.v["routeSet"]["item"].as_array();
    if routes
        .into_iter()
        .flatten()
        .any(|r| r["destinationPrefixListId"] == list)
    {
        return Err(Refusal::bad(
            "RouteAlreadyExists",
            format!(
                "route table {table} already has a route with destination-prefix-list-id {list}"
            ),
        ));
    }
    Ok(())
}

fn route_in(world: &mut World, call: &Call, table: &str, id: &str, service: &str) {
    let list = prefix_list(call, service);
    if let Some(row) = world.get_mut(&call.region, route::TABLE, table) {
        route::items(row, "routeSet")
            .push(json!({"destinationPrefixListId": list, "gatewayId": id,
            "state": "active", "origin": "CreateRoute"}));
    }
}

fn route_out(world: &mut World, call: &Call, table: &str, id: &str) {
    if let Some(row) = world.get_mut(&call.region, route::TABLE, table) {
        route::items(row, "routeSet").retain(|r| r["gatewayId"] != id);
    }
}

fn interface(
    world: &mut World,
    call: &Call,
    id: &str,
    vpc: &str,
    service: &str,
) -> Result<Row, Refusal> {
    let subnets: Vec<String> = owned(call, "SubnetId");
    check_subnets(world, call, vpc, &subnets)?;
    let mut groups: Vec<String> = owned(call, "SecurityGroupId");
    check_groups(world, call, vpc, &groups)?;
    if groups.is_empty() {
        groups.extend(super::security::default_of(world, &call.region, vpc));
    }
    // AWS turns private names on unless told otherwise.
    let names = call.flag("PrivateDnsEnabled").unwrap_or(true);
    if names {
        private_names(world, call, vpc, service, id)?;
    }
    let enis = plug_all(world, call, id, &subnets, &groups);
    let group_set: Vec<Value> = groups.iter().map(|g| group_item(world, call, g)).collect();
    let v = json!({"vpcEndpointType": "Interface", "vpcId": vpc, "serviceName": service, "state": "pending",
        "routeTableIdSet": {"item": []}, "subnetIdSet": {"item": subnets}, "groupSet": {"item": group_set},
        "networkInterfaceIdSet": {"item": enis}, "privateDnsEnabled": names});
    let row = insert(world, call, id, v);
    row.later(
        call.now,
        delays::INTERFACE_ENDPOINT,
        json!({"state": "available"}),
    );
    Ok(row.clone())
}

/// Refuses private names where the network has none or another endpoint bears them.
fn private_names(
    world: &World,
    call: &Call,
    vpc: &str,
    service: &str,
    id: &str,
) -> Result<(), Refusal> {
    let on = world
        .get(&call.region, "ec2/vpc", vpc)
        .is_some_and(|v| v.is("_dnsSupport") && v.is("_dnsHostnames"));
    if !on {
        return Err(bad(
            "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true",
        ));
    }
    let last = service.rsplit('.').next().unwrap_or_default();
    if matches!(last, "s3" | "dynamodb") {
        return Err(bad(format!(
            "To set PrivateDnsOnlyForInboundResolverEndpoint to true, the VPC must have a gateway endpoint for {service}"
        )));
    }
    let taken = world.rows(&call.region, TABLE).any(|(other, r)| {
        other != id
            && r.text("vpcId") == vpc
            && r.text("serviceName") == service
            && r.is("privateDnsEnabled")
    });
    if taken {
        return Err(bad(format!(
            "private-dns-enabled cannot be set because there is already a conflicting DNS domain for {last}.{}.amazonaws.com in the VPC {vpc}",
            call.region
        )));
    }
    Ok(())
}

fn check_subnets(world: &World, call: &Call, vpc: &str, subnets: &[String]) -> Result<(), Refusal> {
    let mut zones = BTreeSet::new();
    for subnet in subnets {
        let (of, zone) = subnet_check(world, &call.region, subnet)?;
        if of != vpc {
            return Err(bad(format!("Subnet {subnet} is not in the network {vpc}")));
        }
        if !zones.insert(zone) {
            return Err(Refusal::bad(
                "DuplicateSubnetsInSameZone",
                format!(
                    "Found another VPC endpoint subnet in the availability zone of {subnet}. VPC endpoint subnets should be in different availability zones supported by the VPC endpoint service."
                ),
            ));
        }
    }
    Ok(())
}

fn check_groups(world: &World, call: &Call, vpc: &str, groups: &[String]) -> Result<(), Refusal> {
    for group in groups {
        if group_check(world, &call.region, group)? != vpc {
            return Err(Refusal::bad(
                "InvalidGroup.NotFound",
                format!("The security group '{group}' does not exist in VPC '{vpc}'"),
            ));
        }
    }
    Ok(())
}

fn plug_all(
    world: &mut World,
    call: &Call,
    id: &str,
    subnets: &[String],
    groups: &[String],
) -> Vec<String> {
    let description = format!("VPC Endpoint Interface {id}");
    let owner = format!("ec2/{id}");
    subnets
        .iter()
        .map(|s| {
            plug(
                world,
                &call.region,
                call.now,
                s,
                groups,
                &description,
                &owner,
            )
        })
        .collect()
}

fn group_item(world: &World, call: &Call, id: &str) -> Value {
    let row = world.get(&call.region, "ec2/security_group", id);
    let name = row.map(|r| r.text("groupName")).unwrap_or_default();
    json!({"groupId": id, "groupName": name})
}

fn owned(call: &Call, param: &str) -> Vec<String> {
    call.texts(param).into_iter().map(Into::into).collect()
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let rows = describe(
        world,
        call,
        TABLE,
        "VpcEndpointId",
        "InvalidVpcEndpointId.NotFound",
        |name, id, row| match name {
            "vpc-endpoint-id" => vec![id.to_owned()],
            "vpc-id" => vec![row.text("vpcId").to_owned()],
            "service-name" => vec![row.text("serviceName").to_owned()],
            "vpc-endpoint-type" => vec![row.text("vpcEndpointType").to_owned()],
            "vpc-endpoint-state" => vec![row.text("state").to_owned()],
            _ => vec![],
        },
    )?;
    let items = rows.iter().map(|(_, r)| shown(r)).collect();
    Ok(page(call, items, "vpcEndpointSet").into())
}

/// A set of texts of a row after a call has added and removed some.
fn changed(row: &Row, set: &str, add: &[String], remove: &[String]) -> Vec<String> {
    let have = row.v[set]["item"].as_array().into_iter().flatten();
    let texts = have.filter_map(|i| i.as_str().or(i["groupId"].as_str()));
    let kept = texts.filter(|t| !remove.iter().any(|r| r == t));
    let mut all: Vec<String> = kept.map(Into::into).collect();
    for one in add {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
    all
}

fn modify(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("VpcEndpointId")?.to_owned();
    let row = need(world, call, TABLE, &id, "InvalidVpcEndpointId.NotFound")?.clone();
    if row.text("state") != "available" {
        return Err(Refusal::bad(
            "IncorrectState",
            format!("The endpoint {id} is {}", row.text("state")),
        ));
    }
    let vpc = row.text("vpcId");
    let service = row.text("serviceName");
    if row.text("vpcEndpointType") == "Gateway" {
        let (add, remove) = (
            owned(call, "AddRouteTableId"),
            owned(call, "RemoveRouteTableId"),
        );
        for table in &add {
            check_table(world, call, table, vpc, service)?;
        }
        for table in &add {
            route_in(world, call, table, &id, service);
        }
        for table in &remove {
            route_out(world, call, table, &id);
        }
        let tables = changed(&row, "routeTableIdSet", &add, &remove);
        if let Some(row) = world.get_mut(&call.region, TABLE, &id) {
            row.set("routeTableIdSet", json!({"item": tables}));
        }
        return yes();
    }
    let subnets = changed(
        &row,
        "subnetIdSet",
        &owned(call, "AddSubnetId"),
        &owned(call, "RemoveSubnetId"),
    );
    let groups = changed(
        &row,
        "groupSet",
        &owned(call, "AddSecurityGroupId"),
        &owned(call, "RemoveSecurityGroupId"),
    );
    check_subnets(world, call, vpc, &subnets)?;
    check_groups(world, call, vpc, &groups)?;
    if groups.is_empty() {
        return Err(bad("An interface endpoint needs a security group"));
    }
    let names = call
        .flag("PrivateDnsEnabled")
        .unwrap_or(row.is("privateDnsEnabled"));
    if names {
        private_names(world, call, vpc, service, &id)?;
    }
    unplug(world, &call.region, &format!("ec2/{id}"), call.now, 0);
    let enis = plug_all(world, call, &id, &subnets, &groups);
    let group_set: Vec<Value> = groups.iter().map(|g| group_item(world, call, g)).collect();
    if let Some(row) = world.get_mut(&call.region, TABLE, &id) {
        row.set("subnetIdSet", json!({"item": subnets}));
        row.set("groupSet", json!({"item": group_set}));
        row.set("networkInterfaceIdSet", json!({"item": enis}));
        row.set("privateDnsEnabled", names);
    }
    yes()
}

/// How long a gateway endpoint takes to go; its routes go at once.
const GATEWAY_DELETE: i64 = 3_000;

fn delete(world: &mut World, call: &Call) -> Outcome {
    let mut unsuccessful = Vec::new();
    for id in owned(call, "VpcEndpointId") {
        let Some(row) = world.get(&call.region, TABLE, &id) else {
            unsuccessful.push(
                json!({"resourceId": id, "error": {"code": "InvalidVpcEndpoint.NotFound",
                "message": format!("The Vpc Endpoint Id '{id}' does not exist")}}),
            );
            continue;
        };
        if row.text("state") == "deleting" {
            continue;
        }
        let after = if row.text("vpcEndpointType") == "Gateway" {
            GATEWAY_DELETE
        } else {
            delays::INTERFACE_ENDPOINT_DELETE
        };
        for table in changed(row, "routeTableIdSet", &[], &[]) {
            route_out(world, call, &table, &id);
        }
        unplug(world, &call.region, &format!("ec2/{id}"), call.now, after);
        if let Some(row) = world.get_mut(&call.region, TABLE, &id) {
            row.set("state", "deleting");
            row.vanish(call.now, after);
        }
    }
    Ok(json!({"unsuccessful": {"item": unsuccessful}}).into())
}

// Flow logs

const FLOW_LOG: &str = "ec2/flow_log";

fn create_flow_log(world: &mut World, call: &Call) -> Outcome {
    let token = call.opt("ClientToken").unwrap_or_default();
    if !token.is_empty()
        && let Some(id) = call.replayed(world, token)?
    {
        return Ok(json!({"clientToken": token, "flowLogIdSet": {"item": [id]}}).into());
    }
    let destination = call.need("LogDestination")?.to_owned();
    if call.opt("LogDestinationType") != Some("s3") || call.opt("ResourceType") != Some("VPC") {
        return Err(bad("The sandbox knows flow logs of VPCs to S3 only"));
    }
    let interval = call.int("MaxAggregationInterval").unwrap_or(600);
    if !matches!(interval, 60 | 600) {
        return Err(bad("MaxAggregationInterval must be 60 or 600"));
    }
    let (mut made, mut unsuccessful) = (Vec::new(), Vec::new());
    for resource in owned(call, "ResourceId") {
        if let Err((code, message)) = flow_log_allowed(world, call, &resource, &destination) {
            unsuccessful
                .push(json!({"resourceId": resource, "error": {"code": code, "message": message}}));
            continue;
        }
        let id = world.id("fl");
        let v = json!({"flowLogId": id, "flowLogStatus": "ACTIVE", "resourceId": resource,
            "trafficType": call.opt("TrafficType").unwrap_or("ALL"), "logDestinationType": "s3",
            "logDestination": destination, "maxAggregationInterval": interval, "deliverLogsStatus": "SUCCESS",
            "creationTime": stamp(call.now), "_arn": arn(world, &call.region, "vpc-flow-log", &id)});
        let row = world.insert(&call.region, FLOW_LOG, &id, v, call.now);
        row.tags = tags_asked(call, "vpc-flow-log");
        made.push(id);
    }
    if let (false, Some(id)) = (token.is_empty(), made.first()) {
        call.remember(world, token, id);
    }
    Ok(
        json!({"clientToken": token, "flowLogIdSet": {"item": made}, "unsuccessful": {"item": unsuccessful}})
            .into(),
    )
}

fn flow_log_allowed(
    world: &World,
    call: &Call,
    resource: &str,
    destination: &str,
) -> Result<(), (&'static str, String)> {
    if world.get(&call.region, "ec2/vpc", resource).is_none() {
        return Err((
            "InvalidVpcId.NotFound",
            format!("The vpc ID '{resource}' does not exist"),
        ));
    }
    let path = destination.strip_prefix("arn:aws:s3:::");
    let bucket = path.and_then(|p| p.split('/').next()).unwrap_or_default();
    // Bucket names are unique in the world, whatever region keeps the bucket.
    let there = world
        .tables
        .iter()
        .any(|(name, rows)| name.ends_with("/s3/bucket") && rows.contains_key(bucket));
    if !there {
        return Err((
            "400",
            format!("LogDestination: {bucket} does not exist or is not accessible"),
        ));
    }
    let twice = world.rows(&call.region, FLOW_LOG).any(|(_, r)| {
        r.text("resourceId") == resource
            && r.text("logDestination").trim_end_matches('/') == destination.trim_end_matches('/')
    });
    if twice {
        return Err((
            "FlowLogAlreadyExists",
            "There is an existing Flow Log with the same configuration and log destination.".into(),
        ));
    }
    Ok(())
}

fn list_flow_logs(world: &mut World, call: &Call) -> Outcome {
    let rows = describe(
        world,
        call,
        FLOW_LOG,
        "FlowLogId",
        "InvalidFlowLogId.NotFound",
        |name, id, row| match name {
            "flow-log-id" => vec![id.to_owned()],
            "resource-id" => vec![row.text("resourceId").to_owned()],
            "traffic-type" => vec![row.text("trafficType").to_owned()],
            "log-destination-type" => vec![row.text("logDestinationType").to_owned()],
            _ => vec![],
        },
    )?;
    let items = rows.iter().map(|(_, r)| shown(r)).collect();
    Ok(page(call, items, "flowLogSet").into())
}

fn delete_flow_logs(world: &mut World, call: &Call) -> Outcome {
    let mut unsuccessful = Vec::new();
    for id in owned(call, "FlowLogId") {
        if world.remove(&call.region, FLOW_LOG, &id).is_none() {
            unsuccessful.push(
                json!({"resourceId": id, "error": {"code": "InvalidFlowLogId.NotFound",
                "message": format!("Flow Log {id} not found")}}),
            );
        }
    }
    Ok(json!({"unsuccessful": {"item": unsuccessful}}).into())
}
