// What the products of a forward pass read, and how they are computed, if floats are multiplied in
// parts; see part_products.h. A row whose numbers cannot be multiplied in parts is multiplied as
// floats.
#ifndef LSTM_IMPL_NATIVE_PART_OPERANDS_H_
#define LSTM_IMPL_NATIVE_PART_OPERANDS_H_

#include <algorithm>
#include <cstddef>
#include <optional>
#include <type_traits>

#include "cell.h"
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

 public:
  PartOperands(const Forward<float>& call, const Pool& pool)
      : Base(call, pool, call.layer.inputs),
        reset_floats_(Cell::kStages > 1 ? layer_.batch * layer_.units : 0) {
    if constexpr (Cell::kStages > 1) reset_.emplace(layer_.batch, layer_.units);
  }

  void begin() const {
    hidden_.begin();
    if constexpr (Cell::kStages > 1) reset_->clear();  // no step writes the padding
  }

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
      if (!is_usual<Stage>(s, row)) return {false};
    }
    return {true};
  }

  void look_ahead(Index s, Index block, Index) const {
    float* const sums = ahead_.sums(block);
    const Index first = ahead_.first_row(s), rows = ahead_.rows(s);
    this->project(sums, first, rows, block);
    for (Index r = 0; r < rows; ++r) {
      if (is_usual_input(first + r)) continue;
      std::copy_n(bias(block), kPanel, sums + r * kPanel);
      add_input<Input>(sums + r * kPanel, first + r, block);
    }
  }

  // See FloatOperands.
  template <int Stage, class Finish>
  LSTM_IMPL_INLINE void multiply(const Lefts& lefts, Index s, Index first_row, Index last_row,
                                 Index block, Index, const Finish& finish) const {
    this->with_sums(first_row, last_row, block, [&](float* sums, Index rows, Index row) {
      const float* more = this->template multiply_rows<Stage>(sums, s, row, rows, block,
                                                              of_state<Stage>(s, row, block));
      for (Index r = 0; !lefts.all_usual && r < rows; ++r) {
        if (!is_usual<Stage>(s, row + r)) {
          multiply_floats<Stage>(sums + r * kPanel, s, row + r, block);
        }
      }
      finish(sums, rows, row, more);
    });
  }

  // Keeps the h that a gate has reset, for the next stage to multiply.
  LSTM_IMPL_INLINE void keep_reset(Index row, Index unit, Index count, Vector h) const {
    reset_->store(row, unit, h);
    store_part(reset_floats_.get() + row * layer_.units + unit, h, count);
  }

 private:
  using Base::ahead_;
  using Base::bias;
  using Base::call_;
  using Base::given_;
  using Base::hidden_;
  using Base::input_row;
  using Base::inputs_;
  using Base::layer_;
  using Base::unit_pairs_;
  using typename Base::Input;

  // Returns the rows that a stage multiplies, and which of them belongs to a row of a step.
  template <int Stage>
  const PartRows<Products>& lefts() const {
    if constexpr (Stage == 0) return hidden_.lefts();
    return *reset_;
  }
  template <int Stage>
  Index place(Index s, Index row) const {
    return Stage == 0 ? hidden_.place(s - 1, row) : row;
  }

  template <int Stage>
  Factors<BFloat16> of_state(Index s, Index row, Index block) const {
    return {lefts<Stage>().row(place<Stage>(s, row)), lefts<Stage>().across(),
            this->recurrent_panel(block), unit_pairs_};
  }

  bool is_usual_input(Index row) const {
    return are_usual(inputs_.largest_magnitude(row), of_kernel_.get());
  }

  // Returns whether the products of one row in a stage of a step can be computed in parts. The first
  // stage also computes those of the input, unless they were computed ahead.
  template <int Stage>
  bool is_usual(Index s, Index row) const {
    const Index at = place<Stage>(s, row);
    return are_usual(lefts<Stage>().largest_magnitude(at), of_recurrent_.get()) &&
           (Stage > 0 || ahead_.any() || is_usual_input(input_row(s, row)));
  }

  // Computes the same sums of a row as multiply(), by products of floats.
  template <int Stage>
  void multiply_floats(float* sums, Index s, Index row, Index block) const {
    using State = typename Cell::template OfState<Stage>;
    // The later stages find the sums of other products in `sums`, except for their own sums.
    using Restored = std::conditional_t<Stage == 0, Columns<0, 0, 1, 2, 3>, State>;
    constexpr Index kFirst = Restored::kFirst * kLanes, kCount = Restored::kCount * kLanes;
    if (Base::kAddsToInput && ahead_.any()) {  // the caller adds what was computed ahead
      std::fill_n(sums + kFirst, kCount, 0.0f);
    } else if (ahead_.any()) {
      std::copy_n(ahead_.sums(s, row, block) + kFirst, kCount, sums + kFirst);
    } else {
      std::copy_n(bias(block) + kFirst, kCount, sums + kFirst);
      add_input<std::conditional_t<Stage == 0, Input, State>>(sums, input_row(s, row), block);
    }
    const float* const left =
        Stage == 0 ? hidden_.row(s - 1, row) : reset_floats_.get() + row * layer_.units;
    add_floats<State>(sums, left, layer_.units, call_.weights.recurrent_kernel, block);
  }

  // Adds the product of a row of the input to those sums that Sums names.
  template <class Sums>
  void add_input(float* sums, Index row, Index block) const {
    add_floats<Sums>(sums, row_at(layer_, given_, row), layer_.inputs, call_.weights.kernel, block);
  }

  template <class Sums>
  LSTM_IMPL_ONCE void add_floats(float* sums, const float* left, Index depth, const float* kernel,
                                 Index block) const {
    const Index unit = block * kLanes, count = layer_.units - unit;
    for (Index k = 0; k < depth; ++k) {
      for (Index sum = 0; sum < Sums::kCount; ++sum) {
        const Index gate = Sums::kGates[static_cast<std::size_t>(sum)];
        const float* from = kernel + (k * Cell::kGates + gate) * layer_.units + unit;
        float* const to = sums + (Sums::kFirst + sum) * kLanes;
        store(to, load(to) + left[k] * load_part(from, count));
      }
    }
  }

  std::optional<PartRows<Products>> reset_;  // h that a gate has reset, of a cell with two stages
  const Floats reset_floats_;                // the same as floats, [batch][units]
  mutable SharedMagnitude of_kernel_, of_recurrent_;
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_TILES

#endif  // LSTM_IMPL_NATIVE_PART_OPERANDS_H_
