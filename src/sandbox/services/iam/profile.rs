//! Instance profiles: each carries at most one role.

use serde_json::{Value, json};

use super::moment;
use super::{
    PROFILES, ROLES, check_name, check_path, need, nothing, page, role, tag_list, tags_asked,
};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::delays;
use crate::sandbox::world::{GLOBAL, Row, World};

pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("InstanceProfileName")?.to_owned();
    check_name(&name, 128)?;
    let path = check_path(call)?;
    let tags = tags_asked(call)?;
    if world
        .rows(GLOBAL, PROFILES)
        .any(|(other, _)| other.eq_ignore_ascii_case(&name))
    {
        return Err(Refusal::new(
            409,
            "EntityAlreadyExists",
            format!("Instance Profile {name} already exists."),
        ));
    }
    let id = format!("AIPA{}", world.hex(17).to_uppercase());
    let arn = format!(
        "arn:aws:iam::{}:instance-profile{path}{name}",
        world.account
    );
    let v = json!({
        "Path": path, "InstanceProfileName": name, "InstanceProfileId": id, "Arn": arn,
        "CreateDate": moment(call.now), "_role": null, "_usableFrom": call.now + delays::PROFILE_USABLE,
    });
    let row = world.insert(GLOBAL, PROFILES, &name, v, call.now);
    row.tags = tags;
    let row = row.clone();
    Ok(json!({"InstanceProfile": shown(world, &row)}).into())
}

/// A profile in lists: with its role, without tags.
pub(super) fn listed(world: &World, row: &Row) -> Value {
    let mut v = row.shown();
    let roles: Vec<Value> = world
        .get(GLOBAL, ROLES, row.text("_role"))
        .map(role::listed)
        .into_iter()
        .collect();
    v["Roles"] = json!({"member": roles});
    v
}

fn shown(world: &World, row: &Row) -> Value {
    let mut v = listed(world, row);
    v["Tags"] = json!({"member": tag_list(row)});
    v
}

/// The names of the profiles that carry a role.
pub(super) fn holding<'w>(world: &'w World, role: &str) -> impl Iterator<Item = &'w str> {
    world
        .rows(GLOBAL, PROFILES)
        .filter(move |(_, row)| row.text("_role") == role)
        .map(|(name, _)| name.as_str())
}

pub(super) fn get(world: &World, call: &Call) -> Outcome {
    let row = need(world, PROFILES, call.need("InstanceProfileName")?)?;
    Ok(json!({"InstanceProfile": shown(world, row)}).into())
}

pub(super) fn list(world: &World, call: &Call) -> Outcome {
    let prefix = call.opt("PathPrefix").unwrap_or("/");
    let profiles = world
        .seen(GLOBAL, PROFILES, call.now)
        .filter(|(_, r)| r.text("Path").starts_with(prefix))
        .map(|(_, r)| listed(world, r))
        .collect();
    Ok(page(call, profiles, "InstanceProfiles").into())
}

pub(super) fn list_for_role(world: &World, call: &Call) -> Outcome {
    let role = call.need("RoleName")?;
    need(world, ROLES, role)?;
    let profiles = holding(world, role)
        .filter_map(|name| world.get(GLOBAL, PROFILES, name))
        .map(|row| listed(world, row))
        .collect();
    Ok(page(call, profiles, "InstanceProfiles").into())
}

pub(super) fn add_role(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("InstanceProfileName")?.to_owned();
    let role = call.need("RoleName")?.to_owned();
    need(world, ROLES, &role)?;
    // The same role a second time is refused as any other.
    if !need(world, PROFILES, &name)?.text("_role").is_empty() {
        return Err(Refusal::new(
            409,
            "LimitExceeded",
            "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
        ));
    }
    if let Some(row) = world.get_mut(GLOBAL, PROFILES, &name) {
        row.set("_role", role);
        // What it carries has to become known everywhere again.
        row.set("_usableFrom", call.now + delays::PROFILE_USABLE);
    }
    nothing()
}

pub(super) fn remove_role(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("InstanceProfileName")?.to_owned();
    let role = call.need("RoleName")?;
    if need(world, PROFILES, &name)?.text("_role") != role {
        return Err(Refusal::new(
            404,
            "NoSuchEntity",
            format!("The role with name {role} cannot be found in the instance profile."),
        ));
    }
    if let Some(row) = world.get_mut(GLOBAL, PROFILES, &name) {
        row.set("_role", Value::Null);
    }
    nothing()
}

pub(super) fn delete(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("InstanceProfileName")?.to_owned();
    if !need(world, PROFILES, &name)?.text("_role").is_empty() {
        return Err(Refusal::new(
            409,
            "DeleteConflict",
            "Cannot delete entity, must remove roles from instance profile first.",
        ));
    }
    world.remove(GLOBAL, PROFILES, &name);
    nothing()
}
