//! In which order the stages compute their rows, and how much memory that takes.
//!
//! The order is demand-driven: before a stage computes its next row, its sources compute theirs, one at a time and
//! just as far as that row needs. So no row is computed early, and each ring is as short as its consumers' reach
//! allows. The same walk without arithmetic, when the file is read, gives the rings' exact lengths.

use super::integer;
use super::stage::{Arithmetic, Operation, Stage};
use super::{Decoder, MAX_SCRATCH, MAX_STAGES};
use crate::error::FormatError;
use crate::kernel::float::UPSAMPLE_WORK;

/// How many rows each stage has computed so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress([u16; MAX_STAGES]);

impl Progress {
    /// No rows yet.
    pub(super) const START: Self = Self([0; MAX_STAGES]);

    fn rows(&self, stage: usize) -> u16 {
        self.0.get(stage).copied().unwrap_or(0)
    }

    fn advance(&mut self, stage: usize, rows: u16) {
        if let Some(produced) = self.0.get_mut(stage) {
            *produced += rows;
        }
    }
}

/// A stage's next output row, or its next two where they are computed together; `row` is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) stage: usize,
    pub(super) row: u16,
}

impl Decoder<'_> {
    /// The next step towards picture row `row`, taken note of in `progress`; `None` once that row is there.
    pub(super) fn step(&self, progress: &mut Progress, row: u16) -> Option<Step> {
        let step = self.next_step(progress, row)?;
        progress.advance(step.stage, self.stages().get(step.stage)?.spec.operation.rows());
        Some(step)
    }

    fn next_step(&self, progress: &Progress, row: u16) -> Option<Step> {
        let mut index = self.stages().len().checked_sub(1)?;
        if progress.rows(index) > row {
            return None;
        }
        // Down the sources to the first stage whose own sources suffice; the input has none.
        loop {
            let stage = self.stages().get(index)?;
            let row = progress.rows(index);
            let lacking = self.sources(index, row).find(|source| progress.rows(source.stage) <= source.newest);
            match lacking {
                Some(source) => index = source.stage,
                None if row < stage.shape.height => return Some(Step { stage: index, row }),
                None => return None,
            }
        }
    }

    /// What stage `index` reads for its output row `row`.
    fn sources(&self, index: usize, row: u16) -> impl Iterator<Item = Source> + use<> {
        let stages = self.stages();
        let spec = stages.get(index).map(|stage| stage.spec);
        let before = index.checked_sub(1).and_then(|before| Some((before, stages.get(before)?.shape.height)));
        let before = before.zip(spec).map(|((stage, height), spec)| {
            let (centre, reach) = (row / spec.operation.rows(), spec.operation.reach());
            Source { stage, oldest: centre.saturating_sub(reach), newest: (centre + reach).min(height - 1) }
        });
        let residual = spec.and_then(|spec| spec.residual);
        let residual = residual.map(|stage| Source { stage: usize::from(stage), oldest: row, newest: row });
        before.into_iter().chain(residual)
    }

    /// Finds how far back each ring must reach, then lays the rings out.
    ///
    /// # Errors
    /// If they take more than [`MAX_SCRATCH`].
    pub(super) fn size_rings(&mut self) -> Result<(), FormatError> {
        let mut needed = [1; MAX_STAGES];
        let mut need = |stage: usize, rows: u16| {
            if let Some(needed) = needed.get_mut(stage) {
                *needed = rows.max(*needed);
            }
        };
        let mut progress = Progress::START;
        let last = self.stages().len().saturating_sub(1);
        for row in 0..self.picture_shape().height {
            while let Some(step) = self.next_step(&progress, row) {
                for source in self.sources(step.stage, step.row) {
                    need(source.stage, progress.rows(source.stage) - source.oldest);
                }
                self.step(&mut progress, row);
            }
            need(last, progress.rows(last) - row);
        }
        // At most 32 × 2,048 rows of 1,024 × 2,050 elements, which 64 bits hold.
        let mut start = 0u64;
        let count = self.stages().len();
        for (stage, needed) in self.stages.iter_mut().zip(needed).take(count) {
            (stage.ring_rows, stage.ring_start) = (needed, start as usize);
            stage.row_len = stage.row_len_in(self.arithmetic);
            start += u64::from(needed) * stage.row_len as u64;
        }
        let upsamples = |stage: &Stage| stage.spec.operation == Operation::UpsampleConvolve3x3;
        self.work_len = match self.arithmetic {
            Arithmetic::Float if self.stages().iter().any(upsamples) => UPSAMPLE_WORK,
            Arithmetic::Float => 0,
            Arithmetic::Integer => integer::work_len(self.stages()),
        };
        match usize::try_from(start) {
            Ok(rings) if rings <= MAX_SCRATCH => self.rings_len = rings,
            _ => return Err(FormatError::ScratchTooLarge { elements: start }),
        }
        Ok(())
    }
}

/// Rows of an earlier stage.
#[derive(Clone, Copy, Debug)]
struct Source {
    stage: usize,
    oldest: u16,
    newest: u16,
}
