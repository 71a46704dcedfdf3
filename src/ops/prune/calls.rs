//! The calls that remove things. What is gone already is fine.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use super::Thing;
use crate::cloud::{Fault, by_code};
use crate::ops::OpsFault;
use crate::resource::CloudCx;

/// The most keys that one call takes (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>).
const KEYS_A_CALL: usize = 1_000;

/// How often keys are tried that S3 puts off one by one.
const TRIES: u32 = 6;

/// How AWS is reached in each region that has something to remove.
#[derive(Clone)]
pub struct Clouds {
    home: CloudCx,
    others: BTreeMap<String, CloudCx>,
}

impl Clouds {
    pub fn new(home: CloudCx) -> Self {
        Self {
            home,
            others: BTreeMap::new(),
        }
    }

    /// Another region, by the scope of its context.
    #[must_use]
    pub fn with(mut self, other: CloudCx) -> Self {
        self.others.insert(other.scope().region.clone(), other);
        self
    }

    fn of(&self, region: &str) -> Result<&CloudCx, OpsFault> {
        if self.home.scope().region == region {
            return Ok(&self.home);
        }
        let other = self.others.get(region);
        other.ok_or_else(|| OpsFault::internal(format!("no clients for {region}")))
    }

    /// Removes a snapshot. Objects go by the bucket, with [`delete_keys`].
    pub(super) async fn remove_snapshot(&self, thing: &Thing) -> Result<(), OpsFault> {
        let removed = match thing {
            Thing::DatabaseSnapshot { region, name } => {
                let cx = self.of(region)?;
                let call = cx.put("rds:DeleteDBSnapshot", || {
                    let delete = cx.aws().rds.delete_db_snapshot();
                    delete.db_snapshot_identifier(name).send()
                });
                call.await.map(drop)
            }
            Thing::DiskSnapshot { region, id } => {
                let cx = self.of(region)?;
                let call = cx.put("ec2:DeleteSnapshot", || {
                    cx.aws().ec2.delete_snapshot().snapshot_id(id).send()
                });
                call.await.map(drop)
            }
            Thing::GitData { .. } | Thing::Object { .. } => Ok(()),
        };
        match removed {
            Err(fault) if !fault.is_gone() => Err(refused(thing.to_string(), fault)),
            _ => Ok(()),
        }
    }

    /// Puts a delete marker on every one of these keys: a call for each thousand of them.
    pub(super) async fn delete_keys<'k>(
        &self,
        bucket: &str,
        keys: impl IntoIterator<Item = &'k str>,
    ) -> Result<(), OpsFault> {
        let keys: Vec<&str> = keys.into_iter().collect();
        for some in keys.chunks(KEYS_A_CALL) {
            let mut left: Vec<String> = some.iter().map(|key| (*key).to_owned()).collect();
            for attempt in 1.. {
                let Some((fault, put_off)) = delete_some(&self.home, bucket, &left).await? else {
                    break;
                };
                let again = matches!(fault, Fault::Throttled { .. } | Fault::Unknown { .. });
                if !again || attempt >= TRIES {
                    return Err(refused(format!("objects in s3://{bucket}"), fault));
                }
                left = put_off;
                let pause = Duration::from_secs(1 << attempt);
                self.home.clock().sleep(pause).await;
            }
        }
        Ok(())
    }
}

/// Deletes keys in one call. What is left comes back with the first fault of it.
async fn delete_some(
    cx: &CloudCx,
    bucket: &str,
    keys: &[String],
) -> Result<Option<(Fault, Vec<String>)>, OpsFault> {
    const CALL: &str = "s3:DeleteObject";
    let objects = keys
        .iter()
        .map(|key| ObjectIdentifier::builder().key(key).build())
        .collect::<Result<Vec<_>, _>>();
    let delete = objects
        .and_then(|objects| {
            let delete = Delete::builder().set_objects(Some(objects));
            delete.quiet(true).build()
        })
        .map_err(|error| OpsFault::internal(error.to_string()))?;
    let asked = cx
        .put(CALL, || {
            let call = cx.aws().s3.delete_objects();
            call.bucket(bucket).delete(delete.clone()).send()
        })
        .await;
    let answer = match asked {
        Ok(answer) => answer,
        Err(fault) if fault.is_gone() => return Ok(None),
        Err(fault) => return Err(refused(format!("objects in s3://{bucket}"), fault)),
    };
    // The call as a whole says yes even when some of it was refused.
    let fault = |error: &aws_sdk_s3::types::Error| {
        let code = error.code().unwrap_or_default();
        let server = matches!(code, "InternalError" | "ServiceUnavailable");
        by_code(
            CALL.to_owned(),
            if server { 500 } else { 400 },
            code.to_owned(),
            format!(
                "{}: {}",
                error.key().unwrap_or_default(),
                error.message().unwrap_or_default()
            ),
        )
    };
    let left: Vec<(Fault, String)> = answer
        .errors()
        .iter()
        .map(|error| (fault(error), error.key().unwrap_or_default().to_owned()))
        .filter(|(fault, _)| !fault.is_gone())
        .collect();
    let mut faults: Vec<Fault> = left.iter().map(|(fault, _)| fault.clone()).collect();
    // One that will not pass by itself comes first.
    faults.sort_by_key(|fault| matches!(fault, Fault::Throttled { .. } | Fault::Unknown { .. }));
    let keys = left.into_iter().map(|(_, key)| key).collect();
    Ok(faults.into_iter().next().map(|first| (first, keys)))
}

/// What a refusal means here.
fn refused(what: String, fault: Fault) -> OpsFault {
    match fault {
        Fault::Denied { call, message } => OpsFault::refused(
            format!("{what}: not removed"),
            format!(
                "access denied to {call}: {message}. The role that writes backups cannot delete them, on purpose"
            ),
            "run `gantry backup prune` with the credentials of an administrator; what is marked as being dropped goes then",
        ),
        other => other.into(),
    }
}
