// The forward pass in int8, with the instructions that the CPU has.
#include <algorithm>
#include <exception>

#include "bfloat16.h"
#include "cell.h"
#include "forward.h"
#include "gru.h"
#include "int8.h"
#include "int8_operands.h"
#include "int8_products.h"
#include "shrinking_batch.h"

namespace lstm_impl {

std::string int8_problem(const Layer& layer) {
  const Index most = std::max(layer.inputs, layer.units);
  if (most <= kMostRowsOfInt8) return "";
  return "a sum of " + std::to_string(most) + " products in int8 does not fit 32 bits; at most " +
         std::to_string(kMostRowsOfInt8) + " do";
}

Index int8_size(const Layer& layer) {
  Index size = 0;
  with_cell(layer, [&](auto cell) {
    size = Int8Weights<decltype(cell), std::int32_t>::size(layer);
  });
  return size;
}

void pack_int8(const Layer& layer, const Weights<float>& weights, std::int32_t* to) {
  with_cell(layer, [&](auto cell) {
    using Cell = decltype(cell);
    const Int8Weights<Cell, std::int32_t> packed(layer, to);
    packed.kernel.template pack<typename Cell::OfInput, Cell::kGates>(weights.kernel);
    packed.recurrent.template pack<typename Cell::OfRecurrentKernel, Cell::kGates>(
        weights.recurrent_kernel);
    pack_biases<Cell>(weights, layer.units, 0, unit_blocks(layer),
                      reinterpret_cast<float*>(packed.bias));
  });
}

bool int8_uses_tiles() {
#if defined(LSTM_IMPL_TILES)
  static const bool uses = [] {
    try {
      return cpu_products() == Bfloat16Products::kTiles && tiles::can_multiply_bytes();
    } catch (const std::exception&) {
      // LSTM_NATIVE_BFLOAT16 requests tiles, but this process cannot use them. A layer in bfloat16
      // raises this error. int8 does not have to, because it has other instructions.
      return false;
    }
  }();
  return uses;
#else
  return false;
#endif
}

const char* int8_products() {
  const char* name = nullptr;
  with_bytes([&](auto bytes) { name = decltype(bytes)::kName; });
  return name;
}

void forward(const Int8Forward& given, const Pool& pool) {
  if (given.layer.batch == 0) return;
  const auto run = [&](const Forward<float>& call) {
    if (call.layer.cell != CellKind::kLSTM) return forward_gru_in_int8(call, given.weights, pool);
    forward_in_int8<LSTM>(call, given.weights, pool);
  };
  const Forward<float> call{given.layer, {},           given.x,      given.h0, given.c0, given.mask,
                            given.y,     given.h_last, given.c_last, nullptr,  nullptr,  nullptr};
  if (const auto shrinking = ShrinkingBatch::make(call.layer, call.mask)) {
    return shrinking->forward(call, pool, run);
  }
  run(call);
}

}  // namespace lstm_impl
