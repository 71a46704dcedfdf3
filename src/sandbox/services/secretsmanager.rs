//! Secrets Manager: values, their versions, and names that linger after deletion.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::kms;
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Millis, Row, World};

pub const ACTIONS: &[&str] = &[
    "CreateSecret",
    "DescribeSecret",
    "GetSecretValue",
    "PutSecretValue",
    "UpdateSecret",
    "ListSecrets",
    "TagResource",
    "UntagResource",
    "DeleteSecret",
    "RestoreSecret",
];

const TABLE: &str = "secretsmanager/secret";
const DAY: Millis = 24 * 60 * 60 * 1000;
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>
const VALUE_LIMIT: usize = 65_536;

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "CreateSecret" => create(world, call),
        "DescribeSecret" => {
            let (_, row) = secret(world, call)?;
            Ok(described(&row).into())
        }
        "GetSecretValue" => get_value(world, call),
        "PutSecretValue" => put_value(world, call),
        "UpdateSecret" => update(world, call),
        "ListSecrets" => list(world, call),
        "TagResource" => {
            let asked = call.pairs("Tags");
            let (name, row) = live(world, call)?;
            let mut all = row.tags;
            all.extend(asked);
            set_tags(world, call, &name, all)
        }
        "UntagResource" => {
            let gone: Vec<&str> = call.texts("TagKeys");
            let (name, row) = live(world, call)?;
            let mut all = row.tags;
            all.retain(|k, _| !gone.contains(&k.as_str()));
            set_tags(world, call, &name, all)
        }
        "DeleteSecret" => delete(world, call),
        "RestoreSecret" => {
            let (name, row) = secret(world, call)?;
            if let Some(row) = world.get_mut(&call.region, TABLE, &name) {
                row.due.clear();
                if let Value::Object(map) = &mut row.v {
                    map.remove("DeletedDate");
                }
            }
            Ok(json!({"ARN": row.text("ARN"), "Name": name}).into())
        }
        _ => Err(Refusal::unknown_action(call)),
    }
}

fn described(row: &Row) -> Value {
    let mut v = row.shown();
    v["Tags"] = row
        .tags
        .iter()
        .map(|(k, v)| json!({"Key": k, "Value": v}))
        .collect();
    if let Some(version) = row.v.get("_version").and_then(Value::as_str) {
        v["VersionIdsToStages"] = json!({version: ["AWSCURRENT"]});
    }
    v
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::bad("InvalidRequestException", message)
}

fn parameter(message: impl Into<String>) -> Refusal {
    Refusal::bad("InvalidParameterException", message)
}

/// The secret meant by a name, an ARN, or an ARN without its last six letters.
fn secret(world: &World, call: &Call) -> Result<(String, Row), Refusal> {
    let id = call.need("SecretId")?;
    world
        .rows(&call.region, TABLE)
        .find(|(name, row)| {
            let arn = row.text("ARN");
            *name == id
                || arn == id
                || (id.starts_with("arn:") && arn.rsplit_once('-').is_some_and(|(a, _)| a == id))
        })
        .map(|(name, row)| (name.clone(), row.clone()))
        .ok_or_else(|| {
            Refusal::bad(
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret.",
            )
        })
}

/// As [`secret`], and not marked for deletion.
fn live(world: &World, call: &Call) -> Result<(String, Row), Refusal> {
    let (name, row) = secret(world, call)?;
    if row.v.get("DeletedDate").is_some() {
        return Err(invalid(
            "You can't perform this operation on the secret because it was marked for deletion.",
        ));
    }
    Ok((name, row))
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("Name")?.to_owned();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
    if name.len() > 512 || !name.chars().all(allowed) {
        return Err(Refusal::bad(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
        ));
    }
    let token = token(call)?;
    if let Some(row) = world.get(&call.region, TABLE, &name) {
        if row.v.get("DeletedDate").is_some() {
            return Err(invalid(
                "You can't create this secret because a secret with this name is already scheduled for deletion.",
            ));
        }
        return match call.replayed(world, &token) {
            Ok(Some(_)) => {
                Ok(json!({"ARN": row.text("ARN"), "Name": name, "VersionId": token}).into())
            }
            _ => Err(Refusal::bad(
                "ResourceExistsException",
                format!("The operation failed because the secret {name} already exists."),
            )),
        };
    }
    let key = call
        .opt("KmsKeyId")
        .unwrap_or("alias/aws/secretsmanager")
        .to_owned();
    check_key(world, call, &key)?;
    let tags = call.pairs("Tags");
    if let Some(problem) = kms::tag_problem(&tags) {
        return Err(parameter(problem));
    }
    let held = world.rows(&call.region, TABLE).count() as u64;
    if held >= world.quota("secrets", 500_000) {
        return Err(Refusal::bad(
            "LimitExceededException",
            "You've reached the quota for secrets in this region.",
        ));
    }
    let tail = world.hex(6);
    let arn = format!(
        "arn:aws:secretsmanager:{}:{}:secret:{name}-{tail}",
        call.region, world.account
    );
    let mut v = json!({"ARN": arn, "_arn": arn, "Name": name, "CreatedDate": call.now / 1000,
        "LastChangedDate": call.now / 1000, "Description": call.opt("Description").unwrap_or_default()});
    if call.opt("KmsKeyId").is_some() {
        v["KmsKeyId"] = json!(key);
    }
    let mut answer = json!({"ARN": arn, "Name": name});
    if let Some(value) = given_value(call)? {
        v["_value"] = json!(value);
        v["_version"] = json!(token);
        answer["VersionId"] = json!(token);
    }
    world.insert(&call.region, TABLE, &name, v, call.now).tags = tags;
    call.remember(world, &token, &name);
    Ok(answer.into())
}

/// The client's token; the SDK always sends one.
fn token(call: &Call) -> Result<String, Refusal> {
    let token = call.need("ClientRequestToken")?;
    if !(32..=64).contains(&token.len()) {
        return Err(parameter(
            "ClientRequestToken must have length between 32 and 64",
        ));
    }
    Ok(token.to_owned())
}

fn given_value(call: &Call) -> Result<Option<String>, Refusal> {
    match call.opt("SecretString") {
        Some(value) if value.len() > VALUE_LIMIT => Err(parameter("The value is too long")),
        value => Ok(value.map(str::to_owned)),
    }
}

fn check_key(world: &World, call: &Call, key: &str) -> Result<(), Refusal> {
    match kms::usable(world, &call.region, key) {
        Ok(_) => Ok(()),
        Err(why) => Err(Refusal::bad("EncryptionFailure", why)),
    }
}

fn get_value(world: &mut World, call: &Call) -> Outcome {
    let (name, row) = live(world, call)?;
    let none = || {
        Refusal::bad(
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
        )
    };
    let value = row
        .v
        .get("_value")
        .and_then(Value::as_str)
        .ok_or_else(none)?;
    if let Some(key) = row.v.get("KmsKeyId").and_then(Value::as_str) {
        kms::usable(world, &call.region, key)
            .map_err(|why| Refusal::bad("DecryptionFailure", why))?;
    }
    Ok(
        json!({"ARN": row.text("ARN"), "Name": name, "SecretString": value, "VersionId": row.text("_version"),
            "VersionStages": ["AWSCURRENT"], "CreatedDate": call.now / 1000})
        .into(),
    )
}

fn put_value(world: &mut World, call: &Call) -> Outcome {
    let token = token(call)?;
    let (name, row) = live(world, call)?;
    let Some(value) = given_value(call)? else {
        return Err(invalid(
            "You must provide either SecretString or SecretBinary.",
        ));
    };
    let answer = json!({"ARN": row.text("ARN"), "Name": name, "VersionId": token, "VersionStages": ["AWSCURRENT"]});
    if row.text("_version") == token {
        if row.text("_value") == value {
            return Ok(answer.into());
        }
        return Err(Refusal::bad(
            "ResourceExistsException",
            "You can't use ClientRequestToken again with another value.",
        ));
    }
    if let Some(row) = world.get_mut(&call.region, TABLE, &name) {
        row.set("_value", value);
        row.set("_version", token);
        row.set("LastChangedDate", call.now / 1000);
    }
    Ok(answer.into())
}

fn update(world: &mut World, call: &Call) -> Outcome {
    let (name, row) = live(world, call)?;
    let key = call.opt("KmsKeyId").map(str::to_owned);
    if let Some(key) = &key {
        check_key(world, call, key)?;
    }
    let value = given_value(call)?;
    let token = call
        .opt("ClientRequestToken")
        .unwrap_or_default()
        .to_owned();
    let text = call
        .at("Description")
        .and_then(Value::as_str)
        .map(str::to_owned);
    if let Some(row) = world.get_mut(&call.region, TABLE, &name) {
        if let Some(text) = text {
            row.set("Description", text);
        }
        if let Some(key) = key {
            row.set("KmsKeyId", key);
        }
        if let Some(value) = value {
            row.set("_value", value);
            row.set("_version", token);
        }
        row.set("LastChangedDate", call.now / 1000);
    }
    Ok(json!({"ARN": row.text("ARN"), "Name": name}).into())
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let planned = call.flag("IncludePlannedDeletion") == Some(true);
    let mut shown = Vec::new();
    for (name, row) in world.seen(&call.region, TABLE, call.now) {
        if row.v.get("DeletedDate").is_some() && !planned {
            continue;
        }
        let mut hit = true;
        for filter in call.list("Filters") {
            let values: Vec<&str> = filter["Values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            // AWS matches the beginnings of keys, values and names.
            let any = |text: &str| values.iter().any(|v| text.starts_with(v));
            hit &= match filter["Key"].as_str().unwrap_or_default() {
                "tag-key" => row.tags.keys().any(|k| any(k)),
                "tag-value" => row.tags.values().any(|v| any(v)),
                "name" => any(name),
                "description" => any(row.text("Description")),
                other => return Err(parameter(format!("Invalid filter key: {other}"))),
            };
        }
        if hit {
            let mut v = described(row);
            if let Value::Object(map) = &mut v
                && let Some(stages) = map.remove("VersionIdsToStages")
            {
                map.insert("SecretVersionsToStages".into(), stages);
            }
            shown.push(v);
        }
    }
    let from: usize = call
        .opt("NextToken")
        .and_then(|t| t.parse().ok())
        .unwrap_or(0);
    let size = call
        .int("MaxResults")
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(100)
        .min(100);
    let more = from + size < shown.len();
    let page: Vec<Value> = shown.into_iter().skip(from).take(size).collect();
    let mut answer = json!({"SecretList": page});
    if more {
        answer["NextToken"] = json!((from + size).to_string());
    }
    Ok(answer.into())
}

fn set_tags(world: &mut World, call: &Call, name: &str, tags: BTreeMap<String, String>) -> Outcome {
    if let Some(problem) = kms::tag_problem(&tags) {
        return Err(parameter(problem));
    }
    if let Some(row) = world.get_mut(&call.region, TABLE, name) {
        row.tags = tags;
    }
    Ok(json!({}).into())
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let days = call.int("RecoveryWindowInDays");
    let force = call.flag("ForceDeleteWithoutRecovery") == Some(true);
    if force && days.is_some() {
        return Err(parameter(
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
        ));
    }
    let days = days.unwrap_or(30);
    if !(7..=30).contains(&days) {
        return Err(parameter(
            "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
        ));
    }
    let (name, row) = if force {
        // Also what waits already can be made to go at once.
        secret(world, call)?
    } else {
        live(world, call)?
    };
    let arn = row.text("ARN");
    if force {
        world.remove(&call.region, TABLE, &name);
        return Ok(json!({"ARN": arn, "Name": name, "DeletionDate": call.now / 1000}).into());
    }
    if let Some(row) = world.get_mut(&call.region, TABLE, &name) {
        row.set("DeletedDate", call.now / 1000);
        row.vanish(call.now, days * DAY);
    }
    Ok(json!({"ARN": arn, "Name": name, "DeletionDate": (call.now + days * DAY) / 1000}).into())
}
