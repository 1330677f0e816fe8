// Kernels with products of bfloat16, of numbers that are kept in it or, where a layer of float
// allows it, are rounded to it first. Sums and cell states are of floats.
#ifndef LSTM_IMPL_NATIVE_BFLOAT16_H_
#define LSTM_IMPL_NATIVE_BFLOAT16_H_

#include "kernels.h"

namespace lstm_impl {

// Whether forward_in_bfloat16() is faster here than products of floats.
bool pays_in_bfloat16(const Layer& layer);

// The instruction of its products, or in words what takes its place.
const char* bfloat16_products();

template <class Value>
void forward_in_bfloat16(const Forward<Value>& call, const Pool& pool);

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_BFLOAT16_H_
