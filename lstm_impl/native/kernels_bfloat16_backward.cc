// The backward pass with products of bfloat16, by vdpbf16ps, bfdot or tiles.
#include "bfloat16.h"
#include "bfloat16_products.h"
#include "cell.h"
#include "gradients.h"

namespace lstm_impl {

template <class Value, class Weight>
void backward_in_bfloat16(const Backward<Value, Weight>& call, const Pool& pool) {
#if defined(LSTM_IMPL_TILES)
  if (layer_products(call.layer) == Bfloat16Products::kTiles) {
    backward_by<LSTM, DotsByTiles>(call, pool);
    return;
  }
#endif
#if defined(LSTM_IMPL_DOTS)
  backward_by<LSTM, Dots>(call, pool);
#endif
}

template <class Value, class Weight>
void input_gradient_in_bfloat16(const InputGradient<Value, Weight>& call, const Pool& pool) {
#if defined(LSTM_IMPL_TILES)
  if (layer_products(call.layer) == Bfloat16Products::kTiles) {
    RoundedInputGradients<LSTM, Value, Weight, DotsByTiles>(call, pool).run(pool);
    return;
  }
#endif
#if defined(LSTM_IMPL_DOTS)
  RoundedInputGradients<LSTM, Value, Weight, Dots>(call, pool).run(pool);
#endif
}

template void backward_in_bfloat16(const Backward<float>&, const Pool&);
template void backward_in_bfloat16(const Backward<BFloat16>&, const Pool&);
template void backward_in_bfloat16(const Backward<BFloat16, float>&, const Pool&);
template void input_gradient_in_bfloat16(const InputGradient<float>&, const Pool&);
template void input_gradient_in_bfloat16(const InputGradient<BFloat16>&, const Pool&);
template void input_gradient_in_bfloat16(const InputGradient<BFloat16, float>&, const Pool&);

}  // namespace lstm_impl
