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
use crate::cloud::Fault;
use crate::resource::{Address, ApplyCx, CloudCx, KindInfo, Tags};

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

/// Address and tags of a group of ours. Group listings show no tags: the shared listing has them, and what it
/// does not show yet but bears a name of this site is asked (there are a handful of groups in a site).
async fn owned(
    arn: &str,
    name: &str,
    kind: &crate::resource::Kind,
    cx: &CloudCx,
) -> Result<Option<(Address, Tags)>, Fault> {
    let mut tags = cx.tags_by_arn(arn).await?.ours();
    if tags.address().is_none() {
        if !name.starts_with(&format!("gantry-{}-", cx.site())) {
            return Ok(None);
        }
        tags = tags_at(arn, cx).await?;
    }
    let ours = tags.get(crate::resource::SITE_TAG) == Some(cx.site());
    Ok(tags
        .address()
        .filter(|a| ours && a.kind() == kind)
        .map(|address| (address, tags)))
}
