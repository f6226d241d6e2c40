//! Token ids, in batches whose rows are of equal length.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// An index into the vocabulary.
pub type TokenId = u32;

/// Token ids of shape `[batch, len]`: at least one row, every row of the same length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<TokenId>>", into = "Vec<Vec<TokenId>>")]
pub struct TokenBatch {
    batch: usize,
    len: usize,
    ids: Vec<TokenId>,
}

impl TokenBatch {
    /// A batch of `rows`.
    ///
    /// # Errors
    /// When there is no row, or the rows differ in length.
    pub fn new(rows: &[Vec<TokenId>]) -> Result<Self> {
        let Some(first) = rows.first() else {
            return Err(Error::Invalid(
                "a batch of tokens needs at least one row".into(),
            ));
        };
        if let Some(other) = rows.iter().find(|row| row.len() != first.len()) {
            return Err(Error::Invalid(format!(
                "the rows of a batch must be of equal length: found {} and {} tokens",
                first.len(),
                other.len()
            )));
        }
        Ok(Self {
            batch: rows.len(),
            len: first.len(),
            ids: rows.concat(),
        })
    }

    /// One row.
    pub fn row(ids: Vec<TokenId>) -> Self {
        Self {
            batch: 1,
            len: ids.len(),
            ids,
        }
    }

    /// How many rows.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Tokens a row.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the rows are empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All ids, row after row.
    pub fn ids(&self) -> &[TokenId] {
        &self.ids
    }

    /// The rows.
    pub fn rows(&self) -> impl Iterator<Item = &[TokenId]> {
        (0..self.batch).map(|row| &self.ids[row * self.len..(row + 1) * self.len])
    }

    /// Columns `range` of every row.
    pub fn columns(&self, range: std::ops::Range<usize>) -> Self {
        let ids = self
            .rows()
            .flat_map(|row| &row[range.clone()])
            .copied()
            .collect();
        Self {
            batch: self.batch,
            len: range.len(),
            ids,
        }
    }

    /// The first `count` rows.
    pub fn first_rows(&self, count: usize) -> Self {
        let batch = self.batch.min(count);
        Self {
            batch,
            len: self.len,
            ids: self.ids[..batch * self.len].to_vec(),
        }
    }

    /// The batch cut into blocks of `rows` rows, in order; what is left over in the end is no block.
    pub fn row_blocks(&self, rows: usize) -> impl Iterator<Item = Self> {
        let blocks = self.ids.chunks_exact((rows * self.len).max(1));
        blocks.map(move |ids| Self {
            batch: rows,
            len: self.len,
            ids: ids.to_vec(),
        })
    }

    /// The batch cut into column blocks of at most `size` tokens, in order.
    pub fn chunks(&self, size: usize) -> impl Iterator<Item = Self> {
        (0..self.len)
            .step_by(size)
            .map(move |start| self.columns(start..self.len.min(start + size)))
    }

    /// Fails when an id lies outside a vocabulary of `vocab_size`.
    pub fn check_vocab(&self, vocab_size: usize) -> Result<()> {
        match self.ids.iter().find(|&&id| id as usize >= vocab_size) {
            Some(id) => Err(Error::Invalid(format!(
                "token id {id} lies outside the model's vocabulary of {vocab_size}: \
                 does the tokenizer belong to this model?"
            ))),
            None => Ok(()),
        }
    }
}

impl TryFrom<Vec<Vec<TokenId>>> for TokenBatch {
    type Error = Error;

    fn try_from(rows: Vec<Vec<TokenId>>) -> Result<Self> {
        Self::new(&rows)
    }
}

impl From<TokenBatch> for Vec<Vec<TokenId>> {
    fn from(batch: TokenBatch) -> Self {
        batch.rows().map(<[TokenId]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_keep_rows_apart() {
        let batch = TokenBatch::new(&[vec![1, 2, 3], vec![4, 5, 6]]).unwrap();
        let chunks: Vec<Vec<Vec<TokenId>>> = batch.chunks(2).map(Into::into).collect();
        assert_eq!(
            chunks,
            [vec![vec![1, 2], vec![4, 5]], vec![vec![3], vec![6]]]
        );
    }

    #[test]
    fn ragged_rows_are_refused() {
        let error = TokenBatch::new(&[vec![1], vec![1, 2]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the rows of a batch must be of equal length: found 1 and 2 tokens"
        );
    }

    #[test]
    fn ids_beyond_the_vocabulary_are_named() {
        let error = TokenBatch::row(vec![1, 99]).check_vocab(50).unwrap_err();
        assert!(error.to_string().contains("token id 99"), "{error}");
    }
}
