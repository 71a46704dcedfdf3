//! The files of every node, read by a real Ruby and a real nginx.

mod agree;
mod nginx;
mod ruby;

use std::collections::{BTreeMap, BTreeSet};

use gantry::blueprint::{self, Role};
use gantry::facts::Facts;
use gantry::gitlab_rb::{Standing, standing};
use gantry::kinds::iam;
use gantry::names::Names;
use gantry::node::{Fleet, NodeFiles, TEMPLATES, render, secrets_of};
use gantry::profile::{self, Profile, ProfileName};
use gantry::resource::Outputs;
use gantry::site::{self, Site};
use serde_json::{Map, Value, json};

use self::ruby::{Evaluated, evaluate};

/// One release before each change of syntax, one after, and the newest.
const VERSIONS: [&str; 4] = ["18.11.9", "19.0.4", "19.2.6", "19.5.3"];

/// A site as tests want it: its file's text after `[site]`.
fn site(profile: ProfileName, more: &str) -> Site {
    let text = format!(
        "[site]\nname = \"acme\"\nprofile = \"{profile}\"\ndomain = \"gitlab.acme.example\"\nregion = \"eu-west-1\"\naccount = \"123456789012\"\n{more}"
    );
    match site::parse("gantry.toml", &text) {
        Ok(loaded) => loaded.site,
        Err(problems) => panic!("{problems:?}\n{text}"),
    }
}

/// A site and its nodes.
struct Drawn {
    site: Site,
    sizes: Profile,
    fleet: Fleet,
    nodes: Vec<NodeFiles>,
}

fn names(site: &Site) -> Names {
    let account = site.site.account.clone().unwrap();
    Names::new(site.site.name.clone(), account, site.site.region.clone())
}

fn drawn(site: Site) -> Drawn {
    drawn_with(site, &Outputs::default())
}

fn drawn_with(site: Site, outputs: &Outputs) -> Drawn {
    let sizes = profile::get(site.site.profile)
        .with_overrides(&site)
        .unwrap();
    let fleet = Fleet::of(&site, &sizes, &names(&site), outputs);
    let nodes = render(&fleet, &site, &sizes).unwrap();
    Drawn {
        site,
        sizes,
        fleet,
        nodes,
    }
}

impl Drawn {
    fn file(&self, node: &str, path: &str) -> &str {
        let files = &self.nodes.iter().find(|n| n.node == node).unwrap().files;
        &files.iter().find(|f| f.path == path).unwrap().content
    }

    fn gitlab_rb(&self, node: &str) -> &str {
        self.file(node, "/etc/gitlab/gitlab.rb")
    }

    /// What Ruby makes of every node's file.
    fn evaluated(&self) -> BTreeMap<String, Evaluated> {
        let files = self
            .nodes
            .iter()
            .map(|node| (node.node.clone(), self.gitlab_rb(&node.node).to_owned()))
            .collect();
        evaluate(&files, &self.secrets())
    }

    /// A value for every secret that the site has: its name, in capitals.
    fn secrets(&self) -> Value {
        let all: Map<String, Value> = self
            .fleet
            .secrets
            .keys()
            .map(|name| (name.clone(), shown(name).into()))
            .collect();
        all.into()
    }
}

fn shown(secret: &str) -> String {
    secret.to_uppercase().replace('-', "")
}

/// Sites with everything that changes a file.
fn rich() -> Vec<(&'static str, Site)> {
    let registry = "[front]\nregistry_domain = \"registry.acme.example\"\npages_domain = \"pages.acme.example\"\n[registry]\nmetadata_database = true\n";
    let plain = "[front]\nproxy_protocol = false\nregistry_domain = \"registry.acme.example\"\npages_domain = \"pages.acme.example\"\n[registry]\n";
    let sign_in = "[ldap]\nhost = \"ldap.acme.example\"\nbase = \"dc=acme\"\nbind_dn = \"cn=git\"\npassword = \"env:LDAP\"\nuser_filter = \"(a=b)\"\n[saml]\nidp_sso_target_url = \"https://sso.acme.example\"\nidp_cert = \"file:license/acme.gitlab-license\"\n";
    let smtp = "[smtp]\naddress = \"mail.acme.example\"\nuser_name = \"git\"\npassword = \"env:SMTP\"\nfrom = \"git@acme.example\"\nreply_to = \"no@acme.example\"\n";
    let ses = "[ses]\nfrom = \"git@acme.example\"\nregion = \"eu-central-1\"\n";
    let extra = "[gitlab.rb.gitlab_rails]\ntime_zone = \"Europe/Berlin\"\nenv = { A = \"b\" }\n[gitlab.rb.gitaly.configuration.cgroups]\nmemory_bytes = 1000\n[gitlab.rb.puma]\nworker_processes = 3\n[gitlab.rb.logging]\nsvlogd_size = 100\n";
    let gitlab =
        "[gitlab]\nactivation_code = \"env:CODE\"\ninitial_root_email = \"root@acme.example\"\n";
    let license = "[gitlab]\nversion = \"19.2.6\"\nlicense = \"env:LICENSE\"\n";
    let old = "[gitlab]\nversion = \"18.11.9\"\n";
    let box_ = ProfileName::SingleBox;
    let balanced = "[tls]\ncertificate = \"request\"\n";
    vec![
        (
            "poc-2k-rich",
            site(
                ProfileName::Poc2k,
                &format!("{gitlab}{extra}{registry}{sign_in}{smtp}"),
            ),
        ),
        (
            "ha-10k-rich",
            site(
                ProfileName::Ha10k,
                &format!("{gitlab}{extra}{registry}{sign_in}{ses}"),
            ),
        ),
        (
            "ha-3k-plain",
            site(ProfileName::Ha3k, &format!("{license}{plain}{smtp}")),
        ),
        (
            "poc-2k-old",
            site(
                ProfileName::Poc2k,
                &format!("{old}{registry}{sign_in}{smtp}"),
            ),
        ),
        (
            "box-letsencrypt",
            site(box_, &format!("{gitlab}{extra}{registry}{sign_in}{smtp}")),
        ),
        (
            "box-balanced",
            site(
                box_,
                &format!("{gitlab}{extra}{registry}{sign_in}{ses}{balanced}"),
            ),
        ),
        ("box-old", site(box_, &format!("{old}{plain}{balanced}"))),
    ]
}

/// All sites of the matrix.
fn matrix() -> Vec<(String, Site)> {
    let plain = ProfileName::ALL.into_iter().flat_map(|profile| {
        VERSIONS.into_iter().map(move |version| {
            let more = format!("[gitlab]\nversion = \"{version}\"\n");
            (format!("{profile} {version}"), site(profile, &more))
        })
    });
    let rich = rich()
        .into_iter()
        .map(|(name, site)| (name.to_owned(), site));
    plain.chain(rich).collect()
}

/// Every setting, as the way to it; lists are not looked into.
fn leaves(settings: &Value) -> Vec<Vec<String>> {
    fn walk(path: &[String], value: &Value, found: &mut Vec<Vec<String>>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (key, member) in members {
                    walk(&[path, std::slice::from_ref(key)].concat(), member, found);
                }
            }
            _ => found.push(path.to_vec()),
        }
    }
    let mut found = Vec::new();
    walk(&[], settings, &mut found);
    found
}

#[test]
fn every_setting_is_known_to_its_version_and_none_is_old() {
    let mut wrong = BTreeSet::new();
    for (name, site) in matrix() {
        let release = site.gitlab.version.release();
        for (node, file) in drawn(site).evaluated() {
            assert_eq!(file.warnings, "", "{name}, {node}");
            for path in leaves(&file.settings) {
                let way: Vec<&str> = path.iter().map(String::as_str).collect();
                let standing = standing(&way, release);
                if standing != Standing::Known {
                    wrong.insert(format!(
                        "{name}, {node}: {} is {standing:?}",
                        path.join("/")
                    ));
                }
            }
            for call in file.calls.keys() {
                assert!(
                    [
                        "external_url",
                        "roles",
                        "registry_external_url",
                        "pages_external_url"
                    ]
                    .contains(&call.as_str()),
                    "{name}, {node}: {call}"
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_gantry_sets_is_held_or_yields() {
    let mut neither = BTreeSet::new();
    let mut set = BTreeSet::new();
    for (_, mut site) in rich() {
        site.gitlab.rb.clear();
        for file in drawn(site).evaluated().into_values() {
            set.extend(
                leaves(&file.settings)
                    .into_iter()
                    .map(|path| path.join("/")),
            );
        }
    }
    for path in &set {
        let yields = site::YIELDS.iter().any(|known| path.starts_with(known));
        match (yields, site::held(path)) {
            (false, None) | (true, Some(_)) => neither.insert(path),
            _ => false,
        };
    }
    assert!(
        neither.is_empty(),
        "neither held nor yielding, or both: {neither:#?}"
    );
}

#[test]
fn secrets_are_fetched_as_listed_and_the_role_may_read_them() {
    for (name, site) in matrix() {
        let drawn = drawn(site);
        let facts = Facts::imagined(&drawn.site, &drawn.sizes);
        let world = blueprint::build(&drawn.site, &drawn.sizes, &facts);
        let readable: BTreeMap<String, String> = world
            .of::<iam::Role>()
            .map(|(address, role)| {
                let read = role
                    .grants
                    .iter()
                    .filter(|grant| grant.actions == ["secretsmanager:GetSecretValue"]);
                let on: Vec<_> = read.flat_map(|grant| &grant.on).collect();
                (address.name().to_owned(), format!("{on:?}"))
            })
            .collect();
        for (node, file) in drawn.evaluated() {
            let host = drawn.fleet.host(&node).unwrap();
            let needs = secrets_of(&drawn.fleet, &drawn.site, host);
            let listed: BTreeSet<String> = needs.iter().map(|need| need.name.clone()).collect();
            assert_eq!(file.fetched, listed, "{name}, {node}");
            let may = &readable[host.role.as_str()];
            for need in needs {
                assert!(
                    may.contains(&format!("secret:{})", need.name))
                        || may.contains(&need.entry)
                        // The appliance host reads all of the site's own.
                        || (host.role == Role::Box
                            && may.contains(&format!(":secret:gantry/{}/*", drawn.site.site.name))
                            && need.entry.starts_with(&format!("gantry/{}/", drawn.site.site.name))),
                    "{name}: {node} may not read {}: {may}",
                    need.name
                );
            }
        }
    }
}

#[test]
fn every_value_goes_through_a_filter() {
    for (name, text) in TEMPLATES {
        for hole in text.split("{{").skip(1) {
            let hole = hole.split("}}").next().unwrap();
            let filter = hole
                .rsplit('|')
                .next()
                .unwrap()
                .trim()
                .trim_end_matches('-');
            let right = if name == "redirect" {
                filter == "nginx"
            } else {
                ["ruby", "setting", "comment"].contains(&filter.trim())
            };
            assert!(hole.contains('|') && right, "{name}: {{{{{hole}}}}}");
        }
    }
}

#[test]
fn the_same_arguments_give_the_same_files() {
    for (_, site) in rich() {
        assert_eq!(drawn(site.clone()).nodes, drawn(site).nodes);
    }
}

#[test]
fn files_have_modes_and_lie_where_the_package_looks() {
    for (name, site) in rich() {
        for node in drawn(site).nodes {
            for file in &node.files {
                let mode = if file.path.ends_with("gitlab.rb") {
                    "0600"
                } else {
                    "0644"
                };
                assert_eq!(
                    (file.mode.as_str(), file.owner.as_str()),
                    (mode, "root:root")
                );
                assert!(
                    file.path.starts_with("/etc/gitlab/"),
                    "{name}: {}",
                    file.path
                );
            }
            let waits = node
                .files
                .iter()
                .any(|f| f.path.ends_with("skip-auto-reconfigure"));
            let wanted = matches!(node.role, Role::Rails | Role::Sidekiq | Role::Praefect);
            assert_eq!(waits, wanted, "{name}: {}", node.node);
        }
    }
}

#[test]
fn where_a_secret_comes_from_is_in_no_file() {
    let more = "[gitlab]\nlicense = \"env:CANARY_LICENSE\"\ninitial_root_password = \"env:CANARY_ROOT\"\n[smtp]\naddress = \"mail.acme.example\"\nuser_name = \"git\"\npassword = \"env:CANARY_SMTP\"\nfrom = \"git@acme.example\"\n[ldap]\nhost = \"ldap.acme.example\"\nbase = \"dc=acme\"\nbind_dn = \"cn=git\"\npassword = \"file:canary\"\n[saml]\nidp_sso_target_url = \"https://sso.acme.example\"\nidp_cert = \"env:CANARY_SAML\"\n";
    for profile in [ProfileName::SingleBox, ProfileName::Ha3k] {
        let drawn = drawn(site(profile, more));
        let everything = serde_json::to_string(&(&drawn.nodes, &drawn.fleet)).unwrap();
        assert!(!everything.to_lowercase().contains("canary"));
    }
}

#[test]
fn nasty_values_arrive_unchanged() {
    let nasty = "it's \"quoted\" \\ #{`id`} #$0 <%= 1 %> {{ x }}\nnext\r\n\tschön 日本 \\' \\\\";
    // A text of JSON is one of TOML too, on one line, so that it can stand as a key.
    let quoted = Value::from(nasty).to_string();
    let more = format!(
        "[gitlab.rb.gitlab_rails]\nemail_subject = 1\n[smtp]\naddress = {quoted}\nuser_name = {quoted}\npassword = \"env:SMTP\"\nfrom = \"git@acme.example\"\ndomain = {quoted}\n[ldap]\nlabel = {quoted}\nhost = {quoted}\nbase = {quoted}\nuid = {quoted}\nuser_filter = {quoted}\nbind_dn = {quoted}\npassword = \"env:LDAP\"\n[saml]\nlabel = {quoted}\nidp_sso_target_url = \"https://sso\"\nidp_cert = \"env:SAML\"\nissuer = {quoted}\nname_identifier_format = {quoted}\n"
    )
    .replace(
        "email_subject = 1",
        &format!("gitlab_email_subject_suffix = {quoted}\nenv = {{ {quoted} = {quoted} }}"),
    );
    for profile in [ProfileName::SingleBox, ProfileName::Poc2k] {
        let drawn = drawn(site(profile, &more));
        let node = if profile == ProfileName::SingleBox {
            "box"
        } else {
            "rails"
        };
        let mut file = drawn.evaluated().remove(node).unwrap();
        let rails = file.settings["gitlab_rails"].take();
        let ldap = &rails["ldap_servers"]["main"];
        let saml = &rails["omniauth_providers"][0];
        for value in [
            &rails["smtp_address"],
            &rails["smtp_user_name"],
            &rails["smtp_domain"],
            &rails["gitlab_email_subject_suffix"],
            &rails["env"][nasty],
            &ldap["label"],
            &ldap["host"],
            &ldap["base"],
            &ldap["uid"],
            &ldap["user_filter"],
            &ldap["bind_dn"],
            &saml["label"],
            &saml["args"]["issuer"],
            &saml["args"]["name_identifier_format"],
        ] {
            assert_eq!(value, nasty, "{profile}");
        }
        assert_eq!(ldap["password"], shown("ldap-password"));
        assert_eq!(saml["args"]["idp_cert"], shown("saml-idp-cert"));
    }
}

#[test]
fn the_first_set_up_is_the_deploy_node_s_alone() {
    let drawn = drawn(site(
        ProfileName::Ha3k,
        "[gitlab]\nlicense = \"env:LICENSE\"\ninitial_root_email = \"root@acme.example\"\n",
    ));
    for (node, file) in drawn.evaluated() {
        let deploy = node == "sidekiq-1";
        let rails = &file.settings["gitlab_rails"];
        assert_eq!(
            rails.get("initial_root_password").is_some(),
            deploy,
            "{node}"
        );
        assert_eq!(
            rails.get("backup_upload_connection").is_some(),
            deploy,
            "{node}"
        );
        assert_eq!(
            file.env.get("GITLAB_ROOT_EMAIL").is_some(),
            deploy,
            "{node}"
        );
        assert_eq!(
            rails.get("auto_migrate") == Some(&json!(true)),
            deploy,
            "{node}"
        );
        let follows = file.settings["package"].get("generate_default_secrets");
        assert_eq!(follows, (!deploy).then_some(&json!(false)), "{node}");
        let license = file.written.get("/etc/gitlab/gantry.gitlab-license");
        assert_eq!(license.is_some(), deploy, "{node}");
        if let Some(license) = license {
            assert_eq!(
                license,
                &json!({ "text": "LICENSE", "mode": "640", "owner": [0, 998] })
            );
        }
    }
}

#[test]
fn files_as_an_administrator_reads_them() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots/render");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let shot = |name: &str, drawn: &Drawn, nodes: &[&str]| {
        for node in nodes {
            insta::assert_snapshot!(format!("{name}-{node}"), drawn.gitlab_rb(node));
        }
    };
    settings.bind(|| {
        shot(
            "single-box",
            &drawn(site(ProfileName::SingleBox, "")),
            &["box"],
        );
        let poc = drawn(site(ProfileName::Poc2k, ""));
        shot(
            "poc-2k",
            &poc,
            &["rails", "sidekiq-1", "gitaly-1", "monitoring-1"],
        );
        let large = drawn(site(ProfileName::Ha10k, ""));
        let nodes = [
            "rails",
            "sidekiq-1",
            "sidekiq-2",
            "gitaly-1",
            "praefect-1",
            "monitoring-1",
        ];
        shot("ha-10k", &large, &nodes);
        for (name, site) in rich() {
            let drawn = drawn(site);
            match name {
                "ha-10k-rich" => shot(name, &drawn, &["rails", "sidekiq-1", "gitaly-1"]),
                "box-balanced" => shot(name, &drawn, &["box"]),
                "poc-2k-old" => shot(name, &drawn, &["rails"]),
                _ => {}
            }
        }
        let redirect = large.file("rails", "/etc/gitlab/nginx/redirect.conf");
        insta::assert_snapshot!("redirect", redirect);
    });
}
