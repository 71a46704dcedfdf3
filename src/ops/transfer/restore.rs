//! Many objects down, into a folder.

use std::fs;
use std::path::{Component, Path, PathBuf};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::index::{IndexLine, IndexReader};
use super::listing::{Listing, What};
use super::progress::Meter;
use super::spawned::{blocking, spawn};
use super::{Digest, OBJECTS_AT_ONCE, Place, Transfer, TransferFault};
use crate::ops::point::ObjectIndex;

/// What is in the folder now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    pub count: u64,
    pub bytes: u64,
    /// Of these, what was there already.
    pub kept: u64,
}

/// Where the names of objects come from.
pub(super) enum Lines {
    Listing(Box<Listing>),
    Index(Box<IndexReader>),
}

impl Lines {
    pub(super) async fn next(&mut self) -> Result<Option<IndexLine>, TransferFault> {
        match self {
            Self::Listing(listing) => Ok(listing.next().await?.map(Into::into)),
            Self::Index(reader) => reader.next().await,
        }
    }

    pub(super) fn stream(
        self,
    ) -> impl futures::Stream<Item = Result<IndexLine, TransferFault>> + Send {
        stream::try_unfold(self, |mut lines| async move {
            Ok(lines.next().await?.map(|line| (line, lines)))
        })
    }
}

impl Transfer {
    /// Downloads everything whose key begins as `of`, as it is now; the rest of the key is the path below `folder`.
    /// Run again, it leaves what is there with the right size. Contents of up to 2 MiB are checked against S3's own
    /// checksums, where it has some; [`Self::restore_index`] checks more.
    pub async fn restore_prefix(
        &self,
        of: &Place,
        folder: &Path,
    ) -> Result<Restored, TransferFault> {
        let lines = Lines::Listing(Box::new(Listing::new(self, of, What::Objects)));
        self.restore(lines, of, folder).await
    }

    /// Downloads the versions that a list in `list_bucket` names, as [`Self::restore_prefix`] does, and compares the
    /// checksums of the list. `of` is where the objects are, and the beginning of their keys that is no path.
    pub async fn restore_index(
        &self,
        list_bucket: &str,
        index: &ObjectIndex,
        of: &Place,
        folder: &Path,
    ) -> Result<Restored, TransferFault> {
        let lines = Lines::Index(Box::new(self.read_index(list_bucket, index)));
        self.restore(lines, of, folder).await
    }

    async fn restore(
        &self,
        lines: Lines,
        of: &Place,
        folder: &Path,
    ) -> Result<Restored, TransferFault> {
        let meter = self.meter(None);
        let fetched = lines
            .stream()
            .map(|line| self.restore_one(line, of, folder, &meter))
            .buffer_unordered(OBJECTS_AT_ONCE);
        let mut fetched = std::pin::pin!(fetched);
        let mut restored = Restored::default();
        while let Some((bytes, kept)) = fetched.try_next().await? {
            restored.count += 1;
            restored.bytes += bytes;
            restored.kept += u64::from(kept == Kept::Yes);
        }
        Ok(restored)
    }

    async fn restore_one(
        &self,
        line: Result<IndexLine, TransferFault>,
        of: &Place,
        folder: &Path,
        meter: &Meter,
    ) -> Result<(u64, Kept), TransferFault> {
        let line = line?;
        let path = folder.join(below(&line.key, &of.key)?);
        let (own, meter) = (self.clone(), meter.clone());
        let object = line.object(&of.bucket);
        spawn(async move {
            // The mark of a folder, as consoles make it.
            if line.key.ends_with('/') {
                fs::create_dir_all(&path).map_err(|e| TransferFault::local(&path, e))?;
                return Ok((0, Kept::No));
            }
            let (file, bytes, sha256) = (path.clone(), line.bytes, line.sha256);
            if blocking(move || is_there(&file, bytes, sha256)).await? {
                meter.add(bytes);
                return Ok((bytes, Kept::Yes));
            }
            own.download_counted(&object, &path, &meter).await?;
            Ok((bytes, Kept::No))
        })
        .await
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

/// Whether an earlier run brought this file. Makes its folder otherwise.
fn is_there(path: &Path, bytes: u64, sha256: Option<Digest>) -> Result<bool, TransferFault> {
    let at = |error| TransferFault::local(path, error);
    match fs::metadata(path) {
        Ok(meta) if meta.len() == bytes => match sha256 {
            Some(wanted) => Ok(Digest::of_file(path)? == wanted),
            None => Ok(true),
        },
        Ok(_) => Ok(false),
        Err(_) => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(at)?;
            }
            Ok(false)
        }
    }
}

/// The path that a key means below a folder. A key that would lead out of it, or that no file can have, is refused.
fn below(key: &str, prefix: &str) -> Result<PathBuf, TransferFault> {
    let odd = |why: &str| TransferFault::Name {
        name: key.to_owned(),
        why: why.into(),
    };
    let rest = key
        .strip_prefix(prefix)
        .ok_or_else(|| odd("is not below what is restored"))?;
    let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    let names = rest.strip_suffix('/').unwrap_or(rest);
    let path = PathBuf::from(names);
    if names.split('/').all(plain) && path.components().all(|c| matches!(c, Component::Normal(_))) {
        Ok(path)
    } else {
        Err(odd("cannot be the name of a file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_below_their_folder() {
        assert_eq!(below("p/a/b", "p/").unwrap(), Path::new("a/b"));
        assert_eq!(below("p/a/", "p/").unwrap(), Path::new("a"));
        for wrong in [
            "p/../a",
            "p//a",
            "p/a/../../b",
            "p/.",
            "p/",
            "p/a\0",
            "q/a",
            "p//etc/x",
        ] {
            assert!(below(wrong, "p/").is_err(), "{wrong}");
        }
    }
}
