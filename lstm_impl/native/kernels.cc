// Layers and their forward pass. This file, like all of liblstm, is compiled for the CPU that runs
// it, and separately from the headers of the frameworks: inline functions of these headers must not
// be compiled for another CPU than the frameworks' own copies. Each pass has a file of its own, so
// that a compiler can compile them at the same time.
#include "kernels.h"

#include <algorithm>
#include <limits>
#include <string>

#include "bfloat16.h"
#include "cell.h"
#include "float_operands.h"
#include "forward.h"
#include "gru.h"
#include "parts.h"
#include "plan.h"
#include "shrinking_batch.h"
#include "transpose.h"
#include "unpacked_forward.h"
#include "vector.h"

namespace lstm_impl {

std::string Layer::problem() const {
  constexpr Index kMost = std::numeric_limits<std::int32_t>::max();
  for (const Index size : {timesteps, batch, inputs, units}) {
    if (size > kMost) {
      return "an axis of " + std::to_string(size) + " is longer than " + std::to_string(kMost);
    }
  }
  if (inputs < 1 || units < 1) {
    return "a layer of " + std::to_string(inputs) + " inputs and " + std::to_string(units) +
           " units has nothing to compute";
  }
  // The sizes are computed in floating point, which shows what does not fit. They are padded, with
  // some room for scratch memory.
  const double width = static_cast<double>(std::max(units, inputs)) + kLanes;
  const double rows = static_cast<double>(timesteps) * static_cast<double>(batch);
  if (16 * width * std::max(rows, width) * sizeof(float) > 9e18) {
    return std::to_string(timesteps) + " timesteps of " + std::to_string(batch) +
           " sequences with " + std::to_string(units) + " units need more memory than there can be";
  }
  return "";
}

Index Layer::gates_size() const { return unit_blocks(*this) * timesteps * batch * kPanel; }

Index Layer::cells_size() const {
  if (cell != CellKind::kLSTM) return 0;
  return unit_blocks(*this) * timesteps * batch * kLanes;
}

template <class Value>
static bool multiplies_bfloat16(const Layer& layer) {
  return (kRounds<Value> || layer.bfloat16_products) && pays_in_bfloat16(layer);
}

// Returns whether a layer's floats are multiplied in parts.
template <class Value>
static bool multiplies_parts(const Layer& layer) {
  return !kRounds<Value> && parts_of_floats(layer) > 0;
}

// Returns whether the pass that serves a layer takes transposed kernels.
template <class Value, class Weight>
static bool reads_transposed(const Layer& layer) {
  if (multiplies_bfloat16<Value>(layer)) return true;
  if (multiplies_parts<Value>(layer)) return false;
  if (layer.cell != CellKind::kLSTM) return gru_reads_transposed<Value, Weight>(layer);
  return UnpackedForward<LSTM, Value, Weight>::allows_transposed(layer);
}

template <class Value, class Weight>
void forward(const Forward<Value, Weight>& call, const Pool& pool) {
  if (call.layer.batch == 0) return;
  if (const auto shrinking = ShrinkingBatch::make(call.layer, call.mask)) {
    const auto run = [&pool](const auto& shorter) { forward(shorter, pool); };
    return shrinking->forward(call, pool, run);
  }
  if (call.weights.transposed && !reads_transposed<Value, Weight>(call.layer)) {
    const Index width = call.layer.gates() * call.layer.units;
    const Matrix kernel(true, call.layer.inputs, width, call.weights.kernel, pool);
    const Matrix recurrent(true, call.layer.units, width, call.weights.recurrent_kernel, pool);
    Forward<Value, Weight> copied = call;
    copied.weights.kernel = kernel.read();
    copied.weights.recurrent_kernel = recurrent.read();
    copied.weights.transposed = false;
    return forward(copied, pool);
  }
  if (multiplies_bfloat16<Value>(call.layer)) {
    forward_in_bfloat16(call, pool);
  } else if (multiplies_parts<Value>(call.layer)) {
    if constexpr (!kRounds<Value>) forward_by_parts(call, pool);
  } else if (call.layer.cell != CellKind::kLSTM) {
    forward_gru(call, pool);
  } else if (UnpackedForward<LSTM, Value, Weight>::serves(call.layer)) {
    UnpackedForward<LSTM, Value, Weight>(call, pool).run(pool);
  } else {
    ForwardPass<LSTM, FloatOperands<LSTM, Value, Weight>>(call, pool).run(pool);
  }
}

template void forward(const Forward<float>&, const Pool&);
template void forward(const Forward<BFloat16>&, const Pool&);
template void forward(const Forward<BFloat16, float>&, const Pool&);

}  // namespace lstm_impl
