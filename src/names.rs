//! Every name that gantry gives to something in AWS, derived in one place from the site.
//!
//! Names are the same on every run. They begin with `gantry-`, so that policies can be written for them, and
//! so that a network load balancer never begins with `internal-`, which AWS refuses. A name too long for its
//! kind keeps its beginning and ends in eight hexadecimal digits of the SHA-256 of the whole.
//!
//! `part` is what the thing is within the site, in small letters, digits and hyphens: `rails`, `front-https`.
//! Underscores become hyphens. Lengths are those of the AWS API reference of each kind.

use sha2::{Digest, Sha256};

use crate::site::{AccountId, Region, SiteName};

/// The names of one site in one account and region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    site: SiteName,
    account: AccountId,
    region: Region,
}

impl Names {
    pub fn new(site: SiteName, account: AccountId, region: Region) -> Self {
        Self {
            site,
            account,
            region,
        }
    }

    pub fn site(&self) -> &SiteName {
        &self.site
    }

    /// For the `Name` tag, for people: `acme rails`.
    pub fn display(&self, part: &str) -> String {
        format!("{} {part}", self.site)
    }

    /// A network load balancer: 32.
    pub fn load_balancer(&self, part: &str) -> String {
        self.within(part, 32)
    }

    /// A target group: 32.
    pub fn target_group(&self, part: &str) -> String {
        self.within(part, 32)
    }

    /// An RDS instance: 63.
    pub fn database(&self, part: &str) -> String {
        self.within(part, 63)
    }

    /// An RDS snapshot: 255. `stamp` tells one from the next, for example `20261120t023000z`.
    pub fn database_snapshot(&self, part: &str, stamp: &str) -> String {
        self.within(&format!("{part}-{stamp}"), 255)
    }

    /// An RDS subnet group: 255.
    pub fn database_subnet_group(&self, part: &str) -> String {
        self.within(part, 255)
    }

    /// An RDS parameter group: 255.
    pub fn database_parameter_group(&self, part: &str) -> String {
        self.within(part, 255)
    }

    /// An ElastiCache replication group: 40.
    pub fn replication_group(&self, part: &str) -> String {
        self.within(part, 40)
    }

    /// An ElastiCache subnet group: 255.
    pub fn cache_subnet_group(&self, part: &str) -> String {
        self.within(part, 255)
    }

    /// An ElastiCache parameter group: 255.
    pub fn cache_parameter_group(&self, part: &str) -> String {
        self.within(part, 255)
    }

    /// An IAM role: 64. IAM is one for all regions, so the region is part of it.
    pub fn role(&self, part: &str) -> String {
        fit(
            &format!("gantry-{}-{}-{}", self.site, plain(part), self.region),
            64,
        )
    }

    /// An instance profile, named like its role.
    pub fn instance_profile(&self, part: &str) -> String {
        self.role(part)
    }

    /// A managed or inline IAM policy: 128.
    pub fn policy(&self, part: &str) -> String {
        fit(
            &format!("gantry-{}-{}-{}", self.site, plain(part), self.region),
            128,
        )
    }

    /// An S3 bucket: 63, and unique in the world, so account and region are part of it.
    pub fn bucket(&self, part: &str) -> String {
        fit(
            &format!(
                "gantry-{}-{}-{}-{}",
                self.site,
                plain(part),
                self.account,
                self.region
            ),
            63,
        )
    }

    /// A launch template: 128.
    pub fn launch_template(&self, part: &str) -> String {
        self.within(part, 128)
    }

    /// An Auto Scaling group: 255.
    pub fn auto_scaling_group(&self, part: &str) -> String {
        self.within(part, 255)
    }

    /// A scaling policy: 255.
    pub fn scaling_policy(&self, part: &str) -> String {
        self.within(part, 255)
    }

    /// A security group: 255, unique in its VPC.
    pub fn security_group(&self, part: &str) -> String {
        self.within(part, 255)
    }

    /// A key pair: 255.
    pub fn key_pair(&self, part: &str) -> String {
        self.within(part, 255)
    }

    /// A KMS alias, with its prefix: 256.
    pub fn key_alias(&self, part: &str) -> String {
        format!("alias/{}", self.within(part, 250))
    }

    /// A Secrets Manager entry: `gantry/acme/database-password`, 512.
    pub fn secret(&self, name: &str) -> String {
        fit(&format!("gantry/{}/{}", self.site, plain(name)), 512)
    }

    /// The pattern of all of the site's entries, for policies.
    pub fn every_secret(&self) -> String {
        format!("gantry/{}/*", self.site)
    }

    /// An SNS topic: 256.
    pub fn topic(&self, part: &str) -> String {
        self.within(part, 256)
    }

    /// A CloudWatch alarm: 255.
    pub fn alarm(&self, part: &str) -> String {
        self.within(part, 255)
    }

    /// A vault, a plan or a selection of AWS Backup: 50.
    pub fn backup(&self, part: &str) -> String {
        self.within(part, 50)
    }

    /// A machine image: 128. `stamp` tells one from the next.
    pub fn image(&self, part: &str, stamp: &str) -> String {
        self.within(&format!("{part}-{stamp}"), 128)
    }

    fn within(&self, part: &str, limit: usize) -> String {
        fit(&format!("gantry-{}-{}", self.site, plain(part)), limit)
    }
}

/// Small letters, digits and single hyphens, of whatever came in.
fn plain(part: &str) -> String {
    let mut plain = String::with_capacity(part.len());
    for c in part.chars().map(|c| c.to_ascii_lowercase()) {
        let c = if c.is_ascii_alphanumeric() { c } else { '-' };
        if c != '-' || !plain.ends_with('-') {
            plain.push(c);
        }
    }
    plain.trim_matches('-').to_owned()
}

/// The name itself if it is short enough, else its beginning and a hash of the whole.
fn fit(name: &str, limit: usize) -> String {
    if name.len() <= limit {
        return name.to_owned();
    }
    let hash = mark(name);
    let head = name[..limit - hash.len() - 1].trim_end_matches('-');
    format!("{head}-{hash}")
}

/// Eight digits that tell texts apart.
pub fn mark(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(site: &str, region: &str) -> Names {
        Names::new(
            site.parse().unwrap(),
            "123456789012".parse().unwrap(),
            region.parse().unwrap(),
        )
    }

    #[test]
    fn names_as_people_meet_them() {
        let names = names("acme", "eu-west-1");
        insta::assert_snapshot!([
            names.load_balancer("front"), names.target_group("front-https"), names.database("main"), names.replication_group("main"),
            names.role("rails"), names.bucket("external_diffs"), names.launch_template("rails"), names.auto_scaling_group("rails"),
            names.key_alias("main"), names.secret("database-password"), names.topic("alarms"),
        ].join("\n"), @r"
        gantry-acme-front
        gantry-acme-front-https
        gantry-acme-main
        gantry-acme-main
        gantry-acme-rails-eu-west-1
        gantry-acme-external-diffs-123456789012-eu-west-1
        gantry-acme-rails
        gantry-acme-rails
        alias/gantry-acme-main
        gantry/acme/database-password
        gantry-acme-alarms
        ");
    }

    #[test]
    fn a_name_too_long_keeps_its_beginning_and_never_changes() {
        let names = names("a-very-long-name-of-site", "ap-southeast-1");
        insta::assert_snapshot!([names.target_group("front-https"), names.replication_group("persistent"), names.bucket("dependency_proxy")].join("\n"), @r"
        gantry-a-very-long-name-598f204e
        gantry-a-very-long-name-of-site-b1d87b06
        gantry-a-very-long-name-of-site-dependency-proxy-12345-a6d89951
        ");
    }

    fn site_name() -> impl Strategy<Value = String> {
        "[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,5}){0,2}"
            .prop_filter("a site name", |name| name.parse::<SiteName>().is_ok())
    }

    proptest! {
        #[test]
        fn every_name_keeps_the_rules_of_its_kind(site in site_name(), part in "[a-z][a-z0-9_-]{0,40}", region in proptest::sample::select(Region::all().collect::<Vec<_>>())) {
            let names = names(&site, region);
            let limited = [
                (names.load_balancer(&part), 32), (names.target_group(&part), 32), (names.database(&part), 63),
                (names.replication_group(&part), 40), (names.role(&part), 64), (names.bucket(&part), 63),
                (names.launch_template(&part), 128), (names.policy(&part), 128), (names.auto_scaling_group(&part), 255),
                (names.backup(&part), 50),
            ];
            for (name, limit) in limited {
                prop_assert!(name.len() <= limit, "{name} is longer than {limit}");
                prop_assert!(name.starts_with("gantry-"), "{name}");
                prop_assert!(!name.ends_with('-') && !name.contains("--"), "{name}");
                prop_assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
            }
        }

        #[test]
        fn long_parts_stay_apart(one in "[a-z]{30,40}", other in "[a-z]{30,40}") {
            prop_assume!(one != other);
            let names = names("acme", "us-east-1");
            prop_assert_ne!(names.target_group(&one), names.target_group(&other));
            prop_assert_eq!(names.target_group(&one), names.target_group(&one));
        }

        #[test]
        fn buckets_of_other_accounts_and_regions_stay_apart(site in site_name(), part in "[a-z]{3,20}") {
            let here = names(&site, "eu-west-1").bucket(&part);
            prop_assert_ne!(&here, &names(&site, "eu-west-2").bucket(&part));
            let elsewhere = Names::new(site.parse().unwrap(), "210987654321".parse().unwrap(), "eu-west-1".parse().unwrap());
            prop_assert_ne!(here, elsewhere.bucket(&part));
        }
    }
}
