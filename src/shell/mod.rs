//! Running commands on the machines of a site.
//!
//! [`Shell`] is the one way to a host: [`Ssh`] through the bastion, [`Local`] on this machine, and a scripted fake
//! in tests. A command is always bounded in time, what it prints is shown line by line and remembered only in part,
//! and every fault names the host and the way to it. Why the SSH side looks as it does is in
//! `docs/design/0009-ssh.md`.

mod command;
mod config;
mod fault;
mod file;
mod hosts;
mod keys;
mod local;
mod many;
mod output;
#[doc(hidden)]
pub mod recorder;
mod ssh;
mod worker;

pub use command::{As, Command, quote};
pub use config::{ClientConfig, config, interactive};
pub use fault::{Ended, Hop, Place, Ran, ShellFault};
pub use file::{Content, RemoteFile, RemotePath};
pub use hosts::{HostKey, HostKeyPolicy, KnownHosts};
pub use keys::{Keys, Prompt};
pub use local::Local;
pub use many::{OnFailure, Outcome, Together, many, run_on_many};
pub use output::{Captured, Exit, Line, Observer, Status, Stream};
pub use ssh::{Access, Endpoint, Ssh, Timings};

use futures::future::BoxFuture;

/// A way to one host.
///
/// Calls may overlap. A future that is dropped gives the command up: nothing waits for it any more, and the host
/// ends it when its time is over.
pub trait Shell: Send + Sync {
    /// The host's name, as people say it: `gitaly-1`.
    fn host(&self) -> &str;

    /// The host and the way to it, for messages.
    fn place(&self) -> Place;

    /// Runs a command to its end. A command that ran and failed is no fault: see [`Exit::status`].
    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Exit, ShellFault>>;

    /// Writes a file in one step: readers see the old one or the new one, never half of it.
    fn put<'a>(&'a self, file: &'a RemoteFile) -> BoxFuture<'a, Result<(), ShellFault>>;

    /// Reads a file of up to 64 MiB. What is larger is data, and data goes to S3.
    fn get<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Vec<u8>, ShellFault>>;

    /// Runs a command that must succeed: anything but exit code 0 is [`ShellFault::Failed`].
    fn must<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Exit, ShellFault>> {
        Box::pin(async move { self.run(command).await?.success(self.place(), command) })
    }
}
