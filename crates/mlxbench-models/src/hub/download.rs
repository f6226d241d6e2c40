//! One file from the hub into the cache, by hf-hub, around its rough edges.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::CacheRepo;
use hf_hub::api::sync::{Api, ApiError, ApiRepo};
use mlxbench_core::text::tell;

/// How long to wait before each further try of a download that broke off.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(10),
];

/// Brings the files of one commit into its snapshot.
pub(super) struct Download {
    pub(super) api: Api,
    /// The repository at the commit, on the hub.
    pub(super) remote: ApiRepo,
    /// The same in the cache.
    pub(super) cache: CacheRepo,
    pub(super) snapshot: PathBuf,
    /// Whether hf-hub shows how far it is: only on a terminal.
    pub(super) bars: bool,
}

impl Download {
    /// Brings `file` into the snapshot, unless it is there. A download that broke off, now or in an
    /// earlier run, goes on where it ended.
    ///
    /// # Errors
    /// When the hub refuses, the connection breaks again and again, or the disk is full.
    pub(super) fn bring(&self, file: &str) -> Result<(), ApiError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            // hf-hub's own retries append to the wrong place when a resumed download fails at once.
            match self.bring_once(file) {
                Err(error) if may_pass(&error) => match pauses.next() {
                    Some(pause) => std::thread::sleep(pause),
                    None => return Err(error),
                },
                done => return done,
            }
        }
    }

    fn bring_once(&self, file: &str) -> Result<(), ApiError> {
        let link = self.snapshot.join(file);
        if link.exists() {
            return Ok(());
        }
        if link.is_symlink() {
            // It leads nowhere, and hf-hub would not replace it.
            fs::remove_file(&link)?;
        }
        let metadata = self.api.metadata(&self.remote.url(file))?;
        let expected = metadata.size() as u64;
        let blob = self.cache.blob_path(metadata.etag());
        let part = blob.with_extension("part");
        // hf-hub asks for the rest of a part that has none, and the hub calls that a mistake.
        match size(&part) {
            Some(bytes) if bytes == expected => fs::rename(&part, &blob)?,
            Some(bytes) if bytes > expected => fs::remove_file(&part)?,
            _ => (),
        }
        // Another commit's file with the same content need not be fetched again.
        if size(&blob) == Some(expected) {
            fs::create_dir_all(&self.snapshot)?;
            symlink(Path::new("../../blobs").join(metadata.etag()), &link)?;
        } else {
            if !self.bars {
                let size = humansize::format_size(expected, humansize::DECIMAL);
                tell(format_args!("hub: fetching {file} ({size})"));
            }
            self.remote.download(file)?;
        }
        if size(&link) != Some(expected) {
            // What answered took no notice of the range asked for.
            fs::remove_file(&blob)?;
            return Err(ApiError::InvalidResume);
        }
        Ok(())
    }
}

fn size(path: &Path) -> Option<u64> {
    Some(fs::metadata(path).ok()?.len())
}

/// Whether trying again may help.
fn may_pass(error: &ApiError) -> bool {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(status) => status == 429 || status >= 500,
            _ => true,
        },
        ApiError::IoError(error) => !matches!(
            error.kind(),
            ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
                | ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
        ),
        ApiError::InvalidResume => true,
        _ => false,
    }
}
