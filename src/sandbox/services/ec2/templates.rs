//! Launch templates.

use serde_json::{Map, Value, json};

use super::{Handler, arn, describe, need, page, shown, tags_asked};
use crate::sandbox::call::{Call, Outcome, Refusal, pairs};
use crate::sandbox::world::{Millis, Row, World};

pub(super) const ACTIONS: &[&str] = &[
    "CreateLaunchTemplate",
    "CreateLaunchTemplateVersion",
    "ModifyLaunchTemplate",
    "DescribeLaunchTemplates",
    "DescribeLaunchTemplateVersions",
    "DeleteLaunchTemplate",
];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "CreateLaunchTemplate" => create,
        "CreateLaunchTemplateVersion" => create_version,
        "ModifyLaunchTemplate" => modify,
        "DescribeLaunchTemplates" => list,
        "DescribeLaunchTemplateVersions" => list_versions,
        "DeleteLaunchTemplate" => delete,
        _ => return None,
    })
}

const TABLE: &str = "ec2/launch_template";
const MISSING: &str = "InvalidLaunchTemplateId.NotFound";

fn create(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("LaunchTemplateName")?.to_owned();
    let well_formed = (3..=128).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "()-./_".contains(c));
    if !well_formed {
        return Err(Refusal::bad(
            "InvalidLaunchTemplateName.MalformedException",
            "Launch template names must be 3 to 128 letters, digits and the characters - ( ) . / _",
        ));
    }
    let token = super::compute::token(call)?;
    if let Some(token) = &token
        && let Some(id) = call.replayed(world, token)?
    {
        let row = need(world, call, TABLE, &id, MISSING)?;
        return Ok(json!({"launchTemplate": shown(row)}).into());
    }
    if world
        .rows(&call.region, TABLE)
        .any(|(_, r)| r.text("launchTemplateName") == name)
    {
        return Err(Refusal::bad(
            "InvalidLaunchTemplateName.AlreadyExistsException",
            "Launch template name already in use.",
        ));
    }
    let version = version(call, world, 1, call.now)?;
    let id = world.id("lt");
    let v = json!({"launchTemplateId": id, "launchTemplateName": name, "createTime": super::compute::when(call.now),
        "createdBy": format!("arn:aws:iam::{}:user/sandbox", world.account), "defaultVersionNumber": 1,
        "latestVersionNumber": 1, "_versions": [version], "_arn": arn(world, &call.region, "launch-template", &id)});
    let row = world.insert(&call.region, TABLE, &id, v, call.now);
    row.tags = tags_asked(call, "launch-template");
    let answer = json!({"launchTemplate": shown(row)});
    if let Some(token) = token {
        call.remember(world, &token, &id);
    }
    Ok(answer.into())
}

/// A version as it is kept: number, day, and the data in the form it was sent in.
fn version(call: &Call, world: &World, number: u64, now: Millis) -> Result<Value, Refusal> {
    let data = call.at("LaunchTemplateData").cloned().unwrap_or(json!({}));
    super::compute::user_data(&data)?;
    Ok(
        json!({"number": number, "at": super::compute::when(now), "data": data,
        "description": call.opt("VersionDescription"),
        "by": format!("arn:aws:iam::{}:user/sandbox", world.account)}),
    )
}

/// The template a call names, by id or by name.
fn named(world: &World, call: &Call) -> Result<String, Refusal> {
    if let Some(id) = call.opt("LaunchTemplateId") {
        need(world, call, TABLE, id, MISSING)?;
        return Ok(id.to_owned());
    }
    let name = call.need("LaunchTemplateName")?;
    by_name(world, &call.region, name).ok_or_else(|| {
        Refusal::bad(
            "InvalidLaunchTemplateName.NotFoundException",
            format!("The specified launch template, with template name {name}, does not exist."),
        )
    })
}

fn by_name(world: &World, region: &str, name: &str) -> Option<String> {
    world
        .rows(region, TABLE)
        .find(|(_, r)| r.text("launchTemplateName") == name)
        .map(|(id, _)| id.clone())
}

fn versions(row: &Row) -> &[Value] {
    row.v["_versions"].as_array().map_or(&[], Vec::as_slice)
}

/// `$Default`, `$Latest` or a number.
fn pick<'r>(row: &'r Row, word: &str) -> Option<&'r Value> {
    let number = match word {
        "$Default" | "" => row.v["defaultVersionNumber"].as_u64()?,
        "$Latest" => row.v["latestVersionNumber"].as_u64()?,
        number => number.parse().ok()?,
    };
    versions(row).iter().find(|v| v["number"] == number)
}

/// What a launch template says, in the form of `RunInstances`, for a call that names one under `at`.
pub(super) fn resolve(world: &World, region: &str, spec: &Value) -> Result<Value, Refusal> {
    let word = |key: &str| spec[key].as_str().filter(|s| !s.is_empty());
    let missing = |what: &str| {
        Refusal::bad(
            MISSING,
            format!("The specified launch template, with {what}, does not exist."),
        )
    };
    let id = match (word("LaunchTemplateId"), word("LaunchTemplateName")) {
        (Some(id), _) => id.to_owned(),
        (None, Some(name)) => {
            by_name(world, region, name).ok_or_else(|| missing(&format!("template name {name}")))?
        }
        (None, None) => return Ok(json!({})),
    };
    let row = world
        .get(region, TABLE, &id)
        .ok_or_else(|| missing(&format!("template ID {id}")))?;
    let version = word("Version").unwrap_or("$Default");
    let found = pick(row, version).ok_or_else(|| {
        Refusal::bad(
            "InvalidLaunchTemplateId.VersionNotFound",
            format!("Could not find the specified version {version} for the launch template with ID {id}."),
        )
    })?;
    Ok(found["data"].clone())
}

fn create_version(world: &mut World, call: &Call) -> Outcome {
    let id = named(world, call)?;
    let token = super::compute::token(call)?;
    if let Some(token) = &token
        && let Some(number) = call.replayed(world, token)?
    {
        let row = need(world, call, TABLE, &id, MISSING)?;
        let made = pick(row, &number).cloned().unwrap_or_default();
        return Ok(json!({"launchTemplateVersion": shown_version(&id, row, &made)}).into());
    }
    let row = need(world, call, TABLE, &id, MISSING)?;
    let number = row.v["latestVersionNumber"].as_u64().unwrap_or_default() + 1;
    let made = version(call, world, number, call.now)?;
    let mut all = versions(row).to_vec();
    all.push(made.clone());
    if let Some(row) = world.get_mut(&call.region, TABLE, &id) {
        row.set("_versions", all);
        row.set("latestVersionNumber", number);
    }
    if let Some(token) = token {
        call.remember(world, &token, &number.to_string());
    }
    let row = need(world, call, TABLE, &id, MISSING)?;
    Ok(json!({"launchTemplateVersion": shown_version(&id, row, &made)}).into())
}

fn modify(world: &mut World, call: &Call) -> Outcome {
    let id = named(world, call)?;
    let word = call.need("SetDefaultVersion")?.to_owned();
    let row = need(world, call, TABLE, &id, MISSING)?;
    let Some(number) = pick(row, &word).and_then(|v| v["number"].as_u64()) else {
        return Err(Refusal::bad(
            "InvalidLaunchTemplateId.VersionNotFound",
            format!(
                "Could not find the specified version {word} for the launch template with ID {id}."
            ),
        ));
    };
    if let Some(row) = world.get_mut(&call.region, TABLE, &id) {
        row.set("defaultVersionNumber", number);
    }
    let row = need(world, call, TABLE, &id, MISSING)?;
    Ok(json!({"launchTemplate": shown(row)}).into())
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let names = call.texts("LaunchTemplateName");
    for name in &names {
        if by_name(world, &call.region, name).is_none() {
            return Err(Refusal::bad(
                "InvalidLaunchTemplateName.NotFoundException",
                "At least one of the launch templates specified in the request does not exist.",
            ));
        }
    }
    let rows = describe(
        world,
        call,
        TABLE,
        "LaunchTemplateId",
        MISSING,
        |name, _, row| match name {
            "launch-template-name" => vec![row.text("launchTemplateName").to_owned()],
            _ => vec![],
        },
    )?;
    let items = rows
        .iter()
        .filter(|(_, r)| names.is_empty() || names.contains(&r.text("launchTemplateName")))
        .map(|(_, r)| shown(r))
        .collect();
    Ok(page(call, items, "launchTemplates").into())
}

fn list_versions(world: &mut World, call: &Call) -> Outcome {
    let words = call.texts("LaunchTemplateVersion");
    let one = call.opt("LaunchTemplateId").is_some() || call.opt("LaunchTemplateName").is_some();
    if !one && (words.is_empty() || words.iter().any(|w| !w.starts_with('$'))) {
        return Err(Refusal::bad(
            "MissingParameter",
            "Name a launch template, or ask for the versions $Latest or $Default of all.",
        ));
    }
    let ids: Vec<String> = if one {
        vec![named(world, call)?]
    } else {
        world
            .seen(&call.region, TABLE, call.now)
            .map(|(id, _)| id.clone())
            .collect()
    };
    let mut items = Vec::new();
    for id in ids {
        let row = need(world, call, TABLE, &id, MISSING)?;
        if words.is_empty() {
            items.extend(versions(row).iter().map(|v| shown_version(&id, row, v)));
        }
        for word in &words {
            match pick(row, word) {
                Some(v) => items.push(shown_version(&id, row, v)),
                None => {
                    return Err(Refusal::bad(
                        "InvalidLaunchTemplateId.VersionNotFound",
                        format!("Could not find launch template version {word}"),
                    ));
                }
            }
        }
    }
    Ok(page(call, items, "launchTemplateVersionSet").into())
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let id = named(world, call)?;
    let row = need(world, call, TABLE, &id, MISSING)?;
    let answer = json!({"launchTemplate": shown(row)});
    world.remove(&call.region, TABLE, &id);
    Ok(answer.into())
}

fn shown_version(id: &str, row: &Row, version: &Value) -> Value {
    json!({"launchTemplateId": id, "launchTemplateName": row.text("launchTemplateName"),
        "versionNumber": version["number"], "versionDescription": version["description"],
        "createTime": version["at"], "createdBy": version["by"],
        "defaultVersion": version["number"] == row.v["defaultVersionNumber"],
        "launchTemplateData": shown_data(&version["data"])})
}

/// The data of a request in the form of an answer.
fn shown_data(data: &Value) -> Value {
    let mut out = Map::new();
    for (key, name) in [
        ("ImageId", "imageId"),
        ("InstanceType", "instanceType"),
        ("UserData", "userData"),
        ("KeyName", "keyName"),
        ("EbsOptimized", "ebsOptimized"),
        ("DisableApiTermination", "disableApiTermination"),
    ] {
        if let Some(value) = data.get(key) {
            out.insert(name.into(), value.clone());
        }
    }
    for (key, name) in [
        ("IamInstanceProfile", "iamInstanceProfile"),
        ("MetadataOptions", "metadataOptions"),
        ("Monitoring", "monitoring"),
        ("Placement", "placement"),
    ] {
        if let Some(value) = data.get(key) {
            out.insert(name.into(), small(value));
        }
    }
    let items = |key: &str| data[key].as_array().cloned().unwrap_or_default();
    let disks: Vec<Value> = items("BlockDeviceMapping")
        .iter()
        .map(|m| json!({"deviceName": m["DeviceName"], "ebs": small(&m["Ebs"])}))
        .collect();
    let interfaces: Vec<Value> = items("NetworkInterface")
        .iter()
        .map(|i| {
            let mut shown = small(i);
            if let Value::Object(map) = &mut shown {
                map.remove("securityGroupId");
                map.insert("groupSet".into(), json!({"groupId": i["SecurityGroupId"]}));
            }
            shown
        })
        .collect();
    let tags: Vec<Value> = items("TagSpecification")
        .iter()
        .map(|s| {
            let set: Vec<Value> = pairs(s["Tag"].as_array().map_or(&[], Vec::as_slice))
                .into_iter()
                .map(|(k, v)| json!({"key": k, "value": v}))
                .collect();
            json!({"resourceType": s["ResourceType"], "tagSet": {"item": set}})
        })
        .collect();
    for (name, list) in [
        ("blockDeviceMappingSet", disks),
        ("networkInterfaceSet", interfaces),
        ("tagSpecificationSet", tags),
        ("securityGroupIdSet", items("SecurityGroupId")),
    ] {
        if !list.is_empty() {
            out.insert(name.into(), json!({"item": list}));
        }
    }
    Value::Object(out)
}

/// The same fields with a small first letter.
pub(super) fn small(value: &Value) -> Value {
    let Value::Object(map) = value else {
        return value.clone();
    };
    map.iter()
        .map(|(key, value)| {
            let mut letters = key.chars();
            let first = letters.next().map(|c| c.to_ascii_lowercase());
            (
                first.into_iter().chain(letters).collect::<String>(),
                value.clone(),
            )
        })
        .collect::<Map<_, _>>()
        .into()
}
