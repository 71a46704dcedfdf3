//! What the templates see of a site, for one node.

use serde::Serialize;
use serde_json::{Value, json};

use super::capacity::Capacity;
use super::fleet::{Endpoint, Fleet, Host};
use super::render::{LICENSE_PATH, RDS_BUNDLE_PATH, REDIRECT_PATH, RenderError, secrets_of};
use super::scrape;
use crate::blueprint::{GIT_SSH_PORT, KAS_PORT, PRAEFECT_PORT, REDIRECT_PORT, Role, WEB_PORT};
use crate::gitlab_rb::Release;
use crate::profile::{CacheName, Profile};
use crate::site::{
    Email, Ldap, LdapEncryption, Saml, Ses, Site, Smtp, SmtpAuthentication, SmtpSecurity,
};

pub(super) const GITALY_PORT: u16 = 8075;
pub(super) const GITALY_METRICS_PORT: u16 = 9236;
pub(super) const PRAEFECT_METRICS_PORT: u16 = 9652;
pub(super) const PROMETHEUS_PORT: u16 = 9090;

/// Object types, and the release that brought them where that is not the oldest.
const YOUNG_TYPES: [(&str, Release); 1] = [("agent_plan_content", Release::new(19, 1))];

/// Nginx's settings of each site moved to the site's section.
const NGINX_BY_SITE: Release = Release::new(19, 2);

#[expect(
    clippy::struct_excessive_bools,
    reason = "a template asks whether, many times"
)]
#[derive(Serialize)]
pub(super) struct Page<'a> {
    title: String,
    host: &'a Host,
    url: String,
    domain: &'a str,
    vpc: String,
    /// Ranges whose proxy headers are believed.
    trusted: [String; 1],
    /// Ranges that may ask how a node is.
    health_from: [String; 3],
    mounts: Vec<&'a str>,
    /// Whether the file reads secrets at all.
    secrets: bool,

    nginx_by_site: bool,
    balancer: bool,
    proxy_protocol: bool,
    web_port: u16,
    port: u16,
    /// Names that a redirect may lead to.
    names: Vec<String>,
    include_redirect: String,
    listen: Value,
    kas_port: String,

    database: Option<&'a Endpoint>,
    /// The primary and its replicas, where there are any.
    database_hosts: Option<Value>,
    rds_bundle: &'static str,
    valkey: Option<&'a Endpoint>,
    /// The end of the address of the cache that may forget.
    valkey_cache: Option<String>,

    cluster: bool,
    praefect_address: Option<String>,
    praefect_database: Option<&'a Endpoint>,
    first_praefect: bool,
    gitaly_nodes: Vec<GitalyNode>,
    copies: usize,
    /// The storage of a Gitaly node.
    storage: Value,
    gitaly_backups: String,

    s3: Value,
    encrypted: Value,
    objects: Vec<&'a (String, String)>,
    backups: &'a str,

    registry: Option<Value>,
    pages_url: Option<String>,
    /// Where Prometheus answers.
    monitoring: Option<String>,
    scrape_configs: Value,

    smtp: Option<&'a Smtp>,
    smtp_domain: Option<&'a str>,
    smtp_authentication: Value,
    smtp_starttls: bool,
    smtp_tls: bool,
    ses: Option<&'a Ses>,
    ses_region: &'a str,
    mail_from: Option<&'a str>,
    mail_reply_to: Option<&'a str>,
    ldap: Option<Value>,
    saml: Option<&'a Saml>,
    saml_issuer: Option<String>,
    saml_callback: String,

    email: Option<&'a str>,
    emails: Vec<&'a str>,
    activation_code: bool,
    license: bool,
    license_path: &'static str,

    puma_workers: Option<u32>,
    sidekiq_processes: Option<Vec<&'static str>>,
    /// Section, path, value: the site file's own settings that matter on this node.
    extra: Vec<Value>,
}

/// A Gitaly node, for those that call it.
#[derive(Serialize)]
struct GitalyNode {
    storage: String,
    address: String,
}

impl<'a> Page<'a> {
    pub fn of(
        fleet: &'a Fleet,
        site: &'a Site,
        sizes: &Profile,
        host: &'a Host,
    ) -> Result<Self, RenderError> {
        let lacks = |what| RenderError::Lacks {
            node: host.name.clone(),
            what,
        };
        let release = site.gitlab.version.release();
        let cluster = fleet.praefect.is_some();
        let runs_rails = matches!(host.role, Role::Rails | Role::Sidekiq);
        let valkey = fleet
            .caches
            .get(&CacheName::Persistent)
            .or_else(|| fleet.caches.get(&CacheName::Main));
        if runs_rails && fleet.database.is_none() {
            return Err(lacks("a database"));
        }
        if runs_rails && valkey.is_none() {
            return Err(lacks("a cache"));
        }
        if host.role == Role::Praefect && fleet.praefect_database.is_none() {
            return Err(lacks("a database of Praefect's"));
        }
        if sizes.praefect.is_some() != cluster {
            return Err(lacks("a load balancer before Praefect"));
        }
        let domain = fleet.front.domain.as_str();
        let url = format!("https://{domain}");
        let vpc = fleet.vpc.to_string();
        let capacity = Capacity::of(&host.instance_type);
        let needs = secrets_of(fleet, site, host);
        let reads = |name: &str| needs.iter().any(|need| need.name == name);
        let gitaly_nodes = fleet
            .of_role(Role::Gitaly)
            .map(|node| {
                Some(GitalyNode {
                    storage: storage_name(fleet, node),
                    address: format!("tcp://{}:{GITALY_PORT}", node.address.as_ref()?),
                })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| lacks("addresses of Gitaly nodes"))?;
        let kms = json!({
            "server_side_encryption": "aws:kms",
            "server_side_encryption_kms_key_id": fleet.key,
        });
        let hosts = |endpoint: &Endpoint| endpoint.host.to_string();
        let monitoring = fleet.of_role(Role::Monitoring).next();
        Ok(Self {
            title: format!("{} of {}: {domain}", host.name, fleet.site),
            host,
            trusted: [vpc.clone()],
            health_from: ["127.0.0.0/8".to_owned(), "::1/128".to_owned(), vpc.clone()],
            vpc,
            mounts: host.volume.iter().map(|volume| volume.mount).collect(),
            secrets: !needs.is_empty(),
            nginx_by_site: release >= NGINX_BY_SITE,
            balancer: fleet.front.balancer,
            proxy_protocol: fleet.front.balancer && fleet.front.proxy_protocol,
            web_port: WEB_PORT,
            port: REDIRECT_PORT,
            names: names(fleet),
            include_redirect: format!("include {REDIRECT_PATH};"),
            listen: json!({
                "gitaly": everywhere(GITALY_PORT),
                "gitaly_metrics": everywhere(GITALY_METRICS_PORT),
                "praefect": everywhere(PRAEFECT_PORT),
                "praefect_metrics": everywhere(PRAEFECT_METRICS_PORT),
                "prometheus": everywhere(PROMETHEUS_PORT),
                "ssh": everywhere(GIT_SSH_PORT),
                "kas": everywhere(KAS_PORT),
            }),
            kas_port: KAS_PORT.to_string(),
            database: fleet.database.as_ref(),
            database_hosts: fleet
                .database
                .as_ref()
                .filter(|_| !fleet.replicas.is_empty())
                .map(|primary| {
                    let all = std::iter::once(primary).chain(&fleet.replicas).map(hosts);
                    json!({ "hosts": all.collect::<Vec<_>>() })
                }),
            rds_bundle: RDS_BUNDLE_PATH,
            valkey,
            valkey_cache: fleet
                .caches
                .get(&CacheName::Cache)
                .map(|cache| format!("@{}:{}", cache.host, cache.port)),
            cluster,
            praefect_address: fleet
                .praefect
                .as_ref()
                .map(|praefect| format!("tcp://{}:{}", praefect.host, praefect.port)),
            praefect_database: fleet.praefect_database.as_ref(),
            first_praefect: host.name == "praefect-1",
            copies: gitaly_nodes.len(),
            gitaly_nodes,
            storage: json!([{
                "name": storage_name(fleet, host),
                "path": format!("{}/repositories", host.volume.as_ref().map_or("", |v| v.mount)),
            }]),
            gitaly_backups: format!(
                "s3://{}?region={}",
                fleet.buckets.gitaly_backups, fleet.region
            ),
            s3: json!({
                "provider": "AWS",
                "region": fleet.region,
                "use_iam_profile": true,
            }),
            objects: fleet
                .buckets
                .objects
                .iter()
                .filter(|(kind, _)| {
                    YOUNG_TYPES
                        .iter()
                        .all(|(young, since)| kind != young || release >= *since)
                })
                .collect(),
            backups: &fleet.buckets.backups,
            registry: fleet.front.registry.as_ref().map(|name| {
                json!({
                    "url": format!("https://{name}"),
                    "database": site.registry_database(),
                    "storage": { "s3_v2": {
                        "bucket": fleet.buckets.registry,
                        "region": fleet.region,
                        "encrypt": true,
                        "keyid": fleet.key,
                    } },
                })
            }),
            encrypted: kms,
            // Let's Encrypt proves no name with a star, as the box asks it.
            pages_url: fleet.front.pages.as_ref().map(|name| {
                let scheme = if fleet.front.balancer {
                    "https"
                } else {
                    "http"
                };
                format!("{scheme}://{name}")
            }),
            monitoring: monitoring
                .and_then(|node| Some(format!("{}:{PROMETHEUS_PORT}", node.address.as_ref()?))),
            scrape_configs: if host.role == Role::Monitoring {
                scrape::configs(fleet, cluster)
            } else {
                Value::Null
            },
            smtp: site.smtp.as_ref(),
            smtp_domain: site
                .smtp
                .as_ref()
                .map(|smtp| smtp.domain.as_deref().unwrap_or(domain)),
            smtp_authentication: match site.smtp.as_ref().map(|smtp| smtp.authentication) {
                Some(SmtpAuthentication::Login) => json!("login"),
                Some(SmtpAuthentication::Plain) => json!("plain"),
                Some(SmtpAuthentication::CramMd5) => json!("cram_md5"),
                Some(SmtpAuthentication::None) | None => json!(false),
            },
            smtp_starttls: secured(site, SmtpSecurity::Starttls),
            smtp_tls: secured(site, SmtpSecurity::Tls),
            ses: site.ses.as_ref(),
            ses_region: site
                .ses
                .as_ref()
                .and_then(|ses| ses.region.as_ref())
                .unwrap_or(&fleet.region)
                .as_str(),
            mail_from: match (&site.smtp, &site.ses) {
                (Some(smtp), _) => Some(smtp.from.as_str()),
                (None, Some(ses)) => Some(ses.from.as_str()),
                (None, None) => None,
            },
            mail_reply_to: match (&site.smtp, &site.ses) {
                (Some(smtp), _) => smtp.reply_to.as_ref(),
                (None, Some(ses)) => ses.reply_to.as_ref(),
                (None, None) => None,
            }
            .map(Email::as_str),
            ldap: site.ldap.as_ref().map(ldap),
            saml: site.saml.as_ref(),
            saml_issuer: site
                .saml
                .as_ref()
                .map(|saml| saml.issuer.clone().unwrap_or_else(|| url.clone())),
            saml_callback: format!("{url}/users/auth/saml/callback"),
            email: site.gitlab.initial_root_email.as_ref().map(Email::as_str),
            emails: site
                .gitlab
                .initial_root_email
                .iter()
                .map(Email::as_str)
                .collect(),
            activation_code: reads("activation-code"),
            license: reads("license"),
            license_path: LICENSE_PATH,
            puma_workers: capacity
                .filter(|_| host.role == Role::Rails)
                .map(Capacity::puma_workers),
            sidekiq_processes: capacity
                .filter(|_| host.role == Role::Sidekiq)
                .map(|capacity| vec!["*"; capacity.sidekiq_processes() as usize]),
            extra: extra(site, host.role),
            domain,
            url,
        })
    }
}

fn everywhere(port: u16) -> String {
    format!("0.0.0.0:{port}")
}

/// In a cluster each copy has a name of its own; alone, the first must be `default`, which GitLab insists on.
fn storage_name(fleet: &Fleet, node: &Host) -> String {
    let alone = fleet.praefect.is_none();
    if alone && node.name == "gitaly-1" {
        "default".to_owned()
    } else {
        node.name.clone()
    }
}

/// The names under which visitors come.
fn names(fleet: &Fleet) -> Vec<String> {
    let front = &fleet.front;
    let mut names = vec![front.domain.to_string()];
    names.extend(front.registry.as_ref().map(ToString::to_string));
    names.extend(front.pages.as_ref().map(|domain| format!("*.{domain}")));
    names
}

fn secured(site: &Site, how: SmtpSecurity) -> bool {
    site.smtp.as_ref().is_some_and(|smtp| smtp.security == how)
}

/// What the file says of the directory; of the password, only that there is one.
fn ldap(ldap: &Ldap) -> Value {
    json!({
        "label": ldap.label,
        "host": ldap.host,
        "port": ldap.port,
        "uid": ldap.uid,
        "encryption": match ldap.encryption {
            LdapEncryption::SimpleTls => "simple_tls",
            LdapEncryption::StartTls => "start_tls",
            LdapEncryption::Plain => "plain",
        },
        "bind_dn": ldap.bind_dn,
        "password": ldap.password.is_some(),
        "base": ldap.base,
        "user_filter": ldap.user_filter,
        "active_directory": ldap.active_directory,
    })
}

/// Settings of the site file go to the nodes whose software reads them.
fn extra(site: &Site, role: Role) -> Vec<Value> {
    let here = |section: &str| {
        let everywhere = [
            "logging",
            "logrotate",
            "manage_accounts",
            "manage_storage_directories",
            "node_exporter",
            "package",
            "remote_syslog",
            "runtime_dir",
            "user",
            "web_server",
        ];
        match section {
            _ if role == Role::Box || everywhere.contains(&section) => true,
            "gitaly" => role == Role::Gitaly,
            "praefect" => role == Role::Praefect,
            "prometheus" | "alertmanager" => role == Role::Monitoring,
            _ => matches!(role, Role::Rails | Role::Sidekiq),
        }
    };
    crate::site::leaves(&site.gitlab.rb)
        .into_iter()
        .filter(|(section, _, _)| here(section))
        .map(|(section, path, value)| json!([section, path, value]))
        .collect()
}
