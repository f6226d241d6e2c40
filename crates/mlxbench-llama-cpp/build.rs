//! The library tells the version of its tensors, not the one of llama.cpp: that is the package's.

fn main() {
    mlxbench_build::export_versions(&[("llama-cpp-sys-2", "LLAMA_CPP_VERSION")]);
}
