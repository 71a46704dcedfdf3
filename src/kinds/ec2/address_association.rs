//! A fixed public address on a node.

use aws_sdk_ec2::types::{Address as LiveAddress, Filter};
use serde::{Deserialize, Serialize};

use super::{ElasticIp, Instance, by, elastic_ip, ours, remove, text};
use crate::cloud::Fault;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource,
};

#[derive(Debug, Clone, Serialize)]
pub struct AddressAssociation {
    pub address: Ref<ElasticIp>,
    pub instance: Ref<Instance>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressAssociationOutput {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressAssociationLive {
    pub address: String,
    pub instance: String,
}

impl Resource for AddressAssociation {
    const KIND: Kind = Kind::new("ec2/address_association");
    // Associating the same two again changes nothing.
    const REPLAY: Replay = Replay::TagLookup;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:AssociateAddress",
        "ec2:DescribeAddresses",
        "ec2:DisassociateAddress",
    ];

    /// The address's allocation: it is on one thing at a time.
    type Id = String;
    type Output = AddressAssociationOutput;
    type Live = AddressAssociationLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.address.address(), self.instance.address()]
    }

    fn diff(&self, live: &AddressAssociationLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed(
                "address",
                cx.want(&self.address, |a| a.allocation_id),
                &live.address,
            )
            .field(
                "instance",
                cx.want(&self.instance, |i| i.id),
                &live.instance,
            )
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = elastic_ip::of_site(cx).await?;
        Ok(listed.iter().filter_map(|a| found(a, cx.site())).collect())
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<AddressAssociationOutput>>, Fault> {
        let listed = list(by("allocation-id", ids), cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                let on_a_node = listed
                    .iter()
                    .any(|a| a.allocation_id() == Some(id) && instance_of(a).is_some());
                if on_a_node {
                    Readiness::Ready(AddressAssociationOutput {})
                } else {
                    Readiness::Absent
                }
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let address = cx.get(&self.address)?.allocation_id;
        self.associate(&address, false, cx).await?;
        Ok(Created::Done(address, AddressAssociationOutput {}))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        match change {
            Change::Fields(diff) if diff.has("instance") => self.associate(id, true, cx).await,
            _ => Ok(()),
        }
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let listed = list(by("allocation-id", std::slice::from_ref(id)), cx).await?;
        let Some(association) = listed
            .iter()
            .filter(|a| instance_of(a).is_some())
            .find_map(LiveAddress::association_id)
        else {
            return Ok(());
        };
        remove(cx.put("ec2:DisassociateAddress", || {
            cx.aws()
                .ec2
                .disassociate_address()
                .association_id(association)
                .send()
        }))
        .await
    }
}

impl AddressAssociation {
    /// `move_it`: take it from whatever node has it now.
    async fn associate(
        &self,
        allocation: &str,
        move_it: bool,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let instance = cx.get(&self.instance)?.id;
        cx.cloud
            .put("ec2:AssociateAddress", || {
                cx.aws()
                    .ec2
                    .associate_address()
                    .allocation_id(allocation)
                    .instance_id(&instance)
                    .allow_reassociation(move_it)
                    .send()
            })
            .await?;
        Ok(())
    }
}

/// Addresses are never so many that AWS would page them.
async fn list(filter: Filter, cx: &CloudCx) -> Result<Vec<LiveAddress>, Fault> {
    let answer = cx
        .read("ec2:DescribeAddresses", || {
            cx.aws()
                .ec2
                .describe_addresses()
                .filters(filter.clone())
                .send()
        })
        .await?;
    Ok(answer.addresses.unwrap_or_default())
}

/// The node that has the address; NAT gateways have theirs without being one.
fn instance_of(address: &LiveAddress) -> Option<&str> {
    address.instance_id().filter(|id| !id.is_empty())
}

fn found(listed: &LiveAddress, site: &str) -> Option<Found<AddressAssociation>> {
    let instance = instance_of(listed)?;
    let address = ours::<ElasticIp>(listed.tags(), site)?;
    let id = text(listed.allocation_id());
    Some(Found {
        address: Address::new(AddressAssociation::KIND, address.name()),
        live: AddressAssociationLive {
            address: id.clone(),
            instance: instance.to_owned(),
        },
        id,
        readiness: Readiness::Ready(AddressAssociationOutput {}),
    })
}
