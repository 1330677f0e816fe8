// The kernels of a GRU, in both forms.
#ifndef LSTM_IMPL_NATIVE_GRU_H_
#define LSTM_IMPL_NATIVE_GRU_H_

#include <cstdint>

#include "kernels.h"

namespace lstm_impl {

// These functions do for a GRU with products of floats what forward(), backward() and
// input_gradient() of kernels.h do in general. The call must have sequences. Calls for gradients must
// also have steps. A forward pass takes transposed kernels if gru_reads_transposed() says so.
template <class Value, class Weight>
void forward_gru(const Forward<Value, Weight>& call, const Pool& pool);
template <class Value, class Weight>
bool gru_reads_transposed(const Layer& layer);
template <class Value, class Weight>
void backward_gru(const Backward<Value, Weight>& call, const Pool& pool);
template <class Value, class Weight>
void input_gradient_gru(const InputGradient<Value, Weight>& call, const Pool& pool);

// The same with products of bfloat16. These functions do for a GRU what those of bfloat16.h do in
// general.
template <class Value, class Weight>
void forward_gru_in_bfloat16(const Forward<Value, Weight>& call, const Pool& pool);
template <class Value, class Weight>
void backward_gru_in_bfloat16(const Backward<Value, Weight>& call, const Pool& pool);
template <class Value, class Weight>
void input_gradient_gru_in_bfloat16(const InputGradient<Value, Weight>& call, const Pool& pool);

// The same in int8, with packed weights.
void forward_gru_in_int8(const Forward<float>& call, const std::int32_t* weights, const Pool& pool);

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_GRU_H_
