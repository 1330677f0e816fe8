// Inference with weights that are rounded to int8 once, and activations that are rounded to int8 in
// every step. The results are close to those of the layer, and the weights take a quarter of the
// bytes. Sums have 32 bits, and everything else is float.
#ifndef LSTM_IMPL_NATIVE_INT8_H_
#define LSTM_IMPL_NATIVE_INT8_H_

#include <cstdint>
#include <string>

#include "kernels.h"

namespace lstm_impl {

struct Int8Forward {
  Layer layer;
  const std::int32_t* weights;  // as pack_int8() made them
  const float* x;
  const float* h0;  // [batch, units], as are all states
  const float* c0;
  const unsigned char* mask;  // as in Forward
  float* y;
  float* h_last;
  float* c_last;
};

// Returns why a layer cannot be computed in int8, or an empty string if it can.
std::string int8_problem(const Layer& layer);

// Returns how many numbers the packed weights of a layer have. The layer must have no
// int8_problem().
std::int64_t int8_size(const Layer& layer);

void pack_int8(const Layer& layer, const Weights<float>& weights, std::int32_t* to);

// Throws std::bad_alloc if there is no memory for the scratch arrays.
void forward(const Int8Forward& call, const Pool& pool);

// Returns whether int8 products use AMX tiles. If so, weights are packed in the order that tiles
// read.
bool int8_uses_tiles();

// Returns the instruction that multiplies int8, or a description of what replaces it.
const char* int8_products();

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_INT8_H_
