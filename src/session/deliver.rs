//! Bringing the nodes their files: rendered, packed, put where each node looks for its own.
//!
//! Nothing here changes a running node. A bundle's name is its hash, so it is never overwritten; the pointer is
//! written last, so a node sees the old bundle or the new one and never half of it
//! (docs/design/0008-node-bundles.md). Run again, only what differs is sent.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::primitives::ByteStream;
use serde::Serialize;

use super::{Reading, Session, SessionError};
use crate::blueprint::Role;
use crate::boot::{
    Bundle, DatabaseEntry, FileEntry, Filesystem, Manifest, OwnedDatabase, PackageEntry, Pointer,
    SecretEntry, VolumeEntry, boot_key, boot_program, bundle_key, pointer_key,
};
use crate::cloud::Fault;
use crate::names::Names;
use crate::node::{Fleet, Host, NodeFiles, Place, admin_keys, render, secrets_of};
use crate::plan::Action;
use crate::resource::{Outputs, Readiness};
use crate::secret::Secret;

/// Secrets that nodes read from Secrets Manager and that are files of their own.
const OWN_FILES: [&str; 2] = ["gitlab-secrets", "ssh-host-keys"];

/// What GitLab wants of PostgreSQL beside `plpgsql`, which is always there: doc/install/requirements.md; `amcheck`
/// from 18.4.
pub const EXTENSIONS: [&str; 3] = ["pg_trgm", "btree_gist", "amcheck"];

/// The files of a node, and the bundle they travel in.
#[derive(Debug, Clone)]
pub struct Packed {
    pub files: NodeFiles,
    pub bundle: Bundle,
    /// The names of the secrets that the node reads when it boots.
    pub secrets: Vec<String>,
}

/// What became of one node's bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivered {
    /// `sidekiq-1`; `rails` for every machine of the group.
    pub node: String,
    pub role: Role,
    /// The bundle's SHA-256.
    pub bundle: String,
    pub files: usize,
    pub change: Change,
}

/// Whether a node will find something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The node is already pointed at this bundle.
    None,
    /// It was pointed at another, or at nothing.
    Pointed,
}

impl Session {
    /// The names of the site's things.
    pub fn names(&self) -> Result<Names, SessionError> {
        let account = self.identity.account.parse().map_err(|_| {
            SessionError::WrongPlace(format!(
                "AWS names the account {}, which is no account number",
                self.identity.account
            ))
        })?;
        Ok(Names::new(
            self.site.site.name.clone(),
            account,
            self.site.site.region.clone(),
        ))
    }

    /// The fleet as far as the journal and a reading know it. After an install, what the run changed is in the
    /// journal, and what it kept is in the reading.
    pub fn fleet(&self, reading: &Reading) -> Result<Fleet, SessionError> {
        let mut outputs = self.store.state().outputs();
        let kept = reading
            .plan
            .changes
            .iter()
            .filter(|change| change.action == Action::Keep);
        for change in kept {
            if let Some(found) = reading.survey.found.get(&change.address)
                && let Readiness::Ready(output) = &found.readiness
            {
                outputs.0.insert(change.address.clone(), output.clone());
            }
        }
        self.fleet_of(&outputs)
    }

    /// The fleet as the journal alone knows it.
    pub fn known_fleet(&self) -> Result<Fleet, SessionError> {
        self.fleet_of(&self.store.state().outputs())
    }

    fn fleet_of(&self, outputs: &Outputs) -> Result<Fleet, SessionError> {
        let names = self.names()?;
        Ok(Fleet::of(&self.site, &self.profile, &names, outputs))
    }

    /// Every node's files and bundle. Pure: nothing is sent.
    pub fn pack(&self, fleet: &Fleet) -> Result<Vec<Packed>, SessionError> {
        // The bastion has no GitLab. With a bundle it ends its boot and reports its host keys, without which nobody
        // gets past it.
        let bastion = fleet.of_role(Role::Bastion).map(|host| NodeFiles {
            node: host.name.clone(),
            role: host.role,
            files: admin_keys(&self.site),
        });
        render(fleet, &self.site, &self.profile)?
            .into_iter()
            .chain(bastion)
            .map(|files| {
                let host = fleet.host(&files.node).ok_or_else(|| {
                    Fault::internal(format!("{} is not in the fleet", files.node))
                })?;
                let manifest = self.manifest(fleet, host, &files);
                let contents = files
                    .files
                    .iter()
                    .map(|file| (file.path.clone(), file.content.clone().into_bytes()))
                    .collect();
                let bundle = Bundle::pack(&manifest, &contents)?;
                let secrets = manifest.secrets.into_iter().map(|s| s.name).collect();
                Ok(Packed {
                    files,
                    bundle,
                    secrets,
                })
            })
            .collect()
    }

    fn manifest(&self, fleet: &Fleet, host: &Host, files: &NodeFiles) -> Manifest {
        let gitlab = &self.site.gitlab;
        let mut secrets: Vec<SecretEntry> = secrets_of(fleet, &self.site, host)
            .into_iter()
            .map(|need| SecretEntry {
                name: need.name,
                entry: need.entry,
                required: need.required,
            })
            .collect();
        let own = OWN_FILES.iter().filter(|name| match host.role {
            Role::Rails | Role::Sidekiq | Role::Box => true,
            // Only who answers Git over SSH shows host keys.
            Role::Gitaly | Role::Praefect | Role::Monitoring => **name == "gitlab-secrets",
            Role::Bastion => false,
        });
        for name in own {
            if let Some(entry) = fleet.secrets.get(*name) {
                secrets.push(SecretEntry {
                    name: (*name).to_owned(),
                    entry: entry.clone(),
                    required: true,
                });
            }
        }
        let mut manifest = Manifest::new(&host.name, host.role);
        manifest.package = (host.role != Role::Bastion).then(|| PackageEntry {
            name: gitlab.edition.package().to_owned(),
            version: self.wanted_version(),
            source: gitlab.package_source.to_string(),
        });
        manifest.files = files
            .files
            .iter()
            .map(|file| FileEntry::of(&file.path, &file.mode, &file.owner, &file.content))
            .collect();
        manifest.secrets = secrets;
        manifest.volume = host.volume.as_ref().and_then(|volume| match &volume.id {
            Place::Known(id) => Some(VolumeEntry {
                id: id.clone(),
                mount: volume.mount.to_owned(),
                filesystem: Filesystem::Ext4,
            }),
            Place::AfterInstall(_) => None,
        });
        manifest.deploy = host.deploy;
        manifest.database = host.deploy.then(|| self.database(fleet)).flatten();
        // No file of the deploy node reads these; its boot program does, to make the users.
        for owned in manifest.database.iter().flat_map(|d| &d.beside) {
            if let Some(entry) = fleet.secrets.get(&owned.secret) {
                manifest.secrets.push(SecretEntry {
                    name: owned.secret.clone(),
                    entry: entry.clone(),
                    required: true,
                });
            }
        }
        manifest.rds_ca = fleet.database.is_some()
            && matches!(host.role, Role::Rails | Role::Sidekiq | Role::Praefect);
        manifest
    }

    /// What the deploy node prepares on RDS. Praefect's database needs nothing: it is the only one of its server,
    /// and RDS made it with its user.
    fn database(&self, fleet: &Fleet) -> Option<DatabaseEntry> {
        let at = fleet.database.as_ref()?;
        let registry = OwnedDatabase {
            name: "registry".to_owned(),
            user: "registry".to_owned(),
            secret: "registry-database-password".to_owned(),
        };
        Some(DatabaseEntry {
            host: at.host.to_string(),
            port: at.port,
            name: "gitlabhq_production".to_owned(),
            user: "gitlab".to_owned(),
            secret: "database-password".to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
            beside: Vec::from_iter(self.site.registry_database().then_some(registry)),
        })
    }

    /// Puts each bundle where its node looks for it, and points the node at it.
    pub async fn deliver(&self, packed: &[Packed]) -> Result<Vec<Delivered>, SessionError> {
        let bucket = self.names()?.bucket("config");
        let mut delivered = Vec::new();
        self.bring_programs(packed.iter().map(|p| p.files.role))
            .await?;
        for Packed { files, bundle, .. } in packed {
            let key = pointer_key(files.role, &files.node);
            let now = self.object(&bucket, &key).await?;
            let wanted = bundle.pointer();
            let same = now.is_some_and(|text| Pointer::parse(&text).ok().as_ref() == Some(&wanted));
            if !same {
                let content = bundle_key(files.role, &bundle.sha256);
                self.put_object(&bucket, &content, &bundle.bytes).await?;
                self.put_object(&bucket, &key, wanted.text().as_bytes())
                    .await?;
            }
            delivered.push(Delivered {
                node: files.node.clone(),
                role: files.role,
                bundle: bundle.sha256.clone(),
                files: files.files.len(),
                change: if same { Change::None } else { Change::Pointed },
            });
        }
        Ok(delivered)
    }

    /// Puts the boot program of this gantry where the machines of these roles look for it, unless it is there. User data
    /// names it by its hash, so it has to be there before a machine starts that is made from new user data.
    pub(super) async fn bring_programs(
        &self,
        roles: impl IntoIterator<Item = Role>,
    ) -> Result<(), SessionError> {
        let bucket = self.names()?.bucket("config");
        let (program, hash) = boot_program();
        for role in BTreeSet::from_iter(roles) {
            let key = boot_key(role, hash);
            let asked = self
                .cx
                .read("s3:GetObject", || {
                    let head = self.cx.aws().s3.head_object();
                    head.bucket(&bucket).key(&key).send()
                })
                .await;
            match asked {
                Ok(_) => {}
                Err(fault) if fault.is_gone() => {
                    self.put_object(&bucket, &key, program.as_bytes()).await?;
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(())
    }

    /// Gives the entries of Secrets Manager that the site file takes from elsewhere (`env:`, `file:`) their values.
    /// An entry that already has the value is left alone. Returns the names of those that were written.
    pub async fn fill_secrets(
        &self,
        values: &BTreeMap<String, Secret>,
    ) -> Result<Vec<String>, SessionError> {
        let names = self.names()?;
        let mut written = Vec::new();
        for (name, value) in values {
            let entry = names.secret(name);
            let asked = self
                .cx
                .read("secretsmanager:GetSecretValue", || {
                    let ask = self.cx.aws().secrets.get_secret_value();
                    ask.secret_id(&entry).send()
                })
                .await;
            let now = match asked {
                Ok(answer) => answer.secret_string.map(Secret::new),
                Err(fault) if fault.is_gone() => None,
                Err(fault) => return Err(fault.into()),
            };
            if now.is_some_and(|now| now.reveal() == value.reveal()) {
                continue;
            }
            self.cx
                .put("secretsmanager:PutSecretValue", || {
                    let put = self.cx.aws().secrets.put_secret_value();
                    put.secret_id(&entry).secret_string(value.reveal()).send()
                })
                .await?;
            written.push(name.clone());
        }
        Ok(written)
    }

    /// The content of an object; none where there is none.
    pub async fn object(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, SessionError> {
        let asked = self
            .cx
            .read("s3:GetObject", || {
                self.cx.aws().s3.get_object().bucket(bucket).key(key).send()
            })
            .await;
        match asked {
            Ok(answer) => {
                let content = answer.body.collect().await.map_err(|error| {
                    Fault::internal(format!("s3://{bucket}/{key} broke off: {error}"))
                })?;
                Ok(Some(content.to_vec()))
            }
            Err(fault) if fault.is_gone() => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    pub(super) async fn put_object(
        &self,
        bucket: &str,
        key: &str,
        content: &[u8],
    ) -> Result<(), SessionError> {
        self.cx
            .put("s3:PutObject", || {
                self.cx
                    .aws()
                    .s3
                    .put_object()
                    .bucket(bucket)
                    .key(key)
                    .body(ByteStream::from(content.to_vec()))
                    .send()
            })
            .await?;
        Ok(())
    }
}
