//! A node with what a GitLab package brings, in a folder of its own: a real PostgreSQL, real Git, and stand-ins for
//! the programs around them. Command lines run as they are sent to nodes; only the folders of the package, which are
//! absolute there, are looked for below the test's own.

mod cluster;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use gantry::ops::gitlab::{Job, Progress, Unit};
use gantry::shell::{Command, Exit, Hop, Local, Place, RemoteFile, RemotePath, Shell, ShellFault};

pub use self::cluster::Cluster;
use super::cloud::script;

/// Where a package and gantry keep what is theirs on a node.
const FOLDERS: [&str; 5] = [
    "/opt/gitlab",
    "/var/opt/gitlab",
    "/var/lib/gantry",
    "/etc/gantry",
    "/etc/gitlab",
];

/// GitLab's database and its user, as the package names them.
pub const DATABASE: &str = "gitlabhq_production";
pub const USER: &str = "gitlab";

/// The node. Dropping it stops its PostgreSQL and removes everything.
pub struct Package {
    pub cluster: Cluster,
    root: PathBuf,
    local: Local,
}

impl Package {
    pub fn new() -> Self {
        let cluster = Cluster::start();
        let root = cluster.folder().join("root");
        let bin = root.join("opt/gitlab/embedded/bin");
        fs::create_dir_all(&bin).unwrap();
        for data in ["backups", "git-data/repositories"] {
            fs::create_dir_all(root.join("var/opt/gitlab").join(data)).unwrap();
        }
        symlink(cluster.program("psql"), bin.join("psql")).unwrap();
        symlink(found("git"), bin.join("git")).unwrap();
        Self {
            cluster,
            root,
            local: Local::new("box"),
        }
    }

    /// A path on the node.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Where the repository of a project is, by its path on disk.
    pub fn repository(&self, disk_path: &str) -> PathBuf {
        self.path(&format!(
            "/var/opt/gitlab/git-data/repositories/{disk_path}.git"
        ))
    }

    /// What programs on the node find around them: its PostgreSQL as GitLab's own user, over the socket.
    fn surroundings(&self) -> BTreeMap<&'static str, String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let stand_ins = script("package");
        BTreeMap::from([
            (
                "PATH",
                format!(
                    "{}:{}:{path}:/usr/sbin:/sbin",
                    stand_ins.display(),
                    self.cluster.programs().display()
                ),
            ),
            ("LC_ALL", "C.UTF-8".into()),
            ("PACKAGE_ROOT", self.root.display().to_string()),
            ("PGHOST", self.cluster.socket().display().to_string()),
            ("PGPORT", self.cluster.port().to_string()),
            ("PGDATABASE", DATABASE.into()),
            ("PGUSER", USER.into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
        ])
    }

    /// Carries a long command out under a name, as gantry does, and forgets it.
    pub async fn carry_out(&self, name: &str, job: &Job) -> Progress {
        let unit = Unit::new(name);
        unit.begin(self, job).await.unwrap();
        let progress = loop {
            match unit.watch(self).await.unwrap() {
                Progress::Running { .. } => {}
                progress => break progress,
            }
        };
        unit.forget(self).await.unwrap();
        progress
    }

    /// What a long command wrote that has to work.
    pub async fn done(&self, name: &str, job: &Job) -> String {
        match self.carry_out(name, job).await {
            Progress::Done { output } => output,
            other => panic!("{other:#?}"),
        }
    }
}

impl Shell for Package {
    fn host(&self) -> &'static str {
        "box"
    }

    fn place(&self) -> Place {
        Place {
            host: "box".into(),
            address: String::new(),
            hop: Hop::Here,
        }
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Exit, ShellFault>> {
        Box::pin(async move {
            let mut line = Command::new("sh")
                .args(["-c".to_owned(), moved(&command.line(), &self.root)])
                .stdin(command.input().to_vec())
                .timeout(command.limit())
                .keep(64 << 20, 1 << 20);
            for (name, value) in self.surroundings() {
                line = line.env(name, value);
            }
            self.local.run(&line).await
        })
    }

    fn put<'a>(&'a self, file: &'a RemoteFile) -> BoxFuture<'a, Result<(), ShellFault>> {
        self.local.put(file)
    }

    fn get<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Vec<u8>, ShellFault>> {
        self.local.get(path)
    }
}

/// A command line with the package's folders below another root.
fn moved(line: &str, root: &Path) -> String {
    let mut moved = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('/') {
        let (before, path) = rest.split_at(at);
        moved += before;
        let begins = !moved.ends_with(|c: char| c.is_alphanumeric() || "/._-".contains(c));
        if begins && FOLDERS.iter().any(|folder| path.starts_with(folder)) {
            moved += &root.display().to_string();
        }
        moved.push('/');
        rest = &path[1..];
    }
    moved + rest
}

/// A program on the path of the tests.
fn found(program: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("these tests need {program}: apt-get install {program}"))
}

/// Runs a program that has to work; what it wrote.
pub fn must(command: &mut std::process::Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        let program = Path::new(command.get_program());
        panic!("{}: {error}", program.display())
    });
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn only_the_folders_of_the_package_are_moved() {
    let line = "/opt/gitlab/bin/psql '/var/opt/gitlab/x' --a=/etc/gantry/s /usr/opt/gitlab /tmp/etc/gitlab a/b";
    assert_eq!(
        moved(line, Path::new("/root")),
        "/root/opt/gitlab/bin/psql '/root/var/opt/gitlab/x' --a=/root/etc/gantry/s /usr/opt/gitlab /tmp/etc/gitlab a/b"
    );
}
