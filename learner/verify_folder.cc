#include "learner/verify_folder.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/filesystem.h"
#include "common/hash.h"
#include "common/safetensors.h"
#include "common/stored_model.h"
#include "common/utf8.h"
#include "learner/manifest.h"

namespace r1::learner {
namespace {

constexpr size_t kReadBytes = 1 << 20;
constexpr int64_t kChunkElements = 1 << 20;
constexpr int kFolderDepthMax = 8;

class Verifier {
 public:
  explicit Verifier(std::string folder) : folder_(std::move(folder)) {}

  absl::StatusOr<FolderReport> Run() {
    R1_RETURN_IF_ERROR(List("", 0));
    VerifyManifest();
    // Files that MANIFEST already reports are not looked into: one problem, one line.
    if (std::none_of(names_.begin(), names_.end(), [this](const std::string& name) {
          return IsModelFile(name) && damaged_.count(name) > 0;
        })) {
      VerifyModel();
    }
    for (const std::string& name : names_) {
      if (absl::EndsWith(name, ".safetensors") && !IsModelFile(name) && damaged_.count(name) == 0) {
        VerifyTrainingTensors(name);
      }
    }
    if (more_problems_ > 0) {
      report_.problems.push_back(absl::StrCat("and ", more_problems_, " more problems"));
    }
    return std::move(report_);
  }

 private:
  static bool IsModelFile(const std::string& name) {
    return absl::StartsWith(name, "model") && absl::StrContains(name, ".safetensors") &&
           !absl::StrContains(name, "/");
  }

  void Problem(const std::string& file, absl::string_view what) {
    damaged_.insert(file);
    if (report_.problems.size() >= kProblemsMax) {
      ++more_problems_;
      return;
    }
    report_.problems.push_back(absl::StrCat(file, ": ", what));
  }
  // The message of an error about a path in the folder, without that path.
  void Problem(const std::string& file, const absl::Status& status) {
    absl::string_view message = status.message();
    absl::ConsumePrefix(&message, absl::StrCat(JoinPath(folder_, file), ": "));
    Problem(file, message);
  }

  // Names of the files in the folder and below, relative to it.
  absl::Status List(const std::string& inner, int depth) {
    FileSystem& files = RealFileSystem();
    const std::string path = inner.empty() ? folder_ : JoinPath(folder_, inner);
    R1_ASSIGN_OR_RETURN(const std::vector<std::string> entries, files.List(path));
    for (const std::string& entry : entries) {
      const std::string name = inner.empty() ? entry : JoinPath(inner, entry);
      const bool is_folder = files.List(JoinPath(folder_, name)).ok();
      if (!is_folder) {
        names_.push_back(name);
      } else if (depth < kFolderDepthMax) {
        R1_RETURN_IF_ERROR(List(name, depth + 1));
      }
    }
    return absl::OkStatus();
  }

  void VerifyManifest() {
    FileSystem& files = RealFileSystem();
    const std::string path = JoinPath(folder_, kManifestName);
    report_.has_manifest = files.Exists(path);
    if (!report_.has_manifest) return;
    const auto text = files.Read(path, kManifestBytesMax);
    if (!text.ok()) return Problem(kManifestName, text.status());
    const auto entries = ParseManifest(*text);
    if (!entries.ok()) return Problem(kManifestName, entries.status());
    std::set<std::string> listed = {kManifestName};
    for (const ManifestEntry& entry : *entries) {
      listed.insert(entry.name);
      ++report_.files;
      VerifyFile(entry);
    }
    for (const std::string& name : names_) {
      if (listed.count(name) == 0) Problem(name, "not listed in MANIFEST");
    }
  }

  void VerifyFile(const ManifestEntry& entry) {
    std::ifstream file(JoinPath(folder_, entry.name), std::ios::binary);
    if (!file) return Problem(entry.name, "listed in MANIFEST, is missing or cannot be read");
    std::string buffer(kReadBytes, '\0');
    uint64_t bytes = 0;
    uint32_t crc = 0;
    while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) ||
           file.gcount() > 0) {
      const auto count = static_cast<size_t>(file.gcount());
      crc = Crc32c(absl::string_view(buffer.data(), count), crc);
      bytes += count;
    }
    if (bytes != entry.bytes) {
      return Problem(entry.name,
                     absl::StrCat("has ", bytes, " bytes, MANIFEST says ", entry.bytes));
    }
    if (crc != entry.crc32c) {
      Problem(entry.name, absl::StrFormat("crc32c is %08x, MANIFEST says %08x: the file is damaged",
                                          crc, entry.crc32c));
    }
  }

  void VerifyModel() {
    const auto model = StoredModel::Open(folder_);
    if (!model.ok()) {
      absl::string_view message = model.status().message();
      absl::ConsumePrefix(&message, absl::StrCat(JoinPath(folder_, "")));
      const bool named = message.size() < model.status().message().size();
      const std::string file(named ? message.substr(0, message.find(':')) : folder_);
      if (named) absl::ConsumePrefix(&message, absl::StrCat(file, ": "));
      return Problem(file, message);
    }
    for (const StoredTensor& tensor : model->tensors()) {
      ++report_.tensors;
      if (!report_.has_manifest && files_seen_.insert(tensor.file).second) ++report_.files;
      if (IsFloat(tensor.view.dtype)) VerifyFinite(*model, tensor);
      ReleasePages(tensor.view.bytes);
    }
  }

  void VerifyFinite(const StoredModel& model, const StoredTensor& tensor) {
    const std::string file = tensor.file.substr(JoinPath(folder_, "").size());
    const int64_t elements = tensor.view.elements();
    for (int64_t begin = 0; begin < elements; begin += kChunkElements) {
      floats_.resize(static_cast<size_t>(std::min(kChunkElements, elements - begin)));
      const absl::Status read = model.ReadFloats(tensor, floats_, begin);
      if (!read.ok()) return Problem(file, read);
      if (ReportBadValue(file, tensor.view, begin)) return;
    }
  }

  // What is in floats_, from element `begin` on; true when a problem was found.
  bool ReportBadValue(const std::string& file, const TensorView& view, int64_t begin) {
    const auto bad = std::find_if(floats_.begin(), floats_.end(),
                                  [](float value) { return !std::isfinite(value); });
    if (bad == floats_.end()) return false;
    Problem(file, absl::StrCat("tensor ", Quoted(view.name), ": found ",
                               std::isnan(*bad) ? "NaN" : "infinity", " at element ",
                               begin + (bad - floats_.begin()), " of ", view.elements()));
    return true;
  }

  // Optimizer state, references and leased versions.
  void VerifyTrainingTensors(const std::string& name) {
    const auto mapped = ReadSafetensors(JoinPath(folder_, name));
    if (!mapped.ok()) return Problem(name, mapped.status());
    if (!report_.has_manifest) ++report_.files;
    for (const TensorView& view : mapped->tensors) {
      ++report_.tensors;
      const auto width = static_cast<size_t>(DTypeBytes(view.dtype));
      const int64_t elements = IsFloat(view.dtype) ? view.elements() : 0;
      for (int64_t begin = 0; begin < elements; begin += kChunkElements) {
        floats_.resize(static_cast<size_t>(std::min(kChunkElements, elements - begin)));
        ToFloats(view.dtype,
                 view.bytes.substr(static_cast<size_t>(begin) * width, floats_.size() * width),
                 floats_);
        if (ReportBadValue(name, view, begin)) break;
      }
      ReleasePages(view.bytes);
    }
  }

  const std::string folder_;
  std::vector<std::string> names_;
  std::set<std::string> damaged_;
  std::set<std::string> files_seen_;
  std::vector<float> floats_;
  FolderReport report_;
  int64_t more_problems_ = 0;
};

}  // namespace

absl::StatusOr<FolderReport> VerifyFolder(const std::string& folder) {
  return Verifier(folder).Run();
}

}  // namespace r1::learner
