//! The name of a key, for people and for policies.
//!
//! Aliases carry no tags: one is ours when it points at a key of ours, and it is called after that key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Key;
use crate::cloud::Fault;
use crate::kinds::ec2::remove;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource,
};

#[derive(Debug, Clone, Serialize)]
pub struct Alias {
    /// With its prefix: `alias/gantry-acme-main`.
    pub name: String,
    pub key: Ref<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasOutput {
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasLive {
    pub name: String,
    /// The id of the key it points at.
    pub key: String,
}

impl Resource for Alias {
    const KIND: Kind = Kind::new("kms/alias");
    const REPLAY: Replay = Replay::Name;
    const ACTIONS: &'static [&'static str] = &[
        "kms:CreateAlias",
        "kms:UpdateAlias",
        "kms:DeleteAlias",
        "kms:ListAliases",
        "tag:GetResources",
    ];

    type Id = String;
    type Output = AliasOutput;
    type Live = AliasLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.key.address()]
    }

    fn diff(&self, live: &AliasLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new().fixed("name", &self.name, &live.name).field(
            "key",
            cx.want(&self.key, |key| key.id),
            &live.key,
        )
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listing = cx.listing().await?;
        let keys: BTreeMap<&str, Address> = listing
            .by_arn
            .iter()
            .filter(|(arn, _)| arn.contains(":kms:"))
            .filter_map(|(arn, tags)| {
                let key = tags.address().filter(|a| *a.kind() == Key::KIND)?;
                Some((arn.split_once(":key/")?.1, key))
            })
            .collect();
        let mut found = Vec::new();
        for live in list(cx).await? {
            // Memory first: it also knows an alias that somebody turned to a foreign key.
            let remembered = cx.address_of(&live.name, &live.name).await?;
            let address = match (remembered, keys.get(live.key.as_str())) {
                (Some(address), _) if *address.kind() == Self::KIND => address,
                (_, Some(key)) => Address::new(Self::KIND, key.name()),
                _ => continue,
            };
            found.push(Found {
                address,
                id: live.name.clone(),
                readiness: Readiness::Ready(AliasOutput {
                    name: live.name.clone(),
                }),
                live,
            });
        }
        Ok(found)
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<AliasOutput>>, Fault> {
        let listed = list(cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                if listed.iter().any(|a| a.name == *id) {
                    Readiness::Ready(AliasOutput { name: id.clone() })
                } else {
                    Readiness::Absent
                }
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let key = cx.get(&self.key)?.id;
        cx.cloud
            .write("kms:CreateAlias", || {
                cx.aws()
                    .kms
                    .create_alias()
                    .alias_name(&self.name)
                    .target_key_id(&key)
                    .send()
            })
            .await?;
        let name = self.name.clone();
        Ok(Created::Done(name.clone(), AliasOutput { name }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        if !change.touches(&["key"]) {
            return Ok(());
        }
        let key = cx.get(&self.key)?.id;
        cx.cloud
            .put("kms:UpdateAlias", || {
                cx.aws()
                    .kms
                    .update_alias()
                    .alias_name(id)
                    .target_key_id(&key)
                    .send()
            })
            .await?;
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        remove(cx.put("kms:DeleteAlias", || {
            cx.aws().kms.delete_alias().alias_name(id).send()
        }))
        .await
    }
}

/// Every alias of the account that points at a key.
async fn list(cx: &CloudCx) -> Result<Vec<AliasLive>, Fault> {
    let listed = cx
        .read("kms:ListAliases", || {
            cx.aws()
                .kms
                .list_aliases()
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(listed
        .iter()
        .filter_map(|alias| {
            Some(AliasLive {
                name: alias.alias_name()?.to_owned(),
                key: alias.target_key_id()?.to_owned(),
            })
        })
        .collect())
}
