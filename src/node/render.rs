//! The files of every node.

use std::collections::HashMap;
use std::sync::LazyLock;

use miette::Diagnostic;
use serde::Serialize;
use serde_json::Value;
use tera::Tera;
use thiserror::Error;

use super::fleet::{Fleet, Host};
use super::page::Page;
use super::ruby;
use crate::blueprint::{Role, valkey_token};
use crate::profile::Profile;
use crate::site::Site;

/// Where a node keeps its secrets, name to value.
pub const SECRETS_PATH: &str = "/etc/gantry/secrets.json";
/// The authorities that sign the certificates of RDS; the boot program fetches the file.
pub const RDS_BUNDLE_PATH: &str = "/etc/gitlab/ssl/rds-bundle.pem";
/// Nginx reads it as part of its own configuration.
pub const REDIRECT_PATH: &str = "/etc/gitlab/nginx/redirect.conf";
/// Written by `gitlab.rb` of the deploy node itself, because its content is a secret.
pub const LICENSE_PATH: &str = "/etc/gitlab/gantry.gitlab-license";
/// Keeps the package from configuring itself whenever it is upgraded: order matters then.
const SKIP_PATH: &str = "/etc/gitlab/skip-auto-reconfigure";

/// Beside the keys in a user's own folder, OpenSSH reads those in the file of the user's name: `%u`.
const ADMIN_KEYS_PATH: &str = "/etc/ssh/gantry_keys_%u";
/// Who logs in on every machine: the user that Ubuntu's images come with.
pub const LOGIN: &str = "ubuntu";
const ADMIN_KEYS_CONFIG: &str = "/etc/ssh/sshd_config.d/10-gantry.conf";

/// A file of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeFile {
    pub path: String,
    /// Octal, as `chmod` takes it: `0600`.
    pub mode: String,
    /// `root:root`
    pub owner: String,
    pub content: String,
}

/// All files of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeFiles {
    /// `sidekiq-1`; `rails` for every machine of the group.
    pub node: String,
    pub role: Role,
    /// Sorted by path.
    pub files: Vec<NodeFile>,
}

/// A secret that the files of a node read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SecretNeed {
    /// Its name in [`SECRETS_PATH`].
    pub name: String,
    /// Its entry in Secrets Manager: a name, or an ARN.
    pub entry: String,
    /// Whether the node cannot configure itself without it.
    pub required: bool,
}

/// Why the files cannot be written.
#[derive(Debug, Error, Diagnostic)]
pub enum RenderError {
    #[error("the template {template} cannot be filled for {node}")]
    #[diagnostic(help("this is a mistake in gantry; the message below says where"))]
    Template {
        template: &'static str,
        node: String,
        source: tera::Error,
    },

    #[error("{node} needs {what}, and the fleet has none")]
    #[diagnostic(help("the fleet and the sizes are not of the same site"))]
    Lacks { node: String, what: &'static str },
}

/// Every template of a node's files, by name.
pub const TEMPLATES: [(&str, &str); 20] = [
    ("backup", include_str!("../../templates/gitlab/backup.tera")),
    ("box", include_str!("../../templates/gitlab/box.rb.tera")),
    (
        "first_start",
        include_str!("../../templates/gitlab/first_start.tera"),
    ),
    (
        "follower",
        include_str!("../../templates/gitlab/follower.tera"),
    ),
    (
        "gitaly",
        include_str!("../../templates/gitlab/gitaly.rb.tera"),
    ),
    ("head", include_str!("../../templates/gitlab/head.tera")),
    ("kas", include_str!("../../templates/gitlab/kas.tera")),
    ("mail", include_str!("../../templates/gitlab/mail.tera")),
    (
        "monitoring",
        include_str!("../../templates/gitlab/monitoring.rb.tera"),
    ),
    (
        "objects",
        include_str!("../../templates/gitlab/objects.tera"),
    ),
    ("pages", include_str!("../../templates/gitlab/pages.tera")),
    (
        "praefect",
        include_str!("../../templates/gitlab/praefect.rb.tera"),
    ),
    (
        "rails",
        include_str!("../../templates/gitlab/rails.rb.tera"),
    ),
    (
        "rails_common",
        include_str!("../../templates/gitlab/rails_common.tera"),
    ),
    (
        "redirect",
        include_str!("../../templates/gitlab/redirect.conf.tera"),
    ),
    (
        "registry",
        include_str!("../../templates/gitlab/registry.tera"),
    ),
    (
        "sidekiq",
        include_str!("../../templates/gitlab/sidekiq.rb.tera"),
    ),
    (
        "sign_in",
        include_str!("../../templates/gitlab/sign_in.tera"),
    ),
    ("tail", include_str!("../../templates/gitlab/tail.tera")),
    ("web", include_str!("../../templates/gitlab/web.tera")),
];

static TERA: LazyLock<Tera> = LazyLock::new(|| {
    let mut tera = Tera::default();
    tera.autoescape_on(Vec::new());
    tera.register_filter("ruby", ruby::filter);
    tera.register_filter("setting", setting);
    tera.register_filter("comment", comment);
    tera.register_filter("nginx", nginx);
    tera.add_raw_templates(TEMPLATES)
        .expect("a test parses the embedded templates");
    tera
});

/// A setting of the site file: section, path, value.
fn setting(value: &Value, _: &HashMap<String, Value>) -> tera::Result<Value> {
    let wrong = || tera::Error::msg("a setting is a section, a path and a value");
    let [Value::String(section), Value::Array(path), value] =
        value.as_array().map(Vec::as_slice).unwrap_or_default()
    else {
        return Err(wrong());
    };
    let path: Vec<&str> = path.iter().filter_map(Value::as_str).collect();
    Ok(ruby::assignment(section, &path, value).into())
}

/// A text on one line after a `#`.
fn comment(value: &Value, _: &HashMap<String, Value>) -> tera::Result<Value> {
    let text = value
        .as_str()
        .ok_or_else(|| tera::Error::msg("a comment is a text"))?;
    Ok(text.replace(char::is_control, " ").into())
}

/// A word of nginx: a host name or a port. Nothing else is let through.
fn nginx(value: &Value, _: &HashMap<String, Value>) -> tera::Result<Value> {
    let word = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-*".contains(c);
    if word.is_empty() || !word.chars().all(plain) {
        return Err(tera::Error::msg(format!("`{word}` is no word for nginx")));
    }
    Ok(word.into())
}

/// The files of every node with GitLab on it, in the order of the fleet. The bastion has only [`admin_keys`].
///
/// `sizes` are the profile with the site's overrides, those the fleet was made with.
pub fn render(fleet: &Fleet, site: &Site, sizes: &Profile) -> Result<Vec<NodeFiles>, RenderError> {
    fleet
        .hosts
        .iter()
        .filter(|host| host.role != Role::Bastion)
        .map(|host| files(fleet, site, sizes, host))
        .collect()
}

fn files(
    fleet: &Fleet,
    site: &Site,
    sizes: &Profile,
    host: &Host,
) -> Result<NodeFiles, RenderError> {
    let page = Page::of(fleet, site, sizes, host)?;
    let fill = |template: &'static str| {
        tera::Context::from_serialize(&page)
            .and_then(|context| TERA.render(template, &context))
            .map(|text| tidy(&text))
            .map_err(|source| RenderError::Template {
                template,
                node: host.name.clone(),
                source,
            })
    };
    let file = |path: &str, mode: &str, content: String| NodeFile {
        path: path.to_owned(),
        mode: mode.to_owned(),
        owner: "root:root".to_owned(),
        content,
    };
    let mut files = vec![file(
        "/etc/gitlab/gitlab.rb",
        "0600",
        fill(host.role.as_str())?,
    )];
    let serves_web = matches!(host.role, Role::Rails | Role::Box) && fleet.front.balancer;
    if serves_web {
        files.push(file(REDIRECT_PATH, "0644", fill("redirect")?));
    }
    // Where one upgrade must not change what the others still use.
    if matches!(host.role, Role::Rails | Role::Sidekiq | Role::Praefect) {
        files.push(file(SKIP_PATH, "0644", String::new()));
    }
    files.extend(admin_keys(site));
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(NodeFiles {
        node: host.name.clone(),
        role: host.role,
        files,
    })
}

/// What lets the people of `[network] admin_keys` log in; nothing without keys. Beside `~/.ssh/authorized_keys`, where
/// `gantry schedule install` lets the appliance host in, so that neither takes the other's keys away.
pub fn admin_keys(site: &Site) -> Vec<NodeFile> {
    let keys = &site.network.admin_keys;
    if keys.is_empty() {
        return Vec::new();
    }
    let file = |path: String, content: String| NodeFile {
        path,
        mode: "0644".to_owned(),
        owner: "root:root".to_owned(),
        content,
    };
    let note = "# [network] admin_keys of the site file; `gantry reconfigure` writes it again.\n";
    let lines: String = keys.iter().map(|key| format!("{key}\n")).collect();
    vec![
        file(
            ADMIN_KEYS_PATH.replace("%u", LOGIN),
            format!("{note}{lines}"),
        ),
        file(
            ADMIN_KEYS_CONFIG.to_owned(),
            format!("{note}AuthorizedKeysFile .ssh/authorized_keys {ADMIN_KEYS_PATH}\n"),
        ),
    ]
}

/// Without spaces at the ends of lines, and never two empty lines.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut empty = true;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() {
            if !empty {
                tidy.push('\n');
            }
            empty = true;
        } else {
            tidy.push_str(line);
            tidy.push('\n');
            empty = false;
        }
    }
    let end = tidy.trim_end().len();
    tidy.truncate(end);
    tidy.push('\n');
    tidy
}

/// What a node's `gitlab.rb` reads, sorted by name. `gitlab-secrets.json` and the host keys are not among them: they
/// are files of their own, which the boot program writes.
pub fn secrets_of(fleet: &Fleet, site: &Site, host: &Host) -> Vec<SecretNeed> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |wanted: &[&str]| names.extend(wanted.iter().map(|name| (*name).to_owned()));
    match host.role {
        Role::Rails | Role::Sidekiq => {
            add(&["database-password", "gitlab-shell-secret"]);
            add(if fleet.praefect.is_some() {
                &["praefect-external-token"]
            } else {
                &["gitaly-token"]
            });
            if host.role == Role::Rails && site.registry_database() {
                add(&["registry-database-password"]);
            }
            names.extend(fleet.caches.keys().map(|cache| valkey_token(*cache)));
        }
        Role::Gitaly => {
            add(&["gitlab-shell-secret"]);
            add(if fleet.praefect.is_some() {
                &["praefect-internal-token"]
            } else {
                &["gitaly-token"]
            });
        }
        Role::Praefect => add(&[
            "praefect-database-password",
            "praefect-external-token",
            "praefect-internal-token",
        ]),
        Role::Box | Role::Monitoring | Role::Bastion => {}
    }
    // The site file's own: a secret that is not given has no entry, and is read by no file.
    let mut if_given = |wanted: &[&str]| {
        let given = wanted
            .iter()
            .filter(|name| fleet.secrets.contains_key(**name));
        names.extend(given.map(|name| (*name).to_owned()));
    };
    if matches!(host.role, Role::Rails | Role::Sidekiq | Role::Box) {
        if_given(&["smtp-password", "ldap-password", "saml-idp-cert"]);
    }
    if host.deploy {
        if_given(&["initial-root-password", "license", "activation-code"]);
    }
    names.sort();
    names
        .into_iter()
        .filter_map(|name| {
            let entry = fleet.secrets.get(&name)?.clone();
            Some(SecretNeed {
                name,
                entry,
                required: true,
            })
        })
        .collect()
}
