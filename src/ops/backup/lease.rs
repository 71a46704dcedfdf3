//! One backup at a time, on whichever machine: an object in the backup bucket says who is at work.
//!
//! The lock of the state directory holds on one machine only. This one is `points/lock.json`, changed only where it
//! still is what was read before, so that of two machines one wins. It is never deleted, because who writes backups
//! must not be able to delete them: letting go is writing that nobody holds it. Whoever holds it says so again every
//! few minutes; a holder that has not for half an hour is dead.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cloud::Fault;
use crate::journal::Holder;
use crate::resource::CloudCx;

/// Where the lock is, in the backup bucket.
pub const LOCK_KEY: &str = "points/lock.json";

/// Where the lock of drills is: they may go on beside backups, and not beside each other.
pub const DRILL_LOCK_KEY: &str = "points/drill-lock.json";

/// How long a holder is believed without a word.
const BELIEVED: Duration = Duration::from_mins(30);

/// How often a holder says that it is there.
const HEARTBEAT: Duration = Duration::from_mins(10);

const FORMAT: u32 = 1;

/// What the object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    format: u32,
    /// The procedure, which stays the same when another process takes it up.
    procedure: String,
    holder: Holder,
    /// When the holder counts as dead, unless it says something before; in the past when nobody holds it.
    until: Timestamp,
}

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error(
        "`gantry {}` is at work on this site's backups: {} on {}, process {}, since {}",
        holder.verb, holder.user, holder.host, holder.process, holder.since
    )]
    Held {
        holder: Box<Holder>,
        until: Timestamp,
    },
    #[error(transparent)]
    Cloud(#[from] Fault),
}

/// The right to write recovery points of a site.
pub struct Lease {
    keeper: Keeper,
    heart: tokio::task::JoinHandle<()>,
    lost: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Keeper {
    cx: CloudCx,
    bucket: String,
    key: &'static str,
    procedure: String,
    holder: Holder,
}

impl Lease {
    /// Takes the lock for a procedure, or says who has it. A procedure that is taken up again gets its own lock back.
    pub async fn take(
        cx: &CloudCx,
        bucket: &str,
        procedure: &str,
        holder: &Holder,
    ) -> Result<Self, LeaseError> {
        Self::take_at(cx, (bucket, LOCK_KEY), procedure, holder).await
    }

    /// The same of another lock in the bucket.
    pub async fn take_at(
        cx: &CloudCx,
        (bucket, key): (&str, &'static str),
        procedure: &str,
        holder: &Holder,
    ) -> Result<Self, LeaseError> {
        let keeper = Keeper {
            cx: cx.clone(),
            bucket: bucket.to_owned(),
            key,
            procedure: procedure.to_owned(),
            holder: holder.clone(),
        };
        let (note, tag) = match keeper.read().await? {
            Some((note, tag)) => (note, Some(tag)),
            None => (None, None),
        };
        if let Some(note) = note
            && !keeper.may_follow(&note)
        {
            return Err(LeaseError::Held {
                holder: Box::new(note.holder),
                until: note.until,
            });
        }
        keeper.write(tag.as_deref(), BELIEVED).await?;
        let lost = Arc::new(AtomicBool::new(false));
        let heart = tokio::spawn(beat(keeper.clone(), lost.clone()));
        Ok(Self {
            keeper,
            heart,
            lost,
        })
    }

    /// Whether somebody else took the lock since: this process slept too long.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Lets go.
    pub async fn release(self) -> Result<(), Fault> {
        self.heart.abort();
        let Some((Some(note), tag)) = self.keeper.read().await? else {
            return Ok(());
        };
        if note.procedure != self.keeper.procedure {
            return Ok(());
        }
        match self.keeper.write(Some(&tag), Duration::ZERO).await {
            // Somebody else has it by now, and then it is not ours to let go.
            Ok(()) | Err(LeaseError::Held { .. }) => Ok(()),
            Err(LeaseError::Cloud(fault)) => Err(fault),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.heart.abort();
    }
}

async fn beat(keeper: Keeper, lost: Arc<AtomicBool>) {
    loop {
        keeper.cx.clock().sleep(HEARTBEAT).await;
        let again = match keeper.read().await {
            Ok(Some((Some(note), tag))) if note.procedure == keeper.procedure => {
                keeper.write(Some(&tag), BELIEVED).await
            }
            // A call that failed is made again at the next beat, long before the lock runs out.
            Err(_) => continue,
            Ok(_) => {
                lost.store(true, Ordering::SeqCst);
                return;
            }
        };
        if matches!(again, Err(LeaseError::Held { .. })) {
            lost.store(true, Ordering::SeqCst);
            return;
        }
    }
}

impl Keeper {
    /// What the object says, none where it says nothing that can be read, and the tag of what was read.
    async fn read(&self) -> Result<Option<(Option<Note>, String)>, Fault> {
        let asked = self
            .cx
            .read("s3:GetObject", || {
                let get = self.cx.aws().s3.get_object();
                get.bucket(&self.bucket).key(self.key).send()
            })
            .await;
        match asked {
            Ok(answer) => {
                let tag = answer.e_tag().unwrap_or_default().to_owned();
                let content = answer.body.collect().await.map_err(|error| {
                    Fault::internal(format!(
                        "s3://{}/{} broke off: {error}",
                        self.bucket, self.key
                    ))
                })?;
                Ok(Some((serde_json::from_slice(&content.to_vec()).ok(), tag)))
            }
            Err(fault) if fault.is_gone() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Whether the lock may be taken from whoever is noted.
    fn may_follow(&self, note: &Note) -> bool {
        note.procedure == self.procedure
            || note.until <= self.cx.clock().now()
            || (note.holder.host == self.holder.host && !is_alive(note.holder.process))
    }

    /// Writes that we hold it for `time`, if the object still is what was read; not there, when `tag` is none.
    async fn write(&self, tag: Option<&str>, time: Duration) -> Result<(), LeaseError> {
        let until = self.cx.clock().now() + time;
        let note = Note {
            format: FORMAT,
            procedure: self.procedure.clone(),
            holder: self.holder.clone(),
            until,
        };
        let text = serde_json::to_vec(&note).unwrap_or_default();
        let put = self
            .cx
            .put("s3:PutObject", || {
                let put = self.cx.aws().s3.put_object();
                put.bucket(&self.bucket)
                    .key(self.key)
                    .content_type("application/json")
                    .set_if_match(tag.map(str::to_owned))
                    .set_if_none_match(tag.is_none().then(|| "*".to_owned()))
                    .body(ByteStream::from(text.clone()))
                    .send()
            })
            .await;
        let Err(fault) = put else { return Ok(()) };
        let conflict = matches!(
            fault.code(),
            "PreconditionFailed" | "ConditionalRequestConflict"
        ) || fault.is_gone();
        if !conflict {
            return Err(fault.into());
        }
        // Somebody was faster; or it was us, and only the answer was lost.
        match self.read().await? {
            Some((Some(now), _)) if now == note => Ok(()),
            Some((Some(now), _)) => Err(LeaseError::Held {
                holder: Box::new(now.holder),
                until: now.until,
            }),
            _ => Err(fault.into()),
        }
    }
}

/// Whether a process of this machine is there. Where nobody can tell, it is.
fn is_alive(process: u32) -> bool {
    let table = Path::new("/proc");
    !table.is_dir() || table.join(process.to_string()).exists()
}
