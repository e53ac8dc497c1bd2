//! Safetensors files with one JSON document beside the tensors, written so that a crash never costs the old file.
//!
//! The document is a single metadata entry named after its kind: the same content always gives the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Serialize, de::DeserializeOwned};

/// Tensors by name, in the order of their names.
pub type Tensors = BTreeMap<String, Tensor>;

/// Writes `tensors` (f16, f32 or u32) and `document` to `path`, replacing what was there only once all is on the disk.
///
/// # Errors
/// If a tensor has another type, or the disk refuses; an older file at `path` is then untouched.
pub fn write<D: Serialize>(path: &Path, kind: &str, tensors: &Tensors, document: &D) -> Result<()> {
    let mut stored = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let (dtype, bytes) = to_bytes(tensor).with_context(|| format!("tensor `{name}`"))?;
        stored.push((name, dtype, tensor.dims().to_vec(), bytes));
    }
    let views = stored
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([(kind.to_owned(), serde_json::to_string(document)?)]);
    let bytes = safetensors::serialize(views, Some(metadata))?;
    replace(path, &bytes)
}

/// Reads a file that [`write()`] has written with the same `kind`.
///
/// # Errors
/// If the file is missing, damaged, or of another kind.
pub fn read<D: DeserializeOwned>(path: &Path, kind: &str) -> Result<(Tensors, D)> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let damaged = || format!("{} is not a whole safetensors file", path.display());
    let (_, header) = SafeTensors::read_metadata(&bytes).with_context(damaged)?;
    let document = header.metadata().as_ref().and_then(|metadata| metadata.get(kind)).ok_or_else(|| {
        anyhow!("{} is a safetensors file, but not a {kind}: its metadata has no entry `{kind}`", path.display())
    })?;
    let document = serde_json::from_str(document)
        .with_context(|| format!("{}: the metadata entry `{kind}` does not read", path.display()))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).with_context(damaged)?;
    Ok((tensors.into_iter().collect(), document))
}

/// Puts `bytes` at `path` through a temporary file in the same folder: written, flushed to the disk, then renamed. What
/// is no file, such as a pipe or a device, is written to as it is.
///
/// # Errors
/// If the disk refuses; the old file is then untouched and the temporary one removed.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        return fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()));
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = Path::new(&temporary);
    let written = (|| {
        let mut file = File::create(temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(temporary, path)
    })();
    if let Err(error) = written {
        // The failure above is the one to report; a file that cannot be removed either changes nothing about it.
        let _ = fs::remove_file(temporary);
        return Err(error).with_context(|| format!("cannot write {}; what was there before is kept", path.display()));
    }
    // The rename itself reaches the disk with the folder. Not every system can flush a folder.
    if let Some(Ok(folder)) = path.parent().map(File::open) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn to_bytes(tensor: &Tensor) -> Result<(Dtype, Vec<u8>)> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F32 => (Dtype::F32, flat.to_vec1::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect()),
        DType::F16 => (Dtype::F16, flat.to_vec1::<half::f16>()?.iter().flat_map(|v| v.to_le_bytes()).collect()),
        DType::U32 => (Dtype::U32, flat.to_vec1::<u32>()?.iter().flat_map(|v| v.to_le_bytes()).collect()),
        other => bail!("type {other:?} has no place in this file; f16, f32 and u32 do"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tensors {
        let values = Tensor::new(&[[1f32, -2.5], [0.0, 4.0]], &Device::Cpu).unwrap();
        let halves = values.to_dtype(DType::F16).unwrap();
        Tensors::from([("a".to_owned(), values), ("b".to_owned(), halves)])
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write(&path, "test", &sample(), &vec![1, 2]).unwrap();
        let (tensors, document): (_, Vec<u32>) = read(&path, "test").unwrap();
        assert_eq!(document, [1, 2]);
        assert_eq!(tensors["a"].to_vec2::<f32>().unwrap(), [[1.0, -2.5], [0.0, 4.0]]);
        assert_eq!(tensors["b"].dtype(), DType::F16);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_cut_file_and_one_of_another_kind_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write(&path, "test", &sample(), &()).unwrap();
        let other = read::<()>(&path, "codebook").unwrap_err().to_string();
        assert!(other.contains("x.safetensors") && other.contains("codebook"), "{other}");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read::<()>(&path, "test").unwrap_err().to_string().contains("x.safetensors"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_device_is_written_to_and_stays_a_device() {
        use std::os::unix::fs::FileTypeExt as _;
        let error = format!("{:#}", replace(Path::new("/dev/full"), b"new").unwrap_err());
        assert!(error.contains("/dev/full") && error.contains("No space left"), "{error}");
        assert!(fs::metadata("/dev/full").unwrap().file_type().is_char_device());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "old").unwrap();
        let error = replace(&path, b"new").unwrap_err().to_string();
        assert!(error.contains("kept"), "{error}");
        assert_eq!(fs::read_to_string(path.join("inside")).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }
}
