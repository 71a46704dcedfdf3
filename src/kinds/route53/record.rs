//! A DNS record of the site.
//!
//! Records carry no tags. One is ours when the journal knows it, or when what it says can only be ours: the
//! CNAME that proves our certificate, an alias to our load balancer, the address of our Elastic IP. Its address
//! is made from what it is: `validation-gitlab.acme.example`, `alias-gitlab.acme.example`,
//! `a-gitlab.acme.example`. A wildcard is proved by the record of its base domain, so there is one for both.
//!
//! Route 53 has no listing by value: the survey lists the zones and then the records of each public zone that a
//! name of our certificate lies in (without a certificate: of each public zone), and nothing at all while the
//! site has neither certificate, load balancer nor Elastic IP.
//!
//! Nothing waits until a change is in sync: ACM and browsers look for themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_route53::types::{
    AliasTarget, Change as SdkChange, ChangeAction, ChangeBatch, HostedZone, ResourceRecord,
    ResourceRecordSet, RrType,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cloud::Fault;
use crate::kinds::acm::{
    Certificate, ValidationRecord, certificates_of_ours, others_prove, validation_records,
};
use crate::kinds::ec2::{ElasticIp, addresses_of_ours};
use crate::kinds::elb::{LoadBalancer, balancers_of_ours};
use crate::kinds::tagged::{gone_is_fine, text};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource,
};

/// Seconds that resolvers may keep a record: short, so that a move of the site is soon seen.
const TTL: i64 = 300;

#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// `Z0123456789ABCDEFGHIJ`, without `/hostedzone/`.
    pub zone_id: String,
    /// Without a closing dot. A validation record has a name that ACM chose; there this is not looked at.
    pub name: String,
    pub value: RecordValue,
}

/// What a record says.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordValue {
    /// The CNAME that proves one domain of a certificate to ACM.
    Validation {
        certificate: Ref<Certificate>,
        domain: String,
    },
    /// An alias to a load balancer.
    LoadBalancer(Ref<LoadBalancer>),
    /// An Elastic IP.
    Address(Ref<ElasticIp>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordOutput {
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordLive {
    pub zone: String,
    pub name: String,
    pub kind: String,
    /// The target of an alias, or the values, sorted.
    pub value: String,
    /// None for aliases, which have none of their own.
    pub ttl: Option<i64>,
}

/// Zone, type and name in one text, which no other resource has for its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordId {
    pub zone: String,
    pub kind: String,
    pub name: String,
}

impl From<RecordId> for String {
    fn from(id: RecordId) -> Self {
        format!("{} {} {}", id.zone, id.kind, id.name)
    }
}

impl TryFrom<String> for RecordId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = text.splitn(3, ' ').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(zone), Some(kind), Some(name)) => Ok(Self { zone, kind, name }),
            _ => Err(format!("`{text}` is not zone, type and name")),
        }
    }
}

impl Record {
    fn kind(&self) -> RrType {
        match self.value {
            RecordValue::Validation { .. } => RrType::Cname,
            _ => RrType::A,
        }
    }

    fn ttl(&self) -> Option<i64> {
        match self.value {
            RecordValue::LoadBalancer(_) => None,
            _ => Some(TTL),
        }
    }

    /// The record as Route 53 takes it.
    fn set(&self, cx: &ApplyCx<'_>) -> Result<ResourceRecordSet, Fault> {
        let plain = |name: &str, value: &str| {
            let one = ResourceRecord::builder().value(value).build()?;
            ResourceRecordSet::builder()
                .name(name)
                .r#type(self.kind())
                .ttl(TTL)
                .resource_records(one)
                .build()
        };
        let set = match &self.value {
            RecordValue::Validation {
                certificate,
                domain,
            } => {
                let output = cx.get(certificate)?;
                let record = proof(&output.records, domain).ok_or_else(|| {
                    Fault::internal(format!("{} does not hold {domain}", certificate.address()))
                })?;
                plain(&record.name, &record.value)
            }
            RecordValue::LoadBalancer(balancer) => {
                let output = cx.get(balancer)?;
                AliasTarget::builder()
                    .hosted_zone_id(output.zone_id)
                    .dns_name(output.dns_name)
                    .evaluate_target_health(false)
                    .build()
                    .and_then(|alias| {
                        ResourceRecordSet::builder()
                            .name(&self.name)
                            .r#type(RrType::A)
                            .alias_target(alias)
                            .build()
                    })
            }
            RecordValue::Address(address) => plain(&self.name, &cx.get(address)?.address),
        };
        set.map_err(|e| Fault::internal(format!("{}: {e}", cx.address)))
    }

    async fn change(
        &self,
        action: ChangeAction,
        set: &ResourceRecordSet,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        // Creating says no to a record that is there; putting is the same however often it is done.
        let batch = batch(action.clone(), set)?;
        let make = || {
            cx.aws()
                .route53
                .change_resource_record_sets()
                .hosted_zone_id(&self.zone_id)
                .change_batch(batch.clone())
                .send()
        };
        if action == ChangeAction::Create {
            cx.cloud.write(CHANGE, make).await?;
        } else {
            cx.cloud.put(CHANGE, make).await?;
        }
        Ok(())
    }
}

const CHANGE: &str = "route53:ChangeResourceRecordSets";

impl Resource for Record {
    const KIND: Kind = Kind::new("route53/record");
    const REPLAY: Replay = Replay::Name;
    const ACTIONS: &'static [&'static str] = &[
        "route53:ListHostedZones",
        "route53:ListResourceRecordSets",
        "route53:ChangeResourceRecordSets",
        "acm:ListCertificates",
        "acm:DescribeCertificate",
        "acm:ListTagsForCertificate",
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeTags",
        "ec2:DescribeAddresses",
        "tag:GetResources",
    ];

    type Id = RecordId;
    type Output = RecordOutput;
    type Live = RecordLive;

    fn refs(&self) -> Vec<&Address> {
        vec![match &self.value {
            RecordValue::Validation { certificate, .. } => certificate.address(),
            RecordValue::LoadBalancer(balancer) => balancer.address(),
            RecordValue::Address(address) => address.address(),
        }]
    }

    fn diff(&self, live: &RecordLive, cx: &PlanCx<'_>) -> Diff {
        let (name, value) = match &self.value {
            RecordValue::Validation {
                certificate,
                domain,
            } => {
                let part = |pick: fn(&ValidationRecord) -> &str| {
                    cx.want(certificate, |o| {
                        proof(&o.records, domain).map(|r| bare(pick(r)))
                    })
                };
                (part(|r| &r.name), part(|r| &r.value))
            }
            RecordValue::LoadBalancer(balancer) => (
                Value::String(bare(&self.name)),
                cx.want(balancer, |o| bare(&o.dns_name)),
            ),
            RecordValue::Address(address) => (
                Value::String(bare(&self.name)),
                cx.want(address, |o| o.address),
            ),
        };
        Diff::new()
            .fixed("zone", &self.zone_id, &live.zone)
            .fixed("name", name, &live.name)
            .fixed("type", self.kind().as_str(), &live.kind)
            .field("value", value, &live.value)
            .field("ttl", self.ttl(), live.ttl)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let marks = Marks::of(cx).await?;
        if marks.is_empty() {
            return Ok(vec![]);
        }
        let mut found = Vec::new();
        for zone in zones(cx, &marks).await? {
            for set in records(&zone, cx).await? {
                let live = live(&zone, &set);
                let id = RecordId {
                    zone: zone.clone(),
                    kind: live.kind.clone(),
                    name: live.name.clone(),
                };
                let known = cx
                    .address_of("", &String::from(id.clone()))
                    .await?
                    .filter(|a| *a.kind() == Self::KIND);
                let address =
                    known.or_else(|| Some(Address::new(Self::KIND, marks.name_of(&live)?)));
                if let Some(address) = address {
                    found.push(Found {
                        address,
                        readiness: Readiness::Ready(RecordOutput {
                            name: live.name.clone(),
                        }),
                        live,
                        id,
                    });
                }
            }
        }
        Ok(found)
    }

    async fn poll(ids: &[RecordId], cx: &CloudCx) -> Result<Vec<Readiness<RecordOutput>>, Fault> {
        let mut states = Vec::new();
        for id in ids {
            states.push(match read(id, cx).await? {
                Some(_) => Readiness::Ready(RecordOutput {
                    name: id.name.clone(),
                }),
                None => Readiness::Absent,
            });
        }
        Ok(states)
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let set = self.set(cx)?;
        let wanted = live(&self.zone_id, &set);
        let id = RecordId {
            zone: self.zone_id.clone(),
            kind: wanted.kind.clone(),
            name: wanted.name.clone(),
        };
        let done = Created::Done(
            id.clone(),
            RecordOutput {
                name: wanted.name.clone(),
            },
        );
        let fault = match self.change(ChangeAction::Create, &set, cx).await {
            Ok(()) => return Ok(done),
            Err(fault) => fault,
        };
        if fault.code() != "InvalidChangeBatch" {
            return Err(fault);
        }
        // What says just this was made by an earlier attempt, or does as well. Anything else is somebody's.
        match read(&id, cx.cloud).await? {
            Some(have) if live(&self.zone_id, &have).value == wanted.value => Ok(done),
            Some(_) => Err(Fault::Exists {
                call: CHANGE.into(),
                code: "InvalidChangeBatch".into(),
                message: format!(
                    "the zone {} has a record {} of type {} that gantry did not make",
                    self.zone_id, id.name, id.kind
                ),
            }),
            None => Err(fault),
        }
    }

    async fn configure(
        &self,
        _id: &RecordId,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        if change.touches(&["value", "ttl"]) {
            let set = self.set(cx)?;
            self.change(ChangeAction::Upsert, &set, cx).await?;
        }
        Ok(())
    }

    async fn delete(id: &RecordId, cx: &CloudCx) -> Result<(), Fault> {
        // Route 53 deletes only what is named with its values; they may change between reading and deleting.
        let mut last = Ok(());
        for _ in 0..3 {
            let set = match read(id, cx).await {
                Ok(Some(set)) => set,
                Ok(None) => return Ok(()),
                Err(fault) => return gone_is_fine::<()>(Err(fault)),
            };
            if leads_elsewhere(&live(&id.zone, &set), cx).await? {
                return Ok(());
            }
            let batch = batch(ChangeAction::Delete, &set)?;
            last = cx
                .put(CHANGE, || {
                    cx.aws()
                        .route53
                        .change_resource_record_sets()
                        .hosted_zone_id(&id.zone)
                        .change_batch(batch.clone())
                        .send()
                })
                .await
                .map(|_| ());
            match &last {
                Err(fault) if fault.code() == "InvalidChangeBatch" => {}
                _ => break,
            }
        }
        gone_is_fine(last)
    }
}

/// Whether a record that was the site's serves somebody else by now, and stays when the site goes: an alias or an
/// address that leads to another balancer or machine, to the successor of a site that moved; or the proof of a domain
/// that another certificate of the account still needs. ACM asks for the same proof for each of an account's
/// certificates for a domain.
async fn leads_elsewhere(record: &RecordLive, cx: &CloudCx) -> Result<bool, Fault> {
    if record.kind == "CNAME" {
        let domain = record.name.split_once('.').map_or("", |(_, domain)| domain);
        return others_prove(domain, cx).await;
    }
    let marks = Marks::of(cx).await?;
    let ours = match record.ttl {
        None => &marks.balancers,
        Some(_) => &marks.addresses,
    };
    // With nothing of ours left to compare with, it leads to what is gone.
    Ok(!ours.is_empty() && !ours.contains(&record.value))
}

fn batch(action: ChangeAction, set: &ResourceRecordSet) -> Result<ChangeBatch, Fault> {
    SdkChange::builder()
        .action(action)
        .resource_record_set(set.clone())
        .build()
        .and_then(|change| ChangeBatch::builder().changes(change).build())
        .map_err(|e| Fault::internal(format!("a change of DNS: {e}")))
}

/// A name as people write it: small letters, no closing dot, a star for Route 53's `\052`.
fn bare(name: &str) -> String {
    name.trim_end_matches('.')
        .replace("\\052", "*")
        .to_lowercase()
}

/// The record that proves a domain; a wildcard's is that of its base.
fn proof<'a>(records: &'a [ValidationRecord], domain: &str) -> Option<&'a ValidationRecord> {
    let base = |name: &str| bare(name.strip_prefix("*.").unwrap_or(name));
    records.iter().find(|r| base(&r.domain) == base(domain))
}

/// What tells the site's records from others.
#[derive(Default)]
struct Marks {
    /// Domains by name and value of the CNAME that proves them.
    proofs: BTreeMap<(String, String), String>,
    balancers: BTreeSet<String>,
    addresses: BTreeSet<String>,
    domains: BTreeSet<String>,
}

impl Marks {
    async fn of(cx: &CloudCx) -> Result<Self, Fault> {
        let mut marks = Self::default();
        for (detail, _) in certificates_of_ours(cx).await? {
            marks.domains.extend(
                detail
                    .subject_alternative_names()
                    .iter()
                    .chain(detail.domain_name.iter())
                    .map(|n| bare(n)),
            );
            for record in validation_records(&detail) {
                let domain = record.domain.strip_prefix("*.").unwrap_or(&record.domain);
                let key = (bare(&record.name), bare(&record.value));
                marks.proofs.insert(key, bare(domain));
            }
        }
        for (balancer, _) in balancers_of_ours(cx).await? {
            marks.balancers.insert(bare(&text(balancer.dns_name())));
        }
        marks.addresses = addresses_of_ours(cx)
            .await?
            .iter()
            .map(|a| text(a.public_ip()))
            .collect();
        Ok(marks)
    }

    fn is_empty(&self) -> bool {
        self.proofs.is_empty() && self.balancers.is_empty() && self.addresses.is_empty()
    }

    /// The name in its address, if the record is one of ours.
    fn name_of(&self, live: &RecordLive) -> Option<String> {
        if live.kind == "CNAME" {
            let domain = self.proofs.get(&(live.name.clone(), live.value.clone()))?;
            return Some(format!("validation-{domain}"));
        }
        if live.kind != "A" {
            return None;
        }
        match live.ttl {
            None if self.balancers.contains(&live.value) => Some(format!("alias-{}", live.name)),
            Some(_) if self.addresses.contains(&live.value) => Some(format!("a-{}", live.name)),
            _ => None,
        }
    }
}

/// Every hosted zone of the account, private ones too: asked for once, for a survey and for finding out facts.
pub async fn hosted_zones(cx: &CloudCx) -> Result<Arc<Vec<HostedZone>>, Fault> {
    cx.once("route53/hosted_zones", || async {
        let call = || {
            let call = cx.aws().route53.list_hosted_zones();
            let pages = call.into_paginator().items();
            pages.send().collect::<Result<Vec<_>, _>>()
        };
        Ok(Arc::new(cx.read("route53:ListHostedZones", call).await?))
    })
    .await
}

/// The public zones in which records of ours may lie.
async fn zones(cx: &CloudCx, marks: &Marks) -> Result<Vec<String>, Fault> {
    let listed = hosted_zones(cx).await?;
    Ok(listed
        .iter()
        .filter(|z| !z.config().is_some_and(|c| c.private_zone()))
        .filter(|z| {
            let zone = bare(z.name());
            marks.domains.is_empty()
                || marks
                    .domains
                    .iter()
                    .any(|d| *d == zone || d.ends_with(&format!(".{zone}")))
        })
        .map(|z| z.id().trim_start_matches("/hostedzone/").to_owned())
        .collect())
}

/// All records of a zone, page by page.
async fn records(zone: &str, cx: &CloudCx) -> Result<Vec<ResourceRecordSet>, Fault> {
    let mut all = Vec::new();
    let mut next: (Option<String>, Option<RrType>, Option<String>) = (None, None, None);
    loop {
        let page = cx
            .read("route53:ListResourceRecordSets", || {
                cx.aws()
                    .route53
                    .list_resource_record_sets()
                    .hosted_zone_id(zone)
                    .set_start_record_name(next.0.clone())
                    .set_start_record_type(next.1.clone())
                    .set_start_record_identifier(next.2.clone())
                    .send()
            })
            .await?;
        all.extend(page.resource_record_sets().iter().cloned());
        if !page.is_truncated() {
            return Ok(all);
        }
        next = (
            page.next_record_name().map(Into::into),
            page.next_record_type().cloned(),
            page.next_record_identifier().map(Into::into),
        );
    }
}

/// One record; none when it, or its zone, is gone.
async fn read(id: &RecordId, cx: &CloudCx) -> Result<Option<ResourceRecordSet>, Fault> {
    let answer = cx
        .read("route53:ListResourceRecordSets", || {
            cx.aws()
                .route53
                .list_resource_record_sets()
                .hosted_zone_id(&id.zone)
                .start_record_name(&id.name)
                .start_record_type(RrType::from(id.kind.as_str()))
                .max_items(1)
                .send()
        })
        .await;
    match answer {
        Ok(page) => Ok(page
            .resource_record_sets()
            .iter()
            .find(|r| bare(r.name()) == id.name && r.r#type().as_str() == id.kind)
            .cloned()),
        Err(fault) if fault.is_gone() => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn live(zone: &str, set: &ResourceRecordSet) -> RecordLive {
    let value = match set.alias_target() {
        Some(alias) => {
            let name = bare(alias.dns_name());
            name.strip_prefix("dualstack.").unwrap_or(&name).to_owned()
        }
        None => {
            let mut values: Vec<String> = set
                .resource_records()
                .iter()
                .map(|r| bare(r.value()))
                .collect();
            values.sort();
            values.join(" ")
        }
    };
    RecordLive {
        zone: zone.to_owned(),
        name: bare(set.name()),
        kind: set.r#type().as_str().to_owned(),
        value,
        ttl: set.ttl(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_people_write_them() {
        assert_eq!(bare("\\052.Pages.acme.example."), "*.pages.acme.example");
    }

    #[test]
    fn a_wildcard_is_proved_by_its_base() {
        let record = |domain: &str| ValidationRecord {
            domain: domain.into(),
            name: format!("_x.{domain}"),
            value: "_y.acm-validations.aws".into(),
        };
        let records = [record("gitlab.acme.example"), record("pages.acme.example")];
        let found = proof(&records, "*.pages.acme.example").map(|r| r.domain.as_str());
        assert_eq!(found, Some("pages.acme.example"));
        assert!(proof(&records, "other.example").is_none());
    }

    #[test]
    fn ids_there_and_back() {
        let id = RecordId {
            zone: "Z1".into(),
            kind: "A".into(),
            name: "a.example".into(),
        };
        assert_eq!(RecordId::try_from(String::from(id.clone())), Ok(id));
    }
}
