//! AWS Backup: copies that go on when gantry does not run, and into an account that this one has no rights in.

mod plan;
mod selection;
mod vault;

use aws_sdk_backup::types::BackupPlansListMember;

use crate::cloud::Fault;
use crate::kinds::tagged::{Owned, Whose, partition, still_owned, surplus, tag_map, whose};
use crate::resource::{ApplyCx, Change, CloudCx, Kind, KindInfo, Tags};

pub use self::plan::{Plan, PlanOutput};
pub use self::selection::{Selected, Selection, SelectionId, SelectionOutput};
pub use self::vault::{Vault, VaultOutput};

/// The kinds of AWS Backup.
pub const KINDS: &[KindInfo] = &[
    KindInfo::of::<Vault>(),
    KindInfo::of::<Plan>(),
    KindInfo::of::<Selection>(),
];

/// The ARN of a vault or a plan, for calls that answer without it.
fn arn(cx: &CloudCx, noun: &str, id: &str) -> String {
    let (region, account) = (&cx.scope().region, &cx.scope().account);
    format!(
        "arn:{}:backup:{region}:{account}:{noun}:{id}",
        partition(region)
    )
}

/// Whose a vault or a plan is. Listings show no tags, so it is the shared listing that says it, and the thing's own
/// tags where that lags behind.
async fn owned(kind: &Kind, arn: &str, id: &str, cx: &CloudCx) -> Result<Option<Owned>, Fault> {
    let address = match whose(kind, arn, id, cx).await? {
        Whose::Listed(owned) => return Ok(Some(owned)),
        Whose::Remembered(address) => address,
        Whose::Foreign => return Ok(None),
    };
    let listed = cx
        .read("backup:ListTags", || {
            cx.aws().backup.list_tags().resource_arn(arn).send()
        })
        .await;
    let tags = match listed {
        Ok(answer) => answer.tags.unwrap_or_default().into_iter().collect(),
        // Deleted between the two calls.
        Err(fault) if fault.is_gone() => return Ok(None),
        Err(fault) => return Err(fault),
    };
    Ok(still_owned(address, &tags, cx))
}

/// Puts the wanted tags on, and takes off what nobody wants.
async fn retag(arn: &str, change: Change<'_>, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    let want = cx.tags(&Tags::new());
    cx.cloud
        .put("backup:TagResource", || {
            cx.aws()
                .backup
                .tag_resource()
                .resource_arn(arn)
                .set_tags(Some(tag_map(&want)))
                .send()
        })
        .await?;
    let surplus = surplus(change, &want);
    if surplus.is_empty() {
        return Ok(());
    }
    cx.cloud
        .put("backup:UntagResource", || {
            cx.aws()
                .backup
                .untag_resource()
                .resource_arn(arn)
                .set_tag_key_list(Some(surplus.clone()))
                .send()
        })
        .await?;
    Ok(())
}

/// Every plan of the account in this region.
async fn list_plans(cx: &CloudCx) -> Result<Vec<BackupPlansListMember>, Fault> {
    cx.read("backup:ListBackupPlans", || {
        cx.aws()
            .backup
            .list_backup_plans()
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

/// SDK numbers are signed, and of 64 bits.
fn days(number: Option<i64>) -> u32 {
    number
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or_default()
}
