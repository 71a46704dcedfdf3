//! What only nodes may know: an entry of Secrets Manager each. Values are made once and never pass through the
//! blueprint; entries without a value are filled in later, by a node or from the site file's references.

use std::collections::BTreeMap;

use super::Draft;
use crate::kinds::kms::Key;
use crate::kinds::secretsmanager::{Secret, SecretShape};
use crate::names::Names;
use crate::profile::{CacheName, Profile};
use crate::resource::Ref;
use crate::site::{SecretRef, Site};

/// Where a secret is: an entry of ours, or one that the site file names by ARN.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    Ours(Ref<Secret>),
    Theirs(String),
}

pub(super) struct Secrets(BTreeMap<String, Kept>);

impl Secrets {
    pub fn get(&self, name: &str) -> Option<&Kept> {
        self.0.get(name)
    }

    /// The name of every secret the site has.
    /// The ARNs of those that the site file names.
    pub fn theirs(&self) -> impl Iterator<Item = String> {
        self.0.values().filter_map(|kept| match kept {
            Kept::Ours(_) => None,
            Kept::Theirs(arn) => Some(arn.clone()),
        })
    }

    pub fn ours(&self, name: &str) -> Option<Ref<Secret>> {
        match self.0.get(name)? {
            Kept::Ours(secret) => Some(secret.clone()),
            Kept::Theirs(_) => None,
        }
    }
}

/// The secret of a cache.
pub fn valkey_token(cache: CacheName) -> String {
    format!("valkey-{}-token", cache.as_str())
}

/// The secret that signs recovery points. No node of GitLab reads it: who takes one over cannot forge a point.
pub const SIGNING_KEY: &str = "backup-signing-key";

/// Long enough that nobody guesses, short enough for RDS (128) and ElastiCache (128).
const LENGTH: u32 = 48;

/// A secret that a site has.
struct Wanted<'a> {
    name: String,
    description: &'static str,
    source: Source<'a>,
}

/// Where its value comes from.
enum Source<'a> {
    Ours(SecretShape),
    Referenced(&'a SecretRef),
}

/// Every secret of a site.
fn wanted<'a>(site: &'a Site, sizes: &Profile) -> Vec<Wanted<'a>> {
    let mut list = Vec::new();
    let token = SecretShape::Token { length: LENGTH };
    let password = SecretShape::Password { length: LENGTH };
    let ours = |name: &str, description, shape| Wanted {
        name: name.to_owned(),
        description,
        source: Source::Ours(shape),
    };
    list.push(ours(
        "gitlab-secrets",
        "gitlab-secrets.json, born on the deploy node",
        SecretShape::Empty,
    ));
    list.push(ours(
        "ssh-host-keys",
        "The host keys that Git over SSH shows",
        SecretShape::Empty,
    ));
    list.push(ours(
        SIGNING_KEY,
        "The seed of the Ed25519 key that signs the manifests of recovery points",
        SecretShape::Hex { bytes: 32 },
    ));
    let gitlab = &site.gitlab;
    let referenced = [
        (
            "initial-root-password",
            "The first password of root",
            Some(&gitlab.initial_root_password),
        ),
        ("license", "The license file", gitlab.license.as_ref()),
        (
            "activation-code",
            "The code that activates the subscription",
            gitlab.activation_code.as_ref(),
        ),
        (
            "smtp-password",
            "The mail server's password",
            site.smtp.as_ref().and_then(|smtp| smtp.password.as_ref()),
        ),
        (
            "ldap-password",
            "The directory's password",
            site.ldap.as_ref().and_then(|ldap| ldap.password.as_ref()),
        ),
        (
            "saml-idp-cert",
            "The identity provider's certificate",
            site.saml.as_ref().map(|saml| &saml.idp_cert),
        ),
    ];
    for (name, description, source) in referenced {
        list.extend(source.map(|source| Wanted {
            name: name.to_owned(),
            description,
            source: Source::Referenced(source),
        }));
    }
    if sizes.single_box.is_none() {
        list.push(ours(
            "gitlab-shell-secret",
            "What Gitaly and GitLab Shell show to the internal API",
            SecretShape::Hex { bytes: 32 },
        ));
    }
    if sizes.database.is_some() {
        list.push(ours(
            "database-password",
            "The database user gitlab",
            password,
        ));
        if site.registry_database() {
            list.push(ours(
                "registry-database-password",
                "The database user registry",
                password,
            ));
        }
    }
    for cache in &sizes.caches {
        let name = valkey_token(cache.name);
        // Letters and digits: of `-` and `_`, ElastiCache takes the first only.
        list.push(ours(&name, "What clients show to Valkey", password));
    }
    if sizes.praefect.is_some() {
        list.push(ours(
            "praefect-database-password",
            "The database user praefect",
            password,
        ));
        list.push(ours(
            "praefect-external-token",
            "What Rails and Sidekiq show to Praefect",
            token,
        ));
        list.push(ours(
            "praefect-internal-token",
            "What Praefect and Gitaly show to each other",
            token,
        ));
    } else if sizes.gitaly.is_some() {
        list.push(ours(
            "gitaly-token",
            "What Rails and Sidekiq show to Gitaly",
            token,
        ));
    }
    list
}

/// Every secret of a site, and its entry in Secrets Manager: a name of ours, or the ARN that the site file names.
pub fn secret_entries(site: &Site, sizes: &Profile, names: &Names) -> BTreeMap<String, String> {
    wanted(site, sizes)
        .into_iter()
        .map(|secret| {
            let entry = match secret.source {
                Source::Referenced(SecretRef::Arn(arn)) => arn.clone(),
                _ => names.secret(&secret.name),
            };
            (secret.name, entry)
        })
        .collect()
}

/// The secrets of a site that its file takes from elsewhere: the name of each, and where from.
pub fn secret_references<'a>(site: &'a Site, sizes: &Profile) -> Vec<(String, &'a SecretRef)> {
    wanted(site, sizes)
        .into_iter()
        .filter_map(|secret| match secret.source {
            Source::Referenced(source) => Some((secret.name, source)),
            Source::Ours(_) => None,
        })
        .collect()
}

pub(super) fn add(draft: &mut Draft<'_>, key: &Ref<Key>) -> Secrets {
    let secrets = wanted(draft.site, draft.sizes);
    let mut list = List {
        draft,
        key,
        kept: BTreeMap::new(),
    };
    for secret in secrets {
        match secret.source {
            Source::Ours(shape) => list.ours(&secret.name, secret.description, shape),
            Source::Referenced(source) => {
                list.referenced(&secret.name, secret.description, source);
            }
        }
    }
    Secrets(list.kept)
}

struct List<'d, 's> {
    draft: &'d mut Draft<'s>,
    key: &'d Ref<Key>,
    kept: BTreeMap<String, Kept>,
}

impl List<'_, '_> {
    fn ours(&mut self, name: &str, description: &str, shape: SecretShape) {
        let spec = Secret {
            name: self.draft.names.secret(name),
            description: description.to_owned(),
            shape,
            key: self.key.clone(),
        };
        let secret = self.draft.world.add(name, spec);
        self.kept.insert(name.to_owned(), Kept::Ours(secret));
    }

    fn referenced(&mut self, name: &str, description: &str, source: &SecretRef) {
        match source {
            SecretRef::Arn(arn) => {
                self.kept.insert(name.to_owned(), Kept::Theirs(arn.clone()));
            }
            SecretRef::Generate => {
                self.ours(name, description, SecretShape::Password { length: LENGTH });
            }
            SecretRef::Env(_) | SecretRef::File(_) => {
                self.ours(name, description, SecretShape::Empty);
            }
        }
    }
}
