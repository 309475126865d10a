// An evaluation suite (configs/eval/*.toml): which problems, how they are asked, how often, and
// what is reported. The schema is proto/evaluation.proto; what needs the rewards is checked by who
// makes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/config.h"
#include "common/status.h"
#include "proto/evaluation.pb.h"

namespace r1 {

struct LoadedSuite {
  v1::EvaluationSuite suite;
  ConfigPositions positions;

  // "configs/eval/x.toml:3:1", where a field or the innermost section around it is written.
  std::string Where(const std::string& path) const;
};

// InvalidArgument, NotFound or Unavailable as LoadConfig; overrides are "sampling.samples=4".
[[nodiscard]] absl::StatusOr<LoadedSuite> LoadSuite(const std::string& path,
                                                    const std::vector<std::string>& overrides);
[[nodiscard]] absl::StatusOr<LoadedSuite> LoadSuiteText(const std::string& name,
                                                        const std::string& text,
                                                        const std::vector<std::string>& overrides);

// One entry of `metrics`.
struct SuiteMetric {
  enum class Kind { kPass, kConsensus, kMajority, kGreedy, kRating };
  Kind kind = Kind::kPass;
  int64_t k = 1;  // of the first three
};

// "cons@64"; InvalidArgument says what is known.
[[nodiscard]] absl::StatusOr<SuiteMetric> ParseSuiteMetric(absl::string_view name);

// Whether the suite asks for a metric of this kind.
bool HasMetric(const v1::EvaluationSuite& suite, SuiteMetric::Kind kind);

}  // namespace r1
