// Where the samples of an evaluation come from: the engine in this process, or an endpoint.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/status.h"

namespace r1::cli {

// One sample of an evaluation: the problem's place in the file, and which of its samples.
struct SampleId {
  static constexpr int kGreedy = -1;
  size_t problem = 0;
  int sample = 0;  // from 0, or kGreedy
  auto operator<=>(const SampleId&) const = default;
};

struct RawSample {
  SampleId id;
  std::string text;
  std::optional<int64_t> tokens;  // of the response, stop token included; an endpoint may not say
  // "stop", "length", or "prompt_too_long": the prompt leaves no room for a response.
  std::string finish_reason;
  bool think_prefilled = false;  // the prompt opened <think>
};

class SampleSource {
 public:
  virtual ~SampleSource() = default;
  using OnSample = std::function<absl::Status(RawSample sample)>;

  // Draws the wanted samples, in any order, and hands each of them over from the calling thread; an
  // error of `on_sample` ends it. Samples that could not be had are missing then, which is no error
  // of the whole: `failures` counts them by message. Cancelled: a signal asked to stop.
  [[nodiscard]] virtual absl::Status Generate(const std::vector<SampleId>& wanted,
                                              const OnSample& on_sample,
                                              std::map<std::string, int64_t>& failures) = 0;

  // A prompt as the model sees it, for the report; empty when only the other side knows.
  virtual std::string ExamplePrompt() const = 0;
};

}  // namespace r1::cli
