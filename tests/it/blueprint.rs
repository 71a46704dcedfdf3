//! The blueprint of every profile: golden, clean, and with each rule of the lint shown to catch something.

use std::collections::BTreeMap;
use std::fmt::Write;

use gantry::blueprint::{self, Blueprint, Complaint, Role, build, lint, matrix};
use gantry::facts::Facts;
use gantry::kinds::autoscaling;
use gantry::kinds::ec2::{Instance, LaunchTemplate, Peer, SecurityGroupRules, Subnet, Volume};
use gantry::kinds::elb::{Health, TargetGroup};
use gantry::kinds::rds::ParameterGroup;
use gantry::kinds::s3::{Bucket, LifecycleRule, Purpose};
use gantry::profile::{self, Profile, ProfileName};
use gantry::site::Site;
use serde_json::Value;

/// A site of this profile, with what else the test wants.
fn site(profile: ProfileName, more: &str) -> Site {
    let admin = if more.contains("admin_from") {
        ""
    } else {
        "[network]\nadmin_from = [\"203.0.113.0/24\"]\n"
    };
    let text = format!(
        "[site]\nname = \"acme\"\nprofile = \"{profile}\"\ndomain = \"gitlab.acme.example\"\nregion = \"eu-west-1\"\naccount = \"123456789012\"\n{admin}{more}"
    );
    match gantry::site::parse("gantry.toml", &text) {
        Ok(loaded) => loaded.site,
        Err(problems) => panic!("{problems:?}\n{text}"),
    }
}

/// A vault in another account.
const VAULT: &str =
    "[backup.vault]\narn = \"arn:aws:backup:eu-west-1:210987654321:backup-vault:acme\"\n";

fn sizes(site: &Site) -> Profile {
    profile::get(site.site.profile)
        .with_overrides(site)
        .unwrap()
}

fn drawn(site: &Site) -> Blueprint {
    let sizes = sizes(site);
    build(site, &sizes, &Facts::imagined(site, &sizes))
}

fn complaints(blueprint: &Blueprint, site: &Site) -> String {
    lint(blueprint, site)
        .iter()
        .fold(String::new(), |mut text, complaint: &Complaint| {
            let _ = writeln!(text, "{complaint}");
            text
        })
}

fn count(blueprint: &Blueprint, kind: &str) -> usize {
    blueprint
        .iter()
        .filter(|(address, _)| address.kind().as_str() == kind)
        .count()
}

/// What a machine's user data says it is.
fn node_json(user_data: &str) -> Value {
    let line = user_data
        .lines()
        .find(|line| line.trim_start().starts_with("{\"format\""));
    serde_json::from_str(line.unwrap()).unwrap()
}

#[test]
fn every_profile_as_it_is_drawn() {
    for name in ProfileName::ALL {
        let view = drawn(&site(name, "")).view();
        let text = view
            .iter()
            .fold(String::new(), |mut text, (address, spec)| {
                let mut spec = spec.clone();
                // The same program on every machine; what differs between them is who they are.
                if let Some(user_data) = spec.get_mut("user_data") {
                    *user_data = node_json(user_data.as_str().unwrap());
                    user_data["boot_sha256"] = "…".into();
                }
                let _ = writeln!(text, "{address} {spec}");
                text
            });
        insta::assert_snapshot!(format!("blueprint-{name}"), text);
    }
}

#[test]
fn every_profile_is_clean() {
    for name in ProfileName::ALL {
        let site = site(name, "");
        assert_eq!(complaints(&drawn(&site), &site), "", "{name}");
    }
}

#[test]
fn every_switch_of_the_site_file_is_clean() {
    let switches = [
        "nat = \"single\"\n",
        "flow_logs = false\n",
        "interface_endpoints = true\n",
        "https_from = [\"198.51.100.0/24\"]\ngit_ssh_from = []\n",
        "[front]\nproxy_protocol = false\n",
        "[front]\nregistry_domain = \"registry.acme.example\"\npages_domain = \"pages.other.example\"\n[registry]\n",
        "[monitoring]\nalarms = false\n",
        "[backup]\ndlm = false\n",
        VAULT,
        "[protection]\ndeletion = false\n",
        "[tls]\ncertificate = \"request\"\n",
        "[tls]\ncertificate = \"arn:aws:acm:eu-west-1:123456789012:certificate/0f\"\n",
        "[smtp]\naddress = \"mail.acme.example\"\nuser_name = \"git\"\npassword = \"env:SMTP\"\nfrom = \"git@acme.example\"\n",
        "[ldap]\nhost = \"ldap.acme.example\"\nbase = \"dc=acme\"\nbind_dn = \"cn=git\"\npassword = \"secret:arn:aws:secretsmanager:eu-west-1:123456789012:secret:ldap-AbCdEf\"\n",
    ];
    for name in [
        ProfileName::SingleBox,
        ProfileName::Poc2k,
        ProfileName::Ha10k,
    ] {
        for switch in switches {
            let network = "[network]\nadmin_from = [\"203.0.113.0/24\"]\n";
            let site = site(name, &format!("{network}{switch}"));
            let blueprint = drawn(&site);
            assert_eq!(complaints(&blueprint, &site), "", "{name} with {switch}");
        }
    }
}

#[test]
fn the_same_arguments_give_the_same_blueprint() {
    let site = site(ProfileName::Ha50k, "");
    assert_eq!(drawn(&site).view(), drawn(&site).view());
}

#[test]
fn machines_and_stores_are_as_many_as_the_profile_says() {
    for name in ProfileName::ALL {
        let site = site(name, "");
        let (sizes, blueprint) = (sizes(&site), drawn(&site));
        let group =
            |group: &Option<profile::NodeGroup>| group.as_ref().map_or(0, |g| g.count as usize);
        let gitaly = sizes.gitaly.as_ref().map_or(0, |g| g.count as usize);
        let single = usize::from(sizes.single_box.is_some());
        let fixed = group(&sizes.sidekiq)
            + group(&sizes.praefect)
            + group(&sizes.monitoring)
            + group(&sizes.bastion);
        assert_eq!(
            count(&blueprint, "ec2/instance"),
            fixed + gitaly + single,
            "{name}"
        );
        assert_eq!(count(&blueprint, "ec2/volume"), gitaly + single, "{name}");
        assert_eq!(
            count(&blueprint, "ec2/volume_attachment"),
            gitaly + single,
            "{name}"
        );
        assert_eq!(
            count(&blueprint, "autoscaling/group"),
            usize::from(sizes.rails.is_some()),
            "{name}"
        );
        for (_, rails) in blueprint.of::<autoscaling::Group>() {
            let wanted = sizes.rails.as_ref().unwrap();
            assert_eq!(
                (rails.min, rails.desired, rails.max),
                (wanted.min, wanted.desired, wanted.max)
            );
        }
        let databases =
            usize::from(sizes.database.is_some()) + usize::from(sizes.praefect_database.is_some());
        assert_eq!(count(&blueprint, "rds/db_instance"), databases, "{name}");
        let replicas = sizes
            .database
            .as_ref()
            .map_or(0, |d| d.read_replicas as usize);
        assert_eq!(count(&blueprint, "rds/db_replica"), replicas, "{name}");
        assert_eq!(
            count(&blueprint, "elasticache/replication_group"),
            sizes.caches.len(),
            "{name}"
        );
        assert_eq!(
            count(&blueprint, "iam/instance_profile"),
            Role::of(&sizes).len(),
            "{name}"
        );
        // Ten object types, registry, backups, Gitaly backups, config, logs.
        assert_eq!(count(&blueprint, "s3/bucket"), 15, "{name}");
    }
}

#[test]
fn nodes_of_a_role_are_spread_over_the_zones() {
    let site = site(ProfileName::Ha3k, "");
    let blueprint = drawn(&site);
    let subnets: BTreeMap<_, &Subnet> = blueprint.of::<Subnet>().collect();
    let zone = |name: &str| {
        let (_, node) = blueprint
            .of::<Instance>()
            .find(|(address, _)| address.name() == name)
            .unwrap();
        subnets[node.subnet.address()].zone.clone()
    };
    for role in ["gitaly", "praefect"] {
        let zones = [1, 2, 3].map(|number| zone(&format!("{role}-{number}")));
        assert_eq!(zones, ["eu-west-1a", "eu-west-1b", "eu-west-1c"]);
    }
    for (address, volume) in blueprint.of::<Volume>() {
        assert_eq!(
            volume.zone,
            zone(address.name()),
            "a volume lives in the zone of its node"
        );
    }
}

/// Who, to whom, which port: one line each.
fn table(site: &Site) -> String {
    matrix(site, &sizes(site))
        .iter()
        .fold(String::new(), |mut text, line| {
            let _ = writeln!(
                text,
                "{:18} {:18} {}/{:<5} {}",
                line.from,
                line.to,
                line.protocol.as_str(),
                line.port,
                line.why
            );
            text
        })
}

#[test]
fn port_matrices() {
    for name in [
        ProfileName::SingleBox,
        ProfileName::Poc2k,
        ProfileName::Ha3k,
    ] {
        insta::assert_snapshot!(format!("ports-{name}"), table(&site(name, "")));
    }
    let behind = site(ProfileName::SingleBox, "[tls]\ncertificate = \"request\"\n");
    insta::assert_snapshot!("ports-single-box-behind-a-load-balancer", table(&behind));
    for name in [
        ProfileName::Ha5k,
        ProfileName::Ha10k,
        ProfileName::Ha25k,
        ProfileName::Ha50k,
    ] {
        assert_eq!(
            table(&site(name, "")),
            table(&site(ProfileName::Ha3k, "")),
            "{name}"
        );
    }
}

#[test]
fn each_line_of_the_matrix_is_a_rule_on_both_ends_and_there_are_no_others() {
    for name in ProfileName::ALL {
        let site = site(name, "");
        let blueprint = drawn(&site);
        let (mut ingress, mut egress) = (Vec::new(), Vec::new());
        for (address, rules) in blueprint.of::<SecurityGroupRules>() {
            let peer = |peer: &Peer| match peer {
                Peer::Cidr(range) => range.to_string(),
                Peer::Group(group) => group.address().name().to_owned(),
                Peer::Address(address) => address.address().name().to_owned(),
            };
            for rule in &rules.ingress {
                ingress.push((
                    peer(&rule.peer),
                    address.name().to_owned(),
                    rule.from_port,
                    rule.to_port,
                ));
            }
            for rule in &rules.egress {
                egress.push((
                    address.name().to_owned(),
                    peer(&rule.peer),
                    rule.from_port,
                    rule.to_port,
                ));
            }
        }
        let lines = matrix(&site, &sizes(&site));
        let wanted = |keep: fn(&blueprint::Line) -> bool| {
            let mut wanted: Vec<_> = lines
                .iter()
                .filter(|line| keep(line))
                .map(|line| {
                    (
                        line.from.to_string(),
                        line.to.to_string(),
                        line.port,
                        line.port,
                    )
                })
                .collect();
            wanted.sort();
            wanted
        };
        ingress.sort();
        egress.sort();
        assert_eq!(
            ingress,
            wanted(|line| matches!(line.to, blueprint::End::Group(_))),
            "{name}"
        );
        assert_eq!(
            egress,
            wanted(|line| matches!(line.from, blueprint::End::Group(_))),
            "{name}"
        );
    }
}

#[test]
fn where_not_everybody_may_come_in_the_site_itself_still_may() {
    let site = site(
        ProfileName::Ha3k,
        "[network]\nadmin_from = []\nhttps_from = [\"198.51.100.0/24\"]\n",
    );
    let view = drawn(&site).view();
    let rules = view["ec2/security_group_rules:nlb"]["ingress"]
        .as_array()
        .unwrap();
    let ours: Vec<_> = rules
        .iter()
        .filter_map(|rule| {
            Some((
                rule["peer"].get("address")?.as_str()?,
                rule["from_port"].as_u64()?,
            ))
        })
        .collect();
    assert_eq!(
        ours,
        ["a", "b", "c"]
            .map(|zone| format!("ec2/elastic_ip:nat-{zone}"))
            .iter()
            .map(|a| (a.as_str(), 443))
            .collect::<Vec<_>>()
    );
}

#[test]
fn proxy_protocol_is_on_both_ends_or_not_at_all() {
    let flags = |site: &Site| -> Vec<(String, bool, bool)> {
        drawn(site)
            .of::<TargetGroup>()
            .map(|(a, group)| {
                (
                    a.name().to_owned(),
                    group.proxy_protocol,
                    group.preserve_client_ip,
                )
            })
            .collect()
    };
    let public = ["web", "redirect", "ssh"];
    for (name, proxy, preserve) in flags(&site(ProfileName::Ha3k, "")) {
        assert_eq!(
            (proxy, preserve),
            (public.contains(&name.as_str()), false),
            "{name}"
        );
    }
    for (name, proxy, preserve) in flags(&site(
        ProfileName::Ha3k,
        "[front]\nproxy_protocol = false\n",
    )) {
        assert_eq!(
            (proxy, preserve),
            (false, public.contains(&name.as_str())),
            "{name}"
        );
    }
}

#[test]
fn versions_stay_as_long_as_a_recovery_point_may_name_them() {
    let days = |site: &Site, at: &str| {
        let blueprint = drawn(site);
        let (_, bucket) = blueprint
            .of::<Bucket>()
            .find(|(a, _)| a.name() == at)
            .unwrap();
        let kept = bucket.lifecycle.iter().find_map(|rule| match rule {
            LifecycleRule::ExpireNoncurrent { days } => Some(*days),
            _ => None,
        });
        (kept.unwrap(), bucket.immutable_days)
    };
    let usual = site(ProfileName::Poc2k, "");
    let horizon = usual.backup.horizon_days();
    assert_eq!(days(&usual, "lfs"), (horizon, None));
    assert_eq!(days(&usual, "registry"), (horizon, None));
    assert_eq!(days(&usual, "backups"), (30, None));
    assert_eq!(days(&usual, "config"), (30, None));
    let locked = site(
        ProfileName::Poc2k,
        "[backup]\nimmutable_days = 90\n[backup.keep]\nmonthly = 0\n",
    );
    assert_eq!(days(&locked, "lfs"), (91, None));
    assert_eq!(days(&locked, "backups"), (90, Some(90)));
}

/// The actions that a role's grants allow, with their conditions, on whatever passes.
fn grants_of<'a>(blueprint: &'a Blueprint, role: &str) -> Vec<&'a gantry::kinds::iam::Grant> {
    blueprint
        .of::<gantry::kinds::iam::Role>()
        .filter(|(address, _)| address.name() == role)
        .flat_map(|(_, role)| &role.grants)
        .collect()
}

#[test]
fn the_appliance_host_takes_backups_and_deletes_none() {
    use gantry::kinds::iam::Target;
    for name in ProfileName::ALL {
        let site = site(name, "[backup]\ncopy_to_region = \"eu-central-1\"\n");
        let blueprint = drawn(&site);
        let host = if name == ProfileName::SingleBox {
            "box"
        } else {
            "bastion"
        };
        let grants = grants_of(&blueprint, host);
        let actions: Vec<&String> = grants.iter().flat_map(|g| &g.actions).collect();
        let may = |action: &str| actions.iter().any(|a| *a == action);
        assert!(
            may("cloudwatch:PutMetricData") && may("sns:Publish"),
            "{name}"
        );
        assert!(
            may("kms:GenerateDataKey") && may("s3:ListBucketVersions"),
            "{name}"
        );
        // Disks alone where there is no cluster, databases where there are any.
        assert_eq!(may("ec2:CreateSnapshots"), !name.is_ha(), "{name}");
        let databases = name != ProfileName::SingleBox;
        assert_eq!(may("rds:CreateDBSnapshot"), databases, "{name}");
        for never in [
            "rds:DeleteDBInstance",
            "rds:DeleteDBSnapshot",
            "ec2:DeleteSnapshot",
            "s3:DeleteObjectVersion",
            "s3:PutLifecycleConfiguration",
            "s3:PutBucketObjectLockConfiguration",
            "rds:ModifyDBSnapshotAttribute",
        ] {
            assert!(!may(never), "{name}: {never}");
        }
        // Whatever is sealed or opened carries the site's name.
        for grant in &grants {
            let conditions = format!("{:?}", grant.conditions);
            let recovery =
                |on: &Target| matches!(on, Target::Key(key) if key.address().name() == "recovery");
            if grant.on.iter().any(recovery) && grant.sid != "LookAtKeys" {
                assert!(
                    conditions.contains("EncryptionContext:gantry:site"),
                    "{conditions}"
                );
            }
        }
        // Its secrets are all of them, and nobody else reads the one that signs.
        let reads = |role: &str| {
            grants_of(&blueprint, role)
                .iter()
                .flat_map(|g| &g.on)
                .filter(|on| match on {
                    Target::Secret(secret) => secret.address().name() == blueprint::SIGNING_KEY,
                    Target::Arn(arn) => arn.ends_with(":secret:gantry/acme/*"),
                    _ => false,
                })
                .count()
        };
        for role in Role::of(&sizes(&site)) {
            let signs = role.as_str() == host;
            assert_eq!(reads(role.as_str()) > 0, signs, "{name}: {role}");
        }
    }
}

#[test]
fn the_deploy_node_reaches_the_archives_of_gitlab_and_no_recovery_point() {
    use gantry::kinds::iam::Target;
    let blueprint = drawn(&site(ProfileName::Ha3k, ""));
    for role in ["sidekiq", "rails", "gitaly", "praefect", "monitoring"] {
        for grant in grants_of(&blueprint, role) {
            let objects = grant
                .actions
                .iter()
                .any(|a| a.starts_with("s3:") && a.ends_with("Object"));
            for on in grant.on.iter().filter(|_| objects) {
                match on {
                    Target::Folder(bucket, folder) => {
                        assert_eq!(role, "sidekiq");
                        assert_eq!(bucket.address().name(), "backups");
                        assert_eq!(folder, blueprint::ARCHIVES);
                    }
                    Target::Objects(bucket) => assert_ne!(bucket.address().name(), "backups"),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn gitaly_backups_never_expire() {
    for name in ProfileName::ALL {
        let blueprint = drawn(&site(name, ""));
        for (address, bucket) in blueprint.of::<Bucket>() {
            if bucket.purpose == Purpose::GitalyBackups {
                assert_eq!(
                    bucket.lifecycle,
                    [LifecycleRule::AbortIncomplete { days: 7 }],
                    "{address}"
                );
            }
        }
    }
}

#[test]
fn snapshots_by_dlm_only_where_git_data_may_be_saved_so() {
    for name in ProfileName::ALL {
        let blueprint = drawn(&site(name, ""));
        let policies = count(&blueprint, "dlm/policy");
        assert_eq!(policies, usize::from(!name.is_ha()), "{name}");
        assert!(
            blueprint
                .of::<Volume>()
                .all(|(_, v)| v.snapshots.is_some() != name.is_ha()),
            "{name}"
        );
        assert_eq!(
            count(&drawn(&site(name, "[backup]\ndlm = false\n")), "dlm/policy"),
            0
        );
    }
}

#[test]
fn a_vault_gets_databases_buckets_and_disks_but_never_a_cluster_s() {
    use gantry::kinds::backup::{Plan, Selection, Vault};
    let objects = blueprint::OBJECT_TYPES.map(|part| format!("s3/bucket:{part}"));
    let buckets = ["backups", "gitaly-backups", "registry"].map(|part| format!("s3/bucket:{part}"));
    for name in ProfileName::ALL {
        let bare = drawn(&site(name, ""));
        assert_eq!(count(&bare, "backup/vault"), 0, "{name}");
        assert_eq!(count(&bare, "iam/role") + 1, {
            let site = site(name, VAULT);
            count(&drawn(&site), "iam/role")
        });

        let blueprint = drawn(&site(name, VAULT));
        let (_, selection) = blueprint.of::<Selection>().next().unwrap();
        let mut saved: Vec<String> = selection
            .resources
            .iter()
            .map(|one| one.address().to_string())
            .collect();
        saved.sort();
        let mut wanted: Vec<String> = objects.iter().chain(&buckets).cloned().collect();
        wanted.extend(match name {
            ProfileName::SingleBox => vec!["ec2/volume:box".to_owned()],
            ProfileName::Poc2k => vec![
                "ec2/volume:gitaly-1".to_owned(),
                "rds/db_instance:main".to_owned(),
            ],
            _ => vec![
                "rds/db_instance:main".to_owned(),
                "rds/db_instance:praefect".to_owned(),
            ],
        });
        wanted.sort();
        assert_eq!(saved, wanted, "{name}");

        let (_, vault) = blueprint.of::<Vault>().next().unwrap();
        assert_eq!(vault.key.address().to_string(), "kms/key:main");
        let (_, plan) = blueprint.of::<Plan>().next().unwrap();
        assert_eq!(plan.schedule, "cron(30 3 * * ? *)");
        assert_eq!((plan.local_days, plan.keep_days), (7, 35));
        assert!(plan.copy_to.contains(":210987654321:"));
    }
}

#[test]
fn a_vault_goes_by_the_site_s_own_time() {
    use gantry::kinds::backup::Plan;
    let more = VAULT.replace(
        "[backup.vault]",
        "[backup]\ntimezone = \"Europe/Berlin\"\n[backup.vault]",
    );
    let more = format!("{more}schedule = \"weekly sun 05:00\"\nkeep_days = 365\nlocal_days = 2\n");
    let blueprint = drawn(&site(ProfileName::Poc2k, &more));
    let (_, plan) = blueprint.of::<Plan>().next().unwrap();
    assert_eq!(plan.schedule, "cron(0 5 ? * SUN *)");
    assert_eq!(plan.timezone, "Europe/Berlin");
    assert_eq!((plan.local_days, plan.keep_days), (2, 365));
}

#[test]
fn the_role_of_aws_backup_touches_what_it_saves_and_nothing_else() {
    use gantry::kinds::iam::{Role as IamRole, Target};
    for name in [
        ProfileName::SingleBox,
        ProfileName::Poc2k,
        ProfileName::Ha3k,
    ] {
        let blueprint = drawn(&site(name, VAULT));
        let (_, role) = blueprint
            .of::<IamRole>()
            .find(|(address, _)| address.name() == "backup")
            .unwrap();
        assert_eq!(role.service, "backup.amazonaws.com");
        let actions: Vec<&String> = role.grants.iter().flat_map(|g| &g.actions).collect();
        let about = |word: &str| actions.iter().any(|action| action.starts_with(word));
        assert_eq!(about("rds:"), name != ProfileName::SingleBox, "{name}");
        assert_eq!(about("ec2:"), !name.is_ha(), "{name}");
        for action in &actions {
            let puts = action.starts_with("s3:Put") && !action.contains("Notification");
            assert!(
                !puts || *action == "s3:PutInventoryConfiguration",
                "{action}"
            );
            let deletes = action.contains("Delete");
            let of_its_own = ["DeleteDBSnapshot", "DeleteSnapshot", "events:DeleteRule"];
            assert!(
                !deletes || of_its_own.iter().any(|own| action.contains(own)),
                "{action}"
            );
        }
        for grant in &role.grants {
            let deletes = grant
                .actions
                .iter()
                .any(|action| action.contains("DeleteDBSnapshot"));
            let own = |on: &Target| matches!(on, Target::Arn(arn) if arn.contains(":snapshot:awsbackup:"));
            assert!(!deletes || grant.on.iter().all(own), "{}", grant.sid);
            // Data goes out into one vault of all.
            if grant
                .actions
                .iter()
                .any(|action| action == "backup:CopyFromBackupVault")
            {
                let only = &grant.conditions["ForAllValues:StringEquals"]["backup:CopyTargets"];
                assert_eq!(
                    only,
                    "arn:aws:backup:eu-west-1:210987654321:backup-vault:acme"
                );
            }
        }
        // And the machines have no part in it.
        for (address, role) in blueprint.of::<IamRole>() {
            let machine = role.service == "ec2.amazonaws.com";
            let backup = |action: &String| action.starts_with("backup:");
            let any = role
                .grants
                .iter()
                .flat_map(|grant| &grant.actions)
                .any(backup);
            assert!(!machine || !any, "{address}");
        }
    }
}

#[test]
fn lint_catches_a_cluster_s_disk_in_a_selection_and_a_machine_that_empties_vaults() {
    use gantry::kinds::backup::{Selected, Selection};
    use gantry::kinds::iam::{Role as IamRole, Target};
    let site = site(ProfileName::Ha3k, VAULT);
    let mut blueprint = drawn(&site);
    let (_, volume) = blueprint.of::<Volume>().next().unwrap();
    let volume = volume.clone();
    let (_, selection) = blueprint.of::<Selection>().next().unwrap();
    let mut selection = selection.clone();
    let (_, host) = blueprint
        .of::<IamRole>()
        .find(|(address, _)| address.name() == "bastion")
        .unwrap();
    let mut host = host.clone();
    let disk = blueprint.add("gitaly-9", volume);
    selection.resources.push(Selected::Volume(disk));
    blueprint.add("broken", selection);
    host.grants.truncate(1);
    host.grants[0].actions = vec!["backup:DeleteRecoveryPoint".to_owned()];
    host.grants[0].on = vec![Target::Any];
    blueprint.add("broken", host);
    let mut rules: Vec<&str> = lint(&blueprint, &site).iter().map(|c| c.rule).collect();
    rules.sort_unstable();
    assert_eq!(rules, ["cluster-snapshot", "deletes-backups"]);
}

#[test]
fn records_only_where_the_hosted_zone_reaches() {
    let site = site(
        ProfileName::Poc2k,
        "[front]\nregistry_domain = \"registry.acme.example\"\npages_domain = \"pages.other.example\"\n[registry]\n",
    );
    let view = drawn(&site).view();
    let records: Vec<_> = view
        .keys()
        .filter(|address| address.starts_with("route53/"))
        .collect();
    assert_eq!(
        records,
        [
            "route53/record:alias-gitlab.acme.example",
            "route53/record:alias-registry.acme.example",
            "route53/record:validation-gitlab.acme.example",
            "route53/record:validation-registry.acme.example",
        ]
    );
    let only = |kind: &str| {
        let mut of = view.iter().filter(|(a, _)| a.starts_with(kind));
        let (_, spec) = of.next().unwrap();
        assert!(of.next().is_none());
        spec.clone()
    };
    assert_eq!(
        only("acm/validation:")["by_hand"],
        serde_json::json!(["*.pages.other.example"])
    );
    assert_eq!(
        only("acm/certificate:")["alternative"][1],
        "*.pages.other.example"
    );
}

#[test]
fn without_a_hosted_zone_the_records_are_made_by_hand() {
    for (name, more) in [
        (ProfileName::Poc2k, ""),
        (ProfileName::SingleBox, ""),
        (ProfileName::SingleBox, "[tls]\ncertificate = \"request\"\n"),
    ] {
        let site = site(name, more);
        let sizes = sizes(&site);
        let facts = Facts {
            hosted_zones: vec![],
            ..Facts::imagined(&site, &sizes)
        };
        let blueprint = build(&site, &sizes, &facts);
        assert_eq!(count(&blueprint, "route53/record"), 0);
        if let Some(validation) = blueprint.view().get("acm/validation:gitlab.acme.example") {
            let names = serde_json::json!(["gitlab.acme.example"]);
            assert_eq!(validation["by_hand"], names);
        }
    }
}

#[test]
fn user_data_is_small_and_tells_no_secret() {
    for name in ProfileName::ALL {
        let blueprint = drawn(&site(name, ""));
        let nodes = blueprint
            .of::<Instance>()
            .map(|(a, node)| (a, &node.user_data))
            .chain(
                blueprint
                    .of::<LaunchTemplate>()
                    .map(|(a, template)| (a, &template.user_data)),
            );
        for (address, user_data) in nodes {
            assert!(user_data.starts_with("#cloud-config\n"), "{address}");
            // AWS takes 16 KiB; what comes near has stopped being minimal.
            assert!(
                user_data.len() < 12 * 1024,
                "{address}: {}",
                user_data.len()
            );
            assert_eq!(node_json(user_data)["node"], address.name());
        }
    }
    let site = site(ProfileName::Poc2k, "");
    let blueprint = drawn(&site);
    let (_, node) = blueprint
        .of::<Instance>()
        .find(|(a, _)| a.name() == "gitaly-1")
        .unwrap();
    insta::assert_snapshot!(node.user_data.replace(gantry::boot::boot_program().1, "…"));
}

#[test]
fn a_node_writes_its_reports_and_nothing_else_of_the_config_bucket() {
    use gantry::kinds::iam::{self, Target};
    for name in ProfileName::ALL {
        let blueprint = drawn(&site(name, ""));
        for (address, role) in blueprint.of::<iam::Role>() {
            let writes: Vec<String> = role
                .grants
                .iter()
                .filter(|grant| {
                    let action = |a: &String| a.starts_with("s3:Put") || a.starts_with("s3:Delete");
                    grant.actions.iter().any(action)
                })
                .flat_map(|grant| &grant.on)
                .filter_map(|on| match on {
                    Target::Arn(arn) => Some(arn.clone()),
                    Target::Objects(bucket) => {
                        assert_ne!(bucket.address().name(), "config", "{address}");
                        None
                    }
                    _ => None,
                })
                .collect();
            let own = format!(
                "arn:aws:s3:::gantry-acme-config-123456789012-eu-west-1/{}/reports/*",
                address.name()
            );
            if role.service == "ec2.amazonaws.com" {
                assert_eq!(writes, [own], "{address}");
            } else {
                assert!(writes.is_empty(), "{address}");
            }
        }
    }
}

#[test]
fn an_existing_parameter_group_stands_in_for_ours() {
    let site = site(
        ProfileName::Ha3k,
        "[database]\nparameter_group = \"theirs\"\n[cache]\nparameter_group = \"theirs-too\"\n",
    );
    let view = drawn(&site).view();
    assert!(!view.contains_key("rds/parameter_group:main-17"));
    assert!(view.contains_key("rds/parameter_group:praefect-17"));
    assert!(!view.contains_key("elasticache/parameter_group:main"));
    assert_eq!(
        view["rds/db_instance:main"]["parameter_group"]["existing"],
        "theirs"
    );
    assert_eq!(
        view["elasticache/replication_group:main"]["parameter_group"]["existing"],
        "theirs-too"
    );
}

/// The rules of the complaints about a good blueprint with one thing changed or added.
fn broken<R: gantry::resource::Resource>(
    name: ProfileName,
    address: &str,
    mend: impl Fn(&mut R),
) -> Vec<&'static str> {
    let site = site(name, "");
    let mut blueprint = drawn(&site);
    let (_, spec) = blueprint
        .of::<R>()
        .find(|(a, _)| a.to_string() == address)
        .unwrap_or_else(|| panic!("no {address}"));
    let mut spec = spec.clone();
    mend(&mut spec);
    blueprint.add("broken", spec);
    let mut rules: Vec<_> = lint(&blueprint, &site)
        .iter()
        .map(|complaint| complaint.rule)
        .collect();
    rules.dedup();
    rules
}

#[test]
fn lint_catches_each_sort_of_contradiction() {
    use gantry::kinds::{dlm, ec2, elasticache, elb, iam, kms, rds, s3};
    let ha = ProfileName::Ha3k;
    let poc = ProfileName::Poc2k;

    // Ports.
    let rules = |mend: fn(&mut SecurityGroupRules)| {
        broken::<SecurityGroupRules>(ha, "ec2/security_group_rules:gitaly", mend)
    };
    let world = || Peer::Cidr("0.0.0.0/0".parse().unwrap());
    assert_eq!(
        rules(|r| r.ingress[0].peer = Peer::Cidr("0.0.0.0/0".parse().unwrap())),
        ["open-port"]
    );
    assert_eq!(rules(|r| r.egress[0].why.clear()), ["rule-without-reason"]);
    assert_eq!(
        rules(|r| r.egress[0].why = "l'apostrophe".into()),
        ["rule-text"]
    );
    assert_eq!(
        rules(|r| {
            let rule = r.ingress[0].clone();
            r.ingress = vec![rule; 61];
        }),
        ["too-many-rules"]
    );
    assert_eq!(
        broken::<SecurityGroupRules>(ha, "ec2/security_group_rules:rails", |r| {
            r.egress[0].peer = world();
            r.egress[0].from_port = 5432;
            r.egress[0].to_port = 5432;
        }),
        ["open-egress"]
    );

    // Machines.
    let node = |mend: fn(&mut Instance)| broken::<Instance>(ha, "ec2/instance:gitaly-1", mend);
    assert_eq!(node(|n| n.image = "ubuntu".into()), ["image"]);
    assert_eq!(node(|n| n.groups.clear()), ["no-group"]);
    assert_eq!(node(|n| n.role.clear()), ["missing-tag"]);
    assert_eq!(node(|n| n.user_data = "x".repeat(17_000)), ["user-data"]);
    assert_eq!(
        node(|n| n.user_data.push_str("# db_password: hunter2")),
        ["user-data"]
    );
    assert_eq!(
        node(|n| n.user_data = n
            .user_data
            .replace(gantry::boot::boot_program().1, "latest")),
        ["user-data"]
    );
    assert_eq!(
        broken::<Instance>(ha, "ec2/instance:bastion", |_| ()),
        ["public-node"]
    );
    assert_eq!(
        broken::<ec2::AddressAssociation>(ha, "ec2/address_association:bastion", |_| ()),
        [""; 0]
    );
    assert_eq!(
        broken::<autoscaling::Group>(ha, "autoscaling/group:rails", |g| g.min = g.max + 1),
        ["sizes"]
    );

    // Names.
    assert_eq!(
        broken::<elb::LoadBalancer>(ha, "elb/load_balancer:public", |b| b.name = "x".repeat(33)),
        ["name-too-long"]
    );
    assert_eq!(
        broken::<elb::LoadBalancer>(ha, "elb/load_balancer:public", |b| b.name =
            "internal-x".into()),
        ["name-reserved"]
    );
    assert_eq!(
        broken::<rds::DbInstance>(ha, "rds/db_instance:main", |d| d.identifier =
            "x".repeat(64)),
        ["name-too-long"]
    );
    assert_eq!(
        broken::<Bucket>(ha, "s3/bucket:lfs", |b| b.name.clear()),
        ["name-empty"]
    );

    // Stores.
    assert_eq!(
        broken::<rds::DbInstance>(ha, "rds/db_instance:main", |d| d.backup_days = 0),
        ["no-backup"]
    );
    assert_eq!(
        broken::<rds::DbInstance>(ha, "rds/db_instance:main", |d| d.protection =
            gantry::kinds::Protection::Off),
        ["unprotected"]
    );
    assert_eq!(
        broken::<rds::DbInstance>(ha, "rds/db_instance:main", |d| d.groups.clear()),
        ["no-group"]
    );
    assert_eq!(
        broken::<ParameterGroup>(ha, "rds/parameter_group:main-17", |g| {
            g.parameters.remove("rds.force_ssl");
        }),
        ["plain-connections"]
    );
    assert_eq!(
        broken::<kms::Key>(ha, "kms/key:main", |k| k.rotation = false),
        ["key-rotation"]
    );
    assert_eq!(
        broken::<kms::Key>(ha, "kms/key:main", |k| k.pending_days = 3),
        ["key-pending"]
    );
    let _ = elasticache::KINDS;

    // Buckets.
    let bucket = |mend: fn(&mut Bucket)| broken::<Bucket>(ha, "s3/bucket:artifacts", mend);
    assert_eq!(
        bucket(|b| b.encryption = s3::BucketEncryption::S3Managed),
        ["unencrypted"]
    );
    assert_eq!(bucket(|b| b.log_to = None), ["no-access-log"]);
    assert_eq!(
        bucket(|b| b.allow_delivery.push(s3::Delivery::FlowLogs)),
        ["public-bucket"]
    );
    assert_eq!(bucket(|b| b.lifecycle.clear()), ["incomplete-uploads"]);
    assert_eq!(
        bucket(|b| b.lifecycle.push(LifecycleRule::Expire {
            days: 1,
            prefix: String::new()
        })),
        ["data-expires"]
    );
    assert_eq!(
        broken::<Bucket>(ha, "s3/bucket:gitaly-backups", |b| b
            .lifecycle
            .push(LifecycleRule::ExpireNoncurrent { days: 30 })),
        ["data-expires"]
    );

    assert_eq!(bucket(|b| b.immutable_days = Some(14)), ["locked"]);

    // Load balancers.
    assert_eq!(
        broken::<elb::LoadBalancer>(ha, "elb/load_balancer:public", |b| b.groups.clear()),
        ["no-group"]
    );
    assert_eq!(
        broken::<elb::LoadBalancer>(ha, "elb/load_balancer:public", |b| b.logs = None),
        ["no-access-log"]
    );
    assert_eq!(
        broken::<elb::LoadBalancer>(ha, "elb/load_balancer:praefect", |b| b.scheme =
            elb::Scheme::Public),
        ["wrong-subnet", "no-access-log"]
    );
    assert_eq!(
        broken::<TargetGroup>(ha, "elb/target_group:web", |g| g.preserve_client_ip = true),
        ["two-client-addresses"]
    );
    assert_eq!(
        broken::<TargetGroup>(ha, "elb/target_group:ssh", |g| g.health = Health::Tcp),
        ["noisy-check"]
    );
    assert_eq!(
        broken::<elb::Listener>(ha, "elb/listener:https", |l| l.protocol =
            elb::ListenerProtocol::Tcp),
        ["no-tls"]
    );

    // Snapshots.
    assert_eq!(
        broken::<Volume>(ha, "ec2/volume:gitaly-1", |v| v.snapshots =
            Some("acme".into())),
        ["cluster-snapshot"]
    );
    assert_eq!(
        broken::<dlm::Policy>(poc, "dlm/policy:git-data", |p| {
            p.target_tags.insert("more".into(), "x".into());
        }),
        ["snapshot-target"]
    );
    assert_eq!(
        broken::<dlm::Policy>(poc, "dlm/policy:git-data", |p| {
            p.target_tags = [("gantry:role".to_owned(), "gitaly".to_owned())].into();
        }),
        ["snapshot-target"]
    );

    // Roles.
    let role = |mend: fn(&mut iam::Role)| broken::<iam::Role>(ha, "iam/role:gitaly", mend);
    assert_eq!(
        role(|r| r.grants[0].actions = vec!["s3:*".into()]),
        ["wide-grant"]
    );
    assert_eq!(
        role(|r| r.grants[0].on = vec![iam::Target::Any]),
        ["wide-grant"]
    );
    assert_eq!(role(|r| r.grants[0].sid = "with space".into()), ["sid"]);
    assert_eq!(
        role(|r| {
            let keep = r
                .grants
                .iter_mut()
                .find(|g| g.sid == "KeepGitalyBackups")
                .unwrap();
            keep.actions.push("s3:DeleteObject".into());
        }),
        ["deletes-backups"]
    );
    for action in ["rds:DeleteDBSnapshot", "ec2:DeleteSnapshot"] {
        assert_eq!(
            broken::<iam::Role>(ha, "iam/role:gitaly", |r| r.grants[0].actions =
                vec![action.into()]),
            ["deletes-backups"]
        );
    }
    assert_eq!(
        role(|r| {
            r.grants[0].actions = vec!["s3:DeleteObjectVersion".into()];
            r.grants[0].on = vec![iam::Target::Arn(
                "arn:aws:s3:::gantry-acme-backups-123456789012-eu-west-1/points/*".into(),
            )];
        }),
        ["deletes-backups"]
    );
    assert_eq!(
        broken::<iam::Role>(ha, "iam/role:sidekiq", |r| {
            for on in r.grants.iter_mut().flat_map(|g| &mut g.on) {
                if let iam::Target::Folder(bucket, _) = on {
                    *on = iam::Target::Objects(bucket.clone());
                }
            }
        }),
        ["reaches-points"]
    );
    // The host's rights in another role's hands.
    assert_eq!(
        broken::<iam::Role>(ha, "iam/role:bastion", |_| ()),
        ["reaches-points", "opens-secrets"]
    );
}

#[test]
fn lint_catches_data_under_the_key_of_the_secrets() {
    use gantry::kinds::iam::{Role as IamRole, Target};
    use gantry::kinds::s3::BucketEncryption;
    let site = site(ProfileName::Ha3k, "");
    let mut blueprint = drawn(&site);
    let key = blueprint
        .of::<IamRole>()
        .flat_map(|(_, role)| &role.grants)
        .flat_map(|grant| &grant.on)
        .find_map(|on| match on {
            Target::Key(key) if key.address().name() == "recovery" => Some(key.clone()),
            _ => None,
        })
        .unwrap();
    let (_, lfs) = blueprint
        .of::<Bucket>()
        .find(|(a, _)| a.name() == "lfs")
        .unwrap();
    let sealed = Bucket {
        encryption: BucketEncryption::Key(key),
        ..lfs.clone()
    };
    blueprint.add("sealed", sealed);
    assert_eq!(
        complaints(&blueprint, &site),
        "s3/bucket:sealed: is encrypted with the key of the secrets (one-key-for-all)\n"
    );
}

#[test]
fn lint_catches_an_address_used_twice() {
    let site = site(ProfileName::Poc2k, "");
    let mut blueprint = drawn(&site);
    let (_, key) = blueprint.of::<gantry::kinds::kms::Key>().next().unwrap();
    let key = key.clone();
    blueprint.add("main", key);
    assert_eq!(
        complaints(&blueprint, &site),
        "kms/key:main: is there twice (duplicate-address)\n"
    );
}

#[test]
fn lint_catches_what_points_into_another_blueprint() {
    let site = site(ProfileName::Ha3k, "");
    let other = drawn(&site);
    let (_, database) = other.of::<gantry::kinds::rds::DbInstance>().next().unwrap();
    let mut blueprint = Blueprint::new();
    blueprint.add("main", database.clone());
    let rules: Vec<_> = lint(&blueprint, &site).iter().map(|c| c.rule).collect();
    assert!(rules.contains(&"dangling-reference"), "{rules:?}");
    assert!(rules.contains(&"unencrypted"), "{rules:?}");
}

#[test]
fn lint_catches_a_public_store() {
    let site = site(ProfileName::Ha3k, "");
    let mut blueprint = drawn(&site);
    let (_, subnet) = blueprint.of::<Subnet>().next().unwrap();
    let mut subnet = subnet.clone();
    subnet.exposure = gantry::kinds::ec2::Exposure::Public;
    let public = blueprint.add("open", subnet);
    let (_, group) = blueprint
        .of::<gantry::kinds::rds::SubnetGroup>()
        .next()
        .unwrap();
    let mut group = group.clone();
    group.subnets = vec![public];
    let group = blueprint.add("open", group);
    let (_, database) = blueprint
        .of::<gantry::kinds::rds::DbInstance>()
        .next()
        .unwrap();
    let mut database = database.clone();
    database.subnet_group = group;
    blueprint.add("open", database);
    assert_eq!(
        complaints(&blueprint, &site),
        "rds/db_instance:open: lies in a public subnet (public-store)\n"
    );
}
