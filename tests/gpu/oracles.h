// What the operators compute, as plainly as possible and in double precision: the tests' truth.
// Inputs are float: bf16 values are exact in it. Checked against kernels/reference by oracles_test,
// so that CPU and GPU tests share one truth.
#pragma once

#include <cstdint>
#include <vector>

namespace r1::kernels {

// ‖a - b‖ / ‖b‖; infinite when an element of a is not a number.
double RelativeError(const std::vector<float>& a, const std::vector<double>& b);

struct RouterOracleArgs {
  int active = 0;
  int groups = 1;
  int groups_kept = 1;
  bool softmax = false;
  bool normalize = true;
  double scaling = 1;
};
struct RouterChoice {
  std::vector<int32_t> experts;  // ascending
  std::vector<double> weights;
  // How far the choice is from another one: the least difference between a taken and a left expert,
  // or group.
  double margin = 0;
};
// One token. bias may be empty.
RouterChoice RouterOracle(const std::vector<double>& logits, const std::vector<float>& bias,
                          const RouterOracleArgs& args);

struct ExpertsOracleArgs {
  int tokens = 0;
  int hidden = 0;
  int intermediate = 0;
  int experts = 0;
  int active = 0;
  int shared_experts = 0;
};
// gate and up [E + S][I, D], down [E + S][D, I]; returns [T, D].
std::vector<double> ExpertsOracle(const ExpertsOracleArgs& args, const std::vector<float>& x,
                                  const std::vector<float>& gate, const std::vector<float>& up,
                                  const std::vector<float>& down,
                                  const std::vector<int32_t>& experts,
                                  const std::vector<float>& weights);

struct SampleOracleResult {
  int32_t token = 0;
  double logprob = 0;
  // Distribution function below and with the token.
  double before = 0;
  double after = 0;
};
// One row. temperature 0 is greedy; `token_or_negative` >= 0 asks about that token instead of the
// drawn one.
SampleOracleResult SampleOracle(const std::vector<double>& logits, double temperature,
                                double uniform, int32_t token_or_negative = -1);

// One query row [key_width] over the keys [key_width] and values [value_width] of its context.
struct AttentionOracleArgs {
  const float* q = nullptr;
  std::vector<const float*> keys = {};
  int key_width = 0;
  std::vector<const float*> values = {};
  int value_width = 0;
  double scale = 0;
};
std::vector<double> AttentionOracle(const AttentionOracleArgs& args);

}  // namespace r1::kernels
