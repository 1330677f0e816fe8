// What the two kinds of operands that are multiplied as pairs of bfloat16 numbers have in common:
// numbers that are rounded to bfloat16 (bfloat16_operands.h), and floats that are split into
// bfloat16 parts (part_operands.h).
#ifndef LSTM_IMPL_NATIVE_PAIRED_OPERANDS_H_
#define LSTM_IMPL_NATIVE_PAIRED_OPERANDS_H_

#include <algorithm>
#include <type_traits>
#include <utility>

#include "bfloat16_products.h"
#include "cell.h"
#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "plan.h"
#include "steps_ahead.h"
#include "vector.h"

namespace lstm_impl {

// The base class of Bfloat16Operands and PartOperands. It owns the packed kernels, the biases, and
// the rows of x and h. Products says how pairs are multiplied. HiddenType holds h between the
// steps. Inputs holds the rows of x as left operands.
template <class Cell, class Products, class HiddenType, class Inputs>
class PairedOperands {
 public:
  using Hidden = HiddenType;
  using Value = typename Hidden::Value;
  using Weight = typename Hidden::Weight;
  static constexpr void (*release)() = Products::release;

  const Plan& plan() const { return plan_; }
  const Hidden& hidden() const { return hidden_; }
  const StepsAhead& ahead() const { return ahead_; }

 protected:
  using Left = typename Products::Left;
  using Input = typename Cell::OfInput;
  using Recurrent = typename Cell::OfRecurrentKernel;

  // The number of floats in a kernel's panel for one pair of the kernel's rows. Each float holds
  // two bfloat16 numbers.
  static constexpr Index kInputRow = Products::kParts * Input::kCount * kLanes;
  static constexpr Index kRecurrentRow = Products::kParts * Recurrent::kCount * kLanes;

  // input_width: the second argument of the constructor of Inputs.
  PairedOperands(const Forward<Value, Weight>& call, const Pool& pool, Index input_width)
      : call_(call),
        layer_(call.layer),
        plan_(Products::plan(layer_, layer_.inputs + layer_.units, pool)),
        blocks_(unit_blocks(layer_)),
        input_pairs_(pairs_of(layer_.inputs)),
        unit_pairs_(pairs_of(layer_.units)),
        given_(rows_of(layer_, call.x, layer_.inputs)),
        kernel_(blocks_ * input_pairs_ * kInputRow),
        recurrent_(blocks_ * unit_pairs_ * kRecurrentRow),
        bias_(blocks_ * kPanel),
        inputs_(layer_.rows(), input_width),
        hidden_(call),
        ahead_(layer_, Products::steps_ahead(layer_, plan_)),
        sums_(Cell::kStages > 1 ? blocks_ * layer_.batch * kPanel : 0) {}

  // Packs this part's share of the kernels and of the biases. Returns what Products has recorded
  // about the numbers of the kernel, and about those of the recurrent kernel.
  std::pair<typename Products::Seen, typename Products::Seen> pack_weights(int part,
                                                                           int parts) const {
    const Index first = share(blocks_, part, parts), last = share(blocks_, part + 1, parts);
    const Weights<Weight>& weights = call_.weights;
    const Index units = layer_.units;
    const auto pack = [&](auto columns, const Weight* matrix, Index rows, Index pairs,
                          float* panels) {
      using Columns = decltype(columns);
      if (weights.transposed) {
        return pack_pairs_of_transpose<Products, Columns, Cell::kGates>(matrix, rows, units, first,
                                                                        last, pairs, panels);
      }
      return pack_pairs<Products, Columns, Cell::kGates>(matrix, rows, units, first, last, pairs,
                                                         panels);
    };
    const auto of_kernel =
        pack(Input{}, weights.kernel, layer_.inputs, input_pairs_, kernel_.get());
    const auto of_recurrent =
        pack(Recurrent{}, weights.recurrent_kernel, units, unit_pairs_, recurrent_.get());
    pack_biases<Cell>(weights, units, first, last, bias_.get());
    return {of_kernel, of_recurrent};
  }

  // Calls store(row, at, x) for each register x of this part's share of the input's rows. `at` is
  // the place in the row of the register's first number. Rows are padded with zeros.
  template <class Store>
  void pack_inputs(int part, int parts, const Store& store) const {
    const Index rows = layer_.rows();
    for (Index row = share(rows, part, parts); row < share(rows, part + 1, parts); ++row) {
      const Value* from = row_at(layer_, given_, row);
      for (Index at = 0; at < inputs_.width(); at += kLanes) {
        const Index count = layer_.inputs - at;
        store(row, at, count > 0 ? load_part(from + at, count) : Vector{});
      }
    }
  }

  // Calls work(sums, rows, row) for the rows [first_row, last_row) of a step, at most
  // Products::kMostRows of them at a time. The sums of a cell with several stages are kept from
  // stage to stage.
  template <class Work>
  LSTM_IMPL_INLINE void with_sums(Index first_row, Index last_row, Index block,
                                  const Work& work) const {
    for (Index row = first_row; row < last_row; row += Products::kMostRows) {
      alignas(64) float own[Products::kMostRows * kPanel];
      const Index rows = std::min(Products::kMostRows, last_row - row);
      work(Cell::kStages > 1 ? sums_.get() + (block * layer_.batch + row) * kPanel : own, rows, row);
    }
  }

  // Computes the sums of a stage of a step for `rows` rows from `row` on. of_state: the factors of
  // the stage's product of h. Returns what the caller must still add to the sums, or null. If the
  // sums of the input were computed ahead, they are added where the sums are read anyway.
  template <int Stage>
  LSTM_IMPL_INLINE const float* multiply_rows(float* sums, Index s, Index row, Index rows,
                                              Index block, const Factors<Left>& of_state) const {
    using State = typename Cell::template OfState<Stage>;
    constexpr int kBefore = Stage == 0 ? 0 : Cell::template OfState<0>::kCount;
    using Part = PanelPart<Recurrent::kCount, kBefore, State::kCount, kPanel>;
    constexpr Index kOffset = State::kFirst * kLanes;
    if constexpr (kAddsToInput) {
      if (ahead_.any()) {
        Products::template multiply<Part>(sums, {nullptr, 0}, rows, {of_state});
        return ahead_.sums(s, row, block);
      }
      Products::template multiply<Part>(sums, {bias(block), 0}, rows,
                                        {of_input(input_row(s, row), block), of_state});
    } else {
      const float* from = sums;
      if constexpr (Stage == 0) {
        if (ahead_.any()) {
          from = ahead_.sums(s, row, block);
          copy_sums_without_state<State>(from, rows, sums);
        } else {
          project(sums, input_row(s, row), rows, block);
        }
      }
      Products::template multiply<Part>(sums + kOffset, {from + kOffset, kPanel}, rows, {of_state});
    }
    return nullptr;
  }

  // Sets the sums of `rows` rows to the bias plus the input's product, from the row `row` of all
  // rows on.
  void project(float* sums, Index row, Index rows, Index block) const {
    static_assert(Input::kFirst == 0);
    using Part = PanelPart<Input::kCount, 0, Input::kCount, kPanel>;
    Products::template multiply<Part>(sums, {bias(block), 0}, rows, {of_input(row, block)});
    fill_sums_without_input<Cell>(bias(block), rows, sums);
  }

  // Whether the products of the input and of h fill the same sums.
  static constexpr bool kAddsToInput = std::is_same_v<Input, typename Cell::template OfState<0>>;

  // Returns which row of all rows a row of a step is.
  Index input_row(Index s, Index row) const { return layer_.first_row(time_of(layer_, s)) + row; }

  const float* bias(Index block) const { return bias_.get() + block * kPanel; }

  // Returns the factors of the input's product, from the row `row` of all rows on.
  Factors<Left> of_input(Index row, Index block) const {
    return {inputs_.row(row), inputs_.across(), kernel_.get() + block * input_pairs_ * kInputRow,
            input_pairs_};
  }

  // Returns the packed recurrent kernel of a block of units.
  const float* recurrent_panel(Index block) const {
    return recurrent_.get() + block * unit_pairs_ * kRecurrentRow;
  }

  const Forward<Value, Weight>& call_;
  const Layer& layer_;
  const Plan plan_;
  const Index blocks_;
  const Index input_pairs_, unit_pairs_;  // of rows of the kernels
  const Rows<const Value> given_;
  const Floats kernel_, recurrent_;  // in pairs
  const Floats bias_;
  const Inputs inputs_;  // [time][batch]
  const Hidden hidden_;
  const StepsAhead ahead_;

 private:
  const Floats sums_;  // [block][batch][sum][lane], where they are kept from stage to stage

  static Index pairs_of(Index rows) {
    return blocks_of(rows, 2 * Products::kPairs) * Products::kPairs;
  }
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_PAIRED_OPERANDS_H_
