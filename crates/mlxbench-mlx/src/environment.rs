//! What has to stand in the environment before MLX does anything.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use mlxbench_core::text::tell;

use crate::blas;

/// The folder for temporary files, where MLX keeps what it compiles.
const TEMPORARY: &str = "TMPDIR";

/// Prepares the process for MLX. Call it first in `main`, before any thread is started: it starts the
/// program anew where OpenBLAS takes the place of MLX's own BLAS.
pub fn prepare() {
    // MLX multiplies f32 in TF32 where the hardware can, unless this says otherwise when it first
    // multiplies. Results say f32, so it goes before what a user has set.
    // SAFETY: `main` has started no other thread.
    unsafe { env::set_var("MLX_ENABLE_TF32", "0") };
    blas::prefer_openblas();
    keep_kernels();
}

/// Has MLX keep the kernels that it compiles, below its version, in a folder of the user's own. The folder for
/// temporary files is everybody's on Linux, and the second user of a machine can't add to what the first one's MLX
/// made there. One worker may still load a kernel that another of the same user has half written: `run`, `bench` and
/// `generate` hold the machine's lock meanwhile, `ops` and tests don't.
fn keep_kernels() {
    let Some(folder) = folder(env::var_os("XDG_CACHE_HOME"), env::home_dir()) else {
        return;
    };
    match make(&folder) {
        // SAFETY: `main` has started no other thread, as `prepare` asks.
        Ok(()) => unsafe { env::set_var(TEMPORARY, &folder) },
        Err(error) => tell(format_args!(
            "MLX's kernels stay among the temporary files: {}: {error}",
            folder.display()
        )),
    }
}

/// `mlxbench/kernels` in the user's cache folder, and in it one for each kind of CPU: machines may share a home. Not
/// in `$MLXBENCH_CACHE`: users may share models. `None` for a user without a home.
fn folder(caches: Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let caches = caches
        .map(PathBuf::from)
        .filter(|caches| caches.is_absolute());
    let caches = caches.or_else(|| home.map(|home| home.join(".cache")))?;
    Some(caches.join("mlxbench/kernels").join(env::consts::ARCH))
}

/// Makes `folder` where it isn't there, and marks it as a cache (<https://bford.info/cachedir/>). Fails as well where
/// the folder can't be written to.
fn make(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n";
    fs::write(folder.join("CACHEDIR.TAG"), tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_lie_in_the_users_cache_folder() {
        let found = |caches: Option<&str>, home: Option<&str>| {
            let folder = folder(caches.map(OsString::from), home.map(PathBuf::from))?;
            assert!(folder.ends_with(env::consts::ARCH), "{folder:?}");
            Some(folder.parent()?.to_owned())
        };
        let of_home = Some(PathBuf::from("/home/me/.cache/mlxbench/kernels"));
        assert_eq!(found(None, Some("/home/me")), of_home);
        // Of relative ones the specification says to ignore them.
        assert_eq!(found(Some("caches"), Some("/home/me")), of_home);
        assert_eq!(found(Some(""), Some("/home/me")), of_home);
        let named = Some(PathBuf::from("/caches/mlxbench/kernels"));
        assert_eq!(found(Some("/caches"), Some("/home/me")), named);
        assert_eq!(found(None, None), None);
    }

    #[test]
    fn a_folder_is_made_once_and_found_again() {
        let name = format!("mlxbench-kernels-{}", std::process::id());
        let folder = env::temp_dir().join(name);
        for _ in 0..2 {
            make(&folder.join("kernels")).unwrap();
            assert!(folder.join("kernels/CACHEDIR.TAG").is_file());
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_fails() {
        assert!(make(Path::new("/dev/null/kernels")).is_err());
    }
}
