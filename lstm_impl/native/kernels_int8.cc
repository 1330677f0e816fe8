// The forward pass in int8, by what the CPU has.
#include <algorithm>
#include <exception>

#include "bfloat16.h"
#include "cell.h"
#include "forward.h"
#include "int8.h"
#include "int8_operands.h"
#include "int8_products.h"

namespace lstm_impl {

std::string int8_problem(const Layer& layer) {
  const Index most = std::max(layer.inputs, layer.units);
  if (most <= kMostRowsOfInt8) return "";
  return "a sum of " + std::to_string(most) + " products in int8 does not fit 32 bits; at most " +
         std::to_string(kMostRowsOfInt8) + " do";
}

Index int8_size(const Layer& layer) {
  return Int8Kernel<std::int32_t>::size(layer.inputs, layer.units) +
         Int8Kernel<std::int32_t>::size(layer.units, layer.units) + unit_blocks(layer) * kPanel +
         Int8Weights<std::int32_t>::kLine;
}

void pack_int8(const Layer& layer, const Weights<float>& weights, std::int32_t* to) {
  const Int8Weights<std::int32_t> packed(layer, to);
  packed.kernel.pack<LSTM::OfInput, LSTM::kGates>(weights.kernel);
  packed.recurrent.pack<LSTM::OfState<0>, LSTM::kGates>(weights.recurrent_kernel);
  pack_biases<LSTM>(weights, layer.units, 0, unit_blocks(layer),
                    reinterpret_cast<float*>(packed.bias));
}

#if defined(LSTM_IMPL_VNNI)
static bool vnni_here() {
  static const bool here = Vnni::here();
  return here;
}
#endif

bool int8_uses_tiles() {
#if defined(LSTM_IMPL_TILES)
  static const bool uses = [] {
    try {
      return cpu_products() == Bfloat16Products::kTiles && tiles::can_multiply_bytes();
    } catch (const std::exception&) {
      // LSTM_NATIVE_BFLOAT16 requests tiles that this process cannot have. A layer in bfloat16
      // raises that error; int8 has other instructions.
      return false;
    }
  }();
  return uses;
#else
  return false;
#endif
}

const char* int8_products() {
#if defined(LSTM_IMPL_TILES)
  if (int8_uses_tiles()) return BytesByTiles::kName;
#endif
#if defined(LSTM_IMPL_VNNI)
  if (vnni_here()) return Vnni::kName;
#endif
  return WithoutVnni::kName;
}

template <class Bytes>
static void forward_by(const Int8Forward& given, const Pool& pool) {
  const Forward<float> call{given.layer, {},      given.x,      given.h0,     given.c0, given.mask,
                            given.y,     given.h_last, given.c_last, nullptr, nullptr,  nullptr};
  ForwardPass<LSTM, Int8Operands<LSTM, Bytes>>(call, pool, given.weights).run(pool);
}

void forward(const Int8Forward& call, const Pool& pool) {
  if (call.layer.batch == 0) return;
#if defined(LSTM_IMPL_TILES)
  if (int8_uses_tiles()) {
    forward_by<BytesByTiles>(call, pool);
    return;
  }
#endif
#if defined(LSTM_IMPL_VNNI)
  if (vnni_here()) {
    forward_by<Vnni>(call, pool);
    return;
  }
#endif
  forward_by<WithoutVnni>(call, pool);
}

}  // namespace lstm_impl
