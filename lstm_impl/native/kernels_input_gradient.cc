// The gradient of the input.
#include "gradients.h"
#include "kernels.h"

namespace lstm_impl {

template <class Value>
void input_gradient(const InputGradient<Value>& call, const Pool& pool) {
  if (call.layer.batch > 0 && call.layer.timesteps > 0) {
    InputGradients<Value>(call, pool).run(pool);
  }
}

template void input_gradient(const InputGradient<float>&, const Pool&);
template void input_gradient(const InputGradient<BFloat16>&, const Pool&);

}  // namespace lstm_impl
