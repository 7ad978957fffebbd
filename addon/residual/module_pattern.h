#pragma once

#include <bitset>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace smore {

// What is wrong with a pattern, to stand behind "is '<pattern>', ".
struct PatternFault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A regular expression over the path of a module, as PEFT's configurations have them. It comes with
// a file that anybody may have written, so a match takes time linear in states() x the path's
// length: a set of states walks along the path, nothing is ever tried again.
//
// Python's syntax as far as it describes regular languages: literals, ., \d \w \s and their
// complements, [...], *, +, ?, {m,n}, |, ( ), (?: ), ^, $, \A, \Z. Lazy quantifiers are accepted:
// which match is found makes no difference to whether there is one. Paths are ASCII.
class ModulePattern {
 public:
  static constexpr size_t kLongest = 1024;  // bytes
  static constexpr int kDeepest = 32;       // groups within groups
  static constexpr size_t kMostStates = 4096;

  // Throws PatternFault.
  explicit ModulePattern(std::string_view text);

  // Python's re.fullmatch(pattern, path).
  bool matches(std::string_view path) const { return run(path, false); }
  // Python's re.match(r"(.*\.)?(pattern)$", path): the path or what follows one of its dots.
  bool matches_end(std::string_view path) const { return run(path, true); }

  size_t states() const { return program_.size(); }

 private:
  friend class PatternCompiler;

  using Bytes = std::bitset<256>;

  // Targets are relative, so that a fragment may be moved and repeated as it is.
  struct State {
    enum class Kind : uint8_t { kBytes, kFork, kBegin, kEnd };
    Kind kind;
    int first = 1;  // kFork: next states; the others go on to the next one
    int second = 1;
    Bytes bytes;  // kBytes: those that lead on
  };
  using Fragment = std::vector<State>;

  bool run(std::string_view path, bool after_dots) const;

  Fragment program_;  // accepts by leaving its end
};

}  // namespace smore
