// The kernels of a GRU, in both forms. Products are of floats; numbers may be kept in bfloat16.
#ifndef LSTM_IMPL_NATIVE_GRU_H_
#define LSTM_IMPL_NATIVE_GRU_H_

#include "kernels.h"

namespace lstm_impl {

// What forward(), reads_transposed(), backward() and input_gradient() of kernels.h do with a GRU.
// The call has sequences; those of the gradients have steps, too.
template <class Value, class Weight>
void forward_gru(const Forward<Value, Weight>& call, const Pool& pool);
template <class Value, class Weight>
bool gru_reads_transposed(const Layer& layer);
template <class Value, class Weight>
void backward_gru(const Backward<Value, Weight>& call, const Pool& pool);
template <class Value, class Weight>
void input_gradient_gru(const InputGradient<Value, Weight>& call, const Pool& pool);

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_GRU_H_
