//! GitLab's own checks, and what they found.

use std::time::Duration;

use super::database::{extensions, unfinished_migrations};
use crate::ops::OpsFault;
use crate::shell::{As, Command, Exit, Shell};

/// Where the package puts programs of its own.
const EMBEDDED: &str = "/opt/gitlab/embedded/bin";

const PRAEFECT_CONFIG: &str = "/var/opt/gitlab/praefect/config.toml";

/// What GitLab cannot work without (doc/administration/postgresql/extensions.md).
const EXTENSIONS: [&str; 4] = ["amcheck", "btree_gist", "pg_trgm", "plpgsql"];

/// How long the checks of files may take: each file is read, wherever it is.
const LONG: Duration = Duration::from_hours(12);

/// A check. The first five and the last three are for a node with Rails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// `gitlab:check`: the instance as a whole (doc/administration/raketasks/maintenance.md).
    GitLab,
    /// Whether everything encrypted in the database can be read with the node's secrets
    /// (doc/administration/raketasks/check.md; as the next three).
    Secrets,
    Artifacts,
    Lfs,
    Uploads,
    /// Whether a Gitaly node reaches GitLab (doc/administration/gitaly/troubleshooting.md).
    Gitaly,
    /// A Praefect node's own checks (doc/administration/gitaly/praefect/troubleshooting.md; as the next two).
    Praefect,
    /// Whether Praefect reaches its Gitaly nodes.
    PraefectNodes,
    /// Repositories of the cluster whose newest copy is out of reach.
    DataLoss,
    /// Whether this node's Rails answers, and reaches what it needs
    /// (doc/administration/monitoring/health_check.md).
    Readiness,
    Extensions,
    /// Background migrations that are not through.
    Migrations,
}

/// What a check said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub ok: bool,
    /// What is wrong, a line each, as GitLab says it.
    pub findings: Vec<String>,
}

impl Verdict {
    fn of(findings: Vec<String>) -> Self {
        Self {
            ok: findings.is_empty(),
            findings,
        }
    }
}

impl Check {
    /// `gitlab:check`
    pub fn name(self) -> &'static str {
        match self {
            Self::GitLab => "gitlab:check",
            Self::Secrets => "gitlab:doctor:secrets",
            Self::Artifacts => "gitlab:artifacts:check",
            Self::Lfs => "gitlab:lfs:check",
            Self::Uploads => "gitlab:uploads:check",
            Self::Gitaly => "gitaly check",
            Self::Praefect => "praefect check",
            Self::PraefectNodes => "praefect dial-nodes",
            Self::DataLoss => "praefect dataloss",
            Self::Readiness => "/-/readiness",
            Self::Extensions => "database extensions",
            Self::Migrations => "background migrations",
        }
    }

    fn command(self) -> Option<Command> {
        let rake = |words: &[&str], limit| {
            let command = Command::new("gitlab-rake").args(words.iter().copied());
            Some(command.timeout(limit).sudo())
        };
        let praefect = |verb: &str| {
            Command::new(format!("{EMBEDDED}/praefect"))
                .args(["-config", PRAEFECT_CONFIG, verb])
                .as_user(As::User("git".into()))
        };
        match self {
            Self::GitLab => rake(&["gitlab:check", "SANITIZE=true"], Duration::from_hours(1)),
            Self::Secrets | Self::Artifacts | Self::Lfs | Self::Uploads => {
                rake(&[self.name()], LONG)
            }
            Self::Gitaly => Some(
                Command::new(format!("{EMBEDDED}/gitaly"))
                    .args(["check", "/var/opt/gitlab/gitaly/config.toml"])
                    .as_user(As::User("git".into())),
            ),
            Self::Praefect => Some(praefect("check")),
            Self::PraefectNodes => Some(praefect("dial-nodes")),
            Self::DataLoss => Some(praefect("dataloss")),
            // Puma itself: nginx may insist on the proxy protocol, and knows other names.
            Self::Readiness => Some(
                Command::new("curl")
                    .args(["--silent", "--show-error", "--max-time", "60"])
                    .args(["--write-out", "\\n%{http_code}"])
                    .arg("http://127.0.0.1:8080/-/readiness?all=1"),
            ),
            Self::Extensions | Self::Migrations => None,
        }
    }

    /// What the check found, by how it ended and what it wrote.
    fn read(self, exit: &Exit) -> Verdict {
        let text = plain(&exit.stdout.text());
        let mut findings = match self {
            Self::GitLab => instance(&text),
            Self::Secrets | Self::Artifacts | Self::Lfs | Self::Uploads => counted(&text),
            Self::DataLoss => lost(&text),
            Self::Readiness => readiness(&text),
            _ => Vec::new(),
        };
        if !exit.ok() && findings.is_empty() {
            let line = exit.last_line();
            findings.push(format!("ended with {}: {line}", exit.status));
        }
        Verdict::of(findings)
    }
}

/// Carries a check out on a node. A check that finds something is no fault; only one that could not be asked is.
pub async fn check(shell: &dyn Shell, check: Check) -> Result<Verdict, OpsFault> {
    if let Some(command) = check.command() {
        let exit = shell.run(&command.keep(256 << 10, 2 << 20)).await?;
        return Ok(check.read(&exit));
    }
    if check == Check::Migrations {
        let left = unfinished_migrations(shell).await?;
        let line = |m: &super::Migration| {
            format!("{} on {} ({}): {}", m.job, m.table, m.database, m.status)
        };
        return Ok(Verdict::of(left.iter().map(line).collect()));
    }
    let found = extensions(shell).await?;
    let mut findings = Vec::new();
    for (database, of) in &found {
        for needed in EXTENSIONS.iter().filter(|name| !of.contains(**name)) {
            findings.push(format!(
                "the database {database} lacks the extension {needed}"
            ));
        }
    }
    Ok(Verdict::of(findings))
}

/// Without the codes that colour a terminal.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

/// Lines of `gitlab:check` that tell of something wrong; it ends with code 0 whatever it finds.
fn instance(text: &str) -> Vec<String> {
    let mut findings: Vec<String> = Vec::new();
    let mut lines = text.lines().map(str::trim).peekable();
    let mut finished = false;
    while let Some(line) = lines.next() {
        finished |= line.starts_with("Checking GitLab") && line.ends_with("Finished");
        let answer = line.rsplit("... ").next().filter(|_| line.contains("... "));
        let answer = answer.unwrap_or_default().to_ascii_lowercase();
        let wrong = answer == "no"
            || answer.starts_with("fail")
            || answer.starts_with("can't check")
            || line.to_ascii_lowercase().ends_with("self-check failed");
        if !wrong {
            continue;
        }
        let mut finding = line.to_owned();
        if lines
            .peek()
            .is_some_and(|next| next.starts_with("Try fixing it"))
        {
            lines.next();
            if let Some(advice) = lines.next() {
                finding = format!("{finding} ({advice})");
            }
        }
        findings.push(finding);
    }
    if !finished && findings.is_empty() {
        findings.push("it did not come to its end".into());
    }
    findings
}

/// Lines that count failures: `- User failures: 1`, `- 1..1350: Failures: 0`, and what follows of single ones.
fn counted(text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut inside = false;
    let mut finished = false;
    for line in text.lines() {
        // Lines of a logger say when and how loud before they say what.
        let told = line.split_once(" -- : ").map_or(line, |(_, told)| told);
        let told_trimmed = told.trim();
        finished |= told_trimmed == "Done!";
        let lower = told_trimmed.to_ascii_lowercase();
        if let Some((_, count)) = lower.rsplit_once("failures: ") {
            inside = count != "0";
            if inside {
                findings.push(told_trimmed.trim_start_matches("- ").to_owned());
            }
        } else if inside && told.starts_with("  ") {
            findings.push(told_trimmed.trim_start_matches("- ").to_owned());
        }
    }
    if !finished && findings.is_empty() {
        findings.push("it did not come to its end".into());
    }
    findings
}

/// Repositories that Praefect names.
fn lost(text: &str) -> Vec<String> {
    // `@hashed/ab/cd/….git (unavailable):`, with the storages that lag behind below it.
    let named = |line: &&str| line.contains(".git") && line.ends_with(':');
    let mut findings: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(named)
        .map(|line| line.trim_end_matches(':').to_owned())
        .collect();
    if findings.is_empty() && !text.contains("All repositories are") {
        findings.push("it did not say that all repositories are available".into());
    }
    findings
}

/// `{"status":"ok","db_check":[{"status":"ok"}],…}` and the status code on a line of its own.
fn readiness(text: &str) -> Vec<String> {
    let (body, code) = text
        .trim_end()
        .rsplit_once('\n')
        .unwrap_or(("", text.trim()));
    let answer: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let failed = |entry: &serde_json::Value| {
        let all = entry.as_array().map_or(&[][..], Vec::as_slice);
        let bad = all.iter().find(|one| one["status"] == "failed")?;
        Some(bad["message"].as_str().unwrap_or("failed").to_owned())
    };
    let members = answer.as_object().into_iter().flatten();
    let mut findings: Vec<String> = members
        .filter_map(|(name, entry)| Some(format!("{name}: {}", failed(entry)?)))
        .collect();
    if findings.is_empty() && (code != "200" || answer["status"] != "ok") {
        findings.push(format!("answers {code}"));
    }
    findings
}

#[cfg(test)]
mod tests;
