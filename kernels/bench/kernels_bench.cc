// r1_bench_kernels: time of each kernel beside the least that its bytes and operations take.

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/command_line.h"
#include "common/nearest_name.h"
#include "common/status.h"
#include "kernels/bench/cpu_kernels_bench.h"
#include "kernels/bench/cuda_device.h"
#include "kernels/bench/cuda_kernels_bench.h"
#include "kernels/bench/machine_ceilings.h"

namespace r1::kernels {
namespace {

const CommandSpec kCommand = {
    .name = "kernels",
    .summary = "Measures kernels beside the least time that their bytes and operations take.",
    .positionals = {},
    .flags = {{.name = "device", .value = "NAME", .help = "cpu or cuda (cpu)"},
              {.name = "kernels", .value = "LIST", .help = "names, comma-separated (all)"},
              {.name = "weights", .value = "TYPE", .help = "of a CPU: fp32 or bf16 (bf16)"},
              {.name = "isa", .value = "NAME", .help = "of a CPU's kernels (auto)"},
              {.name = "only", .value = "TEXT", .help = "rows whose shape ends in it"},
              {.name = "json", .value = "FILE", .help = "append a line a row"}}};

struct Benchmark {
  std::string name;
  std::function<void(const BenchReport&)> run;
};

// Of products with bf16 matrices, beside fp32 instructions. One on pairs does twice what one on
// fp32 does; one on tiles 16 * 16 * 32 multiply-adds in 16 cycles, where two fp32 units do 32 in
// each.
double PaceOfBf16(IsaName isa) {
  if (isa == IsaName::kAmxBf16) return 16;
  return isa == IsaName::kAvx512Bf16 ? 2 : 1;
}

// Sets the ceilings, too.
absl::StatusOr<std::vector<Benchmark>> CpuBenchmarks(const ParsedCommand& command,
                                                     BenchOptions* bench) {
  const std::string weights = command.Value("weights", "bf16");
  if (weights != "fp32" && weights != "bf16") {
    return absl::InvalidArgumentError(
        absl::StrCat("--weights: expected fp32 or bf16, found ", weights));
  }
  CpuBenchOptions options = {.isa = IsaName::kReference, .bf16 = weights == "bf16"};
  R1_ASSIGN_OR_RETURN(options.isa, ParseIsa(command.Value("isa", "auto"),
                                            options.bf16 ? WeightType::kBf16 : WeightType::kFp32));
  bench->device = absl::StrCat("one core, ", IsaText(options.isa));
  bench->bytes_per_second = ReadBytesPerSecond(0.5);
  options.fp32_flops_per_second = PeakFlopsPerSecond(0.3);
  bench->flops_per_second = options.fp32_flops_per_second * PaceOfBf16(options.isa);
  const auto with = [options](void (*run)(const BenchReport&, const CpuBenchOptions&)) {
    return [options, run](const BenchReport& report) { run(report, options); };
  };
  return std::vector<Benchmark>{{"matmul", with(BenchMatmulCpu)},
                                {"moe_experts", with(BenchMoeExpertsCpu)},
                                {"gqa_decode", with(BenchGqaDecodeCpu)},
                                {"mla_decode", with(BenchMlaDecodeCpu)},
                                {"sample_head", with(BenchSampleHeadCpu)}};
}

std::vector<Benchmark> CudaBenchmarks() {
#ifdef R1_HAVE_CUDA
  return {{"read", BenchReadCuda},
          {"dense", BenchDenseCuda},
          {"gqa_decode", BenchGqaDecodeCuda},
          {"mla_decode", BenchMlaDecodeCuda},
          {"moe_experts", BenchMoeExpertsCuda},
          {"moe_router", BenchMoeRouterCuda},
          {"prefill_attention", BenchPrefillAttentionCuda},
          {"sample_head", BenchSampleHeadCuda}};
#else
  return {};
#endif
}

// Those that are asked for.
absl::StatusOr<std::vector<Benchmark>> Choose(const std::string& list,
                                              const std::vector<Benchmark>& all) {
  if (list.empty()) return all;
  std::vector<std::string> known;
  for (const Benchmark& benchmark : all) known.push_back(benchmark.name);
  std::vector<Benchmark> chosen;
  const std::vector<std::string> names = absl::StrSplit(list, ',');
  for (const std::string& name : names) {
    const auto found = std::find(known.begin(), known.end(), name);
    if (found == known.end()) {
      return absl::InvalidArgumentError(absl::StrCat("--kernels: expected names of ",
                                                     absl::StrJoin(known, ", "), "; found \"", name,
                                                     "\"", DidYouMean(name, known)));
    }
    chosen.push_back(all[found - known.begin()]);
  }
  return chosen;
}

absl::Status Run(const std::vector<std::string>& arguments) {
  R1_ASSIGN_OR_RETURN(const ParsedCommand command, ParseCommand(kCommand, arguments));
  if (command.Has("help")) {
    std::printf("%s", CommandHelp("r1_bench", kCommand).c_str());
    return absl::OkStatus();
  }
  const std::string device = command.Value("device", "cpu");
  if (device != "cpu" && device != "cuda") {
    return absl::InvalidArgumentError(
        absl::StrCat("--device: expected cpu or cuda, found ", device));
  }
  BenchOptions options = {
      .device = device, .only = command.Value("only", ""), .json_path = command.Value("json", "")};
  std::vector<Benchmark> all;
  if (device == "cuda") {
    R1_RETURN_IF_ERROR(DescribeCudaDevice(&options));
    all = CudaBenchmarks();
  } else {
    R1_ASSIGN_OR_RETURN(all, CpuBenchmarks(command, &options));
  }
  R1_ASSIGN_OR_RETURN(const std::vector<Benchmark> chosen,
                      Choose(command.Value("kernels", ""), all));
  const BenchReport report(options);
  for (const Benchmark& benchmark : chosen) benchmark.run(report);
  return absl::OkStatus();
}

}  // namespace
}  // namespace r1::kernels

int main(int argc, char** argv) {
  const absl::Status status = r1::kernels::Run(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::fprintf(stderr, "r1_bench_kernels: %s\n", std::string(status.message()).c_str());
  return 2;
}
