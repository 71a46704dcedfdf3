//! Roles, with their inline and attached policies.

use serde_json::{Value, json};

use super::moment;
use super::{
    PROFILES, ROLES, check_name, check_path, encoded, map_of, need, nothing, page, profile,
    tag_list, tags_asked, unknown_principal,
};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::delays;
use crate::sandbox::world::{GLOBAL, Row, World};

pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("RoleName")?.to_owned();
    check_name(&name, 64)?;
    let path = check_path(call)?;
    let trust = call.need("AssumeRolePolicyDocument")?.to_owned();
    check_trust(world, call, &trust)?;
    let tags = tags_asked(call)?;
    if let Some(length) = call.int("MaxSessionDuration")
        && !(3_600..=43_200).contains(&length)
    {
        return Err(Refusal::bad(
            "ValidationError",
            "MaxSessionDuration must be between 3600 and 43200",
        ));
    }
    // Names differ from each other in more than case.
    if world
        .rows(GLOBAL, ROLES)
        .any(|(other, _)| other.eq_ignore_ascii_case(&name))
    {
        return Err(Refusal::new(
            409,
            "EntityAlreadyExists",
            format!("Role with name {name} already exists."),
        ));
    }
    if world.rows(GLOBAL, ROLES).count() as u64 >= world.quota("roles", 1_000) {
        return Err(Refusal::new(
            409,
            "LimitExceeded",
            "Cannot exceed quota for RolesPerAccount: 1000",
        ));
    }
    let row = insert(world, call, &name, &path, &trust);
    row.tags = tags;
    let shown = shown(row);
    Ok(json!({ "Role": shown }).into())
}

fn insert<'w>(
    world: &'w mut World,
    call: &Call,
    name: &str,
    path: &str,
    trust: &str,
) -> &'w mut Row {
    let id = format!("AROA{}", world.hex(17).to_uppercase());
    let arn = format!("arn:aws:iam::{}:role{path}{name}", world.account);
    let v = json!({
        "Path": path, "RoleName": name, "RoleId": id, "Arn": arn, "CreateDate": moment(call.now),
        "MaxSessionDuration": 3600, "Description": call.opt("Description"),
        "_trust": trust, "_policies": {}, "_attached": {}, "_usableFrom": call.now + delays::ROLE_USABLE,
    });
    world.insert(GLOBAL, ROLES, name, v, call.now)
}

/// What IAM checks in a trust policy.
fn check_trust(world: &World, call: &Call, text: &str) -> Result<(), Refusal> {
    let document = parsed(text, 2_048)?;
    for statement in statements(&document) {
        let principal = statement
            .get("Principal")
            .ok_or_else(|| malformed("AssumeRolepolicy contained an invalid principal"))?;
        if let Some(unknown) = unknown_principal(world, principal, call.now) {
            return Err(malformed(&format!(
                "Invalid principal in policy: {unknown}"
            )));
        }
        if statement.get("Resource").is_some() {
            return Err(malformed("Has prohibited field Resource"));
        }
    }
    Ok(())
}

/// What IAM checks in a policy of a role.
fn check_grants(text: &str) -> Result<(), Refusal> {
    let document = parsed(text, 10_240)?;
    for statement in statements(&document) {
        if statement.get("Principal").is_some() {
            return Err(malformed("Policy document should not specify a principal."));
        }
        if statement
            .get("Resource")
            .or_else(|| statement.get("NotResource"))
            .is_none()
        {
            return Err(malformed("Policy statement must contain resources."));
        }
    }
    Ok(())
}

/// A policy document with what every one must have.
fn parsed(text: &str, limit: usize) -> Result<Value, Refusal> {
    // White space does not count.
    if text.chars().filter(|c| !c.is_whitespace()).count() > limit {
        return Err(Refusal::new(
            409,
            "LimitExceeded",
            format!("Maximum policy size of {limit} bytes exceeded"),
        ));
    }
    let document: Value =
        serde_json::from_str(text).map_err(|_| malformed("This policy contains invalid Json"))?;
    let version = document.get("Version").and_then(Value::as_str);
    if !matches!(version, None | Some("2012-10-17" | "2008-10-17")) {
        return Err(malformed("The policy must contain a valid version string"));
    }
    if statements(&document).is_empty() {
        return Err(malformed("Syntax errors in policy."));
    }
    let mut sids = std::collections::BTreeSet::new();
    for statement in statements(&document) {
        let effect = statement.get("Effect").and_then(Value::as_str);
        let actions = statement
            .get("Action")
            .or_else(|| statement.get("NotAction"));
        let named = |a: &Value| a.as_str().is_some_and(|a| a == "*" || a.contains(':'));
        let good = match actions {
            Some(Value::Array(list)) => !list.is_empty() && list.iter().all(named),
            Some(one) => named(one),
            None => false,
        };
        if !matches!(effect, Some("Allow" | "Deny")) || !good {
            return Err(malformed("Syntax errors in policy."));
        }
        if let Some(sid) = statement.get("Sid").and_then(Value::as_str) {
            if !sid.chars().all(|c| c.is_ascii_alphanumeric()) {
                return Err(malformed(
                    "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
                ));
            }
            if !sids.insert(sid.to_owned()) {
                return Err(malformed(
                    "Statement IDs (SID) in a single policy must be unique.",
                ));
            }
        }
    }
    Ok(document)
}

fn statements(document: &Value) -> Vec<&Value> {
    match document.get("Statement") {
        Some(Value::Array(list)) => list.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        _ => vec![],
    }
}

fn malformed(message: &str) -> Refusal {
    Refusal::bad("MalformedPolicyDocument", message)
}

/// A role as GetRole shows it.
fn shown(row: &Row) -> Value {
    let mut v = row.shown();
    v["AssumeRolePolicyDocument"] = json!(encoded(row.text("_trust")));
    v["Tags"] = json!({"member": tag_list(row)});
    v
}

/// A role as it stands in lists and in profiles: without tags.
pub(super) fn listed(row: &Row) -> Value {
    let mut v = shown(row);
    if let Value::Object(map) = &mut v {
        map.remove("Tags");
    }
    v
}

pub(super) fn get(world: &World, call: &Call) -> Outcome {
    let row = need(world, ROLES, call.need("RoleName")?)?;
    Ok(json!({"Role": shown(row)}).into())
}

pub(super) fn list(world: &World, call: &Call) -> Outcome {
    let prefix = call.opt("PathPrefix").unwrap_or("/");
    let roles = world
        .seen(GLOBAL, ROLES, call.now)
        .filter(|(_, r)| r.text("Path").starts_with(prefix))
        .map(|(_, r)| listed(r))
        .collect();
    Ok(page(call, roles, "Roles").into())
}

pub(super) fn delete(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("RoleName")?.to_owned();
    let row = need(world, ROLES, &name)?;
    let conflict = |why: &str| Refusal::new(409, "DeleteConflict", why);
    if row.text("Path").starts_with("/aws-service-role/") {
        return Err(Refusal::bad(
            "UnmodifiableEntity",
            "Cannot perform the operation on the protected role",
        ));
    }
    if profile::holding(world, &name).next().is_some() {
        return Err(conflict(
            "Cannot delete entity, must remove roles from instance profile first.",
        ));
    }
    if map_of(row, "_policies").is_some_and(|p| !p.is_empty()) {
        return Err(conflict(
            "Cannot delete entity, must delete policies first.",
        ));
    }
    if map_of(row, "_attached").is_some_and(|p| !p.is_empty()) {
        return Err(conflict(
            "Cannot delete entity, must detach all policies first.",
        ));
    }
    world.remove(GLOBAL, ROLES, &name);
    nothing()
}

pub(super) fn update_trust(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("RoleName")?.to_owned();
    need(world, ROLES, &name)?;
    let trust = call.need("PolicyDocument")?.to_owned();
    check_trust(world, call, &trust)?;
    change(world, &name, |row| row.set("_trust", trust));
    nothing()
}

fn change(world: &mut World, name: &str, change: impl FnOnce(&mut Row)) {
    if let Some(row) = world.get_mut(GLOBAL, ROLES, name) {
        change(row);
    }
}

pub(super) fn put_policy(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("RoleName")?.to_owned();
    need(world, ROLES, &name)?;
    let policy = call.need("PolicyName")?.to_owned();
    check_name(&policy, 128)?;
    let document = call.need("PolicyDocument")?.to_owned();
    check_grants(&document)?;
    change(world, &name, |row| {
        row.v["_policies"][policy] = json!(document);
    });
    nothing()
}

/// The inline policy the call names.
fn policy<'w>(world: &'w World, call: &Call) -> Result<&'w str, Refusal> {
    let row = need(world, ROLES, call.need("RoleName")?)?;
    let name = call.need("PolicyName")?;
    map_of(row, "_policies")
        .and_then(|p| p.get(name)?.as_str())
        .ok_or_else(|| {
            Refusal::new(
                404,
                "NoSuchEntity",
                format!("The role policy with name {name} cannot be found."),
            )
        })
}

pub(super) fn get_policy(world: &World, call: &Call) -> Outcome {
    let document = policy(world, call)?;
    Ok(
        json!({"RoleName": call.opt("RoleName"), "PolicyName": call.opt("PolicyName"), "PolicyDocument": encoded(document)})
            .into(),
    )
}

pub(super) fn list_policies(world: &World, call: &Call) -> Outcome {
    let row = need(world, ROLES, call.need("RoleName")?)?;
    let names = map_of(row, "_policies")
        .into_iter()
        .flat_map(|p| p.keys().map(|k| json!(k)))
        .collect();
    Ok(page(call, names, "PolicyNames").into())
}

pub(super) fn delete_policy(world: &mut World, call: &Call) -> Outcome {
    policy(world, call)?;
    let policy = call.need("PolicyName")?.to_owned();
    change(world, call.need("RoleName")?, |row| {
        if let Some(Value::Object(map)) = row.v.get_mut("_policies") {
            map.shift_remove(&policy);
        }
    });
    nothing()
}

pub(super) fn attach(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("RoleName")?.to_owned();
    need(world, ROLES, &name)?;
    let arn = call.need("PolicyArn")?.to_owned();
    // AWS's own policies are taken as known; the sandbox keeps no others.
    if !arn.starts_with("arn:aws:iam::aws:policy/") {
        return Err(Refusal::new(
            404,
            "NoSuchEntity",
            format!("Policy {arn} does not exist or is not attachable."),
        ));
    }
    change(world, &name, |row| row.v["_attached"][arn] = json!(true));
    nothing()
}

pub(super) fn detach(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("RoleName")?.to_owned();
    let arn = call.need("PolicyArn")?.to_owned();
    let row = need(world, ROLES, &name)?;
    if !map_of(row, "_attached").is_some_and(|a| a.contains_key(&arn)) {
        return Err(Refusal::new(
            404,
            "NoSuchEntity",
            format!("Policy {arn} was not found."),
        ));
    }
    change(world, &name, |row| {
        if let Some(Value::Object(map)) = row.v.get_mut("_attached") {
            map.shift_remove(&arn);
        }
    });
    nothing()
}

fn attached(row: &Row) -> Vec<Value> {
    map_of(row, "_attached")
        .into_iter()
        .flat_map(|a| a.keys())
        .map(|arn| json!({"PolicyName": arn.rsplit('/').next(), "PolicyArn": arn}))
        .collect()
}

pub(super) fn list_attached(world: &World, call: &Call) -> Outcome {
    let row = need(world, ROLES, call.need("RoleName")?)?;
    Ok(page(call, attached(row), "AttachedPolicies").into())
}

/// The roles that AWS services take by themselves, and the names AWS gives them.
const LINKED: &[(&str, &str)] = &[
    ("autoscaling.amazonaws.com", "AWSServiceRoleForAutoScaling"),
    (
        "elasticloadbalancing.amazonaws.com",
        "AWSServiceRoleForElasticLoadBalancing",
    ),
    ("rds.amazonaws.com", "AWSServiceRoleForRDS"),
    ("elasticache.amazonaws.com", "AWSServiceRoleForElastiCache"),
];

pub(super) fn create_linked(world: &mut World, call: &Call) -> Outcome {
    let service = call.need("AWSServiceName")?.to_owned();
    let Some((_, name)) = LINKED.iter().find(|(s, _)| *s == service) else {
        return Err(Refusal::bad(
            "InvalidInput",
            format!("Service {service} does not support service-linked roles in the sandbox"),
        ));
    };
    if world.get(GLOBAL, ROLES, name).is_some() {
        return Err(Refusal::bad(
            "InvalidInput",
            format!(
                "Service role name {name} has been taken in this account, please try a different suffix."
            ),
        ));
    }
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": service}}]});
    let path = format!("/aws-service-role/{service}/");
    let row = insert(world, call, name, &path, &trust.to_string());
    let shown = shown(row);
    Ok(json!({ "Role": shown }).into())
}

/// Everything about roles in one listing; the documents come percent-encoded.
pub(super) fn details(world: &World, call: &Call) -> Outcome {
    let filter = call.texts("Filter");
    let roles = if filter.is_empty() || filter.contains(&"Role") {
        world
            .seen(GLOBAL, ROLES, call.now)
            .map(|(name, row)| detail(world, name, row))
            .collect()
    } else {
        vec![]
    };
    Ok(page(call, roles, "RoleDetailList").into())
}

fn detail(world: &World, name: &str, row: &Row) -> Value {
    let mut v = shown(row);
    if let Value::Object(map) = &mut v {
        map.remove("MaxSessionDuration");
        map.remove("Description");
    }
    let inline: Vec<Value> = map_of(row, "_policies")
        .into_iter()
        .flatten()
        .map(|(name, document)| {
            json!({"PolicyName": name, "PolicyDocument": encoded(document.as_str().unwrap_or_default())})
        })
        .collect();
    let profiles: Vec<Value> = profile::holding(world, name)
        .filter_map(|profile| world.get(GLOBAL, PROFILES, profile))
        .map(|row| profile::listed(world, row))
        .collect();
    v["RolePolicyList"] = json!({"member": inline});
    v["AttachedManagedPolicies"] = json!({"member": attached(row)});
    v["InstanceProfileList"] = json!({"member": profiles});
    v
}
