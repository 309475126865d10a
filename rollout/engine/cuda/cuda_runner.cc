#include "rollout/engine/cuda/cuda_runner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/device_name.h"
#include "kernels/cuda/cache_copy_sm90.h"
#include "kernels/cuda/latent_cache_layout.h"
#include "rollout/engine/cuda/layer_shapes.h"

namespace r1::rollout {
namespace {

constexpr int kGraphsMax = 256;
// Steps of more rows are computed without a graph: launches are nothing against their work.
constexpr int kGraphRowsMax = 1024;
constexpr int kSharedPrefixMin = 1024;
// The experts' kernels take so many tokens.
constexpr int kRowsMax = 1 << 15;

int BlocksFor(int tokens) {
  return (tokens + kernels::kLatentBlockTokens - 1) / kernels::kLatentBlockTokens;
}

absl::Status CheckCudaOptions(const ModelSpec& spec, const EngineOptions& options) {
  if (options.block_tokens != kernels::kLatentBlockTokens) {
    return absl::InvalidArgumentError(absl::StrCat("engine option block_tokens: expected ",
                                                   kernels::kLatentBlockTokens, " on a GPU, found ",
                                                   options.block_tokens));
  }
  if (options.running_samples_max + options.prefill_tokens_max > kRowsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("engine options running_samples_max and prefill_tokens_max: expected at most ",
                     kRowsMax, " together on a GPU, found ", options.running_samples_max, " and ",
                     options.prefill_tokens_max));
  }
  const auto is_mixture = [](const LayerSpec& layer) { return layer.moe.has_value(); };
  if (options.expert_weights == "fp8" &&
      std::none_of(spec.layers.begin(), spec.layers.end(), is_mixture)) {
    return absl::InvalidArgumentError(
        "engine option expert_weights: fp8 is for a mixture of experts, and the model has none");
  }
  return CheckCudaSpec(spec);
}

int64_t CacheBytesPerToken(const ModelSpec& spec) {
  return static_cast<int64_t>(spec.layers.size()) * CacheBlockBytes(spec) /
         kernels::kLatentBlockTokens;
}

absl::Status FindHopper(int index) {
  int major = 0;
  const cudaError_t error =
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
  if (error == cudaSuccess && major == 9) return absl::OkStatus();
  static_cast<void>(cudaGetLastError());
  return absl::FailedPreconditionError(absl::StrCat(
      "engine option device: cuda:", index, " needs a GPU of compute capability 9, found ",
      error == cudaSuccess ? absl::StrCat("one of ", major) : cudaGetErrorString(error)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Runner>> CudaRunner::Make(const ModelSpec& spec,
                                                         const EngineOptions& options,
                                                         const RunnerShape& shape) {
  R1_ASSIGN_OR_RETURN(const DeviceName device, ParseDeviceName(options.device));
  R1_RETURN_IF_ERROR(FindHopper(device.index));
  std::unique_ptr<CudaRunner> runner(new CudaRunner(spec, options, shape, device.index));
  R1_RETURN_IF_ERROR(runner->UseDevice());
  R1_RETURN_IF_ERROR(runner->Allocate());
  return runner;
}

absl::Status CudaRunner::Allocate() {
  R1_ASSIGN_OR_RETURN(stream_, MakeStream());
  R1_ASSIGN_OR_RETURN(step_begins_, MakeEvent());
  R1_ASSIGN_OR_RETURN(step_ends_, MakeEvent());
  if (options_.profile) timer_ = std::make_unique<OperatorTimer>();
  R1_ASSIGN_OR_RETURN(DeviceModel model,
                      DeviceModel::Allocate(spec_, options_.expert_weights == "fp8"));
  model_ = std::make_unique<DeviceModel>(std::move(model));
  R1_ASSIGN_OR_RETURN(ForwardPass pass, ForwardPass::Make(spec_, *model_, shape_,
                                                          options_.batch_invariant, timer_.get()));
  pass_ = std::make_unique<ForwardPass>(std::move(pass));
  R1_ASSIGN_OR_RETURN(cache_, AllocateDevice(int64_t{shape_.block_count} * shape_.block_tokens *
                                                 CacheBytesPerToken(spec_),
                                             "the KV cache"));
  // Padding may add to the rows and draws of a step.
  const StepShape largest = {.rows = GraphRows(shape_.rows_max),
                             .draws = GraphRows(shape_.draws_max),
                             .blocks = BlocksFor(shape_.positions_max),
                             .prefix_tiles = 2 * GraphRows(shape_.rows_max),
                             .prompt_tiles = shape_.rows_max,
                             .prompt_pieces = shape_.block_count};
  const int64_t input_bytes = PlaceStepInputs(largest, nullptr).bytes;
  R1_ASSIGN_OR_RETURN(inputs_, AllocateDevice(input_bytes, "a step's inputs"));
  R1_ASSIGN_OR_RETURN(host_inputs_, AllocatePinned(input_bytes));
  const int64_t result_bytes = PlaceStepResults(largest.draws, nullptr).bytes;
  R1_ASSIGN_OR_RETURN(results_, AllocateDevice(result_bytes, "a step's results"));
  R1_ASSIGN_OR_RETURN(host_results_, AllocatePinned(result_bytes));
  const int64_t copy_bytes =
      shape_.draws_max * static_cast<int64_t>(sizeof(kernels::CacheBlockCopy));
  R1_ASSIGN_OR_RETURN(copies_, AllocateDevice(copy_bytes, "block copies"));
  R1_ASSIGN_OR_RETURN(host_copies_, AllocatePinned(copy_bytes));
  // What was set up above did not go through the stream.
  return CudaStatus(cudaDeviceSynchronize(), "setting up");
}

absl::Status CudaRunner::UseDevice() const {
  return CudaStatus(cudaSetDevice(device_), "choosing the GPU");
}

absl::Status CudaRunner::LoadWeights(const WeightsSnapshot& weights) {
  R1_RETURN_IF_ERROR(UseDevice());
  return model_->Load(weights, stream_.get());
}

absl::Status CudaRunner::Run(StepBatch* batch) {
  R1_RETURN_IF_ERROR(UseDevice());
  R1_CHECK(batch->rows() > 0);
  R1_CHECK(batch->rows() <= shape_.rows_max);
  R1_CHECK(batch->draws.filtered.empty());
  const int draws = static_cast<int>(batch->draws.fused.rows.size());
  const bool is_decode = IsDecodeStep(*batch) && batch->rows() <= kGraphRowsMax;
  PromptRows prompts = is_decode ? PromptRows() : pass_->Cut(*batch);
  // Sequences that are still at their prompts share no blocks.
  R1_CHECK(static_cast<int>(prompts.pieces.size()) <= shape_.block_count);
  const int contexts_max =
      std::min(GraphContext(*std::max_element(batch->contexts.begin(), batch->contexts.end())),
               shape_.positions_max);
  // Short prefixes come from the cache for every row faster than the parts are put together.
  for (int32_t& prefix : batch->prefixes) {
    if (prefix < kSharedPrefixMin) prefix = 0;
  }
  const int rows = is_decode ? GraphRows(batch->rows()) : batch->rows();
  std::vector<kernels::RowTile> prefixes;
  if (is_decode && pass_->SharesPrefixes(rows, contexts_max))
    prefixes = CutPrefixes(*batch, rows, shape_.block_tokens, pass_->tile_rows_max());
  int prefixes_max = 0;
  for (const kernels::RowTile& tile : prefixes)
    prefixes_max = std::max(prefixes_max, GraphContext(batch->prefixes[tile.first]));
  ForwardPass::Step step = {
      .shape = {.rows = rows,
                .draws = is_decode ? GraphRows(draws) : draws,
                .blocks = BlocksFor(contexts_max),
                .prefix_tiles = GraphPrefixTiles(static_cast<int>(prefixes.size()), rows),
                .prompt_tiles = static_cast<int>(prompts.tiles.size()),
                .prompt_pieces = static_cast<int>(prompts.pieces.size())},
      .is_decode = is_decode,
      .contexts_max = contexts_max,
      .prefixes_max = prefixes_max,
      .prompts = std::move(prompts),
      .inputs = {},
      .results = {}};
  step.inputs = PlaceStepInputs(step.shape, inputs_.get());
  step.results = PlaceStepResults(step.shape.draws, results_.get());
  const StepInputs host_inputs = PlaceStepInputs(step.shape, host_inputs_.get());
  FillStepInputs(*batch, shape_.block_tokens, step.shape, host_inputs);
  std::copy(step.prompts.tiles.begin(), step.prompts.tiles.end(), host_inputs.prompt_tiles);
  std::copy(step.prompts.pieces.begin(), step.prompts.pieces.end(), host_inputs.prompt_pieces);
  std::copy(prefixes.begin(), prefixes.end(), host_inputs.prefix_tiles);
  std::fill(host_inputs.prefix_tiles + prefixes.size(),
            host_inputs.prefix_tiles + step.shape.prefix_tiles, kernels::RowTile{});

  R1_RETURN_IF_CUDA_ERROR(cudaEventRecord(step_begins_.get(), stream_.get()));
  R1_RETURN_IF_ERROR(CopyBlocks(batch->copies));
  R1_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(inputs_.get(), host_inputs_.get(), step.inputs.bytes,
                                          cudaMemcpyHostToDevice, stream_.get()));
  R1_RETURN_IF_ERROR(Launch(step, is_decode));
  R1_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(host_results_.get(), results_.get(), step.results.bytes,
                                          cudaMemcpyDeviceToHost, stream_.get()));
  R1_RETURN_IF_CUDA_ERROR(cudaEventRecord(step_ends_.get(), stream_.get()));
  R1_RETURN_IF_ERROR(CudaStatus(cudaStreamSynchronize(stream_.get()), "a step"));

  float milliseconds = 0;
  R1_RETURN_IF_CUDA_ERROR(
      cudaEventElapsedTime(&milliseconds, step_begins_.get(), step_ends_.get()));
  step_seconds_ += 1e-3 * milliseconds;
  if (timer_ != nullptr) R1_RETURN_IF_ERROR(timer_->Collect());
  const StepResults results = PlaceStepResults(step.shape.draws, host_results_.get());
  batch->draws.fused.tokens.assign(results.tokens, results.tokens + draws);
  batch->draws.fused.logprobs.assign(results.logprobs, results.logprobs + draws);
  return absl::OkStatus();
}

absl::Status CudaRunner::Logits(int, float*) {
  return absl::InvalidArgumentError("whole logits need device cpu");
}

absl::Status CudaRunner::CopyBlocks(const std::vector<BlockCopy>& copies) {
  if (copies.empty()) return absl::OkStatus();
  R1_CHECK(static_cast<int>(copies.size()) <= shape_.draws_max);
  auto* const host = reinterpret_cast<kernels::CacheBlockCopy*>(host_copies_.get());
  for (size_t i = 0; i < copies.size(); ++i) host[i] = {copies[i].source, copies[i].target};
  R1_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(copies_.get(), host,
                                          copies.size() * sizeof(kernels::CacheBlockCopy),
                                          cudaMemcpyHostToDevice, stream_.get()));
  int begin = 0;
  for (const int end : CopyRuns(copies)) {
    R1_RETURN_IF_CUDA_ERROR(kernels::CacheCopySm90(
        {.cache = cache_.get(),
         .layer_bytes = int64_t{shape_.block_count} * CacheBlockBytes(spec_),
         .block_bytes = CacheBlockBytes(spec_),
         .layers = static_cast<int>(spec_.layers.size()),
         .copies = reinterpret_cast<kernels::CacheBlockCopy*>(copies_.get()) + begin,
         .count = end - begin},
        stream_.get()));
    begin = end;
  }
  return absl::OkStatus();
}

absl::Status CudaRunner::Launch(const ForwardPass::Step& step, bool is_decode) {
  if (!is_decode || timer_ != nullptr) return pass_->Enqueue(step, cache_.get(), stream_.get());
  if (graphs_.size() == kGraphsMax) graphs_.clear();
  Graph& graph =
      graphs_[{step.shape.rows, step.contexts_max, step.shape.prefix_tiles, step.prefixes_max}];
  if (graph == nullptr) {
    R1_ASSIGN_OR_RETURN(graph, Capture(step));
  }
  R1_RETURN_IF_CUDA_ERROR(cudaGraphLaunch(graph.get(), stream_.get()));
  return absl::OkStatus();
}

absl::StatusOr<Graph> CudaRunner::Capture(const ForwardPass::Step& step) {
  R1_RETURN_IF_CUDA_ERROR(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal));
  const absl::Status enqueued = pass_->Enqueue(step, cache_.get(), stream_.get());
  cudaGraph_t captured = nullptr;
  const absl::Status ended =
      CudaStatus(cudaStreamEndCapture(stream_.get(), &captured), "capturing a step");
  R1_RETURN_IF_ERROR(enqueued);
  R1_RETURN_IF_ERROR(ended);
  cudaGraphExec_t graph = nullptr;
  const absl::Status made =
      CudaStatus(cudaGraphInstantiate(&graph, captured, 0), "making a step's graph");
  static_cast<void>(cudaGraphDestroy(captured));
  R1_RETURN_IF_ERROR(made);
  return Graph(graph);
}

std::vector<OperatorTime> CudaRunner::operator_times() const {
  std::vector<OperatorTime> times;
  if (timer_ != nullptr) times = timer_->times();
  times.push_back({"step", step_seconds_});
  return times;
}

const RunnerKind* CudaRunnerKindOrNull() {
  static constexpr RunnerKind kKind = {.default_block_tokens = kernels::kLatentBlockTokens,
                                       .has_logits = false,
                                       .find_device = FindHopper,
                                       .check = CheckCudaOptions,
                                       .cache_bytes_per_token = CacheBytesPerToken,
                                       .make = CudaRunner::Make};
  return &kKind;
}

}  // namespace r1::rollout
