// The gradient of the input.
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
void input_gradient(const InputGradient<Value, Weight>& call, const Pool& pool) {
  const Layer& layer = call.layer;
  if (layer.batch == 0 || layer.timesteps == 0) return;
  if (const auto shrinking = ShrinkingBatch::make(layer, call.mask)) {
    const auto run = [&pool](const auto& shorter) { input_gradient(shorter, pool); };
    return shrinking->input_gradient(call, pool, run);
  }
  if (call.transposed && !gradients_take_transposed<Value>(layer)) {
    const Matrix kernel(true, layer.inputs, layer.gates() * layer.units, call.kernel, pool);
    InputGradient<Value, Weight> copied = call;
    copied.kernel = kernel.read();
    copied.transposed = false;
    return input_gradient(copied, pool);
  }
  if constexpr (!kRounds<Value>) {
    if (splits_backward(layer)) return input_gradient_by_parts(call, pool);
  }
  if ((kRounds<Value> || layer.bfloat16_products) && pays_backward_in_bfloat16(layer)) {
    input_gradient_in_bfloat16(call, pool);
  } else if (layer.cell != CellKind::kLSTM) {
    input_gradient_gru(call, pool);
  } else {
    InputGradients<LSTM, Value, Weight>(call, pool).run(pool);
  }
}

template void input_gradient(const InputGradient<float>&, const Pool&);
template void input_gradient(const InputGradient<BFloat16>&, const Pool&);
template void input_gradient(const InputGradient<BFloat16, float>&, const Pool&);

}  // namespace lstm_impl
