#include "kernels/bench/bench_report.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace r1::kernels {

BenchReport::BenchReport(const BenchOptions& options) : options_(options) {
  std::printf("%s; floors: %.0f GB/s, %.0f GFLOP/s\n", options.device.c_str(),
              1e-9 * options.bytes_per_second, 1e-9 * options.flops_per_second);
  std::printf("%-14s %-44s %9s %8s %8s %7s  %s\n", "kernel", "shape", "us", "GB/s",
              is_small() ? "GFLOP/s" : "TFLOP/s", "floor", "peer us (ratio)");
}

bool BenchReport::Wants(const std::string& shape) const { return shape.ends_with(options_.only); }

void BenchReport::Add(const BenchRow& row) const {
  const double seconds = row.microseconds * 1e-6;
  const double flops_per_second =
      row.flops_per_second > 0 ? row.flops_per_second : options_.flops_per_second;
  const double floor_seconds =
      std::max(row.bytes / options_.bytes_per_second, row.flops / flops_per_second);
  std::printf("%-14s %-44s %9.2f %8.1f %8.1f %6.1f%%", row.kernel.c_str(), row.shape.c_str(),
              row.microseconds, row.bytes / seconds * 1e-9,
              row.flops / seconds * (is_small() ? 1e-9 : 1e-12), 100 * floor_seconds / seconds);
  if (row.peer_microseconds > 0) {
    std::printf("  %s %.1f (%.2fx)", row.peer.c_str(), row.peer_microseconds,
                row.peer_microseconds / row.microseconds);
  }
  std::printf("\n");
  std::fflush(stdout);  // rows before one that hangs are not lost in a pipe
  if (options_.json_path.empty()) return;
  std::FILE* file = std::fopen(options_.json_path.c_str(), "a");
  if (file == nullptr) {
    std::fprintf(stderr, "cannot append to %s\n", options_.json_path.c_str());
    std::exit(1);
  }
  std::fprintf(file,
               "{\"kernel\": \"%s\", \"shape\": \"%s\", \"us\": %.3f, \"bytes\": %.0f, "
               "\"flops\": %.0f, \"floor_us\": %.3f, \"floor_fraction\": %.4f, "
               "\"peer\": \"%s\", \"peer_us\": %.2f}\n",
               row.kernel.c_str(), row.shape.c_str(), row.microseconds, row.bytes, row.flops,
               1e6 * floor_seconds, floor_seconds / seconds, row.peer.c_str(),
               row.peer_microseconds);
  std::fclose(file);
}

}  // namespace r1::kernels
