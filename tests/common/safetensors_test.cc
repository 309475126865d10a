// safetensors files: what is written, what is read back, and every kind of damage.

#include "common/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/filesystem.h"
#include "common/rng.h"

namespace r1 {
namespace {

using testing::HasSubstr;

// A file of this header and data.
std::string File(const std::string& header, const std::string& data) {
  std::string file;
  for (int shift = 0; shift < 64; shift += 8) {
    file.push_back(static_cast<char>(uint64_t{header.size()} >> shift));
  }
  return file + header + data;
}

absl::Status ParseError(const std::string& file) { return ParseSafetensors(file, "f").status(); }

void ExpectError(const std::string& header, const std::string& data, absl::StatusCode code,
                 const std::string& message) {
  const absl::Status status = ParseError(File(header, data));
  EXPECT_EQ(status.code(), code) << header << ": " << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << header;
}

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

class SafetensorsTest : public testing::Test {
 protected:
  SafetensorsTest() : folder_(testing::TempDir() + "r1_safetensors_" + std::to_string(getpid())) {
    R1_CHECK(RealFileSystem().CreateDirectories(folder_).ok());
  }
  ~SafetensorsTest() override { R1_CHECK(RealFileSystem().RemoveAll(folder_).ok()); }
  const std::string folder_;
};

TEST_F(SafetensorsTest, TheWrittenBytesAreTheFormat) {
  const float values[] = {1, 2, 3};
  const std::string path = JoinPath(folder_, "a.safetensors");
  const std::vector<TensorView> tensors = {
      {.name = "b",
       .dtype = DType::kF32,
       .shape = {3},
       .bytes = {reinterpret_cast<const char*>(values), 12}},
      {.name = "a\"", .dtype = DType::kBF16, .shape = {1, 2}, .bytes = "wxyz"},
      {.name = "none", .dtype = DType::kU8, .shape = {0, 7}, .bytes = ""},
      {.name = "scalar", .dtype = DType::kI64, .shape = {}, .bytes = "12345678"}};
  ASSERT_TRUE(WriteSafetensors(RealFileSystem(), path, tensors).ok());
  std::string header =
      "{\"__metadata__\":{\"format\":\"pt\"},"
      "\"b\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]},"
      "\"a\\\"\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[12,16]},"
      "\"none\":{\"dtype\":\"U8\",\"shape\":[0,7],\"data_offsets\":[16,16]},"
      "\"scalar\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[16,24]}}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::string data = std::string(reinterpret_cast<const char*>(values), 12) + "wxyz12345678";
  EXPECT_EQ(*RealFileSystem().Read(path, 1 << 20), File(header, data));

  const auto read = ReadSafetensors(path);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->tensors.size(), 4u);
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(read->tensors[i].name, tensors[i].name);
    EXPECT_EQ(read->tensors[i].dtype, tensors[i].dtype);
    EXPECT_EQ(read->tensors[i].shape, tensors[i].shape);
    EXPECT_EQ(read->tensors[i].bytes, tensors[i].bytes);
  }
  EXPECT_EQ(read->tensors[0].f32()[2], 3);
}

TEST_F(SafetensorsTest, SaveLoadSaveIsByteIdentical) {
  Rng rng(3, 0, RngPurpose::kTest, 0, 0);
  std::vector<std::string> data;
  std::vector<TensorView> tensors;
  for (int i = 0; i < 50; ++i) {
    data.emplace_back(rng.NextBelow(40) * 4, static_cast<char>(rng.NextBelow(256)));
  }
  for (int i = 0; i < 50; ++i) {
    const auto& bytes = data[static_cast<size_t>(i)];
    tensors.push_back({.name = absl::StrCat("t", rng.NextBelow(1000), "_", i),
                       .dtype = DType::kF32,
                       .shape = {static_cast<int64_t>(bytes.size() / 4)},
                       .bytes = bytes});
  }
  const std::string first = JoinPath(folder_, "1"), second = JoinPath(folder_, "2");
  ASSERT_TRUE(WriteSafetensors(RealFileSystem(), first, tensors).ok());
  const auto read = ReadSafetensors(first);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_TRUE(WriteSafetensors(RealFileSystem(), second, read->tensors).ok());
  EXPECT_EQ(*RealFileSystem().Read(first, 1 << 20), *RealFileSystem().Read(second, 1 << 20));
}

TEST_F(SafetensorsTest, FilesThatCannotBeMappedAreNamed) {
  EXPECT_EQ(ReadSafetensors(JoinPath(folder_, "none")).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadSafetensors(folder_).status().code(), kDataLoss);
  ASSERT_TRUE(WriteFileAtomically(RealFileSystem(), JoinPath(folder_, "empty"), "").ok());
  EXPECT_THAT(std::string(ReadSafetensors(JoinPath(folder_, "empty")).status().message()),
              HasSubstr("empty: expected a file with content"));
}

TEST(ParseSafetensorsTest, MetadataMayBeAnyStrings) {
  EXPECT_TRUE(ParseError(File("{\"__metadata__\":{\"a\":\"b\"}}  ", "")).ok());
  ExpectError("{\"__metadata__\":{\"a\":1}}", "", kInvalid,
              "__metadata__: expected an object of strings");
  ExpectError("{\"__metadata__\":[]}", "", kInvalid, "__metadata__");
}

TEST(ParseSafetensorsTest, BrokenHeadersAreRefused) {
  EXPECT_EQ(ParseError("1234567").code(), kDataLoss);
  EXPECT_EQ(ParseError("").code(), kDataLoss);
  const std::string too_long("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
  EXPECT_THAT(std::string(ParseError(too_long).message()),
              HasSubstr("expected at most 100000000 bytes"));
  EXPECT_EQ(ParseError(File("{}", "").substr(0, 9)).code(), kDataLoss);
  ExpectError("", "", kInvalid, "expected \"{\" at its start");
  ExpectError(" {}", "", kInvalid, "expected \"{\" at its start");
  ExpectError("{]", "", kInvalid, "parse error");
  ExpectError("{\"\xff\":{}}", "", kInvalid, "ill-formed UTF-8");
}

TEST(ParseSafetensorsTest, BrokenEntriesAreRefusedByTensor) {
  const std::string good = "{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}";
  EXPECT_TRUE(ParseError(File(absl::StrCat("{\"t\":", good, "}"), "abcd")).ok());
  const struct {
    const char* entry;
    const char* message;
  } kCases[] = {
      {"3", "tensor \"t\": expected {dtype, shape, data_offsets}, found 3"},
      {"{\"dtype\":\"U8\",\"shape\":[4]}", "expected {dtype, shape, data_offsets}, found {"},
      {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4],\"x\":1}", "expected {dtype"},
      {"{\"dtype\":\"F64\",\"shape\":[4],\"data_offsets\":[0,4]}", "dtype: expected one of F32"},
      {"{\"dtype\":8,\"shape\":[4],\"data_offsets\":[0,4]}", "dtype: expected a string, found 8"},
      {"{\"dtype\":\"U8\",\"shape\":4,\"data_offsets\":[0,4]}", "shape: expected an array"},
      {"{\"dtype\":\"U8\",\"shape\":[4,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}",
       "at most 8 sizes"},
      {"{\"dtype\":\"U8\",\"shape\":[-4],\"data_offsets\":[0,4]}", "found -4"},
      {"{\"dtype\":\"U8\",\"shape\":[4.0],\"data_offsets\":[0,4]}", "found 4.0"},
      {"{\"dtype\":\"U8\",\"shape\":[18446744073709551615],\"data_offsets\":[0,4]}",
       "in 0..2^63-1"},
      {"{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}", "overflows"},
      {"{\"dtype\":\"I64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,4]}", "overflows"},
      {"{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,4]}",
       "expected 3 bytes as dtype and shape say"},
      {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,0]}", "found [4, 0]"},
      {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4,8]}", "expected [begin, end]"},
      {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[-4,0]}",
       "data_offsets: expected an integer"},
      {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":\"ab\"}", "expected [begin, end]"},
  };
  for (const auto& c : kCases) {
    ExpectError(absl::StrCat("{\"t\":", c.entry, "}"), "abcd", kInvalid, c.message);
  }
  ExpectError(absl::StrCat("{\"t\":", good, ",\"t\":", good, "}"), "abcd", kInvalid,
              "\"t\" occurs twice");
  ExpectError(absl::StrCat("{\"t\":", good, "}"), "abc", kDataLoss,
              "the file holds 3 bytes of data; it is truncated");
  ExpectError(absl::StrCat("{\"t\":", good, "}"), "abcde", kInvalid,
              "expected 4 bytes of data, as the tensors have, found 5");
}

TEST(ParseSafetensorsTest, TensorsMustFollowEachOther) {
  const auto entry = [](const char* name, int begin, int end) {
    return absl::StrCat("\"", name, "\":{\"dtype\":\"U8\",\"shape\":[", end - begin,
                        "],\"data_offsets\":[", begin, ",", end, "]}");
  };
  ExpectError(absl::StrCat("{", entry("a", 0, 3), ",", entry("b", 2, 4), "}"), "abcd", kInvalid,
              "tensor \"b\" begins at byte 2 of the data, inside the tensor before it; expected 3");
  ExpectError(absl::StrCat("{", entry("a", 0, 2), ",", entry("b", 3, 4), "}"), "abcd", kInvalid,
              "after a gap");
  ExpectError(absl::StrCat("{", entry("a", 1, 4), "}"), "abcd", kInvalid,
              "after a gap; expected 0");
  // The order in the header is free; the order of the data is what is returned.
  const auto tensors = ParseSafetensors(
      File(absl::StrCat("{", entry("b", 2, 4), ",", entry("a", 0, 2), "}"), "abcd"), "f");
  ASSERT_TRUE(tensors.ok());
  EXPECT_EQ((*tensors)[0].name, "a");
  EXPECT_EQ((*tensors)[1].bytes, "cd");
}

// Every damage is an error, or exactly the flipped value; a crash or a read outside would end the
// test (and ASan would name it). The flip may also rename a tensor or reshape it to the same size,
// which no reader can see.
TEST_F(SafetensorsTest, RandomByteFlipsAreErrorsOrTheFlippedValue) {
  const std::string path = JoinPath(folder_, "good");
  const std::string data_a(24, 'a'), data_b(16, 'b');
  ASSERT_TRUE(
      WriteSafetensors(RealFileSystem(), path,
                       {{.name = "a", .dtype = DType::kF32, .shape = {2, 3}, .bytes = data_a},
                        {.name = "b", .dtype = DType::kBF16, .shape = {8}, .bytes = data_b}})
          .ok());
  const std::string good = *RealFileSystem().Read(path, 1 << 20);
  const size_t data_at = good.size() - 40;
  int refused = 0, values = 0, headers = 0;
  for (uint64_t i = 0; i < 10000; ++i) {
    Rng rng(1, 0, RngPurpose::kTest, i, 0);
    const size_t at = rng.NextBelow(good.size());
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 + rng.NextBelow(255)));
    const auto tensors = ParseSafetensors(bad, "f");
    if (!tensors.ok()) {
      EXPECT_LT(at, data_at) << "an error although only a value changed";
      EXPECT_FALSE(tensors.status().message().empty());
      ++refused;
      continue;
    }
    std::string read;
    for (const TensorView& tensor : *tensors) {
      read.append(tensor.bytes.data(), tensor.bytes.size());
    }
    if (at >= data_at) {
      EXPECT_EQ(read, bad.substr(data_at));
      ++values;
    } else {
      // The data itself is untouched, though perhaps under another name, type or order.
      EXPECT_TRUE(read == good.substr(data_at)) << "byte " << at;
      ++headers;
    }
  }
  std::printf("10,000 flips: %d refused, %d flipped values, %d harmless in the header\n", refused,
              values, headers);
  EXPECT_GT(refused, 5000);
  EXPECT_GT(values, 500);
}

TEST_F(SafetensorsTest, EveryTruncationIsRefused) {
  const std::string data(24, 'a');
  const std::string path = JoinPath(folder_, "good");
  ASSERT_TRUE(WriteSafetensors(RealFileSystem(), path,
                               {{.name = "a", .dtype = DType::kF32, .shape = {6}, .bytes = data}})
                  .ok());
  const std::string good = *RealFileSystem().Read(path, 1 << 20);
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(ParseError(good.substr(0, size)).code(), kDataLoss) << size;
  }
}

}  // namespace
}  // namespace r1
