//! SIGINT and SIGTERM end a run after its step and a checkpoint; a second one ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// Watches for signals as long as it lives.
#[derive(Debug)]
pub(super) struct Interrupt {
    requested: Arc<AtomicBool>,
    handlers: Vec<SigId>,
}

impl Interrupt {
    pub(super) fn new() -> Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        let mut handlers = Vec::new();
        for signal in [SIGINT, SIGTERM] {
            // Shells report 128 + the signal's number for a program that a signal ended.
            let exit_code = 128 + signal;
            let second = flag::register_conditional_shutdown(signal, exit_code, requested.clone());
            handlers.push(second.context("cannot watch for signals")?);
            handlers.push(flag::register(signal, requested.clone()).context("cannot watch for signals")?);
        }
        Ok(Self { requested, handlers })
    }

    /// Whether a signal has come.
    pub(super) fn requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            low_level::unregister(handler);
        }
    }
}
