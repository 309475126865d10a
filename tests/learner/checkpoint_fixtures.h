// What the tests of checkpoints share: small checkpoints full of random numbers, and ways to
// compare and damage them. R1_TEST_SEED=N repeats a randomised case.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/filesystem.h"
#include "common/log.h"
#include "common/rng.h"
#include "learner/checkpoint.h"

namespace r1::learner {

inline constexpr char kFolder[] = "run/checkpoints";

uint64_t TestSeed();
Rng TestRng(uint64_t stream);

// Every part that a checkpoint can have; a function of the arguments.
CheckpointContents MakeContents(uint32_t stage_index, const std::string& stage, int64_t step);
std::vector<v1::Group> RandomGroups(uint64_t seed, int count);
// SHA-256 of everything that a checkpoint holds.
std::string Fingerprint(const CheckpointContents& contents,
                        const std::vector<std::vector<v1::Group>>& groups);

CheckpointStore MakeStore(FileSystem& files, int keep = 2);
// Files of a folder, with those of its folders, by relative name.
std::map<std::string, std::string> FilesOf(FileSystem& files, const std::string& folder);
void Overwrite(FileSystem& files, const std::string& path, const std::string& data);
// Lines of a MANIFEST with an intact last line, so that only their content can be wrong.
std::string Sealed(const std::string& lines);

// Keeps the same few log lines from being printed hundreds of times.
struct QuietLog {
  QuietLog() { R1_CHECK(SetLogFile("/dev/null", /*tee=*/false).ok()); }
  ~QuietLog() { R1_CHECK(SetLogFile("/dev/null", /*tee=*/true).ok()); }
};

}  // namespace r1::learner
