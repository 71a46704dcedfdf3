//! What a listener sends its connections to.

use serde::{Deserialize, Serialize};

use crate::kinds::ec2::Vpc;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct TargetGroup {
    pub name: String,
    pub vpc: Ref<Vpc>,
    pub port: u16,
    pub health: Health,
    pub proxy_protocol: bool,
    pub preserve_client_ip: bool,
    pub deregistration_seconds: u32,
}

/// How the load balancer finds out whether a target is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// A request that must be answered with one of the codes of `success`, `200-399`; on the targets' own port
    /// unless `port` says otherwise.
    Http {
        path: String,
        port: Option<u16>,
        success: String,
    },
    /// The port accepts connections.
    Tcp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroupOutput {
    pub arn: String,
}
