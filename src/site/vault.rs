//! `[backup.vault]`: a vault of AWS Backup in another account, for the day on which this one is lost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Site;
use super::identity::AccountId;
use super::place::Path;
use super::problem::Problem;
use super::region::Region;
use super::schedule::{Schedule, TimeOfDay};
use crate::text::{Complaint, text_type};

/// A vault of AWS Backup in another account, which gets a copy of databases, buckets and, where GitLab allows it, disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// The vault, made by its owner: in another account of the same organisation, and in the site's region.
    pub arn: VaultArn,
    /// When AWS Backup begins, in the time zone of `[backup]`; hourly at most.
    #[serde(default = "Vault::at_night")]
    pub schedule: Schedule,
    /// Days that a copy stays in that vault.
    #[serde(default = "Vault::five_weeks")]
    pub keep_days: u32,
    /// Days that the original of a copy stays in the site's own account.
    #[serde(default = "Vault::one_week")]
    pub local_days: u32,
}

text_type!(
    /// The ARN of a vault of AWS Backup.
    VaultArn, "vault", "the ARN of a backup vault", "arn:aws:backup:eu-west-1:210987654321:backup-vault:acme", check_arn
);

/// The region, the account and the name in a vault's ARN.
fn parts(arn: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        [
            "arn",
            "aws",
            "backup",
            region,
            account,
            "backup-vault",
            name,
        ] => Some((region, account, name)),
        _ => None,
    }
}

fn check_arn(text: &str) -> Result<(), Complaint> {
    let help = "write it like `arn:aws:backup:REGION:ACCOUNT:backup-vault:NAME`; in its account, \
                `aws backup list-backup-vaults` prints it";
    let Some((region, account, name)) = parts(text) else {
        return Err(Complaint::new(
            "it does not name a region, an account and a vault",
            help,
        ));
    };
    region.parse::<Region>()?;
    account.parse::<AccountId>()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !(2..=50).contains(&name.len()) || !name.chars().all(fits) {
        return Err(Complaint::new(
            "the name of a vault has 2 to 50 letters, digits, hyphens and underscores",
            help,
        ));
    }
    Ok(())
}

impl VaultArn {
    pub fn region(&self) -> &str {
        parts(&self.0).map_or("", |(region, ..)| region)
    }

    /// The account that the vault belongs to.
    pub fn account(&self) -> &str {
        parts(&self.0).map_or("", |(_, account, _)| account)
    }
}

impl Vault {
    fn at_night() -> Schedule {
        Schedule::Daily(TimeOfDay {
            hour: 3,
            minute: 30,
        })
    }

    fn five_weeks() -> u32 {
        35
    }

    fn one_week() -> u32 {
        7
    }

    pub(super) fn check(&self, site: &Site, problems: &mut Vec<Problem>) {
        let at = |key: &str, what: String| Problem::at(Path::of("backup.vault").key(key), what);
        if site
            .site
            .account
            .as_ref()
            .is_some_and(|own| own.as_str() == self.arn.account())
        {
            problems.push(
                at(
                    "arn",
                    "`backup.vault.arn` is a vault of the site's own account".to_owned(),
                )
                .because("who takes over or loses that account takes or loses the vault with it")
                .help("name a vault of another account of the organisation, or leave `[backup.vault]` out")
                .depends("site.account"),
            );
        }
        if self.arn.region() != site.site.region.as_str() {
            problems.push(
                at(
                    "arn",
                    format!("`backup.vault.arn` lies in {}", self.arn.region()),
                )
                .because("AWS Backup does not copy a database into another account and another region in one step")
                .help(format!("have the vault made in {}", site.site.region))
                .depends("site.region"),
            );
        }
        if let Err(complaint) = self.schedule.amazon() {
            problems.push(
                at(
                    "schedule",
                    format!(
                        "`backup.vault.schedule` is `{}`, which AWS Backup cannot do",
                        self.schedule
                    ),
                )
                .because(complaint.why)
                .help(complaint.help),
            );
        }
        // Ten years, as for immutable days: where the vault is locked nobody could undo a slip of the finger.
        if !(1..=3650).contains(&self.keep_days) {
            problems.push(
                at(
                    "keep_days",
                    format!("`backup.vault.keep_days` is {}", self.keep_days),
                )
                .because("it must be from 1 to 3650")
                .help("write for example `keep_days = 35`"),
            );
        }
        if !(1..=self.keep_days.max(1)).contains(&self.local_days) {
            problems.push(
                at(
                    "local_days",
                    format!("`backup.vault.local_days` is {}", self.local_days),
                )
                .because(format!(
                    "it must be from 1 to `keep_days`, {}: the original is what a copy is made of, and not what it is for",
                    self.keep_days
                ))
                .help("write for example `local_days = 7`, or raise `keep_days`")
                .depends("backup.vault.keep_days"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_says_where_and_whose() {
        let arn: VaultArn = "arn:aws:backup:eu-west-1:210987654321:backup-vault:acme"
            .parse()
            .unwrap();
        assert_eq!((arn.region(), arn.account()), ("eu-west-1", "210987654321"));
        for wrong in [
            "acme",
            "arn:aws:backup:eu-west-1:210987654321:backup-vault:a",
            "arn:aws:backup:eu-west-1:210987654321:backup-vault:a b",
            "arn:aws:backup:eu-west-9:210987654321:backup-vault:acme",
            "arn:aws:backup:eu-west-1:2109:backup-vault:acme",
            "arn:aws:backup:eu-west-1:210987654321:backup-plan:acme",
            "arn:aws:s3:::acme",
        ] {
            assert!(wrong.parse::<VaultArn>().is_err(), "{wrong}");
        }
    }
}
