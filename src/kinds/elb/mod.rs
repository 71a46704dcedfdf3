//! Network load balancers and what belongs to them.

mod listener;
mod load_balancer;
mod target;
mod target_group;

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::Tag;
use serde_json::Value;

pub use self::listener::{CertificateRef, Listener, ListenerOutput, ListenerProtocol};
pub(super) use self::load_balancer::ours as balancers_of_ours;
pub use self::load_balancer::{LoadBalancer, LoadBalancerOutput, Scheme};
pub use self::target::{Target, TargetOutput};
pub use self::target_group::{Health, TargetGroup, TargetGroupOutput};
use super::tagged::{Owned, Whose, still_owned, surplus, whose};
use crate::cloud::Fault;
use crate::resource::{ApplyCx, Change, CloudCx, Kind, KindInfo, PlanCx, Ref, Resource, Tags};

/// The kinds of Elastic Load Balancing.
pub const KINDS: &[KindInfo] = &[
    KindInfo::of::<LoadBalancer>(),
    KindInfo::of::<TargetGroup>(),
    KindInfo::of::<Listener>(),
    KindInfo::of::<Target>(),
];

/// What one DescribeTags may name.
const TAGS_AT_ONCE: usize = 20;

/// Tags in the service's type.
fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(k, v)| Tag::builder().key(k).value(v).build())
        .collect()
}

/// Sets the tags on something that exists, and takes off those that should not be there.
async fn retag(arn: &str, change: Change<'_>, tags: &Tags, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    if !change.touches(&["tags"]) {
        return Ok(());
    }
    cx.cloud
        .put("elasticloadbalancing:AddTags", || {
            cx.aws()
                .elb
                .add_tags()
                .resource_arns(arn)
                .set_tags(Some(sdk_tags(tags)))
                .send()
        })
        .await?;
    let surplus = surplus(change, tags);
    if !surplus.is_empty() {
        cx.cloud
            .put("elasticloadbalancing:RemoveTags", || {
                cx.aws()
                    .elb
                    .remove_tags()
                    .resource_arns(arn)
                    .set_tag_keys(Some(surplus.clone()))
                    .send()
            })
            .await?;
    }
    Ok(())
}

/// The tags of these things as the service itself knows them, twenty in one call.
async fn tags_from_service(arns: &[String], cx: &CloudCx) -> Result<BTreeMap<String, Tags>, Fault> {
    let mut all = BTreeMap::new();
    for some in arns.chunks(TAGS_AT_ONCE) {
        let answer = cx
            .read("elasticloadbalancing:DescribeTags", || {
                cx.aws()
                    .elb
                    .describe_tags()
                    .set_resource_arns(Some(some.to_vec()))
                    .send()
            })
            .await?;
        for described in answer.tag_descriptions() {
            let tags = described
                .tags()
                .iter()
                .filter_map(|t| Some((t.key()?.to_owned(), t.value().unwrap_or_default())))
                .collect();
            all.insert(
                described.resource_arn().unwrap_or_default().to_owned(),
                tags,
            );
        }
    }
    Ok(all)
}

/// Which of these things are the site's, by ARN. The service is asked only for what the journal knows and the
/// shared listing does not show yet.
async fn tags_of_ours(
    kind: &Kind,
    arns: &[String],
    cx: &CloudCx,
) -> Result<BTreeMap<String, Owned>, Fault> {
    let mut all = BTreeMap::new();
    let mut remembered = BTreeMap::new();
    for arn in arns {
        match whose(kind, arn, arn, cx).await? {
            Whose::Listed(owned) => {
                all.insert(arn.clone(), owned);
            }
            Whose::Remembered(address) => {
                remembered.insert(arn.clone(), address);
            }
            Whose::Foreign => {}
        }
    }
    let asked: Vec<String> = remembered.keys().cloned().collect();
    let mut tags = tags_from_service(&asked, cx).await?;
    for (arn, address) in remembered {
        let tags = tags.remove(&arn).unwrap_or_default();
        if let Some(owned) = still_owned(address, &tags, cx) {
            all.insert(arn, owned);
        }
    }
    Ok(all)
}

/// What several resources give, sorted, for comparing with a live list; "known later" for those to be made.
fn want_all<R: Resource>(
    refs: &[Ref<R>],
    cx: &PlanCx<'_>,
    pick: impl Fn(R::Output) -> String,
) -> Vec<Value> {
    let mut all: Vec<Value> = refs.iter().map(|r| cx.want(r, &pick)).collect();
    all.sort_by_key(Value::to_string);
    all
}

/// What several resources gave.
fn get_all<R: Resource>(
    refs: &[Ref<R>],
    cx: &ApplyCx<'_>,
    pick: impl Fn(R::Output) -> String,
) -> Result<Vec<String>, Fault> {
    refs.iter().map(|r| cx.get(r).map(&pick)).collect()
}
