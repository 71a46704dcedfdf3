//! States of the whole instance, kept in its database.

use super::runner;
use crate::ops::OpsFault;
use crate::shell::Shell;

/// Lets people read and not write; background jobs go on. Only Premium and Ultimate have it
/// (doc/administration/maintenance_mode/_index.md).
pub async fn maintenance_mode(shell: &dyn Shell, on: bool) -> Result<(), OpsFault> {
    set(shell, "maintenance_mode", on).await
}

/// Keeps the instance from speaking to the world: mail, webhooks, mirrors, integrations. For drills and copies; up to a
/// minute to act, so it is set before the workers start (doc/administration/silent_mode/_index.md).
pub async fn silent_mode(shell: &dyn Shell, on: bool) -> Result<(), OpsFault> {
    set(shell, "silent_mode_enabled", on).await
}

async fn set(shell: &dyn Shell, setting: &str, on: bool) -> Result<(), OpsFault> {
    let script = format!("Gitlab::CurrentSettings.update!({setting}: {on})");
    shell.must(&runner(&script)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::recorder::Recorder;

    #[tokio::test]
    async fn words_are_those_of_the_documentation() {
        let nodes = Recorder::new();
        let shell = nodes.shell("box");
        silent_mode(shell.as_ref(), true).await.unwrap();
        maintenance_mode(shell.as_ref(), false).await.unwrap();
        assert_eq!(
            nodes.ran("box"),
            [
                "gitlab-rails runner 'Gitlab::CurrentSettings.update!(silent_mode_enabled: true)'",
                "gitlab-rails runner 'Gitlab::CurrentSettings.update!(maintenance_mode: false)'"
            ]
        );
    }
}
