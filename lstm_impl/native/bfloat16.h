// Kernels that multiply in bfloat16. Their numbers are stored in bfloat16, or are floats that a
// layer allows to be rounded to bfloat16 before they are multiplied. Sums and cell states are
// floats.
#ifndef LSTM_IMPL_NATIVE_BFLOAT16_H_
#define LSTM_IMPL_NATIVE_BFLOAT16_H_

#include <string>

#include "kernels.h"

namespace lstm_impl {

// How the products are computed; bfloat16_products.h explains the three ways.
enum class Bfloat16Products { kWidened, kDots, kTiles };

// Returns why this process cannot multiply by tiles, or null if it can. The CPU must have tiles,
// the system must grant them, and a self-test must give the right products. The answer is found
// once and then kept.
const char* tiles_problem();

// Returns whether this CPU has tiles that are not an emulation.
bool cpu_has_fast_tiles();

// Returns why a layer is too small to be faster with tiles, or null if it is not.
const char* tile_size_problem(const Layer& layer);

// Returns whether a forward pass reads each weight only a few times. Then it is not worth packing
// the weights.
inline bool has_few_reads(const Layer& layer) {
  constexpr std::int64_t kMostRows = 20;
  return layer.rows() <= kMostRows;
}
constexpr const char* kFewReads = "too few rows to pack the weights for";

// Returns the products that are fastest on this CPU, as far as we measured: tiles if this process
// can use them and they pass a self-test, else dots on AMD's CPUs with AVX512-BF16, else widened.
// The environment variable LSTM_NATIVE_BFLOAT16 requests "widened", "dots" or "tiles" for layers of
// all sizes; dots are still computed only where the CPU has the instruction. Throws
// std::runtime_error for another value, or if tiles are requested and this process cannot use them.
// The choice is made once.
Bfloat16Products cpu_products();

// Returns the products of a layer. Where the layer is too small for the products of the CPU, these
// are widened, unless the user requested others.
Bfloat16Products layer_products(const Layer& layer);

// Returns whether forward_in_bfloat16() is faster on this CPU than products of floats.
bool pays_in_bfloat16(const Layer& layer);

// Returns the name of the instruction that computes the products on this CPU, or a description of
// what replaces it.
const char* products_name();

// Returns the instruction of a layer's forward pass, or "float32" with the reason. On a CPU that
// has tiles, the text also says why they are not used.
std::string describe_products(const Layer& layer);

template <class Value, class Weight>
void forward_in_bfloat16(const Forward<Value, Weight>& call, const Pool& pool);

// Returns whether backward_in_bfloat16() is faster on this CPU than products of floats. This
// requires instructions other than widened ones, and enough rows to nearly fill what the gradients
// of the weights take at once.
inline bool pays_backward_in_bfloat16(const Layer& layer) {
  constexpr std::int64_t kFewestRows = 128;
  return layer.rows() >= kFewestRows &&
         layer_products(layer) != Bfloat16Products::kWidened;
}

// The call must have steps and sequences.
template <class Value, class Weight>
void backward_in_bfloat16(const Backward<Value, Weight>& call, const Pool& pool);
template <class Value, class Weight>
void input_gradient_in_bfloat16(const InputGradient<Value, Weight>& call, const Pool& pool);

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_BFLOAT16_H_
