//! The site's keys, and its buckets.

use super::Draft;
use crate::kinds::kms::{Alias, Key, KeyUse};
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

/// How long what was overwritten or deleted can be brought back, where no recovery point names it.
const NONCURRENT_DAYS: u32 = 30;

/// Where `gitlab-backup` puts its archives in the backup bucket, as its argument `DIRECTORY` wants it. Nodes write
/// there and nowhere else; everything that gantry writes itself is out of their reach.
pub const ARCHIVES: &str = "gitlab";

/// How long logs are kept.
pub(super) const LOG_DAYS: u32 = 90;

pub(super) struct Storage {
    pub key: Ref<Key>,
    /// Seals the secrets and the configuration in recovery points; the data never.
    pub recovery_key: Ref<Key>,
    /// In the order of [`OBJECT_TYPES`].
    pub objects: Vec<Ref<Bucket>>,
    pub registry: Ref<Bucket>,
    pub backups: Ref<Bucket>,
    pub gitaly_backups: Ref<Bucket>,
    pub config: Ref<Bucket>,
    pub logs: Ref<Bucket>,
}

pub(super) fn add(draft: &mut Draft<'_>) -> Storage {
    let site = &draft.site.site.name;
    let data = format!("Everything of the GitLab site {site}");
    let sealed = format!("Secrets and configuration in recovery points of the GitLab site {site}");
    let main = key(draft, "main", data, KeyUse::Data);
    let recovery_key = key(draft, "recovery", sealed, KeyUse::Recovery);

    let horizon = draft.site.backup.horizon_days();
    let immutable_days = draft.site.backup.immutable_days;
    let logs = logs(draft);
    let mut bucket = |part: &str, purpose: Purpose, lifecycle: Vec<LifecycleRule>| {
        let spec = Bucket {
            name: draft.names.bucket(part),
            purpose,
            encryption: BucketEncryption::Key(main.clone()),
            lifecycle,
            log_to: Some(logs.clone()),
            allow_delivery: vec![],
            immutable_days: (purpose == Purpose::Backups)
                .then_some(immutable_days)
                .flatten(),
        };
        draft.world.add(part, spec)
    };
    // A recovery point names versions of objects: they stay as long as the oldest point that may name them.
    let objects = OBJECT_TYPES
        .iter()
        .map(|part| bucket(part, Purpose::Objects, kept(7, horizon)))
        .collect();
    // Three days: doc/administration/packages/container_registry.md.
    let registry = bucket("registry", Purpose::Registry, kept(3, horizon));
    // What prune deletes can be brought back for a month. What is immutable outlasts any rule.
    let after_prune = NONCURRENT_DAYS.max(immutable_days.unwrap_or(0));
    let backups = bucket("backups", Purpose::Backups, kept(7, after_prune));
    // A Gitaly backup builds on the ones before it: nothing in that bucket may ever expire by itself.
    let gitaly_backups = bucket(
        "gitaly-backups",
        Purpose::GitalyBackups,
        vec![LifecycleRule::AbortIncomplete { days: 7 }],
    );
    let config = bucket("config", Purpose::Config, kept(7, NONCURRENT_DAYS));
    Storage {
        key: main,
        recovery_key,
        objects,
        registry,
        backups,
        gitaly_backups,
        config,
        logs,
    }
}

/// A key and its name.
fn key(draft: &mut Draft<'_>, part: &str, description: String, used_for: KeyUse) -> Ref<Key> {
    let vault = draft.site.backup.vault.as_ref();
    let spec = Key {
        description,
        used_for,
        copied_into: vault
            .filter(|_| used_for == KeyUse::Data)
            .map(|vault| vault.arn.account().to_owned()),
        rotation: true,
        pending_days: KEY_PENDING_DAYS,
    };
    let key = draft.world.add(part, spec);
    let alias = Alias {
        name: draft.names.key_alias(part),
        key: key.clone(),
    };
    draft.world.add(part, alias);
    key
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
    let mut lifecycle = kept(7, NONCURRENT_DAYS);
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
        immutable_days: None,
    };
    draft.world.add("logs", spec)
}

/// Incomplete uploads go after some days, old versions after more.
fn kept(incomplete_days: u32, noncurrent_days: u32) -> Vec<LifecycleRule> {
    vec![
        LifecycleRule::AbortIncomplete {
            days: incomplete_days,
        },
        LifecycleRule::ExpireNoncurrent {
            days: noncurrent_days,
        },
    ]
}
