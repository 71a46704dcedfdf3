//! A network load balancer.

use serde::{Deserialize, Serialize};

use crate::kinds::Protection;
use crate::kinds::ec2::{SecurityGroup, Subnet};
use crate::kinds::s3::Bucket;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct LoadBalancer {
    /// At most 32 letters, digits and hyphens.
    pub name: String,
    pub scheme: Scheme,
    pub subnets: Vec<Ref<Subnet>>,
    pub groups: Vec<Ref<SecurityGroup>>,
    /// Where the access logs go. Network load balancers log TLS listeners only.
    pub logs: Option<Ref<Bucket>>,
    pub protection: Protection,
    pub cross_zone: bool,
}

/// Who can reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    Public,
    Internal,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerOutput {
    pub arn: String,
    pub dns_name: String,
    /// The hosted zone that alias records to it name.
    pub zone_id: String,
}
