//! candle can't tell its version at run time.

fn main() {
    mlxbench_build::export_versions(&[
        ("candle-core", "CANDLE_CORE_VERSION"),
        ("gemm", "GEMM_VERSION"),
    ]);
}
