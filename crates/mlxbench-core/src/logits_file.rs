//! Logits on disk: safetensors with one f32 tensor `logits` of shape `[positions, vocab_size]`,
//! written position by position, so that they are never all in memory.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Error, Result};

/// The header's length, which the format allows to be padded with spaces.
const HEADER_BYTES: usize = 120;
/// The longest header that is read: those of other writers hold some words more.
const MOST_HEADER_BYTES: u64 = 1 << 16;

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

/// Logits that were written. The file may be another process': it isn't mapped, so that one that is cut
/// or overwritten while it is read is an error and nothing worse.
#[derive(Debug)]
pub struct LogitsFile {
    path: PathBuf,
    file: File,
    start: u64,
    positions: usize,
    vocab_size: usize,
    /// Whether a position couldn't be read.
    cut: Cell<bool>,
}

/// What the header says of a tensor.
#[derive(Deserialize)]
struct Header {
    logits: Layout,
}

#[derive(Deserialize)]
struct Layout {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl LogitsFile {
    /// Opens `path`.
    ///
    /// # Errors
    /// When it can't be read or isn't such a file.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error| Error::io(path, error);
        let malformed = |reason: String| Error::model(path, format!("not logits: {reason}"));
        // A pipe would keep its opener waiting.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(malformed("it is no plain file".into()));
        }
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut prefix = [0; 8];
        file.read_exact_at(&mut prefix, 0).map_err(failed)?;
        let header_bytes = u64::from_le_bytes(prefix);
        if header_bytes > MOST_HEADER_BYTES {
            return Err(malformed(format!("a header of {header_bytes} bytes")));
        }
        let mut header = vec![0; header_bytes as usize];
        file.read_exact_at(&mut header, 8).map_err(failed)?;
        let Header { logits } =
            serde_json::from_slice(&header).map_err(|error| malformed(error.to_string()))?;
        let &[positions, vocab_size] = logits.shape.as_slice() else {
            return Err(malformed(format!(
                "the shape is {:?}, not [positions, vocab_size]",
                logits.shape
            )));
        };
        if logits.dtype != "F32" || vocab_size == 0 {
            return Err(malformed(format!("{}, not F32", logits.dtype)));
        }
        let bytes = (positions as u64)
            .checked_mul(vocab_size as u64)
            .and_then(|elements| elements.checked_mul(4));
        let (first, end) = logits.data_offsets;
        let data = 8 + header_bytes;
        if end.checked_sub(first) != bytes || end.checked_add(data) != Some(length) {
            return Err(malformed(format!(
                "{length} bytes hold no [{positions}, {vocab_size}] at {first} to {end}"
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            start: data + first,
            positions,
            vocab_size,
            cut: Cell::new(false),
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

    /// The logits of each position in turn, up to one that can't be read: see [`Self::whole`].
    pub fn rows(&self) -> impl Iterator<Item = Vec<f32>> {
        let mut row = vec![0; 4 * self.vocab_size];
        (0..self.positions as u64).map_while(move |position| {
            let start = self.start + position * row.len() as u64;
            if self.file.read_exact_at(&mut row, start).is_err() {
                self.cut.set(true);
                return None;
            }
            let words = row.as_chunks().0.iter();
            Some(words.map(|word| f32::from_le_bytes(*word)).collect())
        })
    }

    /// Whether [`Self::rows`] gave all that it was asked for.
    ///
    /// # Errors
    /// When a position couldn't be read.
    pub fn whole(&self) -> Result<()> {
        match self.cut.get() {
            false => Ok(()),
            true => Err(Error::model(&self.path, "was cut while it was read")),
        }
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

    #[test]
    fn a_file_that_is_cut_while_it_is_read_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logits.safetensors");
        let mut writer = LogitsWriter::create(&path, 64).unwrap();
        writer.push(&[1.0; 3 * 64]).unwrap();
        writer.finish().unwrap();
        let file = LogitsFile::open(&path).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        let cut = File::options().write(true).open(&path).unwrap();
        cut.set_len(length - 8).unwrap();
        assert_eq!(file.rows().count(), 2);
        let message = file.whole().unwrap_err().to_string();
        assert!(message.contains("cut while it was read"), "{message}");
    }

    #[test]
    fn what_is_no_plain_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let message = LogitsFile::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("no plain file"), "{message}");
    }
}
