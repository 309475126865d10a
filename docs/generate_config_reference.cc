// Writes docs/config.md from the config schema: one table a section, with the comments of
// proto/config.proto as text. With
// --check it compares instead, and fails when the page is not what it would write.
//
//   generate_config_reference [--check] DESCRIPTOR PAGE
//
// DESCRIPTOR is what protoc --include_source_info wrote; the compiled-in schema has no comments.

#include <cstdint>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/command_line.h"
#include "common/config_schema.h"
#include "common/filesystem.h"
#include "common/status.h"
#include "google/protobuf/descriptor.pb.h"

namespace r1 {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptorProto;

constexpr uint64_t kDescriptorBytesMax = uint64_t{1} << 24;

constexpr char kIntroduction[] = R"(# Config reference

Made from the comments and rules of `proto/config.proto` by `make config-docs`; do not edit by hand.

A config file is TOML. Stages are `[[stage]]` with a `name` and a `kind`, run in their order; their
rewards are `[[stage.reward]]`. A stage has one section with the settings of its kind; those of
another kind are refused. Sections at the top that a stage has as well are defaults for every stage,
which overrides whole keys of them. `--set KEY=VALUE` changes a key on the command line; elements of
named lists are addressed by their name, as in `--set stage.rl.grpo.kl_coef=0.001`.
`r1 run CONFIG --dry-run` prints the resolved config and its arithmetic.

- A *schedule* is a list of `{from_update = U, value = X}`; each value holds from its update of the
  stage on, and the first update must be 0.
- *On resume*: "may change" = the key may differ between a run and its resumption; every other
  change is refused.
)";

// Comments of the schema by the path of their element (FileDescriptorProto.source_code_info).
using Comments = std::map<std::vector<int>, std::string>;

absl::StatusOr<Comments> ReadComments(const std::string& descriptor_path) {
  R1_ASSIGN_OR_RETURN(const std::string bytes,
                      RealFileSystem().Read(descriptor_path, kDescriptorBytesMax));
  google::protobuf::FileDescriptorSet files;
  if (!files.ParseFromString(bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat(descriptor_path, ": expected a FileDescriptorSet"));
  }
  Comments comments;
  for (const FileDescriptorProto& file : files.file()) {
    if (file.name() != v1::Config::descriptor()->file()->name()) continue;
    for (const auto& location : file.source_code_info().location()) {
      std::vector<std::string> lines =
          absl::StrSplit(location.leading_comments(), '\n', absl::SkipWhitespace());
      for (std::string& line : lines) line = std::string(absl::StripAsciiWhitespace(line));
      comments[{location.path().begin(), location.path().end()}] = absl::StrJoin(lines, " ");
    }
  }
  if (comments.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(descriptor_path, ": expected proto/config.proto with source info"));
  }
  return comments;
}

std::string CommentAt(const std::vector<int>& path, const Comments& comments) {
  const auto found = comments.find(path);
  return found == comments.end() ? "" : found->second;
}

// The schema nests no message in another, so the path of one is its index in the file.
std::string CommentOf(const Descriptor& type, const Comments& comments) {
  return CommentAt({FileDescriptorProto::kMessageTypeFieldNumber, type.index()}, comments);
}

std::string CommentOf(const FieldDescriptor& field, const Comments& comments) {
  return CommentAt({FileDescriptorProto::kMessageTypeFieldNumber, field.containing_type()->index(),
                    google::protobuf::DescriptorProto::kFieldFieldNumber, field.index()},
                   comments);
}

// What may stand in a cell of a table.
std::string Cell(const std::string& text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}, {"<", "&lt;"}});
}

std::string Default(const FieldDescriptor& field) {
  const v1::FieldRule& rule = RuleOf(field);
  if (rule.required()) return "required";
  const std::string type = TypeName(field);
  if (type == "list of strings") return "`[]`";
  return type == "string" ? absl::StrCat("`\"", rule.default_value(), "\"`")
                          : absl::StrCat("`", rule.default_value(), "`");
}

std::string Range(const FieldDescriptor& field) {
  const v1::FieldRule& rule = RuleOf(field);
  if (rule.one_of_size() == 0) return RangeText(field);
  return absl::StrJoin(rule.one_of(), ", ", [](std::string* out, const std::string& value) {
    absl::StrAppend(out, "`", value, "`");
  });
}

// One section and those inside it, each message once.
class ReferenceWriter {
 public:
  explicit ReferenceWriter(Comments comments) : comments_(std::move(comments)) {}

  absl::StatusOr<std::string> Write() {
    page_ = kIntroduction;
    const Descriptor& config = *v1::Config::descriptor();
    for (int i = 0; i < config.field_count(); ++i) {
      R1_RETURN_IF_ERROR(WriteSection(*config.field(i), ""));
    }
    return page_;
  }

 private:
  absl::Status WriteSection(const FieldDescriptor& section, const std::string& parent) {
    const Descriptor& type = *section.message_type();
    const bool is_shared =
        v1::StageConfig::descriptor()->FindFieldByName(section.name()) != nullptr;
    const bool is_default_of_stages =
        is_shared && section.containing_type() == v1::Config::descriptor();
    if (is_shared && !parent.empty() &&
        v1::Config::descriptor()->FindFieldByName(section.name()) != nullptr) {
      return absl::OkStatus();  // stood at the top
    }
    const std::string path = absl::StrCat(parent, parent.empty() ? "" : ".", section.name());
    const std::string header =
        section.is_repeated() ? absl::StrCat("[[", path, "]]") : absl::StrCat("[", path, "]");
    absl::StrAppend(&page_, "\n## `", header, "`",
                    is_default_of_stages ? absl::StrCat(" and `[stage.", path, "]`") : "", "\n\n");
    const std::string comment =
        section.is_repeated() ? CommentOf(section, comments_) : CommentOf(type, comments_);
    if (!comment.empty()) absl::StrAppend(&page_, comment, "\n\n");
    absl::StrAppend(
        &page_,
        "| key | type | default | range | on resume | meaning |\n|---|---|---|---|---|---|\n");
    for (int i = 0; i < type.field_count(); ++i) {
      if (!IsSection(*type.field(i))) R1_RETURN_IF_ERROR(WriteRow(*type.field(i)));
    }
    for (int i = 0; i < type.field_count(); ++i) {
      if (IsSection(*type.field(i))) R1_RETURN_IF_ERROR(WriteSection(*type.field(i), path));
    }
    return absl::OkStatus();
  }

  absl::Status WriteRow(const FieldDescriptor& field) {
    const std::string meaning = CommentOf(field, comments_);
    if (meaning.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("proto/config.proto: ", field.full_name(), " needs a comment"));
    }
    absl::StrAppend(&page_, "| `", field.name(), "` | ", TypeName(field), " | ", Default(field),
                    " | ", Cell(Range(field)), " | ",
                    RuleOf(field).safe_on_resume() ? "may change" : "", " | ", Cell(meaning),
                    " |\n");
    return absl::OkStatus();
  }

  const Comments comments_;
  std::string page_;
};

absl::Status Run(const std::vector<std::string>& arguments) {
  const CommandSpec command = {
      .name = "config reference",
      .summary = "Writes docs/config.md.",
      .positionals = {{.name = "DESCRIPTOR",
                       .help = "the schema as protoc describes it",
                       .optional = false},
                      {.name = "PAGE", .help = "docs/config.md", .optional = false}},
      .flags = {{.name = "check",
                 .value = "",
                 .help = "compares instead of writing",
                 .repeated = false}}};
  R1_ASSIGN_OR_RETURN(const ParsedCommand parsed, ParseCommand(command, arguments));
  R1_ASSIGN_OR_RETURN(Comments comments, ReadComments(parsed.positionals()[0]));
  R1_ASSIGN_OR_RETURN(const std::string page, ReferenceWriter(std::move(comments)).Write());
  const std::string& path = parsed.positionals()[1];
  if (!parsed.Has("check")) return WriteFileAtomically(RealFileSystem(), path, page);
  R1_ASSIGN_OR_RETURN(const std::string committed,
                      RealFileSystem().Read(path, kDescriptorBytesMax));
  if (committed == page) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      path, " is not what proto/config.proto says; run `make config-docs` and commit the page"));
}

}  // namespace
}  // namespace r1

int main(int argc, char** argv) {
  const absl::Status status = r1::Run(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::cerr << status.message() << "\n";
  return 1;
}
