//! One backup at a time, on whichever machine: an object in the backup bucket says who is at work.
//!
//! The lock of the state directory holds on one machine only. This one is `points/lock.json`, changed only where it
//! still is what was read before, so that of two machines one wins. It is never deleted, because who writes backups
//! must not be able to delete them: letting go is writing that nobody holds it. Whoever holds it says so again every
//! few minutes; a holder that has not for half an hour is dead.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

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
    #[error(
        "another run took the lock of this site's backups, because this one had said nothing for half an hour; it stops, as if it had been killed"
    )]
    Lost,
    #[error(transparent)]
    Cloud(#[from] Fault),
}

/// The right to write recovery points of a site.
pub struct Lease {
    keeper: Keeper,
    heart: tokio::task::JoinHandle<()>,
    lost: watch::Receiver<bool>,
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
        let (tell, lost) = watch::channel(false);
        let heart = tokio::spawn(beat(keeper.clone(), tell));
        Ok(Self {
            keeper,
            heart,
            lost,
        })
    }

    /// Does this work as long as the lock is ours. When somebody else takes it, because this process slept too long, the work
    /// ends where it is: a later run goes on from its ledger, as after a crash.
    pub async fn hold<T>(&self, work: impl Future<Output = T>) -> Result<T, LeaseError> {
        let mut lost = self.lost.clone();
        let lost = async move {
            if lost.wait_for(|lost| *lost).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            done = work => Ok(done),
            () = lost => Err(LeaseError::Lost),
        }
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
            Ok(()) | Err(LeaseError::Held { .. } | LeaseError::Lost) => Ok(()),
            Err(LeaseError::Cloud(fault)) => Err(fault),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.heart.abort();
    }
}

async fn beat(keeper: Keeper, lost: watch::Sender<bool>) {
    loop {
        keeper.cx.clock().sleep(HEARTBEAT).await;
        let again = match keeper.read().await {
            Ok(Some((Some(note), tag))) if note.procedure == keeper.procedure => {
                keeper.write(Some(&tag), BELIEVED).await
            }
            // A call that failed is made again at the next beat, long before the lock runs out.
            Err(_) => continue,
            Ok(_) => {
                let _ = lost.send(true);
                return;
            }
        };
        if matches!(again, Err(LeaseError::Held { .. })) {
            let _ = lost.send(true);
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

/// Whether a process of this machine is there. Timers run where the processes of others are not shown (`ProtectProc` of
/// systemd), so the kernel is asked: it refuses to signal what is somebody else's, and knows what there is not.
fn is_alive(process: u32) -> bool {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    id.is_some_and(|id| test_kill_process(id) != Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::is_alive;

    #[test]
    fn processes_of_others_are_alive_too() {
        assert!(is_alive(std::process::id()));
        // Whoever may not signal it is told that it is there.
        assert!(is_alive(1));
        assert!(!is_alive(i32::MAX.unsigned_abs()));
        assert!(!is_alive(u32::MAX));
    }
}
