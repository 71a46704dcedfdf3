//! `[gitlab.rb]`: settings of `gitlab.rb` that gantry has no key for.
//!
//! They come last in the file, member by member, so they win over what stands before. What gantry itself sets falls
//! in two: what the site rests on is [held](held) and refused here with the reason; what is only a good default
//! [yields](YIELDS).

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Site;
use super::gitlab::GitlabVersion;
use super::place::Path;
use super::problem::Problem;
use crate::gitlab_rb::{self, Release, Standing};
use crate::text::nearest;

/// Section to key to value.
pub type RubySettings = BTreeMap<String, BTreeMap<String, RubyValue>>;

/// A value for Ruby: text, number, true or false, list, or table of such.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RubyValue(pub Value);

impl JsonSchema for RubyValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RubyValue".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A text, a number, true or false, a list, or a table of such." })
    }
}

const DATABASE: (&str, &str) = (
    "gantry connects GitLab to the database it builds",
    "size and version are in [database]",
);
const CACHE: (&str, &str) = (
    "gantry connects GitLab to the caches it builds",
    "size and version are in [cache]",
);
const OBJECTS: (&str, &str) = (
    "gantry keeps objects in the site's buckets, in one form for all types",
    "take it away; every type has its bucket already",
);
const GIT: (&str, &str) = (
    "all nodes must agree on where repositories are and which tokens open them",
    "nodes and volumes are in [nodes.gitaly] and [nodes.praefect]",
);
const ROLE: (&str, &str) = (
    "the role of each node decides which services it runs",
    "nodes are in [nodes]; a service on nodes where it does not belong has no place in this file",
);
const FRONT: (&str, &str) = (
    "the load balancer and the nodes must agree on ports, TLS and proxy protocol",
    "the front is in [front] and [tls]",
);
const START: (&str, &str) = (
    "only one node sets GitLab up, and it does so once",
    "the first set-up is in [gitlab]",
);
const BACKUP: (&str, &str) = (
    "backups go to the site's own buckets, where restores look for them",
    "backups are in [backup]",
);
const MAIL: (&str, &str) = (
    "outgoing mail has sections of its own",
    "write [smtp] or [ses]",
);
const LDAP: (&str, &str) = ("LDAP has a section of its own", "write [ldap]");
const REGISTRY: (&str, &str) = (
    "the nodes must agree on where the registry is and what it stores",
    "the registry is in [registry] and `front.registry_domain`",
);
const PAGES: (&str, &str) = (
    "several nodes serve Pages, and must agree on how",
    "Pages are in `front.pages_domain`",
);
const METRICS: (&str, &str) = (
    "Prometheus and the load balancer's checks look for it there",
    "take it away; the ports are those that the security groups let through",
);
const SECRETS: (&str, &str) = (
    "secrets must be the same on all nodes, so gantry hands them out",
    "take it away",
);
const DISK: (&str, &str) = (
    "services must wait for the data volume, or they write to the root volume",
    "take it away",
);

/// What gantry sets and the site rests on. A key with everything below it; `*` stands for any ending.
const HELD: &[((&str, &str), &[&str])] = &[
    (
        DATABASE,
        &[
            "gitlab_rails/db_host",
            "gitlab_rails/db_port",
            "gitlab_rails/db_socket",
            "gitlab_rails/db_database",
            "gitlab_rails/db_username",
            "gitlab_rails/db_password",
            "gitlab_rails/db_sslmode",
            "gitlab_rails/db_sslrootcert",
            "gitlab_rails/db_load_balancing",
            "gitlab_rails/db_extra_config_command",
            "postgresql/enable",
            "postgresql/version",
        ],
    ),
    (
        CACHE,
        &[
            "gitlab_rails/redis_host",
            "gitlab_rails/redis_port",
            "gitlab_rails/redis_socket",
            "gitlab_rails/redis_password",
            "gitlab_rails/redis_username",
            "gitlab_rails/redis_ssl",
            "gitlab_rails/redis_cache_instance",
            "gitlab_rails/redis_cache_ssl",
            "redis/enable",
        ],
    ),
    (
        OBJECTS,
        &[
            "gitlab_rails/object_store/enabled",
            "gitlab_rails/object_store/connection",
            "gitlab_rails/object_store/storage_options",
            "gitlab_rails/object_store/objects",
            "gitlab_rails/artifacts_object_store_*",
            "gitlab_rails/external_diffs_object_store_*",
            "gitlab_rails/lfs_object_store_*",
            "gitlab_rails/uploads_object_store_*",
            "gitlab_rails/packages_object_store_*",
            "gitlab_rails/dependency_proxy_object_store_*",
            "gitlab_rails/terraform_state_object_store_*",
            "gitlab_rails/ci_secure_files_object_store_*",
            "gitlab_rails/pages_object_store_*",
        ],
    ),
    (
        GIT,
        &[
            "gitlab_rails/repositories_storages",
            "gitlab_rails/gitaly_token",
            "gitlab_rails/internal_api_url",
            "gitaly/configuration/listen_addr",
            "gitaly/configuration/tls_listen_addr",
            "gitaly/configuration/auth",
            "gitaly/configuration/storage",
            "praefect/auto_migrate",
            "praefect/configuration/listen_addr",
            "praefect/configuration/tls_listen_addr",
            "praefect/configuration/auth",
            "praefect/configuration/database",
            "praefect/configuration/virtual_storage",
        ],
    ),
    (
        ROLE,
        &[
            "gitlab_rails/enable",
            "gitaly/enable",
            "praefect/enable",
            "puma/enable",
            "sidekiq/enable",
            "nginx/enable",
            "gitlab_workhorse/enable",
            "gitlab_kas/enable",
            "gitlab_exporter/enable",
            "prometheus/enable",
            "alertmanager/enable",
            "node_exporter/enable",
            "prometheus_monitoring/enable",
        ],
    ),
    (
        FRONT,
        &[
            "gitlab_rails/gitlab_shell_ssh_port",
            "gitlab_rails/nginx/listen_*",
            "gitlab_rails/nginx/proxy_protocol",
            "gitlab_rails/nginx/real_ip_*",
            "gitlab_rails/nginx/redirect_http_to_https*",
            "nginx/listen_*",
            "nginx/proxy_protocol",
            "nginx/real_ip_*",
            "nginx/redirect_http_to_https*",
            "nginx/custom_nginx_config",
            "letsencrypt/enable",
            "gitlab_sshd/enable",
            "gitlab_sshd/listen_address",
            "gitlab_sshd/proxy_protocol",
            "gitlab_sshd/proxy_policy",
            "gitlab_sshd/generate_host_keys",
            "gitlab_sshd/host_keys_*",
            "gitlab_rails/gitlab_kas_*",
            "gitlab_kas/private_api_*",
            "gitlab_kas/env/OWN_PRIVATE_API_*",
        ],
    ),
    (
        START,
        &[
            "gitlab_rails/auto_migrate",
            "gitlab_rails/initial_root_password",
            "gitlab_rails/initial_license_file",
        ],
    ),
    (
        BACKUP,
        &[
            "gitlab_rails/backup_upload_*",
            "gitlab_rails/backup_encryption*",
            "gitaly/configuration/backup",
        ],
    ),
    (
        MAIL,
        &[
            "gitlab_rails/smtp_enable",
            "gitlab_rails/smtp_address",
            "gitlab_rails/smtp_port",
            "gitlab_rails/smtp_user_name",
            "gitlab_rails/smtp_password",
            "gitlab_rails/smtp_domain",
            "gitlab_rails/smtp_authentication",
            "gitlab_rails/smtp_enable_starttls_auto",
            "gitlab_rails/smtp_tls",
            "gitlab_rails/amazon_ses_mailer_*",
            "gitlab_rails/gitlab_email_from",
            "gitlab_rails/gitlab_email_reply_to",
        ],
    ),
    (
        LDAP,
        &["gitlab_rails/ldap_enabled", "gitlab_rails/ldap_servers"],
    ),
    (
        REGISTRY,
        &[
            "gitlab_rails/registry_*",
            "registry/enable",
            "registry/storage",
            "registry/database",
            "registry/nginx/listen_*",
            "registry/nginx/proxy_protocol",
            "registry/nginx/real_ip_*",
            "registry_nginx/listen_*",
            "registry_nginx/proxy_protocol",
            "registry_nginx/real_ip_*",
        ],
    ),
    (
        PAGES,
        &[
            "gitlab_rails/pages_local_store_enabled",
            "gitlab_pages/enable",
            "gitlab_pages/access_control",
            "gitlab_pages/nginx/listen_*",
            "gitlab_pages/nginx/proxy_protocol",
            "gitlab_pages/nginx/real_ip_*",
            "pages_nginx/listen_*",
            "pages_nginx/proxy_protocol",
            "pages_nginx/real_ip_*",
        ],
    ),
    (
        METRICS,
        &[
            "gitlab_rails/monitoring_whitelist",
            "gitlab_rails/prometheus_address",
            "nginx/status",
            "gitaly/configuration/prometheus_listen_addr",
            "praefect/configuration/prometheus_listen_addr",
            "gitlab_exporter/listen_*",
            "gitlab_workhorse/prometheus_listen_addr",
            "node_exporter/listen_address",
            "prometheus/listen_address",
            "prometheus/scrape_configs",
            "prometheus/monitor_kubernetes",
            "puma/exporter_*",
            "registry/debug_addr",
            "sidekiq/listen_*",
            "sidekiq/health_checks_*",
        ],
    ),
    (
        SECRETS,
        &[
            "gitlab_shell/secret_token",
            "gitaly/gitlab_secret",
            "package/generate_default_secrets",
            "package/generate_secrets_json_file",
        ],
    ),
    (DISK, &["high_availability/mountpoint"]),
];

/// What gantry sets as a good default: the site file's value wins.
pub const YIELDS: &[&str] = &[
    "gitaly/configuration/pack_objects_cache/enabled",
    "gitlab_rails/object_store/proxy_download",
    "gitlab_rails/omniauth_allow_single_sign_on",
    "gitlab_rails/omniauth_auto_link_ldap_user",
    "gitlab_rails/omniauth_auto_link_saml_user",
    "gitlab_rails/omniauth_block_auto_created_users",
    "gitlab_rails/omniauth_enabled",
    "gitlab_rails/omniauth_providers",
    "letsencrypt/auto_renew",
    "letsencrypt/contact_emails",
    "puma/worker_processes",
    "sidekiq/queue_groups",
];

/// Why a setting, `section/key/member`, is not the site file's to change, and where to look instead.
pub fn held(path: &str) -> Option<(&'static str, &'static str)> {
    let within = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let covers = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => path.starts_with(beginning),
        // Something above it would take it away as well.
        None => within(path, pattern) || within(pattern, path),
    };
    let found = HELD
        .iter()
        .find(|(_, patterns)| patterns.iter().any(|pattern| covers(pattern)));
    let role = path
        .split('/')
        .next()
        .is_some_and(|section| section.ends_with("_role"));
    found.map(|(why, _)| *why).or(role.then_some(ROLE))
}

impl GitlabVersion {
    /// The release that settings depend on.
    pub fn release(self) -> Release {
        Release::new(self.major, self.minor)
    }
}

/// Every setting of the site file as section, path below it, and value, in the order they are written. Tables are
/// taken apart, so that a member does not take its neighbours away.
pub fn leaves(settings: &RubySettings) -> Vec<(&str, Vec<&str>, &Value)> {
    fn walk<'a>(path: &[&'a str], value: &'a Value, found: &mut Vec<(Vec<&'a str>, &'a Value)>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (member, value) in members {
                    walk(&[path, &[member]].concat(), value, found);
                }
            }
            _ => found.push((path.to_vec(), value)),
        }
    }
    let mut all = Vec::new();
    for (section, keys) in settings {
        let mut found = Vec::new();
        for (key, RubyValue(value)) in keys {
            walk(&[key], value, &mut found);
        }
        all.extend(
            found
                .into_iter()
                .map(|(path, value)| (section.as_str(), path, value)),
        );
    }
    all
}

pub(super) fn check(site: &Site, problems: &mut Vec<Problem>) {
    let top = Path::of("gitlab.rb");
    let version = site.gitlab.version;
    let release = version.release();
    for section in site.gitlab.rb.keys() {
        let standing = gitlab_rb::standing(&[section], release);
        let plain = gitlab_rb::is_plain(section);
        if plain && !matches!(standing, Standing::Removed { .. }) {
            problems.push(
                Problem::with_key(
                    top.key(section),
                    format!("`{section}` is not a section of gitlab.rb"),
                )
                .because("gantry writes it from the names and roles of the site")
                .help("names are in [site] and [front]"),
            );
        } else if let Some(problem) = wrong(&top.key(section), section, &standing, version) {
            problems.push(problem);
        }
    }
    for (section, members, _) in leaves(&site.gitlab.rb) {
        let sound = matches!(
            gitlab_rb::standing(&[section], release),
            Standing::Known | Standing::Deprecated { .. }
        );
        if !sound || gitlab_rb::is_plain(section) {
            continue;
        }
        let place = members
            .iter()
            .fold(top.key(section), |path, member| path.key(member));
        let whole = [&[section], members.as_slice()].concat();
        let ruby = ruby(section, &members);
        let standing = gitlab_rb::standing(&whole, release);
        if let Some(problem) = wrong(&place, &ruby, &standing, version) {
            problems.push(problem);
        } else if let Some((why, instead)) = held(&whole.join("/")) {
            problems.push(
                Problem::with_key(place, format!("`{ruby}` is gantry's to set"))
                    .because(why)
                    .help(instead),
            );
        } else if site.saml.is_some() && members.first() == Some(&"omniauth_providers") {
            problems.push(
                Problem::with_key(place, format!("`{ruby}` would take [saml] away"))
                    .because("a list replaces the list before it")
                    .help("keep one of the two: [saml], or all providers here")
                    .depends("saml"),
            );
        }
    }
}

/// As it stands in `gitlab.rb`.
fn ruby(section: &str, members: &[&str]) -> String {
    members.iter().fold(section.to_owned(), |ruby, member| {
        format!("{ruby}['{member}']")
    })
}

fn wrong(place: &Path, ruby: &str, standing: &Standing, version: GitlabVersion) -> Option<Problem> {
    let at = |what: String| Problem::with_key(place.clone(), what).depends("gitlab.version");
    let problem = match standing {
        Standing::Known | Standing::Deprecated { .. } => return None,
        Standing::Removed { since, instead } => {
            at(format!("GitLab {version} no longer knows `{ruby}`"))
                .because(format!("it was removed in {since}"))
                .help(if instead.is_empty() {
                    "take it away; nothing replaces it".to_owned()
                } else {
                    format!("write `{instead}`")
                })
        }
        Standing::NotYet { since } => at(format!("GitLab {version} does not know `{ruby}` yet"))
            .because(format!("it came with {since}"))
            .help(format!(
                "take {since} or newer in `gitlab.version`, or take it away"
            )),
        Standing::Unknown { near, section } => {
            let near = near.map(|near| format!("did you mean `{near}`?"));
            let newest = gitlab_rb::newest_release();
            let usual = if *section {
                let known = nearest(ruby, gitlab_rb::sections()).unwrap_or("gitlab_rails");
                format!("sections are those of gitlab.rb, for example `{known}`")
            } else {
                format!(
                    "look it up in the package's own gitlab.rb; gantry knows the settings up to {newest}"
                )
            };
            at(format!("gitlab.rb has no `{ruby}`"))
                .because(if *section {
                    format!("GitLab {version} would refuse to start with such a section")
                } else {
                    format!("GitLab {version} would pass over it without a word")
                })
                .help(near.unwrap_or(usual))
        }
    };
    Some(problem)
}
