//! Played nodes: no machine boots in the sandbox, so these answer in their place.
//!
//! They know exactly the commands of `ops::gitlab` and refuse everything else as a shell would, with exit code 127.
//! Behind them is a small GitLab: a database and repositories, kept in the site's volumes and databases in the cloud,
//! so that snapshots hold them; its tools write real archives and objects to the site's buckets, and read them back.

mod backup;
mod data;
mod disks;
mod memory;
mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

pub use self::data::{Database, Picture, Refs, Repositories, difference};
use self::data::{Disk, hashed, hex};
pub use self::disks::Disks;
use self::disks::Store;
use crate::blueprint::Role;
use crate::clock::Clock;
use crate::cloud::Aws;
use crate::node::{Fleet, Place};
use crate::ops::Played;
use crate::ops::gitlab::{Installed, secrets_mark_of};
use crate::site::Site;

/// The played nodes of one site. Clones are the same.
#[derive(Clone)]
pub struct Machines {
    inner: Arc<Inner>,
}

struct Inner {
    fleet: Fleet,
    aws: Aws,
    clock: Clock,
    disks: Disks,
    installed: Installed,
    file: Option<PathBuf>,
    /// Machines of the Rails group, by name.
    group: Vec<String>,
    state: Mutex<State>,
}

/// What is remembered of the machines between two commands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    format: u32,
    /// Whether the site was filled once.
    lived: bool,
    nodes: BTreeMap<String, Node>,
    /// Repositories with missing objects: no backup of them succeeds.
    broken: BTreeSet<String>,
    /// Repositories of a cluster of which Praefect reaches no copy.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    lost: BTreeSet<String>,
    /// Volumes that came in the place of others, by node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    mounted: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Node {
    /// Services that were stopped.
    down: BTreeSet<String>,
    units: BTreeMap<String, Ran>,
    /// Mounts that are frozen, and until when at most.
    frozen: BTreeMap<String, Timestamp>,
    /// Files that commands made, in base64.
    files: BTreeMap<String, String>,
    /// The mark of the secrets that the node's Rails runs with, as of the last reconfigure.
    mark: Option<String>,
    /// Bytes that are free on its disks, where somebody filled them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    free: Option<u64>,
}

/// A long command.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ran {
    ends: Timestamp,
    code: i32,
    output: String,
}

/// The package that a site file names.
pub fn installed(site: &Site) -> Installed {
    use crate::ops::point::Edition;
    use crate::site::Edition as Named;
    Installed {
        version: site.gitlab.version.to_string(),
        edition: match site.gitlab.edition {
            Named::Ee => Edition::Ee,
            Named::Ce => Edition::Ce,
        },
    }
}

/// A played node could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("the played nodes: {0}")]
pub struct PlayError(String);

impl Machines {
    /// The nodes of a site, as `file` remembers them; without a file, only as long as this value lives. `installed` is
    /// the package that the site file names.
    pub async fn open(
        fleet: Fleet,
        installed: Installed,
        aws: Aws,
        clock: Clock,
        disks: Disks,
        file: Option<PathBuf>,
    ) -> Result<Self, PlayError> {
        let state = match &file {
            Some(path) if path.exists() => {
                let text = std::fs::read(path).map_err(|e| PlayError(e.to_string()))?;
                serde_json::from_slice(&text)
                    .map_err(|e| PlayError(format!("{}: {e}", path.display())))?
            }
            _ => State {
                format: 1,
                ..State::default()
            },
        };
        let group = group(&aws, &fleet).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                fleet,
                aws,
                clock,
                disks,
                installed,
                file,
                group,
                state: Mutex::new(state),
            }),
        })
    }

    /// The way to every node.
    pub fn hosts(&self) -> Played {
        let mut hosts = Played::default();
        for (name, role) in self.names() {
            hosts = hosts.with(
                role,
                Arc::new(node::PlayedNode::new(self.clone(), &name, role)),
            );
        }
        hosts
    }

    fn names(&self) -> Vec<(String, Role)> {
        let fixed = self
            .inner
            .fleet
            .hosts
            .iter()
            .filter(|host| host.role != Role::Rails);
        let fixed = fixed.map(|host| (host.name.clone(), host.role));
        let group = self
            .inner
            .group
            .iter()
            .map(|name| (name.clone(), Role::Rails));
        fixed.chain(group).collect()
    }

    /// What a site has when nobody has used it yet: a few projects. Does nothing from the second time on.
    pub async fn first_life(&self) -> Result<(), PlayError> {
        if self.inner.state.lock().await.lived {
            return Ok(());
        }
        self.seed(3).await
    }

    /// A first life: so many projects with a repository each, some users, and secrets if there are none yet.
    pub async fn seed(&self, projects: usize) -> Result<(), PlayError> {
        let mut state = self.inner.state.lock().await;
        let mark = match self.inner.mark().await.map_err(PlayError)? {
            Some(mark) => mark,
            None => self.inner.bear_secrets("first").await.map_err(PlayError)?,
        };
        let mut picture = Picture {
            database: Database {
                users: 7,
                mark,
                ..Database::default()
            },
            repositories: Repositories::new(),
        };
        for number in 1..=projects {
            add(&mut picture, number);
        }
        self.inner.put(&state, &picture).await.map_err(PlayError)?;
        state.lived = true;
        self.inner.save(&state)
    }

    /// Everything people would miss, as it is now.
    pub async fn picture(&self) -> Result<Picture, PlayError> {
        let state = self.inner.state.lock().await;
        self.inner.picture(&state).await.map_err(PlayError)
    }

    /// People work: changes what is there.
    pub async fn change(&self, work: impl FnOnce(&mut Picture)) -> Result<(), PlayError> {
        let state = self.inner.state.lock().await;
        let mut picture = self.inner.picture(&state).await.map_err(PlayError)?;
        work(&mut picture);
        self.inner.put(&state, &picture).await.map_err(PlayError)?;
        self.inner.save(&state)
    }

    /// Somebody pushes to a project's repository.
    pub async fn push(&self, project: &str, branch: &str, what: &str) -> Result<(), PlayError> {
        self.change(|picture| {
            let Some(path) = picture.database.projects.get(project) else {
                return;
            };
            let refs = picture.repositories.entry(path.clone()).or_default();
            refs.insert(format!("refs/heads/{branch}"), commit(what));
        })
        .await
    }

    /// Somebody makes a project.
    pub async fn add_project(&self) -> Result<(), PlayError> {
        self.change(|picture| {
            let number = picture.database.projects.len() + 1;
            add(picture, number);
        })
        .await
    }

    /// The secrets are changed, and the database with them; nodes know after a reconfigure.
    pub async fn rotate_secrets(&self, word: &str) -> Result<(), PlayError> {
        let mark = self.inner.bear_secrets(word).await.map_err(PlayError)?;
        self.change(|picture| picture.database.mark = mark).await
    }

    /// From now on no backup of this project's repository succeeds.
    pub async fn break_repository(&self, project: &str) -> Result<(), PlayError> {
        let mut state = self.inner.state.lock().await;
        let picture = self.inner.picture(&state).await.map_err(PlayError)?;
        if let Some(path) = picture.database.projects.get(project) {
            state.broken.insert(path.clone());
        }
        self.inner.save(&state)
    }

    /// From now on Praefect reaches no copy of this project's repository.
    pub async fn lose_repository(&self, project: &str) -> Result<(), PlayError> {
        let mut state = self.inner.state.lock().await;
        let picture = self.inner.picture(&state).await.map_err(PlayError)?;
        if let Some(path) = picture.database.projects.get(project) {
            state.lost.insert(path.clone());
        }
        self.inner.save(&state)
    }

    /// Somebody fills the disks of a node: so many bytes are left.
    pub async fn fill(&self, node: &str, left: u64) -> Result<(), PlayError> {
        let mut state = self.inner.state.lock().await;
        state.nodes.entry(node.to_owned()).or_default().free = Some(left);
        self.inner.save(&state)
    }
}

fn add(picture: &mut Picture, number: usize) {
    let path = hashed(number);
    let refs = [("refs/heads/main", "first"), ("refs/tags/v1", "tagged")];
    let refs = refs.map(|(name, what)| (name.to_owned(), commit(&format!("{what} {number}"))));
    picture.repositories.insert(path.clone(), refs.into());
    let project = format!("group/project-{number}");
    picture.database.projects.insert(project, path);
}

/// The name of an object with this in it.
fn commit(what: &str) -> String {
    let mut name = hex(what);
    name.truncate(40);
    name
}

/// Machines of the Rails group that run: `rails-i-…`.
async fn group(aws: &Aws, fleet: &Fleet) -> Result<Vec<String>, PlayError> {
    use aws_sdk_ec2::types::Filter;
    let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
    let mut pages = aws
        .ec2
        .describe_instances()
        .filters(filter("tag:gantry:site", fleet.site.as_ref()))
        .filters(filter("tag:gantry:role", "rails"))
        .filters(filter("instance-state-name", "running"))
        .into_paginator()
        .items()
        .send();
    let mut names = Vec::new();
    while let Some(reservation) = pages.next().await {
        let reservation = reservation.map_err(|e| PlayError(format!("{e:?}")))?;
        let ids = reservation
            .instances()
            .iter()
            .filter_map(|i| i.instance_id());
        names.extend(ids.map(|id| format!("rails-{id}")));
    }
    names.sort();
    Ok(names)
}

impl Inner {
    fn save(&self, state: &State) -> Result<(), PlayError> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let text = serde_json::to_vec(state).map_err(|e| PlayError(e.to_string()))?;
        let new = path.with_extension("json.new");
        let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path));
        written.map_err(|e| PlayError(format!("{}: {e}", path.display())))
    }

    fn region(&self) -> &str {
        self.fleet.region.as_ref()
    }

    /// The volumes that repositories are on; in a cluster each holds a full copy.
    fn volumes(&self, state: &State) -> Vec<Store> {
        let hosts = self.fleet.hosts.iter();
        let data = hosts.filter(|host| matches!(host.role, Role::Gitaly | Role::Box));
        data.filter_map(|host| match &host.volume.as_ref()?.id {
            Place::Known(id) => {
                let mounted = state.mounted.get(&host.name);
                Some(Store::Volume(mounted.unwrap_or(id).clone()))
            }
            // The journal does not know the one that a restore has just put in; the node has it mounted all the same.
            Place::AfterInstall(_) => {
                let mounted = state.mounted.get(&host.name);
                mounted.map(|id| Store::Volume(id.clone()))
            }
        })
        .collect()
    }

    /// A node mounts the volume that is plugged in where its own was.
    async fn mount(&self, state: &mut State, node: &str) -> Result<(), String> {
        use aws_sdk_ec2::types::Filter;
        let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
        let answer = self
            .aws
            .ec2
            .describe_volumes()
            .filters(filter("tag:gantry:site", self.fleet.site.as_ref()))
            .filters(filter("tag:gantry:address", &format!("ec2/volume:{node}")))
            .send()
            .await
            .map_err(|e| format!("{e:?}"))?;
        let id = answer.volumes().first().and_then(|v| v.volume_id());
        if let Some(id) = id {
            state.mounted.insert(node.to_owned(), id.to_owned());
        }
        Ok(())
    }

    /// The database that the nodes' files name; none on a box.
    fn database(&self) -> Option<Store> {
        match &self.fleet.database.as_ref()?.host {
            Place::Known(host) => {
                let id = host.split('.').next().unwrap_or_default();
                Some(Store::Database(id.to_owned()))
            }
            // The files of the nodes name it all the same: its name is made of the site's.
            Place::AfterInstall(_) => {
                Some(Store::Database(format!("gantry-{}-main", self.fleet.site)))
            }
        }
    }

    async fn read(&self, of: &Store) -> Result<String, String> {
        self.disks.read(&self.aws, self.region(), of).await
    }

    async fn disk(&self, state: &State) -> Result<Disk, String> {
        let first = self.volumes(state).into_iter().next();
        let first = first.ok_or("there is no data volume: install the site first")?;
        let text = self.read(&first).await?;
        if text.is_empty() {
            return Ok(Disk::default());
        }
        serde_json::from_str(&text).map_err(|e| e.to_string())
    }

    async fn picture(&self, state: &State) -> Result<Picture, String> {
        let disk = self.disk(state).await?;
        let database = match self.database() {
            None => disk.database.unwrap_or_default(),
            Some(of) => {
                let text = self.read(&of).await?;
                if text.is_empty() {
                    Database::default()
                } else {
                    serde_json::from_str(&text).map_err(|e| e.to_string())?
                }
            }
        };
        Ok(Picture {
            database,
            repositories: disk.repositories,
        })
    }

    async fn put(&self, state: &State, picture: &Picture) -> Result<(), String> {
        let now = self.clock.now();
        let mut all = Vec::new();
        let database = self.database();
        if let Some(of) = &database {
            all.push((of.clone(), json(&picture.database)));
        }
        let disk = Disk {
            database: database.is_none().then(|| picture.database.clone()),
            repositories: picture.repositories.clone(),
        };
        all.extend(self.volumes(state).into_iter().map(|of| (of, json(&disk))));
        for (of, text) in all {
            self.disks
                .write(&self.aws, self.region(), now, &of, text)
                .await?;
        }
        Ok(())
    }

    fn secrets_entry(&self) -> Result<&str, String> {
        let entry = self.fleet.secrets.get("gitlab-secrets");
        Ok(entry.ok_or("the site has no entry for gitlab-secrets.json")?)
    }

    /// The mark of the gitlab-secrets.json in Secrets Manager.
    async fn mark(&self) -> Result<Option<String>, String> {
        let entry = self.secrets_entry()?;
        match self
            .aws
            .secrets
            .get_secret_value()
            .secret_id(entry)
            .send()
            .await
        {
            Ok(answer) => Ok(answer.secret_string().and_then(secrets_mark_of)),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|e| e.is_resource_not_found_exception()) =>
            {
                Ok(None)
            }
            Err(error) => Err(format!("{error:?}")),
        }
    }

    /// A gitlab-secrets.json made of a word, as the deploy node's first reconfigure stores it.
    async fn bear_secrets(&self, word: &str) -> Result<String, String> {
        let key = hex(format!("{} {word}", self.fleet.site)).repeat(2);
        let text = serde_json::json!({"gitlab_rails": {"db_key_base": key}}).to_string();
        let call = self
            .aws
            .secrets
            .put_secret_value()
            .secret_id(self.secrets_entry()?);
        call.secret_string(&text)
            .send()
            .await
            .map_err(|e| format!("{e:?}"))?;
        secrets_mark_of(&text).ok_or_else(|| "no mark".into())
    }
}

/// JSON of plain data, which cannot fail.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
