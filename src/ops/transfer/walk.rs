//! The files of a folder, in the order in which S3 lists their keys.

use std::fs;
use std::path::Path;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::TransferFault;
use super::upload::Source;

/// A file, and the key it gets.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) source: Source,
}

/// Walks `folder` on a thread of its own, a little ahead of whoever listens; keys begin with `prefix`. Empty folders
/// have no keys. Anything that is neither a file nor a folder is an error: leaving it out would be a silent loss.
pub(super) fn walk(folder: &Path, prefix: &str) -> Receiver<Result<Entry, TransferFault>> {
    let (to, from) = channel(256);
    let (folder, prefix) = (folder.to_owned(), prefix.to_owned());
    tokio::task::spawn_blocking(move || {
        if let Err(fault) = descend(&folder, &prefix, &to) {
            // Nobody listens any more: then it does not matter.
            let _ = to.blocking_send(Err(fault));
        }
    });
    from
}

/// Gives false when nobody listens any more.
fn descend(
    folder: &Path,
    prefix: &str,
    to: &Sender<Result<Entry, TransferFault>>,
) -> Result<bool, TransferFault> {
    let at = |error| TransferFault::local(folder, error);
    let mut names = vec![];
    for entry in fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        let path = entry.path();
        let odd = |why: &str| TransferFault::Name {
            name: path.display().to_string(),
            why: why.into(),
        };
        let kind = entry.file_type().map_err(at)?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| odd("its name is no UTF-8"))?;
        if kind.is_dir() {
            // With its slash, as it stands in keys: `a.txt` is before `a/b`.
            names.push(format!("{name}/"));
        } else if kind.is_file() {
            names.push(name.to_owned());
        } else {
            return Err(odd("is neither a file nor a folder"));
        }
    }
    names.sort_unstable();
    for name in names {
        let path = folder.join(&name);
        let key = format!("{prefix}{name}");
        let listens = if name.ends_with('/') {
            descend(&path, &key, to)?
        } else {
            let entry = Source::look(&path).map(|source| Entry { key, source });
            to.blocking_send(entry).is_ok()
        };
        if !listens {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_come_in_the_order_of_s3() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/b", "a.txt", "a/c/d", "a0", "b", "a!"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let mut files = walk(folder.path(), "p/");
        let mut keys = vec![];
        while let Some(entry) = files.recv().await {
            keys.push(entry.unwrap().key);
        }
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(keys, sorted);
        assert_eq!(keys, ["p/a!", "p/a.txt", "p/a/b", "p/a/c/d", "p/a0", "p/b"]);
    }

    #[tokio::test]
    async fn a_link_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.path().join("link")).unwrap();
        let fault = walk(folder.path(), "").recv().await.unwrap().unwrap_err();
        assert!(fault.to_string().contains("link"), "{fault}");
    }
}
