// The kernels behind a C interface that needs no framework: NumPy and PyTorch call it by ctypes.
//
// Functions return 0, or 1 with the reason in lstm_error(), which is of the calling thread. Pointers
// are to float, or to bfloat16 where the layer says so, but for `mask` (bytes) and `dz` (float).
#ifndef LSTM_IMPL_NATIVE_C_API_H_
#define LSTM_IMPL_NATIVE_C_API_H_

#include <cstdint>

extern "C" {

struct LstmLayer {
  std::int64_t timesteps, batch, inputs, units;
  std::int32_t batch_major, reverse, bfloat16;
  std::int32_t threads;  // at most so many; 0 for one on each CPU that the process may use
};

// Of this interface: a library with another number has other functions or structures.
std::int32_t lstm_version();
const char* lstm_error();
// Numbers that a forward pass keeps for the backward one.
std::int64_t lstm_gates_size(const LstmLayer* layer);
std::int64_t lstm_cells_size(const LstmLayer* layer);
// The order of pointers is that of Forward, Backward and InputGradient in kernels.h.
std::int32_t lstm_forward(const LstmLayer* layer, void* const* pointers);
std::int32_t lstm_backward(const LstmLayer* layer, void* const* pointers);
std::int32_t lstm_input_gradient(const LstmLayer* layer, void* const* pointers);

}  // extern "C"

#endif  // LSTM_IMPL_NATIVE_C_API_H_
