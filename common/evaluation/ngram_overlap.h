// Contamination of training data by evaluation sets: n words in a row that both have.
// DeepSeek-R1 drops training texts with a 10-gram of an evaluation question or solution
// (2501.12948, data); its normalisation is not published. Ours: Unicode NFKD with full case folding
// and without invisible characters; a word is a run of letters, marks and digits, and everything
// else, white space, punctuation, operators, only parts words. Characters of Chinese and Japanese
// are words of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace r1 {

// The words of a text as they are compared. Invalid UTF-8 parts words.
std::vector<std::string> OverlapWords(absl::string_view text);

// The n-grams of evaluation texts, by 64-bit hashes: two different ones are taken for the same once
// in 10^19 comparisons. Thread-safe once filled.
class NgramIndex {
 public:
  explicit NgramIndex(size_t n) : n_(n) {}  // n > 0

  // Number of n-grams that the text has; 0 = it is too short to be found. `row` is the caller's
  // name for where it stands; the first one of an n-gram is kept.
  size_t Add(absl::string_view text, uint32_t row);

  struct Match {
    uint32_t row = 0;            // of the first n-gram that is found
    std::string ngram;           // its words
    size_t count = 0;            // n-grams of the text that are found
    std::vector<uint32_t> rows;  // all that are hit, each once, sorted
  };
  // None when the text has no n-gram of the index.
  std::optional<Match> Find(absl::string_view text) const;

  size_t size() const { return rows_.size(); }

 private:
  const size_t n_;
  absl::flat_hash_map<uint64_t, uint32_t> rows_;
};

}  // namespace r1
