//! GGUF files that people's bug reports led to, imported and run through the real binaries.
//!
//! The files lie beside the repository and not in it: without them the tests say so and pass. What
//! they stand for is also tested on files that `mlxbench-gguf`'s own tests make.

use std::path::{Path, PathBuf};

use crate::support::{Scene, assert_golden, stderr, stdout, worker};

/// Folders with a golden answer, and the file of each that is imported.
const GOLDEN: [(&str, &str); 7] = [
    ("gguf-iq4_nl", "m.gguf"),
    ("gguf-linear-gemma2", "m.gguf"),
    ("gguf-local-theta", "m.gguf"),
    ("gguf-scaling-none", "m.gguf"),
    ("gguf-softcap", "m.gguf"),
    ("gguf-split", "m-00001-of-00002.gguf"),
    ("gguf-split", "m-00002-of-00002.gguf"),
];

/// Folders whose file states what can't be, and the key that the message must name.
const IMPOSSIBLE: [(&str, &str, &str); 2] = [
    ("gguf-heads0", "heads0.gguf", "gemma3.attention.head_count"),
    (
        "gguf-window0",
        "window0.gguf",
        "gemma3.attention.sliding_window",
    ),
];

/// The folder of the inputs, if it is there.
fn field() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/field");
    if !folder.is_dir() {
        eprintln!("SKIPPED: {} isn't here", folder.display());
        return None;
    }
    Some(folder)
}

/// Imports `file` to `imported` in the scene.
fn import(scene: &Scene, file: &Path) -> std::process::Output {
    worker("mlxbench-gguf");
    let file = file.to_str().unwrap();
    scene.mlxbench(&["model", "import", file, "-o", "imported", "--dtype", "f32"])
}

#[test]
fn imported_files_give_the_golden_tokens_and_logits() {
    let Some(field) = field() else { return };
    for (folder, file) in GOLDEN {
        let scene = Scene::new();
        let imported = import(&scene, &field.join(folder).join(file));
        assert!(imported.status.success(), "{folder}: {}", stderr(&imported));
        assert_eq!(stdout(&imported), "imported\n");

        assert_golden(&scene, "imported", &field.join(folder));
    }
}

#[test]
fn impossible_numbers_are_refused_by_their_key_and_leave_nothing() {
    let Some(field) = field() else { return };
    for (folder, file, key) in IMPOSSIBLE {
        let scene = Scene::new();
        let before = names(&scene);
        let output = import(&scene, &field.join(folder).join(file));
        assert_eq!(output.status.code(), Some(2), "{folder}");
        assert_eq!(stdout(&output), "");
        let message = stderr(&output);
        assert!(message.contains(&format!("`{key}`")), "{folder}: {message}");
        assert_eq!(names(&scene), before, "{folder}");
    }
}

#[test]
fn keys_that_were_not_used_are_listed() {
    let Some(field) = field() else { return };
    let scene = Scene::new();
    let output = import(&scene, &field.join("gguf-softcap/m.gguf"));
    let listed = stderr(&output);
    assert!(
        listed.contains("not used") && listed.contains("general.name"),
        "{listed}"
    );
    assert!(!listed.contains("softcapping"), "{listed}");
    let folder = stdout(&output);
    let shown = stdout(&scene.mlxbench(&["model", "show", folder.trim()]));
    assert!(
        shown.contains("keys of the GGUF file that weren't used: ")
            && shown.contains("general.name"),
        "{shown}"
    );
}

/// Names in the scene's folder, those of unfinished imports too.
fn names(scene: &Scene) -> Vec<String> {
    let entries = std::fs::read_dir(scene.path("")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
