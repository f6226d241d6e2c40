//! Any bytes: an answer or a message, no panic, and no allocation by a number of the file.
//!
//! `MLXBENCH_FUZZ_CASES` sets the number of cases.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::OnceLock;

use mlxbench_core::Dtype;
use mlxbench_gguf::header::Header;
use mlxbench_gguf::parts::Model;
use mlxbench_gguf::weights::Weights;
use mlxbench_gguf::{config, tokenizer};
use proptest::prelude::*;

use crate::fixture::Fixture;
use crate::writer::{Field, Gguf};

/// The system's allocator, which keeps the largest request of each thread.
struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn note(size: usize) {
    // A thread that ends has no place for it any more.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Reads a file of these bytes as an import does before it writes anything.
fn read(bytes: &[u8]) -> anyhow::Result<()> {
    let header = Header::read(bytes)?;
    let model = Model::join(vec![(Path::new("model.gguf"), header)])?;
    let config = config::config(&model)?;
    let weights = Weights::new(&model.tensors, config.generation, Dtype::F32);
    weights.check(&config.tensors())?;
    tokenizer::from_vocabulary(&model.metadata, config.vocab_size)?;
    Ok(())
}

/// Reads them, whatever comes of it, and checks what was asked of the allocator meanwhile.
fn survives(bytes: &[u8]) -> Result<(), TestCaseError> {
    LARGEST.set(0);
    let result = read(bytes);
    let largest = LARGEST.get();
    prop_assert!(
        largest < 64 * bytes.len() + (1 << 20),
        "{largest} bytes at a time for a file of {}",
        bytes.len()
    );
    if let Err(error) = result {
        let message = format!("{error:#}");
        prop_assert!(!message.contains(char::is_control), "{message:?}");
    }
    Ok(())
}

fn valid() -> &'static Gguf {
    static VALID: OnceLock<Gguf> = OnceLock::new();
    VALID.get_or_init(|| Fixture::new("gemma3").gguf)
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("MLXBENCH_FUZZ_CASES");
    ProptestConfig {
        cases: cases.map_or(256, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Numbers that lengths and counts go wrong at.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0u64),
        Just(u64::MAX),
        Just(u64::from(u32::MAX)),
        Just(1u64 << 31),
        Just(1u64 << 40),
        0..300u64,
        any::<u64>(),
    ]
}

fn field() -> impl Strategy<Value = Field> {
    let one = prop_oneof![
        number().prop_map(Field::U64),
        number().prop_map(|n| Field::U32(n as u32)),
        any::<i32>().prop_map(Field::I32),
        any::<f32>().prop_map(Field::F32),
        any::<f64>().prop_map(Field::F64),
        any::<bool>().prop_map(Field::Bool),
        ".{0,8}".prop_map(Field::Text),
        (0..16u32, proptest::collection::vec(any::<u8>(), 0..16))
            .prop_map(|(kind, bytes)| Field::Raw(kind, bytes)),
    ]
    .boxed();
    let many = (one.clone(), 0..80usize).prop_map(|(value, count)| Field::List(vec![value; count]));
    prop_oneof![one, many]
}

#[test]
fn the_valid_file_is_read() {
    read(&valid().bytes()).unwrap();
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        survives(&bytes)?;
        survives(&[&b"GGUF\x03\0\0\0"[..], &bytes].concat())?;
    }

    #[test]
    fn any_bytes_of_the_header_changed(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = valid().bytes();
        let header = valid().header().len();
        for (place, byte) in changes {
            bytes[place.index(header)] = byte;
        }
        survives(&bytes)?;
    }

    #[test]
    fn any_number_of_the_header_changed(
        place in any::<prop::sample::Index>(),
        number in number(),
        kept in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = valid().bytes();
        let place = place.index(valid().header().len() - 8);
        bytes[place..place + 8].copy_from_slice(&number.to_le_bytes());
        if let Some(kept) = kept {
            bytes.truncate(kept.index(bytes.len()));
        }
        survives(&bytes)?;
    }

    #[test]
    fn any_values_of_keys(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), field()), 1..4),
    ) {
        let mut gguf = valid().clone();
        for (key, value) in changes {
            let key = key.index(gguf.metadata.len());
            gguf.metadata[key].1 = value;
        }
        survives(&gguf.bytes())?;
    }

    #[test]
    fn any_shapes_and_types_of_tensors(
        tensor in any::<prop::sample::Index>(),
        shape in proptest::collection::vec(number(), 0..6),
        kind in 0..45u32,
    ) {
        let mut gguf = valid().clone();
        let tensor = tensor.index(gguf.tensors.len());
        gguf.tensors[tensor].shape = shape;
        gguf.tensors[tensor].kind = kind;
        survives(&gguf.bytes())?;
    }
}
