//! Instances, and the addresses they are given.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::launch::{forget_at, launch, prepare, profile, quota};
use super::{Handler, catalogue, describe, group_check, need, page, shown, unplug, yes};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::delays;
use crate::sandbox::world::{Millis, Row, World};

pub(super) const ACTIONS: &[&str] = &[
    "RunInstances",
    "DescribeInstances",
    "TerminateInstances",
    "StopInstances",
    "StartInstances",
    "ModifyInstanceAttribute",
    "DescribeInstanceAttribute",
    "ModifyInstanceMetadataOptions",
    "DescribeIamInstanceProfileAssociations",
    "AssociateIamInstanceProfile",
    "ReplaceIamInstanceProfileAssociation",
    "AssociateAddress",
    "DisassociateAddress",
];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "RunInstances" => run,
        "DescribeInstances" => list,
        "TerminateInstances" => terminate,
        "StopInstances" => stop,
        "StartInstances" => start,
        "ModifyInstanceAttribute" => modify,
        "DescribeInstanceAttribute" => attribute,
        "ModifyInstanceMetadataOptions" => modify_metadata,
        "DescribeIamInstanceProfileAssociations" => list_profiles,
        "AssociateIamInstanceProfile" => associate_profile,
        "ReplaceIamInstanceProfileAssociation" => replace_profile,
        "AssociateAddress" => associate,
        "DisassociateAddress" => disassociate,
        _ => return None,
    })
}

pub(super) const INSTANCES: &str = "ec2/instance";
const MISSING: &str = "InvalidInstanceID.NotFound";

/// A moment as EC2 writes it.
pub(in crate::sandbox) fn when(now: Millis) -> String {
    jiff::Timestamp::from_millisecond(now)
        .map(|t| t.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string())
        .unwrap_or_default()
}

/// The call's client token, if it is a possible one.
pub(super) fn token(call: &Call) -> Result<Option<String>, Refusal> {
    match call.opt("ClientToken") {
        Some(token) if token.len() > 64 || !token.is_ascii() => Err(Refusal::bad(
            "InvalidParameterValue",
            "A client token has at most 64 ASCII characters",
        )),
        token => Ok(token.map(Into::into)),
    }
}

/// Refuses user data that is not base64 or too long.
pub(super) fn user_data(spec: &Value) -> Result<(), Refusal> {
    let Some(text) = spec["UserData"].as_str() else {
        return Ok(());
    };
    match STANDARD.decode(text) {
        Err(_) => Err(Refusal::bad(
            "InvalidUserData.Malformed",
            "Invalid BASE64 encoding of user data.",
        )),
        Ok(raw) if raw.len() > 16_384 => Err(Refusal::bad(
            "InvalidParameterValue",
            "User data is limited to 16384 bytes",
        )),
        Ok(_) => Ok(()),
    }
}

/// An instance's state, `running`.
pub(in crate::sandbox) fn state(row: &Row) -> &str {
    row.v["instanceState"]["name"].as_str().unwrap_or_default()
}

fn run(world: &mut World, call: &Call) -> Outcome {
    let token = token(call)?;
    if let Some(token) = &token
        && let Some(ids) = call.replayed(world, token)?
    {
        let ids: Vec<String> = ids.split(',').map(Into::into).collect();
        let ended = |id: &String| {
            world
                .get(&call.region, INSTANCES, id)
                .is_none_or(|r| state(r) == "terminated")
        };
        if ids.iter().any(ended) {
            return Err(Refusal::bad(
                "IdempotentInstanceTerminated",
                "The instance that this client token made has been terminated.",
            ));
        }
        return Ok(reservation(world, &call.region, &ids).into());
    }
    let count = |key: &str| call.int(key).and_then(|n| u64::try_from(n).ok());
    let (Some(least), Some(most)) = (count("MinCount"), count("MaxCount")) else {
        return Err(Refusal::bad(
            "MissingParameter",
            "The request must contain the parameters MinCount and MaxCount",
        ));
    };
    if least == 0 || least > most {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            "MinCount must be at least 1 and at most MaxCount",
        ));
    }
    let prepared = prepare(world, &call.region, call.now, &call.p, None)?;
    quota(world, &call.region, prepared.vcpus() * most)?;
    let ids: Vec<String> = (0..most)
        .map(|_| {
            launch(
                world,
                &call.region,
                call.now,
                &prepared,
                &std::collections::BTreeMap::new(),
            )
        })
        .collect();
    if let Some(token) = token {
        call.remember(world, &token, &ids.join(","));
    }
    Ok(reservation(world, &call.region, &ids).into())
}

fn reservation(world: &World, region: &str, ids: &[String]) -> Value {
    let items: Vec<Value> = ids
        .iter()
        .filter_map(|id| {
            Some(shown_instance(
                world,
                region,
                id,
                world.get(region, INSTANCES, id)?,
            ))
        })
        .collect();
    let number = ids.first().map(|id| &id[2..]).unwrap_or_default();
    json!({"reservationId": format!("r-{number}"), "ownerId": world.account, "groupSet": {},
        "instancesSet": {"item": items}})
}

/// An instance with what hangs on it: interface, groups, volumes, public address.
fn shown_instance(world: &World, region: &str, id: &str, row: &Row) -> Value {
    let mut v = shown(row);
    let owner = format!("ec2/{id}");
    let interfaces: Vec<&Row> = world
        .rows(region, "ec2/network_interface")
        .map(|(_, r)| r)
        .filter(|r| r.text("_owner") == owner)
        .collect();
    if state(row) != "terminated" {
        if let Some(first) = interfaces.first() {
            v["groupSet"] = first.v["groupSet"].clone();
        }
        v["networkInterfaceSet"] =
            json!({"item": interfaces.iter().map(|r| shown(r)).collect::<Vec<_>>()});
        v["blockDeviceMapping"] = json!({"item": super::storage::plugged(world, region, id)});
        let public = world
            .rows(region, "ec2/address")
            .find(|(_, r)| r.text("instanceId") == id);
        if let Some((_, public)) = public {
            v["ipAddress"] = public.v["publicIp"].clone();
        }
    }
    v
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let rows = describe(world, call, INSTANCES, "InstanceId", MISSING, field)?;
    let items = rows
        .iter()
        .map(|(id, _)| reservation(world, &call.region, std::slice::from_ref(id)))
        .collect();
    Ok(page(call, items, "reservationSet").into())
}

fn field(name: &str, id: &str, row: &Row) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    match name {
        "instance-id" => one(id),
        "instance-state-name" => one(state(row)),
        "instance-type" => one(row.text("instanceType")),
        "image-id" => one(row.text("imageId")),
        "vpc-id" => one(row.text("vpcId")),
        "subnet-id" => one(row.text("subnetId")),
        "private-ip-address" => one(row.text("privateIpAddress")),
        "client-token" => one(row.text("clientToken")),
        "availability-zone" => one(row.v["placement"]["availabilityZone"]
            .as_str()
            .unwrap_or("")),
        "iam-instance-profile.arn" => {
            one(row.v["iamInstanceProfile"]["arn"].as_str().unwrap_or(""))
        }
        _ => vec![],
    }
}

/// The instances a call names; one unknown id refuses the whole call.
fn named(world: &World, call: &Call) -> Result<Vec<String>, Refusal> {
    let ids: Vec<String> = call
        .texts("InstanceId")
        .into_iter()
        .map(Into::into)
        .collect();
    if ids.is_empty() {
        return Err(Refusal::bad(
            "MissingParameter",
            "The request must contain the parameter InstancesSet",
        ));
    }
    for id in &ids {
        need(world, call, INSTANCES, id, MISSING)?;
    }
    Ok(ids)
}

fn change_of(id: &str, before: &Value, after: &Value) -> Value {
    json!({"instanceId": id, "previousState": before, "currentState": after})
}

fn state_of(world: &World, region: &str, id: &str) -> Value {
    world
        .get(region, INSTANCES, id)
        .map(|r| r.v["instanceState"].clone())
        .unwrap_or_default()
}

fn terminate(world: &mut World, call: &Call) -> Outcome {
    let ids = named(world, call)?;
    for id in &ids {
        let row = need(world, call, INSTANCES, id, MISSING)?;
        if row.is("_protected") && !matches!(state(row), "terminated" | "shutting-down") {
            return Err(Refusal::bad(
                "OperationNotPermitted",
                format!(
                    "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again."
                ),
            ));
        }
    }
    let mut changes = Vec::new();
    for id in ids {
        let before = state_of(world, &call.region, &id);
        if before["name"] != "terminated" && before["name"] != "shutting-down" {
            let reason = json!({"code": "Client.UserInitiatedShutdown", "message": "Client.UserInitiatedShutdown: User initiated shutdown"});
            end(world, &call.region, call.now, &id, reason);
        }
        changes.push(change_of(&id, &before, &state_of(world, &call.region, &id)));
    }
    Ok(json!({"instancesSet": {"item": changes}}).into())
}

/// An instance's end, with all that hangs on it.
pub(in crate::sandbox) fn end(
    world: &mut World,
    region: &str,
    now: Millis,
    id: &str,
    reason: Value,
) {
    let gone = delays::INSTANCE_TERMINATED;
    if let Some(row) = world.get_mut(region, INSTANCES, id) {
        row.due.clear();
        row.set(
            "instanceState",
            json!({"code": 32, "name": "shutting-down"}),
        );
        row.set("stateReason", reason);
        row.later(
            now,
            gone,
            json!({"instanceState": {"code": 48, "name": "terminated"}, "vpcId": null, "subnetId": null,
                "privateIpAddress": null, "privateDnsName": "", "iamInstanceProfile": null, "_arn": null}),
        );
        forget_at(row, now + gone + delays::INSTANCE_MEMORY);
    }
    unplug(world, region, &format!("ec2/{id}"), now, gone);
    super::storage::let_go(world, region, now, id, gone);
    for row in world.table(region, "ec2/address").values_mut() {
        if row.text("instanceId") == id {
            free(row);
        }
    }
}

fn stop(world: &mut World, call: &Call) -> Outcome {
    shift(
        world,
        call,
        &["running"],
        &["stopping", "stopped"],
        (64, "stopping"),
        (80, "stopped"),
        delays::INSTANCE_STOPPED,
    )
}

fn start(world: &mut World, call: &Call) -> Outcome {
    let ids = named(world, call)?;
    let more: u64 = ids
        .iter()
        .filter_map(|id| world.get(&call.region, INSTANCES, id))
        .filter(|r| state(r) == "stopped")
        .filter_map(|r| catalogue::machine(r.text("instanceType")))
        .map(|m| u64::from(m.vcpus))
        .sum();
    quota(world, &call.region, more)?;
    shift(
        world,
        call,
        &["stopped"],
        &["pending", "running"],
        (0, "pending"),
        (16, "running"),
        delays::INSTANCE_RUNNING,
    )
}

/// Takes instances from one state over another to a third; nothing happens to those already there.
fn shift(
    world: &mut World,
    call: &Call,
    from: &[&str],
    already: &[&str],
    over: (u32, &str),
    to: (u32, &str),
    takes: Millis,
) -> Outcome {
    let ids = named(world, call)?;
    for id in &ids {
        let row = need(world, call, INSTANCES, id, MISSING)?;
        let now = state(row);
        if !from.contains(&now) && !already.contains(&now) {
            return Err(Refusal::bad(
                "IncorrectInstanceState",
                format!(
                    "The instance '{id}' is not in a state from which it can be {}; it is {now}.",
                    to.1
                ),
            ));
        }
    }
    let mut changes = Vec::new();
    for id in ids {
        let before = state_of(world, &call.region, &id);
        if from.iter().any(|f| before["name"] == *f)
            && let Some(row) = world.get_mut(&call.region, INSTANCES, &id)
        {
            row.set("instanceState", json!({"code": over.0, "name": over.1}));
            row.later(
                call.now,
                takes,
                json!({"instanceState": {"code": to.0, "name": to.1}}),
            );
        }
        changes.push(change_of(&id, &before, &state_of(world, &call.region, &id)));
    }
    Ok(json!({"instancesSet": {"item": changes}}).into())
}

fn modify(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("InstanceId")?.to_owned();
    let row = need(world, call, INSTANCES, &id, MISSING)?;
    let (now, vpc) = (state(row).to_owned(), row.text("vpcId").to_owned());
    if matches!(now.as_str(), "terminated" | "shutting-down") {
        return Err(Refusal::bad(
            "IncorrectInstanceState",
            format!("The instance '{id}' is {now}."),
        ));
    }
    let kind = call.opt("InstanceType.Value").map(ToOwned::to_owned);
    if let Some(kind) = &kind {
        if catalogue::machine(kind).is_none() {
            return Err(Refusal::bad(
                "InvalidParameterValue",
                format!("Invalid value '{kind}' for InstanceType."),
            ));
        }
        if now != "stopped" {
            return Err(Refusal::bad(
                "IncorrectInstanceState",
                format!("The instance '{id}' is not in the 'stopped' state."),
            ));
        }
    }
    let groups: Vec<String> = call.texts("GroupId").into_iter().map(Into::into).collect();
    for group in &groups {
        if group_check(world, &call.region, group)? != vpc {
            return Err(Refusal::bad(
                "InvalidGroup.NotFound",
                format!("The security group '{group}' does not exist in VPC '{vpc}'"),
            ));
        }
    }
    let protected = call.flag("DisableApiTermination.Value");
    if let Some(row) = world.get_mut(&call.region, INSTANCES, &id) {
        if let Some(on) = protected {
            row.set("_protected", on);
        }
        if let Some(kind) = kind {
            row.set("instanceType", kind);
        }
    }
    for mapping in call.list("BlockDeviceMapping") {
        let device = mapping["DeviceName"].as_str().unwrap_or_default();
        // Query parameters are texts.
        let ends = &mapping["Ebs"]["DeleteOnTermination"];
        let ends = ends == "true" || *ends == true;
        super::storage::ends_with(world, &call.region, &id, device, ends)?;
    }
    if !groups.is_empty() {
        let set: Vec<Value> = groups
            .iter()
            .map(|g| {
                let name = world
                    .get(&call.region, "ec2/security_group", g)
                    .map(|r| r.text("groupName").to_owned());
                json!({"groupId": g, "groupName": name})
            })
            .collect();
        let owner = format!("ec2/{id}");
        for row in world
            .table(&call.region, "ec2/network_interface")
            .values_mut()
        {
            if row.text("_owner") == owner {
                row.set("groupSet", json!({"item": set}));
            }
        }
    }
    yes()
}

fn attribute(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("InstanceId")?;
    let row = need(world, call, INSTANCES, id, MISSING)?;
    let name = call.need("Attribute")?;
    let value = match name {
        "disableApiTermination" => json!(row.is("_protected")),
        "instanceType" => json!(row.text("instanceType")),
        "instanceInitiatedShutdownBehavior" => json!(row.text("_shutdown")),
        "userData" => json!(STANDARD.encode(row.text("_userData"))),
        other => {
            return Err(Refusal::bad(
                "InvalidParameterValue",
                format!("Value ({other}) for parameter attribute is not known here"),
            ));
        }
    };
    Ok(json!({"instanceId": id, name: {"value": value}}).into())
}

fn modify_metadata(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("InstanceId")?.to_owned();
    let row = need(world, call, INSTANCES, &id, MISSING)?;
    let mut options = row.v["metadataOptions"].clone();
    for key in ["HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint"] {
        if let Some(value) = call.opt(key) {
            let mut name = key.to_owned();
            name.replace_range(..1, "h");
            options[name] = value.into();
        }
    }
    if let Some(row) = world.get_mut(&call.region, INSTANCES, &id) {
        row.set("metadataOptions", options.clone());
    }
    Ok(json!({"instanceId": id, "instanceMetadataOptions": options}).into())
}

fn association(id: &str, row: &Row) -> Value {
    json!({"associationId": format!("iip-assoc-{}", &id[2..]), "instanceId": id, "state": "associated",
        "iamInstanceProfile": row.v["iamInstanceProfile"]})
}

fn list_profiles(world: &mut World, call: &Call) -> Outcome {
    let items = world
        .rows(&call.region, INSTANCES)
        .filter(|(_, r)| r.v["iamInstanceProfile"].is_object())
        .filter(|(id, _)| {
            catalogue::passes(call, |name| match name {
                "instance-id" => vec![(*id).clone()],
                "state" => vec!["associated".into()],
                _ => vec![],
            })
        })
        .map(|(id, row)| association(id, row))
        .collect();
    Ok(page(call, items, "iamInstanceProfileAssociationSet").into())
}

fn associate_profile(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("InstanceId")?.to_owned();
    let row = need(world, call, INSTANCES, &id, MISSING)?;
    if row.v["iamInstanceProfile"].is_object() {
        return Err(Refusal::bad(
            "IncorrectState",
            format!("There is an existing association for instance {id}"),
        ));
    }
    set_profile(world, call, &id)
}

fn replace_profile(world: &mut World, call: &Call) -> Outcome {
    let asked = call.need("AssociationId")?;
    let id = format!("i-{}", asked.trim_start_matches("iip-assoc-"));
    let known = world
        .get(&call.region, INSTANCES, &id)
        .is_some_and(|r| r.v["iamInstanceProfile"].is_object());
    if !known {
        return Err(Refusal::bad(
            "InvalidAssociationID.NotFound",
            format!("An invalid association-id of '{asked}' was given"),
        ));
    }
    set_profile(world, call, &id)
}

fn set_profile(world: &mut World, call: &Call, id: &str) -> Outcome {
    let asked = call.at("IamInstanceProfile").cloned().unwrap_or_default();
    let Some((_, arn)) = profile(world, call.now, &asked)? else {
        return Err(Refusal::bad(
            "MissingParameter",
            "The request must contain the parameter IamInstanceProfile",
        ));
    };
    if let Some(row) = world.get_mut(&call.region, INSTANCES, id) {
        row.set(
            "iamInstanceProfile",
            json!({"arn": arn, "id": "AIPASANDBOX"}),
        );
    }
    let row = need(world, call, INSTANCES, id, MISSING)?;
    Ok(json!({"iamInstanceProfileAssociation": association(id, row)}).into())
}

fn associate(world: &mut World, call: &Call) -> Outcome {
    let allocation = call.need("AllocationId")?.to_owned();
    let id = call.need("InstanceId")?.to_owned();
    let row = need(world, call, INSTANCES, &id, MISSING)?;
    if !matches!(state(row), "running" | "stopped" | "stopping") {
        return Err(Refusal::bad(
            "IncorrectInstanceState",
            format!(
                "The {} instance '{id}' is not in a valid state for this operation.",
                state(row)
            ),
        ));
    }
    let address = need(
        world,
        call,
        "ec2/address",
        &allocation,
        "InvalidAllocationID.NotFound",
    )?;
    let mine = address.text("instanceId") == id;
    let taken = !address.text("associationId").is_empty();
    if mine {
        return Ok(json!({"return": true, "associationId": address.text("associationId")}).into());
    }
    if taken && call.flag("AllowReassociation") != Some(true) {
        return Err(Refusal::bad(
            "Resource.AlreadyAssociated",
            format!(
                "resource {allocation} is already associated with associate-id {}",
                address.text("associationId")
            ),
        ));
    }
    let owner = format!("ec2/{id}");
    let interface = world
        .rows(&call.region, "ec2/network_interface")
        .find(|(_, r)| r.text("_owner") == owner)
        .map(|(eni, r)| (eni.clone(), r.text("privateIpAddress").to_owned()));
    let association = world.id("eipassoc");
    // The instance has one public address: another one it had is let go.
    for other in world.table(&call.region, "ec2/address").values_mut() {
        if other.text("instanceId") == id {
            free(other);
        }
    }
    if let Some(row) = world.get_mut(&call.region, "ec2/address", &allocation) {
        row.set("associationId", association.clone());
        row.set("instanceId", id);
        if let Some((eni, private)) = interface {
            row.set("networkInterfaceId", eni);
            row.set("privateIpAddress", private);
        }
    }
    Ok(json!({"return": true, "associationId": association}).into())
}

fn disassociate(world: &mut World, call: &Call) -> Outcome {
    let association = call.need("AssociationId")?;
    let row = world
        .table(&call.region, "ec2/address")
        .values_mut()
        .find(|r| r.text("associationId") == association);
    match row {
        None => Err(Refusal::bad(
            "InvalidAssociationID.NotFound",
            format!("The association ID '{association}' does not exist"),
        )),
        Some(row) if row.text("instanceId").is_empty() => Err(Refusal::bad(
            "AuthFailure",
            "You do not have permission to access the specified resource.",
        )),
        Some(row) => {
            free(row);
            yes()
        }
    }
}

/// Takes an address off its instance.
fn free(row: &mut Row) {
    if let Value::Object(map) = &mut row.v {
        for key in [
            "associationId",
            "instanceId",
            "networkInterfaceId",
            "privateIpAddress",
        ] {
            map.remove(key);
        }
    }
}
