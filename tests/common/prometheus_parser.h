// A small strict reader of Prometheus' text format, for tests of the writer: whatever it takes, a
// scraper takes.
#pragma once

#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace r1 {

struct PrometheusSample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};

struct PrometheusBody {
  std::map<std::string, std::string> types;  // by family
  std::map<std::string, std::string> help;
  std::vector<PrometheusSample> samples;
};

// Nullopt, with the offending line in *error, when the body breaks the format.
class PrometheusParser {
 public:
  static std::optional<PrometheusBody> Parse(const std::string& text, std::string* error) {
    PrometheusParser parser;
    if (!text.empty() && text.back() != '\n') {
      *error = "no line break at the end";
      return std::nullopt;
    }
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      const std::string line = text.substr(begin, end - begin);
      if (!parser.Line(line)) {
        *error = line;
        return std::nullopt;
      }
      begin = end + 1;
    }
    return parser.body_;
  }

 private:
  bool Line(const std::string& line) {
    line_ = line;
    at_ = 0;
    if (line.rfind("# ", 0) == 0) return Comment();
    PrometheusSample sample;
    if (!Name(&sample.name) || !Labels(&sample.labels)) return false;
    if (!Take(' ') || at_ == line_.size()) return false;
    const std::string number = line_.substr(at_);
    char* end = nullptr;
    sample.value = std::strtod(number.c_str(), &end);
    if (*end != '\0') return false;
    // A sample belongs to the family that was declared last, or is a part of that histogram.
    std::string base = sample.name;
    if (body_.types[family_] == "histogram") {
      for (const std::string suffix : {"_bucket", "_sum", "_count"}) {
        if (sample.name == family_ + suffix) base = family_;
      }
    }
    if (base != family_) return false;
    body_.samples.push_back(sample);
    return true;
  }

  // HELP, then TYPE, each once a family.
  bool Comment() {
    const bool help = line_.rfind("# HELP ", 0) == 0;
    if (!help && line_.rfind("# TYPE ", 0) != 0) return false;
    at_ = 7;
    std::string name;
    if (!Name(&name) || !Take(' ')) return false;
    const std::string rest = line_.substr(at_);
    if (help) return body_.help.emplace(name, rest).second;
    family_ = name;
    const std::set<std::string> known = {"counter", "gauge", "histogram"};
    return body_.help.count(name) > 0 && known.count(rest) > 0 &&
           body_.types.emplace(name, rest).second;
  }

  bool Name(std::string* name) {
    while (at_ < line_.size() &&
           (std::isalnum(static_cast<unsigned char>(line_[at_])) != 0 || line_[at_] == '_')) {
      name->push_back(line_[at_++]);
    }
    return !name->empty() && std::isdigit(static_cast<unsigned char>((*name)[0])) == 0;
  }

  bool Labels(std::map<std::string, std::string>* labels) {
    if (!Take('{')) return true;
    do {
      std::string name, value;
      if (!Name(&name) || !Take('=') || !Take('"') || !Quoted(&value)) return false;
      if (!labels->emplace(name, value).second) return false;
    } while (Take(','));
    return Take('}');
  }

  bool Quoted(std::string* value) {
    while (at_ < line_.size() && line_[at_] != '"') {
      char c = line_[at_++];
      if (c == '\\') {
        if (at_ == line_.size()) return false;
        c = line_[at_++];
        if (c == 'n')
          c = '\n';
        else if (c != '\\' && c != '"')
          return false;
      }
      value->push_back(c);
    }
    return Take('"');
  }

  bool Take(char c) {
    if (at_ == line_.size() || line_[at_] != c) return false;
    ++at_;
    return true;
  }

  PrometheusBody body_;
  std::string family_;
  std::string line_;
  size_t at_ = 0;
};

}  // namespace r1
