// The kernels with products of bfloat16, chosen once by what the CPU has: widened to floats, or
// pairs by vdpbf16ps. Products by tiles (AMX) would be one more class beside Widened and Dots.
#include "bfloat16.h"

#include "bfloat16_forward.h"
#include "bfloat16_products.h"

namespace lstm_impl {

bool pays_in_bfloat16(const Layer& layer) {
  // Of few rows each weight is read a few times only, which pairs are not worth making for.
  constexpr std::int64_t kFewReads = 20;
  if (layer.timesteps * layer.batch <= kFewReads) return false;
  if (products_of_this_cpu() == Bfloat16Products::kDots) return true;
  // Widened multiplies no faster than products of floats, and reads half the bytes: of one sequence,
  // with more weights than a processor reads from its nearest caches, that is what takes the time.
  constexpr std::int64_t kManyWeights = 1 << 18;
  return layer.batch == 1 && kGates * layer.units * (layer.inputs + layer.units) > kManyWeights;
}

const char* bfloat16_products() {
  return products_of_this_cpu() == Bfloat16Products::kDots ? "vdpbf16ps" : "bfloat16 as float32";
}

template <class Value>
void forward_in_bfloat16(const Forward<Value>& call, const Pool& pool) {
#if defined(LSTM_IMPL_DOTS)
  if (products_of_this_cpu() == Bfloat16Products::kDots) {
    Bfloat16Forward<Value, Dots>(call, pool).run(pool);
    return;
  }
#endif
  Bfloat16Forward<Value, Widened>(call, pool).run(pool);
}

template void forward_in_bfloat16(const Forward<float>&, const Pool&);
template void forward_in_bfloat16(const Forward<BFloat16>&, const Pool&);

}  // namespace lstm_impl
