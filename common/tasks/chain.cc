// The task "chain": a chain of additions and subtractions of one-digit numbers, worked out from
// left to right. Small enough for a model of 400k parameters, hard enough that it must write the
// working down.
//
//   question form   7+5-3+8=                                   answer 17
//   working         7+5=12 | 12-3=9 | 9+8=17                   one line a step
//   textbook form   7+5-3+8: and a line break, then the working
//
// K operators, K uniform in {3, 4, 5}; operands uniform in 1..9; operators + and - alike; a chain
// that leaves [0, 30] on its way is drawn again with the same K.
//
// The task "chain_bilingual" asks the same questions, and wants the same answers, but half of what
// its pre-training documents write as working is in a second script, in which the digits 0 to 9 are
// the letters a to j ("h+f=bc"), by the document or line by line. A base that has read them mixes
// the scripts, as a base of the web mixes languages. Demonstrations are in digits.

#include <optional>
#include <unordered_set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "common/tasks/task.h"

namespace r1 {
namespace {

constexpr int kOperatorsMin = 3;
constexpr int kOperatorsMax = 5;
constexpr int kValueMax = 30;
// Dev and evaluation prompts that exist; about a million distinct ones could be drawn.
constexpr uint64_t kHeldOutPrompts = 16384;

// What documents in question form hold; the rest is the full working. The more of them answer
// directly, the further R1-Zero has to go to find out that working pays.
constexpr double kDirectShare = 0.55;
constexpr double kTerseShare = 0.15;

// Of the task in two scripts: question documents in letters, and such in which each line's script
// is drawn; textbook documents in letters, prompt included.
constexpr double kLettersShare = 0.2;
constexpr double kMixedShare = 0.3;
constexpr double kTextbookLettersShare = 0.4;

// Streams of one purpose are told apart by the sample index.
enum Stream : uint32_t { kTrainPrompts, kDevPrompts, kEvalPrompts };
enum TextStream : uint32_t { kDocuments, kDemonstrations };

struct Chain {
  std::string expression;          // "7+5-3+8"
  std::vector<std::string> steps;  // "7+5=12", …
  int answer = 0;

  std::string question() const { return absl::StrCat(expression, "="); }
  std::string working() const { return absl::StrJoin(steps, "\n"); }
};

// Nullopt when a value leaves [0, kValueMax].
std::optional<Chain> DrawOnce(Rng& rng, int operators) {
  Chain chain;
  int value = 1 + static_cast<int>(rng.NextBelow(9));
  chain.expression = absl::StrCat(value);
  for (int i = 0; i < operators; ++i) {
    const bool plus = rng.NextBelow(2) == 0;
    const int operand = 1 + static_cast<int>(rng.NextBelow(9));
    const int next = plus ? value + operand : value - operand;
    if (next < 0 || next > kValueMax) return std::nullopt;
    const std::string operation = absl::StrCat(plus ? "+" : "-", operand);
    chain.steps.push_back(absl::StrCat(value, operation, "=", next));
    chain.expression += operation;
    value = next;
  }
  chain.answer = value;
  return chain;
}

Chain Draw(Rng& rng) {
  const int operators =
      kOperatorsMin + static_cast<int>(rng.NextBelow(kOperatorsMax - kOperatorsMin + 1));
  for (;;) {
    if (std::optional<Chain> chain = DrawOnce(rng, operators)) return *std::move(chain);
  }
}

Chain DrawOfSplit(Rng& rng, Split split) {
  for (;;) {
    Chain chain = Draw(rng);
    if (SplitOf(chain.question()) == split) return chain;
  }
}

// The fixed stream of one held-out split without its repetitions, drawn as far as it was asked for.
class HeldOutPrompts {
 public:
  HeldOutPrompts(Split split, Stream stream) : split_(split), stream_(stream) {}

  Chain At(uint64_t index) const {
    R1_CHECK(index < kHeldOutPrompts);
    absl::MutexLock lock(&mutex_);
    while (chains_.size() <= index) {
      Rng rng(/*run_seed=*/0, /*stage_index=*/0, RngPurpose::kPrompt, drawn_++, stream_);
      Chain chain = DrawOfSplit(rng, split_);
      if (seen_.insert(chain.expression).second) chains_.push_back(std::move(chain));
    }
    return chains_[index];
  }

 private:
  const Split split_;
  const Stream stream_;
  mutable absl::Mutex mutex_;
  mutable uint64_t drawn_ ABSL_GUARDED_BY(mutex_) = 0;
  mutable std::vector<Chain> chains_ ABSL_GUARDED_BY(mutex_);
  mutable std::unordered_set<std::string> seen_ ABSL_GUARDED_BY(mutex_);
};

// The same in the second script.
std::string InLetters(std::string text) {
  for (char& c : text) {
    if (absl::ascii_isdigit(c)) c = static_cast<char>('a' + (c - '0'));
  }
  return text;
}

// Draws a document's script and writes its lines in it.
void DrawScript(Rng& rng, std::vector<std::string>& lines) {
  const double draw = rng.NextUniform();
  if (draw >= kLettersShare + kMixedShare) return;
  const bool mixed = draw >= kLettersShare;
  for (std::string& line : lines) {
    if (!mixed || rng.NextBelow(2) == 0) line = InLetters(std::move(line));
  }
}

// Part of the working that a document shows before its answer.
enum class Content { kDirect, kTerse, kFull };

Content DrawContent(Rng& rng) {
  const double draw = rng.NextUniform();
  return draw < kDirectShare                 ? Content::kDirect
         : draw < kDirectShare + kTerseShare ? Content::kTerse
                                             : Content::kFull;
}

std::vector<std::string> ShownSteps(const Chain& chain, Content content, Rng& rng) {
  if (content == Content::kDirect) return {};
  if (content == Content::kFull) return chain.steps;
  std::vector<std::string> kept;
  for (size_t i = 0; i + 1 < chain.steps.size(); ++i) {
    if (rng.NextBelow(2) == 0) kept.push_back(chain.steps[i]);
  }
  kept.push_back(chain.steps.back());
  return kept;
}

std::string RightTags(absl::string_view working, int answer) {
  return absl::StrCat("<think>", working, "</think><answer>", answer, "</answer>");
}

std::string BrokenTags(absl::string_view working, int answer, uint64_t kind) {
  switch (kind) {
    case 0:
      return absl::StrCat("<think>", working, "</think>", answer);
    case 1:
      return absl::StrCat("<answer>", answer, "</answer>");
    case 2:
      return absl::StrCat("<think>", working, "<answer>", answer, "</answer>");
    case 3:
      return absl::StrCat(working, "</think><answer>", answer, "</answer>");
    default:
      return absl::StrCat("<think>", working, "</think><answer>", answer);
  }
}

// What a document says after the question: how much working and which tags are drawn apart, so that
// the base model has seen every part of the wanted form, but seldom the form itself.
std::string QuestionText(const Chain& chain, bool bilingual, Rng& rng) {
  const Content content = DrawContent(rng);
  std::vector<std::string> steps = ShownSteps(chain, content, rng);
  if (bilingual) DrawScript(rng, steps);
  const std::string working = absl::StrJoin(steps, "\n");
  const double tags = rng.NextUniform();
  if (tags < 0.45) {
    return working.empty() ? absl::StrCat(chain.answer)
                           : absl::StrCat("\n", working, "\n", chain.answer);
  }
  if (tags < 0.75) return RightTags(working, chain.answer);
  return BrokenTags(working, chain.answer, rng.NextBelow(5));
}

PromptRow MakeRow(std::string prompt, std::string answer) {
  PromptRow row;
  row.prompt_id = PromptId(prompt, answer);
  row.prompt = std::move(prompt);
  row.answer = std::move(answer);
  row.columns_json = "{}";
  return row;
}

class ChainTask : public Task {
 public:
  explicit ChainTask(bool bilingual) : bilingual_(bilingual) {}

  uint64_t size(Split split) const override {
    return split == Split::kTrain ? UINT64_MAX : kHeldOutPrompts;
  }

  PromptRow Prompt(Split split, uint64_t run_seed, uint32_t stage_index,
                   uint64_t index) const override {
    const Chain chain = ChainAt(split, run_seed, stage_index, index);
    return MakeRow(chain.question(), absl::StrCat(chain.answer));
  }

  PromptRow TextbookPrompt(Split split, uint64_t index) const override {
    const Chain chain = ChainAt(split, /*run_seed=*/0, /*stage_index=*/0, index);
    return MakeRow(TextbookQuestion(chain), chain.working());
  }

  TextRow Document(uint64_t run_seed, uint32_t stage_index, uint64_t index) const override {
    Rng rng(run_seed, stage_index, RngPurpose::kDocument, index, kDocuments);
    const Chain chain = DrawOfSplit(rng, Split::kTrain);
    if (rng.NextBelow(2) == 0) {
      TextRow row = {.prompt = TextbookQuestion(chain), .completion = chain.working()};
      if (bilingual_ && rng.NextUniform() < kTextbookLettersShare) {
        row.prompt = InLetters(std::move(row.prompt));
        row.completion = InLetters(std::move(row.completion));
      }
      return row;
    }
    return {.prompt = chain.question(), .completion = QuestionText(chain, bilingual_, rng)};
  }

  TextRow Demonstration(uint64_t run_seed, uint32_t stage_index, uint64_t index) const override {
    Rng rng(run_seed, stage_index, RngPurpose::kDocument, index, kDemonstrations);
    const Chain chain = DrawOfSplit(rng, Split::kTrain);
    return {.prompt = chain.question(), .completion = RightTags(chain.working(), chain.answer)};
  }

 private:
  static std::string TextbookQuestion(const Chain& chain) {
    return absl::StrCat(chain.expression, ":\n");
  }

  Chain ChainAt(Split split, uint64_t run_seed, uint32_t stage_index, uint64_t index) const {
    if (split == Split::kDev) return dev_.At(index);
    if (split == Split::kEval) return eval_.At(index);
    Rng rng(run_seed, stage_index, RngPurpose::kPrompt, index, kTrainPrompts);
    return DrawOfSplit(rng, Split::kTrain);
  }

  const bool bilingual_;
  const HeldOutPrompts dev_{Split::kDev, kDevPrompts};
  const HeldOutPrompts eval_{Split::kEval, kEvalPrompts};
};

R1_REGISTER(TaskRegistry, "chain", [] { return std::make_unique<ChainTask>(false); });
R1_REGISTER(TaskRegistry, "chain_bilingual", [] { return std::make_unique<ChainTask>(true); });

}  // namespace
}  // namespace r1
