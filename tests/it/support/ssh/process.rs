//! Processes of this machine, as `/proc` shows them.

use std::fs;
use std::path::Path;
use std::process::Command as Process;
use std::thread;
use std::time::Duration;

/// Asks again until it is so; a minute at most.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2400 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(25));
    }
    panic!("waited in vain until {what}");
}

/// A process, with the time of its start: a number may be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub id: u32,
    pub name: String,
    parent: u32,
    start: u64,
}

impl Seen {
    fn of(id: u32) -> Option<Self> {
        // `proc(5)`: the name stands in parentheses and may hold anything.
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        let fields: Vec<_> = tail.split_whitespace().collect();
        Some(Self {
            id,
            name: head.split_once('(')?.1.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
        })
    }

    fn lives(&self) -> bool {
        Self::of(self.id).is_some_and(|now| now.start == self.start)
    }

    /// Whether it holds this socket.
    pub fn holds(&self, inode: u64) -> bool {
        let link = format!("socket:[{inode}]");
        fs::read_dir(format!("/proc/{}/fd", self.id))
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy() == link))
    }
}

fn all() -> Vec<Seen> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| Seen::of(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// All processes with this home.
pub fn at_home(folder: &Path) -> Vec<Seen> {
    let home = format!("HOME={}", folder.display());
    let mut found = all();
    found.retain(|seen| {
        let variables = fs::read(format!("/proc/{}/environ", seen.id)).unwrap_or_default();
        variables
            .split(|b| *b == 0)
            .any(|variable| variable == home.as_bytes())
    });
    found
}

/// All that a process started, and what that started.
pub fn descendants(of: u32) -> Vec<Seen> {
    let all = all();
    let mut found: Vec<Seen> = Vec::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            parents.push(process.id);
            found.push(process.clone());
        }
    }
    found
}

pub fn signal(process: &Seen, name: &str) {
    if process.lives() {
        // It may end between the two lines.
        let _ = Process::new("kill")
            .arg(format!("-{name}"))
            .arg(process.id.to_string())
            .output()
            .unwrap();
    }
}

pub fn kill(processes: &[Seen]) {
    for process in processes {
        signal(process, "KILL");
    }
}

/// The sockets whose local end is this port.
pub fn sockets_of_port(port: u16) -> Vec<u64> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (_, local) = fields.get(1)?.split_once(':')?;
            (u16::from_str_radix(local, 16).ok()? == port).then_some(())?;
            fields.get(9)?.parse().ok()
        })
        .collect()
}
