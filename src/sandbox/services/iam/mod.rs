//! IAM: roles and instance profiles. One for all regions.
//!
//! A new role can be named in policies, and a new profile given to instances, only after `_usableFrom`.

mod profile;
mod role;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{GLOBAL, Millis, Row, World};

pub const ACTIONS: &[&str] = &[
    "CreateRole",
    "GetRole",
    "ListRoles",
    "DeleteRole",
    "UpdateAssumeRolePolicy",
    "TagRole",
    "UntagRole",
    "ListRoleTags",
    "PutRolePolicy",
    "GetRolePolicy",
    "ListRolePolicies",
    "DeleteRolePolicy",
    "AttachRolePolicy",
    "DetachRolePolicy",
    "ListAttachedRolePolicies",
    "CreateServiceLinkedRole",
    "GetAccountAuthorizationDetails",
    "SimulatePrincipalPolicy",
    "CreateInstanceProfile",
    "GetInstanceProfile",
    "ListInstanceProfiles",
    "ListInstanceProfilesForRole",
    "ListInstanceProfileTags",
    "TagInstanceProfile",
    "UntagInstanceProfile",
    "AddRoleToInstanceProfile",
    "RemoveRoleFromInstanceProfile",
    "DeleteInstanceProfile",
];

const ROLES: &str = "iam/role";
const PROFILES: &str = "iam/instance_profile";

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "CreateRole" => role::create(world, call),
        "GetRole" => role::get(world, call),
        "ListRoles" => role::list(world, call),
        "DeleteRole" => role::delete(world, call),
        "UpdateAssumeRolePolicy" => role::update_trust(world, call),
        "TagRole" => tag(world, call, ROLES, "RoleName"),
        "UntagRole" => untag(world, call, ROLES, "RoleName"),
        "ListRoleTags" => list_tags(world, call, ROLES, "RoleName"),
        "PutRolePolicy" => role::put_policy(world, call),
        "GetRolePolicy" => role::get_policy(world, call),
        "ListRolePolicies" => role::list_policies(world, call),
        "DeleteRolePolicy" => role::delete_policy(world, call),
        "AttachRolePolicy" => role::attach(world, call),
        "DetachRolePolicy" => role::detach(world, call),
        "ListAttachedRolePolicies" => role::list_attached(world, call),
        "CreateServiceLinkedRole" => role::create_linked(world, call),
        "GetAccountAuthorizationDetails" => role::details(world, call),
        "SimulatePrincipalPolicy" => simulate(world, call),
        "CreateInstanceProfile" => profile::create(world, call),
        "GetInstanceProfile" => profile::get(world, call),
        "ListInstanceProfiles" => profile::list(world, call),
        "ListInstanceProfilesForRole" => profile::list_for_role(world, call),
        "ListInstanceProfileTags" => list_tags(world, call, PROFILES, "InstanceProfileName"),
        "TagInstanceProfile" => tag(world, call, PROFILES, "InstanceProfileName"),
        "UntagInstanceProfile" => untag(world, call, PROFILES, "InstanceProfileName"),
        "AddRoleToInstanceProfile" => profile::add_role(world, call),
        "RemoveRoleFromInstanceProfile" => profile::remove_role(world, call),
        "DeleteInstanceProfile" => profile::delete(world, call),
        _ => Err(Refusal::unknown_action(call)),
    }
}

/// The first principal of a policy statement that AWS would not know (yet): a role of this account that does
/// not exist or is too new, or something that is no principal at all.
pub fn unknown_principal(world: &World, principal: &Value, now: Millis) -> Option<String> {
    let kinds = match principal {
        Value::String(s) if s == "*" => return None,
        Value::Object(kinds) => kinds,
        other => return Some(other.to_string()),
    };
    kinds.iter().find_map(|(kind, names)| {
        let names = match names {
            Value::Array(list) => list.iter().collect(),
            one => vec![one],
        };
        names.into_iter().find_map(|name| {
            let name = name.as_str().unwrap_or_default();
            (!known(world, kind, name, now)).then(|| format!("\"{kind}\":\"{name}\""))
        })
    })
}

fn known(world: &World, kind: &str, name: &str, now: Millis) -> bool {
    match kind {
        "Service" => name.ends_with(".amazonaws.com"),
        "AWS" if name == "*" => true,
        "AWS" if name.len() == 12 => name.bytes().all(|b| b.is_ascii_digit()),
        "AWS" => {
            let Some(rest) = name.strip_prefix("arn:aws:iam::") else {
                return false;
            };
            let Some((account, what)) = rest.split_once(':') else {
                return false;
            };
            // What other accounts have cannot be known here.
            if account != world.account || !what.starts_with("role/") {
                return true;
            }
            world
                .rows(GLOBAL, ROLES)
                .any(|(_, r)| r.text("Arn") == name && usable(r, now))
        }
        "Federated" | "CanonicalUser" => true,
        _ => false,
    }
}

/// Whether a new role or profile has become known everywhere.
pub fn usable(row: &Row, now: Millis) -> bool {
    row.v
        .get("_usableFrom")
        .and_then(Value::as_i64)
        .is_none_or(|from| from <= now)
}

/// The row of this name, or IAM's refusal.
fn need<'w>(world: &'w World, table: &str, name: &str) -> Result<&'w Row, Refusal> {
    world.get(GLOBAL, table, name).ok_or_else(|| {
        let noun = if table == ROLES {
            "role"
        } else {
            "instance profile"
        };
        let noun = match noun {
            "role" => format!("The role with name {name} cannot be found."),
            _ => format!("Instance Profile {name} cannot be found."),
        };
        Refusal::new(404, "NoSuchEntity", noun)
    })
}

/// The rules for names of roles and profiles.
fn check_name(name: &str, limit: usize) -> Result<(), Refusal> {
    let good = !name.is_empty()
        && name.len() <= limit
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c));
    if good {
        return Ok(());
    }
    Err(Refusal::bad(
        "ValidationError",
        format!(
            "The specified value for the name is invalid: {name}. It must contain only alphanumeric characters and/or the following: +=,.@_- and be at most {limit} long"
        ),
    ))
}

/// The path, `/` when none is given.
fn check_path(call: &Call) -> Result<String, Refusal> {
    let path = call.opt("Path").unwrap_or("/");
    if path.starts_with('/') && path.ends_with('/') && path.len() <= 512 {
        return Ok(path.to_owned());
    }
    Err(Refusal::bad(
        "ValidationError",
        "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.",
    ))
}

/// The tags of a call, checked.
fn tags_asked(call: &Call) -> Result<BTreeMap<String, String>, Refusal> {
    let list = call.list("Tags");
    let tags = call.pairs("Tags");
    if tags.len() > 50 {
        return Err(Refusal::new(
            409,
            "LimitExceeded",
            "The number of tags has reached the maximum limit.",
        ));
    }
    let good = |text: &str| {
        text.chars()
            .all(|c| c.is_alphanumeric() || " +-=._:/@".contains(c))
    };
    let bad = tags.iter().any(|(k, v)| {
        k.is_empty()
            || k.starts_with("aws:")
            || k.chars().count() > 128
            || v.chars().count() > 256
            || !good(k)
            || !good(v)
    });
    if bad || tags.len() < list.len() {
        return Err(Refusal::bad("InvalidInput", "The tags are invalid"));
    }
    Ok(tags)
}

fn tag(world: &mut World, call: &Call, table: &str, param: &str) -> Outcome {
    let name = call.need(param)?.to_owned();
    need(world, table, &name)?;
    let tags = tags_asked(call)?;
    if let Some(row) = world.get_mut(GLOBAL, table, &name) {
        row.tags.extend(tags);
    }
    nothing()
}

fn untag(world: &mut World, call: &Call, table: &str, param: &str) -> Outcome {
    let name = call.need(param)?.to_owned();
    need(world, table, &name)?;
    if let Some(row) = world.get_mut(GLOBAL, table, &name) {
        for key in call.texts("TagKeys") {
            row.tags.remove(key);
        }
    }
    nothing()
}

fn list_tags(world: &World, call: &Call, table: &str, param: &str) -> Outcome {
    let row = need(world, table, call.need(param)?)?;
    Ok(json!({"Tags": {"member": tag_list(row)}, "IsTruncated": false}).into())
}

fn tag_list(row: &Row) -> Vec<Value> {
    row.tags
        .iter()
        .map(|(k, v)| json!({"Key": k, "Value": v}))
        .collect()
}

/// An answer without fields.
fn nothing() -> Outcome {
    Ok(json!({}).into())
}

/// One page: `MaxItems` (100) from `Marker` on.
fn page(call: &Call, items: Vec<Value>, set: &str) -> Value {
    let from: usize = call.opt("Marker").and_then(|m| m.parse().ok()).unwrap_or(0);
    let size = call
        .int("MaxItems")
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(100);
    let more = from + size < items.len();
    let items: Vec<Value> = items.into_iter().skip(from).take(size).collect();
    let mut answer = json!({ set: {"member": items}, "IsTruncated": more });
    if more {
        answer["Marker"] = json!((from + size).to_string());
    }
    answer
}

/// A policy document as IAM's answers carry it: percent-encoded, as RFC 3986 has it.
fn encoded(document: &str) -> String {
    const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(document, PLAIN).to_string()
}

/// The sandbox's user may do everything.
/// Everything is allowed here, but what the world's limits say otherwise of: `allowed:ec2:CreateVpc`.
fn simulate(world: &World, call: &Call) -> Outcome {
    let source = call.need("PolicySourceArn")?;
    if !["user/", "role/", "group/"]
        .iter()
        .any(|noun| source.contains(&format!(":{noun}")))
    {
        return Err(Refusal::bad(
            "InvalidInput",
            format!("Invalid Entity Arn: {source} does not clearly define entity type and name."),
        ));
    }
    let resources = match call.texts("ResourceArns") {
        none if none.is_empty() => vec!["*"],
        some => some,
    };
    let results: Vec<Value> = call
        .texts("ActionNames")
        .into_iter()
        .map(|action| {
            let decision = match world.quota(&format!("allowed:{action}"), 1) {
                0 => "implicitDeny",
                _ => "allowed",
            };
            json!({"EvalActionName": action, "EvalResourceName": resources[0], "EvalDecision": decision,
                "MatchedStatements": {"member": []}, "MissingContextValues": {"member": []}})
        })
        .collect();
    Ok(page(call, results, "EvaluationResults").into())
}

/// The children of an object field, by key.
fn map_of<'r>(row: &'r Row, field: &str) -> Option<&'r Map<String, Value>> {
    row.v.get(field)?.as_object()
}

/// A moment as IAM's answers have it.
fn moment(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
