// Checksums and digests: crc32c for files and chunks, XXH3 for tensors, SHA-256 for identities,
// FNV-1a for data splits.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/strings/string_view.h"

namespace r1 {

// CRC-32C (Castagnoli), as in iSCSI; SSE4.2 where the CPU has it. `crc` continues an earlier call.
uint32_t Crc32c(absl::string_view data, uint32_t crc = 0);

// XXH3_64bits of the bytes.
uint64_t Xxh3(absl::string_view data);

// SHA-256 as 64 lower-case hex digits.
std::string Sha256Hex(absl::string_view data);

// The same of bytes that come in pieces. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void Update(absl::string_view data);
  // Ends the digest: nothing may be added afterwards.
  std::string Hex();

 private:
  void* context_;  // an EVP_MD_CTX
};

// FNV-1a 64 with a finaliser; without it `% n` would depend on the XOR of the low bits only.
constexpr uint64_t Fnv1a64Finalized(absl::string_view text) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  hash ^= hash >> 33;
  hash *= 0xff51afd7ed558ccdull;
  return hash ^ (hash >> 33);
}

}  // namespace r1
