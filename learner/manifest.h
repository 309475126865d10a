// MANIFEST of a checkpoint: every file with its size and crc32c, in a text that ends with its own
// size and crc32c.
//
//   r1 checkpoint format_version 1
//   config.json 1523 0a1b2c3d
//   training/state.bin 211 99aabbcc
//   MANIFEST 84 5e6f7081
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1::learner {

// Version of the whole folder's format: its files, their meaning, and the MANIFEST. Raised when an
// older program would misread a checkpoint; fields added to CheckpointState do not raise it.
inline constexpr int kCheckpointFormatVersion = 1;

inline constexpr char kManifestName[] = "MANIFEST";
inline constexpr uint64_t kManifestBytesMax = 16 << 20;

struct ManifestEntry {
  std::string name;  // relative to the checkpoint, with '/'
  uint64_t bytes = 0;
  uint32_t crc32c = 0;
};

// The text for these entries, sorted by name.
std::string FormatManifest(std::vector<ManifestEntry> entries);

// The counterpart, for texts that somebody else may have damaged or made: names are plain relative
// paths, strictly ascending, and formatting the result gives the same bytes. DataLoss says what is
// wrong in which line or byte range; FailedPrecondition names both format versions when the text is
// intact but of another one.
[[nodiscard]] absl::StatusOr<std::vector<ManifestEntry>> ParseManifest(absl::string_view text);

}  // namespace r1::learner
