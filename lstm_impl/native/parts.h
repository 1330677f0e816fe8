// Kernels that multiply floats in bfloat16 parts by tiles (AMX): see part_products.h.
#ifndef LSTM_IMPL_NATIVE_PARTS_H_
#define LSTM_IMPL_NATIVE_PARTS_H_

#include <cstdint>
#include <string>

#include "kernels.h"

namespace lstm_impl {

// Returns into how many parts the kernels split each float of a layer: three for six products, two
// for three products if the layer allows these, or none if they multiply the floats themselves. The
// environment variable LSTM_NATIVE_FLOAT32 requests "tiles" or "units" (the CPU's float units) for
// layers of all sizes. Without the variable, a layer that allows three products gets them if the
// CPU has tiles that this process can use and the layer is large enough, and no layer gets six
// products. Throws std::runtime_error for another value, or if tiles are requested and this process
// cannot use them. The choice is made once.
int parts_of_floats(const Layer& layer);

// Returns the instruction of a float layer's forward pass and what it multiplies, or "float32". The
// reason for float32 is added for a layer that allows three products, on a CPU with tiles, and if
// the variable is set.
std::string describe_float_products(const Layer& layer);

// For layers with parts_of_floats().
void forward_by_parts(const Forward<float>& call, const Pool& pool);

// Returns whether the gradients of a layer are computed in parts. As in bfloat16, this requires
// enough rows to nearly fill what the gradients of the weights take at once.
inline bool splits_backward(const Layer& layer) {
  constexpr std::int64_t kFewestRows = 128;
  return layer.rows() >= kFewestRows && parts_of_floats(layer) > 0;
}

// For calls that have steps and sequences, and layers with splits_backward().
void backward_by_parts(const Backward<float>& call, const Pool& pool);
void input_gradient_by_parts(const InputGradient<float>& call, const Pool& pool);

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_PARTS_H_
