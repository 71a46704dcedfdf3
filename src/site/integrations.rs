//! `[smtp]`, `[ses]`, `[ldap]`, `[saml]`, `[registry]`: what GitLab talks to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Site;
use super::gitlab::Email;
use super::place::Path;
use super::problem::Problem;
use super::region::Region;
use super::secret_ref::SecretRef;

/// Outgoing mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// The mail server's host name.
    #[schemars(example = "mail.example.com")]
    pub address: String,
    /// Its port.
    #[schemars(range(min = 1))]
    #[serde(default = "Smtp::submission")]
    pub port: u16,
    /// The user name to sign in with.
    #[serde(default)]
    pub user_name: Option<String>,
    /// The password to sign in with.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// The HELO domain; default: the site's.
    #[serde(default)]
    pub domain: Option<String>,
    /// How to sign in.
    #[serde(default)]
    pub authentication: SmtpAuthentication,
    /// How the connection is protected.
    #[serde(default)]
    pub security: SmtpSecurity,
    /// The address GitLab's mail comes from.
    pub from: Email,
    /// The address answers go to.
    #[serde(default)]
    pub reply_to: Option<Email>,
}

impl Smtp {
    fn submission() -> u16 {
        587
    }
}

/// Outgoing mail by the API of Amazon SES, from GitLab 19.3. There is no password: the nodes' own roles may send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ses {
    /// The region whose SES sends; default: the site's.
    #[serde(default)]
    pub region: Option<Region>,
    /// A role that may send, where the addresses are verified in another account. The nodes assume it.
    #[serde(default)]
    #[schemars(example = "arn:aws:iam::123456789012:role/mailer")]
    pub role_arn: Option<String>,
    /// The address GitLab's mail comes from; SES must know it as verified.
    pub from: Email,
    /// The address answers go to.
    #[serde(default)]
    pub reply_to: Option<Email>,
}

/// How to sign in at the mail server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SmtpAuthentication {
    /// LOGIN.
    #[default]
    Login,
    /// PLAIN.
    Plain,
    /// CRAM-MD5.
    CramMd5,
    /// Without signing in.
    None,
}

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmtpSecurity {
    /// Begin plain, then switch to TLS; usual on port 587.
    #[default]
    Starttls,
    /// TLS from the first byte; usual on port 465.
    Tls,
    /// Not at all.
    None,
}

/// Signing in with an LDAP directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ldap {
    /// What people see on the sign-in page.
    #[serde(default = "Ldap::usual_label")]
    pub label: String,
    /// The directory server's host name.
    #[schemars(example = "ldap.example.com")]
    pub host: String,
    /// Its port.
    #[schemars(range(min = 1))]
    #[serde(default = "Ldap::ldaps")]
    pub port: u16,
    /// How the connection is protected.
    #[serde(default)]
    pub encryption: LdapEncryption,
    /// Who looks users up.
    #[serde(default)]
    pub bind_dn: Option<String>,
    /// That account's password.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// Where users are searched.
    #[schemars(example = "ou=people,dc=example,dc=com")]
    pub base: String,
    /// The attribute that holds the user name.
    #[serde(default = "Ldap::usual_uid")]
    pub uid: String,
    /// A filter that users must match.
    #[serde(default)]
    pub user_filter: Option<String>,
    /// Whether the directory is Active Directory.
    #[serde(default)]
    pub active_directory: bool,
}

impl Ldap {
    fn usual_label() -> String {
        "LDAP".to_owned()
    }

    fn ldaps() -> u16 {
        636
    }

    fn usual_uid() -> String {
        "uid".to_owned()
    }
}

/// How the connection to the directory is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LdapEncryption {
    /// TLS from the first byte; usual on port 636.
    #[default]
    SimpleTls,
    /// Begin plain, then switch to TLS; usual on port 389.
    StartTls,
    /// Not at all.
    Plain,
}

/// Signing in with a SAML identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Saml {
    /// What people see on the sign-in page.
    #[serde(default = "Saml::usual_label")]
    pub label: String,
    /// The https address people are sent to for signing in.
    #[schemars(example = "https://sso.example.com/saml")]
    pub idp_sso_target_url: String,
    /// The provider's signing certificate, in PEM.
    #[schemars(example = "file:idp.pem")]
    pub idp_cert: SecretRef,
    /// The name GitLab presents itself by; default: the site's address.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The form of user identifiers.
    #[serde(default = "Saml::persistent")]
    pub name_identifier_format: String,
}

impl Saml {
    fn usual_label() -> String {
        "SAML".to_owned()
    }

    fn persistent() -> String {
        "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent".to_owned()
    }
}

/// The container registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Registry {
    /// Whether there is one. It needs `front.registry_domain`.
    pub enabled: bool,
    /// Keep the registry's metadata in the database. It cannot be undone.
    pub metadata_database: bool,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            enabled: true,
            metadata_database: false,
        }
    }
}

impl Smtp {
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        let signs_in = self.authentication != SmtpAuthentication::None;
        if signs_in && (self.user_name.is_none() || self.password.is_none()) {
            problems.push(
                Problem::at(Path::of("smtp"), "`[smtp]` signs in without a user name and a password")
                    .because("the mail server would refuse GitLab's mail")
                    .help("add `user_name` and `password = \"env:NAME\"`, or write `authentication = \"none\"`")
                    .depends("smtp.password")
                    .depends("smtp.authentication"),
            );
        }
        if self.password == Some(SecretRef::Generate) {
            problems.push(not_generated(
                "smtp.password",
                "the mail server's owner sets it",
            ));
        }
    }
}

impl Ses {
    pub(super) fn check(&self, site: &Site, problems: &mut Vec<Problem>) {
        let version = site.gitlab.version;
        if (version.major, version.minor) < (19, 3) {
            problems.push(
                Problem::with_key(Path::of("ses"), format!("GitLab {version} cannot send by the API of Amazon SES"))
                    .because("that came with 19.3")
                    .help("take 19.3 or newer in `gitlab.version`, or write [smtp] with the SMTP door of SES")
                    .depends("gitlab.version"),
            );
        }
        if site.smtp.is_some() {
            problems.push(
                Problem::with_key(Path::of("ses"), "there are both [ses] and [smtp]")
                    .because("GitLab would send everything by SMTP")
                    .help("keep one of the two")
                    .depends("smtp"),
            );
        }
        let role = |arn: &str| {
            let parts: Vec<&str> = arn.splitn(6, ':').collect();
            matches!(parts.as_slice(), ["arn", _, "iam", "", account, name]
                if account.len() == 12 && name.starts_with("role/"))
        };
        if let Some(arn) = self.role_arn.as_deref().filter(|arn| !role(arn)) {
            problems.push(
                Problem::at(
                    Path::of("ses.role_arn"),
                    format!("`{arn}` is not the ARN of a role"),
                )
                .because("the nodes assume a role to send mail")
                .help(
                    "write it like `arn:aws:iam::ACCOUNT:role/NAME`; `aws iam get-role` prints it",
                ),
            );
        }
    }
}

impl Ldap {
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        if self.bind_dn.is_some() != self.password.is_some() {
            problems.push(
                Problem::at(
                    Path::of("ldap"),
                    "`[ldap]` has one of `bind_dn` and `password`",
                )
                .because("they belong together: an account and its password")
                .help("add the other, or take both away for an anonymous search")
                .depends("ldap.password")
                .depends("ldap.bind_dn"),
            );
        }
        if self.password == Some(SecretRef::Generate) {
            problems.push(not_generated(
                "ldap.password",
                "the directory's owner sets it",
            ));
        }
    }
}

impl Saml {
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        if !self.idp_sso_target_url.starts_with("https://") {
            problems.push(
                Problem::at(
                    Path::of("saml.idp_sso_target_url"),
                    "`saml.idp_sso_target_url` is not an https address",
                )
                .because("people would sign in in the open")
                .help("write the address your identity provider shows, with `https://`"),
            );
        }
        if self.idp_cert == SecretRef::Generate {
            problems.push(not_generated(
                "saml.idp_cert",
                "the identity provider makes it",
            ));
        }
    }
}

impl Registry {
    pub(super) fn check(&self, site: &Site, problems: &mut Vec<Problem>) {
        if self.enabled && site.front.registry_domain.is_none() {
            problems.push(
                Problem::at(Path::of("registry"), "the registry has no host name")
                    .because("behind a load balancer it needs one of its own")
                    .help(format!(
                        "add `registry_domain = \"registry.{}\"` to [front]",
                        site.site.domain
                    ))
                    .depends("front.registry_domain")
                    .depends("registry.enabled")
                    .depends("site.domain"),
            );
        }
    }
}

fn not_generated(path: &str, because: &str) -> Problem {
    Problem::at(Path::of(path), format!("`{path}` cannot be generated"))
        .because(because)
        .help("write `env:NAME`, `file:PATH` or `secret:ARN`")
}
