// The files and folders that a config names, for its checks.
#pragma once

#include <string>
#include <vector>

#include "common/filesystem.h"

namespace r1 {

class ConfigFiles {
 public:
  // `missing`: null, or where files go that need not be there yet.
  ConfigFiles(FileSystem& files, std::vector<std::string>* missing)
      : files_(files), missing_(missing) {}

  bool Exists(const std::string& path) const { return files_.Exists(path); }

  // Whether the config may name the file: it is there, or is listed as missing.
  bool Accepts(const std::string& path) const {
    const bool exists = Exists(path);
    if (!exists && missing_ != nullptr) missing_->push_back(path);
    return exists || missing_ != nullptr;
  }

 private:
  FileSystem& files_;
  std::vector<std::string>* const missing_;
};

}  // namespace r1
