//! `[gitlab]`: which GitLab.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Site;
use super::place::Path;
use super::problem::Problem;
use super::rb::RubySettings;
use super::secret_ref::SecretRef;
use crate::text::{Complaint, Text, text_in_files, text_type};

/// Which GitLab is installed, from where, and how its first administrator signs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gitlab {
    /// Enterprise or Community Edition. Enterprise Edition without a license has the free features.
    pub edition: Edition,
    /// The exact version, 18.11.0 to 19.x.
    pub version: GitlabVersion,
    /// `official`, or the https address of a mirror of the package repository.
    pub package_source: PackageSource,
    /// The license file, for the first set-up: usually `file:PATH`.
    #[schemars(example = "file:acme.gitlab-license")]
    pub license: Option<SecretRef>,
    /// The code that activates the subscription at the first set-up, instead of a license file.
    pub activation_code: Option<SecretRef>,
    /// The mail address of the first administrator, `root`.
    pub initial_root_email: Option<Email>,
    /// The first password of `root`.
    pub initial_root_password: SecretRef,
    /// Settings of `gitlab.rb` for which there is no key here, as `gitlab.rb.SECTION.KEY = value`: any that the version knows and gantry does not hold itself. They win over gantry's defaults.
    pub rb: RubySettings,
}

impl Default for Gitlab {
    fn default() -> Self {
        Self {
            edition: Edition::Ee,
            version: GitlabVersion {
                major: 19,
                minor: 5,
                patch: 3,
            },
            package_source: PackageSource::Official,
            license: None,
            activation_code: None,
            initial_root_email: None,
            initial_root_password: SecretRef::Generate,
            rb: RubySettings::new(),
        }
    }
}

/// The two packages of GitLab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Edition {
    /// Enterprise Edition.
    Ee,
    /// Community Edition.
    Ce,
}

impl Edition {
    /// The package's name, `gitlab-ee`.
    pub fn package(self) -> &'static str {
        match self {
            Self::Ee => "gitlab-ee",
            Self::Ce => "gitlab-ce",
        }
    }
}

/// A GitLab version, `19.5.3`: 18.11.0 or newer, within 18 and 19.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitlabVersion {
    pub major: u16,
    pub minor: u16,
    pub patch: u16,
}

impl Text for GitlabVersion {
    const FORMAT: &'static str = "gitlab-version";
    const NOUN: &'static str = "a GitLab version gantry installs";
    const EXAMPLE: &'static str = "19.5.3";
}

text_in_files!(GitlabVersion);

impl fmt::Display for GitlabVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for GitlabVersion {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let number = |part: &str| {
            part.parse::<u16>()
                .ok()
                .filter(|number| number.to_string() == part)
        };
        let parts: Option<Vec<u16>> = text.split('.').map(number).collect();
        let Some([major, minor, patch]) = parts.as_deref() else {
            let short = text
                .trim_start_matches('v')
                .split('-')
                .next()
                .unwrap_or_default();
            let help = if short.split('.').count() == 3 {
                format!("write `{short}`; the edition has its own key")
            } else {
                "write all three numbers, for example `19.5.3`".to_owned()
            };
            return Err(Complaint::new(
                "a version is three numbers with dots between, because a site must be rebuilt the same",
                help,
            ));
        };
        let version = Self {
            major: *major,
            minor: *minor,
            patch: *patch,
        };
        if version
            < (Self {
                major: 18,
                minor: 11,
                patch: 0,
            })
        {
            return Err(Complaint::new(
                "gantry's node files are written for GitLab 18.11 and newer",
                "take 18.11.9 or newer, for example `19.5.3`",
            ));
        }
        if version.major > 19 || (version.major == 18 && version.minor > 11) {
            return Err(Complaint::new(
                "gantry knows GitLab up to 19.11",
                "take a version from 18.11.0 to 19.11, for example `19.5.3`",
            ));
        }
        if version.major == 19 && version.minor > 11 {
            return Err(Complaint::new(
                "the last minor version of 19 is 11",
                "take a version from 18.11.0 to 19.11, for example `19.5.3`",
            ));
        }
        Ok(version)
    }
}

/// Where the packages come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PackageSource {
    /// GitLab's own repository.
    Official,
    /// The https address of a mirror.
    Mirror(String),
}

impl Text for PackageSource {
    const FORMAT: &'static str = "package-source";
    const NOUN: &'static str = "a package source";
    const EXAMPLE: &'static str = "official";
}

text_in_files!(PackageSource);

impl fmt::Display for PackageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Official => f.write_str("official"),
            Self::Mirror(address) => f.write_str(address),
        }
    }
}

impl FromStr for PackageSource {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        match text.split_once("://") {
            None if text == "official" => Ok(Self::Official),
            Some(("https", rest)) if rest.contains('@') => Err(Complaint::new(
                "it holds a user name or a password",
                "let the mirror know the network instead, or keep the credentials on the mirror",
            )),
            Some(("https", rest)) if !rest.is_empty() && !rest.contains(char::is_whitespace) => {
                Ok(Self::Mirror(text.to_owned()))
            }
            Some(("http", rest)) => Err(Complaint::new(
                "over plain http anyone on the way can change what is installed",
                format!("write `https://{rest}`"),
            )),
            _ => Err(Complaint::new(
                "it is neither `official` nor an https address",
                "write `official`, or the mirror's address: `https://packages.acme.example/gitlab`",
            )),
        }
    }
}

text_type!(
    /// A mail address.
    Email, "email", "a mail address", "ops@example.com", check_email
);

fn check_email(text: &str) -> Result<(), Complaint> {
    let good = text.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty()
            && host.contains('.')
            && !host.contains('@')
            && !host.starts_with('.')
            && !host.ends_with('.')
    });
    if good && !text.contains(|c: char| c.is_whitespace() || c == '<' || c == '>') {
        return Ok(());
    }
    Err(Complaint::new(
        "a mail address has a user, an @ and a host",
        "write the address alone, for example `ops@example.com`",
    ))
}

impl Gitlab {
    pub(super) fn check(&self, site: &Site, problems: &mut Vec<Problem>) {
        if self.edition == Edition::Ce && self.license.is_some() {
            problems.push(
                Problem::at(
                    Path::of("gitlab.license"),
                    "`gitlab.license` has no use in the Community Edition",
                )
                .because("only the Enterprise Edition reads a license")
                .help("write `edition = \"ee\"`, or take the license away")
                .depends("gitlab.edition"),
            );
        }
        if self.license == Some(SecretRef::Generate) {
            problems.push(
                Problem::at(Path::of("gitlab.license"), "a license cannot be generated")
                    .because("GitLab signs it")
                    .help("write `file:PATH` with the license file you were sent"),
            );
        }
        self.check_activation(problems);
        super::rb::check(site, problems);
        let Some(postgres) = &site.database.engine_version else {
            return;
        };
        if self.version.major >= 19 && postgres.major() < 17 {
            problems.push(
                Problem::at(
                    Path::of("database.engine_version"),
                    format!(
                        "GitLab {} does not run on PostgreSQL {postgres}",
                        self.version
                    ),
                )
                .because("GitLab 19 needs PostgreSQL 17, and refuses to start its upgrade on less")
                .help("write `engine_version = \"17\"`")
                .depends("gitlab.version"),
            );
        }
    }

    fn check_activation(&self, problems: &mut Vec<Problem>) {
        let at = |what: &str| Problem::at(Path::of("gitlab.activation_code"), what);
        let Some(code) = &self.activation_code else {
            return;
        };
        if self.edition == Edition::Ce {
            problems.push(
                at("`gitlab.activation_code` has no use in the Community Edition")
                    .because("only the Enterprise Edition can be activated")
                    .help("write `edition = \"ee\"`, or take the code away")
                    .depends("gitlab.edition"),
            );
        }
        if *code == SecretRef::Generate {
            problems.push(
                at("an activation code cannot be generated")
                    .because("GitLab sends it with the subscription")
                    .help("write `env:NAME`, `file:PATH` or `secret:ARN`"),
            );
        }
        if self.license.is_some() {
            problems.push(
                at("`gitlab.activation_code` and `gitlab.license` are both given")
                    .because("GitLab takes the code and leaves the license aside")
                    .help("keep the one you were sent")
                    .depends("gitlab.license"),
            );
        }
    }
}
