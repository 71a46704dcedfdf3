//! Real Git: repositories in the archive of a backup, brought back and compared, and every damaged one named.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use gantry::boot::sha256;
use gantry::ops::backup::everything;
use gantry::ops::gitlab::{archive, archive_path, archived, backup_id, refs, restored};
use gantry::ops::point::{PartName, Way};
use gantry::ops::restore;

use crate::postgres::{a_box, as_gitlab};
use crate::support::package::{DATABASE, Package, must};

/// Two branches that meet again, a tag of each kind, and a tag of a tag.
const MERGED: &str = "\
blob\nmark :1\ndata 6\nhello\n
commit refs/heads/main\nmark :2\ncommitter A <a@example.com> 1790000000 +0000\ndata 5\nfirst\nM 100644 :1 README\n
commit refs/heads/topic/one\nmark :3\ncommitter A <a@example.com> 1790000001 +0200\ndata 5\ntopic\nfrom :2\nM 100755 :1 run\n
commit refs/heads/main\nmark :4\ncommitter A <a@example.com> 1790000002 +0000\ndata 5\nother\nfrom :2\nM 120000 :1 link\n
commit refs/heads/main\nmark :5\ncommitter A <a@example.com> 1790000003 +0000\ndata 5\nmerge\nfrom :4\nmerge :3\n
reset refs/tags/light\nfrom :2\n
tag v1.0.0\nmark :6\nfrom :5\ntagger A <a@example.com> 1790000004 +0000\ndata 7\nrelease
tag v1.0.0-signed\nfrom :6\ntagger A <a@example.com> 1790000005 +0000\ndata 5\nagain
reset refs/merge-requests/1/head\nfrom :3\n
reset refs/keep-around/0123456789abcdef0123456789abcdef01234567\nfrom :4\n
done\n";

fn disk_path(project: u32) -> String {
    let hash = sha256(project.to_string());
    format!("@hashed/{}/{}/{hash}", &hash[..2], &hash[2..4])
}

fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .arg("--git-dir")
        .arg(repository)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    command
}

/// An empty repository of a project.
fn init(package: &Package, project: u32, format: &str) {
    let path = package.repository(&disk_path(project));
    std::fs::create_dir_all(&path).unwrap();
    let mut git = git(&path);
    git.args(["init", "--quiet", "--bare", "--initial-branch=main"]);
    must(git.arg(format!("--object-format={format}")));
}

/// A repository with this in it.
fn import(package: &Package, project: u32, stream: &str) {
    init(package, project, "sha1");
    let path = package.repository(&disk_path(project));
    let mut git = git(&path)
        .args(["fast-import", "--quiet", "--done"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = git.stdin.take().unwrap();
    input.write_all(stream.as_bytes()).unwrap();
    drop(input);
    assert!(git.wait().unwrap().success());
}

fn set_ref(package: &Package, project: u32, name: &[u8], to: &str) {
    let path = package.repository(&disk_path(project));
    must(
        git(&path)
            .arg("update-ref")
            .arg(OsStr::from_bytes(name))
            .arg(to),
    );
}

fn set_head(package: &Package, project: u32, branch: &str) {
    let path = package.repository(&disk_path(project));
    must(git(&path).args(["symbolic-ref", "HEAD", branch]));
}

/// A box whose database knows so many projects.
fn with_projects(count: u32) -> Package {
    let package = a_box();
    let table = format!(
        "CREATE TABLE projects (id bigserial PRIMARY KEY); INSERT INTO projects SELECT generate_series(1, {count})"
    );
    as_gitlab(&package.cluster, &table);
    package
}

/// Everything about repositories that people see: refs, HEAD, and that no object is missing.
fn picture(package: &Package, projects: u32) -> BTreeMap<u32, String> {
    let look = |project: u32| {
        let path = package.repository(&disk_path(project));
        if !path.exists() {
            return "none".to_owned();
        }
        must(git(&path).args(["fsck", "--full", "--strict", "--no-dangling"]));
        let refs = must(git(&path).args(["for-each-ref"]));
        let head = must(git(&path).args(["symbolic-ref", "HEAD"]));
        format!("{refs}HEAD {head}")
    };
    (1..=projects)
        .map(|project| (project, look(project)))
        .collect()
}

async fn save(package: &Package) -> String {
    let output = package.done("backup-1", &everything().job()).await;
    backup_id(&output).unwrap()
}

/// The kinds of repositories that there are, and a project that has none.
fn all_kinds() -> Package {
    let package = with_projects(9);
    import(&package, 1, MERGED);
    // Nobody looks at `main` there.
    import(&package, 2, MERGED);
    set_head(&package, 2, "refs/heads/topic/one");
    import(&package, 3, MERGED);
    for name in [
        "refs/heads/größe",
        "refs/tags/日本/v1",
        "refs/heads/it's",
        "refs/heads/a\"b$c",
    ] {
        set_ref(&package, 3, name.as_bytes(), "refs/heads/topic/one");
    }
    set_ref(&package, 3, b"refs/heads/latin-\xe9", "refs/heads/main");
    set_head(&package, 3, "refs/heads/größe");
    init(&package, 4, "sha1");
    set_head(&package, 4, "refs/heads/trunk");
    // Project 5 has no repository.
    import(&package, 6, MERGED);
    set_head(&package, 6, "refs/heads/never-pushed");
    // Many commits on one file: their pack is full of differences.
    let mut stream = String::new();
    for n in 1..=200 {
        let text: String = (0..200)
            .map(|line| format!("{}\n", line * n / 100))
            .collect();
        let who = format!("committer A <a@example.com> {} +0000", 1_790_000_000 + n);
        stream += &format!(
            "commit refs/heads/main\n{who}\ndata 1\nxM 100644 inline file\ndata {}\n{text}\n",
            text.len()
        );
    }
    import(&package, 7, &(stream + "done\n"));
    init(&package, 8, "sha256");
    let empty = must(git(&package.repository(&disk_path(8))).args([
        "hash-object",
        "-t",
        "tree",
        "-w",
        "/dev/null",
    ]));
    let commit = must(
        git(&package.repository(&disk_path(8)))
            .args(["-c", "user.name=A", "-c", "user.email=a@example.com"])
            .args(["commit-tree", "-m", "x", empty.trim()]),
    );
    set_ref(&package, 8, b"refs/heads/main", commit.trim());
    init(&package, 9, "sha1");
    let blob = must(git(&package.repository(&disk_path(9))).args([
        "hash-object",
        "-w",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ]));
    set_ref(&package, 9, b"refs/tags/of-a-file", blob.trim());
    package
}

#[tokio::test]
async fn every_repository_of_an_archive_comes_back_as_it_was() {
    let package = all_kinds();
    let (seen, living) = (
        picture(&package, 9),
        refs(&package, 50, "a-point").await.unwrap(),
    );
    assert_eq!(living.len(), 9);
    assert_eq!(living[&disk_path(5)], "none");
    assert_eq!(living[&disk_path(4)], sha256(""));
    assert_eq!(
        living[&disk_path(1)],
        living[&disk_path(2)],
        "HEAD is none of the refs"
    );
    let sample = refs(&package, 3, "a-point").await.unwrap();
    assert_eq!(sample.len(), 3);
    assert!(
        sample
            .iter()
            .all(|(name, refs)| living.get(name) == Some(refs))
    );

    let backup = save(&package).await;
    let found = archived(&package, &backup).await.unwrap();
    assert_eq!(
        (&found.wrong, &found.unlike),
        (&BTreeMap::new(), &BTreeMap::new())
    );
    let expected: BTreeMap<_, _> = living
        .clone()
        .into_iter()
        .filter(|(_, refs)| refs != "none")
        .collect();
    assert_eq!(
        found.refs, expected,
        "the digests of living and of archived repositories are alike"
    );
    assert_eq!(found.against(&living), BTreeMap::new());
    assert_eq!(picture(&package, 9), seen, "a look changes nothing");
    let beside = std::fs::read_dir(package.path("/var/opt/gitlab/backups")).unwrap();
    assert_eq!(beside.count(), 1, "a look leaves nothing behind");

    // A push that must not be there any more, a branch that must, a repository that is gone, one that is new.
    set_ref(&package, 1, b"refs/heads/later", "refs/heads/main");
    let first = package.repository(&disk_path(1));
    must(git(&first).args(["update-ref", "-d", "refs/heads/topic/one"]));
    std::fs::remove_dir_all(package.repository(&disk_path(7))).unwrap();
    import(&package, 5, MERGED);
    let harmed = refs(&package, 50, "a-point").await.unwrap();
    let differing: Vec<_> = harmed
        .iter()
        .filter(|(name, refs)| living[*name] != **refs)
        .collect();
    assert_eq!(differing.len(), 3, "{differing:?}");
    let against = archived(&package, &backup).await.unwrap().against(&harmed);
    assert_eq!(
        against[&disk_path(1)],
        "its refs are not those that it had while it was saved"
    );
    assert_eq!(against[&disk_path(5)], "it is not in the archive");
    assert_eq!(against.len(), 3, "{against:?}");

    let way = Way::Archive {
        bucket: "backups".into(),
        key: "archives/x".into(),
        backup: backup.clone(),
        sha256: archive(&package, &backup).await.unwrap().sha256,
        holds: vec![PartName::Repositories],
    };
    let output = package
        .done("restore-1", &restore::job(&way).unwrap())
        .await;
    assert!(restored(&output), "{output}");
    assert_eq!(picture(&package, 9), seen);
    assert_eq!(refs(&package, 50, "a-point").await.unwrap(), living);
}

/// A file in an archive: where its bytes begin there, and the bytes.
fn member(archive: &Path, end: &str) -> (usize, Vec<u8>) {
    let mut tar = tar::Archive::new(std::fs::File::open(archive).unwrap());
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().to_str().unwrap().ends_with(end) {
            let mut bytes = Vec::new();
            let at = usize::try_from(entry.raw_file_position()).unwrap();
            entry.read_to_end(&mut bytes).unwrap();
            return (at, bytes);
        }
    }
    panic!("there is no {end} in the archive")
}

#[tokio::test]
async fn one_flipped_byte_is_found_wherever_it_is_and_its_repository_is_named() {
    let package = with_projects(2);
    import(&package, 1, MERGED);
    import(&package, 2, MERGED);
    let backup = save(&package).await;
    let file = package.path(&archive_path(&backup));
    let whole = archive(&package, &backup).await.unwrap();
    let healthy = archived(&package, &backup).await.unwrap();
    let bytes = std::fs::read(&file).unwrap();

    let (at, bundle) = member(&file, &format!("{}.git/{backup}/001.bundle", disk_path(2)));
    let pack = bundle.windows(4).position(|four| four == b"PACK").unwrap();
    let end = bundle.len();
    let line = bundle.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut places = vec![
        ("signature", 0),
        ("version", 3),
        ("end of the signature", line - 1),
        ("object of the first ref", line),
        ("end of that object", line + 39),
        ("space", line + 40),
        ("name of the first ref", line + 50),
        ("blank line", pack - 1),
        ("pack", pack),
        ("version of the pack", pack + 7),
        ("number of objects", pack + 11),
        ("first object", pack + 12),
        ("checksum", end - 20),
        ("last byte", end - 1),
    ];
    places.extend(
        (pack + 13..end - 20)
            .step_by((end - pack) / 16)
            .map(|at| ("objects", at)),
    );
    let mut spots: Vec<_> = places
        .into_iter()
        .map(|(what, place)| (what, at + place))
        .collect();
    let (at, list) = member(&file, &format!("{}.git/{backup}/001.refs", disk_path(2)));
    for place in [0, 20, 41, list.len() - 50, list.len() - 2] {
        spots.push(("list of refs", at + place));
    }

    for (what, spot) in spots {
        let mut flipped = bytes.clone();
        flipped[spot] ^= 4;
        std::fs::write(&file, &flipped).unwrap();
        let found = archived(&package, &backup).await.unwrap();
        let named: Vec<_> = found.wrong.keys().chain(found.unlike.keys()).collect();
        assert_eq!(named, [&disk_path(2)], "{what} at {spot}: {found:?}");
        assert!(found.refs.contains_key(&disk_path(1)), "{what} at {spot}");
        let against = found.against(&healthy.refs);
        assert_eq!(against.len(), 1, "{what} at {spot}: {against:?}");
        let damaged = archive(&package, &backup).await.unwrap();
        assert_eq!(damaged.bytes, whole.bytes);
        assert_ne!(damaged.sha256, whole.sha256, "{what} at {spot}");
    }
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(archived(&package, &backup).await.unwrap(), healthy);
}

#[tokio::test]
async fn an_archive_that_names_nothing_or_ends_early_does_not_look_well() {
    let package = with_projects(2);
    import(&package, 1, MERGED);
    import(&package, 2, MERGED);
    let backup = save(&package).await;
    let file = package.path(&archive_path(&backup));
    let healthy = archived(&package, &backup).await.unwrap();
    let bytes = std::fs::read(&file).unwrap();

    // The manifest names a bundle that is not there, so the one that is there is nobody's.
    let (at, manifest) = member(&file, &format!("{}.git/{backup}.toml", disk_path(2)));
    let name = b"/001.bundle";
    let mut places = manifest.windows(name.len());
    let digit = places.position(|place| place == name).unwrap() + 3;
    let mut flipped = bytes.clone();
    flipped[at + digit] ^= 4;
    std::fs::write(&file, flipped).unwrap();
    let found = archived(&package, &backup).await.unwrap();
    assert_eq!(
        found.wrong[&disk_path(2)],
        "its bundle is not in the archive"
    );
    let orphan = format!("default/{}.git/{backup}", disk_path(2));
    assert_eq!(found.wrong[&orphan], "no manifest names its bundle");

    // Between two files, where a header is: whatever comes after it would be overlooked.
    let (at, _) = member(&file, &format!("{}.git/{backup}/001.bundle", disk_path(2)));
    let mut flipped = bytes.clone();
    flipped[at - 512 + 20] ^= 4;
    std::fs::write(&file, flipped).unwrap();
    let fault = archived(&package, &backup).await.unwrap_err();
    assert!(
        fault.to_string().contains("cannot be read to its end"),
        "{fault}"
    );
    // Cut off inside of a file, and right before one.
    std::fs::write(&file, &bytes).unwrap();
    let (first, _) = member(&file, &format!("{}.git/{backup}/001.refs", disk_path(1)));
    // A long name stands in two blocks before the header.
    for cut in [first - 1536, first - 512, first + 20, bytes.len() / 2] {
        std::fs::write(&file, &bytes[..cut]).unwrap();
        assert!(archived(&package, &backup).await.is_err(), "{cut}");
    }

    // Of another backup than it was asked for, there is nothing.
    std::fs::write(&file, bytes).unwrap();
    let other = "1790000000_2026_09_21_19.5.3-ee";
    std::fs::copy(&file, package.path(&archive_path(other))).unwrap();
    let found = archived(&package, other).await.unwrap();
    assert!(found.refs.is_empty(), "{found:?}");
    assert_eq!(
        found.against(&healthy.refs).len(),
        4,
        "two bundles without a manifest, two repositories without either"
    );
    assert_eq!(
        package
            .cluster
            .sql(DATABASE, "SELECT count(*) FROM projects"),
        "2\n"
    );
}
