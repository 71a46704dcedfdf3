//! One played node: what it answers to each command.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::future::BoxFuture;
use jiff::SignedDuration;

use super::data::{hex, listed};
use super::{Machines, Node, Ran, State};
use crate::blueprint::Role;
use crate::ops::gitlab::words;
use crate::ops::point::Edition;
use crate::shell::{
    Command, Content, Exit, Hop, Place, RemoteFile, RemotePath, Shell, ShellFault, Status,
};

/// How large a node's disks are, and what is free on them.
const DISK: u64 = 100 << 30;
const FREE: u64 = 80 << 30;

/// What a command answers.
pub(super) struct Said {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Said {
    pub(super) fn out(text: impl Into<Vec<u8>>) -> Self {
        Self {
            code: 0,
            out: text.into(),
            err: String::new(),
        }
    }

    pub(super) fn fail(code: i32, why: impl Into<String>) -> Self {
        Self {
            code,
            out: Vec::new(),
            err: why.into() + "\n",
        }
    }
}

/// A played way to one of the machines.
pub(super) struct PlayedNode {
    machines: Machines,
    name: String,
    role: Role,
}

/// The services of a role, as the package names them.
fn services(role: Role) -> &'static [&'static str] {
    match role {
        Role::Box => &[
            "gitaly",
            "gitlab-workhorse",
            "nginx",
            "postgresql",
            "puma",
            "redis",
            "sidekiq",
        ],
        Role::Rails => &["gitlab-workhorse", "nginx", "puma"],
        Role::Sidekiq => &["sidekiq"],
        Role::Gitaly => &["gitaly"],
        Role::Praefect => &["praefect"],
        Role::Monitoring => &["prometheus"],
        Role::Bastion => &[],
    }
}

impl PlayedNode {
    pub(super) fn new(machines: Machines, name: &str, role: Role) -> Self {
        Self {
            machines,
            name: name.to_owned(),
            role,
        }
    }

    fn has_rails(&self) -> bool {
        matches!(self.role, Role::Box | Role::Rails | Role::Sidekiq)
    }

    fn node<'a>(&self, state: &'a mut State) -> &'a mut Node {
        state.nodes.entry(self.name.clone()).or_default()
    }

    async fn answer(&self, command: &Command) -> Said {
        let mut state = self.machines.inner.state.lock().await;
        let input = command.input();
        let words: Vec<&str> = command.words().iter().map(String::as_str).collect();
        let said = self.carry_out(&mut state, &words, &input).await;
        let said = said.unwrap_or_else(|why| Said::fail(1, why));
        match self.machines.inner.save(&state) {
            Ok(()) => said,
            Err(error) => Said::fail(1, error.to_string()),
        }
    }

    async fn carry_out(
        &self,
        state: &mut State,
        words: &[&str],
        input: &[u8],
    ) -> Result<Said, String> {
        let (program, rest) = words.split_first().ok_or("no command")?;
        if *program == "sh" && rest.first() == Some(&"-c") && rest.len() >= 3 {
            return self.script(state, rest[1], &rest[3..], input).await;
        }
        match *program {
            "df" => {
                let node = state.nodes.get(&self.name);
                let free = node.and_then(|node| node.free).unwrap_or(FREE);
                Ok(Said::out(format!("1B-blocks Avail\n{DISK} {free}\n")))
            }
            "du" => {
                let size = state
                    .nodes
                    .get(&self.name)
                    .map_or(0, |n| n.files.values().map(String::len).sum::<usize>());
                let path = rest.last().unwrap_or(&"");
                Ok(Said::out(format!("{}\t{path}\n", size + 4096)))
            }
            "stat" | "sha256sum" | "rm" => {
                Ok(self.file(state, program, rest.last().unwrap_or(&"")))
            }
            _ if self.role == Role::Bastion => Ok(unknown(program)),
            "dpkg-query" => {
                let installed = &self.machines.inner.installed;
                let edition = match installed.edition {
                    Edition::Ee => "ee",
                    Edition::Ce => "ce",
                };
                Ok(Said::out(format!(
                    "hi  gitlab-{edition} {}-{edition}.0\n",
                    installed.version
                )))
            }
            "gitlab-ctl" => self.ctl(state, rest).await,
            // The boot program takes the secrets, mounts what is plugged in, and reconfigures.
            "systemctl" if rest == ["restart", "gantry-boot.service"] => {
                self.machines.inner.mount(state, &self.name).await?;
                self.ctl(state, &["start"]).await?;
                self.ctl(state, &["reconfigure"]).await
            }
            "/opt/gitlab/embedded/bin/ruby"
                if rest.get(1) == Some(&words::MARK) && self.has_rails() =>
            {
                match self.mark(state).await? {
                    Some(mark) => Ok(Said::out(format!("{mark}\n"))),
                    None => Ok(Said::fail(1, "secrets.yml: no such file")),
                }
            }
            "python3" if rest.get(1) == Some(&words::ARCHIVED) && self.has_rails() => {
                let path = rest.get(2).copied().unwrap_or_default();
                let text = self.node(state).files.get(path);
                let Some(archive) = text.and_then(|text| BASE64_STANDARD.decode(text).ok()) else {
                    return Ok(Said::fail(1, format!("FileNotFoundError: {path}")));
                };
                super::backup::archived(&archive, rest.get(3).unwrap_or(&""))
            }
            "gitlab-rails" if rest.first() == Some(&"runner") && self.has_rails() => {
                self.runner(
                    state,
                    rest.get(1).unwrap_or(&""),
                    rest.get(2..).unwrap_or(&[]),
                )
                .await
            }
            "gitlab-rake" if self.has_rails() => self.rake(state, rest).await,
            "curl"
                if self.has_rails()
                    && rest
                        .last()
                        .is_some_and(|url| url.ends_with("/-/readiness?all=1")) =>
            {
                let up = !self.node(state).down.contains("puma")
                    && services(self.role).contains(&"puma");
                Ok(if up {
                    Said::out("{\"status\":\"ok\",\"db_check\":[{\"status\":\"ok\"}]}\n200")
                } else {
                    Said::fail(7, "curl: (7) Failed to connect to 127.0.0.1 port 8080")
                })
            }
            "/opt/gitlab/embedded/bin/gitaly" if matches!(self.role, Role::Gitaly | Role::Box) => {
                Ok(Said::out("Checking GitLab API access: OK\n"))
            }
            "/opt/gitlab/embedded/bin/praefect" if self.role == Role::Praefect => {
                Ok(match rest.last() {
                    Some(&"dataloss") => Said::out(data_loss(&state.lost)),
                    Some(&("check" | "dial-nodes")) => Said::out("OK\n"),
                    _ => Said::fail(2, "praefect: unknown subcommand"),
                })
            }
            _ => Ok(unknown(program)),
        }
    }

    async fn script(
        &self,
        state: &mut State,
        script: &str,
        args: &[&str],
        input: &[u8],
    ) -> Result<Said, String> {
        let arg = |at: usize| args.get(at).copied().unwrap_or_default();
        let now = self.machines.inner.clock.now();
        match script {
            words::BEGIN => {
                let unit = arg(0).to_owned();
                if self.node(state).units.contains_key(&unit) {
                    return Ok(Said::out(""));
                }
                let (said, takes) = self.job(state, &args[1..], input).await;
                // A real clock is not kept waiting for a play.
                let takes = if matches!(self.machines.inner.clock, crate::clock::Clock::System) {
                    Duration::ZERO
                } else {
                    takes
                };
                let takes = SignedDuration::try_from(takes).unwrap_or_default();
                let output = String::from_utf8_lossy(&said.out).into_owned() + &said.err;
                let ends = now.checked_add(takes).unwrap_or(now);
                self.node(state).units.insert(
                    unit,
                    Ran {
                        ends,
                        code: said.code,
                        output,
                    },
                );
                Ok(Said::out(""))
            }
            words::WATCH => Ok(match self.node(state).units.get(arg(0)) {
                None => Said::out("absent\n"),
                Some(unit) if now < unit.ends => {
                    let first = unit.output.lines().next().unwrap_or_default();
                    Said::out(format!("running\n{first}\n"))
                }
                Some(unit) => Said::out(format!("exit {}\n{}", unit.code, unit.output)),
            }),
            words::FORGET => {
                let unit = self.node(state).units.get(arg(0));
                if unit.is_some_and(|unit| now < unit.ends) {
                    return Ok(Said::fail(1, "it still runs"));
                }
                self.node(state).units.remove(arg(0));
                Ok(Said::out(""))
            }
            words::FREEZE => {
                let mounted = matches!(self.role, Role::Box | Role::Gitaly)
                    && arg(0).starts_with("/var/opt/gitlab");
                if !mounted {
                    return Ok(Said::fail(
                        1,
                        format!(
                            "{} is not a file system of its own: freezing it would stop the whole machine",
                            arg(0)
                        ),
                    ));
                }
                let most = SignedDuration::from_secs(arg(1).parse().unwrap_or(1));
                let until = now.checked_add(most).unwrap_or(now);
                self.node(state).frozen.insert(arg(0).to_owned(), until);
                Ok(Said::out(""))
            }
            words::THAW => {
                let until = self.node(state).frozen.remove(arg(0));
                let still = until.is_some_and(|until| now < until);
                Ok(Said::out(if still {
                    "thawed now\n"
                } else {
                    "thawed before\n"
                }))
            }
            words::RUNNING => {
                let running = self
                    .node(state)
                    .units
                    .iter()
                    .find(|(_, unit)| now < unit.ends && unit.output.contains(" -- "));
                let line = running.map(|(name, _)| format!("process 4711: {name}\n"));
                Ok(Said::out(line.unwrap_or_default()))
            }
            words::FILES => self.configuration(),
            _ => Ok(Said::fail(127, "sh: this script is not known here")),
        }
    }

    /// A long command: what it says in the end, and how long it takes.
    async fn job(&self, state: &mut State, job: &[&str], input: &[u8]) -> (Said, Duration) {
        let rails = self.has_rails();
        let said = match job {
            ["gitlab-ctl", "reconfigure"] => self.ctl(state, &["reconfigure"]).await,
            ["gitlab-backup", "create", options @ ..] if rails => {
                self.machines.inner.create(state, &self.name, options).await
            }
            [
                "env",
                "GITLAB_ASSUME_YES=1",
                "gitlab-backup",
                "restore",
                options @ ..,
            ] if rails => {
                let workers = self.working(state);
                if workers.is_empty() {
                    let mark = self.mark(state).await;
                    match mark {
                        Ok(mark) => {
                            self.machines
                                .inner
                                .restore(state, &self.name, mark, options)
                                .await
                        }
                        Err(why) => Err(why),
                    }
                } else {
                    Err(format!(
                        "the database is used by others: {} still run",
                        workers.join(", ")
                    ))
                }
            }
            ["gitlab-rails", "runner", script] if rails => self.runner(state, script, &[]).await,
            ["sh", "-c", script, "sh", path, sum, _] if *script == words::BRING => {
                self.bring(state, path, sum, input).await
            }
            [program, ..] => Ok(unknown(program)),
            [] => Err("no command".into()),
        };
        let said = said.unwrap_or_else(|why| Said::fail(1, why));
        (said, Duration::from_secs(90))
    }

    /// Workers of the whole site that run: they would write while data is brought back.
    fn working(&self, state: &State) -> Vec<String> {
        let mut running = Vec::new();
        for (name, role) in self.machines.names() {
            for worker in crate::ops::gitlab::WORKERS {
                let down = state
                    .nodes
                    .get(&name)
                    .is_some_and(|node| node.down.contains(worker));
                if services(role).contains(&worker) && !down {
                    running.push(format!("{worker} on {name}"));
                }
            }
        }
        running
    }

    async fn mark(&self, state: &mut State) -> Result<Option<String>, String> {
        if self.node(state).mark.is_none() {
            let mark = self.machines.inner.mark().await?;
            self.node(state).mark = mark;
        }
        Ok(self.node(state).mark.clone())
    }

    async fn ctl(&self, state: &mut State, words: &[&str]) -> Result<Said, String> {
        let own = services(self.role);
        let which: Vec<&str> = match words {
            [_, one] if own.contains(one) => vec![*one],
            [_, one] => {
                return Ok(Said::fail(
                    1,
                    format!("fail: {one}: unable to change to service directory"),
                ));
            }
            _ => own.to_vec(),
        };
        let node = self.node(state);
        match words.first() {
            Some(&"status") => {
                let mut text = String::new();
                for name in own {
                    let down = node.down.contains(*name);
                    text += &if down {
                        format!("down: {name}: 7s, normally up; run: log: (pid 900) 99s\n")
                    } else {
                        format!("run: {name}: (pid 1000) 99s; run: log: (pid 900) 99s\n")
                    };
                }
                let code = if node.down.is_empty() { 0 } else { 6 };
                Ok(Said {
                    code,
                    ..Said::out(text)
                })
            }
            Some(&"stop") => {
                node.down
                    .extend(which.iter().map(|name| (*name).to_owned()));
                Ok(Said::out(""))
            }
            Some(&("start" | "restart")) => {
                node.down.retain(|name| !which.contains(&name.as_str()));
                Ok(Said::out(""))
            }
            Some(&"reconfigure") => {
                node.mark = None;
                if self.has_rails() {
                    self.mark(state).await?;
                }
                Ok(Said::out("gitlab Reconfigured!\n"))
            }
            _ => Ok(Said::fail(1, "gitlab-ctl: unknown command")),
        }
    }

    async fn runner(&self, state: &mut State, script: &str, args: &[&str]) -> Result<Said, String> {
        let inner = &self.machines.inner;
        let mut picture = inner.picture(state).await?;
        let database = &mut picture.database;
        let set = |name: &str| {
            let rest = script.strip_prefix(&format!("Gitlab::CurrentSettings.update!({name}: "))?;
            rest.strip_suffix(')')?.parse::<bool>().ok()
        };
        if let Some(on) = set("silent_mode_enabled") {
            database.silent = on;
        } else if let Some(on) = set("maintenance_mode") {
            database.maintenance = on;
        } else {
            return Ok(match script {
                words::EXTENSIONS => {
                    let all = ["amcheck", "btree_gist", "pg_trgm", "plpgsql"];
                    Said::out(all.map(|name| format!("main {name}\n")).concat())
                }
                words::ANALYZE => Said::out("main analyzed\n"),
                words::MIGRATIONS => Said::out("read\n"),
                words::REFS => {
                    let size = args.first().and_then(|n| n.parse().ok()).unwrap_or(0);
                    let seed = args.get(1).copied().unwrap_or_default();
                    let mut paths: Vec<&String> = database.projects.values().collect();
                    paths.sort_by_key(|path| hex(format!("{path}{seed}")));
                    paths.truncate(size);
                    let line = |path: &String| {
                        let refs = picture.repositories.get(path);
                        let refs = refs.map_or("none".to_owned(), |refs| hex(listed(refs)));
                        format!("{{\"repository\":\"{path}\",\"refs\":\"{refs}\"}}\n")
                    };
                    Said::out(paths.into_iter().map(line).collect::<String>())
                }
                _ => Said::fail(1, "this script is not known here"),
            });
        }
        inner.put(state, &picture).await?;
        Ok(Said::out(""))
    }

    async fn rake(&self, state: &mut State, words: &[&str]) -> Result<Said, String> {
        let finished = "Checking GitLab subtasks ...\n\nChecking GitLab subtasks ... Finished\n";
        match words {
            ["gitlab:check", "SANITIZE=true"] => Ok(Said::out(finished)),
            ["gitlab:doctor:secrets"] => {
                let mark = self.mark(state).await?;
                let picture = self.machines.inner.picture(state).await?;
                let fits = mark.as_ref() == Some(&picture.database.mark);
                let failures = if fits { 0 } else { picture.database.users };
                Ok(Said::out(format!(
                    "I, [x]  INFO -- : - User failures: {failures}\nI, [x]  INFO -- : Done!\n"
                )))
            }
            ["cache:clear"] => Ok(Said::out("")),
            ["gitlab:artifacts:check" | "gitlab:lfs:check" | "gitlab:uploads:check"] => {
                Ok(Said::out("- 1..9: Failures: 0\nDone!\n"))
            }
            _ => Ok(Said::fail(1, "Don't know how to build task")),
        }
    }

    fn file(&self, state: &mut State, program: &str, path: &str) -> Said {
        let node = self.node(state);
        if program == "rm" {
            node.files.remove(path);
            return Said::out("");
        }
        let Some(bytes) = node
            .files
            .get(path)
            .and_then(|text| BASE64_STANDARD.decode(text).ok())
        else {
            return Said::fail(1, format!("{program}: {path}: No such file or directory"));
        };
        Said::out(match program {
            "stat" => format!("{}\n", bytes.len()),
            _ => format!("{}  {path}\n", hex(bytes)),
        })
    }

    /// Brings an object from its presigned address.
    async fn bring(
        &self,
        state: &mut State,
        path: &str,
        sum: &str,
        input: &[u8],
    ) -> Result<Said, String> {
        let inner = &self.machines.inner;
        let url = String::from_utf8_lossy(input).trim().to_owned();
        let uri: http::Uri = url
            .parse()
            .map_err(|_| "curl: (3) URL rejected".to_owned())?;
        if !uri
            .query()
            .is_some_and(|query| query.contains("X-Amz-Signature="))
        {
            return Ok(Said::fail(
                22,
                "curl: (22) The requested URL returned error: 403",
            ));
        }
        let path_of = uri.path().trim_start_matches('/');
        let host = uri.host().unwrap_or_default();
        let backups = inner.fleet.buckets.backups.as_str();
        // The bucket is in the host name, or first in the path.
        let (bucket, key) = match host.split_once(".s3") {
            Some((bucket, _)) => (bucket, path_of),
            None => path_of.split_once('/').unwrap_or((backups, path_of)),
        };
        let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy();
        let Some(bytes) = inner.object(bucket, &key).await? else {
            return Ok(Said::fail(
                22,
                "curl: (22) The requested URL returned error: 404",
            ));
        };
        if hex(&bytes) != sum {
            return Ok(Said::fail(
                1,
                "what came is not the file that was asked for: its SHA-256 is another",
            ));
        }
        self.node(state)
            .files
            .insert(path.to_owned(), BASE64_STANDARD.encode(bytes));
        Ok(Said::out("brought\n"))
    }

    fn configuration(&self) -> Result<Said, String> {
        let domain = &self.machines.inner.fleet.front.domain;
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in [
            (
                "etc/gitlab/gitlab.rb",
                format!("external_url 'https://{domain}'\n"),
            ),
            (
                "etc/ssh/ssh_host_ed25519_key",
                format!("the played host key of {}\n", self.name),
            ),
        ] {
            super::backup::append(&mut tar, path, text.as_bytes())?;
        }
        Ok(Said::out(tar.into_inner().map_err(|e| e.to_string())?))
    }
}

/// What `praefect dataloss` writes (doc/administration/gitaly/praefect/recovery.md).
fn data_loss(lost: &BTreeSet<String>) -> String {
    let storage = "Virtual storage: default\n";
    if lost.is_empty() {
        return format!("{storage}  All repositories are available!\n");
    }
    let line = |path: &String| {
        format!(
            "    {path}.git (unavailable):\n      Primary: gitaly-1\n      In-Sync Storages:\n        \
             gitaly-1, assigned host, unhealthy\n"
        )
    };
    let lines: String = lost.iter().map(line).collect();
    format!("{storage}  Repositories:\n{lines}")
}

fn unknown(program: &str) -> Said {
    Said::fail(127, format!("sh: {program}: not found"))
}

impl Shell for PlayedNode {
    fn host(&self) -> &str {
        &self.name
    }

    fn place(&self) -> Place {
        Place {
            host: self.name.clone(),
            address: "played".into(),
            hop: Hop::Direct,
        }
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Exit, ShellFault>> {
        Box::pin(async move {
            let said = self.answer(command).await;
            let status = Status::Code(said.code);
            Ok(Exit::played(
                &self.name,
                command,
                status,
                &said.out,
                said.err.as_bytes(),
            ))
        })
    }

    fn put<'a>(&'a self, file: &'a RemoteFile) -> BoxFuture<'a, Result<(), ShellFault>> {
        Box::pin(async move {
            // Of a secret only its fingerprint: these files are written to disk.
            let bytes = match file.content() {
                Content::Bytes(bytes) => bytes.clone(),
                secret @ Content::Secret(_) => format!("{secret:?}").into_bytes(),
            };
            let mut state = self.machines.inner.state.lock().await;
            let path = file.path().to_string();
            self.node(&mut state)
                .files
                .insert(path, BASE64_STANDARD.encode(bytes));
            self.saved(&state)
        })
    }

    fn get<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Vec<u8>, ShellFault>> {
        Box::pin(async move {
            let mut state = self.machines.inner.state.lock().await;
            let text = self.node(&mut state).files.get(path.as_str()).cloned();
            let bytes = text.and_then(|text| BASE64_STANDARD.decode(text).ok());
            bytes.ok_or_else(|| ShellFault::Missing {
                at: Box::new(self.place()),
                path: path.to_string(),
            })
        })
    }
}

impl PlayedNode {
    fn saved(&self, state: &State) -> Result<(), ShellFault> {
        self.machines
            .inner
            .save(state)
            .map_err(|error| ShellFault::Internal {
                at: Box::new(self.place()),
                why: error.to_string(),
            })
    }
}
