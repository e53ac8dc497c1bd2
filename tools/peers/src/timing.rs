//! Time and memory of one piece of work.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Something to do over and over.
pub(crate) type Work<'w> = Box<dyn FnMut() -> Result<()> + 'w>;

/// What some repetitions took.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Timing {
    /// Of one repetition.
    pub(crate) seconds: f64,
    /// The most memory beyond what the process held before, in bytes.
    pub(crate) memory: u64,
}

pub(crate) fn time(work: &mut Work<'_>, repetitions: u32) -> Result<Timing> {
    // Resets the process's peak. Where that is not allowed, the figure is the growth of the peak so far.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let before = peak_memory()?;
    let start = Instant::now();
    for _ in 0..repetitions {
        work()?;
    }
    let seconds = start.elapsed().as_secs_f64() / f64::from(repetitions);
    Ok(Timing { seconds, memory: peak_memory()?.saturating_sub(before) })
}

/// The largest resident memory since the last reset, in bytes.
fn peak_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().context("VmHWM")?;
    Ok(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_done_and_memory_is_seen() {
        let mut count = 0;
        let mut work: Work<'_> = Box::new(|| {
            count += 1;
            std::hint::black_box(vec![1u8; 64 << 20]);
            Ok(())
        });
        let timing = time(&mut work, 3).unwrap();
        drop(work);
        assert_eq!(count, 3);
        assert!(timing.seconds > 0.0 && timing.memory > 32 << 20, "{timing:?}");
    }
}
