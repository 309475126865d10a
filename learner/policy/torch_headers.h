// The parts of LibTorch that the learner uses, precompiled once. LibTorch defines LOG, CHECK and
// the like: project headers come after this one.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
