#include "tests/common/fault_filesystem.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace r1 {

// A file or a folder: what programs see now, what is on the disk for certain, and the changes in
// between.
struct FaultFileSystem::Node {
  // Of a file: an Append, or a truncation to `offset` bytes.
  struct Write {
    bool truncate = false;
    uint64_t offset = 0;
    std::string data;
  };
  // Of a folder: `name` now stands for `node` (null = removed), and `renamed_from` (unless empty)
  // is gone. One change is atomic, as in a journalling file system.
  struct Link {
    std::string name;
    std::string renamed_from;
    std::shared_ptr<Node> node;
  };
  using Entries = std::map<std::string, std::shared_ptr<Node>>;

  bool is_folder = false;
  std::string data, synced_data;
  std::vector<Write> unsynced_writes;
  Entries entries, synced_entries;
  std::vector<Link> unsynced_links;

  static void Apply(const Write& write, std::string& data) {
    if (write.truncate) {
      data.resize(write.offset);
    } else {
      if (data.size() < write.offset + write.data.size())
        data.resize(write.offset + write.data.size());
      data.replace(write.offset, write.data.size(), write.data);
    }
  }
  static void Apply(const Link& link, Entries& entries) {
    if (!link.renamed_from.empty()) entries.erase(link.renamed_from);
    if (link.node == nullptr) {
      entries.erase(link.name);
    } else {
      entries[link.name] = link.node;
    }
  }
  void Do(Write write) {
    Apply(write, data);
    unsynced_writes.push_back(std::move(write));
  }
  void Do(Link link) {
    Apply(link, entries);
    unsynced_links.push_back(std::move(link));
  }

  uint64_t BytesTotal() const {
    uint64_t total = data.size();
    for (const auto& [name, node] : entries) total += node->BytesTotal();
    return total;
  }

  std::shared_ptr<Node> AfterPowerLoss(const Keep& keep) const {
    auto after = std::make_shared<Node>();
    after->is_folder = is_folder;
    after->data = synced_data;
    for (Write write : unsynced_writes) {
      const double share = keep();
      if (share <= 0 || (write.truncate && share < 1)) continue;
      write.data.resize(
          static_cast<size_t>(static_cast<double>(write.data.size()) * std::min(share, 1.0)));
      Apply(write, after->data);
    }
    after->synced_data = after->data;
    Entries survivors = synced_entries;
    for (const Link& link : unsynced_links) {
      if (keep() >= 1) Apply(link, survivors);
    }
    for (const auto& [name, node] : survivors) after->entries[name] = node->AfterPowerLoss(keep);
    after->synced_entries = after->entries;
    return after;
  }
};

// An open file. Its node may be unlinked meanwhile, as on a real system.
class FaultFileSystem::File : public WritableFile {
 public:
  File(FaultFileSystem* owner, std::string path, std::shared_ptr<Node> node)
      : owner_(owner), path_(std::move(path)), node_(std::move(node)) {}

  absl::Status Append(absl::string_view data) override {
    absl::Status status = owner_->Step("append", path_);
    const bool already_dead = owner_->operations_ - 1 > owner_->kill_at_;
    if (status.ok() && owner_->root_->BytesTotal() + data.size() > owner_->capacity_) {
      status = absl::UnavailableError(absl::StrCat(path_, ": write: No space left on device"));
      const uint64_t used = owner_->root_->BytesTotal();
      data = data.substr(0, used < owner_->capacity_ ? owner_->capacity_ - used : 0);
    } else if (!status.ok()) {
      data = data.substr(0, already_dead ? 0 : data.size() / 2);
    }
    if (!data.empty()) node_->Do(Node::Write{false, node_->data.size(), std::string(data)});
    return status;
  }

  absl::Status Sync() override {
    R1_RETURN_IF_ERROR(owner_->Step("fsync", path_));
    if (owner_->ignore_file_syncs_) return absl::OkStatus();
    node_->synced_data = node_->data;
    node_->unsynced_writes.clear();
    return absl::OkStatus();
  }

  absl::Status Close() override { return owner_->Step("close", path_); }

 private:
  FaultFileSystem* owner_;
  std::string path_;
  std::shared_ptr<Node> node_;
};

FaultFileSystem::FaultFileSystem() : root_(std::make_shared<Node>()) { root_->is_folder = true; }
FaultFileSystem::~FaultFileSystem() = default;

void FaultFileSystem::FailAt(int operation, Fault fault) { faults_[operation] = fault; }

std::unique_ptr<FaultFileSystem> FaultFileSystem::AfterPowerLoss(const Keep& keep) const {
  auto after = std::make_unique<FaultFileSystem>();
  after->root_ = root_->AfterPowerLoss(keep);
  return after;
}

absl::Status FaultFileSystem::Step(const std::string& what, const std::string& path) {
  const int operation = operations_++;
  log_.push_back(absl::StrCat(what, " ", path));
  if (operation >= kill_at_)
    return absl::AbortedError(absl::StrCat(path, ": the process was killed"));
  const auto fault = faults_.find(operation);
  if (fault == faults_.end()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(
      path, ": ", what, ": ",
      fault->second == Fault::kIoError ? "Input/output error" : "No space left on device"));
}

std::shared_ptr<FaultFileSystem::Node> FaultFileSystem::FindOrNull(const std::string& path) const {
  std::shared_ptr<Node> node = root_;
  for (const absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    const auto entry = node->entries.find(std::string(part));
    if (entry == node->entries.end()) return nullptr;
    node = entry->second;
  }
  return node;
}

absl::StatusOr<std::shared_ptr<FaultFileSystem::Node>> FaultFileSystem::FindFile(
    const std::string& path) const {
  std::shared_ptr<Node> node = FindOrNull(path);
  if (node == nullptr)
    return absl::NotFoundError(absl::StrCat(path, ": open: No such file or directory"));
  if (node->is_folder) return absl::UnavailableError(absl::StrCat(path, ": read: Is a directory"));
  return node;
}

absl::StatusOr<std::shared_ptr<FaultFileSystem::Node>> FaultFileSystem::FindFolder(
    const std::string& path) const {
  std::shared_ptr<Node> node = FindOrNull(path);
  if (node == nullptr || !node->is_folder) {
    return absl::NotFoundError(absl::StrCat(path, ": no such folder"));
  }
  return node;
}

void FaultFileSystem::FlipBit(const std::string& path, uint64_t offset, int bit) {
  const std::shared_ptr<Node> node = FindOrNull(path);
  R1_CHECK(node != nullptr);
  R1_CHECK(offset < node->data.size());
  for (std::string* data : {&node->data, &node->synced_data}) {
    if (offset < data->size()) (*data)[offset] = static_cast<char>((*data)[offset] ^ (1 << bit));
  }
}

absl::StatusOr<std::unique_ptr<WritableFile>> FaultFileSystem::Open(const std::string& path,
                                                                    bool truncate) {
  R1_RETURN_IF_ERROR(Step(truncate ? "create" : "open for append", path));
  R1_ASSIGN_OR_RETURN(const std::shared_ptr<Node> parent, FindFolder(ParentPath(path)));
  std::shared_ptr<Node> node = FindOrNull(path);
  if (node == nullptr) {
    node = std::make_shared<Node>();
    parent->Do(Node::Link{path.substr(path.rfind('/') + 1), "", node});
  } else if (node->is_folder) {
    return absl::UnavailableError(absl::StrCat(path, ": open for writing: Is a directory"));
  } else if (truncate) {
    node->Do(Node::Write{true, 0, ""});
  }
  return std::make_unique<File>(this, path, node);
}

absl::StatusOr<std::unique_ptr<WritableFile>> FaultFileSystem::Create(const std::string& path) {
  return Open(path, true);
}

absl::StatusOr<std::unique_ptr<WritableFile>> FaultFileSystem::OpenForAppend(
    const std::string& path) {
  return Open(path, false);
}

absl::StatusOr<std::string> FaultFileSystem::Read(const std::string& path, uint64_t bytes_max) {
  R1_RETURN_IF_ERROR(Step("read", path));
  R1_ASSIGN_OR_RETURN(const std::shared_ptr<Node> node, FindFile(path));
  if (node->data.size() > bytes_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": longer than the limit of ", bytes_max, " bytes"));
  }
  return node->data;
}

absl::StatusOr<uint64_t> FaultFileSystem::Size(const std::string& path) {
  R1_RETURN_IF_ERROR(Step("stat", path));
  R1_ASSIGN_OR_RETURN(const std::shared_ptr<Node> node, FindFile(path));
  return node->data.size();
}

bool FaultFileSystem::Exists(const std::string& path) { return FindOrNull(path) != nullptr; }

absl::StatusOr<std::vector<std::string>> FaultFileSystem::List(const std::string& path) {
  R1_RETURN_IF_ERROR(Step("list", path));
  R1_ASSIGN_OR_RETURN(const std::shared_ptr<Node> node, FindFolder(path));
  std::vector<std::string> names;
  for (const auto& [name, child] : node->entries) names.push_back(name);
  return names;
}

absl::Status FaultFileSystem::CreateDirectories(const std::string& path) {
  std::shared_ptr<Node> node = root_;
  for (const absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    const std::string name(part);
    if (node->entries.count(name) == 0) {
      R1_RETURN_IF_ERROR(Step("mkdir", absl::StrCat(path, " (", name, ")")));
      auto child = std::make_shared<Node>();
      child->is_folder = true;
      node->Do(Node::Link{name, "", child});
    }
    node = node->entries[name];
    if (!node->is_folder)
      return absl::UnavailableError(absl::StrCat(path, ": create folder: Not a directory"));
  }
  return absl::OkStatus();
}

absl::Status FaultFileSystem::Rename(const std::string& source, const std::string& target) {
  R1_RETURN_IF_ERROR(Step("rename", absl::StrCat(source, " -> ", target)));
  R1_CHECK(ParentPath(source) == ParentPath(target));  // all that the project does
  R1_ASSIGN_OR_RETURN(const std::shared_ptr<Node> parent, FindFolder(ParentPath(source)));
  const std::shared_ptr<Node> node = FindOrNull(source);
  if (node == nullptr)
    return absl::NotFoundError(absl::StrCat(source, ": rename: No such file or directory"));
  const std::shared_ptr<Node> replaced = FindOrNull(target);
  if (replaced != nullptr &&
      (replaced->is_folder != node->is_folder || !replaced->entries.empty())) {
    return absl::UnavailableError(
        absl::StrCat(source, ": rename to ", target, ": Directory not empty"));
  }
  parent->Do(
      Node::Link{target.substr(target.rfind('/') + 1), source.substr(source.rfind('/') + 1), node});
  return absl::OkStatus();
}

absl::Status FaultFileSystem::RemoveEntry(Node& parent, const std::string& name,
                                          const std::string& path) {
  const std::shared_ptr<Node> node = parent.entries[name];
  std::vector<std::string> children;
  for (const auto& [child, unused] : node->entries) children.push_back(child);
  for (const std::string& child : children) {
    R1_RETURN_IF_ERROR(RemoveEntry(*node, child, JoinPath(path, child)));
  }
  R1_RETURN_IF_ERROR(Step("unlink", path));
  parent.Do(Node::Link{name, "", nullptr});
  return absl::OkStatus();
}

absl::Status FaultFileSystem::RemoveAll(const std::string& path) {
  if (FindOrNull(path) == nullptr) return absl::OkStatus();
  R1_ASSIGN_OR_RETURN(const std::shared_ptr<Node> parent, FindFolder(ParentPath(path)));
  return RemoveEntry(*parent, path.substr(path.rfind('/') + 1), path);
}

absl::Status FaultFileSystem::Truncate(const std::string& path, uint64_t bytes) {
  R1_RETURN_IF_ERROR(Step("truncate", path));
  R1_ASSIGN_OR_RETURN(const std::shared_ptr<Node> node, FindFile(path));
  node->Do(Node::Write{true, bytes, ""});
  return absl::OkStatus();
}

absl::Status FaultFileSystem::SyncDirectory(const std::string& path) {
  R1_RETURN_IF_ERROR(Step("fsync folder", path));
  R1_ASSIGN_OR_RETURN(const std::shared_ptr<Node> node, FindFolder(path));
  if (ignore_directory_syncs_) return absl::OkStatus();
  node->synced_entries = node->entries;
  node->unsynced_links.clear();
  return absl::OkStatus();
}

}  // namespace r1
