//! Where alarms go: a topic under the site's key, and the mail addresses that hear of it.
//!
//! An address has to answer a mail before it is subscribed. Until then AWS shows it as pending and will not
//! let anybody take it out again; after three days it goes by itself. So a pending address counts as there
//! when it is wanted, and not at all when it is not.

use aws_sdk_sns::types::Tag;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cloud::Fault;
use crate::kinds::kms::Key;
use crate::kinds::tagged::{Owned, Whose, gone_is_fine, still_owned, surplus, text, whose};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct Topic {
    pub name: String,
    pub key: Ref<Key>,
    pub emails: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicOutput {
    pub arn: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicLive {
    pub arn: String,
    pub key: String,
    pub policy: Value,
    pub emails: Vec<String>,
    pub pending: Vec<String>,
    pub tags: Tags,
}

impl Resource for Topic {
    const KIND: Kind = Kind::new("sns/topic");
    const REPLAY: Replay = Replay::Name;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "sns:CreateTopic",
        "sns:ListTopics",
        "sns:GetTopicAttributes",
        "sns:SetTopicAttributes",
        "sns:Subscribe",
        "sns:Unsubscribe",
        "sns:ListSubscriptionsByTopic",
        "sns:DeleteTopic",
        "sns:TagResource",
        "sns:UntagResource",
        "sns:ListTagsForResource",
        "tag:GetResources",
    ];

    type Id = String;
    type Output = TopicOutput;
    type Live = TopicLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.key.address()]
    }

    fn diff(&self, live: &TopicLive, cx: &PlanCx<'_>) -> Diff {
        let wanted = self.wanted_emails();
        let mut emails = live.emails.clone();
        emails.extend(live.pending.iter().filter(|e| wanted.contains(e)).cloned());
        emails.sort();
        emails.dedup();
        Diff::new()
            .fixed("name", &self.name, name_of(&live.arn))
            .field("key", cx.want(&self.key, |o| o.arn), &live.key)
            .field("policy", policy(&live.arn, &cx.scope.account), &live.policy)
            .field("emails", wanted, emails)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let mut found = Vec::new();
        for (arn, owned) in ours(cx).await? {
            let answer = cx
                .read("sns:GetTopicAttributes", || {
                    cx.aws().sns.get_topic_attributes().topic_arn(&arn).send()
                })
                .await?;
            let attribute = |key: &str| {
                answer
                    .attributes()
                    .and_then(|a| a.get(key))
                    .cloned()
                    .unwrap_or_default()
            };
            let (mut emails, mut pending) = (Vec::new(), Vec::new());
            for (endpoint, subscription) in subscriptions(&arn, cx).await? {
                match subscription {
                    Some(_) => emails.push(endpoint),
                    None => pending.push(endpoint),
                }
            }
            emails.sort();
            pending.sort();
            found.push(Found {
                address: owned.address,
                live: TopicLive {
                    arn: arn.clone(),
                    key: attribute("KmsMasterKeyId"),
                    policy: serde_json::from_str(&attribute("Policy")).unwrap_or(Value::Null),
                    emails,
                    pending,
                    tags: owned.tags,
                },
                readiness: Readiness::Ready(TopicOutput { arn: arn.clone() }),
                id: arn,
            });
        }
        Ok(found)
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<TopicOutput>>, Fault> {
        let listed = list(cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                if listed.contains(id) {
                    Readiness::Ready(TopicOutput { arn: id.clone() })
                } else {
                    Readiness::Absent
                }
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let key = cx.get(&self.key)?.arn;
        let answer = cx
            .cloud
            .write("sns:CreateTopic", || {
                cx.aws()
                    .sns
                    .create_topic()
                    .name(&self.name)
                    .attributes("KmsMasterKeyId", &key)
                    .set_tags(Some(sdk_tags(&cx.tags(&Tags::new()))))
                    .send()
            })
            .await
            .map_err(taken)?;
        let arn = text(answer.topic_arn());
        Ok(Created::Done(arn.clone(), TopicOutput { arn }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let set = |name: &'static str, value: String| {
            cx.cloud.put("sns:SetTopicAttributes", move || {
                cx.aws()
                    .sns
                    .set_topic_attributes()
                    .topic_arn(id)
                    .attribute_name(name)
                    .attribute_value(&value)
                    .send()
            })
        };
        if change.touches(&["policy"]) {
            let policy = policy(id, &cx.cloud.scope().account).to_string();
            set("Policy", policy).await?;
        }
        if let Change::Fields(diff) = change {
            if diff.has("key") {
                set("KmsMasterKeyId", cx.get(&self.key)?.arn).await?;
            }
            retag(id, change, &cx.tags(&Tags::new()), cx).await?;
        }
        if change.touches(&["emails"]) {
            self.subscribe(id, change, cx).await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let answer = cx
            .put("sns:DeleteTopic", || {
                cx.aws().sns.delete_topic().topic_arn(id).send()
            })
            .await;
        gone_is_fine(answer)
    }
}

impl Topic {
    fn wanted_emails(&self) -> Vec<String> {
        let mut emails = self.emails.clone();
        emails.sort();
        emails.dedup();
        emails
    }

    async fn subscribe(
        &self,
        arn: &str,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let wanted = self.wanted_emails();
        // A new topic has nobody, so there is nothing to look up.
        let have = match change {
            Change::All => vec![],
            Change::Fields(_) => subscriptions(arn, cx.cloud).await?,
        };
        for email in &wanted {
            if have.iter().any(|(endpoint, _)| endpoint == email) {
                continue;
            }
            cx.cloud
                .put("sns:Subscribe", || {
                    cx.aws()
                        .sns
                        .subscribe()
                        .topic_arn(arn)
                        .protocol("email")
                        .endpoint(email)
                        .send()
                })
                .await?;
        }
        for (endpoint, subscription) in have {
            let (false, Some(subscription)) = (wanted.contains(&endpoint), subscription) else {
                continue;
            };
            let answer = cx
                .cloud
                .put("sns:Unsubscribe", || {
                    cx.aws()
                        .sns
                        .unsubscribe()
                        .subscription_arn(&subscription)
                        .send()
                })
                .await;
            gone_is_fine(answer)?;
        }
        Ok(())
    }
}

/// Alarms of this account may publish; the account's own roles may by their own policies.
fn policy(arn: &str, account: &str) -> Value {
    let mut parts = arn.split(':').skip(1);
    let partition = parts.next().unwrap_or("aws");
    let region = parts.nth(1).unwrap_or_default();
    json!({"Version": "2012-10-17", "Statement": [{
        "Sid": "AlarmsPublish",
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": arn,
        "Condition": {
            "StringEquals": {"aws:SourceAccount": account},
            "ArnLike": {"aws:SourceArn": format!("arn:{partition}:cloudwatch:{region}:{account}:alarm:*")},
        },
    }]})
}

fn name_of(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or_default()
}

fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .filter_map(|(k, v)| Tag::builder().key(k).value(v).build().ok())
        .collect()
}

async fn retag(arn: &str, change: Change<'_>, tags: &Tags, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    if !change.touches(&["tags"]) {
        return Ok(());
    }
    cx.cloud
        .put("sns:TagResource", || {
            cx.aws()
                .sns
                .tag_resource()
                .resource_arn(arn)
                .set_tags(Some(sdk_tags(tags)))
                .send()
        })
        .await?;
    let surplus = surplus(change, tags);
    if !surplus.is_empty() {
        cx.cloud
            .put("sns:UntagResource", || {
                cx.aws()
                    .sns
                    .untag_resource()
                    .resource_arn(arn)
                    .set_tag_keys(Some(surplus.clone()))
                    .send()
            })
            .await?;
    }
    Ok(())
}

async fn list(cx: &CloudCx) -> Result<Vec<String>, Fault> {
    let listed = cx
        .read("sns:ListTopics", || {
            cx.aws()
                .sns
                .list_topics()
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(listed.iter().map(|t| text(t.topic_arn())).collect())
}

async fn ours(cx: &CloudCx) -> Result<Vec<(String, Owned)>, Fault> {
    let mut ours = Vec::new();
    for arn in list(cx).await? {
        let owned = match whose(&Topic::KIND, &arn, &arn, cx).await? {
            Whose::Listed(owned) => Some(owned),
            Whose::Remembered(address) => {
                let answer = cx
                    .read("sns:ListTagsForResource", || {
                        cx.aws()
                            .sns
                            .list_tags_for_resource()
                            .resource_arn(&arn)
                            .send()
                    })
                    .await?;
                let tags = answer.tags().iter().map(|t| (t.key(), t.value())).collect();
                still_owned(address, &tags, cx)
            }
            Whose::Foreign => None,
        };
        ours.extend(owned.map(|owned| (arn, owned)));
    }
    Ok(ours)
}

/// Mail addresses with the ARNs of their subscriptions; none while they are pending.
async fn subscriptions(arn: &str, cx: &CloudCx) -> Result<Vec<(String, Option<String>)>, Fault> {
    let listed = cx
        .read("sns:ListSubscriptionsByTopic", || {
            cx.aws()
                .sns
                .list_subscriptions_by_topic()
                .topic_arn(arn)
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(listed
        .iter()
        .filter(|s| s.protocol() == Some("email"))
        .map(|s| {
            let own = s.subscription_arn().filter(|a| a.starts_with("arn:"));
            (text(s.endpoint()), own.map(str::to_owned))
        })
        .collect())
}

/// SNS answers with the same topic when name, settings and tags are the same, and otherwise says so in words.
fn taken(fault: Fault) -> Fault {
    match fault {
        Fault::Rejected {
            call,
            code,
            message,
        } if code.starts_with("InvalidParameter") && message.contains("already exists") => {
            Fault::Exists {
                call,
                code,
                message,
            }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_alarms_of_this_account_and_region() {
        let policy = policy("arn:aws-cn:sns:cn-north-1:123456789012:t", "123456789012");
        assert_eq!(
            policy["Statement"][0]["Condition"]["ArnLike"]["aws:SourceArn"],
            "arn:aws-cn:cloudwatch:cn-north-1:123456789012:alarm:*"
        );
    }
}
