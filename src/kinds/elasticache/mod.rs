//! ElastiCache: Valkey, its groups and its nodes.

mod parameter_group;
mod replication_group;
mod subnet_group;

use aws_sdk_elasticache::types::Tag;

pub use self::parameter_group::{
    CacheParameterGroupRef, ParameterGroup, ParameterGroupLive, ParameterGroupOutput,
};
pub use self::replication_group::{ReplicationGroup, ReplicationGroupLive, ReplicationGroupOutput};
pub use self::subnet_group::{SubnetGroup, SubnetGroupLive, SubnetGroupOutput};
use super::tagged::{Owned, owned_or_asked};
use crate::cloud::Fault;
use crate::resource::{ApplyCx, CloudCx, Kind, KindInfo, Tags};

/// The kinds of ElastiCache.
pub const KINDS: &[KindInfo] = &[
    KindInfo::of::<SubnetGroup>(),
    KindInfo::of::<ParameterGroup>(),
    KindInfo::of::<ReplicationGroup>(),
];

fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(k, v)| Tag::builder().key(k).value(v).build())
        .collect()
}

fn arn(what: &str, name: &str, cx: &CloudCx) -> String {
    let scope = cx.scope();
    format!(
        "arn:aws:elasticache:{}:{}:{what}:{name}",
        scope.region, scope.account
    )
}

/// Sets the tags of a thing, and takes off those that do not belong.
async fn retag(arn: &str, want: &Tags, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    let cache = &cx.aws().elasticache;
    let stray: Vec<String> = tags_at(arn, cx.cloud)
        .await?
        .iter()
        .filter(|(key, _)| want.get(key).is_none())
        .map(|(key, _)| key.to_owned())
        .collect();
    if !stray.is_empty() {
        cx.cloud
            .put("elasticache:RemoveTagsFromResource", || {
                cache
                    .remove_tags_from_resource()
                    .resource_name(arn)
                    .set_tag_keys(Some(stray.clone()))
                    .send()
            })
            .await?;
    }
    cx.cloud
        .put("elasticache:AddTagsToResource", || {
            cache
                .add_tags_to_resource()
                .resource_name(arn)
                .set_tags(Some(sdk_tags(want)))
                .send()
        })
        .await?;
    Ok(())
}

async fn tags_at(arn: &str, cx: &CloudCx) -> Result<Tags, Fault> {
    let answer = cx
        .read("elasticache:ListTagsForResource", || {
            cx.aws()
                .elasticache
                .list_tags_for_resource()
                .resource_name(arn)
                .send()
        })
        .await?;
    Ok(answer
        .tag_list()
        .iter()
        .filter_map(|t| Some((t.key()?, t.value()?)))
        .collect::<Tags>()
        .ours())
}

/// Address and tags of a thing of ours: no listing of ElastiCache shows tags.
async fn owned(arn: &str, name: &str, kind: &Kind, cx: &CloudCx) -> Result<Option<Owned>, Fault> {
    owned_or_asked(kind, arn, name, cx, || tags_at(arn, cx)).await
}
