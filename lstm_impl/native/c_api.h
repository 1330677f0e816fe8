// liblstm: the kernels behind a C interface that needs no framework. NumPy and PyTorch call it
// through ctypes, and the bindings of TensorFlow and JAX link to it, so that all of them share one
// copy of the library in a process.
//
// Functions return LSTM_OK or another code. lstm_error() then has the reason; it belongs to the
// calling thread. Many threads may call the functions at once, and a process may call them after a
// fork. Pointers are to float, or to bfloat16 where the layer says so. The exceptions are `mask`
// (bytes) and `dz` (float).
#ifndef LSTM_IMPL_NATIVE_C_API_H_
#define LSTM_IMPL_NATIVE_C_API_H_

#include <cstdint>

// The version of this interface. A library with another version has other functions or structures,
// and another name (liblstm.so.6).
#define LSTM_VERSION 6

extern "C" {

enum LstmCode : std::int32_t {
  LSTM_OK = 0,
  LSTM_INVALID = 1,    // a layer that cannot be computed
  LSTM_NO_MEMORY = 2,  // for scratch
  LSTM_FAILED = 3,     // anything else
};

// The types of numbers and of the factors of products.
//   LSTM_FLOAT: everything is float.
//   LSTM_BFLOAT16: everything is bfloat16, but dz, which is always float.
//   LSTM_FLOAT_BY_BFLOAT16: numbers are float, and factors may be rounded to bfloat16 where that is
//     faster.
//   LSTM_INT8: numbers are float, and factors are rounded to int8. Only lstm_forward() takes it,
//     if it keeps nothing, with weights from lstm_pack().
//   LSTM_MIXED_BFLOAT16: weights and their gradients are float, everything else is bfloat16.
//     Products round the weights to bfloat16 where that is faster.
//   LSTM_FLOAT_BY_THREE_PRODUCTS: everything is float. A product may be the sum of three products of
//     bfloat16 parts of its factors, whose error is up to a 2^15th of it, where that is faster.
enum LstmType : std::int32_t {
  LSTM_FLOAT = 0,
  LSTM_BFLOAT16 = 1,
  LSTM_FLOAT_BY_BFLOAT16 = 2,
  LSTM_INT8 = 3,
  LSTM_MIXED_BFLOAT16 = 4,
  LSTM_FLOAT_BY_THREE_PRODUCTS = 5,
};

// What a layer computes in a step; kernels.h has the equations. A GRU has no cell state: the
// pointers to c, to the kept c and to its gradients are null. The gates of a GRU are r, z, n.
//   LSTM_GRU: the reset gate acts after the product with the recurrent kernel, which has a bias of
//   its own, as in PyTorch, in cuDNN and by default in Keras.
//   LSTM_GRU_RESET_BEFORE: the reset gate acts on h before that product.
enum LstmCell : std::int32_t {
  LSTM_LSTM = 0,
  LSTM_GRU = 1,
  LSTM_GRU_RESET_BEFORE = 2,
};

// The bits of a mask's bytes, [time, batch], one byte for each step of each sequence. A null mask
// stands for LSTM_STEP at every step.
//   LSTM_STEP: the step is there. Where it is left out, the state stays and the output is zero.
//   LSTM_FROM_ZEROS: the state becomes zero before the step, in the order in which the layer reads.
//   LSTM_FROM_INITIAL: it becomes h0 and c0. A byte has at most one of these two bits.
// No gradient flows past a step that starts over; LSTM_FROM_INITIAL adds it to those of h0 and c0. A
// backward pass and the input's gradient need the mask of their forward pass.
//
// Steps that are left out take no time: the library computes the others alone, in batches that shrink
// as sequences end, and keeps numbers in that order. It computes the steps that are left out, too,
// where sequences start over, and where fewer than an eighth of the steps is left out.
enum LstmStep : std::uint8_t {
  LSTM_STEP = 1,
  LSTM_FROM_ZEROS = 2,
  LSTM_FROM_INITIAL = 4,
};

struct LstmLayer {
  std::int64_t timesteps, batch, inputs, units;
  std::int32_t batch_major, reverse;
  std::int32_t type;  // an LstmType
  std::int32_t threads;  // of the library's own, at most so many with the one that calls; 0 for one
                         // on each CPU that the process may use
  // Whether the caller has the kernel and the recurrent kernel, and wants their gradients, as
  // [gates * units, inputs] and [gates * units, units]. The results have the same bits. Most calls
  // bring the kernels into another order in any case, from either of the two. Calls of few rows copy
  // transposed kernels first, or transpose them in registers, and gradients of kernels are copied.
  // LSTM_INT8 does not take such a layer.
  std::int32_t transposed;
  std::int32_t cell;  // an LstmCell
  // Whether x, y and their gradients have only the rows of the steps that are there, [row, feature],
  // one time after the other, and the sequences of a time in their order, as a PackedSequence of
  // PyTorch has them. The mask says which steps are there, and no sequence starts over. The pointers
  // to what is kept of h are null, and a backward pass takes y in its place. batch_major is ignored.
  std::int32_t only_steps;
  // Whether a step that is left out has a place in what is kept and in dz, [time][batch], for a caller
  // that cuts them into parts of a batch, or joins such parts. The library then copies what it keeps
  // to these places, and the input's gradient can do without the mask, but computes the steps that are
  // left out then. Not with only_steps.
  std::int32_t keeps_places;
};

// Threads of the caller, to be used in place of the library's own. schedule: runs work(argument)
// once, some time later, on one of these threads. A call returns without waiting for threads that
// have not started.
struct LstmThreads {
  void (*schedule)(void* pool, void (*work)(void* argument), void* argument);
  void* pool;
  std::int32_t count;  // with the one that calls
};

std::int32_t lstm_version();
const char* lstm_error();
// Returns the number of floats in a register of this library's CPU. Kept gates and cells are in
// blocks of this many units.
std::int64_t lstm_lanes();
// Checks whether a layer of these sizes can be computed at all.
LstmCode lstm_check(const LstmLayer* layer);
// Returns how many numbers a forward pass keeps for the backward pass, or 0 for a layer that cannot
// be computed.
std::int64_t lstm_gates_size(const LstmLayer* layer);
std::int64_t lstm_cells_size(const LstmLayer* layer);
// Weights for int8. lstm_packed_size() returns the bytes of the packed weights, or 0 for a layer
// that cannot be computed. lstm_pack() takes the kernel, the recurrent kernel and the bias in
// float, the memory for the packed weights, which must stay where it is, and the recurrent bias of
// an LSTM_GRU. lstm_forward() takes the packed weights in place of the kernel, and null for the
// other weights.
std::int64_t lstm_packed_size(const LstmLayer* layer);
LstmCode lstm_pack(const LstmLayer* layer, void* const* pointers);
// Returns how a forward pass of the layer multiplies on this CPU and why it does not use other
// instructions, or why the layer cannot be computed. The text is valid until this thread calls the
// function again.
const char* lstm_products(const LstmLayer* layer);
// The pointers are in the order of Forward, Backward and InputGradient in kernels.h. A null pointer
// stands for an array that is left out. LSTM_GRU takes one more pointer, the last one: for
// lstm_forward() the recurrent bias, for lstm_backward() its gradient. threads: null for the
// library's own threads. A call of a few steps always uses these.
LstmCode lstm_forward(const LstmLayer* layer, const LstmThreads* threads, void* const* pointers);
LstmCode lstm_backward(const LstmLayer* layer, const LstmThreads* threads, void* const* pointers);
LstmCode lstm_input_gradient(const LstmLayer* layer, const LstmThreads* threads,
                             void* const* pointers);
// Writes the transpose [columns, rows] of a matrix [rows, columns], for a caller that has weights as
// [gates * units, inputs] and keeps a copy for several calls. type: LSTM_FLOAT or LSTM_BFLOAT16. No number changes, also not its
// sign of zero or the bits of a NaN. threads: as in LstmLayer; small matrices take one. The two
// matrices must not overlap. Refuses other types, and sizes below 0 or above 2^31 - 1. A matrix
// without numbers is right: no pointer is then read.
LstmCode lstm_transpose(std::int64_t rows, std::int64_t columns, std::int32_t type,
                        std::int32_t threads, const void* from, void* to);

}  // extern "C"

#endif  // LSTM_IMPL_NATIVE_C_API_H_
