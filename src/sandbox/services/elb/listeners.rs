//! Listeners: the ports of a load balancer.

use serde_json::{Value, json};

use super::groups::used_by;
use super::{BALANCERS, GROUPS, LISTENERS, need, page, tags_asked, yes};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::World;

/// The security policies of TLS listeners, from AWS's list for network load balancers.
const POLICIES: &[&str] = &[
    "ELBSecurityPolicy-2016-08",
    "ELBSecurityPolicy-TLS-1-0-2015-04",
    "ELBSecurityPolicy-TLS-1-1-2017-01",
    "ELBSecurityPolicy-TLS-1-2-2017-01",
    "ELBSecurityPolicy-TLS-1-2-Ext-2018-06",
    "ELBSecurityPolicy-FS-2018-06",
    "ELBSecurityPolicy-FS-1-1-2019-08",
    "ELBSecurityPolicy-FS-1-2-2019-08",
    "ELBSecurityPolicy-FS-1-2-Res-2019-08",
    "ELBSecurityPolicy-FS-1-2-Res-2020-10",
    "ELBSecurityPolicy-TLS13-1-3-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06",
    "ELBSecurityPolicy-TLS13-1-1-2021-06",
    "ELBSecurityPolicy-TLS13-1-0-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09",
    "ELBSecurityPolicy-TLS13-1-2-PQ-2025-09",
];

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::bad("ValidationError", message)
}

/// What a listener is made of, checked: `balancer` is the ARN it belongs to, `own` its own when it exists.
fn settings(
    world: &World,
    call: &Call,
    balancer: &str,
    own: Option<&str>,
    have: &Value,
) -> Result<Value, Refusal> {
    let old = |key: &str| have.get(key).and_then(Value::as_str);
    let protocol = call
        .opt("Protocol")
        .or_else(|| old("Protocol"))
        .ok_or_else(|| invalid("A listener protocol must be specified"))?;
    if !["TCP", "TLS", "UDP", "TCP_UDP"].contains(&protocol) {
        return Err(invalid(format!(
            "Listener protocol '{protocol}' is not supported by network load balancers"
        )));
    }
    let port = call
        .int("Port")
        .or_else(|| have.get("Port").and_then(Value::as_i64))
        .filter(|p| (1..=65_535).contains(p))
        .ok_or_else(|| invalid("The listener port must be between 1 and 65535"))?;
    let taken = world.rows(&call.region, LISTENERS).any(|(arn, l)| {
        l.text("LoadBalancerArn") == balancer && l.v["Port"] == port && Some(arn.as_str()) != own
    });
    if taken {
        return Err(Refusal::bad(
            "DuplicateListener",
            format!("A listener already exists on port {port} for this load balancer '{balancer}'"),
        ));
    }

    let asked = call.list("DefaultActions");
    let target = match asked {
        [] => old("_target").unwrap_or_default(),
        [one] if one["Type"] == "forward" => one["TargetGroupArn"]
            .as_str()
            .or_else(|| {
                one.pointer("/ForwardConfig/TargetGroups/0/TargetGroupArn")?
                    .as_str()
            })
            .ok_or_else(|| invalid("A target group ARN must be specified"))?,
        _ => {
            return Err(Refusal::bad(
                "InvalidLoadBalancerAction",
                "Network load balancers support one action of the type forward",
            ));
        }
    };
    let group = need(world, call, GROUPS, target)?;
    let vpc = need(world, call, BALANCERS, balancer)?.text("VpcId");
    if group.text("VpcId") != vpc {
        return Err(Refusal::bad(
            "InvalidConfigurationRequest",
            format!("The target group '{target}' is not in the load balancer's VPC"),
        ));
    }
    if used_by(world, call, target).iter().any(|b| b != balancer) {
        return Err(Refusal::bad(
            "TargetGroupAssociationLimit",
            format!(
                "The target group '{target}' cannot be associated with more than one load balancer"
            ),
        ));
    }

    let mut v = json!({
        "LoadBalancerArn": balancer,
        "Port": port,
        "Protocol": protocol,
        "DefaultActions": {"member": [{"Type": "forward", "TargetGroupArn": target, "Order": 1,
            "ForwardConfig": {"TargetGroups": {"member": [{"TargetGroupArn": target}]}}}]},
        "_target": target,
    });
    let certificate = call.opt("Certificates.0.CertificateArn").or_else(|| {
        have.pointer("/Certificates/member/0/CertificateArn")?
            .as_str()
    });
    if protocol == "TLS" {
        let certificate = certificate
            .ok_or_else(|| invalid("A certificate must be specified for TLS listeners"))?;
        check_certificate(world, call, certificate)?;
        let policy = call
            .opt("SslPolicy")
            .or_else(|| old("SslPolicy"))
            .unwrap_or("ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09");
        if !POLICIES.contains(&policy) {
            return Err(Refusal::bad(
                "SSLPolicyNotFound",
                format!("SSL policy '{policy}' not found"),
            ));
        }
        v["Certificates"] = json!({"member": [{"CertificateArn": certificate}]});
        v["SslPolicy"] = json!(policy);
    } else if call.opt("Certificates.0.CertificateArn").is_some() {
        return Err(Refusal::bad(
            "InvalidConfigurationRequest",
            "A certificate cannot be specified for listeners that are not TLS",
        ));
    }
    Ok(v)
}

fn check_certificate(world: &World, call: &Call, arn: &str) -> Result<(), Refusal> {
    match world.get(&call.region, "acm/certificate", arn) {
        None => Err(Refusal::bad(
            "CertificateNotFound",
            format!("Certificate ARN '{arn}' is not found"),
        )),
        Some(row) if row.text("Status") != "ISSUED" => Err(Refusal::bad(
            "UnsupportedCertificate",
            format!(
                "The certificate '{arn}' must have a fully-qualified domain name, a supported signature, and a supported key size."
            ),
        )),
        Some(_) => Ok(()),
    }
}

pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let balancer = call.need("LoadBalancerArn")?.to_owned();
    need(world, call, BALANCERS, &balancer)?;
    let tags = tags_asked(call)?;
    let mut v = settings(world, call, &balancer, None, &Value::Null)?;
    let count = world
        .rows(&call.region, LISTENERS)
        .filter(|(_, l)| l.text("LoadBalancerArn") == balancer)
        .count() as u64;
    if count >= world.quota("listeners", 50) {
        return Err(Refusal::bad(
            "TooManyListeners",
            "The maximum number of listeners of the load balancer has been reached",
        ));
    }
    let base = balancer.replace(":loadbalancer/", ":listener/");
    let arn = format!("{base}/{}", world.hex(16));
    v["ListenerArn"] = json!(arn);
    v["_arn"] = json!(arn);
    let row = world.insert(&call.region, LISTENERS, &arn, v, call.now);
    row.tags = tags;
    Ok(json!({"Listeners": {"member": [row.shown()]}}).into())
}

pub(super) fn describe(world: &mut World, call: &Call) -> Outcome {
    let arns = call.texts("ListenerArns");
    let mut rows = Vec::new();
    for arn in &arns {
        rows.push(need(world, call, LISTENERS, arn)?.shown());
    }
    if let Some(balancer) = call.opt("LoadBalancerArn") {
        need(world, call, BALANCERS, balancer)?;
        rows = world
            .rows(&call.region, LISTENERS)
            .filter(|(_, l)| l.text("LoadBalancerArn") == balancer)
            .map(|(_, l)| l.shown())
            .collect();
    } else if arns.is_empty() {
        return Err(invalid(
            "Either a load balancer ARN or listener ARNs must be specified",
        ));
    }
    Ok(page(call, "Listeners", rows)?.into())
}

pub(super) fn modify(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("ListenerArn")?.to_owned();
    let have = need(world, call, LISTENERS, &arn)?.v.clone();
    let balancer = have["LoadBalancerArn"].as_str().unwrap_or_default();
    let mut v = settings(world, call, balancer, Some(&arn), &have)?;
    v["ListenerArn"] = json!(arn);
    v["_arn"] = json!(arn);
    if let Some(row) = world.get_mut(&call.region, LISTENERS, &arn) {
        row.v = v;
        return Ok(json!({"Listeners": {"member": [row.shown()]}}).into());
    }
    yes()
}

pub(super) fn delete(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("ListenerArn")?.to_owned();
    need(world, call, LISTENERS, &arn)?;
    world.remove(&call.region, LISTENERS, &arn);
    yes()
}
