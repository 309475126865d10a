#include "common/bpe.h"

#include <algorithm>
#include <utility>

#include "common/status.h"

namespace r1 {

Bpe::Bpe(std::vector<std::string> tokens, const std::vector<BpeMerge>& merges, bool ignore_merges)
    : tokens_(std::move(tokens)) {
  byte_ids_.fill(-1);
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_[id].size() != 1) continue;
    byte_ids_[static_cast<unsigned char>(tokens_[id][0])] = static_cast<int32_t>(id);
  }
  merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const BpeMerge& merge = merges[rank];
    merges_.emplace(Pair(merge.left, merge.right), Merge{static_cast<int32_t>(rank), merge.merged});
  }
  whole_pieces_.reserve(tokens_.size());
  Scratch scratch;
  std::vector<int32_t> ids;
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_[id].empty()) continue;
    bool is_whole = ignore_merges;
    if (!is_whole) {
      ids.clear();
      EncodeByMerging(tokens_[id], scratch, ids);
      is_whole = ids.size() == 1 && ids[0] == static_cast<int32_t>(id);
    }
    if (is_whole) whole_pieces_.emplace(tokens_[id], static_cast<int32_t>(id));
  }
}

size_t Bpe::Encode(absl::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  const auto whole = whole_pieces_.find(piece);
  if (whole == whole_pieces_.end()) return EncodeByMerging(piece, scratch, ids);
  ids.push_back(whole->second);
  return piece.size();
}

size_t Bpe::EncodeByMerging(absl::string_view piece, Scratch& scratch,
                            std::vector<int32_t>& ids) const {
  auto& symbols = scratch.symbols_;
  auto& heap = scratch.heap_;
  symbols.clear();
  heap.clear();
  const auto count = static_cast<int32_t>(piece.size());
  for (int32_t i = 0; i < count; ++i) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(piece[static_cast<size_t>(i)])];
    if (id < 0) return static_cast<size_t>(i);
    symbols.push_back({id, i - 1, i + 1 < count ? i + 1 : -1});
  }
  for (int32_t i = 0; i + 1 < count; ++i) PushCandidate(i, scratch);

  const auto is_later = [](const Scratch::Candidate& a, const Scratch::Candidate& b) {
    return std::pair(a.rank, a.position) > std::pair(b.rank, b.position);
  };
  const auto symbol_at = [&](int32_t position) -> Scratch::Symbol& {
    return symbols[static_cast<size_t>(position)];
  };
  std::make_heap(heap.begin(), heap.end(), is_later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), is_later);
    const Scratch::Candidate best = heap.back();
    heap.pop_back();
    Scratch::Symbol& left = symbol_at(best.position);
    if (left.id != best.left || left.next < 0 || symbol_at(left.next).id != best.right) {
      continue;  // one of the two has merged since
    }
    Scratch::Symbol& right = symbol_at(left.next);
    left.id = best.merged;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbol_at(left.next).previous = best.position;
    for (const int32_t position : {left.previous, best.position}) {
      const size_t before = heap.size();
      if (position >= 0) PushCandidate(position, scratch);
      if (heap.size() > before) std::push_heap(heap.begin(), heap.end(), is_later);
    }
  }
  for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = symbol_at(i).next) {
    ids.push_back(symbol_at(i).id);
  }
  return piece.size();
}

void Bpe::PushCandidate(int32_t position, Scratch& scratch) const {
  const Scratch::Symbol& left = scratch.symbols_[static_cast<size_t>(position)];
  if (left.next < 0) return;
  const int32_t right = scratch.symbols_[static_cast<size_t>(left.next)].id;
  const auto merge = merges_.find(Pair(left.id, right));
  if (merge == merges_.end()) return;
  scratch.heap_.push_back({merge->second.rank, position, left.id, right, merge->second.merged});
}

}  // namespace r1
