//! Copies by AWS Backup into a vault of another account, for the day on which this account is lost, and gantry with it.
//!
//! What is saved is named one by one: nothing comes in by a tag that somebody puts on, and nothing leaves by one that
//! somebody takes off.

use super::Draft;
use super::compute::Machines;
use super::data::Data;
use super::storage::Storage;
use crate::kinds::backup::{Plan, Selected, Selection, Vault};
use crate::kinds::iam::{self, Grant, Target};
use crate::kinds::kms::Key;
use crate::kinds::s3::Bucket;
use crate::resource::{Ref, SITE_TAG};
use crate::site;

/// The tag that AWS Backup puts on the snapshots it takes; nobody else can put one that begins with `aws:`.
const TAKEN_BY_BACKUP: &str = "aws:ResourceTag/aws:backup:source-resource";

pub(super) fn add(draft: &mut Draft<'_>, storage: &Storage, data: &Data, machines: &Machines) {
    let site = draft.site;
    let Some(wanted) = &site.backup.vault else {
        return;
    };
    // The site's checks refuse a schedule that AWS cannot say.
    let Ok(schedule) = wanted.schedule.amazon() else {
        return;
    };
    let resources = selected(draft, storage, data, machines);
    let role = role(draft, storage, wanted, &resources);
    let name = draft.names.backup("main");
    let vault = Vault {
        name: name.clone(),
        // The key of the data. The other key cannot be used by any AWS service, and must not be: what it seals lies in a
        // bucket that is saved here.
        key: storage.key.clone(),
        role: role.clone(),
    };
    let vault = draft.world.add("main", vault);
    let plan = Plan {
        name: name.clone(),
        vault,
        schedule,
        timezone: site.backup.timezone.to_string(),
        local_days: wanted.local_days,
        copy_to: wanted.arn.to_string(),
        keep_days: wanted.keep_days,
    };
    let plan = draft.world.add("main", plan);
    let selection = Selection {
        name,
        plan,
        role,
        resources,
    };
    draft.world.add("main", selection);
}

/// The buckets whose loss nobody could make good: backups and objects. Logs are not, and the files of the nodes are
/// rendered from the site file and sealed in every recovery point.
fn buckets(storage: &Storage) -> impl Iterator<Item = &Ref<Bucket>> {
    let backups = [&storage.backups, &storage.gitaly_backups];
    let objects = storage.objects.iter().chain([&storage.registry]);
    backups.into_iter().chain(objects)
}

/// Databases (a replica has nothing of its own), buckets, and the disks of Git data where one of them alone is a whole:
/// never of a Gitaly Cluster (doc/administration/gitaly/praefect/_index.md).
fn selected(
    draft: &Draft<'_>,
    storage: &Storage,
    data: &Data,
    machines: &Machines,
) -> Vec<Selected> {
    let databases = data.main.iter().chain(&data.praefect);
    let mut all: Vec<Selected> = databases.cloned().map(Selected::Database).collect();
    all.extend(buckets(storage).cloned().map(Selected::Bucket));
    if draft.sizes.praefect.is_none() {
        all.extend(machines.volumes.iter().cloned().map(Selected::Volume));
    }
    all
}

/// What AWS Backup may do: of AWS's own lists what these resources need, and on them alone
/// (<https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSBackupServiceRolePolicyForBackup.html>,
/// <https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSBackupServiceRolePolicyForS3Backup.html>).
///
/// It deletes what it took itself, when its days are over, and nothing else.
fn role(
    draft: &mut Draft<'_>,
    storage: &Storage,
    wanted: &site::Vault,
    resources: &[Selected],
) -> Ref<iam::Role> {
    let has = |is: fn(&Selected) -> bool| resources.iter().any(is);
    let mut hand = Hand {
        region: draft.site.site.region.to_string(),
        account: draft.facts.account.to_string(),
        site: draft.site.site.name.to_string(),
        grants: Vec::new(),
    };
    if has(|one| matches!(one, Selected::Database(_))) {
        hand.databases();
    }
    let theirs = format!("arn:aws:kms:{}:{}:key/*", hand.region, wanted.arn.account());
    let keys = [Target::Key(storage.key.clone()), Target::Arn(theirs)];
    if has(|one| matches!(one, Selected::Volume(_))) {
        hand.disks(&keys);
    }
    hand.objects(storage);
    hand.keys(&storage.key, &keys);
    hand.vaults(&draft.names.backup("main"), wanted.arn.as_str());
    let spec = iam::Role {
        name: draft.names.role("backup"),
        path: iam::path(draft.site.site.name.as_str()),
        service: "backup.amazonaws.com".to_owned(),
        grants: hand.grants,
    };
    draft.world.add("backup", spec)
}

/// The grants as they are written, and the words that go into them.
struct Hand {
    region: String,
    account: String,
    site: String,
    grants: Vec<Grant>,
}

impl Hand {
    fn allow(&mut self, sid: &str, actions: &[&str], on: Vec<Target>) {
        self.allow_if(sid, actions, on, &[]);
    }

    fn allow_if(
        &mut self,
        sid: &str,
        actions: &[&str],
        on: Vec<Target>,
        conditions: &[(&str, &str, &str)],
    ) {
        self.grants.push(Grant::new(sid, actions, on, conditions));
    }

    fn here(&self, service: &str, thing: &str) -> Target {
        let (region, account) = (&self.region, &self.account);
        Target::Arn(format!("arn:aws:{service}:{region}:{account}:{thing}"))
    }

    fn databases(&mut self) {
        let (databases, snapshots) = (
            self.here("rds", "db:*"),
            self.here("rds", "snapshot:awsbackup:*"),
        );
        let (site, mine) = (self.site.clone(), format!("aws:ResourceTag/{SITE_TAG}"));
        self.allow_if(
            "SaveDatabases",
            &["rds:CreateDBSnapshot", "rds:ListTagsForResource"],
            vec![databases],
            &[("StringEquals", mine.as_str(), site.as_str())],
        );
        self.allow(
            "SnapshotsOfDatabases",
            &[
                "rds:AddTagsToResource",
                "rds:CopyDBSnapshot",
                "rds:CreateDBSnapshot",
                "rds:DeleteDBSnapshot",
                "rds:ListTagsForResource",
                "rds:ModifyDBSnapshotAttribute",
            ],
            vec![snapshots],
        );
        self.allow(
            "LookAtDatabases",
            &["rds:DescribeDBInstances", "rds:DescribeDBSnapshots"],
            vec![Target::Any],
        );
    }

    fn disks(&mut self, keys: &[Target]) {
        let volumes = self.here("ec2", "volume/*");
        let snapshots = || vec![Target::Arn("arn:aws:ec2:*::snapshot/*".to_owned())];
        let (site, mine) = (self.site.clone(), format!("aws:ResourceTag/{SITE_TAG}"));
        self.allow_if(
            "SaveDisks",
            &["ec2:CreateSnapshot"],
            vec![volumes],
            &[("StringEquals", mine.as_str(), site.as_str())],
        );
        self.allow(
            "SnapshotsOfDisks",
            &["ec2:CopySnapshot", "ec2:CreateSnapshot", "ec2:CreateTags"],
            snapshots(),
        );
        self.allow_if(
            "OwnSnapshots",
            &["ec2:DeleteSnapshot", "ec2:ModifySnapshotAttribute"],
            snapshots(),
            &[("Null", TAKEN_BY_BACKUP, "false")],
        );
        let by_ec2 = format!("ec2.{}.amazonaws.com", self.region);
        self.allow_if(
            "EncryptDisksAnew",
            &[
                "kms:GenerateDataKeyWithoutPlaintext",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
            ],
            keys.to_vec(),
            &[("StringEquals", "kms:ViaService", by_ec2.as_str())],
        );
        self.allow(
            "LookAtDisks",
            &[
                "ec2:DescribeSnapshots",
                "ec2:DescribeTags",
                "ec2:DescribeVolumes",
            ],
            vec![Target::Any],
        );
    }

    /// AWS Backup hears of changes in a bucket by events, and switches them on for the buckets it saves.
    fn objects(&mut self, storage: &Storage) {
        let whole = buckets(storage).cloned().map(Target::Bucket).collect();
        self.allow(
            "SaveBuckets",
            &[
                "s3:GetBucketAcl",
                "s3:GetBucketLocation",
                "s3:GetBucketNotification",
                "s3:GetBucketTagging",
                "s3:GetBucketVersioning",
                "s3:GetInventoryConfiguration",
                "s3:ListBucket",
                "s3:ListBucketVersions",
                "s3:ListTagsForResource",
                "s3:PutBucketNotification",
                "s3:PutInventoryConfiguration",
            ],
            whole,
        );
        let within = buckets(storage).cloned().map(Target::Objects).collect();
        self.allow(
            "SaveObjects",
            &[
                "s3:GetObject",
                "s3:GetObjectAcl",
                "s3:GetObjectTagging",
                "s3:GetObjectVersion",
                "s3:GetObjectVersionAcl",
                "s3:GetObjectVersionTagging",
            ],
            within,
        );
        let rules = self.here("events", "rule/AwsBackupManagedRule*");
        self.allow(
            "HearOfChanges",
            &[
                "events:DeleteRule",
                "events:DescribeRule",
                "events:DisableRule",
                "events:EnableRule",
                "events:ListTargetsByRule",
                "events:PutRule",
                "events:PutTargets",
                "events:RemoveTargets",
            ],
            vec![rules],
        );
        self.allow(
            "Look",
            &[
                "cloudwatch:GetMetricData",
                "events:ListRules",
                "s3:ListAllMyBuckets",
                "tag:GetResources",
            ],
            vec![Target::Any],
        );
    }

    /// What is saved is encrypted with one key of ours, and its copies with a key of the vault's account, which says
    /// itself whom it lets in.
    fn keys(&mut self, ours: &Ref<Key>, keys: &[Target]) {
        let by_s3 = format!("s3.{}.amazonaws.com", self.region);
        self.allow_if(
            "OpenObjects",
            &["kms:Decrypt"],
            vec![Target::Key(ours.clone())],
            &[("StringEquals", "kms:ViaService", by_s3.as_str())],
        );
        self.allow("LookAtKeys", &["kms:DescribeKey"], keys.to_vec());
        self.allow_if(
            "LendKeys",
            &["kms:CreateGrant"],
            keys.to_vec(),
            &[("Bool", "kms:GrantIsForAWSResource", "true")],
        );
    }

    /// Out of the site's vault into that one, and into no other: AWS asks for the target by a condition.
    fn vaults(&mut self, own: &str, other: &str) {
        let vaults = vec![
            self.here("backup", &format!("backup-vault:{own}")),
            Target::Arn(other.to_owned()),
        ];
        self.allow(
            "FillVaults",
            &["backup:CopyIntoBackupVault", "backup:DescribeBackupVault"],
            vaults,
        );
        self.allow_if(
            "CopyOut",
            &["backup:CopyFromBackupVault"],
            vec![Target::Any],
            &[("ForAllValues:StringEquals", "backup:CopyTargets", other)],
        );
        let points = self.here("backup", "recovery-point:*");
        self.allow("TagPoints", &["backup:TagResource"], vec![points]);
    }
}
