// The forward pass of a GRU.
#include "cell.h"
#include "float_operands.h"
#include "forward.h"
#include "gru.h"
#include "kernels.h"
#include "unpacked_forward.h"

namespace lstm_impl {

template <class Value, class Weight>
bool gru_reads_transposed(const Layer& layer) {
  return layer.cell == CellKind::kGRUResetBefore ||
         UnpackedForward<GRU<true>, Value, Weight>::allows_transposed(layer);
}

template <class Value, class Weight>
void forward_gru(const Forward<Value, Weight>& call, const Pool& pool) {
  if (call.layer.cell == CellKind::kGRUResetBefore) {
    ForwardPass<GRU<false>, FloatOperands<GRU<false>, Value, Weight>>(call, pool).run(pool);
  } else if (UnpackedForward<GRU<true>, Value, Weight>::serves(call.layer)) {
    UnpackedForward<GRU<true>, Value, Weight>(call, pool).run(pool);
  } else {
    ForwardPass<GRU<true>, FloatOperands<GRU<true>, Value, Weight>>(call, pool).run(pool);
  }
}

template bool gru_reads_transposed<float, float>(const Layer&);
template bool gru_reads_transposed<BFloat16, BFloat16>(const Layer&);
template bool gru_reads_transposed<BFloat16, float>(const Layer&);
template void forward_gru(const Forward<float>&, const Pool&);
template void forward_gru(const Forward<BFloat16>&, const Pool&);
template void forward_gru(const Forward<BFloat16, float>&, const Pool&);

}  // namespace lstm_impl
