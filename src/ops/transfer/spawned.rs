//! Work on another thread that ends when nobody waits for it any more.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use super::TransferFault;
use crate::cloud::Fault;

pub(super) struct Spawned<T>(JoinHandle<Result<T, TransferFault>>);

/// Starts it now.
pub(super) fn spawn<T: Send + 'static>(
    work: impl Future<Output = Result<T, TransferFault>> + Send + 'static,
) -> Spawned<T> {
    Spawned(tokio::spawn(work))
}

/// Starts it now, on a thread that may block.
pub(super) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransferFault> + Send + 'static,
) -> Spawned<T> {
    Spawned(tokio::task::spawn_blocking(work))
}

impl<T> Future for Spawned<T> {
    type Output = Result<T, TransferFault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|joined| {
            joined.unwrap_or_else(|error| Err(Fault::internal(error.to_string()).into()))
        })
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
