//! Memory that buffers may take, as permits.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one permit stands for.
const UNIT: u64 = 64 * 1024;

#[derive(Clone)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    all: u32,
}

/// Bytes that are taken until this is dropped.
pub(super) struct Taken {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        let all = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Self {
            units: Arc::new(Semaphore::new(all as usize)),
            all,
        }
    }

    /// Waits, in the order of asking, until so many bytes are free. More than there is at all means all of it.
    /// Whoever holds some must not wait for more: two of them would wait for each other.
    pub(super) async fn take(&self, bytes: u64) -> Taken {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let permit = self
            .units
            .clone()
            .acquire_many_owned(units.clamp(1, self.all))
            .await;
        // The semaphore is never closed.
        Taken {
            _permit: permit.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_taken_is_given_back() {
        let budget = Budget::new(4 * UNIT);
        let half = budget.take(UNIT + 1).await;
        assert_eq!(budget.units.available_permits(), 2);
        drop(half);
        let all = budget.take(u64::MAX).await;
        assert_eq!(budget.units.available_permits(), 0);
        drop(all);
        assert_eq!(budget.units.available_permits(), 4);
    }
}
