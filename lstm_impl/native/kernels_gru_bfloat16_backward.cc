// The gradients of a GRU with products of bfloat16, by vdpbf16ps, bfdot or tiles.
#include "bfloat16_products.h"
#include "cell.h"
#include "gradients.h"
#include "gru.h"

namespace lstm_impl {

template <class Value, class Weight>
void backward_gru_in_bfloat16(const Backward<Value, Weight>& call, const Pool& pool) {
  with_instructions(call.layer, [&](auto products) {
    using Products = decltype(products);
    if (call.layer.cell == CellKind::kGRU) {
      backward_by<GRU<true>, Products>(call, pool);
    } else {
      backward_by<GRU<false>, Products>(call, pool);
    }
  });
}

// The input has the same part in both forms of the GRU.
template <class Value, class Weight>
void input_gradient_gru_in_bfloat16(const InputGradient<Value, Weight>& call, const Pool& pool) {
  with_instructions(call.layer, [&](auto products) {
    RoundedInputGradients<GRU<true>, Value, Weight, decltype(products)>(call, pool).run(pool);
  });
}

template void backward_gru_in_bfloat16(const Backward<float>&, const Pool&);
template void backward_gru_in_bfloat16(const Backward<BFloat16>&, const Pool&);
template void backward_gru_in_bfloat16(const Backward<BFloat16, float>&, const Pool&);
template void input_gradient_gru_in_bfloat16(const InputGradient<float>&, const Pool&);
template void input_gradient_gru_in_bfloat16(const InputGradient<BFloat16>&, const Pool&);
template void input_gradient_gru_in_bfloat16(const InputGradient<BFloat16, float>&, const Pool&);

}  // namespace lstm_impl
