//! The wait for a certificate to be issued.
//!
//! Nothing of its own exists in AWS: it is there when the certificate of the same name is issued.

use aws_sdk_acm::types::{CertificateDetail, CertificateStatus};
use serde::{Deserialize, Serialize};

use super::Certificate;
use super::certificate::{describe, lost, ours, records};
use crate::cloud::Fault;
use crate::kinds::tagged::text;
use crate::resource::{
    Address, ApplyCx, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay, Resource,
};

/// Sets its id apart from the certificate's own.
const MARK: &str = "issued ";

#[derive(Debug, Clone, Serialize)]
pub struct Validation {
    pub certificate: Ref<Certificate>,
    /// The names whose DNS is somebody else's: nobody but the person at the keyboard can make their records.
    pub by_hand: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationOutput {
    pub arn: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationLive {
    pub certificate: String,
}

impl Resource for Validation {
    const KIND: Kind = Kind::new("acm/validation");
    const REPLAY: Replay = Replay::Name;
    const USUAL_SECONDS: u64 = 180;
    const ACTIONS: &'static [&'static str] = &[
        "acm:DescribeCertificate",
        "acm:ListCertificates",
        "acm:ListTagsForCertificate",
        "tag:GetResources",
    ];

    /// `issued ARN`.
    type Id = String;
    type Output = ValidationOutput;
    type Live = ValidationLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.certificate.address()]
    }

    fn diff(&self, live: &ValidationLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new().fixed(
            "certificate",
            cx.want(&self.certificate, |o| o.arn),
            &live.certificate,
        )
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        Ok(ours(cx)
            .await?
            .into_iter()
            .filter(|(detail, _)| detail.status() == Some(&CertificateStatus::Issued))
            .map(|(detail, owned)| {
                let arn = text(detail.certificate_arn());
                Found {
                    address: Address::new(Self::KIND, owned.address.name()),
                    id: format!("{MARK}{arn}"),
                    live: ValidationLive { certificate: arn },
                    readiness: readiness(&detail),
                }
            })
            .collect())
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<ValidationOutput>>, Fault> {
        let mut states = Vec::new();
        for id in ids {
            let arn = id.strip_prefix(MARK).unwrap_or(id);
            states.push(
                describe(arn, cx)
                    .await?
                    .map_or(Readiness::Absent, |d| readiness(&d)),
            );
        }
        Ok(states)
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        const CALL: &str = "acm:DescribeCertificate";
        let arn = cx.get(&self.certificate)?.arn;
        let Some(detail) = describe(&arn, cx.cloud).await? else {
            return Err(Fault::Gone {
                call: CALL.into(),
                code: "ResourceNotFoundException".into(),
                message: format!("the certificate {arn} is gone"),
            });
        };
        if let Some(message) = lost(&detail) {
            return Err(Fault::Broken {
                call: CALL.into(),
                message,
            });
        }
        let id = format!("{MARK}{arn}");
        if detail.status() == Some(&CertificateStatus::Issued) {
            return Ok(Created::Done(id, ValidationOutput { arn }));
        }
        if !self.by_hand.is_empty() {
            return Err(Fault::Parked {
                message: by_hand(&detail, &self.by_hand),
            });
        }
        Ok(Created::Waiting(id))
    }

    async fn delete(_id: &String, _cx: &CloudCx) -> Result<(), Fault> {
        // It goes with the certificate.
        Ok(())
    }
}

/// What the person must do who has the DNS of these names elsewhere.
fn by_hand(detail: &CertificateDetail, names: &[String]) -> String {
    let mut lines: Vec<String> = records(detail)
        .iter()
        .filter(|r| names.contains(&r.domain))
        .map(|r| format!("  {}  CNAME  {}", r.name, r.value))
        .collect();
    lines.sort();
    lines.dedup();
    format!(
        "no hosted zone of this account holds {}: create these records where its DNS is kept, then run install again\n{}",
        names.join(", "),
        lines.join("\n")
    )
}

fn readiness(detail: &CertificateDetail) -> Readiness<ValidationOutput> {
    if let Some(why) = lost(detail) {
        return Readiness::Broken(why.into());
    }
    if detail.status() == Some(&CertificateStatus::Issued) {
        return Readiness::Ready(ValidationOutput {
            arn: text(detail.certificate_arn()),
        });
    }
    Readiness::Pending("PENDING_VALIDATION".into())
}
