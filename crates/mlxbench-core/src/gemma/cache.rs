//! Where the next keys and values go in a preallocated KV cache, and which of them a layer sees.
//!
//! The three adapters hold the buffers; the arithmetic is here, once. A global layer's buffer
//! holds the whole context. A local layer's buffer holds its window and some room: new entries are
//! written behind the old ones, and when the room is used up the last `window - 1` entries move to
//! the front. So entries stay in order and side by side, and moves are rare.

use std::ops::Range;

/// The smallest room behind a window, in positions, so that moves stay rare in decode.
const MIN_ROOM: usize = 256;

/// The bookkeeping of one layer's buffer along its position axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheCursor {
    capacity: usize,
    window: Option<usize>,
    /// Entries in the buffer.
    filled: usize,
    /// Position in the text of the buffer's first entry.
    first: usize,
}

/// What an append asks of a buffer, in this order: the move, the write, the read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Entries to move to the front of the buffer first. They may overlap with their target.
    pub keep: Option<Range<usize>>,
    /// Where the new entries go.
    pub write: Range<usize>,
    /// The entries that attention reads.
    pub read: Range<usize>,
    /// Position in the text of the first entry read.
    pub read_position: usize,
}

impl CacheCursor {
    /// A buffer for a context of at most `context` tokens, appended at most `chunk` at a time, on
    /// a layer that sees `window` positions (all of them when `None`).
    pub fn new(context: usize, chunk: usize, window: Option<usize>) -> Self {
        let capacity = match window {
            Some(window) => context.min(window + chunk.max(MIN_ROOM)),
            None => context,
        };
        Self {
            capacity,
            window,
            filled: 0,
            first: 0,
        }
    }

    /// Length of the buffer's position axis.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Position in the text of the next token.
    pub fn position(&self) -> usize {
        self.first + self.filled
    }

    /// Makes room for `count` more entries and says what to move, write and read; `None` when the
    /// context that the buffer was made for is exceeded.
    pub fn append(&mut self, count: usize) -> Option<Append> {
        let mut keep = None;
        if self.filled + count > self.capacity {
            let kept = self.filled.min(self.window? - 1);
            if kept + count > self.capacity {
                return None;
            }
            let dropped = self.filled - kept;
            if kept > 0 {
                keep = Some(dropped..self.filled);
            }
            self.first += dropped;
            self.filled = kept;
        }
        let write = self.filled..self.filled + count;
        self.filled = write.end;
        let seen_by_first = match self.window {
            Some(window) => write.start.saturating_sub(window - 1),
            None => 0,
        };
        Some(Append {
            keep,
            read: seen_by_first..write.end,
            write,
            read_position: self.first + seen_by_first,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A buffer of positions, run by the cursor, always shows each query its whole window.
        #[test]
        fn every_visible_position_is_read(
            window in proptest::option::of(1usize..40),
            appends in proptest::collection::vec(1usize..60, 1..60),
        ) {
            let context = appends.iter().sum();
            let chunk = *appends.iter().max().unwrap();
            let mut cursor = CacheCursor::new(context, chunk, window);
            let mut buffer = vec![usize::MAX; cursor.capacity()];
            for count in appends {
                let start = cursor.position();
                let append = cursor.append(count).unwrap();
                if let Some(keep) = append.keep {
                    buffer.copy_within(keep, 0);
                }
                for (slot, position) in append.write.zip(start..) {
                    buffer[slot] = position;
                }
                let first_seen = window.map_or(0, |w| (start + 1).saturating_sub(w));
                let expected: Vec<usize> = (first_seen..start + count).collect();
                prop_assert_eq!(&buffer[append.read], &expected);
                prop_assert_eq!(append.read_position, first_seen);
            }
        }
    }

    #[test]
    fn a_global_layer_refuses_what_exceeds_its_context() {
        let mut cursor = CacheCursor::new(4, 4, None);
        assert!(cursor.append(4).is_some());
        assert_eq!(cursor.append(1), None);
    }

    #[test]
    fn a_local_layer_is_bounded_by_window_and_chunk() {
        assert_eq!(CacheCursor::new(100_000, 512, Some(1024)).capacity(), 1536);
        assert_eq!(CacheCursor::new(100, 512, Some(1024)).capacity(), 100);
    }
}
