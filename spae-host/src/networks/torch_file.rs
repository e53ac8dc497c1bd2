//! Weights as PyTorch saves them: a zip since 1.6, a row of pickles before. Nothing in a file is run.

use std::collections::HashMap;
use std::io::{BufRead as _, Cursor, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use candle_core::pickle::{self, Object, Stack};
use candle_core::{DType, Device, Tensor};

/// The start of a zip.
const ZIP: &[u8] = b"PK\x03\x04";
/// The first of the pickles: PyTorch's magic number.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Whether `bytes` begin like a file of PyTorch's.
pub(super) fn is_torch(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP) || bytes.starts_with(MAGIC)
}

/// The tensors of a state dictionary by name. `bytes` are what is at `path`.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<HashMap<String, Tensor>> {
    let tensors = match bytes.strip_prefix(MAGIC) {
        Some(pickles) => read_pickles(pickles)?,
        None => pickle::read_all(path)?.into_iter().collect(),
    };
    ensure!(!tensors.is_empty(), "there is no dictionary of tensors in it; save `model.state_dict()`");
    Ok(tensors)
}

/// Version, description of the machine, dictionary, keys of the storages; then each storage's length and values.
fn read_pickles(bytes: &[u8]) -> Result<HashMap<String, Tensor>> {
    let mut bytes = Cursor::new(bytes);
    let mut next = || -> Result<Object> {
        let mut stack = Stack::empty();
        stack.read_loop(&mut bytes)?;
        Ok(stack.finalize()?)
    };
    let [_, _, dictionary, keys] = [next()?, next()?, next()?, next()?];
    let (Object::Dict(entries), Object::List(keys)) = (dictionary, keys) else {
        bail!("it holds no dictionary of tensors; save `model.state_dict()`");
    };
    let infos = entries.into_iter().filter_map(|(name, value)| value.into_tensor_info(name, Path::new("")).transpose());
    let infos = infos.collect::<std::result::Result<Vec<_>, _>>()?;
    let mut tensors = HashMap::new();
    for key in keys {
        let key = key.unicode().map_err(|_| anyhow!("a storage without a name"))?;
        let mut length = [0; 8];
        bytes.read_exact(&mut length).context("the file ends too early")?;
        let length = usize::try_from(u64::from_le_bytes(length))?;
        // The path of a tensor ends in its storage's key.
        let users: Vec<_> = infos.iter().filter(|info| info.path.rsplit('/').next() == Some(&key)).collect();
        let size = users.first().map_or(DType::F32, |info| info.dtype).size_in_bytes();
        let position = usize::try_from(bytes.position())?;
        let storage = bytes.get_ref().get(position..).and_then(|rest| rest.get(..length.checked_mul(size)?));
        let storage = storage.with_context(|| format!("the file ends within storage {key}"))?;
        for info in users {
            let shape = info.layout.shape().clone();
            ensure!(info.layout.is_contiguous(), "`{}` does not lie row by row", info.name);
            // In bytes here.
            let from = info.layout.start_offset();
            let values = storage.get(from..).and_then(|rest| rest.get(..shape.elem_count() * size));
            let values = values.with_context(|| format!("`{}` is larger than its storage", info.name))?;
            tensors.insert(info.name.clone(), Tensor::from_raw_buffer(values, info.dtype, shape.dims(), &Device::Cpu)?);
        }
        bytes.consume(length * size);
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::golden::golden;

    fn file(form: &str) -> Vec<u8> {
        let golden = golden();
        let hex = golden["torch_files"][form].as_str().unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn read_bytes(bytes: &[u8]) -> Result<HashMap<String, Tensor>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pth");
        std::fs::write(&path, bytes).unwrap();
        read(&path, bytes)
    }

    #[test]
    fn both_forms_read_alike() {
        for form in ["zip", "pickles"] {
            let bytes = file(form);
            assert!(is_torch(&bytes) && !is_torch(b"\x08\0\0\0\0\0\0\0{}"));
            let tensors = read_bytes(&bytes).unwrap();
            assert_eq!(tensors.len(), 3, "{form}");
            assert_eq!(tensors["a"].to_vec2::<f32>().unwrap(), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
            assert_eq!(tensors["b"].to_vec1::<i64>().unwrap(), [4, 5, 6], "a part of its storage");
            assert_eq!(tensors["c"].to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap(), [0.5]);
        }
    }

    #[test]
    fn a_file_that_is_cut_is_an_error_wherever() {
        let bytes = file("pickles");
        for length in MAGIC.len()..bytes.len() {
            assert!(read_bytes(&bytes[..length]).is_err(), "{length}");
        }
    }
}
