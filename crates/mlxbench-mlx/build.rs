//! Lets the binaries find MLX's library at run time, and names the bindings' versions, which the
//! library can't tell.

use std::env;
use std::path::Path;

fn main() {
    let lib = env::var("DEP_MLX_LIB_DIR").expect("mlx-sys says where the library is");
    mlxbench_build::export_rpaths("mlx", Path::new(&lib));
    // mlx-sys carries mlx-c and has its version.
    mlxbench_build::export_versions(&[("mlx-rs", "MLX_RS_VERSION"), ("mlx-sys", "MLX_C_VERSION")]);
}
