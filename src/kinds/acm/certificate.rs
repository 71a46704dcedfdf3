//! A certificate asked for, proved by DNS.
//!
//! Ready once ACM says which records prove it; the wait until it is issued is [`super::Validation`]'s.
//! ACM describes one certificate a call, and a site has one.

use std::sync::Arc;

use aws_sdk_acm::types::{
    CertificateDetail, CertificateStatus, CertificateSummary, Filters, KeyAlgorithm, Tag,
    ValidationMethod,
};
use serde::{Deserialize, Serialize};

use crate::cloud::Fault;
use crate::kinds::tagged::{Owned, Whose, gone_is_fine, still_owned, surplus, text, whose};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Replay,
    Resource, Tags,
};

/// ACM's tokens are this long at most.
const TOKEN: usize = 32;

#[derive(Debug, Clone, Serialize)]
pub struct Certificate {
    pub domain: String,
    pub alternative: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateOutput {
    pub arn: String,
    pub records: Vec<ValidationRecord>,
}

/// A CNAME that proves to ACM that the domain is ours. A wildcard has the same one as its base domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValidationRecord {
    pub domain: String,
    pub name: String,
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateLive {
    pub domain: String,
    pub alternative: Vec<String>,
    pub tags: Tags,
}

impl Resource for Certificate {
    const KIND: Kind = Kind::new("acm/certificate");
    const REPLAY: Replay = Replay::Token;
    const USUAL_SECONDS: u64 = 5;
    const ACTIONS: &'static [&'static str] = &[
        "acm:RequestCertificate",
        "acm:ListCertificates",
        "acm:DescribeCertificate",
        "acm:DeleteCertificate",
        "acm:ListTagsForCertificate",
        "acm:AddTagsToCertificate",
        "acm:RemoveTagsFromCertificate",
        "tag:GetResources",
    ];

    type Id = String;
    type Output = CertificateOutput;
    type Live = CertificateLive;

    fn refs(&self) -> Vec<&Address> {
        vec![]
    }

    fn diff(&self, live: &CertificateLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("domain", self.domain.to_lowercase(), &live.domain)
            .fixed(
                "alternative",
                others(&self.domain, &self.alternative),
                &live.alternative,
            )
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        Ok(ours(cx)
            .await?
            .into_iter()
            .map(|(detail, owned)| Found {
                address: owned.address,
                id: text(detail.certificate_arn()),
                live: CertificateLive {
                    domain: text(detail.domain_name()),
                    alternative: others(
                        detail.domain_name().unwrap_or_default(),
                        detail.subject_alternative_names(),
                    ),
                    tags: owned.tags,
                },
                readiness: readiness(&detail),
            })
            .collect())
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<CertificateOutput>>, Fault> {
        let mut states = Vec::new();
        for id in ids {
            states.push(
                describe(id, cx)
                    .await?
                    .map_or(Readiness::Absent, |d| readiness(&d)),
            );
        }
        Ok(states)
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let token: String = cx
            .token
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(TOKEN)
            .collect();
        let names = others(&self.domain, &self.alternative);
        let answer = cx
            .cloud
            .write("acm:RequestCertificate", || {
                cx.aws()
                    .acm
                    .request_certificate()
                    .domain_name(self.domain.to_lowercase())
                    .set_subject_alternative_names((!names.is_empty()).then(|| names.clone()))
                    .validation_method(ValidationMethod::Dns)
                    .idempotency_token(&token)
                    .set_tags(Some(sdk_tags(&cx.tags(&Tags::new()))))
                    .send()
            })
            .await?;
        Ok(Created::Waiting(text(answer.certificate_arn())))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        if !change.touches(&["tags"]) {
            return Ok(());
        }
        let tags = cx.tags(&Tags::new());
        cx.cloud
            .put("acm:AddTagsToCertificate", || {
                cx.aws()
                    .acm
                    .add_tags_to_certificate()
                    .certificate_arn(id)
                    .set_tags(Some(sdk_tags(&tags)))
                    .send()
            })
            .await?;
        let surplus: Vec<Tag> = surplus(change, &tags)
            .into_iter()
            .filter_map(|key| Tag::builder().key(key).build().ok())
            .collect();
        if !surplus.is_empty() {
            cx.cloud
                .put("acm:RemoveTagsFromCertificate", || {
                    cx.aws()
                        .acm
                        .remove_tags_from_certificate()
                        .certificate_arn(id)
                        .set_tags(Some(surplus.clone()))
                        .send()
                })
                .await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let answer = cx
            .put("acm:DeleteCertificate", || {
                cx.aws().acm.delete_certificate().certificate_arn(id).send()
            })
            .await;
        gone_is_fine(answer)
    }
}

/// The names beside the first, sorted, each once.
fn others(domain: &str, names: &[String]) -> Vec<String> {
    let mut names: Vec<String> = names
        .iter()
        .map(|n| n.to_lowercase())
        .filter(|n| *n != domain.to_lowercase())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .filter_map(|(k, v)| Tag::builder().key(k).value(v).build().ok())
        .collect()
}

/// One certificate; none when it is gone.
pub(super) async fn describe(arn: &str, cx: &CloudCx) -> Result<Option<CertificateDetail>, Fault> {
    let answer = cx
        .read("acm:DescribeCertificate", || {
            cx.aws()
                .acm
                .describe_certificate()
                .certificate_arn(arn)
                .send()
        })
        .await;
    match answer {
        Ok(answer) => Ok(answer.certificate().cloned()),
        Err(fault) if fault.is_gone() => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The site's certificates, with address and tags.
pub(in crate::kinds) async fn ours(cx: &CloudCx) -> Result<Vec<(CertificateDetail, Owned)>, Fault> {
    cx.once("certificates", || ask_ours(cx)).await
}

/// Whether a certificate of the account in this region that is not the site's holds this domain, and so leans on its
/// proof.
pub(in crate::kinds) async fn others_prove(domain: &str, cx: &CloudCx) -> Result<bool, Fault> {
    let ours = ours(cx).await?;
    let is_ours = |arn: Option<&str>| ours.iter().any(|(d, _)| d.certificate_arn() == arn);
    let wildcard = format!("*.{domain}");
    Ok(all(cx).await?.iter().any(|one| {
        let lost = one.status().is_some_and(|status| {
            !matches!(
                status,
                CertificateStatus::Issued | CertificateStatus::PendingValidation
            )
        });
        let holds = |name: &str| name == domain || name == wildcard;
        let names = one.subject_alternative_name_summaries().iter();
        !lost
            && !is_ours(one.certificate_arn())
            && names
                .map(String::as_str)
                .chain(one.domain_name())
                .any(holds)
    }))
}

/// All certificates of the region, asked for once.
async fn all(cx: &CloudCx) -> Result<Arc<Vec<CertificateSummary>>, Fault> {
    // Without being asked, ACM lists those with RSA keys of 1024 and 2048 bits.
    let kinds = KeyAlgorithm::values()
        .iter()
        .map(|word| KeyAlgorithm::from(*word));
    let every_key = Filters::builder()
        .set_key_types(Some(kinds.collect()))
        .build();
    cx.once("all certificates", || async {
        let listed = cx
            .read("acm:ListCertificates", || {
                cx.aws()
                    .acm
                    .list_certificates()
                    .includes(every_key.clone())
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(Arc::new(listed))
    })
    .await
}

async fn ask_ours(cx: &CloudCx) -> Result<Vec<(CertificateDetail, Owned)>, Fault> {
    let mut ours = Vec::new();
    for summary in all(cx).await?.iter() {
        let arn = text(summary.certificate_arn());
        let owned = match whose(&Certificate::KIND, &arn, &arn, cx).await? {
            Whose::Listed(owned) => Some(owned),
            Whose::Remembered(address) => still_owned(address, &tags_of(&arn, cx).await?, cx),
            Whose::Foreign => None,
        };
        if let Some(owned) = owned
            && let Some(detail) = describe(&arn, cx).await?
        {
            ours.push((detail, owned));
        }
    }
    Ok(ours)
}

async fn tags_of(arn: &str, cx: &CloudCx) -> Result<Tags, Fault> {
    let answer = cx
        .read("acm:ListTagsForCertificate", || {
            cx.aws()
                .acm
                .list_tags_for_certificate()
                .certificate_arn(arn)
                .send()
        })
        .await;
    match answer {
        Ok(answer) => Ok(answer
            .tags()
            .iter()
            .map(|t| (t.key(), t.value().unwrap_or_default()))
            .collect()),
        Err(fault) if fault.is_gone() => Ok(Tags::new()),
        Err(fault) => Err(fault),
    }
}

/// The records that prove the certificate, as far as ACM has told them, without their closing dots.
pub(in crate::kinds) fn records(detail: &CertificateDetail) -> Vec<ValidationRecord> {
    let bare = |name: &str| name.trim_end_matches('.').to_owned();
    detail
        .domain_validation_options()
        .iter()
        .filter_map(|option| {
            let record = option.resource_record()?;
            Some(ValidationRecord {
                domain: option.domain_name().to_owned(),
                name: bare(record.name()),
                value: bare(record.value()),
            })
        })
        .collect()
}

/// Why a certificate will never be good, if so.
pub(super) fn lost(detail: &CertificateDetail) -> Option<String> {
    match detail.status()? {
        CertificateStatus::Issued | CertificateStatus::PendingValidation => None,
        other => {
            let reason = detail.failure_reason().map(|r| format!(": {}", r.as_str()));
            Some(format!("{}{}", other.as_str(), reason.unwrap_or_default()))
        }
    }
}

fn readiness(detail: &CertificateDetail) -> Readiness<CertificateOutput> {
    if let Some(why) = lost(detail) {
        return Readiness::Broken(why.into());
    }
    let records = records(detail);
    if records.is_empty() || records.len() < detail.domain_validation_options().len() {
        return Readiness::Pending("waiting for its validation records".into());
    }
    Readiness::Ready(CertificateOutput {
        arn: text(detail.certificate_arn()),
        records,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_is_not_among_the_others() {
        let names = ["B.example.com", "a.example.com", "b.example.com"].map(str::to_owned);
        assert_eq!(others("a.example.com", &names), ["b.example.com"]);
    }
}
