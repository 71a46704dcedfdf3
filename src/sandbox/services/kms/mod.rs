//! KMS: keys that never go at once, their policies, aliases, and the data keys made under them.

mod data;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{GLOBAL, Millis, Row, World};

pub const ACTIONS: &[&str] = &[
    "CreateKey",
    "DescribeKey",
    "ListKeys",
    "EnableKey",
    "DisableKey",
    "UpdateKeyDescription",
    "GetKeyPolicy",
    "PutKeyPolicy",
    "GetKeyRotationStatus",
    "EnableKeyRotation",
    "DisableKeyRotation",
    "TagResource",
    "UntagResource",
    "ListResourceTags",
    "ScheduleKeyDeletion",
    "CancelKeyDeletion",
    "CreateAlias",
    "UpdateAlias",
    "DeleteAlias",
    "ListAliases",
    "GenerateDataKey",
    "Decrypt",
];

const KEYS: &str = "kms/key";
const ALIASES: &str = "kms/alias";
const DAY: Millis = 24 * 60 * 60 * 1000;

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "CreateKey" => create(world, call),
        "DescribeKey" => {
            let (id, _) = key(world, call)?;
            let row = world.get(&call.region, KEYS, &id);
            Ok(json!({"KeyMetadata": row.map(Row::shown)}).into())
        }
        "ListKeys" => {
            let keys = world
                .rows(&call.region, KEYS)
                .map(|(id, row)| json!({"KeyId": id, "KeyArn": row.text("Arn")}))
                .collect();
            Ok(page(call, "Keys", keys).into())
        }
        "EnableKey" => change(
            world,
            call,
            json!({"Enabled": true, "KeyState": "Enabled"}),
            false,
        ),
        "DisableKey" => change(
            world,
            call,
            json!({"Enabled": false, "KeyState": "Disabled"}),
            false,
        ),
        "UpdateKeyDescription" => {
            let text = call.opt("Description").unwrap_or_default().to_owned();
            change(world, call, json!({"Description": text}), false)
        }
        "GetKeyPolicy" => {
            let (_, row) = key(world, call)?;
            policy_name(call)?;
            Ok(json!({"Policy": row.text("_policy"), "PolicyName": "default"}).into())
        }
        "PutKeyPolicy" => {
            policy_name(call)?;
            let policy = call.need("Policy")?.to_owned();
            key(world, call)?;
            check_policy(world, call, &policy)?;
            change(world, call, json!({"_policy": policy}), false)
        }
        "GetKeyRotationStatus" => {
            let (id, row) = key(world, call)?;
            not_pending(&row)?;
            Ok(json!({"KeyId": id, "KeyRotationEnabled": row.is("_rotation"), "RotationPeriodInDays": 365}).into())
        }
        "EnableKeyRotation" => change(world, call, json!({"_rotation": true}), true),
        "DisableKeyRotation" => change(world, call, json!({"_rotation": false}), true),
        "TagResource" => {
            let asked = call.pairs("Tags");
            let (id, row) = key(world, call)?;
            not_pending(&row)?;
            let mut all = row.tags;
            all.extend(asked);
            set_tags(world, call, &id, all)
        }
        "UntagResource" => {
            let (id, row) = key(world, call)?;
            not_pending(&row)?;
            let gone = call.texts("TagKeys");
            let mut all = row.tags;
            all.retain(|k, _| !gone.contains(&k.as_str()));
            set_tags(world, call, &id, all)
        }
        "ListResourceTags" => {
            let (_, row) = key(world, call)?;
            let tags = row
                .tags
                .iter()
                .map(|(k, v)| json!({"TagKey": k, "TagValue": v}))
                .collect();
            Ok(page(call, "Tags", tags).into())
        }
        "ScheduleKeyDeletion" => schedule_deletion(world, call),
        "CancelKeyDeletion" => cancel_deletion(world, call),
        "CreateAlias" => create_alias(world, call),
        "UpdateAlias" => update_alias(world, call),
        "DeleteAlias" => delete_alias(world, call),
        "ListAliases" => list_aliases(world, call),
        "GenerateDataKey" => data::generate(world, call),
        "Decrypt" => data::decrypt(world, call),
        _ => Err(Refusal::unknown_action(call)),
    }
}

/// The key another service is told to use, by id, ARN or alias: its ARN, or why it cannot be used.
pub(super) fn usable(world: &World, region: &str, name: &str) -> Result<String, String> {
    let own = format!("arn:aws:kms:{region}:{}:key/alias-aws-", world.account);
    match find(world, region, name).and_then(|id| world.get(region, KEYS, &id)) {
        // AWS makes these when they are first used.
        None if name.starts_with("alias/aws/") => {
            Ok(format!("{own}{}", &name["alias/aws/".len()..]))
        }
        None if name.starts_with(&own) => Ok(name.to_owned()),
        None => Err(format!("The KMS key {name} does not exist")),
        Some(row) if !row.is("Enabled") => Err(format!(
            "The KMS key {name} is {}",
            row.text("KeyState").to_lowercase()
        )),
        Some(row) => Ok(row.text("Arn").to_owned()),
    }
}

/// What is wrong with a set of tags, in every service alike; empty when nothing is.
/// Limits: <https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html>.
pub(super) fn tag_problem(tags: &BTreeMap<String, String>) -> Option<String> {
    let user = tags.keys().filter(|k| !k.starts_with("aws:")).count();
    if user > 50 {
        return Some("more than 50 tags".into());
    }
    let allowed = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
    for (key, value) in tags {
        if key.to_lowercase().starts_with("aws:") {
            return Some(format!("the tag key {key} begins with aws:"));
        }
        if key.is_empty() || key.chars().count() > 128 {
            return Some(format!("the tag key {key} is empty or too long"));
        }
        if value.chars().count() > 256 {
            return Some(format!("the value of the tag {key} is too long"));
        }
        if !key.chars().all(allowed) || !value.chars().all(allowed) {
            return Some(format!("the tag {key} has a character that is not allowed"));
        }
    }
    None
}

/// The id of the key meant by an id, ARN, alias or alias ARN.
fn find(world: &World, region: &str, name: &str) -> Option<String> {
    let short = name.rsplit_once(":key/").map_or(name, |(_, id)| id);
    if world.get(region, KEYS, short).is_some() {
        return Some(short.to_owned());
    }
    let alias = name.find("alias/").map(|at| &name[at..])?;
    let row = world.get(region, ALIASES, alias)?;
    Some(row.text("TargetKeyId").to_owned())
}

/// The key a call is about.
fn key(world: &World, call: &Call) -> Result<(String, Row), Refusal> {
    let name = call.need("KeyId")?;
    find(world, &call.region, name)
        .and_then(|id| Some((id.clone(), world.get(&call.region, KEYS, &id)?.clone())))
        .ok_or_else(|| missing(world, call, name))
}

fn missing(world: &World, call: &Call, name: &str) -> Refusal {
    let text = if name.starts_with("arn:") {
        name.to_owned()
    } else {
        let kind = if name.starts_with("alias/") {
            ""
        } else {
            "key/"
        };
        format!("arn:aws:kms:{}:{}:{kind}{name}", call.region, world.account)
    };
    Refusal::bad("NotFoundException", format!("{text} is not found."))
}

fn not_pending(row: &Row) -> Result<(), Refusal> {
    if row.text("KeyState") == "PendingDeletion" {
        return Err(Refusal::bad(
            "KMSInvalidStateException",
            format!("{} is pending deletion.", row.text("Arn")),
        ));
    }
    Ok(())
}

fn policy_name(call: &Call) -> Result<(), Refusal> {
    match call.opt("PolicyName") {
        None | Some("default") => Ok(()),
        Some(_) => Err(Refusal::bad(
            "NotFoundException",
            "The only policy name is default",
        )),
    }
}

fn change(world: &mut World, call: &Call, fields: Value, enabled_only: bool) -> Outcome {
    let (id, row) = key(world, call)?;
    not_pending(&row)?;
    if enabled_only && !row.is("Enabled") {
        return Err(Refusal::bad(
            "DisabledException",
            format!("{} is disabled.", row.text("Arn")),
        ));
    }
    if let Some(row) = world.get_mut(&call.region, KEYS, &id) {
        crate::sandbox::codec::merge(&mut row.v, &fields);
    }
    Ok(json!({}).into())
}

fn set_tags(world: &mut World, call: &Call, id: &str, tags: BTreeMap<String, String>) -> Outcome {
    if let Some(problem) = tag_problem(&tags) {
        return Err(Refusal::bad("TagException", problem));
    }
    if let Some(row) = world.get_mut(&call.region, KEYS, id) {
        row.tags = tags;
    }
    Ok(json!({}).into())
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let tags = call.pairs("Tags");
    if let Some(problem) = tag_problem(&tags) {
        return Err(Refusal::bad("TagException", problem));
    }
    if call.opt("Description").is_some_and(|d| d.len() > 8192) {
        return Err(Refusal::bad(
            "ValidationException",
            "Description is longer than 8192",
        ));
    }
    let policy = match call.opt("Policy") {
        Some(policy) => {
            check_policy(world, call, policy)?;
            policy.to_owned()
        }
        None => json!({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [{
            "Sid": "Enable IAM User Permissions", "Effect": "Allow", "Action": "kms:*", "Resource": "*",
            "Principal": {"AWS": format!("arn:aws:iam::{}:root", world.account)}}]})
        .to_string(),
    };
    let held = world
        .rows(&call.region, KEYS)
        .filter(|(_, r)| r.text("KeyState") != "PendingDeletion")
        .count() as u64;
    if held >= world.quota("kms_keys", 100_000) {
        return Err(Refusal::bad(
            "LimitExceededException",
            "The maximum number of KMS keys has been reached.",
        ));
    }
    let id = uuid(world);
    let arn = format!("arn:aws:kms:{}:{}:key/{id}", call.region, world.account);
    let v = json!({
        "AWSAccountId": world.account, "KeyId": id, "Arn": arn, "_arn": arn,
        "CreationDate": call.now / 1000, "Enabled": true, "KeyState": "Enabled",
        "Description": call.opt("Description").unwrap_or_default(),
        "KeyUsage": "ENCRYPT_DECRYPT", "Origin": "AWS_KMS", "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"], "MultiRegion": false,
        "_policy": policy, "_rotation": false,
    });
    let row = world.insert(&call.region, KEYS, &id, v, call.now);
    row.tags = tags;
    Ok(json!({"KeyMetadata": row.shown()}).into())
}

/// An id in KMS's form.
fn uuid(world: &mut World) -> String {
    let h = world.hex(32);
    format!(
        "{}-{}-{}-{}-{}",
        &h[..8],
        &h[8..12],
        &h[12..16],
        &h[16..20],
        &h[20..]
    )
}

/// A key policy must be JSON of policy shape, name only principals that exist and are known everywhere by
/// now, and leave the account in command of the key.
fn check_policy(world: &World, call: &Call, text: &str) -> Result<(), Refusal> {
    let bad = |why: &str| Refusal::bad("MalformedPolicyDocumentException", why);
    if text.len() > 32 * 1024 {
        return Err(Refusal::bad(
            "LimitExceededException",
            "The policy is longer than 32 kilobytes",
        ));
    }
    let policy: Value = serde_json::from_str(text).map_err(|_| bad("The policy is not JSON"))?;
    let statements = match policy.get("Statement") {
        Some(Value::Array(list)) => list.clone(),
        Some(one @ Value::Object(_)) => vec![one.clone()],
        _ => return Err(bad("Policy has no statement")),
    };
    let mut commanded = false;
    for statement in &statements {
        let allows = match statement.get("Effect").and_then(Value::as_str) {
            Some("Allow") => true,
            Some("Deny") => false,
            _ => return Err(bad("A statement has no effect")),
        };
        if statement.get("Resource").is_none() {
            return Err(bad("A statement has no resource"));
        }
        let actions = texts(statement.get("Action"));
        if actions.is_empty() && statement.get("NotAction").is_none() {
            return Err(bad("A statement has no action"));
        }
        let principal = statement.get("Principal");
        if principal.is_none() && statement.get("NotPrincipal").is_none() {
            return Err(bad("A statement has no principal"));
        }
        let named = match principal {
            Some(Value::Object(map)) => texts(map.get("AWS")),
            other => texts(other),
        };
        for name in &named {
            if !exists(world, call, name) {
                return Err(bad(
                    "Policy contains a statement with one or more invalid principals.",
                ));
            }
        }
        let root = format!("arn:aws:iam::{}:root", world.account);
        let manages = actions
            .iter()
            .any(|a| a == "kms:*" || a == "*" || a == "kms:PutKeyPolicy" || a == "kms:Put*");
        commanded |= allows && manages && named.iter().any(|n| *n == root || *n == world.account);
    }
    if !commanded && call.flag("BypassPolicyLockoutSafetyCheck") != Some(true) {
        return Err(bad(
            "The new key policy will not allow you to update the key policy in the future.",
        ));
    }
    Ok(())
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => vec![],
    }
}

fn exists(world: &World, call: &Call, principal: &str) -> bool {
    let account = &world.account;
    if principal == "*"
        || principal == account
        || *principal == format!("arn:aws:iam::{account}:root")
    {
        return true;
    }
    // Which other accounts there are cannot be known here.
    if let Some(other) = principal
        .strip_prefix("arn:aws:iam::")
        .and_then(|rest| rest.strip_suffix(":root"))
    {
        return other.len() == 12 && other.bytes().all(|b| b.is_ascii_digit());
    }
    let Some((_, name)) = principal
        .strip_prefix(&format!("arn:aws:iam::{account}:"))
        .and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let name = name.rsplit('/').next().unwrap_or(name);
    if principal.contains(":user/") {
        return true;
    }
    world.get(GLOBAL, "iam/role", name).is_some_and(|role| {
        let from = role.v.get("_usableFrom").and_then(Value::as_i64);
        from.is_none_or(|from| from <= call.now)
    })
}

fn schedule_deletion(world: &mut World, call: &Call) -> Outcome {
    let days = call.int("PendingWindowInDays").unwrap_or(30);
    if !(7..=30).contains(&days) {
        return Err(Refusal::bad(
            "ValidationException",
            "PendingWindowInDays must be between 7 and 30",
        ));
    }
    let (id, row) = key(world, call)?;
    not_pending(&row)?;
    let after = days * DAY;
    let due = (call.now + after) / 1000;
    if let Some(row) = world.get_mut(&call.region, KEYS, &id) {
        row.set("Enabled", false);
        row.set("KeyState", "PendingDeletion");
        row.set("DeletionDate", due);
        row.vanish(call.now, after);
    }
    // Aliases go with their key.
    for alias in world.table(&call.region, ALIASES).values_mut() {
        if alias.text("TargetKeyId") == id {
            alias.vanish(call.now, after);
        }
    }
    Ok(json!({"KeyId": row.text("Arn"), "KeyState": "PendingDeletion", "DeletionDate": due, "PendingWindowInDays": days}).into())
}

fn cancel_deletion(world: &mut World, call: &Call) -> Outcome {
    let (id, row) = key(world, call)?;
    if row.text("KeyState") != "PendingDeletion" {
        return Err(Refusal::bad(
            "KMSInvalidStateException",
            format!("{} is not pending deletion.", row.text("Arn")),
        ));
    }
    if let Some(row) = world.get_mut(&call.region, KEYS, &id) {
        row.due.clear();
        // AWS gives it back disabled.
        row.set("KeyState", "Disabled");
        row.set("DeletionDate", Value::Null);
    }
    for alias in world.table(&call.region, ALIASES).values_mut() {
        if alias.text("TargetKeyId") == id {
            alias.due.clear();
        }
    }
    Ok(json!({"KeyId": row.text("Arn")}).into())
}

fn create_alias(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("AliasName")?.to_owned();
    let word = name.strip_prefix("alias/").unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_-".contains(c);
    if word.is_empty() || name.len() > 256 || !word.chars().all(allowed) {
        return Err(Refusal::bad(
            "ValidationException",
            format!("{name} is not an alias name"),
        ));
    }
    if word.starts_with("aws/") {
        return Err(Refusal::bad(
            "NotAuthorizedException",
            "Alias names that begin with alias/aws/ are reserved",
        ));
    }
    let target = target(world, call)?;
    if world.get(&call.region, ALIASES, &name).is_some() {
        return Err(Refusal::bad(
            "AlreadyExistsException",
            format!(
                "An alias with the name {} already exists",
                alias_arn(world, call, &name)
            ),
        ));
    }
    let v = json!({"AliasName": name, "AliasArn": alias_arn(world, call, &name), "TargetKeyId": target,
        "CreationDate": call.now / 1000, "LastUpdatedDate": call.now / 1000});
    world.insert(&call.region, ALIASES, &name, v, call.now);
    Ok(json!({}).into())
}

fn alias_arn(world: &World, call: &Call, name: &str) -> String {
    format!("arn:aws:kms:{}:{}:{name}", call.region, world.account)
}

/// The key an alias shall point at: by id or ARN, and not on its way out.
fn target(world: &World, call: &Call) -> Result<String, Refusal> {
    let name = call.need("TargetKeyId")?;
    let id = find(world, &call.region, name).filter(|_| !name.contains("alias/"));
    let row = id
        .as_ref()
        .and_then(|id| world.get(&call.region, KEYS, id))
        .ok_or_else(|| missing(world, call, name))?;
    not_pending(row)?;
    Ok(row.text("KeyId").to_owned())
}

fn update_alias(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("AliasName")?.to_owned();
    let target = target(world, call)?;
    let now = call.now;
    match world.get_mut(&call.region, ALIASES, &name) {
        None => return Err(missing(world, call, &name)),
        Some(row) => {
            row.due.clear();
            row.set("TargetKeyId", target);
            row.set("LastUpdatedDate", now / 1000);
        }
    }
    Ok(json!({}).into())
}

fn delete_alias(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("AliasName")?.to_owned();
    match world.remove(&call.region, ALIASES, &name) {
        Some(_) => Ok(json!({}).into()),
        None => Err(missing(world, call, &name)),
    }
}

fn list_aliases(world: &mut World, call: &Call) -> Outcome {
    let of = match call.opt("KeyId") {
        Some(_) => Some(key(world, call)?.0),
        None => None,
    };
    let aliases = world
        .rows(&call.region, ALIASES)
        .filter(|(_, r)| of.as_ref().is_none_or(|id| r.text("TargetKeyId") == id))
        .map(|(_, r)| r.shown())
        .collect();
    Ok(page(call, "Aliases", aliases).into())
}

/// One page: `Limit` items from `Marker` on.
fn page(call: &Call, name: &str, items: Vec<Value>) -> Value {
    let from: usize = call.opt("Marker").and_then(|m| m.parse().ok()).unwrap_or(0);
    let size = call
        .int("Limit")
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(50);
    let more = from + size < items.len();
    let items: Vec<Value> = items.into_iter().skip(from).take(size).collect();
    let mut answer = json!({ name: items, "Truncated": more });
    if more {
        answer["NextMarker"] = json!((from + size).to_string());
    }
    answer
}
