//! Which GitLab a node has.

use super::unclear;
use crate::ops::OpsFault;
use crate::ops::point::Edition;
use crate::shell::{Command, Shell};

/// The package that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// `19.5.3`
    pub version: String,
    pub edition: Edition,
}

/// The version and edition of the package on the node.
pub async fn version(shell: &dyn Shell) -> Result<Installed, OpsFault> {
    // A pattern that nothing fits is no fault of dpkg-query's, unlike a name.
    let command = Command::new("dpkg-query").args([
        "--show",
        "--showformat=${db:Status-Abbrev} ${Package} ${Version}\\n",
        "gitlab-[ce]e",
    ]);
    let exit = shell.run(&command).await?;
    let text = exit.stdout.text();
    if let Some(installed) = text.lines().find_map(read) {
        return Ok(installed);
    }
    if text.trim().is_empty() {
        return Err(OpsFault::check(
            format!("{}: GitLab", shell.host()),
            "neither gitlab-ee nor gitlab-ce is installed",
            "look at the node's first boot with `gantry status`",
        ));
    }
    Err(unclear(shell, "the installed package", text.trim()))
}

/// `ii  gitlab-ee 19.5.3-ee.0`
fn read(line: &str) -> Option<Installed> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [status, package, version] = words[..] else {
        return None;
    };
    let edition = match package {
        "gitlab-ee" => Edition::Ee,
        "gitlab-ce" => Edition::Ce,
        _ => return None,
    };
    // `ii` is installed; `hi` is installed and held, as gantry leaves it.
    let version = version.split('-').next().unwrap_or_default();
    (matches!(status, "ii" | "hi") && !version.is_empty()).then(|| Installed {
        version: version.to_owned(),
        edition,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::recorder::{Answer, Recorder};

    async fn of(answer: &str) -> Result<Installed, OpsFault> {
        let nodes = Recorder::new();
        nodes.on("box", "dpkg-query *").answer(Answer::out(answer));
        version(nodes.shell("box").as_ref()).await
    }

    #[tokio::test]
    async fn a_held_package_counts_and_a_removed_one_does_not() {
        let installed = of("rc  gitlab-ce 18.1.0-ce.0\nhi  gitlab-ee 19.5.3-ee.0\n")
            .await
            .unwrap();
        assert_eq!(installed.version, "19.5.3");
        assert_eq!(installed.edition, Edition::Ee);
        let fault = of("").await.unwrap_err().to_string();
        assert_eq!(
            fault,
            "box: GitLab: neither gitlab-ee nor gitlab-ce is installed"
        );
        let fault = of("rc  gitlab-ce 18.1.0-ce.0\n")
            .await
            .unwrap_err()
            .to_string();
        assert!(fault.contains("not understood"), "{fault}");
    }
}
