// Kernels with products of bfloat16, of numbers that are kept in it or, where a layer of float
// allows it, are rounded to it first. Sums and cell states are of floats.
#ifndef LSTM_IMPL_NATIVE_BFLOAT16_H_
#define LSTM_IMPL_NATIVE_BFLOAT16_H_

#include "kernels.h"

namespace lstm_impl {

// How they are computed: see bfloat16_products.h.
enum class Bfloat16Products { kWidened, kDots, kTiles };

// The fastest on this CPU, as far as measured: tiles where there are some, dots on AMD's with
// AVX512-BF16, else widened. The
// environment variable LSTM_NATIVE_BFLOAT16, "widened", "dots" or "tiles", says otherwise. Dots are
// computed only where the CPU can. Throws std::runtime_error where tiles are asked for and are not
// to be had, or multiply wrongly. Asked once.
Bfloat16Products products_of_this_cpu();

// Those of a layer: widened where it is too small for tiles, unless they are asked for.
Bfloat16Products products_of(const Layer& layer);

// Whether forward_in_bfloat16() is faster here than products of floats.
bool pays_in_bfloat16(const Layer& layer);

// The instruction of its products, or in words what takes its place.
const char* bfloat16_products();

template <class Value, class Weight>
void forward_in_bfloat16(const Forward<Value, Weight>& call, const Pool& pool);

// Whether backward_in_bfloat16() is faster here than products of floats: by other instructions only,
// and of rows that nearly fill what the weights' gradients are computed of at once.
inline bool pays_backward_in_bfloat16(const Layer& layer) {
  constexpr std::int64_t kFewestRows = 128;
  return layer.timesteps * layer.batch >= kFewestRows &&
         products_of(layer) != Bfloat16Products::kWidened;
}

// Of calls that have steps and sequences.
template <class Value>
void backward_in_bfloat16(const Backward<Value>& call, const Pool& pool);
template <class Value>
void input_gradient_in_bfloat16(const InputGradient<Value>& call, const Pool& pool);

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_BFLOAT16_H_
