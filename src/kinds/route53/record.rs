//! A DNS record of the site.

use serde::{Deserialize, Serialize};

use crate::kinds::acm::Certificate;
use crate::kinds::ec2::ElasticIp;
use crate::kinds::elb::LoadBalancer;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// `Z0123456789ABCDEFGHIJ`, without `/hostedzone/`.
    pub zone_id: String,
    /// Without a closing dot. The validation record's own name is ACM's; there this is the domain.
    pub name: String,
    pub value: RecordValue,
}

/// What a record says.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordValue {
    /// The CNAME that proves one domain of a certificate to ACM.
    Validation {
        certificate: Ref<Certificate>,
        domain: String,
    },
    /// An alias to a load balancer.
    LoadBalancer(Ref<LoadBalancer>),
    /// An Elastic IP.
    Address(Ref<ElasticIp>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordOutput {
    pub name: String,
}
