//! How long the decoder takes, stage by stage.

use core::fmt::{Result, Write};

use spae_core::canvas::Canvas;
use spae_core::decoder::MAX_STAGES;

use crate::board::Clock;

/// Instructions of known number that show what a tick is.
const SPIN: u32 = 4_000_000;

/// Decodes the picture once more, without a screen, and looks up every word; writes what that takes.
#[inline(never)]
pub(crate) fn report(line: &mut impl Write, canvas: &mut Canvas<'_, '_>, clock: &Clock<'_>) -> Result {
    let start = (clock.read)();
    (clock.spin)(SPIN);
    let spin = clock.since(start);
    writeln!(line, "work spin {SPIN} {spin}")?;

    let (mut stages, mut sum) = ([0u32; MAX_STAGES], 0);
    let mut start = (clock.read)();
    canvas.rows_observed(
        |stage, _, _| {
            let ticks = clock.since(start);
            start = start.wrapping_add(ticks);
            sum += ticks;
            if let Some(stage) = stages.get_mut(stage) {
                *stage += ticks;
            }
        },
        |_, _| (),
    );
    let count = canvas.model().decoder().stages().len();
    for (index, ticks) in stages.iter().enumerate().take(count) {
        writeln!(line, "work stage {index} {ticks}")?;
    }
    writeln!(line, "work picture {sum}")?;

    let lexicon = canvas.model().lexicon();
    let mut longest = 0;
    for word in lexicon.words() {
        let start = (clock.read)();
        let id = lexicon.id(word.as_str().as_bytes());
        longest = longest.max(clock.since(start));
        if id.is_none() {
            return writeln!(line, "failed a word of the lexicon is not found in it");
        }
    }
    writeln!(line, "work lookup {longest}")
}
