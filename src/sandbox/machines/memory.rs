//! What volumes and databases held, and from when on: a file for each, for emulators that keep no data.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// A folder of such files. All sites of an emulator share it, because what one saved another may restore.
pub(super) struct Memory<'a>(&'a Path);

/// What one of them held, oldest first.
type Past = Vec<(Timestamp, String)>;

impl<'a> Memory<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self(folder)
    }

    /// What it held at a moment; none before anything was written.
    pub(super) fn at(&self, key: &str, when: Timestamp) -> Result<Option<String>, String> {
        let past = self.past(key)?;
        let last = past.into_iter().rfind(|(from, _)| *from <= when);
        Ok(last.map(|(_, text)| text))
    }

    /// What it holds from now on.
    pub(super) fn put(&self, key: &str, now: Timestamp, text: String) -> Result<(), String> {
        let mut past = self.past(key)?;
        past.push((now, text));
        let path = self.path(key);
        let new = path.with_extension("new");
        let text = serde_json::to_vec(&past).map_err(|e| e.to_string())?;
        std::fs::create_dir_all(self.0)
            .and_then(|()| std::fs::write(&new, text))
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|e| format!("{}: {e}", path.display()))
    }

    fn past(&self, key: &str) -> Result<Past, String> {
        let path = self.path(key);
        match std::fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Past::new()),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        // An id of AWS is letters, digits and hyphens.
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let name: String = key.chars().filter(|c| plain(*c)).collect();
        self.0.join(format!("{name}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_at_a_moment_is_what_was_written_last_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(folder.path());
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(memory.at("vol-1", Timestamp::MAX).unwrap(), None);
        memory.put("vol-1", at(10), "first".into()).unwrap();
        memory.put("vol-1", at(20), "second".into()).unwrap();
        memory.put("../vol-2", at(5), "other".into()).unwrap();
        assert!(folder.path().join("vol-2.json").exists());
        let held = |second| memory.at("vol-1", at(second)).unwrap();
        assert_eq!(held(9), None);
        assert_eq!(held(10).as_deref(), Some("first"));
        assert_eq!(held(19).as_deref(), Some("first"));
        assert_eq!(held(20).as_deref(), Some("second"));
    }
}
