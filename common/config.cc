// The loader walks the TOML tree and the schema side by side. Layers of a stage: defaults of the
// schema, sections at the top of the file, the stage's own keys.
#include "common/config.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/config_checks.h"
#include "common/config_files.h"
#include "common/config_problems.h"
#include "common/config_schema.h"
#include "common/nearest_name.h"

namespace r1 {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Kind = ConfigNode::Kind;

constexpr uint64_t kFileBytesMax = 256 << 10;
constexpr size_t kNameLengthMax = 64;

class Loader {
 public:
  explicit Loader(ConfigProblems& problems) : problems_(problems) {}

  LoadedConfig Load(const ConfigNode& root);
  // A file of another schema.
  ConfigPositions LoadInto(const ConfigNode& root, Message& message);

 private:
  // Lays the keys of a section over `message`. Unknown and unfit ones become problems.
  void ReadSection(const ConfigNode& section, const std::string& path, Message& message);
  void ReadField(const ConfigNode& node, const std::string& path, const FieldDescriptor& field,
                 Message& message);
  void ReadNumber(const ConfigNode& node, const std::string& path, const FieldDescriptor& field,
                  Message& message);
  void ReadString(const ConfigNode& node, const std::string& path, const FieldDescriptor& field,
                  Message& message);
  void ReadStrings(const ConfigNode& node, const std::string& path, const FieldDescriptor& field,
                   Message& message);
  void ReadSchedule(const ConfigNode& node, const std::string& path, const FieldDescriptor& field,
                    v1::Schedule& schedule);
  // [[path]]: each element has a name of its own and is called path.NAME.
  void ReadNamedList(const ConfigNode& list, const std::string& path, const FieldDescriptor& field,
                     Message& message);
  void ReadStage(const ConfigNode& section, const std::string& path, v1::StageConfig& stage);
  void ReadReward(const ConfigNode& section, const std::string& path, v1::RewardConfig& reward);
  void CheckName(const ConfigNode& item, const std::string& item_path, const std::string& list_path,
                 std::map<std::string, ConfigPosition>& taken);

  // Whether the section belongs to another kind of stage, or another reward, than the one that is
  // being read; a problem if so.
  bool IsForeignSection(const ConfigNode& node, const std::string& path,
                        const FieldDescriptor& field);
  // Whether the value has the kind that a message field needs; a problem if not.
  bool IsList(const ConfigNode& node, const std::string& path);
  void ReportUnknownKey(const ConfigEntry& entry, const std::string& path,
                        const Descriptor& section);
  void ReportUnfit(const ConfigNode& node, const std::string& path, const FieldDescriptor& field,
                   absl::string_view suggestion = "");
  void ReportMissing(const ConfigNode& section, const std::string& path, const Descriptor& type);

  ConfigProblems& problems_;
  LoadedConfig loaded_;
  const Descriptor* file_schema_ = v1::Config::descriptor();
  // Of the stage that is being read; empty outside.
  std::string stage_name_;
  std::string stage_kind_;
  // Of the reward that is being read; empty outside.
  std::string reward_name_;
};

constexpr char kPluginSection[] = "plugin";
// Of every reward.
constexpr char kRowsSection[] = "rows";

// The string at a key, or empty: for names and kinds, which are needed before the section is read
// in order.
std::string StringAtOrEmpty(const ConfigNode& section, absl::string_view key) {
  const ConfigNode* node = section.FindOrNull(key);
  return node != nullptr && node->kind == Kind::kString ? node->string : "";
}

// Names stand in field paths, file names and metrics.
bool IsGoodName(const std::string& name) {
  const auto is_good = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kNameLengthMax &&
         std::all_of(name.begin(), name.end(), is_good);
}

LoadedConfig Loader::Load(const ConfigNode& root) {
  v1::Config& config = loaded_.config;
  const FieldDescriptor& stage_field =
      *config.GetDescriptor()->FindFieldByNumber(v1::Config::kStageFieldNumber);
  for (int i = 0; i < config.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *config.GetDescriptor()->field(i);
    if (field.is_repeated()) continue;
    FillDefaults(*config.GetReflection()->MutableMessage(&config, &field));
  }
  // Stages copy the sections at the top, so those are read first, wherever they stand.
  ConfigNode top = root;
  std::erase_if(top.entries,
                [&](const ConfigEntry& entry) { return entry.key == stage_field.name(); });
  ReadSection(top, "", config);
  const ConfigNode* stages = root.FindOrNull(stage_field.name());
  if (stages != nullptr) {
    loaded_.positions[stage_field.name()] = stages->position;
    ReadNamedList(*stages, stage_field.name(), stage_field, config);
  }
  if (stages == nullptr || (stages->kind == Kind::kList && stages->items.empty())) {
    problems_.Add(stages == nullptr ? root.position : stages->position, stage_field.name(),
                  "expected at least one [[stage]], found none");
  }
  return std::move(loaded_);
}

ConfigPositions Loader::LoadInto(const ConfigNode& root, Message& message) {
  file_schema_ = message.GetDescriptor();
  FillDefaults(message);
  for (int i = 0; i < file_schema_->field_count(); ++i) {
    const FieldDescriptor& field = *file_schema_->field(i);
    if (!IsSection(field) || field.is_repeated()) continue;
    FillDefaults(*message.GetReflection()->MutableMessage(&message, &field));
  }
  ReadSection(root, "", message);
  loaded_.positions[""] = root.position;
  return std::move(loaded_.positions);
}

void Loader::ReadSection(const ConfigNode& section, const std::string& path, Message& message) {
  if (section.kind != Kind::kTable) {
    const std::string advice =
        section.kind == Kind::kList ? absl::StrCat("; write [", path, "] once") : "";
    problems_.Add(section.position, path,
                  absl::StrCat("expected a section, found ", DescribeFound(section), advice));
    return;
  }
  for (const ConfigEntry& entry : section.entries) {
    const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(entry.key);
    if (field == nullptr) {
      ReportUnknownKey(entry, path, *message.GetDescriptor());
      continue;
    }
    const std::string field_path = JoinFieldPath(path, entry.key);
    loaded_.positions[field_path] = entry.position;
    ReadField(entry.value, field_path, *field, message);
  }
  ReportMissing(section, path, *message.GetDescriptor());
}

void Loader::ReadField(const ConfigNode& node, const std::string& path,
                       const FieldDescriptor& field, Message& message) {
  const Reflection& reflection = *message.GetReflection();
  if (IsForeignSection(node, path, field)) return;
  if (IsSchedule(field)) {
    ReadSchedule(node, path, field,
                 static_cast<v1::Schedule&>(*reflection.MutableMessage(&message, &field)));
  } else if (IsSection(field) && field.is_repeated()) {
    ReadNamedList(node, path, field, message);
  } else if (IsSection(field)) {
    ReadSection(node, path, *reflection.MutableMessage(&message, &field));
  } else if (field.is_repeated()) {
    ReadStrings(node, path, field, message);
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    ReadString(node, path, field, message);
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
    if (node.kind != Kind::kBool) return ReportUnfit(node, path, field);
    reflection.SetBool(&message, &field, node.boolean);
  } else {
    ReadNumber(node, path, field, message);
  }
}

bool Loader::IsForeignSection(const ConfigNode& node, const std::string& path,
                              const FieldDescriptor& field) {
  const std::string kind = KindOfSection(field);
  if (kind.empty()) return false;
  const bool of_reward = field.containing_type() == v1::RewardConfig::descriptor();
  const std::string& allowed = of_reward ? reward_name_ : stage_kind_;
  const bool is_common = of_reward && (kind == kPluginSection || kind == kRowsSection);
  if (allowed.empty() || kind == allowed || is_common) return false;
  const std::string where = of_reward ? "the reward" : "a stage of kind";
  problems_.Add(
      loaded_.positions[path], path,
      absl::StrCat("expected no ", kind, " settings in ", where, " \"", allowed, "\", found ",
                   DescribeFound(node), "; move them to ", where, " \"", kind, "\""));
  return true;
}

void Loader::ReadNumber(const ConfigNode& node, const std::string& path,
                        const FieldDescriptor& field, Message& message) {
  const Reflection& reflection = *message.GetReflection();
  const bool is_double = field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE;
  const bool fits = node.kind == Kind::kInteger || (is_double && node.kind == Kind::kFloat);
  const double value =
      node.kind == Kind::kInteger ? static_cast<double>(node.integer) : node.number;
  if (!fits || !InRange(field, value)) return ReportUnfit(node, path, field);
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(&message, &field, static_cast<int32_t>(node.integer));
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.SetInt64(&message, &field, node.integer);
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.SetUInt64(&message, &field, static_cast<uint64_t>(node.integer));
    default:
      // Adding zero turns -0 into 0: the same number should be the same bits.
      return reflection.SetDouble(&message, &field, value + 0.0);
  }
}

void Loader::ReadString(const ConfigNode& node, const std::string& path,
                        const FieldDescriptor& field, Message& message) {
  if (node.kind != Kind::kString) {
    return ReportUnfit(node, path, field, node.kind == Kind::kInteger ? "; put it in quotes" : "");
  }
  const auto& allowed = RuleOf(field).one_of();
  const std::vector<std::string> names(allowed.begin(), allowed.end());
  const bool known =
      names.empty() || std::find(names.begin(), names.end(), node.string) != names.end();
  if (!known) return ReportUnfit(node, path, field, DidYouMean(node.string, names));
  message.GetReflection()->SetString(&message, &field, node.string);
}

void Loader::ReadStrings(const ConfigNode& node, const std::string& path,
                         const FieldDescriptor& field, Message& message) {
  if (node.kind != Kind::kList) {
    const bool one = node.kind == Kind::kString;
    return ReportUnfit(node, path, field,
                       one ? absl::StrCat("; write [", TomlString(node.string), "]") : "");
  }
  message.GetReflection()->ClearField(&message, &field);
  for (const ConfigNode& item : node.items) {
    if (item.kind == Kind::kString) {
      message.GetReflection()->AddString(&message, &field, item.string);
    } else {
      ReportUnfit(item, path, field);
    }
  }
}

void Loader::ReadSchedule(const ConfigNode& node, const std::string& path,
                          const FieldDescriptor& field, v1::Schedule& schedule) {
  const bool is_number = node.kind == Kind::kInteger || node.kind == Kind::kFloat;
  if (!is_number && (node.kind != Kind::kList || node.items.empty())) {
    return ReportUnfit(node, path, field);
  }
  const auto read_value = [&](const ConfigNode& value, v1::SchedulePoint& point) {
    const double number =
        value.kind == Kind::kInteger ? static_cast<double>(value.integer) : value.number;
    const bool fits = value.kind == Kind::kInteger || value.kind == Kind::kFloat;
    if (!fits || !InRange(field, number)) return ReportUnfit(value, path, field);
    point.set_value(number + 0.0);
  };
  schedule.clear_points();
  if (is_number) return read_value(node, *schedule.add_points());

  int64_t last_update = -1;
  for (size_t i = 0; i < node.items.size(); ++i) {
    const ConfigNode& item = node.items[i];
    if (item.kind != Kind::kTable) {
      ReportUnfit(item, path, field);
      continue;
    }
    // The value obeys the rule of the field that has the schedule; the rest is read as any section.
    v1::SchedulePoint& point = *schedule.add_points();
    const std::string item_path = absl::StrCat(path, "[", i, "]");
    ReadSection(item, item_path, point);
    const ConfigNode* value = item.FindOrNull("value");
    if (value != nullptr && (value->kind == Kind::kInteger || value->kind == Kind::kFloat)) {
      read_value(*value, point);
    }
    const ConfigNode* from_update = item.FindOrNull("from_update");
    if (from_update == nullptr || from_update->kind != Kind::kInteger) continue;
    if (i == 0 && from_update->integer != 0) {
      problems_.Add(from_update->position, JoinFieldPath(item_path, "from_update"),
                    absl::StrCat("expected 0 at the first point, found ", from_update->integer));
    } else if (from_update->integer <= last_update) {
      problems_.Add(from_update->position, JoinFieldPath(item_path, "from_update"),
                    absl::StrCat("expected more than the ", last_update,
                                 " of the point before, found ", from_update->integer));
    }
    last_update = from_update->integer;
  }
}

void Loader::ReadNamedList(const ConfigNode& list, const std::string& path,
                           const FieldDescriptor& field, Message& message) {
  if (!IsList(list, path)) return;
  message.GetReflection()->ClearField(&message, &field);
  std::map<std::string, ConfigPosition> taken;
  for (size_t i = 0; i < list.items.size(); ++i) {
    const ConfigNode& item = list.items[i];
    const std::string name = StringAtOrEmpty(item, "name");
    const std::string item_path =
        name.empty() ? absl::StrCat(path, "[", i, "]") : JoinFieldPath(path, name);
    CheckName(item, item_path, path, taken);
    loaded_.positions[item_path] = item.position;
    Message& element = *message.GetReflection()->AddMessage(&message, &field);
    FillDefaults(element);
    if (field.message_type() == v1::StageConfig::descriptor()) {
      ReadStage(item, item_path, static_cast<v1::StageConfig&>(element));
    } else if (field.message_type() == v1::RewardConfig::descriptor()) {
      ReadReward(item, item_path, static_cast<v1::RewardConfig&>(element));
    } else {
      ReadSection(item, item_path, element);
    }
  }
}

void Loader::CheckName(const ConfigNode& item, const std::string& item_path,
                       const std::string& list_path, std::map<std::string, ConfigPosition>& taken) {
  const ConfigNode* name = item.FindOrNull("name");
  if (name == nullptr || name->kind != Kind::kString) return;  // reported with the other fields
  const auto [earlier, is_new] = taken.emplace(name->string, item.position);
  if (!IsGoodName(name->string)) {
    problems_.Add(name->position, JoinFieldPath(item_path, "name"),
                  absl::StrCat("expected 1 to ", kNameLengthMax, " letters, digits, _ or -, found ",
                               DescribeFound(*name)));
  } else if (!is_new) {
    problems_.Add(name->position, JoinFieldPath(item_path, "name"),
                  absl::StrCat("expected a name of its own, found that of the [[", list_path,
                               "]] at ", earlier->second.text));
  }
}

void Loader::ReadStage(const ConfigNode& section, const std::string& path, v1::StageConfig& stage) {
  *stage.mutable_data() = loaded_.config.data();
  *stage.mutable_optimizer() = loaded_.config.optimizer();
  *stage.mutable_sampling() = loaded_.config.sampling();
  *stage.mutable_eval() = loaded_.config.eval();
  stage_name_ = StringAtOrEmpty(section, "name");
  stage_kind_.clear();
  const FieldDescriptor* settings =
      stage.GetDescriptor()->FindFieldByName(StringAtOrEmpty(section, "kind"));
  if (settings != nullptr && !KindOfSection(*settings).empty()) {
    stage_kind_ = settings->name();
    FillDefaults(*stage.GetReflection()->MutableMessage(&stage, settings));
  }
  ReadSection(section, path, stage);
  stage_name_.clear();
  stage_kind_.clear();
}

void Loader::ReadReward(const ConfigNode& section, const std::string& path,
                        v1::RewardConfig& reward) {
  reward_name_ = StringAtOrEmpty(section, "name");
  const bool is_plugin = section.FindOrNull(kPluginSection) != nullptr;
  const FieldDescriptor* settings =
      reward.GetDescriptor()->FindFieldByName(is_plugin ? kPluginSection : reward_name_);
  if (settings != nullptr && !KindOfSection(*settings).empty()) {
    FillDefaults(*reward.GetReflection()->MutableMessage(&reward, settings));
  }
  ReadSection(section, path, reward);
  reward_name_.clear();
}

bool Loader::IsList(const ConfigNode& node, const std::string& path) {
  if (node.kind == Kind::kList) return true;
  std::string advice;
  if (node.kind == Kind::kTable && node.position.source > 0) {
    advice =
        absl::StrCat("; an override changes a [[", path, "]] by its name, and the file has none");
  } else if (node.kind == Kind::kTable) {
    advice = absl::StrCat("; write [[", path, "]]");
  }
  problems_.Add(node.position, path,
                absl::StrCat("expected a list of sections, found ", DescribeFound(node), advice));
  return false;
}

void Loader::ReportUnknownKey(const ConfigEntry& entry, const std::string& path,
                              const Descriptor& section) {
  const std::string where = path.empty() ? "at the top of the file" : absl::StrCat("of ", path);
  std::string suggestion =
      SuggestKey({entry.key, &section, stage_name_, stage_kind_, file_schema_});
  if (suggestion.empty()) {
    suggestion = absl::StrCat("; known are ", absl::StrJoin(FieldNames(section), ", "));
  }
  problems_.Add(
      entry.position, JoinFieldPath(path, entry.key),
      absl::StrCat("expected a key ", where, ", found unknown \"", entry.key, "\"", suggestion));
}

void Loader::ReportUnfit(const ConfigNode& node, const std::string& path,
                         const FieldDescriptor& field, absl::string_view suggestion) {
  problems_.Add(node.position, path,
                absl::StrCat("expected ", DescribeExpected(field), ", found ", DescribeFound(node),
                             suggestion));
}

void Loader::ReportMissing(const ConfigNode& section, const std::string& path,
                           const Descriptor& type) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const bool required = RuleOf(field).required();
    if (!required || section.FindOrNull(field.name()) != nullptr) continue;
    problems_.Add(
        section.position, JoinFieldPath(path, field.name()),
        absl::StrCat("expected ", DescribeExpected(field), ", found nothing; it has no default"));
  }
}

// "runs/r1_mini-s1" for "configs/r1_mini.toml".
std::string DefaultRunDir(const std::string& name, uint64_t seed) {
  std::string stem = name.substr(name.rfind('/') + 1);
  const size_t dot = stem.rfind('.');
  if (dot != std::string::npos && dot > 0) stem.resize(dot);
  return absl::StrCat("runs/", stem, "-s", seed);
}

// The tree with its overrides; a syntax error ends it, a bad override is a problem.
absl::StatusOr<ConfigNode> ParseWithOverrides(const std::string& name, const std::string& text,
                                              const std::vector<std::string>& overrides,
                                              ConfigProblems& problems) {
  absl::StatusOr<ConfigNode> root = ParseConfigTree(name, text);
  if (!root.ok()) {
    problems.AddLine(ConfigPosition(), root.status().message());
    return problems.ToStatus();
  }
  for (size_t i = 0; i < overrides.size(); ++i) {
    const int index = static_cast<int>(i) + 1;
    const absl::Status status = ApplyOverride(overrides[i], index, *root);
    if (!status.ok()) problems.AddLine({index, 1, 1, ""}, status.message());
  }
  return root;
}

}  // namespace

ConfigPosition LoadedConfig::Where(const std::string& path) const {
  for (std::string around = path; !around.empty(); around.resize(around.rfind('.'))) {
    const auto found = positions.find(around);
    if (found != positions.end()) return found->second;
    if (around.rfind('.') == std::string::npos) break;
  }
  return positions.at("");
}

absl::StatusOr<LoadedConfig> LoadConfig(const std::string& path,
                                        const std::vector<std::string>& overrides,
                                        std::vector<std::string>* missing_files) {
  const absl::StatusOr<std::string> text = RealFileSystem().Read(path, kFileBytesMax);
  if (!text.ok()) return Annotate(text.status(), "config file");
  return LoadConfigText(path, *text, overrides, RealFileSystem(), missing_files);
}

absl::StatusOr<LoadedConfig> LoadConfigText(const std::string& name, const std::string& text,
                                            const std::vector<std::string>& overrides,
                                            FileSystem& files,
                                            std::vector<std::string>* missing_files) {
  ConfigProblems problems;
  R1_ASSIGN_OR_RETURN(const ConfigNode root, ParseWithOverrides(name, text, overrides, problems));
  LoadedConfig loaded = Loader(problems).Load(root);
  loaded.positions[""] = root.position;
  if (loaded.config.run().dir().empty()) {
    loaded.config.mutable_run()->set_dir(DefaultRunDir(name, loaded.config.run().seed()));
  }
  // A model folder brings its own; the checks refuse these keys beside it.
  v1::ModelConfig& model = *loaded.config.mutable_model();
  if (!model.path().empty() && !loaded.IsExplicit("model.preset")) model.clear_preset();
  if (!model.path().empty() && !loaded.IsExplicit("model.tokenizer")) model.clear_tokenizer();
  CheckConfig(loaded, ConfigFiles(files, missing_files), problems);
  R1_RETURN_IF_ERROR(problems.ToStatus());
  return loaded;
}

absl::StatusOr<ConfigPositions> LoadSchemaText(const std::string& name, const std::string& text,
                                               const std::vector<std::string>& overrides,
                                               Message& message) {
  ConfigProblems problems;
  R1_ASSIGN_OR_RETURN(const ConfigNode root, ParseWithOverrides(name, text, overrides, problems));
  ConfigPositions positions = Loader(problems).LoadInto(root, message);
  R1_RETURN_IF_ERROR(problems.ToStatus());
  return positions;
}

}  // namespace r1
