//! RDS: PostgreSQL, its groups and its read replicas.

mod db_instance;
mod db_replica;
mod instance;
mod parameter_group;
mod subnet_group;

use aws_sdk_rds::types::Tag;

pub use self::db_instance::DbInstance;
pub use self::db_replica::DbReplica;
pub use self::instance::{DbInstanceOutput, InstanceLive};
pub use self::parameter_group::{
    ParameterGroup, ParameterGroupLive, ParameterGroupOutput, ParameterGroupRef,
};
pub use self::subnet_group::{SubnetGroup, SubnetGroupLive, SubnetGroupOutput};
use super::tagged::{Owned, owned_or_asked};
use crate::cloud::Fault;
use crate::resource::{ApplyCx, CloudCx, Kind, KindInfo, Tags};

/// The kinds of RDS.
pub const KINDS: &[KindInfo] = &[
    KindInfo::of::<SubnetGroup>(),
    KindInfo::of::<ParameterGroup>(),
    KindInfo::of::<DbInstance>(),
    KindInfo::of::<DbReplica>(),
];

fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(k, v)| Tag::builder().key(k).value(v).build())
        .collect()
}

fn tags_of(tags: &[Tag]) -> Tags {
    tags.iter()
        .filter_map(|t| Some((t.key()?, t.value()?)))
        .collect::<Tags>()
        .ours()
}

/// Sets the tags of a thing, and takes off those that do not belong.
async fn retag(arn: &str, want: &Tags, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    let rds = &cx.aws().rds;
    let stray: Vec<String> = tags_at(arn, cx.cloud)
        .await?
        .iter()
        .filter(|(key, _)| want.get(key).is_none())
        .map(|(key, _)| key.to_owned())
        .collect();
    if !stray.is_empty() {
        cx.cloud
            .put("rds:RemoveTagsFromResource", || {
                rds.remove_tags_from_resource()
                    .resource_name(arn)
                    .set_tag_keys(Some(stray.clone()))
                    .send()
            })
            .await?;
    }
    cx.cloud
        .put("rds:AddTagsToResource", || {
            rds.add_tags_to_resource()
                .resource_name(arn)
                .set_tags(Some(sdk_tags(want)))
                .send()
        })
        .await?;
    Ok(())
}

async fn tags_at(arn: &str, cx: &CloudCx) -> Result<Tags, Fault> {
    let answer = cx
        .read("rds:ListTagsForResource", || {
            cx.aws()
                .rds
                .list_tags_for_resource()
                .resource_name(arn)
                .send()
        })
        .await?;
    Ok(tags_of(answer.tag_list()))
}

/// Address and tags of a group of ours: group listings show no tags.
async fn owned(arn: &str, name: &str, kind: &Kind, cx: &CloudCx) -> Result<Option<Owned>, Fault> {
    owned_or_asked(kind, arn, name, cx, || tags_at(arn, cx)).await
}
