//! Files that commands write. None may be something that somebody needs: neither what the command
//! itself reads, nor a config, a result or weights whose name slipped into the wrong option.
//!
//! | module | its subject |
//! |---|---|
//! | `place` | which file a path leads to, and whether it is one |
//! | `kind` | whether a file is an earlier output of ours |
//! | `aside` | writing a file beside its name, so that it is the old one or the new one, and whole |

mod aside;
mod kind;
mod place;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};

pub(crate) use aside::Aside;
pub(crate) use kind::Kind;
use place::{Place, place};

/// What a command reads, and what it is going to write.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    inputs: Vec<Place>,
    claimed: Vec<Place>,
}

impl Outputs {
    /// Those of a command that reads `inputs`, files or folders. What isn't there has another meaning:
    /// the name of a baseline, for one.
    pub(crate) fn beside<'a>(inputs: impl IntoIterator<Item = &'a Path>) -> Self {
        let places = inputs.into_iter().filter_map(|input| place(input).ok());
        Self {
            inputs: places.filter(Place::exists).collect(),
            claimed: Vec::new(),
        }
    }

    /// Sees that `path` may be written as a file of this kind: before anything is measured for it.
    ///
    /// # Errors
    /// When it is read by the command, named twice, a folder, or there and no earlier output of this kind.
    pub(crate) fn claim(&mut self, path: &Path, kind: Kind) -> anyhow::Result<()> {
        let shown = path.display();
        let place = place(path).with_context(|| shown.to_string())?;
        if place.is_in(&self.inputs) {
            bail!("{shown} is read by this command, and would be lost: write to another file");
        }
        if place.is_in(&self.claimed) {
            bail!("{shown} is named twice to be written");
        }
        match &place {
            Place::Folder(_) => bail!("{shown} is a folder: name a file"),
            Place::File { path, .. } if !kind.wrote(path).with_context(|| shown.to_string())? => {
                bail!(
                    "{shown} is there, and isn't {}: it was left alone; write to another file, or remove \
                 this one first",
                    kind.name()
                )
            }
            Place::File { .. } | Place::Absent(_) | Place::Stream => {}
        }
        self.claimed.push(place);
        Ok(())
    }
}

/// Writes a file: whole, or not at all.
///
/// # Errors
/// When it can't be written. What was there before is there still.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let aside = Aside::new(path)?;
        aside.write(bytes)?;
        aside.finish()
    };
    write().with_context(|| path.display().to_string())
}

/// Adds to a file that others add to as well.
///
/// # Errors
/// When it can't be written.
pub(crate) fn append(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.with_context(|| path.display().to_string())
}
