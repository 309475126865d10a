// ReadModelFolder: a Hugging Face folder's safetensors, one file or shards, as one fp32 snapshot in
// the order of a ModelSpec.

#include <cmath>
#include <new>
#include <set>
#include <span>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/safetensors.h"
#include "common/stored_model.h"
#include "common/utf8.h"

namespace r1 {
namespace {

// Tensors begin at cache lines of the snapshot, whatever their alignment on disk.
constexpr size_t kAlignment = 64;
constexpr char kHeadName[] = "lm_head.weight";

// Layer of "model.layers.<n>.…", or -1.
int LayerOf(absl::string_view name) {
  int layer = -1;
  if (!absl::ConsumePrefix(&name, "model.layers.")) return -1;
  if (!absl::SimpleAtoi(name.substr(0, name.find('.')), &layer)) return -1;
  return layer;
}

// The layers behind the model's own: as many as the config announces, and those that are seen to be
// multi-token-prediction layers by the projection that only these have.
std::set<int> MtpLayers(const ModelSpec& spec, const StoredModel& model) {
  const int layers = static_cast<int>(spec.layers.size());
  std::set<int> skipped;
  for (int i = 0; i < spec.mtp_layers; ++i) skipped.insert(layers + i);
  for (const StoredTensor& stored : model.tensors()) {
    const int layer = LayerOf(stored.view.name);
    if (layer >= layers && absl::EndsWith(stored.view.name, ".eh_proj.weight")) {
      skipped.insert(layer);
    }
  }
  return skipped;
}

// What some checkpoints hold beside their weights: rotary frequencies, which follow from the
// config, and the head once more that tied embeddings are.
bool IsRedundant(const ModelSpec& spec, absl::string_view name) {
  return absl::EndsWith(name, ".rotary_emb.inv_freq") || (spec.tie_embeddings && name == kHeadName);
}

// A head beside tied embeddings must be no other than these: the config or the file is wrong.
absl::Status CheckTiedHead(const ModelSpec& spec, const StoredModel& model) {
  const StoredTensor* head = spec.tie_embeddings ? model.FindOrNull(kHeadName) : nullptr;
  if (head == nullptr) return absl::OkStatus();
  R1_ASSIGN_OR_RETURN(const int index, spec.FindWeight(WeightRole::kEmbedding));
  const WeightSpec& embedding = spec.weights[static_cast<size_t>(index)];
  const TensorView& tied = model.FindOrNull(embedding.name)->view;
  if (head->view.dtype == tied.dtype && head->view.bytes == tied.bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(head->file, ": tensor ", kHeadName, ": expected the values of ", embedding.name,
                   ", since config.json says tie_word_embeddings, found others"));
}

// Both ways: every weight of the spec is stored with its shape, and nothing else is stored.
absl::Status CheckStored(const ModelSpec& spec, const StoredModel& model) {
  std::set<absl::string_view> expected_names;
  for (const WeightSpec& weight : spec.weights) {
    expected_names.insert(weight.name);
    const StoredTensor* stored = model.FindOrNull(weight.name);
    if (stored == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(model.folder(), ": no tensor ", weight.name,
                                                     " of shape ", ShapeText(weight.shape),
                                                     " in any of its files"));
    }
    if (stored->view.shape != weight.shape) {
      return absl::InvalidArgumentError(absl::StrCat(stored->file, ": tensor ", weight.name,
                                                     ": expected shape ", ShapeText(weight.shape),
                                                     ", found ", ShapeText(stored->view.shape)));
    }
  }
  const std::set<int> mtp_layers = MtpLayers(spec, model);
  for (const StoredTensor& stored : model.tensors()) {
    const TensorView& view = stored.view;
    if (expected_names.count(view.name) > 0 || mtp_layers.count(LayerOf(view.name)) > 0 ||
        model.IsScale(stored) || IsRedundant(spec, view.name)) {
      continue;
    }
    return absl::InvalidArgumentError(absl::StrCat(
        stored.file, ": tensor ", Quoted(view.name), " of shape ", ShapeText(view.shape),
        " is not a weight of this ", spec.family, " model; does config.json belong to it?"));
  }
  return absl::OkStatus();
}

absl::Status CheckFinite(std::span<const float> values, const StoredTensor& stored) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        stored.file, ": tensor ", stored.view.name, ": expected finite values, found ",
        std::isnan(values[i]) ? "NaN" : "infinity", " at element ", i, " of ", values.size()));
  }
  return absl::OkStatus();
}

uint64_t AlignedBytes(const WeightSpec& weight) {
  const uint64_t bytes = static_cast<uint64_t>(weight.elements()) * sizeof(float);
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

absl::StatusOr<WeightsSnapshot> ReadModelFolder(const std::string& folder, const ModelSpec& spec) {
  R1_ASSIGN_OR_RETURN(const StoredModel model, StoredModel::Open(folder));
  R1_RETURN_IF_ERROR(CheckStored(spec, model));
  R1_RETURN_IF_ERROR(CheckTiedHead(spec, model));

  // Bounded: the files were seen to hold these shapes.
  uint64_t bytes_total = 0;
  for (const WeightSpec& weight : spec.weights) bytes_total += AlignedBytes(weight);
  auto* const memory =
      static_cast<char*>(::operator new (bytes_total, std::align_val_t{kAlignment}, std::nothrow));
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat(folder, ": no memory for ", bytes_total, " bytes of fp32 weights"));
  }
  WeightsSnapshot snapshot;
  snapshot.storage = std::shared_ptr<const void>(
      memory, [memory](const void*) { ::operator delete (memory, std::align_val_t{kAlignment}); });
  uint64_t at = 0;
  for (const WeightSpec& weight : spec.weights) {
    const StoredTensor& stored = *model.FindOrNull(weight.name);
    const size_t elements = static_cast<size_t>(weight.elements());
    auto* const values = reinterpret_cast<float*>(memory + at);
    R1_RETURN_IF_ERROR(model.ReadFloats(stored, {values, elements}));
    ReleasePages(stored.view.bytes);
    R1_RETURN_IF_ERROR(CheckFinite({values, elements}, stored));
    snapshot.tensors.push_back({.name = weight.name,
                                .dtype = DType::kF32,
                                .shape = weight.shape,
                                .bytes = {memory + at, elements * sizeof(float)}});
    at += AlignedBytes(weight);
  }
  return snapshot;
}

}  // namespace r1
