// The backward pass with products of bfloat16, by vdpbf16ps, bfdot or tiles.
#include "bfloat16.h"
#include "bfloat16_products.h"
#include "cell.h"
#include "gradients.h"
#include "gru.h"

namespace lstm_impl {

template <class Value, class Weight>
void backward_in_bfloat16(const Backward<Value, Weight>& call, const Pool& pool) {
  if (call.layer.cell != CellKind::kLSTM) return backward_gru_in_bfloat16(call, pool);
  with_instructions(call.layer, [&](auto products) {
    backward_by<LSTM, decltype(products)>(call, pool);
  });
}

template <class Value, class Weight>
void input_gradient_in_bfloat16(const InputGradient<Value, Weight>& call, const Pool& pool) {
  if (call.layer.cell != CellKind::kLSTM) return input_gradient_gru_in_bfloat16(call, pool);
  with_instructions(call.layer, [&](auto products) {
    RoundedInputGradients<LSTM, Value, Weight, decltype(products)>(call, pool).run(pool);
  });
}

template void backward_in_bfloat16(const Backward<float>&, const Pool&);
template void backward_in_bfloat16(const Backward<BFloat16>&, const Pool&);
template void backward_in_bfloat16(const Backward<BFloat16, float>&, const Pool&);
template void input_gradient_in_bfloat16(const InputGradient<float>&, const Pool&);
template void input_gradient_in_bfloat16(const InputGradient<BFloat16>&, const Pool&);
template void input_gradient_in_bfloat16(const InputGradient<BFloat16, float>&, const Pool&);

}  // namespace lstm_impl
