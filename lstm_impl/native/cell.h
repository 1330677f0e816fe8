// The cells that the kernels compute. A cell says which sums a step needs, how the sums become the
// new states, and what the derivatives are. The forward and backward passes take a cell as a
// policy, and know no gate by its name.
//
// The sums of a block of units are in kSums registers, a panel. Some of these sums are products of
// the input only, some are products of h only, and most add the two. The columns of a kernel that
// belong to a block are as many registers as the cell has gates. They are in the order in which the
// sums need them, so that each product fills neighbouring registers.
#ifndef LSTM_IMPL_NATIVE_CELL_H_
#define LSTM_IMPL_NATIVE_CELL_H_

#include <array>
#include <type_traits>

#include "activations.h"
#include "bfloat16_activations.h"
#include "kernels.h"
#include "numbers.h"
#include "vector.h"

namespace lstm_impl {

// The sums that a product fills: those from the register `First` on. Gates: the gates of a kernel
// that these sums belong to, in order.
template <int First, int... Gates>
struct Columns {
  static constexpr int kFirst = First, kCount = sizeof...(Gates);
  static constexpr std::array<int, sizeof...(Gates)> kGates{Gates...};
};

// What the products of panels need to know about a cell. kGates: the number of gates in a kernel.
// kStages: the number of products of h in a step that need each other's results. OfInput,
// OfState<stage>: the sums that each product fills. OfRecurrentKernel: the columns of a recurrent
// kernel's panel, with those of all stages in order.

// h_t = o tanh(c_t), c_t = f c_{t-1} + i g.
struct LSTM {
  static constexpr int kGates = 4, kStages = 1;
  static constexpr bool kHasCellState = true, kHasRecurrentBias = false;
  using OfInput = Columns<0, 0, 1, 2, 3>;
  template <int>
  using OfState = OfInput;
  using OfRecurrentKernel = OfInput;

  template <class Weight>
  static LSTM_IMPL_INLINE Vector bias(const Weights<Weight>& weights, Index sum, Index units,
                                      Index unit) {
    return load_part(weights.bias + sum * units + unit, units - unit);
  }

  // Returns the new cell state, computed from the cell state `before`. z: the sums; the gate o
  // replaces its own sum. Products: the type that the factors of the products were rounded to,
  // float or BFloat16. kept: where the gates are kept, or null. valid: false at padding, which
  // keeps the state.
  template <class Products, class Value>
  static LSTM_IMPL_INLINE Vector finish_gates(float* z, Vector before, bool valid, Value* kept) {
    const Sigmoid i = gate_sigmoid<Products>(load(z)), f = gate_sigmoid<Products>(load(z + kLanes));
    const Vector g = gate_tanh<Products>(load(z + 2 * kLanes));
    const Sigmoid o = gate_sigmoid<Products>(load(z + 3 * kLanes));
    store(z + 3 * kLanes, o.value);
    if (kept != nullptr) {
      store(kept, kept_sigmoid<Value>(i));
      store(kept + kLanes, kept_sigmoid<Value>(f));
      store(kept + 2 * kLanes, g);
      store(kept + 3 * kLanes, kept_sigmoid<Value>(o));
    }
    return valid ? f.value * before + i.value * g : before;
  }

  // Returns the output. z: the sums as finish_gates() left them.
  template <class Products>
  static LSTM_IMPL_INLINE Vector output(const float* z, Vector c) {
    return load(z + 3 * kLanes) * gate_tanh<Products>(c);
  }

  // Returns the gradients of the sums. dh: what flows into the output. dc: what flows into the cell
  // state; the function replaces it by what flows into the cell state before.
  template <class Value>
  static LSTM_IMPL_INLINE std::array<Vector, kSums> gradients(const Value* gates, Vector dh,
                                                              Vector c, Vector c_before,
                                                              Vector& dc) {
    const Sigmoid i = read_sigmoid<Value>(load(gates));
    const Sigmoid f = read_sigmoid<Value>(load(gates + kLanes));
    const Vector g = load(gates + 2 * kLanes);
    const Sigmoid o = read_sigmoid<Value>(load(gates + 3 * kLanes));
    const Vector tanh_c = tanh(c);
    const Vector into_c = dc + dh * o.value * (1.0f - tanh_c * tanh_c);
    dc = into_c * f.value;
    return {into_c * g * i.value * i.rest, into_c * c_before * f.value * f.rest,
            into_c * i.value * (1.0f - g * g), dh * tanh_c * o.value * o.rest};
  }
};

// h_t = z h_{t-1} + (1 - z) n. In the first form, the reset gate r acts after h was multiplied by
// the recurrent kernel: n = tanh(input + r (h R + bias)). In the second form, it acts before: n =
// tanh(input + (r h) R).
//
// The sums are: n, from the input, and in the second form also from h; r; z; and in the first form
// n from h.
template <bool ResetAfter>
struct GRU {
  // The gates in the order of the columns of a kernel.
  static constexpr int kR = 0, kZ = 1, kN = 2;

  static constexpr int kGates = 3, kStages = ResetAfter ? 1 : 2;
  static constexpr bool kHasCellState = false, kHasRecurrentBias = ResetAfter;
  using OfInput = Columns<0, kN, kR, kZ>;
  template <int Stage>
  using OfState =
      std::conditional_t<ResetAfter, Columns<1, kR, kZ, kN>,
                         std::conditional_t<Stage == 0, Columns<1, kR, kZ>, Columns<0, kN>>>;
  using OfRecurrentKernel = Columns<0, kR, kZ, kN>;

  // In the gradients of the second form's sums, this one holds r h in place of a gradient.
  static constexpr Index kResetHidden = 3;

  template <class Weight>
  static LSTM_IMPL_INLINE Vector bias(const Weights<Weight>& weights, Index sum, Index units,
                                      Index unit) {
    const auto read = [&](const Weight* from, Index gate) {
      return load_part(from + gate * units + unit, units - unit);
    };
    if (sum == 0) return read(weights.bias, kN);
    if (sum == 3) return ResetAfter ? read(weights.recurrent_bias, kN) : Vector{};
    const Index gate = sum == 1 ? kR : kZ;
    const Vector value = read(weights.bias, gate);
    return ResetAfter ? value + read(weights.recurrent_bias, gate) : value;
  }

  // Does the first of two stages, and returns r h. z: the sums; the gate z replaces its own sum.
  template <class Products, class Value>
  static LSTM_IMPL_INLINE Vector finish_reset_gates(float* z, Vector h, Value* kept) {
    const Sigmoid r = gate_sigmoid<Products>(load(z + kLanes));
    const Sigmoid update = gate_sigmoid<Products>(load(z + 2 * kLanes));
    store(z + 2 * kLanes, update.value);
    if (kept != nullptr) {
      store(kept + kLanes, kept_sigmoid<Value>(r));
      store(kept + 2 * kLanes, kept_sigmoid<Value>(update));
      store(kept + 3 * kLanes, Vector{});
    }
    return r.value * h;
  }

  // Replaces the sums of n and z by n and z. kept: where the backward pass's numbers are kept, or
  // null.
  template <class Products, class Value>
  static LSTM_IMPL_INLINE void finish_gates(float* z, Value* kept) {
    Vector sum = load(z);
    if constexpr (ResetAfter) {
      const Sigmoid r = gate_sigmoid<Products>(load(z + kLanes));
      const Sigmoid update = gate_sigmoid<Products>(load(z + 2 * kLanes));
      const Vector of_state = load(z + 3 * kLanes);
      store(z + 2 * kLanes, update.value);
      sum += r.value * of_state;
      if (kept != nullptr) {
        store(kept + kLanes, kept_sigmoid<Value>(r));
        store(kept + 2 * kLanes, kept_sigmoid<Value>(update));
        store(kept + 3 * kLanes, of_state);
      }
    }
    const Vector n = gate_tanh<Products>(sum);
    store(z, n);
    if (kept != nullptr) store(kept, n);
  }

  // Returns the output. z: the sums as finish_gates() left them.
  template <class Products>
  static LSTM_IMPL_INLINE Vector output(const float* z, Vector h) {
    const Vector n = load(z);
    return n + load(z + 2 * kLanes) * (h - n);
  }

  // Returns the gradients of the sums. In the second form, r itself stands in the place of the
  // gradient of its sum. dh: what flows into the output; the function replaces it by what flows
  // into h on another way than through the sums.
  template <class Value>
  static LSTM_IMPL_INLINE std::array<Vector, kSums> gradients(const Value* gates, Vector& dh,
                                                              Vector h) {
    const Vector n = load(gates);
    const Sigmoid r = read_sigmoid<Value>(load(gates + kLanes));
    const Sigmoid update = read_sigmoid<Value>(load(gates + 2 * kLanes));
    const Vector dn = dh * update.rest * (1.0f - n * n);
    const Vector dupdate = dh * (h - n) * update.value * update.rest;
    dh *= update.value;
    if constexpr (ResetAfter) {
      const Vector of_state = load(gates + 3 * kLanes);
      return {dn, dn * of_state * r.value * r.rest, dupdate, dn * r.value};
    } else {
      return {dn, r.value, dupdate, r.value * h};
    }
  }

  // For the second form: replaces r in dz by the gradient of its sum, and returns what flows into
  // h. dh: what flows into r h.
  static LSTM_IMPL_INLINE Vector finish_reset(float* dz, Vector dh, Vector h) {
    const Vector r = load(dz + kLanes);
    store(dz + kLanes, dh * h * r * (1.0f - r));
    return dh * r;
  }
};

// The biases that the sums start from, [block][sum][lane], for the blocks [first_block,
// last_block).
template <class Cell, class Weight>
void pack_biases(const Weights<Weight>& weights, Index units, Index first_block, Index last_block,
                 float* to) {
  for (Index block = first_block; block < last_block; ++block) {
    for (Index sum = 0; sum < kSums; ++sum) {
      store(to + block * kPanel + sum * kLanes, Cell::bias(weights, sum, units, block * kLanes));
    }
  }
}

// Sets the sums that the input does not contribute to, in `rows` rows, to the biases of a block.
template <class Cell>
LSTM_IMPL_INLINE void fill_sums_without_input(const float* biases, Index rows, float* sums,
                                              Index across = kPanel) {
  static_assert(Cell::OfInput::kFirst == 0);
  for (Index sum = Cell::OfInput::kCount; sum < kSums; ++sum) {
    const Vector start = load(biases + sum * kLanes);
    for (Index r = 0; r < rows; ++r) store(sums + r * across + sum * kLanes, start);
  }
}

// Copies the sums that h does not contribute to, in `rows` rows that are kPanel floats apart.
template <class State>
LSTM_IMPL_INLINE void copy_sums_without_state(const float* from, Index rows, float* sums) {
  for (Index sum = 0; sum < State::kFirst; ++sum) {
    for (Index r = 0; r < rows; ++r) {
      const Index at = r * kPanel + sum * kLanes;
      store(sums + at, load(from + at));
    }
  }
}

// Calls work(cell) with the cell of a layer.
template <class Work>
void with_cell(const Layer& layer, const Work& work) {
  switch (layer.cell) {
    case CellKind::kLSTM:
      return work(LSTM{});
    case CellKind::kGRU:
      return work(GRU<true>{});
    case CellKind::kGRUResetBefore:
      return work(GRU<false>{});
  }
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_CELL_H_
