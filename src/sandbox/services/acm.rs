//! ACM: certificates proved by DNS records in the zones of this world.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{route53, tag_rules};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::delays;
use crate::sandbox::world::{Millis, Row, World};

const TABLE: &str = "acm/certificate";

/// Tokens are remembered for an hour.
const TOKEN_LIFE: Millis = 3_600_000;

/// A certificate that nobody proves fails after 72 hours.
const PATIENCE: Millis = 72 * 3_600_000;

pub const ACTIONS: &[&str] = &[
    "RequestCertificate",
    "DescribeCertificate",
    "ListCertificates",
    "DeleteCertificate",
    "ListTagsForCertificate",
    "AddTagsToCertificate",
    "RemoveTagsFromCertificate",
];

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    settle(world, call.now);
    match call.action.as_str() {
        "RequestCertificate" => request(world, call),
        "DescribeCertificate" => describe(world, call),
        "ListCertificates" => list(world, call),
        "DeleteCertificate" => delete(world, call),
        "ListTagsForCertificate" => list_tags(world, call),
        "AddTagsToCertificate" => add_tags(world, call),
        "RemoveTagsFromCertificate" => remove_tags(world, call),
        _ => Err(Refusal::unknown_action(call)),
    }
}

/// Issues what is proved by now, and gives up what nobody proved.
pub(super) fn settle(world: &mut World, now: Millis) {
    let mut changes = Vec::new();
    for (key, table) in world
        .tables
        .iter()
        .filter(|(k, _)| k.ends_with("/acm/certificate"))
    {
        for (arn, row) in table
            .iter()
            .filter(|(_, r)| r.text("Status") == "PENDING_VALIDATION")
        {
            match proved_at(world, row) {
                Some(at) if at + delays::CERTIFICATE_ISSUED <= now => {
                    changes.push((
                        key.clone(),
                        arn.clone(),
                        "ISSUED",
                        at + delays::CERTIFICATE_ISSUED,
                    ));
                }
                None if row.born + PATIENCE <= now => {
                    changes.push((key.clone(), arn.clone(), "VALIDATION_TIMED_OUT", now));
                }
                _ => {}
            }
        }
    }
    for (key, arn, status, at) in changes {
        world.dirty = true;
        let row = world.tables.get_mut(&key).and_then(|t| t.get_mut(&arn));
        let Some(row) = row else { continue };
        row.set("Status", status);
        let (word, date) = if status == "ISSUED" {
            ("SUCCESS", "IssuedAt")
        } else {
            ("FAILED", "_failedAt")
        };
        row.set(date, seconds(at));
        if status == "ISSUED" {
            row.set("NotBefore", seconds(at));
            // AWS's certificates are good for 198 days since 2026; renewal is ACM's own affair.
            row.set("NotAfter", seconds(at + 198 * 86_400_000));
            row.set("RenewalEligibility", "ELIGIBLE");
        } else {
            row.set("RenewalEligibility", "INELIGIBLE");
        }
        if let Some(options) = row.v["DomainValidationOptions"].as_array_mut() {
            for option in options {
                option["ValidationStatus"] = json!(word);
            }
        }
    }
}

/// When the last of its validation records appeared; none while one is missing.
fn proved_at(world: &World, row: &Row) -> Option<Millis> {
    let options = row.v["DomainValidationOptions"].as_array()?;
    let mut last = row.born;
    for option in options {
        let record = option.get("ResourceRecord")?;
        let since =
            route53::cname_since(world, record["Name"].as_str()?, record["Value"].as_str()?)?;
        last = last.max(since);
    }
    Some(last)
}

fn seconds(at: Millis) -> Value {
    json!(at / 1_000)
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::bad("ValidationException", message)
}

fn is_domain(name: &str) -> bool {
    let bare = name.strip_prefix("*.").unwrap_or(name);
    bare.len() <= 253
        && bare.contains('.')
        && bare.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        })
}

fn request(world: &mut World, call: &Call) -> Outcome {
    let domain = call.need("DomainName")?.to_lowercase();
    if call.opt("ValidationMethod") != Some("DNS") {
        // Validation by mail needs a reader of mail.
        return Err(Refusal::unknown_action(call));
    }
    let mut domains = vec![domain.clone()];
    for name in call.texts("SubjectAlternativeNames") {
        let name = name.to_lowercase();
        if !domains.contains(&name) {
            domains.push(name);
        }
    }
    if let Some(wrong) = domains.iter().find(|d| !is_domain(d)) {
        return Err(invalid(format!("'{wrong}' is not a domain name")));
    }
    if domains.len() as u64 > world.quota("domains_per_certificate", 10) {
        return Err(Refusal::bad(
            "LimitExceededException",
            "Error: you have reached the limit of domain names of a certificate",
        ));
    }
    let tags = call.pairs("Tags");
    tag_rules::check(
        &BTreeMap::new(),
        &tags,
        "InvalidTagException",
        "TooManyTagsException",
    )?;

    let token = call.opt("IdempotencyToken").map(str::to_owned);
    if let Some(token) = &token {
        let fits =
            token.len() <= 32 && token.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fits {
            return Err(invalid(
                "IdempotencyToken must match \\w+ and have at most 32 characters",
            ));
        }
        // Other parameters under the same token are another request.
        if let Ok(Some(arn)) = call.replayed(world, token) {
            let young = world
                .get(&call.region, TABLE, &arn)
                .is_some_and(|r| call.now - r.born < TOKEN_LIFE);
            if young {
                return Ok(json!({"CertificateArn": arn}).into());
            }
        }
    }
    let count = world.rows(&call.region, TABLE).count() as u64;
    if count >= world.quota("certificates", 2_500) {
        return Err(Refusal::bad(
            "LimitExceededException",
            "Error: you have reached your limit of certificates",
        ));
    }

    let h = world.hex(32);
    let id = format!(
        "{}-{}-{}-{}-{}",
        &h[..8],
        &h[8..12],
        &h[12..16],
        &h[16..20],
        &h[20..]
    );
    let arn = format!(
        "arn:aws:acm:{}:{}:certificate/{id}",
        call.region, world.account
    );
    let bare: Vec<Value> = domains
        .iter()
        .map(|d| json!({"DomainName": d, "ValidationDomain": d, "ValidationStatus": "PENDING_VALIDATION", "ValidationMethod": "DNS"}))
        .collect();
    let full: Vec<Value> = domains
        .iter()
        .map(|d| {
            let (name, value) = record_of(&world.account, d);
            json!({"DomainName": d, "ValidationDomain": d, "ValidationStatus": "PENDING_VALIDATION", "ValidationMethod": "DNS",
                "ResourceRecord": {"Name": name, "Type": "CNAME", "Value": value}})
        })
        .collect();
    let v = json!({
        "CertificateArn": arn,
        "DomainName": domain,
        "SubjectAlternativeNames": domains,
        "DomainValidationOptions": bare,
        "CreatedAt": seconds(call.now),
        "Status": "PENDING_VALIDATION",
        "Type": "AMAZON_ISSUED",
        "KeyAlgorithm": call.opt("KeyAlgorithm").unwrap_or("RSA_2048").replace('_', "-"),
        "SignatureAlgorithm": "SHA256WITHRSA",
        "RenewalEligibility": "INELIGIBLE",
        "_arn": arn,
    });
    let row = world.insert(&call.region, TABLE, &arn, v, call.now);
    row.tags = tags;
    row.later(
        call.now,
        delays::CERTIFICATE_RECORD,
        json!({"DomainValidationOptions": full}),
    );
    if let Some(token) = token {
        call.remember(world, &token, &arn);
    }
    Ok(json!({"CertificateArn": arn}).into())
}

/// The CNAME that proves a domain: the same for each certificate of an account, and for the domain's wildcard.
fn record_of(account: &str, domain: &str) -> (String, String) {
    let base = domain.strip_prefix("*.").unwrap_or(domain);
    let hash = |what: &str, n: usize| -> String {
        let digest = Sha256::digest(format!("{account}/{what}/{base}"));
        digest.iter().take(n).map(|b| format!("{b:02x}")).collect()
    };
    (
        format!("_{}.{base}.", hash("name", 16)),
        format!(
            "_{}.{}.acm-validations.aws.",
            hash("value", 16),
            hash("zone", 5)
        ),
    )
}

fn need<'w>(world: &'w World, call: &Call) -> Result<&'w Row, Refusal> {
    let arn = call.need("CertificateArn")?;
    if !arn.starts_with("arn:") {
        return Err(Refusal::bad(
            "InvalidArnException",
            format!("'{arn}' is not an ARN"),
        ));
    }
    world.get(&call.region, TABLE, arn).ok_or_else(|| {
        Refusal::bad(
            "ResourceNotFoundException",
            format!("Could not find certificate {arn}."),
        )
    })
}

/// The listeners that present it.
fn used_by(world: &World, call: &Call, arn: &str) -> Vec<String> {
    let mut users: Vec<String> = world
        .rows(&call.region, "elb/listener")
        .filter(|(_, l)| {
            l.v.pointer("/Certificates/member/0/CertificateArn")
                .and_then(Value::as_str)
                == Some(arn)
        })
        .map(|(_, l)| l.text("LoadBalancerArn").to_owned())
        .collect();
    users.dedup();
    users
}

fn describe(world: &mut World, call: &Call) -> Outcome {
    let row = need(world, call)?;
    let mut v = row.shown();
    v["InUseBy"] = json!(used_by(world, call, row.text("CertificateArn")));
    Ok(json!({"Certificate": v}).into())
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let statuses = call.texts("CertificateStatuses");
    let all: Vec<Value> = world
        .seen(&call.region, TABLE, call.now)
        .filter(|(_, r)| statuses.is_empty() || statuses.contains(&r.text("Status")))
        .map(|(arn, r)| json!({"CertificateArn": arn, "DomainName": r.text("DomainName"), "Status": r.text("Status"), "Type": "AMAZON_ISSUED"}))
        .collect();
    let from: usize = call
        .opt("NextToken")
        .and_then(|t| t.parse().ok())
        .unwrap_or(0);
    let size = call
        .int("MaxItems")
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(100);
    let total = all.len();
    let page: Vec<Value> = all.into_iter().skip(from).take(size).collect();
    let mut answer = json!({"CertificateSummaryList": page});
    if from + size < total {
        answer["NextToken"] = json!((from + size).to_string());
    }
    Ok(answer.into())
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let arn = need(world, call)?.text("CertificateArn").to_owned();
    if !used_by(world, call, &arn).is_empty() {
        return Err(Refusal::bad(
            "ResourceInUseException",
            format!("Certificate {arn} in account {} is in use.", world.account),
        ));
    }
    world.remove(&call.region, TABLE, &arn);
    Ok(json!({}).into())
}

fn list_tags(world: &mut World, call: &Call) -> Outcome {
    let tags: Vec<Value> = need(world, call)?
        .tags
        .iter()
        .map(|(k, v)| json!({"Key": k, "Value": v}))
        .collect();
    Ok(json!({"Tags": tags}).into())
}

fn add_tags(world: &mut World, call: &Call) -> Outcome {
    let row = need(world, call)?;
    let tags = call.pairs("Tags");
    tag_rules::check(
        &row.tags,
        &tags,
        "InvalidTagException",
        "TooManyTagsException",
    )?;
    let arn = row.text("CertificateArn").to_owned();
    if let Some(row) = world.get_mut(&call.region, TABLE, &arn) {
        row.tags.extend(tags);
    }
    Ok(json!({}).into())
}

fn remove_tags(world: &mut World, call: &Call) -> Outcome {
    let arn = need(world, call)?.text("CertificateArn").to_owned();
    let keys = call.pairs("Tags");
    if let Some(row) = world.get_mut(&call.region, TABLE, &arn) {
        row.tags.retain(|k, _| !keys.contains_key(k));
    }
    Ok(json!({}).into())
}
