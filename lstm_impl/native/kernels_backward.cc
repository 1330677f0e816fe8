// The backward pass: gradients of states and weights.
#include <algorithm>

#include "bfloat16.h"
#include "cell.h"
#include "gradients.h"
#include "gru.h"
#include "kernels.h"
#include "parts.h"
#include "shrinking_batch.h"
#include "transpose.h"

namespace lstm_impl {

template <class Value, class Weight>
void backward(const Backward<Value, Weight>& call, const Pool& pool) {
  const Layer& layer = call.layer;
  const Index width = layer.gates() * layer.units;
  if (layer.batch == 0 || layer.timesteps == 0) {  // sums of nothing
    std::fill_n(call.dkernel, layer.inputs * width, Weight{});
    std::fill_n(call.drecurrent_kernel, layer.units * width, Weight{});
    std::fill_n(call.dbias, width, Weight{});
    if (call.drecurrent_bias != nullptr) std::fill_n(call.drecurrent_bias, width, Weight{});
    if (layer.batch == 0) return;
  }
  if (const auto shrinking = ShrinkingBatch::make(layer, call.mask)) {
    const auto run = [&pool](const auto& shorter) { backward(shorter, pool); };
    return shrinking->backward(call, pool, run);
  }
  if (call.transposed && !gradients_take_transposed<Value>(layer)) {
    const Matrix recurrent(true, layer.units, width, call.recurrent_kernel, pool);
    Backward<Value, Weight> copied = call;
    copied.recurrent_kernel = recurrent.read();
    copied.transposed = false;
    return backward(copied, pool);
  }
  if constexpr (!kRounds<Value>) {
    if (splits_backward(layer)) return backward_by_parts(call, pool);
  }
  if ((kRounds<Value> || layer.bfloat16_products) && pays_backward_in_bfloat16(layer)) {
    backward_in_bfloat16(call, pool);
  } else if (layer.cell != CellKind::kLSTM) {
    backward_gru(call, pool);
  } else {
    backward_by<LSTM, OfFloats>(call, pool);
  }
}

template void backward(const Backward<float>&, const Pool&);
template void backward(const Backward<BFloat16>&, const Pool&);
template void backward(const Backward<BFloat16, float>&, const Pool&);

}  // namespace lstm_impl
