//! The model file's container taken apart and put together again with right checksums: what an attacker would write.
//! Shares no code with spae-core.

/// Bytes of the header.
pub const HEADER: usize = 20;
/// Bytes of an entry of the section table.
pub const ENTRY: usize = 16;
/// Sections of a file of version 1.
pub const SECTIONS: usize = 6;

/// Numbers of the sections.
pub mod section {
    /// The grid and the layers.
    pub const PYRAMID: usize = 0;
    /// The words.
    pub const LEXICON: usize = 1;
    /// The words' vectors.
    pub const CODEBOOK: usize = 2;
    /// The stages.
    pub const DECODER: usize = 3;
    /// The weights.
    pub const WEIGHTS: usize = 4;
    /// Where the model comes from.
    pub const PROVENANCE: usize = 5;
}

const TAGS: [&[u8; 4]; SECTIONS] = [b"PYRA", b"LEXI", b"CODE", b"DECO", b"WGHT", b"PROV"];

/// A file's contents without its checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The header's bytes before total length.
    pub magic_version_count: [u8; 8],
    /// Scratch bytes as the header states them.
    pub scratch_bytes: u32,
    /// What stands in each section.
    pub sections: [Vec<u8>; SECTIONS],
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

impl Container {
    /// Takes a sound file apart.
    ///
    /// # Panics
    /// If it is not sound.
    pub fn open(file: &[u8]) -> Self {
        let section = |index: usize| {
            let entry = &file[HEADER + index * ENTRY..];
            file[word(entry, 4)..word(entry, 4) + word(entry, 8)].to_vec()
        };
        Self {
            magic_version_count: file[..8].try_into().expect("a header"),
            scratch_bytes: word(file, 12) as u32,
            sections: std::array::from_fn(section),
        }
    }

    /// The file of these contents, every offset, length and checksum right.
    pub fn seal(&self) -> Vec<u8> {
        let mut table = Vec::new();
        let mut body = Vec::new();
        for (tag, section) in TAGS.iter().zip(&self.sections) {
            let start = HEADER + SECTIONS * ENTRY + body.len();
            let mut padded = section.clone();
            padded.resize(section.len().next_multiple_of(4), 0);
            table.extend_from_slice(*tag);
            for field in [start as u32, section.len() as u32, crc32c::crc32c(&padded)] {
                table.extend_from_slice(&field.to_le_bytes());
            }
            body.extend(padded);
        }
        let mut file = self.magic_version_count.to_vec();
        let total = HEADER + table.len() + body.len();
        file.extend_from_slice(&(total as u32).to_le_bytes());
        file.extend_from_slice(&self.scratch_bytes.to_le_bytes());
        file.extend_from_slice(&[0; 4]);
        file.extend(table);
        file.extend(body);
        reseal_header(&mut file);
        file
    }
}

/// Makes the header's checksum right.
pub fn reseal_header(file: &mut [u8]) {
    let counted = [&file[..HEADER - 4], &file[HEADER..HEADER + SECTIONS * ENTRY]].concat();
    file[HEADER - 4..HEADER].copy_from_slice(&crc32c::crc32c(&counted).to_le_bytes());
}

/// Makes every section's checksum right where its place in the file makes sense, then the header's.
pub fn reseal(file: &mut [u8]) {
    for index in 0..SECTIONS {
        let entry = HEADER + index * ENTRY;
        let (start, length) = (word(file, entry + 4), word(file, entry + 8));
        let end = length.checked_next_multiple_of(4).and_then(|padded| start.checked_add(padded));
        if let Some(bytes) = end.and_then(|end| file.get(start..end)) {
            let checksum = crc32c::crc32c(bytes);
            file[entry + 12..entry + 16].copy_from_slice(&checksum.to_le_bytes());
        }
    }
    reseal_header(file);
}
