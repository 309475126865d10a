// The numbers of an evaluation, from its samples: docs/evaluation.md defines each of them. A pure
// function of suite, problems, samples and seed, so that the report of an evaluation that was
// stopped and resumed has the same bytes.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/evaluation/sample_log.h"
#include "common/evaluation/problems.h"
#include "proto/evaluation.pb.h"

namespace r1::cli {

// {metrics, counts, reasons, problems}: `metrics` are eval/<set>/<name> with _low and _high, the
// ends of their 95 % interval; samples of other problems are left out.
nlohmann::ordered_json EvaluationReport(const v1::EvaluationSuite& suite,
                                        const std::vector<EvaluationProblem>& problems,
                                        const ScoredSamples& samples, uint64_t seed);

// The report's metrics and counts for a person.
std::string EvaluationTable(const nlohmann::ordered_json& report);

}  // namespace r1::cli
