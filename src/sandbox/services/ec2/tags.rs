//! `CreateTags` and `DeleteTags` on any EC2 thing, and what tags may look like.

use serde_json::Value;

use super::{Handler, yes};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Row, World};

pub(super) const ACTIONS: &[&str] = &["CreateTags", "DeleteTags"];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "CreateTags" => create,
        "DeleteTags" => delete,
        _ => return None,
    })
}

/// Refuses tags that AWS refuses, wherever a call carries them.
pub(super) fn check(call: &Call) -> Result<(), Refusal> {
    set(call.list("Tag"))?;
    for specification in call.list("TagSpecification") {
        let tags = specification.get("Tag").and_then(Value::as_array);
        set(tags.map(Vec::as_slice).unwrap_or_default())?;
    }
    Ok(())
}

/// Most tags a thing may carry; <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html>.
const MOST: usize = 50;

fn set(tags: &[Value]) -> Result<(), Refusal> {
    if tags.len() > MOST {
        return Err(too_many());
    }
    let mut keys = Vec::new();
    for tag in tags {
        let key = tag.get("Key").and_then(Value::as_str).unwrap_or_default();
        let value = tag.get("Value").and_then(Value::as_str).unwrap_or_default();
        if key.is_empty() || key.chars().count() > 128 {
            return Err(bad(
                "Tag keys must be between 1 and 128 characters in length".into(),
            ));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(bad(format!(
                "Tag keys starting with 'aws:' are reserved for internal use: {key}"
            )));
        }
        if value.chars().count() > 256 {
            return Err(bad(format!(
                "Tag value exceeds the maximum length of 256 characters: {key}"
            )));
        }
        if keys.contains(&key) {
            return Err(bad(format!("Duplicate tag key '{key}' specified.")));
        }
        keys.push(key);
    }
    Ok(())
}

fn bad(message: String) -> Refusal {
    Refusal::bad("InvalidParameterValue", message)
}

fn too_many() -> Refusal {
    Refusal::bad(
        "TagLimitExceeded",
        "The maximum number of Tags for a resource has been reached.",
    )
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let tags = call.pairs("Tag");
    if tags.is_empty() {
        call.need("Tag.0.Key")?;
    }
    for id in call.texts("ResourceId") {
        let mut all = row(world, call, id)?.tags.clone();
        all.extend(tags.clone());
        if all.len() > MOST {
            return Err(too_many());
        }
    }
    for id in call.texts("ResourceId") {
        row(world, call, id)?.tags.extend(tags.clone());
    }
    yes()
}

/// Takes tags away; one given with a value only if it has that value. What is not there is no error.
fn delete(world: &mut World, call: &Call) -> Outcome {
    for id in call.texts("ResourceId") {
        row(world, call, id)?;
    }
    let all = call.list("Tag");
    for id in call.texts("ResourceId") {
        row(world, call, id)?.tags.retain(|key, value| {
            let named = |t: &Value| {
                t.get("Key").and_then(Value::as_str) == Some(key)
                    && t.get("Value")
                        .and_then(Value::as_str)
                        .is_none_or(|v| v == value)
            };
            !all.is_empty() && !all.iter().any(named)
        });
    }
    yes()
}

fn row<'w>(world: &'w mut World, call: &Call, id: &str) -> Result<&'w mut Row, Refusal> {
    let prefix = format!("{}/ec2/", call.region);
    world.dirty = true;
    world
        .tables
        .iter_mut()
        .filter(|(table, _)| table.starts_with(&prefix))
        .find_map(|(_, rows)| rows.get_mut(id))
        .ok_or_else(|| Refusal::bad(missing(id), format!("The ID '{id}' does not exist")))
}

/// AWS's code for an id that is not there, by the id's prefix.
fn missing(id: &str) -> &'static str {
    match id.rsplit_once('-').map_or("", |(prefix, _)| prefix) {
        "vpc" => "InvalidVpcID.NotFound",
        "subnet" => "InvalidSubnetID.NotFound",
        "igw" => "InvalidInternetGatewayID.NotFound",
        "eipalloc" => "InvalidAllocationID.NotFound",
        "nat" => "NatGatewayNotFound",
        "rtb" => "InvalidRouteTableID.NotFound",
        "vpce" => "InvalidVpcEndpointId.NotFound",
        "fl" => "InvalidFlowLogId.NotFound",
        "sg" => "InvalidGroup.NotFound",
        "eni" => "InvalidNetworkInterfaceID.NotFound",
        "vol" => "InvalidVolume.NotFound",
        "snap" => "InvalidSnapshot.NotFound",
        "i" => "InvalidInstanceID.NotFound",
        "ami" => "InvalidAMIID.NotFound",
        "lt" => "InvalidLaunchTemplateId.NotFound",
        _ => "InvalidID",
    }
}
