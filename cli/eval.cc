// r1 eval: how good a model is. Its flags, and which of its ways they ask for.

#include <initializer_list>
#include <iostream>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/eval_modes.h"
#include "common/stop_signal.h"

namespace r1::cli {
namespace {

using Names = std::vector<std::string>;

// Flags that not all of the ways take.
const Names& SharedFlags() {
  static const auto* flags = new Names{"model", "data", "seed", "suite", "threads"};
  return *flags;
}
const Names& TaskFlags() {
  static const auto* flags =
      new Names{"task", "answer-marker", "prompts", "samples", "temperature", "max-tokens"};
  return *flags;
}
const Names& SuiteFlags() {
  static const auto* flags = new Names{"limit", "set", "jobs", "endpoint"};
  return *flags;
}
const Names& EngineFlags() {
  static const auto* flags = new Names{"threads", "kv-cache-mib", "device"};
  return *flags;
}
const Names& EndpointFlags() {
  static const auto* flags =
      new Names{"endpoint-model", "endpoint-extra",  "api-key-env",  "concurrency",
                "attempts",       "request-seconds", "retry-seconds"};
  return *flags;
}
const Names& DecontaminationFlags() {
  static const auto* flags =
      new Names{"train", "against", "report", "ngram", "train-columns", "against-columns"};
  return *flags;
}

// False, with a message, when a flag of another way is given.
bool FlagsFit(const ParsedCommand& parsed, std::initializer_list<const Names*> others,
              const std::string& advice) {
  for (const Names* names : others) {
    for (const std::string& flag : *names) {
      if (!parsed.Has(flag)) continue;
      std::cerr << "r1 eval: expected no --" << flag << " " << advice << "\n";
      return false;
    }
  }
  return true;
}

int EvalWithSuite(const ParsedCommand& parsed) {
  const bool fits = FlagsFit(parsed, {&TaskFlags()},
                             "with --suite, found one; a suite's settings change by --set, as in "
                             "--set sampling.samples=4") &&
                    (parsed.Has("endpoint")
                         ? FlagsFit(parsed, {&EngineFlags()}, "with --endpoint, found one")
                         : FlagsFit(parsed, {&EndpointFlags()}, "without --endpoint, found one"));
  return fits ? EvalSuite(parsed) : kExitUsage;
}

int Eval(const ParsedCommand& parsed) {
  InstallSignalHandlers();
  if (!parsed.positionals().empty() && parsed.positionals()[0] != "decontaminate") {
    std::cerr << "r1 eval: expected decontaminate or nothing, found " << parsed.positionals()[0]
              << "\n";
    return kExitUsage;
  }
  if (!parsed.positionals().empty()) {
    const bool fits = FlagsFit(
        parsed, {&SharedFlags(), &TaskFlags(), &SuiteFlags(), &EngineFlags(), &EndpointFlags()},
        "with decontaminate, found one");
    return fits ? EvalDecontaminate(parsed) : kExitUsage;
  }
  if (!FlagsFit(parsed, {&DecontaminationFlags()}, "without decontaminate, found one")) {
    return kExitUsage;
  }
  if (parsed.Has("suite")) return EvalWithSuite(parsed);
  static const auto* only_with_suite = new Names{"output", "kv-cache-mib", "device"};
  const bool fits = FlagsFit(parsed, {&SuiteFlags(), &EndpointFlags(), only_with_suite},
                             "without --suite, found one");
  return fits ? EvalTask(parsed) : kExitUsage;
}

std::vector<FlagSpec> Flags() {
  return {
      {.name = "model", .value = "DIR", .help = "folder in Hugging Face layout"},
      {.name = "suite",
       .value = "FILE.toml",
       .help = "what to measure and how, as configs/eval/math500.toml"},
      {.name = "data",
       .value = "FILE.jsonl",
       .help = "the suite's problems; without --suite: rows with prompt or question, and "
               "answer"},
      {.name = "limit", .value = "N", .help = "only the first N problems of the suite"},
      {.name = "set",
       .value = "KEY=VALUE",
       .help = "a setting of the suite, as in sampling.samples=4",
       .repeated = true},
      {.name = "output",
       .value = "DIR",
       .help = "samples and report of the suite; the same command goes on with what is there "
               "(default runs/eval-<set>-s<seed>); decontaminate: FILE.jsonl for clean rows"},
      {.name = "seed", .value = "N", .help = "of the samples (default 1)"},
      {.name = "threads", .value = "N", .help = "engine threads (default 1)"},
      {.name = "jobs", .value = "N", .help = "samples of a suite scored at a time (default 2)"},
      {.name = "kv-cache-mib",
       .value = "N",
       .help = "suite: memory of the KV cache (default 2048)"},
      {.name = "device", .value = "NAME", .help = "suite: cpu or cuda (default cpu)"},
      {.name = "task", .value = "NAME", .help = "built-in task (default chain)"},
      {.name = "answer-marker",
       .value = "TEXT",
       .help = "without --suite: the answer is what follows it, as in ####"},
      {.name = "prompts",
       .value = "N",
       .help = "without --suite: prompts (default 512, or as many as there are)"},
      {.name = "samples",
       .value = "K",
       .help = "without --suite: samples a prompt for pass@1 (default 1)"},
      {.name = "temperature", .value = "T", .help = "without --suite: of the samples (default 1)"},
      {.name = "max-tokens",
       .value = "N",
       .help = "without --suite: longest response (default 1024)"},
      {.name = "endpoint",
       .value = "URL",
       .help = "suite: an OpenAI-compatible server in place of --model, as http://HOST:PORT/v1"},
      {.name = "endpoint-model", .value = "NAME", .help = "endpoint: the model's name there"},
      {.name = "endpoint-extra",
       .value = "JSON",
       .help = "endpoint: fields laid over each request; null removes one"},
      {.name = "api-key-env",
       .value = "NAME",
       .help = "endpoint: environment variable with the API key (default OPENAI_API_KEY)"},
      {.name = "concurrency", .value = "N", .help = "endpoint: requests at a time (default 8)"},
      {.name = "attempts", .value = "N", .help = "endpoint: of each sample (default 6)"},
      {.name = "request-seconds",
       .value = "S",
       .help = "endpoint: that an answer may take (default 1800)"},
      {.name = "retry-seconds",
       .value = "S",
       .help = "endpoint: before the second attempt, doubling up to 60 (default 1)"},
      {.name = "train", .value = "FILE.jsonl", .help = "decontaminate: the training data"},
      {.name = "against",
       .value = "FILE.jsonl",
       .help = "decontaminate: an evaluation set",
       .repeated = true},
      {.name = "report",
       .value = "FILE.jsonl",
       .help = "decontaminate: a row about each row that is not clean"},
      {.name = "ngram", .value = "N", .help = "decontaminate: so many words in a row (default 10)"},
      {.name = "train-columns",
       .value = "A,B",
       .help = "decontaminate: columns of the training data to look at (default all texts)"},
      {.name = "against-columns",
       .value = "A,B",
       .help = "decontaminate: columns of the evaluation sets"},
      {.name = "json", .help = "prints JSON"}};
}

}  // namespace

const Command& EvalCommand() {
  static const auto* command = new Command{
      {.name = "eval",
       .summary = "Measures a model on a suite of problems (docs/evaluation.md), or on a built-in "
                  "task, with 95 % intervals.",
       .positionals = {{.name = "decontaminate",
                        .help = "instead: finds and drops training rows that hold texts of "
                                "evaluation sets",
                        .optional = true}},
       .flags = Flags()},
      &Eval};
  return *command;
}

}  // namespace r1::cli
