//! `gitlab-backup` of the played GitLab: real archives, real objects.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::data::{Database, Picture, Refs, Repositories, hex, listed, read_refs};
use super::node::Said;
use super::{Inner, State, json};
use crate::clock::Clock;
use crate::ops::gitlab::archive_path;
use crate::ops::point::Edition;

/// The one storage of played sites.
const STORAGE: &str = "default";

/// The options of a run, by name.
fn options<'a>(words: &'a [&'a str]) -> BTreeMap<&'a str, &'a str> {
    words
        .iter()
        .filter_map(|word| word.split_once('='))
        .collect()
}

/// Which parts are left out.
fn skipped(options: &BTreeMap<&str, &str>, part: &str) -> bool {
    let list = options.get("SKIP").copied().unwrap_or_default();
    list.split(',').any(|one| one == part)
}

pub(super) fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &str,
    bytes: &[u8],
) -> Result<(), String> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    tar.append_data(&mut header, path, bytes)
        .map_err(|e| e.to_string())
}

/// A step of a chain, as Gitaly's manifest has it: a bundle and the refs at that moment.
fn step(folder: &str, number: usize, previous: bool) -> String {
    let before = number - 1;
    let previous = if previous {
        format!("previous_ref_path = '{folder}/{before:03}.refs'\n")
    } else {
        String::new()
    };
    format!(
        "\n[[steps]]\nbundle_path = '{folder}/{number:03}.bundle'\nref_path = '{folder}/{number:03}.refs'\n{previous}\
         custom_hooks_path = '{folder}/{number:03}.custom_hooks.tar'\n"
    )
}

/// The paths that a manifest names, and the refs of its last step.
fn steps(manifest: &str) -> Vec<(String, String)> {
    let mut steps = Vec::new();
    let mut bundle = String::new();
    for line in manifest.lines() {
        let Some((name, value)) = line.split_once(" = ") else {
            continue;
        };
        let value = value.trim_matches('\'').to_owned();
        match name {
            "bundle_path" => bundle = value,
            "ref_path" => steps.push((std::mem::take(&mut bundle), value)),
            _ => {}
        }
    }
    steps
}

fn manifest_path(path: &str, id: &str) -> String {
    format!("manifests/{STORAGE}/{path}.git/{id}.toml")
}

fn bundle(refs: &Refs) -> Vec<u8> {
    format!("# v2 git bundle\n{}\n", listed(refs)).into_bytes()
}

impl Inner {
    pub(super) async fn object(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
        match self
            .aws
            .s3
            .get_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
        {
            Ok(answer) => {
                let bytes = answer.body.collect().await.map_err(|e| e.to_string())?;
                Ok(Some(bytes.to_vec()))
            }
            Err(error) if error.as_service_error().is_some_and(|e| e.is_no_such_key()) => Ok(None),
            Err(error) => Err(format!("s3://{bucket}/{key}: {error:?}")),
        }
    }

    async fn store(&self, bucket: &str, key: &str, bytes: Vec<u8>) -> Result<(), String> {
        let call = self
            .aws
            .s3
            .put_object()
            .bucket(bucket)
            .key(key)
            .body(bytes.into());
        call.send()
            .await
            .map_err(|e| format!("s3://{bucket}/{key}: {e:?}"))?;
        Ok(())
    }

    /// The version with its edition, as archives name it: `19.5.3-ee`.
    fn release(&self) -> String {
        let edition = match self.installed.edition {
            Edition::Ee => "ee",
            Edition::Ce => "ce",
        };
        format!("{}-{edition}", self.installed.version)
    }

    /// Why the archive that an increment adds to cannot be unpacked, if so.
    fn unpacks(&self, state: &State, node: &str, options: &BTreeMap<&str, &str>) -> Option<String> {
        let previous = options.get("PREVIOUS_BACKUP").copied().unwrap_or_default();
        let files = state.nodes.get(node).map(|node| &node.files);
        if !files.is_some_and(|files| files.contains_key(&archive_path(previous))) {
            return Some("No backups found in /var/opt/gitlab/backups".to_owned());
        }
        let release = self.release();
        (!previous.ends_with(&release))
            .then(|| format!("GitLab version mismatch: {previous} is not of {release}"))
    }

    /// `gitlab-backup create`
    pub(super) async fn create(
        &self,
        state: &mut State,
        node: &str,
        words: &[&str],
    ) -> Result<Said, String> {
        let options = options(words);
        let known = [
            "REPOSITORIES_SERVER_SIDE",
            "SKIP",
            "INCREMENTAL",
            "PREVIOUS_BACKUP",
            "DIRECTORY",
        ];
        if let Some(other) = options.keys().find(|name| !known.contains(*name)) {
            return Ok(Said::fail(1, format!("{other} is not played")));
        }
        let now = self.clock.now();
        let id = format!(
            "{}_{}_{}",
            now.as_second(),
            now.strftime("%Y_%m_%d"),
            self.release()
        );
        if matches!(self.clock, Clock::System) {
            // A backup takes longer than the second that it is named after, so that no two have the same name.
            let passed = u64::try_from(now.subsec_nanosecond()).unwrap_or_default();
            let rest = Duration::from_secs(1).saturating_sub(Duration::from_nanos(passed));
            self.clock.sleep(rest).await;
        }
        let Picture {
            database,
            repositories,
        } = self.picture(state).await?;
        let server_side = options.get("REPOSITORIES_SERVER_SIDE") == Some(&"true");
        let increment = options.get("INCREMENTAL") == Some(&"yes");
        if increment && let Some(why) = self.unpacks(state, node, &options) {
            return Ok(Said::fail(1, why));
        }
        let mut out = format!("{now} -- Dumping database ...\n");
        let mut tar = tar::Builder::new(Vec::new());
        let information = format!(
            "---\n:backup_id: {id}\n:gitlab_version: {}\n:skipped: {}\n:repositories_server_side: {server_side}\n:mark: {}\n",
            self.release(),
            options.get("SKIP").copied().unwrap_or_default(),
            database.mark,
        );
        append(&mut tar, "backup_information.yml", information.as_bytes())?;
        if !skipped(&options, "db") {
            append(&mut tar, "db/database.sql.gz", &packed(&json(&database))?)?;
        }
        if !skipped(&options, "repositories") {
            let paths = database.projects.values();
            let broken: Vec<&String> = paths
                .clone()
                .filter(|path| state.broken.contains(*path))
                .collect();
            if !broken.is_empty() {
                let mut why = format!("create: pipeline: {} failures encountered:\n", broken.len());
                for path in broken {
                    why += &format!(" - {path}.git: manager: write bundle: missing object\n");
                }
                return Ok(Said::fail(1, why));
            }
            out += &format!("{now} -- Dumping repositories ...\n");
            for path in paths {
                let Some(refs) = repositories.get(path) else {
                    continue;
                };
                if server_side {
                    self.save_server_side(path, &id, refs, increment).await?;
                } else {
                    let folder = format!("{path}/{id}");
                    let manifest = format!("object_format = 'sha1'\n{}", step(&folder, 1, false));
                    append(
                        &mut tar,
                        &format!("repositories/{}", manifest_path(path, &id)),
                        manifest.as_bytes(),
                    )?;
                    append(
                        &mut tar,
                        &format!("repositories/{folder}/001.bundle"),
                        &bundle(refs),
                    )?;
                    append(
                        &mut tar,
                        &format!("repositories/{folder}/001.refs"),
                        listed(refs).as_bytes(),
                    )?;
                }
            }
        }
        let archive = tar.into_inner().map_err(|e| e.to_string())?;
        let name = format!("{id}_gitlab_backup.tar");
        let key = match options.get("DIRECTORY") {
            Some(directory) => format!("{directory}/{name}"),
            None => name,
        };
        let files = &mut state.nodes.entry(node.to_owned()).or_default().files;
        files.insert(archive_path(&id), BASE64_STANDARD.encode(&archive));
        if !skipped(&options, "remote") {
            self.store(&self.fleet.buckets.backups, &key, archive)
                .await?;
        }
        out += &format!("{now} -- Backup {id} is done.\n");
        Ok(Said::out(out))
    }

    /// One repository, as Gitaly writes it to its own bucket: a whole one, or what was added to the latest.
    async fn save_server_side(
        &self,
        path: &str,
        id: &str,
        refs: &Refs,
        increment: bool,
    ) -> Result<(), String> {
        let bucket = &self.fleet.buckets.gitaly_backups;
        let latest = manifest_path(path, "+latest");
        let before = if increment {
            self.object(bucket, &latest).await?
        } else {
            None
        };
        let mut manifest = match &before {
            Some(text) => String::from_utf8_lossy(text).into_owned(),
            None => "object_format = 'sha1'\n".to_owned(),
        };
        let done = steps(&manifest);
        let last = match done.last() {
            Some((_, path)) => self.object(bucket, path).await?,
            None => None,
        };
        let now = listed(refs);
        if last.as_deref() != Some(now.as_bytes()) {
            let number = done.len() + 1;
            // The chain stays in the folder of its first backup.
            let folder = match done.first().and_then(|(bundle, _)| bundle.rsplit_once('/')) {
                Some((folder, _)) => folder.to_owned(),
                None => format!("{path}/{id}"),
            };
            for (end, bytes) in [
                ("bundle", bundle(refs)),
                ("refs", now.into_bytes()),
                ("custom_hooks.tar", Vec::new()),
            ] {
                self.store(bucket, &format!("{folder}/{number:03}.{end}"), bytes)
                    .await?;
            }
            manifest += &step(&folder, number, number > 1);
        }
        self.store(
            bucket,
            &manifest_path(path, id),
            manifest.clone().into_bytes(),
        )
        .await?;
        self.store(bucket, &latest, manifest.into_bytes()).await
    }

    /// `gitlab-backup restore`
    pub(super) async fn restore(
        &self,
        state: &mut State,
        node: &str,
        mark: Option<String>,
        words: &[&str],
    ) -> Result<Said, String> {
        let options = options(words);
        let id = options.get("BACKUP").copied().unwrap_or_default();
        let archive = state
            .nodes
            .get(node)
            .and_then(|node| node.files.get(&archive_path(id)));
        let Some(archive) = archive.and_then(|text| BASE64_STANDARD.decode(text).ok()) else {
            return Ok(Said::fail(
                1,
                format!("The backup file {} does not exist!", archive_path(id)),
            ));
        };
        let files = unpack(&archive)?;
        let text = |name: &str| {
            files
                .get(name)
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let information =
            text("backup_information.yml").ok_or("the archive has no backup_information.yml")?;
        let told = |name: &str| {
            let line = information
                .lines()
                .find_map(|line| line.strip_prefix(&format!(":{name}: ")));
            line.unwrap_or_default().trim().to_owned()
        };
        if told("gitlab_version") != self.release() {
            return Ok(Said::fail(
                1,
                format!(
                    "GitLab version mismatch:\n  Your current GitLab version ({}) differs from the GitLab version in the backup!",
                    self.release()
                ),
            ));
        }
        let mut picture = self.picture(state).await?;
        if !skipped(&options, "db") && !told("skipped").split(',').any(|part| part == "db") {
            let packed = files
                .get("db/database.sql.gz")
                .ok_or("the archive has no database")?;
            let mut text = String::new();
            GzDecoder::new(packed.as_slice())
                .read_to_string(&mut text)
                .map_err(|e| e.to_string())?;
            picture.database =
                serde_json::from_str::<Database>(&text).map_err(|e| e.to_string())?;
        }
        // Harder than GitLab, which finds out later: whoever forgets the secrets shall notice here.
        if mark.as_ref() != Some(&picture.database.mark) {
            return Ok(Said::fail(
                1,
                "the secrets of this node do not fit the database: OpenSSL::Cipher::CipherError",
            ));
        }
        let mut out = format!("{} -- Restoring ...\n", self.clock.now());
        if !skipped(&options, "repositories") {
            let server_side = told("repositories_server_side") == "true";
            let mut restored = Repositories::new();
            let mut failed = Vec::new();
            for path in picture.database.projects.values() {
                match self.bring_back(path, id, server_side, &files).await? {
                    Ok(refs) => {
                        restored.insert(path.clone(), refs);
                    }
                    Err(why) => failed.push(format!(" - {path}.git: manager: {why}\n")),
                }
            }
            if !failed.is_empty() {
                let count = failed.len();
                return Ok(Said::fail(
                    1,
                    format!(
                        "restore: pipeline: {count} failures encountered:\n{}",
                        failed.concat()
                    ),
                ));
            }
            picture.repositories = restored;
        }
        self.put(state, &picture).await?;
        out += &format!("{} -- Restore task is done.\n", self.clock.now());
        Ok(Said::out(out))
    }

    /// A file of a backup: of the archive, or of Gitaly's bucket.
    async fn find(
        &self,
        files: Option<&BTreeMap<String, Vec<u8>>>,
        name: &str,
    ) -> Result<Option<Vec<u8>>, String> {
        match files {
            Some(files) => Ok(files.get(&format!("repositories/{name}")).cloned()),
            None => self.object(&self.fleet.buckets.gitaly_backups, name).await,
        }
    }

    /// The refs of one repository, when everything its chain needs is there.
    async fn bring_back(
        &self,
        path: &str,
        id: &str,
        server_side: bool,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Result<Refs, String>, String> {
        let files = (!server_side).then_some(files);
        let name = manifest_path(path, id);
        let Some(manifest) = self.find(files, &name).await? else {
            return Ok(Err(format!("read manifest {name}: doesn't exist")));
        };
        let mut refs = Refs::new();
        for (bundle_path, ref_path) in steps(&String::from_utf8_lossy(&manifest)) {
            let pack = self.find(files, &bundle_path).await?;
            let text = self.find(files, &ref_path).await?;
            let (Some(pack), Some(text)) = (pack, text) else {
                return Ok(Err(format!("restore bundle {bundle_path}: doesn't exist")));
            };
            refs = read_refs(&String::from_utf8_lossy(&text));
            if pack != bundle(&refs) {
                return Ok(Err(format!(
                    "restore bundle {bundle_path}: index-pack failed"
                )));
            }
        }
        Ok(Ok(refs))
    }
}

fn packed(text: &str) -> Result<Vec<u8>, String> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let done = gzip.write_all(text.as_bytes()).and_then(|()| gzip.finish());
    done.map_err(|e| e.to_string())
}

/// What the look into an archive finds: each of its repositories, and whether bundle and refs fit.
pub(super) fn archived(archive: &[u8], id: &str) -> Result<Said, String> {
    let files = unpack(archive)?;
    let prefix = format!("repositories/manifests/{STORAGE}/");
    let mut out = String::new();
    let mut read = 0;
    for (name, manifest) in &files {
        let whose = name.strip_prefix(&prefix);
        let Some(path) = whose.and_then(|rest| rest.strip_suffix(&format!(".git/{id}.toml")))
        else {
            continue;
        };
        let file = |name: &str| files.get(&format!("repositories/{name}"));
        let refs = steps(&String::from_utf8_lossy(manifest)).pop();
        let refs = refs.and_then(|(pack, refs)| {
            let refs = read_refs(&String::from_utf8_lossy(file(&refs)?));
            (*file(&pack)? == bundle(&refs)).then_some(refs)
        });
        let found = match refs {
            Some(refs) => ("refs", hex(listed(&refs))),
            None => ("wrong", "git bundle: the pack is corrupt".to_owned()),
        };
        out += &format!(
            "{{\"repository\":\"{path}\",\"{}\":\"{}\"}}\n",
            found.0, found.1
        );
        read += 1;
    }
    Ok(Said::out(out + &format!("{{\"read\":{read}}}\n")))
}

fn unpack(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().map_err(|e| e.to_string())? {
        let mut entry = entry.map_err(|e| e.to_string())?;
        let path = entry
            .path()
            .map_err(|e| e.to_string())?
            .display()
            .to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|e| e.to_string())?;
        files.insert(path, content);
    }
    Ok(files)
}
