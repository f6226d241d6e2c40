//! What macOS brings itself.

/// `None`: MLX takes Accelerate here.
pub fn openblas() -> Option<&'static str> {
    None
}

/// `None`: macOS chooses frequencies itself.
pub fn performance_governor() -> Option<&'static str> {
    None
}
