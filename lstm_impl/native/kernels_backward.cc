// The backward pass: gradients of states and weights.
#include <algorithm>
#include <utility>
#include <vector>

#include "backward.h"
#include "gradients.h"
#include "kernels.h"
#include "thread_team.h"

namespace lstm_impl {

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

template void backward(const Backward<float>&, const Pool&);
template void backward(const Backward<BFloat16>&, const Pool&);

}  // namespace lstm_impl
