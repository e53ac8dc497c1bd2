//! Which word lies at each place of the pyramid.
//!
//! A position's average needs no memory of its own as long as its words are known: it is their rows' mean. So the
//! integer decoder keeps ids, two bytes a place, instead of Ẑ.

use crate::pyramid::{MAX_LAYERS, Position, Pyramid};

/// The ids at all places, in memory that the caller lends.
#[derive(Debug)]
pub struct Places<'p, 's> {
    pyramid: &'p Pyramid,
    /// Little-endian ids in the order of reading, all ones where there is none.
    ids: &'s mut [u8],
    /// Bytes an id: 2 or 4.
    size: usize,
}

/// Bytes that an id takes where there are `words` words.
const fn id_len(words: u32) -> usize {
    if words <= u16::MAX as u32 { 2 } else { 4 }
}

/// Bytes that [`Places`] need for `words` words.
pub fn places_len(pyramid: &Pyramid, words: u32) -> usize {
    pyramid.token_count() * id_len(words)
}

impl<'p, 's> Places<'p, 's> {
    /// Empty places in `memory`, of which [`places_len`] bytes are used; `None` if it has fewer.
    pub fn new(pyramid: &'p Pyramid, words: u32, memory: &'s mut [u8]) -> Option<Self> {
        let mut places = Self { pyramid, ids: memory.get_mut(..places_len(pyramid, words))?, size: id_len(words) };
        places.clear();
        Some(places)
    }

    /// Takes all words away.
    pub fn clear(&mut self) {
        self.ids.fill(u8::MAX);
    }

    /// Puts word `id` at place `index` (row-major) of layer `layer`; a place that does not exist changes nothing.
    pub fn put(&mut self, layer: usize, index: usize, id: u32) {
        if self.pyramid.position(layer, index).is_none() {
            return;
        }
        let at = (self.pyramid.tokens_before(layer) + index) * self.size;
        if let Some(place) = self.ids.get_mut(at..at + self.size) {
            place.iter_mut().zip(id.to_le_bytes()).for_each(|(byte, value)| *byte = value);
        }
    }

    /// The words that `at` averages when `complete` layers have arrived: its own, or those of the finest complete
    /// layer's cell that has any; none where there is none. Fills in the ids; how many there are.
    pub fn words(&self, at: Position, complete: usize, ids: &mut [u32; MAX_LAYERS]) -> usize {
        let own = core::iter::once(at);
        let cells = (0..complete).rev().filter_map(|layer| self.pyramid.cell(layer, at));
        own.chain(cells).map(|at| self.own_words(at, ids)).find(|&count| count > 0).unwrap_or(0)
    }

    /// The words at `at` itself, in the order of reading.
    fn own_words(&self, at: Position, ids: &mut [u32; MAX_LAYERS]) -> usize {
        let (mut count, mut before) = (0, 0);
        for (layer, shape) in self.pyramid.layers().iter().enumerate() {
            let id = self.pyramid.index(layer, at).and_then(|index| self.id(before + index));
            if let Some((id, slot)) = id.zip(ids.get_mut(count)) {
                *slot = id;
                count += 1;
            }
            before += shape.area();
        }
        count
    }

    fn id(&self, place: usize) -> Option<u32> {
        let start = place.checked_mul(self.size)?;
        let stored = self.ids.get(start..)?;
        if self.size == size_of::<u16>() {
            let id = u16::from_le_bytes(*stored.first_chunk()?);
            (id != u16::MAX).then_some(id.into())
        } else {
            let id = u32::from_le_bytes(*stored.first_chunk()?);
            (id != u32::MAX).then_some(id)
        }
    }
}
