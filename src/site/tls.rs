//! `[tls]`: the certificate.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Site;
use super::identity::Domain;
use super::place::Path;
use super::problem::Problem;
use crate::profile::ProfileName;
use crate::text::{Complaint, Text, nearest, text_in_files};

/// The certificate people see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// `request` (ACM makes it, validated by DNS), the ARN of an ACM certificate, or `letsencrypt` (single-box only). By profile: `letsencrypt` on single-box, else `request`.
    pub certificate: Certificate,
    /// The Route 53 zone that holds the domain. Default: the longest one that fits.
    pub hosted_zone: Option<Domain>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: Certificate::Request,
            hosted_zone: None,
        }
    }
}

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Certificate {
    /// Requested from ACM.
    Request,
    /// Made on the box by Let's Encrypt; there is no load balancer then.
    LetsEncrypt,
    /// An ACM certificate that exists.
    Arn(String),
}

impl Text for Certificate {
    const FORMAT: &'static str = "certificate";
    const NOUN: &'static str = "a certificate";
    const EXAMPLE: &'static str = "request";
}

text_in_files!(Certificate);

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::LetsEncrypt => "letsencrypt",
            Self::Arn(arn) => arn,
        })
    }
}

impl FromStr for Certificate {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        match parts.as_slice() {
            ["request"] => Ok(Self::Request),
            ["letsencrypt"] => Ok(Self::LetsEncrypt),
            ["arn", "aws", "acm", region, account, id]
                if !region.is_empty() && account.len() == 12 && id.starts_with("certificate/") =>
            {
                Ok(Self::Arn(text.to_owned()))
            }
            ["arn", _, "iam", ..] => Err(Complaint::new(
                "certificates uploaded to IAM are not renewed and not supported here",
                "import it into ACM and write that ARN, or write `request`",
            )),
            ["arn", ..] => Err(Complaint::new(
                "that is not the ARN of an ACM certificate",
                "write it like `arn:aws:acm:REGION:ACCOUNT:certificate/ID`; `aws acm list-certificates` prints it",
            )),
            _ => {
                let help = match nearest(text, ["request", "letsencrypt"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "write `request`, the ARN of an ACM certificate, or on single-box `letsencrypt`".to_owned(),
                };
                Err(Complaint::new(
                    "it is neither a word gantry knows nor an ARN",
                    help,
                ))
            }
        }
    }
}

impl Certificate {
    /// Region and account of an ARN.
    pub fn home(&self) -> Option<(&str, &str)> {
        let Self::Arn(arn) = self else { return None };
        let mut parts = arn.split(':').skip(3);
        Some((parts.next()?, parts.next()?))
    }
}

impl Tls {
    pub(super) fn check(&self, site: &Site, problems: &mut Vec<Problem>) {
        // A common name longer than 64 characters is refused by certificate authorities, ACM among them.
        let length = site.site.domain.as_str().len();
        if length > 64 && self.certificate.home().is_none() {
            problems.push(
                Problem::at(Path::of("site.domain"), "`site.domain` is too long for a certificate")
                    .because(format!("it has {length} characters and a certificate's common name holds 64"))
                    .help("take a shorter name, or bring a certificate of your own: `certificate = \"arn:…\"`")
                    .depends("tls.certificate"),
            );
        }
        let at = |what: String| Problem::at(Path::of("tls.certificate"), what);
        if self.certificate == Certificate::LetsEncrypt
            && site.site.profile != ProfileName::SingleBox
        {
            problems.push(
                at(format!(
                    "`letsencrypt` does not work with {}",
                    site.site.profile
                ))
                .because(
                    "TLS ends at the load balancer there, and that takes its certificate from ACM",
                )
                .help("write `certificate = \"request\"`")
                .depends("site.profile"),
            );
        }
        if let Some((region, account)) = self.certificate.home() {
            if region != site.site.region.as_str() {
                problems.push(
                    at(format!(
                        "the certificate is in {region}, the site in {}",
                        site.site.region
                    ))
                    .because("a load balancer can only use a certificate of its own region")
                    .help(format!(
                        "import or request it in {}, or write `certificate = \"request\"`",
                        site.site.region
                    ))
                    .depends("site.region"),
                );
            }
            if site
                .site
                .account
                .as_ref()
                .is_some_and(|own| own.as_str() != account)
            {
                problems.push(
                    at(format!("the certificate belongs to the account {account}"))
                        .because("`site.account` is another, and certificates cannot be shared between accounts")
                        .help("name a certificate of the site's account, or write `certificate = \"request\"`")
                        .depends("site.account"),
                );
            }
        }
        if let Some(zone) = &self.hosted_zone
            && !site.site.domain.is_within(zone)
        {
            problems.push(
                Problem::at(
                    Path::of("tls.hosted_zone"),
                    format!("the zone {zone} cannot hold {}", site.site.domain),
                )
                .because("the domain does not end in the zone's name")
                .help("name the zone the domain lies in, or leave the key out to have it found")
                .depends("site.domain"),
            );
        }
    }
}
