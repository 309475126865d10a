// r1_bench_tokenizer: encoding and decoding speed of a model's tokenizer on one thread, text by
// text, over the strings of a JSONL file. Times are processor seconds of this thread, the best
// round counts. Then, when Python has Hugging Face's tokenizers, both in turns (tokenizer_peer.py).

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/bench/python_peer.h"
#include "common/command_line.h"
#include "common/jsonl.h"
#include "common/tokenizer.h"

namespace r1 {
namespace {

const CommandSpec kCommand = {
    .name = "tokenizer",
    .summary = "Measures encoding and decoding, beside Hugging Face's tokenizers if Python has it.",
    .positionals = {},
    .flags = {{.name = "tokenizer", .value = "DIR", .help = "folder with tokenizer.json"},
              {.name = "input", .value = "FILE.jsonl", .help = "rows; every string in them counts"},
              {.name = "rounds", .value = "N", .help = "the best one counts (5)"},
              {.name = "json", .help = "one line of JSON, without the peer"}}};

double ThreadSeconds() {
  timespec time;
  R1_CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

absl::StatusOr<std::vector<std::string>> ReadTexts(const std::string& path) {
  R1_ASSIGN_OR_RETURN(std::unique_ptr<JsonlReader> reader, JsonlReader::Open(path));
  std::vector<std::string> texts;
  for (JsonlRow row;;) {
    R1_ASSIGN_OR_RETURN(const bool more, reader->Next(row));
    if (!more) return texts;
    R1_RETURN_IF_ERROR(row.status);
    for (const auto& [key, value] : row.object.items()) {
      if (value.is_string()) texts.push_back(value.get<std::string>());
    }
  }
}

struct Result {
  double load_seconds = 0;
  double encode_seconds = 0;
  double decode_seconds = 0;
  size_t texts = 0;
  size_t bytes = 0;
  size_t tokens = 0;
};

absl::StatusOr<Result> Measure(const ParsedCommand& command) {
  R1_ASSIGN_OR_RETURN(const int64_t rounds, command.IntegerValue("rounds", 5, 1, 1000));
  R1_ASSIGN_OR_RETURN(const std::vector<std::string> texts, ReadTexts(command.Value("input")));
  Result result;
  double begin = ThreadSeconds();
  R1_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(command.Value("tokenizer")));
  result.load_seconds = ThreadSeconds() - begin;
  result.texts = texts.size();
  for (const std::string& text : texts) result.bytes += text.size();
  result.encode_seconds = result.decode_seconds = 1e9;
  std::vector<std::vector<int32_t>> ids(texts.size());
  for (int64_t round = 0; round < rounds; ++round) {
    begin = ThreadSeconds();
    for (size_t i = 0; i < texts.size(); ++i) {
      R1_ASSIGN_OR_RETURN(ids[i], tokenizer->Encode(texts[i]));
    }
    result.encode_seconds = std::min(result.encode_seconds, ThreadSeconds() - begin);
    begin = ThreadSeconds();
    size_t decoded_bytes = 0;
    for (const auto& text_ids : ids) decoded_bytes += tokenizer->Decode(text_ids).size();
    result.decode_seconds = std::min(result.decode_seconds, ThreadSeconds() - begin);
    R1_CHECK(decoded_bytes > 0 || result.bytes == 0);
  }
  for (const auto& text_ids : ids) result.tokens += text_ids.size();
  return result;
}

int Main(const std::vector<std::string>& arguments) {
  const absl::StatusOr<ParsedCommand> command = ParseCommand(kCommand, arguments);
  if (!command.ok()) {
    std::fprintf(stderr, "r1_bench_tokenizer: %s\n", command.status().ToString().c_str());
    return 2;
  }
  if (command->Has("help")) {
    std::printf("%s", CommandHelp("r1 bench", kCommand).c_str());
    return 0;
  }
  for (const char* flag : {"tokenizer", "input"}) {
    if (command->Has(flag)) continue;
    std::fprintf(stderr, "r1_bench_tokenizer: --%s is missing; see --help\n", flag);
    return 2;
  }
  const absl::StatusOr<Result> result = Measure(*command);
  if (!result.ok()) {
    std::fprintf(stderr, "r1_bench_tokenizer: %s\n", result.status().ToString().c_str());
    return 2;
  }
  const double megabytes = static_cast<double>(result->bytes) * 1e-6;
  std::printf(
      command->Has("json")
          ? "{\"texts\": %zu, \"megabytes\": %.3f, \"tokens\": %zu, \"load_seconds\": %.3f, "
            "\"encode_megabytes_per_second\": %.2f, "
            "\"decode_megabytes_per_second\": %.2f}\n"
          : "%zu texts, %.3f MB, %zu tokens; loaded in %.3f s; encode %.2f MB/s, decode "
            "%.2f MB/s\n",
      result->texts, megabytes, result->tokens, result->load_seconds,
      megabytes / result->encode_seconds, megabytes / result->decode_seconds);
  if (command->Has("json")) return 0;
  const bool compared =
      RunPythonPeer("tokenizers", "tokenizers", R1_PEER_SCRIPT,
                    {"--bench", std::filesystem::read_symlink("/proc/self/exe"), "--tokenizer",
                     command->Value("tokenizer"), "--input", command->Value("input"), "--rounds",
                     command->Value("rounds", "5")});
  return compared ? 0 : 3;
}

}  // namespace
}  // namespace r1

int main(int argc, char** argv) {
  return r1::Main(std::vector<std::string>(argv + 1, argv + argc));
}
