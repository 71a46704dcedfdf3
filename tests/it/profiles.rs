//! The profiles against the reference architectures' numbers, each mismatch named.

use gantry::profile::{
    self, Availability, Database, MaxmemoryPolicy, Profile, ProfileName, StorageType, Volume,
};
use gantry::site::{self, Site};
use serde_json::Value;

/// The key of a size in the facts.
fn key(name: ProfileName) -> &'static str {
    match name {
        ProfileName::SingleBox => "1k",
        ProfileName::Poc2k => "2k",
        ProfileName::Ha3k => "3k",
        ProfileName::Ha5k => "5k",
        ProfileName::Ha10k => "10k",
        ProfileName::Ha25k => "25k",
        ProfileName::Ha50k => "50k",
    }
}

/// What differs between a profile and the facts.
struct Comparison<'a> {
    facts: &'a Value,
    name: ProfileName,
    mismatches: Vec<String>,
}

impl Comparison<'_> {
    fn fact(&self, path: &str) -> Value {
        self.facts
            .pointer(path)
            .cloned()
            .unwrap_or_else(|| panic!("{}: the facts have no {path}", self.name))
    }

    fn same(&mut self, what: &str, ours: impl Into<Value>, path: &str) {
        let (ours, fact) = (ours.into(), self.fact(path));
        if ours != fact {
            self.mismatches.push(format!(
                "{}: {what} is {ours}, the facts say {fact} at {path}",
                self.name
            ));
        }
    }

    fn one_of(&mut self, what: &str, ours: &str, path: &str) {
        let fact = self.fact(path);
        if !fact.as_array().unwrap().iter().any(|option| option == ours) {
            self.mismatches.push(format!(
                "{}: {what} is {ours}, the facts say one of {fact} at {path}",
                self.name
            ));
        }
    }

    fn holds(&mut self, condition: bool, what: &str) {
        if !condition {
            self.mismatches.push(format!("{}: {what}", self.name));
        }
    }
}

fn compare(profile: &Profile, facts: &Value) -> Vec<String> {
    let mut c = Comparison {
        facts: &facts["sizes"][key(profile.name)],
        name: profile.name,
        mismatches: Vec::new(),
    };
    c.same("users", profile.users, "/users");
    let rps = profile.target_rps;
    for (word, ours) in [
        ("headline", rps.headline),
        ("api", rps.api),
        ("web", rps.web),
        ("git_pull", rps.git_pull),
        ("git_push", rps.git_push),
    ] {
        c.same(
            &format!("target_rps.{word}"),
            ours,
            &format!("/target_rps/{word}"),
        );
    }
    c.same("full availability", profile.ha == Availability::Full, "/ha");
    if let Some(single_box) = &profile.single_box {
        c.same(
            "single_box.instance_type",
            single_box.instance_type.as_str(),
            "/components/single_node/aws_instance_example",
        );
        data(&mut c, "single_box", &single_box.data);
        c.same(
            "nodes",
            profile.nodes(),
            "/ec2_nodes_with_managed_services/single_node",
        );
        return c.mismatches;
    }
    nodes(&mut c, profile);
    stores(&mut c, profile);
    c.mismatches
}

fn nodes(c: &mut Comparison<'_>, profile: &Profile) {
    let rails = profile.rails.as_ref().unwrap();
    c.same("rails.desired", rails.desired, "/components/rails/nodes");
    c.same("rails.min", rails.min, "/components/rails/nodes");
    c.same(
        "rails.instance_type",
        rails.instance_type.as_str(),
        "/components/rails/aws_instance_example",
    );
    c.holds(
        rails.max > rails.desired && rails.max <= rails.desired * 2,
        "rails.max is above desired and at most twice it",
    );
    let gitaly = profile.gitaly.as_ref().unwrap();
    c.same("gitaly.count", gitaly.count, "/components/gitaly/nodes");
    c.same(
        "gitaly.instance_type",
        gitaly.instance_type.as_str(),
        "/components/gitaly/aws_instance_example",
    );
    data(c, "gitaly", &gitaly.data);
    for (word, group) in [
        ("sidekiq", &profile.sidekiq),
        ("praefect", &profile.praefect),
        ("monitoring", &profile.monitoring),
    ] {
        match group {
            Some(group) => {
                c.same(
                    &format!("{word}.count"),
                    group.count,
                    &format!("/components/{word}/nodes"),
                );
                c.same(
                    &format!("{word}.instance_type"),
                    group.instance_type.as_str(),
                    &format!("/components/{word}/aws_instance_example"),
                );
            }
            None => c.holds(
                c.facts["components"].get(word).is_none(),
                &format!("{word} is missing and the facts have it"),
            ),
        }
    }
    c.same(
        "nodes",
        profile.nodes(),
        "/ec2_nodes_with_managed_services/total",
    );
    for root in [
        rails.root.gib,
        gitaly.root.gib,
        profile.sidekiq.as_ref().unwrap().root.gib,
    ] {
        c.holds(
            root >= 40,
            "a root volume is smaller than the documented 40 GiB",
        );
    }
    c.holds(
        profile.zones >= 2 && (profile.ha != Availability::Full || profile.zones == 3),
        "zones are two, or three for a cluster",
    );
}

fn stores(c: &mut Comparison<'_>, profile: &Profile) {
    let database = profile.database.as_ref().unwrap();
    c.one_of(
        "database.class",
        database.class.as_str(),
        "/components/postgresql/aws_managed/derived_instance_class",
    );
    c.holds(
        database.class.as_str().starts_with("db.m6i."),
        "database.class is of the m6i family",
    );
    c.holds(
        database.engine_version.major() == 17 && database.multi_az,
        "database is PostgreSQL 17, Multi-AZ",
    );
    c.same(
        "database.max_connections",
        database.max_connections,
        "/db_connection_demand/with_aws_example_default_workers",
    );
    let replicas = if profile.users >= 10_000 {
        c.fact("/components/postgresql/aws_managed/read_replicas/count")
    } else {
        0.into()
    };
    c.holds(
        replicas == database.read_replicas,
        "database.read_replicas are the table's from 10k up and none below",
    );
    if let Some(praefect) = &profile.praefect_database {
        c.one_of(
            "praefect_database.class",
            praefect.class.as_str(),
            "/components/praefect_postgresql/aws_managed/derived_instance_class",
        );
        c.holds(praefect.multi_az, "praefect_database is Multi-AZ");
        storage(c, "praefect_database", praefect);
    } else {
        c.holds(
            c.facts["ours"].get("praefect_database").is_none(),
            "praefect_database is missing and the facts have it",
        );
    }
    storage(c, "database", database);
    let components: &[(&str, &str)] = match profile.name {
        ProfileName::Poc2k => &[("main", "redis")],
        ProfileName::Ha3k | ProfileName::Ha5k => &[("main", "redis_sentinel")],
        _ => &[
            ("cache", "redis_sentinel_cache"),
            ("persistent", "redis_sentinel_persistent"),
        ],
    };
    let names: Vec<&str> = profile
        .caches
        .iter()
        .map(|cache| cache.name.as_str())
        .collect();
    c.holds(
        names == components.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "the caches are those of the facts",
    );
    for (cache, (name, component)) in profile.caches.iter().zip(components) {
        c.same(
            &format!("caches.{name}.node_type"),
            cache.node_type.as_str(),
            &format!("/components/{component}/aws_managed/derived_node_types/0"),
        );
        let policy = c.fact(&format!(
            "/components/{component}/aws_managed/maxmemory_policy"
        ));
        c.holds(
            policy
                .as_str()
                .unwrap()
                .starts_with(cache.maxmemory_policy.as_str()),
            &format!("caches.{name}.maxmemory_policy is {policy}"),
        );
        c.holds(
            cache.maxmemory_samples.is_some()
                == (cache.maxmemory_policy == MaxmemoryPolicy::AllKeysLru),
            &format!("caches.{name}.maxmemory_samples goes with eviction"),
        );
        c.holds(
            cache.engine_version.as_str() == "7.2",
            &format!("caches.{name} is Valkey 7.2"),
        );
        // The table's nodes are one primary and its replicas; poc-2k has one replica for the second zone.
        let nodes = c.fact(&format!("/components/{component}/nodes"));
        let expected = if profile.name == ProfileName::Poc2k {
            2
        } else {
            nodes.as_u64().unwrap()
        };
        c.holds(
            u64::from(cache.replicas) + 1 == expected,
            &format!("caches.{name}.replicas and its primary are {expected}"),
        );
    }
}

/// A data volume against what we chose for it.
fn data(c: &mut Comparison<'_>, word: &str, volume: &Volume) {
    for (what, ours) in [
        ("gib", volume.gib),
        ("iops", volume.iops),
        ("throughput", volume.throughput),
    ] {
        c.same(
            &format!("{word}.data.{what}"),
            ours,
            &format!("/ours/{word}/data/{what}"),
        );
    }
}

/// A database's storage against what we chose for it.
fn storage(c: &mut Comparison<'_>, word: &str, database: &Database) {
    for (what, ours) in [
        ("storage_gib", Value::from(database.storage_gib)),
        ("max_storage_gib", Value::from(database.max_storage_gib)),
        ("storage_type", Value::from(database.storage_type.as_str())),
        ("iops", Value::from(database.iops)),
    ] {
        c.same(
            &format!("{word}.{what}"),
            ours,
            &format!("/ours/{word}/{what}"),
        );
    }
}

fn facts() -> Value {
    serde_json::from_str(include_str!("../facts/reference-architectures.json")).unwrap()
}

#[test]
fn every_profile_is_its_reference_architecture() {
    let facts = facts();
    let mismatches: Vec<String> = profile::all()
        .flat_map(|profile| compare(profile, &facts))
        .collect();
    assert!(mismatches.is_empty(), "{}", mismatches.join("\n"));
}

#[test]
fn the_comparison_sees_a_wrong_number() {
    let mut profile = profile::get(ProfileName::Ha5k).clone();
    profile.gitaly.as_mut().unwrap().instance_type = "m5.large".parse().unwrap();
    profile.database.as_mut().unwrap().class = "db.m6i.large".parse().unwrap();
    profile.caches[0].replicas = 1;
    assert_eq!(compare(&profile, &facts()).len(), 3);
}

#[test]
fn the_comparison_sees_a_wrong_volume_and_a_wrong_storage() {
    let mut profile = profile::get(ProfileName::Ha5k).clone();
    let volume = &mut profile.gitaly.as_mut().unwrap().data;
    (volume.gib, volume.iops, volume.throughput) = (999, 3000, 125);
    for database in [&mut profile.database, &mut profile.praefect_database] {
        let database = database.as_mut().unwrap();
        database.storage_gib += 1;
        database.max_storage_gib += 1;
        database.storage_type = StorageType::Io1;
        database.iops = Some(1000);
    }
    let wrong = compare(&profile, &facts());
    assert_eq!(wrong.len(), 3 + 2 * 4, "{wrong:#?}");

    let mut small = profile::get(ProfileName::SingleBox).clone();
    small.single_box.as_mut().unwrap().data.gib = 100;
    let wrong = compare(&small, &facts());
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
}

fn site(profile: ProfileName, more: &str) -> Site {
    let text = format!(
        "[site]\nname = \"acme\"\nprofile = \"{profile}\"\ndomain = \"gitlab.example.com\"\nregion = \"eu-west-1\"\n{more}"
    );
    site::parse("gantry.toml", &text)
        .unwrap_or_else(|error| panic!("{:?}", error.findings))
        .site
}

#[test]
fn a_site_without_overrides_has_the_profile_s_sizes() {
    for profile in profile::all() {
        assert_eq!(
            &profile.with_overrides(&site(profile.name, "")).unwrap(),
            profile
        );
    }
}

#[test]
fn overrides_give_the_final_sizes() {
    let more = "[nodes.rails]\ncount = 8\n[nodes.gitaly]\ndata_gib = 900\niops = 6000\n[database]\nstorage_gib = 500\n[cache]\nreplicas = 1\n[network]\nzones = 3\n";
    let sizes = profile::get(ProfileName::Ha3k)
        .with_overrides(&site(ProfileName::Ha3k, more))
        .unwrap();
    let rails = sizes.rails.unwrap();
    assert_eq!((rails.min, rails.desired, rails.max), (3, 8, 8));
    let data = sizes.gitaly.unwrap().data;
    assert_eq!((data.gib, data.iops, data.throughput), (900, 6000, 250));
    let database = sizes.database.unwrap();
    // From 400 GiB up gp3 has 12,000 IOPS in its price, and the ceiling keeps five times the start.
    assert_eq!(
        (
            database.storage_gib,
            database.iops,
            database.max_storage_gib
        ),
        (500, Some(12_000), 2500)
    );
    assert_eq!(sizes.caches[0].replicas, 1);
}

#[test]
fn overrides_that_contradict_are_refused_without_a_file_too() {
    let mut site = site(ProfileName::Poc2k, "");
    site.nodes.praefect = Some(site::FixedNodes {
        count: Some(3),
        ..Default::default()
    });
    let refused = profile::get(ProfileName::Poc2k)
        .with_overrides(&site)
        .unwrap_err();
    assert!(
        refused.to_string().contains("poc-2k has no praefect"),
        "{refused}"
    );
}
