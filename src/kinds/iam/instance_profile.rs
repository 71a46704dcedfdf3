//! What puts a role onto an EC2 instance.
//!
//! IAM's listing of profiles shows no tags, and there is no batch for them: the survey asks once more for each
//! profile under the site's path.

use aws_sdk_iam::types::InstanceProfile as Profile;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::{Role, gone_is_fine, path, sdk_tags, tags_of, tags_too_many};
use crate::cloud::Fault;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, SITE_TAG, Tags,
};

/// How many profiles are asked for their tags at once.
const AT_ONCE: usize = 4;

#[derive(Debug, Clone, Serialize)]
pub struct InstanceProfile {
    pub name: String,
    /// From [`super::path`].
    pub path: String,
    pub role: Ref<Role>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceProfileOutput {
    pub name: String,
    pub arn: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceProfileLive {
    pub path: String,
    /// The name of the role it carries.
    pub role: Option<String>,
    pub tags: Tags,
}

impl Resource for InstanceProfile {
    const KIND: Kind = Kind::new("iam/instance_profile");
    const REPLAY: Replay = Replay::Name;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "iam:CreateInstanceProfile",
        "iam:TagInstanceProfile",
        "iam:UntagInstanceProfile",
        "iam:AddRoleToInstanceProfile",
        "iam:PassRole",
        "iam:RemoveRoleFromInstanceProfile",
        "iam:GetInstanceProfile",
        "iam:ListInstanceProfiles",
        "iam:ListInstanceProfileTags",
        "iam:DeleteInstanceProfile",
    ];
    /// Until EC2 knows it.
    const USUAL_SECONDS: u64 = 8;

    type Id = String;
    type Output = InstanceProfileOutput;
    type Live = InstanceProfileLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.role.address()]
    }

    fn diff(&self, live: &InstanceProfileLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("path", &self.path, &live.path)
            .field("role", cx.want(&self.role, |o| o.name), &live.role)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let asked: Vec<_> = listed(cx)
            .await?
            .into_iter()
            .map(|profile| look(profile, cx))
            .collect();
        let found: Vec<Option<Found<Self>>> =
            stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<InstanceProfileOutput>>, Fault> {
        let listed = listed(cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                listed
                    .iter()
                    .find(|p| p.instance_profile_name() == id)
                    .map_or(Readiness::Absent, |p| Readiness::Ready(output(p)))
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let tags = sdk_tags(&cx.tags(&Tags::new()))?;
        let answer = cx
            .cloud
            .write("iam:CreateInstanceProfile", || {
                cx.aws()
                    .iam
                    .create_instance_profile()
                    .instance_profile_name(&self.name)
                    .path(&self.path)
                    .set_tags(Some(tags.clone()))
                    .send()
            })
            .await?;
        let output = answer
            .instance_profile()
            .map(output)
            .ok_or_else(|| Fault::internal("iam:CreateInstanceProfile answered nothing"))?;
        Ok(Created::Done(self.name.clone(), output))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        if change.touches(&["role"]) {
            let role = cx.get(&self.role)?.name;
            match add(id, &role, cx.cloud).await {
                // It carries a role already: ours from an earlier attempt, or another one.
                Err(fault) if fault.code() == "LimitExceeded" => {
                    if take_off(id, &role, cx.cloud).await? {
                        add(id, &role, cx.cloud).await?;
                    }
                }
                other => other?,
            }
        }
        if let Change::Fields(diff) = change
            && diff.has("tags")
        {
            retag(id, &cx.tags(&Tags::new()), diff, cx.cloud).await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        gone_is_fine(take_off(id, "", cx).await)?;
        gone_is_fine(
            cx.put("iam:DeleteInstanceProfile", || {
                cx.aws()
                    .iam
                    .delete_instance_profile()
                    .instance_profile_name(id)
                    .send()
            })
            .await,
        )
    }
}

/// The profiles under the site's path.
async fn listed(cx: &CloudCx) -> Result<Vec<Profile>, Fault> {
    cx.read("iam:ListInstanceProfiles", || {
        cx.aws()
            .iam
            .list_instance_profiles()
            .path_prefix(path(cx.site()))
            .max_items(1_000)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

fn output(profile: &Profile) -> InstanceProfileOutput {
    InstanceProfileOutput {
        name: profile.instance_profile_name().to_owned(),
        arn: profile.arn().to_owned(),
    }
}

/// A listed profile with its tags; none when it is not this site's, or gone meanwhile.
async fn look(profile: Profile, cx: &CloudCx) -> Result<Option<Found<InstanceProfile>>, Fault> {
    let name = profile.instance_profile_name();
    let answer = cx
        .read("iam:ListInstanceProfileTags", || {
            cx.aws()
                .iam
                .list_instance_profile_tags()
                .instance_profile_name(name)
                .max_items(100)
                .send()
        })
        .await;
    let tags = match answer {
        Ok(answer) => tags_of(answer.tags()),
        Err(fault) if fault.is_gone() => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let address = match tags.address() {
        Some(address) if tags.get(SITE_TAG) == Some(cx.site()) => address,
        _ => return Ok(None),
    };
    Ok(Some(Found {
        address,
        id: name.to_owned(),
        live: InstanceProfileLive {
            path: profile.path().to_owned(),
            role: profile.roles().first().map(|r| r.role_name().to_owned()),
            tags,
        },
        readiness: Readiness::Ready(output(&profile)),
    }))
}

async fn add(id: &str, role: &str, cx: &CloudCx) -> Result<(), Fault> {
    cx.put("iam:AddRoleToInstanceProfile", || {
        cx.aws()
            .iam
            .add_role_to_instance_profile()
            .instance_profile_name(id)
            .role_name(role)
            .send()
    })
    .await?;
    Ok(())
}

/// Takes every role but `keep` off the profile; true when it is then without one.
async fn take_off(id: &str, keep: &str, cx: &CloudCx) -> Result<bool, Fault> {
    let answer = cx
        .read("iam:GetInstanceProfile", || {
            cx.aws()
                .iam
                .get_instance_profile()
                .instance_profile_name(id)
                .send()
        })
        .await?;
    let roles: Vec<&str> = answer
        .instance_profile()
        .map(|p| p.roles().iter().map(|r| r.role_name()).collect())
        .unwrap_or_default();
    for role in roles.iter().filter(|r| **r != keep) {
        gone_is_fine(
            cx.put("iam:RemoveRoleFromInstanceProfile", || {
                cx.aws()
                    .iam
                    .remove_role_from_instance_profile()
                    .instance_profile_name(id)
                    .role_name(*role)
                    .send()
            })
            .await,
        )?;
    }
    Ok(!roles.contains(&keep))
}

async fn retag(id: &str, tags: &Tags, diff: &Diff, cx: &CloudCx) -> Result<(), Fault> {
    let wanted = sdk_tags(tags)?;
    cx.put("iam:TagInstanceProfile", || {
        cx.aws()
            .iam
            .tag_instance_profile()
            .instance_profile_name(id)
            .set_tags(Some(wanted.clone()))
            .send()
    })
    .await?;
    let extra = tags_too_many(diff);
    if !extra.is_empty() {
        cx.put("iam:UntagInstanceProfile", || {
            cx.aws()
                .iam
                .untag_instance_profile()
                .instance_profile_name(id)
                .set_tag_keys(Some(extra.clone()))
                .send()
        })
        .await?;
    }
    Ok(())
}
