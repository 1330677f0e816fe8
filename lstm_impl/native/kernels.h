// What TensorFlow's ops call: one direction of one LSTM layer over a whole sequence, and its
// gradient, on plain pointers. This header knows neither TensorFlow nor vector registers.
//
//   z_t = x_t W + h_{t-1} R + b                gates i, f, g, o
//   c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
//   h_t = sigmoid(o) tanh(c_t)
#ifndef LSTM_IMPL_NATIVE_KERNELS_H_
#define LSTM_IMPL_NATIVE_KERNELS_H_

#include <cstdint>
#include <functional>
#include <string>

namespace lstm_impl {

// Threads that may help. schedule: runs a function some time later, on one of them.
struct Pool {
  std::function<void(std::function<void()>)> schedule;
  int threads = 1;  // with the one that calls
};

// The layer, and how its sequences lie in memory.
struct Layer {
  std::int64_t timesteps, batch, inputs, units;
  bool batch_major;  // x and y are [batch, time, feature], else [time, batch, feature]
  bool reverse;      // read from the last step to the first; y stands at the step it belongs to

  // Why it cannot be computed, whatever its weights and inputs hold, or an empty string: an axis
  // past 2^31 - 1 or without a unit or input, or more to keep than 64 bits can count.
  std::string problem() const;

  // Floats that a forward pass keeps for the backward one. gates: after their nonlinearities,
  // [block of units][time][batch][gate][lane]; cells: c_t, [block][time][batch][lane]; hidden: h_t
  // [time][batch][units], where there is a mask, else y is that.
  std::int64_t gates_size() const;
  std::int64_t cells_size() const;
};

struct Weights {
  const float* kernel;            // [inputs, 4 * units]
  const float* recurrent_kernel;  // [units, 4 * units]
  const float* bias;              // [4 * units]
};

struct Forward {
  Layer layer;
  Weights weights;
  const float* x;
  const float* h0;  // [batch, units], as are all states
  const float* c0;
  const unsigned char* mask;  // [time, batch]: 0 keeps the state, and the output is zero; or null
  float* y;
  float* h_last;
  float* c_last;
  float* gates;  // what is kept, or null if nothing is
  float* cells;
  float* hidden;  // null without a mask
};

struct Backward {
  Layer layer;
  const float* recurrent_kernel;
  const float* x;
  const float* h0;
  const float* c0;
  const unsigned char* mask;
  const float* hidden;  // h_t: y if there is no mask, and as it lies
  const float* gates;   // as kept
  const float* cells;
  const float* dy;  // what flows in, of y, h_last and c_last
  const float* dh_last;
  const float* dc_last;
  float* dz;   // of the sums before the gates, laid out as `gates`, and may be it
  float* dh0;  // null if the initial state's gradients are not asked for
  float* dc0;
  float* dkernel;
  float* drecurrent_kernel;
  float* dbias;
};

struct InputGradient {
  Layer layer;
  const float* kernel;
  const float* dz;
  float* dx;
};

// All throw std::bad_alloc where there is no memory for their scratch. The layer has no problem();
// batch and timesteps may be 0.
void forward(const Forward& call, const Pool& pool);
void backward(const Backward& call, const Pool& pool);
void input_gradient(const InputGradient& call, const Pool& pool);

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_KERNELS_H_
