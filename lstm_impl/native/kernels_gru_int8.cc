// The forward pass of a GRU in int8.
#include "cell.h"
#include "gru.h"
#include "int8.h"
#include "int8_operands.h"

namespace lstm_impl {

void forward_gru(const Int8Forward& call, const Pool& pool) {
  if (call.layer.cell == CellKind::kGRU) {
    forward_in_int8<GRU<true>>(call, pool);
  } else {
    forward_in_int8<GRU<false>>(call, pool);
  }
}

}  // namespace lstm_impl
