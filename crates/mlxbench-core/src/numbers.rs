//! Numbers for trials, tests and initial values: the same everywhere, whatever a framework's own generator is.

/// Numbers from -1 to 1 that look random: the upper 24 bits of SplitMix64 from `seed` on (Steele, Lea & Flood,
/// "Fast splittable pseudorandom number generators", 2014).
pub fn numbers(seed: u64) -> impl Iterator<Item = f32> {
    (1..).map(move |index: u64| {
        let mut z = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// The seed of what is called `name`, such as a tensor, among others of the same `seed`: mixed with the name's FNV-1a
/// hash, so that two of equal shape get different numbers.
pub fn seed_of(seed: u64, name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    seed ^ hash
}
