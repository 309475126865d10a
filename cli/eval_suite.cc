// r1 eval --suite: the samples of a suite's problems that are not there yet are drawn and scored,
// then the report is made from all of them.

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/commands.h"
#include "cli/eval_modes.h"
#include "cli/evaluation/endpoint_source.h"
#include "cli/evaluation/engine_source.h"
#include "cli/evaluation/report.h"
#include "cli/evaluation/sample_log.h"
#include "cli/evaluation/sample_scorer.h"
#include "common/evaluation/problems.h"
#include "common/evaluation/suite.h"
#include "common/filesystem.h"
#include "common/json.h"

namespace r1::cli {
namespace {

using nlohmann::ordered_json;

constexpr uint64_t kSmallFileBytesMax = 1 << 20;
constexpr size_t kChangesShown = 6;
constexpr double kSecondsMax = 86400;
constexpr int64_t kProblemsMax = int64_t{1} << 40;

struct SuiteRun {
  LoadedSuite suite;
  EvaluationData data;
  std::vector<NamedReward> rewards;
  uint64_t seed = 1;
  int jobs = 2;
  std::string folder;
  // Who is measured, and with what: a run may only go on with the same.
  ordered_json identity;
};

// Held by this process as long as the returned descriptor is open.
absl::StatusOr<int> LockFolder(const std::string& folder) {
  const std::string path = JoinPath(folder, "lock");
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return absl::UnavailableError(absl::StrCat(path, ": cannot be written"));
  if (flock(file, LOCK_EX | LOCK_NB) == 0) return file;
  close(file);
  return absl::FailedPreconditionError(
      absl::StrCat(folder, ": another r1 eval works in this folder"));
}

// What a process that was killed was just writing.
void RemoveLeftovers(const std::string& folder) {
  const auto names = RealFileSystem().List(folder);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    for (const char* ours : {"samples.jsonl", "report.json", "suite.toml", "evaluation.json"}) {
      if (!absl::StartsWith(name, absl::StrCat(ours, ".tmp-"))) continue;
      RealFileSystem().RemoveAll(JoinPath(folder, name)).IgnoreError();
    }
  }
}

// Whether what is in the folder came from the same suite, data, model and seed; writes who we are
// when it is empty.
absl::Status CheckIdentity(const SuiteRun& run) {
  FileSystem& files = RealFileSystem();
  const std::string suite_path = JoinPath(run.folder, "suite.toml");
  const std::string identity_path = JoinPath(run.folder, "evaluation.json");
  if (files.Exists(identity_path)) {
    R1_ASSIGN_OR_RETURN(const std::string toml, files.Read(suite_path, kSmallFileBytesMax));
    R1_ASSIGN_OR_RETURN(const LoadedSuite then, LoadSuiteText(suite_path, toml, {}));
    std::vector<std::string> changed =
        ChangedFields(then.suite, run.suite.suite, /*include_safe=*/false);
    R1_ASSIGN_OR_RETURN(const std::string text, files.Read(identity_path, kSmallFileBytesMax));
    R1_ASSIGN_OR_RETURN(const nlohmann::json was, ParseJson(text, identity_path));
    for (const auto& [key, value] : run.identity.items()) {
      if (!was.is_object() || !was.contains(key) || was[key] != value) changed.push_back(key);
    }
    if (changed.size() > kChangesShown) {
      changed.resize(kChangesShown);
      changed.push_back("…");
    }
    if (!changed.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(run.folder, ": expected the evaluation that was begun there, found another ",
                       absl::StrJoin(changed, ", "), "; give a fresh --output"));
    }
  }
  R1_RETURN_IF_ERROR(WriteFileAtomically(files, suite_path, ConfigToToml(run.suite.suite)));
  return WriteFileAtomically(files, identity_path, run.identity.dump(2) + "\n");
}

std::vector<SampleId> MissingSamples(const SuiteRun& run, const ScoredSamples& there) {
  const v1::EvaluationSuite& suite = run.suite.suite;
  const bool wants_greedy = HasMetric(suite, SuiteMetric::Kind::kGreedy);
  std::vector<SampleId> missing;
  for (size_t problem = 0; problem < run.data.problems.size(); ++problem) {
    for (int sample = wants_greedy ? SampleId::kGreedy : 0; sample < suite.sampling().samples();
         ++sample) {
      if (there.count({problem, sample}) == 0) missing.push_back({problem, sample});
    }
  }
  return missing;
}

// Draws and scores what is missing.
absl::Status CompleteSamples(SuiteRun& run, SampleSource& source, SampleLog& log,
                             std::map<std::string, int64_t>& failures) {
  std::vector<RawSample> to_score_again;
  for (const auto& [id, sample] : log.samples()) {
    const bool is_ours = id.problem < run.data.problems.size();
    if (is_ours && !sample.error.empty()) to_score_again.push_back(sample.raw);
  }
  const std::vector<SampleId> missing = MissingSamples(run, log.samples());
  if (missing.empty() && to_score_again.empty()) return log.Sort();
  R1_ASSIGN_OR_RETURN(
      const std::unique_ptr<SampleScorer> scorer,
      SampleScorer::Start(std::move(run.rewards), run.data.problems, run.seed, run.jobs, log));
  for (RawSample& raw : to_score_again) R1_RETURN_IF_ERROR(scorer->Add(std::move(raw)));
  const absl::Status generated = source.Generate(
      missing, [&scorer](RawSample raw) { return scorer->Add(std::move(raw)); }, failures);
  // What was drawn is kept, whatever ended the drawing.
  R1_RETURN_IF_ERROR(scorer->Finish());
  R1_RETURN_IF_ERROR(generated);
  return log.Sort();
}

absl::StatusOr<SuiteRun> ReadRun(const ParsedCommand& parsed) {
  SuiteRun run;
  R1_ASSIGN_OR_RETURN(run.suite, LoadSuite(parsed.Value("suite"), parsed.Values("set")));
  R1_ASSIGN_OR_RETURN(run.rewards, MakeSuiteRewards(run.suite));
  if (parsed.Has("data")) run.suite.suite.mutable_data()->set_file(parsed.Value("data"));
  const std::string& file = run.suite.suite.data().file();
  if (file.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(run.suite.Where("data.file"), ": data.file names no file; give --data"));
  }
  R1_ASSIGN_OR_RETURN(const int64_t limit,
                      parsed.IntegerValue("limit", kProblemsMax, 1, kProblemsMax));
  R1_ASSIGN_OR_RETURN(const int64_t seed, parsed.IntegerValue("seed", 1, 0, int64_t{1} << 53));
  R1_ASSIGN_OR_RETURN(const int64_t jobs, parsed.IntegerValue("jobs", 2, 1, 1024));
  run.seed = static_cast<uint64_t>(seed);
  run.jobs = static_cast<int>(jobs);
  auto data = ReadProblems(run.suite.suite, file, limit);
  if (absl::IsNotFound(data.status()) && !parsed.Has("data")) {
    return absl::NotFoundError(absl::StrCat(run.suite.Where("data.file"),
                                            ": the suite's data is not part of r1 (",
                                            data.status().message(), "); give --data FILE"));
  }
  R1_ASSIGN_OR_RETURN(run.data, std::move(data));
  run.folder =
      parsed.Value("output", absl::StrCat("runs/eval-", run.suite.suite.name(), "-s", run.seed));
  run.identity = {{"data_sha256", run.data.sha256}, {"seed", run.seed}};
  return run;
}

absl::StatusOr<std::unique_ptr<SampleSource>> MakeEngineSource(const ParsedCommand& parsed,
                                                               SuiteRun& run) {
  EngineSource::Options options{.model = parsed.Value("model"), .seed = run.seed, .engine = {}};
  R1_ASSIGN_OR_RETURN(const int64_t threads, parsed.IntegerValue("threads", 1, 1, 512));
  R1_ASSIGN_OR_RETURN(const int64_t cache, parsed.IntegerValue("kv-cache-mib", 2048, 1, 1 << 20));
  options.engine.threads = static_cast<int>(threads);
  options.engine.kv_cache_mib = static_cast<int>(cache);
  options.engine.device = parsed.Value("device", "cpu");
  R1_ASSIGN_OR_RETURN(std::unique_ptr<EngineSource> source,
                      EngineSource::Load(options, run.suite.suite, run.data.problems));
  run.identity["model_digest"] = source->ModelDigest();
  if (source->positions_max() < run.suite.suite.sampling().tokens_max()) {
    std::cerr << "r1 eval: the model has " << source->positions_max()
              << " positions: responses end there, not after "
              << run.suite.suite.sampling().tokens_max() << " tokens\n";
  }
  return source;
}

absl::StatusOr<double> PositiveSeconds(const ParsedCommand& parsed, const std::string& flag,
                                       double otherwise) {
  const std::string text = parsed.Value(flag);
  double seconds = otherwise;
  const bool fits = !parsed.Has(flag) ||
                    (absl::SimpleAtod(text, &seconds) && seconds > 0 && seconds <= kSecondsMax);
  if (fits) return seconds;
  return absl::InvalidArgumentError(absl::StrCat(
      "--", flag, ": expected seconds above 0 and up to ", kSecondsMax, ", found \"", text, "\""));
}

// From the environment only: command lines are seen by others and kept in histories.
absl::StatusOr<std::string> ReadApiKey(const ParsedCommand& parsed) {
  const std::string name = parsed.Value("api-key-env", "OPENAI_API_KEY");
  const char* key = name.empty() ? nullptr : std::getenv(name.c_str());
  if (key == nullptr && parsed.Has("api-key-env") && !name.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--api-key-env: expected a variable of the environment, found no ", name));
  }
  const std::string text = key == nullptr ? "" : key;
  const bool is_plain = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
  if (is_plain) return text;
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": expected a key of visible ASCII characters, found others"));
}

absl::StatusOr<std::unique_ptr<SampleSource>> MakeEndpointSource(const ParsedCommand& parsed,
                                                                 SuiteRun& run) {
  EndpointSource::Options options;
  options.url = parsed.Value("endpoint");
  options.model = parsed.Value("endpoint-model");
  options.seed = run.seed;
  if (options.model.empty()) {
    return absl::InvalidArgumentError("--endpoint-model is missing: the model's name there");
  }
  if (parsed.Has("endpoint-extra")) {
    R1_ASSIGN_OR_RETURN(options.extra,
                        ParseJson(parsed.Value("endpoint-extra"), "--endpoint-extra"));
    if (!options.extra.is_object()) {
      return absl::InvalidArgumentError(absl::StrCat("--endpoint-extra: expected an object, found ",
                                                     DescribeJson(options.extra)));
    }
  }
  R1_ASSIGN_OR_RETURN(options.api_key, ReadApiKey(parsed));
  R1_ASSIGN_OR_RETURN(const int64_t concurrency, parsed.IntegerValue("concurrency", 8, 1, 1024));
  R1_ASSIGN_OR_RETURN(const int64_t attempts, parsed.IntegerValue("attempts", 6, 1, 30));
  options.concurrency = static_cast<int>(concurrency);
  options.attempts = static_cast<int>(attempts);
  R1_ASSIGN_OR_RETURN(options.request_seconds,
                      PositiveSeconds(parsed, "request-seconds", options.request_seconds));
  R1_ASSIGN_OR_RETURN(options.retry_seconds,
                      PositiveSeconds(parsed, "retry-seconds", options.retry_seconds));
  run.identity["endpoint"] = options.url;
  run.identity["endpoint_model"] = options.model;
  run.identity["endpoint_extra"] = options.extra;
  return EndpointSource::Make(options, run.suite.suite, run.data.problems);
}

absl::StatusOr<ordered_json> Evaluate(const ParsedCommand& parsed,
                                      std::map<std::string, int64_t>& failures) {
  R1_ASSIGN_OR_RETURN(SuiteRun run, ReadRun(parsed));
  R1_ASSIGN_OR_RETURN(
      const std::unique_ptr<SampleSource> source,
      parsed.Has("endpoint") ? MakeEndpointSource(parsed, run) : MakeEngineSource(parsed, run));
  for (const auto& [reason, count] : run.data.left_out) {
    std::cerr << "r1 eval: left out " << count << " rows: " << reason << "\n";
  }
  R1_RETURN_IF_ERROR(RealFileSystem().CreateDirectories(run.folder));
  R1_ASSIGN_OR_RETURN(const int lock, LockFolder(run.folder));
  const absl::Cleanup unlock = [lock] { close(lock); };
  RemoveLeftovers(run.folder);
  R1_RETURN_IF_ERROR(CheckIdentity(run));
  R1_ASSIGN_OR_RETURN(const std::unique_ptr<SampleLog> log, SampleLog::Open(run.folder));
  const size_t before = MissingSamples(run, log->samples()).size();
  std::cerr << "r1 eval: " << run.suite.suite.name() << ": " << before << " samples to draw, in "
            << run.folder << "\n";
  R1_RETURN_IF_ERROR(CompleteSamples(run, *source, *log, failures));
  ordered_json report =
      EvaluationReport(run.suite.suite, run.data.problems, log->samples(), run.seed);
  report["identity"] = run.identity;
  report["left_out"] = run.data.left_out;
  report["example_prompt"] = source->ExamplePrompt();
  const std::string text =
      report.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  R1_RETURN_IF_ERROR(
      WriteFileAtomically(RealFileSystem(), JoinPath(run.folder, "report.json"), text));
  return report;
}

}  // namespace

int EvalSuite(const ParsedCommand& parsed) {
  if (parsed.Has("model") == parsed.Has("endpoint")) {
    std::cerr << "r1 eval: expected one of --model and --endpoint\n";
    return kExitUsage;
  }
  std::map<std::string, int64_t> failures;
  const absl::StatusOr<ordered_json> report = Evaluate(parsed, failures);
  if (absl::IsCancelled(report.status())) {
    std::cerr << "r1 eval: stopped; the same command goes on\n";
    return kExitPreempted;
  }
  if (!report.ok()) return ReportError("eval", report.status());
  if (parsed.Has("json")) {
    std::cout << report->dump(2, ' ', false, ordered_json::error_handler_t::replace) << "\n";
  } else {
    std::cout << EvaluationTable(*report);
  }
  for (const auto& [message, count] : failures) {
    std::cerr << "r1 eval: " << count << " samples: " << message << "\n";
  }
  const ordered_json& counts = (*report)["counts"];
  const bool complete = counts["missing"] == 0 && counts["failed"] == 0;
  return complete ? kExitDone : kExitFailed;
}

}  // namespace r1::cli
