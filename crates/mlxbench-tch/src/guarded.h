// What C++ throws must not reach Rust.

#pragma once

// Runs `f`: 0, or -1 where it throws.
template <typename F>
int guarded(F f) {
  try {
    f();
    return 0;
  } catch (...) {
    return -1;
  }
}
