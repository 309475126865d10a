#include "learner/policy/differentiable.h"

#include <utility>

namespace r1::learner {
namespace {

class ClosureNode : public torch::autograd::Node {
 public:
  ClosureNode(torch::autograd::edge_list inputs, BackwardFunction backward)
      : Node(std::move(inputs)), backward_(std::move(backward)) {}

  std::string name() const override { return "r1::learner::ClosureNode"; }

 protected:
  Tensors apply(Tensors&& output_gradients) override { return backward_(output_gradients); }
  void release_variables() override { backward_ = nullptr; }

 private:
  BackwardFunction backward_;
};

}  // namespace

void DifferentiableScope::Record(const Tensors& inputs, const Tensors& outputs,
                                 BackwardFunction backward) const {
  if (!recording_) return;
  bool required = false;
  for (const at::Tensor& input : inputs) required |= input.defined() && input.requires_grad();
  if (!required) return;
  const auto node = std::make_shared<ClosureNode>(torch::autograd::collect_next_edges(inputs),
                                                  std::move(backward));
  for (const at::Tensor& output : outputs) torch::autograd::set_history(output, node);
}

}  // namespace r1::learner
