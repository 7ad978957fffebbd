#include "residual/module_pattern.h"

#include <algorithm>
#include <cctype>
#include <optional>

namespace smore {

// Recursive descent: each rule returns the states of what it read.
class PatternCompiler {
 public:
  explicit PatternCompiler(std::string_view text) : text_(text) {}

  ModulePattern::Fragment compile() {
    Fragment whole = alternatives();
    if (!at_end()) refuse("which has a ')' without its '('");
    return whole;
  }

 private:
  using State = ModulePattern::State;
  using Kind = ModulePattern::State::Kind;
  using Fragment = ModulePattern::Fragment;
  using Bytes = ModulePattern::Bytes;

  struct Counts {
    int least = 0;
    std::optional<int> most;
  };

  [[noreturn]] static void refuse(const std::string& fault) { throw PatternFault(fault); }

  bool at_end() const { return at_ == text_.size(); }
  bool sees(char c) const { return !at_end() && text_[at_] == c; }
  bool take(std::string_view what) {
    const bool found = text_.substr(at_).starts_with(what);
    if (found) at_ += what.size();
    return found;
  }
  char next() {
    if (at_end()) refuse("which ends too early");
    return text_[at_++];
  }

  static void append(Fragment& to, const Fragment& more) {
    if (to.size() + more.size() > ModulePattern::kMostStates) {
      refuse("which is too large: its counts multiply to more than " +
             std::to_string(ModulePattern::kMostStates) + " states");
    }
    to.insert(to.end(), more.begin(), more.end());
  }
  static Fragment fork(size_t first, size_t second) {
    return {{Kind::kFork, static_cast<int>(first), static_cast<int>(second), {}}};
  }
  static Fragment jump_back(size_t states) {
    return {{Kind::kFork, -static_cast<int>(states), -static_cast<int>(states), {}}};
  }
  static Fragment one_of(const Bytes& bytes) { return {{Kind::kBytes, 1, 1, bytes}}; }

  Fragment alternatives() {
    Fragment left = sequence();
    while (take("|")) {
      const Fragment right = sequence();
      Fragment both = fork(1, left.size() + 2);
      append(both, left);
      append(both, fork(right.size() + 1, right.size() + 1));
      append(both, right);
      left = std::move(both);
    }
    return left;
  }

  Fragment sequence() {
    Fragment all;
    while (!at_end() && !sees('|') && !sees(')')) append(all, quantified());
    return all;
  }

  Fragment quantified() {
    const Fragment unit = atom();
    const std::optional<Counts> counts = quantifier();
    if (!counts) return unit;
    take("?");  // lazy
    if (quantifier()) refuse("which repeats a repetition; put it in a group");
    return repeat(unit, *counts);
  }

  static Fragment repeat(const Fragment& unit, const Counts& counts) {
    Fragment all;
    for (int i = 0; i < counts.least; ++i) append(all, unit);
    if (!counts.most) {
      append(all, fork(1, unit.size() + 2));
      append(all, unit);
      append(all, jump_back(unit.size() + 1));
      return all;
    }
    for (int i = counts.least; i < *counts.most; ++i) {
      append(all, fork(1, unit.size() + 1));
      append(all, unit);
    }
    return all;
  }

  std::optional<Counts> quantifier() {
    if (take("*")) return Counts{0, {}};
    if (take("+")) return Counts{1, {}};
    if (take("?")) return Counts{0, 1};
    if (!take("{")) return {};
    Counts counts;
    const std::optional<int> least = number();
    counts.least = least.value_or(0);
    counts.most = take(",") ? number() : least;
    if (!take("}")) refuse("in which a '{' does not begin a count such as {2} or {1,3}");
    if (counts.most && *counts.most < counts.least) refuse("whose count ends below its beginning");
    return counts;
  }

  std::optional<int> number() {
    std::optional<int> value;
    while (!at_end() && std::isdigit(static_cast<unsigned char>(text_[at_]))) {
      value = value.value_or(0) * 10 + (next() - '0');
      if (*value > static_cast<int>(ModulePattern::kMostStates)) {
        refuse("whose count is above " + std::to_string(ModulePattern::kMostStates));
      }
    }
    return value;
  }

  Fragment atom() {
    const char c = next();
    switch (c) {
      case '(':
        return group();
      case '[':
        return one_of(char_class());
      case '.':
        return one_of(~byte('\n'));
      case '^':
        return {{Kind::kBegin, 1, 1, {}}};
      case '$':
        return {{Kind::kEnd, 1, 1, {}}};
      case '\\':
        if (take("A")) return {{Kind::kBegin, 1, 1, {}}};
        if (take("Z")) return {{Kind::kEnd, 1, 1, {}}};
        return one_of(escaped());
      case '*':
      case '+':
      case '?':
      case '{':
        refuse(std::string("in which '") + c + "' follows nothing that it could repeat");
      default:
        return one_of(byte(c));
    }
  }

  Fragment group() {
    if (++depth_ > ModulePattern::kDeepest) {
      refuse("which nests groups more than " + std::to_string(ModulePattern::kDeepest) + " deep");
    }
    if (!take("?:") && sees('?')) {
      refuse("which has a group (?...); only ( ) and (?: ) are understood");
    }
    Fragment inner = alternatives();
    if (!take(")")) refuse("which has a '(' without its ')'");
    --depth_;
    return inner;
  }

  Bytes escaped() {
    const char c = next();
    const Bytes digits = range('0', '9');
    const Bytes word = digits | range('a', 'z') | range('A', 'Z') | byte('_');
    const Bytes space = byte(' ') | range('\t', '\r');
    switch (c) {
      case 'd':
        return digits;
      case 'D':
        return ~digits;
      case 'w':
        return word;
      case 'W':
        return ~word;
      case 's':
        return space;
      case 'S':
        return ~space;
      default:
        if (word[static_cast<uint8_t>(c)] && c != '_') {
          refuse(std::string("which uses \\") + c +
                 "; only \\d \\w \\s, \\A, \\Z and escaped "
                 "punctuation are understood");
        }
        return byte(c);
    }
  }

  Bytes char_class() {
    const bool others = take("^");
    Bytes bytes;
    bool first = true;
    while (first || !sees(']')) {
      const Bytes low = class_member();
      first = false;
      // A '-' before the end stands for itself.
      if (!sees('-') || text_.substr(at_).starts_with("-]")) {
        bytes |= low;
        continue;
      }
      take("-");
      const Bytes high = class_member();
      if (low.count() != 1 || high.count() != 1 || only(low) > only(high)) {
        refuse("which has a range in [ ] that is none");
      }
      bytes |= range(only(low), only(high));
    }
    take("]");
    return others ? ~bytes : bytes;
  }

  Bytes class_member() {
    if (at_end()) refuse("which has a '[' without its ']'");
    return take("\\") ? escaped() : byte(next());
  }

  static Bytes byte(char c) { return Bytes().set(static_cast<uint8_t>(c)); }
  static Bytes range(int from, int to) {
    Bytes bytes;
    for (int c = from; c <= to; ++c) bytes.set(c);
    return bytes;
  }
  static int only(const Bytes& bytes) { return static_cast<int>(bytes._Find_first()); }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
};

ModulePattern::ModulePattern(std::string_view text) {
  if (text.size() > kLongest) {
    throw PatternFault("which is " + std::to_string(text.size()) + " bytes long; at most " +
                       std::to_string(kLongest));
  }
  program_ = PatternCompiler(text).compile();
}

namespace {

// The states that the walk is in at one place of the path.
class StateSet {
 public:
  explicit StateSet(size_t states) : present_(states) {}

  bool add(int state) {
    if (present_[state]) return false;
    present_[state] = true;
    states_.push_back(state);
    return true;
  }
  void clear() {
    for (int state : states_) present_[state] = false;
    states_.clear();
  }
  size_t size() const { return states_.size(); }
  int operator[](size_t i) const { return states_[i]; }
  bool contains(int state) const { return present_[state]; }

 private:
  std::vector<bool> present_;
  std::vector<int> states_;
};

}  // namespace

bool ModulePattern::run(std::string_view path, bool after_dots) const {
  const int accepted = static_cast<int>(program_.size());
  StateSet here(program_.size() + 1);
  StateSet after(program_.size() + 1);
  for (size_t at = 0;; ++at) {
    const bool begins = at == 0 || (after_dots && path[at - 1] == '.');
    if (begins) here.add(0);
    // `here` grows while it is walked: each state is visited once.
    for (size_t i = 0; i < here.size(); ++i) {
      const int index = here[i];
      if (index == accepted) continue;
      const State& state = program_[index];
      switch (state.kind) {
        case State::Kind::kBytes:
          if (at < path.size() && state.bytes[static_cast<uint8_t>(path[at])]) after.add(index + 1);
          break;
        case State::Kind::kFork:
          here.add(index + state.first);
          here.add(index + state.second);
          break;
        case State::Kind::kBegin:
          if (at == 0) here.add(index + 1);
          break;
        case State::Kind::kEnd:
          if (at == path.size()) here.add(index + 1);
          break;
      }
    }
    if (at == path.size()) return here.contains(accepted);
    std::swap(here, after);
    after.clear();
  }
}

}  // namespace smore
