//! `CreateTags` and `DeleteTags` on any EC2 thing.

use serde_json::Value;

use super::{Handler, yes};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::World;

pub(super) const ACTIONS: &[&str] = &["CreateTags", "DeleteTags"];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "CreateTags" => create,
        "DeleteTags" => delete,
        _ => return None,
    })
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let tags = call.pairs("Tag");
    each(world, call, |row_tags| row_tags.extend(tags.clone()))
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let keys: Vec<String> = call
        .list("Tag")
        .iter()
        .filter_map(|t| t.get("Key").and_then(Value::as_str))
        .map(Into::into)
        .collect();
    each(world, call, |row_tags| {
        row_tags.retain(|k, _| !keys.contains(k))
    })
}

fn each(
    world: &mut World,
    call: &Call,
    change: impl Fn(&mut std::collections::BTreeMap<String, String>),
) -> Outcome {
    let prefix = format!("{}/ec2/", call.region);
    world.dirty = true;
    for id in call.texts("ResourceId") {
        let row = world
            .tables
            .iter_mut()
            .filter(|(k, _)| k.starts_with(&prefix))
            .find_map(|(_, t)| t.get_mut(id));
        match row {
            Some(row) => change(&mut row.tags),
            None => {
                return Err(Refusal::bad(
                    "InvalidID",
                    format!("The ID '{id}' is not valid"),
                ));
            }
        }
    }
    yes()
}
