// std::format for C++ libraries that lack it (gcc before 13): what mlx-c's io.h needs of it, which
// is `{}` filled with text and integers.
#pragma once

#if __has_include(<format>)
#include <format>
#else
#include <sstream>
#include <string>
#include <string_view>

namespace std {
template <typename... Args>
string format(string_view pattern, const Args&... args) {
  ostringstream text;
  auto fill = [&](const auto& arg) {
    const auto hole = pattern.find("{}");
    text << pattern.substr(0, hole) << arg;
    pattern.remove_prefix(hole + 2);
  };
  (fill(args), ...);
  text << pattern;
  return text.str();
}
} // namespace std
#endif
