// What the products of a forward pass read, and how they are computed, in float. Numbers that are
// stored in bfloat16 are converted to float first.
#ifndef LSTM_IMPL_NATIVE_FLOAT_OPERANDS_H_
#define LSTM_IMPL_NATIVE_FLOAT_OPERANDS_H_

#include <algorithm>
#include <optional>
#include <type_traits>
#include <vector>

#include "cell.h"
#include "float_hidden.h"
#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "panels.h"
#include "plan.h"
#include "product.h"
#include "steps_ahead.h"
#include "thread_team.h"
#include "unpacked.h"
#include "vector.h"

namespace lstm_impl {

// The input as floats. They are converted only once, because they are read once for each block of
// units.
template <class Value>
class FloatInput {
 public:
  FloatInput(const Layer& layer, const Value* x)
      : layer_(layer), given_(rows_of(layer, x, layer.inputs)) {
    if constexpr (kRounds<Value>) {
      floats_.emplace(std::max<Index>(1, layer.rows() * layer.inputs));
      rows_ = {floats_->get(), layer.batch * layer.inputs, layer.inputs, layer.first_rows};
    } else {
      rows_ = given_;
    }
  }

  void widen(int part, int parts) const {
    if constexpr (kRounds<Value>) {
      const Index rows = layer_.rows();
      for (Index k = share(rows, part, parts); k < share(rows, part + 1, parts); ++k) {
        copy_row(row_at(layer_, given_, k), layer_.inputs, floats_->get() + k * layer_.inputs);
      }
    }
  }

  const Rows<const float>& rows() const { return rows_; }

 private:
  const Layer& layer_;
  const Rows<const Value> given_;
  std::optional<Floats> floats_;  // [time][batch][input]
  Rows<const float> rows_{};
};

template <class Cell, class Value, class Weight>
class FloatOperands {
 public:
  using Hidden = FloatHidden<Value, Weight>;
  static constexpr void (*release)() = nullptr;

  FloatOperands(const Forward<Value, Weight>& call, const Pool& pool)
      : call_(call),
        layer_(call.layer),
        plan_(recurrence_plan(layer_, layer_.inputs + layer_.units, pool)),
        hidden_(call),
        input_(layer_, call.x),
        ahead_(layer_, StepsAhead::usual(layer_)),
        kernel_packed_(call.weights.transposed || !(ahead_.any() && is_read_in_place(layer_))),
        kernel_(kernel_packed_ ? unit_blocks(layer_) * layer_.inputs * kRow : 0),
        recurrent_(unit_blocks(layer_) * layer_.units * kRow),
        bias_(unit_blocks(layer_) * kPanel),
        sums_(Cell::kStages > 1 ? unit_blocks(layer_) * layer_.batch * kPanel : 0),
        reset_(Cell::kStages > 1 ? layer_.batch * layer_.units : 0) {}

  const Plan& plan() const { return plan_; }
  const Hidden& hidden() const { return hidden_; }
  const StepsAhead& ahead() const { return ahead_; }

  void begin() const { hidden_.begin(); }

  // Does a part of the work that comes before all steps.
  void pack(int part, int parts) const {
    const Weights<Weight>& weights = call_.weights;
    const Index units = layer_.units, blocks = unit_blocks(layer_);
    const Index first = share(blocks, part, parts), last = share(blocks, part + 1, parts);
    const auto pack = [&](auto columns, const Weight* matrix, Index rows, float* panels) {
      using Columns = decltype(columns);
      if (weights.transposed) {
        pack_columns_of_transpose<Columns, Cell::kGates>(matrix, rows, units, first, last, panels);
      } else {
        pack_columns<Columns, Cell::kGates>(matrix, rows, units, first, last, panels);
      }
    };
    if (kernel_packed_) pack(Input{}, weights.kernel, layer_.inputs, kernel_.get());
    pack(typename Cell::OfRecurrentKernel{}, weights.recurrent_kernel, units, recurrent_.get());
    pack_biases<Cell>(weights, units, first, last, bias_.get());
    input_.widen(part, parts);
  }

  // What a part of a step must prepare of h: nothing.
  struct Lefts {};
  template <int Stage>
  Lefts read(Index, Index, Index) const {
    return {};
  }

  void look_ahead(Index s, Index block, Index) const {
    const Rows<const float>& x = input_.rows();
    const Index count = ahead_.count(s), t = ahead_.first(s);
    float* to = ahead_.sums(block);
    if (!are_adjacent(layer_, x)) {
      for (Index b = 0; b < layer_.batch; ++b) {
        project(x.at(t, b), x.time, count, block, to + b * kPanel, layer_.batch * kPanel);
      }
    } else {
      project(x.at(t), x.batch, ahead_.rows(s), block, to, kPanel);
    }
  }

  // Calls finish(sums, rows, first row, null) for tiles of rows, with the sums of a stage of a
  // step. next: the block whose panels will be read after those of this block.
  template <int Stage, class Finish>
  LSTM_IMPL_INLINE void multiply(const Lefts&, Index s, Index first_row, Index last_row,
                                 Index block, Index next, const Finish& finish) const {
    if (last_row - first_row <= kTallRows) next = block;
    Index tile = 0;  // the first ones ask for the next block's panels, others for what is there
    for_each_tile<kTallRows>(first_row, last_row, [&](auto rows, Index row) {
      constexpr int kTile = decltype(rows)::value;
      const bool asks = tile < Fetch::lines(Cell::kGates);
      alignas(64) float tile_sums[kTile * kPanel];
      float* const sums =
          Cell::kStages > 1 ? sums_.get() + (block * layer_.batch + row) * kPanel : tile_sums;
      multiply_rows<Stage, kTile>(sums, s, row, block, asks ? next : block, asks ? tile : 0);
      finish(sums, kTile, row, nullptr);
      ++tile;
    });
  }

  // Keeps the h that a gate has reset, for the next stage to multiply.
  LSTM_IMPL_INLINE void keep_reset(Index row, Index unit, Index count, Vector h) const {
    store_part(reset_.get() + row * layer_.units + unit, h, count);
  }

 private:
  using Input = typename Cell::OfInput;

  static constexpr Index kRow = Cell::kGates * kLanes;  // floats of a row of a kernel's panel

  // Returns whether the product of the input reads the kernel in place. With few rows it does,
  // because its tiles are as full as those of a panel. With more rows, making the panels takes less
  // time than the tiles would wait for cache lines that are far apart. The tiles wait for them if
  // the kernel does not stay in the second cache.
  static bool is_read_in_place(const Layer& layer) {
    constexpr Index kMostRows = 40, kMost = 1 << 18;  // floats, 1 MB
    return kCanBeReadInPlace && layer.units % kLanes == 0 &&
           layer.rows() <= kMostRows &&
           Cell::kGates * layer.units * layer.inputs <= kMost;
  }
  static constexpr bool kCanBeReadInPlace = !kRounds<Value> && Cell::kHasCellState;

  float* kernel(Index block) const { return kernel_.get() + block * layer_.inputs * kRow; }
  float* recurrent(Index block) const { return recurrent_.get() + block * layer_.units * kRow; }
  float* bias(Index block) const { return bias_.get() + block * kPanel; }

  // Sets the sums of `rows` rows, which are `across` floats apart, to the bias plus the input's
  // product.
  void project(const float* x, Index across, Index rows, Index block, float* to,
               Index to_across) const {
    for_each_tile<kRows>(0, rows, [&](auto constant, Index row) {
      constexpr int kTile = decltype(constant)::value;
      Tile<kTile, Input::kCount> z;
      z.fill(bias(block) + Input::kFirst * kLanes, 0);
      if (kernel_packed_) {
        add_product<Cell::kGates>(z, x + row * across, across, 1, layer_.inputs, kernel(block));
      } else if constexpr (kCanBeReadInPlace) {
        add_unpacked_block(z, x + row * across, across, layer_.inputs,
                           call_.weights.kernel + block * kLanes, layer_.units);
      }
      z.spill(to + row * to_across + Input::kFirst * kLanes, to_across);
      fill_sums_without_input<Cell>(bias(block), kTile, to + row * to_across, to_across);
    });
  }

  // next, part: while the product is computed, this part of the panels of the block `next` is
  // prefetched.
  template <int Stage, int kTile>
  LSTM_IMPL_INLINE void multiply_rows(float* sums, Index s, Index row, Index block, Index next,
                                      Index part) const {
    using State = typename Cell::template OfState<Stage>;
    constexpr Index kOffset = State::kFirst * kLanes;
    const Index t = time_of(layer_, s), units = layer_.units;
    const Rows<const float>& x = input_.rows();
    const auto of_input = [&] {
      return PanelProduct{x.at(t, row), x.batch, layer_.inputs, kernel(block),
                          Fetch::part(kernel(next), layer_.inputs, part)};
    };
    const auto of_state = [&] {
      const Rows<float> before = hidden_.rows(s - 1);
      return PanelProduct{before.at(0, row), before.batch, units, recurrent(block),
                          Fetch::part(recurrent(next), units, part)};
    };
    if constexpr (std::is_same_v<Input, State>) {
      if (ahead_.any()) {
        multiply_tile<kTile, State::kCount, Cell::kGates>(
            sums, {ahead_.sums(s, row, block), kPanel}, nullptr, of_state());
      } else {
        const PanelProduct first = of_input();
        multiply_tile<kTile, State::kCount, Cell::kGates>(sums, {bias(block), 0}, &first,
                                                          of_state());
      }
    } else if constexpr (Stage == 0) {
      const float* from = sums;
      if (ahead_.any()) {
        from = ahead_.sums(s, row, block);
        copy_sums_without_state<State>(from, kTile, sums);
      } else {
        multiply_tile<kTile, Input::kCount, Cell::kGates>(sums, {bias(block), 0}, nullptr,
                                                          of_input());
        fill_sums_without_input<Cell>(bias(block), kTile, sums);
      }
      multiply_tile<kTile, State::kCount, Cell::kGates>(sums + kOffset, {from + kOffset, kPanel},
                                                        nullptr, of_state());
    } else {
      constexpr Index kColumn = Cell::template OfState<0>::kCount * kLanes;
      const float* const right = recurrent(block) + kColumn;
      const PanelProduct of_reset{reset_.get() + row * units, units, units, right,
                                  Fetch::part(right, units, 0)};
      multiply_tile<kTile, State::kCount, Cell::kGates>(sums + kOffset, {sums + kOffset, kPanel},
                                                        nullptr, of_reset);
    }
  }

  const Forward<Value, Weight>& call_;
  const Layer& layer_;
  const Plan plan_;
  const Hidden hidden_;
  const FloatInput<Value> input_;
  const StepsAhead ahead_;
  const bool kernel_packed_;
  const Floats kernel_, recurrent_, bias_;  // in panels
  const Floats sums_;   // [block][batch][sum][lane], where they are kept from stage to stage
  const Floats reset_;  // [batch][unit]
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_FLOAT_OPERANDS_H_
