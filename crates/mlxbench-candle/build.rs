//! candle can't tell its version at run time. With the feature `cuda`, lets the binaries find CUDA.

fn main() {
    mlxbench_build::export_versions(&[
        ("candle-core", "CANDLE_CORE_VERSION"),
        ("gemm", "GEMM_VERSION"),
    ]);
    mlxbench_build::export_cuda_rpaths();
}
