//! A public address that stays the same: for a NAT gateway, the bastion, or the single box.

use aws_sdk_ec2::types::{Address as Live, DomainType, ResourceType};
use serde::{Deserialize, Serialize};

use super::{by, in_order, ours, remove, settle_tags, tagged, tags_of, text};
use crate::cloud::Fault;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Replay,
    Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct ElasticIp {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticIpOutput {
    pub allocation_id: String,
    /// The address itself.
    pub address: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticIpLive {
    pub tags: Tags,
}

impl Resource for ElasticIp {
    const KIND: Kind = Kind::new("ec2/elastic_ip");
    const REPLAY: Replay = Replay::TagLookup;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:AllocateAddress",
        "ec2:DescribeAddresses",
        "ec2:ReleaseAddress",
        "ec2:CreateTags",
        "ec2:DeleteTags",
    ];

    /// The allocation id.
    type Id = String;
    type Output = ElasticIpOutput;
    type Live = ElasticIpLive;

    fn refs(&self) -> Vec<&Address> {
        vec![]
    }

    fn diff(&self, live: &ElasticIpLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new().field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = of_site(cx).await?;
        Ok(listed.iter().filter_map(|t| found(t, cx.site())).collect())
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<ElasticIpOutput>>, Fault> {
        let listed = cx
            .read("ec2:DescribeAddresses", || {
                cx.aws()
                    .ec2
                    .describe_addresses()
                    .filters(by("allocation-id", ids))
                    .send()
            })
            .await?;
        Ok(in_order(
            ids,
            listed.addresses(),
            Live::allocation_id,
            readiness,
        ))
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let answer = cx
            .cloud
            .write("ec2:AllocateAddress", || {
                cx.aws()
                    .ec2
                    .allocate_address()
                    .domain(DomainType::Vpc)
                    .tag_specifications(tagged(ResourceType::ElasticIp, &cx.tags(&Tags::new())))
                    .send()
            })
            .await?;
        let id = text(answer.allocation_id());
        let output = ElasticIpOutput {
            allocation_id: id.clone(),
            address: text(answer.public_ip()),
        };
        Ok(Created::Done(id, output))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        settle_tags(id, change, &Tags::new(), cx).await
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        remove(cx.put("ec2:ReleaseAddress", || {
            cx.aws().ec2.release_address().allocation_id(id).send()
        }))
        .await
    }
}

/// The site's addresses, asked for once per survey. This listing has no pages.
pub(in crate::kinds) async fn of_site(cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    let ask = async || {
        let answer = cx
            .read("ec2:DescribeAddresses", || {
                cx.aws()
                    .ec2
                    .describe_addresses()
                    .filters(cx.site_filter())
                    .send()
            })
            .await?;
        Ok(answer.addresses.unwrap_or_default())
    };
    cx.once("addresses", ask).await
}

fn found(address: &Live, site: &str) -> Option<Found<ElasticIp>> {
    Some(Found {
        address: ours::<ElasticIp>(address.tags(), site)?,
        id: text(address.allocation_id()),
        live: ElasticIpLive {
            tags: tags_of(address.tags()),
        },
        readiness: readiness(address),
    })
}

fn readiness(address: &Live) -> Readiness<ElasticIpOutput> {
    Readiness::Ready(ElasticIpOutput {
        allocation_id: text(address.allocation_id()),
        address: text(address.public_ip()),
    })
}
