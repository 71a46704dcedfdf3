//! The services, one file each: only the actions gantry calls.

mod acm;
mod autoscaling;
mod backup;
mod cloudwatch;
mod dlm;
mod ec2;
mod elasticache;
mod elb;
mod iam;
mod kms;
mod logs;
mod presigned;
mod quotas;
mod rds;
mod route53;
mod s3;
mod secretsmanager;
mod sns;
mod ssm;
mod sts;
mod tag_rules;
mod tagging;

use serde_json::Value;

use super::call::{Call, Outcome, Refusal};
use super::world::World;

/// How a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Ec2,
    Query,
    Json,
    Cbor,
    RestXml,
    RestJson,
}

/// Every action the engine knows, as `service:Action` with the signing name of the service.
pub fn actions() -> Vec<String> {
    let ec2 = ec2::FAMILIES.iter().map(|f| ("ec2", *f));
    let names = SERVICES.iter().copied().chain(ec2);
    names
        .flat_map(|(service, actions)| actions.iter().map(move |a| format!("{service}:{a}")))
        .collect()
}

const SERVICES: &[(&str, &[&str])] = &[
    ("acm", acm::ACTIONS),
    ("autoscaling", autoscaling::ACTIONS),
    ("backup", backup::ACTIONS),
    ("monitoring", cloudwatch::ACTIONS),
    ("dlm", dlm::ACTIONS),
    ("elasticache", elasticache::ACTIONS),
    ("elasticloadbalancing", elb::ACTIONS),
    ("iam", iam::ACTIONS),
    ("kms", kms::ACTIONS),
    ("logs", logs::ACTIONS),
    ("servicequotas", quotas::ACTIONS),
    ("rds", rds::ACTIONS),
    ("route53", route53::ACTIONS),
    ("s3", s3::ACTIONS),
    ("secretsmanager", secretsmanager::ACTIONS),
    ("sns", sns::ACTIONS),
    ("ssm", ssm::ACTIONS),
    ("sts", sts::ACTIONS),
    ("tagging", tagging::ACTIONS),
];

/// The protocol of a service, by its signing name.
pub fn protocol(service: &str) -> Protocol {
    match service {
        "ec2" => Protocol::Ec2,
        "monitoring" => Protocol::Cbor,
        "s3" | "route53" => Protocol::RestXml,
        "backup" | "dlm" => Protocol::RestJson,
        "acm" | "kms" | "logs" | "secretsmanager" | "ssm" | "servicequotas" | "tagging" => {
            Protocol::Json
        }
        _ => Protocol::Query,
    }
}

/// Finds action and parameters of a REST call.
pub fn route(call: &mut Call) {
    match call.service.as_str() {
        "s3" => s3::route(call),
        "route53" => route53::route(call),
        "backup" => backup::route(call),
        _ => dlm::route(call),
    }
}

/// Carries out one call.
pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.service.as_str() {
        "acm" => acm::handle(world, call),
        "autoscaling" => autoscaling::handle(world, call),
        "backup" => backup::handle(world, call),
        "monitoring" => cloudwatch::handle(world, call),
        "dlm" => dlm::handle(world, call),
        "ec2" => ec2::handle(world, call),
        "elasticache" => elasticache::handle(world, call),
        "elasticloadbalancing" => elb::handle(world, call),
        "iam" => iam::handle(world, call),
        "kms" => kms::handle(world, call),
        "logs" => logs::handle(world, call),
        "servicequotas" => quotas::handle(world, call),
        "rds" => rds::handle(world, call),
        "route53" => route53::handle(world, call),
        "s3" => s3::handle(world, call),
        "secretsmanager" => secretsmanager::handle(world, call),
        "sns" => sns::handle(world, call),
        "ssm" => ssm::handle(world, call),
        "sts" => sts::handle(world, call),
        "tagging" => tagging::handle(world, call),
        _ => Err(Refusal::unknown_action(call)),
    }
}

/// What an account holds before anybody makes anything: the zones for `example.com` and the like.
pub fn seed(world: &mut World) {
    if world.tables.is_empty() {
        route53::seed(world);
        world.dirty = false;
    }
}

/// What a call is about, for the log: the address it is tagged with, or a name in its parameters.
pub fn subject(call: &Call) -> String {
    let text = call.p.to_string();
    if let Some(start) = text.find("\"gantry:address\",\"Value\":\"") {
        let rest = &text[start + 26..];
        return rest.split('"').next().unwrap_or_default().to_owned();
    }
    for key in [
        "DBInstanceIdentifier",
        "ReplicationGroupId",
        "Name",
        "RoleName",
        "GroupId",
        "VpcId",
    ] {
        if let Some(name) = call.p.get(key).and_then(Value::as_str) {
            return name.to_owned();
        }
    }
    String::new()
}
