// The part of a step that follows the products, in every precision: it computes gates, states and
// outputs of some rows of a block of units.
#ifndef LSTM_IMPL_NATIVE_CELL_STEP_H_
#define LSTM_IMPL_NATIVE_CELL_STEP_H_

#include "cell.h"
#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "panels.h"
#include "plan.h"
#include "steps.h"
#include "vector.h"

namespace lstm_impl {

// Hidden holds h between steps in the form that the products read; see FloatHidden. It also says
// which type the factors of the products were rounded to (Hidden::Products).
template <class Cell, class Hidden>
class CellStep {
 public:
  using Value = typename Hidden::Value;
  using Call = Forward<Value, typename Hidden::Weight>;

  CellStep(const Call& call, const Hidden& hidden)
      : call_(call),
        layer_(call.layer),
        hidden_(hidden),
        y_(rows_of(layer_, call.y, layer_.units)),
        cells_(Cell::kHasCellState ? unit_blocks(layer_) * layer_.batch * kLanes : 0) {}

  // To be called before the first step.
  void begin() const {
    if constexpr (Cell::kHasCellState) {
      pack_state(call_.c0, layer_.batch, layer_.units, cells_.get());
    }
  }

  // Computes gates, states and outputs of `rows` rows, whose sums are `across` floats apart. more:
  // what is added to the sums first, or null. There are two loops because tanh(c) of a row waits
  // long for its gates. A processor looks ahead by only some hundred instructions, so in a single
  // loop the gates of other rows would wait too.
  LSTM_IMPL_INLINE void finish_rows(float* z, Index across, Index rows, Index s, Index row,
                                    Index block, const float* more = nullptr) const {
    const Index t = time_of(layer_, s), unit = block * kLanes, count = layer_.units - unit;
    const StepBits* const mask = steps_at(layer_, call_.mask, s, row);
    const StepBits* const next = steps_at(layer_, call_.mask, s + 1, row);
    Value* const gates = kept(t, row, block);
    const bool clears = reads_padding(gates, count);
    const float* c_before = nullptr;
    float* c = nullptr;
    if constexpr (Cell::kHasCellState) {
      c_before = cells(s - 1, block) + row * kLanes;
      c = cells(s, block) + row * kLanes;
    }
    for (Index r = 0; r < rows; ++r) {
      if (more != nullptr) add_row(z + r * across, more + r * kPanel);
      if (clears) clear_padding(z + r * across, count);
      finish_gates(z + r * across, mask != nullptr ? mask[r] : kThere, row, r, unit, c_before, c,
                   gates != nullptr ? gates + r * kPanel : nullptr);
    }
    if constexpr (Cell::kHasCellState && kRounds<Value>) {
      if (call_.cells != nullptr) {
        Value* const to = call_.cells + place(t, row, block) * kLanes;
        for (Index r = 0; r < rows; ++r) store(to + r * kLanes, load(c + r * kLanes));
      }
    }
    const auto now = hidden_.at(s), before = hidden_.at(s - 1);
    Value* const y = y_.at(t, row) + unit;
    for (Index r = 0; r < rows; ++r) {
      Vector state;
      if constexpr (Cell::kHasCellState) {
        state = load(c + r * kLanes);
      } else {
        state = before.read(row + r, unit, count);
      }
      // The next step reads the output exactly as it is stored, so it is rounded here.
      Vector h = rounded<Value>(Cell::template output<Products>(z + r * across, state));
      if (hidden_.differs_from_y()) {
        const bool valid = mask == nullptr || is_there(mask[r]);
        store_part(y + r * y_.batch, valid ? h : Vector{}, count);
        if (!valid) h = before.read(row + r, unit, count);
      }
      // Where the sequence starts over, the next step does not read this output, but the state from
      // which the sequence starts.
      if (next != nullptr && starts_over(next[r])) {
        h = starting_state(next[r], call_.h0 + (row + r) * layer_.units + unit, count);
      }
      now.keep(row + r, unit, count, h);
    }
  }

  // Does the first of two stages: it computes some of the gates, and the reset h that the operands
  // multiply.
  template <class Operands>
  LSTM_IMPL_INLINE void reset_rows(const Operands& operands, float* z, Index rows, Index s,
                                   Index row, Index block) const {
    const Index t = time_of(layer_, s), unit = block * kLanes, count = layer_.units - unit;
    const auto before = hidden_.at(s - 1);
    for (Index r = 0; r < rows; ++r) {
      Value* const gates = kept(t, row + r, block);
      if (reads_padding(gates, count)) clear_padding(z + r * kPanel, count);
      const Vector h = before.read(row + r, unit, count);
      const Vector reset = Cell::template finish_reset_gates<Products>(z + r * kPanel, h, gates);
      operands.keep_reset(row + r, unit, count, reset);
    }
  }

  // To be called after the last step.
  void end() const {
    const Index units = layer_.units, rows = cells_in_place() ? layer_.rows() : layer_.batch;
    Index last = layer_.timesteps - 1;
    for (Index b = 0; b < layer_.batch; ++b) {
      while (last >= 0 && layer_.sequences(last) <= b) --last;
      hidden_.copy(last, b, call_.h_last + b * units);
      if constexpr (Cell::kHasCellState) {
        unpack_state(cells(last, 0) + b * kLanes, rows * kLanes, 1, units,
                     call_.c_last + b * units);
      }
    }
  }

 private:
  using Products = typename Hidden::Products;

  static LSTM_IMPL_INLINE void add_row(float* to, const float* from) {
#pragma GCC unroll 4
    for (Index at = 0; at < kPanel; at += kLanes) store(to + at, load(to + at) + load(from + at));
  }

  // Returns whether something reads the lanes past the units. Their sums are products with zero,
  // which are NaN next to an infinity. Some products of the next step, and the gradients, multiply
  // the results of these lanes with zero again and add that to the sums of all units, so the lanes
  // must be cleared first. Where nothing reads them, clearing would make the smallest layers a
  // fiftieth slower.
  static bool reads_padding(const Value* gates, Index count) {
    return (Hidden::kReadsPadding || gates != nullptr) && count < kLanes;
  }

  static LSTM_IMPL_INLINE void clear_padding(float* z, Index count) {
#pragma GCC unroll 4
    for (Index at = 0; at < kPanel; at += kLanes) store(z + at, load_some(z + at, count));
  }

  Index place(Index t, Index row, Index block) const {
    return block * layer_.rows() + layer_.first_row(t) + row;
  }

  // Returns where gates are kept, or null.
  Value* kept(Index t, Index row, Index block) const {
    return call_.gates != nullptr ? call_.gates + place(t, row, block) * kPanel : nullptr;
  }

  // Returns whether c of every step is stored where it is kept. Otherwise there is room only for
  // that of the last step.
  bool cells_in_place() const {
    return !kRounds<Value> && call_.cells != nullptr && layer_.timesteps > 0;
  }

  // Returns c after step `s`, as floats.
  float* cells(Index s, Index block) const {
    if constexpr (!kRounds<Value>) {
      if (s >= 0 && cells_in_place()) {
        return call_.cells + place(time_of(layer_, s), 0, block) * kLanes;
      }
    }
    return cells_.get() + block * layer_.batch * kLanes;
  }

  // Computes the gates of a row. r: the number of the row, counted from `row`.
  LSTM_IMPL_INLINE void finish_gates(float* z, StepBits step, Index row, Index r, Index unit,
                                     const float* c_before, float* c, Value* gates) const {
    if constexpr (Cell::kHasCellState) {
      Vector before = load(c_before + r * kLanes);
      if (starts_over(step)) {
        before = starting_state(step, call_.c0 + (row + r) * layer_.units + unit, layer_.units - unit);
      }
      store(c + r * kLanes, Cell::template finish_gates<Products>(z, before, is_there(step), gates));
    } else {
      Cell::template finish_gates<Products>(z, gates);
    }
  }

  const Call& call_;
  const Layer& layer_;
  const Hidden& hidden_;
  const Rows<Value> y_;
  const Floats cells_;  // [block][batch][lane]: c0, or c not kept as floats
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_CELL_STEP_H_
