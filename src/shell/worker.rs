//! Threads with a small runtime of their own.
//!
//! libssh2 computes and asks the agent while it is called, so it stays off the threads of the program's runtime. And
//! time here is always real time, even where a test plays with the program's clock.

use std::io;

use tokio::runtime::Builder;

/// Runs work to its end on a thread of its own.
pub(super) fn spawn<W, F>(name: String, work: W) -> io::Result<()>
where
    W: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()>,
{
    let runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(name).spawn(move || {
        runtime.block_on(work());
        // A name that is still being looked up must not hold the thread.
        runtime.shutdown_background();
    })?;
    Ok(())
}
