//! The memory bandwidth that Apple publishes for its chips: what decoding can't outrun.

/// One published figure.
struct Chip {
    /// The name that sysctl's `machdep.cpu.brand_string` and MLX give it.
    name: &'static str,
    /// GPU cores of the variant, where the chip's variants differ in bandwidth.
    gpu_cores: Option<usize>,
    /// Billions of bytes a second; the M1's has a fraction.
    gigabytes_per_second: f64,
}

const fn chip(name: &'static str, gigabytes_per_second: f64) -> Chip {
    Chip {
        name,
        gpu_cores: None,
        gigabytes_per_second,
    }
}

const fn variant(name: &'static str, gpu_cores: usize, gigabytes_per_second: f64) -> Chip {
    Chip {
        name,
        gpu_cores: Some(gpu_cores),
        gigabytes_per_second,
    }
}

/// As copies of Apple's announcements give them: none of Apple's own pages could be fetched when this
/// was written, so titles and dates are to be checked. From Apple's newsroom at each chip's announcement and, for the variants that it leaves out,
/// Apple's technical specifications of the MacBook Pro and the Mac Studio; GPU cores likewise.
const CHIPS: [Chip; 22] = [
    // Apple never said; AnandTech's "The 2020 Mac Mini Unleashed": 128 bits of LPDDR4X-4266.
    chip("Apple M1", 68.25),
    // "Introducing M1 Pro and M1 Max", 2021-10-18.
    chip("Apple M1 Pro", 200.0),
    chip("Apple M1 Max", 400.0),
    // "Apple unveils M1 Ultra", 2022-03-08.
    chip("Apple M1 Ultra", 800.0),
    // "Apple unveils M2", 2022-06-06.
    chip("Apple M2", 100.0),
    // "Apple unveils M2 Pro and M2 Max", 2023-01-17.
    chip("Apple M2 Pro", 200.0),
    chip("Apple M2 Max", 400.0),
    // "Apple introduces M2 Ultra", 2023-06-05.
    chip("Apple M2 Ultra", 800.0),
    // MacBook Pro (14-inch and 16-inch, Nov 2023), technical specifications.
    chip("Apple M3", 100.0),
    chip("Apple M3 Pro", 150.0),
    variant("Apple M3 Max", 30, 300.0),
    variant("Apple M3 Max", 40, 400.0),
    // "Apple reveals M3 Ultra", 2025-03-05, and Mac Studio (2025), technical specifications.
    chip("Apple M3 Ultra", 819.0),
    // "Apple introduces M4 chip", 2024-05-07.
    chip("Apple M4", 120.0),
    // "Apple introduces M4 Pro and M4 Max", 2024-10-30, and MacBook Pro (2024), technical
    // specifications.
    chip("Apple M4 Pro", 273.0),
    variant("Apple M4 Max", 32, 410.0),
    variant("Apple M4 Max", 40, 546.0),
    // "Apple unleashes M5", 2025-10-15.
    chip("Apple M5", 153.0),
    // "Apple debuts M5 Pro and M5 Max", 2026-03-03, and MacBook Pro (2026), technical
    // specifications.
    chip("Apple M5 Pro", 307.0),
    variant("Apple M5 Max", 32, 460.0),
    variant("Apple M5 Max", 40, 614.0),
    // Mac Studio (2026), "up to 1.2TB/s": which the variant of 64 cores has isn't known here.
    variant("Apple M5 Ultra", 80, 1200.0),
];

/// The memory bandwidth that Apple publishes for `chip`, in bytes a second (a GB is 10^9 of them):
/// that of `Apple M4 Pro` is 273,000,000,000. A bound in theory, more than a program can reach.
/// Its sources are Apple's newsroom and technical specifications, line by line in the code; the
/// plain M1's figure alone is AnandTech's, as Apple never gave one.
///
/// `chip` is the name that sysctl and MLX give, as in `Apple M3 Max`, of the chips M1 to M5. Some
/// names stand for variants of different bandwidth, which `gpu_cores` tells apart. `None` for other
/// chips, and for a chip with variants where the cores are of none of them or aren't known: a guess
/// could be off by a third.
pub fn published_bandwidth(chip: &str, gpu_cores: Option<usize>) -> Option<u64> {
    let published = CHIPS.iter().find(|published| {
        published.name == chip
            && (published.gpu_cores.is_none() || published.gpu_cores == gpu_cores)
    })?;
    Some((published.gigabytes_per_second * 1e9) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_enough_for_most_chips() {
        assert_eq!(
            published_bandwidth("Apple M4 Pro", None),
            Some(273_000_000_000)
        );
        assert_eq!(
            published_bandwidth("Apple M1", Some(7)),
            Some(68_250_000_000)
        );
    }

    #[test]
    fn gpu_cores_tell_variants_apart() {
        for (chip, gpu_cores, expected) in [
            ("Apple M3 Max", 30, 300),
            ("Apple M3 Max", 40, 400),
            ("Apple M4 Max", 32, 410),
            ("Apple M4 Max", 40, 546),
            ("Apple M5 Max", 32, 460),
            ("Apple M5 Max", 40, 614),
            ("Apple M5 Ultra", 80, 1200),
        ] {
            let bandwidth = published_bandwidth(chip, Some(gpu_cores));
            assert_eq!(bandwidth, Some(expected * 1_000_000_000));
        }
    }

    #[test]
    fn a_variant_is_never_guessed() {
        assert_eq!(published_bandwidth("Apple M3 Max", None), None);
        assert_eq!(published_bandwidth("Apple M3 Max", Some(38)), None);
    }

    #[test]
    fn other_chips_are_not_known() {
        for chip in [
            "Apple M4 Ultra",
            "Apple M",
            "Intel(R) Core(TM) i9-9880H",
            "",
        ] {
            assert_eq!(published_bandwidth(chip, None), None);
        }
    }

    #[test]
    fn every_figure_has_one_line() {
        let keys = CHIPS.iter().map(|chip| (chip.name, chip.gpu_cores));
        let different: std::collections::HashSet<_> = keys.collect();
        assert_eq!(different.len(), CHIPS.len());
    }
}
