//! What the appliance host may do: take backups and snapshots, look at them, and report. Nothing that deletes anything,
//! and nothing that changes a backup. A drill makes a whole site and removes it: that takes another role. See `docs/design/0012-who-can-delete-backups.md`.

use super::identity::Allow;
use crate::kinds::iam::Target;
use crate::kinds::kms::CONTEXT;
use crate::resource::SITE_TAG;
use crate::site::Region;

/// The namespace of gantry's own metrics in CloudWatch.
pub const METRICS: &str = "gantry";

/// The part of the site that the key in the region of copies is, for its alias.
pub const COPIES_KEY: &str = "recovery-copy";

/// What AWS does with a key for a caller who copies or restores something encrypted with it.
const COPY_ENCRYPTED: [&str; 6] = [
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
];

/// The grants of the machine that gantry and its timers live on.
pub(super) fn host(allow: &mut Allow<'_, '_>) {
    look(allow);
    objects(allow);
    points(allow);
    seal(allow);
    if allow.draft.sizes.database.is_some() {
        database_snapshots(allow);
    }
    // A disk of a Gitaly Cluster alone is no backup: the host could not take one if it wanted to.
    if allow.draft.sizes.praefect.is_none() {
        disk_snapshots(allow);
    }
    key_of_copies(allow);
    report(allow);
}

/// Listings that AWS grants for all things or none.
fn look(allow: &mut Allow<'_, '_>) {
    let actions = [
        "autoscaling:DescribeAutoScalingGroups",
        "ec2:DescribeInstances",
        "ec2:DescribeSnapshots",
        "ec2:DescribeTags",
        "ec2:DescribeVolumes",
        "rds:DescribeDBInstanceAutomatedBackups",
        "rds:DescribeDBInstances",
        "rds:DescribeDBSnapshots",
        "tag:GetResources",
    ];
    allow.allow("Look", &actions, vec![Target::Any]);
}

/// Versions of objects, and what is in them: what a point's indexes are made of and verified against. And the files
/// of the nodes, which are the configuration that a point seals.
fn objects(allow: &mut Allow<'_, '_>) {
    let storage = allow.storage;
    let mut buckets = storage.objects.clone();
    buckets.push(storage.registry.clone());
    let others = vec![storage.gitaly_backups.clone(), storage.config.clone()];
    let list = [
        "s3:GetBucketLocation",
        "s3:ListBucket",
        "s3:ListBucketVersions",
    ];
    let read = ["s3:GetObject", "s3:GetObjectVersion"];
    if allow.draft.sizes.single_box.is_none() {
        // A bucket and what is in it by one pattern: with the longest names there is no room for two. The names end in
        // account and region, so nothing else of the site begins with one.
        let patterns = buckets.iter().chain(&others).map(|bucket| {
            let name = allow.draft.names.bucket(bucket.address().name());
            Target::Arn(format!("arn:aws:s3:::{name}*"))
        });
        let actions: Vec<&str> = list.into_iter().chain(read).collect();
        allow.allow("ReadVersions", &actions, patterns.collect());
        return;
    }
    // Apart from the others, so that on a box, where GitLab uses the same buckets, they are named once.
    for (of, buckets) in [("Versions", buckets), ("Files", others)] {
        let whole = buckets.iter().cloned().map(Target::Bucket).collect();
        allow.allow(&format!("List{of}"), &list, whole);
        let within = buckets.into_iter().map(Target::Objects).collect();
        allow.allow(&format!("Read{of}"), &read, within);
    }
}

/// Recovery points are written and read, and never deleted.
fn points(allow: &mut Allow<'_, '_>) {
    let bucket = allow.storage.backups.clone();
    let list = [
        "s3:GetBucketLocation",
        "s3:GetBucketObjectLockConfiguration",
        "s3:ListBucket",
        "s3:ListBucketMultipartUploads",
        "s3:ListBucketVersions",
    ];
    allow.allow("ListPoints", &list, vec![Target::Bucket(bucket.clone())]);
    let keep = [
        "s3:AbortMultipartUpload",
        "s3:GetObject",
        "s3:GetObjectRetention",
        "s3:GetObjectVersion",
        "s3:ListMultipartUploadParts",
        "s3:PutObject",
    ];
    allow.allow("WritePoints", &keep, vec![Target::Objects(bucket)]);
}

/// The secrets that a point seals, and the key it seals them with.
fn seal(allow: &mut Allow<'_, '_>) {
    allow.read_all_secrets("SealSecrets");
    let site = allow.draft.site.site.name.to_string();
    let context = format!("kms:EncryptionContext:{CONTEXT}");
    // Opening as well: verify shows that what was sealed comes back.
    let key = vec![Target::Key(allow.storage.recovery_key.clone())];
    let use_it = ["kms:Decrypt", "kms:GenerateDataKey"];
    let condition = ("StringEquals", context.as_str(), site.as_str());
    allow.allow_if("SealAndOpen", &use_it, key, &[condition]);
    let keys = [&allow.storage.key, &allow.storage.recovery_key];
    let keys = keys.map(|key| Target::Key(key.clone())).into();
    allow.allow("LookAtKeys", &["kms:DescribeKey"], keys);
}

/// Tag conditions say whose a thing is: `aws:ResourceTag` of what is there, `aws:RequestTag` of what is being made.
fn of_site(where_from: &str) -> String {
    format!("aws:{where_from}Tag/{SITE_TAG}")
}

/// The site's own region, and the one that gets copies.
fn regions(allow: &Allow<'_, '_>) -> Vec<Region> {
    let site = allow.draft.site;
    let mut regions = vec![site.site.region.clone()];
    regions.extend(site.backup.copy_to_region.clone());
    regions
}

fn database_snapshots(allow: &mut Allow<'_, '_>) {
    let (account, site) = (
        &allow.draft.facts.account,
        allow.draft.site.site.name.to_string(),
    );
    let in_regions = |thing: &str| {
        let arn = |region| Target::Arn(format!("arn:aws:rds:{region}:{account}:{thing}:*"));
        regions(allow).iter().map(arn).collect::<Vec<_>>()
    };
    let (databases, snapshots) = (in_regions("db"), in_regions("snapshot"));
    let (mine, named) = (of_site("Resource"), of_site("Request"));
    let mine = [("StringEquals", mine.as_str(), site.as_str())];
    let named = [("StringEquals", named.as_str(), site.as_str())];
    let take = ["rds:CreateDBSnapshot"];
    allow.allow_if("SnapshotDatabases", &take, databases, &mine);
    // A copy is of a snapshot of ours, and is one.
    let copied = ["rds:CopyDBSnapshot", "rds:ListTagsForResource"];
    allow.allow_if("CopyDatabaseSnapshots", &copied, snapshots.clone(), &mine);
    let made = [
        "rds:AddTagsToResource",
        "rds:CopyDBSnapshot",
        "rds:CreateDBSnapshot",
    ];
    allow.allow_if("NameDatabaseSnapshots", &made, snapshots, &named);
    allow.key_through("KeyThroughRds", "rds", &COPY_ENCRYPTED);
    use_key_of_copies(allow, "CopyKeyThroughRds", "rds");
}

fn disk_snapshots(allow: &mut Allow<'_, '_>) {
    let draft = allow.draft;
    let (region, account) = (&draft.site.site.region, &draft.facts.account);
    let site = draft.site.site.name.to_string();
    let ec2 = |thing: &str| Target::Arn(format!("arn:aws:ec2:{region}:{account}:{thing}/*"));
    let snapshots: Vec<_> = regions(allow)
        .iter()
        .map(|region| Target::Arn(format!("arn:aws:ec2:{region}::snapshot/*")))
        .collect();
    let (mine, named) = (of_site("Resource"), of_site("Request"));
    let mine = ("StringEquals", mine.as_str(), site.as_str());
    let named = ("StringEquals", named.as_str(), site.as_str());
    let take = ["ec2:CreateSnapshots"];
    allow.allow_if(
        "SnapshotDisks",
        &take,
        vec![ec2("instance"), ec2("volume")],
        &[mine],
    );
    // A copy is of a snapshot of ours, and is one.
    allow.allow_if(
        "CopyDiskSnapshots",
        &["ec2:CopySnapshot"],
        snapshots.clone(),
        &[mine],
    );
    let made = ["ec2:CopySnapshot", "ec2:CreateSnapshots"];
    allow.allow_if("MakeDiskSnapshots", &made, snapshots.clone(), &[named]);
    // Tags are put on by the call that makes a snapshot, and by no other: a point's tags cannot be moved afterwards.
    let making = ("StringLike", "ec2:CreateAction", "*Snapshot*");
    allow.allow_if(
        "NameDiskSnapshots",
        &["ec2:CreateTags"],
        snapshots,
        &[named, making],
    );
    allow.key_through("KeyThroughEc2", "ec2", &COPY_ENCRYPTED);
    use_key_of_copies(allow, "CopyKeyThroughEc2", "ec2");
}

/// What snapshots of the site are encrypted with in the region of copies: a key of that region with the site's tag.
fn use_key_of_copies(allow: &mut Allow<'_, '_>, sid: &str, service: &str) {
    let Some(region) = &allow.draft.site.backup.copy_to_region else {
        return;
    };
    let keys = format!("arn:aws:kms:{region}:{}:key/*", allow.draft.facts.account);
    let via = format!("{service}.{region}.amazonaws.com");
    let site = allow.draft.site.site.name.to_string();
    let mine = of_site("Resource");
    allow.allow_if(
        sid,
        &COPY_ENCRYPTED,
        vec![Target::Arn(keys)],
        &[
            ("StringEquals", &mine, &site),
            ("StringEquals", "kms:ViaService", &via),
        ],
    );
}

/// That key is made by the first copy, tagged from birth, and named once. It cannot be moved or deleted from here.
fn key_of_copies(allow: &mut Allow<'_, '_>) {
    let draft = allow.draft;
    let Some(region) = &draft.site.backup.copy_to_region else {
        return;
    };
    let site = draft.site.site.name.to_string();
    let kms = |thing: &str| {
        let account = &draft.facts.account;
        Target::Arn(format!("arn:aws:kms:{region}:{account}:{thing}"))
    };
    let (mine, named) = (of_site("Resource"), of_site("Request"));
    let mine = ("StringEquals", mine.as_str(), site.as_str());
    let named = ("StringEquals", named.as_str(), site.as_str());
    let there = ("StringEquals", "aws:RequestedRegion", region.as_str());
    // A key that is not there yet has no ARN: AWS grants this for all things or none.
    let (make, any) = (["kms:CreateKey"], vec![Target::Any]);
    allow.allow_if("MakeCopyKey", &make, any, &[named, there]);
    let tag = ["kms:TagResource"];
    allow.allow_if("TagCopyKey", &tag, vec![kms("key/*")], &[named]);
    let look = ["kms:CreateAlias", "kms:DescribeKey"];
    allow.allow_if("NameCopyKey", &look, vec![kms("key/*")], &[mine]);
    let alias = kms(&draft.names.key_alias(COPIES_KEY));
    allow.allow("AliasOfCopyKey", &["kms:CreateAlias"], vec![alias]);
}

/// How it went: metrics, and the topic of the alarms where there is one.
fn report(allow: &mut Allow<'_, '_>) {
    let metrics = [("StringEquals", "cloudwatch:namespace", METRICS)];
    let put = ["cloudwatch:PutMetricData"];
    allow.allow_if("Metrics", &put, vec![Target::Any], &metrics);
    let draft = allow.draft;
    if !draft.site.monitoring.alarms {
        return;
    }
    // The topic is made after the roles, because alarms watch the machines; its name is the blueprint's own choice.
    let (region, account) = (&draft.site.site.region, &draft.facts.account);
    let topic = draft.names.topic("alarms");
    let topic = Target::Arn(format!("arn:aws:sns:{region}:{account}:{topic}"));
    allow.allow("Alert", &["sns:Publish"], vec![topic]);
    let publish = ["kms:Decrypt", "kms:GenerateDataKey"];
    allow.key_through("KeyThroughSns", "sns", &publish);
}
