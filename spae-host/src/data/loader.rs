//! Batches made ahead of their step, on threads apart from those that compute.
//!
//! A step's batch is a function of the step's number alone, and worker w of W makes those of every W-th step; so the
//! number of workers changes how long a run waits, never what it sees. Each worker is at most two batches ahead.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use anyhow::{Context as _, Result};

use super::{Batch, Sampler};

/// The batches of a run, one after the other.
#[derive(Debug)]
pub struct Loader {
    workers: Vec<Worker>,
    /// The worker that has the next batch.
    next: usize,
}

#[derive(Debug)]
struct Worker {
    batches: Receiver<Result<Batch>>,
    thread: JoinHandle<()>,
}

impl Loader {
    /// The batches of step `first` and all that follow, of `batch` pictures each, made by `workers` threads (at least 1).
    ///
    /// # Errors
    /// If the system starts no thread.
    pub fn new(sampler: &Sampler, batch: usize, first: u64, workers: usize) -> Result<Self> {
        let count = workers.max(1);
        let start = |number: usize| {
            let mut sampler = sampler.clone();
            let (sender, batches) = sync_channel(1);
            let steps = (first + number as u64..).step_by(count);
            let work = move || {
                for step in steps {
                    // Nobody listens any more once the loader is dropped.
                    if sender.send(sampler.batch(step, batch)).is_err() {
                        return;
                    }
                }
            };
            let thread = Builder::new().name(format!("loader-{number}")).spawn(work);
            anyhow::Ok(Worker { batches, thread: thread.context("cannot start a thread that loads pictures")? })
        };
        Ok(Self { workers: (0..count).map(start).collect::<Result<_>>()?, next: 0 })
    }

    /// The next step's batch.
    ///
    /// # Errors
    /// If a picture does not read.
    pub fn batch(&mut self) -> Result<Batch> {
        let batch = self.workers[self.next].batches.recv().context("a thread that loads pictures has died")?;
        self.next = (self.next + 1) % self.workers.len();
        batch
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        for Worker { batches, thread } in self.workers.drain(..) {
            drop(batches);
            // A worker that panicked has said so.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sampler::tests::{numbers, seen};
    use super::*;
    use crate::config::{Augment, Fit, Image};
    use crate::data::{Dataset, Split};

    #[test]
    fn the_number_of_workers_changes_nothing() {
        let (_folder, dataset) = numbers();
        let augment = Augment { shift: 1, flip: true };
        let sampler = Sampler::new(dataset, 5, 2, augment);
        let batches = |workers| {
            let mut loader = Loader::new(&sampler, 3, 4, workers).unwrap();
            (0..9).map(|_| seen(&loader.batch().unwrap())).collect::<Vec<_>>()
        };
        let expected: Vec<_> = (4..13).map(|step| seen(&sampler.clone().batch(step, 3).unwrap())).collect();
        for workers in [0, 1, 2, 5] {
            assert_eq!(batches(workers), expected, "{workers} workers");
        }
    }

    #[test]
    fn a_picture_that_does_not_read_fails_its_own_step() {
        let folder = tempfile::tempdir().unwrap();
        image::GrayImage::new(3, 3).save(folder.path().join("whole.png")).unwrap();
        std::fs::write(folder.path().join("broken.png"), "no picture").unwrap();
        let image = Image { channels: 1, height: 3, width: 3, fit: Fit::Pad, border: 0 };
        let dataset = Dataset::open(folder.path(), Split::Train, image).unwrap();
        let sampler = Sampler::new(dataset.into(), 5, 0, Augment::default());
        let mut loader = Loader::new(&sampler, 1, 0, 2).unwrap();
        let epoch: Vec<_> = (0..2).map(|_| loader.batch().map_err(|error| format!("{error:#}"))).collect();
        assert_eq!(epoch.iter().filter(|batch| batch.is_ok()).count(), 1);
        assert!(epoch.iter().any(|batch| batch.as_ref().is_err_and(|error| error.contains("broken.png"))));
    }
}
