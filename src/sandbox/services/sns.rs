//! SNS: topics, who is subscribed to them, and what they are told.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{kms, tag_rules};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::signals::{MESSAGES, keep};
use crate::sandbox::world::{Row, World};

const TABLE: &str = "sns/topic";

/// What can be set on a topic, as far as gantry may.
const ATTRIBUTES: &[&str] = &[
    "DisplayName",
    "Policy",
    "DeliveryPolicy",
    "KmsMasterKeyId",
    "SignatureVersion",
    "TracingConfig",
];

/// SNS shows 100 of anything in one answer.
const PAGE: usize = 100;

pub const ACTIONS: &[&str] = &[
    "CreateTopic",
    "DeleteTopic",
    "ListTopics",
    "GetTopicAttributes",
    "SetTopicAttributes",
    "Subscribe",
    "Unsubscribe",
    "ListSubscriptionsByTopic",
    "Publish",
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
];

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "CreateTopic" => create(world, call),
        "DeleteTopic" => delete(world, call),
        "ListTopics" => list(world, call),
        "GetTopicAttributes" => attributes(world, call),
        "SetTopicAttributes" => set_attribute(world, call),
        "Subscribe" => subscribe(world, call),
        "Unsubscribe" => unsubscribe(world, call),
        "ListSubscriptionsByTopic" => subscriptions(world, call),
        "Publish" => publish(world, call),
        "TagResource" => tag(world, call),
        "UntagResource" => untag(world, call),
        "ListTagsForResource" => list_tags(world, call),
        _ => Err(Refusal::unknown_action(call)),
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::bad(
        "InvalidParameter",
        format!("Invalid parameter: {}", message.into()),
    )
}

fn need<'w>(world: &'w World, call: &Call, key: &str) -> Result<(String, &'w Row), Refusal> {
    let arn = call.need(key)?;
    let missing = |code: &str| Refusal::new(404, code, "Topic does not exist");
    match world.get(&call.region, TABLE, arn) {
        Some(row) => Ok((arn.to_owned(), row)),
        None if key == "ResourceArn" => Err(missing("ResourceNotFound")),
        None => Err(missing("NotFound")),
    }
}

fn check_attribute(key: &str, value: &str) -> Result<(), Refusal> {
    if !ATTRIBUTES.contains(&key) {
        return Err(invalid(format!("AttributeName: {key}")));
    }
    if key == "Policy" {
        let policy: Value = serde_json::from_str(value)
            .map_err(|_| invalid("Policy statement action out of service scope or not JSON!"))?;
        if policy.get("Statement").is_none() {
            return Err(invalid("Policy Error: null"));
        }
    }
    Ok(())
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("Name")?.to_owned();
    let fits = name.len() <= 256
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !fits {
        return Err(invalid("Topic Name"));
    }
    let tags = call.pairs("Tags");
    tag_rules::check(
        &BTreeMap::new(),
        &tags,
        "InvalidParameter",
        "TagLimitExceeded",
    )?;
    let asked = call.pairs("Attributes");
    for (key, value) in &asked {
        check_attribute(key, value)?;
    }
    let arn = format!("arn:aws:sns:{}:{}:{name}", call.region, world.account);
    if let Some(row) = world.get(&call.region, TABLE, &arn) {
        let have = &row.v["_attributes"];
        if asked.iter().any(|(k, v)| have[k] != json!(v)) {
            return Err(invalid(
                "Attributes Reason: Topic already exists with different attributes",
            ));
        }
        if row.tags != tags {
            return Err(invalid(
                "Tags Reason: Topic already exists with different tags",
            ));
        }
        return Ok(json!({"TopicArn": arn}).into());
    }
    if world.rows(&call.region, TABLE).count() as u64 >= world.quota("topics", 100_000) {
        return Err(Refusal::new(403, "TopicLimitExceeded", "Too many topics"));
    }
    let mut attributes: Map<String, Value> = Map::new();
    attributes.insert("Policy".into(), json!(default_policy(&world.account, &arn)));
    attributes.extend(asked.into_iter().map(|(k, v)| (k, json!(v))));
    let v = json!({"TopicArn": arn, "_arn": arn, "_attributes": attributes, "_subscriptions": []});
    let row = world.insert(&call.region, TABLE, &arn, v, call.now);
    row.tags = tags;
    Ok(json!({"TopicArn": arn}).into())
}

/// The policy of a topic nobody gave one: its owner's account may do everything.
fn default_policy(account: &str, arn: &str) -> String {
    json!({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [{
        "Sid": "__default_statement_ID", "Effect": "Allow", "Principal": {"AWS": "*"},
        "Action": ["SNS:GetTopicAttributes", "SNS:SetTopicAttributes", "SNS:AddPermission", "SNS:RemovePermission",
            "SNS:DeleteTopic", "SNS:Subscribe", "SNS:ListSubscriptionsByTopic", "SNS:Publish"],
        "Resource": arn, "Condition": {"StringEquals": {"AWS:SourceOwner": account}}}]})
    .to_string()
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("TopicArn")?;
    // AWS: deleting what is not there succeeds.
    world.remove(&call.region, TABLE, arn);
    Ok(json!({}).into())
}

fn page(call: &Call, set: &str, items: Vec<Value>) -> Value {
    let from: usize = call
        .opt("NextToken")
        .and_then(|t| t.parse().ok())
        .unwrap_or(0);
    let total = items.len();
    let items: Vec<Value> = items.into_iter().skip(from).take(PAGE).collect();
    let mut answer = json!({ set: {"member": items} });
    if from + PAGE < total {
        answer["NextToken"] = json!((from + PAGE).to_string());
    }
    answer
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let all = world
        .seen(&call.region, TABLE, call.now)
        .map(|(arn, _)| json!({"TopicArn": arn}))
        .collect();
    Ok(page(call, "Topics", all).into())
}

fn subscriptions_of(row: &Row) -> Vec<Value> {
    row.v["_subscriptions"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

fn attributes(world: &mut World, call: &Call) -> Outcome {
    let (arn, row) = need(world, call, "TopicArn")?;
    let all = subscriptions_of(row);
    let pending = all.iter().filter(|s| s["pending"] == true).count();
    let mut entries = vec![
        json!({"key": "TopicArn", "value": arn}),
        json!({"key": "Owner", "value": world.account}),
        json!({"key": "SubscriptionsPending", "value": pending.to_string()}),
        json!({"key": "SubscriptionsConfirmed", "value": (all.len() - pending).to_string()}),
    ];
    for (key, value) in row.v["_attributes"].as_object().into_iter().flatten() {
        entries.push(json!({"key": key, "value": value}));
    }
    Ok(json!({"Attributes": {"entry": entries}}).into())
}

fn set_attribute(world: &mut World, call: &Call) -> Outcome {
    let (arn, row) = need(world, call, "TopicArn")?;
    let key = call.need("AttributeName")?;
    let value = call.opt("AttributeValue").unwrap_or_default();
    let mut have = row.v["_attributes"].clone();
    if let (true, Value::Object(map)) = (value.is_empty(), &mut have) {
        map.remove(key);
    } else {
        check_attribute(key, value)?;
        have[key] = json!(value);
    }
    if let Some(row) = world.get_mut(&call.region, TABLE, &arn) {
        row.set("_attributes", have);
    }
    Ok(json!({}).into())
}

fn subscribe(world: &mut World, call: &Call) -> Outcome {
    let (arn, row) = need(world, call, "TopicArn")?;
    let protocol = call.need("Protocol")?;
    let endpoint = call.need("Endpoint")?;
    if protocol != "email" {
        return Err(Refusal::unknown_action(call));
    }
    if !endpoint.contains('@') {
        return Err(invalid("Email address"));
    }
    let mut all = subscriptions_of(row);
    let old = all.iter().find(|s| s["endpoint"] == endpoint);
    let shown = match old {
        Some(s) if s["pending"] == false => s["arn"].clone(),
        Some(_) => json!("pending confirmation"),
        None => {
            let h = world.hex(32);
            let own = format!(
                "{arn}:{}-{}-{}-{}-{}",
                &h[..8],
                &h[8..12],
                &h[12..16],
                &h[16..20],
                &h[20..]
            );
            all.push(
                json!({"arn": own, "endpoint": endpoint, "protocol": protocol, "pending": true}),
            );
            json!("pending confirmation")
        }
    };
    if let Some(row) = world.get_mut(&call.region, TABLE, &arn) {
        row.set("_subscriptions", all);
    }
    Ok(json!({"SubscriptionArn": shown}).into())
}

fn unsubscribe(world: &mut World, call: &Call) -> Outcome {
    let own = call.need("SubscriptionArn")?.to_owned();
    if !own.starts_with("arn:") {
        return Err(invalid(
            "SubscriptionArn Reason: An ARN must have at least 6 elements",
        ));
    }
    for row in world.table(&call.region, TABLE).values_mut() {
        let mut all = subscriptions_of(row);
        all.retain(|s| s["arn"] != own);
        row.set("_subscriptions", all);
    }
    Ok(json!({}).into())
}

fn subscriptions(world: &mut World, call: &Call) -> Outcome {
    let (arn, row) = need(world, call, "TopicArn")?;
    let all = subscriptions_of(row)
        .iter()
        .map(|s| {
            let own = if s["pending"] == true {
                json!("PendingConfirmation")
            } else {
                s["arn"].clone()
            };
            json!({"SubscriptionArn": own, "Owner": world.account, "Protocol": s["protocol"], "Endpoint": s["endpoint"], "TopicArn": arn})
        })
        .collect();
    Ok(page(call, "Subscriptions", all).into())
}

/// The longest message, in bytes; <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>.
const LONGEST: usize = 256 * 1024;

fn publish(world: &mut World, call: &Call) -> Outcome {
    let (arn, row) = need(world, call, "TopicArn")?;
    let text = call.opt("Message").unwrap_or_default();
    if text.is_empty() {
        return Err(invalid("Empty message"));
    }
    if text.len() > LONGEST {
        return Err(invalid("Message too long"));
    }
    let subject = call.opt("Subject");
    let fine = |s: &str| {
        s.chars().count() <= 100
            && s.starts_with(|c: char| c.is_ascii_graphic())
            && s.chars().all(|c| c == ' ' || c.is_ascii_graphic())
    };
    if subject.is_some_and(|s| !fine(s)) {
        return Err(invalid("Subject"));
    }
    if let Some(key) = row.v["_attributes"]["KmsMasterKeyId"].as_str() {
        kms::usable(world, &call.region, key).map_err(|why| Refusal::bad("KMSDisabled", why))?;
    }
    let v = json!({"TopicArn": arn, "Subject": subject, "Message": text});
    let id = keep(world, &call.region, MESSAGES, v, call.now);
    Ok(json!({"MessageId": id}).into())
}

fn tag(world: &mut World, call: &Call) -> Outcome {
    let (arn, row) = need(world, call, "ResourceArn")?;
    let tags = call.pairs("Tags");
    tag_rules::check(&row.tags, &tags, "InvalidParameter", "TagLimitExceeded")?;
    if let Some(row) = world.get_mut(&call.region, TABLE, &arn) {
        row.tags.extend(tags);
    }
    Ok(json!({}).into())
}

fn untag(world: &mut World, call: &Call) -> Outcome {
    let (arn, _) = need(world, call, "ResourceArn")?;
    let keys = call.texts("TagKeys");
    if let Some(row) = world.get_mut(&call.region, TABLE, &arn) {
        row.tags.retain(|k, _| !keys.contains(&k.as_str()));
    }
    Ok(json!({}).into())
}

fn list_tags(world: &mut World, call: &Call) -> Outcome {
    let (_, row) = need(world, call, "ResourceArn")?;
    let tags: Vec<Value> = row
        .tags
        .iter()
        .map(|(k, v)| json!({"Key": k, "Value": v}))
        .collect();
    Ok(json!({"Tags": {"member": tags}}).into())
}
