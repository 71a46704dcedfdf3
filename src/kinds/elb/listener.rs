//! A port of a load balancer.

use serde::{Deserialize, Serialize};

use super::{LoadBalancer, TargetGroup};
use crate::kinds::acm::Validation;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct Listener {
    pub load_balancer: Ref<LoadBalancer>,
    pub port: u16,
    pub protocol: ListenerProtocol,
    pub target: Ref<TargetGroup>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerProtocol {
    Tcp,
    /// The load balancer ends TLS with this certificate and security policy.
    Tls {
        certificate: CertificateRef,
        policy: String,
    },
}

/// Where a listener's certificate comes from.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateRef {
    /// Ours, once it is issued.
    Ours(Ref<Validation>),
    /// The ARN of one that the site file names.
    Existing(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerOutput {
    pub arn: String,
}
