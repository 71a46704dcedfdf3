//! Timers on the appliance host: what lies there, what should, and making it so.
//!
//! Looking and changing are two steps, so that the difference can be shown first. What is as it should be is not
//! touched.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Layout, Name, Unit, stale_units};
use crate::ops::{Hosts, OpsFault};
use crate::secret::Secret;
use crate::shell::{Command, RemoteFile, RemotePath, Shell, ShellFault};

/// How long the host may take to fetch the program.
const FETCHING: Duration = Duration::from_mins(15);

/// Fetches the program into a file beside the old one, and puts it in place if it is the one that was asked for. The
/// address comes on standard input, because whoever has it may fetch too.
const FETCH: &str = r#"set -eu
umask 022
mkdir -p -- "${1%/*}"
new=$(mktemp -- "${1%/*}/.gantry-XXXXXXXXXX")
trap 'rm -f -- "$new"' EXIT
curl --silent --show-error --fail --retry 3 --proto =https --output "$new" --config -
printf '%s  %s\n' "$2" "$new" | sha256sum --check --status || { echo "what came is not the program that was sent" >&2; exit 1; }
chmod 0755 -- "$new"
mv -fT -- "$new" "$1"
trap - EXIT
"#;

/// The same from a file of this machine.
const COPY: &str = r#"set -eu
mkdir -p -- "${1%/*}"
install -m 0755 -T -- "$3" "$1.new"
printf '%s  %s\n' "$2" "$1.new" | sha256sum --check --status
mv -fT -- "$1.new" "$1"
"#;

/// The user, its folders, and the key it goes onto the nodes with.
const PREPARE: &str = r#"set -eu
user=$1 home=$2 state=$3 key=$4
id -u "$user" >/dev/null 2>&1 || useradd --system --user-group --home-dir "$home" --no-create-home --shell /usr/sbin/nologin "$user"
install -d -m 0755 -o "$user" -g "$user" -- "$home" "$home/metrics"
install -d -m 0700 -o "$user" -g "$user" -- "$home/state" "$state" "${key%/*}"
if [ ! -e "$key" ]; then
    rm -f -- "$key.new" "$key.new.pub"
    ssh-keygen -q -t ed25519 -N '' -C "$5" -f "$key.new"
    chown "$user:$user" -- "$key.new" "$key.new.pub"
    mv -f -- "$key.new.pub" "$key.pub"
    mv -f -- "$key.new" "$key"
fi
cat -- "$key.pub"
"#;

/// Lets the key in, for the user who logs in. A line of the same name and another key goes.
const LET_IN: &str = r#"set -eu
umask 077
mkdir -p "$HOME/.ssh"
file=$HOME/.ssh/authorized_keys
touch "$file"
if grep -qxF -- "$1" "$file"; then exit 0; fi
grep -v -- " $2\$" "$file" > "$file.new" || true
printf '%s\n' "$1" >> "$file.new"
mv -f "$file.new" "$file"
echo let in
"#;

const SHUT_OUT: &str = r#"set -eu
umask 077
file=$HOME/.ssh/authorized_keys
if [ ! -e "$file" ] || ! grep -q -- " $1\$" "$file"; then exit 0; fi
grep -v -- " $1\$" "$file" > "$file.new" || true
mv -f "$file.new" "$file"
echo shut out
"#;

/// The program that the timers start.
#[derive(Debug, Clone)]
pub struct Program {
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
    pub from: Binary,
}

/// Where the host gets it.
#[derive(Debug, Clone)]
pub enum Binary {
    /// An address that holds for some minutes.
    Url(Secret),
    /// A file of the host itself.
    File(String),
}

/// What shall lie on the host.
pub struct Placing {
    pub layout: Layout,
    pub units: Vec<Unit>,
    /// The text of the site file.
    pub site_file: String,
    /// What gantry remembers of the site, so that runs know its nodes.
    pub journal: Option<Vec<u8>>,
    pub program: Program,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// A path, or the name of a timer.
    pub what: String,
    pub how: Placed,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placed {
    New,
    Changed,
    Removed,
    Started,
}

impl Change {
    fn new(what: impl Into<String>, how: Placed) -> Self {
        Self {
            what: what.into(),
            how,
        }
    }
}

impl Placing {
    /// The files, with their modes and owners.
    fn files(&self) -> Vec<(String, u32, String, Vec<u8>)> {
        let root = || "root:root".to_owned();
        let shared = || format!("root:{}", Layout::USER);
        let mut files = vec![(
            self.layout.site_file.clone(),
            0o640,
            shared(),
            self.site_file.clone().into_bytes(),
        )];
        if let Some(journal) = &self.journal {
            let path = format!("{}/journal.jsonl", self.layout.state());
            let owner = format!("{0}:{0}", Layout::USER);
            files.push((path, 0o600, owner, journal.clone()));
        }
        for unit in &self.units {
            let path = format!("{}/{}", self.layout.unit_dir, unit.name);
            files.push((path, 0o644, root(), unit.content.clone().into_bytes()));
        }
        files
    }

    fn timers(&self) -> Vec<String> {
        let timers = self.units.iter().filter(|u| u.name.ends_with(".timer"));
        timers.map(|unit| unit.name.clone()).collect()
    }

    /// What differs on the host. Changes nothing.
    pub async fn look(&self, host: &dyn Shell) -> Result<Vec<Change>, OpsFault> {
        let mut changes = Vec::new();
        let binary = &self.layout.binary;
        let sum = Command::new("sha256sum").arg(binary).sudo();
        let sum = host.run(&sum).await?;
        if !sum.ok() {
            changes.push(Change::new(binary, Placed::New));
        } else if sum.stdout.text().split(' ').next() != Some(self.program.sha256.as_str()) {
            changes.push(Change::new(binary, Placed::Changed));
        }
        for (path, _, _, content) in self.files() {
            match host.get(&remote(&path)?.sudo()).await {
                Ok(there) if there == content => {}
                Ok(_) => changes.push(Change::new(path, Placed::Changed)),
                Err(ShellFault::Missing { .. }) => changes.push(Change::new(path, Placed::New)),
                Err(fault) => return Err(fault.into()),
            }
        }
        for unit in stale_units(&self.layout, &self.units) {
            let path = format!("{}/{unit}", self.layout.unit_dir);
            if exists(host, &path).await? {
                changes.push(Change::new(path, Placed::Removed));
            }
        }
        for timer in self.timers() {
            let asked = Command::new("systemctl").args(["is-active", "--quiet", &timer]);
            if !host.run(&asked).await?.ok() {
                changes.push(Change::new(timer, Placed::Started));
            }
        }
        Ok(changes)
    }
}

/// Makes it so, and lets the host's key in on the nodes. What [`Placing::look`] found as it should be is left alone;
/// run again, everything is.
pub async fn place(
    placing: &Placing,
    changes: &[Change],
    host: &dyn Shell,
    hosts: &dyn Hosts,
) -> Result<(), OpsFault> {
    let layout = &placing.layout;
    let prepare = Command::script("prepare the user gantry", PREPARE)
        .args([Layout::USER, Layout::HOME])
        .args([layout.state(), layout.key(), mark(layout)])
        .sudo();
    let key = host.must(&prepare).await?.stdout.text();
    let differs = |path: &str| changes.iter().any(|change| change.what == path);
    if differs(&layout.binary) {
        bring(&placing.program, layout, host).await?;
    }
    for (path, mode, owner, content) in placing.files() {
        if !differs(&path) {
            continue;
        }
        let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
        // The folder of the site file is not there on a new machine.
        let make = Command::new("mkdir").args(["-p", "--", folder]).sudo();
        host.must(&make).await?;
        let file = RemoteFile::new(remote(&path)?, content);
        host.put(&file.mode(mode).owner(owner).sudo()).await?;
    }
    let stale: Vec<&str> = changes
        .iter()
        .filter(|change| change.how == Placed::Removed)
        .map(|change| change.what.as_str())
        .collect();
    let stale_names: Vec<&str> = stale.iter().filter_map(|p| p.rsplit('/').next()).collect();
    stop(host, &stale_names).await?;
    take_away(host, &stale).await?;
    if !changes.is_empty() {
        let reload = Command::new("systemctl").arg("daemon-reload").sudo();
        host.must(&reload).await?;
        let timers = placing.timers();
        if !timers.is_empty() {
            let enable = Command::new("systemctl").arg("enable").args(timers.clone());
            host.must(&enable.sudo()).await?;
            // A timer that runs already takes a new time only from a restart.
            let start = Command::new("systemctl").arg("restart").args(timers);
            host.must(&start.sudo()).await?;
        }
    }
    for shell in others(hosts)? {
        let let_in = Command::script("let the appliance host in", LET_IN)
            // For commands alone: no forwarding, no terminal.
            .arg(format!("restrict {}", key.trim_end()))
            .arg(mark(layout));
        shell.must(&let_in).await?;
    }
    Ok(())
}

/// Takes away exactly what [`place`] wrote, and shuts the key out. Records, the key and the user stay: the records are
/// the proof of what was backed up. Returns what was there. Run again, nothing is.
pub async fn remove(
    layout: &Layout,
    host: &dyn Shell,
    hosts: &dyn Hosts,
    really: bool,
) -> Result<Vec<Change>, OpsFault> {
    let mut paths: Vec<String> = stale_units(layout, &[])
        .into_iter()
        .map(|unit| format!("{}/{unit}", layout.unit_dir))
        .collect();
    paths.push(layout.site_file.clone());
    paths.push(layout.binary.clone());
    let mut there = Vec::new();
    for path in paths {
        if exists(host, &path).await? {
            there.push(path);
        }
    }
    if really {
        let timers: Vec<String> = Name::ALL.map(|name| layout.timer(name)).into();
        let present: Vec<&str> = timers
            .iter()
            .map(String::as_str)
            .filter(|timer| there.iter().any(|path| path.ends_with(timer)))
            .collect();
        stop(host, &present).await?;
        let all: Vec<&str> = there.iter().map(String::as_str).collect();
        take_away(host, &all).await?;
        if !there.is_empty() {
            let reload = Command::new("systemctl").arg("daemon-reload").sudo();
            host.must(&reload).await?;
        }
        for shell in others(hosts)? {
            let shut_out = Command::script("shut the appliance host out", SHUT_OUT);
            shell.must(&shut_out.arg(mark(layout))).await?;
        }
    }
    let gone = there.into_iter();
    Ok(gone
        .map(|path| Change::new(path, Placed::Removed))
        .collect())
}

/// The name of the host's key among those that a node lets in.
fn mark(layout: &Layout) -> String {
    format!("gantry-schedule-{}", layout.site)
}

/// Every machine: the host goes to itself over SSH too, because what a unit may do there is little.
fn others(hosts: &dyn Hosts) -> Result<Vec<Arc<dyn Shell>>, OpsFault> {
    let nodes = hosts.nodes();
    nodes.iter().map(|(node, _)| hosts.shell(node)).collect()
}

async fn bring(program: &Program, layout: &Layout, host: &dyn Shell) -> Result<(), OpsFault> {
    let command = match &program.from {
        Binary::Url(url) => Command::script("fetch gantry", FETCH)
            .args([&layout.binary, &program.sha256])
            .stdin(format!("url = \"{}\"\n", url.reveal())),
        Binary::File(path) => {
            Command::script("copy gantry", COPY).args([&layout.binary, &program.sha256, path])
        }
    };
    host.must(&command.timeout(FETCHING).sudo()).await?;
    Ok(())
}

/// Stops and forgets timers; systemd's memory of when they last ran goes too.
async fn stop(host: &dyn Shell, units: &[&str]) -> Result<(), OpsFault> {
    let timers: Vec<&str> = units
        .iter()
        .copied()
        .filter(|unit| unit.ends_with(".timer"))
        .collect();
    if timers.is_empty() {
        return Ok(());
    }
    let disable = Command::new("systemctl").args(["disable", "--now"]);
    host.must(&disable.args(timers.clone()).sudo()).await?;
    let clean = Command::new("systemctl").args(["clean", "--what=state"]);
    host.must(&clean.args(timers).sudo()).await?;
    Ok(())
}

async fn take_away(host: &dyn Shell, paths: &[&str]) -> Result<(), OpsFault> {
    if paths.is_empty() {
        return Ok(());
    }
    let rm = Command::new("rm").args(["-f", "--"]);
    host.must(&rm.args(paths.iter().copied()).sudo()).await?;
    Ok(())
}

async fn exists(host: &dyn Shell, path: &str) -> Result<bool, OpsFault> {
    let test = Command::new("test").args(["-e", path]).sudo();
    Ok(host.run(&test).await?.ok())
}

fn remote(path: &str) -> Result<RemotePath, OpsFault> {
    RemotePath::new(path).ok_or_else(|| OpsFault::internal(format!("{path} is no path")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Local;

    /// A script on this machine, in a home of its own.
    async fn here(home: &std::path::Path, script: &str, args: &[&str]) -> String {
        let command = Command::script("try", script)
            .args(args.iter().copied())
            .env("HOME", home.to_str().unwrap());
        let exit = Local::new("box").must(&command).await.unwrap();
        exit.stdout.text()
    }

    #[tokio::test]
    async fn a_key_is_let_in_once_and_shut_out_alone() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".ssh/authorized_keys");
        let line = "restrict ssh-ed25519 AAAA+new gantry-schedule-acme";
        let mark = "gantry-schedule-acme";
        let others = "ssh-ed25519 BBBB me@laptop\nssh-ed25519 CCCC gantry-schedule-acme-2\n";
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        let old = "restrict ssh-ed25519 AAAA+old gantry-schedule-acme\n";
        std::fs::write(&file, format!("{others}{old}")).unwrap();
        assert_eq!(here(home.path(), LET_IN, &[line, mark]).await, "let in\n");
        assert_eq!(here(home.path(), LET_IN, &[line, mark]).await, "");
        let now = std::fs::read_to_string(&file).unwrap();
        assert_eq!(now, format!("{others}{line}\n"));
        assert_eq!(here(home.path(), SHUT_OUT, &[mark]).await, "shut out\n");
        assert_eq!(here(home.path(), SHUT_OUT, &[mark]).await, "");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), others);
    }

    #[tokio::test]
    async fn a_program_that_is_another_one_is_not_put_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("source"), "hello").unwrap();
        let to = path("opt/gantry/acme/gantry");
        let good = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        here(dir.path(), COPY, &[&to, good, &path("source")]).await;
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "hello");
        std::fs::write(path("source"), "other").unwrap();
        let command = Command::script("try", COPY).args([&to, good, &path("source")]);
        assert!(!Local::new("box").run(&command).await.unwrap().ok());
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "hello");
    }
}
