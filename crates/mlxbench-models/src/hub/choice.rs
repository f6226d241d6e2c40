//! Which of a repository's weights to fetch, decided before any of them is fetched: names of tensors tell
//! a part from a whole model, and packed weights from plain ones.

use std::collections::BTreeSet;

use mlxbench_core::checkpoint::{
    INDEX_FILE, NoWeights, SINGLE_FILE, WeightSet, WeightSets, check_names, is_whole_model,
    weight_sets,
};

use super::peek::Peek;
use super::refusal::Refusal;

/// The weights to fetch.
pub(super) struct Choice {
    pub(super) weights: WeightSet,
    /// Whether the index belongs to them. Beside a single file that is used in its place it would look
    /// as if its shards were missing.
    pub(super) with_index: bool,
    /// What the choice passed over, where the fetched files don't show it.
    pub(super) warning: Option<String>,
}

/// Chooses among the weights of a repository with these files, whose configuration is in its snapshot.
///
/// # Errors
/// When there are none, or they aren't plain weights.
pub(super) fn choose(files: &BTreeSet<&str>, peek: &Peek<'_>) -> Result<Choice, Refusal> {
    let index = match files.contains(INDEX_FILE) {
        true => peek.text(INDEX_FILE),
        false => None,
    };
    let sets = weight_sets(index.as_deref(), |file| files.contains(file));
    let WeightSets {
        first,
        other,
        warning,
    } = sets.map_err(|problem| match problem {
        NoWeights::Absent => {
            Refusal::NoSafetensors(files.iter().copied().map(str::to_owned).collect())
        }
        NoWeights::BadIndex(why) => Refusal::BadIndex(why),
        NoWeights::ShardMissing(name) => Refusal::BadIndex(format!(
            "it names {name}, which the repository doesn't have beside it"
        )),
    })?;
    let names = names(&first, peek);
    let whole = |names: &BTreeSet<String>| {
        let names = names.iter().map(String::as_str).collect();
        is_whole_model(&peek.snapshot, &names).unwrap_or(true)
    };
    let choice = match (other, &names) {
        (Some(other), Some(names)) if !whole(names) => Choice {
            weights: other,
            with_index: true,
            warning: Some(format!(
                "two sets of weights are there: {SINGLE_FILE} isn't a whole model, so the shards of \
                 {INDEX_FILE} are used"
            )),
        },
        (Some(_), _) => Choice {
            weights: first,
            with_index: false,
            warning,
        },
        // Who reads the files sees what is passed over.
        (None, _) => Choice {
            weights: first,
            with_index: true,
            warning: None,
        },
    };
    let names = match choice.weights.files == [SINGLE_FILE] {
        true => names,
        false => self::names(&choice.weights, peek),
    };
    if let Some(names) = names {
        let names = names.iter().map(String::as_str).collect();
        check_names(&peek.snapshot, &names).map_err(Refusal::NotGemma)?;
    }
    Ok(choice)
}

/// The names of a set's tensors, where they can be had without fetching it.
fn names(set: &WeightSet, peek: &Peek<'_>) -> Option<BTreeSet<String>> {
    match set.files.as_slice() {
        [file] if file == SINGLE_FILE => peek.tensor_names(file),
        _ => Some(set.indexed_names().map(str::to_owned).collect()),
    }
}
