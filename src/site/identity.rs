//! `[site]`: which site this is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::region::Region;
use crate::profile::ProfileName;
use crate::text::{Complaint, text_type};

/// Which site this is, how large, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The site's name, in every tag and every derived name. It cannot be changed later.
    pub name: SiteName,
    /// The reference size. `gantry profiles` shows what each contains.
    pub profile: ProfileName,
    /// The host name people open, and clone from.
    pub domain: Domain,
    /// The AWS region.
    pub region: Region,
    /// The AWS account it belongs in: a guard, compared with the credentials before the first write.
    #[serde(default)]
    pub account: Option<AccountId>,
}

text_type!(
    /// A site's name: 2 to 24 small letters, digits and single hyphens, beginning with a letter.
    SiteName, "site-name", "a site name", "acme", check_site_name
);

text_type!(
    /// A host name of at least two labels, in small letters.
    Domain, "domain", "a domain", "gitlab.example.com", check_domain
);

text_type!(
    /// An AWS account id: twelve digits.
    AccountId, "account", "an AWS account id", "123456789012", check_account
);

impl SiteName {
    /// From the domain, as `gantry init` proposes it: `gitlab.example.com` gives `gitlab-example`.
    ///
    /// The last label is dropped; where the rest breaks a rule of names it is mended.
    pub fn from_domain(domain: &Domain) -> Self {
        let labels: Vec<&str> = domain.as_str().split('.').collect();
        let mut text = labels[..labels.len() - 1].join("-");
        while text.contains("--") {
            text = text.replace("--", "-");
        }
        if !text.starts_with(|c: char| c.is_ascii_lowercase()) || text.len() < 2 {
            text.insert_str(0, "site-");
        }
        text.truncate(24);
        Self(text.trim_end_matches('-').to_owned())
    }
}

impl Domain {
    /// Whether this is `zone` itself or a name below it.
    pub fn is_within(&self, zone: &Domain) -> bool {
        self == zone
            || self
                .as_str()
                .strip_suffix(zone.as_str())
                .is_some_and(|rest| rest.ends_with('.'))
    }
}

fn check_site_name(text: &str) -> Result<(), Complaint> {
    let help = "take 2 to 24 small letters, digits and single hyphens, beginning with a letter, for example `acme`";
    let refuse = |why: &str| Err(Complaint::new(why, help));
    if !(2..=24).contains(&text.chars().count()) {
        return refuse(&format!(
            "it has {} characters; derived names need it short",
            text.chars().count()
        ));
    }
    if let Some(wrong) = text
        .chars()
        .find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-'))
    {
        return refuse(&format!(
            "`{wrong}` cannot stand in the names of buckets and databases"
        ));
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return refuse("database and cache names must begin with a letter");
    }
    if text.ends_with('-') || text.contains("--") {
        return refuse("database names may neither end in a hyphen nor hold two in a row");
    }
    Ok(())
}

fn check_domain(text: &str) -> Result<(), Complaint> {
    let refuse = |why: &str, help: &str| Err(Complaint::new(why, help));
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or_default();
        return refuse(
            &format!("`{scheme}://` makes it an address"),
            &format!("write the host name alone: `{host}`"),
        );
    }
    if text.len() > 253 {
        return refuse(
            &format!("it has {} characters and DNS allows 253", text.len()),
            "take a shorter name",
        );
    }
    if text.chars().any(|c| c.is_ascii_uppercase()) {
        return refuse(
            "capitals differ from small letters in certificates' and records' names",
            &format!("write `{}`", text.to_lowercase()),
        );
    }
    if text.ends_with('.') {
        return refuse(
            "it ends in a dot",
            &format!("write `{}`", text.trim_end_matches('.')),
        );
    }
    let labels: Vec<&str> = text.split('.').collect();
    if labels.len() < 2 {
        return refuse(
            "a certificate needs a name of at least two labels",
            "write the whole name, for example `gitlab.example.com`",
        );
    }
    for label in &labels {
        if label.is_empty() {
            return refuse(
                "two dots stand side by side, or one at the beginning",
                "write it like `gitlab.example.com`",
            );
        }
        if label.len() > 63 {
            return refuse(
                &format!(
                    "its label `{}…` has {} characters and DNS allows 63",
                    &label[..8],
                    label.len()
                ),
                "shorten the label",
            );
        }
        if label.starts_with('-') || label.ends_with('-') {
            return refuse(
                &format!("its label `{label}` begins or ends with a hyphen"),
                "take the hyphen away",
            );
        }
        if let Some(wrong) = label
            .chars()
            .find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-'))
        {
            return refuse(
                &format!("`{wrong}` cannot stand in a host name"),
                "use small letters, digits, hyphens and dots; write other alphabets in their `xn--` form",
            );
        }
    }
    if labels
        .last()
        .is_some_and(|label| label.chars().all(|c| c.is_ascii_digit()))
    {
        return refuse(
            "its last label is a number, as in an IP address",
            "a certificate needs a name: write it like `gitlab.example.com`",
        );
    }
    Ok(())
}

fn check_account(text: &str) -> Result<(), Complaint> {
    if text.len() == 12 && text.chars().all(|c| c.is_ascii_digit()) {
        return Ok(());
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let help = if digits.len() == 12 {
        format!("write `\"{digits}\"`, digits only")
    } else {
        "`aws sts get-caller-identity` prints it".to_owned()
    };
    Err(Complaint::new(
        "an account id has twelve digits and nothing else",
        help,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_out_of_every_domain() {
        for (domain, name) in [
            ("gitlab.example.com", "gitlab-example"),
            ("example.com", "example"),
            ("1.example.com", "site-1-example"),
            ("a.io", "site-a"),
            (
                "gitlab.some-very-long-company-name.example",
                "gitlab-some-very-long-co",
            ),
            ("xn--bcher-kva.example", "xn-bcher-kva"),
        ] {
            let domain: Domain = domain.parse().unwrap();
            let derived = SiteName::from_domain(&domain);
            assert_eq!(derived.as_str(), name);
            assert!(derived.as_str().parse::<SiteName>().is_ok());
        }
    }

    #[test]
    fn a_zone_holds_itself_and_what_is_below() {
        let domain: Domain = "gitlab.acme.example".parse().unwrap();
        assert!(domain.is_within(&"acme.example".parse().unwrap()));
        assert!(domain.is_within(&domain));
        assert!(!domain.is_within(&"lab.acme.example".parse().unwrap()));
    }
}
