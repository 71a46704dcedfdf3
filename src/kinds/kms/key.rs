//! The site's own encryption keys: one for its data, one for what recovery points must not keep beside the data.
//!
//! A key has no name and no client token: its tags tell it from others, and they are there from the first
//! moment. AWS never deletes a key at once; the days it waits are kept in a tag, because deletion knows only
//! the key's id. A key that waits for its end is no longer ours: a new site gets a new key.
//!
//! Calls of a survey: the shared listing, and three for each key of the site (there are two).

use aws_sdk_kms::types::{KeyMetadata, KeyState, Tag};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cloud::Fault;
use crate::kinds::ec2::remove;
use crate::resource::{
    Address, ApplyCx, Bears, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness,
    Replay, Resource, SITE_TAG, Scope, Tags,
};

/// Where the days of waiting are remembered, for `delete`.
const PENDING_TAG: &str = "gantry:pending-days";
/// What KMS takes where nobody said anything.
const PENDING_DEFAULT: i32 = 30;

#[derive(Debug, Clone, Serialize)]
pub struct Key {
    pub description: String,
    pub used_for: KeyUse,
    /// The account whose vault of AWS Backup gets copies of what is encrypted with this key: its AWS Backup, and nobody
    /// else there, may open it. Only for a key of data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_into: Option<String>,
    /// Whether AWS makes new key material every year.
    pub rotation: bool,
    /// How many days a deleted key can still be called back, 7 to 30.
    pub pending_days: u32,
}

/// What a key encrypts; its policy follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyUse {
    /// Disks, databases, buckets, secrets: used through AWS services.
    Data,
    /// Secrets and configuration inside recovery points: used directly, and only by who names the site in the
    /// encryption context ([`CONTEXT`]). No AWS service can use it, so nothing else is ever encrypted with it.
    Recovery,
}

/// The key of the encryption context that the recovery key asks for; its value is the site's name.
pub const CONTEXT: &str = SITE_TAG;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOutput {
    pub id: String,
    pub arn: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyLive {
    pub description: String,
    pub rotation: bool,
    pub enabled: bool,
    /// As JSON, so that the order of keys and white space do not count.
    pub policy: Value,
    pub tags: Tags,
}

impl Key {
    fn extra(&self) -> Tags {
        Tags::new().with(PENDING_TAG, self.pending_days.to_string())
    }

    /// Who may do what with it.
    fn policy(&self, scope: &Scope) -> Value {
        let mut policy = policy(self.used_for, scope);
        if let (Some(account), Some(list)) = (&self.copied_into, policy["Statement"].as_array_mut())
        {
            list.extend(copies(account));
        }
        policy
    }
}

impl Resource for Key {
    const KIND: Kind = Kind::new("kms/key");
    const REPLAY: Replay = Replay::TagLookup;
    const BEARS: Bears = Bears::Data;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "kms:CreateKey",
        "kms:TagResource",
        "kms:UntagResource",
        "kms:ListResourceTags",
        "kms:DescribeKey",
        "kms:EnableKey",
        "kms:GetKeyPolicy",
        "kms:PutKeyPolicy",
        "kms:GetKeyRotationStatus",
        "kms:EnableKeyRotation",
        "kms:DisableKeyRotation",
        "kms:UpdateKeyDescription",
        "kms:ScheduleKeyDeletion",
        "tag:GetResources",
    ];

    type Id = String;
    type Output = KeyOutput;
    type Live = KeyLive;

    fn refs(&self) -> Vec<&Address> {
        vec![]
    }

    fn diff(&self, live: &KeyLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .field("description", &self.description, &live.description)
            .field("rotation", self.rotation, live.rotation)
            .field("enabled", true, live.enabled)
            .field("policy", self.policy(cx.scope), &live.policy)
            .field("tags", cx.tags(&self.extra()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let mut found = Vec::new();
        for (arn, tags) in &cx.listing().await?.by_arn {
            let ours = arn.contains(":kms:") && arn.contains(":key/");
            let address = tags.address().filter(|a| *a.kind() == Self::KIND);
            let (true, Some(address)) = (ours, address) else {
                continue;
            };
            let Some(key) = describe(arn, cx).await? else {
                continue;
            };
            let readiness = readiness(&key);
            if readiness == Readiness::Absent {
                continue;
            }
            found.push(Found {
                address,
                id: key.key_id().to_owned(),
                live: live(&key, tags.ours(), cx).await?,
                readiness,
            });
        }
        Ok(found)
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<KeyOutput>>, Fault> {
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            let key = describe(id, cx).await?;
            all.push(key.as_ref().map_or(Readiness::Absent, readiness));
        }
        Ok(all)
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let answer = cx
            .cloud
            .write("kms:CreateKey", || {
                cx.aws()
                    .kms
                    .create_key()
                    .description(&self.description)
                    .policy(self.policy(cx.cloud.scope()).to_string())
                    .set_tags(Some(sdk_tags(&cx.tags(&self.extra()))))
                    .send()
            })
            .await?;
        let key = answer
            .key_metadata()
            .ok_or_else(|| Fault::internal("kms:CreateKey answered without a key"))?;
        Ok(Created::Done(key.key_id().to_owned(), output(key)))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let kms = &cx.aws().kms;
        // First of all, because a disabled key refuses the rest.
        if let Change::Fields(diff) = change {
            if diff.has("enabled") {
                cx.cloud
                    .put("kms:EnableKey", || kms.enable_key().key_id(id).send())
                    .await?;
            }
            if diff.has("description") {
                cx.cloud
                    .put("kms:UpdateKeyDescription", || {
                        kms.update_key_description()
                            .key_id(id)
                            .description(&self.description)
                            .send()
                    })
                    .await?;
            }
            if diff.has("policy") {
                cx.cloud
                    .put("kms:PutKeyPolicy", || {
                        kms.put_key_policy()
                            .key_id(id)
                            .policy_name("default")
                            .policy(self.policy(cx.cloud.scope()).to_string())
                            .send()
                    })
                    .await?;
            }
            if diff.has("tags") {
                self.retag(id, cx).await?;
            }
        }
        if change.touches(&["rotation"]) {
            if self.rotation {
                cx.cloud
                    .put("kms:EnableKeyRotation", || {
                        kms.enable_key_rotation().key_id(id).send()
                    })
                    .await?;
            } else if matches!(change, Change::Fields(_)) {
                cx.cloud
                    .put("kms:DisableKeyRotation", || {
                        kms.disable_key_rotation().key_id(id).send()
                    })
                    .await?;
            }
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        match describe(id, cx).await? {
            Some(key) if readiness(&key) != Readiness::Absent => {}
            _ => return Ok(()),
        }
        let days = tags(id, cx)
            .await?
            .get(PENDING_TAG)
            .and_then(|days| days.parse().ok())
            .unwrap_or(PENDING_DEFAULT);
        remove(cx.put("kms:ScheduleKeyDeletion", || {
            cx.aws()
                .kms
                .schedule_key_deletion()
                .key_id(id)
                .pending_window_in_days(days)
                .send()
        }))
        .await
    }
}

impl Key {
    /// Sets the tags, and takes off those that do not belong.
    async fn retag(&self, id: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let want = cx.tags(&self.extra());
        let kms = &cx.aws().kms;
        let stray: Vec<String> = tags(id, cx.cloud)
            .await?
            .iter()
            .filter(|(key, _)| want.get(key).is_none())
            .map(|(key, _)| key.to_owned())
            .collect();
        if !stray.is_empty() {
            cx.cloud
                .put("kms:UntagResource", || {
                    kms.untag_resource()
                        .key_id(id)
                        .set_tag_keys(Some(stray.clone()))
                        .send()
                })
                .await?;
        }
        cx.cloud
            .put("kms:TagResource", || {
                kms.tag_resource()
                    .key_id(id)
                    .set_tags(Some(sdk_tags(&want)))
                    .send()
            })
            .await?;
        Ok(())
    }
}

/// The key of this id or ARN, if there is one.
async fn describe(id: &str, cx: &CloudCx) -> Result<Option<KeyMetadata>, Fault> {
    let answer = cx
        .read("kms:DescribeKey", || {
            cx.aws().kms.describe_key().key_id(id).send()
        })
        .await;
    match answer {
        Ok(answer) => Ok(answer.key_metadata),
        Err(fault) if fault.is_gone() => Ok(None),
        Err(fault) => Err(fault),
    }
}

async fn live(key: &KeyMetadata, tags: Tags, cx: &CloudCx) -> Result<KeyLive, Fault> {
    let id = key.key_id();
    let rotation = cx
        .read("kms:GetKeyRotationStatus", || {
            cx.aws().kms.get_key_rotation_status().key_id(id).send()
        })
        .await?;
    let policy = cx
        .read("kms:GetKeyPolicy", || {
            cx.aws()
                .kms
                .get_key_policy()
                .key_id(id)
                .policy_name("default")
                .send()
        })
        .await?;
    Ok(KeyLive {
        description: key.description().unwrap_or_default().to_owned(),
        rotation: rotation.key_rotation_enabled(),
        enabled: key.enabled(),
        policy: serde_json::from_str(policy.policy().unwrap_or_default()).unwrap_or(Value::Null),
        tags,
    })
}

async fn tags(id: &str, cx: &CloudCx) -> Result<Tags, Fault> {
    let answer = cx
        .read("kms:ListResourceTags", || {
            // A thing has 50 tags at most, and one page holds as many.
            cx.aws()
                .kms
                .list_resource_tags()
                .key_id(id)
                .limit(50)
                .send()
        })
        .await?;
    Ok(answer
        .tags()
        .iter()
        .map(|t| (t.tag_key(), t.tag_value()))
        .collect::<Tags>()
        .ours())
}

fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    // Both parts are set, which is all the builder asks for.
    tags.iter()
        .filter_map(|(k, v)| Tag::builder().tag_key(k).tag_value(v).build().ok())
        .collect()
}

fn output(key: &KeyMetadata) -> KeyOutput {
    KeyOutput {
        id: key.key_id().to_owned(),
        arn: key.arn().unwrap_or_default().to_owned(),
    }
}

fn readiness(key: &KeyMetadata) -> Readiness<KeyOutput> {
    match key.key_state() {
        Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => Readiness::Absent,
        Some(KeyState::Creating) => Readiness::Pending("Creating".into()),
        // A disabled key is drift that `configure` puts right, not a key that is not there.
        _ => Readiness::Ready(output(key)),
    }
}

/// Who may do what with a key.
fn policy(used_for: KeyUse, scope: &Scope) -> Value {
    match used_for {
        KeyUse::Data => data_policy(scope),
        KeyUse::Recovery => recovery_policy(scope),
    }
}

/// The account's administrators rule the key by their IAM policies, and so does the role of the appliance host, whose
/// policy lets it seal and open for its own site. Naming the role here would tie the key to a role that is made after
/// it, and would lock everybody out if the role were gone.
///
/// What is sealed can be opened only by who says whose it is: without the site in the encryption context every use is
/// denied, and so are grants, which are how AWS services would use a key. Administrators too name the site.
fn recovery_policy(scope: &Scope) -> Value {
    let (account, site) = (&scope.account, &scope.site);
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Administration",
                "Effect": "Allow",
                "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
                "Action": "kms:*",
                "Resource": "*"
            },
            {
                "Sid": "OnlyInTheNameOfTheSite",
                "Effect": "Deny",
                "Principal": {"AWS": "*"},
                "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"],
                "Resource": "*",
                "Condition": {"StringNotEquals": {(format!("kms:EncryptionContext:{CONTEXT}")): site}}
            },
            {
                "Sid": "NoGrants",
                "Effect": "Deny",
                "Principal": {"AWS": "*"},
                "Action": "kms:CreateGrant",
                "Resource": "*"
            }
        ]
    })
}

/// The account's administrators rule it by their IAM policies. Nodes and people of the account use it
/// through AWS services only, never on raw bytes. Auto Scaling starts instances by its own service-linked
/// role; that role may not exist yet in a young account, and a principal that does not exist is refused, so it
/// is named in a condition. The services at the end write encrypted things without a caller of the account.
fn data_policy(scope: &Scope) -> Value {
    let (account, region) = (&scope.account, &scope.region);
    let crypto = json!([
        "kms:Encrypt",
        "kms:Decrypt",
        "kms:ReEncrypt*",
        "kms:GenerateDataKey*",
        "kms:DescribeKey"
    ]);
    let via: Vec<String> = [
        "ec2",
        "rds",
        "elasticache",
        "s3",
        "secretsmanager",
        "sns",
        "logs",
        "autoscaling",
    ]
    .iter()
    .map(|service| format!("{service}.{region}.amazonaws.com"))
    .collect();
    let scaling = format!(
        "arn:aws:iam::{account}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling*"
    );
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Administration",
                "Effect": "Allow",
                "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
                "Action": "kms:*",
                "Resource": "*"
            },
            {
                "Sid": "UseThroughServices",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": crypto,
                "Resource": "*",
                "Condition": {"StringEquals": {"kms:CallerAccount": account, "kms:ViaService": via}}
            },
            {
                "Sid": "GrantsThroughServices",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": "kms:CreateGrant",
                "Resource": "*",
                "Condition": {
                    "StringEquals": {"kms:CallerAccount": account, "kms:ViaService": via},
                    "Bool": {"kms:GrantIsForAWSResource": "true"}
                }
            },
            {
                "Sid": "UseByAutoScaling",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": crypto,
                "Resource": "*",
                "Condition": {"ArnLike": {"aws:PrincipalArn": scaling}}
            },
            {
                "Sid": "GrantsByAutoScaling",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": "kms:CreateGrant",
                "Resource": "*",
                "Condition": {
                    "ArnLike": {"aws:PrincipalArn": scaling},
                    "Bool": {"kms:GrantIsForAWSResource": "true"}
                }
            },
            {
                "Sid": "AlarmsAndDeliveries",
                "Effect": "Allow",
                "Principal": {"Service": ["cloudwatch.amazonaws.com", "delivery.logs.amazonaws.com", "sns.amazonaws.com"]},
                "Action": ["kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"],
                "Resource": "*",
                "Condition": {"StringEquals": {"aws:SourceAccount": account}}
            },
            {
                "Sid": "Logs",
                "Effect": "Allow",
                "Principal": {"Service": format!("logs.{region}.amazonaws.com")},
                "Action": crypto,
                "Resource": "*",
                "Condition": {
                    "ArnLike": {"kms:EncryptionContext:aws:logs:arn": format!("arn:aws:logs:{region}:{account}:*")}
                }
            }
        ]
    })
}

/// What AWS Backup of another account needs to take a copy: the source is opened there, and closed again with the key
/// of the vault (<https://repost.aws/knowledge-center/backup-cross-account-copy-error>). The account is named as a whole,
/// because a role that it does not have yet would be refused, and the condition leaves its AWS Backup of it.
fn copies(account: &str) -> [Value; 2] {
    let principal = json!({"AWS": format!("arn:aws:iam::{account}:root")});
    let backup = format!(
        "arn:aws:iam::{account}:role/aws-service-role/backup.amazonaws.com/AWSServiceRoleForBackup"
    );
    [
        json!({
            "Sid": "CopiesIntoTheVault",
            "Effect": "Allow",
            "Principal": principal,
            "Action": [
                "kms:Decrypt",
                "kms:ReEncrypt*",
                "kms:GenerateDataKey*",
                "kms:DescribeKey"
            ],
            "Resource": "*",
            "Condition": {"ArnLike": {"aws:PrincipalArn": backup}}
        }),
        json!({
            "Sid": "GrantsForCopies",
            "Effect": "Allow",
            "Principal": principal,
            "Action": "kms:CreateGrant",
            "Resource": "*",
            "Condition": {
                "ArnLike": {"aws:PrincipalArn": backup},
                "Bool": {"kms:GrantIsForAWSResource": "true"}
            }
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope {
            site: "acme".into(),
            account: "123456789012".into(),
            region: "eu-west-1".into(),
            tags: Tags::new(),
        }
    }

    #[test]
    fn nobody_uses_a_key_from_outside_the_account() {
        for used_for in [KeyUse::Data, KeyUse::Recovery] {
            let policy = policy(used_for, &scope());
            for statement in policy["Statement"].as_array().unwrap() {
                let open = statement["Principal"]["AWS"] == "*" && statement["Effect"] == "Allow";
                assert!(
                    !open || statement["Condition"].to_string().contains("123456789012"),
                    "{statement}"
                );
            }
        }
    }

    #[test]
    fn the_vault_s_account_gets_in_as_aws_backup_alone() {
        let key = |copied_into: Option<&str>| Key {
            description: "acme".into(),
            used_for: KeyUse::Data,
            copied_into: copied_into.map(str::to_owned),
            rotation: true,
            pending_days: 30,
        };
        let plain = key(None).policy(&scope());
        assert_eq!(plain, policy(KeyUse::Data, &scope()));
        let shared = key(Some("210987654321")).policy(&scope());
        let all = shared["Statement"].as_array().unwrap();
        let foreign: Vec<_> = all
            .iter()
            .filter(|s| s["Principal"].to_string().contains("210987654321"))
            .collect();
        assert_eq!(foreign.len(), 2);
        for statement in foreign {
            let who = statement["Condition"]["ArnLike"]["aws:PrincipalArn"]
                .as_str()
                .unwrap();
            assert!(
                who.ends_with("backup.amazonaws.com/AWSServiceRoleForBackup"),
                "{who}"
            );
            assert!(!statement["Action"].to_string().contains("kms:*"));
        }
    }

    #[test]
    fn the_recovery_key_opens_nothing_without_the_name_of_the_site() {
        let policy = policy(KeyUse::Recovery, &scope());
        let all = policy["Statement"].as_array().unwrap();
        let deny: Vec<_> = all.iter().filter(|s| s["Effect"] == "Deny").collect();
        let condition = &deny[0]["Condition"]["StringNotEquals"];
        assert_eq!(condition["kms:EncryptionContext:gantry:site"], "acme");
        for action in ["kms:Decrypt", "kms:GenerateDataKey*", "kms:CreateGrant"] {
            let denied = deny
                .iter()
                .any(|s| s["Action"].to_string().contains(action));
            assert!(denied, "{action}");
        }
        // And no service is let in, as with the key of the data.
        assert!(!policy.to_string().contains("ViaService"));
    }
}
