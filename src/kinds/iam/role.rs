//! A role: who may take it, and what it may do.
//!
//! What it may do is one inline policy. Other policies on the role, inline or attached, are drift.

use std::collections::BTreeMap;

use aws_sdk_iam::types::{EntityType, RoleDetail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::policy::{Policy, Statement, meaning};
use super::{gone_is_fine, path, sdk_tags, tags_of, tags_too_many};
use crate::cloud::Fault;
use crate::kinds::kms::Key;
use crate::kinds::s3::Bucket;
use crate::kinds::secretsmanager::Secret;
use crate::kinds::sns::Topic;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, KNOWN_LATER, Kind, Outputs, PlanCx,
    Readiness, Ref, Replay, Resource, Tags,
};

/// The name of the one policy.
const POLICY: &str = "gantry";

#[derive(Debug, Clone, Serialize)]
pub struct Role {
    pub name: String,
    /// From [`super::path`].
    pub path: String,
    /// Who may take the role: `ec2.amazonaws.com`.
    pub service: String,
    pub grants: Vec<Grant>,
}

/// One allowance.
#[derive(Debug, Clone, Serialize)]
pub struct Grant {
    pub sid: String,
    pub actions: Vec<String>,
    pub on: Vec<Target>,
    /// Operator to key to value, as in a policy: `StringEquals`, `ec2:ResourceTag/gantry:site`, `acme`.
    pub conditions: BTreeMap<String, BTreeMap<String, String>>,
}

impl Grant {
    /// These actions on these things, where each condition holds: operator, key and value, as in a policy.
    pub fn new(
        sid: &str,
        actions: &[&str],
        on: Vec<Target>,
        conditions: &[(&str, &str, &str)],
    ) -> Self {
        let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (operator, key, value) in conditions {
            let pairs = all.entry((*operator).to_owned()).or_default();
            pairs.insert((*key).to_owned(), (*value).to_owned());
        }
        Self {
            sid: sid.to_owned(),
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
            on,
            conditions: all,
        }
    }
}

/// What an allowance is about.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    Any,
    Arn(String),
    Bucket(Ref<Bucket>),
    /// Everything in the bucket.
    Objects(Ref<Bucket>),
    /// Everything in the bucket below a folder, given without its slash.
    Folder(Ref<Bucket>, String),
    Key(Ref<Key>),
    Secret(Ref<Secret>),
    Topic(Ref<Topic>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleOutput {
    pub name: String,
    pub arn: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoleLive {
    pub path: String,
    /// Who may take it, as [`meaning`] reads it.
    pub trust: Value,
    /// The inline policies by name.
    pub policies: BTreeMap<String, Value>,
    /// The ARNs of attached policies.
    pub attached: Vec<String>,
    pub tags: Tags,
}

impl Target {
    fn address(&self) -> Option<&Address> {
        match self {
            Self::Any | Self::Arn(_) => None,
            Self::Bucket(to) | Self::Objects(to) | Self::Folder(to, _) => Some(to.address()),
            Self::Key(to) => Some(to.address()),
            Self::Secret(to) => Some(to.address()),
            Self::Topic(to) => Some(to.address()),
        }
    }

    fn arn(&self, outputs: &Outputs) -> Option<String> {
        Some(match self {
            Self::Any => "*".to_owned(),
            Self::Arn(arn) => arn.clone(),
            Self::Bucket(to) => outputs.of(to)?.arn,
            Self::Objects(to) => format!("{}/*", outputs.of(to)?.arn),
            Self::Folder(to, folder) => format!("{}/{folder}/*", outputs.of(to)?.arn),
            Self::Key(to) => outputs.of(to)?.arn,
            Self::Secret(to) => outputs.of(to)?.arn,
            Self::Topic(to) => outputs.of(to)?.arn,
        })
    }
}

impl Role {
    fn trust(&self) -> Policy {
        Policy::new([Statement::allow("Take")
            .for_service(&self.service)
            .actions(["sts:AssumeRole"])])
    }

    /// The policy, or the address whose output it still needs.
    fn policy(&self, outputs: &Outputs) -> Result<Policy, &Address> {
        let mut statements = vec![];
        for grant in &self.grants {
            let mut statement = Statement::allow(&grant.sid).actions(&grant.actions);
            for target in &grant.on {
                match (target.arn(outputs), target.address()) {
                    (Some(arn), _) => statement = statement.on([arn]),
                    (None, Some(address)) => return Err(address),
                    (None, None) => {}
                }
            }
            for (operator, pairs) in &grant.conditions {
                for (key, value) in pairs {
                    statement = statement.when(operator, key, value);
                }
            }
            statements.push(statement);
        }
        Ok(Policy::new(statements))
    }
}

impl Resource for Role {
    const KIND: Kind = Kind::new("iam/role");
    const REPLAY: Replay = Replay::Name;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "iam:CreateRole",
        "iam:TagRole",
        "iam:UntagRole",
        "iam:UpdateAssumeRolePolicy",
        "iam:PutRolePolicy",
        "iam:DeleteRolePolicy",
        "iam:DetachRolePolicy",
        "iam:ListRolePolicies",
        "iam:ListAttachedRolePolicies",
        "iam:ListRoles",
        "iam:GetAccountAuthorizationDetails",
        "iam:DeleteRole",
    ];
    /// Until other services know it.
    const USUAL_SECONDS: u64 = 6;

    type Id = String;
    type Output = RoleOutput;
    type Live = RoleLive;

    fn refs(&self) -> Vec<&Address> {
        self.grants
            .iter()
            .flat_map(|g| g.on.iter().filter_map(Target::address))
            .collect()
    }

    fn diff(&self, live: &RoleLive, cx: &PlanCx<'_>) -> Diff {
        let later = Resource::refs(self).iter().any(|a| cx.later.contains(*a));
        let policies = match self.policy(cx.outputs) {
            Ok(policy) if !later && policy.is_empty() => json!({}),
            Ok(policy) if !later => json!({POLICY: policy.meaning()}),
            _ => json!({POLICY: KNOWN_LATER}),
        };
        Diff::new()
            .fixed("path", &self.path, &live.path)
            .field("trust", self.trust().meaning(), &live.trust)
            .field("policies", policies, &live.policies)
            .field("attached", Vec::<String>::new(), &live.attached)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    /// All roles of the account with their policies and tags, in one listing: IAM filters it by nothing.
    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = cx
            .read("iam:GetAccountAuthorizationDetails", || async {
                let mut roles = vec![];
                let mut pages = cx
                    .aws()
                    .iam
                    .get_account_authorization_details()
                    .filter(EntityType::Role)
                    .max_items(1_000)
                    .into_paginator()
                    .send();
                while let Some(page) = pages.next().await {
                    roles.extend(page?.role_detail_list.unwrap_or_default());
                }
                Ok(roles)
            })
            .await?;
        Ok(listed
            .iter()
            .filter_map(|role| found(role, cx.site()))
            .collect())
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<RoleOutput>>, Fault> {
        let listed = cx
            .read("iam:ListRoles", || {
                cx.aws()
                    .iam
                    .list_roles()
                    .path_prefix(path(cx.site()))
                    .max_items(1_000)
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(ids
            .iter()
            .map(|id| {
                listed
                    .iter()
                    .find(|r| r.role_name() == id)
                    .map_or(Readiness::Absent, |r| {
                        Readiness::Ready(RoleOutput {
                            name: r.role_name().to_owned(),
                            arn: r.arn().to_owned(),
                        })
                    })
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let tags = sdk_tags(&cx.tags(&Tags::new()))?;
        let answer = cx
            .cloud
            .write("iam:CreateRole", || {
                cx.aws()
                    .iam
                    .create_role()
                    .role_name(&self.name)
                    .path(&self.path)
                    .assume_role_policy_document(self.trust().text())
                    .set_tags(Some(tags.clone()))
                    .send()
            })
            .await?;
        let output = RoleOutput {
            name: self.name.clone(),
            arn: answer
                .role()
                .map(|r| r.arn().to_owned())
                .unwrap_or_default(),
        };
        Ok(Created::Done(self.name.clone(), output))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        if change.touches(&["policies"]) {
            self.put_policy(id, cx).await?;
        }
        // The rest was said when it was created.
        let Change::Fields(diff) = change else {
            return Ok(());
        };
        if diff.has("trust") {
            cx.cloud
                .put("iam:UpdateAssumeRolePolicy", || {
                    cx.aws()
                        .iam
                        .update_assume_role_policy()
                        .role_name(id)
                        .policy_document(self.trust().text())
                        .send()
                })
                .await?;
        }
        if diff.has("policies") {
            let keep = if self.grants.is_empty() { "" } else { POLICY };
            remove_inline(id, keep, cx.cloud).await?;
        }
        if diff.has("attached") {
            detach(id, cx.cloud).await?;
        }
        if diff.has("tags") {
            retag(id, &cx.tags(&Tags::new()), diff, cx.cloud).await?;
        }
        Ok(())
    }

    /// Two calls when nobody added anything by hand; then whatever is on the role is taken off first.
    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        gone_is_fine(delete_policy(id, POLICY, cx).await)?;
        match gone_is_fine(delete_role(id, cx).await) {
            Err(fault) if fault.code() == "DeleteConflict" => {}
            done => return done,
        }
        gone_is_fine(remove_inline(id, "", cx).await)?;
        gone_is_fine(detach(id, cx).await)?;
        gone_is_fine(delete_role(id, cx).await)
    }
}

impl Role {
    async fn put_policy(&self, id: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let policy = self.policy(cx.outputs).map_err(|address| {
            Fault::internal(format!(
                "{} needs {address}, which is not ready",
                cx.address
            ))
        })?;
        if policy.is_empty() {
            return Ok(());
        }
        cx.cloud
            .put("iam:PutRolePolicy", || {
                cx.aws()
                    .iam
                    .put_role_policy()
                    .role_name(id)
                    .policy_name(POLICY)
                    .policy_document(policy.text())
                    .send()
            })
            .await?;
        Ok(())
    }
}

fn found(role: &RoleDetail, site: &str) -> Option<Found<Role>> {
    let tags = tags_of(role.tags());
    if tags.get(crate::resource::SITE_TAG) != Some(site) {
        return None;
    }
    let name = role.role_name()?.to_owned();
    let mut attached: Vec<String> = role
        .attached_managed_policies()
        .iter()
        .filter_map(|p| p.policy_arn().map(str::to_owned))
        .collect();
    attached.sort();
    Some(Found {
        address: tags.address()?,
        id: name.clone(),
        live: RoleLive {
            path: role.path().unwrap_or_default().to_owned(),
            trust: meaning(role.assume_role_policy_document().unwrap_or_default()),
            policies: role
                .role_policy_list()
                .iter()
                .filter_map(|p| Some((p.policy_name()?.to_owned(), meaning(p.policy_document()?))))
                .collect(),
            attached,
            tags,
        },
        readiness: Readiness::Ready(RoleOutput {
            name,
            arn: role.arn().unwrap_or_default().to_owned(),
        }),
    })
}

async fn delete_role(id: &str, cx: &CloudCx) -> Result<(), Fault> {
    cx.put("iam:DeleteRole", || {
        cx.aws().iam.delete_role().role_name(id).send()
    })
    .await?;
    Ok(())
}

async fn delete_policy(id: &str, policy: &str, cx: &CloudCx) -> Result<(), Fault> {
    cx.put("iam:DeleteRolePolicy", || {
        cx.aws()
            .iam
            .delete_role_policy()
            .role_name(id)
            .policy_name(policy)
            .send()
    })
    .await?;
    Ok(())
}

/// Removes every inline policy but one.
async fn remove_inline(id: &str, keep: &str, cx: &CloudCx) -> Result<(), Fault> {
    let names = cx
        .read("iam:ListRolePolicies", || {
            cx.aws()
                .iam
                .list_role_policies()
                .role_name(id)
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    for name in names.iter().filter(|n| n.as_str() != keep) {
        gone_is_fine(delete_policy(id, name, cx).await)?;
    }
    Ok(())
}

/// Takes off every attached policy.
async fn detach(id: &str, cx: &CloudCx) -> Result<(), Fault> {
    let attached = cx
        .read("iam:ListAttachedRolePolicies", || {
            cx.aws()
                .iam
                .list_attached_role_policies()
                .role_name(id)
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    for arn in attached.iter().filter_map(|p| p.policy_arn()) {
        gone_is_fine(
            cx.put("iam:DetachRolePolicy", || {
                cx.aws()
                    .iam
                    .detach_role_policy()
                    .role_name(id)
                    .policy_arn(arn)
                    .send()
            })
            .await,
        )?;
    }
    Ok(())
}

async fn retag(id: &str, tags: &Tags, diff: &Diff, cx: &CloudCx) -> Result<(), Fault> {
    let wanted = sdk_tags(tags)?;
    cx.put("iam:TagRole", || {
        cx.aws()
            .iam
            .tag_role()
            .role_name(id)
            .set_tags(Some(wanted.clone()))
            .send()
    })
    .await?;
    let extra = tags_too_many(diff);
    if !extra.is_empty() {
        cx.put("iam:UntagRole", || {
            cx.aws()
                .iam
                .untag_role()
                .role_name(id)
                .set_tag_keys(Some(extra.clone()))
                .send()
        })
        .await?;
    }
    Ok(())
}
