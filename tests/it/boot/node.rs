//! A node in a folder: the real fetcher and boot program, with everything they call written down.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gantry::blueprint::{Role, config_prefix};
use gantry::boot::{
    Birth, Bundle, FileEntry, Manifest, PackageEntry, Report, SecretEntry, boot_key, boot_program,
    bundle_key, pointer_key, report_key, report_name, sha256, user_data,
};

use crate::support::cloud::{Cloud, SECRET_KEY, SESSION, script};

/// Where systemd looks for commands.
const REAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Commands whose calls are written down: those that are stood in for (see `tests/support/boot/fake`), and those that
/// have to do with secrets. None that starts others, or these would be the system's own.
const WATCHED: [&str; 25] = [
    "apt-get",
    "apt-mark",
    "awk",
    "chown",
    "cp",
    "curl",
    "dpkg",
    "dpkg-query",
    "getent",
    "gitlab-ctl",
    "grep",
    "groupadd",
    "hostnamectl",
    "mkfs.ext4",
    "mkfs.xfs",
    "mount",
    "mv",
    "python3",
    "sed",
    "sha256sum",
    "ssh-keygen",
    "stat",
    "systemctl",
    "tee",
    "useradd",
];

/// In every secret of these tests; nobody but the node's own files may ever hold it.
pub const CANARY: &str = "canary-5d0c-";

pub const BUCKET: &str = "gantry-acme-config-123456789012-eu-west-1";
pub const VERSION: &str = "19.5.3-ee.0";

pub struct Node {
    pub cloud: Cloud,
    pub birth: Birth,
    /// What belongs to the test: argv, effects, what should go wrong.
    test: tempfile::TempDir,
    root: tempfile::TempDir,
    loops: Vec<String>,
}

/// One run.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    /// What the journal gets.
    pub said: String,
}

impl Node {
    /// A machine as the image brings it, with its user data written, and the boot program in the bucket.
    pub fn new(role: Role, node: &str) -> Self {
        let birth = Birth {
            site: "acme".into(),
            node: node.into(),
            role,
            region: "eu-west-1".into(),
            bucket: BUCKET.into(),
        };
        let node = Self {
            cloud: Cloud::of(BUCKET, &config_prefix(role)),
            birth,
            test: tempfile::tempdir().unwrap(),
            root: tempfile::tempdir().unwrap(),
            loops: vec![],
        };
        node.write("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n");
        node.write("etc/group", "root:x:0:\n");
        node.write("etc/hostname", "ip-10-20-1-5\n");
        node.write("etc/fstab", "LABEL=cloudimg-rootfs / ext4 discard 0 1\n");
        node.write("etc/os-release", "ID=ubuntu\nVERSION_CODENAME=noble\n");
        node.write(
            "etc/ssh/ssh_host_ed25519_key.pub",
            "ssh-ed25519 AAAAC3 root@ip\n",
        );
        fs::create_dir_all(node.path("dev/disk/by-id")).unwrap();
        let endpoints = [
            ("IMDS", node.cloud.url("imds")),
            ("S3", node.cloud.url("s3")),
            ("SECRETS", node.cloud.url("secrets")),
            ("EC2", node.cloud.url("ec2")),
            ("RDS_CA", node.cloud.url("download/rds")),
            ("PACKAGES", node.cloud.url("download/packages")),
            (
                "KEY_FINGERPRINT",
                "E095046B3A2CC4D58F22FB1ECE942A2CC87B797E".into(),
            ),
            ("PAUSE", "0".into()),
            ("TRIES", "2".into()),
        ];
        let lines: Vec<String> = endpoints
            .iter()
            .map(|(name, value)| format!("GANTRY_{name}={value}\n"))
            .collect();
        node.write("etc/gantry/endpoints", lines.concat());
        for (path, content) in written(&user_data(&node.birth)) {
            node.write(path.trim_start_matches('/'), content);
        }

        let bin = node.test.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        for name in WATCHED {
            symlink(script("boot/fake"), bin.join(name)).unwrap();
        }
        fs::create_dir_all(node.test.path().join("packages")).unwrap();
        fs::write(node.test.path().join("canary"), CANARY).unwrap();
        let key = fs::read(script("boot/keys/packages.asc")).unwrap();
        node.cloud.serve("packages/gpgkey/gpg.key", key);
        let authority = fs::read(script("boot/keys/authority.pem")).unwrap();
        node.cloud
            .serve("rds/eu-west-1/eu-west-1-bundle.pem", authority);
        let (program, hash) = boot_program();
        node.cloud.put(&boot_key(role, hash), program);
        node
    }

    /// A path below the node's root.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// `0600 0:0`
    pub fn mode(&self, path: &str) -> String {
        let metadata = fs::metadata(self.path(path)).unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        format!("{mode:04o} {}:{}", metadata.uid(), metadata.gid())
    }

    /// A manifest of this node with GitLab in it, one required secret, and what every node waits for.
    pub fn manifest(&self) -> Manifest {
        let secret = |name: &str, required| {
            let entry = format!("gantry/acme/{name}");
            SecretEntry {
                name: name.into(),
                entry,
                required,
            }
        };
        for name in [
            "database-password",
            "gitlab-secrets",
            "ssh-host-keys",
            "license",
        ] {
            let entry = format!("gantry/acme/{name}");
            if self.cloud.kept(&entry).is_none() {
                self.cloud.keep(&entry, None);
            }
        }
        let mut secrets = vec![
            secret("database-password", true),
            secret("gitlab-secrets", true),
        ];
        if self.birth.role != Role::Gitaly {
            secrets.push(secret("ssh-host-keys", true));
        }
        secrets.push(secret("license", false));
        Manifest {
            package: Some(PackageEntry {
                name: "gitlab-ee".into(),
                version: VERSION.into(),
                source: "official".into(),
            }),
            secrets,
            rds_ca: true,
            ..Manifest::new(&self.birth.node, self.birth.role)
        }
    }

    /// Packs these files (mode 0600, root's) with the manifest and points the node at the bundle.
    pub fn publish(&self, mut manifest: Manifest, files: &[(&str, &str)]) -> Bundle {
        manifest.files = files
            .iter()
            .map(|(path, content)| FileEntry::of(*path, "0600", "root:root", content))
            .collect();
        let contents = files
            .iter()
            .map(|(path, content)| ((*path).to_owned(), content.as_bytes().to_vec()))
            .collect();
        let bundle = Bundle::pack(&manifest, &contents).unwrap();
        self.cloud
            .put(&bundle_key(self.birth.role, &bundle.sha256), &bundle.bytes);
        self.point(bundle.pointer().text());
        bundle
    }

    pub fn point(&self, pointer: impl AsRef<[u8]>) {
        self.cloud
            .put(&pointer_key(self.birth.role, &self.birth.node), pointer);
    }

    /// Gives the values that other nodes and gantry would have put there.
    pub fn fill_secrets(&self) {
        let value = |what: &str| format!("{CANARY}{what}-\"quoted\"\\and more");
        self.cloud
            .keep("gantry/acme/database-password", Some(&value("database")));
        let rails = serde_json::json!({"gitlab_rails": {"db_key_base": value("base")}});
        self.cloud
            .keep("gantry/acme/gitlab-secrets", Some(&rails.to_string()));
        let keys = serde_json::json!({
            "ssh_host_ed25519_key": format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}private\n"),
            "ssh_host_ed25519_key.pub": "ssh-ed25519 AAAA acme\n",
        });
        self.cloud
            .keep("gantry/acme/ssh-host-keys", Some(&keys.to_string()));
    }

    /// Everything there: secrets with values and a bundle.
    pub fn ready(role: Role, node: &str) -> Self {
        let node = Self::new(role, node);
        node.fill_secrets();
        node.publish(node.manifest(), &FILES);
        node
    }

    /// What should go wrong from now on, and what it says.
    pub fn break_it(&self, what: &str, words: &str) {
        let folder = self.test.path().join("wrong");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(what), words).unwrap();
    }

    pub fn mend(&self, what: &str) {
        fs::remove_file(self.test.path().join("wrong").join(what)).unwrap();
    }

    /// The package is there in this state: `installed 19.5.2-ee.0`.
    pub fn package(&self, name: &str, state: &str) {
        fs::write(self.test.path().join("packages").join(name), state).unwrap();
    }

    pub fn package_state(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.test.path().join("packages").join(name)).ok()
    }

    /// From now on, reconfigure makes one secret more, as after an upgrade.
    pub fn new_secret(&self, name: &str) {
        fs::write(self.test.path().join("new-secret"), name).unwrap();
    }

    /// Runs what the unit runs, and looks for secrets where none may be.
    pub fn boot(&self) -> Run {
        let output = self.command().output().unwrap();
        let run = Run::of(&output);
        self.nothing_leaked(&run);
        run
    }

    /// Runs what the unit runs; it must end well.
    pub fn boots(&self) -> Run {
        let run = self.boot();
        assert_eq!(run.code, Some(0), "{}", run.said);
        run
    }

    fn command(&self) -> Command {
        let mut command = Command::new("/bin/bash");
        command
            .arg(self.path("usr/local/lib/gantry/fetch"))
            .env_clear()
            .env(
                "PATH",
                format!("{}:{REAL_PATH}", self.test.path().join("bin").display()),
            )
            .env("GANTRY_ROOT", self.root.path())
            .env("GANTRY_TEST", self.test.path())
            .env("GANTRY_REAL_PATH", REAL_PATH)
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Neither in the list of processes, nor in the journal, nor in what is reported.
    fn nothing_leaked(&self, run: &Run) {
        let mut places = vec![("the journal".to_owned(), run.said.clone())];
        places.push(("the list of processes".into(), self.noted("argv")));
        for key in self.cloud.keys() {
            if key.contains("/reports/") {
                let text = String::from_utf8(self.cloud.object(&key).unwrap()).unwrap();
                places.push((key, text));
            }
        }
        places.push((
            "the tag".into(),
            self.cloud.tag("gantry:boot").unwrap_or_default(),
        ));
        for (place, text) in places {
            for secret in [CANARY, SECRET_KEY, SESSION, "PRIVATE KEY"] {
                assert!(!text.contains(secret), "{secret} is in {place}:\n{text}");
            }
        }
    }

    /// What the stand-ins wrote down under a name.
    pub fn noted(&self, name: &str) -> String {
        fs::read_to_string(self.test.path().join(name)).unwrap_or_default()
    }

    /// What was changed on the system since the last call of this: a command a line.
    pub fn effects(&self) -> Vec<String> {
        let root = self.root.path().to_string_lossy().into_owned();
        let noted = self.noted("effects").replace(&root, "");
        let _ = fs::remove_file(self.test.path().join("effects"));
        noted.lines().map(str::to_owned).collect()
    }

    /// How reconfigure was run: `birth flag reconfigured`, `reconfigured`.
    pub fn reconfigured(&self) -> Vec<String> {
        self.noted("reconfigured")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    pub fn report(&self) -> Report {
        let name = report_name(self.birth.role, &self.birth.node, "i-0123456789abcdef0");
        let text = self
            .cloud
            .object(&report_key(self.birth.role, &name))
            .expect("a report");
        Report::parse(&text).unwrap()
    }

    /// Every file of the node with mode, owner, time of change and content; without what is in memory, the logs and
    /// the report.
    pub fn tree(&self) -> BTreeMap<String, String> {
        let mut tree = BTreeMap::new();
        let mut folders = vec![self.root.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path
                    .strip_prefix(self.root.path())
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                if ["run", "var/lib/gantry/log", "var/lib/gantry/report.json"]
                    .contains(&name.as_str())
                {
                    continue;
                }
                let metadata = fs::symlink_metadata(&path).unwrap();
                let mut line = format!(
                    "{:o} {}:{}",
                    metadata.mode(),
                    metadata.uid(),
                    metadata.gid()
                );
                if metadata.is_dir() {
                    folders.push(path);
                } else if metadata.is_file() {
                    let changed = (metadata.mtime(), metadata.mtime_nsec());
                    line += &format!(" {changed:?} {}", sha256(fs::read(&path).unwrap()));
                }
                tree.insert(name, line);
            }
        }
        tree
    }

    /// Attaches a volume of 320 MiB (the least that XFS takes is 300), as EC2 and udev would show it.
    pub fn attach(&mut self, id: &str) -> PathBuf {
        let file = self.test.path().join(id);
        fs::File::create(&file).unwrap().set_len(320 << 20).unwrap();
        let output = real("losetup")
            .args(["--find", "--show"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "loop devices are needed, so run these tests as root where losetup works: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let serial = id.replace('-', "");
        let name = format!("dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{serial}");
        symlink(&device, self.path(&name)).unwrap();
        self.loops.push(device.clone());
        device.into()
    }

    /// The machine goes down: what is mounted is not any more, and what is in memory is gone.
    pub fn reboot(&self) {
        self.unmount();
        let _ = fs::remove_dir_all(self.path("run"));
    }

    fn unmount(&self) {
        let root = self.root.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
            if mount.starts_with(&root) {
                let _ = real("umount").arg(mount).status();
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.unmount();
        for device in &self.loops {
            let _ = real("losetup").args(["--detach", device]).status();
        }
    }
}

impl Run {
    fn of(output: &Output) -> Self {
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        Self {
            code: output.status.code(),
            said: String::from_utf8(said).unwrap(),
        }
    }
}

/// A command of the system.
pub fn real(name: &str) -> Command {
    let mut command = Command::new("/usr/bin/env");
    command.arg(name).env("PATH", REAL_PATH).env("LC_ALL", "C");
    command
}

/// The files of most bundles here.
pub const FILES: [(&str, &str); 2] = [
    (
        "/etc/gitlab/gitlab.rb",
        "external_url 'https://gitlab.acme.example'\n",
    ),
    ("/etc/gitlab/skip-auto-reconfigure", ""),
];

/// The files that user data writes, as cloud-init reads them.
pub fn written(user_data: &str) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("user-data");
    fs::write(&file, user_data).unwrap();
    let output = real("python3")
        .arg("-c")
        .arg(
            "import json, sys, yaml; found = yaml.safe_load(open(sys.argv[1])); \
             print(json.dumps([[f['path'], f['content']] for f in found['write_files']]))",
        )
        .arg(Path::new(&file))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "install python3-yaml (cloud-init brings it): {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
