// Kernels with products of bfloat16, of numbers that are kept in it or, where a layer of float
// allows it, are rounded to it first. Sums and cell states are of floats.
#ifndef LSTM_IMPL_NATIVE_BFLOAT16_H_
#define LSTM_IMPL_NATIVE_BFLOAT16_H_

#include <string>

#include "kernels.h"

namespace lstm_impl {

// How they are computed: see bfloat16_products.h.
enum class Bfloat16Products { kWidened, kDots, kTiles };

// Why this process cannot multiply by tiles, or null if it can: whether the CPU has them, the system
// grants them, and a self-test gives the right products. Found out once.
const char* tiles_problem();

// Whether this CPU has tiles, and they are not an emulation.
bool cpu_has_fast_tiles();

// Why a layer is too small to be faster by tiles, or null.
const char* tile_size_problem(const Layer& layer);

// Whether a forward pass reads each weight a few times only, so that it is not worth packing.
inline bool has_few_reads(const Layer& layer) {
  constexpr std::int64_t kMostRows = 20;
  return layer.timesteps * layer.batch <= kMostRows;
}
constexpr const char* kFewReads = "too few rows to pack the weights for";

// The fastest on this CPU, as far as measured: tiles if this process can have them and they pass a
// self-test, else dots on AMD's CPUs with AVX512-BF16, else widened. The environment variable
// LSTM_NATIVE_BFLOAT16 requests "widened", "dots" or "tiles" for layers of all sizes; dots are
// still computed only where the CPU has the instruction. Throws std::runtime_error for another value,
// or if tiles are requested and this process cannot have them. The choice is made once.
Bfloat16Products cpu_products();

// The products of a layer: widened where it is too small for the CPU's, unless those are requested.
Bfloat16Products layer_products(const Layer& layer);

// Whether forward_in_bfloat16() is faster here than products of floats.
bool pays_in_bfloat16(const Layer& layer);

// The instruction of the CPU's products, or in words what takes its place.
const char* products_name();

// The instruction of a layer's forward pass, or "float32" with the reason, and why tiles are not
// used on a CPU that has them.
std::string describe_products(const Layer& layer);

template <class Value, class Weight>
void forward_in_bfloat16(const Forward<Value, Weight>& call, const Pool& pool);

// Whether backward_in_bfloat16() is faster here than products of floats: by other instructions only,
// and of rows that nearly fill what the weights' gradients are computed of at once.
inline bool pays_backward_in_bfloat16(const Layer& layer) {
  constexpr std::int64_t kFewestRows = 128;
  return layer.timesteps * layer.batch >= kFewestRows &&
         layer_products(layer) != Bfloat16Products::kWidened;
}

// Of calls that have steps and sequences.
template <class Value, class Weight>
void backward_in_bfloat16(const Backward<Value, Weight>& call, const Pool& pool);
template <class Value, class Weight>
void input_gradient_in_bfloat16(const InputGradient<Value, Weight>& call, const Pool& pool);

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_BFLOAT16_H_
