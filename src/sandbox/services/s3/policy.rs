//! What S3 checks in a bucket policy before it takes it.

use serde_json::Value;

use super::BUCKETS;
use crate::sandbox::call::{Call, Refusal};
use crate::sandbox::services::iam::unknown_principal;
use crate::sandbox::world::World;

/// The policy's text as it was sent, if AWS would take it.
pub(super) fn checked(world: &World, call: &Call, bucket: &str) -> Result<String, Refusal> {
    let text = String::from_utf8_lossy(&call.http.body).into_owned();
    if text.len() > 20_480 {
        return Err(malformed(
            "Policy exceeds the maximum allowed document size.",
        ));
    }
    let policy: Value = serde_json::from_str(&text)
        .map_err(|_| malformed("Policies must be valid JSON and the first byte must be '{'"))?;
    let statements = one_or_many(policy.get("Statement"));
    if statements.is_empty() {
        return Err(malformed("Missing required field Statement"));
    }
    let mut public = false;
    for statement in statements {
        public |= check(world, call, bucket, statement)?;
    }
    let closed = world.get(&call.region, BUCKETS, bucket).and_then(|row| {
        row.v
            .get("_publicAccessBlock")?
            .get("BlockPublicPolicy")?
            .as_str()
    }) == Some("true");
    if public && closed {
        return Err(Refusal::new(
            403,
            "AccessDenied",
            "User is not authorized to perform: s3:PutBucketPolicy because public policies are blocked by the BlockPublicPolicy block public access setting.",
        ));
    }
    Ok(text)
}

/// Checks one statement; true when it opens the bucket to everybody.
fn check(world: &World, call: &Call, bucket: &str, statement: &Value) -> Result<bool, Refusal> {
    let effect = statement.get("Effect").and_then(Value::as_str);
    if !matches!(effect, Some("Allow" | "Deny")) {
        return Err(malformed("Invalid effect"));
    }
    let principal = statement
        .get("Principal")
        .or_else(|| statement.get("NotPrincipal"))
        .ok_or_else(|| malformed("Missing required field Principal"))?;
    if let Some(unknown) = unknown_principal(world, principal, call.now) {
        return Err(malformed(&format!(
            "Invalid principal in policy: {unknown}"
        )));
    }
    let actions = one_or_many(
        statement
            .get("Action")
            .or_else(|| statement.get("NotAction")),
    );
    if actions.is_empty() {
        return Err(malformed("Missing required field Action"));
    }
    if !actions
        .iter()
        .all(|a| a.as_str().is_some_and(|a| a == "*" || a.starts_with("s3:")))
    {
        return Err(malformed("Policy has invalid action"));
    }
    let resources = one_or_many(
        statement
            .get("Resource")
            .or_else(|| statement.get("NotResource")),
    );
    if resources.is_empty() {
        return Err(malformed("Missing required field Resource"));
    }
    let arn = format!("arn:aws:s3:::{bucket}");
    let own = |r: &str| r == arn || r.starts_with(&format!("{arn}/"));
    if !resources.iter().all(|r| r.as_str().is_some_and(own)) {
        return Err(malformed("Policy has invalid resource"));
    }
    let everybody = principal == "*" || principal.get("AWS").is_some_and(|p| p == "*");
    Ok(effect == Some("Allow") && everybody && statement.get("Condition").is_none())
}

fn one_or_many(value: Option<&Value>) -> Vec<&Value> {
    match value {
        None | Some(Value::Null) => vec![],
        Some(Value::Array(list)) => list.iter().collect(),
        Some(one) => vec![one],
    }
}

fn malformed(message: &str) -> Refusal {
    Refusal::bad("MalformedPolicy", message)
}
