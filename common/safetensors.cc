#include "common/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/json.h"
#include "common/utf8.h"

namespace r1 {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kHeaderBytesMax = 100'000'000;  // the format's own limit
constexpr size_t kDimensionsMax = 8;
constexpr char kMetadataKey[] = "__metadata__";

absl::Status Invalid(absl::string_view where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

uint64_t LoadLength(absl::string_view bytes) {
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return length;
}

// The JSON text of the header, once the file is known to be long enough for it.
absl::StatusOr<absl::string_view> HeaderText(absl::string_view file_bytes,
                                             const std::string& path) {
  if (file_bytes.size() < kLengthBytes) {
    return absl::DataLossError(absl::StrCat(path, ": expected at least ", kLengthBytes,
                                            " bytes, found ", file_bytes.size()));
  }
  const uint64_t length = LoadLength(file_bytes);
  if (length > kHeaderBytesMax) {
    return Invalid(path, absl::StrCat("header length: expected at most ", kHeaderBytesMax,
                                      " bytes, found ", length, " (is this a safetensors file?)"));
  }
  if (length > file_bytes.size() - kLengthBytes) {
    return absl::DataLossError(absl::StrCat(path, ": the header has ", length,
                                            " bytes, but the file ends after ",
                                            file_bytes.size() - kLengthBytes, " of them"));
  }
  const absl::string_view header = file_bytes.substr(kLengthBytes, length);
  if (header.empty() || header[0] != '{') {
    return Invalid(path, absl::StrCat("header: expected \"{\" at its start, found ",
                                      Quoted(header.substr(0, 1))));
  }
  return header;
}

// [0, INT64_MAX], so that what is computed from it stays in uint64_t.
absl::StatusOr<uint64_t> Unsigned(const nlohmann::json& value, absl::string_view where) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > INT64_MAX) {
    return Invalid(where,
                   absl::StrCat("expected an integer in 0..2^63-1, found ", DescribeJson(value)));
  }
  return value.get<uint64_t>();
}

struct Entry {
  TensorView tensor;
  uint64_t begin;
  uint64_t end;
};

absl::StatusOr<std::vector<int64_t>> ParseShape(const nlohmann::json& json,
                                                const std::string& where) {
  if (!json.is_array() || json.size() > kDimensionsMax) {
    return Invalid(where, absl::StrCat("shape: expected an array of at most ", kDimensionsMax,
                                       " sizes, found ", DescribeJson(json)));
  }
  std::vector<int64_t> shape;
  for (const nlohmann::json& size : json) {
    R1_ASSIGN_OR_RETURN(const uint64_t checked, Unsigned(size, absl::StrCat(where, ": shape")));
    shape.push_back(static_cast<int64_t>(checked));
  }
  return shape;
}

// Bytes of a tensor, or InvalidArgument when the product does not fit an int64.
absl::StatusOr<uint64_t> TensorBytes(const TensorView& tensor, const std::string& where) {
  int64_t bytes = DTypeBytes(tensor.dtype);
  for (const int64_t size : tensor.shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) {
      return Invalid(where, "shape: the number of bytes overflows");
    }
  }
  return static_cast<uint64_t>(bytes);
}

absl::StatusOr<Entry> ParseEntry(const std::string& name, const nlohmann::json& json,
                                 absl::string_view data, const std::string& path) {
  const std::string where = absl::StrCat(path, ": tensor ", Quoted(name));
  if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") ||
      !json.contains("data_offsets")) {
    return Invalid(
        where, absl::StrCat("expected {dtype, shape, data_offsets}, found ",
                            json.is_object() ? DumpJson(json).substr(0, 200) : DescribeJson(json)));
  }
  Entry entry;
  entry.tensor.name = name;
  R1_ASSIGN_OR_RETURN(const std::string dtype, JsonFields(json, where).String("dtype"));
  const absl::StatusOr<DType> parsed = ParseDType(dtype);
  if (!parsed.ok()) return Annotate(parsed.status(), where);
  entry.tensor.dtype = *parsed;
  R1_ASSIGN_OR_RETURN(entry.tensor.shape, ParseShape(json["shape"], where));

  const nlohmann::json& offsets = json["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) {
    return Invalid(
        where, absl::StrCat("data_offsets: expected [begin, end], found ", DescribeJson(offsets)));
  }
  const std::string offsets_where = absl::StrCat(where, ": data_offsets");
  R1_ASSIGN_OR_RETURN(entry.begin, Unsigned(offsets[0], offsets_where));
  R1_ASSIGN_OR_RETURN(entry.end, Unsigned(offsets[1], offsets_where));
  R1_ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(entry.tensor, where));
  if (entry.begin > entry.end || entry.end - entry.begin != bytes) {
    return Invalid(offsets_where,
                   absl::StrCat("expected ", bytes, " bytes as dtype and shape say, found [",
                                entry.begin, ", ", entry.end, "]"));
  }
  if (entry.end > data.size()) {
    return absl::DataLossError(absl::StrCat(where, ": its data ends at byte ", entry.end,
                                            ", but the file holds ", data.size(),
                                            " bytes of data; it is truncated"));
  }
  entry.tensor.bytes = data.substr(entry.begin, bytes);
  return entry;
}

// Sorted by place, tensors must follow each other from the first byte of the data to the last.
absl::Status CheckNoGaps(const std::vector<Entry>& entries, uint64_t data_bytes,
                         const std::string& path) {
  uint64_t at = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != at) {
      return Invalid(
          path, absl::StrCat("tensor ", Quoted(entry.tensor.name), " begins at byte ", entry.begin,
                             " of the data, ",
                             entry.begin < at ? "inside the tensor before it" : "after a gap",
                             "; expected ", at));
    }
    at = entry.end;
  }
  if (at == data_bytes) return absl::OkStatus();
  return Invalid(path, absl::StrCat("expected ", at, " bytes of data, as the tensors have, found ",
                                    data_bytes));
}

absl::Status CheckMetadata(const nlohmann::json& metadata, const std::string& path) {
  bool strings = metadata.is_object();
  if (strings) {
    for (const auto& [key, value] : metadata.items()) strings = strings && value.is_string();
  }
  if (strings) return absl::OkStatus();
  return Invalid(path, absl::StrCat(kMetadataKey, ": expected an object of strings, found ",
                                    DescribeJson(metadata)));
}

}  // namespace

absl::StatusOr<std::vector<TensorView>> ParseSafetensors(absl::string_view file_bytes,
                                                         const std::string& path) {
  R1_ASSIGN_OR_RETURN(const absl::string_view text, HeaderText(file_bytes, path));
  const absl::string_view data = file_bytes.substr(kLengthBytes + text.size());
  R1_ASSIGN_OR_RETURN(const nlohmann::json header, ParseJson(text, absl::StrCat(path, ": header")));

  std::vector<Entry> entries;
  entries.reserve(header.size());
  for (const auto& [name, json] : header.items()) {
    if (name == kMetadataKey) {
      R1_RETURN_IF_ERROR(CheckMetadata(json, path));
      continue;
    }
    R1_ASSIGN_OR_RETURN(Entry entry, ParseEntry(name, json, data, path));
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.tensor.name) < std::tie(b.begin, b.end, b.tensor.name);
  });
  R1_RETURN_IF_ERROR(CheckNoGaps(entries, data.size(), path));

  std::vector<TensorView> tensors;
  tensors.reserve(entries.size());
  for (Entry& entry : entries) tensors.push_back(std::move(entry.tensor));
  return tensors;
}

absl::StatusOr<MappedSafetensors> ReadSafetensors(const std::string& path) {
  const auto failed = [&path](absl::string_view what, int error) {
    const std::string message = absl::StrCat(path, ": ", what, ": ", std::strerror(error));
    const bool missing = error == ENOENT || error == ENOTDIR;
    return missing ? absl::NotFoundError(message) : absl::UnavailableError(message);
  };
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return failed("open", errno);
  struct stat info;
  if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0) {
    close(file);
    return absl::DataLossError(absl::StrCat(path, ": expected a file with content"));
  }
  const size_t bytes = static_cast<size_t>(info.st_size);
  void* const mapping = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0);
  const int error = errno;
  close(file);  // the mapping keeps the file open
  if (mapping == MAP_FAILED) return failed("mmap", error);

  MappedSafetensors mapped;
  mapped.storage = std::shared_ptr<const void>(
      mapping, [mapping, bytes](const void*) { munmap(mapping, bytes); });
  R1_ASSIGN_OR_RETURN(mapped.tensors,
                      ParseSafetensors({static_cast<const char*>(mapping), bytes}, path));
  return mapped;
}

void ReleasePages(absl::string_view mapped_bytes) {
  static const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  // Whole pages only: the ends belong to neighbours as well.
  const auto begin = (reinterpret_cast<uintptr_t>(mapped_bytes.data()) + page - 1) / page * page;
  const auto end =
      (reinterpret_cast<uintptr_t>(mapped_bytes.data()) + mapped_bytes.size()) / page * page;
  if (begin >= end) return;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);  // a hint: may fail
}

std::string SafetensorsFront(const std::vector<TensorView>& tensors) {
  std::unordered_set<std::string> names;
  std::string header = absl::StrCat("{\"", kMetadataKey, "\":{\"format\":\"pt\"}");
  uint64_t at = 0;
  for (const TensorView& tensor : tensors) {
    R1_CHECK(IsValidUtf8(tensor.name));
    R1_CHECK(names.insert(tensor.name).second);
    const uint64_t end = at + static_cast<uint64_t>(tensor.elements() * DTypeBytes(tensor.dtype));
    absl::StrAppend(&header, ",", JsonString(tensor.name), ":{\"dtype\":\"",
                    DTypeName(tensor.dtype), "\",\"shape\":[", absl::StrJoin(tensor.shape, ","),
                    "],\"data_offsets\":[", at, ",", end, "]}");
    at = end;
  }
  header += '}';
  std::string front(kLengthBytes, '\0');
  front += header;
  while (front.size() % 8 != 0) front += ' ';
  const uint64_t length = front.size() - kLengthBytes;
  for (size_t i = 0; i < kLengthBytes; ++i) front[i] = static_cast<char>(length >> (8 * i));
  return front;
}

absl::Status WriteSafetensors(FileSystem& filesystem, const std::string& path,
                              const std::vector<TensorView>& tensors) {
  for (const TensorView& tensor : tensors) {
    R1_CHECK(tensor.bytes.size() ==
             static_cast<size_t>(tensor.elements() * DTypeBytes(tensor.dtype)));
  }
  R1_ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, filesystem.Create(path));
  R1_RETURN_IF_ERROR(file->Append(SafetensorsFront(tensors)));
  for (const TensorView& tensor : tensors) R1_RETURN_IF_ERROR(file->Append(tensor.bytes));
  R1_RETURN_IF_ERROR(file->Sync());
  return file->Close();
}

}  // namespace r1
