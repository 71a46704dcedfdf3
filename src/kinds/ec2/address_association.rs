//! A fixed public address on a node.

use serde::{Deserialize, Serialize};

use super::{ElasticIp, Instance};
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct AddressAssociation {
    pub address: Ref<ElasticIp>,
    pub instance: Ref<Instance>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressAssociationOutput {}
