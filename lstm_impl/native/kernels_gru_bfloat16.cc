// The forward pass of a GRU with products of bfloat16.
#include "bfloat16_operands.h"
#include "bfloat16_products.h"
#include "cell.h"
#include "forward.h"
#include "gru.h"

namespace lstm_impl {

template <class Cell, class Value, class Weight>
static void forward_by(const Forward<Value, Weight>& call, const Pool& pool) {
  with_products(call.layer, [&](auto products) {
    using Operands = Bfloat16Operands<Cell, Value, Weight, decltype(products)>;
    ForwardPass<Cell, Operands>(call, pool).run(pool);
  });
}

template <class Value, class Weight>
void forward_gru_in_bfloat16(const Forward<Value, Weight>& call, const Pool& pool) {
  if (call.layer.cell == CellKind::kGRU) {
    forward_by<GRU<true>>(call, pool);
  } else {
    forward_by<GRU<false>>(call, pool);
  }
}

template void forward_gru_in_bfloat16(const Forward<float>&, const Pool&);
template void forward_gru_in_bfloat16(const Forward<BFloat16>&, const Pool&);
template void forward_gru_in_bfloat16(const Forward<BFloat16, float>&, const Pool&);

}  // namespace lstm_impl
