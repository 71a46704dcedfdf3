//! What the person running install must be allowed: the IAM policy that `gantry policy` prints.
//!
//! It follows from the `ACTIONS` of the kinds in use and the few calls of the engine itself. Where AWS knows names,
//! it is about the names of the site; elsewhere about the site's region. Managed policies have 6,144 characters at
//! most, so it comes in as many documents as it takes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::kinds::iam;
use crate::resource::{KindInfo, SITE_TAG};
use crate::site::Site;

/// The most characters of a managed policy, without white space
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
pub const MOST_CHARACTERS: usize = 6144;

/// Calls that belong to no kind: who am I, what is there, what may I have.
const ENGINE: &[&str] = &[
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "iam:CreateServiceLinkedRole",
    "route53:ListHostedZones",
    // The files of the nodes, and the secrets that the site file takes from elsewhere.
    "s3:GetObject",
    "s3:ListBucket",
    "s3:PutObject",
    "secretsmanager:PutSecretValue",
    "servicequotas:ListServiceQuotas",
    "sts:GetCallerIdentity",
    "tag:GetResources",
];

/// Services that make their own role in an account at the first use, and do it with the caller's permission.
const LINKED: [&str; 4] = [
    "autoscaling.amazonaws.com",
    "elasticache.amazonaws.com",
    "elasticloadbalancing.amazonaws.com",
    "rds.amazonaws.com",
];

/// Services without regions: a condition on the region would shut them.
const GLOBAL: [&str; 4] = ["iam", "route53", "s3", "sts"];

/// Every action that install, plan, status and destroy need with these kinds, sorted.
pub fn actions<'a>(kinds: impl IntoIterator<Item = &'a KindInfo>) -> BTreeSet<&'static str> {
    kinds
        .into_iter()
        .flat_map(|kind| kind.actions.iter().copied())
        .chain(ENGINE.iter().copied())
        .collect()
}

/// The actions of a kind that change nothing: what a survey needs of kinds that the site does not use.
pub fn looks(kind: &KindInfo) -> Vec<&'static str> {
    let verbs = ["Describe", "List", "Get"];
    let mut looks = Vec::new();
    for action in kind.actions {
        let call = action.split_once(':').map_or("", |(_, call)| call);
        if call != "GetSecretValue" && verbs.iter().any(|verb| call.starts_with(verb)) {
            looks.push(*action);
        }
    }
    looks
}

/// The policy as JSON: `{"format": 1, "documents": [{"name": …, "document": …}]}`, each document small enough for a
/// managed policy.
///
/// `kinds` are those the site uses; `surveyed` are all that a survey asks for, because of what an earlier profile
/// may have left.
pub fn operator_policy<'a>(
    kinds: impl IntoIterator<Item = &'a KindInfo>,
    surveyed: impl IntoIterator<Item = &'a KindInfo>,
    site: &Site,
) -> Value {
    let mut needed = actions(kinds);
    for kind in surveyed {
        needed.extend(looks(kind));
    }
    let statements = statements(&needed, site);
    let documents: Vec<Value> = pack(statements)
        .into_iter()
        .zip(1..)
        .map(|(statements, number)| {
            json!({
                "name": format!("gantry-{}-operator-{number}", site.site.name),
                "document": document(&statements),
            })
        })
        .collect();
    json!({ "format": 1, "documents": documents })
}

fn document(statements: &[Value]) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// Statements into as few documents as their order allows.
fn pack(statements: Vec<Value>) -> Vec<Vec<Value>> {
    let mut documents: Vec<Vec<Value>> = Vec::new();
    for statement in statements {
        if let Some(last) = documents.last_mut() {
            last.push(statement);
            if document(last).to_string().len() <= MOST_CHARACTERS {
                continue;
            }
            let moved = last.pop().into_iter().collect();
            documents.push(moved);
        } else {
            documents.push(vec![statement]);
        }
    }
    documents
}

/// What a group of actions is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct About {
    /// Says what it is, for people: `Ec2`, `IamByPath`.
    sid: String,
    resources: Vec<String>,
    /// Operator to key to values.
    conditions: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

impl About {
    fn new(sid: impl Into<String>, resources: &[String]) -> Self {
        Self {
            sid: sid.into(),
            resources: resources.to_vec(),
            conditions: BTreeMap::new(),
        }
    }

    fn anything(sid: impl Into<String>) -> Self {
        Self::new(sid, &["*".to_owned()])
    }

    fn when(mut self, operator: &str, key: &str, values: &[&str]) -> Self {
        self.conditions
            .entry(operator.to_owned())
            .or_default()
            .insert(
                key.to_owned(),
                values.iter().map(|value| (*value).to_owned()).collect(),
            );
        self
    }

    fn statement(&self, actions: &BTreeSet<&str>) -> Value {
        let mut statement = json!({
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": actions,
            "Resource": one_or_all(&self.resources),
        });
        if !self.conditions.is_empty() {
            let conditions: BTreeMap<_, BTreeMap<_, _>> = self
                .conditions
                .iter()
                .map(|(operator, keys)| {
                    let keys = keys.iter().map(|(key, values)| (key, one_or_all(values)));
                    (operator, keys.collect())
                })
                .collect();
            statement["Condition"] = json!(conditions);
        }
        statement
    }
}

fn one_or_all(values: &[String]) -> Value {
    match values {
        [one] => json!(one),
        all => json!(all),
    }
}

fn statements(actions: &BTreeSet<&'static str>, site: &Site) -> Vec<Value> {
    let mut grouped: BTreeMap<About, BTreeSet<&str>> = BTreeMap::new();
    for action in actions {
        for about in about(action, site) {
            grouped.entry(about).or_default().insert(action);
        }
    }
    grouped
        .iter()
        .map(|(about, actions)| about.statement(actions))
        .collect()
}

/// What an action is allowed on. More than one answer means: on either.
fn about(action: &str, site: &Site) -> Vec<About> {
    let (service, verb) = action.split_once(':').unwrap_or((action, ""));
    match service {
        "iam" => about_iam(verb, site),
        "s3" => about_s3(verb, site),
        "secretsmanager" if verb == "GetSecretValue" || verb == "TagResource" => {
            about_secrets(verb, site)
        }
        "kms"
            if ["CreateGrant", "Decrypt", "GenerateDataKey", "ReEncrypt"]
                .iter()
                .any(|word| verb.starts_with(word)) =>
        {
            vec![about_key_use(verb, site)]
        }
        _ => vec![by_region(service, site)],
    }
}

fn by_region(service: &str, site: &Site) -> About {
    let about = About::anything(capital(service));
    if GLOBAL.contains(&service) {
        about
    } else {
        about.when(
            "StringEquals",
            "aws:RequestedRegion",
            &[site.site.region.as_str()],
        )
    }
}

/// Roles and instance profiles lie under the site's own path, and carry its tag from birth. Either is enough: by
/// path AWS can say "there is none", by tag what was moved is still found.
fn about_iam(verb: &str, site: &Site) -> Vec<About> {
    let name = site.site.name.as_str();
    let account = account(site);
    let under = |noun: &str| format!("arn:aws:iam::{account}:{noun}{}*", iam::path(name));
    let ours = [under("instance-profile"), under("role")];
    let tag = |kind: &str| format!("aws:{kind}Tag/{SITE_TAG}");
    match verb {
        // A role handed to a machine lends its rights to whoever is on it: only ours, and only to EC2 and DLM.
        "PassRole" => vec![About::new("IamPassRole", &ours[1..]).when(
            "StringEquals",
            "iam:PassedToService",
            &["dlm.amazonaws.com", "ec2.amazonaws.com"],
        )],
        "CreateServiceLinkedRole" => vec![
            About::new(
                "IamServiceLinkedRoles",
                &[format!("arn:aws:iam::{account}:role/aws-service-role/*")],
            )
            .when("StringEquals", "iam:AWSServiceName", &LINKED),
        ],
        _ if ["Get", "List"].iter().any(|word| verb.starts_with(word)) => {
            vec![About::anything("IamLook")]
        }
        // Whoever may put tags anywhere could make any role one of the site's.
        _ if verb.starts_with("Tag") || verb.starts_with("Untag") => {
            vec![About::new("IamByPath", &ours)]
        }
        _ if verb.starts_with("Create") => vec![
            About::new("IamByPath", &ours),
            About::anything("IamCreateTagged").when("StringEquals", &tag("Request"), &[name]),
        ],
        _ => vec![
            About::new("IamByPath", &ours),
            About::anything("IamByTag").when("StringEquals", &tag("Resource"), &[name]),
        ],
    }
}

fn about_s3(verb: &str, site: &Site) -> Vec<About> {
    if verb == "ListAllMyBuckets" {
        return vec![About::anything("S3Look")];
    }
    let bucket = format!("arn:aws:s3:::gantry-{}-*", site.site.name);
    let objects = format!("{bucket}/*");
    vec![About::new("S3", &[bucket, objects])]
}

/// Values are read for one purpose: to give the database and the cache their passwords.
fn about_secrets(verb: &str, site: &Site) -> Vec<About> {
    let (name, region) = (site.site.name.as_str(), site.site.region.as_str());
    let arn = format!(
        "arn:aws:secretsmanager:{region}:{}:secret:gantry/{name}/*",
        account(site)
    );
    let by_name = About::new("SecretsByName", &[arn]);
    if verb == "TagResource" {
        return vec![by_name];
    }
    let tag = format!("aws:ResourceTag/{SITE_TAG}");
    vec![
        by_name,
        About::anything("SecretsByTag").when("StringEquals", &tag, &[name]),
    ]
}

/// The site's key, found by its tag; grants only for AWS services that act for the caller.
fn about_key_use(verb: &str, site: &Site) -> About {
    if verb == "CreateGrant" {
        About::anything("KmsGrants")
            .when("Bool", "kms:GrantIsForAWSResource", &["true"])
            .when(
                "StringEquals",
                "aws:RequestedRegion",
                &[site.site.region.as_str()],
            )
    } else {
        About::anything("KmsByTag").when(
            "StringEquals",
            &format!("aws:ResourceTag/{SITE_TAG}"),
            &[site.site.name.as_str()],
        )
    }
}

/// The account's id, or any where the site file does not say.
fn account(site: &Site) -> String {
    site.site
        .account
        .as_ref()
        .map_or_else(|| "*".to_owned(), ToString::to_string)
}

/// `ec2` as a statement's name: `Ec2`.
fn capital(service: &str) -> String {
    let mut letters = service.chars().filter(char::is_ascii_alphanumeric);
    letters
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(letters)
        .collect()
}
