// What the products of a forward pass read, and how they are computed, if floats are multiplied in
// parts; see part_products.h. A row whose numbers cannot be multiplied in parts is multiplied as
// floats.
#ifndef LSTM_IMPL_NATIVE_PART_OPERANDS_H_
#define LSTM_IMPL_NATIVE_PART_OPERANDS_H_

#include <algorithm>
#include <cstddef>

#include "float_hidden.h"
#include "float_parts.h"
#include "kernels.h"
#include "paired_operands.h"
#include "part_products.h"
#include "part_rows.h"
#include "plan.h"
#include "vector.h"

#if defined(LSTM_IMPL_TILES)

namespace lstm_impl {

// Holds h between the steps: as floats, and in parts as the left operand of the next step's
// product.
template <class PartProducts>
class PartHidden {
 public:
  using Value = float;
  using Weight = float;
  using Products = float;  // what decides how exact the gates need to be

  static constexpr bool kReadsPadding = true;

  explicit PartHidden(const Forward<float>& call)
      : layer_(call.layer), floats_(call), lefts_(2 * layer_.batch, layer_.units) {}

  void begin() const {
    floats_.begin();
    for (Index b = 0; b < layer_.batch; ++b) {
      const float* h = row(-1, b);  // zeros where the sequence starts over at once
      for (Index unit = 0; unit < lefts_.width(); unit += kLanes) {
        const Index count = layer_.units - unit;
        lefts_.store(place(-1, b), unit, count > 0 ? load_part(h + unit, count) : Vector{});
        if (count <= 0) lefts_.store(place(0, b), unit, Vector{});  // padding, which no step writes
      }
    }
  }

  // Returns h of a row after step `s`, as floats.
  const float* row(Index s, Index row) const { return floats_.rows(s).at(0, row); }

  const PartRows<PartProducts>& lefts() const { return lefts_; }

  // Returns the row of lefts() that holds h of a row after step `s`.
  Index place(Index s, Index row) const { return (s + 1) % 2 * layer_.batch + row; }

  LSTM_IMPL_INLINE bool differs_from_y() const { return floats_.differs_from_y(); }

  // Stores h after one step. `count` lanes of its registers are units.
  struct Step {
    typename FloatHidden<float, float>::Step floats;
    const PartRows<PartProducts>& lefts;
    Index first;

    LSTM_IMPL_INLINE Vector read(Index row, Index unit, Index count) const {
      return floats.read(row, unit, count);
    }

    LSTM_IMPL_INLINE void keep(Index row, Index unit, Index count, Vector h) const {
      floats.keep(row, unit, count, h);
      lefts.store(first + row, unit, h);
    }
  };

  LSTM_IMPL_INLINE Step at(Index s) const { return {floats_.at(s), lefts_, place(s, 0)}; }

  void copy(Index s, Index row, float* to) const { floats_.copy(s, row, to); }

 private:
  const Layer& layer_;
  const FloatHidden<float, float> floats_;
  const PartRows<PartProducts> lefts_;  // of two steps
};

// The operands of a forward pass whose factors are floats in parts. Products says how the parts are
// multiplied; see part_products.h.
template <class Cell, class Products>
class PartOperands
    : public PairedOperands<Cell, Products, PartHidden<Products>, PartRows<Products>> {
  using Base = PairedOperands<Cell, Products, PartHidden<Products>, PartRows<Products>>;
  using typename Base::Input;
  static_assert(Cell::kStages == 1 && Input::kFirst == 0 && Input::kCount == kSums);

 public:
  PartOperands(const Forward<float>& call, const Pool& pool)
      : Base(call, pool, call.layer.inputs) {}

  void begin() const { hidden_.begin(); }

  void pack(int part, int parts) const {
    const auto [of_kernel, of_recurrent] = this->pack_weights(part, parts);
    of_kernel_.see(of_kernel.upper_half());
    of_recurrent_.see(of_recurrent.upper_half());
    this->pack_inputs(part, parts,
                      [&](Index row, Index at, Vector x) { inputs_.store(row, at, x); });
  }

  // What a part of a step must know about x and h: whether all of their rows are usual.
  struct Lefts {
    bool all_usual;
  };

  template <int Stage>
  Lefts read(Index s, Index first_row, Index last_row) const {
    for (Index row = first_row; row < last_row; ++row) {
      if (!is_usual(s, row)) return {false};
    }
    return {true};
  }

  void look_ahead(Index s, Index block, Index) const {
    float* const sums = ahead_.sums(block);
    const Index first = ahead_.first_row(s), rows = ahead_.rows(s);
    Products::template multiply<PanelPart<kSums>>(sums, {bias(block), 0}, rows,
                                                  {of_input(first, block)});
    for (Index r = 0; r < rows; ++r) {
      if (!is_usual_input(first + r)) add_input(sums + r * kPanel, first + r, block);
    }
  }

  // See FloatOperands.
  template <int Stage, class Finish>
  LSTM_IMPL_INLINE void multiply(const Lefts& lefts, Index s, Index first_row, Index last_row,
                                 Index block, Index, const Finish& finish) const {
    for (Index row = first_row; row < last_row; row += Products::kMostRows) {
      alignas(64) float sums[Products::kMostRows * kPanel];
      const Index rows = std::min(Products::kMostRows, last_row - row);
      const float* more = nullptr;
      if (ahead_.any()) {
        more = ahead_.sums(s, row, block);
        Products::template multiply<PanelPart<kSums>>(sums, {nullptr, 0}, rows,
                                                      {of_state(s, row, block)});
      } else {
        Products::template multiply<PanelPart<kSums>>(
            sums, {bias(block), 0}, rows,
            {of_input(input_row(s, row), block), of_state(s, row, block)});
      }
      for (Index r = 0; !lefts.all_usual && r < rows; ++r) {
        if (!is_usual(s, row + r)) multiply_floats(sums + r * kPanel, s, row + r, block);
      }
      finish(sums, rows, row, more);
    }
  }

 private:
  using Base::ahead_;
  using Base::bias;
  using Base::call_;
  using Base::given_;
  using Base::hidden_;
  using Base::inputs_;
  using Base::layer_;
  using Base::of_input;
  using Base::unit_pairs_;

  // The row of all rows that a row of a step is.
  Index input_row(Index s, Index row) const { return layer_.first_row(time_of(layer_, s)) + row; }

  Factors<BFloat16> of_state(Index s, Index row, Index block) const {
    const PartRows<Products>& lefts = hidden_.lefts();
    return {lefts.row(hidden_.place(s - 1, row)), lefts.across(), this->recurrent_panel(block),
            unit_pairs_};
  }

  bool is_usual_input(Index row) const {
    return are_usual(inputs_.largest_magnitude(row), of_kernel_.get());
  }

  // Returns whether the products of one row in a step can be computed in parts.
  bool is_usual(Index s, Index row) const {
    const Index place = hidden_.place(s - 1, row);
    return are_usual(hidden_.lefts().largest_magnitude(place), of_recurrent_.get()) &&
           (ahead_.any() || is_usual_input(input_row(s, row)));
  }

  // Computes the same sums of a row as multiply(), by products of floats.
  void multiply_floats(float* sums, Index s, Index row, Index block) const {
    if (ahead_.any()) {
      std::fill_n(sums, kPanel, 0.0f);
    } else {
      add_input(sums, input_row(s, row), block);
    }
    add_floats(sums, hidden_.row(s - 1, row), layer_.units, call_.weights.recurrent_kernel, block);
  }

  // Sets the sums of a row to the bias plus the input's product.
  void add_input(float* sums, Index row, Index block) const {
    std::copy_n(bias(block), kPanel, sums);
    add_floats(sums, row_at(layer_, given_, row), layer_.inputs, call_.weights.kernel, block);
  }

  LSTM_IMPL_ONCE void add_floats(float* sums, const float* left, Index depth, const float* kernel,
                                 Index block) const {
    const Index unit = block * kLanes, count = layer_.units - unit;
    for (Index k = 0; k < depth; ++k) {
      for (Index sum = 0; sum < kSums; ++sum) {
        const Index gate = Input::kGates[static_cast<std::size_t>(sum)];
        const float* from = kernel + (k * Cell::kGates + gate) * layer_.units + unit;
        store(sums + sum * kLanes, load(sums + sum * kLanes) + left[k] * load_part(from, count));
      }
    }
  }

  mutable SharedMagnitude of_kernel_, of_recurrent_;
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_TILES

#endif  // LSTM_IMPL_NATIVE_PART_OPERANDS_H_
