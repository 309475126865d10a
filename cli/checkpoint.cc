// r1 checkpoint inspect | verify | diff | convert: what is in a model folder, whether it is intact,
// how two differ, and one written again with another element type or shards.

#include <cmath>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/commands.h"
#include "cli/jsonl_rows.h"
#include "common/filesystem.h"
#include "common/model_convert.h"
#include "common/model_diff.h"
#include "common/stored_model.h"
#include "learner/verify_folder.h"

namespace r1::cli {
namespace {

using nlohmann::ordered_json;

constexpr char kName[] = "checkpoint";

void PrintJson(const ordered_json& json) {
  std::cout << json.dump(2, ' ', false, ordered_json::error_handler_t::replace) << "\n";
}

int UsageError(absl::string_view what) {
  std::cerr << "r1 " << kName << ": " << what << "\n";
  return kExitUsage;
}

// --- inspect ---

int Inspect(const ParsedCommand& parsed) {
  const auto model = StoredModel::Open(parsed.positionals()[1]);
  if (!model.ok()) return ReportError(kName, model.status());
  ordered_json tensors = ordered_json::array();
  std::map<std::string, int64_t> bytes_by_dtype;
  int64_t parameters = 0, bytes = 0;
  for (const StoredTensor& tensor : model->tensors()) {
    const std::string dtype(DTypeName(tensor.view.dtype));
    const auto tensor_bytes = static_cast<int64_t>(tensor.view.bytes.size());
    // The scales of a block-scaled weight belong to its representation.
    const int64_t own = model->IsScale(tensor) ? 0 : tensor.view.elements();
    parameters += own;
    bytes += tensor_bytes;
    bytes_by_dtype[dtype] += tensor_bytes;
    tensors.push_back({{"name", tensor.view.name},
                       {"dtype", dtype},
                       {"shape", tensor.view.shape},
                       {"parameters", own},
                       {"bytes", tensor_bytes},
                       {"file", tensor.file.substr(JoinPath(model->folder(), "").size())}});
  }
  if (parsed.Has("json")) {
    PrintJson({{"folder", model->folder()},
               {"parameters", parameters},
               {"bytes", bytes},
               {"bytes_by_dtype", bytes_by_dtype},
               {"tensors", std::move(tensors)}});
    return kExitDone;
  }
  for (const ordered_json& tensor : tensors) {
    absl::PrintF("%-8s %-20s %12d  %s  (%s)\n", tensor["dtype"].get<std::string>(),
                 ShapeText(tensor["shape"].get<std::vector<int64_t>>()),
                 tensor["parameters"].get<int64_t>(), tensor["name"].get<std::string>(),
                 tensor["file"].get<std::string>());
  }
  absl::PrintF("%d tensors, %d parameters, %d bytes:", model->tensors().size(), parameters, bytes);
  for (const auto& [dtype, dtype_bytes] : bytes_by_dtype) {
    absl::PrintF(" %s %d", dtype, dtype_bytes);
  }
  absl::PrintF("\n");
  return kExitDone;
}

// --- verify ---

int Verify(const ParsedCommand& parsed) {
  const std::string& folder = parsed.positionals()[1];
  const auto report = learner::VerifyFolder(folder);
  if (!report.ok()) return ReportError(kName, report.status());
  const bool intact = report->problems.empty();
  if (parsed.Has("json")) {
    PrintJson({{"folder", folder},
               {"intact", intact},
               {"manifest", report->has_manifest},
               {"files", report->files},
               {"tensors", report->tensors},
               {"problems", report->problems}});
  } else {
    for (const std::string& problem : report->problems) std::cout << problem << "\n";
    absl::PrintF(
        "%s: %s; %d files %s, %d tensors read\n", folder, intact ? "intact" : "DAMAGED",
        report->files,
        report->has_manifest ? "checked against MANIFEST" : "checked (there is no MANIFEST)",
        report->tensors);
  }
  return intact ? kExitDone : kExitFailed;
}

// --- diff ---

// JSON has no infinity.
ordered_json NumberOrText(double value) {
  return std::isfinite(value) ? ordered_json(value) : ordered_json("infinity");
}

int Diff(const ParsedCommand& parsed) {
  if (parsed.positionals().size() < 3) return UsageError("diff: expected two folders");
  const auto a = StoredModel::Open(parsed.positionals()[1]);
  if (!a.ok()) return ReportError(kName, a.status());
  const auto b = StoredModel::Open(parsed.positionals()[2]);
  if (!b.ok()) return ReportError(kName, b.status());
  const auto diff = DiffModels(*a, *b);
  if (!diff.ok()) return ReportError(kName, diff.status());
  ordered_json differing = ordered_json::array();
  for (const TensorDiff& tensor : diff->tensors) {
    if (!tensor.problem.empty()) {
      differing.push_back(
          {{"name", tensor.name}, {"dtypes", tensor.dtypes}, {"problem", tensor.problem}});
    } else if (tensor.elements_different > 0) {
      differing.push_back({{"name", tensor.name},
                           {"dtypes", tensor.dtypes},
                           {"elements", tensor.elements},
                           {"elements_different", tensor.elements_different},
                           {"difference_max", NumberOrText(tensor.difference_max)}});
    }
  }
  const size_t count = differing.size();
  if (parsed.Has("json")) {
    PrintJson({{"identical", diff->identical()},
               {"tensors", diff->tensors.size()},
               {"tensors_different", std::move(differing)}});
  } else {
    for (const TensorDiff& tensor : diff->tensors) {
      if (!tensor.problem.empty()) {
        absl::PrintF("%s: %s\n", tensor.name, tensor.problem);
      } else if (tensor.elements_different > 0) {
        absl::PrintF("%s: %d of %d elements differ, by at most %g (%s)\n", tensor.name,
                     tensor.elements_different, tensor.elements, tensor.difference_max,
                     tensor.dtypes);
      }
    }
    absl::PrintF("%d of %d tensors differ\n", count, diff->tensors.size());
  }
  return diff->identical() ? kExitDone : kExitFailed;
}

// --- convert ---

int Convert(const ParsedCommand& parsed) {
  if (!HasFlags("checkpoint convert", parsed, {"output"})) return kExitUsage;
  ConvertOptions options;
  if (parsed.Has("dtype")) {
    const std::string name = absl::AsciiStrToUpper(parsed.Value("dtype"));
    const auto dtype = ParseDType(name);
    if (!dtype.ok() || !IsFloat(*dtype) || *dtype == DType::kF8E4M3) {
      return UsageError(
          absl::StrCat("--dtype: expected F32, BF16 or F16, found ", parsed.Value("dtype")));
    }
    options.dtype = *dtype;
  }
  const auto shard_bytes = parsed.IntegerValue("shard-bytes", static_cast<int64_t>(kShardBytesMax),
                                               1, static_cast<int64_t>(kShardBytesMax));
  if (!shard_bytes.ok()) return ReportError(kName, shard_bytes.status());
  options.shard_bytes_max = static_cast<uint64_t>(*shard_bytes);
  const auto report = ConvertModelFolder(RealFileSystem(), parsed.positionals()[1],
                                         parsed.Value("output"), options);
  if (!report.ok()) return ReportError(kName, report.status());
  if (parsed.Has("json")) {
    PrintJson({{"folder", parsed.Value("output")},
               {"tensors", report->tensors},
               {"bytes", report->bytes},
               {"shards", report->shards}});
  } else {
    absl::PrintF("%s: %d tensors, %d bytes, %d files\n", parsed.Value("output"), report->tensors,
                 report->bytes, report->shards);
  }
  return kExitDone;
}

int Checkpoint(const ParsedCommand& parsed) {
  const std::string& action = parsed.positionals()[0];
  if (action != "diff" && parsed.positionals().size() > 2) {
    return UsageError(absl::StrCat(action, ": expected one folder"));
  }
  if (action == "inspect") return Inspect(parsed);
  if (action == "verify") return Verify(parsed);
  if (action == "diff") return Diff(parsed);
  if (action == "convert") return Convert(parsed);
  return UsageError(
      absl::StrCat("expected inspect, verify, diff or convert, found \"", action, "\""));
}

}  // namespace

const Command& CheckpointCommand() {
  static const auto* command = new Command{
      {.name = kName,
       .summary = "Inspects, verifies, compares or converts model folders and checkpoints.",
       .positionals = {{.name = "ACTION", .help = "inspect, verify, diff or convert"},
                       {.name = "FOLDER", .help = "a folder in Hugging Face layout"},
                       {.name = "OTHER",
                        .help = "diff: the folder to compare with",
                        .optional = true}},
       .flags = {{.name = "json", .help = "prints the result as JSON"},
                 {.name = "output", .value = "DIR", .help = "convert: where to; must not exist"},
                 {.name = "dtype",
                  .value = "F32|BF16|F16",
                  .help = "convert: of the weights; as they are unless given"},
                 {.name = "shard-bytes",
                  .value = "N",
                  .help = "convert: at most so many bytes of weights a file (default and limit: "
                          "5000000000)"}}},
      &Checkpoint};
  return *command;
}

}  // namespace r1::cli
