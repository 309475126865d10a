// r1 logits: what a model folder computes for given token ids, by either engine, for comparison
// with another implementation. Positions are not limited to max_position_embeddings, as little as
// in transformers.

#include <algorithm>
#include <cmath>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/jsonl_rows.h"
#include "common/dtype.h"
#include "common/filesystem.h"
#include "common/json.h"
#include "common/jsonl.h"
#include "common/safetensors.h"
#include "learner/policy/gradient_norms.h"
#include "learner/policy/policy.h"
#include "rollout/engine/engine.h"

namespace r1::cli {
namespace {

using learner::PackedBatch;
using learner::Policy;

// Tokens of a row that the rollout engine computes in one step.
constexpr int kPrefillTokens = 1024;

struct Row {
  std::string where;
  absl::StatusOr<std::vector<int32_t>> ids;
};

absl::StatusOr<std::vector<int32_t>> ReadIds(const JsonlRow& row, int vocab) {
  R1_RETURN_IF_ERROR(row.status);
  const JsonFields fields(row.object, row.where);
  const nlohmann::json* list = fields.FindOrNull("ids");
  if (list == nullptr || !list->is_array() || list->empty()) {
    return fields.Error("ids", "a list of token ids that is not empty");
  }
  std::vector<int32_t> ids;
  for (const nlohmann::json& id : *list) {
    if (!id.is_number_integer() || id < 0 || id >= vocab) {
      return absl::InvalidArgumentError(
          absl::StrCat(row.where, ": ids[", ids.size(), "]: expected a token id below ", vocab,
                       " (vocab_size of config.json), found ", DescribeJson(id)));
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

absl::StatusOr<std::vector<Row>> ReadRows(const std::string& path, int vocab) {
  R1_ASSIGN_OR_RETURN(const auto reader, JsonlReader::Open(path));
  std::vector<Row> rows;
  for (JsonlRow row;;) {
    R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
    if (!more) return rows;
    rows.push_back({row.where, ReadIds(row, vocab)});
  }
}

// The values that a bf16 checkpoint of the model would hold; buffers stay fp32, as there.
WeightsSnapshot RoundToBf16(const ModelSpec& spec, const WeightsSnapshot& weights) {
  const auto values = std::make_shared<std::vector<float>>();
  values->reserve(weights.bytes_total() / sizeof(float));
  for (size_t w = 0; w < weights.tensors.size(); ++w) {
    for (const float value : weights.tensors[w].f32()) {
      values->push_back(spec.weights[w].trainable() ? Bf16ToFloat(FloatToBf16(value)) : value);
    }
  }
  WeightsSnapshot rounded = weights;
  const char* next = reinterpret_cast<const char*>(values->data());
  for (TensorView& tensor : rounded.tensors) {
    tensor.bytes = {next, tensor.bytes.size()};
    next += tensor.bytes.size();
  }
  rounded.storage = values;
  return rounded;
}

// [T, V] of one row.
using LogitsFunction = std::function<absl::StatusOr<std::vector<float>>(std::vector<int32_t> ids)>;

absl::StatusOr<LogitsFunction> RolloutLogits(const ModelSpec& spec,
                                             const WeightsSnapshot& weights) {
  R1_ASSIGN_OR_RETURN(std::unique_ptr<rollout::Engine> made,
                      rollout::Engine::Create(spec, {.prefill_tokens_max = kPrefillTokens}));
  const std::shared_ptr<rollout::Engine> engine = std::move(made);
  R1_RETURN_IF_ERROR(engine->LoadWeights(weights));
  return [engine](const std::vector<int32_t>& ids) { return engine->Logits(ids, kPrefillTokens); };
}

absl::StatusOr<std::shared_ptr<Policy>> MakePolicy(const ModelSpec& spec,
                                                   const WeightsSnapshot& weights) {
  R1_ASSIGN_OR_RETURN(std::shared_ptr<Policy> policy, Policy::Create(spec, {}, /*run_seed=*/0));
  R1_RETURN_IF_ERROR(policy->Load(weights));
  return policy;
}

LogitsFunction LearnerLogits(std::shared_ptr<Policy> policy) {
  return [policy](std::vector<int32_t> ids) {
    // The last row predicts nothing in the sequence: a token behind it, cut off again, makes it a
    // target.
    PackedBatch batch;
    ids.push_back(0);
    batch.Append(ids, 1);
    batch.tokens.pop_back();
    batch.positions.pop_back();
    --batch.sequence_starts.back();
    return policy->Logits(batch);
  };
}

// log softmax of each row but the last, at the token that follows.
std::vector<float> NextLogprobs(const std::vector<float>& logits, const std::vector<int32_t>& ids) {
  const size_t vocab = logits.size() / ids.size();
  std::vector<float> logprobs;
  for (size_t t = 0; t + 1 < ids.size(); ++t) {
    const float* const row = logits.data() + t * vocab;
    const double top = *std::max_element(row, row + vocab);
    double sum = 0;
    for (size_t v = 0; v < vocab; ++v) sum += std::exp(row[v] - top);
    logprobs.push_back(static_cast<float>(row[ids[t + 1]] - top - std::log(sum)));
  }
  return logprobs;
}

// Tensors that own their values until they are written.
struct OutputTensors {
  void Add(std::string name, std::vector<int64_t> shape, std::vector<float> tensor) {
    values.push_back(std::make_unique<std::vector<float>>(std::move(tensor)));
    views.push_back({.name = std::move(name),
                     .dtype = DType::kF32,
                     .shape = std::move(shape),
                     .bytes = {reinterpret_cast<const char*>(values.back()->data()),
                               values.back()->size() * sizeof(float)}});
  }
  std::vector<std::unique_ptr<std::vector<float>>> values;
  std::vector<TensorView> views;
};

absl::StatusOr<std::vector<float>> ComputeRow(const Row& row, const LogitsFunction& compute) {
  R1_RETURN_IF_ERROR(row.ids.status());
  absl::StatusOr<std::vector<float>> logits = compute(*row.ids);
  if (!logits.ok()) return Annotate(logits.status(), row.where);
  return logits;
}

// The number of rows that could not be computed; each is named on stderr and left out.
absl::StatusOr<int64_t> WriteLogits(const std::vector<Row>& rows, const LogitsFunction& compute,
                                    const std::string& path) {
  OutputTensors output;
  int64_t errors = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    absl::StatusOr<std::vector<float>> logits = ComputeRow(rows[i], compute);
    if (!logits.ok()) {
      std::cerr << "r1 logits: " << logits.status().message() << "\n";
      ++errors;
      continue;
    }
    const auto tokens = static_cast<int64_t>(rows[i].ids->size());
    output.Add(absl::StrCat("logprobs.", i), {tokens - 1}, NextLogprobs(*logits, *rows[i].ids));
    const int64_t vocab = static_cast<int64_t>(logits->size()) / tokens;
    output.Add(absl::StrCat("logits.", i), {tokens, vocab}, *std::move(logits));
  }
  const std::string unfinished = absl::StrCat(path, ".unfinished");
  R1_RETURN_IF_ERROR(WriteSafetensors(RealFileSystem(), unfinished, output.views));
  R1_RETURN_IF_ERROR(RealFileSystem().Rename(unfinished, path));
  return errors;
}

absl::Status WriteGradientNorms(const std::vector<Row>& rows, Policy& policy,
                                const std::string& path) {
  std::vector<PackedBatch> batches;
  for (const Row& row : rows) {
    if (row.ids.ok()) batches.emplace_back().Append(*row.ids, 1);
  }
  R1_ASSIGN_OR_RETURN(const auto norms, learner::GradientNorms(policy, batches));
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const auto& [name, norm] : norms) json[name] = norm;
  return WriteFileAtomically(RealFileSystem(), path, absl::StrCat(json.dump(1), "\n"));
}

absl::StatusOr<int> Compute(const ParsedCommand& parsed) {
  const std::string folder = parsed.Value("model");
  R1_ASSIGN_OR_RETURN(ModelSpec spec, ReadModelSpec(folder));
  R1_ASSIGN_OR_RETURN(const std::vector<Row> rows, ReadRows(parsed.Value("input"), spec.vocab));
  size_t longest = 1;
  for (const Row& row : rows) longest = std::max(longest, row.ids.ok() ? row.ids->size() : 0);
  spec.positions_max = static_cast<int>(longest);
  R1_ASSIGN_OR_RETURN(WeightsSnapshot weights, ReadModelFolder(folder, spec));
  if (parsed.Value("dtype", "fp32") == "bf16") weights = RoundToBf16(spec, weights);

  LogitsFunction compute;
  std::shared_ptr<Policy> policy;
  if (parsed.Value("engine", "rollout") == "learner") {
    R1_ASSIGN_OR_RETURN(policy, MakePolicy(spec, weights));
    compute = LearnerLogits(policy);
  } else {
    R1_ASSIGN_OR_RETURN(compute, RolloutLogits(spec, weights));
  }
  R1_ASSIGN_OR_RETURN(const int64_t errors, WriteLogits(rows, compute, parsed.Value("output")));
  if (parsed.Has("grad-norms")) {
    R1_RETURN_IF_ERROR(WriteGradientNorms(rows, *policy, parsed.Value("grad-norms")));
  }
  return errors == 0 ? kExitDone : kExitFailed;
}

bool IsOneOf(const ParsedCommand& parsed, const char* flag, const char* a, const char* b) {
  const std::string value = parsed.Value(flag, a);
  if (value == a || value == b) return true;
  std::cerr << "r1 logits: --" << flag << ": expected " << a << " or " << b << ", found " << value
            << "\n";
  return false;
}

int Logits(const ParsedCommand& parsed) {
  if (!HasFlags("logits", parsed, {"model", "input", "output"})) return kExitUsage;
  if (!IsOneOf(parsed, "engine", "rollout", "learner")) return kExitUsage;
  if (!IsOneOf(parsed, "dtype", "fp32", "bf16")) return kExitUsage;
  if (parsed.Has("grad-norms") && parsed.Value("engine") != "learner") {
    std::cerr << "r1 logits: --grad-norms: the rollout engine has no gradients; add --engine "
                 "learner\n";
    return kExitUsage;
  }
  const absl::StatusOr<int> code = Compute(parsed);
  return code.ok() ? *code : ReportError("logits", code.status());
}

}  // namespace

const Command& LogitsCommand() {
  static const auto* command = new Command{
      {.name = "logits",
       .summary = "Computes logits and logprobs of given token ids: rows {ids} give the tensors "
                  "logits.<row> [T, V] and logprobs.<row> [T - 1].",
       .flags = {{.name = "model", .value = "DIR", .help = "Hugging Face folder"},
                 {.name = "input", .value = "FILE.jsonl", .help = "rows of token ids"},
                 {.name = "output", .value = "FILE.safetensors", .help = "rows counted from 0"},
                 {.name = "engine", .value = "NAME", .help = "rollout (default) or learner"},
                 {.name = "dtype",
                  .value = "NAME",
                  .help = "fp32 (default), or bf16: weights rounded to it, computed in fp32"},
                 {.name = "grad-norms",
                  .value = "FILE.json",
                  .help = "with --engine learner: norm of the gradient of the mean cross-entropy "
                          "over all rows, by parameter"}}},
      &Logits};
  return *command;
}

}  // namespace r1::cli
