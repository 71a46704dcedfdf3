//! The site's key, and its buckets.

use super::Draft;
use crate::kinds::kms::{Alias, Key};
use crate::kinds::s3::{Bucket, BucketEncryption, Delivery, LifecycleRule, Purpose};
use crate::resource::Ref;

/// One bucket for each type under `gitlab_rails['object_store']['objects']`
/// (doc/administration/object_storage.md; `agent_plan_content` since 19.1).
pub const OBJECT_TYPES: [&str; 10] = [
    "artifacts",
    "external-diffs",
    "uploads",
    "lfs",
    "packages",
    "dependency-proxy",
    "terraform-state",
    "ci-secure-files",
    "pages",
    "agent-plan-content",
];

/// How long AWS keeps a deleted key before it is gone for good: the longest it allows, because everything
/// encrypted with it goes with it.
const KEY_PENDING_DAYS: u32 = 30;

/// How long an overwritten or deleted object can be brought back.
const NONCURRENT_DAYS: u32 = 30;

/// How long logs are kept.
pub(super) const LOG_DAYS: u32 = 90;

pub(super) struct Storage {
    pub key: Ref<Key>,
    /// In the order of [`OBJECT_TYPES`].
    pub objects: Vec<Ref<Bucket>>,
    pub registry: Ref<Bucket>,
    pub backups: Ref<Bucket>,
    pub gitaly_backups: Ref<Bucket>,
    pub logs: Ref<Bucket>,
}

pub(super) fn add(draft: &mut Draft<'_>) -> Storage {
    let site = &draft.site.site.name;
    let key = draft.world.add(
        "main",
        Key {
            description: format!("Everything of the GitLab site {site}"),
            rotation: true,
            pending_days: KEY_PENDING_DAYS,
        },
    );
    let alias = Alias {
        name: draft.names.key_alias("main"),
        key: key.clone(),
    };
    draft.world.add("main", alias);

    let logs = logs(draft);
    let mut bucket = |part: &str, purpose: Purpose, lifecycle: Vec<LifecycleRule>| {
        let spec = Bucket {
            name: draft.names.bucket(part),
            purpose,
            encryption: BucketEncryption::Key(key.clone()),
            lifecycle,
            log_to: Some(logs.clone()),
            allow_delivery: vec![],
        };
        draft.world.add(part, spec)
    };
    let objects = OBJECT_TYPES
        .iter()
        .map(|part| bucket(part, Purpose::Objects, kept(7)))
        .collect();
    // Three days: doc/administration/packages/container_registry.md.
    let registry = bucket("registry", Purpose::Registry, kept(3));
    let backups = bucket("backups", Purpose::Backups, kept(7));
    // A Gitaly backup builds on the ones before it: nothing in that bucket may ever expire by itself.
    let gitaly_backups = bucket(
        "gitaly-backups",
        Purpose::GitalyBackups,
        vec![LifecycleRule::AbortIncomplete { days: 7 }],
    );
    bucket("config", Purpose::Config, kept(7));
    Storage {
        key,
        objects,
        registry,
        backups,
        gitaly_backups,
        logs,
    }
}

fn logs(draft: &mut Draft<'_>) -> Ref<Bucket> {
    let mut allow_delivery = vec![Delivery::ServerAccessLogs];
    if super::security::has_load_balancer(draft.site, draft.sizes) {
        allow_delivery.push(Delivery::LoadBalancerLogs);
    }
    if draft.site.network.flow_logs {
        allow_delivery.push(Delivery::FlowLogs);
    }
    allow_delivery.sort();
    let mut lifecycle = kept(7);
    lifecycle.push(LifecycleRule::Expire {
        days: LOG_DAYS,
        prefix: String::new(),
    });
    let spec = Bucket {
        name: draft.names.bucket("logs"),
        purpose: Purpose::Logs,
        // Server access logs can be delivered to no other kind of encryption
        // (https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html).
        encryption: BucketEncryption::S3Managed,
        lifecycle,
        log_to: None,
        allow_delivery,
    };
    draft.world.add("logs", spec)
}

/// Incomplete uploads go after some days, old versions after a month.
fn kept(incomplete_days: u32) -> Vec<LifecycleRule> {
    vec![
        LifecycleRule::AbortIncomplete {
            days: incomplete_days,
        },
        LifecycleRule::ExpireNoncurrent {
            days: NONCURRENT_DAYS,
        },
    ]
}
