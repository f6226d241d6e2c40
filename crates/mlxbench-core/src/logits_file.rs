//! Logits on disk: safetensors with one f32 tensor `logits` of shape `[positions, vocab_size]`,
//! written position by position, so that they are never all in memory.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;

use crate::{Error, Result};

/// The header's length, which the format allows to be padded with spaces.
const HEADER_BYTES: usize = 120;

/// Logits that are being written.
#[derive(Debug)]
pub struct LogitsWriter {
    path: PathBuf,
    file: BufWriter<File>,
    positions: usize,
    vocab_size: usize,
}

impl LogitsWriter {
    /// A file of vectors of `vocab_size` logits at `path`, in place of any before it.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create(path: &Path, vocab_size: usize) -> Result<Self> {
        let file = File::create(path).map_err(|error| Error::io(path, error))?;
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            positions: 0,
            vocab_size,
        };
        writer.write(&[0; 8 + HEADER_BYTES])?;
        Ok(writer)
    }

    /// Appends a position, or the rows of one behind one another.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn push(&mut self, logits: &[f32]) -> Result<()> {
        self.positions += logits.len() / self.vocab_size.max(1);
        for logit in logits {
            self.write(&logit.to_le_bytes())?;
        }
        Ok(())
    }

    /// Writes the header, which makes the file whole.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn finish(mut self) -> Result<()> {
        let (positions, vocab_size) = (self.positions, self.vocab_size);
        let header = serde_json::json!({"logits": {
            "dtype": "F32",
            "shape": [positions, vocab_size],
            "data_offsets": [0, 4 * positions * vocab_size],
        }});
        let header = format!("{:<HEADER_BYTES$}", header.to_string());
        let sought = self.file.seek(SeekFrom::Start(0));
        sought.map_err(|error| Error::io(&self.path, error))?;
        self.write(&(HEADER_BYTES as u64).to_le_bytes())?;
        self.write(header.as_bytes())?;
        let flushed = self.file.flush();
        flushed.map_err(|error| Error::io(&self.path, error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| Error::io(&self.path, error))
    }
}

/// Logits that were written.
#[derive(Debug)]
pub struct LogitsFile {
    map: Mmap,
    start: usize,
    positions: usize,
    vocab_size: usize,
}

impl LogitsFile {
    /// Opens `path`.
    ///
    /// # Errors
    /// When it can't be read or isn't such a file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io(path, error))?;
        // SAFETY: the file is a temporary one of this run, which nobody else changes.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::io(path, error))?;
        let malformed = |reason: String| Error::model(path, format!("not logits: {reason}"));
        let tensors =
            SafeTensors::deserialize(&map).map_err(|error| malformed(error.to_string()))?;
        let tensor = tensors
            .tensor("logits")
            .map_err(|error| malformed(error.to_string()))?;
        let &[positions, vocab_size] = tensor.shape() else {
            return Err(malformed(format!(
                "the shape is {:?}, not [positions, vocab_size]",
                tensor.shape()
            )));
        };
        if tensor.dtype() != safetensors::Dtype::F32 || vocab_size == 0 {
            return Err(malformed(format!("{:?}, not F32", tensor.dtype())));
        }
        let start = tensor.data().as_ptr() as usize - map.as_ptr() as usize;
        Ok(Self {
            start,
            positions,
            vocab_size,
            map,
        })
    }

    /// How many positions it holds.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Logits a position.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The logits of each position in turn.
    pub fn rows(&self) -> impl Iterator<Item = Vec<f32>> {
        let bytes = &self.map[self.start..self.start + 4 * self.positions * self.vocab_size];
        let rows = bytes.chunks_exact(4 * self.vocab_size);
        rows.map(|row| {
            let words = row.as_chunks().0.iter();
            words.map(|word| f32::from_le_bytes(*word)).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logits.safetensors");
        let mut writer = LogitsWriter::create(&path, 3).unwrap();
        writer.push(&[1.0, -2.0, 3.5]).unwrap();
        writer.push(&[4.0, 5.0, 6.0, 7.0, 8.0, 9.0]).unwrap();
        writer.finish().unwrap();
        let file = LogitsFile::open(&path).unwrap();
        assert_eq!((file.positions(), file.vocab_size()), (3, 3));
        let rows: Vec<_> = file.rows().collect();
        let second = [vec![4.0, 5.0, 6.0], vec![7.0, 8.0, 9.0]];
        assert_eq!(rows, [&[vec![1.0, -2.0, 3.5]], &second[..]].concat());
    }

    #[test]
    fn a_file_that_was_cut_short_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logits.safetensors");
        let mut writer = LogitsWriter::create(&path, 64).unwrap();
        writer.push(&[1.0; 64]).unwrap();
        drop(writer);
        let message = LogitsFile::open(&path).unwrap_err().to_string();
        assert!(message.contains("not logits"), "{message}");
    }
}
