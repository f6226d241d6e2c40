//! With the feature `cuda`, lets the program find what candle then links it with.

fn main() {
    mlxbench_build::export_cuda_rpaths();
}
