//! What the person running gantry must be allowed: the IAM policy that `gantry policy` prints.
//!
//! It follows from the `ACTIONS` of the kinds in use, the few calls of the engine itself, and what each task asks of
//! AWS besides. Where AWS knows names,
//! it is about the names of the site; elsewhere about the site's region. Managed policies have 6,144 characters at
//! most, so it comes in as many documents as it takes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::blueprint::METRICS;
use crate::kinds::iam;
use crate::resource::{KindInfo, SITE_TAG};
use crate::site::{Region, Site};

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
    // Preflight asks whether the caller may do the rest.
    "iam:GetRole",
    "iam:SimulatePrincipalPolicy",
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

/// What somebody does with a site; each asks for rights of its own, and all of them ask for `ENGINE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Install, plan, status and destroy.
    Install,
    /// Changing the files of nodes that stand, which leave the load balancer for the time being.
    Reconfigure,
    /// Recovery points and snapshots: taking, looking at, verifying and pruning them. The appliance host takes them
    /// with its own role; this is for people, and only people prune.
    Backup,
    /// Bringing a recovery point back.
    Restore,
}

impl Task {
    pub const ALL: [Self; 4] = [
        Self::Install,
        Self::Reconfigure,
        Self::Backup,
        Self::Restore,
    ];

    /// What the task calls, besides what the kinds and the engine do.
    fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Install => INSTALL,
            Self::Reconfigure => RECONFIGURE,
            Self::Backup => BACKUP,
            Self::Restore => RESTORE,
        }
    }
}

/// `destroy --delete-data` takes the snapshots along.
const INSTALL: &[&str] = &[
    "ec2:DeleteSnapshot",
    "ec2:DescribeSnapshots",
    "rds:DeleteDBSnapshot",
    "rds:DescribeDBSnapshots",
];

const RECONFIGURE: &[&str] = &[
    "autoscaling:DescribeAutoScalingGroups",
    // A group leaves its nodes alone while they are out on purpose.
    "autoscaling:ResumeProcesses",
    "autoscaling:SuspendProcesses",
    "ec2:DescribeInstances",
    "elasticloadbalancing:DeregisterTargets",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "elasticloadbalancing:RegisterTargets",
];

const BACKUP: &[&str] = &[
    "autoscaling:DescribeAutoScalingGroups",
    // A group leaves its machines alone while they stand still for a snapshot.
    "autoscaling:ResumeProcesses",
    "autoscaling:SuspendProcesses",
    "cloudwatch:PutMetricData",
    "ec2:CopySnapshot",
    "ec2:CreateSnapshots",
    "ec2:CreateTags",
    "ec2:DeleteSnapshot",
    "ec2:DescribeInstances",
    "ec2:DescribeSnapshots",
    "ec2:DescribeVolumes",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    // The key of the copies in another region is made there once.
    "kms:CreateAlias",
    "kms:CreateGrant",
    "kms:CreateKey",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:TagResource",
    "rds:AddTagsToResource",
    "rds:CopyDBSnapshot",
    "rds:CreateDBSnapshot",
    "rds:DeleteDBSnapshot",
    "rds:DescribeDBInstanceAutomatedBackups",
    "rds:DescribeDBInstances",
    "rds:DescribeDBSnapshots",
    "rds:ListTagsForResource",
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetObjectRetention",
    "s3:GetObjectVersion",
    "s3:ListBucketMultipartUploads",
    "s3:ListBucketVersions",
    "s3:ListMultipartUploadParts",
    "secretsmanager:GetSecretValue",
    "sns:Publish",
];

const RESTORE: &[&str] = &[
    "autoscaling:DescribeAutoScalingGroups",
    // A group leaves its nodes alone while they are out on purpose.
    "autoscaling:ResumeProcesses",
    "autoscaling:SuspendProcesses",
    "cloudwatch:PutMetricData",
    "ec2:AttachVolume",
    "ec2:CreateTags",
    "ec2:CreateVolume",
    "ec2:DeleteTags",
    "ec2:DeleteVolume",
    "ec2:DescribeInstances",
    "ec2:DescribeSnapshots",
    "ec2:DescribeVolumes",
    "ec2:DetachVolume",
    "ec2:StartInstances",
    "ec2:StopInstances",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "rds:AddTagsToResource",
    "rds:CopyDBSnapshot",
    "rds:DeleteDBInstance",
    "rds:DescribeDBInstances",
    "rds:DescribeDBSnapshots",
    "rds:ListTagsForResource",
    "rds:ModifyDBInstance",
    "rds:RemoveTagsFromResource",
    "rds:RestoreDBInstanceFromDBSnapshot",
    "rds:RestoreDBInstanceToPointInTime",
    "s3:AbortMultipartUpload",
    "s3:GetObjectVersion",
    "s3:ListBucketVersions",
    "s3:ListMultipartUploadParts",
    "secretsmanager:GetSecretValue",
    "sns:Publish",
];

/// What a drill does with the site whose points it restores: it reads, copies a snapshot, and signs a mark.
const DRILLED: &[&str] = &[
    "cloudwatch:PutMetricData",
    "ec2:DescribeSnapshots",
    "ec2:DescribeVolumes",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "rds:CopyDBSnapshot",
    "rds:DescribeDBInstanceAutomatedBackups",
    "rds:DescribeDBInstances",
    "rds:DescribeDBSnapshots",
    "rds:ListTagsForResource",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetObjectRetention",
    "s3:GetObjectVersion",
    "s3:ListBucketVersions",
    "secretsmanager:GetSecretValue",
    "sns:Publish",
];

/// What a drill may do with things of the site itself besides looking, whatever the rights of its own site would allow:
/// use its keys, and copy its snapshots. S3 knows names, and is kept apart by them.
const SPARED: &[&str] = &[
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:GenerateDataKey*",
    "kms:ReEncrypt*",
    "rds:CopyDBSnapshot",
    "s3:*",
    "sns:Publish",
];

/// What is done in the region that gets copies, where the site file names one.
const COPIES: &[&str] = &[
    "ec2:CopySnapshot",
    "ec2:CreateTags",
    "ec2:DeleteSnapshot",
    "ec2:DescribeSnapshots",
    "kms:CreateAlias",
    "kms:CreateGrant",
    "kms:CreateKey",
    "kms:DescribeKey",
    "kms:TagResource",
    "rds:AddTagsToResource",
    "rds:CopyDBSnapshot",
    "rds:DeleteDBSnapshot",
    "rds:DescribeDBSnapshots",
    "rds:ListTagsForResource",
    "tag:GetResources",
];

/// Services that make their own role in an account at the first use, and do it with the caller's permission.
const LINKED: [&str; 4] = [
    "autoscaling.amazonaws.com",
    "elasticache.amazonaws.com",
    "elasticloadbalancing.amazonaws.com",
    "rds.amazonaws.com",
];

/// Where the site has a vault, one more, which is also handed a role.
const BACKUP_SERVICE: &str = "backup.amazonaws.com";

/// Services without regions: a condition on the region would shut them.
const GLOBAL: [&str; 4] = ["iam", "route53", "s3", "sts"];

/// Every action that these tasks need with these kinds, sorted.
pub fn actions<'a>(
    tasks: &[Task],
    kinds: impl IntoIterator<Item = &'a KindInfo>,
) -> BTreeSet<&'static str> {
    let mut actions: BTreeSet<_> = ENGINE.iter().copied().collect();
    actions.extend(tasks.iter().flat_map(|task| task.calls()));
    // Installing makes and removes things of every kind; the other tasks only what they name themselves.
    if tasks.contains(&Task::Install) {
        actions.extend(kinds.into_iter().flat_map(|kind| kind.actions));
    }
    actions
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
    tasks: &[Task],
    kinds: impl IntoIterator<Item = &'a KindInfo>,
    surveyed: impl IntoIterator<Item = &'a KindInfo>,
    site: &Site,
) -> Value {
    let needed = needed(tasks, kinds, surveyed);
    let documents = documents(statements(&needed, site), site, "operator");
    json!({ "format": 1, "documents": documents })
}

/// The policy of whoever runs drills of `site`: everything on the site of the drill, reading points and marking them on
/// the site itself, and there nothing else, by a statement that denies it. `kinds` and `surveyed` are those of the
/// drill's site.
pub fn drill_policy<'a>(
    kinds: impl IntoIterator<Item = &'a KindInfo>,
    surveyed: impl IntoIterator<Item = &'a KindInfo>,
    site: &Site,
    drill: &Site,
) -> Value {
    let tasks = [Task::Install, Task::Reconfigure, Task::Restore];
    let there = needed(&tasks, kinds, surveyed);
    let mut here: BTreeSet<&'static str> = DRILLED.iter().copied().collect();
    // Of the engine's calls those that read points, and the mark.
    here.extend(["s3:GetObject", "s3:ListBucket", "s3:PutObject"]);
    let mut spared: BTreeSet<String> = SPARED.iter().map(|action| (*action).to_owned()).collect();
    for action in &there {
        let service = action.split(':').next().unwrap_or_default();
        if service != "s3" {
            spared.extend(["Describe", "Get", "List"].map(|look| format!("{service}:{look}*")));
        }
    }
    let mut key = BTreeMap::new();
    key.insert(
        format!("aws:ResourceTag/{SITE_TAG}"),
        site.site.name.to_string(),
    );
    let mut read = statements(&here, site);
    read.push(json!({
        "Sid": "NeverTheSiteItself",
        "Effect": "Deny",
        "NotAction": spared,
        "Resource": "*",
        "Condition": {"StringEquals": key},
    }));
    let mut all = documents(statements(&there, drill), drill, "operator");
    all.extend(documents(read, site, "drilled"));
    json!({ "format": 1, "documents": all })
}

/// The actions of tasks with these kinds, and what a survey of these looks at.
fn needed<'a>(
    tasks: &[Task],
    kinds: impl IntoIterator<Item = &'a KindInfo>,
    surveyed: impl IntoIterator<Item = &'a KindInfo>,
) -> BTreeSet<&'static str> {
    let mut needed = actions(tasks, kinds);
    for kind in surveyed {
        needed.extend(looks(kind));
    }
    needed
}

/// Documents small enough, with their names: `gantry-acme-operator-1`.
fn documents(statements: Vec<Value>, site: &Site, what: &str) -> Vec<Value> {
    let documents = pack(statements).into_iter().zip(1..);
    documents
        .map(|(statements, number)| {
            json!({
                "name": format!("gantry-{}-{what}-{number}", site.site.name),
                "document": document(&statements),
            })
        })
        .collect()
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

/// One question to IAM's simulator: may these things be done with such a resource, in such circumstances?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub actions: BTreeSet<&'static str>,
    /// An ARN that the policy is about, or `*`.
    pub resource: String,
    /// Condition keys, and what they would be.
    pub context: BTreeMap<String, String>,
}

/// Everything that these tasks need, as questions. An action may come in several: allowed by one of them is enough, as
/// in the policy. The site must say its account.
pub fn questions<'a>(
    tasks: &[Task],
    kinds: impl IntoIterator<Item = &'a KindInfo>,
    surveyed: impl IntoIterator<Item = &'a KindInfo>,
    site: &Site,
) -> Vec<Question> {
    let mut questions = Vec::new();
    for (about, actions) in grouped(&needed(tasks, kinds, surveyed), site) {
        let keys = about.conditions.values().flatten();
        let context: BTreeMap<String, String> = keys
            .filter_map(|(key, values)| Some((key.clone(), values.first()?.clone())))
            .collect();
        for resource in &about.resources {
            let resource = match resource.as_str() {
                "*" => "*".to_owned(),
                pattern => pattern.replace('*', "preflight"),
            };
            questions.push(Question {
                actions: actions.clone(),
                resource,
                context: context.clone(),
            });
        }
    }
    questions
}

/// Actions by what they are about.
fn grouped(
    actions: &BTreeSet<&'static str>,
    site: &Site,
) -> BTreeMap<About, BTreeSet<&'static str>> {
    let mut grouped: BTreeMap<About, BTreeSet<&'static str>> = BTreeMap::new();
    for action in actions {
        for about in about(action, site) {
            grouped.entry(about).or_default().insert(action);
        }
    }
    grouped
}

fn statements(actions: &BTreeSet<&'static str>, site: &Site) -> Vec<Value> {
    grouped(actions, site)
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
            let there = site.backup.copy_to_region.as_ref();
            let there = there.filter(|_| COPIES.contains(&action));
            let mut about = vec![about_key_use(verb, &site.site.region, site)];
            about.extend(there.map(|region| about_key_use(verb, region, site)));
            about
        }
        // The namespace is all that AWS tells metrics apart by.
        "cloudwatch" if verb == "PutMetricData" => vec![About::anything("Metrics").when(
            "StringEquals",
            "cloudwatch:namespace",
            &[METRICS],
        )],
        "backup" if verb.contains("BackupVault") && verb != "ListBackupVaults" => {
            let vaults = format!(
                "arn:aws:backup:{}:{}:backup-vault:gantry-{}-*",
                site.site.region,
                account(site),
                site.site.name
            );
            vec![About::new("BackupVaults", &[vaults])]
        }
        "sns" if verb == "Publish" => {
            let topics = format!(
                "arn:aws:sns:{}:{}:gantry-{}-*",
                site.site.region,
                account(site),
                site.site.name
            );
            vec![About::new("Alert", &[topics])]
        }
        _ => {
            let mut about = vec![by_region(service, site)];
            if let Some(region) = &site.backup.copy_to_region
                && COPIES.contains(&action)
            {
                let there = About::anything(format!("{}Copies", capital(service)));
                about.push(there.when("StringEquals", "aws:RequestedRegion", &[region.as_str()]));
            }
            about
        }
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
        // A role handed to a machine lends its rights to whoever is on it: only ours, and only to EC2, DLM and, where
        // there is a vault, AWS Backup.
        "PassRole" => {
            let mut services = vec!["dlm.amazonaws.com", "ec2.amazonaws.com"];
            services.extend(site.backup.vault.as_ref().map(|_| BACKUP_SERVICE));
            services.sort_unstable();
            let about = About::new("IamPassRole", &ours[1..]);
            vec![about.when("StringEquals", "iam:PassedToService", &services)]
        }
        "CreateServiceLinkedRole" => {
            let mut services = LINKED.to_vec();
            services.extend(site.backup.vault.as_ref().map(|_| BACKUP_SERVICE));
            services.sort_unstable();
            let all = format!("arn:aws:iam::{account}:role/aws-service-role/*");
            let about = About::new("IamServiceLinkedRoles", &[all]);
            vec![about.when("StringEquals", "iam:AWSServiceName", &services)]
        }
        _ if ["Get", "List", "Simulate"]
            .iter()
            .any(|word| verb.starts_with(word)) =>
        {
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
fn about_key_use(verb: &str, region: &Region, site: &Site) -> About {
    if verb == "CreateGrant" {
        let here = *region == site.site.region;
        About::anything(if here { "KmsGrants" } else { "KmsGrantsCopies" })
            .when("Bool", "kms:GrantIsForAWSResource", &["true"])
            .when("StringEquals", "aws:RequestedRegion", &[region.as_str()])
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
