//! Files that people's reports of bugs led to. They are not in the repository; `external.rs` has small ones
//! of the same kinds.

use std::collections::HashSet;
use std::path::Path;

use mlxbench_report::external::{External, read};

/// A file of that folder, `None` where it is absent.
fn field(name: &str) -> Option<External> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/field/external-rows");
    let Ok(bytes) = std::fs::read(folder.join(name)) else {
        eprintln!("skipped: {} has no {name}", folder.display());
        return None;
    };
    Some(
        read(name, &bytes)
            .expect("a sound file")
            .expect("a known program"),
    )
}

fn names(external: &External) -> Vec<String> {
    let rows = external.rows.iter();
    rows.map(|row| format!("{} {}", row.device, row.test_and_settings()))
        .collect()
}

#[test]
fn rows_that_differ_in_a_setting_are_told_apart() {
    for (name, keys) in [
        (
            "settings.json",
            ["n_ubatch=128", "flash_attn=true"].as_slice(),
        ),
        ("ngl.json", &["ngl=10", "ngl=20"]),
    ] {
        let Some(external) = field(name) else { return };
        let names = names(&external);
        let distinct: HashSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        assert!(
            keys.iter()
                .all(|key| names.iter().any(|name| name.contains(key))),
            "{names:?}"
        );
        assert!(
            names.iter().all(|name| !name.starts_with("cpu")),
            "{names:?}"
        );
    }
}

#[test]
fn the_first_form_of_mlx_lm_is_a_row() {
    let Some(external) = field("mlx-lm-first-form.txt") else {
        return;
    };
    let [row] = external.rows.as_slice() else {
        panic!("{:?}", external.rows)
    };
    assert_eq!(row.model, "mlx-community/tiny-gemma-bf16");
    assert_eq!(row.test.to_string(), "pp1024+tg64");
    assert_eq!(row.decode_tokens_per_second.map(|rate| rate.n), Some(2));
}

#[test]
fn what_a_shell_wrote_in_utf_16_is_read() {
    let Some(external) = field("utf16.json") else {
        return;
    };
    assert!(!external.rows.is_empty());
    assert_eq!(
        external.rows[0]
            .prefill_tokens_per_second
            .map(|rate| rate.n),
        Some(3)
    );
}
