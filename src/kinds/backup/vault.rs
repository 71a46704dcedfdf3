//! A vault: where AWS Backup puts what it has saved, encrypted with a key of the site.
//!
//! A name is unique in the account and the region. One listing shows all vaults with their keys, and no tags.

use aws_sdk_backup::types::{BackupVaultListMember, RecoveryPointStatus};
use serde::{Deserialize, Serialize};

use super::{arn, owned, retag};
use crate::cloud::Fault;
use crate::kinds::iam::Role;
use crate::kinds::kms::Key;
use crate::kinds::tagged::{gone_is_fine, tag_map, text};
use crate::resource::{
    Address, ApplyCx, Bears, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref,
    Replay, Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct Vault {
    /// 2 to 50 letters, digits, hyphens and underscores.
    pub name: String,
    pub key: Ref<Key>,
    /// By which AWS Backup fills the vault, and with which it takes away later what has had its days. No field of the
    /// vault: it must stay for as long as the vault does, because without it nothing there ever expires
    /// (<https://docs.aws.amazon.com/aws-backup/latest/devguide/API_DeleteRecoveryPoint.html>).
    pub role: Ref<Role>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultOutput {
    pub name: String,
    pub arn: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultLive {
    pub name: String,
    /// The key's ARN.
    pub key: String,
    pub tags: Tags,
}

const NOUN: &str = "backup-vault";

impl Resource for Vault {
    const KIND: Kind = Kind::new("backup/vault");
    const REPLAY: Replay = Replay::Name;
    const BEARS: Bears = Bears::Data;
    const ACTIONS: &'static [&'static str] = &[
        "backup:CreateBackupVault",
        "backup:ListBackupVaults",
        "backup:DescribeBackupVault",
        "backup:DeleteBackupVault",
        "backup:ListRecoveryPointsByBackupVault",
        "backup:DeleteRecoveryPoint",
        "backup:ListTags",
        "backup:TagResource",
        "backup:UntagResource",
        // What AWS asks of who makes a vault: it is given the key by a grant
        // (https://docs.aws.amazon.com/aws-backup/latest/devguide/create-a-vault.html).
        "backup-storage:MountCapsule",
        "kms:CreateGrant",
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:GenerateDataKey",
        "kms:RetireGrant",
        "tag:GetResources",
    ];

    type Id = String;
    type Output = VaultOutput;
    type Live = VaultLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.key.address(), self.role.address()]
    }

    fn diff(&self, live: &VaultLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("name", &self.name, &live.name)
            .fixed("key", cx.want(&self.key, |key| key.arn), &live.key)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let mut found = Vec::new();
        for vault in list(cx).await? {
            let (name, arn) = (
                text(vault.backup_vault_name()),
                text(vault.backup_vault_arn()),
            );
            let Some(owned) = owned(&Self::KIND, &arn, &name, cx).await? else {
                continue;
            };
            found.push(Found {
                address: owned.address,
                live: VaultLive {
                    name: name.clone(),
                    key: text(vault.encryption_key_arn()),
                    tags: owned.tags,
                },
                readiness: readiness(&vault),
                id: name,
            });
        }
        Ok(found)
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<VaultOutput>>, Fault> {
        let listed = list(cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                listed
                    .iter()
                    .find(|vault| vault.backup_vault_name() == Some(id))
                    .map_or(Readiness::Absent, readiness)
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let key = cx.get(&self.key)?.arn;
        let tags = tag_map(&cx.tags(&Tags::new()));
        let answer = cx
            .cloud
            .write("backup:CreateBackupVault", || {
                cx.aws()
                    .backup
                    .create_backup_vault()
                    .backup_vault_name(&self.name)
                    .encryption_key_arn(&key)
                    .creator_request_id(cx.token)
                    .set_backup_vault_tags(Some(tags.clone()))
                    .send()
            })
            .await?;
        let output = VaultOutput {
            name: self.name.clone(),
            arn: text(answer.backup_vault_arn()),
        };
        Ok(Created::Done(self.name.clone(), output))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        match change {
            Change::Fields(diff) if diff.has("tags") => {
                retag(&arn(cx.cloud, NOUN, id), change, cx).await
            }
            _ => Ok(()),
        }
    }

    /// Takes away every recovery point, and then the vault. A point needs a while to go: until then AWS says that the
    /// vault is not empty, which is "later".
    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        if let Err(fault) = empty(id, cx).await
            && !fault.is_gone()
        {
            return Err(match locked(id, cx).await? {
                Some(why) => refusal(&fault, why),
                None => fault,
            });
        }
        gone_is_fine(
            cx.put("backup:DeleteBackupVault", || {
                cx.aws()
                    .backup
                    .delete_backup_vault()
                    .backup_vault_name(id)
                    .send()
            })
            .await,
        )
    }
}

async fn list(cx: &CloudCx) -> Result<Vec<BackupVaultListMember>, Fault> {
    cx.read("backup:ListBackupVaults", || {
        cx.aws()
            .backup
            .list_backup_vaults()
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

fn readiness(vault: &BackupVaultListMember) -> Readiness<VaultOutput> {
    Readiness::Ready(VaultOutput {
        name: text(vault.backup_vault_name()),
        arn: text(vault.backup_vault_arn()),
    })
}

async fn empty(vault: &str, cx: &CloudCx) -> Result<(), Fault> {
    let points = cx
        .read("backup:ListRecoveryPointsByBackupVault", || {
            cx.aws()
                .backup
                .list_recovery_points_by_backup_vault()
                .backup_vault_name(vault)
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    // AWS refuses to delete twice what is on its way.
    let left = points
        .iter()
        .filter(|point| point.status() != Some(&RecoveryPointStatus::Deleting));
    for point in left {
        let arn = text(point.recovery_point_arn());
        gone_is_fine(
            cx.put("backup:DeleteRecoveryPoint", || {
                cx.aws()
                    .backup
                    .delete_recovery_point()
                    .backup_vault_name(vault)
                    .recovery_point_arn(&arn)
                    .send()
            })
            .await,
        )?;
    }
    Ok(())
}

/// Why nothing can be deleted from a vault that is locked; none for one that is not.
async fn locked(vault: &str, cx: &CloudCx) -> Result<Option<String>, Fault> {
    let answer = cx
        .read("backup:DescribeBackupVault", || {
            cx.aws()
                .backup
                .describe_backup_vault()
                .backup_vault_name(vault)
                .send()
        })
        .await?;
    if answer.locked() != Some(true) {
        return Ok(None);
    }
    let days = answer.min_retention_days().unwrap_or_default();
    // Before that date, and in governance mode for ever, somebody may still take the lock away.
    let final_now = answer
        .lock_date()
        .is_some_and(|date| date.secs() <= cx.clock().now().as_second());
    let way_out = if final_now {
        "nobody can delete it before; run again then"
    } else {
        "run again then, or after the lock was taken away by who may"
    };
    Ok(Some(format!(
        "the vault {vault} is locked by AWS Backup Vault Lock, and what is in it stays for {days} days at least: {way_out}"
    )))
}

/// AWS's no, with what it means.
fn refusal(fault: &Fault, why: String) -> Fault {
    Fault::Rejected {
        call: fault.call().to_owned(),
        code: match fault.code() {
            "" => "Locked".to_owned(),
            code => code.to_owned(),
        },
        message: why,
    }
}
