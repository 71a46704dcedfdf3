//! What two nodes, or a node and the blueprint, must agree on.

use std::collections::{BTreeMap, BTreeSet};

use gantry::blueprint::{self, End, Group, Role};
use gantry::facts::Facts;
use gantry::kinds::elb::TargetGroup;
use gantry::kinds::s3::Bucket;
use gantry::node::{Fleet, Place};
use gantry::profile::ProfileName;
use gantry::resource::{Address, Outputs};
use serde_json::{Value, json};

use super::ruby::Evaluated;
use super::{Drawn, drawn, drawn_with, names, rich, site};

fn setting<'a>(files: &'a BTreeMap<String, Evaluated>, node: &str, path: &str) -> &'a Value {
    files[node]
        .settings
        .pointer(path)
        .unwrap_or_else(|| panic!("{node} does not set {path}"))
}

#[test]
fn a_cluster_agrees_on_tokens_storages_and_ports() {
    let drawn = drawn(site(ProfileName::Ha10k, ""));
    let files = drawn.evaluated();
    let virtual_storage = setting(
        &files,
        "praefect-1",
        "/praefect/configuration/virtual_storage/0",
    );
    let storages = setting(&files, "rails", "/gitlab_rails/repositories_storages");
    assert_eq!(
        storages,
        setting(&files, "sidekiq-1", "/gitlab_rails/repositories_storages")
    );
    assert_eq!(
        storages,
        setting(&files, "sidekiq-4", "/gitlab_rails/repositories_storages")
    );
    let name = virtual_storage["name"].as_str().unwrap();
    let external = setting(&files, "praefect-1", "/praefect/configuration/auth/token");
    assert_eq!(&storages[name]["gitaly_token"], external);
    let balancer = drawn.fleet.praefect.as_ref().unwrap();
    assert_eq!(
        storages[name]["gitaly_address"],
        format!("tcp://{}:{}", balancer.host, blueprint::PRAEFECT_PORT)
    );
    let nodes = virtual_storage["node"].as_array().unwrap();
    assert_eq!(nodes.len(), drawn.fleet.of_role(Role::Gitaly).count());
    assert_eq!(virtual_storage["default_replication_factor"], nodes.len());
    for node in nodes {
        let gitaly = node["storage"].as_str().unwrap();
        let own = setting(&files, gitaly, "/gitaly/configuration");
        assert_eq!(own["storage"][0]["name"], gitaly);
        assert_eq!(own["auth"]["token"], node["token"]);
        assert_ne!(&own["auth"]["token"], external);
        let address = drawn.fleet.host(gitaly).unwrap().address.as_ref().unwrap();
        let port = own["listen_addr"]
            .as_str()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap();
        assert_eq!(node["address"], format!("tcp://{address}:{port}"));
    }
    let migrating: Vec<&String> = files
        .iter()
        .filter(|(_, file)| file.settings.pointer("/praefect/auto_migrate") == Some(&json!(true)))
        .map(|(node, _)| node)
        .collect();
    assert_eq!(migrating, ["praefect-1"]);
}

#[test]
fn a_gitaly_alone_agrees_with_its_clients() {
    let drawn = drawn(site(ProfileName::Poc2k, ""));
    let files = drawn.evaluated();
    let own = setting(&files, "gitaly-1", "/gitaly/configuration");
    assert_eq!(own["storage"][0]["name"], "default");
    for client in ["rails", "sidekiq-1"] {
        let storage = setting(
            &files,
            client,
            "/gitlab_rails/repositories_storages/default",
        );
        assert_eq!(storage["gitaly_token"], own["auth"]["token"]);
        let address = drawn
            .fleet
            .host("gitaly-1")
            .unwrap()
            .address
            .as_ref()
            .unwrap();
        assert_eq!(storage["gitaly_address"], format!("tcp://{address}:8075"));
        let shell = setting(&files, client, "/gitlab_shell/secret_token");
        assert_eq!(
            shell,
            setting(&files, "gitaly-1", "/gitlab_shell/secret_token")
        );
    }
}

#[test]
fn rails_and_sidekiq_agree_on_what_both_are() {
    for (name, site) in rich() {
        if site.site.profile == ProfileName::SingleBox {
            continue;
        }
        let drawn = drawn(site);
        let files = drawn.evaluated();
        let of = |node: &str| {
            files[node].settings["gitlab_rails"]
                .as_object()
                .unwrap()
                .clone()
        };
        let (rails, sidekiq) = (of("rails"), of("sidekiq-1"));
        let beginnings = [
            "db_",
            "redis_",
            "object_store",
            "repositories_storages",
            "smtp_",
            "amazon_ses",
            "ldap_",
            "omniauth_",
            "gitlab_email",
            "monitoring_whitelist",
            "pages_local",
            "time_zone",
        ];
        for key in rails.keys().chain(sidekiq.keys()) {
            if beginnings
                .iter()
                .any(|beginning| key.starts_with(beginning))
            {
                assert_eq!(rails.get(key), sidekiq.get(key), "{name}: {key}");
            }
        }
        for call in [
            "external_url",
            "registry_external_url",
            "pages_external_url",
        ] {
            assert_eq!(
                files["rails"].calls.get(call),
                files["sidekiq-1"].calls.get(call),
                "{name}"
            );
        }
    }
}

#[test]
fn buckets_are_those_of_the_blueprint() {
    let drawn = drawn(site(
        ProfileName::Ha3k,
        "[front]\nregistry_domain = \"registry.acme.example\"\n[registry]\n",
    ));
    let facts = Facts::imagined(&drawn.site, &drawn.sizes);
    let world = blueprint::build(&drawn.site, &drawn.sizes, &facts);
    let buckets: BTreeMap<String, String> = world
        .of::<Bucket>()
        .map(|(address, bucket)| (address.name().replace('-', "_"), bucket.name.clone()))
        .collect();
    let files = drawn.evaluated();
    let objects = setting(&files, "rails", "/gitlab_rails/object_store/objects");
    let objects = objects.as_object().unwrap();
    assert_eq!(objects.len(), blueprint::OBJECT_TYPES.len());
    for (kind, object) in objects {
        assert_eq!(object["bucket"], buckets[kind], "{kind}");
    }
    let registry = setting(&files, "rails", "/registry/storage/s3_v2/bucket");
    assert_eq!(registry, &buckets["registry"]);
    let backups = setting(
        &files,
        "sidekiq-1",
        "/gitlab_rails/backup_upload_remote_directory",
    );
    assert_eq!(backups, &buckets["backups"]);
    let gitaly = setting(
        &files,
        "gitaly-1",
        "/gitaly/configuration/backup/go_cloud_url",
    );
    assert_eq!(
        gitaly,
        &format!("s3://{}?region=eu-west-1", buckets["gitaly_backups"])
    );
}

#[test]
fn agent_plans_have_a_bucket_from_19_1() {
    for (version, there) in [("19.0.4", false), ("19.1.0", true)] {
        let more = format!("[gitlab]\nversion = \"{version}\"\n");
        let text = drawn(site(ProfileName::Poc2k, &more));
        let there_is = text.gitlab_rb("rails").contains("agent_plan_content");
        assert_eq!(there_is, there, "{version}");
    }
}

#[test]
fn proxy_protocol_is_on_at_both_ends_or_at_neither() {
    for on in [true, false] {
        for version in ["18.11.9", "19.5.3"] {
            let more = format!(
                "[gitlab]\nversion = \"{version}\"\n[front]\nproxy_protocol = {on}\nregistry_domain = \"registry.acme.example\"\npages_domain = \"pages.acme.example\"\n[registry]\n"
            );
            let drawn = drawn(site(ProfileName::Poc2k, &more));
            let facts = Facts::imagined(&drawn.site, &drawn.sizes);
            let world = blueprint::build(&drawn.site, &drawn.sizes, &facts);
            for (address, group) in world.of::<TargetGroup>() {
                if address.name() != "praefect" {
                    assert_eq!(group.proxy_protocol, on, "{address}");
                }
            }
            let file = drawn.evaluated().remove("rails").unwrap().settings;
            let ways = if version == "18.11.9" {
                ["/nginx", "/registry_nginx", "/pages_nginx"]
            } else {
                [
                    "/gitlab_rails/nginx",
                    "/registry/nginx",
                    "/gitlab_pages/nginx",
                ]
            };
            for way in ways {
                let nginx = file.pointer(way).unwrap();
                assert_eq!(
                    nginx.get("proxy_protocol"),
                    on.then_some(&json!(true)),
                    "{way}"
                );
                assert_eq!(nginx["listen_port"], blueprint::WEB_PORT);
                assert_eq!(nginx["listen_https"], false);
            }
            assert_eq!(
                file["gitlab_sshd"].get("proxy_protocol"),
                on.then_some(&json!(true))
            );
            let redirect = drawn.file("rails", "/etc/gitlab/nginx/redirect.conf");
            assert_eq!(redirect.contains("proxy_protocol"), on);
            assert!(redirect.contains(&format!("listen {}", blueprint::REDIRECT_PORT)));
            let ssh = format!("0.0.0.0:{}", blueprint::GIT_SSH_PORT);
            assert_eq!(file["gitlab_sshd"]["listen_address"], ssh);
        }
    }
}

/// Every port that a node calls, by the group it calls.
fn called(drawn: &Drawn) -> BTreeSet<(Group, Group, u16)> {
    let mut called = BTreeSet::new();
    let port = |address: &Value| -> u16 {
        let address = address.as_str().unwrap();
        address.rsplit(':').next().unwrap().parse().unwrap()
    };
    for (node, file) in drawn.evaluated() {
        let from = drawn.fleet.host(&node).unwrap().role.group();
        let at = |way: &str| file.settings.pointer(way).cloned();
        if let Some(storages) = at("/gitlab_rails/repositories_storages") {
            let to = if drawn.fleet.praefect.is_some() {
                Group::PraefectNlb
            } else {
                Group::Gitaly
            };
            for storage in storages.as_object().unwrap().values() {
                called.insert((from, to, port(&storage["gitaly_address"])));
            }
        }
        for (way, to) in [
            ("/gitlab_rails/db_port", Group::Database),
            ("/gitlab_rails/redis_port", Group::Cache),
        ] {
            called.extend(at(way).map(|p| (from, to, u16::try_from(p.as_u64().unwrap()).unwrap())));
        }
        if let Some(database) = at("/praefect/configuration/database") {
            let port = u16::try_from(database["port"].as_u64().unwrap()).unwrap();
            called.insert((from, Group::PraefectDatabase, port));
        }
        if let Some(storage) = at("/praefect/configuration/virtual_storage/0/node") {
            for node in storage.as_array().unwrap() {
                called.insert((from, Group::Gitaly, port(&node["address"])));
            }
        }
        called.extend(
            at("/gitlab_rails/prometheus_address").map(|at| (from, Group::Monitoring, port(&at))),
        );
        if let Some(kas) = at("/gitlab_kas/private_api_listen_address") {
            called.insert((from, Group::Rails, port(&kas)));
        }
        let jobs = at("/prometheus/scrape_configs").unwrap_or_default();
        for job in jobs.as_array().into_iter().flatten() {
            for target in job["static_configs"].as_array().into_iter().flatten() {
                let host = drawn
                    .fleet
                    .host(target["labels"]["node"].as_str().unwrap())
                    .unwrap();
                called.insert((from, host.role.group(), port(&target["targets"][0])));
            }
            for found in job["ec2_sd_configs"].as_array().into_iter().flatten() {
                let port = u16::try_from(found["port"].as_u64().unwrap()).unwrap();
                called.insert((from, Group::Rails, port));
            }
        }
    }
    called
}

#[test]
fn every_port_that_is_called_is_open() {
    for (name, site) in rich() {
        let drawn = drawn(site);
        let open: BTreeSet<(Group, Group, u16)> = blueprint::matrix(&drawn.site, &drawn.sizes)
            .into_iter()
            .filter_map(|line| match (line.from, line.to) {
                (End::Group(from), End::Group(to)) => Some((from, to, line.port)),
                _ => None,
            })
            .collect();
        let called = called(&drawn);
        let closed: Vec<_> = called.difference(&open).collect();
        assert!(closed.is_empty(), "{name}: {closed:?}");
        assert_eq!(
            called.is_empty(),
            drawn.site.site.profile == ProfileName::SingleBox
        );
    }
}

#[test]
fn jobs_of_prometheus_have_names_of_their_own() {
    let drawn = drawn(site(ProfileName::Ha3k, ""));
    let files = drawn.evaluated();
    let jobs = setting(&files, "monitoring-1", "/prometheus/scrape_configs");
    let mut names = BTreeSet::from(["prometheus", "node"]);
    for job in jobs.as_array().unwrap() {
        assert!(names.insert(job["job_name"].as_str().unwrap()), "{job}");
    }
}

#[test]
fn a_planned_fleet_has_stand_ins_and_an_installed_one_has_none() {
    let site = site(ProfileName::Ha10k, "");
    let planned = drawn(site.clone());
    let unknown = planned.fleet.unknown();
    for name in [
        "cache-cache.after-install.invalid",
        "cache-persistent.after-install.invalid",
        "database-main-1.after-install.invalid",
        "database-main.after-install.invalid",
        "database-praefect.after-install.invalid",
        "gitaly-1.after-install.invalid",
        "key-main.after-install.invalid",
        "load-balancer-praefect.after-install.invalid",
        "volume-gitaly-3.after-install.invalid",
    ] {
        assert!(unknown.contains(&name.to_owned()), "{name}: {unknown:?}");
    }
    let all = serde_json::to_string(&planned.nodes).unwrap();
    assert!(all.contains("'database-main.after-install.invalid'"));

    let facts = Facts::imagined(&site, &planned.sizes);
    let world = blueprint::build(&site, &planned.sizes, &facts);
    let output = |address: &Address| {
        let name = address.name();
        match address.kind().as_str() {
            "rds/db_instance" | "rds/db_replica" => {
                json!({ "endpoint": format!("{name}.rds.example"), "port": 5432 })
            }
            "elasticache/replication_group" => {
                json!({ "primary_endpoint": format!("{name}.cache.example"), "port": 6379 })
            }
            "elb/load_balancer" => json!({ "dns_name": format!("{name}.elb.example") }),
            "ec2/instance" => {
                json!({ "id": "i-1", "private_ip": "10.20.0.9", "zone": "eu-west-1a" })
            }
            "ec2/volume" => json!({ "id": format!("vol-{name}") }),
            "kms/key" => json!({ "arn": "arn:aws:kms:eu-west-1:123456789012:key/1" }),
            _ => json!({}),
        }
    };
    let outputs = world
        .iter()
        .map(|(address, _)| (address.clone(), output(address)));
    let installed = drawn_with(site, &Outputs(outputs.collect()));
    assert_eq!(installed.fleet.unknown(), Vec::<String>::new());
    let all = serde_json::to_string(&installed.nodes).unwrap();
    assert!(!all.contains("after-install"));
    let gitaly = installed.fleet.host("gitaly-2").unwrap();
    assert_eq!(gitaly.address, Some(Place::Known("10.20.0.9".to_owned())));
    let files = installed.evaluated();
    assert_eq!(
        setting(&files, "rails", "/gitlab_rails/db_host"),
        "main.rds.example"
    );
    assert_eq!(
        setting(&files, "rails", "/gitlab_rails/db_load_balancing/hosts/0"),
        "main.rds.example"
    );
    assert_eq!(
        setting(&files, "rails", "/gitlab_rails/redis_cache_instance"),
        "rediss://:VALKEYCACHETOKEN@cache.cache.example:6379"
    );
}

#[test]
fn hosts_of_the_fleet_are_the_machines_of_the_blueprint() {
    for profile in ProfileName::ALL {
        let site = site(profile, "");
        let sizes = gantry::profile::get(profile).with_overrides(&site).unwrap();
        let fleet = Fleet::of(&site, &sizes, &names(&site), &Outputs::default());
        let world = blueprint::build(&site, &sizes, &Facts::imagined(&site, &sizes));
        let machines: BTreeSet<String> = world
            .of::<gantry::kinds::ec2::Instance>()
            .map(|(address, _)| address.name().to_owned())
            .collect();
        let volumes: BTreeSet<String> = world
            .of::<gantry::kinds::ec2::Volume>()
            .map(|(address, _)| address.name().to_owned())
            .collect();
        let fixed = |pick: &dyn Fn(&gantry::node::Host) -> bool| -> BTreeSet<String> {
            fleet
                .hosts
                .iter()
                .filter(|h| pick(h))
                .map(|h| h.name.clone())
                .collect()
        };
        assert_eq!(fixed(&|h| h.role != Role::Rails), machines, "{profile}");
        assert_eq!(fixed(&|h| h.volume.is_some()), volumes, "{profile}");
        assert_eq!(fixed(&|h| h.deploy).len(), 1, "{profile}");
        let entries: BTreeSet<String> = world
            .of::<gantry::kinds::secretsmanager::Secret>()
            .map(|(_, secret)| secret.name.clone())
            .collect();
        assert_eq!(
            fleet.secrets.values().cloned().collect::<BTreeSet<_>>(),
            entries,
            "{profile}"
        );
    }
}
