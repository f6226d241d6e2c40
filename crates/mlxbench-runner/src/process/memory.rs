//! The watch over a worker's memory during a request.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mlxbench_core::results::Timeline;

use super::group::kill_group;
use crate::system::MemorySampler;

/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A thread that kills a group as soon as its leader holds too much.
#[derive(Debug)]
pub(super) struct Watch {
    sampler: MemorySampler,
    exceeded: Arc<OnceLock<u64>>,
}

impl Watch {
    /// Watches process `leader`.
    pub(super) fn start(leader: u32, limit_bytes: u64) -> Self {
        let exceeded = Arc::new(OnceLock::new());
        let tell = Arc::clone(&exceeded);
        let kill = move |bytes| {
            let _ = tell.set(bytes);
            kill_group(leader);
        };
        Self {
            sampler: MemorySampler::start(leader, LOOK, Some(limit_bytes), kill),
            exceeded,
        }
    }

    /// What was seen, and what the process held when it was killed for it.
    pub(super) fn stop(self) -> (Timeline, Option<u64>) {
        let timeline = self.sampler.stop();
        (timeline, self.exceeded.get().copied())
    }
}
