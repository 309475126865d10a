// Only the types that the schema uses are handled; another one is our own bug and found by any test
// that loads a config.
#include "common/config_schema.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "common/config_foreign_names.h"
#include "common/config_tree.h"
#include "common/nearest_name.h"

namespace r1 {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Beyond it a double, and so a rule, has gaps between the integers.
constexpr double kExactIntegerMax = 9007199254740991;

// A bound as it is written in the schema: whole numbers without a point.
std::string BoundText(double bound) {
  const bool whole = std::abs(bound) <= kExactIntegerMax && std::trunc(bound) == bound;
  return whole ? absl::StrCat(static_cast<int64_t>(bound)) : TomlNumber(bound);
}

// The range of the field's type, where the rule gives none.
std::pair<double, double> TypeRange(const FieldDescriptor& field) {
  using Int32 = std::numeric_limits<int32_t>;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return {Int32::min(), Int32::max()};
    case FieldDescriptor::CPPTYPE_INT64:
      return {-kExactIntegerMax, kExactIntegerMax};
    case FieldDescriptor::CPPTYPE_UINT64:
      return {0, kExactIntegerMax};
    default:
      return {std::numeric_limits<double>::lowest(), std::numeric_limits<double>::max()};
  }
}

void SetDefault(const FieldDescriptor& field, const std::string& text, Message& message) {
  const Reflection& reflection = *message.GetReflection();
  int64_t integer = 0;
  double number = 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      R1_CHECK(absl::SimpleAtoi(text, &integer));
      return reflection.SetInt32(&message, &field, static_cast<int32_t>(integer));
    case FieldDescriptor::CPPTYPE_INT64:
      R1_CHECK(absl::SimpleAtoi(text, &integer));
      return reflection.SetInt64(&message, &field, integer);
    case FieldDescriptor::CPPTYPE_UINT64:
      R1_CHECK(absl::SimpleAtoi(text, &integer));
      return reflection.SetUInt64(&message, &field, static_cast<uint64_t>(integer));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      R1_CHECK(absl::SimpleAtod(text, &number));
      return reflection.SetDouble(&message, &field, number);
    case FieldDescriptor::CPPTYPE_BOOL:
      R1_CHECK(text == "true" || text == "false");
      return reflection.SetBool(&message, &field, text == "true");
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.SetString(&message, &field, text);
    default: {
      R1_CHECK(IsSchedule(field));
      R1_CHECK(absl::SimpleAtod(text, &number));
      auto& schedule = static_cast<v1::Schedule&>(*reflection.MutableMessage(&message, &field));
      schedule.clear_points();
      schedule.add_points()->set_value(number);
    }
  }
}

// One place where a key may stand, with its whole path.
struct KeyPlace {
  std::string key;
  std::string path;
};

// All places of the schema below `type`, those of a stage of this kind before those of others.
void CollectPlaces(const Descriptor& type, const std::string& path, const UnknownKey& unknown,
                   std::vector<KeyPlace>& places, std::vector<KeyPlace>& foreign_places) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const std::string kind = KindOfSection(field);
    const bool foreign = !kind.empty() && !unknown.kind.empty() && kind != unknown.kind;
    std::vector<KeyPlace>& target = foreign ? foreign_places : places;
    std::string field_path = JoinFieldPath(path, field.name());
    target.push_back({field.name(), field_path});
    if (!IsSection(field)) continue;
    if (field.is_repeated()) {
      const bool is_stage = field.message_type() == v1::StageConfig::descriptor();
      absl::StrAppend(&field_path, ".",
                      is_stage && !unknown.stage.empty() ? unknown.stage : "NAME");
    }
    CollectPlaces(*field.message_type(), field_path, unknown, target, foreign_places);
  }
}

std::vector<KeyPlace> AllPlaces(const UnknownKey& unknown) {
  std::vector<KeyPlace> places;
  std::vector<KeyPlace> foreign_places;
  // Inside a stage, its own sections come before those at the top.
  if (!unknown.stage.empty()) {
    CollectPlaces(*v1::StageConfig::descriptor(), absl::StrCat("stage.", unknown.stage), unknown,
                  places, foreign_places);
  }
  CollectPlaces(*unknown.file, "", unknown, places, foreign_places);
  places.insert(places.end(), foreign_places.begin(), foreign_places.end());
  return places;
}

std::string ScheduleToToml(const v1::Schedule& schedule) {
  if (schedule.points_size() == 1 && schedule.points(0).from_update() == 0) {
    return TomlNumber(schedule.points(0).value());
  }
  return absl::StrCat("[",
                      absl::StrJoin(schedule.points(), ", ",
                                    [](std::string* out, const v1::SchedulePoint& point) {
                                      absl::StrAppend(out, "{from_update = ", point.from_update(),
                                                      ", value = ", TomlNumber(point.value()), "}");
                                    }),
                      "]");
}

std::string NameOf(const Message& message) {
  const FieldDescriptor* name = message.GetDescriptor()->FindFieldByName("name");
  R1_CHECK(name != nullptr);
  return message.GetReflection()->GetString(message, name);
}

void Flatten(const Message& message, const std::string& path, std::vector<FlatField>& flat) {
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    const std::string field_path = JoinFieldPath(path, field.name());
    if (!IsSection(field)) {
      flat.push_back({field_path, FieldToToml(message, field), RuleOf(field).safe_on_resume()});
    } else if (!field.is_repeated()) {
      if (reflection.HasField(message, &field)) {
        Flatten(reflection.GetMessage(message, &field), field_path, flat);
      }
    } else {
      std::vector<std::string> names;
      for (int k = 0; k < reflection.FieldSize(message, &field); ++k) {
        names.push_back(TomlString(NameOf(reflection.GetRepeatedMessage(message, &field, k))));
      }
      flat.push_back({field_path, absl::StrCat("[", absl::StrJoin(names, ", "), "]"), false});
      for (int k = 0; k < reflection.FieldSize(message, &field); ++k) {
        const Message& element = reflection.GetRepeatedMessage(message, &field, k);
        Flatten(element, JoinFieldPath(field_path, NameOf(element)), flat);
      }
    }
  }
}

}  // namespace

const v1::FieldRule& RuleOf(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::rule);
}

bool IsSchedule(const FieldDescriptor& field) {
  return field.message_type() == v1::Schedule::descriptor();
}

bool IsSection(const FieldDescriptor& field) {
  return field.message_type() != nullptr && !IsSchedule(field);
}

std::string KindOfSection(const FieldDescriptor& field) {
  if (field.containing_type() == v1::RewardConfig::descriptor()) {
    return IsSection(field) ? field.name() : "";
  }
  if (field.containing_type() != v1::StageConfig::descriptor()) return "";
  const auto& kinds = RuleOf(*field.containing_type()->FindFieldByName("kind")).one_of();
  return std::find(kinds.begin(), kinds.end(), field.name()) == kinds.end() ? "" : field.name();
}

std::string TypeName(const FieldDescriptor& field) {
  if (IsSchedule(field)) return "number or schedule";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT64:
      return "integer";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_STRING:
      return field.is_repeated() ? "list of strings" : "string";
    default:
      return field.is_repeated() ? "list of sections" : "section";
  }
}

std::string RangeText(const FieldDescriptor& field) {
  const v1::FieldRule& rule = RuleOf(field);
  if (rule.one_of_size() > 0) {
    return absl::StrCat("one of ", absl::StrJoin(rule.one_of(), ", ",
                                                 [](std::string* out, const std::string& value) {
                                                   absl::StrAppend(out, TomlString(value));
                                                 }));
  }
  if (rule.has_min() && rule.has_max()) {
    return absl::StrCat("from ", BoundText(rule.min()), " to ", BoundText(rule.max()));
  }
  const std::string upper = rule.has_max() ? absl::StrCat("at most ", BoundText(rule.max())) : "";
  if (!rule.has_min() && !rule.has_above()) return upper;
  const std::string lower = rule.has_min() ? absl::StrCat("at least ", BoundText(rule.min()))
                                           : absl::StrCat("above ", BoundText(rule.above()));
  return upper.empty() ? lower : absl::StrCat(lower, ", ", upper);
}

std::string DescribeExpected(const FieldDescriptor& field) {
  const v1::FieldRule& rule = RuleOf(field);
  const std::string type = TypeName(field);
  std::string range = RangeText(field);
  if (rule.one_of_size() > 0) return range;
  if (type == "true or false") return type;
  if (type == "integer") {
    const auto [least, greatest] = TypeRange(field);
    range = absl::StrCat("from ", BoundText(rule.has_min() ? rule.min() : least), " to ",
                         BoundText(rule.has_max() ? rule.max() : greatest));
    return absl::StrCat("an integer ", range);
  }
  if (!range.empty()) range = absl::StrCat(" ", range);
  if (IsSchedule(field)) {
    return absl::StrCat("a number", range, " or a list of {from_update, value}");
  }
  if (type == "number") return absl::StrCat(rule.has_max() ? "a number" : "a finite number", range);
  return absl::StrCat("a ", type, range);
}

bool InRange(const FieldDescriptor& field, double value) {
  const v1::FieldRule& rule = RuleOf(field);
  const auto [least, greatest] = TypeRange(field);
  // Written so that NaN is in no range.
  if (!(value >= least && value <= greatest)) return false;
  if (rule.has_min() && value < rule.min()) return false;
  if (rule.has_above() && value <= rule.above()) return false;
  return !rule.has_max() || value <= rule.max();
}

void FillDefaults(Message& message) {
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    const std::string& text = RuleOf(field).default_value();
    if (!text.empty()) SetDefault(field, text, message);
  }
}

std::vector<std::string> FieldNames(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

std::string SuggestKey(const UnknownKey& unknown) {
  const std::vector<KeyPlace> places = AllPlaces(unknown);
  const auto first_place = [&places](const auto& is_wanted) {
    const auto found = std::find_if(places.begin(), places.end(), is_wanted);
    return found == places.end() ? "" : absl::StrCat("; did you mean \"", found->path, "\"?");
  };
  const auto place_of_key = [&](const std::string& key) {
    return first_place([&](const KeyPlace& place) { return place.key == key; });
  };
  // In this order: the right name in a wrong section, a slip of the hand, a name of another
  // framework, both mistakes.
  if (std::string text = place_of_key(unknown.key); !text.empty()) return text;
  if (std::string text = DidYouMean(unknown.key, FieldNames(*unknown.section)); !text.empty())
    return text;
  const auto foreign = ForeignConfigNames().find(unknown.key);
  if (foreign != ForeignConfigNames().end()) {
    return first_place([&](const KeyPlace& place) {
      return place.path == foreign->second ||
             absl::EndsWith(place.path, absl::StrCat(".", foreign->second));
    });
  }
  std::vector<std::string> keys;
  for (const KeyPlace& place : places) keys.push_back(place.key);
  return place_of_key(NearestNameOrEmpty(unknown.key, keys));
}

std::string FieldToToml(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (IsSchedule(field)) {
    return ScheduleToToml(static_cast<const v1::Schedule&>(reflection.GetMessage(message, &field)));
  }
  if (field.is_repeated()) {
    std::vector<std::string> items;
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      items.push_back(TomlString(reflection.GetRepeatedString(message, &field, i)));
    }
    return absl::StrCat("[", absl::StrJoin(items, ", "), "]");
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(reflection.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return TomlNumber(reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    default:
      return TomlString(reflection.GetString(message, &field));
  }
}

std::vector<FlatField> FlattenConfig(const Message& config) {
  std::vector<FlatField> flat;
  Flatten(config, "", flat);
  return flat;
}

}  // namespace r1
