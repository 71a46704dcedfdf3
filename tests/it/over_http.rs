//! The real binary over HTTP against moto server: the four steps for every profile, an independent look with
//! another client, sudden death, and exactly the permissions that `gantry policy` names.

use std::collections::{BTreeMap, BTreeSet};

use gantry::profile::ProfileName;
use serde_json::{Value, json};

use crate::moto::{Moto, Policy, Said};

const SITE: &str = "gitlab-example";

/// A server with a site file in gantry's folder; what moto lacks is switched off in it.
fn prepared(profile: ProfileName) -> Moto {
    let moto = Moto::fresh();
    moto.ok(&format!(
        "init --profile {profile} --domain gitlab.example.com"
    ));
    let path = moto.file("gantry.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let without = text.replace("[backup]\n", "[backup]\ndlm = false\n");
    assert_ne!(text, without, "init writes a table [backup]");
    std::fs::write(&path, without).unwrap();
    moto
}

/// Addresses of everything of the site that the second client sees, with how often.
fn addresses(seen: &Value) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for tags in seen["tags"].as_object().unwrap().values() {
        if let Some(address) = tags["gantry:address"].as_str() {
            *found.entry(address.to_owned()).or_default() += 1;
        }
    }
    found
}

/// What no tag of ours leads to, and what stands for itself: nothing of it may outlive a site.
const LEAVES_NOTHING: [&str; 8] = [
    "records",
    "alarms",
    "scaling",
    "volumes",
    "buckets",
    "secrets",
    "databases",
    "caches",
];

fn four_steps(profile: ProfileName) {
    let moto = prepared(profile);
    let before = moto.witness(SITE);
    moto.ok("install --yes");
    let status = moto.ok("status --output json").json();
    let seen = moto.witness(SITE);
    let listed = |of: &str| status["inventory"][of].as_array().unwrap().len();
    assert_eq!(
        listed("nodes"),
        seen["instances"].as_array().unwrap().len(),
        "{status:#}"
    );
    assert!(
        listed("endpoints") > seen["databases"].as_object().unwrap().len(),
        "the databases, and what people reach: {status:#}"
    );
    let plan = moto.gantry("plan");
    assert_eq!(
        plan.code, 0,
        "plan after install: {}\n{}",
        plan.out, plan.err
    );
    moto.ok(&format!(
        "destroy --delete-data --no-final-snapshot --yes --site {SITE}"
    ));
    let after = moto.witness(SITE);
    let left = addresses(&after);
    // A key cannot be deleted at once: it waits, disabled, for the days AWS asks for.
    let left: Vec<_> = left.keys().filter(|a| !a.starts_with("kms/key:")).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    for part in LEAVES_NOTHING {
        assert_eq!(after[part], before[part], "{part}");
    }
}

macro_rules! steps {
    ($($name:ident: $profile:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            four_steps(ProfileName::$profile);
        }
    )*};
}

steps! {
    single_box_over_http: SingleBox,
    poc_2k_over_http: Poc2k,
    ha_3k_over_http: Ha3k,
    ha_5k_over_http: Ha5k,
    ha_10k_over_http: Ha10k,
    ha_25k_over_http: Ha25k,
    ha_50k_over_http: Ha50k,
}

fn witness_snapshots() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots/witness");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

/// What the second client must find of any site with a front door.
fn independent_look(profile: ProfileName) {
    let moto = prepared(profile);
    let installed = moto.ok("install --yes -v");
    let seen = moto.witness(SITE);

    witness_snapshots().bind(|| {
        insta::assert_snapshot!(format!("ports-{profile}"), ports(&seen["groups"]));
    });

    for (name, group) in seen["target_groups"].as_object().unwrap() {
        // The inner balancer speaks Praefect's own protocol, which knows no proxy header.
        let proxied = if name == "praefect" { "false" } else { "true" };
        assert_eq!(
            group["attributes"]["proxy_protocol_v2.enabled"], proxied,
            "{name}"
        );
        assert_eq!(
            group["attributes"]["preserve_client_ip.enabled"], "false",
            "{name}"
        );
    }
    let listeners = seen["balancers"]["public"]["listeners"].as_array().unwrap();
    let shape: Vec<_> = listeners
        .iter()
        .map(|l| (l["port"].as_u64().unwrap(), l["protocol"].as_str().unwrap()))
        .collect();
    assert_eq!(shape, [(22, "TCP"), (80, "TCP"), (443, "TLS")]);
    let certificates = seen["certificates"].as_object().unwrap();
    let used = listeners[2]["certificates"][0].as_str().unwrap();
    assert_eq!(certificates[used]["Status"], "ISSUED");
    assert_eq!(certificates[used]["DomainName"], "gitlab.example.com");

    for (name, database) in seen["databases"].as_object().unwrap() {
        assert_eq!(database["StorageEncrypted"], true, "{name}");
        assert_eq!(database["DeletionProtection"], true, "{name}");
        assert_eq!(database["PubliclyAccessible"], false, "{name}");
        assert_eq!(database["MultiAZ"], true, "{name}");
        assert_eq!(database["parameters"]["rds.force_ssl"], "1", "{name}");
    }
    for part in ["databases", "caches", "templates", "volumes", "buckets"] {
        let seen = &seen[part];
        let empty = seen.as_object().is_some_and(serde_json::Map::is_empty)
            || seen.as_array().is_some_and(Vec::is_empty);
        assert!(!empty && !seen.is_null(), "{part}");
    }
    for (name, cache) in seen["caches"].as_object().unwrap() {
        assert_eq!(cache["TransitEncryptionEnabled"], true, "{name}");
        assert_eq!(cache["AtRestEncryptionEnabled"], true, "{name}");
        assert_eq!(cache["AuthTokenEnabled"], true, "{name}");
        assert_eq!(cache["MultiAZ"], "enabled", "{name}");
        assert_eq!(cache["AutomaticFailover"], "enabled", "{name}");
    }
    for (name, balancer) in seen["balancers"].as_object().unwrap() {
        let attributes = &balancer["attributes"];
        assert_eq!(attributes["deletion_protection.enabled"], "true", "{name}");
    }
    for (name, template) in seen["templates"].as_object().unwrap() {
        assert_eq!(
            template["MetadataOptions"]["HttpTokens"], "required",
            "{name}"
        );
        for device in template["BlockDeviceMappings"].as_array().unwrap() {
            assert_eq!(device["Ebs"]["Encrypted"], true, "{name}");
        }
    }
    for volume in seen["volumes"].as_array().unwrap() {
        assert_eq!(volume["encrypted"], true, "{volume}");
    }
    for instance in seen["instances"].as_array().unwrap() {
        let name = instance["address"].as_str().unwrap_or("a Rails node");
        assert_eq!(instance["metadata"]["HttpTokens"], "required", "{name}");
        let public = instance["public_address"].is_string();
        assert_eq!(
            public,
            name.ends_with(":bastion"),
            "{name}: only the bastion has a public address"
        );
        assert_eq!(instance["protected"], name.contains(":gitaly-"), "{name}");
        for volume in instance["volumes"].as_array().unwrap() {
            assert_eq!(volume["encrypted"], true, "{name}");
        }
    }
    for (name, bucket) in seen["buckets"].as_object().unwrap() {
        let block = bucket["public_access_block"].as_object().unwrap();
        assert!(
            block.len() == 4 && block.values().all(|v| v == true),
            "{name}: {block:?}"
        );
        assert_eq!(bucket["versioning"], "Enabled", "{name}");
        let encryption = &bucket["encryption"]["Rules"][0]["ApplyServerSideEncryptionByDefault"];
        // The log services write with S3's own key; everything else is under the site's.
        let wanted = if name == "logs" { "AES256" } else { "aws:kms" };
        assert_eq!(encryption["SSEAlgorithm"], wanted, "{name}: {bucket}");
        assert_eq!(
            encryption["KMSMasterKeyID"].is_string(),
            name != "logs",
            "{name}: {bucket}"
        );
        assert!(
            bucket["policy"].to_string().contains("aws:SecureTransport"),
            "{name}"
        );
    }
    no_secret_anywhere(&moto, &seen, &installed);
}

/// Every value of a secret, searched for wherever somebody could see it.
fn no_secret_anywhere(moto: &Moto, seen: &Value, installed: &Said) {
    let secrets: Vec<&str> = seen["secrets"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_str)
        .filter(|s| s.len() >= 8)
        .collect();
    assert!(secrets.len() >= 4, "there are secrets to look for");
    let mut shown = seen.clone();
    shown.as_object_mut().unwrap().remove("secrets");
    let mut places = vec![
        ("what the cloud shows".to_owned(), shown.to_string()),
        (
            "gantry install -v".to_owned(),
            format!("{}{}", installed.out, installed.err),
        ),
    ];
    for line in [
        "plan --output json",
        "status --output json --all",
        "state show --output json",
        "runs show last",
    ] {
        let said = moto.gantry(line);
        places.push((format!("gantry {line}"), said.out + &said.err));
    }
    let mut folders = vec![moto.file(".gantry")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                places.push((
                    path.display().to_string(),
                    String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into(),
                ));
            }
        }
    }
    for (place, text) in places {
        assert!(
            secrets.iter().all(|s| !text.contains(s)),
            "a secret is in {place}"
        );
    }
}

/// The rules of every group, a line each.
fn ports(groups: &Value) -> String {
    let mut lines = Vec::new();
    for (name, group) in groups.as_object().unwrap() {
        for way in ["in", "out"] {
            for rule in group[way].as_array().unwrap() {
                let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
                lines.push(format!("{name} {way} {} {}", text("ports"), text("peer")));
            }
        }
    }
    lines.sort();
    lines.join("\n")
}

#[test]
fn a_second_client_finds_poc_2k_as_promised() {
    independent_look(ProfileName::Poc2k);
}

#[test]
fn a_second_client_finds_ha_3k_as_promised() {
    independent_look(ProfileName::Ha3k);
}

#[test]
fn killed_at_twenty_moments_and_run_again_everything_stands_once() {
    let quiet = prepared(ProfileName::Poc2k);
    quiet.ok("install --yes");
    let wanted = addresses(&quiet.witness(SITE));
    assert!(
        wanted.len() > 60 && wanted.values().all(|n| *n == 1),
        "{wanted:?}"
    );
    drop(quiet);

    let moto = prepared(ProfileName::Poc2k);
    let destroy = format!("destroy --delete-data --no-final-snapshot --yes --site {SITE}");
    // Steps of a small generator stand for chance, so that a failure can be repeated.
    let mut chance: u64 = 20_261_120;
    let mut killed = 0;
    // More than it takes: a run that comes to its end first is no death.
    for _ in 0..60 {
        if killed == 20 {
            break;
        }
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let lines = usize::try_from(chance >> 59).unwrap() / 3 + 2;
        if moto.kill_after("install --yes", lines) {
            killed += 1;
        } else {
            // It came to its end first: from the beginning again.
            moto.ok(&destroy);
        }
    }
    assert_eq!(killed, 20);
    moto.ok("install --yes");
    assert_eq!(addresses(&moto.witness(SITE)), wanted);
    let plan = moto.gantry("plan");
    assert_eq!(plan.code, 0, "{}", plan.out);
    for lines in [3, 9, 5, 14, 7] {
        assert!(moto.kill_after(&destroy, lines), "after {lines} lines");
    }
    moto.ok(&destroy);
    let left = addresses(&moto.witness(SITE));
    assert!(
        left.keys().all(|a| a.starts_with("kms/key:")),
        "left behind: {left:?}"
    );
}

/// The documents of `gantry policy` for somebody who installs.
fn printed(moto: &Moto) -> Vec<Policy> {
    let printed = moto.ok("policy --for install --output json").json();
    let documents = printed["documents"].as_array().unwrap();
    assert!(!documents.is_empty());
    documents
        .iter()
        .map(|d| Policy(d["document"].clone()))
        .collect()
}

#[test]
fn exactly_the_policy_of_gantry_policy_is_enough() {
    let mut moto = prepared(ProfileName::Poc2k);
    let policies = printed(&moto);
    moto.operator(&policies);
    moto.ok("install --yes");
    moto.ok("plan");
    moto.ok("status");
    moto.ok(&format!(
        "destroy --delete-data --no-final-snapshot --yes --site {SITE}"
    ));
}

/// The rights that a refusal asks for.
fn asked_for(said: &str) -> BTreeSet<String> {
    said.split("ask for the permission `")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('`')?.0.to_owned()))
        .collect()
}

/// A tag for everything that takes one.
const TAG: &str = "\n[tags]\nteam = \"blue\"\n";

/// Begins with no right at all and grants, again and again, exactly what the refusals name. So each right that a
/// verb needs was missing once, and was named by the run that missed it; and nothing but those was needed.
struct Beggar {
    moto: Moto,
    in_policy: BTreeSet<String>,
    granted: BTreeSet<String>,
}

impl Beggar {
    /// Runs gantry until it has every right it needs for this.
    fn through(&mut self, line: &str) {
        loop {
            let statement = json!([{"Effect": "Allow", "Action": &self.granted, "Resource": "*"}]);
            let policy = json!({"Version": "2012-10-17", "Statement": statement});
            self.moto.operator(&[Policy(policy)]);
            let said = self.moto.gantry(line);
            if said.code == 0 {
                return;
            }
            assert_eq!(said.code, 4, "{line}: {}", said.err);
            let asked = asked_for(&said.err);
            assert!(!asked.is_empty(), "no right is named: {}", said.err);
            for right in asked {
                assert!(
                    self.in_policy.contains(&right),
                    "{right} is not in the policy"
                );
                assert!(
                    self.granted.insert(right.clone()),
                    "{right} was granted already"
                );
            }
        }
    }

    /// Writes the site file anew.
    fn change(&self, change: impl Fn(&str) -> String) {
        let path = self.moto.file("gantry.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = change(&text);
        assert_ne!(text, changed, "the site file changes");
        std::fs::write(&path, changed).unwrap();
    }
}

#[test]
fn every_missing_right_is_named() {
    let moto = prepared(ProfileName::Poc2k);
    let in_policy: BTreeSet<String> = printed(&moto)
        .iter()
        .flat_map(|policy| policy.0["Statement"].as_array().unwrap().clone())
        .flat_map(|statement| statement["Action"].as_array().unwrap().clone())
        .map(|action| action.as_str().unwrap().to_owned())
        .collect();
    let mut beggar = Beggar {
        moto,
        in_policy,
        // Nobody can be refused this one; IAM takes no policy without any.
        // moto asks for the other where AWS asks for `s3:DeleteObjectVersion`.
        granted: ["sts:GetCallerIdentity", "s3:DeleteObject"]
            .map(str::to_owned)
            .into(),
    };
    beggar.through("install --yes");
    beggar.through("plan");
    beggar.through("status");
    beggar.change(|text| format!("{text}{TAG}"));
    beggar.through("install --yes");
    beggar.change(|text| text.replace(TAG, ""));
    beggar.through("install --yes");
    beggar.through(&format!(
        "destroy --delete-data --no-final-snapshot --yes --site {SITE}"
    ));

    // The rest of the policy is for other changes, for other profiles, for what AWS asks for and moto does not, and for what
    // lags. A right that stops being needed is one more.
    let known: BTreeSet<&str> = include_str!("../support/moto/rights-never-missed.txt")
        .lines()
        .collect();
    let more: Vec<&String> = beggar
        .in_policy
        .difference(&beggar.granted)
        .filter(|right| !known.contains(right.as_str()))
        .collect();
    assert!(more.is_empty(), "no run ever missed {more:?}");
}
