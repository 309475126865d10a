// The table of kernel benchmarks: time, bytes and operations counted by hand, the floor that they
// imply on the device, and the fraction of it that was reached; and the same as lines of JSON.
#pragma once

#include <string>

namespace r1::kernels {

struct BenchRow {
  std::string kernel = {};
  std::string shape = {};
  double microseconds = 0;
  double bytes = 0;
  double flops = 0;
  double flops_per_second = 0;  // where the limit is not the device's; 0: it is
  // Another implementation's time for the same, measured elsewhere; 0 = none.
  std::string peer = {};
  double peer_microseconds = 0;
};

struct BenchOptions {
  std::string device;  // for the table's head
  // What the device can do at most.
  double bytes_per_second = 0;
  double flops_per_second = 0;
  std::string only = {};       // rows whose shape ends in it; empty: all
  std::string json_path = {};  // rows are appended; empty: none
};

class BenchReport {
 public:
  explicit BenchReport(const BenchOptions& options);
  bool Wants(const std::string& shape) const;
  // Ends the program with a message when the row cannot be written.
  void Add(const BenchRow& row) const;

 private:
  // Operations a second of a processor and of a GPU differ by four digits.
  bool is_small() const { return options_.flops_per_second < 1e13; }

  const BenchOptions options_;
};

}  // namespace r1::kernels
