//! STS: who is calling.

use serde_json::json;

use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::World;

pub const ACTIONS: &[&str] = &["GetCallerIdentity"];

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "GetCallerIdentity" => Ok(json!({
            "Arn": format!("arn:aws:iam::{}:user/sandbox", world.account),
            "UserId": "AIDASANDBOX",
            "Account": world.account,
        })
        .into()),
        _ => Err(Refusal::unknown_action(call)),
    }
}
