// A string that knows which of its bytes the template wrote and which came in through variables.
// Rendering carries this along, so that a prompt can be encoded without a message's text ever being
// read as a special token.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace r1::jinja {

class Text {
 public:
  // Bytes up to `end`, from the end of the run before.
  struct Run {
    size_t end;
    bool from_content;
  };

  Text() = default;
  Text(absl::string_view bytes, bool from_content) { Append(bytes, from_content); }

  void Append(absl::string_view bytes, bool from_content);
  void Append(const Text& other) { Append(other, 0, other.size()); }
  // Bytes [begin, end) of the other.
  void Append(const Text& other, size_t begin, size_t end);
  Text Slice(size_t begin, size_t end) const;

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  // Neighbours differ; the last one ends at size().
  const std::vector<Run>& runs() const { return runs_; }
  // Whether any byte came in through a variable.
  bool from_content() const;

 private:
  std::string bytes_;
  std::vector<Run> runs_;
};

}  // namespace r1::jinja
