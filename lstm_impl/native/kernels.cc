// The kernels, compiled for the machine at hand and apart from TensorFlow's headers: their inline
// functions must not be compiled for another machine than TensorFlow's own copies of them.
#include "kernels.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "backward.h"
#include "bfloat16.h"
#include "thread_team.h"
#include "forward.h"
#include "gradients.h"
#include "plan.h"
#include "vector.h"

namespace lstm_impl {

std::string Layer::problem() const {
  constexpr Index kMost = std::numeric_limits<std::int32_t>::max();
  for (const Index size : {timesteps, batch, inputs, units}) {
    if (size > kMost) {
      return "an axis of " + std::to_string(size) + " is longer than " + std::to_string(kMost);
    }
  }
  if (inputs < 1 || units < 1) {
    return "a layer of " + std::to_string(inputs) + " inputs and " + std::to_string(units) +
           " units has nothing to compute";
  }
  // In floating point, which shows what does not fit; padded, and with some room for scratch.
  const double width = static_cast<double>(std::max(units, inputs)) + kLanes;
  const double rows = static_cast<double>(timesteps) * static_cast<double>(batch);
  if (16 * width * std::max(rows, width) * sizeof(float) > 9e18) {
    return std::to_string(timesteps) + " timesteps of " + std::to_string(batch) +
           " sequences with " + std::to_string(units) + " units need more memory than there can be";
  }
  return "";
}

Index Layer::gates_size() const { return unit_blocks(*this) * timesteps * batch * kPanel; }

Index Layer::cells_size() const { return unit_blocks(*this) * timesteps * batch * kLanes; }

template <class Value>
void forward(const Forward<Value>& call, const Pool& pool) {
  if (call.layer.batch == 0) return;
  if ((kRounds<Value> || call.layer.bfloat16_products) && pays_in_bfloat16(call.layer)) {
    forward_in_bfloat16(call, pool);
  } else {
    ForwardPass<Value>(call, pool).run(pool);
  }
}

template <class Value>
void backward(const Backward<Value>& call, const Pool& pool) {
  const Layer& layer = call.layer;
  const Index width = kGates * layer.units;
  if (layer.batch == 0 || layer.timesteps == 0) {  // sums of nothing
    std::fill_n(call.dkernel, layer.inputs * width, Value{});
    std::fill_n(call.drecurrent_kernel, layer.units * width, Value{});
    std::fill_n(call.dbias, width, Value{});
    if (layer.batch == 0) return;
  }
  BackwardPass<Value> recurrence(call, pool);
  WeightGradients<Value> weights(call);
  const int workers = std::max(recurrence.workers(), workers_for(weights.multiplications(), pool));
  std::vector<Phase> phases;
  recurrence.add_phases(phases);
  weights.add_phases(phases, workers);
  ThreadTeam::run(std::move(phases), workers, pool);
  recurrence.finish();
}

template <class Value>
void input_gradient(const InputGradient<Value>& call, const Pool& pool) {
  if (call.layer.batch > 0 && call.layer.timesteps > 0) {
    InputGradients<Value>(call, pool).run(pool);
  }
}

template void forward(const Forward<float>&, const Pool&);
template void forward(const Forward<BFloat16>&, const Pool&);
template void backward(const Backward<float>&, const Pool&);
template void backward(const Backward<BFloat16>&, const Pool&);
template void input_gradient(const InputGradient<float>&, const Pool&);
template void input_gradient(const InputGradient<BFloat16>&, const Pool&);

}  // namespace lstm_impl
