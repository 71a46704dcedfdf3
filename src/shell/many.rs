//! Many hosts at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use futures::future::BoxFuture;

use super::{Command, Exit, Shell, ShellFault};

/// How many hosts at a time, when nobody says otherwise.
const AT_ONCE: usize = 10;

/// What one host's failure means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing.
    GoOn,
    /// Those that have not begun do not begin; those under way finish.
    StartNoMore,
}

/// How to do something on many hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Together {
    /// How many hosts at a time; at least one.
    pub at_once: usize,
    pub on_failure: OnFailure,
}

impl Default for Together {
    fn default() -> Self {
        Self {
            at_once: AT_ONCE,
            on_failure: OnFailure::GoOn,
        }
    }
}

/// What came of it on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    Done(T),
    Failed(ShellFault),
    /// Not begun, because another host had failed.
    NotBegun,
}

/// Does something on each host, some at a time. The answers come in the order of the hosts.
pub async fn many<T, F>(shells: &[Arc<dyn Shell>], how: Together, work: F) -> Vec<Outcome<T>>
where
    T: Send,
    F: Fn(Arc<dyn Shell>) -> BoxFuture<'static, Result<T, ShellFault>>,
{
    let failed = AtomicBool::new(false);
    let (failed, work) = (&failed, &work);
    let jobs = shells
        .iter()
        .cloned()
        .enumerate()
        .map(|(number, shell)| async move {
            if how.on_failure == OnFailure::StartNoMore && failed.load(Ordering::SeqCst) {
                return (number, Outcome::NotBegun);
            }
            match work(shell).await {
                Ok(done) => (number, Outcome::Done(done)),
                Err(fault) => {
                    failed.store(true, Ordering::SeqCst);
                    (number, Outcome::Failed(fault))
                }
            }
        });
    let mut outcomes: Vec<_> = futures::stream::iter(jobs)
        .buffer_unordered(how.at_once.max(1))
        .collect()
        .await;
    outcomes.sort_by_key(|(number, _)| *number);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Runs one command on each host. It must succeed there: another exit code counts as a failure.
pub async fn run_on_many(
    shells: &[Arc<dyn Shell>],
    command: &Command,
    how: Together,
) -> Vec<Outcome<Exit>> {
    many(shells, how, |shell| {
        let command = command.clone();
        Box::pin(async move { shell.must(&command).await })
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::super::recorder::{Answer, Recorder};
    use super::*;

    fn hosts(recorder: &Recorder, count: usize) -> Vec<Arc<dyn Shell>> {
        (1..=count)
            .map(|n| recorder.shell(&format!("gitaly-{n}")) as Arc<dyn Shell>)
            .collect()
    }

    #[tokio::test]
    async fn answers_come_in_order_and_no_more_than_so_many_at_once() {
        let recorder = Recorder::new();
        let shells = hosts(&recorder, 25);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let how = Together {
            at_once: 4,
            ..Together::default()
        };
        let outcomes = many(&shells, how, |shell| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            Box::pin(async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Later hosts finish first.
                let number: usize = shell.host()[7..].parse().unwrap();
                for _ in 0..(30 - number) {
                    tokio::task::yield_now().await;
                }
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(shell.host().to_owned())
            })
        })
        .await;
        let names: Vec<_> = (1..=25)
            .map(|n| Outcome::Done(format!("gitaly-{n}")))
            .collect();
        assert_eq!(outcomes, names);
        assert_eq!(most.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn one_failure_leaves_the_others_alone_unless_asked() {
        let recorder = Recorder::new();
        recorder.on("*", "hostname").answer(Answer::out("here\n"));
        recorder
            .on("gitaly-2", "hostname")
            .answer(Answer::code(3, "broken disk\n"));
        let shells = hosts(&recorder, 4);
        let command = Command::new("hostname");
        let outcomes = run_on_many(&shells, &command, Together::default()).await;
        let said = |o: &Outcome<Exit>| match o {
            Outcome::Done(exit) => exit.stdout.text(),
            Outcome::Failed(fault) => fault.to_string(),
            Outcome::NotBegun => "not begun".into(),
        };
        let all: Vec<_> = outcomes.iter().map(said).collect();
        assert_eq!(all[0], "here\n");
        assert!(
            all[1].contains("gitaly-2")
                && all[1].contains("exit code 3; its last line: broken disk"),
            "{}",
            all[1]
        );
        assert_eq!(all[2..], ["here\n", "here\n"]);

        let how = Together {
            at_once: 1,
            on_failure: OnFailure::StartNoMore,
        };
        let outcomes = run_on_many(&shells, &command, how).await;
        assert!(matches!(outcomes[0], Outcome::Done(_)));
        assert!(matches!(outcomes[1], Outcome::Failed(_)));
        assert_eq!(outcomes[2..], [Outcome::NotBegun, Outcome::NotBegun]);
    }
}
