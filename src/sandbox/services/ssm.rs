//! Systems Manager, as far as public parameters go: where Canonical says which image is the newest.

use serde_json::{Value, json};

use super::ec2::newest_ubuntu;
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::World;

pub const ACTIONS: &[&str] = &["GetParameter", "GetParameters"];

pub fn handle(_: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "GetParameter" => {
            let name = call.need("Name")?;
            match parameter(&call.region, name) {
                Some(parameter) => Ok(json!({"Parameter": parameter}).into()),
                None => Err(Refusal::bad("ParameterNotFound", "")),
            }
        }
        "GetParameters" => {
            let names = call.texts("Names");
            let found = names.iter().filter_map(|n| parameter(&call.region, n));
            let invalid = names
                .iter()
                .filter(|n| parameter(&call.region, n).is_none());
            Ok(json!({"Parameters": found.collect::<Vec<_>>(), "InvalidParameters": invalid.collect::<Vec<_>>()})
                .into())
        }
        _ => Err(Refusal::unknown_action(call)),
    }
}

/// `/aws/service/canonical/ubuntu/server/24.04/stable/current/ARCHITECTURE/hvm/ebs-gp3/ami-id`.
fn parameter(region: &str, name: &str) -> Option<Value> {
    let architecture = name
        .strip_prefix("/aws/service/canonical/ubuntu/server/24.04/stable/current/")?
        .strip_suffix("/hvm/ebs-gp3/ami-id")?;
    let image = newest_ubuntu(region, architecture)?;
    Some(
        json!({"Name": name, "Type": "String", "Value": image.id, "Version": 1, "DataType": "aws:ec2:image",
        "ARN": format!("arn:aws:ssm:{region}::parameter{name}")}),
    )
}
