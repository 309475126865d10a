// Joins hand-written mathematics to LibTorch's autograd: an operator computes its outputs with
// plain code and hands in a closure that turns their gradients into those of its inputs. It is
// LibTorch's custom Function with typed captures in place of a string-keyed context, and forward
// and backward stand in one C++ function:
//
//   at::Tensor Twice(const at::Tensor& x) {
//     DifferentiableScope scope;
//     const at::Tensor y = x * 2;
//     scope.Record({x}, {y}, [](const Tensors& dy) -> Tensors { return {dy[0] * 2}; });
//     return y;
//   }
#pragma once

#include <functional>
#include <vector>

#include "learner/policy/torch_headers.h"

namespace r1::learner {

using Tensors = std::vector<at::Tensor>;

// Gradients of the outputs -> gradients of the inputs, one each. A gradient that nobody asked for
// is undefined.
using BackwardFunction = std::function<Tensors(const Tensors& output_gradients)>;

// The body of one operator: LibTorch itself records nothing inside.
class DifferentiableScope {
 public:
  // Does nothing when the caller records no gradients or no input requires one. The closure may
  // hold inputs, but an output only as output.detach(), or the graph would own itself.
  void Record(const Tensors& inputs, const Tensors& outputs, BackwardFunction backward) const;

 private:
  const bool recording_ = at::GradMode::is_enabled();
  const at::NoGradGuard no_grad_;
};

}  // namespace r1::learner
