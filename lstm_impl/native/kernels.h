// What TensorFlow's ops call: one direction of one recurrent layer over a whole sequence, and its
// gradient, on plain pointers. This header knows neither TensorFlow nor vector registers.
//
//   z_t = x_t W + h_{t-1} R + b                gates i, f, g, o
//   c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
//   h_t = sigmoid(o) tanh(c_t)
//
// Or of a GRU layer, of gates r, z, n, which has no cell state: c0, c_last, cells and their gradients
// are null.
//
//   r, z = sigmoid(x_t W + b + h_{t-1} R + d)
//   n = tanh(x_t W + b + r (h_{t-1} R + d)), or tanh(x_t W + b + (r h_{t-1}) R) without d
//   h_t = z h_{t-1} + (1 - z) n
//
// What is read, written and kept is float or BFloat16; all sums are of floats.
#ifndef LSTM_IMPL_NATIVE_KERNELS_H_
#define LSTM_IMPL_NATIVE_KERNELS_H_

#include <cstdint>
#include <functional>
#include <string>

namespace lstm_impl {

// The upper half of a float. Reading is exact, and writing rounds to the nearest number.
struct BFloat16 {
  std::uint16_t bits;
};

// Threads that may help. schedule: runs a function some time later on one of them.
struct Pool {
  std::function<void(std::function<void()>)> schedule;
  int threads = 1;      // with the one that calls
  bool asleep = false;  // whether they sleep, and no call to come will soon want them
};

// What a layer computes in a step. kGRU resets h after the product with the recurrent kernel, and
// has a second bias d. kGRUResetBefore resets h before this product.
enum class CellKind { kLSTM, kGRU, kGRUResetBefore };

// The layer, and the order of its sequences in memory.
struct Layer {
  std::int64_t timesteps, batch, inputs, units;
  bool batch_major;  // x and y are [batch, time, feature], else [time, batch, feature]
  bool reverse;      // read from the last step to the first; y stands at the step it belongs to
  bool bfloat16_products = false;  // of a layer of float: factors may be rounded to bfloat16
  CellKind cell = CellKind::kLSTM;
  bool three_products = false;  // of a layer of float: of the parts of each number, see parts.h
  // Whether x, y and their gradients have only the rows of the steps that the mask leaves: [row,
  // feature], one time after the other, the sequences of each in order. batch_major is then ignored.
  bool only_steps = false;
  // Whether what is kept has its places [time][batch] even if steps are left out, so that the caller
  // may cut it into parts of the batch, or join such parts.
  bool keeps_places = false;
  // The first row of each time and the end of the last, [timesteps + 1], or null. Where it is given,
  // a time has the rows of the first sequences only, of as many or fewer than the time before, and
  // the rows of all times are next to each other in x, y and everything that is kept. There is no
  // mask then, and the layer reads forward. Only calls that shrinking_batch.h makes have it.
  const std::int64_t* first_rows = nullptr;

  // The rows of all times together, the first row of a time, and how many it has: one for each
  // sequence, unless first_rows says otherwise.
  std::int64_t rows() const { return first_row(timesteps); }
  std::int64_t first_row(std::int64_t t) const {
    return first_rows != nullptr ? first_rows[t] : t * batch;
  }
  std::int64_t sequences(std::int64_t t) const {
    return first_rows != nullptr ? first_rows[t + 1] - first_rows[t] : batch;
  }

  // The number of columns that a kernel has for each unit.
  std::int64_t gates() const { return cell == CellKind::kLSTM ? 4 : 3; }

  // Returns why the layer cannot be computed with any weights and inputs, or an empty string if it
  // can. Possible reasons are an axis above 2^31 - 1, no unit or no input, and more numbers to keep
  // than 64 bits can count.
  std::string problem() const;

  // How many numbers a forward pass keeps for the backward pass. gates: the gates after their
  // nonlinearities, [block of units][time][batch][sum][lane], see kept_sigmoid and cell.h. cells:
  // c_t, [block][time][batch][lane]; a GRU has none. hidden: h_t as the next step reads it,
  // [time][batch][units]; without a mask, this is y, and nothing more is kept.
  std::int64_t gates_size() const;
  std::int64_t cells_size() const;
};

template <class Value>
struct Weights {
  const Value* kernel;            // [inputs, gates * units]
  const Value* recurrent_kernel;  // [units, gates * units]
  const Value* bias;              // [gates * units]
  // Whether the kernels are [gates * units, inputs] and [gates * units, units].
  bool transposed = false;
  const Value* recurrent_bias = nullptr;  // [gates * units], of a kGRU
};

// In the three calls below, Weight is the type of the weights and their gradients, and Value is the
// type of everything else. If Value is BFloat16 and Weight is float, products may round the weights
// to bfloat16. The sums of the gradients of the weights are never rounded.
template <class Value, class Weight = Value>
struct Forward {
  Layer layer;
  Weights<Weight> weights;
  const Value* x;
  const Value* h0;  // [batch, units], as are all states
  const Value* c0;
  // [time, batch], in bits, or null. Bit 1: the step is there; otherwise the state stays and the
  // output is zero. Bit 2: before the step, in the order of reading, the state becomes zero. Bit 4:
  // before the step, the state becomes the initial state. A step has at most one of the last two
  // bits.
  const unsigned char* mask;
  Value* y;
  Value* h_last;
  Value* c_last;
  Value* gates;  // what is kept, or null if nothing is
  Value* cells;
  Value* hidden;  // null without a mask, and of a layer with only_steps
};

template <class Value, class Weight = Value>
struct Backward {
  Layer layer;
  const Weight* recurrent_kernel;
  bool transposed;  // whether this is [gates * units, units]; the gradients of the weights never are
  const Value* x;
  const Value* h0;
  const Value* c0;
  const unsigned char* mask;
  // h_t. If there is no mask, or the layer has only_steps, this is y, in the layout of y.
  const Value* hidden;
  const Value* gates;  // as the forward pass has kept them
  const Value* cells;
  const Value* dy;  // with the next two, the gradients of y, h_last and c_last
  const Value* dh_last;
  const Value* dc_last;
  // The gradients of the sums before the gates, in the layout of `gates`. This may be the memory of
  // `gates` if they are floats.
  float* dz;
  Value* dh0;  // null if the initial state's gradients are not asked for
  Value* dc0;
  Weight* dkernel;
  Weight* drecurrent_kernel;
  Weight* dbias;
  Weight* drecurrent_bias = nullptr;  // of a kGRU
};

template <class Value, class Weight = Value>
struct InputGradient {
  Layer layer;
  const Weight* kernel;
  bool transposed;  // whether this is [gates * units, inputs]
  const float* dz;
  const unsigned char* mask;  // that of the forward and the backward pass
  Value* dx;
};

// Value and Weight are both float, or both BFloat16, or BFloat16 and float. These functions throw
// std::bad_alloc if there is no memory for their scratch arrays. The layer must have no problem().
// batch and timesteps may be 0.
template <class Value, class Weight>
void forward(const Forward<Value, Weight>& call, const Pool& pool);
template <class Value, class Weight>
void backward(const Backward<Value, Weight>& call, const Pool& pool);
template <class Value, class Weight>
void input_gradient(const InputGradient<Value, Weight>& call, const Pool& pool);

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_KERNELS_H_
