//! A secret that is made once, inside AWS, and never kept anywhere else.
//!
//! The value is drawn in `create`, sent, and zeroed; neither spec nor live state nor journal has it. The name
//! is unique and lingers: a deleted secret keeps it for days, so a name that waits for its end is called back,
//! value and all, if it was this site's. Deletion is for good, because it is reached only after a person
//! said that the data may go.

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::operation::list_secrets::ListSecretsOutput;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, Tag};
use serde::{Deserialize, Serialize};

use super::random;
use crate::cloud::Fault;
use crate::kinds::ec2::{remove, text};
use crate::kinds::kms::Key;
use crate::resource::{
    Address, ApplyCx, Bears, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref,
    Replay, Resource, SITE_TAG, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct Secret {
    pub name: String,
    pub description: String,
    pub shape: SecretShape,
    pub key: Ref<Key>,
}

/// What the value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretShape {
    /// Letters and digits, safe in every configuration file and accepted by RDS.
    Password { length: u32 },
    /// URL-safe: letters, digits, `-` and `_`.
    Token { length: u32 },
    /// Hexadecimal digits of so many random bytes.
    Hex { bytes: u32 },
    /// No value yet: a node fills it in.
    Empty,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretOutput {
    pub arn: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretLive {
    pub name: String,
    pub description: String,
    /// The ARN of the key it is encrypted with.
    pub key: String,
    pub tags: Tags,
}

/// The value of a secret, for the calls that hand it to AWS.
pub async fn value(cx: &ApplyCx<'_>, secret: &Ref<Secret>) -> Result<crate::secret::Secret, Fault> {
    let arn = cx.get(secret)?.arn;
    let answer = cx
        .cloud
        .read("secretsmanager:GetSecretValue", || {
            cx.aws().secrets.get_secret_value().secret_id(&arn).send()
        })
        .await?;
    match answer.secret_string {
        Some(text) => Ok(crate::secret::Secret::new(text)),
        None => Err(Fault::internal(format!("{} has no text", secret.address()))),
    }
}

impl Resource for Secret {
    const KIND: Kind = Kind::new("secretsmanager/secret");
    const REPLAY: Replay = Replay::Name;
    const BEARS: Bears = Bears::Data;
    const ACTIONS: &'static [&'static str] = &[
        "secretsmanager:CreateSecret",
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:RestoreSecret",
        "secretsmanager:UpdateSecret",
        "secretsmanager:TagResource",
        "secretsmanager:UntagResource",
        "secretsmanager:ListSecrets",
        "secretsmanager:DeleteSecret",
        "kms:Decrypt",
        "kms:GenerateDataKey",
    ];

    /// The ARN.
    type Id = String;
    type Output = SecretOutput;
    type Live = SecretLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.key.address()]
    }

    fn diff(&self, live: &SecretLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("name", &self.name, &live.name)
            .field("description", &self.description, &live.description)
            .field("key", cx.want(&self.key, |key| key.arn), &live.key)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = list(cx).await?;
        Ok(listed
            .into_iter()
            .filter_map(|(arn, live)| {
                Some(Found {
                    address: live.tags.address()?,
                    readiness: Readiness::Ready(SecretOutput {
                        arn: arn.clone(),
                        name: live.name.clone(),
                    }),
                    id: arn,
                    live,
                })
            })
            .collect())
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<SecretOutput>>, Fault> {
        let listed = list(cx).await?;
        Ok(ids
            .iter()
            .map(|id| match listed.iter().find(|(arn, _)| arn == id) {
                Some((arn, live)) => Readiness::Ready(SecretOutput {
                    arn: arn.clone(),
                    name: live.name.clone(),
                }),
                None => Readiness::Absent,
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let key = cx.get(&self.key)?.arn;
        let value = random::make(self.shape)?;
        let tags = sdk_tags(&cx.tags(&Tags::new()));
        let made = cx
            .cloud
            .write("secretsmanager:CreateSecret", || {
                cx.aws()
                    .secrets
                    .create_secret()
                    .name(&self.name)
                    .description(&self.description)
                    .kms_key_id(&key)
                    .set_secret_string(value.as_deref().cloned())
                    .set_tags(Some(tags.clone()))
                    .send()
            })
            .await;
        drop(value);
        let arn = match made {
            Ok(answer) => text(answer.arn()),
            Err(fault) if is_lingering(&fault) => self.call_back(fault, cx).await?,
            Err(fault) => return Err(fault),
        };
        let name = self.name.clone();
        Ok(Created::Done(arn.clone(), SecretOutput { arn, name }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let Change::Fields(diff) = change else {
            return Ok(());
        };
        if diff.has_any(&["description", "key"]) {
            self.update(id, cx).await?;
        }
        if diff.has("tags") {
            self.retag(id, cx).await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        remove(cx.put("secretsmanager:DeleteSecret", || {
            cx.aws()
                .secrets
                .delete_secret()
                .secret_id(id)
                .force_delete_without_recovery(true)
                .send()
        }))
        .await
    }
}

impl Secret {
    /// The name belongs to a secret that waits for its end: back with it, if it was this one.
    async fn call_back(&self, refused: Fault, cx: &ApplyCx<'_>) -> Result<String, Fault> {
        let secrets = &cx.aws().secrets;
        let later = |message: String| Fault::Later {
            call: refused.call().to_owned(),
            code: refused.code().to_owned(),
            message,
        };
        let old = match describe(&self.name, cx.cloud).await {
            Ok(old) => old,
            // Gone for good, and only its name is not free yet.
            Err(fault) if fault.is_gone() => return Err(later(fault.to_string())),
            Err(fault) => return Err(fault),
        };
        let tags = tags_of(old.tags());
        let ours = tags.get(SITE_TAG) == Some(cx.cloud.site())
            && tags.address().as_ref() == Some(cx.address);
        if !ours {
            return Err(Fault::Exists {
                call: refused.call().to_owned(),
                code: refused.code().to_owned(),
                message: format!(
                    "a secret named {} that is not this site's waits for its deletion",
                    self.name
                ),
            });
        }
        let arn = text(old.arn());
        cx.cloud
            .put("secretsmanager:RestoreSecret", || {
                secrets.restore_secret().secret_id(&arn).send()
            })
            .await?;
        self.update(&arn, cx).await?;
        self.retag(&arn, cx).await?;
        Ok(arn)
    }

    async fn update(&self, arn: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let key = cx.get(&self.key)?.arn;
        cx.cloud
            .put("secretsmanager:UpdateSecret", || {
                cx.aws()
                    .secrets
                    .update_secret()
                    .secret_id(arn)
                    .description(&self.description)
                    .kms_key_id(&key)
                    .send()
            })
            .await?;
        Ok(())
    }

    async fn retag(&self, arn: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let secrets = &cx.aws().secrets;
        let want = cx.tags(&Tags::new());
        let stray: Vec<String> = tags_of(describe(arn, cx.cloud).await?.tags())
            .iter()
            .filter(|(key, _)| want.get(key).is_none())
            .map(|(key, _)| key.to_owned())
            .collect();
        if !stray.is_empty() {
            cx.cloud
                .put("secretsmanager:UntagResource", || {
                    secrets
                        .untag_resource()
                        .secret_id(arn)
                        .set_tag_keys(Some(stray.clone()))
                        .send()
                })
                .await?;
        }
        cx.cloud
            .put("secretsmanager:TagResource", || {
                secrets
                    .tag_resource()
                    .secret_id(arn)
                    .set_tags(Some(sdk_tags(&want)))
                    .send()
            })
            .await?;
        Ok(())
    }
}

/// AWS's no to a name whose secret waits for its deletion; the code alone says only "not now".
fn is_lingering(fault: &Fault) -> bool {
    fault.code() == "InvalidRequestException"
        && fault.to_string().contains("scheduled for deletion")
}

async fn describe(id: &str, cx: &CloudCx) -> Result<DescribeSecretOutput, Fault> {
    cx.read("secretsmanager:DescribeSecret", || {
        cx.aws().secrets.describe_secret().secret_id(id).send()
    })
    .await
}

/// The site's secrets. The listing's filters look at keys and at values apart, so the pair is checked here.
async fn list(cx: &CloudCx) -> Result<Vec<(String, SecretLive)>, Fault> {
    let filter = |key, value: &str| Filter::builder().key(key).values(value).build();
    let listed = cx
        .read("secretsmanager:ListSecrets", || {
            cx.aws()
                .secrets
                .list_secrets()
                .max_results(100)
                .filters(filter(FilterNameStringType::TagKey, SITE_TAG))
                .filters(filter(FilterNameStringType::TagValue, cx.site()))
                .into_paginator()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(listed
        .iter()
        .flat_map(ListSecretsOutput::secret_list)
        .filter(|s| s.deleted_date().is_none())
        .map(|s| {
            let live = SecretLive {
                name: text(s.name()),
                description: text(s.description()),
                key: text(s.kms_key_id()),
                tags: tags_of(s.tags()),
            };
            (text(s.arn()), live)
        })
        .filter(|(_, live)| live.tags.get(SITE_TAG) == Some(cx.site()))
        .collect())
}

fn tags_of(tags: &[Tag]) -> Tags {
    tags.iter()
        .filter_map(|t| Some((t.key()?, t.value()?)))
        .collect::<Tags>()
        .ours()
}

fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(k, v)| Tag::builder().key(k).value(v).build())
        .collect()
}
