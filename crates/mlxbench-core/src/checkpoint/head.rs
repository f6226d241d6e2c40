//! Which output head counts: what the file says, and what the weights say.
//!
//! As transformers does from 5.8 on (`PreTrainedModel.tie_weights`): a stored head that differs from
//! the embeddings is used whatever `tie_word_embeddings` says, and where one table of two that are
//! tied is missing, the other stands for both.

use super::tensor::Tensor;
use crate::Dtype;
use crate::gemma::Fact;
use crate::gemma::hf::{HeadFlag, head_fact};

/// The decision.
#[derive(Debug, PartialEq)]
pub(super) struct Head {
    /// Whether the head is the embedding table.
    pub(super) tied: bool,
    /// The decision and its reason.
    pub(super) fact: Fact,
    /// What a user should know of it.
    pub(super) warning: Option<String>,
}

/// Decides for a file that says `flag`, between the stored embeddings and the stored head.
///
/// # Errors
/// When the head should be a table of its own and isn't stored.
pub(super) fn decide(
    flag: &HeadFlag,
    embeddings: Option<&Tensor<'_>>,
    head: Option<&Tensor<'_>>,
) -> Result<Head, String> {
    let from = &flag.from;
    // A default is no key of the file.
    let says = match from.strip_prefix("default of ") {
        Some(class) => format!("the default of {class}"),
        None => format!("`{from}`"),
    };
    let decided = |tied, reason: String| Head {
        tied,
        fact: head_fact(tied, &reason),
        warning: None,
    };
    match (flag.tied, embeddings, head) {
        (true, _, None) => Ok(decided(true, from.clone())),
        (false, _, Some(_)) => Ok(decided(false, from.clone())),
        (false, _, None) if flag.read_by_reference => Err(format!(
            "tensor `lm_head.weight` is missing, and {says} says that the output head isn't the \
             embedding table: are all of the model's files here?"
        )),
        (false, _, None) => {
            let reason = format!("no lm_head.weight, and {says} isn't what transformers reads");
            let warning = format!(
                "{says} says that the output head isn't the embedding table, but there is no \
                 `lm_head.weight`: the embeddings are used, as in transformers"
            );
            Ok(Head {
                warning: Some(warning),
                ..decided(true, reason)
            })
        }
        (true, None, Some(_)) => Ok(decided(true, format!("{from}; lm_head.weight is both"))),
        (true, Some(embeddings), Some(head)) if same_elements(embeddings, head) => {
            Ok(decided(true, format!("{from}; lm_head.weight is the same")))
        }
        (true, Some(_), Some(_)) => {
            let warning = format!(
                "`lm_head.weight` differs from the embeddings: it is used as the output head, as in \
                 transformers, though {says} says that they are tied"
            );
            Ok(Head {
                warning: Some(warning),
                ..decided(false, "lm_head.weight differs from the embeddings".into())
            })
        }
    }
}

/// Whether two tensors of one shape hold the same numbers. It ends at the first that differ, and
/// holds a block of each at a time.
fn same_elements(a: &Tensor<'_>, b: &Tensor<'_>) -> bool {
    // What is computed is in f32, and in blocks of its own.
    if a.dtype() == b.dtype() && a.dtype() != Dtype::F32 {
        return a.blocks().eq(b.blocks());
    }
    let [a, b] = [a, b].map(|tensor| tensor.widened_blocks().flatten());
    a.eq(b)
}
