//! Which files of a folder or a repository hold the weights: one file, or the shards of an index.

use std::collections::{BTreeSet, HashMap};

/// The name of a checkpoint's only file.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The name of the file that says which shard holds which tensor.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// Files that hold a whole model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightSet {
    /// Their names, in order.
    pub files: Vec<String>,
    /// The file of each tensor, where an index says so.
    pub(super) index: HashMap<String, String>,
}

impl WeightSet {
    /// The names of the tensors that the index lists; none where there is no index.
    pub fn indexed_names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }
}

/// The sets that a place has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightSets {
    /// The set to use.
    pub first: WeightSet,
    /// Another one that is there, too.
    pub other: Option<WeightSet>,
    /// What the choice passed over, if anything.
    pub warning: Option<String>,
}

/// Why a place has no set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoWeights {
    /// Neither a single file nor an index.
    Absent,
    /// What is wrong with the index.
    BadIndex(String),
    /// The shard that the index lists and that isn't there.
    ShardMissing(String),
}

/// The sets of a place that has the files `has` says yes to; `index` is the text of
/// [`INDEX_FILE`], where the place has it.
///
/// Where both are whole the single file counts, as in transformers.
///
/// # Errors
/// When there is no whole set.
pub fn weight_sets(
    index: Option<&str>,
    has: impl Fn(&str) -> bool,
) -> Result<WeightSets, NoWeights> {
    let single = has(SINGLE_FILE).then(|| WeightSet {
        files: vec![SINGLE_FILE.to_owned()],
        index: HashMap::new(),
    });
    let sharded = index.map(|text| sharded(text, &has));
    let only = |first| WeightSets {
        first,
        other: None,
        warning: None,
    };
    match (single, sharded) {
        (None, None) => Err(NoWeights::Absent),
        (Some(single), None) => Ok(only(single)),
        (None, Some(sharded)) => sharded.map(only),
        // mlx-lm writes an index for a single file, too.
        (Some(single), Some(Ok(sharded))) if sharded.files == single.files => Ok(only(single)),
        (Some(single), Some(Ok(sharded))) => Ok(WeightSets {
            warning: Some(format!(
                "two sets of weights are here: {SINGLE_FILE} is used, as transformers does, and \
                 not the {} shards of {INDEX_FILE}",
                sharded.files.len()
            )),
            first: single,
            other: Some(sharded),
        }),
        (Some(single), Some(Err(problem))) => Ok(WeightSets {
            warning: Some(match problem {
                NoWeights::ShardMissing(name) => {
                    format!("{INDEX_FILE} lists {name}, which isn't here: {SINGLE_FILE} is used")
                }
                NoWeights::BadIndex(why) => {
                    format!("{INDEX_FILE} can't be used ({why}): {SINGLE_FILE} is used")
                }
                NoWeights::Absent => String::new(),
            }),
            ..only(single)
        }),
    }
}

/// Whether one of these files is a shard by its name, `NAME-00001-of-00003.safetensors`.
pub fn is_shard<'a>(files: impl IntoIterator<Item = &'a String>) -> bool {
    files.into_iter().any(|file| {
        let stem = file.strip_suffix(".safetensors").unwrap_or_default();
        stem.rsplit_once("-of-")
            .is_some_and(|(_, count)| count.parse::<u32>().is_ok())
    })
}

/// The shards of an index, all of which are there.
fn sharded(text: &str, has: &impl Fn(&str) -> bool) -> Result<WeightSet, NoWeights> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: HashMap<String, String>,
    }
    let parsed: Index =
        serde_json::from_str(text).map_err(|error| NoWeights::BadIndex(error.to_string()))?;
    let files: BTreeSet<&String> = parsed.weight_map.values().collect();
    if files.is_empty() {
        return Err(NoWeights::BadIndex("it names no file".into()));
    }
    // A name is joined to the folder's.
    let outside =
        |name: &str| name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']);
    if let Some(name) = files.iter().find(|name| outside(name)) {
        return Err(NoWeights::BadIndex(format!(
            "it names {name:?}, which is no file beside it"
        )));
    }
    if let Some(name) = files.iter().find(|name| !has(name)) {
        return Err(NoWeights::ShardMissing(name.escape_debug().to_string()));
    }
    Ok(WeightSet {
        files: files.into_iter().cloned().collect(),
        index: parsed.weight_map,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#;

    fn sets(index: Option<&str>, files: &[&str]) -> Result<WeightSets, NoWeights> {
        weight_sets(index, |name| files.contains(&name))
    }

    #[test]
    fn one_set_is_used_without_a_word() {
        let single = sets(None, &[SINGLE_FILE]).unwrap();
        assert_eq!(single.first.files, [SINGLE_FILE]);
        let shards = sets(Some(INDEX), &["a.safetensors", "b.safetensors"]).unwrap();
        assert_eq!(shards.first.files, ["a.safetensors", "b.safetensors"]);
        let of_single = r#"{"weight_map": {"x": "model.safetensors"}}"#;
        let same = sets(Some(of_single), &[SINGLE_FILE]).unwrap();
        for sets in [single, shards, same] {
            assert_eq!((sets.warning, sets.other), (None, None));
        }
    }

    #[test]
    fn a_single_file_beside_a_stale_or_broken_index_is_used_with_a_warning() {
        for index in [INDEX, "{", r#"{"weight_map": {}}"#] {
            let sets = sets(Some(index), &["a.safetensors", SINGLE_FILE]).unwrap();
            assert_eq!(sets.first.files, [SINGLE_FILE]);
            let warning = sets.warning.unwrap();
            assert!(warning.ends_with("model.safetensors is used"), "{warning}");
        }
    }

    #[test]
    fn of_two_whole_sets_the_choice_is_said() {
        let all = ["a.safetensors", "b.safetensors", SINGLE_FILE];
        let sets = sets(Some(INDEX), &all).unwrap();
        assert_eq!(sets.first.files, [SINGLE_FILE]);
        assert_eq!(sets.other.unwrap().files.len(), 2);
        assert!(sets.warning.unwrap().contains("two sets of weights"));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(sets(None, &["other.safetensors"]), Err(NoWeights::Absent));
        assert_eq!(
            sets(Some(INDEX), &["a.safetensors"]),
            Err(NoWeights::ShardMissing("b.safetensors".into()))
        );
    }

    #[test]
    fn an_index_that_leaves_the_folder_is_refused() {
        for name in ["../a.safetensors", "/a", "", "a/b", ".."] {
            let index = serde_json::json!({"weight_map": {"x": name}}).to_string();
            let refused = weight_sets(Some(&index), |_| true);
            let single = refused.unwrap();
            // There is a single file here, which counts.
            assert_eq!(single.first.files, [SINGLE_FILE]);
            let alone = weight_sets(Some(&index), |file| file != SINGLE_FILE);
            assert!(matches!(alone, Err(NoWeights::BadIndex(_))), "{name}");
        }
    }
}
