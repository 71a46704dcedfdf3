//! The configuration that a point has sealed, as files on this machine, for a person to look into.
//!
//! A restore leaves it sealed, because nodes have their files from the site file. What was changed by hand, a
//! certificate, a host key or the site file itself is only in there. It is believed for the same reasons as in
//! `verify`: the manifest's signature, the checksum that the manifest names, and the seal. Names in it are whatever
//! was on a node's disk, so none of them may lead out of the folder that it is written to.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use zeroize::Zeroizing;

use super::OpsFault;
use super::point::seal::{self, SealContext};
use super::point::{FORMAT, Listed, Manifest, Outcome, PartName, Points, Sealed, Standing, Way};
use super::transfer::Place;

/// Nobody else has any business with private keys.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A file on its way out, wiped when dropped.
pub struct OpenedFile {
    /// Below the folder, and never out of it.
    path: PathBuf,
    content: Zeroizing<Vec<u8>>,
}

impl OpenedFile {
    pub fn name(&self) -> String {
        shown(&self.path)
    }

    pub fn bytes(&self) -> u64 {
        self.content.len() as u64
    }
}

/// What is in it is nobody's business.
impl fmt::Debug for OpenedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenedFile({}, {} bytes)", self.name(), self.bytes())
    }
}

/// What was sealed: `gantry.toml`, `bundles/<node>.tar.gz` as delivered, and `<node>/etc/…` of every node that has a
/// name of its own.
#[derive(Debug, Default)]
pub struct Opened {
    pub files: Vec<OpenedFile>,
    /// The names of links and the like, which are not written: they would lead somewhere on this machine.
    pub left_out: Vec<String>,
}

/// Opens the sealed configuration of a point; of one node alone, if one is named. Writes nothing.
pub async fn open(
    points: &Points,
    listed: &Listed,
    node: Option<&str>,
) -> Result<Opened, OpsFault> {
    let manifest = believed(listed)?;
    let name = PartName::Configuration;
    let sealed = sealed_part(manifest, &name)?;
    let place = Place::new(&sealed.bucket, &sealed.key);
    let holder = Points::new(points.cloud().clone(), &sealed.bucket, points.trusted());
    let Some(bytes) = holder.get(&sealed.key).await? else {
        return Err(changed(&place, "it is not there".into()));
    };
    let is = crate::boot::sha256(&bytes);
    if is != sealed.sha256 {
        let should = &sealed.sha256;
        return Err(changed(
            &place,
            format!("its SHA-256 is {is} and should be {should}"),
        ));
    }
    let context = SealContext::new(&manifest.site.name, manifest.id.clone(), name);
    let content = seal::open(points.cloud(), &sealed.kms, &context, &bytes).await?;
    unpack(&content, node)
}

/// The manifest of a point that can be believed, whole or not: one part of it is enough here.
fn believed(listed: &Listed) -> Result<&Manifest, OpsFault> {
    let what = format!("the recovery point {} is not opened", listed.id);
    let refused = |why: String| {
        let help = "`gantry backup list` shows the points there are";
        OpsFault::refused(&what, why, help)
    };
    let manifest = match &listed.standing {
        Standing::Signed(manifest) => manifest,
        Standing::Untrusted { why, .. } => {
            return Err(OpsFault::check(
                &what,
                format!("its manifest cannot be trusted: {why}"),
                "look who wrote it, and bring the former version back: the bucket keeps it; a point of an earlier life of the site opens with --trust KEY",
            ));
        }
        Standing::Unfinished => {
            return Err(refused("it has no manifest: it was never finished".into()));
        }
    };
    if let Some(dropping) = &listed.marks.dropping {
        let since = dropping.at.strftime("%F %T UTC");
        return Err(refused(format!(
            "its parts are being removed since {since} (run {})",
            dropping.run
        )));
    }
    if manifest.format != FORMAT {
        return Err(OpsFault::check(
            &what,
            format!("its manifest is of format {}", manifest.format),
            "use the gantry that wrote it, or a newer one",
        ));
    }
    Ok(manifest)
}

fn sealed_part<'a>(manifest: &'a Manifest, name: &PartName) -> Result<&'a Sealed, OpsFault> {
    let why = match manifest.part(name).map(|part| &part.outcome) {
        Some(Outcome::Saved(Way::Sealed(sealed))) => return Ok(sealed),
        Some(Outcome::Failed { why }) => format!("it was not saved: {why}"),
        Some(Outcome::Saved(_)) => "it is not sealed".to_owned(),
        None => "the point has none".to_owned(),
    };
    Err(OpsFault::refused(
        format!("the {name} of {} is not opened", manifest.id),
        why,
        "`gantry backup show` lists the parts of a point; those of `gantry backup create` have this one",
    ))
}

fn changed(place: &Place, why: String) -> OpsFault {
    OpsFault::check(
        place.to_string(),
        why,
        "the bucket keeps old versions: bring it back from there, or open another point",
    )
}

/// Not said why: what a reader of archives complains of may be a piece of what is in them.
fn strange() -> OpsFault {
    OpsFault::check(
        PartName::Configuration.to_string(),
        "what was sealed is not what gantry writes",
        "open it with the gantry that took the point, or a newer one",
    )
}

/// What a file of the archive is of.
#[derive(Clone, Copy)]
enum Held<'a> {
    /// The tar of a node's own files.
    Files(&'a str),
    /// What a node, or the Rails group, was pointed at.
    Bundle(&'a str),
    Site,
}

impl<'a> Held<'a> {
    fn of(path: &'a Path) -> Self {
        let name = path.to_str().unwrap_or_default();
        let between = |folder: &str, ending: &str| {
            let inner = name.strip_prefix(folder)?;
            inner.strip_suffix(ending)
        };
        if let Some(node) = between("nodes/", ".tar") {
            return Self::Files(node);
        }
        between("bundles/", ".tar.gz").map_or(Self::Site, Self::Bundle)
    }

    fn node(self) -> Option<&'a str> {
        match self {
            Self::Files(node) | Self::Bundle(node) => Some(node),
            Self::Site => None,
        }
    }
}

/// The files of the archive, those of each node in a folder of its name.
fn unpack(content: &[u8], node: Option<&str>) -> Result<Opened, OpsFault> {
    let mut opened = Opened::default();
    let mut nodes = BTreeSet::new();
    let mut archive = tar::Archive::new(GzDecoder::new(content));
    for entry in archive.entries().map_err(|_| strange())? {
        let mut entry = entry.map_err(|_| strange())?;
        let name = entry.path().map_err(|_| strange())?.into_owned();
        let held = Held::of(&name);
        if let Some(of) = held.node() {
            nodes.insert(of.to_owned());
        }
        if node.is_some() && held.node() != node {
            continue;
        }
        match held {
            Held::Files(of) => opened.take_all(Path::new(of), &mut entry)?,
            Held::Bundle(_) | Held::Site => opened.take(&name, &mut entry)?,
        }
    }
    if let Some(node) = node
        && !nodes.contains(node)
    {
        let there = nodes.into_iter().collect::<Vec<_>>().join(", ");
        return Err(OpsFault::refused(
            "nothing is opened",
            format!("the point has no configuration of a node `{node}`"),
            format!("it has those of {there}"),
        ));
    }
    if opened.files.is_empty() {
        return Err(strange());
    }
    Ok(opened)
}

impl Opened {
    /// Takes what is in an archive within the archive, to be written below `folder`.
    fn take_all(&mut self, folder: &Path, archive: impl Read) -> Result<(), OpsFault> {
        let mut archive = tar::Archive::new(archive);
        for entry in archive.entries().map_err(|_| strange())? {
            let mut entry = entry.map_err(|_| strange())?;
            let name = entry.path().map_err(|_| strange())?.into_owned();
            self.take(&folder.join(name), &mut entry)?;
        }
        Ok(())
    }

    /// Takes one entry of an archive, to be written as `name`.
    fn take<R: Read>(
        &mut self,
        name: &Path,
        entry: &mut tar::Entry<'_, R>,
    ) -> Result<(), OpsFault> {
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            return Ok(());
        }
        let path = inside(name)?;
        if kind.is_file() {
            let content = content_of(entry)?;
            // A name twice would be half written when the second meets the first.
            if self.files.iter().any(|file| file.path == path) {
                return Err(strange());
            }
            self.files.push(OpenedFile { path, content });
        } else {
            self.left_out.push(shown(&path));
        }
        Ok(())
    }
}

/// The name, if it leads to somewhere below the folder that it will be joined to.
fn inside(name: &Path) -> Result<PathBuf, OpsFault> {
    let mut path = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(OpsFault::check(
                    shown(name),
                    "the name leads out of the folder that it would be written to",
                    "nothing was written: look at the node for where such a name comes from",
                ));
            }
        }
    }
    if path.as_os_str().is_empty() {
        return Err(strange());
    }
    Ok(path)
}

/// All of an entry. Its length is known before, so that no half of it is left behind by memory that grows.
fn content_of<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Zeroizing<Vec<u8>>, OpsFault> {
    let length = usize::try_from(entry.size()).map_err(|_| strange())?;
    if length > seal::LARGEST {
        return Err(strange());
    }
    let mut content = Zeroizing::new(Vec::with_capacity(length));
    entry.read_to_end(&mut content).map_err(|_| strange())?;
    // An archive that was cut off ends without a word.
    if content.len() == length {
        Ok(content)
    } else {
        Err(strange())
    }
}

/// A name as it may be printed: on a terminal, some characters do more than they show.
fn shown(path: &Path) -> String {
    // Marks that turn the direction of what follows make one name look like another.
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let plain = |c: char| {
        if c.is_control() || turns(c) {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    path.to_string_lossy().chars().map(plain).collect()
}

/// What is where a folder is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    EmptyFolder,
}

/// Whether the folder may be written to; a refusal otherwise. Changes nothing.
pub fn free(folder: &Path) -> Result<(), OpsFault> {
    look(folder).map(|_| ())
}

fn look(folder: &Path) -> Result<There, OpsFault> {
    // A slash at the end would follow a link.
    let folder: PathBuf = folder.components().collect();
    let refused = |why: &str| {
        OpsFault::refused(
            format!("{} is not written to", folder.display()),
            why,
            "name a folder that is not there yet, or that is empty",
        )
    };
    let there = match fs::symlink_metadata(&folder) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        Err(error) => return Err(refused(&error.to_string())),
    };
    if !there.is_dir() {
        return Err(refused("it is no folder"));
    }
    let mut entries = fs::read_dir(&folder).map_err(|error| refused(&error.to_string()))?;
    if entries.next().is_some() {
        return Err(refused("something is in it already"));
    }
    Ok(There::EmptyFolder)
}

/// Writes the files into a folder that is not there yet or empty, and that only its owner may look into afterwards.
///
/// Every folder and every file is made new, and nothing new is made through a link, whoever put one there meanwhile.
pub fn write(folder: &Path, opened: &Opened) -> Result<(), OpsFault> {
    match look(folder)? {
        There::Nothing => make(folder)?,
        There::EmptyFolder => fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))
            .map_err(|error| unwritten(folder, &error))?,
    }
    let mut made = BTreeSet::new();
    for file in &opened.files {
        for above in above(&file.path) {
            if made.insert(above) {
                make(&folder.join(above))?;
            }
        }
        let path = folder.join(&file.path);
        put(&path, &file.content).map_err(|error| unwritten(&path, &error))?;
    }
    Ok(())
}

/// The folders that a name is in, the outermost first.
fn above(path: &Path) -> Vec<&Path> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
    folders.retain(|folder| !folder.as_os_str().is_empty());
    folders.reverse();
    folders
}

fn make(folder: &Path) -> Result<(), OpsFault> {
    let mut builder = DirBuilder::new();
    builder.mode(FOLDER_MODE);
    builder
        .create(folder)
        .map_err(|error| unwritten(folder, &error))
}

fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(FILE_MODE);
    options.open(path)?.write_all(content)
}

fn unwritten(path: &Path, error: &io::Error) -> OpsFault {
    OpsFault::refused(
        format!("{} cannot be written", shown(path)),
        error.to_string(),
        "remove what was written before it, and name a folder where you may make another, with room",
    )
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn tar_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            // As bytes: the builder itself refuses the names that these tests are about.
            let place = &mut header.as_gnu_mut().unwrap().name;
            place[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content.as_slice()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(content).unwrap();
        gzip.finish().unwrap()
    }

    fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        gzip(&tar_of(files))
    }

    fn names(opened: &Opened) -> Vec<String> {
        opened.files.iter().map(OpenedFile::name).collect()
    }

    fn configuration() -> Vec<u8> {
        let node = tar_of(&[
            ("etc/gitlab/gitlab.rb", b"external_url 'x'".to_vec()),
            ("etc/gitlab/ssl/a.key", b"hunter2".to_vec()),
        ]);
        archive(&[
            ("gantry.toml", b"[site]".to_vec()),
            ("bundles/rails.tar.gz", b"rails".to_vec()),
            ("bundles/gitaly-1.tar.gz", b"gitaly".to_vec()),
            ("nodes/gitaly-1.tar", node),
        ])
    }

    #[test]
    fn each_node_has_a_folder() {
        let opened = unpack(&configuration(), None).unwrap();
        assert_eq!(
            names(&opened),
            [
                "gantry.toml",
                "bundles/rails.tar.gz",
                "bundles/gitaly-1.tar.gz",
                "gitaly-1/etc/gitlab/gitlab.rb",
                "gitaly-1/etc/gitlab/ssl/a.key",
            ]
        );
        let one = unpack(&configuration(), Some("rails")).unwrap();
        assert_eq!(names(&one), ["bundles/rails.tar.gz"]);
        let nobody = unpack(&configuration(), Some("box")).unwrap_err();
        assert!(nobody.to_string().contains("`box`"), "{nobody}");
        assert!(nobody.help().contains("gitaly-1, rails"), "{nobody:?}");
    }

    #[test]
    fn no_name_leads_out() {
        for name in ["../x", "/etc/x", "a/../../x", "a/.."] {
            let inner = tar_of(&[(name, b"hunter2".to_vec())]);
            for content in [
                archive(&[(name, b"hunter2".to_vec())]),
                archive(&[("nodes/box.tar", inner)]),
            ] {
                let error = unpack(&content, None).unwrap_err();
                assert!(error.to_string().contains("leads out"), "{name}: {error}");
            }
        }
        // The name of a node is one, too.
        let inner = tar_of(&[("x", b"hunter2".to_vec())]);
        let error = unpack(&archive(&[("nodes/...tar", inner)]), None).unwrap_err();
        assert!(error.to_string().contains("leads out"), "{error}");
    }

    #[test]
    fn links_are_named_and_not_followed() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_path("etc/gitlab/ssl").unwrap();
        header.set_link_name("/etc/ssl").unwrap();
        header.set_size(0);
        header.set_cksum();
        tar.append(&header, io::empty()).unwrap();
        let inner = tar.into_inner().unwrap();
        let content = archive(&[("gantry.toml", vec![]), ("nodes/box.tar", inner)]);
        let opened = unpack(&content, None).unwrap();
        assert_eq!(names(&opened), ["gantry.toml"]);
        assert_eq!(opened.left_out, ["box/etc/gitlab/ssl"]);
    }

    #[test]
    fn what_is_no_archive_is_refused_and_not_shown() {
        let mut cut = tar_of(&[("gantry.toml", b"hunter2".repeat(200))]);
        cut.truncate(1_000);
        for content in [
            b"hunter2".to_vec(),
            gzip(&b"hunter2".repeat(200)),
            gzip(&cut),
            gzip(b""),
            archive(&[]),
            archive(&[("nodes/box.tar", b"hunter2".repeat(200))]),
        ] {
            let error = unpack(&content, None).unwrap_err();
            let said = format!("{error:?}");
            assert!(said.contains("not what gantry writes"), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        let opened = unpack(&configuration(), None).unwrap();
        assert!(!format!("{opened:?}").contains("hunter2"), "{opened:?}");
    }

    #[test]
    fn only_the_owner_may_look_into_what_is_written() {
        let place = tempfile::tempdir().unwrap();
        let opened = unpack(&configuration(), None).unwrap();
        let empty = place.path().join("empty");
        fs::create_dir(&empty).unwrap();
        fs::set_permissions(&empty, Permissions::from_mode(0o755)).unwrap();
        for folder in [place.path().join("new"), empty] {
            write(&folder, &opened).unwrap();
            let mode = |path: &Path| {
                let there = fs::symlink_metadata(path).unwrap();
                there.permissions().mode() & 0o777
            };
            assert_eq!(mode(&folder), FOLDER_MODE);
            assert_eq!(mode(&folder.join("gitaly-1/etc/gitlab")), FOLDER_MODE);
            for file in &opened.files {
                let path = folder.join(&file.path);
                assert_eq!(mode(&path), FILE_MODE);
                assert_eq!(fs::read(&path).unwrap(), *file.content);
            }
            let again = write(&folder, &opened).unwrap_err();
            assert!(again.to_string().contains("something is in it"), "{again}");
        }
    }

    #[test]
    fn nothing_goes_through_a_link_or_over_a_file() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("target");
        fs::create_dir(&target).unwrap();
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let file = place.path().join("file");
        fs::write(&file, "mine").unwrap();
        let opened = unpack(&configuration(), None).unwrap();
        for folder in [link.clone(), link.join(""), file.clone()] {
            assert!(free(&folder).is_err(), "{}", folder.display());
            let error = write(&folder, &opened).unwrap_err();
            assert!(error.to_string().contains("no folder"), "{error}");
        }
        assert!(fs::read_dir(&target).unwrap().next().is_none());
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        // One name twice is one too many, and is told before anything is written.
        let twice = archive(&[("a", vec![]), ("a", vec![])]);
        assert!(unpack(&twice, None).is_err());
    }
}
