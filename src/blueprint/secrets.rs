//! What only nodes may know: an entry of Secrets Manager each. Values are made once and never pass through the
//! blueprint; entries without a value are filled in later, by a node or from the site file's references.

use std::collections::BTreeMap;

use super::Draft;
use crate::kinds::kms::Key;
use crate::kinds::secretsmanager::{Secret, SecretShape};
use crate::profile::CacheName;
use crate::resource::Ref;
use crate::site::SecretRef;

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

    pub fn ours(&self, name: &str) -> Option<Ref<Secret>> {
        match self.0.get(name)? {
            Kept::Ours(secret) => Some(secret.clone()),
            Kept::Theirs(_) => None,
        }
    }
}

/// The secret of a cache.
pub(super) fn valkey_token(cache: CacheName) -> String {
    format!("valkey-{}-token", cache.as_str())
}

/// Long enough that nobody guesses, short enough for RDS (128) and ElastiCache (128).
const LENGTH: u32 = 48;

pub(super) fn add(draft: &mut Draft<'_>, key: &Ref<Key>) -> Secrets {
    let (site, sizes) = (draft.site, draft.sizes);
    let mut list = List {
        draft,
        key,
        kept: BTreeMap::new(),
    };
    let token = SecretShape::Token { length: LENGTH };
    let password = SecretShape::Password { length: LENGTH };

    list.ours(
        "gitlab-secrets",
        "gitlab-secrets.json, born on the deploy node",
        SecretShape::Empty,
    );
    list.ours(
        "ssh-host-keys",
        "The host keys that Git over SSH shows",
        SecretShape::Empty,
    );
    list.referenced(
        "initial-root-password",
        "The first password of root",
        Some(&site.gitlab.initial_root_password),
    );
    list.referenced("license", "The license file", site.gitlab.license.as_ref());
    list.referenced(
        "smtp-password",
        "The mail server's password",
        site.smtp.as_ref().and_then(|smtp| smtp.password.as_ref()),
    );
    list.referenced(
        "ldap-password",
        "The directory's password",
        site.ldap.as_ref().and_then(|ldap| ldap.password.as_ref()),
    );
    list.referenced(
        "saml-idp-cert",
        "The identity provider's certificate",
        site.saml.as_ref().map(|saml| &saml.idp_cert),
    );
    if sizes.single_box.is_none() {
        list.ours(
            "gitlab-shell-secret",
            "What Gitaly and GitLab Shell show to the internal API",
            SecretShape::Hex { bytes: 32 },
        );
    }
    if sizes.database.is_some() {
        list.ours("database-password", "The database user gitlab", password);
    }
    for cache in &sizes.caches {
        let name = valkey_token(cache.name);
        list.ours(&name, "What clients show to Valkey", token);
    }
    if sizes.praefect.is_some() {
        list.ours(
            "praefect-database-password",
            "The database user praefect",
            password,
        );
        list.ours(
            "praefect-external-token",
            "What Rails and Sidekiq show to Praefect",
            token,
        );
        list.ours(
            "praefect-internal-token",
            "What Praefect and Gitaly show to each other",
            token,
        );
    } else if sizes.gitaly.is_some() {
        list.ours(
            "gitaly-token",
            "What Rails and Sidekiq show to Gitaly",
            token,
        );
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

    fn referenced(&mut self, name: &str, description: &str, source: Option<&SecretRef>) {
        match source {
            None => {}
            Some(SecretRef::Arn(arn)) => {
                self.kept.insert(name.to_owned(), Kept::Theirs(arn.clone()));
            }
            Some(SecretRef::Generate) => {
                self.ours(name, description, SecretShape::Password { length: LENGTH });
            }
            Some(SecretRef::Env(_) | SecretRef::File(_)) => {
                self.ours(name, description, SecretShape::Empty);
            }
        }
    }
}
