// Inference with weights that are rounded to int8 once, and activations that are rounded to it in
// every step: near the layer's function, in a quarter of the bytes. Sums are of 32 bits, all else is
// of floats.
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

// Why it cannot be computed so, or an empty string.
std::string int8_problem(const Layer& layer);

// Numbers of the packed weights of a layer without that problem.
std::int64_t int8_size(const Layer& layer);

void pack_int8(const Layer& layer, const Weights<float>& weights, std::int32_t* to);

// Throws std::bad_alloc where there is no memory for its scratch.
void forward(const Int8Forward& call, const Pool& pool);

// Whether int8 products use AMX tiles. Weights are then packed in the order that tiles read.
bool int8_uses_tiles();

// The instruction of its products, or in words what takes its place.
const char* int8_products();

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_INT8_H_
