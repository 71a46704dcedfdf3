//! The parts of a point, each saved in its own way. One that fails is told as failed and stops no other.

mod configuration;
mod objects;
mod repositories;
mod secrets;

use std::future::Future;
use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use self::configuration::configuration;
pub use self::objects::objects;
pub use self::repositories::{archive, belongs, everything, server_side, tidy};
pub use self::secrets::{SealedSecrets, read_sealed_secrets, secrets};
use super::Ground;
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::ops::point::seal::{SealContext, seal};
use crate::ops::point::{
    By, ObjectIndex, Outcome, Part, PartName, PointId, Points, Sealed, Signer, Way,
};
use crate::ops::runbook::StageCx;
use crate::ops::transfer::Transfer;
use crate::ops::{Hosts, OpsFault};

/// Everything that the stages of a backup share.
pub struct Taking {
    pub ground: Ground,
    pub hosts: Arc<dyn Hosts>,
    pub points: Points,
    pub signer: Signer,
    pub by: By,
    /// `gantry.toml`, as it is on this machine.
    pub site_file: Vec<u8>,
    /// SHA-256 of the blueprint, in hexadecimal digits.
    pub blueprint: String,
}

impl Taking {
    /// The node that makes backups.
    pub fn deploy_node(&self) -> Result<Arc<dyn crate::shell::Shell>, OpsFault> {
        let node = self.ground.fleet.hosts.iter().find(|host| host.deploy);
        match node {
            Some(host) => self.hosts.shell(&host.name),
            None => Err(OpsFault::internal("the fleet has no deploy node")),
        }
    }

    /// The bucket that holds the points.
    pub fn bucket(&self) -> &str {
        &self.ground.fleet.buckets.backups
    }

    pub fn transfer(&self) -> Transfer {
        Transfer::new(self.ground.cx.clone())
    }

    /// The ARN of the key that secrets are sealed with.
    pub fn recovery_key(&self) -> Result<String, OpsFault> {
        self.ground.recovery_key.clone().ok_or_else(|| {
            OpsFault::refused(
                "secrets cannot be sealed",
                "this site has no recovery key yet",
                "run `gantry install`: it makes the key",
            )
        })
    }
}

/// Where the list of a part with too many members is.
pub fn index_key(point: &PointId, part: &PartName) -> String {
    format!("points/{point}/parts/{part}.jsonl.gz")
}

/// Where a sealed part is: below a prefix of its own, that fewer may read.
pub fn sealed_key(point: &PointId, part: &PartName) -> String {
    format!("sealed/{point}/{part}")
}

/// Whose no a failure was; it decides how the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    Cloud,
    Host,
    Check,
}

impl Whose {
    fn of(fault: &OpsFault) -> Self {
        match fault {
            OpsFault::Host(_) => Self::Host,
            OpsFault::Check { .. } | OpsFault::Refused { .. } => Self::Check,
            _ => Self::Cloud,
        }
    }
}

/// What a part's stage leaves in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    pub part: Part,
    /// Why the part, or its copy in the other region, is not as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// What went wrong, for the person at the terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub whose: Whose,
    pub what: String,
    pub help: String,
}

impl Trouble {
    pub fn of(fault: &OpsFault) -> Self {
        Self {
            whose: Whose::of(fault),
            what: fault.to_string(),
            help: fault.help(),
        }
    }
}

/// A part that was saved.
pub struct Saving {
    /// The moment that the copy is of; the beginning of the stage when nobody knows better.
    pub began: Option<Timestamp>,
    pub bytes: u64,
    pub way: Way,
}

/// Saves a part. What goes wrong becomes a failed part, so that the point says so; an interrupt stays one.
pub async fn attempt(
    stage: &StageCx,
    name: PartName,
    work: impl Future<Output = Result<Saving, Halt<OpsFault>>>,
) -> Result<Saved, Halt<OpsFault>> {
    let began = stage.clock.now();
    let saving = work.await;
    let ended = stage.clock.now();
    match saving {
        Ok(saving) => Ok(Saved {
            part: Part {
                name,
                began: saving.began.unwrap_or(began).min(ended),
                ended,
                bytes: saving.bytes,
                outcome: Outcome::Saved(saving.way),
            },
            trouble: None,
        }),
        Err(Halt::Failed(fault)) => {
            stage.note(format!("{name} is not saved: {fault}"));
            Ok(Saved {
                part: failed(name, began, ended, fault.to_string()),
                trouble: Some(Trouble::of(&fault)),
            })
        }
        Err(Halt::Interrupted) => Err(Halt::Interrupted),
    }
}

/// A part that was not saved.
pub fn failed(name: PartName, began: Timestamp, ended: Timestamp, why: String) -> Part {
    Part {
        name,
        began,
        ended,
        bytes: 0,
        outcome: Outcome::Failed { why },
    }
}

/// The bytes of a list, and of what it lists.
fn bytes_of(index: &ObjectIndex) -> u64 {
    index.bytes
}

/// Seals content under the recovery key and writes it beside the points. What an earlier attempt of the same point
/// wrote stays: it was sealed from the same place, and nothing there is ever overwritten.
async fn seal_away(
    taking: &Taking,
    point: &PointId,
    part: &PartName,
    content: &Zeroizing<Vec<u8>>,
    fits: String,
) -> Result<Saving, OpsFault> {
    let cx = &taking.ground.cx;
    let kms = taking.recovery_key()?;
    let key = sealed_key(point, part);
    let context = SealContext::new(cx.site(), point.clone(), part.clone());
    let mut bytes = seal(cx, &kms, &context, content).await?;
    let put = cx
        .put("s3:PutObject", || {
            let put = cx.aws().s3.put_object();
            put.bucket(taking.bucket())
                .key(&key)
                .if_none_match("*")
                .body(ByteStream::from(bytes.clone()))
                .send()
        })
        .await;
    match put {
        Ok(_) => {}
        Err(fault) if fault.code() == "PreconditionFailed" => {
            bytes = there(taking, &key).await?;
        }
        Err(fault) => return Err(fault.into()),
    }
    Ok(Saving {
        began: None,
        bytes: bytes.len() as u64,
        way: Way::Sealed(Sealed {
            bucket: taking.bucket().to_owned(),
            key,
            kms,
            sha256: crate::boot::sha256(&bytes),
            fits,
        }),
    })
}

async fn there(taking: &Taking, key: &str) -> Result<Vec<u8>, OpsFault> {
    let cx = &taking.ground.cx;
    let answer = cx
        .read("s3:GetObject", || {
            let get = cx.aws().s3.get_object();
            get.bucket(taking.bucket()).key(key).send()
        })
        .await?;
    let content = answer.body.collect().await.map_err(|error| {
        Fault::internal(format!("s3://{}/{key} broke off: {error}", taking.bucket()))
    })?;
    Ok(content.to_vec())
}
