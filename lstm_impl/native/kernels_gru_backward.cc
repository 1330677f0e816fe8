// The gradients of a GRU.
#include "cell.h"
#include "gradients.h"
#include "gru.h"
#include "kernels.h"

namespace lstm_impl {

template <class Value, class Weight>
void backward_gru(const Backward<Value, Weight>& call, const Pool& pool) {
  if (call.layer.cell == CellKind::kGRU) {
    backward_by<GRU<true>, OfFloats>(call, pool);
  } else {
    backward_by<GRU<false>, OfFloats>(call, pool);
  }
}

// The input has the same part in both forms of the GRU.
template <class Value, class Weight>
void input_gradient_gru(const InputGradient<Value, Weight>& call, const Pool& pool) {
  InputGradients<GRU<true>, Value, Weight>(call, pool).run(pool);
}

template void backward_gru(const Backward<float>&, const Pool&);
template void backward_gru(const Backward<BFloat16>&, const Pool&);
template void backward_gru(const Backward<BFloat16, float>&, const Pool&);
template void input_gradient_gru(const InputGradient<float>&, const Pool&);
template void input_gradient_gru(const InputGradient<BFloat16>&, const Pool&);
template void input_gradient_gru(const InputGradient<BFloat16, float>&, const Pool&);

}  // namespace lstm_impl
