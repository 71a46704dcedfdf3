//! A bucket: versioned, closed to the public, encrypted, reached by TLS alone.
//!
//! S3 has no listing that shows settings. A survey costs one `ListBuckets` for the site, the shared tag listing,
//! and seven reads per bucket (versioning, encryption, public access block, ownership, policy, lifecycle,
//! logging): each is a setting of its own that somebody can change, and S3 gives no two of them in one call.
//! A bucket that the tag listing does not show (yet) costs one more, for its tags; and the one bucket that may be
//! locked costs one more, for its lock.

mod empty;
mod lock;
mod policy;
mod settings;

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::lock::Lock;
use self::settings::{Encryption, Rule};
use crate::cloud::Fault;
use crate::kinds::kms::Key;
use crate::resource::{
    Address, ApplyCx, Bears, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref,
    Replay, Resource, SITE_TAG, Tags,
};

/// How many buckets are asked for their settings at once.
const AT_ONCE: usize = 4;

#[derive(Debug, Clone, Serialize)]
pub struct Bucket {
    /// Unique in the world: it carries site, account and region.
    pub name: String,
    pub purpose: Purpose,
    pub encryption: BucketEncryption,
    pub lifecycle: Vec<LifecycleRule>,
    /// Where S3 writes who read and wrote what, under the bucket's own name.
    pub log_to: Option<Ref<Bucket>>,
    /// Which AWS services may put their logs here.
    pub allow_delivery: Vec<Delivery>,
    /// For how many days nobody, not even the account itself, can delete or overwrite a version: S3 Object Lock in
    /// compliance mode. Only for the bucket called [`LOCKABLE`].
    pub immutable_days: Option<u32>,
}

/// The name of the one bucket whose lock a survey asks for. GitLab does not support Object Lock on the buckets of its
/// objects (doc/administration/object_storage.md), and a call for each of them would tell nothing.
pub const LOCKABLE: &str = "backups";

/// What a bucket holds; for the blueprint's checks and for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    Objects,
    Backups,
    GitalyBackups,
    Registry,
    Config,
    Logs,
}

/// What new objects are encrypted with.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BucketEncryption {
    /// The site's key, with a bucket key, so that not every object costs a call to KMS.
    Key(Ref<Key>),
    /// S3's own key. Server access logs can be delivered to nothing else.
    S3Managed,
}

/// What S3 does away with by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LifecycleRule {
    /// Uploads that were begun and never completed.
    AbortIncomplete { days: u32 },
    /// Versions that have been overwritten or deleted, and the markers left alone by that.
    ExpireNoncurrent { days: u32 },
    /// Objects under a prefix; empty means all.
    Expire { days: u32, prefix: String },
}

/// An AWS service that writes logs into a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    LoadBalancerLogs,
    FlowLogs,
    ServerAccessLogs,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketOutput {
    pub name: String,
    pub arn: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BucketLive {
    /// `Enabled`, `Suspended`, or nothing when it was never on.
    pub versioning: Option<String>,
    pub encryption: Option<Encryption>,
    /// The four blocks that are on.
    pub public_access_block: Vec<String>,
    pub ownership: Option<String>,
    /// What the policy says, as [`crate::kinds::iam::policy::meaning`] reads it.
    pub policy: Option<Value>,
    pub lifecycle: Vec<Rule>,
    /// Where server access logs go: bucket and prefix.
    pub logging: Option<(String, String)>,
    /// What every new version gets; none where nothing is locked.
    pub lock: Option<Lock>,
    pub tags: Tags,
}

/// What the names of a site's buckets have in common; see [`crate::names`].
fn prefix(site: &str) -> String {
    format!("gantry-{site}-")
}

fn output(name: &str) -> BucketOutput {
    BucketOutput {
        name: name.to_owned(),
        arn: format!("arn:aws:s3:::{name}"),
    }
}

impl Resource for Bucket {
    const KIND: Kind = Kind::new("s3/bucket");
    const REPLAY: Replay = Replay::Name;
    const BEARS: Bears = Bears::Data;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "s3:CreateBucket",
        "s3:TagResource",
        "s3:ListAllMyBuckets",
        "s3:ListBucket",
        "s3:GetBucketVersioning",
        "s3:PutBucketVersioning",
        "s3:GetEncryptionConfiguration",
        "s3:PutEncryptionConfiguration",
        "s3:GetBucketPublicAccessBlock",
        "s3:PutBucketPublicAccessBlock",
        "s3:GetBucketOwnershipControls",
        "s3:PutBucketOwnershipControls",
        "s3:GetBucketPolicy",
        "s3:PutBucketPolicy",
        "s3:GetLifecycleConfiguration",
        "s3:PutLifecycleConfiguration",
        "s3:GetBucketLogging",
        "s3:PutBucketLogging",
        "s3:GetBucketTagging",
        "s3:PutBucketTagging",
        "s3:GetBucketObjectLockConfiguration",
        "s3:PutBucketObjectLockConfiguration",
        "s3:ListBucketVersions",
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        "s3:ListBucketMultipartUploads",
        "s3:AbortMultipartUpload",
        "s3:DeleteBucket",
        "tag:GetResources",
    ];
    const USUAL_SECONDS: u64 = 2;

    type Id = String;
    type Output = BucketOutput;
    type Live = BucketLive;

    fn refs(&self) -> Vec<&Address> {
        let key = match &self.encryption {
            BucketEncryption::Key(key) => Some(key.address()),
            BucketEncryption::S3Managed => None,
        };
        key.into_iter()
            .chain(self.log_to.as_ref().map(Ref::address))
            .collect()
    }

    fn diff(&self, live: &BucketLive, cx: &PlanCx<'_>) -> Diff {
        let encryption = match &self.encryption {
            BucketEncryption::Key(key) => cx.want(key, |o| Encryption::with_key(&o.arn)),
            BucketEncryption::S3Managed => {
                serde_json::to_value(Encryption::s3_managed()).unwrap_or_default()
            }
        };
        let logging = match &self.log_to {
            Some(bucket) => cx.want(bucket, |o| Some((o.name, settings::log_prefix(&self.name)))),
            None => Value::Null,
        };
        Diff::new()
            .field("versioning", Some("Enabled"), &live.versioning)
            .field("encryption", encryption, &live.encryption)
            .field(
                "public_access_block",
                settings::ALL_BLOCKS,
                &live.public_access_block,
            )
            .field("ownership", Some(settings::OWNERSHIP), &live.ownership)
            .field("policy", policy::of(self, cx.scope).meaning(), &live.policy)
            .field(
                "lifecycle",
                settings::rules(&self.lifecycle),
                &live.lifecycle,
            )
            .field("logging", logging, &live.logging)
            .field("lock", self.lock(), &live.lock)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
            .impossible(lock::weaker(self.immutable_days, live.lock.as_ref()))
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        // The tags first, so that they are fetched once and not by each of the buckets.
        cx.listing().await?;
        let asked: Vec<_> = listed(&prefix(cx.site()), cx)
            .await?
            .into_iter()
            .map(|name| look(name, cx))
            .collect();
        let found: Vec<Option<Found<Self>>> =
            stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<BucketOutput>>, Fault> {
        let listed = listed(&prefix(cx.site()), cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                if listed.contains(id) {
                    Readiness::Ready(output(id))
                } else {
                    Readiness::Absent
                }
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let region = &cx.cloud.scope().region;
        let oldest = region == "us-east-1";
        // There, S3 says yes to a bucket that the account has already, whoever made it.
        if oldest && exists(&self.name, cx.cloud).await? {
            return Err(Fault::Exists {
                call: "s3:CreateBucket".into(),
                code: "BucketAlreadyOwnedByYou".into(),
                message: format!("the account has a bucket {}", self.name),
            });
        }
        let place = (!oldest).then(|| BucketLocationConstraint::from(region.as_str()));
        let configuration = CreateBucketConfiguration::builder()
            .set_location_constraint(place)
            .set_tags(Some(settings::sdk_tags(&cx.tags(&Tags::new()))?))
            .build();
        cx.cloud
            .write("s3:CreateBucket", || {
                cx.aws()
                    .s3
                    .create_bucket()
                    .bucket(&self.name)
                    .create_bucket_configuration(configuration.clone())
                    .set_object_lock_enabled_for_bucket(self.immutable_days.map(|_| true))
                    .send()
            })
            .await?;
        Ok(Created::Done(self.name.clone(), output(&self.name)))
    }

    /// One put per setting, one after the other: S3 refuses two at once for the same bucket.
    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        if change.touches(&["public_access_block"]) {
            settings::block_public_access(id, cx).await?;
        }
        if change.touches(&["ownership"]) {
            settings::own_objects(id, cx).await?;
        }
        if change.touches(&["policy"]) {
            policy::put(self, id, cx).await?;
        }
        if change.touches(&["encryption"]) {
            let encryption = match &self.encryption {
                BucketEncryption::Key(key) => Encryption::with_key(&cx.get(key)?.arn),
                BucketEncryption::S3Managed => Encryption::s3_managed(),
            };
            settings::encrypt(id, &encryption, cx).await?;
        }
        if change.touches(&["versioning"]) {
            settings::keep_versions(id, cx).await?;
        }
        // A new bucket has neither rules nor logging nor a lock, and it has its tags.
        let update = matches!(change, Change::Fields(_));
        if change.touches(&["lock"]) && (update || self.immutable_days.is_some()) {
            lock::put(id, self.lock().as_ref(), cx).await?;
        }
        if change.touches(&["lifecycle"]) && (update || !self.lifecycle.is_empty()) {
            settings::set_rules(id, &settings::rules(&self.lifecycle), cx).await?;
        }
        if change.touches(&["logging"]) && (update || self.log_to.is_some()) {
            let target = match &self.log_to {
                Some(bucket) => Some(cx.get(bucket)?.name),
                None => None,
            };
            settings::log_to(id, target.as_deref(), cx).await?;
        }
        if update && change.touches(&["tags"]) {
            settings::retag(id, &cx.tags(&Tags::new()), cx).await?;
        }
        Ok(())
    }

    /// Removes the bucket, and everything in it if there is something.
    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        match delete_bucket(id, cx).await {
            Err(fault) if fault.code() == "BucketNotEmpty" => {}
            Err(fault) if fault.is_gone() => return Ok(()),
            done => return done,
        }
        empty::empty(id, cx).await?;
        delete_bucket(id, cx).await
    }
}

impl Bucket {
    fn lock(&self) -> Option<Lock> {
        self.immutable_days.map(Lock::compliance)
    }
}

/// The names of the buckets in the site's region that begin so.
async fn listed(prefix: &str, cx: &CloudCx) -> Result<Vec<String>, Fault> {
    let region = &cx.scope().region;
    let buckets = cx
        .read("s3:ListAllMyBuckets", || {
            cx.aws()
                .s3
                .list_buckets()
                .prefix(prefix)
                .bucket_region(region)
                .max_buckets(1_000)
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(buckets
        .iter()
        .filter(|b| b.bucket_region().is_none_or(|r| r == region))
        .filter_map(|b| b.name())
        .filter(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .collect())
}

async fn exists(name: &str, cx: &CloudCx) -> Result<bool, Fault> {
    let answer = cx
        .read("s3:ListBucket", || {
            cx.aws().s3.head_bucket().bucket(name).send()
        })
        .await;
    match answer {
        Ok(_) => Ok(true),
        Err(fault) if fault.is_gone() => Ok(false),
        // Somebody else's: creating it gives the better message.
        Err(Fault::Denied { .. }) => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// A listed bucket with its settings; none when it is not this site's, or gone meanwhile.
async fn look(name: String, cx: &CloudCx) -> Result<Option<Found<Bucket>>, Fault> {
    match describe(&name, cx).await {
        Err(fault) if fault.code() == "NoSuchBucket" => Ok(None),
        other => other,
    }
}

async fn describe(name: &str, cx: &CloudCx) -> Result<Option<Found<Bucket>>, Fault> {
    let output = output(name);
    let mut tags = cx.tags_by_arn(&output.arn).await?.ours();
    if tags.0.is_empty() {
        tags = settings::tags(name, cx).await?;
    }
    let mine = tags.get(SITE_TAG) == Some(cx.site());
    let by_tag = tags.address().filter(|_| mine);
    let address = match by_tag {
        Some(address) => address,
        // Its tags were taken off by hand: then the journal still knows it.
        None => match cx.address_of(&output.arn, name).await? {
            Some(address) => address,
            None => return Ok(None),
        },
    };
    let mut live = settings::read(name, tags, cx).await?;
    if address.name() == LOCKABLE {
        live.lock = lock::read(name, cx).await?;
    }
    Ok(Some(Found {
        address,
        id: name.to_owned(),
        live,
        readiness: Readiness::Ready(output),
    }))
}

async fn delete_bucket(name: &str, cx: &CloudCx) -> Result<(), Fault> {
    cx.put("s3:DeleteBucket", || {
        cx.aws().s3.delete_bucket().bucket(name).send()
    })
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Names;

    #[test]
    fn the_survey_lists_by_how_names_begin() {
        let names = Names::new(
            "acme".parse().unwrap(),
            "123456789012".parse().unwrap(),
            "eu-west-1".parse().unwrap(),
        );
        assert!(names.bucket("logs").starts_with(&prefix("acme")));
        let long = "a-very-long-name-of-site";
        let names = Names::new(
            long.parse().unwrap(),
            "123456789012".parse().unwrap(),
            "ap-southeast-1".parse().unwrap(),
        );
        assert!(names.bucket("dependency_proxy").starts_with(&prefix(long)));
    }
}
