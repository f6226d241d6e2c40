//! Looks into files of the hub without fetching them: the names of tensors stand at the beginning of a
//! file of gigabytes. What can't be looked into isn't known, which is no error: fetching it tells more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use hf_hub::api::sync::ApiRepo;
use mlxbench_core::checkpoint::read_text;
use serde::de::IgnoredAny;

use super::{CONNECT_TIMEOUT, DESCRIBE_TIMEOUT};

/// What is asked for first: more than the header of most models.
const FIRST_BYTES: u64 = 64 << 10;
/// The longest header that the format allows, and far more than an index.
const MOST_BYTES: u64 = 100 << 20;
/// Bytes before a header, which hold its length.
const LENGTH_BYTES: u64 = size_of::<u64>() as u64;

/// The files of one commit, on the hub and as far as they are in the cache.
pub(super) struct Peek<'a> {
    pub(super) remote: &'a ApiRepo,
    pub(super) token: Option<&'a str>,
    pub(super) snapshot: PathBuf,
}

impl Peek<'_> {
    /// The text of a small file.
    pub(super) fn text(&self, file: &str) -> Option<String> {
        let here = self.snapshot.join(file);
        if here.is_file() {
            return read_text(&here).ok();
        }
        String::from_utf8(self.bytes(file, 0, MOST_BYTES)?).ok()
    }

    /// The names of the tensors of a safetensors file.
    pub(super) fn tensor_names(&self, file: &str) -> Option<BTreeSet<String>> {
        let here = self.snapshot.join(file);
        let header = match here.is_file() {
            true => local_header(File::open(here).ok()?),
            false => self.header(file),
        };
        let entries: BTreeMap<String, IgnoredAny> = serde_json::from_slice(&header?).ok()?;
        let names = entries.into_keys().filter(|name| name != "__metadata__");
        Some(names.collect())
    }

    fn header(&self, file: &str) -> Option<Vec<u8>> {
        let first = self.bytes(file, 0, FIRST_BYTES)?;
        let (length, rest) = first.split_first_chunk()?;
        let length = believable(u64::from_le_bytes(*length))?;
        match rest.get(..usize::try_from(length).ok()?) {
            Some(header) => Some(header.to_vec()),
            None => self.bytes(file, LENGTH_BYTES, length),
        }
    }

    /// At most `count` bytes of a file from byte `start` on. A hub that would send all of it is left.
    fn bytes(&self, file: &str, start: u64, count: u64) -> Option<Vec<u8>> {
        const PARTIAL_CONTENT: u16 = 206;
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(DESCRIBE_TIMEOUT));
        let range = format!("bytes={start}-{}", start + count - 1);
        let mut request = ureq::Agent::from(config.build())
            .get(self.remote.url(file))
            .header("Range", range);
        // A redirection to another host gets none.
        if let Some(token) = self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut answer = request.call().ok()?;
        if answer.status().as_u16() != PARTIAL_CONTENT {
            return None;
        }
        let body = answer.body_mut().with_config().limit(count + 1);
        body.read_to_vec().ok()
    }
}

fn local_header(mut file: File) -> Option<Vec<u8>> {
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut length).ok()?;
    let length = believable(u64::from_le_bytes(length))?;
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).ok()?;
    Some(header)
}

/// The length of a header, if it can be one.
fn believable(length: u64) -> Option<u64> {
    (1..=MOST_BYTES).contains(&length).then_some(length)
}
