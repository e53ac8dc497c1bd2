//! One piece of work, done by both sides in turns.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::peer::Peer;
use crate::timing::{Timing, Work, time};

/// What is compared with what.
pub(crate) struct Case<'m> {
    pub(crate) name: String,
    /// The ratio that is promised, if one is.
    pub(crate) limit: Option<f64>,
    /// Makes our work ready.
    pub(crate) ours: Box<dyn FnOnce() -> Result<Ours<'m>> + 'm>,
    pub(crate) other: Other<'m>,
}

/// Our work, and what it computes where that is compared.
pub(crate) struct Ours<'m> {
    pub(crate) work: Work<'m>,
    pub(crate) answer: Option<Answer<'m>>,
}

/// What the work computes; asked for when it has been timed.
pub(crate) type Answer<'m> = Box<dyn FnOnce() -> Result<Value> + 'm>;

impl<'m> From<Work<'m>> for Ours<'m> {
    fn from(work: Work<'m>) -> Self {
        Self { work, answer: None }
    }
}

/// The other side.
pub(crate) enum Other<'m> {
    /// What the peer is asked to make ready.
    Peer(Value),
    /// Smaller work of our own, of which ours should take so many times the time.
    Ours { times: f64, work: Box<dyn FnOnce() -> Result<Work<'m>> + 'm> },
}

/// A case's figures. Times are seconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) ours: f64,
    pub(crate) peer: f64,
    pub(crate) ratio: f64,
    #[serde(skip)]
    pub(crate) limit: Option<f64>,
    /// The most memory beyond what was there before, in bytes.
    #[serde(skip)]
    pub(crate) memory: u64,
    /// The share of the answers that agree, where they are compared.
    #[serde(skip)]
    pub(crate) agreement: Option<f64>,
}

/// Seconds beyond which work is timed once, without a warm-up: it is long enough to even out both that and what else the
/// machine does.
const LONG: f64 = 10.0;

/// The least share of the answers that must agree: where two words are equally near, rounding decides, and two programs
/// read a JPEG's pixels a step apart.
const AGREEMENT: f64 = 0.98;

impl Case<'_> {
    /// Times both sides in turns; the best of the rounds each, since what else the machine does only ever adds.
    pub(crate) fn measure(self, peer: &mut Peer, quick: bool) -> Result<Row> {
        // Rounds, and seconds that a round lasts at least.
        let (rounds, least) = if quick { (3, 0.05) } else { (7, 0.2) };
        let Ours { mut work, answer } = (self.ours)()?;
        let mut smaller;
        let (times, mut other): (f64, Box<dyn FnMut(u32) -> Result<Timing>>) = match self.other {
            Other::Peer(request) => {
                peer.prepare(&request)?;
                (1.0, Box::new(|repetitions| peer.run(repetitions)))
            }
            Other::Ours { times, work } => {
                smaller = work()?;
                (times, Box::new(move |repetitions| time(&mut smaller, repetitions)))
            }
        };
        // The first time of each is slower, and not counted unless it is long; the second says how often to repeat.
        let repetitions = |timing: Timing| (least / timing.seconds).ceil().clamp(1.0, 1e4) as u32;
        let (first, other_first) = (time(&mut work, 1)?, other(1)?);
        let (mut ours, mut others) = (Vec::new(), Vec::new());
        if first.seconds.max(other_first.seconds) > LONG {
            (ours, others) = (vec![first], vec![other_first]);
        } else {
            let (our_count, other_count) = (repetitions(time(&mut work, 1)?), repetitions(other(1)?));
            for _ in 0..rounds {
                pause();
                ours.push(time(&mut work, our_count)?);
                pause();
                others.push(other(other_count)?);
            }
        }
        drop((work, other));
        let agreement = answer.map(|answer| agreement(&answer()?, &peer.answer()?)).transpose()?;
        let seconds = |timings: &[Timing]| timings.iter().map(|timing| timing.seconds).fold(f64::INFINITY, f64::min);
        let (ours_seconds, peer_seconds) = (seconds(&ours), times * seconds(&others));
        Ok(Row {
            name: self.name,
            ours: ours_seconds,
            peer: peer_seconds,
            ratio: ours_seconds / peer_seconds,
            limit: self.limit,
            // Later repetitions find the memory of the first again.
            memory: first.memory,
            agreement,
        })
    }
}

/// Long enough for the other side's threads to stop spinning.
fn pause() {
    thread::sleep(Duration::from_millis(50));
}

/// The share of the numbers, in nested lists of one shape, that are the same.
fn agreement(ours: &Value, theirs: &Value) -> Result<f64> {
    let (mut ours_flat, mut theirs_flat) = (Vec::new(), Vec::new());
    flatten(ours, &mut ours_flat);
    flatten(theirs, &mut theirs_flat);
    ensure!(ours_flat.len() == theirs_flat.len(), "{} answers, the peer has {}", ours_flat.len(), theirs_flat.len());
    let same = ours_flat.iter().zip(&theirs_flat).filter(|(ours, theirs)| ours == theirs).count();
    let share = same as f64 / ours_flat.len().max(1) as f64;
    ensure!(share >= AGREEMENT, "only {:.2} % of the answers agree", 100.0 * share);
    Ok(share)
}

fn flatten(value: &Value, numbers: &mut Vec<u64>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| flatten(value, numbers)),
        value => numbers.extend(value.as_u64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_compared_number_by_number() {
        assert_eq!(agreement(&json!([[1, 2], [3, 4]]), &json!([1, 2, 3, 4])).unwrap(), 1.0);
        assert!(agreement(&json!([1, 2]), &json!([1, 3])).is_err());
        assert!(agreement(&json!([1, 2]), &json!([1])).is_err());
    }
}
