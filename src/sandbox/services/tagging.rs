//! The tagging API: everything in a region that has tags, whatever service made it.
//!
//! It walks all tables and shows the rows that have `_arn`. As at AWS, IAM is not in it.

use serde_json::{Value, json};

use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Row, World};

pub const ACTIONS: &[&str] = &["GetResources"];

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "GetResources" => resources(world, call),
        _ => Err(Refusal::unknown_action(call)),
    }
}

fn resources(world: &World, call: &Call) -> Outcome {
    let from: usize = match call.opt("PaginationToken") {
        None => 0,
        Some(token) => token.parse().map_err(|_| {
            Refusal::bad(
                "PaginationTokenExpiredException",
                "The pagination token is invalid",
            )
        })?,
    };
    let size = match call.int("ResourcesPerPage") {
        None => 50,
        Some(n @ 1..=100) => usize::try_from(n).unwrap_or(50),
        Some(_) => {
            return Err(Refusal::bad(
                "InvalidParameterException",
                "ResourcesPerPage must be between 1 and 100",
            ));
        }
    };
    let here = format!("{}/", call.region);
    let types = call.texts("ResourceTypeFilters");
    let mut found: Vec<(&str, &Row)> = world
        .tables
        .iter()
        .filter(|(place, _)| place.starts_with(&here))
        .flat_map(|(_, table)| table.values())
        .filter(|row| row.seen_from <= call.now && !row.tags.is_empty())
        .map(|row| (row.text("_arn"), row))
        .filter(|(arn, row)| {
            !arn.is_empty() && of_type(arn, &types) && tagged(row, call.list("TagFilters"))
        })
        .collect();
    found.sort_by_key(|(arn, _)| *arn);
    let total = found.len();
    let list: Vec<Value> = found
        .into_iter()
        .skip(from)
        .take(size)
        .map(|(arn, row)| {
            let tags: Vec<Value> = row
                .tags
                .iter()
                .map(|(k, v)| json!({"Key": k, "Value": v}))
                .collect();
            json!({"ResourceARN": arn, "Tags": tags})
        })
        .collect();
    let next = if from + size < total {
        (from + size).to_string()
    } else {
        String::new()
    };
    Ok(json!({"ResourceTagMappingList": list, "PaginationToken": next}).into())
}

/// Whether the ARN is of one of these types, `ec2:vpc` or `s3`; none means all.
fn of_type(arn: &str, types: &[&str]) -> bool {
    let mut parts = arn.splitn(6, ':').skip(2);
    let service = parts.next().unwrap_or_default();
    let rest = parts.nth(2).unwrap_or_default();
    let noun = rest.split(['/', ':']).next().unwrap_or_default();
    types.is_empty()
        || types.iter().any(|t| match t.split_once(':') {
            Some((s, n)) => s == service && n == noun,
            None => *t == service,
        })
}

/// Whether every filter matches: the key is there, with one of the values if it names any.
fn tagged(row: &Row, filters: &[Value]) -> bool {
    filters.iter().all(|filter| {
        let key = filter
            .get("Key")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let values = filter
            .get("Values")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        row.tags
            .get(key)
            .is_some_and(|have| values.is_empty() || values.iter().any(|v| v == have))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_service_and_noun() {
        let vpc = "arn:aws:ec2:eu-west-1:123456789012:vpc/vpc-1";
        assert!(of_type(vpc, &[]));
        assert!(of_type(vpc, &["ec2"]));
        assert!(of_type(vpc, &["s3", "ec2:vpc"]));
        assert!(!of_type(vpc, &["ec2:subnet"]));
        assert!(of_type("arn:aws:s3:::bucket", &["s3"]));
        assert!(of_type("arn:aws:rds:eu-west-1:1:db:main", &["rds:db"]));
    }
}
