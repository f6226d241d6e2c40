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

    /// Position in the text of the first entry that the buffer holds.
    pub fn first(&self) -> usize {
        self.first
    }

    /// Forgets the entries from `position` on, so that the next token has this position. False, and
    /// nothing changes, where `position` lies ahead, or where a window's buffer has dropped entries
    /// that the token there sees.
    ///
    /// A global layer can be rewound to anywhere. A local layer drops entries only when its buffer of
    /// window and room is full, and then keeps `window - 1`: it can be rewound to anywhere while nothing
    /// was dropped, that is for as long as `window` and the larger of `chunk` and 256 tokens hold the
    /// text, and else by as many tokens as came since the last drop.
    #[must_use]
    pub fn rewind(&mut self, position: usize) -> bool {
        let seen_from = match self.window {
            Some(window) => (position + 1).saturating_sub(window),
            None => 0,
        };
        let held = self.first <= seen_from && position <= self.position();
        if held {
            self.filled = position - self.first;
        }
        held
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

    /// A buffer of positions that passes through appends and rewinds.
    struct Run {
        cursor: CacheCursor,
        buffer: Vec<usize>,
    }

    impl Run {
        fn new(context: usize, chunk: usize, window: usize) -> Self {
            let cursor = CacheCursor::new(context, chunk, Some(window));
            let buffer = vec![usize::MAX; cursor.capacity()];
            Self { cursor, buffer }
        }

        /// Appends tokens marked by `generation` and gives what attention reads, with its position.
        fn append(&mut self, count: usize, generation: usize) -> (usize, Vec<usize>) {
            let start = self.cursor.position();
            let append = self.cursor.append(count).unwrap();
            if let Some(keep) = append.keep {
                self.buffer.copy_within(keep, 0);
            }
            for (slot, position) in append.write.zip(start..) {
                self.buffer[slot] = 10_000 * generation + position;
            }
            (append.read_position, self.buffer[append.read].to_vec())
        }
    }

    proptest! {
        /// After a rewind, what is read is what a cursor reads that never went further; and a rewind is
        /// refused only where entries that would be seen are gone.
        #[test]
        fn a_rewound_cursor_reads_what_a_fresh_one_does(
            window in 1usize..40,
            before in proptest::collection::vec(1usize..60, 1..60),
            back in prop_oneof![0usize..90, 0usize..3600],
            edge in proptest::option::of(0usize..4),
            after in proptest::collection::vec(1usize..60, 1..6),
        ) {
            let total: usize = before.iter().sum();
            // Rewinds to W-1, W, W+1 and 2W are tried more often than chance would.
            let edges = [window - 1, window, window + 1, 2 * window];
            let position = edge.map_or(total.saturating_sub(back), |edge| edges[edge].min(total));
            let context = total + after.iter().sum::<usize>();
            let mut run = Run::new(context, 60, window);
            for &count in &before {
                run.append(count, 0);
            }
            let first_seen = (position + 1).saturating_sub(window);
            let held = run.cursor.first() <= first_seen;
            let unchanged = run.cursor.clone();
            prop_assert_eq!(run.cursor.rewind(position), held);
            if !held {
                prop_assert_eq!(run.cursor, unchanged);
                return Ok(());
            }
            let mut fresh = Run::new(context, 60, window);
            for position in 0..position {
                prop_assert_eq!(fresh.cursor.position(), position);
                fresh.append(1, 0);
            }
            for count in after {
                prop_assert_eq!(run.append(count, 1), fresh.append(count, 1));
            }
        }
    }

    #[test]
    fn a_rewind_goes_back_to_the_last_drop_and_no_further() {
        // A window of 4 and room for 256.
        let mut cursor = CacheCursor::new(1000, 8, Some(4));
        for _ in 0..260 {
            cursor.append(1).unwrap();
        }
        assert!(cursor.clone().rewind(0));
        for _ in 0..5 {
            cursor.append(1).unwrap();
        }
        // At position 260 three entries were kept: the fourth is the token's own.
        assert!(cursor.clone().rewind(260));
        assert!(!cursor.clone().rewind(259));
        assert!(!cursor.rewind(266));
    }

    #[test]
    fn a_global_layer_is_rewound_to_anywhere() {
        let mut cursor = CacheCursor::new(10, 10, None);
        cursor.append(10).unwrap();
        assert!(cursor.rewind(0) && cursor.position() == 0);
        assert!(!cursor.rewind(1));
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
