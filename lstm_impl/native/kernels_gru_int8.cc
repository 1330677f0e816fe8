// The forward pass of a GRU in int8.
#include "cell.h"
#include "gru.h"
#include "int8.h"
#include "int8_operands.h"

namespace lstm_impl {

void forward_gru_in_int8(const Forward<float>& call, const std::int32_t* weights, const Pool& pool) {
  if (call.layer.cell == CellKind::kGRU) {
    forward_in_int8<GRU<true>>(call, weights, pool);
  } else {
    forward_in_int8<GRU<false>>(call, weights, pool);
  }
}

}  // namespace lstm_impl
