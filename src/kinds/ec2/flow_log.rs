//! A record of all traffic in the network, written to a bucket under `flow/`.

use serde::{Deserialize, Serialize};

use super::Vpc;
use crate::kinds::s3;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct FlowLog {
    pub vpc: Ref<Vpc>,
    pub bucket: Ref<s3::Bucket>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLogOutput {
    pub id: String,
}
